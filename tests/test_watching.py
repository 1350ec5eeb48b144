"""Status: each job at each target is told, and what is stale, gone or not to be read is never silent."""

import fcntl
import os
import pty
import socket
import struct
import subprocess
import sys
import termios
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core.errors import UsageError
from pickup_core.history import History
from pickup_core.wording import in_words
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target
from tests.builders import LOCAL, NOBODY, ROOT, as_ordinary_user, config_text, ordinary_folder, write_config
from tests.places import JOB, Made, make_backup, store_backup
from tests.sessions import DAMAGE, LABEL, Done, carried_out, home_with_two_targets, make_later, manifest_at

PARTIAL = {"statuses": {"sqlite/db": "failed"}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return home_with_two_targets(tmp_path)


def stored(home: Path, target: str, hours: float, size: int = 1000, label: str = LABEL, **facts: Any) -> Made:
    """Store a backup that was started so many hours ago."""
    started = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=hours)
    folder = home / "made" / f"{target}-{hours}-{facts.get('job', JOB)}"
    made = make_backup(folder, started, {label: b"x" * size}, **facts)
    with Target(FolderConfig(path=home / target)) as store:
        store.create_root()
        store_backup(store, made)
    return made


def status(home: Path, *words: object) -> Done:
    return carried_out(home, "status", *words)


def states(done: Done) -> list[tuple[str, str | None, str]]:
    return [(each["target"], each["job"], each["state"]) for each in done.json]


# What is told


def test_the_newest_complete_backup_of_each_target_is_told(home: Path) -> None:
    older = [stored(home, "one", 24 * day + 1) for day in (3, 2, 1)]
    newest, other = stored(home, "one", 2.5, size=2000), stored(home, "two", 30)
    percent = round((newest.manifest.size / older[0].manifest.size - 1) * 100)
    done = status(home)
    assert done.status == 0
    assert done.err == ""
    assert [line.split() for line in done.out.splitlines()] == [
        ["TARGET", "STATE", "AGE", "SIZE", "TREND", "VERIFIED", "BACKUP"],
        ["one", "ok", "2h", *in_words(newest.manifest.size).split(), f"+{percent}", "%", "-", newest.manifest.id],
        ["two", "ok", "30h", *in_words(other.manifest.size).split(), "-", "-", other.manifest.id],
    ]  # fmt: skip
    assert max(map(len, done.out.splitlines())) <= 80


def test_status_for_programs(home: Path) -> None:
    made, other = stored(home, "one", 2), stored(home, "two", 30)
    carried_out(home, "verify", "--target", "one")
    done = status(home, "--json", "--max-age", "26h")
    assert done.status == 2
    [verified] = History(home / "state", JOB).records("verify")
    one, two = done.json
    assert 7200 <= one.pop("age") < 7300
    assert one == {
        "target": "one",
        "job": JOB,
        "state": "ok",
        "backup": made.manifest.id,
        "beside": [],
        "started": made.manifest.started.isoformat(),
        "size": made.manifest.size,
        "trend": None,
        "newer": {},
        "future": [],
        "verified": {"time": verified["time"], "backup": made.manifest.id, "findings": 0},
    }
    assert (two["state"], two["backup"], two["verified"]) == ("stale", other.manifest.id, None)


def test_the_last_verify_is_told_with_what_it_found(home: Path) -> None:
    made = stored(home, "one", 2)
    stored(home, "two", 2)
    carried_out(home, "verify")
    (home / "one" / JOB / made.manifest.id / LABEL / "data.bin").write_text("changed")
    carried_out(home, "verify")
    done = status(home)
    assert done.status == 0
    lines = done.out.splitlines()
    assert "s, DAMAGE  " in lines[1]
    assert "DAMAGE" not in lines[2]
    assert [each["verified"]["findings"] for each in status(home, "--json").json] == [1, 0]


