"""The MySQL generator on real servers: what comes back from a dump, what a failure costs, and what stays unseen."""

import contextlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from generator_profiles import _mysql_login as logins
from generator_profiles import mysql as profile
from generator_profiles._mysql_script import Renamed
from pickup_core.api import Artefact, Stored
from pickup_core.errors import ConfigError, ExitCode, PickupError, RefusedError
from pickup_core.profiles import config_class, load_profile
from pickup_core.secret import Secret
from pickup_core.store import BLOCK
from tests.builders import LOCAL, ROOT, config_text, problems_of, tells, write_config
from tests.generator_contract import (
    GeneratorContract,
    Produced,
    Sample,
    load_back,
    options_of,
    produce,
    run_entry,
    stored,
)
from tests.servers.mariadb import MariaDB, all_grants, everything_in, fill, forget_template, mariadb, quoted
from tests.servers.proxy import cutting_proxy
from tests.servers.running import server_folder
from tests.sessions import carried_out

ROWS = ["(1,'tea')", "(2,'Grüße')", "(3,NULL)"]
HOSTILE = [
    "--all-databases", "-e", "a b", "it's", 'a"b', "back`tick", "back\\slash", "a/../../b", "..", ".", "new\nline",
    "x;\nDROP DATABASE keep;\n--", "*", "%", "$(id)", "host=elsewhere dbname=x", "ü" * 64, "users", "users.database",
    "USERS", "users.sql", "CON", "tab\there",
]  # fmt: skip


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MariaDB, MariaDB]]:
    """Two fresh servers: one to back up, and one to restore into."""
    with mariadb() as one, mariadb() as other:
        yield one, other
    forget_template()


@pytest.fixture
def server(servers: tuple[MariaDB, MariaDB]) -> MariaDB:
    servers[0].clean()
    return servers[0]


@pytest.fixture
def fresh(servers: tuple[MariaDB, MariaDB]) -> MariaDB:
    servers[1].clean()
    return servers[1]


def shop(server: MariaDB, *names: str) -> None:
    """Make small databases of one table with three rows."""
    for name in names:
        server.run(f"CREATE DATABASE {quoted(name)}")
        server.run("CREATE TABLE orders (id INT, what MEDIUMTEXT)", database=name)
        server.run("INSERT INTO orders VALUES (1, 'tea'), (2, 'Grüße'), (3, NULL)", database=name)


def load(
    server: MariaDB, contents: Mapping[str, bytes], as_name: str | None = None, overwrite: bool = False, **config: Any
) -> list[str]:
    """Load artefacts into a server, and give what is said about it."""
    return load_back("mysql", server.config(**config), stored(contents), as_name, overwrite)


def checked(config: Mapping[str, Any]) -> list[str]:
    return list(profile.check(options_of("mysql", config, Path("/"))))


def read_all(artefact: Artefact) -> bytes:
    with artefact.source as stream:
        return b"".join(iter(lambda: stream.read(BLOCK), b""))


def rows_of(dump: bytes) -> list[str]:
    """Give the rows in a dump of small tables."""
    return re.findall(r"(?m)^\(.*\)", dump.decode())


class TestContract(GeneratorContract):
    profile = "mysql"

    @pytest.fixture
    def good(self, server: MariaDB) -> Sample:
        shop(server, "Grüße", "shop")
        server.run("CREATE USER clerk@localhost", "GRANT SELECT ON shop.* TO clerk@localhost")
        grants = ["GRANT SELECT ON `shop`.* TO `clerk`@`localhost`;"]
        config = server.config(database=["Grüße", "shop"])
        return Sample(config, {"users.sql": grants, "Grüße.sql": ROWS, "shop.sql": ROWS})

    @pytest.fixture
    def bad(self, server: MariaDB) -> Sample:
        shop(server, "till")
        return Sample(
            server.config(database=["till", "gone"], users=False),
            {"till.sql": ROWS},
            {"gone.sql": f"server at socket {server.socket} shows user root no database 'gone'"},
        )

    def meaning(self, name: str, content: bytes) -> Any:
        if name == "users.sql":
            return [line for line in content.decode().splitlines() if line.startswith("GRANT") and "clerk" in line]
        return rows_of(content)


# What comes back


def test_a_database_comes_back_on_a_fresh_server_with_all_that_is_in_it(
    server: MariaDB, fresh: MariaDB, tmp_path: Path
) -> None:
    """V19"""
    fill(server, "shöp 1")
    ran = run_entry(tmp_path, "mysql", server.config())
    assert ran.exit_code == ExitCode.OK, ran.messages
    assert all(content.decode("utf-8") for content in ran.contents.values()), "blobs stand there as digits"
    said = load(fresh, ran.contents)
    assert said == [
        f"into MariaDB {fresh_version(fresh)} at socket {fresh.socket}: users and grants, database 'shöp 1'",
        "database 'shöp 1' is loaded",
        "users and grants are loaded",
    ]
    before = everything_in(server, "shöp 1")
    assert everything_in(fresh, "shöp 1") == before
    assert [len(before[kind]) for kind in ("routines", "triggers", "events", "views")] == [4, 2, 1, 3]
    assert b"ALTER DATABASE `sh\xc3\xb6p 1` CHARACTER SET latin1" in ran.contents["shöp 1.sql"]


def fresh_version(server: MariaDB) -> str:
    return str(server.rows("SELECT version()")[0][0]).partition("-")[0]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_half_a_gigabyte_comes_back(server: MariaDB, fresh: MariaDB, tmp_path: Path) -> None:
    fill(server, "large", size=4000)  # of which 32,000 pictures come, with 8 kB each
    with server.connection(database="large") as connection, connection.cursor() as cursor:
        for table, columns in (("pictures", "content, flags"), ("`Örders`", "customer, count, price, note, at")):
            for _ in range(4):
                cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}")
        cursor.execute("UPDATE pictures SET content = CONCAT(content, REPEAT(UNHEX(SHA2(id, 512)), 130))")
    dump = tmp_path / "large.sql"
    options = options_of("mysql", server.config(database="large", users=False), tmp_path)
    with (
        contextlib.closing(profile.run(options, tmp_path)) as artefacts,
        dump.open("wb") as file,
        next(artefacts).source as stream,
    ):
        shutil.copyfileobj(stream, file, BLOCK)
    assert dump.stat().st_size > 500_000_000
    artefact = Stored("large.sql", dump.stat().st_size, lambda: dump.open("rb"))
    list(profile.restore(options_of("mysql", fresh.config(), tmp_path), [artefact], "again", False))
    assert everything_in(fresh, "again") == everything_in(server, "large")


def test_a_database_is_loaded_under_another_name_and_its_original_is_not_touched(
    server: MariaDB, scratch: Path
) -> None:
    fill(server, "shop `1`")
    contents = produce("mysql", server.config(), scratch).contents
    before = everything_in(server, "shop `1`")
    said = load(server, contents, as_name="copy\nof it")
    assert said[0].endswith(": database 'copy\\nof it'")
    assert said[1:] == ["database 'copy\\nof it' is loaded"]
    assert everything_in(server, "copy\nof it") == before
    assert everything_in(server, "shop `1`") == before
    assert sorted(server.databases()) == ["copy\nof it", "shop `1`"]


def test_what_rows_and_routines_say_stays_as_it_is_under_another_name(server: MariaDB, scratch: Path) -> None:
    shop(server, "old")
    said = ["USE `old`;", "\nUSE `old`;\n", "x" * 70_000 + "\nALTER DATABASE `old`", "`old`.`orders`"]
    with server.connection(database="old") as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO orders VALUES (9, %s)", [(text,) for text in said])
        cursor.execute("CREATE PROCEDURE p() BEGIN\n  SELECT * FROM old.orders;\nEND")
    contents = produce("mysql", server.config(users=False), scratch).contents
    load(server, contents, as_name="new")
    assert [row[0] for row in server.rows("SELECT what FROM new.orders WHERE id = 9")] == said
    assert "FROM old.orders" in server.rows("SHOW CREATE PROCEDURE new.p")[0][2]


