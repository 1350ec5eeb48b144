"""List and prune where there are thousands of backups.

At a folder the goal is a second of this machine, not a ratio: somebody waits for it at a terminal, and no program that
others have does the same work. At a server it is the number of listings that it is asked for: on a long line each takes
its round trips, however fast both sides are.
"""

import logging
from collections.abc import Callable, Generator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.measuring import PICKUP, Contest, Contestant, Goal, private, shell
from benchmarks.parts.targets import gone
from pickup_core.catalogue import MARK_FILE
from pickup_core.manifest import backup_id
from pickup_core.publish import mark_text
from pickup_core.run import machine_digest
from tests.places import make_backup
from tests.servers.ftpd import PASSWORD, USER, pyftpd

_AT_A_FOLDER, _AT_FTP = 10_000, 1000
_MOST_SECONDS = 1
_LISTINGS = {"LIST", "MLSD", "NLST"}
_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
GENERATORS = [dict(name="it", profile="command", config=dict(command="true"))]
TARGETS = [dict(name="place", profile={profile!r}, config={config!r}, retention=dict(last={count}))]
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = "staging", {state!r}, {state!r}, 0
"""


def counting(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give the contests at a folder and at an FTP server."""
    count = int(_AT_A_FOLDER * scale) or 1
    _make_backups(folder / "place/bench", count)
    find = Contestant(["find", folder / "place", "-size", "+1000000k"])
    for command in ("list", "prune"):
        yield Contest(
            f"{command}, {count} backups at a folder",
            {"find": find, **_contestants(folder, command, "folder", {"path": "place"}, count)},
            [Goal("Pickup", _MOST_SECONDS)],
        )
    count = int(_AT_FTP * scale) or 1
    logging.getLogger("pyftpdlib").addHandler(logging.NullHandler())  # else it tells of every command
    with pyftpd() as server:
        _make_backups(server.folder / "place/bench", count)

        def listings() -> int:
            return sum(verb in _LISTINGS for verb in server.seen)

        curl = f"curl -sS -l --user {USER}:{PASSWORD} ftp://localhost:{server.port}/place/bench/"
        for command in ("list", "prune"):
            yield Contest(
                f"{command}, {count} backups at an FTP server",
                {"curl, one listing": Contestant(shell(curl), before=server.seen.clear, listings=listings),
                 **_contestants(folder, command, "ftp", server.options(), count, server.seen.clear, listings)},
                [Goal("Pickup", 1, listings=True)],
            )  # fmt: skip


def _contestants(
    folder: Path, command: str, profile: str, config: dict[str, Any], count: int,
    before: Callable[[], object] = lambda: None, listings: Callable[[], int | None] = lambda: None,
) -> dict[str, Contestant]:  # fmt: skip
    """Give Pickup as it is on the machine that makes the backups, and as on one that has never seen them."""
    found = {}
    for name, state in (("Pickup", "state"), ("Pickup, for the first time", "new")):
        text = _CONFIG.format(profile=profile, config=config, count=count, state=f"{state}-{profile}")
        path = private(folder / f"{profile}-{state}.py", text)
        forget = gone(folder / f"new-{profile}") if state == "new" else lambda: None

        def ready(forget: Callable[[], object] = forget) -> None:
            forget()
            before()

        found[name] = Contestant([*PICKUP, "-c", path, "-q", command], before=ready, listings=listings)
    return found


def _make_backups(job: Path, count: int) -> None:
    """Write small finished backups as runs leave them, an hour apart."""
    for number in range(count):
        started = datetime(2000, 1, 1, tzinfo=timezone.utc) + timedelta(hours=number)
        made = make_backup(
            job / backup_id(started), started, {"command/it": b"1\n"}, job=job.name, machine=machine_digest()
        )
        (made.folder / MARK_FILE).write_bytes(mark_text(job.name, made.manifest.id))
        (job / f"{made.manifest.id}.json").write_bytes(made.encoded)
