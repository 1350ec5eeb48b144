"""The PostgreSQL generator: the contract of all generators, and what a dump may lose, on real servers."""

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from generator_profiles import _postgres_script as scripts
from generator_profiles import _postgres_server as servers
from generator_profiles import postgres as profile
from pickup_core.artefact import Stored
from pickup_core.errors import ExitCode, PickupError, RefusedError
from pickup_core.store import BLOCK
from tests.builders import LOCAL, NOBODY, ROOT, config_text, problems_of, python, tells, write_config
from tests.generator_contract import (
    GeneratorContract,
    Produced,
    Sample,
    children,
    load_back,
    options_of,
    produce,
    run_entry,
    stored,
)
from tests.places import run_on_disk
from tests.servers.postgres import PASSWORD, PostgresServer, newer_programs, postgres_server
from tests.servers.proxy import cutting_proxy
from tests.servers.running import server_folder
from tests.sessions import carried_out

RENTAL = ROOT / "tests" / "servers" / "postgres_rental.sql"
HOW_TO = ROOT / "docs" / "how-to" / "back-up-postgresql.rst"
HOSTILE = {
    "plain": ["with space", "a\"b'c", "back\\slash", "a/../../b", "--all", "host=elsewhere dbname=x", "UPPER", "upper",
              "globals", "é" * 31 + "x", "line\nbreak", "x\r\\connect y"],
    "custom": ["-option", "..", "CON", "a; rm -rf /", "$(touch x)", "globals", "globals.database", "select", "*", "tab\t",
               "postgresql://elsewhere/x"],
}  # fmt: skip
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server that tests share; each makes databases of its own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def other_server() -> Iterator[PostgresServer]:
    with postgres_server(password="another password") as server:
        yield server


