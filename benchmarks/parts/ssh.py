"""Bringing data to a host over SSH, beside the programs of OpenSSH."""

from collections.abc import Generator
from pathlib import Path

from benchmarks.corpora import large, small_files
from benchmarks.measuring import Contest, Contestant, Goal, shell
from benchmarks.parts.targets import gone, put
from tests.servers.sshd import SFTP, SHELL, Server, sshd

_ARTEFACTS = 1000


def ssh(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give contests of one large file, and of many small ones, with a shell on the other side and with SFTP alone."""
    file = large(folder / "large", scale)
    count = int(_ARTEFACTS * scale) or 1
    small = small_files(folder / "small", count)
    with sshd() as server:
        for user, how, most in ((SHELL, "with a shell", 0.85), (SFTP, "with SFTP alone", 1.25)):
            there = server.home(user)
            copy = f"{client('scp', server)} {file} {user}@127.0.0.1:large"
            yield Contest(
                f"one large file over SSH, {how}",
                {"scp": Contestant(shell(copy), after=gone(there / "large")),
                 "Pickup": put_over_ssh(folder, server, user, file)},
                [Goal("Pickup", most, "scp")],
            )  # fmt: skip
            batch = f"printf 'put -r {small} copied\\n' | {client('sftp', server)} -q -b - {user}@127.0.0.1"
            yield Contest(
                f"{count} files of 4 KiB over SSH, {how}",
                {"sftp put -r": Contestant(shell(batch), after=gone(there / "copied")),
                 "Pickup": put_over_ssh(folder, server, user, small)},
                [Goal("Pickup", 1.5, "sftp put -r")],
            )  # fmt: skip


def client(program: str, server: Server) -> str:
    """Give the beginning of a command line of `ssh`, `scp` or `sftp`."""
    port = f"{'-p' if program == 'ssh' else '-P'} {server.port}"
    return f"{program} -F /dev/null {port} -i {server.key} -o UserKnownHostsFile={server.known_hosts}"


def put_over_ssh(folder: Path, server: Server, user: str, what: Path) -> Contestant:
    """Let Pickup bring a file or folder to a user of the server."""
    return put(folder, "ssh", server.config(user, path="place"), server.home(user) / "place", what)
