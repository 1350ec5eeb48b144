"""A real sshd, over which rsync is spoken: one key may do anything, another one only `rrsync` into one folder."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.running import free_port, required, running, server_folder


@dataclass(frozen=True)
class RsyncHost:
    """A host that runs. `folder` may be written to by whoever logs in, `narrow` is all that the second key opens."""

    port: int
    folder: Path
    narrow: Path

    @property
    def key_file(self) -> Path:
        return self.folder / "keys of 'all' of us"

    @property
    def narrow_key_file(self) -> Path:
        return self.folder / "narrow"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known hosts"

    def config(self, **more: Any) -> dict[str, Any]:
        """Give the config of an entry."""
        return {"host": "127.0.0.1", "port": self.port, "user": _user(), "key_file": self.key_file,
                "known_hosts": self.known_hosts, "connect_timeout": 10, **more}  # fmt: skip


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@contextlib.contextmanager
def rsync_host() -> Iterator[RsyncHost]:
    """Start an sshd that serves the user whom the tests run as."""
    with server_folder(memory=2**28) as folder:
        host = RsyncHost(free_port(), folder, folder / "narrowed")
        host.narrow.mkdir()
        host_key = folder / "host_key"
        for path in (host_key, host.key_file, host.narrow_key_file):
            command = [required("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", path]
            subprocess.run(command, check=True, timeout=60)
        may_all, may_little = (_public(path) for path in (host.key_file, host.narrow_key_file))
        forced = f'command="{required("rrsync")} {host.narrow}",restrict'
        (folder / "authorized_keys").write_text(f"{may_all}{forced} {may_little}")
        host.known_hosts.write_text(f"[127.0.0.1]:{host.port} {_public(host_key)}")
        (folder / "conf").write_text(_CONFIG.format(port=host.port, folder=folder, user=_user()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with running([required("sshd"), "-D", "-e", "-f", folder / "conf"], host.port, folder / "log"):
            yield host


def _public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text()


_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized_keys
AllowUsers {user}
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
"""
