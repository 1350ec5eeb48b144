"""The reference of the command line, written by the parser itself.

`.. command-line:: pickup.py` gives the usage and the options that all commands have, then a section for each
command. Other pages refer to an option with ``:option:`pickup.py restore --to` ``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.rst import escape
from sphinx.util.typing import ExtensionMetadata

from pickup_core import cli

NOT_SHOWN = (argparse._HelpAction, argparse._SubParsersAction)


class CommandLine(SphinxDirective):
    """The options of Pickup, and a section for each of its commands."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(cli.__file__)
        program = self.arguments[0]
        parser = cli.parser()
        lines = list(manual(parser, program))
        for name, command, summary in commands(parser):
            lines += [name, "-" * len(name), ""]
            lines += manual(command, f"{program} {name}", summary)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Each command of a parser: its name, its own parser, its line in the help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, action.choices[choice.dest], choice.help or ""


def manual(parser: argparse.ArgumentParser, program: str, summary: str = "") -> Iterator[str]:
    """What a parser says about itself, as lines of reStructuredText."""
    parser.prog = program
    parser.color = False  # newer versions of argparse colour what goes to a terminal
    formatter = parser._get_formatter()
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    yield from paragraph(parser.description or summary)
    yield from [".. code-block:: text", ""]
    yield from (f"   {line}" for line in formatter.format_help().splitlines())
    yield from ["", f".. program:: {program}", ""]
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, NOT_SHOWN):
            continue
        text = formatter._expand_help(action) if action.help else ""
        yield from [f".. option:: {formatter._format_action_invocation(action)}", ""]
        yield from (f"   {line}" for line in paragraph(text))
    yield from paragraph(parser.epilog or "")


def paragraph(text: str) -> Iterator[str]:
    """Plain text as lines of reStructuredText."""
    yield from escape(text).splitlines()
    yield ""


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx of the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
