"""Dump PostgreSQL databases with pg_dump, one artefact per database, and one of the roles that all of them share.

Example entry::

    dict(
        name="main",
        profile="postgres",
        config=dict(exclude=["*_test"], pg_dump_options=["--exclude-table-data=log.*"]),
    )

Without ``host`` and ``password``, root dumps the server of this machine as the system user ``postgres``.

``globals.sql`` holds roles, tablespaces and memberships. Each dump holds its database as it was at one moment, with its
owner, locale, settings and grants. It counts only when pg_dump has ended well and the dump is whole: its last lines are
there, or, in format custom, pg_restore could read all of it. A database whose name has a line break is always dumped in
format custom, as no script can name it.

Without ``password``, libpq looks for one where it always does: in the ``service`` and in ``~/.pgpass``.
"""

import contextlib
import dataclasses
import os
import pwd
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from generator_profiles._databases import Choice, checked_names, choice_of, database_of, plain_names, stem_of
from generator_profiles._postgres_script import END, renamed, without_role
from generator_profiles._postgres_server import (
    Server,
    databases,
    drop,
    existing,
    has_content,
    hint,
    major,
    missing_privileges,
    place,
    rows,
)
from pickup_core.api import (
    Artefact,
    Found,
    Judgement,
    Options,
    Output,
    PickupError,
    ProcessError,
    Readable,
    RefusedError,
    Secret,
    Stored,
    Terms,
    failure,
    feed,
    in_words,
    output_of,
)

API_VERSION = (1, 0)

RESTORE = """
    # As a superuser of the new server. Load only dumps that you trust: they can run programs as you (CVE-2025-8714).
    # psql must be at least as new as the pg_dump that wrote them. As root on the server itself, write before each line:
    # runuser -u postgres --   (that it "could not change directory" does no harm)
    # First the roles; "already exists" does no harm:
    psql -X postgres < globals.sql
    # then each database, under its own name, which must not be taken; a file NAME.sql:
    psql -X -v ON_ERROR_STOP=1 postgres < NAME.sql
    # a file NAME.dump, all of it, or one table into a database that is there:
    pg_restore --exit-on-error --create --dbname=postgres < NAME.dump
    pg_restore --exit-on-error --table=TABLE --dbname=OTHER < NAME.dump
"""

_GLOBALS = "globals"
_ROLES = f"{_GLOBALS}.sql"
_SOCKETS = "run/postgresql"
_PORT = "5432"
_LONGEST_NAME = 63
_LOADING_STALL = 24 * 3600  # while psql makes an index of a large table it reads nothing
_ERROR = re.compile(r"psql:\S+ .*?:  (?!0[0-2])([0-9A-Z]{5}): ")  # 00, 01, 02: notices and warnings
_DUPLICATE = "42710"
_OUR_OPTIONS = ("clean", "compress", "create", "dbname", "file", "format", "globals-only", "jobs", "no-role-passwords")
_OUR_LETTERS = "cCdfFgjWZ"


