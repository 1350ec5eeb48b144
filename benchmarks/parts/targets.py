"""Bringing data to targets: by FTP, into an object store, and to three places at once."""

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.corpora import large
from benchmarks.measuring import PICKUP, Contest, Contestant, Goal, private, shell
from tests.servers.ftpd import PASSWORD, USER, vsftpd
from tests.servers.s3 import ALL, BUCKET, SECRET, rclone_s3
from tests.servers.sshd import SHELL, sshd

_ROOT = Path(__file__).resolve().parent.parent.parent
_numbers = count()
_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
COMPRESSION = "none"
GENERATORS = [dict(name="it", profile="command", config=dict(command="cat {folder}/large"))]
TARGETS = {targets!r}
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = {staging!r}, "state", "state", 0
"""


def uploads(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give contests of one large file by FTP, by FTP over TLS, and into an object store."""
    file = large(folder / "large", scale)
    with vsftpd(ssl_enable="NO") as server:
        there = server.folder / "place"
        address = f"ftp://localhost:{server.port}"
        plain = {key: value for key, value in server.options(tls=False).items() if key != "ca_file"}
        yield Contest(
            "one large file by FTP",
            {"curl -T": _curl(file, address, server.folder),
             "Pickup": put(folder, "ftp", plain, there, file)},
            [Goal("Pickup", 1.0, "curl -T")],
        )  # fmt: skip
    with vsftpd() as server:
        there = server.folder / "place"
        address = f"--ssl-reqd --cacert {server.certificate} ftp://localhost:{server.port}"
        yield Contest(
            "one large file by FTP over TLS",
            {"curl -T": _curl(file, address, server.folder),
             "Pickup": put(folder, "ftp", server.options(), there, file)},
            [Goal("Pickup", 0.9, "curl -T")],
        )  # fmt: skip
    with rclone_s3() as bucket:
        there = bucket.log_file.parent / "data" / BUCKET
        login = f"--s3-endpoint {bucket.endpoint} --s3-access-key-id {ALL} --s3-secret-access-key {shlex.quote(SECRET)}"
        copy = f"rclone --config /dev/null {login} --s3-provider Other copyto {file} :s3:{BUCKET}/large-$(date +%s%N)"
        yield Contest(
            "one large file into an object store",
            {"rclone copyto": Contestant(shell(copy), after=cleared(there, "large-*")),
             "Pickup": put(folder, "object_store", bucket.config("place"), there / "place", file)},
            [Goal("Pickup", 1.1, "rclone copyto")],
        )  # fmt: skip


def _curl(file: Path, address: str, there: Path) -> Contestant:
    command = shell(f"curl -sS -T {file} --user {USER}:{PASSWORD} {address}")
    return Contestant(command, after=gone(there / file.name))


def three(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give the contest of three targets: one after another, all at once, and all at once without a staging area."""
    large(folder / "large", scale)
    with sshd() as server:
        options = server.config(path="place").items()
        far = {name: str(value) if isinstance(value, Path) else value for name, value in options}
        targets: list[dict[str, Any]] = [
            dict(name="one", profile="folder", config=dict(path="one")),
            dict(name="two", profile="folder", config=dict(path="two")),
            dict(name="far", profile="ssh", config=far),
        ]
        clear = gone(folder / "state", folder / "one/bench", folder / "two/bench", server.home(SHELL) / "place/bench")
        runs = {}
        for name, staging, chosen in (("staged", "staging", targets), ("streamed", None, targets),
                                      *((f"{each['name']} alone", None, [each]) for each in targets)):  # fmt: skip
            text = _CONFIG.format(folder=folder, targets=chosen, staging=staging)
            path = private(folder / f"config-{next(_numbers)}.py", text)
            runs[name] = [*PICKUP, "-c", str(path), "-q"]
        in_turn = "; ".join(shlex.join(runs[f"{name} alone"]) for name in ("one", "two", "far"))
        yield Contest(
            "three targets",
            {"the slowest alone": Contestant(runs["far alone"], after=clear),
             "one after another": Contestant(shell(in_turn), after=clear),
             "Pickup, staged": Contestant(runs["staged"], after=clear),
             "Pickup, streamed": Contestant(runs["streamed"], after=clear)},
            [Goal("Pickup, staged", 0.6, "one after another"), Goal("Pickup, streamed", 1.15, "the slowest alone")],
        )  # fmt: skip


def put(folder: Path, profile: str, config: dict[str, Any], there: Path, what: Path) -> Contestant:
    """Let Pickup bring a file or folder to a target, whose folder is emptied after it."""
    path = folder / f"options-{next(_numbers)}.json"
    path.write_text(json.dumps(config, default=str))
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.put", profile, path, what]
    return Contestant(command, after=cleared(there, "new-*"), env={"PYTHONPATH": str(_ROOT)})


def gone(*paths: Path) -> Callable[[], None]:
    """Give what removes these files and folders, as far as they are there."""

    def remove() -> None:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    return remove


def cleared(folder: Path, pattern: str) -> Callable[[], None]:
    """Give what removes that which matches a pattern."""

    def clear() -> None:
        gone(*folder.glob(pattern))()

    return clear
