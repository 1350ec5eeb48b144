"""The PostgreSQL generator: the contract of all generators, and what a dump may lose, on real servers."""

import base64
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from generator_profiles import _postgres_script as scripts
from generator_profiles import _postgres_server as servers
from generator_profiles import postgres as profile
from pickup_core.artefact import Stored, stored_name
from pickup_core.errors import ExitCode, PickupError
from pickup_core.store import BLOCK
from tests.builders import ROOT, as_ordinary_user, config_text, problems_of, write_config
from tests.generator_contract import (
    GeneratorContract,
    Produced,
    Sample,
    children,
    options_of,
    produce,
    produce_elsewhere,
    run_entry,
)
from tests.servers.postgres import PASSWORD, PostgresServer, newer_programs, postgres_server
from tests.servers.proxy import cutting_proxy

RENTAL = ROOT / "tests" / "servers" / "postgres_rental.sql"
HOW_TO = ROOT / "docs" / "how-to" / "back-up-postgresql.rst"
HOSTILE = [
    "with space", "'", '"', 'a"b\'c', "back\\slash", "a/../../b", "-option", "--all", "--dbname=postgres", "..", ".", "CON",
    "host=elsewhere dbname=x", "postgresql://elsewhere/x", "a; rm -rf /", "$(touch x)", "%s%n", "globals", "globals.sql",
    "globals.database", "Ümläut", "ümläut", "UPPER", "upper", "select", "$$", "*", "a?b", "tab\tin it", "\\connect", "é" * 31 + "x",
]  # fmt: skip
WITH_LINE_BREAK = ["line\nbreak", "carriage\rreturn", "x\n\\connect y"]
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


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def make_rental(server: PostgresServer, rows: int) -> None:
    server.psql("-v", f"rows={rows}", "-o", "/dev/null", "-f", str(RENTAL))


def dump(server: PostgresServer, scratch: Path, **options: Any) -> Produced:
    """Dump as the core does, with nothing that fails."""
    produced = produce("postgres", server.config(**options), scratch)
    assert produced.failures == {}
    return produced


def stored(produced: Produced, *names: str) -> list[Stored]:
    """Give artefacts as `restore` gets them; without names all of them."""
    contents = {name: produced.contents[name] for name in names or produced.names}
    return [
        Stored(name, len(content), lambda content=content: contextlib.closing(io.BytesIO(content)))  # type: ignore[misc]
        for name, content in contents.items()
    ]


def load(
    server: PostgresServer, artefacts: Sequence[Stored], as_name: str | None = None, overwrite: bool = False, **options: Any
) -> list[str]:
    """Load artefacts into a server, and give the sentences that tell about it."""
    config = options_of("postgres", server.config(**options), Path("/"))
    return list(profile.restore(config, artefacts, as_name, overwrite))


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


def test_a_pattern_that_matches_nothing_fails_and_the_rest_is_kept(server: PostgresServer, database: str, tmp_path: Path) -> None:
    ran = run_entry(tmp_path, "postgres", server.config(database=["nope_*", database]))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"globals.sql", "shop.sql"}
    assert "no database matches 'nope_*'\nHint: " in ran.messages[0]


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


@pytest.mark.parametrize("format", ["plain", "custom"])
def test_a_database_is_the_same_in_another_server(
    server: PostgresServer, fresh: PostgresServer, rental: str, scratch: Path, format: str
) -> None:
    """V19: roles, settings, grants, owner and locale are back; what is there already does not stop it."""
    produced = dump(server, scratch, database=rental, format=format)
    fresh.query("CREATE ROLE clerk")
    sentences = load(fresh, stored(produced))
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
        assert load(server, stored(produced), as_name=new)[1:] == [f"loaded database {new!r}"]
        copy = content_of(server, new)
        assert content_of(server, rental) == changed
        assert roles_of(server) == roles
    finally:
        server.query("REVOKE TEMPORARY ON DATABASE rental FROM PUBLIC; ALTER DATABASE rental SET work_mem = '5MB'")
        server.query("ALTER ROLE clerk CONNECTION LIMIT 3")
        server.query('DROP DATABASE IF EXISTS "rental\'s ""copy"" \\ 1"')
    assert len(copy - changed) == len(changed - copy) == 2, "grants and settings of the database are those of the dump"
    assert copy == content_of(server, rental)


