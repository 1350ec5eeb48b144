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

A child process does it. For root it runs as the owner of the database: who can write beside a database can do harm to
the user who opens it, and who owns a folder or a link on the way to it can put another one in its place. The copy then
passes through /var/tmp, else through the staging area.
"""

import contextlib
import logging
import os
import re
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from pickup_core.api import (
    BLOCK,
    Artefact,
    Judgement,
    Options,
    PickupError,
    ProcessError,
    Readable,
    RefusedError,
    Stored,
    Terms,
    failure,
    in_words,
    make_file,
    other_user,
    others_may_write,
    output_of,
    text_of,
    way_to,
)

API_VERSION = (1, 0)

RESTORE = """
    # each file is an SQLite database, ready to use. One table out of it, into another database:
    sqlite3 FILE ".dump TABLE" | sqlite3 other.db
"""

log = logging.getLogger("pickup.sqlite")

_CHILD = Path(__file__).with_name("_sqlite_child.py")
_EXPLAINED = 3
_DESCRIBED = re.compile(rb"(\d{1,18}) (\w{1,20})\n")
_SHARED = Path("/var/tmp")  # noqa: S108 - a private folder is made in it
_STALL = 900
_SLOWEST = 1024 * 1024
_BLOCK_ON_DISK = 512  # as stat(2) counts
_START = 60
_REMOVAL = 300


class Config(Options):
    databases: list[Path] = Field(min_length=1)
    """The database files."""
    busy_timeout: float = Field(60, ge=0)
    """How many seconds to wait for a program that has locked the database."""
    timeout: float = Field(7200, gt=0)
    """How many seconds to wait, at most, while a database is copied and checked; for a small one it is less. Where root
    opens it as another user, who could hold that up, all of it has to be done by then. Two hours are enough for 100 GB
    on a disk that does 100 MB per second: say more for a larger database."""
    as_user: str | None = None
    """The system user who opens the databases. By default that is, for root, the owner of each, or of what leads to it;
    where several users could put something in its place or beside it, it has to be said."""

    @property
    def written_folders(self) -> Sequence[Path]:
        """SQLite writes beside a database that is in WAL mode, also where it only reads it."""
        return [database.parent for database in self.databases]

    @field_validator("databases")
    @classmethod
    def _stand_once(cls, databases: list[Path]) -> list[Path]:
        for database, count in Counter(databases).items():
            if count > 1:
                raise ValueError(f"names {database} twice")
        return databases


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    for name, database in _named(config.databases):
        yield Artefact(name, _copied(database, config, folder))


def check(config: Config) -> Iterator[str]:
    """Open each database for reading, without making the files that WAL mode needs."""
    for _, database in _named(config.databases):
        place = _place_of(database, config)
        with _child("describe", place, place.used, config) as stream:
            found = _DESCRIBED.fullmatch(_all_of(stream))
        if found is None:  # its user can make it say anything
            raise PickupError(f"database {database}: what its process found out is no size and no journal mode")
        yield f"{database}: {in_words(int(found[1]))}, journal mode {found[2].decode()}"


def restore(config: Config, artefacts: Sequence[Stored], as_name: str | None, overwrite: bool) -> Iterator[str]:
    """Load artefacts into the databases that they were made from, or one of them into a new file, `as_name`.

    A database that exists is overwritten in one transaction, under SQLite's own locks, so programs may have it open;
    its owner and mode stay. A new file has mode 0600 and belongs to the owner of its folder.
    """
    if as_name is not None and len(artefacts) > 1:
        raise PickupError(f"{len(artefacts)} artefacts cannot all be restored as {as_name}", hint="name one of them")
    named = dict(_named(config.databases))
    places = []
    for stored in artefacts:
        database = named.get(stored.name) if as_name is None else Path(os.path.abspath(as_name))
        if database is None:
            raise PickupError(f"no database of the config has the name {stored.name}", f"there are: {', '.join(named)}")
        places.append(_place_of(database, config, may_be_new=True))
        if places[-1].exists and not overwrite:
            hint = "--as NAME makes a new file of that name, --overwrite replaces what is there"
            raise RefusedError(f"database {database} exists", hint)
    yield "loads " + ", ".join(
        f"{stored.name} {'over' if place.exists else 'into the new file'} {place.name}"
        for stored, place in zip(artefacts, places, strict=True)
    )
    for stored, place in zip(artefacts, places, strict=True):
        _load(stored, place, config)
        yield f"{stored.name} was loaded, {in_words(stored.size)}"


@dataclass(frozen=True)
class _Place:
    """A database: as the config names it, where it really lies, its size in bytes, how many of them take room on the
    disk, and the number of the user who opens it, None for ourselves.
    """

    name: Path
    path: Path
    exists: bool
    size: int
    used: int
    user: int | None


def _named(databases: list[Path]) -> list[tuple[str, Path]]:
    """Give each database the name of its file, or its whole path where several files have the same name."""
    count = Counter(database.name for database in databases)
    return [(d.name if count[d.name] == 1 else str(d).lstrip("/"), d) for d in databases]


def _place_of(database: Path, config: Config, may_be_new: bool = False) -> _Place:
    """Look at a database, which is not opened. Raises `PickupError` where there is none, or none that may be opened."""
    try:
        way = list(way_to(database))
    except FileNotFoundError as error:
        raise PickupError(f"database {database} cannot be there: folder {error.filename} does not exist") from None
    except NotADirectoryError as error:
        what = f"{Path(error.filename).parent} is not a folder"
        raise PickupError(f"database {database} cannot be there: {what}") from None
    except OSError as error:
        raise PickupError(f"database {database} cannot be reached: {error.strerror}") from error
    path, status = way[-1]
    if status is None and not may_be_new:
        raise PickupError(f"database {database} does not exist")
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise PickupError(f"database {database} is not a regular file")
    user = other_user(config.as_user) if config.as_user is not None else _owner(database, way)
    size, blocks = (status.st_size, status.st_blocks) if status else (0, 0)
    return _Place(database, path, status is not None, size, blocks * _BLOCK_ON_DISK, user)


def _owner(database: Path, way: Sequence[tuple[Path, os.stat_result | None]]) -> int | None:
    """Give, for root, the one other user who could put something beside the database or in its place, None where there
    is none. Raises `PickupError` where there are several.
    """
    if os.geteuid() != 0:
        return None
    there = [(each, status) for each, status in way if status is not None]
    end, _ = way[-1]
    owners = {status.st_uid for _, status in there} - {0}
    shared = [each for each, status in there if _is_shared(each, status, is_last=each in (end, end.parent))]
    if len(owners) > 1 or (shared and not owners):
        why = f"its path belongs to several users: {sorted(owners)}" if owners else f"others may write to {shared[0]}"
        raise PickupError(f"database {database} is not safe to open for root: {why}", "say who opens it: `as_user`")
    return next(iter(owners), None)


def _is_shared(path: Path, status: os.stat_result, is_last: bool) -> bool:
    """Tell whether others than its owner may write to the database, add to its folder (`is_last`), or replace what lies
    in a folder further up.
    """
    return others_may_write(path, status) and (is_last or not status.st_mode & stat.S_ISVTX)


@contextlib.contextmanager
def _copied(database: Path, config: Config, folder: Path) -> Iterator[Readable]:
    """Give a copy of the database as a source: made when the `with` is entered, removed when it is left."""
    place = _place_of(database, config)
    with _private_folder(place, place.size, folder if place.user is None else _SHARED) as private:
        _hand_over(private, place.user)
        with _child("copy", place, place.used, config, private) as stream:
            yield stream


def _load(stored: Stored, place: _Place, config: Config) -> None:
    with _private_folder(place, stored.size, _SHARED) as private:
        with open(make_file(private / "content.db"), "wb") as file, stored.open() as stream:
            shutil.copyfileobj(stream, file, BLOCK)
        _hand_over(private, place.user)
        with _child("replace" if place.exists else "create", place, stored.size, config, private) as stream:
            _all_of(stream)


@contextlib.contextmanager
def _private_folder(place: _Place, size: int, parent: Path) -> Iterator[Path]:
    """Give a private folder with room for so many bytes, and remove it whatever its user has made of it."""
    free = shutil.disk_usage(parent).free
    if size > free:
        what = f"a copy of it needs {in_words(size)} in {parent}, where there is room for {in_words(free)}"
        raise PickupError(f"database {place.name}: {what}", hint="make room there")
    folder = Path(tempfile.mkdtemp(prefix="pickup-", dir=parent))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder, in a process that has an end: its user may go on filling it, deeper than Python can go. What is
    left then is that user's.
    """
    command = ["rm", "-rf", "--one-file-system", "--", str(folder)]
    try:
        with output_of(command, allow_empty=True, terms=Terms(timeout=_REMOVAL)) as stream:
            _all_of(stream)
    except ProcessError as error:
        log.warning("%s could not be removed: %s", folder, error.message)


