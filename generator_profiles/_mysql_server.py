"""A MariaDB or MySQL server as the profile `mysql` needs it: the connection, and the questions asked over it."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from generator_profiles._mysql_login import Login
from pickup_core.api import PickupError, in_words

OF_SERVER = ("information_schema", "performance_schema", "sys", "mysql")
"""The databases that belong to the server itself."""

_FOLDER_NO_DATABASE = "#mysql50#lost+found"  # in a data folder that is a file system of its own
_CONNECT_TIMEOUT = 30
_ANSWER_TIMEOUT = 900
_RIGHTS = "give the user the rights that the manual names, or say users=False"
_HINTS = {
    1044: _RIGHTS,
    1045: "is the password the right one, and may this user come from this host?",
    1142: _RIGHTS,
    1698: "run as the system user of that name, or say `user` and `password`",
    2003: "does the server run, and does it listen there?",
}


class Server:
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
        return self.is_mariadb or numbers(self.version) < (8, 0)

    def rows(self, statement: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def databases(self) -> list[str]:
        """Give the databases that this user may see, less those of the server itself."""
        names = [name for (name,) in self.rows("SHOW DATABASES")]
        return sorted(name for name in names if name.casefold() not in OF_SERVER and name != _FOLDER_NO_DATABASE)

    def size_of(self, name: str) -> str:
        """Say how large a database is."""
        question = "SELECT count(*), sum(data_length) FROM information_schema.tables WHERE table_schema = %s"
        [(count, size)] = self.rows(question, [name])
        return f"database {name!r}: {count} tables and views, {in_words(int(size or 0))} of data"

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
                self.rows(f"SHOW FIELDS FROM {quoted(name)}.{quoted(view)}")
            except pymysql.MySQLError as error:
                broken.append(f"view {name}.{view} is broken, which stops the dump of its database: {reason(error)}")
        return broken

    def holds_something(self, name: str) -> bool:
        """Tell whether a database has a table, a view, a routine or an event in it."""
        return any(
            self.rows(f"SELECT 1 FROM information_schema.{kind}s WHERE {kind}_schema = %s LIMIT 1", [name])  # noqa: S608
            for kind in ("table", "routine", "event")
        )

    def seconds_to_write(self) -> int:
        """Give how long the server waits for somebody who does not read its answer."""
        return int(self.rows("SHOW VARIABLES LIKE 'net_write_timeout'")[0][1])

    def is_encrypted(self) -> bool:
        return bool(self.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1])


@contextlib.contextmanager
def connected(login: Login) -> Iterator[Server]:
    """Connect; whatever the server or PyMySQL says against it, or against a statement, becomes a `PickupError`."""
    import pymysql

    if login.socket and not login.socket.is_socket():
        raise PickupError(f"there is no server at {login.place}", hint="does it run? `socket` says where it is")
    tls = None
    if login.certificates is not None:
        tls = {"check_hostname": True, "verify_mode": "required", **login.certificates}
    try:
        connection = pymysql.connect(
            host=login.host or "localhost",
            port=login.port,
            unix_socket=str(login.socket) if login.socket else None,
            user=login.user,
            password=login.password.reveal().encode() if login.password else b"",
            charset="utf8mb4",
            sql_mode="",
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_ANSWER_TIMEOUT,
            write_timeout=_ANSWER_TIMEOUT,
            ssl=tls,
        )
    except (pymysql.MySQLError, RuntimeError, OSError) as error:  # the latter two: a library or a file is missing
        raise _refused(login, error) from error
    try:
        yield Server(connection)
    except pymysql.MySQLError as error:
        raise _refused(login, error) from error
    finally:
        if connection.open:
            connection.close()


def _refused(login: Login, error: Exception) -> PickupError:
    code = error.args[0] if error.args else 0
    return PickupError(f"server at {login.place}, user {login.user}: {reason(error)}", hint=_HINTS.get(code, ""))


def reason(error: Exception) -> str:
    """Give what the server says, and its number for it."""
    code, *rest = error.args or ("",)
    return f"{rest[0]} ({code})" if rest else str(code)


def quoted(name: str) -> str:
    """Give a name as it stands in a statement."""
    return "`" + name.replace("`", "``") + "`"


def numbers(version: str) -> tuple[int, ...]:
    """Give the first two numbers of a version, by which versions are compared."""
    found = re.search(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
