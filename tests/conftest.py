"""What all test modules have: the folder that a generator profile is given, and assertions in the modules that several
test modules share, which tell what they compared.
"""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "tests.end_to_end.command", "tests.generator_contract", "tests.places", "tests.stored", "tests.target_contract"
)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A private folder, as a generator profile is given one."""
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o700)
    return folder
