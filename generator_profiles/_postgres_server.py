"""A PostgreSQL server as the profile `postgres` needs it: how it is reached, what is in it, which programs fit it."""

import contextlib
import logging
import os
import re
import select
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pickup_core.api import PickupError, Secret, Terms, acting_as, names_in_words, require_program, text_of

log = logging.getLogger("pickup.postgres")

_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")  # of Debian and RHEL, and what is made from them
_CONNECT_TIMEOUT = 30
_ANSWER_TIMEOUT = 600  # the files of a large database are not dropped, nor added up, in a moment
_HINTS = {
    "server version mismatch": "install the client programs of the server's version, or name their folder in programs",
    "may not read": "GRANT pg_read_all_data TO the role; the how-to on PostgreSQL has the whole list",
    "permission denied": "check lists what the role may not read",
    "row-level security": "ALTER ROLE ... BYPASSRLS for the role that dumps",
    "Is the server running": "does the server run, and does it listen there? On Debian pg_lsclusters tells",
    "FATAL: role": "user names the role to connect as; the how-to on PostgreSQL tells how to make one",
    "Peer authentication failed": "as_user is the system user to connect as",
    "58P01: directory": "a tablespace lies there: make that folder for the server's system user, and load once more",
    "no database matches": "psql --list shows them",
    "is being accessed by other users": "end their sessions first, or load it under another name",
}
_NO_CONNECTION = re.compile(r"connection to server (.+?) failed: (.+)")
_ASKED = re.compile(r"Is the server running ")
_DATABASES = r"""
    SELECT replace(datname, '\', '\\')::bytea,
           CASE WHEN datistemplate THEN 'it is a template'
                WHEN NOT datallowconn THEN 'it allows no connections'
                WHEN datconnlimit = -2 THEN 'it was dropped, but not to the end' END
    FROM pg_database ORDER BY datname"""
_HAS_CONTENT = """
    SELECT EXISTS (SELECT FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_')  -- initdb's have smaller numbers
        OR EXISTS (SELECT FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't')
        OR EXISTS (SELECT FROM pg_proc WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_extension WHERE oid >= 16384)
        OR EXISTS (SELECT FROM pg_largeobject_metadata) OR EXISTS (SELECT FROM pg_event_trigger)"""
_UNREADABLE = {
    "tables and sequences": """
        SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p', 'S') AND relpersistence <> 't'
          AND nspname !~ '^pg_' AND nspname <> 'information_schema'
          AND NOT EXISTS (
              SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
          AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')) ORDER BY 1""",
    "all rows, because of row-level security, of": """
        SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND row_security_active(oid) ORDER BY 1""",
    "large objects": """
        SELECT oid::text FROM pg_largeobject_metadata
        WHERE NOT pg_has_role(lomowner, 'USAGE') AND NOT EXISTS (
            SELECT FROM aclexplode(lomacl)
            WHERE privilege_type = 'SELECT' AND (grantee = 0 OR pg_has_role(grantee, 'USAGE'))) ORDER BY oid""",
    "subscriptions": """
        SELECT quote_ident(subname) FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1""",
}


@dataclass(frozen=True)
class Server:
    """How a server is reached: what libpq is told, the system user to be meanwhile, and the folder of the programs."""

    host: str | None
    port: int | None
    user: str | None
    password: Secret | None
    service: str | None
    sslmode: str | None
    system_user: str | None
    programs: Path | None

    def address(self, database: str) -> str:
        """Give the connection string of a database, without the password. Each value is quoted, so that none is taken
        for more than a value. The variables of libpq would not do: what a service says wins over them.
        """
        values = {
            "service": self.service,
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "sslmode": self.sslmode,
            "connect_timeout": _CONNECT_TIMEOUT,
            "dbname": database,
        }
        return " ".join(f"{key}={quoted_value(str(value))}" for key, value in values.items() if value is not None)

    def arguments(self, database: str) -> list[str]:
        """Give the arguments with which a program connects to a database, in UTF-8 whatever the locale is."""
        return ["--no-password", f"--dbname={_in_utf8(self.address(database))}"]

    def terms(self, stall: float, timeout: float | None) -> Terms:
        """Give the terms of a program that connects. The password is in the environment of that program alone."""
        env = {"PGPASSWORD": Secret(_in_utf8(self.password.reveal()))} if self.password else {}
        return Terms(stall=stall, timeout=timeout, env=env, user=self.system_user)

    @contextlib.contextmanager
    def connected(self, database: str) -> Iterator[Any]:
        """Connect to a database; whatever PostgreSQL says against it, then or later, becomes an error that names it."""
        import psycopg2  # type: ignore[import-untyped]

        psycopg2.extensions.set_wait_callback(_wait)
        try:
            with acting_as(self.system_user) if self.system_user else contextlib.nullcontext():
                connection = psycopg2.connect(
                    self.address(database),
                    password=self.password.reveal() if self.password else None,
                )
            with contextlib.closing(connection):
                connection.autocommit = True
                yield connection
        except psycopg2.Error as error:
            hint_for = hint(" ".join(str(error).split()))
            raise PickupError(f"database {database!r}: {_said(error)}", hint=hint_for) from error
        except UnicodeEncodeError:
            raise PickupError(f"database {database!r} can only be dumped: its name is no UTF-8") from None

    @contextlib.contextmanager
    def connected_to_one_of(self, databases: Iterable[str]) -> Iterator[Any]:
        """Connect to the first of some databases that can be connected to."""
        errors = []
        for database in databases:
            with contextlib.ExitStack() as stack:
                try:
                    connection = stack.enter_context(self.connected(database))
                except PickupError as error:
                    errors.append(error)
                else:
                    yield connection
                    return
        raise errors[0]

    def program(self, name: str, version: int) -> str:
        """Give the path of a program: of the server's version or the next newer one, else the one in PATH."""
        if self.programs:
            return require_program(str(self.programs / name))
        found = [
            (_numbers(path.parent.parent.name), str(path))
            for pattern in _FOLDERS
            for path in Path("/").glob(f"{pattern}/{name}")
        ]
        fitting = [path for numbers, path in sorted(found) if numbers >= major(version)]
        return require_program(fitting[0] if fitting else name)

    def check_programs(self, version: int) -> str:
        """Say which pg_dump would dump a server. Raises `PickupError` where it is older than the server."""
        program, *_ = [self.program(name, version) for name in ("pg_dump", "pg_dumpall", "pg_restore")]
        numbers = _numbers(text_of([program, "--version"]).partition(")")[2])
        what = f"{program} has version {'.'.join(map(str, numbers))}"
        if numbers < major(version):
            what += f", which cannot dump a server of version {'.'.join(map(str, major(version)))}"
            raise PickupError(what, hint=hint("server version mismatch"))
        return what


