"""The faults that Pickup is tested against, read from the catalogue beside the tests.

`.. faults::` gives a section for each part of the catalogue, with a table of what goes wrong, what Pickup then does,
and the tests that see to it. A fault without a test is an error.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes
from sphinx.util.typing import ExtensionMetadata

from tests.faults.catalogue import CATALOGUE, TESTS, Fault, faults

_SHOWN = 3


class Faults(SphinxDirective):
    """All of the catalogue."""

    def run(self) -> list[nodes.Node]:
        for path in (CATALOGUE, *TESTS.rglob("*.py")):
            self.env.note_dependency(str(path))
        found = faults()
        bare = [fault.id for fault in found if fault.applies and not fault.tests]
        if bare:
            raise self.error(f"no test names {', '.join(bare)}")
        sections: list[nodes.Node] = []
        for title, rows in groupby(found, lambda fault: fault.section):
            section = nodes.section("", nodes.title("", title), ids=[nodes.make_id(title)])
            section += nested_parse_to_nodes(self.state, "\n".join(table(list(rows))))
            sections.append(section)
        return sections


def table(rows: list[Fault]) -> list[str]:
    """Give the lines of a table of these faults."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 6 32 42 20", ""]
    lines += ["   * - Id", "     - What goes wrong", "     - What Pickup does", "     - Tests"]
    for row in rows:
        tests = [Path(test.partition("::")[0]).stem for test in row.tests]
        files = [f"``{name}``" for name in sorted(set(tests), key=tests.index)][:_SHOWN]
        counted = f"{len(tests)} in {', '.join(files)}" if tests else "none"
        more = ", ..." if len(set(tests)) > _SHOWN else ""
        lines += [f"   * - {row.id}", f"     - {row.what}", f"     - {row.outcome}", f"     - {counted}{more}"]
    return lines


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx of the directive."""
    app.add_directive("faults", Faults)
    return {"parallel_read_safe": True}