class Config(Options):
    host: str | None = None
    """The server's name or address, or the folder of its socket; by default the socket of this machine's server."""
    port: int | None = Field(None, ge=1, le=65535)
    """The server's port; by default 5432."""
    user: str | None = None
    """The role to connect as; by default the one that is named like the system user."""
    password: Secret | None = None
    """The role's password."""
    service: str | None = None
    """A name in `pg_service.conf`, which then says what is not said here."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """Whether to use TLS; `verify-full` makes sure that it is the right server."""
    as_user: str | None = None
    """The system user to connect and dump as; by default `postgres` for root on a socket without password."""
    programs: Path | None = None
    """The folder of pg_dump and its like; by default the one that fits the server's version, then PATH."""
    database: str | list[str] = Field("*", min_length=1)
    """Names, or patterns with `*` and `?`, which match the databases that allow connections and are no templates."""
    exclude: str | list[str] = []
    """Names or patterns of databases that are left out."""
    format: Literal["plain", "custom"] = "plain"
    """SQL to be loaded with psql, or an archive for pg_restore, which can take single tables from it."""
    no_role_passwords: bool = False
    """Leave the passwords of roles out: a role that is no superuser cannot read them."""
    pg_dump_options: list[str] = []
    """Further options of pg_dump, each with its value: `--exclude-schema=scratch`."""
    pg_dumpall_options: list[str] = []
    """Further options of pg_dumpall, which dumps the roles."""
    stall: float = Field(900, gt=0)
    """After how many seconds without any output a dump is stopped."""
    timeout: float | None = Field(None, gt=0)
    """After how many seconds a dump is stopped."""

    _are_names = field_validator("database", "exclude")(checked_names)

    @field_validator("pg_dump_options", "pg_dumpall_options")
    @classmethod
    def _are_options(cls, options: list[str]) -> list[str]:
        for option in options:
            if not re.match(r"--?\w", option):
                raise ValueError(f"{option!r} is no option; write an option and its value as one: --option=value")
            name = option.partition("=")[0].removeprefix("--")
            if option[1] in _OUR_LETTERS or any(ours.startswith(name) for ours in _OUR_OPTIONS):
                raise ValueError(f"{option} is an option that Pickup sets itself, or that must not be set")
        return options

    @property
    def server(self) -> Server:
        """How the server is reached."""
        is_socket = self.service is None and (self.host is None or self.host.startswith(("/", "@")))
        peer = "postgres" if is_socket and self.password is None and os.geteuid() == 0 else None
        return Server(
            self.host, self.port, self.user, self.password, self.service, self.sslmode, self.as_user or peer,
            self.programs,
        )  # fmt: skip

    @property
    def terms(self) -> Terms:
        """The terms of a program that dumps."""
        return self.server.terms(self.stall, self.timeout)

    def places(self, avoid: str = "") -> list[str]:
        """Give the databases to connect to for looking around, the most likely first, without the one to avoid."""
        return [name for name in ("postgres", "template1", *plain_names(self.database)) if name != avoid]


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    with config.server.connected_to_one_of(config.places()) as connection:
        version, there = connection.info.server_version, databases(connection)
    yield Artefact(_ROLES, _roles(config, version))
    choice = choice_of(config.database, config.exclude, there)
    for name in choice.names:
        yield Artefact(_artefact_name(config, name), _dump(config, version, name))
    if problems := _unmatched(choice):
        raise PickupError(problems[0], hint=hint(problems[0]))


def check(config: Config) -> Iterator[str]:
    """Connect to everything that would be dumped; compare versions, and look for privileges that are missing."""
    with config.server.connected_to_one_of(config.places()) as connection:
        version, there, where = connection.info.server_version, databases(connection), place(connection)
        [[may_read]] = rows(connection, "SELECT has_table_privilege('pg_authid', 'SELECT')")
    yield f"{where}: version {'.'.join(map(str, major(version)))}; {config.server.check_programs(version)}"
    is_enough = may_read or config.no_role_passwords
    problems = [] if is_enough else ["the passwords of roles cannot be read by this role: set no_role_passwords=True"]
    choice = choice_of(config.database, config.exclude, there)
    yield from choice.notes
    problems += _unmatched(choice)
    for name in choice.names:
        try:
            with config.server.connected(name) as connection:
                [[size]] = rows(connection, "SELECT pg_database_size(current_database())")
                missing = [f"database {name!r}: {what}" for what in missing_privileges(connection)]
        except PickupError as error:
            problems.append(error.message)
            continue
        yield f"database {name!r}: {in_words(size)}"
        if config.pg_dump_options:  # which may leave just that out
            yield from missing
        else:
            problems += missing
    if problems:
        raise PickupError("\n  ".join(problems), hint=hint(" ".join(problems)))


def discover(root: Path, without: Sequence[Path]) -> Iterator[Found]:
    """Find the servers that run here, by their sockets, where we are root or the user that they run as."""
    for socket in sorted((root / _SOCKETS).glob(".s.PGSQL.*")):
        with contextlib.suppress(OSError, KeyError):  # it has just gone, or its owner has no name
            user = pwd.getpwuid(socket.stat().st_uid).pw_name
            port = socket.suffix[1:]
            if not socket.is_socket() or not port.isdigit() or os.geteuid() not in (0, socket.stat().st_uid):
                continue
            config: dict[str, Any] = {} if root == Path("/") else {"host": str(socket.parent)}
            config |= {} if port == _PORT else {"port": int(port)}
            config |= {} if user == "postgres" or os.geteuid() != 0 else {"as_user": user}
            name = "postgres" if port == _PORT else f"postgres-{port}"
            yield Found(name, config, f"The databases of the PostgreSQL server on port {port}.")


