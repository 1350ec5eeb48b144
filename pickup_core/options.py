"""`Options`: what an entry's `config` may say.

A profile declares `class Config(Options)` with typed fields; the text under a field is its help. Pydantic checks the
values and reports every problem at once, and nothing that was not declared is accepted.
"""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

HOST = r"^[A-Za-z0-9:][A-Za-z0-9.:_-]*$"
"""The pattern of a host's name or address, which no program takes for an option."""
_LONGEST_TEXT = 65_536


class Options(BaseModel):
    """The root of every profile's `Config`: frozen, no unknown keys, paths made absolute.

    A relative `Path` is relative to the config file, `~` is the home folder. Texts hold no NUL, paths no control
    characters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True)

    @property
    def written_folders(self) -> Sequence[Path]:
        """The local folders that a run writes to for this entry, but for its scratch folder: a service that may write
        nowhere else is let in there.
        """
        return ()

    @field_validator("*", mode="wrap")
    @classmethod
    def _anchor(cls, given: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        value, folder = validate(given), (info.context or {}).get("folder")
        many = (given, value) if isinstance(given, list) and isinstance(value, list) else ([given], [value])
        if any(text == "" and isinstance(path, Path) for text, path in zip(*many, strict=False)):
            raise ValueError("is empty; . is the folder of the config")
        return _each(value, lambda leaf: _checked(leaf, folder))


def remote_path(path: str) -> str:
    """Give a path on another machine without what it can do without, such as `./` and `//`.

    Raises `ValueError` where it is none that means the same to every server.
    """
    if not path or any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise ValueError("is empty or has a control character; . is the folder that the login leads to")
    if path.startswith("~"):
        raise ValueError("begins with ~; a path without / at its beginning is relative to the login's folder")
    if ".." in path.split("/"):
        raise ValueError("has .. in it; write the path without")
    return posixpath.normpath(path)


def parsed(parse: Callable[[Any], Any], kind: type) -> BeforeValidator:
    """Give the validator for an option that is written as a text and has a type of its own."""
    return BeforeValidator(lambda value: value if isinstance(value, kind) else parse(value))


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply `change` to a value, or to each value of a list, tuple, set or dict of them."""
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_each(item, change) for item in value)
    if isinstance(value, Mapping):
        return {change(key): _each(item, change) for key, item in value.items()}
    return change(value)


def _checked(leaf: Any, folder: Path | None) -> Any:
    if isinstance(leaf, str | Path):
        if "\0" in str(leaf):
            raise ValueError("holds a NUL character")
        if len(str(leaf)) > _LONGEST_TEXT:
            raise ValueError(f"is longer than {_LONGEST_TEXT} characters")
    if isinstance(leaf, Path):
        if any(ord(character) < 32 or ord(character) == 127 for character in str(leaf)):
            raise ValueError("is a path with a control character in it")
        try:
            return (Path.cwd() if folder is None else folder) / leaf.expanduser()
        except RuntimeError:
            raise ValueError("begins with ~, but there is no home folder; write the whole path") from None
    return leaf
