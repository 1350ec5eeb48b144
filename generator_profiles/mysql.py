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
import logging
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import Field, field_validator, model_validator

from pickup_core.api import (
    BLOCK,
    Artefact,
    Judgement,
    Options,
    Output,
    PickupError,
    Readable,
    Secret,
    Stored,
    Terms,
    feed,
    output_of,
    require_program,
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

log = logging.getLogger("pickup.mysql")

_USERS = "users"
_SUFFIX = ".sql"
_OF_SERVER = ("information_schema", "performance_schema", "sys", "mysql")
_ROOTS = tuple(("root", host) for host in ("localhost", "127.0.0.1", "::1"))  # which every server has, as it wants
_FOLDER_NO_DATABASE = "#mysql50#lost+found"  # in a data folder that is a file system of its own
_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108 - MySQL's default
_SHOWN = 5
_TIMEOUT = 900
_DUMPING = Terms(env={"MYSQL_PWD": None})
_LOADING = Terms(env={"MYSQL_PWD": None}, stall=86_400)  # a statement may take hours
_DUMP_OPTIONS = ("--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob",
                 "--default-character-set=utf8mb4", "--max-allowed-packet=1G",
                 "--skip-add-locks")  # fmt: skip  # between LOCK TABLES no column gets its default from a sequence
_HISTORY = "--dump-history"
_DUMP_OPTIONS_WHERE_KNOWN = ("--no-tablespaces", _HISTORY, "--set-gtid-purged=OFF", "--column-statistics=0")
_NOT_FOR_DUMP = ("comments", "compact", "result-file", "tab", "xml", "databases", "all-databases", "tables", "system",
                 "no-create-db", "add-drop-database", "default-character-set", "compatible", "quote-names", "log-error",
                 "host", "port", "socket", "protocol", "user", "password", "defaults-file", "defaults-extra-file",
                 "defaults-group-suffix", "no-defaults", "print-defaults", "help", "version")  # fmt: skip
_END = re.compile(rb"\n-- Dump completed[^\n]*\n*\Z")
_LONGEST_END = 4096
_HEAD = 65_536
_LONGEST_MATCH = 4096  # of a line, as far as the database's name
_NO_ACCOUNT = (1133, 1141, 1396)
_NOT_THERE_YET = ("1146", "1305")  # no such table, no such routine
_NAME = r"`(?:[^`]|``)*`"
_GRANT = re.compile(rf"GRANT (.+) ON (?:TABLE )?(\*|{_NAME})\.(\*|{_NAME}) TO ", re.DOTALL)
_DEFAULT_ROLE = re.compile(rf" DEFAULT ROLE ({_NAME}@{_NAME}(?:,{_NAME}@{_NAME})*)")
_RIGHTS = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
_RIGHTS_HINT = "give the user the rights that the manual names, or say users=False"


class Config(Options):
    host: str | None = Field(None, pattern="^[A-Za-z0-9:][A-Za-z0-9.:_-]*$")
    """The server's host, to be reached over the network. By default it is the server of this machine, by its socket."""
    port: int = Field(3306, ge=1, le=65535)
    """The server's port, where `host` is given."""
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
    database: str | list[str] = "*"
    """The databases: a name or a pattern, or several."""
    exclude: list[str] = []
    """Names and patterns of databases that are left out."""
    users: bool = True
    """Keep users, roles and grants too. It needs the right to read the database `mysql`."""
    program: str | None = None
    """The dump program; by default `mariadb-dump` or `mysqldump`, whichever fits the server."""
    mysqldump_options: list[str] = []
    """More options for it, each as one word: `["--ignore-table=shop.cache"]`."""

    @property
    def patterns(self) -> list[str]:
        """What `database` says, as a list."""
        return self.database if isinstance(self.database, list) else [self.database]

    @field_validator("database")
    @classmethod
    def _are_databases(cls, value: str | list[str]) -> str | list[str]:
        names = [value] if isinstance(value, str) else value
        if not names or not all(names):
            raise ValueError("names no database")
        for name in names:
            if name.casefold() in _OF_SERVER:
                raise ValueError(f"names {name}, which belongs to the server; users and grants come as users.sql")
        return value

    @field_validator("mysqldump_options")
    @classmethod
    def _leave_the_stream_alone(cls, words: list[str]) -> list[str]:
        for word in words:
            if not re.match(r"--[a-z]", word):
                raise ValueError(f"{word!r} should be written as --name or --name=value, in one word")
            name = word[2:].partition("=")[0].replace("_", "-").lower()
            stem = re.sub(r"\A((loose|skip|disable|enable|maximum)-)+", "", name)
            if any(known.startswith(stem) for known in _NOT_FOR_DUMP):
                raise ValueError(f"{word!r} would change where the dump goes, or how its end is recognised")
        return words

    @model_validator(mode="after")
    def _tls_has_a_host(self) -> "Config":
        if self.tls and self.host is None and self.defaults_file is None:
            raise ValueError("tls=True needs a host: a socket of this machine is not encrypted")
        if not self.tls and (self.ssl_ca or self.ssl_cert or self.ssl_key):
            raise ValueError("ssl_ca, ssl_cert and ssl_key are of use with tls=True only")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise ValueError("ssl_cert and ssl_key belong together")
        return self


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    login = _login(config)
    with _connected(login) as server:
        names, unknown = _chosen(server, config)
        rights = server.rights()
        tool = _dump_tool(config, server)
        no_history = {schema for schema, _ in server.tables_with_precise_history()}
    with _options_file(folder, login, tool) as options:
        if config.users:
            yield Artefact(_USERS + _SUFFIX, _users(login))
        for pattern in unknown:
            yield Artefact(_artefact_name(pattern), _broken(_no_database(pattern, login)))
        for name in names:
            output = output_of(_dump_command(tool, options, config, name, name not in no_history), terms=_DUMPING)
            yield Artefact(_artefact_name(name), _Dump(name, output, rights.sentences(name)))


def check(config: Config) -> Iterator[str]:
    """Connect, and look for whatever would fail or be missing: databases, rights, views that are broken."""
    login = _login(config)
    problems: list[str] = []
    with _connected(login) as server:
        tool = _dump_tool(config, server)
        yield f"{server.label} at {login.place}, dumped by {tool.label}"
        yield from _cautions(server, login, tool)
        names, unknown = _chosen(server, config)
        problems += [_no_database(pattern, login).message for pattern in unknown]
        rights = server.rights()
        if not rights.show_all:
            yield f"user {rights.user} sees only the databases on which it has rights; SHOW DATABASES shows it all"
        for name in names:
            yield server.size_of(name)
            problems += [f"database {name!r}: {sentence}" for sentence in rights.sentences(name)]
            problems += server.broken_views(name)
        plain = server.tables_without_transactions(names)
        if plain:
            yield f"no transactions, so not of the same moment as the rest: {_listed(plain)}"
        precise = [f"{schema}.{table}" for schema, table in server.tables_with_precise_history() if schema in names]
        if precise:
            yield f"versions by transaction, of which a dump has the current ones alone: {_listed(precise)}"
        if config.users:
            _account_statements(server)
    if problems:
        raise PickupError(_listed(problems, "; "))


def restore(config: Config, artefacts: Sequence[Stored], as_name: str | None, overwrite: bool) -> Iterator[str]:
    """Load dumps into the server, users before databases. The first sentence says where, before anything is changed.

    `as_name` loads a single database under another name, without users. A database that has something in it is
    refused, but for `overwrite`. The first error ends it.
    """
    login = _login(config)
    users, loads = _loads(artefacts, as_name)
    with _connected(login) as server:
        client = _client_tool(config, server)
        what = [*(["users and grants"] if users else []), *(f"database {load.target!r}" for load in loads)]
        yield f"into {server.label} at {login.place}: {', '.join(what) or 'nothing'}"
        existing = _checked_loads(server, loads, overwrite)
    with (
        tempfile.TemporaryDirectory(prefix="pickup-") as folder,
        _options_file(Path(folder), login, client) as options,
    ):
        command = _load_command(client, options)
        not_yet = _load_users(command, users) if users else ()
        for load in loads:
            if load.target in existing:
                yield f"database {load.target!r} is there and will be dropped"
                with _connected(login) as server:
                    server.rows(f"DROP DATABASE {_quoted(load.target)}")
            _load(command, load, client)
            yield f"database {load.target!r} is loaded"
        if users:
            not_given = _load_users(command, users) if not_yet else ()
            yield from (f"not given, as what it is about is not there: {line}" for line in not_given)
            yield "users and grants are loaded"


# Where the server is


@dataclass(frozen=True)
class _Login:
    """How to reach the server, and as whom: by `socket`, or by `host` and `port`."""

    user: str
    password: Secret | None
    host: str | None
    port: int
    socket: Path | None
    config: Config

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}" if self.host else f"socket {self.socket}"