def quoted_value(value: str) -> str:
    """Give a value as it stands in a connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def hint(message: str) -> str:
    """Give what to do about a message of PostgreSQL, where that is known."""
    return next((hint for part, hint in _HINTS.items() if part in message), "")


def rows(connection: Any, query: Any, *values: object) -> list[Any]:
    """Give all rows of a query, none for one that has no result."""
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall()) if cursor.description else []


def place(connection: Any) -> str:
    """Say where a connection leads to, and as whom."""
    info = connection.info
    return f"PostgreSQL at host {info.host}, port {info.port}, as role {info.user!r}"


def databases(connection: Any) -> list[str]:
    """Give the databases that allow connections and are no templates. A name may have bytes that are no UTF-8."""
    found = []
    for raw, reason in rows(connection, _DATABASES):
        name = bytes(raw).decode("utf-8", "surrogateescape")
        if reason:
            log.info("database %r is skipped: %s", name, reason)
        else:
            found.append(name)
    return found


def existing(connection: Any, names: Iterable[str]) -> list[str]:
    """Give those of some databases that exist."""
    return [name for [name] in rows(connection, "SELECT datname FROM pg_database WHERE datname = ANY (%s)", [*names])]


def has_content(connection: Any) -> bool:
    """Tell whether anybody has made anything in a database."""
    [[answer]] = rows(connection, _HAS_CONTENT)
    return bool(answer)


def drop(connection: Any, database: str) -> None:
    """Drop a database, which must not be the one that is connected to."""
    from psycopg2 import sql

    rows(connection, sql.SQL("DROP DATABASE {}").format(sql.Identifier(database)))


def missing_privileges(connection: Any) -> list[str]:
    """Say what of a database the role may not read."""
    found = []
    for what, query in _UNREADABLE.items():
        if names := [name for [name] in rows(connection, query)]:
            found.append(f"may not read {what} {names_in_words(names)}")
    return found


def major(version: int) -> tuple[int, ...]:
    """Give the major version in the number that a server tells: (15,) for 150018, (9, 6) for 90624."""
    return (version // 10000,) if version >= 100000 else (version // 10000, version // 100 % 100)


def _said(error: Exception) -> str:
    """Give in one line what libpq says: why there is no connection before where to, and nothing that it asks."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    said = " ".join(_NO_CONNECTION.sub(r"no connection: \2 (\1)", line) for line in lines if not _ASKED.match(line))
    is_known = said.startswith("no connection: ") or not any(map(_ASKED.match, lines))
    return said if is_known else f"no connection: {said}"


def _wait(connection: Any) -> None:
    """Wait for the server: in Python, where a signal is heard, and not for ever."""
    import psycopg2

    is_new = connection.status == psycopg2.extensions.STATUS_SETUP
    seconds = _CONNECT_TIMEOUT if is_new else _ANSWER_TIMEOUT
    limit = time.monotonic() + seconds
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT)
        if not poll.poll(max(0, limit - time.monotonic()) * 1000):
            raise psycopg2.OperationalError(f"the server did not answer within {seconds} seconds")


def _numbers(text: str) -> tuple[int, ...]:
    """Give the first version number in a text, `()` where there is none."""
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()


def _in_utf8(text: str) -> str:
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))