@pytest.fixture
def fresh(other_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that is as good as new."""
    yield other_server
    other_server.drop_all()


@pytest.fixture(scope="session")
def rental(server: PostgresServer) -> str:
    """The database of everything that a dump can forget."""
    make_rental(server, 2000)
    return "rental"


@pytest.fixture(scope="session")
def two(server: PostgresServer) -> list[str]:
    """Two small databases that nobody changes."""
    for name, rows in (("two_shop", 300), ("two_users", 50)):
        server.create(name)
        server.query(f"CREATE TABLE orders AS SELECT generate_series(1, {rows}) AS id", database=name)
    return ["two_shop", "two_users"]


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """A small database of a test's own."""
    server.drop("shop")
    server.create("shop")
    server.query("CREATE TABLE orders AS SELECT g AS id, 'tea' AS what FROM generate_series(1, 300) g", database="shop")
    yield "shop"
    server.drop("shop")


def make_rental(server: PostgresServer, rows: int) -> None:
    server.psql("-v", f"rows={rows}", "-o", "/dev/null", "-f", str(RENTAL))


def dump(server: PostgresServer, scratch: Path, **options: Any) -> Produced:
    """Dump as the core does, with nothing that fails."""
    produced = produce("postgres", server.config(**options), scratch)
    assert produced.failures == {}
    return produced


def load(
    server: PostgresServer,
    artefacts: Sequence[Stored],
    as_name: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[str]:
    """Load artefacts into a server, and give the sentences that tell about it."""
    return load_back("postgres", server.config(**options), artefacts, as_name, overwrite)


# What is in a database

_ACL = "ARRAY(SELECT unnest(coalesce({0}acl, acldefault('{1}', {0}owner)))::text COLLATE \"C\" ORDER BY 1)"
_CATALOGUE = [
    f"""SELECT 'database', pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit,
        {_ACL.format("dat", "d").replace("datowner", "datdba")}, shobj_description(oid, 'pg_database')
        FROM pg_database WHERE datname = current_database()""",
    """SELECT 'setting', coalesce(setrole::regrole::text, ''), setconfig FROM pg_db_role_setting
        JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()""",
    f"""SELECT 'schema', nspname, pg_get_userbyid(nspowner), {_ACL.format("nsp", "n")}, obj_description(oid, 'pg_namespace')
        FROM pg_namespace WHERE oid >= 2200 AND nspname !~ '^pg_'""",
    f"""SELECT 'relation', oid::regclass, relkind, pg_get_userbyid(relowner), relpersistence, relrowsecurity,
        {_ACL.format("rel", "r")}, obj_description(oid, 'pg_class'), pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid),
        CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) WHEN relkind IN ('i', 'I') THEN pg_get_indexdef(oid) END
        FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace""",
    """SELECT 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
        ARRAY(SELECT unnest(attacl)::text COLLATE "C" ORDER BY 1), col_description(attrelid, attnum),
        pg_get_expr(adbin, adrelid), attcollation::regcollation
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum JOIN pg_class c ON c.oid = attrelid
        WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped AND relnamespace <> 'pg_toast'::regnamespace""",
    """SELECT 'constraint', conrelid::regclass, contypid::regtype, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE oid >= 16384""",
    f"""SELECT 'function', oid::regprocedure, pg_get_userbyid(proowner), {_ACL.format("pro", "f")},
        CASE WHEN prokind <> 'a' THEN pg_get_functiondef(oid) END FROM pg_proc WHERE oid >= 16384""",
    "SELECT 'trigger', pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT 'event trigger', evtname, evtevent, evtfoid::regproc, evtenabled FROM pg_event_trigger",
    "SELECT 'rule', pg_get_ruledef(oid) FROM pg_rewrite WHERE oid >= 16384",
    "SELECT 'policy', p.* FROM pg_policies p",
    """SELECT 'type', oid::regtype, typtype, format_type(typbasetype, typtypmod), pg_get_userbyid(typowner),
        ARRAY(SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder)
        FROM pg_type t WHERE oid >= 16384 AND typtype IN ('e', 'd', 'c')""",
    "SELECT 'operator', oid::regoperator FROM pg_operator WHERE oid >= 16384",
    "SELECT 'collation', collname, collcollate FROM pg_collation WHERE oid >= 16384",
    "SELECT 'extension', extname, extversion FROM pg_extension",
    "SELECT 'sequence', s.* FROM pg_sequences s",
    "SELECT 'statistics', pg_get_statisticsobjdef(oid) FROM pg_statistic_ext",
    "SELECT 'publication', p.* FROM pg_publication_tables p",
    "SELECT 'default', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype, defaclacl FROM pg_default_acl",
    """SELECT 'large object', oid, pg_get_userbyid(lomowner), lomacl, md5(lo_get(oid)), obj_description(oid, 'pg_largeobject')
        FROM pg_largeobject_metadata""",
]  # fmt: skip
_ROWS = """SELECT format('SELECT ''rows'', %L, count(*), sum((''x'' || left(md5(t::text), 15))::bit(60)::bigint) FROM %s t',
    oid::regclass, oid::regclass) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'm')"""


def content_of(server: PostgresServer, database: str) -> set[str]:
    """Describe a database: itself, each thing in it, and of each table the number of rows and a sum of their digests."""
    with server.connected(database) as connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog; SET timezone = 'UTC'; SET extra_float_digits = 3")
        cursor.execute(_ROWS)
        found: set[str] = set()
        for query in [*_CATALOGUE, *(query for (query,) in cursor.fetchall())]:
            cursor.execute(query)
            found |= {repr(row) for row in cursor.fetchall()}
    return found


def roles_of(server: PostgresServer) -> set[str]:
    """Describe the roles of a server, but for its superuser."""
    attributes = """SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcanlogin, rolconnlimit, rolpassword,
        shobj_description(oid, 'pg_authid') FROM pg_authid WHERE oid >= 16384"""
    members = "SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members WHERE roleid >= 16384"
    settings = "SELECT setrole::regrole, setconfig FROM pg_db_role_setting WHERE setdatabase = 0"
    return {repr(row) for query in (attributes, members, settings) for row in server.query(query)}


def test_what_is_in_a_database_is_seen(server: PostgresServer, rental: str) -> None:
    """The comparison would notice; what it compares is there."""
    content = content_of(server, rental)
    kinds = {row.partition(",")[0].strip("('") for row in content}
    assert kinds == {re.search(r"SELECT '([a-z ]+)'", query)[1] for query in _CATALOGUE} | {"rows"}  # type: ignore[index]
    with server.connected(rental) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("UPDATE film SET title = title || 'x' WHERE film_id = 10")
        cursor.execute("SELECT count(*), sum(('x' || left(md5(t::text), 15))::bit(60)::bigint) FROM film t")
        assert repr(("rows", "public.film", *cursor.fetchone())) not in content
    assert content_of(server, rental) == content


# The contract


class TestContract(GeneratorContract):
    profile = "postgres"

    @pytest.fixture
    def good(self, server: PostgresServer, two: list[str]) -> Sample:
        config = server.config(database=two)
        return Sample(config, {"globals.sql": "roles", "two_shop.sql": 300, "two_users.sql": 50})

    @pytest.fixture
    def bad(self, server: PostgresServer, two: list[str]) -> Sample:
        config = server.config(database=["missing", *two])
        failure = {"missing.sql": 'database "missing" does not exist'}
        return Sample(config, {"globals.sql": "roles", "two_shop.sql": 300, "two_users.sql": 50}, failure)

    def meaning(self, name: str, content: bytes) -> Any:
        if name == "globals.sql":
            return "roles" if b"\nCREATE ROLE postgres;\n" in content else content
        return len(re.search(rb"COPY public.orders \(id\) FROM stdin;\n((?:\d+\n)*)\\\.\n", content)[1].splitlines())  # type: ignore[index]


# Which databases


def test_templates_and_databases_that_allow_no_connections_are_skipped(
    fresh: PostgresServer, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """G17"""
    for name in ("shop", "closed", "pattern"):
        fresh.create(name)
    fresh.query("ALTER DATABASE closed ALLOW_CONNECTIONS false; ALTER DATABASE pattern IS_TEMPLATE true")
    caplog.set_level("INFO", "pickup")
    assert dump(fresh, scratch).names == ["globals.sql", "postgres.sql", "shop.sql"]
    said = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert "database 'closed' is skipped: it allows no connections" in said
    assert "database 'pattern' is skipped: it is a template" in said


def test_a_database_of_which_half_was_dropped_is_skipped(fresh: PostgresServer, scratch: Path) -> None:
    fresh.create("half")
    fresh.query("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'")
    assert dump(fresh, scratch).names == ["globals.sql", "postgres.sql"]


@pytest.mark.parametrize(
    ("database", "exclude", "names"),
    [
        ("shop_1", [], ["shop_1"]),
        ("shop_*", [], ["shop_1", "shop_2", "shop_a/b"]),
        ("shop_?", ["*2"], ["shop_1"]),
        (["users", "shop_1", "*s*_1"], [], ["users", "shop_1"]),
        ("*", ["shop_*", "postgres"], ["Shop_1", "users"]),
        ("*a/*", "users", ["shop_a/b"]),
    ],
)
def test_names_and_patterns_choose_databases(
    fresh: PostgresServer, scratch: Path, database: Any, exclude: Any, names: list[str]
) -> None:
    for name in ("shop_1", "shop_2", "shop_a/b", "Shop_1", "users"):
        fresh.create(name)
    config = options_of("postgres", fresh.config(database=database, exclude=exclude), scratch)
    with contextlib.closing(profile.run(config, scratch)) as artefacts:
        assert [artefact.name for artefact in artefacts] == ["globals.sql", *(f"{name}.sql" for name in names)]


def test_a_pattern_that_matches_nothing_fails_and_the_rest_is_kept(
    server: PostgresServer, database: str, tmp_path: Path
) -> None:
    ran = run_entry(tmp_path, "postgres", server.config(database=["nope_*", database]))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"globals.sql", "shop.sql"}
    assert "no database matches 'nope_*'\nHint: psql --list" in ran.messages[0]
    config = options_of("postgres", server.config(database=["nope_*", "no?e", database]), tmp_path)
    with pytest.raises(PickupError, match=r"^no database matches 'nope_\*', 'no\?e'\nHint: psql --list"):
        list(profile.check(config))


def test_check_names_what_leaves_nothing_out(server: PostgresServer, database: str, tmp_path: Path) -> None:
    config = server.config(database=["shop*", database], exclude=["*_test", "till", "two_*"])
    server.create("two_x")
    try:
        notes = list(profile.check(options_of("postgres", config, tmp_path)))
    finally:
        server.drop("two_x")
    assert notes[1:3] == ["exclude '*_test' matches no database", "exclude 'till' matches no database"]
    assert len(notes) == 4


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(database=[]), "database"),
        (dict(database=["a", ""]), "has an empty name"),
        (dict(pg_dump_options=["shop"]), "'shop' is no option"),
        (dict(pg_dump_options=["--table", "x"]), "'x' is no option"),
        (dict(pg_dump_options=["--file=x"]), "--file=x is an option that Pickup sets itself"),
        (dict(pg_dump_options=["--form=t"]), "--form=t is an option"),
        (dict(pg_dump_options=["-Ft"]), "-Ft is an option"),
        (dict(pg_dump_options=["--clean"]), "--clean is an option"),
        (dict(pg_dumpall_options=["--no-role-passwords"]), "--no-role-passwords is an option"),
        (dict(pg_dumpall_options=["-dx"]), "-dx is an option"),
        (dict(port=0), "port"),
        (dict(sslmode="on"), "sslmode"),
    ],
)
def test_what_cannot_work_is_a_problem_of_the_config(tmp_path: Path, options: dict[str, Any], part: str) -> None:
    entry = dict(name="main", profile="postgres", config=options)
    assert part in "\n".join(problems_of(tmp_path, config_text(generators=repr([entry]))))


def test_further_options_are_handed_to_the_programs(server: PostgresServer, database: str, scratch: Path) -> None:
    options = dict(pg_dump_options=["--exclude-table-data=ord*", "-v"], pg_dumpall_options=["--no-comments"])
    content = dump(server, scratch, database=database, **options).contents["shop.sql"]
    assert b"CREATE TABLE public.orders" in content
    assert b"COPY" not in content


# There and back


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_a_database_is_the_same_in_another_server(
    server: PostgresServer, fresh: PostgresServer, rental: str, scratch: Path, kind: str
) -> None:
    """V19: roles, settings, grants, owner and locale are back; what is there already does not stop it."""
    produced = dump(server, scratch, database=rental, format=kind)
    fresh.query("CREATE ROLE clerk")
    sentences = load(fresh, stored(produced.contents))
    assert sentences == [
        f"PostgreSQL at host 127.0.0.1, port {fresh.port}, as role 'postgres': loads roles, database 'rental'",
        "loaded the roles; 'postgres', who loads them, keeps its own attributes and password",
        "loaded database 'rental'",
    ]
    assert content_of(fresh, rental) == content_of(server, rental)
    assert roles_of(fresh) == roles_of(server)


