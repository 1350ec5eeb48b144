"""Assertions in the modules that several test modules share tell what they compared, as those of test modules do."""

import pytest

pytest.register_assert_rewrite(
    "tests.end_to_end.command", "tests.generator_contract", "tests.places", "tests.stored", "tests.target_contract"
)
