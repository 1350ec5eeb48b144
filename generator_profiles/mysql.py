"""Dump the databases of a MariaDB or MySQL server, one artefact per database, with users and grants beside them.

Example entry::

    dict(
        name="shop",
        profile="mysql",
        config=dict(database=["shop", "crm_*"], exclude=["*_test"]),
    )

Without any option it connects through the server's socket as the system user that runs Pickup, and dumps every
database: for root that is Debian's set-up. It never dumps ``information_schema``, ``performance_schema``, ``sys`` and
``mysql``; what ``mysql`` knows of users, roles and grants becomes ``users.sql``, in a form that another server takes.

A dump is the state of one moment (``--single-transaction``), but for tables whose engine has no transactions: ``check``
names them. Views, routines, triggers, events, sequences and the database's own character set are in it. It is kept
only where the program ended without an error and wrote its last line. What the user has no right to see would be
missing without an error, so a right that is missing is a loss: the dump is kept, and the entry has failed.

``database`` and ``exclude`` take names and patterns: ``*`` stands for any text, ``?`` for one character.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from generator_profiles._databases import Choice, checked_names, choice_of, database_of, listed, stem_of
from generator_profiles._mysql_accounts import account_statements, own_rights
from generator_profiles._mysql_login import (
    Login,
    certificates,
    options_file,
    read_defaults_file,
    system_user,
    usual_socket,
)
from generator_profiles._mysql_programs import (
    DUMPING,
    LOADING,
    Tool,
    check_dump_option,
    client_tool,
    dump_command,
    dump_tool,
    load_command,
)
from generator_profiles._mysql_script import END, Renamed, is_dump_of
from generator_profiles._mysql_server import OF_SERVER, Server, connected, numbers, quoted
from pickup_core.api import (
    HOST,
    Artefact,
    Found,
    Judgement,
    Options,
    Output,
    PickupError,
    Readable,
    RefusedError,
    Secret,
    Stored,
    broken,
    failure,
    feed,
    names_in_words,
    output_of,
)

API_VERSION = (1, 0)

RESTORE = r"""
    # users, roles and grants; before the databases, and once more after them, for the grants on single tables:
    mariadb --binary-mode --comments --force < users.sql
    # a database, which comes with its name and its character set (MySQL's program is called mysql):
    mariadb --binary-mode --comments --max-allowed-packet=1G < NAME.sql
    # the same under another name, to fetch one table from:
    sed -E 's#^(CREATE DATABASE /\*!32312 IF NOT EXISTS\*/|USE|ALTER DATABASE) `NAME`#\1 `COPY`#' NAME.sql > COPY.sql
    mariadb --binary-mode --comments --max-allowed-packet=1G < COPY.sql
    # a program that stops at the first line ("enable the sandbox mode") is older than the server was:
    sed 1d NAME.sql | mysql --binary-mode --comments