@pytest.mark.parametrize("options", [dict(), dict(format="custom"), dict(pg_dump_options=["--inserts"])], ids=str)
def test_a_database_is_loaded_under_another_name_beside_the_one_in_use(
    server: PostgresServer, rental: str, scratch: Path, options: dict[str, Any]
) -> None:
    produced = dump(server, scratch, database=rental, **options)
    server.query("GRANT TEMPORARY ON DATABASE rental TO PUBLIC; ALTER DATABASE rental SET work_mem = '9MB'")
    server.query("ALTER ROLE clerk CONNECTION LIMIT 9")
    changed, roles, new = content_of(server, rental), roles_of(server), 'rental\'s "copy" \\ 1'
    try:
        assert load(server, stored(produced.contents), as_name=new)[1:] == [f"loaded database {new!r}"]
        copy = content_of(server, new)
        assert content_of(server, rental) == changed
        assert roles_of(server) == roles
    finally:
        server.query("REVOKE TEMPORARY ON DATABASE rental FROM PUBLIC; ALTER DATABASE rental SET work_mem = '5MB'")
        server.query("ALTER ROLE clerk CONNECTION LIMIT 3")
        server.query('DROP DATABASE IF EXISTS "rental\'s ""copy"" \\ 1"')
    assert len(copy - changed) == len(changed - copy) == 2, "grants and settings of the database are those of the dump"
    assert copy == content_of(server, rental)


@pytest.mark.parametrize(("kind", "names"), HOSTILE.items(), ids=HOSTILE)
def test_hostile_names_come_back_and_each_is_the_right_database(
    fresh: PostgresServer, tmp_path: Path, kind: str, names: list[str]
) -> None:
    """G18"""
    for name in names:
        fresh.create(name)
        fresh.query("CREATE TABLE told (name text); INSERT INTO told VALUES (%s)", name, database=name)
    ran = run_entry(tmp_path, "postgres", fresh.config(format=kind, exclude=["postgres"]))
    assert (ran.exit_code, ran.messages) == (ExitCode.OK, [])
    assert len(ran.contents) == len(names) + 1
    fresh.drop_all()
    load(fresh, stored(ran.contents))
    assert fresh.databases() == set(names)
    assert {name: fresh.query("SELECT name FROM told", database=name) for name in names} == {n: [(n,)] for n in names}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("select", "a\"b'c", "plain"),
        ("a\"b'c", "\\connect x", "custom"),
        ("back\\slash", "host=elsewhere dbname=y", "plain"),
        ("DATABASE x", "é" * 31 + "y", "plain"),
        ("$$", "DATABASE select", "custom"),
        ("host=elsewhere dbname=x", "--", "plain"),
    ],
)
def test_a_hostile_name_is_changed_into_another(
    fresh: PostgresServer, scratch: Path, old: str, new: str, kind: str
) -> None:
    fresh.create(old)
    quoted = old.replace('"', '""')
    fresh.query(f'GRANT CREATE ON DATABASE "{quoted}" TO pg_monitor; ALTER DATABASE "{quoted}" SET work_mem = \'7MB\'')
    fresh.query(f'COMMENT ON DATABASE "{quoted}" IS %s', f'DATABASE "{quoted}" and DATABASE {old}\n\\connect x')
    fresh.query("CREATE TABLE told (name text); INSERT INTO told VALUES (%s)", old, database=old)
    content = content_of(fresh, old)
    load(fresh, stored(dump(fresh, scratch, database=old, format=kind).contents), as_name=new)
    assert content_of(fresh, new) == content_of(fresh, old) == content


def test_a_name_that_no_database_can_have_is_refused(server: PostgresServer, database: str, scratch: Path) -> None:
    produced = dump(server, scratch, database=database)
    one = stored(produced.contents, "shop.sql")
    for name in ("", "two\nlines", "x" * 64, "é" * 32):
        with pytest.raises(PickupError, match="cannot be the name of a database"):
            load(server, one, as_name=name)
    with pytest.raises(PickupError, match="one database can be loaded as 'x', not 0"):
        load(server, stored(produced.contents, "globals.sql"), as_name="x")
    with pytest.raises(PickupError, match="because of its line break"):
        load(server, [Stored("two\nlines.dump", 0, one[0].open)], as_name="x")
    with pytest.raises(PickupError, match=r"'shop\.tar' is no dump of a database"):
        load(server, [Stored("shop.tar", 0, one[0].open)])


def test_it_restores_with_the_commands_of_restore_txt(
    server: PostgresServer, rental: str, tmp_path: Path, scratch: Path
) -> None:
    """V16: each command of the text is run, as it stands there."""
    commands = [line.strip() for line in profile.RESTORE.splitlines() if line.strip() and "#" not in line]
    for kind in ("plain", "custom"):
        for name, content in dump(server, scratch, database=rental, format=kind).contents.items():
            (tmp_path / name).write_bytes(content)
    with postgres_server() as new:
        env = {"PATH": f"{new.programs}:/usr/bin:/bin", "PGHOST": new.host, "PGPORT": str(new.port), "PGUSER": new.user,
               "PGPASSWORD": new.password}  # fmt: skip
        for number, command in enumerate(commands):
            line = command.replace("NAME", rental).replace("TABLE", "customer").replace("OTHER", "other")
            words = ["sh", "-c", line]
            if number == 3:
                new.create("other")
                new.query("CREATE TYPE address AS (street text, town text)", database="other")
            done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            if number == 0:
                assert re.findall("ERROR: .*", done.stderr) == ['ERROR:  role "postgres" already exists']
                assert roles_of(new) == roles_of(server)
            else:
                restored, table = ("other", "customer") if number == 3 else (rental, "film")
                query = f"SELECT count(*) FROM {table}"
                assert new.query(query, database=restored) == server.query(query, database=rental)
            if number in (1, 2):
                assert content_of(new, rental) == content_of(server, rental)
                new.query("DROP DATABASE rental")
    assert number == 3


def test_the_command_restores_into_the_server_of_the_config(
    server: PostgresServer, fresh: PostgresServer, rental: str, tmp_path: Path
) -> None:
    def pickup(command: str, into: PostgresServer) -> subprocess.CompletedProcess[str]:
        entry = dict(name="main", profile="postgres", config=into.config(database=[rental]))
        settings = (
            f"STAGING_AREA = {str(tmp_path / 'staging')!r}\nSTATE_FOLDER = LOG_FOLDER = {str(tmp_path / 'state')!r}"
        )
        config = write_config(tmp_path, config_text(settings, repr([entry])))
        words = [sys.executable, ROOT / "pickup.py", "-c", config, *command.split()]
        return subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)

    done = pickup("-q", server)
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.OK, "", "")
    done = pickup("restore --into-server --only main", fresh)
    assert done.returncode == ExitCode.OK, done.stderr
    assert (
        f"PostgreSQL at host 127.0.0.1, port {fresh.port}, as role 'postgres': loads roles, database 'rental'"
        in done.stdout
    )
    assert content_of(fresh, rental) == content_of(server, rental)
    done = pickup("restore --into-server --only main/rental.sql", fresh)
    assert done.returncode == ExitCode.DAMAGE
    assert "not empty: database 'rental'" in done.stderr
    done = pickup("restore --into-server --only main/rental.sql --as copy", fresh)
    assert done.returncode == ExitCode.OK, done.stderr
    assert content_of(fresh, "copy") == content_of(server, rental)
    logs = [path.read_text(errors="replace") for path in tmp_path.rglob("*.log*")]
    assert any("pg_dump" in text for text in logs)
    assert not any(tells(text, PASSWORD) for text in logs)