@pytest.mark.parametrize("size", [1, 7, 100, 4095, 4096, 4097, BLOCK])
def test_a_line_to_change_is_found_wherever_a_block_ends(size: int) -> None:
    class Pieces(io.BytesIO):
        def read(self, amount: int | None = -1) -> bytes:
            return super().read(min(size, amount or size))

    line = b"(1,'" + b"x" * 9000 + b"'),\n"
    dump = b"-- head\nUSE `old`;\n" + line * 40 + b"USE `old`;\n" + line + b"ALTER DATABASE `old` CHARACTER SET x ;\n"
    renamed = Renamed(Pieces(dump), "old", "new", keeps_first_line=True)
    read = b"".join(iter(lambda: renamed.read(BLOCK), b""))
    assert read == dump.replace(b"`old`", b"`new`")


def test_hostile_names_are_dumped_each_for_itself_and_come_back(
    server: MariaDB, fresh: MariaDB, tmp_path: Path
) -> None:
    """G18, G34"""
    shop(server, "keep", *HOSTILE)
    for name in HOSTILE:
        server.run("INSERT INTO orders VALUES (0, %s)", database=name, values=[f"of {name}"])
    ran = run_entry(tmp_path, "mysql", server.config(exclude=["keep"]))
    assert ran.exit_code == ExitCode.OK, ran.messages
    assert len(ran.contents) == len(HOSTILE) + 1
    assert len({artefact.path.casefold() for artefact in ran.record.artefacts}) == len(ran.contents)
    for content in ran.contents.values():
        assert content.count(b"\nCREATE DATABASE ") <= 1
    shop(fresh, "keep")
    load(fresh, ran.contents)
    assert sorted(fresh.databases()) == sorted(["keep", *HOSTILE])
    for name in HOSTILE:
        assert fresh.rows(f"SELECT what FROM {quoted(name)}.orders WHERE id = 0") == [(f"of {name}",)]


def test_one_database_with_a_hostile_name_can_be_asked_for(server: MariaDB, scratch: Path) -> None:
    """G18"""
    names = ["--all-databases", "-e", "new\nline", "a/../../b", "users", "back`tick"]
    shop(server, *HOSTILE)
    for name in names:
        produced = produce("mysql", server.config(database=name, users=False), scratch)
        assert produced.failures == {}
        assert [profile._loads(stored(produced.contents), None)[1][0].database] == [name]


def test_users_roles_and_grants_come_back_also_those_on_single_tables(
    server: MariaDB, fresh: MariaDB, scratch: Path
) -> None:
    """V19"""
    shop(server, "shop", "sh_p")
    server.run(
        "CREATE FUNCTION shop.f() RETURNS INT RETURN 1", "CREATE PROCEDURE shop.p() SELECT 1",
        "CREATE ROLE reader", "CREATE ROLE `w``r\niter`", "GRANT reader TO `w``r\niter`",
        "GRANT SELECT ON shop.* TO reader", "GRANT INSERT ON shop.orders TO `w``r\niter`",
        "CREATE USER clerk@'%' IDENTIFIED BY 'correct; horse'", "GRANT `w``r\niter` TO clerk@'%' WITH ADMIN OPTION",
        "SET DEFAULT ROLE `w``r\niter` FOR clerk@'%'", "GRANT SELECT (id), UPDATE (id) ON shop.orders TO clerk@'%'",
        "GRANT EXECUTE ON FUNCTION shop.f TO clerk@'%'", "GRANT EXECUTE ON PROCEDURE shop.p TO clerk@'%'",
        "CREATE USER `it's a\\\\b\n;`@`10.%` IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('x')"
        " REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 7 ACCOUNT LOCK PASSWORD EXPIRE INTERVAL 3 DAY",
        "GRANT SELECT, RELOAD ON *.* TO `it's a\\\\b\n;`@`10.%` WITH GRANT OPTION",
        "GRANT ALL ON `sh\\_p`.* TO `it's a\\\\b\n;`@`10.%`", "CREATE USER ''@'10.0.0.1'", "GRANT reader TO PUBLIC",
        "CREATE USER card@'%' REQUIRE SUBJECT '/CN=a\\\\b\\'c' AND ISSUER '/CN=\\\\n'",
    )  # fmt: skip
    produced = produce("mysql", server.config(), scratch)
    assert produced.failures == {}
    assert list(produced.contents) == ["users.sql", "sh_p.sql", "shop.sql"]
    assert b"root`@`localhost" not in produced.contents["users.sql"]
    assert b"mariadb.sys" not in produced.contents["users.sql"]
    said = load(fresh, produced.contents)
    assert said[-1] == "users and grants are loaded"
    assert all_grants(fresh) == all_grants(server)
    assert fresh.rows("SHOW GRANTS FOR PUBLIC") == server.rows("SHOW GRANTS FOR PUBLIC")
    with fresh.connection(user="clerk", password="correct; horse") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT what FROM shop.orders")
        assert cursor.fetchone() == ("tea",)


def test_a_user_who_is_there_keeps_the_password_and_gets_the_grants(
    server: MariaDB, fresh: MariaDB, scratch: Path
) -> None:
    server.run("CREATE USER clerk@localhost IDENTIFIED BY 'old'", "GRANT SELECT ON shop.* TO clerk@localhost",
               "GRANT PROCESS ON *.* TO clerk@localhost")  # fmt: skip
    shop(server, "shop")
    contents = produce("mysql", server.config(), scratch).contents
    fresh.run("CREATE USER clerk@localhost IDENTIFIED BY 'new'")
    load(fresh, contents)
    with fresh.connection(user="clerk", password="new", database="shop") as connection:
        connection.ping()
    assert any("GRANT PROCESS" in grant for grant in all_grants(fresh)["`clerk`@`localhost`"])


def test_grants_on_what_is_not_loaded_are_said_and_do_not_stop_it(
    server: MariaDB, fresh: MariaDB, scratch: Path
) -> None:
    shop(server, "shop", "other")
    server.run("CREATE USER clerk@localhost", "GRANT SELECT ON other.orders TO clerk@localhost")
    server.run("GRANT SELECT ON shop.orders TO clerk@localhost")
    contents = produce("mysql", server.config(), scratch).contents
    said = load(fresh, {name: content for name, content in contents.items() if name != "other.sql"})
    assert len([line for line in said if line.startswith("not given, ") and "other.orders" in line]) == 1
    assert [line for line in said if "shop.orders" in line] == []
    assert "GRANT SELECT ON `shop`.`orders` TO `clerk`@`localhost`" in all_grants(fresh)["`clerk`@`localhost`"]


@pytest.mark.parametrize("way", ["host", "socket"])
def test_the_command_restores_into_another_server_than_that_of_the_config(
    server: MariaDB, fresh: MariaDB, tmp_path: Path, way: str
) -> None:
    shop(server, "shop")
    entry = dict(name="main", profile="mysql", config=server.config(database="shop"))
    write_config(tmp_path, config_text(LOCAL, repr([entry])))
    assert carried_out(tmp_path, "-q", "run").status == ExitCode.OK
    before = everything_in(server, "shop")
    server.run("DELETE FROM orders", database="shop")
    settings = {"host": ["host=127.0.0.1", f"port={fresh.port}"], "socket": [f"socket={fresh.socket}"]}[way]
    words = ["restore", "--into-server", *(word for setting in settings for word in ("--set", setting))]
    if way == "host":
        with pytest.raises(ConfigError, match="`socket` does not go with `host` and `port`") as caught:
            carried_out(tmp_path, *words)
        assert "--set KEY= leaves one of the config out" in caught.value.hint
        words += ["--set", "socket="]
    done = carried_out(tmp_path, *words)
    assert done.status == ExitCode.OK, done.err
    place = f"127.0.0.1:{fresh.port}" if way == "host" else f"socket {fresh.socket}"
    assert f" at {place}: users and grants, database 'shop'" in done.out
    assert everything_in(fresh, "shop") == before
    assert server.rows("SELECT count(*) FROM shop.orders") == [(0,)]