"""

_ACCOUNTS = "users"
_SUFFIX = ".sql"
_USERS = _ACCOUNTS + _SUFFIX
_CONNECTION_LOST = "Error 2013"  # https://mariadb.com/kb/en/mariadb-error-codes/
_NOT_THERE_YET = ("1146", "1305")  # no such table, no such routine


class Config(Options):
    host: str | None = Field(None, pattern=HOST)
    """The server's host, to be reached over the network. By default it is the server of this machine, by its socket. It
    does not go with `socket`."""
    port: int | None = Field(None, ge=1, le=65535)
    """The server's port, where `host` is given; by default 3306."""
    socket: Path | None = None
    """The server's socket; by default the first of the usual ones that is there."""
    user: str | None = Field(None, min_length=1)
    """The server's user; by default the one with the name of the system user that runs Pickup."""
    password: Secret | None = None
    """The password of that user."""
    defaults_file: Path | None = None
    """A file such as `~/.my.cnf`: what its group `[client]` says of user, password, host, port and socket holds where
    this entry does not say it."""
    tls: bool = False
    """Encrypt the connection, and refuse a server whose certificate is not valid for `host`."""
    ssl_ca: Path | None = None
    """With `tls`, the file of the authority that signed the certificate; by default those that the system trusts."""
    ssl_cert: Path | None = None
    """With `tls`, the file of a certificate that the server asks for."""
    ssl_key: Path | None = None
    """With `tls`, the file of the key of `ssl_cert`."""
    database: str | list[str] = Field("*", min_length=1)
    """The databases: a name or a pattern, or several."""
    exclude: str | list[str] = []
    """Names and patterns of databases that are left out."""
    users: bool = True
    """Keep users, roles and grants too. It needs the right to read the database `mysql`."""
    program: str | None = None
    """The dump program; by default `mariadb-dump` or `mysqldump`, whichever fits the server."""
    mysqldump_options: list[str] = []
    """More options for it, each as one word: `["--ignore-table=shop.cache"]`."""

    _are_names = field_validator("database", "exclude")(checked_names)

    @field_validator("database")
    @classmethod
    def _are_not_of_the_server(cls, value: str | list[str]) -> str | list[str]:
        for name in listed(value):
            if name.casefold() in OF_SERVER:
                raise ValueError(f"names {name}, which belongs to the server; users and grants come as users.sql")
        return value

    @field_validator("mysqldump_options")
    @classmethod
    def _leave_the_stream_alone(cls, words: list[str]) -> list[str]:
        for word in words:
            check_dump_option(word)
        return words

    @model_validator(mode="after")
    def _there_is_one_way(self) -> "Config":
        over_network = [f"`{key}`" for key in ("host", "port") if getattr(self, key) is not None]
        if self.socket is not None and over_network:
            raise ValueError(f"`socket` does not go with {' and '.join(over_network)}: a server is reached one way")
        return self

    @model_validator(mode="after")
    def _tls_has_a_host(self) -> "Config":
        if self.tls and self.host is None and self.defaults_file is None:
            raise ValueError("tls=True needs a host: a socket of this machine is not encrypted")
        if not self.tls and (self.ssl_ca or self.ssl_cert or self.ssl_key):
            raise ValueError("ssl_ca, ssl_cert and ssl_key are of use with tls=True only")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise ValueError("ssl_cert and ssl_key belong together")
        return self

    def login(self) -> Login:
        """Put together what the entry says, what its file says, and what is usual."""
        said = read_defaults_file(self.defaults_file) if self.defaults_file else {}
        host, socket = self.host, self.socket
        if host is None and socket is None:
            host = said.get("host") if said.get("host") != "localhost" else None  # which means the socket
            socket = Path(said["socket"]) if "socket" in said else usual_socket()
        if self.tls and host is None:
            raise PickupError("tls=True needs a host: a socket of this machine is not encrypted", hint="add `host`")
        port = str(self.port or said.get("port", 3306))
        if not port.isdecimal():
            raise PickupError(f"{self.defaults_file} says port={port}, which is no number")
        return Login(
            user=self.user or said.get("user") or system_user(),
            password=self.password or (Secret(said["password"]) if "password" in said else None),
            host=host,
            port=int(port),
            socket=None if host else socket,
            certificates=certificates(self.ssl_ca, self.ssl_cert, self.ssl_key) if self.tls else None,
        )


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    login = config.login()
    with connected(login) as server:
        choice = _chosen(server, config)
        rights = own_rights(server)
        tool = dump_tool(config.program, server.is_mariadb)
        no_history = {schema for schema, _ in server.tables_with_precise_history()}
    with options_file(folder, login, tool) as options:
        if config.users:
            yield Artefact(_USERS, _users(login))
        for pattern in choice.unmatched:
            yield Artefact(_artefact_name(pattern), broken(_no_database(pattern, login)))
        for name in choice.names:
            command = dump_command(tool, options, config.mysqldump_options, name, name not in no_history)
            yield Artefact(_artefact_name(name), _dump(command, rights.missing(name)))


