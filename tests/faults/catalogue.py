"""The faults that Pickup is tested against: what goes wrong, what Pickup then does, and the tests that see to it.

`catalogue.txt` lists them. A test names the faults that it injects in its docstring, by their ids: `T2`, `G14`.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
CATALOGUE = Path(__file__).with_name("catalogue.txt")
_ID = re.compile(r"\b[CEFGIKLRSTVW][0-9]{1,2}\b")
_NOT_FOR_US = "does not apply: "


@dataclass(frozen=True)
class Fault:
    """One row: its id, the section that it stands in, what goes wrong, and what then happens."""

    id: str
    section: str
    what: str
    outcome: str
    tests: list[str] = field(default_factory=list)
    """The tests that inject it, as `file::name` below the folder of tests."""

    @property
    def applies(self) -> bool:
        """False where Pickup has nothing that could go wrong so; the outcome says why."""
        return not self.outcome.startswith(_NOT_FOR_US)


def faults() -> list[Fault]:
    """Give all rows in their order, with their tests."""
    found: list[Fault] = []
    section = ""
    for block in re.split(r"\n(?=\S)", CATALOGUE.read_text(encoding="utf-8").strip()):
        if block.startswith("= "):
            section = block[2:].strip()
            continue
        head, _, outcome = block.partition("\n")
        name, _, what = head.partition(": ")
        found.append(Fault(name, section, what, " ".join(outcome.split())))
    by_id = {fault.id: fault for fault in found}
    for test, names in ids_in_tests():
        for name in names & by_id.keys():
            by_id[name].tests.append(test)
    return found


def ids_in_tests() -> Iterator[tuple[str, set[str]]]:
    """Give each test with the ids that its docstring names."""
    for path in sorted(TESTS.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                names = set(_ID.findall(ast.get_docstring(node) or ""))
                yield f"{path.relative_to(TESTS).as_posix()}::{node.name}", names