# Restoring is careful


def test_a_database_with_something_in_it_is_refused_before_anything_is_changed(
    server: MariaDB, fresh: MariaDB, scratch: Path
) -> None:
    """V12"""
    shop(server, "a", "b")
    contents = produce("mysql", server.config(users=False), scratch).contents
    for thing in ("TABLE t (a INT)", "VIEW v AS SELECT 1", "FUNCTION f() RETURNS INT RETURN 1", "SEQUENCE s",
                  "EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1"):  # fmt: skip
        fresh.clean()
        fresh.run("CREATE DATABASE b")
        fresh.run(f"CREATE {thing}", database="b")
        before = everything_in(fresh, "b")
        with pytest.raises(RefusedError, match="database 'b' exists and is not empty; nothing was loaded") as caught:
            load(fresh, contents)
        assert "--overwrite" in caught.value.hint
        assert "--as NAME" in caught.value.hint
        assert fresh.databases() == ["b"]
        assert everything_in(fresh, "b") == before


def test_with_overwrite_it_is_dropped_first_and_that_is_said(server: MariaDB, fresh: MariaDB, scratch: Path) -> None:
    shop(server, "shop")
    contents = produce("mysql", server.config(users=False), scratch).contents
    shop(fresh, "shop")
    fresh.run("CREATE TABLE later (a INT)", database="shop")
    said = load(fresh, contents, overwrite=True)
    assert said[1:] == ["database 'shop' is there and will be dropped", "database 'shop' is loaded"]
    assert everything_in(fresh, "shop") == everything_in(server, "shop")


def test_an_empty_database_gets_the_character_set_of_the_dump(server: MariaDB, fresh: MariaDB, scratch: Path) -> None:
    server.run("CREATE DATABASE shop CHARACTER SET koi8r COLLATE koi8r_bin")
    contents = produce("mysql", server.config(users=False), scratch).contents
    fresh.run("CREATE DATABASE shop CHARACTER SET utf8mb4")
    load(fresh, contents)
    assert everything_in(fresh, "shop") == everything_in(server, "shop")


def test_nothing_is_changed_before_the_first_sentence(server: MariaDB, fresh: MariaDB, scratch: Path) -> None:
    shop(server, "shop")
    contents = produce("mysql", server.config(), scratch).contents
    shop(fresh, "shop")
    before = everything_in(fresh, "shop")
    saying = profile.restore(options_of("mysql", fresh.by_network(user="root"), scratch), stored(contents), None, True)
    assert next(saying).endswith(f" at 127.0.0.1:{fresh.port}: users and grants, database 'shop'")
    saying.close()
    assert everything_in(fresh, "shop") == before