def restore(config: Config, artefacts: Sequence[Stored], as_name: str | None, overwrite: bool) -> Iterator[str]:
    """Load dumps into the configured server: the roles first, then each database. With `as_name`, load one database
    under that name, and leave the roles alone.

    Gives sentences that tell what is done; the first, before anything is changed, where to and which databases. Raises
    `RefusedError` where a database is there and not empty, but for `overwrite`, and `PickupError` at the first
    statement that fails.
    """
    dumps = {_database_of(stored.name): stored for stored in artefacts if stored.name != _ROLES}
    roles = [stored for stored in artefacts if stored.name == _ROLES and as_name is None]
    if as_name is not None:
        _check_new_name(as_name, list(dumps))
    names = {old: as_name or old for old in dumps}
    with config.server.connected_to_one_of(config.places()) as connection:
        version, role, where = connection.info.server_version, connection.info.user, place(connection)
        there = existing(connection, names.values())
    yield f"{where}: loads {', '.join([*('roles' for _ in roles), *(f'database {name!r}' for name in names.values())])}"
    states = {name: _state(config, name) for name in there}
    if (full := [repr(name) for name, state in states.items() if state == "not empty"]) and not overwrite:
        what = f"{where}: not empty: database {', '.join(full)}"
        raise RefusedError(what, hint="--as NAME loads one under another name, --overwrite drops what is there")
    for stored in roles:
        _load_roles(config, version, stored, role)
        yield f"loaded the roles; {role!r}, who loads them, keeps its own attributes and password"
    for old, new in names.items():
        if new in states:
            yield f"drops database {new!r}, which is {states[new]}, to make it anew"
            with config.server.connected_to_one_of(config.places(avoid=new)) as connection:
                drop(connection, new)
        _load(config, version, dumps[old], old, new)
        yield f"loaded database {new!r}"


# Which databases


def _unmatched(choice: Choice) -> list[str]:
    """Give the sentence that tells which patterns match nothing, where there are any."""
    return [f"no database matches {', '.join(map(repr, choice.unmatched))}"] if choice.unmatched else []


def _has_line_break(name: str) -> bool:
    return "\n" in name or "\r" in name


def _is_archive(config: Config, database: str) -> bool:
    return config.format == "custom" or _has_line_break(database)


def _artefact_name(config: Config, database: str) -> str:
    """Give the name of a database's artefact; it is never that of the roles."""
    return f"{stem_of(database, _GLOBALS)}.{'dump' if _is_archive(config, database) else 'sql'}"


def _database_of(artefact: str) -> str:
    """Give the database that an artefact of this name is a dump of."""
    stem, _, suffix = artefact.rpartition(".")
    if not stem or suffix not in ("sql", "dump"):
        raise PickupError(f"artefact {artefact!r} is no dump of a database")
    return database_of(stem, _GLOBALS)


# Dumping


def _roles(config: Config, version: int) -> contextlib.AbstractContextManager[Readable]:
    command = [config.server.program("pg_dumpall", version), "--globals-only", *config.pg_dumpall_options]
    command += ["--no-role-passwords"] if config.no_role_passwords else []
    return _script(output_of([*command, *config.server.arguments("postgres")], end=END, terms=config.terms))


def _dump(config: Config, version: int, name: str) -> contextlib.AbstractContextManager[Readable]:
    how = ["--format=custom", "--compress=0"] if _is_archive(config, name) else ["--format=plain"]
    command = [config.server.program("pg_dump", version), "--create", *how, *config.pg_dump_options]
    command += config.server.arguments(name)
    if not _is_archive(config, name):
        return _script(output_of(command, end=END, terms=config.terms))
    pg_restore = config.server.program("pg_restore", version)
    return _archive(output_of(command, terms=config.terms), pg_restore, dataclasses.replace(config.terms, env=None))


@contextlib.contextmanager
def _explained(before: str = "") -> Iterator[None]:
    """Let the failure of a program say what to do about it, and what was done `before`."""
    try:
        yield
    except ProcessError as error:
        raise ProcessError(before + error.message, hint=error.hint or hint(error.message)) from error


@contextlib.contextmanager
def _script(output: Output) -> Iterator[Readable]:
    with _explained(), output:
        yield output


