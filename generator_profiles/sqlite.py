"""Copy SQLite databases while they are in use, one artefact per database.

Example entry::

    dict(
        name="shop",
        profile="sqlite",
        config=dict(databases=["/var/lib/shop/orders.db", "/var/lib/shop/users.db"]),
    )

The copy is made with SQLite's online backup API inside one read transaction, so it is the database as it was at one
moment, whoever writes to it meanwhile, and what lies in its write-ahead log is in it. Then its integrity is checked.
The artefact is a database file, ready to use. A database that is not in WAL mode cannot be written to while it is
copied.
"""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pydantic import Field

from pickup_core.api import Artefact, Options, PickupError, Readable

API_VERSION = (1, 0)

RESTORE = """
    # each file is an SQLite database, ready to use. One table out of it, into another database:
    sqlite3 FILE ".dump TABLE" | sqlite3 other.db
"""

_PAGES_AT_A_TIME = 4096
_CALLBACK_EVERY = 100_000


class Config(Options):
    databases: list[Path] = Field(min_length=1)
    """The database files."""
    busy_timeout: float = Field(60, ge=0)
    """How many seconds to wait for a program that has locked the database."""


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    for name, database in _named(config.databases):
        yield Artefact(name, _copied(database, folder / "copy.db", config.busy_timeout))


def check(config: Config) -> Iterator[str]:
    """Open each database for reading."""
    for _, database in _named(config.databases):
        with _opened(database, config.busy_timeout) as connection:
            pages, size, mode = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size", "journal_mode")
            )
        yield f"{database}: {pages * size} bytes, journal mode {mode}"


@contextlib.contextmanager
def _copied(database: Path, copy: Path, busy_timeout: float) -> Iterator[Readable]:
    """Give a copy of the database as a source: made when the `with` is entered, removed when it is left."""
    try:
        _copy(database, copy, busy_timeout)
        _check_integrity(database, copy)
        with copy.open("rb") as stream:
            yield stream
    finally:
        copy.unlink(missing_ok=True)


def _named(databases: list[Path]) -> list[tuple[str, Path]]:
    """Give each database the name of its file, or its whole path where several files have the same name."""
    count = Counter(database.name for database in databases)
    return [(d.name if count[d.name] == 1 else str(d).lstrip("/"), d) for d in databases]


@contextlib.contextmanager
def _opened(database: Path, busy_timeout: float) -> Iterator[sqlite3.Connection]:
    """Open a database for reading; whatever SQLite says against it becomes an error that names the file."""
    if not database.is_file():
        raise PickupError(f"database {database} does not exist")
    try:
        with contextlib.closing(
            sqlite3.connect(
                f"file:{quote(str(database))}?mode=ro", uri=True, timeout=busy_timeout, isolation_level=None
            )
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        raise PickupError(f"database {database}: {error}") from error


def _copy(database: Path, copy: Path, busy_timeout: float) -> None:
    """Copy in steps, so that a signal is heard, inside one transaction, so that no step starts anew."""
    with _opened(database, busy_timeout) as source:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with contextlib.closing(sqlite3.connect(copy)) as destination:
            source.backup(destination, pages=_PAGES_AT_A_TIME, sleep=0, progress=lambda status, left, total: None)


def _check_integrity(database: Path, copy: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(copy))}?immutable=1", uri=True)) as connection:
            connection.set_progress_handler(lambda: 0, _CALLBACK_EVERY)  # lets Python see signals meanwhile
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as error:
        found = [str(error)]
    if found != ["ok"]:
        raise PickupError(f"database {database} is damaged: {'; '.join(found)}", hint="sqlite3 DATABASE .recover")