def _login(config: Config) -> _Login:
    """Put together what the entry says, what its file says, and what is usual."""
    said = _read_defaults_file(config.defaults_file) if config.defaults_file else {}
    host, socket = config.host, config.socket
    if host is None and socket is None:
        host = said.get("host") if said.get("host") != "localhost" else None  # which means the socket
        socket = Path(said["socket"]) if "socket" in said and host is None else None
    if host is None and socket is None:
        socket = next(filter(Path.is_socket, map(Path, _SOCKETS)), Path(_SOCKETS[0]))
    if config.tls and host is None:
        raise PickupError("tls=True needs a host: a socket of this machine is not encrypted", hint="add `host`")
    password = Secret(said["password"]) if "password" in said else None
    port = str(config.port) if "port" in config.model_fields_set else said.get("port", str(config.port))
    if not port.isdecimal():
        raise PickupError(f"{config.defaults_file} says port={port}, which is no number")
    user = config.user or said.get("user") or _system_user()
    return _Login(user, config.password or password, host, int(port), socket, config)


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise PickupError(f"system user {os.geteuid()} has no name", hint="say which `user` to connect as") from None


def _read_defaults_file(path: Path) -> dict[str, str]:
    """Give what the group `[client]` of an option file says, as the server's own programs read it.

    The format: https://dev.mysql.com/doc/refman/8.4/en/option-files.html. Raises `PickupError` where it cannot be
    read, or where others than its owner and root can.
    """
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o077:
                raise PickupError(f"{path}, which holds a password, can be read by others", hint=f"chmod 600 {path}")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PickupError(f"defaults_file {path} cannot be read: {error}") from error
    said: dict[str, str] = {}
    group = ""
    for line in map(str.strip, lines):
        if line.startswith("["):
            group = line.strip("[] ")
        elif group == "client" and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            said[name.strip().replace("_", "-")] = _unquoted(value.strip())
    return said


