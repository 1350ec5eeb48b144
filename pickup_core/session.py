"""What all commands have in common: the options, the log, the report, and how they show a table."""

import argparse
import functools
import shutil
import sys
from collections.abc import Sequence

from pickup_core.config import Config, find_config, job_name, load_config
from pickup_core.errors import ExitCode, UsageError, worst
from pickup_core.logs import Logs
from pickup_core.report import Report
from pickup_core.trust import private_folder
from pickup_core.wording import printable


class Session:
    """One command line that is being carried out."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.report = Report()
        self.logs = Logs()
        speaks_json = getattr(options, "json", False)  # and nothing else
        self.logs.to_console(options.quiet or speaks_json, options.debug and not speaks_json)

    def config(self, generators: bool | None = True) -> Config:
        """Load the config and start the log that it names; a dry run, which changes nothing, writes to no log."""
        config = load_config(find_config(self.options.config), generators)
        if config.state_folder.exists():
            private_folder(config.state_folder)  # what it says is believed by all commands
        if getattr(self.options, "dry_run", False):
            return config
        if config.logging is not None:
            self.logs.replace(config.logging)
        else:
            self.logs.to_file(config.log_folder)
        return config

    @property
    def exit_code(self) -> int:
        is_worth_a_look = self.logs.is_broken or self.logs.has_warned
        return worst([self.report.exit_code, ExitCode.WARNINGS if is_worth_a_look else ExitCode.OK])


def job_of(name: str | None, hint: str) -> str:
    """Give the name of a job. Raises `UsageError` where there is none, with the hint, or where it cannot be one."""
    if name is None:
        raise UsageError("whose backups? No job is named", hint=hint)
    try:
        return job_name(name)
    except ValueError as error:
        raise UsageError(f"the name of a job {error}, and {name!r} is not") from None


def print_table(rows: Sequence[Sequence[str]], spared: Sequence[str] = ()) -> None:
    """Print rows of cells in columns; the first row is the head. On a terminal that is too narrow, columns that can be
    `spared` are left out, in this order, as far as it takes.
    """
    shown = functools.cache(lambda text: printable(text).replace("\n", "\\n"))  # a column may hold the same in all rows
    columns = [[shown(text) for text in column] for column in zip(*rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    if sys.stdout is not None and sys.stdout.isatty():  # not closed, as by >&-
        room, heads = shutil.get_terminal_size().columns, list(rows[0])
        for head in spared:
            if head in heads and sum(widths) + 2 * (len(widths) - 1) > room:
                place = heads.index(head)
                del heads[place], columns[place], widths[place]
    for row in zip(*columns, strict=True):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
