"""The store in memory that other tests rely on keeps the contract too."""

import pytest

from tests.builders import MemoryStore
from tests.target_contract import Connect, TargetContract


class TestMemory(TargetContract):
    @pytest.fixture
    def connect(self) -> Connect:
        store = MemoryStore()
        store.has_root = False
        return lambda: store