def test_the_command_restores_into_another_server_than_that_of_the_config(
    server: PostgresServer, database: str, tmp_path: Path
) -> None:
    entry = dict(name="main", profile="postgres", config=server.config(host="localhost", database=database))
    write_config(tmp_path, config_text(LOCAL, repr([entry])))
    assert carried_out(tmp_path, "-q", "run").status == ExitCode.OK
    before = content_of(server, database)
    server.query("INSERT INTO orders VALUES (0, 'since then')", database=database)
    since = content_of(server, database)
    with postgres_server() as new:
        words = ["restore", "--into-server", "--set", "host=127.0.0.1", "--set", f"port={new.port}"]
        done = carried_out(tmp_path, *words)
        assert done.status == ExitCode.OK, done.err
        assert f"PostgreSQL at host 127.0.0.1, port {new.port}, as role 'postgres': loads roles, database" in done.out
        assert new.databases() == {database}
        assert content_of(new, database) == before
    assert content_of(server, database) == since != before


def test_a_tablespace_comes_back_where_its_folder_is_and_else_that_is_named(
    server: PostgresServer, fresh: PostgresServer, database: str, scratch: Path
) -> None:
    with server_folder("postgres") as folder:
        server.query(f"CREATE TABLESPACE far LOCATION '{folder}'")
        try:
            server.query("ALTER TABLE orders SET TABLESPACE far", database=database)
            produced = dump(server, scratch, database=database)
            content = content_of(server, database)
        finally:
            server.drop(database)
            server.query("DROP TABLESPACE far")
        owner = folder.stat().st_uid
        folder.rmdir()
        with pytest.raises(
            PickupError, match=f'58P01: directory "{folder}" does not exist\nHint: a tablespace lies there'
        ):
            load(fresh, stored(produced.contents))
        assert fresh.databases() == set()
        folder.mkdir()
        os.chown(folder, owner, -1)
        load(fresh, stored(produced.contents))
        try:
            where = "SELECT pg_tablespace_location(reltablespace) FROM pg_class WHERE relname = 'orders'"
            assert fresh.query(where, database=database) == [(str(folder),)]
            assert content_of(fresh, database) == content
            load(fresh, stored(produced.contents), overwrite=True)
            assert fresh.query(where, database=database) == [(str(folder),)], "one that is there is no error"
        finally:
            fresh.drop(database)
            fresh.query("DROP TABLESPACE far")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_half_a_gigabyte_is_the_same_in_another_server(
    fresh: PostgresServer, scratch: Path, tmp_path: Path, kind: str
) -> None:
    with postgres_server() as large:
        make_rental(large, 2_300_000)
        [[size]] = large.query(
            "SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind IN ('r', 'm')", database="rental"
        )
        assert size > 500e6
        config = options_of("postgres", large.config(database="rental", format=kind), scratch)
        artefacts = []
        with contextlib.closing(profile.run(config, scratch)) as run:
            for artefact in run:
                path = tmp_path / artefact.name
                with artefact.source as stream, path.open("wb") as file:
                    while block := stream.read(BLOCK):
                        file.write(block)
                artefacts.append(Stored(artefact.name, path.stat().st_size, lambda path=path: path.open("rb")))  # type: ignore[misc]
        load(fresh, artefacts)
        content = content_of(large, "rental")
        assert content_of(fresh, "rental") == content
        load(fresh, artefacts[1:], as_name="copy")
        assert content_of(fresh, "copy") == content


# Loading into a server that is in use


def test_a_database_that_is_not_empty_is_not_touched_unless_it_may_be_overwritten(
    fresh: PostgresServer, server: PostgresServer, database: str, scratch: Path
) -> None:
    """V12"""
    artefacts = stored(dump(server, scratch, database=database).contents)
    fresh.create("shop")
    fresh.query("CREATE TABLE precious AS SELECT 1", database="shop")
    before, roles = content_of(fresh, "shop"), roles_of(fresh)
    config = options_of("postgres", fresh.config(), scratch)
    told = profile.restore(config, artefacts, None, False)
    assert next(told).endswith("loads roles, database 'shop'")
    with pytest.raises(RefusedError, match="not empty: database 'shop'\nHint: --as NAME loads one under another name"):
        next(told)
    with pytest.raises(RefusedError, match="not empty: database 'shop'"):
        load(fresh, artefacts[1:], as_name="shop")
    assert (content_of(fresh, "shop"), roles_of(fresh)) == (before, roles)
    sentences = load(fresh, artefacts, overwrite=True)
    assert "drops database 'shop', which is not empty, to make it anew" in sentences
    assert content_of(fresh, "shop") == content_of(server, "shop")


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE x ()", "CREATE SCHEMA x", "CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
     "CREATE EXTENSION pg_trgm", "SELECT lo_create(0)", "CREATE SEQUENCE x"],
)  # fmt: skip
def test_whatever_somebody_has_made_is_content(fresh: PostgresServer, statement: str) -> None:
    fresh.create("shop")
    with fresh.connected("shop") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE passing ()")
        assert not servers.has_content(connection)
        cursor.execute(statement)
        assert servers.has_content(connection)


def test_an_empty_database_is_made_anew(
    fresh: PostgresServer, server: PostgresServer, database: str, scratch: Path
) -> None:
    produced = dump(server, scratch, database=[database, "postgres"])
    fresh.create("shop")
    sentences = load(fresh, stored(produced.contents))
    assert "drops database 'shop', which is empty, to make it anew" in sentences
    assert "drops database 'postgres', which is empty, to make it anew" in sentences
    assert content_of(fresh, "shop") == content_of(server, "shop")


def test_a_database_that_others_use_is_left_to_them(
    fresh: PostgresServer, server: PostgresServer, database: str, scratch: Path
) -> None:
    artefacts = stored(dump(server, scratch, database=database).contents, "shop.sql")
    fresh.create("shop")
    with fresh.connected("shop") as connection, connection.cursor() as cursor:
        with pytest.raises(PickupError, match=r"is being accessed by other users.*\nHint: end their sessions"):
            load(fresh, artefacts, overwrite=True)
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("as_name", [None, "copy"])
def test_the_first_statement_that_fails_stops_it_and_is_shown(
    fresh: PostgresServer, server: PostgresServer, database: str, scratch: Path, as_name: str | None
) -> None:
    content = dump(server, scratch, database=database).contents["shop.sql"]
    broken = content.replace(b"COPY public.orders", b"SELECT 1/0;\nCOPY public.orders")
    assert broken != content
    name = as_name or "shop"
    with pytest.raises(
        PickupError, match=f"database '{name}' was not loaded to its end: psql .*ERROR: +division by zero"
    ):
        load(fresh, stored({"shop.sql": broken}), as_name)
    assert fresh.query("SELECT count(*) FROM orders", database=name) == [(0,)]


@pytest.mark.parametrize("as_name", [None, "copy"])
def test_an_archive_that_is_cut_off_fails(
    fresh: PostgresServer, server: PostgresServer, database: str, scratch: Path, as_name: str | None
) -> None:
    content = dump(server, scratch, database=database, format="custom").contents["shop.dump"]
    cut = stored({"shop.dump": content[:-500]})
    with pytest.raises(PickupError, match=r"was not loaded to its end: pg_restore .*end of file"):
        load(fresh, cut, as_name)


def test_errors_in_the_roles_are_shown_and_no_database_is_loaded(
    fresh: PostgresServer, server: PostgresServer, database: str, scratch: Path
) -> None:
    produced = dump(server, scratch, database=database)
    produced.contents["globals.sql"] += b"\nCREATE TABLESPACE far LOCATION '/nowhere';\nGRANT nobody TO postgres;\n"
    with pytest.raises(PickupError) as caught:
        load(fresh, stored(produced.contents))
    assert re.findall(r"ERROR: +(\w+): ", str(caught.value)) == ["58P01", "42704"]
    assert str(caught.value).startswith("roles: ")
    assert fresh.databases() == set()


