"""Bringing data to a host that is far away: over a line with 20 ms from here to there and back."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from benchmarks.corpora import large, small_files
from benchmarks.line import long_line
from benchmarks.measuring import Contest, Contestant, Goal, shell
from benchmarks.parts.ssh import client, put_over_ssh
from benchmarks.parts.targets import gone
from tests.servers.sshd import SFTP, SHELL, known_line, sshd

_ROUND_TRIP = 0.02
_ARTEFACTS = 200
_SHELL, _SFTP = "Pickup, with a shell", "Pickup, with SFTP alone"


def far(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give contests of one large file, and of many small ones. Where there is no shell, `tar` is none of the peers."""
    file = large(folder / "large", scale)
    count = int(_ARTEFACTS * scale) or 1
    small = small_files(folder / "small", count)
    with sshd() as near, long_line(near.port, _ROUND_TRIP) as port:
        server = replace(near, port=port)
        with near.known_hosts.open("a") as known:
            known.write(known_line(port, near.folder / "host_key"))
        there = server.home(SHELL)
        yield Contest(
            "one large file over SSH, 20 ms away",
            {"scp": Contestant(
                shell(f"{client('scp', server)} {file} {SHELL}@127.0.0.1:large"), after=gone(there / "large")
             ),
             _SHELL: put_over_ssh(folder, server, SHELL, file),
             _SFTP: put_over_ssh(folder, server, SFTP, file)},
            [Goal(_SHELL, 1.1, "scp")],
        )  # fmt: skip
        unpack = f"{client('ssh', server)} {SHELL}@127.0.0.1 'mkdir copied; tar -xf - -C copied'"
        batch = f"printf 'put -r {small} copied\\n' | {client('sftp', server)} -q -b - {SHELL}@127.0.0.1"
        yield Contest(
            f"{count} files of 4 KiB over SSH, 20 ms away",
            {"tar | ssh tar -x": Contestant(
                shell(f"tar -cf - -C {small} . | {unpack}"), after=gone(there / "copied")
             ),
             "sftp put -r": Contestant(shell(batch), after=gone(there / "copied")),
             _SHELL: put_over_ssh(folder, server, SHELL, small),
             _SFTP: put_over_ssh(folder, server, SFTP, small)},
            [Goal(_SHELL, 1.5, "tar | ssh tar -x")],
        )  # fmt: skip
