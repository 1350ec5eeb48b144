"""The command `completion`: a script with which a shell completes commands, options, files, and names of entries.

It is made from the parser of the command line by shtab, and starts nothing while one types: least of all the config,
which is code. So the names of entries are those that the config has when the script is made.
"""

import argparse
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence

from pickup_core.config import find_config, load_config
from pickup_core.errors import ConfigError
from pickup_core.session import Session

_PLAIN_NAME = r"[\w.-]+"  # which no shell takes for more than a word


def completion_command(session: Session) -> None:
    """Print the script for a shell."""
    print(script(session.options.parser, session.options.shell, *_names(session)))


def script(parser: argparse.ArgumentParser, shell: str, generators: Sequence[str], targets: Sequence[str]) -> str:
    """Give the script for a shell; `generators` and `targets` are the names of entries."""
    import shtab

    files = {"FILE": shtab.FILE, "FOLDER": shtab.DIRECTORY}
    for command, action in _actions(parser, ""):
        if action.metavar in files:
            action.complete = files[action.metavar]  # type: ignore[attr-defined]
        elif "--target" in action.option_strings or (command, action.dest) == ("copy", "to"):
            action.choices = _plain(targets)
        elif "--only" in action.option_strings:
            action.choices = _plain(generators)
    _add_default_command(parser)
    return shtab.complete(parser, shell)


def _names(session: Session) -> tuple[list[str], list[str]]:
    """Give the names of the config's entries; none where there is no config, or it has a mistake."""
    with contextlib.suppress(ConfigError):
        config = load_config(find_config(session.options.config))
        return [entry.name for entry in config.generators], [entry.name for entry in config.targets]
    return [], []


def _plain(names: Iterable[str]) -> list[str] | None:
    return [name for name in names if re.fullmatch(_PLAIN_NAME, name, re.ASCII)] or None


def _actions(parser: argparse.ArgumentParser, command: str) -> Iterator[tuple[str, argparse.Action]]:
    """Give each option and argument of a parser and of its commands, with the command that it belongs to."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _actions(below, name)
        else:
            yield command, action


def _add_default_command(parser: argparse.ArgumentParser) -> None:
    """Let the options of `run` be known without it, as it may be left out."""
    known = parser._option_string_actions
    for command, action in [*_actions(parser, "")]:
        if command == "run" and known.keys().isdisjoint(action.option_strings):
            parser._add_action(action)