def test_the_first_statement_error_stops_it_and_is_shown_without_rows(
    server: MariaDB, fresh: MariaDB, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pickup")
    shop(server, "a", "b")
    contents = produce("mysql", server.config(users=False), scratch).contents
    contents["a.sql"] = contents["a.sql"].replace(b"(2,'Gr", b"(2,'unseen',5,'Gr")
    assert b"unseen" in contents["a.sql"]
    with pytest.raises(PickupError) as caught:
        load(fresh, contents)
    assert "database 'a' is loaded in part: " in str(caught.value)
    assert "ERROR 1136 (21S01) at line " in str(caught.value)
    assert "unseen" not in str(caught.value) + caplog.text
    assert fresh.databases() == ["a"]


def test_an_error_among_the_users_stops_it_before_the_databases(server: MariaDB, fresh: MariaDB, scratch: Path) -> None:
    shop(server, "a")
    contents = produce("mysql", server.config(), scratch).contents
    contents["users.sql"] += b"GRANT NONSENSE ON *.* TO nobody;\n"
    with pytest.raises(PickupError, match=r"ERROR 1064 \(42000\) at line"):
        load(fresh, contents)
    assert fresh.databases() == []


@pytest.mark.parametrize(
    ("names", "as_name", "message"),
    [
        (["mysql"], None, "'mysql' belongs to the server"),
        (["shop"], "MySQL", "'MySQL' belongs to the server"),
        (["shop"], "sys", "'sys' belongs to the server"),
        (["other"], None, "the artefact of database 'other' does not begin as its dump does"),
        (["shop", "other"], "new", "one database can be loaded as 'new'; there are 2"),
        ([], "new", "one database can be loaded as 'new'; there are 0"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    server: MariaDB, scratch: Path, names: list[str], as_name: str | None, message: str
) -> None:
    shop(server, "shop")
    [dump] = produce("mysql", server.config(users=False), scratch).contents.values()
    before = everything_in(server, "shop")
    with pytest.raises(PickupError, match=re.escape(message)):
        load(server, {f"{name}.sql": dump for name in names}, as_name=as_name, overwrite=True)
    assert server.databases() == ["shop"]
    assert everything_in(server, "shop") == before


def test_the_commands_of_restore_txt_work_with_the_servers_own_programs(
    server: MariaDB, fresh: MariaDB, scratch: Path, tmp_path: Path
) -> None:
    """V16"""
    fill(server, "NAME")
    server.run("CREATE USER clerk@localhost", "GRANT SELECT ON `NAME`.plain TO clerk@localhost")
    for name, content in produce("mysql", server.config(), scratch).contents.items():
        (tmp_path / name).write_bytes(content)
    commands = [line.strip() for line in profile.RESTORE.splitlines() if line.strip() and "#" not in line.split("'")[0]]
    assert len(commands) == 5
    options = f"--socket={fresh.socket} --user=root"
    for command in [*commands[:4], commands[0]]:
        line = command.replace("mariadb ", f"mariadb {options} ")
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0 or "users.sql" in command, done.stderr
    assert everything_in(fresh, "NAME") == everything_in(server, "NAME")
    assert fresh.rows("CHECKSUM TABLE COPY.customers")[0][1] == server.rows("CHECKSUM TABLE `NAME`.customers")[0][1]
    assert all_grants(fresh) == all_grants(server)


# One moment


def test_a_dump_is_the_state_of_one_moment_while_others_write(server: MariaDB, fresh: MariaDB, scratch: Path) -> None:
    """The dump is stopped half-way, in a table so large that the last one cannot have been read yet."""
    shop(server, "bank")
    server.run("CREATE TABLE a_first (amount INT)", "INSERT INTO a_first VALUES (500)", database="bank")
    server.run("CREATE TABLE filling (b LONGBLOB)", "INSERT INTO filling SELECT REPEAT('x', 500000) FROM"
               " mysql.help_topic LIMIT 20", database="bank")  # fmt: skip
    server.run("CREATE TABLE z_last (amount INT)", "INSERT INTO z_last VALUES (500)", database="bank")
    options = options_of("mysql", server.config(users=False), scratch)
    with contextlib.closing(profile.run(options, scratch)) as artefacts, next(artefacts).source as stream:
        content = stream.read(BLOCK)
        with server.connection(database="bank") as connection, connection.cursor() as cursor:
            connection.begin()
            cursor.execute("UPDATE a_first SET amount = amount - 100")
            cursor.execute("UPDATE z_last SET amount = amount + 100")
            connection.commit()
        while block := stream.read(BLOCK):
            content += block
    assert b"z_last" not in content[:BLOCK]
    load(fresh, {"bank.sql": content})
    assert server.rows("SELECT a.amount, z.amount FROM bank.a_first a, bank.z_last z") == [(400, 600)]
    assert fresh.rows("SELECT a.amount, z.amount FROM bank.a_first a, bank.z_last z") == [(500, 500)]


# A failure costs one database


def test_a_dump_that_is_not_read_for_long_fails_with_a_hint(server: MariaDB, scratch: Path) -> None:
    """G14: the server gives it up after its net_write_timeout, and no program of MariaDB's can ask for more."""
    big(server, "big")
    server.run("SET GLOBAL net_write_timeout = 1")
    try:
        assert any("nothing is read for 1 seconds" in note for note in checked(server.config()))
        produced = slow_read(server.config(users=False), scratch, pause=1.5)
    finally:
        server.run("SET GLOBAL net_write_timeout = DEFAULT")
    assert produced["big.sql"].startswith("mariadb-dump ended with status 3: ")
    assert "net_write_timeout" in produced["big.sql"]
    assert slow_read(server.config(users=False), scratch, pause=1.5) == {"big.sql": ""}


def slow_read(config: Mapping[str, Any], scratch: Path, pause: float) -> dict[str, str]:
    """Read artefacts with a pause after the first bytes, and give what failed."""
    said = {}
    with contextlib.closing(profile.run(options_of("mysql", config, scratch), scratch)) as artefacts:
        for artefact in artefacts:
            said[artefact.name] = ""
            try:
                with artefact.source as stream:
                    stream.read(1000)
                    time.sleep(pause)
                    while stream.read(BLOCK):
                        pass
            except PickupError as error:
                said[artefact.name] = str(error)
    return said


def big(server: MariaDB, name: str) -> None:
    """Make a database that does not fit into what lies between its server and us."""
    shop(server, name)
    server.run("CREATE TABLE filling (b LONGBLOB)", "INSERT INTO filling SELECT REPEAT('x', 500000) FROM"
               " mysql.help_topic LIMIT 30", database=name)  # fmt: skip


def test_a_connection_cut_in_the_middle_costs_its_database_alone(server: MariaDB, tmp_path: Path) -> None:
    """G14, G15"""
    shop(server, "a", "z")
    big(server, "m")
    server.run("GRANT ALL ON *.* TO clerk@'127.0.0.1' IDENTIFIED BY 'correct horse'")
    with cutting_proxy(server.port, cut_after=2_000_000) as proxy:
        config = dict(host="127.0.0.1", port=proxy.port, user="clerk", password="correct horse", users=False)
        ran = run_entry(tmp_path, "mysql", config)
        assert proxy.cuts == 1
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"a.sql", "z.sql"}
    assert len(ran.record.failures) == 1
    assert "m.sql: mariadb-dump ended with status" in ran.messages[0]


def test_a_database_dropped_after_the_listing_costs_itself(server: MariaDB, scratch: Path) -> None:
    """G15"""
    shop(server, "a", "b", "c")
    options = options_of("mysql", server.config(users=False), scratch)
    produced = Produced()
    with contextlib.closing(profile.run(options, scratch)) as artefacts:
        for artefact in artefacts:
            if artefact.name == "a.sql":
                server.run("DROP DATABASE b")
            try:
                read_all(artefact)
                produced.names.append(artefact.name)
            except PickupError as error:
                produced.failures[artefact.name] = str(error)
    assert produced.names == ["a.sql", "c.sql"]
    assert produced.failures.keys() == {"b.sql"}
    assert produced.failures["b.sql"].startswith("mariadb-dump ended with status 2: ")
    assert "Unknown database 'b'" in produced.failures["b.sql"]


def test_a_broken_view_costs_its_database_and_check_names_it(server: MariaDB, tmp_path: Path) -> None:
    """G5, G15"""
    shop(server, "a", "b")
    server.run("CREATE TABLE gone (n INT)", "CREATE VIEW seen AS SELECT * FROM gone", "DROP TABLE gone", database="a")
    ran = run_entry(tmp_path, "mysql", server.config(users=False))
    assert ran.contents.keys() == {"b.sql"}
    assert "a.sql: mariadb-dump ended with status 2: " in ran.messages[0]
    with pytest.raises(PickupError, match=r"view a\.seen is broken"):
        checked(server.config())
    forced = run_entry(tmp_path, "mysql", server.config(users=False, mysqldump_options=["--force"]))
    assert forced.contents.keys() == {"b.sql"}
    ignored = run_entry(tmp_path, "mysql", server.config(users=False, mysqldump_options=["--ignore-table=a.seen"]))
    assert ignored.contents.keys() == {"a.sql", "b.sql"}


def test_a_right_that_is_missing_on_one_table_fails_the_entry(server: MariaDB, tmp_path: Path) -> None:
    """G15: the program leaves out the rows of such a table, and ends with its last line and status 0."""
    shop(server, "a", "b")
    server.run(
        "CREATE TABLE secret (n INT)", "INSERT INTO secret VALUES (1)", "CREATE USER clerk@localhost", database="a"
    )
    server.run("GRANT SELECT ON a.orders TO clerk@localhost", "GRANT SELECT ON b.* TO clerk@localhost")
    for name in "ab":
        server.run(f"GRANT SHOW VIEW, TRIGGER, EVENT ON {name}.* TO clerk@localhost")
    server.run("GRANT SELECT ON mysql.proc TO clerk@localhost")
    ran = run_entry(tmp_path, "mysql", server.config(user="clerk", users=False))
    assert b"CREATE TABLE `secret`" in ran.contents["a.sql"]
    assert b"INSERT INTO `secret`" not in ran.contents["a.sql"]
    assert ran.exit_code == ExitCode.FAILED
    assert len(ran.messages) == 1
    assert "a.sql was stored with losses: " in ran.messages[0]
    assert "lacks SELECT ON `a`.*" in ran.messages[0]


@pytest.mark.parametrize(
    ("grants", "lost"),
    [
        (["SELECT, SHOW VIEW, EVENT ON shop.*", "SELECT ON mysql.proc"], "TRIGGER ON `shop`.*"),
        (["SELECT, SHOW VIEW, EVENT, TRIGGER ON shop.*"], "SELECT ON mysql.proc"),
        (["SHOW VIEW, EVENT, TRIGGER ON `s%`.*", "SELECT ON shop.orders", "SELECT ON mysql.*"], "SELECT ON `shop`.*"),
        (["SELECT, SHOW VIEW, EVENT, TRIGGER ON `sh\\_p`.*", "SELECT, EVENT ON shop.*"], "SHOW VIEW, TRIGGER ON"),
    ],
)
def test_what_a_user_would_not_see_is_a_loss_though_the_program_is_content(
    server: MariaDB, tmp_path: Path, grants: list[str], lost: str
) -> None:
    shop(server, "shop")
    server.run("CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET NEW.id = 1", "CREATE PROCEDURE p() SELECT 1",
               "CREATE USER clerk@localhost", database="shop")  # fmt: skip
    for grant in grants:
        server.run(f"GRANT {grant} TO clerk@localhost")
    config = server.config(user="clerk", users=False)
    ran = run_entry(tmp_path, "mysql", config)
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"shop.sql"}
    assert (
        "shop.sql was stored with losses: what user clerk@localhost may not see is not in the dump" in ran.messages[0]
    )
    assert lost in ran.messages[0]
    with pytest.raises(PickupError, match=re.escape(lost)):
        checked(config)


@pytest.mark.parametrize("missing", ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "SELECT ON mysql.proc"])
def test_check_names_the_one_right_that_is_missing(server: MariaDB, missing: str) -> None:
    shop(server, "shop")
    needed = [right for right in ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT") if right != missing]
    server.run("CREATE USER clerk@localhost", f"GRANT {', '.join(needed)} ON shop.* TO clerk@localhost")
    config = server.config(user="clerk", database="shop", users=False)
    if missing != "SELECT ON mysql.proc":
        server.run("GRANT SELECT ON mysql.proc TO clerk@localhost")
        missing += " ON `shop`.*"
    with pytest.raises(PickupError) as caught:
        checked(config)
    assert caught.value.message == (
        f"database 'shop': what user clerk@localhost may not see is not in the dump; it lacks {missing}"
    )
    server.run(f"GRANT {missing} TO clerk@localhost")
    assert checked(config)


def test_rights_that_come_by_a_role_count(server: MariaDB, tmp_path: Path) -> None:
    shop(server, "shop")
    server.run("CREATE ROLE saver", "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON *.* TO saver",
               "CREATE USER clerk@localhost", "GRANT saver TO clerk@localhost",
               "SET DEFAULT ROLE saver FOR clerk@localhost")  # fmt: skip
    ran = run_entry(tmp_path, "mysql", server.config(user="clerk"))
    assert ran.exit_code == ExitCode.OK, ran.messages
    checked(server.config(user="clerk"))


@pytest.mark.parametrize("databases", ["*", "`sh_p`", "`s%`", "`sho\\_p`", "`shop`"])
def test_rights_on_a_pattern_of_databases_count(server: MariaDB, tmp_path: Path, databases: str) -> None:
    shop(server, "shop")
    server.run("CREATE USER clerk@localhost", f"GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON {databases}.* TO"
               " clerk@localhost", "GRANT SELECT ON mysql.* TO clerk@localhost")  # fmt: skip
    ran = run_entry(tmp_path, "mysql", server.config(user="clerk", database="shop"))
    assert ran.exit_code == (ExitCode.FAILED if "\\" in databases else ExitCode.OK), ran.messages


def test_a_user_who_may_not_read_the_users_loses_those_alone(server: MariaDB, tmp_path: Path) -> None:
    shop(server, "shop")
    server.run("CREATE USER clerk@localhost", "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON shop.* TO clerk@localhost",
               "GRANT SELECT ON mysql.proc TO clerk@localhost")  # fmt: skip
    ran = run_entry(tmp_path, "mysql", server.config(user="clerk"))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"shop.sql"}
    assert "(1142)\nHint: give the user the rights that the manual names, or say users=False" in ran.messages[0]
    with pytest.raises(PickupError, match="1142"):
        checked(server.config(user="clerk"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(password="wrong"),
            "Access denied for user 'clerk'@'127.0.0.1' (using password: YES) (1045)\nHint: is the",
        ),
        (dict(user="nobody"), "(1045)"),
        (dict(port=1), "(2003)\nHint: does the server run"),
        (dict(host="no-such-host.invalid"), "(2003)"),
    ],
)
def test_a_server_that_does_not_let_us_in_is_named_without_the_password(
    server: MariaDB, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """G13"""
    server.run("GRANT ALL ON *.* TO clerk@'127.0.0.1' IDENTIFIED BY 'correct horse'")
    config = server.by_network(user="clerk", password="correct horse") | change
    ran = run_entry(tmp_path, "mysql", config)
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert f"server at {config['host']}:{config['port']}, user {config['user']}: " in ran.messages[0]
    assert message in ran.messages[0]
    assert config["password"] not in ran.messages[0]
    with pytest.raises(PickupError, match=re.escape(message.partition("\n")[0])):
        checked(config)


def test_a_refused_password_is_told_by_no_message_log_or_traceback(
    server: MariaDB, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """I6: neither by us, nor by the library, nor by a program that was let in a moment before."""
    caplog.set_level(logging.DEBUG)
    secret = "c4n4ry 'of\\ \"wörd%&"
    shop(server, "shop")
    server.run("CREATE USER clerk@'127.0.0.1' IDENTIFIED BY 'another'", "GRANT ALL ON *.* TO clerk@'127.0.0.1'")
    config = server.by_network(user="clerk", password=secret, database="shop")
    said = list(run_entry(tmp_path, "mysql", config).messages)
    options = options_of("mysql", config, tmp_path)
    for attempt in (
        lambda: profile.run(options, tmp_path),
        lambda: profile.check(options),
        lambda: profile.restore(options, stored({"shop.sql": b""}), None, False),
    ):
        with pytest.raises(PickupError, match="Access denied for user 'clerk'") as caught:
            list(attempt())
        said += traceback.format_exception(caught.value)
    server.run("ALTER USER clerk@'127.0.0.1' IDENTIFIED BY %s", values=[secret])
    with contextlib.closing(profile.run(options, tmp_path)) as artefacts:
        for artefact in artefacts:
            server.run("ALTER USER clerk@'127.0.0.1' IDENTIFIED BY 'another'")
            with pytest.raises(PickupError, match="Access denied for user 'clerk'") as caught:
                read_all(artefact)
            said += [artefact.name, *traceback.format_exception(caught.value)]
    assert {"users.sql", "shop.sql"} <= set(said)
    assert not [text for text in (*said, caplog.text) if tells(text, secret)]
    assert "start: " in caplog.text


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    """G13"""
    ran = run_entry(tmp_path, "mysql", dict(socket="/nowhere/mysqld.sock", user="root"))
    assert "there is no server at socket /nowhere/mysqld.sock\nHint: does it run?" in ran.messages[0]


# Programs that do not do what they should


def program(folder: Path, lines: str, name: str = "mariadb-dump") -> str:
    """Write a program in Python that stands for one of MariaDB's, whose path it has as `real`; asked for its help, it
    gives the real one's.
    """
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    head = f"""\
        #!{sys.executable}
        import os, subprocess, sys
        real = "/usr/bin/{name}"
        if "--help" in sys.argv:
            os.execv(real, [real, *sys.argv[1:]])
    """
    path.write_text(textwrap.dedent(head) + textwrap.dedent(lines))
    path.chmod(0o755)
    return str(path)


def test_a_dump_that_ends_early_without_an_error_is_found(server: MariaDB, tmp_path: Path) -> None:
    """G4"""
    shop(server, "shop")
    half = program(tmp_path, """
        whole = subprocess.run([real, *sys.argv[1:]], capture_output=True, check=True).stdout
        sys.stdout.buffer.write(whole[: int(len(whole) * float(open("part").read()))])
    """)  # fmt: skip
    for part, end in (("0.5", 0), ("0.98", 0), ("1", 1)):
        (tmp_path / "part").write_text(part)
        produced = produce_in(tmp_path, server.config(users=False, program=half))
        assert len(produced.contents) == end, part
    (tmp_path / "part").write_text("0.9")
    failure = produce_in(tmp_path, server.config(users=False, program=half)).failures["shop.sql"]
    assert failure == "mariadb-dump ended without an error, but its last lines are missing"


def produce_in(folder: Path, config: Mapping[str, Any]) -> Produced:
    """Produce while the working folder is this one."""
    scratch = folder / "made"
    scratch.mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return produce("mysql", config, scratch)
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("sys.exit(0)", "ended without an error, but wrote nothing"),
        ("os.kill(os.getpid(), 9)", "was killed by signal 9 (out of memory?)"),
        ("print('half'); sys.exit('no more')", "ended with status 1: no more"),
        ("print('-- Dump completed'); sys.exit(2)", "ended with status 2"),
    ],
)
def test_a_program_that_fails_costs_each_database(server: MariaDB, tmp_path: Path, lines: str, message: str) -> None:
    """G2, G3, G5, G6"""
    shop(server, "shop")
    ran = run_entry(tmp_path, "mysql", server.config(users=False, program=program(tmp_path, lines)))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert f"shop.sql: mariadb-dump {message}" in ran.messages[0]


