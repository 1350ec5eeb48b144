"""Commands that are carried out in the process of the tests, whose logging is put back afterwards."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pickup_core.cli import parser
from pickup_core.commands import carry_out


@dataclass(frozen=True)
class Done:
    """What a command ended with."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextlib.contextmanager
def own_logging() -> Iterator[None]:
    """Let what is done in the `with` set up the logging as it likes."""
    loggers = [logging.getLogger(), logging.getLogger("pickup")]
    before = [(logger, logger.level, logger.handlers) for logger in loggers]
    raises = logging.raiseExceptions
    for logger in loggers:
        logger.handlers = []
    try:
        yield
    finally:
        for logger, level, handlers in before:
            for handler in logger.handlers:
                handler.close()
            logger.handlers = handlers
            logger.setLevel(level)
        logging.raiseExceptions = raises


def carried_out(folder: Path, *words: object, needs_config: bool = True) -> Done:
    """Carry out a command with the config that lies in a folder, and give what came of it. What it raises passes."""
    config = ["-c", str(folder / "config.py")] if needs_config else []
    options = parser().parse_args([*config, *map(str, words)])
    out, err = io.StringIO(), io.StringIO()
    with own_logging(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = carry_out(options)
    return Done(status, out.getvalue(), err.getvalue())
