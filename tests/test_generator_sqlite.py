"""The SQLite generator: the contract of all generators, and databases that are written to, locked, or damaged."""

import contextlib
import functools
import io
import os
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator_profiles import sqlite as profile
from pickup_core.artefact import Stored
from pickup_core.errors import ExitCode, PickupError, RefusedError, Stopped
from pickup_core.wording import in_words
from tests.builders import NOBODY, ROOT, config_text, ordinary_folder, problems_of
from tests.deep import chain
from tests.end_to_end.trees import everything_about
from tests.generator_contract import (
    CRON,
    GeneratorContract,
    Sample,
    children,
    load_back,
    options_of,
    produce,
    produce_elsewhere,
    run_entry,
    stored,
)

ROWS = 300
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can open a database as somebody else")


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
    assert f"GENERATORS[0] 'it' (sqlite): shop.db: database {database}: database is locked\nHint: " in ran.messages[0]
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
    assert (one.stat().st_size, two.stat().st_size) == (49152, 49152)
    assert notes == [f"{one}: 48.0 KiB, journal mode delete", f"{two}: 48.0 KiB, journal mode wal"]


@pytest.mark.parametrize("answer", ["", "many wal", "7", "7 wal\n8 wal", "9" * 5000 + " wal"])
def test_an_answer_that_makes_no_sense_is_no_internal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """Whose the database is can change what the process says that opens it."""
    database = make(tmp_path / "shop.db")
    (tmp_path / "child.py").write_text(f"print({answer!r})\n")
    monkeypatch.setattr(profile, "_CHILD", tmp_path / "child.py")
    with pytest.raises(PickupError, match=f"^database {database}: what its process found out is no size"):
        list(profile.check(options_of("sqlite", dict(databases=[str(database)]), tmp_path)))


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
        (dict(databases=["/a.db"], timeout=0), "timeout: should be greater than 0"),
    ],
)
def test_what_cannot_be_meant_is_a_config_error(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    entry = dict(name="it", profile="sqlite", config=config)
    (problem,) = problems_of(tmp_path, config_text(generators=repr([entry])))
    assert problem.startswith(f"GENERATORS[0] 'it' (sqlite): config.{message}")


# Databases of strangers, opened by root


@pytest.fixture
def strange() -> Iterator[Path]:
    """A folder that belongs to an ordinary user, with a database in it."""
    with ordinary_folder() as folder:
        own(make(folder / "shop.db").parent)
        yield folder


def own(folder: Path) -> None:
    """Make what lies in a folder its owner's."""
    for path in folder.iterdir():
        os.chown(path, folder.stat().st_uid, folder.stat().st_gid, follow_symlinks=False)


def plant_journal(database: Path, victim: Path) -> None:
    """Plant a journal that seems to be left by a transaction over several databases: SQLite plays it back and deletes
    the super-journal that it names. https://www.sqlite.org/fileformat.html#the_rollback_journal
    """
    magic, name = bytes.fromhex("d9d505f920a163d7"), os.fsencode(victim)
    header = magic + struct.pack(">5I", 0, 7, database.stat().st_size // 4096, 512, 4096)
    end = struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    database.with_name(f"{database.name}-journal").write_bytes(header.ljust(512, b"\0") + end)


def shared_temporary_folders() -> set[str]:
    return {name for name in os.listdir("/var/tmp") if re.fullmatch("pickup-[a-z0-9_]{8}", name)}


def left_since(before: set[str]) -> set[str]:
    """Give the folders that are there since then; those of other tests, which run meanwhile, are waited for."""
    limit = time.monotonic() + 20
    while (left := shared_temporary_folders() - before) and time.monotonic() < limit:
        time.sleep(0.05)
    return left


@needs_root
def test_root_copies_a_strangers_database_and_leaves_nothing(strange: Path, tmp_path: Path) -> None:
    before = shared_temporary_folders(), everything_about(strange)
    config = dict(databases=[str(strange / "shop.db"), str(make(tmp_path / "own.db"))])
    ran = run_entry(tmp_path, "sqlite", config)
    assert ran.messages == []
    assert {name: rows_in(content) for name, content in ran.contents.items()} == {"shop.db": ROWS, "own.db": ROWS}
    assert everything_about(strange) == before[1]
    assert left_since(before[0]) == set()


@needs_root
def test_the_log_beside_a_strangers_database_is_the_strangers(strange: Path, scratch: Path) -> None:
    """Where it were root's, the program could not write any more. What is done to a file that is gone can be seen."""
    database = make(strange / "idle.db", mode="wal")
    own(strange)
    trace = scratch / "trace"
    program = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=setresuid,setuid,setreuid,openat,fchown"]
    code = """
import sys
from pathlib import Path
from tests.generator_contract import produce
print(len(produce("sqlite", dict(databases=[sys.argv[1]]), Path(sys.argv[2])).contents["idle.db"]))
"""
    done = subprocess.run(
        [*program, sys.executable, "-c", code, str(database), str(scratch)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) == database.stat().st_size
    calls = trace.read_text().splitlines()
    makers = {line.split()[0] for line in calls if "idle.db-wal" in line and "O_CREAT" in line}
    changed = {line.split()[0] for line in calls if "setre" in line and str(NOBODY) in line and line.endswith("= 0")}
    assert makers
    assert makers <= changed


@needs_root
def test_a_journal_that_a_stranger_has_planted_deletes_nothing_of_roots(strange: Path, tmp_path: Path) -> None:
    database, victim = make(strange / "idle.db", mode="wal"), tmp_path / "victim"
    deleted = []
    for as_user in ("root", None):
        victim.write_bytes(b"precious\0")
        plant_journal(database, victim)
        own(strange)
        produce("sqlite", dict(databases=[str(database)], as_user=as_user), tmp_path)
        deleted.append(not victim.exists())
    assert deleted == [True, False], "as root the fault fires"


@needs_root
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_is_no_file_beside_a_database_is_named_and_not_opened(
    strange: Path, tmp_path: Path, suffix: str, kind: str
) -> None:
    beside = strange / f"shop.db{suffix}"
    if kind == "fifo":
        os.mkfifo(beside)
    else:
        beside.symlink_to("/etc/passwd")
    own(strange)
    start = time.monotonic()
    ran = run_entry(tmp_path, "sqlite", dict(databases=[str(strange / "shop.db")]))
    assert time.monotonic() - start < 10
    assert ran.contents == {}
    assert f"database {strange}/shop.db: {beside} is not a regular file\nHint: SQLite would open it" in ran.messages[0]
    with pytest.raises(PickupError, match="is not a regular file"):
        list(profile.check(options_of("sqlite", dict(databases=[str(strange / "shop.db")]), tmp_path)))


def test_a_fifo_in_the_place_of_a_database_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "shop.db")
    ran = run_entry(tmp_path, "sqlite", dict(databases=["shop.db"]))
    assert f"database {tmp_path / 'shop.db'} is not a regular file" in ran.messages[0]


def test_a_database_that_keeps_its_reader_busy_for_ever_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G8: an index on an expression that takes hours."""
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
        connection.execute("CREATE INDEX slow ON orders (what || 'x')")
        connection.execute("INSERT INTO orders (what) VALUES ('a')")
        connection.execute("PRAGMA writable_schema=1")
        slow = "CREATE INDEX slow ON orders (instr(zeroblob(9000000), zeroblob(4000000) || 'x'))"
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'slow'", (slow,))
    make(tmp_path / "good.db")
    monkeypatch.setattr(profile, "_STALL", 1)
    before = children()
    ran = run_entry(tmp_path, "sqlite", dict(databases=["shop.db", "good.db"], busy_timeout=0))
    assert ran.contents.keys() == {"good.db"}
    assert f"database {tmp_path / 'shop.db'}: " in ran.messages[0]
    assert "wrote nothing for 1" in ran.messages[0]
    assert children() == before


@pytest.mark.parametrize(
    ("size", "stall", "timeout", "limit"), [(4 * 2**30, 900, 2, 2), (300 * 2**20, 1, 7200, 6), (None, 1, 7200, 6)]
)
def test_a_reader_that_is_stopped_is_given_up_however_large_the_database_seems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, stall: float, timeout: float, limit: float
) -> None:
    """G8: a hole in a file costs nothing, so it buys no time."""
    database = make(tmp_path / "shop.db")
    if size is not None:
        os.truncate(database, size)
    monkeypatch.setattr(profile, "_STALL", stall)
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        stopper = threading.Thread(target=kill_who_waits_for, args=(database, signal.SIGSTOP))
        stopper.start()
        start = time.monotonic()
        ran = run_entry(tmp_path, "sqlite", dict(databases=["shop.db"], busy_timeout=5, timeout=timeout))
        stopper.join()
    assert time.monotonic() - start < 40
    found = re.search(r"wrote nothing for ([0-9.]+) seconds", ran.messages[0])
    assert found, ran.messages
    assert limit <= float(found[1]) < limit + 1


@needs_root
def test_a_stranger_cannot_hold_up_root_by_going_slowly(strange: Path, tmp_path: Path, scratch: Path) -> None:
    """Root's own database may take its time, once its copy comes."""
    failures = []
    for folder in (strange, tmp_path):
        database = make(folder / "large.db", 30_000)
        own(strange)
        options = options_of("sqlite", dict(databases=[str(database)], timeout=4), scratch)
        (artefact,) = profile.run(options, scratch)
        try:
            with artefact.source as stream:
                size = len(stream.read(1024))
                time.sleep(4.5)
                while block := stream.read(2**20):
                    size += len(block)
            assert size == database.stat().st_size
        except PickupError as error:
            failures.append(str(error))
    (failure,) = failures
    assert f"database {strange}/large.db: " in failure
    assert "was stopped after 4 seconds, its time limit" in failure
    assert "`timeout` gives it more time" in failure


@needs_root
def test_what_a_stranger_makes_of_the_folder_of_the_copy_is_removed(strange: Path, scratch: Path) -> None:
    """G30: folders in folders, deeper than Python's own functions go."""
    before, planted = shared_temporary_folders(), []

    def plant() -> None:
        while (pid := process_that_copies(strange / "shop.db")) is None:
            time.sleep(0.01)
        folder = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2])
        chain(Path(folder) / "top", 3000)
        planted.append(folder)
        writer.execute("COMMIT")

    with contextlib.closing(Writer(strange / "shop.db")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        thread = threading.Thread(target=plant)
        thread.start()
        produced = produce("sqlite", dict(databases=[str(strange / "shop.db")]), scratch)
        thread.join()
    assert planted
    assert rows_in(produced.contents["shop.db"]) == ROWS
    assert left_since(before) == set()


def test_a_folder_that_cannot_be_removed_in_time_costs_no_copy(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a stranger goes on filling it."""
    (tmp_path / "rm").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "rm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(profile, "_REMOVAL", 0.5)
    produced = produce("sqlite", dict(databases=[str(make(tmp_path / "shop.db"))]), scratch)
    assert rows_in(produced.contents["shop.db"]) == ROWS
    assert "could not be removed: rm was stopped after 0.5 seconds" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGSEGV])
def test_a_crash_of_sqlite_costs_the_artefact_and_not_the_run(tmp_path: Path, number: int) -> None:
    """G3: as where somebody cuts the index of a log off while it is mapped into memory."""
    database = make(tmp_path / "shop.db")
    make(tmp_path / "good.db")
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        killer = threading.Thread(target=kill_who_waits_for, args=(database, number))
        killer.start()
        ran = run_entry(tmp_path, "sqlite", dict(databases=["shop.db", "good.db"]))
        killer.join()
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"good.db"}
    assert f"database {database}: the process that opened it was killed by signal {number}" in ran.messages[0]


def process_that_copies(database: Path) -> int | None:
    """Give the child of ours that has a database open to copy it."""
    for each in children():
        pid = int(each.split()[0])
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            files = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
            if b"copy" in words and str(database) in files:
                return pid
    return None


def kill_who_waits_for(database: Path, number: int) -> None:
    while (pid := process_that_copies(database)) is None:
        time.sleep(0.01)
    os.kill(pid, number)


def test_a_signal_is_heard_while_a_database_is_waited_for(tmp_path: Path, scratch: Path) -> None:
    """K1"""
    database = make(tmp_path / "shop.db")
    before = children()

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    handler = signal.signal(signal.SIGUSR1, stop)
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        waiting = children()
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        start = time.monotonic()
        with pytest.raises(Stopped):
            produce("sqlite", dict(databases=[str(database)]), scratch)
        signal.signal(signal.SIGUSR1, handler)
        timer.join()
        assert time.monotonic() - start < 5
        assert children() == waiting
    assert children() == before
    assert list(scratch.iterdir()) == []


@needs_root
@pytest.mark.parametrize(
    ("owner", "mode", "message"),
    [
        (1, 0o755, "its path belongs to several users: [1, 65534]"),
        (0, 0o775, None),
        (0, 0o755, None),
    ],
)
def test_root_opens_nothing_where_several_users_could_plant_something(
    strange: Path, scratch: Path, owner: int, mode: int, message: str | None
) -> None:
    """A folder of root's in the folder of a stranger is the stranger's too."""
    database = make(strange / "sub" / "shop.db")
    os.chown(database.parent, owner, owner)
    database.parent.chmod(mode)
    produced = produce("sqlite", dict(databases=[str(database)]), scratch)
    if message is None:
        assert rows_in(produced.contents["shop.db"]) == ROWS
        return
    assert produced.failures["shop.db"] == (
        f"database {database} is not safe to open for root: {message}\nHint: say who opens it: `as_user`"
    )
    for user in ("root", "nobody"):
        produced = produce("sqlite", dict(databases=[str(database)], as_user=user), scratch)
        assert rows_in(produced.contents["shop.db"]) == ROWS


def lead_elsewhere(folder: Path, roots: Path, how: str) -> Path:
    """Let a stranger's link lead to a folder of root's, and give the path of `shop.db` through it."""
    link = folder / "link"
    link.symlink_to(roots / "shop.db" if how == "database" else roots)
    own(folder)
    if how == "behind root's":
        (roots.parent / "roots-link").symlink_to(link)
        link = roots.parent / "roots-link"
    return link if how == "database" else link / "shop.db"


@needs_root
@pytest.mark.parametrize("how", ["database", "folder", "behind root's"])
def test_a_strangers_link_is_followed_as_the_stranger(strange: Path, tmp_path: Path, other: bytes, how: str) -> None:
    """I10: root neither copies, nor overwrites, nor makes what the stranger's link leads to."""
    (tmp_path / "roots").mkdir()
    path = lead_elsewhere(strange, tmp_path / "roots", how)
    config = dict(databases=[str(path)])
    with pytest.raises(PickupError, match=f"Permission denied: {tmp_path}/roots/shop.db"):
        load(config, stored({path.name: other}))
    assert list((tmp_path / "roots").iterdir()) == []
    before = make(tmp_path / "roots" / "shop.db").read_bytes()
    failures = produce("sqlite", config, strange).failures
    assert f"unable to open database file\nHint: user {NOBODY} has opened it" in failures[path.name]
    with pytest.raises(PickupError, match="unable to open database file"):
        load(config, stored({path.name: other}), overwrite=True)
    assert (tmp_path / "roots" / "shop.db").read_bytes() == before
    assert os.listdir(tmp_path / "roots") == ["shop.db"]


@needs_root
def test_a_link_of_one_stranger_to_a_database_of_another_is_not_followed(strange: Path, tmp_path: Path) -> None:
    os.chown(make(tmp_path / "shop.db"), 1, 1)
    (strange / "link.db").symlink_to(tmp_path / "shop.db")
    own(strange)
    failure = produce("sqlite", dict(databases=[str(strange / "link.db")]), tmp_path).failures["link.db"]
    assert "its path belongs to several users: [1, 65534]\nHint: say who opens it: `as_user`" in failure


def test_links_that_lead_in_a_circle_are_named(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "a.db").symlink_to("b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    failure = produce("sqlite", dict(databases=[str(tmp_path / "a.db")]), scratch).failures["a.db"]
    assert failure == f"database {tmp_path / 'a.db'} cannot be reached: Too many levels of symbolic links"


def test_links_with_two_dots_lead_where_the_kernel_goes(tmp_path: Path, scratch: Path) -> None:
    make(tmp_path / "a" / "shop.db", 7)
    make(tmp_path / "shop.db", 8)
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "c").symlink_to("./a/b/")
    (tmp_path / "link.db").symlink_to("c/../shop.db")
    for path in (tmp_path / "link.db", tmp_path / "c" / ".." / "shop.db"):
        assert rows_in(path.read_bytes()) == 7
        assert rows_in(produce("sqlite", dict(databases=[str(path)]), scratch).contents[path.name]) == 7


@needs_root
@pytest.mark.parametrize("below", ["", "shop.db"])
@pytest.mark.parametrize("by", ["the mode", "an access list"])
def test_others_who_may_write_to_a_folder_or_database_of_roots_are_seen(
    tmp_path: Path, scratch: Path, below: str, by: str
) -> None:
    """With an access list the bits of the group, which is root's, are a mask for those that it names."""
    path = make(tmp_path / "data" / "shop.db").parent / below
    if by == "the mode":
        path.chmod(0o646 if below else 0o757)
    else:
        subprocess.run(["setfacl", "-m", f"u:{NOBODY}:rwx", path], check=True)
        assert path.stat().st_gid == 0
    config = dict(databases=[str(tmp_path / "data" / "shop.db")])
    failure = produce("sqlite", config, scratch).failures["shop.db"]
    assert f"is not safe to open for root: others may write to {path}\nHint: say who opens it: `as_user`" in failure
    assert rows_in(produce("sqlite", dict(config, as_user="root"), scratch).contents["shop.db"]) == ROWS


@needs_root
@pytest.mark.parametrize(
    ("mode", "group", "is_safe"), [(0o1777, 0, False), (0o775, 4, False), (0o775, 0, True), (0o777, 0, False)]
)
def test_root_opens_its_own_database_where_nobody_else_may_add_files(
    tmp_path: Path, scratch: Path, mode: int, group: int, is_safe: bool
) -> None:
    database = make(tmp_path / "data" / "shop.db")
    os.chown(database.parent, 0, group)
    database.parent.chmod(mode)
    produced = produce("sqlite", dict(databases=[str(database)]), scratch)
    if is_safe:
        assert rows_in(produced.contents["shop.db"]) == ROWS
    else:
        assert f"not safe to open for root: others may write to {database.parent}" in produced.failures["shop.db"]
        config = dict(databases=[str(database)], as_user="root")
        assert rows_in(produce("sqlite", config, scratch).contents["shop.db"]) == ROWS


@needs_root
def test_a_database_that_its_owner_may_not_reach_names_the_user(strange: Path, scratch: Path) -> None:
    make(strange / "closed" / "shop.db").parent.chmod(0o700)
    produced = produce("sqlite", dict(databases=[str(strange / "closed" / "shop.db")]), scratch)
    assert produced.failures["shop.db"] == (
        f"database {strange}/closed/shop.db: unable to open database file\n"
        f"Hint: user {NOBODY} has opened it; `as_user` names another, and `timeout` gives it more time"
    )


def test_a_user_that_is_not_there_is_named(tmp_path: Path) -> None:
    make(tmp_path / "shop.db")
    ran = run_entry(tmp_path, "sqlite", dict(databases=["shop.db"], as_user="no-such-user"))
    assert "there is no system user 'no-such-user'" in ran.messages[0]


def test_only_root_can_open_a_database_as_another_user() -> None:
    with ordinary_folder() as folder:
        config = dict(databases=[str(make(folder / "shop.db"))], as_user="root")
        (folder / "shop.db").chmod(0o644)
        produced = produce_elsewhere("sqlite", config, as_nobody=True)
    assert produced.failures["shop.db"].startswith("only root can act as user root\nHint: run as root")


def test_a_change_that_a_killed_program_left_half_done_is_explained(tmp_path: Path, scratch: Path) -> None:
    database = make(tmp_path / "shop.db", 20_000)
    writer = Writer(database)
    writer.execute("PRAGMA cache_size=10")
    writer.execute("BEGIN")
    writer.execute("UPDATE orders SET what = upper(what)")
    writer.kill()
    journal = database.with_name("shop.db-journal")
    before = database.read_bytes(), journal.read_bytes()
    assert b"THING" in before[0]
    config = dict(databases=[str(database)])
    assert "Hint: a program was killed while it wrote" in produce("sqlite", config, scratch).failures["shop.db"]
    assert (database.read_bytes(), journal.read_bytes()) == before
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT * FROM orders").fetchone()
    assert rows_in(produce("sqlite", config, scratch).contents["shop.db"]) == 20_000


def test_a_link_to_a_database_is_followed(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "link.db").symlink_to(make(tmp_path / "shop.db"))
    assert rows_in(produce("sqlite", dict(databases=[str(tmp_path / "link.db")]), scratch).contents["link.db"]) == ROWS


def test_an_empty_file_is_an_empty_database(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "shop.db").touch()
    produced = produce("sqlite", dict(databases=[str(tmp_path / "shop.db")]), scratch)
    with opened(produced.contents["shop.db"]) as copy:
        assert copy.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@needs_root
def test_a_copy_that_has_no_room_is_said_before_it_is_made(tmp_path: Path) -> None:
    """S1"""
    database = make(tmp_path / "shop.db", 20_000)
    (tmp_path / "small").mkdir()
    size = in_words(database.stat().st_size)
    before = f"mount -t tmpfs -o size=1m none {tmp_path / 'small'}"
    config = dict(databases=[str(database)])
    produced = produce_elsewhere("sqlite", config, before=before, env={**CRON, "TMPDIR": str(tmp_path / "small")})
    message = produced.failures["shop.db"]
    assert f"database {database}: a copy of it needs {size} in {tmp_path}/small/" in message
    assert ", where there is room for 1.0 MiB\nHint: make room there" in message


# Loading back


load = functools.partial(load_back, "sqlite")


@pytest.fixture
def other(tmp_path: Path) -> bytes:
    """The content of a database with seven rows."""
    return make(tmp_path / "other" / "shop.db", 7).read_bytes()


def test_a_database_that_is_gone_is_loaded_back(tmp_path: Path, other: bytes) -> None:
    config = dict(databases=[str(tmp_path / "shop.db"), str(tmp_path / "users.db")])
    said = load(config, stored({"users.db": other, "shop.db": other}))
    assert said == [
        f"loads users.db into the new file {tmp_path}/users.db, shop.db into the new file {tmp_path}/shop.db",
        "users.db was loaded, 8.0 KiB",
        "shop.db was loaded, 8.0 KiB",
    ]
    for name in ("shop.db", "users.db"):
        assert rows_in((tmp_path / name).read_bytes()) == 7
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.glob("*.db*")) == ["shop.db", "users.db"]


def test_nothing_changes_before_it_was_said_what_will(tmp_path: Path, other: bytes) -> None:
    options = options_of("sqlite", dict(databases=[str(tmp_path / "shop.db")]), tmp_path)
    steps = profile.restore(options, stored({"shop.db": other}), None, False)
    assert "shop.db" in next(steps)
    steps.close()
    assert not (tmp_path / "shop.db").exists()


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("size", [1024, 4096, 16384])
def test_a_database_that_is_in_use_is_overwritten_as_a_whole(tmp_path: Path, mode: str, size: int) -> None:
    """Another process has it open, and sees the new rows without opening it again."""
    with contextlib.closing(sqlite3.connect(tmp_path / "source.db")) as connection, connection:
        connection.execute(f"PRAGMA page_size={size}")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
        connection.executemany("INSERT INTO orders (what) VALUES (?)", (("old " * 50,) for _ in range(2000)))
    database = make(tmp_path / "shop.db", mode=mode)
    database.chmod(0o640)
    content, inode = (tmp_path / "source.db").read_bytes(), database.stat().st_ino
    config = dict(databases=[str(database)], busy_timeout=0.2)
    with contextlib.closing(Writer(database)) as writer:
        writer.do("rows = lambda: connection.execute('SELECT count(*) FROM orders').fetchone()[0]")
        writer.do(f"assert rows() == {ROWS}")
        if mode == "wal" and size != 4096:  # the pages of a log have one size
            with pytest.raises(PickupError, match="database is locked\nHint: another program"):
                load(config, stored({"shop.db": content}), overwrite=True)
            writer.do(f"assert rows() == {ROWS}")
            return
        said = load(config, stored({"shop.db": content}), overwrite=True)
        writer.do("assert rows() == 2000")
        writer.execute("INSERT INTO orders (what) VALUES ('new')")
    assert said[0] == f"loads shop.db over {database}"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (2001,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
    assert (database.stat().st_ino, database.stat().st_mode & 0o777) == (inode, 0o640)


@pytest.mark.parametrize("modes", [("wal", "delete"), ("delete", "wal"), ("wal", "wal")])
def test_a_database_is_loaded_over_one_of_another_mode(tmp_path: Path, modes: tuple[str, str]) -> None:
    database, content = make(tmp_path / "shop.db", 1000, modes[0]), make(tmp_path / "x.db", 7, modes[1]).read_bytes()
    load(dict(databases=[str(database)]), stored({"shop.db": content}), overwrite=True)
    assert sorted(path.name for path in tmp_path.glob("shop.db*")) == ["shop.db"]
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (7,)
    assert database.stat().st_size == len(content)


def test_a_database_that_a_program_has_locked_stays_as_it_is(tmp_path: Path, other: bytes) -> None:
    database = make(tmp_path / "shop.db")
    before = database.read_bytes()
    with contextlib.closing(Writer(database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(
            PickupError, match=f"database {database}: database is locked\nHint: another program"
        ) as caught:
            load(dict(databases=[str(database)], busy_timeout=0.5), stored({"shop.db": other}), overwrite=True)
        assert 0.4 < time.monotonic() - start < 10
        assert "busy_timeout" in str(caught.value)
        writer.execute("ROLLBACK")
    assert database.read_bytes() == before


def test_a_database_that_exists_is_not_overwritten_unasked(tmp_path: Path, other: bytes) -> None:
    """I10"""
    database = make(tmp_path / "shop.db")
    before = everything_about(tmp_path)
    for as_name in (None, str(database)):
        with pytest.raises(RefusedError, match=f"database {database} exists\nHint: --as NAME .* --overwrite"):
            load(dict(databases=[str(database)]), stored({"shop.db": other}), as_name=as_name)
    assert everything_about(tmp_path) == before


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, other: bytes) -> None:
    """I10"""
    options = options_of("sqlite", dict(databases=[str(tmp_path / "shop.db")]), tmp_path)
    steps = profile.restore(options, stored({"shop.db": other}), None, False)
    next(steps)
    (tmp_path / "shop.db").write_text("mine")
    with pytest.raises(PickupError, match=f"File exists: {tmp_path}/shop.db"):
        next(steps)
    assert (tmp_path / "shop.db").read_text() == "mine"


def test_an_artefact_can_be_loaded_under_another_name(tmp_path: Path, other: bytes) -> None:
    database = make(tmp_path / "shop.db")
    config = dict(databases=[str(database)])
    load(config, stored({"shop.db": other}), as_name=str(tmp_path / "new.db"))
    load(config, stored({"not in the config.db": other}), as_name=str(tmp_path / "newer.db"))
    assert [rows_in((tmp_path / name).read_bytes()) for name in ("shop.db", "new.db", "newer.db")] == [ROWS, 7, 7]
    with pytest.raises(PickupError, match="2 artefacts cannot all be restored as"):
        load(config, stored({"a.db": other, "b.db": other}), as_name=str(tmp_path / "both.db"))
    with pytest.raises(PickupError, match="no/folder"):
        load(config, stored({"shop.db": other}), as_name=str(tmp_path / "no" / "folder" / "x.db"))


def test_an_artefact_that_no_database_has_made_is_named(tmp_path: Path, other: bytes) -> None:
    config = dict(databases=[str(tmp_path / "shop.db")])
    with pytest.raises(
        PickupError, match=r"no database of the config has the name users\.db\nHint: there are: shop\.db"
    ):
        load(config, stored({"shop.db": other, "users.db": other}))
    assert not (tmp_path / "shop.db").exists()


@pytest.mark.parametrize("damage", ["text", "middle", "cut"])
def test_a_damaged_database_is_overwritten_or_it_is_said_how(tmp_path: Path, other: bytes, damage: str) -> None:
    database = make(tmp_path / "shop.db")
    content = database.read_bytes()
    bad = {"text": b"no database at all\n" * 500, "middle": content[:8192] + b"\xff" * 4096 + content[12288:]}
    database.write_bytes(bad.get(damage, content[: len(content) // 2]))
    if damage == "middle":
        load(dict(databases=[str(database)]), stored({"shop.db": other}), overwrite=True)
        assert rows_in(database.read_bytes()) == 7
        return
    with pytest.raises(PickupError, match="Hint: stop its programs, move it away with its -wal, -shm and -journal"):
        load(dict(databases=[str(database)]), stored({"shop.db": other}), overwrite=True)


@pytest.mark.parametrize("exists", [True, False])
def test_content_that_is_no_database_leaves_what_was_there(tmp_path: Path, exists: bool) -> None:
    database = make(tmp_path / "shop.db") if exists else tmp_path / "shop.db"
    with pytest.raises(PickupError, match="file is not a database"):
        load(dict(databases=[str(database)]), stored({"shop.db": b"no database\n" * 999}), overwrite=True)
    assert database.exists() == exists
    assert not exists or rows_in(database.read_bytes()) == ROWS


def test_content_that_breaks_off_changes_nothing(tmp_path: Path, other: bytes) -> None:
    """V5"""
    database = make(tmp_path / "shop.db")
    before = database.read_bytes()

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(4096)

    broken = Stored("shop.db", len(other), lambda: Broken(other))
    with pytest.raises(OSError, match="Input/output error"):
        load(dict(databases=[str(database)]), [broken], overwrite=True)
    assert database.read_bytes() == before


@needs_root
def test_root_loads_a_database_back_for_its_owner(strange: Path, other: bytes, tmp_path: Path) -> None:
    """V14"""
    before, database = shared_temporary_folders(), strange / "shop.db"
    database.chmod(0o664)
    config = dict(databases=[str(database), str(strange / "new.db")])
    load(config, stored({"shop.db": other, "new.db": other}), overwrite=True)
    for path, mode in ((database, 0o664), (strange / "new.db", 0o600)):
        assert rows_in(path.read_bytes()) == 7
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (NOBODY, mode)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious\0")
    plant_journal(database, victim)
    own(strange)
    with contextlib.suppress(PickupError):
        load(config, stored({"shop.db": other}), overwrite=True)
    assert victim.exists()
    assert left_since(before) == set()
