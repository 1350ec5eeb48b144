"""A real MariaDB in a temporary folder, a database with all that a dump can lose, and what to compare afterwards."""

import contextlib
import functools
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from tests.servers.running import as_user, free_port, required, running, server_folder

USER = "mysql"


@dataclass(frozen=True)
class MariaDB:
    """A server that runs: root comes in by the socket, without a password. `root` is a connection that stays open."""

    folder: Path
    port: int
    root: Any

    @property
    def socket(self) -> Path:
        return _socket(self.folder)

    def config(self, **options: Any) -> dict[str, Any]:
        """Give the config of an entry that connects as root, or as `user`, by the socket."""
        return {"socket": str(self.socket), "user": "root", **options}

    def by_network(self, **options: Any) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, **options}

    def connection(self, **options: Any) -> Any:
        """Connect anew, to be used in a `with`."""
        return _connection(self.folder, **options)

    def rows(self, statement: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """Give the rows that a statement has for root."""
        with self.root.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def run(self, *statements: str, database: str | None = None, values: Sequence[object] | None = None) -> None:
        """Run statements as root, in a session of their own."""
        with self.connection(database=database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement, values)

    def databases(self) -> list[str]:
        of_server = ("information_schema", "performance_schema", "sys", "mysql")
        return [name for (name,) in self.rows("SHOW DATABASES") if name not in of_server]

    def accounts(self) -> list[str]:
        """Give the users and roles that the tests have made, but for PUBLIC."""
        ours = "user NOT IN ('root', 'mariadb.sys', 'PUBLIC')"
        rows = self.rows(f"SELECT user, host, is_role FROM mysql.user WHERE {ours}")
        return [quoted(user) + ("" if is_role == "Y" else f"@{quoted(host)}") for user, host, is_role in rows]

    def clean(self) -> None:
        """Remove all databases, users and roles."""
        for name in self.databases():
            self.run(f"DROP DATABASE {quoted(name)}")
        for account in self.accounts():
            self.run(f"DROP {'USER' if '@' in account else 'ROLE'} {account}")
        if self.rows("SELECT 1 FROM mysql.user WHERE user = 'PUBLIC'"):
            tables = ("global_priv", "db", "roles_mapping")
            self.run(*(f"DELETE FROM mysql.{table} WHERE user = 'PUBLIC'" for table in tables), "FLUSH PRIVILEGES")


def _socket(folder: Path) -> Path:
    return folder / "s.sock"


def _connection(folder: Path, **options: Any) -> Any:
    usual = {"user": "root", "charset": "utf8mb4", "autocommit": True, "ssl_disabled": True}
    return pymysql.connect(unix_socket=str(_socket(folder)), **{**usual, **options})


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@functools.cache
def _template() -> Path:
    """Make the data folder of a fresh server, once for all servers of this process."""
    folder = Path(tempfile.mkdtemp(prefix="pickup-server-", dir="/tmp"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    command = [required("mariadb-install-db"), "--no-defaults", f"--datadir={folder}/data", f"--tmpdir={folder}",
               "--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve",
               "--innodb-log-file-size=8M", "--innodb-flush-method=nosync"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60, **as_user(USER))  # type: ignore[call-overload]
    return folder


def forget_template() -> None:
    """Remove what was made once, at the end."""
    if _template.cache_info().currsize:
        shutil.rmtree(_template())
        _template.cache_clear()


@contextlib.contextmanager
def mariadb(*options: str) -> Iterator[MariaDB]:
    """Run a fresh server until the `with` is left.

    It has a folder of its own for temporary tables: a server that starts removes those of all others from theirs.
    """
    with server_folder(USER) as folder:
        subprocess.run(["cp", "-a", "--reflink=auto", f"{_template()}/data", folder], check=True)
        port = free_port()
        command = [required("mariadbd"), "--no-defaults", f"--datadir={folder}/data", f"--tmpdir={folder}",
                   "--bind-address=127.0.0.1", f"--port={port}", f"--socket={_socket(folder)}",
                   f"--pid-file={folder}/pid", "--skip-name-resolve", "--innodb-buffer-pool-size=16M",
                   "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
                   "--innodb-fast-shutdown=2", "--sync-frm=OFF", *options]  # fmt: skip
        with running(command, port, folder / "log", USER):
            _wait_for(_socket(folder))
            with _connection(folder) as root:
                yield MariaDB(folder, port, root)


def _wait_for(path: Path) -> None:
    """Wait until a socket accepts connections, which is a moment later than the port does."""
    limit = time.monotonic() + 60
    with socket.socket(socket.AF_UNIX) as probe:
        while probe.connect_ex(str(path)) != 0:
            assert time.monotonic() < limit, f"nobody listens on {path}"
            time.sleep(0.01)


# What a dump can lose

_TEXTS = ["tea", "Grüße", "日本語", "it's", 'a "quote"', "back\\slash", "a\nUSE `other`;\nb", "c\r\nd", "\0nul", "\x1a",
          "-- Dump completed", "😀", "", "/*!40000 x */", "`", "%s %", "DELIMITER ;;"]  # fmt: skip


def fill(server: MariaDB, database: str, size: int = 40, seed: int = 7) -> None:
    """Make a database that has one of each kind of thing in it, with `size` rows in its larger tables, and about
    `size` times 200 bytes of data.
    """
    chance = random.Random(seed)
    name = quoted(database)
    server.run(f"CREATE DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german1_ci")
    server.run(*_TABLES.split("\n;;\n"), database=database)
    with server.connection(database=database) as connection, connection.cursor() as cursor:
        texts = [*_TEXTS, *("".join(chance.choices("abcäöü '\\\n", k=90)) for _ in range(20))]
        people = [(n, f"{chance.choice(texts)} {n}") for n in range(1, size + 1)]
        cursor.executemany("INSERT INTO customers (id, name) VALUES (%s, %s)", people)
        bought = [(chance.randint(1, size), chance.randint(1, 9), chance.random() * 100, chance.choice(texts),
                   f"{chance.randint(1990, 2030)}-02-03 04:05:06.{n % 1000000:06}") for n in range(size)]  # fmt: skip
        cursor.executemany(
            "INSERT INTO `Örders` (customer, count, price, note, at) VALUES (%s, %s, %s, %s, %s)", bought
        )
        blobs = [bytes(range(256)), b"", b"\0", *(chance.randbytes(chance.randint(1, 400)) for _ in range(size // 2))]
        cursor.executemany("INSERT INTO pictures (content, flags) VALUES (%s, b'101')", [(blob,) for blob in blobs])
        cursor.execute(
            "INSERT INTO sets VALUES ('Grüße', '日本語', 'привет', x'00ff', POINT(1, 2), '{\"a\": [1]}', 'ß')"
        )
        cursor.executemany("INSERT INTO plain VALUES (%s)", [(n,) for n in range(5)])
        cursor.execute("INSERT INTO prices VALUES (1, 10), (2, 20)")
        cursor.execute("UPDATE prices SET price = 11 WHERE id = 1")
        cursor.execute("DELETE FROM prices WHERE id = 2")
        cursor.execute("SELECT NEXTVAL(numbers)")
    server.run(*_CODE.split("\n;;\n"), database=database)
    server.run(f"ALTER DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")


_TABLES = r"""
CREATE SEQUENCE numbers START WITH 5 INCREMENT BY 3 CYCLE MAXVALUE 1000000
;;
CREATE TABLE customers (
    id INT PRIMARY KEY AUTO_INCREMENT,
    name VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    number INT DEFAULT NEXTVAL(numbers),
    UNIQUE KEY (name)
) COMMENT 'people; `all` of ''em\n-- there'
;;
CREATE TABLE `Örders` (
    id INT PRIMARY KEY AUTO_INCREMENT,
    customer INT NOT NULL,
    count INT,
    price DECIMAL(10, 2),
    total DECIMAL(12, 2) AS (count * price) STORED,
    twice INT AS (count * 2) VIRTUAL,
    note TEXT CHARACTER SET utf8mb4,
    at DATETIME(6),
    changed TIMESTAMP DEFAULT '2020-01-01 00:00:00',
    KEY (at),
    FULLTEXT KEY (note),
    CONSTRAINT `who's` FOREIGN KEY (customer) REFERENCES customers (id),
    CONSTRAINT some CHECK (count > 0)
)
;;
CREATE TABLE pictures (id INT PRIMARY KEY AUTO_INCREMENT, content LONGBLOB, flags BIT(7))
;;
CREATE TABLE sets (
    a VARCHAR(20),
    b VARCHAR(20) CHARACTER SET ucs2,
    c VARCHAR(20) CHARACTER SET koi8r COLLATE koi8r_bin,
    d VARBINARY(9),
    e POINT,
    f JSON,
    g ENUM('ß', 'ä')
)
;;
CREATE TABLE parts (id INT, day DATE) PARTITION BY RANGE (YEAR(day)) (
    PARTITION old VALUES LESS THAN (2000),
    PARTITION new VALUES LESS THAN MAXVALUE
)
;;
INSERT INTO parts VALUES (1, '1999-01-01'), (2, '2024-02-29'), (3, NULL)
;;
CREATE TABLE plain (n INT) ENGINE=MyISAM
;;
CREATE TABLE prices (id INT PRIMARY KEY, price INT) WITH SYSTEM VERSIONING
;;
CREATE TABLE `a``b c/d.e` (`col ``1` INT)
;;
INSERT INTO `a``b c/d.e` VALUES (NULL), (-1)
"""

_CODE = """
CREATE VIEW `Große` AS SELECT o.id, o.note, c.name FROM `Örders` o JOIN customers c ON c.id = o.customer
;;
CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW cheap AS SELECT id, price FROM `Örders` WHERE price < 50
WITH LOCAL CHECK OPTION
;;
CREATE VIEW a_view_of_a_view AS SELECT count(*) AS n FROM `Große`
;;
CREATE FUNCTION double_it(n INT) RETURNS INT DETERMINISTIC COMMENT 'x' BEGIN\r
    DECLARE text_ VARCHAR(99) DEFAULT 'Grüße
USE `other`;
';
    RETURN n * 2;
END
;;
CREATE PROCEDURE add_one(IN what TEXT, OUT id INT) MODIFIES SQL DATA SQL SECURITY INVOKER BEGIN
    INSERT INTO plain VALUES (1); -- and then;
END
;;
CREATE TRIGGER before_customer BEFORE INSERT ON customers FOR EACH ROW BEGIN SET NEW.name = TRIM(NEW.name); END
;;
CREATE TRIGGER after_customer AFTER UPDATE ON customers FOR EACH ROW INSERT INTO plain VALUES (NEW.id)
;;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'ä'
DO BEGIN DELETE FROM plain WHERE n > 1000; END
;;
SET SESSION sql_mode = 'ORACLE'
;;
CREATE PACKAGE tools AS FUNCTION one RETURN INT; END
;;
CREATE PACKAGE BODY tools AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END
"""


def everything_in(server: MariaDB, database: str) -> dict[str, Any]:
    """Give all that a restored database must have in common with its original, whatever its name is."""
    facts: dict[str, Any] = {}
    for kind in ("schemata", "routines", "triggers", "events", "parameters", "views"):
        column = {"schemata": "schema_name", "parameters": "specific_schema", "views": "table_schema"}
        where = column.get(kind, kind.removesuffix("s") + "_schema")
        facts[kind] = _described(server, f"SELECT * FROM information_schema.{kind} WHERE {where} = %s", database)
    kinds = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s"
    for table, kind in server.rows(kinds, [database]):
        name = f"{quoted(database)}.{quoted(table)}"
        facts[f"{kind} {table}"] = [server.rows(f"SHOW CREATE TABLE {name}")[0][1].replace(f"{quoted(database)}.", "")]
        if kind == "SEQUENCE":
            facts[f"{kind} {table}"] += server.rows(f"SELECT next_not_cached_value FROM {name}")
        elif kind != "VIEW":
            every = " FOR SYSTEM_TIME ALL" if kind == "SYSTEM VERSIONED" else ""
            facts[f"{kind} {table}"] += server.rows(f"SELECT count(*) FROM {name}{every}")
            facts[f"{kind} {table}"] += [server.rows(f"CHECKSUM TABLE {name} EXTENDED")[0][1]]
    return facts


def _described(server: MariaDB, question: str, database: str) -> list[list[str]]:
    """Give what a table of `information_schema` says, but for moments and for the name of the database."""
    with server.root.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(question, [database])
        return sorted(
            [
                f"{column}={str(value).replace(f'{quoted(database)}.', '')}"
                for column, value in row.items()
                if column not in ("CREATED", "LAST_ALTERED", "LAST_EXECUTED") and value != database
            ]
            for row in cursor.fetchall()
        )


def all_grants(server: MariaDB) -> dict[str, list[str]]:
    """Give who may do what, and with which password."""
    facts = {}
    for account in server.accounts():
        facts[account] = sorted(row[0] for row in server.rows(f"SHOW GRANTS FOR {account}"))
        if "@" in account:
            facts[account] += [row[0] for row in server.rows(f"SHOW CREATE USER {account}")]
    return facts
