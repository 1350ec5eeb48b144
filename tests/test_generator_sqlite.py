"""The SQLite generator: the contract of all generators, and databases that are written to, locked, or damaged."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator_profiles import sqlite as profile
from pickup_core.errors import ExitCode, PickupError
from tests.builders import NOBODY, config_text, ordinary_folder, problems_of
from tests.end_to_end.trees import everything_about
from tests.generator_contract import GeneratorContract, Sample, options_of, produce, produce_elsewhere, run_entry

ROWS = 300


def make(path: Path, rows: int = ROWS, mode: str = "delete") -> Path:
    """Make a database with one table of so many rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
        connection.executemany("INSERT INTO orders (what) VALUES (?)", (("thing " * 20,) for _ in range(rows)))
    return path


@contextlib.contextmanager
def opened(content: bytes) -> Iterator[sqlite3.Connection]:
    """Open a copy, from its bytes alone."""
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        file.write(content)
        file.flush()
        with contextlib.closing(sqlite3.connect(f"file:{file.name}?immutable=1", uri=True)) as connection:
            yield connection


def rows_in(content: bytes) -> int:
    with opened(content) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM orders").fetchone()[0])


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


class TestContract(GeneratorContract):
    profile = "sqlite"

    @pytest.fixture
    def good(self, sources: Path) -> Sample:
        databases = [make(sources / "shop.db"), make(sources / "wal.sqlite3", 50, "wal")]
        return Sample(dict(databases=list(map(str, databases))), {"shop.db": ROWS, "wal.sqlite3": 50})

    @pytest.fixture
    def bad(self, sources: Path) -> Sample:
        paths = [sources / "missing.db", make(sources / "other.db")]
        return Sample(
            dict(databases=list(map(str, paths))),
            {"other.db": ROWS},
            {"missing.db": f"database {sources / 'missing.db'} does not exist"},
        )

    def meaning(self, name: str, content: bytes) -> Any:
        return rows_in(content)


# Databases in use


class Writer:
    """A program that is connected to a database and does what it is told, in a process of its own."""

    CODE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
