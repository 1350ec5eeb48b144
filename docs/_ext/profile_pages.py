"""The manuals of the profiles, read from their files. No profile is imported: what one needs may be missing.

`.. profiles:: generator_profiles` gives a section for each module of that folder, with a label such as
`generator-folder`, and in it an anchor for each option, such as `generator-folder-exclude`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, switch_source_input
from sphinx.util.parsing import nested_parse_to_nodes
from sphinx.util.typing import ExtensionMetadata

from pickup_core.profiles import OptionManual, ProfileManual, describe


class Profiles(SphinxDirective):
    """A section for each profile of a folder."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir).parent / self.arguments[0]
        paths = sorted(folder.glob("[!_]*.py"))
        if not paths:
            raise self.error(f"{folder} holds no profile")
        self.env.note_dependency(str(folder))
        kind = folder.name.removesuffix("_profiles")
        return [self.profile_section(path, kind) for path in paths]

    def profile_section(self, path: Path, kind: str) -> nodes.section:
        """The manual of one profile."""
        self.env.note_dependency(str(path))
        manual = describe(path)
        label = f"{kind}-{manual.name}".lower()
        labels = self.env.domains.standard_domain
        labels.note_hyperlink_target(label, self.env.docname, label, manual.name)
        section = nodes.section("", nodes.title("", manual.name), ids=[label])
        section += self.parsed(manual.docstring, path)
        section += self.option_list(manual, path, label)
        return section

    def option_list(self, manual: ProfileManual, path: Path, label: str) -> nodes.Node:
        """The options of a profile, or the sentence that it has none."""
        if not manual.options:
            return nodes.paragraph("", "It has no options: its entry needs no config.")
        items = (self.option_item(option, path, f"{label}-{option.name}") for option in manual.options)
        return nodes.definition_list("", *items)

    def option_item(self, option: OptionManual, path: Path, label: str) -> nodes.definition_list_item:
        """Name, type and default in one line, the help below."""
        item = nodes.definition_list_item(
            "",
            nodes.term("", "", nodes.strong("", option.name), ids=[label]),
            nodes.classifier("", "", nodes.literal("", option.type)),
            nodes.classifier("", "", *default(option)),
            nodes.definition("", *self.parsed(option.help, path)),
        )
        self.set_source_info(item)
        return item

    def parsed(self, text: str, path: Path) -> list[nodes.Node]:
        """The nodes of a piece of reStructuredText that stands in this file, which a warning will name."""
        lines = StringList(text.splitlines(), source=str(path))
        with switch_source_input(self.state, lines):
            return nested_parse_to_nodes(self.state, lines)


def default(option: OptionManual) -> Iterator[nodes.Node]:
    """What is said about the default of an option."""
    if option.required:
        yield nodes.Text("required")
    else:
        yield nodes.Text("default ")
        yield nodes.literal("", option.default)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx of the directive."""
    app.add_directive("profiles", Profiles)
    return {"parallel_read_safe": True}