def check(config: Config) -> Iterator[str]:
    """Connect, and look for whatever would fail or be missing: databases, rights, views that are broken."""
    login = config.login()
    problems: list[str] = []
    with connected(login) as server:
        tool = dump_tool(config.program, server.is_mariadb)
        yield f"{server.label} at {login.place}, dumped by {tool.label}"
        yield from _cautions(server, login, tool)
        choice = _chosen(server, config)
        yield from choice.notes
        problems += [_no_database(pattern, login).message for pattern in choice.unmatched]
        rights = own_rights(server)
        if not rights.show_all:
            yield f"user {rights.user} sees only the databases on which it has rights; SHOW DATABASES shows it all"
        for name in choice.names:
            yield server.size_of(name)
            problems += [f"database {name!r}: {sentence}" for sentence in rights.missing(name)]
            problems += server.broken_views(name)
        if plain := server.tables_without_transactions(choice.names):
            yield f"no transactions, so not of the same moment as the rest: {names_in_words(plain)}"
        if precise := [
            f"{schema}.{table}" for schema, table in server.tables_with_precise_history() if schema in choice.names
        ]:
            yield f"versions by transaction, of which a dump has the current ones alone: {names_in_words(precise)}"
        if config.users:
            account_statements(server)
    if problems:
        raise PickupError(names_in_words(problems, between="; "))


def discover(root: Path, without: Sequence[Path]) -> Iterator[Found]:
    """Find the server that runs here, by its socket, where we are root or the user that it runs as."""
    socket = usual_socket(root)
    with contextlib.suppress(OSError):  # it is not there, or not for us
        if socket.is_socket() and os.geteuid() in (0, socket.stat().st_uid):
            config = {} if root == Path("/") else {"socket": str(socket)}
            yield Found("mysql", config, "The databases of the MariaDB or MySQL server, and its users.")


def restore(config: Config, artefacts: Sequence[Stored], as_name: str | None, overwrite: bool) -> Iterator[str]:
    """Load dumps into the server, users before databases. The first sentence says where, before anything is changed.

    `as_name` loads a single database under another name, without users. A database that has something in it is
    refused, but for `overwrite`. The first error ends it.
    """
    login = config.login()
    users, loads = _loads(artefacts, as_name)
    with connected(login) as server:
        client = client_tool(config.program, server.is_mariadb)
        what = [*(["users and grants"] if users else []), *(f"database {load.target!r}" for load in loads)]
        yield f"into {server.label} at {login.place}: {', '.join(what) or 'nothing'}"
        existing = _checked_loads(server, loads, overwrite)
    with (
        tempfile.TemporaryDirectory(prefix="pickup-") as folder,
        options_file(Path(folder), login, client) as options,
    ):
        command = load_command(client, options)
        not_yet = _load_users(command, users) if users else ()
        for load in loads:
            if load.target in existing:
                yield f"database {load.target!r} is there and will be dropped"
                with connected(login) as server:
                    server.rows(f"DROP DATABASE {quoted(load.target)}")
            _load(command, load, client)
            yield f"database {load.target!r} is loaded"
        if users:
            not_given = _load_users(command, users) if not_yet else ()
            yield from (f"not given, as what it is about is not there: {line}" for line in not_given)
            yield "users and grants are loaded"


# What there is to dump


def _chosen(server: Server, config: Config) -> Choice:
    """Choose the databases to dump. For us, a name for which there is none is like a pattern that matches none."""
    known = server.databases()
    choice = choice_of(config.database, config.exclude, known)
    absent = [name for name in choice.names if name not in known]
    return Choice([name for name in choice.names if name in known], [*choice.unmatched, *absent], choice.notes)


def _no_database(pattern: str, login: Login) -> PickupError:
    return PickupError(
        f"server at {login.place} shows user {login.user} no database {pattern!r}",
        hint="is the name right, and has the user any right on it?",
    )


def _cautions(server: Server, login: Login, tool: Tool) -> Iterator[str]:
    """Say what is worth knowing about the programs and the connection."""
    if tool.is_mariadb != server.is_mariadb:
        yield f"{tool.label} is not made for {server.label}: what only that one has may be missing"
    elif numbers(tool.version) < numbers(server.version):
        yield f"{tool.label} is older than {server.label}: it may not know all that is in there"
    if not tool.knows("--network-timeout"):
        seconds = server.seconds_to_write()
        yield f"the server gives up a dump of which nothing is read for {seconds} seconds, its net_write_timeout"
    if login.host and not server.is_encrypted():
        yield f"the connection to {login.place} is not encrypted; tls=True insists on it"