for line in sys.stdin:
    try:
        exec(line)
        print("done", flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""

    def __init__(self, database: Path) -> None:
        command = [sys.executable, "-c", self.CODE, str(database)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, code: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(code + "\n")
        self._process.stdin.flush()

    def ended(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def do(self, code: str) -> None:
        self.start(code)
        assert self.ended() == "done"

    def execute(self, statement: str) -> None:
        self.do(f"connection.execute({statement!r})")

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait(20)


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_a_copy_is_consistent_while_another_process_writes(tmp_path: Path, scratch: Path, mode: str) -> None:
    """Each transaction moves an amount between two accounts; every copy shows the same sum."""
    database = make(tmp_path / "shop.db", 20_000, mode)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE accounts (name TEXT, amount INTEGER)")
        connection.execute("INSERT INTO accounts VALUES ('a', 500), ('b', 500)")
    with contextlib.closing(Writer(database)) as writer:
        writer.do("transfers = 0")
        writer.start(
            "import time; end = time.monotonic() + 1.5\n".strip()
            + '; exec(\'while time.monotonic() < end:\\n connection.execute("BEGIN IMMEDIATE")\\n'
            + ' connection.execute("UPDATE accounts SET amount = amount - 1 WHERE name = \\\\"a\\\\"")\\n'
            + ' connection.execute("INSERT INTO orders (what) VALUES (hex(randomblob(50)))")\\n'
            + ' connection.execute("UPDATE accounts SET amount = amount + 1 WHERE name = \\\\"b\\\\"")\\n'
            + ' connection.execute("COMMIT"); transfers += 1; time.sleep(0.001)\')'
        )
        seen = []
        for _ in range(4):
            produced = produce("sqlite", dict(databases=[str(database)]), scratch)
            assert produced.failures == {}
            with opened(produced.contents["shop.db"]) as copy:
                assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert copy.execute("SELECT sum(amount) FROM accounts").fetchone() == (1000,)
                orders = copy.execute("SELECT count(*) FROM orders").fetchone()[0]
                moved = copy.execute("SELECT amount FROM accounts WHERE name = 'b'").fetchone()[0] - 500
                assert orders == 20_000 + moved
                seen.append(moved)
        assert writer.ended() == "done"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT amount > 510 FROM accounts WHERE name = 'b'").fetchone() == (1,)
    assert seen == sorted(seen)
    assert seen[-1] > 0, "nothing was written meanwhile"


def test_what_lies_in_the_write_ahead_log_is_in_the_copy(tmp_path: Path, scratch: Path) -> None:
    database = make(tmp_path / "shop.db", mode="wal")
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("INSERT INTO orders (what) VALUES ('only in the log')")
        assert b"only in the log" not in database.read_bytes()
        assert b"only in the log" in database.with_name("shop.db-wal").read_bytes()
        assert rows_in(produce("sqlite", dict(databases=[str(database)]), scratch).contents["shop.db"]) == ROWS + 1


def test_the_log_of_a_program_that_was_killed_is_read_and_left_as_it_is(tmp_path: Path, scratch: Path) -> None:
    database = make(tmp_path / "shop.db", mode="wal")
    writer = Writer(database)
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO orders (what) VALUES ('only in the log')")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO orders (what) VALUES ('never committed')")
    writer.kill()
    wal = database.with_name("shop.db-wal")
    before = database.read_bytes(), wal.read_bytes()
    assert b"only in the log" in before[1]
    for _ in range(2):
        assert rows_in(produce("sqlite", dict(databases=[str(database)]), scratch).contents["shop.db"]) == ROWS + 1
        assert (database.read_bytes(), wal.read_bytes()) == before


def test_a_database_in_wal_mode_that_nobody_has_open_leaves_no_files_behind(tmp_path: Path, scratch: Path) -> None:
    database = make(tmp_path / "data" / "shop.db", mode="wal")
    before = everything_about(database.parent)
    assert [path.name for path in database.parent.iterdir()] == ["shop.db"]
    list(profile.check(options_of("sqlite", dict(databases=[str(database)]), scratch)))
    assert rows_in(produce("sqlite", dict(databases=[str(database)]), scratch).contents["shop.db"]) == ROWS
    assert [path.name for path in database.parent.iterdir()] == ["shop.db"]
    assert everything_about(database)[str(database)] == before[str(database)]


def test_an_uncommitted_change_is_not_in_the_copy(tmp_path: Path, scratch: Path) -> None:
    database = make(tmp_path / "shop.db")
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM orders")
        assert rows_in(produce("sqlite", dict(databases=[str(database)]), scratch).contents["shop.db"]) == ROWS
        writer.execute("ROLLBACK")


def test_a_locked_database_is_waited_for(tmp_path: Path, scratch: Path) -> None:
    database = make(tmp_path / "shop.db")
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("INSERT INTO orders (what) VALUES ('new')")
        writer.start("import time; time.sleep(1); connection.execute('COMMIT')")
        start = time.monotonic()
        produced = produce("sqlite", dict(databases=[str(database)], busy_timeout=30), scratch)
        assert time.monotonic() - start > 0.5
        assert writer.ended() == "done"
    assert rows_in(produced.contents["shop.db"]) == ROWS + 1


def test_a_database_that_stays_locked_fails_after_the_time_that_is_given(tmp_path: Path) -> None:
    database = make(tmp_path / "shop.db")
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        ran = run_entry(tmp_path, "sqlite", dict(databases=[str(database)], busy_timeout=0.5))
        assert 0.4 < time.monotonic() - start < 10
        with pytest.raises(PickupError, match="database is locked"):
            list(profile.check(options_of("sqlite", dict(databases=[str(database)], busy_timeout=0), tmp_path)))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert f"GENERATORS[0] 'it' (sqlite): database {database}: database is locked\nHint: " in ran.messages[0]
    assert "busy_timeout" in ran.messages[0]


# Databases that are broken, or none


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    database = make(tmp_path / "shop.db")
    make(tmp_path / "good.db")
    content = bytearray(database.read_bytes())
    content[3 * 4096 : 3 * 4096 + 40] = b"\xff" * 40
    database.write_bytes(content)
    ran = run_entry(tmp_path, "sqlite", dict(databases=[str(database), "good.db"]))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"good.db"}
    assert f"database {database}: it is damaged: " in ran.messages[0]
    assert "Hint: sqlite3 DATABASE .recover" in ran.messages[0]


def test_every_damage_of_a_page_header_is_found_or_copied_as_it_is(tmp_path: Path, scratch: Path) -> None:
    database = make(tmp_path / "shop.db", 100)
    content = database.read_bytes()
    found = 0
    for page in range(1, len(content) // 4096):
        damaged = bytearray(content)
        damaged[page * 4096] ^= 0x55
        database.write_bytes(damaged)
        produced = produce("sqlite", dict(databases=[str(database)]), scratch)
        assert list(scratch.iterdir()) == []
        found += "is damaged" in produced.failures.get("shop.db", "")
    assert found == len(content) // 4096 - 1 > 2


def test_a_database_that_is_cut_off_is_found(tmp_path: Path) -> None:
    database = make(tmp_path / "shop.db")
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 2)
    ran = run_entry(tmp_path, "sqlite", dict(databases=[str(database)]))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert f"database {database}" in ran.messages[0]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist"),
        ("folder", "is not a regular file"),
        ("text", "file is not a database"),
        ("dangling", "does not exist"),
    ],
)
def test_what_is_no_database_is_named(tmp_path: Path, kind: str, message: str) -> None:
    """G13"""
    path = tmp_path / "shop.db"
    if kind == "folder":
        path.mkdir()
    if kind == "text":
        path.write_text("not a database, but long enough to be taken for one\n" * 100)
    if kind == "dangling":
        path.symlink_to("nowhere")
    ran = run_entry(tmp_path, "sqlite", dict(databases=["shop.db"]))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert f"database {path}" in ran.messages[0]
    assert message in ran.messages[0]
    assert kind == "folder" or not (tmp_path / "nowhere").exists()
    with pytest.raises(PickupError, match=message):
        list(profile.check(options_of("sqlite", dict(databases=["shop.db"]), tmp_path)))


