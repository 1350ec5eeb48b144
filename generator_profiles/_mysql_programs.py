"""The programs of MariaDB and MySQL that dump and load for the profile `mysql`: which one fits, and its options.

Both families have programs for the same work, whose options differ. So each program is asked for its help first.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pickup_core.api import Terms, require_program, text_of

DUMPING = Terms(env={"MYSQL_PWD": None})
LOADING = Terms(env={"MYSQL_PWD": None}, stall=86_400)  # a statement may take hours
_DUMP_OPTIONS = ("--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob",
                 "--default-character-set=utf8mb4", "--max-allowed-packet=1G",
                 "--skip-add-locks")  # fmt: skip  # between LOCK TABLES no column gets its default from a sequence
_HISTORY = "--dump-history"
_DUMP_OPTIONS_WHERE_KNOWN = ("--no-tablespaces", _HISTORY, "--set-gtid-purged=OFF", "--column-statistics=0")
_NOT_FOR_DUMP = ("comments", "compact", "result-file", "tab", "xml", "databases", "all-databases", "tables", "system",
                 "no-create-db", "add-drop-database", "default-character-set", "compatible", "quote-names", "log-error",
                 "host", "port", "socket", "protocol", "user", "password", "defaults-file", "defaults-extra-file",
                 "defaults-group-suffix", "no-defaults", "print-defaults", "help", "version")  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """A program of MariaDB's or MySQL's, with what its `--help` says."""

    program: str
    help: str

    @property
    def version(self) -> str:
        found = re.search(r"(\d+\.\d+\.\d+)-MariaDB", self.help) or re.search(r"Ver (\d+[\d.]*)", self.help)
        return found[1] if found else "of an unknown version"

    @property
    def label(self) -> str:
        return f"{Path(self.program).name} {self.version}"

    @property
    def is_mariadb(self) -> bool:
        return "MariaDB" in self.help

    def knows(self, option: str) -> bool:
        return re.search(rf"(?<![\w-]){option.partition('=')[0]}(?![\w-])", self.help) is not None


def dump_tool(program: str | None, is_mariadb: bool) -> Tool:
    """Give the program that dumps: the one that is named, else the one that is made for this kind of server."""
    return _tool(program) if program else _fitting(["mariadb-dump", "mysqldump"], is_mariadb)


def client_tool(program: str | None, is_mariadb: bool) -> Tool:
    """Give the program that loads, beside the one that dumps where that is named by its path."""
    folder = f"{program.rpartition('/')[0]}/" if program and "/" in program else ""
    return _fitting([f"{folder}mariadb", f"{folder}mysql"], is_mariadb)


def check_dump_option(word: str) -> None:
    """Raise `ValueError` for an option of the dump program's that must not be set."""
    if not re.match(r"--[a-z]", word):
        raise ValueError(f"{word!r} should be written as --name or --name=value, in one word")
    name = word[2:].partition("=")[0].replace("_", "-").lower()
    stem = re.sub(r"\A((loose|skip|disable|enable|maximum)-)+", "", name)
    if any(known.startswith(stem) for known in _NOT_FOR_DUMP):
        raise ValueError(f"{word!r} would change where the dump goes, or how its end is recognised")


def dump_command(tool: Tool, options: Path, more: Sequence[str], name: str, with_history: bool) -> list[str]:
    """Give the command that dumps a database. Its name stands behind `--`, so none can be an option, in bytes of UTF-8,
    whatever the locale is.
    """
    known = [option for option in _DUMP_OPTIONS_WHERE_KNOWN if tool.knows(option)]
    known = [option for option in known if with_history or option != _HISTORY]
    return [tool.program, f"--defaults-file={options}", *_DUMP_OPTIONS, *known, *more,
            "--databases", "--", os.fsdecode(name.encode())]  # fmt: skip


def load_command(tool: Tool, options: Path) -> list[str]:
    """Give the command that loads what it reads. Without --binary-mode it would change line ends, and could be told by
    a dump to start others; without --comments it would take them out of routines.
    """
    quiet = ["--skip-print-query-on-error"] if tool.knows("--print-query-on-error") else []
    return [tool.program, f"--defaults-file={options}", "--binary-mode", "--comments",
            "--default-character-set=utf8mb4", "--max-allowed-packet=1G", *quiet]  # fmt: skip


def _fitting(programs: Sequence[str], is_mariadb: bool) -> Tool:
    """Give the first of the programs that is of this kind; else the first that there is."""
    first = None
    for program in filter(shutil.which, programs):
        tool = _tool(program)
        if tool.is_mariadb == is_mariadb:
            return tool
        first = first or tool
    return first or _tool(programs[0])


def _tool(program: str) -> Tool:
    return Tool(program, text_of([require_program(program), "--no-defaults", "--help"], DUMPING))
