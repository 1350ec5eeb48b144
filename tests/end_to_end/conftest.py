"""A site for every test, looked over once more when the test ends."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.command import Site, end


@pytest.fixture(autouse=True, scope="session")
def _signals_as_cron_leaves_them() -> None:
    """Let commands be interrupted: what is started in the background, or with nohup, inherits that it is not."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fresh site, configured to keep the folder `source` in the folder `backups`."""
    site = Site(tmp_path / "site")
    site.configure()
    yield site
    left = site.processes()
    for pid in left:
        end(pid)
    assert not left, "a process was left behind"
    site.look_over()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB, which only root can make."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "small", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
