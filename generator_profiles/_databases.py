"""Which databases of a server are dumped, and under which names: the same rules for each profile that dumps a server.

`database` and `exclude` are names and patterns, one or several: `*` stands for any text, `?` for one character.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pickup_core.api import names_matching


def listed(value: str | list[str]) -> list[str]:
    """Give what one of the two options says, as a list."""
    return [value] if isinstance(value, str) else value


def checked_names(value: str | list[str]) -> str | list[str]:
    """Give what one of the two options says. Raises `ValueError` where a name in it is empty."""
    if "" in listed(value):
        raise ValueError("has an empty name")
    return value


def plain_names(value: str | list[str]) -> list[str]:
    """Give those that are names, and no patterns."""
    return [name for name in listed(value) if not _is_pattern(name)]


@dataclass(frozen=True)
class Choice:
    """The databases to dump, each once, in the order in which they are asked for. One that is named is among them
    whether it is there or not. `unmatched` are the patterns of `database` for which there is none.
    """

    names: Sequence[str]
    unmatched: Sequence[str]
    notes: Sequence[str]
    """Sentences that tell which of `exclude` leave nothing out."""


def choice_of(database: str | list[str], exclude: str | list[str], there: Sequence[str]) -> Choice:
    """Choose among the databases that are there."""
    wanted = {text: names_matching(text, there) if _is_pattern(text) else [text] for text in listed(database)}
    names = list(dict.fromkeys(name for each in wanted.values() for name in each))
    excluded = {text: names_matching(text, [*there, *names]) for text in listed(exclude)}
    left_out = {name for each in excluded.values() for name in each}
    return Choice(
        [name for name in names if name not in left_out],
        [text for text, each in wanted.items() if not each],
        [f"exclude {text!r} matches no database" for text, each in excluded.items() if not each],
    )


def stem_of(database: str, reserved: str) -> str:
    """Give the name, without suffix, of a database's artefact. It is never the reserved one, which another artefact of
    the server has.
    """
    return f"{database}.database" if _is_like(database, reserved) else database


def database_of(stem: str, reserved: str) -> str:
    """Give the database whose artefact has this name, without suffix."""
    return stem.removesuffix(".database") if _is_like(stem, reserved) else stem


def _is_like(name: str, reserved: str) -> bool:
    return re.fullmatch(rf"{re.escape(reserved)}(\.database)*", name) is not None


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text