def _unquoted(value: str) -> str:
    """Give the value that is meant in an option file: without quotes or a comment, its escapes resolved."""
    if value[:1] in ("'", '"') and (found := re.match(r"(['\"])((?:\\.|(?!\1).)*)\1", value)):
        value = found[2]
    else:
        value = re.split(r"\s*#", value)[0]
    escapes = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " "}
    return re.sub(r"\\([ntrbs\\\"'])", lambda found: escapes.get(found[1], found[1]), value)


@contextlib.contextmanager
def _options_file(folder: Path, login: _Login, tool: "_Tool") -> Iterator[Path]:
    """Give a private file with what a program needs to connect, so that no password is ever an argument.

    It is handed over as `--defaults-file`: the program reads no other, and connects as PyMySQL does.
    """
    said = {"user": login.user, "password": login.password.reveal() if login.password else ""}
    if login.host:
        said |= {"protocol": "TCP", "host": login.host, "port": str(login.port)}
    else:
        said |= {"protocol": "SOCKET", "socket": str(login.socket)}
    lines = ["[client]", *(f"{name}={_as_option(value)}" for name, value in said.items())]
    lines += _tls_lines(login.config, tool) if login.config.tls else []
    path = folder / "client.cnf"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))
    try:
        yield path
    finally:
        path.unlink()


def _as_option(value: str) -> str:
    for character, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(character, written)
    return f'"{value}"'


def _tls_lines(config: Config, tool: "_Tool") -> list[str]:
    lines = ["ssl-mode=VERIFY_IDENTITY"] if tool.knows("--ssl-mode") else ["ssl", "ssl-verify-server-cert"]
    return [*lines, *(f"ssl-{kind}={_as_option(path)}" for kind, path in _certificates(config).items())]


def _certificates(config: Config) -> dict[str, str]:
    """Give the files by which a server is known, and we by it, under the names that all libraries have for them."""
    import ssl

    usual = ssl.get_default_verify_paths()
    files = {"ca": config.ssl_ca or usual.cafile, "cert": config.ssl_cert, "key": config.ssl_key}
    if files["ca"] is None:
        files["capath"] = usual.capath or usual.openssl_capath
    return {kind: str(path) for kind, path in files.items() if path}