def test_a_program_that_is_not_there_is_named(server: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1"""
    ran = run_entry(tmp_path, "mysql", server.config(program="/nowhere/mysqldump"))
    assert "program /nowhere/mysqldump cannot be found" in ran.messages[0]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PickupError, match=f"program mariadb-dump cannot be found in PATH, which is {tmp_path}"):
        checked(server.config())


ORACLE = """\
mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)
  --ssl-mode=name     SSL connection mode.
  --set-gtid-purged[=name]
  --column-statistics Add an ANALYZE TABLE statement
  --network-timeout   Allows huge tables to be dumped
  -y, --no-tablespaces
"""


def test_the_program_of_mysql_gets_the_options_that_it_alone_has(server: MariaDB, tmp_path: Path) -> None:
    shop(server, "shop")
    path = tmp_path / "bin" / "mysqldump"
    path.parent.mkdir()
    path.write_text(textwrap.dedent(f"""\
        #!{sys.executable}
        import os, sys
        if "--help" in sys.argv:
            print({ORACLE!r})
            sys.exit()
        for option in ("--set-gtid-purged=OFF", "--column-statistics=0"):
            sys.argv.remove(option)
        assert "--dump-history" not in sys.argv
        os.execv("/usr/bin/mariadb-dump", sys.argv)
    """))  # fmt: skip
    path.chmod(0o755)
    config = server.config(program=str(path), users=False)
    produced = produce_in(tmp_path, config)
    assert produced.failures == {}
    assert rows_of(produced.contents["shop.sql"]) == ROWS
    notes = checked(config)
    assert notes[0].endswith("dumped by mysqldump 8.0.36")
    assert any("mysqldump 8.0.36 is not made for MariaDB" in note for note in notes)
    assert not any("net_write_timeout" in note for note in notes)


def test_of_several_programs_the_one_that_fits_the_server_is_taken(
    server: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(server, "shop")
    path = Path(program(tmp_path, "sys.exit('never run')"))
    path.write_text(f"#!{sys.executable}\nprint({ORACLE!r})\n")
    path.with_name("mysqldump").symlink_to("/usr/bin/mariadb-dump")
    monkeypatch.setenv("PATH", str(path.parent))
    assert re.search(r"dumped by mysqldump 1[\d.]+$", checked(server.config())[0])
    path.with_name("mysqldump").unlink()
    assert checked(server.config())[0].endswith("dumped by mariadb-dump 8.0.36")


def test_an_old_program_is_named_by_check(server: MariaDB, tmp_path: Path) -> None:
    path = program(tmp_path, "")
    text = Path(path).read_text().replace("os.execv(real", "print('mariadb-dump  Ver 10.19 Distrib 10.3.9-MariaDB')\n    sys.exit() #")  # fmt: skip
    Path(path).write_text(text)
    shop(server, "shop")
    notes = checked(server.config(program=path))
    assert any(note.startswith("mariadb-dump 10.3.9 is older than MariaDB ") for note in notes)


def test_a_program_without_sandbox_is_not_given_the_first_line_of_mariadbs_dumps(
    server: MariaDB, fresh: MariaDB, scratch: Path, tmp_path: Path
) -> None:
    big(server, "shop")
    contents = produce("mysql", server.config(users=False), scratch).contents
    first = contents["shop.sql"].splitlines()[0]
    assert b"enable the sandbox mode" in first
    path = program(tmp_path, """
        data = sys.stdin.buffer.read()
        open(__file__ + ".read", "wb").write(data)
        sys.exit(subprocess.run([real, *sys.argv[1:]], input=data).returncode)
    """, "mariadb")  # fmt: skip
    Path(path).write_text(Path(path).read_text().replace("os.execv(real", "print('mysql  Ver 8.0 --comments')\n    sys.exit() #"))  # fmt: skip
    load(fresh, contents, program=str(Path(path).with_name("mariadb-dump")))
    assert Path(path + ".read").read_bytes() == contents["shop.sql"].removeprefix(first)
    assert everything_in(fresh, "shop") == everything_in(server, "shop")


# Nobody sees the password


PASSWORDS = [
    "correct horse",
    "q\"uo'te",
    "back\\slash\\",
    "#hash;",
    " spaces ",
    "Grüße",
    "a\\nb",
    "[client]",
    "=",
    "a\tb",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_arrives(server: MariaDB, scratch: Path, password: str) -> None:
    shop(server, "shop")
    server.run("CREATE USER clerk@'127.0.0.1' IDENTIFIED BY %s", values=[password])
    server.run("GRANT ALL ON *.* TO clerk@'127.0.0.1'")
    produced = produce("mysql", server.by_network(user="clerk", password=password, users=False), scratch)
    assert produced.failures == {}
    said = scratch.parent / "my.cnf"
    said.write_text(
        f"# mine\n[mysqld]\nuser = mysql\n[client]\nuser=clerk\npassword = {logins.written(password)}\n"
        f"host=127.0.0.1\nport = {server.port} # there\n[other]\nuser=x\n"
    )
    said.chmod(0o600)
    assert produce("mysql", dict(defaults_file=str(said), users=False), scratch).failures == {}


def test_the_password_is_in_no_argument_environment_log_or_message(
    server: MariaDB, fresh: MariaDB, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """I6"""
    caplog.set_level(logging.DEBUG)
    canary = "canary-5a1f-'x y'"
    for place in (server, fresh):
        place.run("CREATE USER clerk@'127.0.0.1' IDENTIFIED BY %s", values=[canary])
        place.run("GRANT ALL ON *.* TO clerk@'127.0.0.1' WITH GRANT OPTION")
    shop(server, "shop")
    spy = """
        import json
        seen = {name: open(f"/proc/self/{name}").read() for name in ("cmdline", "environ")}
        seen["files"] = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if int(n) > 2 and os.path.exists(f"/proc/self/fd/{n}")]
        file = next(word.partition("=")[2] for word in sys.argv if word.startswith("--defaults-file="))
        status = os.stat(file)
        seen["mode"], seen["folder"] = status.st_mode & 0o777, os.stat(os.path.dirname(file)).st_mode & 0o777
        seen["given"] = open(file).read()
        with open(__file__ + ".seen", "a") as log:
            print(json.dumps(seen), file=log)
        os.execv(real, [real, *sys.argv[1:]])
    """
    paths = [program(tmp_path, spy, name) for name in ("mariadb-dump", "mariadb")]
    ran = run_entry(tmp_path, "mysql", server.by_network(user="clerk", password=canary, program=paths[0]))
    assert ran.exit_code == ExitCode.OK, ran.messages
    contents = {"users.sql": ran.contents["users.sql"], "shop.sql": ran.contents["shop.sql"]}
    options = options_of("mysql", fresh.by_network(user="clerk", password=canary, program=paths[0]), tmp_path)
    said = list(profile.restore(options, stored(contents), None, False))
    for path in paths:
        for seen in map(json.loads, Path(path + ".seen").read_text().splitlines()):
            assert seen["mode"] == 0o600
            assert seen["folder"] == 0o700
            assert tells(seen["given"], canary), "the password did come over"
            assert not tells(seen["cmdline"] + seen["environ"], canary)
            assert seen["files"] == []
            option, _, file = seen["cmdline"].split("\0")[2].partition("=")
            assert (option, Path(file).is_absolute()) == ("--defaults-file", True)
            assert not os.path.lexists(file), "the password outlives its program"
    assert "--defaults-file=" in caplog.text
    for text in (caplog.text, repr(ran.record), repr(options), *said, *ran.messages):
        assert not tells(text, canary)


# How it connects


def test_without_any_option_root_comes_in_by_the_socket(
    server: MariaDB, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's set-up: the socket in its usual place, and a user who is let in by who asks."""
    monkeypatch.setattr(logins, "_SOCKETS", ("/nowhere/mysqld.sock", str(server.socket)))
    me = logins.system_user()
    if me != "root":
        server.run(f"CREATE USER {me}@localhost IDENTIFIED VIA unix_socket", f"GRANT ALL ON *.* TO {me}@localhost")
    else:
        server.run("ALTER USER root@localhost IDENTIFIED VIA unix_socket")
    try:
        shop(server, "shop")
        produced = produce("mysql", {}, scratch)
    finally:
        server.run("ALTER USER root@localhost IDENTIFIED BY ''")
    assert produced.failures == {}
    assert list(produced.contents) == ["users.sql", "shop.sql"]