def test_what_is_newer_than_the_newest_complete_one_is_counted(home: Path) -> None:
    complete = stored(home, "one", 100)
    stored(home, "one", 60, **PARTIAL)
    stored(home, "one", 40, **PARTIAL)
    unfinished, damaged, later = stored(home, "one", 30), stored(home, "one", 20), stored(home, "one", 10)
    manifest_at(home, "one", unfinished).unlink()
    DAMAGE["flipped"](manifest_at(home, "one", damaged))
    make_later(manifest_at(home, "one", later), later)
    [one] = status(home, "--json", "--target", "one").json
    assert one["backup"] == complete.manifest.id
    assert one["newer"] == {"later": 1, "damaged": 1, "unfinished": 1, "partial": 2}
    done = status(home, "--target", "one")
    assert done.status == 0
    assert done.out.endswith(f"job {JOB}: newer than the newest complete backup: "
                             "1 later, 1 damaged, 1 unfinished, 2 partial\n")  # fmt: skip
    done = status(home, "--target", "one", "--max-age", "4d")
    assert done.status == 2
    assert done.err == (
        f"ERROR: target one: is stale: the newest complete backup of job {JOB}, {complete.manifest.id}, is 4d 4h old, "
        "and may be 4d at most; newer are 1 later, 1 damaged, 1 unfinished, 2 partial\n"
    )


def test_a_run_of_what_had_failed_makes_it_fresh(home: Path) -> None:
    """W2: what counts is that each entry has a good copy, and how old the oldest of these is."""
    stored(home, "one", 30, size=4000)
    night = stored(home, "one", 5, size=300, **PARTIAL)
    repeated = stored(home, "one", 2, size=500, label="sqlite/db", statuses={LABEL: "skipped"})
    stored(home, "one", 1, statuses={"sqlite/db": "failed", LABEL: "failed"})
    done = status(home, "--json", "--target", "one", "--max-age", "6h")
    assert (done.status, done.err) == (0, "")
    [one] = done.json
    assert (one["backup"], one["beside"]) == (night.manifest.id, [repeated.manifest.id])
    assert (one["state"], one["size"], one["newer"]) == ("ok", 800, {"partial": 1})
    assert 5 * 3600 <= one["age"] < 5 * 3600 + 100
    assert one["trend"] < -70
    line = f"target one: job {JOB}: every entry has a good copy in one of {night.manifest.id}, {repeated.manifest.id}"
    assert status(home, "--target", "one").out.endswith(f"{line}; newer are 1 partial\n")
    done = status(home, "--target", "one", "--max-age", "4h")
    assert done.status == 2
    assert done.err == (
        f"ERROR: target one: is stale: the oldest of the newest copies of job {JOB}, in {night.manifest.id}, is 5h old, "
        "and may be 4h at most; newer are 1 partial\n"
    )
    assert status(home, "--target", "one", "--html", home / "page.html").status == 0
    page = (home / "page.html").read_text()
    assert f"The oldest of the newest copies: {night.manifest.id}, started" in page
    assert f"Every entry has a good copy in it or in {repeated.manifest.id}." in page


def test_copies_of_each_entry_do_without_a_complete_backup(home: Path) -> None:
    night = stored(home, "one", 5, **PARTIAL)
    assert states(status(home, "--json", "--target", "one")) == [("one", JOB, "none")]
    stored(home, "one", 2, label="sqlite/db", statuses={LABEL: "skipped"})
    [one] = status(home, "--json", "--target", "one").json
    assert (one["state"], one["backup"]) == ("ok", night.manifest.id)


def test_an_entry_that_never_went_well_leaves_the_age_to_the_last_complete_one(home: Path) -> None:
    complete = stored(home, "one", 30)
    stored(home, "one", 5, **PARTIAL)
    stored(home, "one", 2, label="command/other", statuses={LABEL: "skipped", "sqlite/db": "failed"})
    [one] = status(home, "--json", "--target", "one").json
    assert (one["backup"], one["beside"], one["newer"]) == (complete.manifest.id, [], {"partial": 2})


# What is stale


def test_a_quiet_status_says_nothing_while_all_is_well(home: Path) -> None:
    stored(home, "one", 25)
    stored(home, "two", 25)
    assert status(home, "-q", "--max-age", "26h") == Done(0, "", "")
    done = status(home, "-q", "--max-age", "90s")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 2)