def test_the_role_that_loads_keeps_its_password_and_attributes() -> None:
    for role in ("postgres", 'the "boss"'):
        quoted = role.replace('"', '""')
        script = f'ALTER ROLE {role} WITH NOLOGIN;\nALTER ROLE "{quoted}" WITH NOLOGIN;\nALTER ROLE other WITH LOGIN;\n'
        kept = scripts.without_role(io.BytesIO(script.encode()), role)
        assert b"".join(iter(kept.read, b"")) == b"ALTER ROLE other WITH LOGIN;\n"


def test_a_long_line_is_read_in_pieces(fresh: PostgresServer, scratch: Path) -> None:
    """Memory is bounded, and what a line begins with is only looked for at its beginning."""
    fresh.create("long")
    fresh.query(
        "CREATE TABLE long AS SELECT repeat(E'\\\\connect long DATABASE long ', 100000) AS a, '--' AS b",
        database="long",
    )
    content = content_of(fresh, "long")
    for number, options in enumerate([dict(), dict(pg_dump_options=["--inserts"])]):
        produced = dump(fresh, scratch, database="long", **options)
        pieces = list(scripts._lines(io.BytesIO(produced.contents["long.sql"])))
        assert b"".join(pieces) == produced.contents["long.sql"]
        assert 1_000_000 < max(map(len, produced.contents["long.sql"].splitlines())) > 2 * max(map(len, pieces))
        load(fresh, stored(produced.contents, "long.sql"), as_name=f"copy {number}")
        assert content_of(fresh, f"copy {number}") == content


# Writes going on, failures


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_a_dump_is_one_state_while_others_write(
    server: PostgresServer, fresh: PostgresServer, scratch: Path, kind: str
) -> None:
    """Each transaction moves an amount between two accounts in two tables, and notes it in a third."""
    server.drop("bank")
    server.create("bank")
    server.query(
        "CREATE TABLE a AS SELECT 1000 AS amount; CREATE TABLE m AS SELECT repeat('x', 1000) AS fill FROM generate_series(1, 9000);"
        "CREATE TABLE y (moved int); CREATE TABLE z AS SELECT 0 AS amount",
        database="bank",
    )
    moves, is_over = [0], threading.Event()

    def move() -> None:
        with server.connected("bank") as connection, connection.cursor() as cursor:
            while not is_over.is_set():
                cursor.execute("BEGIN; UPDATE a SET amount = amount - 1; INSERT INTO y VALUES (1);"
                               "UPDATE z SET amount = amount + 1; COMMIT")  # fmt: skip
                moves[0] += 1

    writer = threading.Thread(target=move)
    writer.start()
    try:
        config = options_of("postgres", server.config(database="bank", format=kind), scratch)
        with contextlib.closing(profile.run(config, scratch)) as run:
            next(run)
            artefact = next(run)
            with artefact.source as stream:
                content = stream.read(BLOCK)
                before = moves[0]
                while moves[0] < before + 50:  # the pipe is full, and pg_dump waits, meanwhile
                    time.sleep(0.01)
                content += b"".join(iter(lambda: stream.read(BLOCK), b""))
    finally:
        is_over.set()
        writer.join()
    load(fresh, stored({artefact.name: content}))
    query = "SELECT (SELECT amount FROM a), (SELECT amount FROM z), (SELECT count(*) FROM y), (SELECT count(*) FROM m)"
    [[left, moved, noted, filled]] = fresh.query(query, database="bank")
    assert left + moved == 1000
    assert noted == moved < moves[0] - 50
    assert filled == 9000


def test_a_wrong_password_fails_the_entry_and_is_not_shown(
    server: PostgresServer, two: list[str], tmp_path: Path
) -> None:
    """G13"""
    ran = run_entry(tmp_path, "postgres", server.config(database=two, password="not-the-password"))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert 'password authentication failed for user "postgres"' in ran.messages[0]
    assert "not-the-password" not in "".join(ran.messages)


def test_a_refused_password_is_told_by_no_message_log_or_traceback(
    server: PostgresServer, two: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """I6: neither by us, nor by the library, nor by a program that was let in a moment before."""
    caplog.set_level("DEBUG")
    secret = "c4n4ry 'of\\ \"wörd%&"
    config = server.config(database=two, user="guest", password=secret)
    said = list(run_entry(tmp_path, "postgres", config).messages)
    options = options_of("postgres", config, tmp_path)
    for attempt in (
        lambda: profile.run(options, tmp_path),
        lambda: profile.check(options),
        lambda: profile.restore(options, stored({"shop.sql": b""}), None, False),
    ):
        with pytest.raises(PickupError, match='password authentication failed for user "guest"') as caught:
            list(attempt())
        said += traceback.format_exception(caught.value)
    server.query("CREATE ROLE guest LOGIN SUPERUSER PASSWORD %s", secret)
    try:
        with contextlib.closing(profile.run(options, tmp_path)) as artefacts:
            roles, *dumps = artefacts
        server.query("ALTER ROLE guest PASSWORD 'another'")
        for artefact in (roles, *dumps):
            with (
                pytest.raises(PickupError, match='password authentication failed for user "guest"') as caught,
                artefact.source as stream,
            ):
                stream.read()
            said += traceback.format_exception(caught.value)
    finally:
        server.query("DROP ROLE guest")
    assert len(dumps) == 2
    assert not [text for text in (*said, caplog.text) if tells(text, secret)]
    assert "start: " in caplog.text


def test_no_password_is_asked_for(server: PostgresServer, two: list[str], tmp_path: Path) -> None:
    """G12"""
    config = {name: value for name, value in server.config(database=two).items() if name != "password"}
    ran = run_entry(tmp_path, "postgres", config)
    assert ran.exit_code == ExitCode.FAILED
    assert "no password supplied" in ran.messages[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "socket"])
def test_a_server_that_is_not_there_fails_the_entry(tmp_path: Path, host: str) -> None:
    """Why comes first, and what libpq asks is a hint: the first line of a mail is short."""
    place = str(tmp_path) if host == "socket" else host
    why = f'No such file or directory (on socket "{tmp_path}/.s.PGSQL.1")' if host == "socket" else "Connection refused"
    ran = run_entry(tmp_path, "postgres", dict(host=place, port=1, password=PASSWORD))
    assert ran.exit_code == ExitCode.FAILED
    said, _, hint = ran.messages[0].partition("\nHint: ")
    assert said.endswith(f"database 'postgres': no connection: {why}")
    assert hint.startswith("does the server run, and does it listen there?")


def test_a_role_that_is_not_there_has_a_hint() -> None:
    assert servers.hint('FATAL: role "pickup" does not exist').startswith("user names the role to connect as")