def _hand_over(folder: Path, user: int | None) -> None:
    """Make a folder and what lies in it the user's: itself last, so that nobody comes between."""
    if user is not None:
        for path in (*folder.iterdir(), folder):
            os.chown(path, user, -1)


@contextlib.contextmanager
def _child(action: str, place: _Place, size: int, config: Config, *folder: Path) -> Iterator[Readable]:
    """Give what a child process writes that does this with so many bytes; whatever goes wrong names the database.

    Its user can stop it, and make a file seem as large as they like, so for another user all has a limit.
    """
    python = [_python(place.user), "-I", "-S", "-X", "utf8", "-"]
    command = [*python, action, str(place.path), str(config.busy_timeout), *map(str, folder)]
    stall = min(_STALL + config.busy_timeout + size / _SLOWEST, config.timeout)
    limit = config.timeout if place.user is not None else None
    terms = Terms(stall=stall, timeout=limit, stdin=_CHILD.read_bytes(), user=place.user)
    try:
        with output_of(command, judge=_judge, terms=terms) as stream:
            yield stream
    except ProcessError as error:
        hint = error.hint
        if not hint and place.user is not None:
            hint = f"user {place.user} has opened it; `as_user` names another, and `timeout` gives it more time"
        raise PickupError(f"database {place.name}: {error.message}", hint) from error


def _judge(status: int, lines: Sequence[str]) -> Judgement:
    if status == _EXPLAINED:
        *sentence, hint = lines
        raise ProcessError("\n".join(sentence), hint)
    if status != 0:
        raise failure("the process that opened it", status, lines)
    return Judgement()


def _python(user: int | None) -> str:
    """Give a Python that this user can run: our own may lie where only we can read."""
    found, terms = [], Terms(timeout=_START, user=user)
    for program in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            text_of([program, "-I", "-S", "-c", "import sqlite3"], terms)
        except ProcessError as error:
            found.append(error.message)
        else:
            return program
    raise PickupError(f"no Python can be run: {'; '.join(found)}", hint="install python3 where everybody can run it")


def _all_of(stream: Readable) -> bytes:
    return b"".join(iter(lambda: stream.read(BLOCK), b""))
