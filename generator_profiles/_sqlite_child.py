"""What the sqlite profile lets a child process do: the only code of Pickup's that opens a database.

Whoever can write beside a database can make it crash or hang the program that opens it, or delete what that program may
delete. So the profile runs this text, as the user whose the database is, with any Python: nothing but the standard
library is imported, and the user need not be able to read this file. Called with an action, the database, the
seconds to wait for a lock, and but for `describe` a folder for files of its own. What went wrong is two lines on
standard error, a sentence and a hint, with status 3.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from urllib.parse import quote

EXPLAINED = 3  # as the profile has it
_BUSY = 5  # https://www.sqlite.org/rescode.html#busy
_HEADER = 100
_WAL = b"\x02\x02"  # format version, https://www.sqlite.org/fileformat.html#file_format_version_numbers
_PAGES_AT_A_TIME = 4096


class Refused(Exception):
    """Something that a sentence explains; `hint` says what to do about it."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.hint = hint


def describe(database: str, timeout: float) -> None:
    """Print size in bytes and journal mode, without making the files that WAL mode needs."""
    with opened(database, timeout, idle="immutable=1") as connection:
        pages, size, mode = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "journal_mode")
        )
    mode = "wal" if is_idle(database) else mode  # SQLite says that one which is immutable has none
    print(pages * size, mode)


def copy(database: str, timeout: float, folder: str) -> None:
    """Write a copy to standard output, made inside one transaction: the database as it was at one moment."""
    name = os.path.join(folder, "copy.db")
    with opened(database, timeout, idle="mode=rw") as source:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as destination:
            destination.execute("PRAGMA journal_mode=OFF")  # a copy that is not finished is thrown away
            destination.execute("PRAGMA synchronous=OFF")
            source.backup(destination)
    with contextlib.closing(immutable(name)) as connection, open(name, "rb") as stream:
        os.unlink(name)
        require_integrity(connection)
        shutil.copyfileobj(stream, sys.stdout.buffer, 256 * 1024)
        sys.stdout.buffer.flush()


def create(database: str, timeout: float, folder: str) -> None:
    """Make a new database of the one that lies in the folder. Raises `FileExistsError` where there is one by now."""
    os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        fill(database, timeout, folder)
    except BaseException:
        os.unlink(database)
        raise


def replace(database: str, timeout: float, folder: str) -> None:
    """Put the database that lies in the folder in the place of another, which programs may have open."""
    try:
        fill(database, timeout, folder)
    except Refused as error:
        hint = "stop its programs, move it away with its -wal, -shm and -journal, and restore once more"
        raise Refused(str(error), error.hint or hint) from error


def fill(database: str, timeout: float, folder: str) -> None:
    """Overwrite a database in one transaction, under SQLite's own locks, so that others see all of it or nothing."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # undoes what is not finished
    with (
        contextlib.closing(immutable(os.path.join(folder, "content.db"))) as source,
        opened(database, timeout, idle="mode=rw", busy="mode=rw") as destination,
    ):
        sizes = [connection.execute("PRAGMA page_size").fetchone() for connection in (source, destination)]
        if sizes[0] != sizes[1]:
            destination.execute("PRAGMA journal_mode=DELETE")  # in WAL mode the size of the pages cannot change
        source.backup(destination, pages=_PAGES_AT_A_TIME, progress=give_up_where_locked)
    print("loaded")


@contextlib.contextmanager
def opened(database: str, timeout: float, idle: str, busy: str = "mode=ro") -> Iterator[sqlite3.Connection]:
    """Open a database: one that is idle in the first mode, one that may be in use in the second."""
    for suffix in ("-wal", "-shm", "-journal"):
        require_plain(database + suffix)
    try:
        address = f"file:{quote(os.fsencode(database))}?{idle if is_idle(database) else busy}"
        with contextlib.closing(
            sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        raise Refused(str(error), hint_for(database, str(error), timeout)) from error


def immutable(database: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(os.fsencode(database))}?immutable=1", uri=True, isolation_level=None)


def require_plain(path: str) -> None:
    """Raise `Refused` for what lies in the place of a file that SQLite would open, and wait for, or follow."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise Refused(f"{path} is not a regular file", "SQLite would open it: move it away")


def is_idle(database: str) -> bool:
    """Tell whether a database is in WAL mode and has no log. Whoever opens it then makes one, and removes it only where
    it was opened for writing, as `mode=rw` does.
    """
    try:
        with open(database, "rb") as file:
            return file.read(_HEADER)[18:20] == _WAL and not os.path.lexists(f"{database}-wal")
    except OSError:
        return False


def hint_for(database: str, error: str, timeout: float) -> str:
    if "is locked" in error:
        return f"another program has kept it locked for {timeout:g} seconds, the busy_timeout"
    if "readonly" in error and os.path.lexists(f"{database}-journal"):
        return "a program was killed while it wrote: start it again, or open the database once with sqlite3"
    if is_idle(database) and not os.access(os.path.dirname(database), os.W_OK):
        return f"in WAL mode, read it as a user who may write {os.path.dirname(database)}"
    return ""


def require_integrity(connection: sqlite3.Connection) -> None:
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as error:
        found = [str(error)]
    if found != ["ok"]:
        raise Refused(f"it is damaged: {'; '.join(found)}", "sqlite3 DATABASE .recover")


def give_up_where_locked(status: int, left: int, total: int) -> None:
    """Raise where the backup would try again, for ever, what has been waited for already."""
    if status == _BUSY:
        raise sqlite3.OperationalError("database is locked")


def main(action: str, database: str, timeout: str, *folder: str) -> int:
    """Do what is asked for, and give the exit status."""
    actions: dict[str, Callable[..., None]] = {"describe": describe, "copy": copy, "create": create, "replace": replace}
    try:
        actions[action](database, float(timeout), *folder)
    except Refused as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
    except OSError as error:
        sys.stderr.write(f"{error.strerror}: {error.filename}\n\n")
    else:
        return 0
    return EXPLAINED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
