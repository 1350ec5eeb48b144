"""Real servers that speak S3: SeaweedFS, a distributed store with the right semantics, and rclone's, a simple one."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.running import free_port, required, running, server_folder

BUCKET = "backups"
ALL, READER, APPENDER = "all", "reader", "appender"
SECRET = "correct/horse+battery=staple"
_PROGRAMS = str(Path(sys.executable).parent)
_MAY = {ALL: ["Admin"], READER: ["Read", "List"], APPENDER: ["Read", "List", "Write"]}


@dataclass(frozen=True)
class S3Server:
    """A server that runs. `log` is what it has said so far."""

    port: int
    log_file: Path
    pid: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def config(self, prefix: str = "", user: str = ALL, **options: Any) -> dict[str, Any]:
        """Give the config of an entry."""
        usual = dict(url=f"s3://{BUCKET}/{prefix}".rstrip("/"), endpoint=self.endpoint, region="us-east-1",
                     access_key_id=user, secret_access_key=SECRET, timeout=20)  # fmt: skip
        return {**usual, **options}

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


@contextlib.contextmanager
def seaweedfs() -> Iterator[S3Server]:
    """Run SeaweedFS with one bucket and three users: one may do all, one reads only, one may not delete."""
    with server_folder(memory=2**30) as folder:
        names = ("master", "volume", "filer", "s3")
        ports = {name: (free_port(), free_port()) for name in names}
        users = [{"name": name, "credentials": [{"accessKey": name, "secretKey": SECRET}], "actions": actions}
                 for name, actions in _MAY.items()]  # fmt: skip
        (folder / "s3.json").write_text(json.dumps({"identities": users}))
        command = [required("weed", _PROGRAMS), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                   "-filer", "-s3", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=20",
                   "-master.telemetry=false"]  # fmt: skip
        for name, (port, grpc) in ports.items():
            command += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
        port = ports["s3"][0]
        with running(command, port, folder / "log", end=signal.SIGKILL) as pid:
            server = S3Server(port, folder / "log", pid)
            make = ["--s3-endpoint", server.endpoint, "--s3-access-key-id", ALL, "--s3-secret-access-key", SECRET,
                    "--s3-provider", "Other", "mkdir", f":s3:{BUCKET}"]  # fmt: skip
            subprocess.run([required("rclone", _PROGRAMS), "--config", "/dev/null", *make], check=True, timeout=20)
            yield server


@contextlib.contextmanager
def rclone_s3(*options: str, open_to_all: bool = False) -> Iterator[S3Server]:
    """Run rclone's server with one bucket and one user, or for everybody. It knows no conditions, and tells in its log
    what it is asked.
    """
    with server_folder() as folder:
        (folder / "data" / BUCKET).mkdir(parents=True)
        port = free_port()
        command = [required("rclone", _PROGRAMS), "--config", "/dev/null", "serve", "s3", "-vv", "--addr",
                   f"127.0.0.1:{port}", *options, f"{folder}/data"]  # fmt: skip
        if not open_to_all:
            command += ["--auth-key", f"{ALL},{SECRET}"]
        with running(command, port, folder / "log") as pid:
            yield S3Server(port, folder / "log", pid)