@pytest.mark.parametrize(
    ("age", "code"),
    [("24h", 2), ("26h", 0), ("86400", 2), ("1440m", 2), ("1.1d", 0), ("9" * 400 + "d", 0)],
)
def test_an_age_is_compared_to_the_second(home: Path, age: str, code: int) -> None:
    """W1."""
    stored(home, "one", 24.001)
    assert status(home, "-q", "--target", "one", "--max-age", age).status == code


def test_a_partial_backup_makes_nothing_fresh(home: Path) -> None:
    """W2."""
    stored(home, "one", 1, **PARTIAL)
    line = f"\ntarget one: job {JOB}: there is no complete backup, but 1 partial\n"
    assert status(home, "--target", "one").out.endswith(line)
    done = status(home, "-q", "--target", "one", "--max-age", "26h")
    assert done.status == 2
    assert done.err == (
        f"ERROR: target one: is stale: there is no complete backup of job {JOB}, but 1 partial\n"
        "Hint: pickup.py list --all-jobs shows what there is\n"
    )


def test_a_job_without_any_backup_is_stale(home: Path) -> None:
    """W4."""
    stored(home, "one", 1, job="db02")
    done = status(home, "--json", "--target", "one", "--max-age", "26h")
    assert (done.status, states(done)) == (2, [("one", JOB, "stale")])
    assert "there is no complete backup of job web01\n" in done.err
    done = status(home, "--json", "--target", "one")
    assert (done.status, states(done)) == (0, [("one", JOB, "none")])


def test_a_backup_from_the_future_makes_nothing_fresh(home: Path) -> None:
    """W3: A clock that was wrong once must not hide for a year that nothing comes any more."""
    old, future = stored(home, "one", 100), stored(home, "one", -9000)
    done = status(home, "--json", "--target", "one", "--max-age", "26h")
    assert (done.status, states(done)) == (2, [("one", JOB, "stale")])
    assert (done.json[0]["backup"], done.json[0]["future"]) == (old.manifest.id, [future.manifest.id])
    said = (
        f"WARNING: target one: job {JOB} has 1 backup dated later than now: {future.manifest.id}: not counted\nHint: "
    )
    assert said in done.err
    stored(home, "one", 1)
    assert status(home, "--target", "one", "--max-age", "26h").status == 1


def test_a_clock_that_is_a_little_ahead_is_none_that_is_wrong(home: Path) -> None:
    stored(home, "one", -0.05)
    done = status(home, "--json", "--target", "one", "--max-age", "26h")
    assert (done.status, done.json[0]["age"]) == (0, 0)


# A retired job


def test_a_retired_job_is_never_stale(home: Path) -> None:
    """W6."""
    stored(home, "one", 1000)
    stored(home, "one", 1000, job="db02")
    (home / "one/db02/retired").touch()
    done = status(home, "--json", "--all-jobs", "--target", "one", "--max-age", "26h")
    assert (done.status, states(done)) == (2, [("one", "db02", "retired"), ("one", JOB, "stale")])
    assert "db02" not in done.err
    (home / f"one/{JOB}/retired").write_text("replaced by web02")
    assert status(home, "-q", "--all-jobs", "--target", "one", "--max-age", "26h") == Done(0, "", "")


def test_a_folder_does_not_retire_a_job(home: Path) -> None:
    stored(home, "one", 1000)
    (home / f"one/{JOB}/retired").mkdir()
    assert states(status(home, "--json", "--target", "one", "--max-age", "26h")) == [("one", JOB, "stale")]


def test_all_else_passes_over_the_file_that_retires_a_job(tmp_path: Path) -> None:
    """W6."""
    one = 'dict(name="one", profile="folder", config=dict(path="one"), retention=dict(last=1))'
    write_config(tmp_path, config_text(LOCAL, targets=f"[{one}]"))
    for hours in (60, 30, 2):
        stored(tmp_path, "one", hours)
    retired = tmp_path / f"one/{JOB}/retired"
    retired.touch(0o600)
    assert len(carried_out(tmp_path, "list", "--json").json) == 3
    assert [each["status"] for each in carried_out(tmp_path, "verify", "all", "--json").json] == ["whole"] * 3
    assert carried_out(tmp_path, "prune", "--prune-anyway").status == 0
    assert len(carried_out(tmp_path, "list", "--json", "--from", tmp_path / f"one/{JOB}").json) == 1
    assert "retired" not in carried_out(tmp_path, "run").err
    assert retired.exists()


