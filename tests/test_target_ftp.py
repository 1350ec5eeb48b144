"""The FTP target: the contract of all targets on three kinds of server, and what can go wrong with the protocol."""

import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pickup_core.store import Store
from target_profiles.ftp import Config, Target
from tests.servers.ftpd import Server, pyftpd, vsftpd
from tests.target_contract import Connect, TargetContract


def target_at(server: Server, **changed: Any) -> Target:
    return Target(Config(**server.options(**changed)))


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    """No MLSD; TLS, whose session has to be reused."""
    with vsftpd() as server:
        yield server


@pytest.fixture(scope="module")
def old_server() -> Iterator[Server]:
    """T9, T11: neither MLSD nor SIZE, nor anything else that came after 1985."""
    with pyftpd(without=("MLSD", "MLST", "SIZE", "MDTM", "EPSV", "EPRT", "FEAT")) as server:
        yield server


@pytest.fixture(scope="module")
def modern_server() -> Iterator[Server]:
    """MLSD and all."""
    with pyftpd() as server:
        yield server


class _Contract(TargetContract):
    """The contract, in a place of its own for each test, on the server of the class."""

    kind: str

    @pytest.fixture
    def connect(self, request: pytest.FixtureRequest) -> Connect:
        server, path = request.getfixturevalue(self.kind), f"{uuid.uuid4().hex}/a place"
        self._home = server.folder
        return lambda: target_at(server, path=path)

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self._home / store.config.path / path).lstat().st_mode)


class TestStrictServer(_Contract):
    kind = "strict_server"


class TestOldServer(_Contract):
    kind = "old_server"


class TestModernServer(_Contract):
    kind = "modern_server"
