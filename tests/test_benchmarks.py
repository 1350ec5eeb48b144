"""The benchmarks: what measures is right, a contest that fails says which it is, and nothing is left behind."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import measuring
from benchmarks.corpora import change, many
from benchmarks.line import long_line
from benchmarks.measuring import Contest, Contestant, Failed, Figures, Goal, shell
from benchmarks.page import goals_of, lines_of, page
from benchmarks.parts.counting import counting
from benchmarks.parts.databases import databases
from benchmarks.parts.tools import incremental_tar
from benchmarks.plot import plot
from tests.builders import ROOT
from tests.servers import mariadb

GOALS = [
    Goal("Pickup", 1.5, "tar & co"),
    Goal("Pickup", 0.5, "restic"),
    Goal("Pickup", 4),
    Goal("Pickup", 1, listings=True),
]
CONTEST = Contest("a work", {}, GOALS)
FOUND = {
    "tar & co": Figures(2, 4, 10),
    "Pickup": Figures(3, 2, 150, stored=5_000_000, listings=2),
    "slow": Figures(40, 9, 9),
}


# Measuring


def test_a_contestant_is_measured_with_all_that_it_starts(tmp_path: Path) -> None:
    work = shell(
        f"python3 -c 'x = bytes([1]) * 80_000_000; sum(range(3_000_000))'; sleep 0.3; echo hello > {tmp_path}/file"
    )
    found = Contestant(work, stored=lambda: (tmp_path / "file").stat().st_size).run()
    assert 0.3 < found.wall < 30
    assert 0.01 < found.cpu < found.wall - 0.25
    assert 75 < found.peak < 150
    assert found.stored == 6


def test_the_medians_are_those_of_the_runs_that_count(tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    first_is_slow = shell(f"echo a >> {turns}; test $(grep -c a {turns}) -gt 1 || sleep 3")
    contest = Contest("a work", {"a": Contestant(first_is_slow), "b": Contestant(shell(f"echo b >> {turns}"))})
    assert contest.held(1, 30)["a"].wall < 1.4
    assert turns.read_text().split() == ["a", "b"] * 2


def test_who_is_slow_takes_one_turn_which_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SLOW", 0.5)
    turns = tmp_path / "turns"
    slow, quick = (Contestant(shell(f"echo {name} >> {turns}; {more}")) for name, more in (("a", "sleep 1"), ("b", "")))
    assert 1 < Contest("a work", {"a": slow, "b": quick}).held(2, 30)["a"].wall < 10
    assert turns.read_text().split() == ["a", "b", "b", "b"]


@pytest.mark.parametrize("script", ["exit 7", "exit 7 | cat"])
def test_one_that_fails_is_named_with_its_contest(script: str) -> None:
    contest = Contest("a work", {"good": Contestant(["true"]), "bad": Contestant(shell(script))})
    with pytest.raises(Failed, match=r"^a work: bad: ended with status 7: bash .*exit 7"):
        contest.held(1, 30)


def test_one_that_is_not_installed_or_cannot_be_made_ready_is_named_too() -> None:
    with pytest.raises(Failed, match=r"^a work: bad: .*nowhere"):
        Contest("a work", {"bad": Contestant(["true"], before=lambda: os.stat("/nowhere"))}).held(1, 30)


def test_one_that_takes_too_long_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    stubborn = shell(f"trap '' TERM; (echo $BASHPID > {tmp_path}/pid; sleep 300) & wait; sleep 300")
    start = time.monotonic()
    with pytest.raises(Failed, match=r"^a work: slow: takes more than 1 s: bash "):
        Contest("a work", {"slow": Contestant(stubborn)}).held(1, 1)
    assert time.monotonic() - start < 60
    pid, limit = int((tmp_path / "pid").read_text()), time.monotonic() + 20
    while is_alive(pid):  # for the moment that it takes to die
        assert time.monotonic() < limit
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# The command


def benchmarks(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_part_is_run_alone_and_leaves_nothing(tmp_path: Path) -> None:
    process = benchmarks("start", "--runs", 1, "--folder", tmp_path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "start: Pickup --version: at most 2.50 times python -c pass: " in out
    assert list(tmp_path.iterdir()) == []


def test_a_contest_that_fails_costs_no_other_one_and_the_status_tells(tmp_path: Path) -> None:
    process = benchmarks("verify", "start", "--scale", "0.001", "--runs", 1, "--limit", "0.001", "--folder", tmp_path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert err.count("FAILED: verify a backup: sha256sum -c: takes more than 0.001 s") == 2  # at once, and at the end
    assert "FAILED: start: python -c pass: takes more than 0.001 s" in err
    assert "verify a backup: Pickup: at most 0.30 times sha256sum -c:  not measured" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process = benchmarks("verify", "--scale", "0.2", "--runs", 50, "--folder", tmp_path)
    limit = time.monotonic() + 60
    while not list(tmp_path.glob("*/place/bench")):
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


# The works


def test_a_second_night_begins_each_time_where_the_first_has_ended(tmp_path: Path) -> None:
    source = many(tmp_path / "source", 0.005)
    sizes = {path: path.stat().st_size for path in source.rglob("*.txt")}
    contestant = incremental_tar(source, tmp_path / "tar").second_night()
    nothing_new = contestant.run().stored
    before = {path: path.read_bytes() for path in sizes}
    change(source, 100)
    assert sum(path.read_bytes() != before[path] for path in sizes) == 5
    assert {path: path.stat().st_size for path in sizes} == sizes
    first, second = contestant.run().stored, contestant.run().stored
    assert nothing_new < first
    assert first == pytest.approx(second, abs=100)
    assert first < 30_000 < sum(sizes.values()) / 10


def test_the_listings_that_a_server_has_seen_are_counted(tmp_path: Path) -> None:
    with contextlib.closing(counting(tmp_path, 0.002)) as contests:
        contest = next(contest for contest in contests if contest.name == "list, 2 backups at an FTP server")
        found = contest.held(1, 60)
    assert [figures.listings for figures in found.values()] == [1, 1, 1]


@pytest.mark.timeout(300)  # two servers are made
def test_the_databases_leave_nothing(tmp_path: Path) -> None:
    with contextlib.closing(databases(tmp_path, 0.0001)) as contests:
        found = {contest.name: contest.held(1, 60) for contest in contests}
    assert list(found) == ["a database, pg_dump", "a database, mariadb-dump"]
    assert all(figures.stored > 1000 for each in found.values() for figures in each.values())
    assert mariadb._template.cache_info().currsize == 0


# A long line


def at_once(connection: socket.socket) -> None:
    while data := connection.recv(65_536):
        connection.sendall(data)


def at_the_end(connection: socket.socket) -> None:
    connection.sendall(all_of(connection))


@contextlib.contextmanager
def served(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give the port of a server that gives back what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def asked(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return all_of(connection)


def all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_each_word_over_a_long_line_takes_its_time() -> None:
    with (
        served(at_once) as port,
        long_line(port, 0.2) as far,
        socket.create_connection(("127.0.0.1", far), 60) as connection,
    ):
        for word in (b"hello", b"world"):
            start = time.monotonic()
            connection.sendall(word)
            assert connection.recv(100) == word
            assert 0.2 <= time.monotonic() - start < 5


def test_all_that_goes_over_a_long_line_arrives() -> None:
    data = os.urandom(100_000_000)
    with served(at_the_end) as port, long_line(port, 0.2) as far:
        start = time.monotonic()
        answer = asked(far, data)
        assert 0.2 <= time.monotonic() - start < 40
        assert hashlib.sha256(answer).digest() == hashlib.sha256(data).digest()


def test_a_long_line_to_nowhere_ends() -> None:
    with served(at_once) as port:
        pass
    start = time.monotonic()
    with long_line(port, 0.01) as far, contextlib.suppress(OSError):
        assert asked(far, b"hello") == b""
    assert time.monotonic() - start < 30


# The page


def test_every_goal_is_in_the_table_with_its_figure() -> None:
    assert goals_of([(CONTEST, FOUND)]) == [
        ("a work", "Pickup: at most 1.50 times tar & co", "1.50", "reached"),
        ("a work", "Pickup: at most 0.50 times restic", "", "not measured"),
        ("a work", "Pickup: at most 4 s", "3.00", "reached"),
        ("a work", "Pickup: at most 1 listing", "2", "not reached"),
        ("all of them", "Pickup: at most 120 MiB for its largest process", "150", "not reached"),
    ]
    assert {row[3] for row in goals_of([(CONTEST, {})])} == {"not measured"}


def test_the_tables_show_what_was_measured() -> None:
    text = page([(CONTEST, FOUND), (CONTEST, {})], 3, 0.1)
    assert "Medians of 3 runs " in text
    assert "0.1 times the usual data" in text
    assert "     - at most 1 listing\n     - 2\n     - **no**\n" in text
    assert "   * - tar & co\n     - 1.00 (2.00 s)\n     - 1.00\n     - 10\n     -\n     -\n" in text
    assert "   * - Pickup\n     - 1.50\n     - 0.50\n     - 150\n     - 5.0\n     - 2\n" in text
    assert (
        text.count(
            "   * - a work\n     - wall time\n     - CPU\n     - peak, MiB\n     - stored, MB\n     - listings\n"
        )
        == 1
    )
    assert any("Pickup" in line and "1.50" in line and "3.00 s" in line for line in lines_of(CONTEST, FOUND))


def test_the_plot_cuts_what_is_longer_than_the_paper() -> None:
    root = ElementTree.fromstring(plot([(CONTEST, FOUND), (CONTEST, {})]))
    texts = [element.text for element in root.findall("{*}text")]
    assert {"a work", "tar & co", "Pickup", "slow", "1.00", "1.50", "20.00"} < set(texts)
    width = float(root.get("width", 0))
    assert all(float(e.get("x", 0)) + float(e.get("width", 0)) <= width for e in root.findall("{*}rect"))
    assert len(list(root.findall("{*}path"))) == 2
