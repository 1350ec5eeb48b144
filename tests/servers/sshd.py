"""A real OpenSSH server that serves four users: one with a shell, one whose shell loses and changes bytes, one that is
shut into a folder with SFTP alone, and one that may not delete there.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.running import free_port, hashed, not_for_this_user, processes_below, required, running

SHELL, LYING, SFTP, APPENDING = "pickup-shell", "pickup-lies", "pickup-sftp", "pickup-append"
PASSWORD = "correct:horse\\battery"
_HOMES = {SHELL: "home", LYING: "lying", SFTP: "jail/home", APPENDING: "jail/appending"}
_FIRST_ID = 61201
_IN_ITS_OWN_SPACE = """
set -e
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs -o size=1m,mode=777 none "$1/home/small"
mount -t tmpfs -o size=1m,mode=777 none "$1/jail/home/small"
shift
exec "$@"
"""


@dataclass(frozen=True)
class Server:
    """A server that runs. `folder` holds its files, keys and the homes of its users."""

    folder: Path
    port: int
    pid: int

    def home(self, user: str) -> Path:
        return self.folder / _HOMES[user]

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.folder / "host_key.pub")

    def config(self, user: str = SHELL, **options: Any) -> dict[str, Any]:
        """Give the config of an entry, without its path."""
        usual = dict(host="127.0.0.1", port=self.port, user=user, key_file=self.key, known_hosts=self.known_hosts,
                     ssh_config=self.folder / "ssh_config", timeout=20)  # fmt: skip
        return {**usual, **options}

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def children(self) -> list[int]:
        """Give the process ids of the connections that it serves, and those below them."""
        return processes_below(self.pid)


def fingerprint(public_key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-l", "-f", public_key], capture_output=True, text=True, check=True)
    return shown.stdout.split()[1]


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)
    return path


def known_line(port: int, host_key: Path) -> str:
    """Give the line of a known_hosts file."""
    return f"[127.0.0.1]:{port} {' '.join(public_key(host_key).split()[:2])}\n"


def public_key(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text()


@contextlib.contextmanager
def sshd() -> Iterator[Server]:
    """Run a server until the `with` is left, in a mount name space of its own, which has its users and two small disks.

    Only root may do that; for others the test is skipped.
    """
    if os.geteuid() != 0:
        not_for_this_user("only root can run a server for several users")
    # Not below /tmp: all that is above the jail must belong to root, and nobody else may write there.
    with tempfile.TemporaryDirectory(prefix="pickup-sshd-", dir="/run") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        _write_users(folder)
        host_key = make_key(folder / "host_key")
        (folder / "authorized_keys").write_text(public_key(make_key(folder / "key")))
        (folder / "known_hosts").write_text(known_line(port, host_key))
        _write_program(folder / "lies", _LIES.format(folder=folder))
        _write_program(folder / "programs/cat", "exec tr x y | exec head -c 100000\n")
        (folder / "conf").write_text(_CONFIG.format(folder=folder, port=port))
        command = ["unshare", "--mount", "sh", "-c", _IN_ITS_OWN_SPACE, "sh", str(folder), required("sshd"), "-D", "-e", "-f",
                   str(folder / "conf")]  # fmt: skip
        with running(command, port, folder / "log") as pid:
            yield Server(folder, port, pid)


def _write_users(folder: Path) -> None:
    secret = hashed(PASSWORD)
    passwd, group, shadow = (Path("/etc", name).read_text() for name in ("passwd", "group", "shadow"))
    for number, (user, home) in enumerate(_HOMES.items(), _FIRST_ID):
        seen_as = f"/{home.removeprefix('jail/')}" if home.startswith("jail/") else folder / home
        passwd += f"{user}:x:{number}:{number}::{seen_as}:/bin/sh\n"
        group += f"{user}:x:{number}:\n"
        shadow += f"{user}:{secret}:19000:0:99999:7:::\n"
        (folder / home / "small").mkdir(parents=True)
        os.chown(folder / home, number, number)
    for name, text, mode in (("passwd", passwd, 0o644), ("group", group, 0o644), ("shadow", shadow, 0o600)):
        (folder / name).write_text(text)
        (folder / name).chmod(mode)


def _write_program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)


_LIES = """
case $SSH_ORIGINAL_COMMAND in
    *sftp*) exec /usr/lib/openssh/sftp-server ;;
    *) PATH={folder}/programs:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND" ;;
esac
"""
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
KbdInteractiveAuthentication no
UseDNS no
MaxStartups 100
"""
"""What every sshd of the tests is told."""
_CONFIG = f"""{CONFIG}
PasswordAuthentication yes
AllowUsers {" ".join(_HOMES)}
Subsystem sftp internal-sftp
Match User {LYING}
    ForceCommand {{folder}}/lies
Match User {SFTP}
    ChrootDirectory {{folder}}/jail
    ForceCommand internal-sftp
Match User {APPENDING}
    ChrootDirectory {{folder}}/jail
    ForceCommand internal-sftp -u 0077 -P remove,rmdir,rename,posix-rename,setstat,fsetstat
"""