def test_of_several_databases_a_broken_one_costs_itself(tmp_path: Path) -> None:
    """G15"""
    make(tmp_path / "a.db")
    make(tmp_path / "c.db")
    (tmp_path / "b.db").write_text("no database at all\n" * 100)
    ran = run_entry(tmp_path, "sqlite", dict(databases=["a.db", "b.db", "c.db"]))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"a.db", "c.db"}
    assert len(ran.record.failures) == 1


def test_the_copy_of_a_damaged_database_is_removed_from_the_scratch_folder(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "b.db").write_text("no database at all\n" * 100)
    produce("sqlite", dict(databases=[str(tmp_path / "b.db")]), scratch)
    assert list(scratch.iterdir()) == []


# Names and users


@pytest.mark.parametrize(
    "name",
    ["what?.db", "a#b.db", "100%.db", "a b.db", "x?mode=memory&y=.db", "%41.db", "\N{SNOWMAN}.db", "\udcff\udcfe.db", "-init.db",
     "quote'\".db", ":memory:", "file:x.db"],
)  # fmt: skip
def test_a_file_name_may_hold_anything(tmp_path: Path, scratch: Path, name: str) -> None:
    """G18"""
    make(tmp_path / "data" / "plain.db").rename(tmp_path / "data" / name)
    produced = produce("sqlite", dict(databases=[str(tmp_path / "data" / name)]), scratch)
    assert produced.failures == {}
    assert rows_in(produced.contents[name]) == ROWS
    assert os.listdir(tmp_path / "data") == [name]
    list(profile.check(options_of("sqlite", dict(databases=[str(tmp_path / "data" / name)]), tmp_path)))


def test_two_databases_of_the_same_file_name_are_told_apart(tmp_path: Path) -> None:
    """G34"""
    one, two, third = (
        make(tmp_path / "a" / "shop.db", 1),
        make(tmp_path / "b" / "shop.db", 2),
        make(tmp_path / "x.db", 3),
    )
    ran = run_entry(tmp_path, "sqlite", dict(databases=[str(one), str(two), str(third)]))
    assert ran.exit_code == ExitCode.OK
    names = [str(one).lstrip("/"), str(two).lstrip("/"), "x.db"]
    assert {name: rows_in(content) for name, content in ran.contents.items()} == dict(
        zip(names, (1, 2, 3), strict=True)
    )
    assert len({artefact.path.casefold() for artefact in ran.record.artefacts}) == 3


def test_check_tells_size_and_mode(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one.db"), make(tmp_path / "two.db", mode="wal")
    notes = list(profile.check(options_of("sqlite", dict(databases=[str(one), str(two)]), tmp_path)))
    assert notes[0] == f"{one}: {one.stat().st_size} bytes, journal mode delete"
    assert notes[1] == f"{two}: {two.stat().st_size} bytes, journal mode wal"


def test_an_ordinary_user_reads_what_may_be_read_and_names_what_may_not() -> None:
    """G13"""
    with ordinary_folder() as folder:
        databases = [make(folder / "open" / "plain.db"), make(folder / "open" / "idle.db", mode="wal")]
        closed = make(folder / "closed" / "shop.db")
        for path in (*databases, *(path.parent for path in databases)):
            path.chmod(0o555 if path.is_dir() else 0o444)
        closed.chmod(0)
        produced = produce_elsewhere("sqlite", dict(databases=list(map(str, [*databases, closed]))), as_nobody=True)
        (folder / "open").chmod(0o755)
        assert os.geteuid() != 0 or closed.stat().st_uid == 0 != NOBODY
    assert rows_in(produced.contents["plain.db"]) == ROWS
    assert produced.failures.keys() == {"idle.db", "shop.db"}
    assert f"database {databases[1]}: " in produced.failures["idle.db"]
    assert f"Hint: in WAL mode, read it as a user who may write {databases[1].parent}" in produced.failures["idle.db"]
    assert f"database {closed}: unable to open database file" in produced.failures["shop.db"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "databases: is missing"),
        (dict(databases=[]), "databases: should have at least 1 item"),
        (dict(databases="/srv/shop.db"), "databases: should be a valid list"),
        (dict(databases=["/a.db", "/a.db"]), "databases: names /a.db twice"),
        (dict(databases=["/a.db"], busy_timeout=-1), "busy_timeout: should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_meant_is_a_config_error(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    entry = dict(name="it", profile="sqlite", config=config)
    (problem,) = problems_of(tmp_path, config_text(generators=repr([entry])))
    assert problem.startswith(f"GENERATORS[0] 'it' (sqlite): config.{message}")
