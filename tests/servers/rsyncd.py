"""A real rsync daemon with modules of its own."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.running import free_port, required, running, server_folder

USER = "web01"
PASSWORD = "correct:horse\\battery"


@dataclass(frozen=True)
class RsyncDaemon:
    """A daemon that runs. Each module serves the folder of its name in `folder`."""

    port: int
    folder: Path

    def config(self, module: str, **more: Any) -> dict[str, Any]:
        """Give the config of an entry."""
        return {"host": "127.0.0.1", "port": self.port, "module": module, "connect_timeout": 5, **more}

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


@contextlib.contextmanager
def rsync_daemon(modules: Mapping[str, Sequence[str]]) -> Iterator[RsyncDaemon]:
    """Start a daemon with these modules, each with these lines of its config more than the usual ones."""
    with server_folder(memory=2**28) as folder:
        port = free_port()
        user = ["uid = root", "gid = root"] if os.geteuid() == 0 else []
        lines = ["address = 127.0.0.1", f"port = {port}", f"pid file = {folder}/pid", f"lock file = {folder}/lock",
                 f"log file = {folder}/log", f"motd file = {folder}/motd", "use chroot = no",
                 "socket options = TCP_NODELAY", *user]  # fmt: skip
        for name, more in modules.items():
            (folder / name).mkdir()
            lines += [f"[{name}]", f"path = {folder / name}", "read only = no", *more]
        (folder / "motd").write_text("Welcome!\n-rw-r--r-- 1 2026/11/23 03:15:02 motd\n")
        (folder / "conf").write_text("\n".join(lines).replace("SECRETS", f"{folder}/secrets") + "\n")
        (folder / "secrets").touch(0o600)
        (folder / "secrets").write_text(f"{USER}:{PASSWORD}\n")
        command = [required("rsync"), "--daemon", "--no-detach", f"--config={folder}/conf"]
        with running(command, port, folder / "out"):
            yield RsyncDaemon(port, folder)