def _artefact_name(database: str) -> str:
    return stem_of(database, _ACCOUNTS) + _SUFFIX


def _dump(command: Sequence[str], losses: Sequence[str]) -> Output:
    """Give the dump of one database as a source. It has losses that no program tells."""

    def judge(status: int, lines: Sequence[str]) -> Judgement:
        if status != 0:
            is_lost = any(_CONNECTION_LOST in line for line in lines)
            hint = "did the connection break, or nobody read for the server's net_write_timeout?" if is_lost else ""
            raise failure(command[0], status, lines, hint)
        return Judgement(losses=tuple(losses))

    return output_of(command, judge=judge, end=END, terms=DUMPING)


@contextlib.contextmanager
def _users(login: Login) -> Iterator[Readable]:
    with connected(login) as server:
        text = account_statements(server)
    yield io.BytesIO(text.encode())


# Loading


@dataclass(frozen=True)
class _Load:
    """A dump to be loaded: of which database, and under which name."""

    artefact: Stored
    database: str
    target: str


def _loads(artefacts: Sequence[Stored], as_name: str | None) -> tuple[Stored | None, list[_Load]]:
    """Give the artefact of the users, where there is one to load, and the dumps."""
    users = next((artefact for artefact in artefacts if artefact.name == _USERS), None)
    loads = []
    for artefact in artefacts:
        if artefact is not users and artefact.name.endswith(_SUFFIX):
            name = database_of(artefact.name.removesuffix(_SUFFIX), _ACCOUNTS)
            loads.append(_Load(artefact, name, as_name or name))
    if as_name is not None:
        if len(loads) != 1:
            raise PickupError(f"one database can be loaded as {as_name!r}; there are {len(loads)}", hint="name one")
        users = None
    for load in loads:
        if load.target.casefold() in OF_SERVER:
            raise PickupError(f"database {load.target!r} belongs to the server, and is never loaded")
    return users, loads


def _checked_loads(server: Server, loads: Sequence[_Load], overwrite: bool) -> set[str]:
    """Give the databases that are there already. Raises `RefusedError` where one must not be replaced, and
    `PickupError` where a dump is not what its name says.
    """
    existing = set(server.databases())
    for load in loads:
        if load.target in existing and not overwrite and server.holds_something(load.target):
            what = f"database {load.target!r} exists and is not empty; nothing was loaded"
            raise RefusedError(what, hint="--as NAME loads one under another name, --overwrite drops what is there")
        with load.artefact.open() as stream:
            if not is_dump_of(load.database, stream):
                raise PickupError(f"the artefact of database {load.database!r} does not begin as its dump does")
    return existing


def _load(command: Sequence[str], load: _Load, client: Tool) -> None:
    """Load one dump. Raises `PickupError` with the statement error that ended it."""
    try:
        with load.artefact.open() as stream:
            renamed = Renamed(stream, load.database, load.target, keeps_first_line=client.knows("--sandbox"))
            feed(command, renamed, terms=LOADING)
    except PickupError as error:
        what = f"database {load.target!r} is loaded in part: {error.message}"
        raise PickupError(what, hint=error.hint or "mend the cause, and load it anew over this part") from error


def _load_users(command: Sequence[str], artefact: Stored) -> Sequence[str]:
    """Make users and grants, and give the errors of those whose table or routine is not there. Others are raised."""

    def judge(status: int, lines: Sequence[str]) -> Judgement:
        errors = [line for line in lines if line.startswith("ERROR ")]
        later = [line for line in errors if line.split()[1] in _NOT_THERE_YET]
        if len(later) < len(errors) or (status != 0 and not errors):
            wrong = [line for line in errors or lines if line not in later]
            raise PickupError(
                f"users and grants: {names_in_words(wrong)}", hint="the others are loaded, no database is"
            )
        return Judgement(warnings=tuple(later))

    with artefact.open() as stream:
        return feed([*command, "--force"], stream, judge, LOADING).warnings