# What the server says


class _Server:
    """A connection, and the questions that are asked over it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.version = str(self.rows("SELECT version()")[0][0])
        self.is_mariadb = "mariadb" in self.version.lower()

    @property
    def label(self) -> str:
        return f"{'MariaDB' if self.is_mariadb else 'MySQL'} {self.version.partition('-')[0]}"

    @property
    def has_proc(self) -> bool:
        """True where routines stand in the table `mysql.proc`, and who may read it sees them."""
        return self.is_mariadb or _numbers(self.version) < (8, 0)

    def rows(self, statement: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def databases(self) -> list[str]:
        """Give the databases that this user may see, less those of the server itself."""
        names = [name for (name,) in self.rows("SHOW DATABASES")]
        return sorted(name for name in names if name.casefold() not in _OF_SERVER and name != _FOLDER_NO_DATABASE)

    def rights(self) -> "_Rights":
        user = str(self.rows("SELECT current_user()")[0][0])
        statement = "SHOW GRANTS"
        if not self.has_proc and (roles := str(self.rows("SELECT current_role()")[0][0])) != "NONE":
            statement += f" FOR CURRENT_USER() USING {roles}"  # MariaDB shows what comes by a role without being asked
        return _Rights(user, [row[0] for row in self.rows(statement)], self.has_proc)

    def size_of(self, name: str) -> str:
        question = "SELECT count(*), sum(data_length) FROM information_schema.tables WHERE table_schema = %s"
        [(count, size)] = self.rows(question, [name])
        return f"database {name!r}: {count} tables and views, {size or 0} bytes of data"

    def tables_without_transactions(self, names: Sequence[str]) -> list[str]:
        found = self.rows(
            "SELECT table_schema, table_name, engine FROM information_schema.tables WHERE engine IS NOT NULL AND engine"
            " NOT IN (SELECT engine FROM information_schema.engines WHERE transactions = 'YES') ORDER BY 1, 2"
        )
        return [f"{schema}.{table} ({engine})" for schema, table, engine in found if schema in names]

    def tables_with_precise_history(self) -> list[tuple[str, str]]:
        """Give the tables whose versions MariaDB tells by transactions. A dump cannot have those, and the program would
        stop there.
        """
        versioned = self.rows(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SYSTEM VERSIONED'"
        )
        precise = (
            "SELECT 1 FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
            " AND generation_expression = 'ROW START' AND data_type = 'bigint'"
        )
        return [(schema, table) for schema, table in versioned if self.rows(precise, [schema, table])]

    def broken_views(self, name: str) -> list[str]:
        """Name the views at which the dump program would stop, by asking what it asks."""
        import pymysql

        views = self.rows("SELECT table_name FROM information_schema.views WHERE table_schema = %s", [name])
        broken = []
        for (view,) in views:
            try:
                self.rows(f"SHOW FIELDS FROM {_quoted(name)}.{_quoted(view)}")
            except pymysql.MySQLError as error:
                broken.append(f"view {name}.{view} is broken, which stops the dump of its database: {_reason(error)}")
        return broken

    def holds_something(self, name: str) -> bool:
        """Tell whether a database has a table, a view, a routine or an event in it."""
        return any(
            self.rows(f"SELECT 1 FROM information_schema.{kind}s WHERE {kind}_schema = %s LIMIT 1", [name])  # noqa: S608
            for kind in ("table", "routine", "event")
        )

    def about_account(self, question: str, account: str) -> list[str]:
        """Give the lines of an answer, none where the server has the account in its table only and does not use it:
        one of a host name, under --skip-name-resolve.
        """
        import pymysql

        try:
            return [str(row[0]) for row in self.rows(f"{question} {account}")]
        except pymysql.MySQLError as error:
            if error.args[0] not in _NO_ACCOUNT:
                raise
            log.info("the server does not use account %s, so it is left out: %s", account, _reason(error))
            return []

    def is_encrypted(self) -> bool:
        return bool(self.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1])


@contextlib.contextmanager
def _connected(login: _Login) -> Iterator[_Server]:
    """Connect; whatever the server or PyMySQL says against it, or against a statement, becomes a `PickupError`."""
    import pymysql

    if login.socket and not login.socket.is_socket():
        raise PickupError(f"there is no server at {login.place}", hint="does it run? `socket` says where it is")
    config = login.config
    tls = {"check_hostname": True, "verify_mode": "required", **_certificates(config)} if config.tls else None
    try:
        connection = pymysql.connect(
            host=login.host or "localhost",
            port=login.port,
            unix_socket=str(login.socket) if login.host is None else None,
            user=login.user,
            password=login.password.reveal().encode() if login.password else b"",
            charset="utf8mb4",
            sql_mode="",
            autocommit=True,
            connect_timeout=30,
            read_timeout=_TIMEOUT,
            write_timeout=_TIMEOUT,
            ssl=tls,
        )
    except (pymysql.MySQLError, RuntimeError, OSError) as error:  # the latter two: a library or a file is missing
        raise _refused(login, error) from error
    try:
        yield _Server(connection)
    except pymysql.MySQLError as error:
        raise _refused(login, error) from error
    finally:
        if connection.open:
            connection.close()


def _refused(login: _Login, error: Exception) -> PickupError:
    hint = {
        1044: _RIGHTS_HINT,
        1045: "is the password the right one, and may this user come from this host?",
        1142: _RIGHTS_HINT,
        1698: "run as the system user of that name, or say `user` and `password`",
        2003: "does the server run, and does it listen there?",
    }
    code = error.args[0] if error.args else 0
    return PickupError(f"server at {login.place}, user {login.user}: {_reason(error)}", hint=hint.get(code, ""))


def _reason(error: Exception) -> str:
    code, *rest = error.args or ("",)
    return f"{rest[0]} ({code})" if rest else str(code)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _numbers(version: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _listed(names: Sequence[str], between: str = ", ") -> str:
    """Give five of the names at most, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return between.join(names[:_SHOWN]) + more