# Several jobs, and targets that fail


def test_all_jobs_are_those_that_have_backups(home: Path) -> None:
    """W4."""
    stored(home, "one", 1)
    stored(home, "one", 50, job="db02")
    unfinished = stored(home, "one", 1, job="new03")
    (home / f"one/new03/{unfinished.manifest.id}.json").unlink()
    (home / "one/photos").mkdir()
    (home / "two").mkdir()
    done = status(home, "--json", "--all-jobs", "--max-age", "26h")
    assert done.status == 2
    assert states(done) == [
        ("one", "db02", "stale"), ("one", "new03", "stale"), ("one", JOB, "ok"), ("two", None, "stale"),
    ]  # fmt: skip
    assert "ERROR: target two: is stale: there is no complete backup of any job\n" in done.err
    rows = status(home, "--all-jobs").out.splitlines()
    assert [row.split()[:3] for row in rows[:5]] == [
        ["JOB", "TARGET", "STATE"], ["db02", "one", "ok"], ["new03", "one", "none"], [JOB, "one", "ok"],
        ["-", "two", "none"],
    ]  # fmt: skip


def test_a_target_that_cannot_be_read_is_a_failure_and_hides_no_other(home: Path) -> None:
    """W5."""
    stored(home, "two", 1)
    for words in ([], ["--max-age", "26h"], ["--all-jobs"]):
        done = status(home, "--json", *words)
        job = None if "--all-jobs" in words else JOB
        assert (done.status, states(done)) == (2, [("one", job, "failed"), ("two", JOB, "ok")])
        assert done.err.startswith(f"ERROR: target one: {home}/one does not exist")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(("optional", "state", "code"), [(True, "absent", 0), (False, "failed", 2)])
def test_a_target_that_is_out_of_reach_may_be_so_where_it_is_optional(
    tmp_path: Path, optional: bool, state: str, code: int
) -> None:
    """W5."""
    config = f'dict(host="127.0.0.1", port={free_port()}, user="u", password=secret_file("password"), path="x")'
    (tmp_path / "password").write_text("correct-horse\n")
    (tmp_path / "password").chmod(0o600)
    target = f'dict(name="nas", profile="ftp", config={config}, optional={optional}, retries=0)'
    write_config(tmp_path, "from pickup_core.api import secret_file\n" + config_text(LOCAL, targets=f"[{target}]"))
    for words, job in (([], JOB), (["--all-jobs"], None)):
        done = status(tmp_path, "--json", "--max-age", "26h", *words)
        assert (done.status, states(done)) == (code, [("nas", job, state)])


