"""What all test modules have: a watch over what Pickup makes and starts, the seed of chance, the folder that a generator
profile is given, and assertions in the modules that several test modules share, which tell what they compared.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watch import watched

pytest.register_assert_rewrite(
    "tests.end_to_end.command", "tests.generator_contract", "tests.places", "tests.stored", "tests.target_contract"
)


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Watch over every test."""
    with watched():
        yield


@pytest.fixture
def seed() -> int:
    """Give the seed of what a test leaves to chance; `PICKUP_SEED` repeats one."""
    seed = int(os.environ.get("PICKUP_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"PICKUP_SEED={seed}")
    return seed


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A private folder, as a generator profile is given one."""
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o700)
    return folder
