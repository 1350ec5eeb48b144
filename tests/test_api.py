"""`pickup_core.api`: the one module that a profile imports. What it exports is a promise."""

import inspect

import pytest

from pickup_core import api

PROMISED = {
    "API_VERSION", "ARCHIVE_SUFFIX", "BLOCK", "CONTENTS_SUFFIX", "HOST", "STAGING_MARK", "TAR_ENVIRONMENT", "Artefact", "Found", "Item",
    "Judgement", "Listed", "NoRootError", "Options", "Output", "PickupError", "ProcessError", "Readable", "RefusedError", "Secret", "Store",
    "StoreError", "Stored", "Terms", "UnreachableError", "Writable", "acting_as", "broken", "expression", "failure", "feed", "files_in", "in_words", "label_options", "make_file", "make_folder", "metered", "moved",
    "names_in_words", "names_matching", "other_user", "others_may_write", "output_of", "pip_install", "raise_if_stopped", "read_listing", "read_trusted", "remote_path", "require_program", "secret_command",
    "secret_credential", "secret_env", "secret_file", "short_line", "ssh_command", "text_of", "tls_context", "unescaped", "way_to",
}  # fmt: skip


def test_nothing_that_was_promised_is_gone() -> None:
    """A profile written for version 1.0 works with every later 1.x; what is new comes with a new minor version."""
    assert api.API_VERSION[0] == 1
    assert set(api.__all__) >= PROMISED
    if api.API_VERSION == (1, 0):
        assert set(api.__all__) == PROMISED


def test_everything_that_is_exported_is_there_and_in_order() -> None:
    assert len(set(api.__all__)) == len(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)
    assert api.__all__ == sorted(api.__all__, key=lambda name: (name[0].islower(), not name.isupper(), name))


def test_everything_that_is_there_is_exported() -> None:
    names = {name for name in vars(api) if not name.startswith("_")}
    assert names == set(api.__all__)


@pytest.mark.parametrize("name", sorted(name for name in PROMISED if callable(getattr(api, name, None))))
def test_everything_that_is_exported_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(api, name))


def test_the_version_is_two_numbers() -> None:
    assert [type(part) for part in api.API_VERSION] == [int, int]
