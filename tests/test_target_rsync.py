"""The rsync target: the contract of all targets over SSH and to a daemon, and what rsync adds to it."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pickup_core.store import Store
from target_profiles.rsync import Config, Target
from tests.servers.rsync_sshd import RsyncHost, rsync_host
from tests.servers.rsyncd import PASSWORD, USER, RsyncDaemon, rsync_daemon
from tests.target_contract import Connect, TargetContract

AUTH = [f"auth users = {USER}", "secrets file = SECRETS"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[RsyncDaemon]:
    modules = {
        "open": [],
        "closed": AUTH,
        "read-only": ["read only = yes"],
        "append": ["refuse options = delete"],
    }
    with rsync_daemon(modules) as server:
        yield server


@pytest.fixture(scope="module")
def host() -> Iterator[RsyncHost]:
    with rsync_host() as server:
        yield server


class TestDaemon(TargetContract):
    @pytest.fixture
    def connect(self, daemon: RsyncDaemon, tmp_path: Path) -> Connect:
        self.root = daemon.folder / "closed" / tmp_path.name
        config = daemon.config("closed", path=tmp_path.name, user=USER, password=PASSWORD, spool=tmp_path)
        return lambda: Target(Config(**config))

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self.root / path).lstat().st_mode)


class TestHost(TargetContract):
    @pytest.fixture
    def connect(self, host: RsyncHost, tmp_path: Path) -> Connect:
        self.root = host.folder / "places" / tmp_path.name
        config = host.config(path=str(self.root), spool=tmp_path)
        return lambda: Target(Config(**config))

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self.root / path).lstat().st_mode)
