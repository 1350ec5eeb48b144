"""A real sshd, over which rsync is spoken: one key may do anything, another one only `rrsync` into one folder."""

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.running import free_port, required, running, server_folder
from tests.servers.sshd import CONFIG, known_line, make_key, public_key


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
            make_key(path)
        may_all, may_little = (public_key(path) for path in (host.key_file, host.narrow_key_file))
        forced = f'command="{required("rrsync")} {host.narrow}",restrict'
        (folder / "authorized_keys").write_text(f"{may_all}{forced} {may_little}")
        host.known_hosts.write_text(known_line(host.port, host_key))
        (folder / "conf").write_text(CONFIG.format(port=host.port, folder=folder) + _ONLY_KEYS.format(user=_user()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with running([required("sshd"), "-D", "-e", "-f", folder / "conf"], host.port, folder / "log"):
            yield host


_ONLY_KEYS = """
AllowUsers {user}
PermitRootLogin yes
PasswordAuthentication no
"""