@contextlib.contextmanager
def _archive(output: Output, pg_restore: str, terms: Terms) -> Iterator[Readable]:
    """Give an archive as a source that fails where pg_restore, which reads it meanwhile, cannot read all of it."""
    with _explained(), ThreadPoolExecutor(1) as beside:
        reader, writer = os.pipe()

        def read() -> None:
            with open(reader, "rb", buffering=0) as copy:
                feed([pg_restore, "--file=/dev/null"], copy, terms=terms)

        reading = beside.submit(read)
        try:
            with output:
                yield _Copied(output, writer)
        finally:
            os.close(writer)
        reading.result()


class _Copied:
    """A stream of which a copy goes into a pipe."""

    def __init__(self, stream: Readable, pipe: int) -> None:
        self._stream = stream
        self._pipe = pipe

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        left = memoryview(data)
        with contextlib.suppress(BrokenPipeError):  # who reads the copy has ended, and will tell why
            while left:
                left = left[os.write(self._pipe, left) :]
        return data


# Loading


def _state(config: Config, name: str) -> str:
    with config.server.connected(name) as connection:
        return "not empty" if has_content(connection) else "empty"


def _check_new_name(new: str, names: Sequence[str]) -> None:
    if len(names) != 1:
        raise PickupError(f"one database can be loaded as {new!r}, not {len(names)}", hint="name one with --only")
    if not 0 < len(new.encode()) <= _LONGEST_NAME or _has_line_break(new):
        raise PickupError(f"{new!r} cannot be the name of a database", hint=f"1 to {_LONGEST_NAME} bytes on one line")
    if _has_line_break(names[0]):
        what = f"database {names[0]!r} cannot be loaded under another name, because of its line break"
        raise PickupError(what, hint="load it under its own, then ALTER DATABASE ... RENAME TO ...")


def _load_roles(config: Config, version: int, stored: Stored, role: str) -> None:
    """Load roles and tablespaces. One that exists is no error; where there were others, fail and show them all."""

    def judge(status: int, lines: Sequence[str]) -> Judgement:
        errors = [line for line in lines if (code := _ERROR.match(line)) and code[1] != _DUPLICATE]
        if status != 0 or errors:
            raise failure("psql", status, errors or lines)
        return Judgement()

    psql = [config.server.program("psql", version), "--no-psqlrc", "--quiet", "--file=-", "--set=VERBOSITY=verbose"]
    with _explained("roles: "), stored.open() as script:
        command = [*psql, *_elsewhere(config)]
        feed(command, without_role(script, role), judge=judge, terms=config.server.terms(_LOADING_STALL, None))


def _load(config: Config, version: int, stored: Stored, old: str, new: str) -> None:
    """Load a database, which must be absent, under its own or another name. The first error ends it."""
    is_archive, terms = stored.name.endswith(".dump"), config.server.terms(_LOADING_STALL, None)
    psql = [config.server.program("psql", version), "--no-psqlrc", "--quiet", "--file=-", "--set=ON_ERROR_STOP=1"]
    pg_restore = [config.server.program("pg_restore", version), "--exit-on-error", "--create"]
    target = _elsewhere(config, avoid=new)
    with _explained(f"database {new!r} was not loaded to its end: "):
        if old == new:
            with stored.open() as dump:
                feed([*(pg_restore if is_archive else psql), *target], dump, terms=terms)
        else:
            with _as_script(pg_restore, stored) if is_archive else stored.open() as script:
                feed([*psql, *target], renamed(script, old, new), terms=terms)


def _elsewhere(config: Config, avoid: str = "") -> list[str]:
    """Give the arguments that connect a program to a database, from which it goes on to the one that it makes."""
    with config.server.connected_to_one_of(config.places(avoid)) as connection:
        return config.server.arguments(connection.info.dbname)


@contextlib.contextmanager
def _as_script(pg_restore: Sequence[str], stored: Stored) -> Iterator[Readable]:
    """Give an archive as the script that pg_dump would have written. pg_restore writes it into a pipe of ours."""
    reader, writer = os.pipe()
    command = [*pg_restore, f"--file=/proc/{os.getpid()}/fd/{writer}"]

    def write() -> None:
        try:
            with stored.open() as archive:
                feed(command, archive, terms=Terms(stall=_LOADING_STALL))
        finally:
            os.close(writer)

    with ThreadPoolExecutor(1) as beside, open(reader, "rb", buffering=0) as script:
        writing = beside.submit(write)
        yield script
        writing.result()