@pytest.fixture
def certificates() -> Iterator[Path]:
    """A folder that the server can read, with an authority, a certificate of its for `localhost`, and another
    authority.
    """
    script = """
        for name in ca other; do
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -keyout $name.key -out $name.pem
        done
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        echo subjectAltName=DNS:localhost > names
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem
        chmod 644 server.key
    """
    with server_folder() as folder:
        subprocess.run(["sh", "-ec", script], cwd=folder, check=True, capture_output=True)
        yield folder


@pytest.mark.usefixtures("servers")
def test_a_server_proves_itself_by_its_certificate(
    certificates: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T18"""
    with mariadb(f"--ssl-cert={certificates}/server.pem", f"--ssl-key={certificates}/server.key") as server:
        shop(server, "shop")
        server.run("CREATE USER clerk@'%' IDENTIFIED BY 'correct horse' REQUIRE SSL", "GRANT ALL ON *.* TO clerk@'%'")
        wrong = server.by_network(user="clerk", password="correct horse", tls=True, ssl_ca=f"{certificates}/ca.pem")
        config = wrong | dict(host="localhost")
        assert produce("mysql", config, scratch).failures == {}
        assert not any("encrypted" in note for note in checked(config))
        no_authority = {option: value for option, value in config.items() if option != "ssl_ca"}
        for refused in (wrong, no_authority, config | dict(ssl_ca=f"{certificates}/other.pem")):
            with pytest.raises(PickupError, match="CERTIFICATE_VERIFY_FAILED"):
                produce("mysql", refused, scratch)
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificates}/ca.pem")
        assert produce("mysql", no_authority, scratch).failures == {}
        subprocess.run(["openssl", "rehash", certificates], check=True)
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
        monkeypatch.setenv("SSL_CERT_DIR", str(certificates))
        assert produce("mysql", no_authority, scratch).failures == {}
        for option, value in (("ssl-ca", f"{certificates}/other.pem"), ("host", "127.0.0.1")):
            refused_by_program(config, option, value, scratch)


def refused_by_program(config: Mapping[str, Any], option: str, value: str, scratch: Path) -> None:
    """The dump program verifies too: what it alone is told wrong, it refuses."""
    options = options_of("mysql", config | dict(users=False), scratch)
    with contextlib.closing(profile.run(options, scratch)) as artefacts:
        dump = next(artefacts)
        file = scratch / "client.cnf"
        before = file.read_text()
        file.write_text(re.sub(rf'(?m)^{option}=".*"$', f'{option}="{value}"', before))
        assert file.read_text() != before
        with pytest.raises(PickupError, match=r"(?i)mariadb-dump ended with .*(ssl|certificate)"):
            read_all(dump)


def test_a_connection_that_is_not_encrypted_is_said_by_check(server: MariaDB) -> None:
    shop(server, "shop")
    server.run("GRANT ALL ON *.* TO clerk@'127.0.0.1' IDENTIFIED BY 'correct horse'")
    notes = checked(server.by_network(user="clerk", password="correct horse", users=False))
    assert f"the connection to 127.0.0.1:{server.port} is not encrypted; tls=True insists on it" in notes


def test_a_defaults_file_that_others_can_read_is_refused(server: MariaDB, tmp_path: Path) -> None:
    said = tmp_path / "my.cnf"
    said.write_text("[client]\npassword=correct horse\n")
    for mode in (0o640, 0o604):
        said.chmod(mode)
        with pytest.raises(PickupError, match="can be read by others\nHint: chmod 600"):
            checked(server.config(defaults_file=str(said)))
    said.unlink()
    with pytest.raises(PickupError, match="cannot be read"):
        checked(server.config(defaults_file=str(said)))
    said.write_text("[client]\nport=many\n")
    said.chmod(0o600)
    with pytest.raises(PickupError, match="says port=many, which is no number"):
        checked(server.config(defaults_file=str(said)))


def test_what_the_entry_says_comes_before_its_defaults_file(server: MariaDB, tmp_path: Path) -> None:
    said = tmp_path / "my.cnf"
    said.write_text(f"[client]\nuser=nobody\nhost=localhost\nsocket='{server.socket}'\nport=1\npassword=x\n")
    said.chmod(0o600)
    shop(server, "shop")
    assert checked(dict(defaults_file=str(said), user="root", password="", users=False))[0].startswith("MariaDB ")
    login = options_of("mysql", dict(defaults_file=str(said), host="db", port=7), tmp_path).login()
    assert (login.user, login.host, login.port, login.socket) == ("nobody", "db", 7, None)
    assert login.password == Secret("x")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain", "plain"), ("'a # b'", "a # b"), ('"a \\" b"', 'a " b'), ("a#b", "a"), ("a # b", "a"), ("a\\\\b", "a\\b"),
        ("a\\sb", "a b"), ('"a\\nb"', "a\nb"), ("\\x", "\\x"), ("'it\\'s'", "it's"), ('""', ""), ("'open", "'open"),
    ],
)  # fmt: skip
def test_an_option_file_is_read_as_mysqls_own_programs_do(written: str, meant: str, tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\nuser={written}\n")
    path.chmod(0o600)
    assert logins.read_defaults_file(path) == {"user": meant}
    done = subprocess.run(
        ["my_print_defaults", f"--defaults-file={path}", "client"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"--user={meant}\n"


# What is asked for


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ["Shop", "shop", "shop_2", "test"]),
        (dict(database="shop"), ["shop"]),
        (dict(database="shop*"), ["shop", "shop_2"]),
        (dict(database=["test", "sho?"]), ["shop", "test"]),
        (dict(exclude=["shop*", "t?st"]), ["Shop"]),
        (dict(exclude="shop*"), ["Shop", "test"]),
        (dict(database="[s]hop"), []),
    ],
)
def test_patterns_choose_databases(server: MariaDB, scratch: Path, config: dict[str, Any], names: list[str]) -> None:
    shop(server, "Shop", "shop", "shop_2", "test")
    produced = produce("mysql", server.config(users=False, **config), scratch)
    assert sorted(produced.contents) == [f"{name}.sql" for name in names]
    assert list(produced.failures) == ([] if names else ["[s]hop.sql"])


def test_a_pattern_that_matches_nothing_fails(server: MariaDB, scratch: Path) -> None:
    for pattern in ("*", "shop*"):
        produced = produce("mysql", server.config(users=False, database=pattern), scratch)
        assert f"shows user root no database '{pattern}'" in produced.failures[f"{pattern}.sql"]
        with pytest.raises(PickupError, match="shows user root no database"):
            checked(server.config(users=False, database=pattern))


def test_check_names_what_leaves_nothing_out(server: MariaDB) -> None:
    shop(server, "shop", "till")
    notes = checked(server.config(database="shop", exclude=["*_test", "gone", "till"]))
    assert [note for note in notes if "exclude" in note] == [
        "exclude '*_test' matches no database",
        "exclude 'gone' matches no database",
    ]


def test_a_user_who_does_not_see_all_databases_is_told(server: MariaDB) -> None:
    shop(server, "shop", "other")
    server.run("CREATE USER clerk@localhost", "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON shop.* TO clerk@localhost",
               "GRANT SELECT ON mysql.proc TO clerk@localhost")  # fmt: skip
    config = server.config(user="clerk", users=False)
    said = "user clerk@localhost sees only the databases on which it has rights; SHOW DATABASES shows it all"
    assert said in checked(config)
    server.run("GRANT SHOW DATABASES ON *.* TO clerk@localhost")
    assert said not in checked(config | dict(database="shop"))


def test_versions_by_transaction_do_not_stop_the_dump_and_check_names_them(
    server: MariaDB, fresh: MariaDB, scratch: Path
) -> None:
    shop(server, "shop")
    server.run("CREATE TABLE exact (n INT, a BIGINT UNSIGNED GENERATED ALWAYS AS ROW START, b BIGINT UNSIGNED GENERATED"
               " ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM VERSIONING",
               "INSERT INTO exact (n) VALUES (1)", "UPDATE exact SET n = 2", database="shop")  # fmt: skip
    assert "versions by transaction, of which a dump has the current ones alone: shop.exact" in checked(server.config())
    produced = produce("mysql", server.config(users=False), scratch)
    assert produced.failures == {}
    load(fresh, produced.contents)
    assert fresh.rows("SELECT n FROM shop.exact FOR SYSTEM_TIME ALL") == [(2,)]


def test_a_folder_lost_and_found_is_no_database(server: MariaDB, scratch: Path) -> None:
    shop(server, "shop")
    folder = server.folder / "data" / "lost+found"
    folder.mkdir()
    try:
        assert "#mysql50#lost+found" in server.databases()
        assert list(produce("mysql", server.config(users=False), scratch).contents) == ["shop.sql"]
    finally:
        folder.rmdir()


def test_check_names_sizes_and_tables_without_transactions(server: MariaDB) -> None:
    shop(server, "shop")
    for number in range(7):
        server.run(f"CREATE TABLE m{number} (n INT) ENGINE={'MyISAM' if number % 2 else 'Aria'}", database="shop")
    notes = checked(server.config())
    assert re.fullmatch(rf"MariaDB 1[\d.]+ at socket {server.socket}, dumped by mariadb-dump 1[\d.]+", notes[0])
    assert any(re.fullmatch(r"database 'shop': 8 tables and views, \d+\.\d KiB of data", note) for note in notes)
    assert notes[-1] == (
        "no transactions, so not of the same moment as the rest: shop.m0 (Aria), shop.m1 (MyISAM), shop.m2 (Aria),"
        " shop.m3 (MyISAM), shop.m4 (Aria) and 2 more"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(database="mysql"), "database: names mysql, which belongs to the server"),
        (dict(database=["a", "Information_Schema"]), "database: names Information_Schema, which belongs"),
        (dict(database=[]), "database: "),
        (dict(database=["shop", ""]), "database: has an empty name"),
        (dict(exclude=""), "exclude: has an empty name"),
        (dict(host="-oops"), "host: "),
        (dict(host="a\nb"), "host: "),
        (dict(port=0), "port: "),
        (dict(socket="/run/s", host="db"), "`socket` does not go with `host`: "),
        (dict(socket="/run/s", port=3307), "`socket` does not go with `port`: "),
        (
            dict(socket="/run/s", port=3307, host="db", defaults_file="x"),
            "`socket` does not go with `host` and `port`: ",
        ),
        (dict(tls=True), "tls=True needs a host"),
        (dict(ssl_ca="/ca.pem"), "ssl_ca, ssl_cert and ssl_key are of use with tls=True only"),
        (dict(host="db", tls=True, ssl_cert="/c"), "ssl_cert and ssl_key belong together"),
        (dict(pasword="x"), "pasword"),
    ],
)
def test_what_cannot_be_meant_is_a_config_error(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    problems = problems_of(tmp_path, config_text(generators=repr([dict(name="it", profile="mysql", config=config)])))
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    "word",
    ["--skip-comments", "--skip_comments", "--comments=0", "--compact", "--comp", "--result-file=/x", "--result=/x", "-r/x",
     "-qr", "--tab=/x", "--xml", "--all-databases", "-A", "--password=x", "-px", "--host=x", "--no-create-db", "--tables",
     "--add-drop-database", "--loose-skip-comments", "--default-character-set=latin1", "--", "shop", "--log-error=/x",
     "--defaults-file=/x", "--help", "--disable-comments"],
)  # fmt: skip
def test_an_option_that_would_break_the_dump_is_refused(tmp_path: Path, word: str) -> None:
    entry = dict(name="it", profile="mysql", config=dict(mysqldump_options=[word]))
    [problem] = problems_of(tmp_path, config_text(generators=repr([entry])))
    assert f"{word!r} " in problem


@pytest.mark.parametrize(
    "word",
    ["--compress", "--ignore-table=a.b", "--no-data", "--where=id>5", "--skip-dump-date", "--skip-extended-insert"],
)
def test_other_options_are_handed_over(server: MariaDB, tmp_path: Path, word: str) -> None:
    shop(server, "shop")
    seen = program(tmp_path, 'open("words", "w").write("\\n".join(sys.argv)); os.execv(real, [real, *sys.argv[1:]])')
    produced = produce_in(tmp_path, server.config(users=False, mysqldump_options=[word], program=seen))
    assert produced.failures == {}
    assert word in (tmp_path / "words").read_text().splitlines()


# The page


def commands_on_the_page() -> list[str]:
    """Give the statements on the page that make users for backups."""
    page = (ROOT / "docs/how-to/back-up-mysql.rst").read_text(encoding="utf-8")
    return re.findall(r"(?m)^ +mariadb <<'SQL'\n([\s\S]*?)^ +SQL\n", page)


@pytest.mark.parametrize("number", range(3))
def test_the_users_of_the_page_can_back_up_all_that_they_should_and_no_more(
    server: MariaDB, fresh: MariaDB, scratch: Path, number: int
) -> None:
    fill(server, "shop")
    shop(server, "other")
    statements = [statement.strip() for statement in commands_on_the_page()[number].split(";") if statement.strip()]
    server.run(*statements)
    assert all("pickup@localhost" in statement for statement in statements)
    is_by_socket = any("unix_socket" in statement for statement in statements)
    password = re.search(r"IDENTIFIED BY '(.*?)'", "".join(statements))
    if is_by_socket:
        server.run("ALTER USER pickup@localhost IDENTIFIED BY 'x'")
    login = dict(user="pickup", password=password[1] if password else "x")
    config = server.config(**login) | ({} if "*.*" in "".join(statements) else dict(database="shop", users=False))
    checked(config)
    produced = produce("mysql", config, scratch)
    assert produced.failures == {}
    assert produced.losses == []
    everything = ["users.sql", "other.sql", "shop.sql"]
    assert list(produced.contents) == (everything if "database" not in config else ["shop.sql"])
    load(fresh, {"shop.sql": produced.contents["shop.sql"]})
    assert everything_in(fresh, "shop") == everything_in(server, "shop")
    with server.connection(**login) as connection, connection.cursor() as cursor:
        for statement in ("INSERT INTO shop.plain VALUES (1)", "DROP TABLE shop.plain", "CREATE DATABASE x"):
            with pytest.raises(Exception, match="denied"):
                cursor.execute(statement)


def test_the_profile_does_not_import_its_library_before_it_is_used() -> None:
    code = "import sys; from generator_profiles import mysql; print('pymysql' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert config_class(load_profile("generator", "mysql", ROOT)).__name__ == "Config"
