"""The ssh target: the contract of all targets, both ways, and what SSH adds to it."""

import itertools
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pickup_core.store import Store
from target_profiles.ssh import Config, Target
from tests.servers.sshd import SFTP, SHELL, Server, sshd
from tests.target_contract import Connect, TargetContract

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with sshd() as running:
        yield running


def target_at(server: Server, user: str = SHELL, **options: Any) -> Target:
    return Target(Config(**{"path": f"place{next(_numbers)}", **server.config(user, **options)}))


class Contract(TargetContract):
    user = ""

    @pytest.fixture
    def connect(self, server: Server) -> Connect:
        config = Config(path=f"place{next(_numbers)}", **server.config(self.user))
        self.root = server.home(self.user) / config.path
        return lambda: Target(config)

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self.root / path).lstat().st_mode)


class TestWithAShell(Contract):
    user = SHELL


class TestWithSFTPAlone(Contract):
    user = SFTP
