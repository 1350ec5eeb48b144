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
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, field_validator

from pickup_core.api import Artefact, Options, PickupError, Readable

API_VERSION = (1, 0)

RESTORE = """
    # each file is an SQLite database, ready to use. One table out of it, into another database:
    sqlite3 FILE ".dump TABLE" | sqlite3 other.db
"""

_PAGES_AT_A_TIME = 4096
_HEADER = 100
_WAL = b"\x02\x02"  # format version, https://www.sqlite.org/fileformat.html#file_format_version_numbers


class Config(Options):
    databases: list[Path] = Field(min_length=1)
    """The database files."""
    busy_timeout: float = Field(60, ge=0)
    """How many seconds to wait for a program that has locked the database."""

    @field_validator("databases")
    @classmethod
    def _stand_once(cls, databases: list[Path]) -> list[Path]:
        for database, count in Counter(databases).items():
            if count > 1:
                raise ValueError(f"names {database} twice")
        return databases


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    for name, database in _named(config.databases):
        yield Artefact(name, _copied(database, folder / "copy.db", config.busy_timeout))


def check(config: Config) -> Iterator[str]:
    """Open each database for reading, without making the files that WAL mode needs."""
    for _, database in _named(config.databases):
        with _opened(database, config.busy_timeout, idle="immutable=1") as connection:
            pages, size, mode = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size", "journal_mode")
            )
        mode = "wal" if _is_idle(database) else mode  # SQLite says that one which is immutable has none
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
def _opened(database: Path, busy_timeout: float, idle: str) -> Iterator[sqlite3.Connection]:
    """Open a database for reading, one that is idle in the given mode; whatever SQLite says against it becomes an error
    that names the file.
    """
    if not database.is_file():
        what = "is not a regular file" if database.exists() else "does not exist"
        raise PickupError(f"database {database} {what}")
    try:
        mode = idle if _is_idle(database) else "mode=ro"
        address = f"file:{quote(os.fsencode(database))}?{mode}"
        with contextlib.closing(
            sqlite3.connect(address, uri=True, timeout=busy_timeout, isolation_level=None)
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        raise PickupError(f"database {database}: {error}", hint=_hint(database, error, busy_timeout)) from error


def _is_idle(database: Path) -> bool:
    """Tell whether a database is in WAL mode and has no log. Whoever opens it then makes one, and removes it only where
    it was opened for writing, as `mode=rw` does.
    """
    try:
        with database.open("rb") as file:
            return file.read(_HEADER)[18:20] == _WAL and not os.path.lexists(f"{database}-wal")
    except OSError:
        return False


def _hint(database: Path, error: sqlite3.Error, busy_timeout: float) -> str:
    if "is locked" in str(error):
        return f"another program has kept it locked for {busy_timeout:g} seconds, the busy_timeout"
    if _is_idle(database) and not os.access(database.parent, os.W_OK):
        return f"in WAL mode, read it as a user who may write {database.parent}"
    return ""


def _copy(database: Path, copy: Path, busy_timeout: float) -> None:
    """Copy in steps, so that a signal is heard, inside one transaction, so that no step starts anew."""
    with _opened(database, busy_timeout, idle="mode=rw") as source:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with contextlib.closing(sqlite3.connect(copy)) as destination:
            source.backup(destination, pages=_PAGES_AT_A_TIME, sleep=0, progress=lambda status, left, total: None)


def _check_integrity(database: Path, copy: Path) -> None:
    """Raise `PickupError` where the copy is damaged. A thread of its own does it, so that a signal is heard
    meanwhile.
    """
    found: list[str] = []
    name = f"file:{quote(os.fsencode(copy))}?immutable=1"
    with contextlib.closing(sqlite3.connect(name, uri=True, check_same_thread=False)) as connection:

        def check() -> None:
            try:
                found.extend(row[0] for row in connection.execute("PRAGMA integrity_check(5)"))
            except sqlite3.Error as error:
                found.append(str(error))

        worker = threading.Thread(target=check, name="integrity check")
        worker.start()
        try:
            while worker.is_alive():
                worker.join(1)
        finally:
            connection.interrupt()
            worker.join()
    if found != ["ok"]:
        raise PickupError(f"database {database} is damaged: {'; '.join(found)}", hint="sqlite3 DATABASE .recover")
