"""Where messages go: information to stdout, warnings and errors to stderr, everything to a rotating private file.

A log that is broken never stops a backup: it is said once on stderr, and the exit code is 1 at least.
"""

import logging
import logging.config
import logging.handlers
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from pickup_core.errors import ConfigError
from pickup_core.report import explained
from pickup_core.terminal import dressed, for_journal
from pickup_core.together import at_work_on
from pickup_core.trust import private_folder
from pickup_core.wording import printable

log = logging.getLogger("pickup.logs")

LOG_FILE = "pickup.log"
_FILE_SIZE = 5 * 1024 * 1024
_FILE_COUNT = 5


class Formatter(logging.Formatter):
    """Formats a message so that it is printable. One from where several things are done at once tells which of them it
    is about.
    """

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        label = at_work_on.get()
        if label and label not in record.message and repr(label.partition("/")[2]) not in record.message:
            record.message = f"{label}: {record.message}"
        return super().formatMessage(record)


class _Dressed(Formatter):
    """Formats an error or a warning as standard error is to show it."""

    def format(self, record: logging.LogRecord) -> str:
        return dressed(super().format(record), record.levelno, sys.stderr)


class Logs:
    """The logging of one process. `is_broken` tells whether a message could not be written where it belongs, and
    `has_warned` whether there was a warning or worse: then the exit code is 1 at least.
    """

    def __init__(self) -> None:
        self.is_broken = False
        self.has_warned = False
        self._console = (False, False)
        self._err = _Stderr()

    def to_console(self, quiet: bool, debug: bool) -> None:
        """Send information to stdout, but for `quiet`, and warnings and errors to stderr; with `debug` everything."""
        logging.raiseExceptions = False
        self._console = (quiet, debug)
        out = logging.StreamHandler(sys.stdout) if sys.stdout else logging.NullHandler()
        out.setLevel(logging.DEBUG if debug else logging.INFO)
        out.addFilter(lambda record: record.levelno < logging.WARNING)
        out.setFormatter(Formatter("%(message)s"))
        self._err = err = _Stderr()
        err.setLevel(logging.WARNING)
        err.setFormatter(_Dressed("%(levelname)s: %(message)s"))
        logging.basicConfig(handlers=[err] if quiet and not debug else [out, err], level=logging.INFO, force=True)
        logging.getLogger("pickup").setLevel(logging.DEBUG)
        self._watch()

    @contextmanager
    def held_back(self) -> Iterator["HeldBack"]:
        """Let warnings and errors wait before they go to stderr, until they are replaced or the `with` is left."""
        held = HeldBack(self._err)
        try:
            yield held
        finally:
            held.let_go()

    def to_file(self, folder: Path) -> None:
        """Send everything to `pickup.log` in this folder too. Where that cannot be, a warning says so."""
        try:
            handler = _RotatingFile(private_folder(folder) / LOG_FILE, self)
        except (OSError, ConfigError) as error:
            self._tell_broken(f"there is no log in {folder}", error)
            return
        handler.setFormatter(Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)

    def replace(self, settings: Mapping[str, Any]) -> None:
        """Replace all of it by a `logging.config` dictionary; what it formats is still freed of secrets.

        Where a file or a server that it names cannot be opened, a warning says so, and the console stays as it was.
        Raises `ConfigError` where the dictionary is none.
        """
        try:
            logging.config.dictConfig({"disable_existing_loggers": False, **settings})
        except (ValueError, TypeError, AttributeError, ImportError, OSError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError):
                self.to_console(*self._console)
                self._tell_broken("there is no log as LOGGING describes it", cause)
                return
            what = f"{error}: {cause}" if cause is not error else str(error)
            raise ConfigError(f"LOGGING is no dictionary that logging.config takes: {what}") from error
        loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
        for handler in {handler for logger in loggers for handler in logger.handlers}:
            handler.setFormatter(_Redacting(handler.formatter or logging.Formatter()))
        self._watch()

    def _watch(self) -> None:
        """Note the warnings of all that Pickup does, wherever the messages go."""
        logger = logging.getLogger("pickup")
        for handler in [handler for handler in logger.handlers if isinstance(handler, _Watch)]:
            logger.removeHandler(handler)
        logger.addHandler(_Watch(self))

    @property
    def reach_stderr(self) -> bool:
        """Tell whether errors are seen on stderr, where cron looks for them: not so with some LOGGING."""
        ours = logging.getLogger("pickup")
        handlers = ours.handlers + (logging.getLogger().handlers if ours.propagate else [])
        return any(getattr(handler, "stream", None) is sys.stderr for handler in handlers)

    def _tell_broken(self, what: str, error: Exception) -> None:
        self.is_broken = True
        log.warning("%s: %s", what, explained(error))


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # it can be given one since Python 3.11
    """Writes to standard error, if there is one. While something is `held`, what is to be written waits there."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.held: list[logging.LogRecord] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.held is not None:
            self.held.append(record)
        elif sys.stderr:
            super().emit(record)


class HeldBack:
    """What waits before it goes to standard error."""

    def __init__(self, handler: _Stderr) -> None:
        self._handler = handler
        self._handler.held = []
        self.is_replaced = False

    @property
    def records(self) -> list[logging.LogRecord]:
        """What waits by now."""
        return list(self._handler.held or ())

    def replace(self, text: str) -> None:
        """Write a text, or nothing, in place of all that waits. What comes later does not wait any more."""
        level = max((record.levelno for record in self.records), default=logging.ERROR)
        self._handler.held, self.is_replaced = None, True
        if text and sys.stderr:
            with suppress(OSError):
                print(for_journal(text, level, sys.stderr), file=sys.stderr, flush=True)

    def let_go(self) -> None:
        """Write what waits, and let nothing wait any more."""
        records, self._handler.held = self.records, None
        for record in records:
            self._handler.handle(record)


class _Watch(logging.Handler):
    """Writes nothing; notes that there was a warning."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        self._logs.has_warned = True


class _Redacting(logging.Formatter):
    """A formatter of the user's own, freed of secrets and of what a terminal would obey."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return printable(self._formatter.format(record))


class _RotatingFile(logging.handlers.RotatingFileHandler):
    """The log file: 0600 from its first moment, never through a symbolic link, silent about its own errors but once."""

    def __init__(self, path: Path, logs: Logs) -> None:
        self._logs = logs
        super().__init__(
            path, maxBytes=_FILE_SIZE, backupCount=_FILE_COUNT, encoding="utf-8", errors="backslashreplace"
        )

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.baseFilename, flags, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        if not self._logs.is_broken:
            self._logs.is_broken = True
            log.warning("the log %s cannot be written: %s", self.baseFilename, sys.exc_info()[1])