# Which databases, and with what rights


def _chosen(server: _Server, config: Config) -> tuple[list[str], list[str]]:
    """Give the databases to dump, and the names and patterns for which there is none."""
    excluded = [_expression(pattern) for pattern in config.exclude]
    known = server.databases()
    left = [name for name in known if not any(pattern.fullmatch(name) for pattern in excluded)]
    wanted = {pattern: _expression(pattern) for pattern in config.patterns}
    names = [name for name in left if any(expression.fullmatch(name) for expression in wanted.values())]
    unknown = [text for text, expression in wanted.items() if not any(map(expression.fullmatch, known))]
    return names, unknown


def _expression(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in pattern), re.DOTALL)


def _no_database(pattern: str, login: _Login) -> PickupError:
    return PickupError(
        f"server at {login.place} shows user {login.user} no database {pattern!r}",
        hint="is the name right, and has the user any right on it?",
    )


@dataclass(frozen=True)
class _Rights:
    """What the user may do, read from its grants (SHOW GRANTS)."""

    user: str
    grants: Sequence[str]
    has_proc: bool

    @property
    def show_all(self) -> bool:
        """True where no database is hidden from the user."""
        return self._may("SHOW DATABASES") or self._may("SELECT")

    def sentences(self, database: str) -> list[str]:
        """Say which rights on a database are missing, without which something may be left out silently."""
        missing = [right for right in _RIGHTS if not self._may(right, database)]
        grants = [f"{', '.join(missing)} ON {_quoted(database)}.*"] if missing else []
        if self.has_proc and not (self._may("SELECT", "mysql", "proc") or self._may("SHOW CREATE ROUTINE", database)):
            grants.append("SELECT ON mysql.proc")
        if not self.has_proc and not (self._may("SHOW_ROUTINE") or self._may("SELECT")):
            grants.append("SHOW_ROUTINE ON *.*")
        if not grants:
            return []
        return [f"what user {self.user} may not see is not in the dump; it lacks {' and '.join(grants)}"]

    def _may(self, right: str, database: str | None = None, table: str | None = None) -> bool:
        return any(
            right in rights or "ALL PRIVILEGES" in rights
            for on_database, on_table, rights in self._parsed()
            if (on_database is None or (database is not None and on_database.fullmatch(database)))
            and on_table in (None, table)
        )

    def _parsed(self) -> Iterator[tuple[re.Pattern[str] | None, str | None, list[str]]]:
        """Give each grant as pattern of databases, table, and rights; None means all."""
        for found in filter(None, map(_GRANT.match, self.grants)):
            rights, database, table = found.groups()
            yield (
                None if database == "*" else _like(_name_in(database)),
                None if table == "*" else _name_in(table),
                rights.split(", "),
            )