def test_a_server_that_never_answers_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9"""
    monkeypatch.setattr(servers, "_CONNECT_TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ran = run_entry(tmp_path, "postgres", dict(host="127.0.0.1", port=silent.getsockname()[1], password=PASSWORD))
    assert ran.exit_code == ExitCode.FAILED
    assert "the server did not answer within 1 seconds" in ran.messages[0]


def test_a_signal_is_heard_while_the_server_thinks(server: PostgresServer, scratch: Path) -> None:
    """K1"""

    class Stopped(BaseException):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    try:
        with options_of("postgres", server.config(), scratch).server.connected("postgres") as connection:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(Stopped):
                servers.rows(connection, "SELECT pg_sleep(30)")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert 0.4 < time.monotonic() - start < 10


def test_a_server_without_the_database_postgres_is_dumped_and_loaded(fresh: PostgresServer, scratch: Path) -> None:
    config = fresh.config()
    try:
        with fresh.connected("template1") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("DROP DATABASE postgres")
        produced = produce("postgres", config, scratch)
        assert (produced.names, produced.failures) == (["globals.sql", "shop.sql"], {})
        assert load(fresh, stored(produced.contents))[-1] == "loaded database 'shop'"
    finally:
        with fresh.connected("template1") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE postgres")


@pytest.fixture
def reader(server: PostgresServer) -> Iterator[PostgresServer]:
    """A role that may read everything but one table."""
    server.query(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; GRANT pg_read_all_data TO reader")
    server.create("hidden")
    server.query("CREATE TABLE \"Geheim\" (); CREATE TABLE open (); CREATE SEQUENCE numbers; REVOKE pg_read_all_data FROM reader;"
                 "GRANT SELECT ON open, numbers TO reader", database="hidden")  # fmt: skip
    for name in ("two_shop", "two_users"):
        server.query("GRANT SELECT ON orders TO reader", database=name)
    yield server.as_role("reader")
    server.drop("hidden")
    for name in ("two_shop", "two_users"):
        server.query("DROP OWNED BY reader", database=name)
    server.query("DROP ROLE reader")


def test_a_privilege_that_is_missing_costs_one_database(two: list[str], reader: PostgresServer, tmp_path: Path) -> None:
    """G15"""
    ran = run_entry(tmp_path, "postgres", reader.config(database=["hidden", *two], no_role_passwords=True))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"globals.sql", "two_shop.sql", "two_users.sql"}
    assert len(ran.messages) == 1
    assert "hidden.sql: pg_dump ended with status 1" in ran.messages[0]
    assert "permission denied for table Geheim" in ran.messages[0]
    assert "Hint: check lists what the role may not read" in ran.messages[0]


def test_check_lists_the_privileges_that_are_missing(
    two: list[str], reader: PostgresServer, server: PostgresServer, scratch: Path
) -> None:
    server.query("CREATE TABLE secret (); ALTER TABLE open ENABLE ROW LEVEL SECURITY; SELECT lo_create(424242); CREATE SEQUENCE more;"
                 "CREATE SCHEMA shut; CREATE TABLE shut.x (); GRANT SELECT ON shut.x TO reader; CREATE EXTENSION pg_trgm;"
                 "CREATE SUBSCRIPTION news CONNECTION 'dbname=x' PUBLICATION y WITH (connect = false, slot_name = NONE)", database="hidden")  # fmt: skip
    try:
        config = options_of("postgres", reader.config(database=["hidden", *two]), scratch)
        notes = []
        with pytest.raises(PickupError) as caught:
            notes.extend(profile.check(config))
        assert str(caught.value).splitlines() == [
            "the passwords of roles cannot be read by this role: set no_role_passwords=True",
            "  database 'hidden': may not read tables and sequences \"Geheim\", more, secret, shut.x",
            "  database 'hidden': may not read all rows, because of row-level security, of open",
            "  database 'hidden': may not read large objects 424242",
            "  database 'hidden': may not read subscriptions news",
            "Hint: GRANT pg_read_all_data TO the role; the how-to on PostgreSQL has the whole list",
        ]
        allowing = options_of(
            "postgres",
            reader.config(database="hidden", no_role_passwords=True, pg_dump_options=["--table=open"]),
            scratch,
        )
        assert len(list(profile.check(allowing))) == 2 + 4
    finally:
        server.query("DROP SUBSCRIPTION news", database="hidden")
        server.query("SELECT lo_unlink(424242)", database="hidden")


def test_check_tells_the_versions_and_the_sizes(server: PostgresServer, two: list[str], scratch: Path) -> None:
    notes = list(profile.check(options_of("postgres", server.config(database=[*two, "missing"][:2]), scratch)))
    assert re.fullmatch(
        r"PostgreSQL at host 127\.0\.0\.1, port \d+, as role 'postgres': version \d+; /\S+/pg_dump has version [\d.]+",
        notes[0],
    )
    assert all(
        re.fullmatch(rf"database '{name}': \d+\.\d MiB", note) for name, note in zip(two, notes[1:], strict=True)
    )
    with pytest.raises(PickupError, match='database "missing" does not exist'):
        list(profile.check(options_of("postgres", server.config(database=[*two, "missing"]), scratch)))


@pytest.mark.usefixtures("two")
def test_a_database_that_is_dropped_meanwhile_costs_itself(
    server: PostgresServer, database: str, scratch: Path
) -> None:
    config = options_of("postgres", server.config(database=["shop*", "two_*"]), scratch)
    contents, failures = set(), {}
    with contextlib.closing(profile.run(config, scratch)) as run:
        for artefact in run:
            if artefact.name == "globals.sql":
                server.drop(database)
            try:
                with artefact.source as stream:
                    while stream.read(BLOCK):
                        pass
                contents.add(artefact.name)
            except PickupError as error:
                failures[artefact.name] = str(error)
    assert contents == {"globals.sql", "two_shop.sql", "two_users.sql"}
    assert failures.keys() == {"shop.sql"}
    assert 'database "shop" does not exist' in failures["shop.sql"]


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_a_connection_that_is_cut_costs_one_database(
    server: PostgresServer, database: str, two: list[str], tmp_path: Path, kind: str
) -> None:
    """G14: it is cut amid the data of a table."""
    server.query("CREATE TABLE large AS SELECT repeat('x', 1000) FROM generate_series(1, 9000)", database=database)
    with cutting_proxy(server.port, 5_000_000) as proxy:
        config = server.config(port=proxy.port, database=[database, *two], format=kind)
        ran = run_entry(tmp_path, "postgres", config)
        assert proxy.cuts == 1
    suffix = {"plain": "sql", "custom": "dump"}[kind]
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"globals.sql", f"two_shop.{suffix}", f"two_users.{suffix}"}
    assert len(ran.messages) == 1
    assert f"shop.{suffix}: pg_dump ended with status 1" in ran.messages[0]
    assert "server closed the connection unexpectedly" in ran.messages[0]


ON_DISK = """
import subprocess
done = subprocess.run([sys.executable, "pickup.py", "-c", sys.argv[1], "-q"], capture_output=True, text=True)
print(json.dumps([done.returncode, done.stderr]))
"""


def test_a_full_disk_costs_one_database(server: PostgresServer, database: str, two: list[str], tmp_path: Path) -> None:
    """S1: what is smaller, and comes later, is stored."""
    server.query("CREATE TABLE large AS SELECT repeat('x', 1000) FROM generate_series(1, 9000)", database=database)
    entry = dict(name="main", profile="postgres", config=server.config(database=[database, *two]), compression="none")
    settings = (
        'import os\nSTAGING_AREA = os.environ["DISK"] + "/area"\nMIN_FREE = 0\nSTATE_FOLDER = LOG_FOLDER = "state"'
    )
    config = write_config(tmp_path, config_text(settings, repr([entry])))
    code, said = run_on_disk(ON_DISK, "3m", config)
    assert code == ExitCode.FAILED, said
    assert "GENERATORS[0] 'main' (postgres): shop.sql: " in said
    assert "No space left" in said
    [marker] = (tmp_path / "backups" / "web01").glob("*.partial.json")
    folder = marker.with_name(marker.name.removesuffix(".partial.json")) / "postgres" / "main"
    assert {path.name for path in folder.iterdir()} == {"globals.sql", "two_shop.sql", "two_users.sql"}


# Programs that are not what they seem


@pytest.fixture
def programs(server: PostgresServer, tmp_path: Path) -> Path:
    """A folder with the server's programs, where a test puts another pg_dump."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("pg_dumpall", "pg_restore", "psql"):
        (folder / name).symlink_to(server.programs / name)
    return folder