@pytest.mark.parametrize("format", ["plain", "custom"])
def test_hostile_names_come_back_and_each_is_the_right_database(
    server: PostgresServer, fresh: PostgresServer, tmp_path: Path, format: str
) -> None:
    """G18"""
    names = [*HOSTILE, *WITH_LINE_BREAK] if format == "custom" else [*HOSTILE[::2], *WITH_LINE_BREAK]
    assert {len(name.encode()) for name in HOSTILE} >= {63}
    for name in names:
        fresh.create(name)
        fresh.query("CREATE TABLE told (name text); INSERT INTO told VALUES (%s)", name, database=name)
    ran = run_entry(tmp_path, "postgres", fresh.config(format=format, exclude=["postgres"]))
    assert (ran.exit_code, ran.messages) == (ExitCode.OK, [])
    assert len(ran.contents) == len(names) + 1
    produced = Produced(list(ran.contents), dict(ran.contents))
    assert len({stored_name(name).casefold() for name in produced.names}) == len(produced.names) - names.count("ümläut") - names.count("upper")
    fresh.drop_all()
    load(fresh, stored(produced))
    assert fresh.databases() == set(names)
    assert {name: fresh.query("SELECT name FROM told", database=name) for name in names} == {n: [(n,)] for n in names}


@pytest.mark.parametrize("format", ["plain", "custom"])
def test_hostile_names_are_changed_into_hostile_names(fresh: PostgresServer, scratch: Path, format: str) -> None:
    fresh.query("CREATE ROLE guest")
    olds = ["select", 'a"b\'c', "back\\slash", "DATABASE x", "$$", "host=elsewhere dbname=x"]
    news = ['a"b\'c', "\\connect x", "host=elsewhere dbname=y", "é" * 31 + "y", "DATABASE select", "--"]
    for old, new in zip(olds, news, strict=True):
        fresh.create(old)
        quoted = old.replace('"', '""')
        fresh.query(f'GRANT CREATE ON DATABASE "{quoted}" TO guest; ALTER DATABASE "{quoted}" SET work_mem = \'7MB\'')
        fresh.query("CREATE TABLE told (name text); INSERT INTO told VALUES (%s)", old, database=old)
        comment = f'about DATABASE "{quoted}" and DATABASE {old}\n\\connect x'
        fresh.query(f'COMMENT ON DATABASE "{quoted}" IS %s', comment)
        produced, content = dump(fresh, scratch, database=old, format=format), content_of(fresh, old)
        load(fresh, stored(produced), as_name=new)
        assert content_of(fresh, new) == content
        assert content_of(fresh, old) == content
        for name in (old, new):
            fresh.drop(name)


def test_a_name_that_no_database_can_have_is_refused(server: PostgresServer, database: str, scratch: Path) -> None:
    produced = dump(server, scratch, database=database)
    one = stored(produced, "shop.sql")
    for name in ("", "two\nlines", "x" * 64, "é" * 32):
        with pytest.raises(PickupError, match="cannot be the name of a database"):
            load(server, one, as_name=name)
    with pytest.raises(PickupError, match="one database can be loaded as 'x', not 0"):
        load(server, stored(produced, "globals.sql"), as_name="x")
    with pytest.raises(PickupError, match="because of its line break"):
        load(server, [Stored("two\nlines.dump", 0, one[0].open)], as_name="x")
    with pytest.raises(PickupError, match=r"'shop\.tar' is no dump of a database"):
        load(server, [Stored("shop.tar", 0, one[0].open)])


def test_it_restores_with_the_commands_of_restore_txt(server: PostgresServer, rental: str, tmp_path: Path, scratch: Path) -> None:
    """V16: each command of the text is run, as it stands there."""
    commands = [line.strip() for line in profile.RESTORE.splitlines() if line.strip() and "#" not in line]
    for format in ("plain", "custom"):
        for name, content in dump(server, scratch, database=rental, format=format).contents.items():
            (tmp_path / name).write_bytes(content)
    with postgres_server() as new:
        env = {"PATH": f"{new.programs}:/usr/bin:/bin", "PGHOST": new.host, "PGPORT": str(new.port), "PGUSER": new.user,
               "PGPASSWORD": new.password}  # fmt: skip
        for number, command in enumerate(commands):
            words = shlex.split(command.replace("NAME", rental).replace("TABLE", "customer").replace("OTHER", "other"))
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