def _name_in(quoted: str) -> str:
    return quoted[1:-1].replace("``", "`")


def _like(pattern: str) -> re.Pattern[str]:
    """Give the expression for a pattern of databases as grants have it: `%`, `_`, and a backslash before either."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    words = {"%": ".*", "_": "."}
    return re.compile("".join(words.get(part, re.escape(part.removeprefix("\\") or part)) for part in parts), re.DOTALL)


def _cautions(server: _Server, login: _Login, tool: "_Tool") -> Iterator[str]:
    """Say what is worth knowing about the programs and the connection."""
    if tool.is_mariadb != server.is_mariadb:
        yield f"{tool.label} is not made for {server.label}: what only that one has may be missing"
    elif _numbers(tool.version) < _numbers(server.version):
        yield f"{tool.label} is older than {server.label}: it may not know all that is in there"
    if not tool.knows("--network-timeout"):
        [(_, seconds)] = server.rows("SHOW VARIABLES LIKE 'net_write_timeout'")
        yield f"the server gives up a dump of which nothing is read for {seconds} seconds, its net_write_timeout"
    if login.host and not server.is_encrypted():
        yield f"the connection to {login.place} is not encrypted; tls=True insists on it"


# The programs


@dataclass(frozen=True)
class _Tool:
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


def _dump_tool(config: Config, server: _Server) -> _Tool:
    if config.program:
        return _tool(config.program)
    return _fitting(["mariadb-dump", "mysqldump"], server)


def _client_tool(config: Config, server: _Server) -> _Tool:
    """Give the program that loads, beside the one that dumps where that is named by its path."""
    folder = f"{config.program.rpartition('/')[0]}/" if config.program and "/" in config.program else ""
    return _fitting([f"{folder}mariadb", f"{folder}mysql"], server)


def _fitting(programs: Sequence[str], server: _Server) -> _Tool:
    """Give the first of the programs that is made for this server; else the first that there is."""
    first = None
    for program in filter(shutil.which, programs):
        tool = _tool(program)
        if tool.is_mariadb == server.is_mariadb:
            return tool
        first = first or tool
    return first or _tool(programs[0])


def _tool(program: str) -> _Tool:
    require_program(program)
    blocks = []
    with output_of([program, "--no-defaults", "--help"], terms=_DUMPING) as stream:
        while block := stream.read(BLOCK):
            blocks.append(block)
    return _Tool(program, b"".join(blocks).decode("utf-8", "replace"))


def _dump_command(tool: _Tool, options: Path, config: Config, name: str, with_history: bool) -> list[str]:
    """The name stands behind `--`, so none can be an option, in bytes of UTF-8, whatever the locale is."""
    known = [option for option in _DUMP_OPTIONS_WHERE_KNOWN if tool.knows(option)]
    known = [option for option in known if with_history or option != _HISTORY]
    return [tool.program, f"--defaults-file={options}", *_DUMP_OPTIONS, *known, *config.mysqldump_options,
            "--databases", "--", os.fsdecode(name.encode())]  # fmt: skip


def _load_command(tool: _Tool, options: Path) -> list[str]:
    """Without --binary-mode the program would change line ends, and could be told by a dump to start others; without
    --comments it would take them out of routines.
    """
    quiet = ["--skip-print-query-on-error"] if tool.knows("--print-query-on-error") else []
    return [tool.program, f"--defaults-file={options}", "--binary-mode", "--comments",
            "--default-character-set=utf8mb4", "--max-allowed-packet=1G", *quiet]  # fmt: skip


# Sources


class _Dump:
    """The dump of one database as a source; leaving it raises where the program did not write its last line."""

    def __init__(self, name: str, output: Output, losses: Sequence[str]) -> None:
        self._name = name
        self._output = output
        self._end = b""
        self.judgement = Judgement(losses=tuple(losses))

    def __enter__(self) -> "_Dump":
        with _about(self._name):
            self._output.__enter__()
        return self

    def read(self, size: int = -1, /) -> bytes:
        with _about(self._name):
            block = self._output.read(size)
        self._end = (self._end + block)[-_LONGEST_END:]
        return block

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _about(self._name):
            self._output.__exit__(kind, error, trace)
            if kind is None and not _END.search(self._end):
                raise PickupError("the dump has no end, though its program ended without an error")


@contextlib.contextmanager
def _about(name: str) -> Iterator[None]:
    """Name the database in what goes wrong with it."""
    try:
        yield
    except PickupError as error:
        is_lost = "Error 2013" in error.message  # https://mariadb.com/kb/en/mariadb-error-codes/
        hint = "did the connection break, or nobody read for the server's net_write_timeout?" if is_lost else error.hint
        raise PickupError(f"database {name!r}: {error.message}", hint) from error


@contextlib.contextmanager
def _users(login: _Login) -> Iterator[Readable]:
    with _connected(login) as server:
        text = _account_statements(server)
    yield io.BytesIO(text.encode())


@contextlib.contextmanager
def _broken(error: PickupError) -> Iterator[Readable]:
    raise error
    yield  # makes this a generator, as a context manager has to be


def _artefact_name(database: str) -> str:
    """Give a database's artefact a name that is never the one of the users."""
    return database + (".database" if _is_like_users(database) else "") + _SUFFIX