def put(programs: Path, script: str, name: str = "pg_dump") -> None:
    """Write a program in which REAL is the real one."""
    real = f"{os.readlink(programs / 'psql').removesuffix('psql')}{name}"
    (programs / name).unlink(missing_ok=True)
    (programs / name).write_text(f"#!/bin/sh\n{script.replace('REAL', real)}\n")
    (programs / name).chmod(0o755)


@pytest.mark.parametrize(
    ("kind", "script", "part"),
    [
        ("plain", 'REAL "$@" | head -c 1500', "ended without an error, but its last lines are missing"),
        ("plain", "REAL \"$@\" | sed '/dump complete/,$d'", "ended without an error, but its last lines are missing"),
        ("custom", 'REAL "$@" | head -c 1500', "pg_restore ended with status 1"),
        ("custom", 'REAL "$@" | head -c -100', "pg_restore ended with status 1"),
        ("custom", "head -c 3000 /dev/zero", "pg_restore ended with status 1"),
        ("plain", 'REAL "$@"; exit 1', "pg_dump ended with status 1"),
        ("custom", 'REAL "$@"; exit 1', "pg_dump ended with status 1"),
        ("plain", 'REAL "$@" | head -c 3000; kill -9 $$', "pg_dump was killed by signal 9 (out of memory?)"),
        ("custom", 'REAL "$@" | head -c 3000; kill -9 $$', "pg_dump was killed by signal 9 (out of memory?)"),
        ("plain", "true", "pg_dump ended without an error, but wrote nothing"),
        ("custom", "true", "pg_dump ended without an error, but wrote nothing"),
        ("plain", "sleep 60", "pg_dump wrote nothing for 1 seconds"),
        ("custom", "sleep 60", "pg_dump wrote nothing for 1 seconds"),
    ],
)
def test_a_dump_that_is_not_whole_is_found_out(
    server: PostgresServer, two: list[str], programs: Path, tmp_path: Path, kind: str, script: str, part: str
) -> None:
    """G2 to G6, G8"""
    put(programs, script)
    started = children()
    ran = run_entry(tmp_path, "postgres", server.config(database=two[0], format=kind, programs=str(programs), stall=1))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"globals.sql"}
    [message] = ran.messages
    assert part in message
    assert f"two_shop.{'sql' if kind == 'plain' else 'dump'}: " in message
    assert children() == started


@pytest.mark.parametrize("tail", [b"", b"\\unrestrict abc\n\n", b"\n\\unrestrict abc\n"])
def test_the_last_lines_may_be_followed_by_one_command(tail: bytes) -> None:
    end = b"COMMENT;\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    assert scripts.END.search(end + tail)
    assert not scripts.END.search(end + tail + b"more")
    assert not scripts.END.search(end[:-6])
    assert scripts.END.search(end.replace(b"database", b"database cluster"))


def test_an_archive_is_read_by_pg_restore_as_it_comes(
    server: PostgresServer, two: list[str], programs: Path, scratch: Path
) -> None:
    """It is not stored a second time to be checked."""
    put(programs, f'echo "$@" > {scratch}/said; exec REAL "$@"', "pg_restore")
    (programs / "pg_dump").symlink_to(server.programs / "pg_dump")
    dump(server, scratch, database=two[0], format="custom", programs=str(programs))
    assert (scratch / "said").read_text() == "--file=/dev/null\n"
    assert [path.name for path in scratch.iterdir()] == ["said"]


def test_a_program_that_is_missing_is_named(server: PostgresServer, two: list[str], tmp_path: Path) -> None:
    """G1"""
    ran = run_entry(tmp_path, "postgres", server.config(database=two, programs=str(tmp_path / "nowhere")))
    assert ran.exit_code == ExitCode.FAILED
    assert f"program {tmp_path}/nowhere/pg_dumpall cannot be found" in ran.messages[0]


