"""Bringing data to targets: over SSH, by FTP, into an object store, and to three places at once."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.corpora import large
from benchmarks.measuring import PICKUP, Contest, Contestant, Goal
from tests.servers.ftpd import PASSWORD, USER, vsftpd
from tests.servers.s3 import ALL, BUCKET, SECRET, rclone_s3
from tests.servers.sshd import SFTP, SHELL, Server, sshd

_ROOT = Path(__file__).resolve().parent.parent.parent
_ARTEFACTS = 1000
_numbers = count()
_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
COMPRESSION = "none"
GENERATORS = [dict(name="it", profile="command", config=dict(command="cat {folder}/large"))]
TARGETS = {targets!r}
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = {staging!r}, "state", "state", 0
"""


def ssh(folder: Path, scale: float) -> Iterator[Contest]:
    """Give contests of one large file, and of many small ones, with a shell on the other side and with SFTP alone."""
    file, small = large(folder / "large", scale), folder / "small"
    small.mkdir()
    for number in range(int(_ARTEFACTS * scale) or 1):
        (small / f"{number:04d}").write_bytes(os.urandom(4096))
    with sshd() as server:
        for user, how, most in ((SHELL, "with a shell", 0.85), (SFTP, "with SFTP alone", 1.25)):
            there = server.home(user)
            yield Contest(
                f"one large file over SSH, {how}",
                {"scp": _shell(f"{_client('scp', server)} {file} {user}@127.0.0.1:large", _gone(there / "large")),
                 "Pickup": _put(folder, "ssh", server.config(user, path="place"), there / "place", file)},
                [Goal("Pickup", "scp", most)],
            )  # fmt: skip
            batch = f"printf 'put -r {small} copied\\n' | {_client('sftp', server)} -q -b - {user}@127.0.0.1"
            yield Contest(
                f"{len(list(small.iterdir()))} files of 4 KiB over SSH, {how}",
                {"sftp put -r": _shell(batch, _gone(there / "copied")),
                 "Pickup": _put(folder, "ssh", server.config(user, path="place"), there / "place", small)},
                [Goal("Pickup", "sftp put -r", 1.5)],
            )  # fmt: skip


def uploads(folder: Path, scale: float) -> Iterator[Contest]:
    """Give contests of one large file by FTP, by FTP over TLS, and into an object store."""
    file = large(folder / "large", scale)
    with vsftpd(ssl_enable="NO") as server:
        there = server.folder / "place"
        address = f"ftp://localhost:{server.port}"
        plain = {key: value for key, value in server.options(tls=False).items() if key != "ca_file"}
        yield Contest(
            "one large file by FTP",
            {"curl -T": _shell(f"curl -sS -T {file} --user {USER}:{PASSWORD} {address}", _gone(server.folder / "large")),
             "Pickup": _put(folder, "ftp", plain, there, file)},
            [Goal("Pickup", "curl -T", 1.0)],
        )  # fmt: skip
    with vsftpd() as server:
        there = server.folder / "place"
        address = f"--ssl-reqd --cacert {server.certificate} ftp://localhost:{server.port}"
        yield Contest(
            "one large file by FTP over TLS",
            {"curl -T": _shell(f"curl -sS -T {file} --user {USER}:{PASSWORD} {address}", _gone(server.folder / "large")),
             "Pickup": _put(folder, "ftp", server.options(), there, file)},
            [Goal("Pickup", "curl -T", 0.9)],
        )  # fmt: skip
    with rclone_s3() as bucket:
        there = bucket.log_file.parent / "data" / BUCKET
        login = f"--s3-endpoint {bucket.endpoint} --s3-access-key-id {ALL} --s3-secret-access-key {shlex.quote(SECRET)}"
        copy = f"rclone --config /dev/null {login} --s3-provider Other copyto {file} :s3:{BUCKET}/large-$(date +%s%N)"
        yield Contest(
            "one large file into an object store",
            {"rclone copyto": _shell(copy, _cleared(there, "large-*")),
             "Pickup": _put(folder, "object_store", bucket.config("place"), there / "place", file)},
            [Goal("Pickup", "rclone copyto", 1.1)],
        )  # fmt: skip


def three(folder: Path, scale: float) -> Iterator[Contest]:
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
        clear = _gone(folder / "one/bench", folder / "two/bench", server.home(SHELL) / "place/bench")
        runs = {}
        for name, staging, chosen in (("staged", "staging", targets), ("streamed", None, targets),
                                      *((f"{each['name']} alone", None, [each]) for each in targets)):  # fmt: skip
            path = folder / f"config-{next(_numbers)}.py"
            path.write_text(_CONFIG.format(folder=folder, targets=chosen, staging=staging))
            path.chmod(0o600)
            runs[name] = [*PICKUP, "-c", str(path), "-q"]
        in_turn = "; ".join(shlex.join(runs[f"{name} alone"]) for name in ("one", "two", "far"))
        yield Contest(
            "three targets",
            {"the slowest alone": Contestant(runs["far alone"], before=clear),
             "one after another": Contestant(["sh", "-ec", in_turn], before=clear),
             "Pickup, staged": Contestant(runs["staged"], before=clear),
             "Pickup, streamed": Contestant(runs["streamed"], before=clear)},
            [Goal("Pickup, staged", "one after another", 0.6), Goal("Pickup, streamed", "the slowest alone", 1.15)],
        )  # fmt: skip


def _client(program: str, server: Server) -> str:
    known = f"-o UserKnownHostsFile={server.known_hosts}"
    return f"{program} -F /dev/null -P {server.port} -i {server.key} {known}"


def _put(folder: Path, profile: str, config: dict[str, Any], there: Path, what: Path) -> Contestant:
    """Let Pickup bring a file or folder to a target, whose folder is emptied before."""
    path = folder / f"options-{next(_numbers)}.json"
    path.write_text(json.dumps(config, default=str))
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.put", profile, path, what]
    return Contestant(command, before=_cleared(there, "new-*"), env={"PYTHONPATH": str(_ROOT)})


def _shell(text: str, before: Callable[[], None]) -> Contestant:
    return Contestant(["sh", "-ec", text], before=before)


def _gone(*paths: Path) -> Callable[[], None]:
    def remove() -> None:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    return remove


def _cleared(folder: Path, pattern: str) -> Callable[[], None]:
    def clear() -> None:
        _gone(*folder.glob(pattern))()

    return clear