def _is_like_users(database: str) -> bool:
    return re.fullmatch(rf"{_USERS}(\.database)*", database) is not None


# Users and grants


def _account_statements(server: _Server) -> str:
    """Give the statements that make the users, roles and grants of this server on another one."""
    accounts, roles = _accounts(server)
    first = ["SET NAMES utf8mb4", "SET SESSION sql_mode = ''"]
    first += [f"CREATE ROLE IF NOT EXISTS {role}" for role in roles if role != "PUBLIC"]
    grants: list[str] = []
    last: list[str] = []
    for account in accounts:
        created = server.about_account("SHOW CREATE USER", account)
        for line in created:
            if found := _DEFAULT_ROLE.search(line):  # MySQL's, which holds only once the role was granted
                last.append(f"SET DEFAULT ROLE {found[1]} TO {account}")
            plain = line.replace(found[0], "", 1) if found else line
            first.append(plain.replace("CREATE USER ", "CREATE USER IF NOT EXISTS ", 1))
    for grantee in (*roles, *accounts):
        grants += filter(None, (_grant(line, grantee) for line in server.about_account("SHOW GRANTS FOR", grantee)))
    lines = "".join(f"{line};\n" for line in [*first, *grants, *last])
    return f"-- Users, roles and grants of {server.label}\n\n{lines}"


def _accounts(server: _Server) -> tuple[list[str], list[str]]:
    """Give the users and the roles, quoted, but for those that every server has. MySQL's roles are users."""
    kind = "is_role" if server.is_mariadb else "'N'"
    if server.rows("SHOW VARIABLES LIKE 'print_identified_with_as_hex'"):
        server.rows("SET SESSION print_identified_with_as_hex = 1")
    accounts, roles = [], []
    for user, host, is_role in server.rows(f"SELECT user, host, {kind} FROM mysql.user ORDER BY user, host"):  # noqa: S608
        if is_role == "Y":
            roles.append("PUBLIC" if user == "PUBLIC" else _quoted(user))
        elif (user, host) not in _ROOTS and not user.startswith(("mysql.", "mariadb.")):
            accounts.append(f"{_quoted(user)}@{_quoted(host)}")
    return accounts, roles


def _grant(line: str, grantee: str) -> str:
    """Give a grant without what CREATE USER has said already; nothing for one that gives nothing, or not to it."""
    given, to, rest = line.rpartition(f" TO {grantee}")
    if not to or rest.startswith("@"):
        return "" if "@" not in grantee else line
    option = next((f" WITH {kind} OPTION" for kind in ("GRANT", "ADMIN") if f" WITH {kind} OPTION" in rest), "")
    if given == "GRANT USAGE ON *.*" and not option:
        return ""
    return f"{given}{to}{option}"


# Loading


@dataclass(frozen=True)
class _Load:
    """A dump to be loaded: of which database, and under which name."""

    artefact: Stored
    database: str
    target: str