def test_the_program_of_the_servers_version_or_the_next_newer_one_is_taken(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("9.6", "10", "14", "17", "16"):
        folder = tmp_path / "debian" / number / "bin"
        folder.mkdir(parents=True)
        put_program(folder / "pg_dump", number)
    for number in ("13", "18"):
        folder = tmp_path / f"pgsql-{number}" / "bin"
        folder.mkdir(parents=True)
        put_program(folder / "pg_dump", number)
    (tmp_path / "bin").mkdir()
    put_program(tmp_path / "bin" / "pg_dump", "PATH")
    relative = str(tmp_path).lstrip("/")
    monkeypatch.setattr(servers, "_FOLDERS", (f"{relative}/debian/*/bin", f"{relative}/pgsql-*/bin"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    spoken = options_of("postgres", server.config(), tmp_path).server
    expected = {90224: "9.6", 90601: "9.6", 100023: "10", 110001: "13", 130000: "13", 140099: "14", 150018: "16", 160000: "16",
                170000: "17", 180001: "18", 190000: "PATH"}  # fmt: skip
    found = {version: spoken.program("pg_dump", version) for version in expected}
    assert {version: Path(path).read_text().split()[-1] for version, path in found.items()} == expected


def put_program(path: Path, says: str) -> None:
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("says", "part"),
    [
        ("pg_dump (PostgreSQL) 9.6.24", "has version 9.6.24, which cannot dump"),
        ("pg_dump (PostgreSQL) 14beta1", "has version 14,"),
    ],
)
def test_check_names_a_program_that_is_too_old(
    server: PostgresServer, two: list[str], programs: Path, scratch: Path, says: str, part: str
) -> None:
    put(programs, f'echo "{says}"')
    with pytest.raises(
        PickupError, match=r"cannot dump a server of version .*\nHint: install the client programs"
    ) as caught:
        list(profile.check(options_of("postgres", server.config(database=two, programs=str(programs)), scratch)))
    assert part in str(caught.value)


def test_a_server_newer_than_the_programs_is_named_and_one_that_is_older_is_dumped(
    server: PostgresServer, rental: str, tmp_path: Path, scratch: Path
) -> None:
    with newer_programs() as newer, postgres_server(newer) as new:
        new.create("shop")
        too_old = new.config(database="shop", programs=str(server.programs))
        with pytest.raises(PickupError, match=r"pg_dump has version 1\d\.\d+, which cannot dump a server of version"):
            list(profile.check(options_of("postgres", too_old, scratch)))
        ran = run_entry(tmp_path, "postgres", too_old)
        assert ran.exit_code == ExitCode.FAILED
        assert len(ran.messages) == 2, "roles and database"
        assert all("server version mismatch" in message and "Hint: install" in message for message in ran.messages)

        for kind in ("plain", "custom"):
            produced = dump(server, scratch, database=rental, format=kind, programs=str(newer))
            load(new, stored(produced.contents), programs=str(newer), overwrite=True)
            load(new, stored(produced.contents), "copy", programs=str(newer), overwrite=True)
            counts = [row for row in content_of(server, rental) if row.startswith("('rows'")]
            assert len(counts) >= 10
            assert set(counts) <= content_of(new, rental)
            assert set(counts) <= content_of(new, "copy")
        assert dump(new, scratch, programs=str(newer)).names == [
            "globals.sql",
            "copy.sql",
            "postgres.sql",
            "rental.sql",
            "shop.sql",
        ]


# Who connects, and how


@AS_ROOT
def test_root_becomes_the_user_postgres_on_a_socket(server: PostgresServer, database: str, tmp_path: Path) -> None:
    """G42: with nothing configured but where the socket is, as it is not where Debian has it."""
    config = dict(host=str(server.folder), port=server.port, database=database)
    ran = run_entry(tmp_path, "postgres", config)
    assert (ran.exit_code, ran.messages) == (ExitCode.OK, [])
    assert ran.contents.keys() == {"globals.sql", "shop.sql"}
    assert options_of("postgres", {}, tmp_path).server.system_user == "postgres"
    notes = list(profile.check(options_of("postgres", config, tmp_path)))
    assert notes[0].startswith(f"PostgreSQL at host {server.folder}, port {server.port}, as role 'postgres': ")
    assert (os.geteuid(), os.getegid()) == (0, 0)
    load(server, stored(ran.contents, "shop.sql"), "copy")
    told = profile.restore(options_of("postgres", config, tmp_path), stored(ran.contents), None, True)
    assert list(told)[-1] == "loaded database 'shop'"
    server.drop("copy")


@AS_ROOT
def test_root_stays_root_where_that_is_asked_for_or_a_password_is_given(
    server: PostgresServer, database: str, tmp_path: Path
) -> None:
    config = dict(host=str(server.folder), port=server.port, database=database)
    ran = run_entry(tmp_path, "postgres", dict(config, as_user="root", user="postgres"))
    assert ran.exit_code == ExitCode.FAILED
    assert 'Peer authentication failed for user "postgres"\nHint: as_user' in ran.messages[0]
    for more in (dict(password="x"), dict(host="127.0.0.1"), dict(service="x")):
        assert options_of("postgres", more, tmp_path).server.system_user is None
    with pytest.raises(PickupError, match="there is no system user 'nosuch'"):
        list(profile.check(options_of("postgres", dict(config, as_user="nosuch"), tmp_path)))


@AS_ROOT
def test_an_ordinary_user_cannot_become_another(server: PostgresServer) -> None:
    code = f"""
import os, psycopg2
from generator_profiles import postgres
os.setuid({NOBODY})
try:
    list(postgres.check(postgres.Config(host={str(server.folder)!r}, port={server.port}, as_user="postgres")))
except Exception as error:
    print(error)
print(postgres.Config().server.system_user)
"""
    done = python(code)
    assert done.stdout == "only root can act as user postgres\nHint: run as root, or as that user\nNone\n", done.stderr


def test_a_service_and_its_password_are_honoured_but_not_its_database(
    server: PostgresServer, two: list[str], fresh: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a service says wins over the variables of libpq: the name of a database must not be one of them."""
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    for name, content in {
        "service.conf": f"[main]\nhost=127.0.0.1\nport={server.port}\nuser=postgres\ndbname=template1\n",
        "pgpass": f"127.0.0.1:{server.port}:*:postgres:{escaped}\n",
    }.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "service.conf"))
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    monkeypatch.setenv("PGDATABASE", "template1")
    ran = run_entry(tmp_path, "postgres", dict(service="main", database=two))
    assert (ran.exit_code, ran.messages) == (ExitCode.OK, [])
    assert b"generate_series" not in ran.contents["two_shop.sql"]
    assert len(re.findall(rb"\n\d+(?=\n)", ran.contents["two_shop.sql"])) == 300
    load(fresh, stored(ran.contents, "two_shop.sql"))
    told = list(
        profile.restore(
            options_of("postgres", dict(service="main"), tmp_path),
            stored(ran.contents, "two_shop.sql"),
            "copy",
            False,
        )
    )
    assert told[-1] == "loaded database 'copy'"
    server.drop("copy")


def test_tls_is_asked_for(server: PostgresServer, two: list[str], tmp_path: Path) -> None:
    ran = run_entry(tmp_path, "postgres", server.config(database=two, sslmode="require"))
    assert ran.exit_code == ExitCode.FAILED
    assert "server does not support SSL, but SSL was required" in ran.messages[0]


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_the_password_is_nowhere_but_in_the_environment_of_the_programs_that_connect(
    server: PostgresServer,
    two: list[str],
    programs: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    caplog.set_level("DEBUG")
    seen = tmp_path / "seen"
    seen.mkdir()
    record = f"tr '\\0' '\\n' < /proc/$$/cmdline > {seen}/argv.$$; tr '\\0' '\\n' < /proc/$$/environ > {seen}/NAME.$$"
    for name in ("pg_dump", "pg_dumpall", "pg_restore", "psql"):
        put(programs, f'{record.replace("NAME", name)}; exec REAL "$@"', name)
    config = server.config(database=[*two, "missing"], format=kind, programs=str(programs))
    ran = run_entry(tmp_path, "postgres", config)
    assert ran.exit_code == ExitCode.FAILED
    artefacts = stored(ran.contents, next(name for name in ran.contents if "two_shop" in name))
    list(profile.restore(options_of("postgres", config, tmp_path), artefacts, "copy", False))
    server.drop("copy")
    files = {path: path.read_text(errors="replace") for path in seen.iterdir()}
    assert {path.stem for path in files} == {
        "argv",
        "pg_dump",
        "pg_dumpall",
        "psql",
        *(["pg_restore"] if kind == "custom" else []),
    }
    telling = {path.stem for path, text in files.items() if tells(text, PASSWORD)}
    assert telling == {"pg_dump", "pg_dumpall", "psql"}, "pg_restore only reads, and connects to nothing"
    options = options_of("postgres", config, tmp_path)
    assert "start: " in caplog.text
    for text in (repr(options), repr(options.server), "\n".join(ran.messages), caplog.text, repr(ran.record)):
        assert not tells(text, PASSWORD)


# The how-to


def statements_of_the_how_to() -> str:
    """Give the SQL that the page lets a superuser execute to make the role that dumps."""
    return re.search(r"psql <<'EOF'\n( +CREATE ROLE backup [\s\S]*?)\n +EOF\n", HOW_TO.read_text())[1]  # type: ignore[index]


def test_the_role_of_the_how_to_can_dump_everything(
    server: PostgresServer, fresh: PostgresServer, rental: str, scratch: Path
) -> None:
    """The least that is needed, executed as it stands on the page."""
    statements = statements_of_the_how_to()
    password = re.search(r"PASSWORD '([^']+)'", statements)[1]  # type: ignore[index]
    produced = dump(server, scratch, database=rental)
    load(fresh, stored(produced.contents, "globals.sql"))
    load(fresh, stored(produced.contents), as_name="shop")
    fresh.psql("-c", statements)
    backup = fresh.as_role("backup", password)
    with pytest.raises(PickupError, match="database 'shop': may not read large objects 100001, 100002, 100003\n"):
        list(profile.check(options_of("postgres", backup.config(database="shop", no_role_passwords=True), scratch)))
    for number in (100001, 100002, 100003):
        fresh.query(f"GRANT SELECT ON LARGE OBJECT {number} TO backup", database="shop")
    assert (
        len(
            list(profile.check(options_of("postgres", backup.config(database="shop", no_role_passwords=True), scratch)))
        )
        == 2
    )
    content = content_of(fresh, "shop")
    by_backup = dump(backup, scratch, database="shop", no_role_passwords=True)
    load(fresh, stored(by_backup.contents), overwrite=True)
    assert content_of(fresh, "shop") == content