def test_a_job_that_cannot_be_read_hides_no_other() -> None:
    """W5: As root nothing is forbidden, so this is done as somebody else."""
    with ordinary_folder() as folder:
        home = home_with_two_targets(folder)
        for job in ("a01", "b02", "c03"):
            stored(home, "one", 1, job=job)
        for path in (home, *home.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        (home / "one/b02").chmod(0)
        words = ["-c", str(home / "config.py"), "status", "--all-jobs", "--target", "one", "--max-age", "26h", "--json"]
        done = as_ordinary_user(f"import sys; from pickup_core.cli import main; sys.exit(main({words}))")
        (home / "one/b02").chmod(0o700)
    assert done.returncode == 2, done.stderr
    found = Done(2, done.stdout, done.stderr)
    assert states(found) == [("one", "a01", "ok"), ("one", "b02", "failed"), ("one", "c03", "ok")]
    assert done.stderr.startswith("ERROR: target one: job b02: Permission denied")


# Elsewhere


def test_another_machine_watches_with_three_lines(home: Path, tmp_path: Path) -> None:
    """W1: It knows of no verify, and never hears of the state of the machine that it watches."""
    stored(home, "one", 30)
    carried_out(home, "verify", "--target", "one")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lines = f'JOB = "{JOB}"\nTARGETS = [dict(name="one", profile="folder", config=dict(path="{home}/one"))]\n'
    write_config(elsewhere, f'CONFIG_VERSION = (1, 0)\n{lines}STATE_FOLDER = LOG_FOLDER = "state"\n')
    done = status(elsewhere, "--json", "--max-age", "26h")
    assert (done.status, states(done), done.json[0]["verified"]) == (2, [("one", JOB, "stale")], None)
    assert status(elsewhere, "--max-age", "31h").status == 0


def test_a_folder_is_read_without_a_config(home: Path) -> None:
    stored(home, "one", 30)
    stored(home, "one", 30, job="db02")
    done = carried_out(home, "status", "--from", home / "one", "--all-jobs", "--json", needs_config=False)
    assert states(done) == [(str(home / "one"), "db02", "ok"), (str(home / "one"), JOB, "ok")]
    with pytest.raises(UsageError, match=r"Hint: --job, one of: db02, web01"):
        carried_out(home, "status", "--from", home / "one", needs_config=False)


def on_a_terminal(home: Path, columns: int, command: str = "status") -> list[str]:
    """Give the lines that a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    words = [sys.executable, str(ROOT / "pickup.py"), "-c", str(home / "config.py"), command, "--target", "one"]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with open(ours, "rb", buffering=0) as terminal:
        done = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, env=environment, check=True, timeout=60)
        os.close(theirs)
        printed = b""
        try:
            while block := terminal.read(4096):
                printed += block
        except OSError:  # Linux gives EIO at the end
            pass
    assert done.stderr == b""
    return printed.decode().splitlines()


def test_status_does_without_a_standard_output(home: Path) -> None:
    stored(home, "one", 30)
    words = [sys.executable, str(ROOT / "pickup.py"), "-c", str(home / "config.py"), "status", "--target", "one"]
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *words]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (80, ["TARGET", "STATE", "AGE", "SIZE", "TREND", "VERIFIED", "BACKUP"]),
        (40, ["TARGET", "STATE", "AGE", "SIZE", "TREND"]),
        (20, ["TARGET", "STATE", "AGE"]),
        (3, ["TARGET", "STATE"]),
    ],
)
def test_a_narrow_terminal_gets_the_first_columns(home: Path, columns: int, head: list[str]) -> None:
    stored(home, "one", 30)
    lines = on_a_terminal(home, columns)
    assert lines[0].split() == head
    assert len(lines) == 2
    assert max(map(len, lines)) <= max(columns, len("TARGET  STATE"))


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (80, ["TARGET", "BACKUP", "LOCAL", "TIME", "AGE", "STATUS", "SIZE"]),
        (70, ["TARGET", "BACKUP", "AGE", "STATUS", "SIZE"]),
        (40, ["TARGET", "BACKUP", "STATUS"]),
    ],
)
def test_a_list_on_a_narrow_terminal_names_each_backup_and_its_status(
    home: Path, columns: int, head: list[str]
) -> None:
    stored(home, "one", 30)
    lines = on_a_terminal(home, columns, "list")
    assert lines[0].split() == head
    assert len(lines) == 2
    assert max(map(len, lines)) <= columns


DYING = '''"""A place that is gone once its root was listed."""
from pickup_core.api import Item, Options, Store, UnreachableError

API_VERSION = (1, 0)


class Config(Options):
    pass


class Target(Store):
    calls = 0

    def listdir(self, folder=""):
        self.calls += 1
        if self.calls > 1:
            raise UnreachableError(f"call {self.calls} did not get through")
        return [Item("a01", None), Item("b02", None), Item("c03", None)]

    def put(self, path, stream): ...
    def get(self, path): ...
    def delete(self, path): ...
'''


def test_a_target_that_is_lost_half_way_is_not_tried_for_each_job(tmp_path: Path) -> None:
    (tmp_path / "target_profiles").mkdir()
    (tmp_path / "target_profiles/dying.py").write_text(DYING)
    write_config(tmp_path, config_text(LOCAL, targets='[dict(name="one", profile="dying", retries=0)]'))
    done = status(tmp_path, "--json", "--all-jobs")
    assert (done.status, states(done)) == (2, [("one", "a01", "failed"), ("one", None, "failed")])
    assert done.err == (
        "ERROR: target one: job a01: call 2 did not get through\nERROR: target one: call 3 did not get through\n"
    )
    done = status(tmp_path, "--json", "--job", "a01")
    assert (done.status, states(done)) == (2, [("one", "a01", "failed")])