def _loads(artefacts: Sequence[Stored], as_name: str | None) -> tuple[Stored | None, list[_Load]]:
    """Give the artefact of the users, where there is one to load, and the dumps."""
    users = next((artefact for artefact in artefacts if artefact.name == _USERS + _SUFFIX), None)
    loads = []
    for artefact in artefacts:
        if artefact is not users and artefact.name.endswith(_SUFFIX):
            name = artefact.name.removesuffix(_SUFFIX)
            name = name.removesuffix(".database") if _is_like_users(name) else name
            loads.append(_Load(artefact, name, as_name or name))
    if as_name is not None:
        if len(loads) != 1:
            raise PickupError(f"one database can be loaded as {as_name!r}; there are {len(loads)}", hint="name one")
        users = None
    for load in loads:
        if load.target.casefold() in _OF_SERVER:
            raise PickupError(f"database {load.target!r} belongs to the server, and is never loaded")
    return users, loads


def _checked_loads(server: _Server, loads: Sequence[_Load], overwrite: bool) -> set[str]:
    """Give the databases that are there already. Raises `PickupError` where one must not be replaced, or where a dump
    is not what its name says.
    """
    existing = set(server.databases())
    for load in loads:
        if load.target in existing and not overwrite and server.holds_something(load.target):
            what = f"database {load.target!r} exists and is not empty; nothing was loaded"
            raise PickupError(what, hint="say so if it shall be replaced, or load the dump under another name")
        with load.artefact.open() as stream:
            _check_head(_read_head(stream), load.database)
    return existing


def _read_head(stream: Readable) -> bytes:
    """Read on until the beginning of a dump is there, with its CREATE DATABASE in it."""
    head = b""
    while len(head) < _HEAD and (block := stream.read(BLOCK)):
        head += block
    return head


def _check_head(head: bytes, database: str) -> None:
    name = re.escape(_quoted(database).encode())
    if not re.search(rb"\nCREATE DATABASE [^\n`]*" + name + rb"[^;]*;\s*USE " + name + rb";", head):
        raise PickupError(f"the artefact of database {database!r} does not begin as its dump does")


def _load(command: Sequence[str], load: _Load, client: _Tool) -> None:
    """Load one dump. Raises `PickupError` with the statement error that ended it."""
    try:
        with load.artefact.open() as stream:
            feed(command, _Renamed(stream, load, keeps_first_line=client.knows("--sandbox")), terms=_LOADING)
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
            raise PickupError(f"users and grants: {_listed(wrong)}", hint="the others are loaded, no database is")
        return Judgement(warnings=tuple(later))

    with artefact.open() as stream:
        return feed([*command, "--force"], stream, judge, _LOADING).warnings


class _Renamed:
    """A dump as a stream, in which the lines that name its database name another one.

    They create it, make it the current one, change its character set, or take a default from one of its sequences.
    Rows are never touched: in them a line end is written as an escape. Nor is what a routine names by itself.
    """

    def __init__(self, stream: Readable, load: _Load, keeps_first_line: bool) -> None:
        old, self._new = (_quoted(name).encode() for name in (load.database, load.target))
        self._lines = re.compile(
            rb"\n(CREATE DATABASE (?:/\*!\d+ IF NOT EXISTS\*/ )?|USE |ALTER DATABASE |  `[^\n]* DEFAULT nextval\()"
            + re.escape(old)
        )
        self._stream = stream
        self._rest = b"" if keeps_first_line else self._without_sandbox()

    def _without_sandbox(self) -> bytes:
        """Read the first line, which an older program does not understand, and leave it out."""
        head = _read_head(self._stream)
        return re.sub(rb"\A/\*M?!999999\\- [^\n]*", b"", head)

    def read(self, size: int = -1, /) -> bytes:
        """Give up to two blocks. A line that may go on in the next block is held back."""
        while block := self._stream.read(BLOCK):
            data = self._rest + block
            cut = data.rfind(b"\n", max(0, len(data) - _LONGEST_MATCH))
            cut = len(data) if cut < 0 else cut
            self._rest = data[cut:]
            if cut:
                return self._changed(data[:cut])
        rest, self._rest = self._rest, b""
        return self._changed(rest)

    def _changed(self, data: bytes) -> bytes:
        return self._lines.sub(lambda found: b"\n" + found[1] + self._new, data)
