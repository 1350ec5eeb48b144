"""Debian's cron with folders of the test's own: it sees no job of this machine, and its mail goes into a folder."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers.running import not_for_this_user, required

_ALONE = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc")
_SENDMAIL = """#!/bin/sh
cat > "{mail}/.$$" && mv "{mail}/.$$" "{mail}/$$"
"""
_START = """
mount --bind {folder}/cron.d /etc/cron.d
mount --bind {folder}/crontabs /var/spool/cron/crontabs
mount --bind {folder}/crontab /etc/crontab
mount --bind {folder}/run /run
mount --bind {folder}/sbin /usr/sbin
exec {folder}/cron -f
"""


@dataclass(frozen=True)
class Cron:
    """A cron that runs."""

    folder: Path

    def mail(self) -> list[str]:
        """Give all that it has mailed so far."""
        return [path.read_text() for path in (self.folder / "mail").iterdir() if not path.name.startswith(".")]


@contextlib.contextmanager
def cron(folder: Path, jobs: Mapping[str, str]) -> Iterator[Cron]:
    """Run cron until the `with` is left, in namespaces of its own. That takes root. `jobs` are the files of its
    `/etc/cron.d`; they are there before it starts, as it tells by the second whether that folder has changed.
    """
    program = required("cron")
    if os.geteuid() != 0 or subprocess.run([*_ALONE, "true"], capture_output=True, check=False).returncode:
        not_for_this_user("cron is shown other folders by root alone, who may make namespaces")
    for name in ("cron.d", "crontabs", "run", "sbin", "mail"):
        (folder / name).mkdir(parents=True)
    (folder / "crontab").touch()
    for name, text in jobs.items():
        (folder / "cron.d" / name).write_text(text)
        (folder / "cron.d" / name).chmod(0o644)
    (folder / "sbin/sendmail").write_text(_SENDMAIL.format(mail=folder / "mail"))
    (folder / "sbin/sendmail").chmod(0o755)
    shutil.copy(program, folder / "cron")
    with (folder / "log").open("wb") as log:
        command = [*_ALONE, "sh", "-e", "-c", _START.format(folder=folder)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield Cron(folder)
        assert process.poll() is None, (folder / "log").read_text()
    finally:
        process.send_signal(signal.SIGKILL)  # its namespace ends with it, and whoever is in there
        process.wait()
