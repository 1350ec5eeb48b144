"""The environment that cron gives: hardly any variables, odd masks, tight limits."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.command import (
    CHECKOUT,
    CRON,
    JOB,
    Site,
    command_entry,
    copied_tree,
    folder_entry,
    shell_entry,
    target_entry,
)
from tests.end_to_end.trees import looks_of

CREATED = re.compile(
    r'(?P<pid>\d+) +(?:openat|open|creat|mkdir|mkdirat)\(.*?"(?P<path>[^"]*)".*, 0(?P<mode>\d+)\) = \d+'
)
MASKED = re.compile(r"(?P<pid>\d+) +umask\(0?(?P<mask>\d+)\)")


def test_nothing_is_needed_but_a_path_to_find_programs(site: Site) -> None:
    """E1: no HOME, USER, SHELL, LANG; cwd is / and stdin is /dev/null (all tests here run so)."""
    assert site.env == {"PATH": "/usr/bin:/bin"}
    site.fill()
    site.env = {}
    site.run("-q")
    site.run("-q", "verify")


def test_a_home_folder_that_there_is_not_is_a_problem_of_the_config(site: Site) -> None:
    """E1: `~` of nobody that there is."""
    site.configure([folder_entry("~no-such-user/data")])
    result = site.run("-q", status=3)
    assert "GENERATORS[0] 'files' (folder): config.path: is a path" not in result.err
    assert "begins with ~, but there is no home folder; write the whole path" in result.err


def test_a_relative_path_is_relative_to_the_config_and_nothing_is_loaded_from_where_we_stand(site: Site) -> None:
    """Security checklist: nothing is loaded from the working directory by accident."""
    site.fill()
    trap = site.folder / "trap"
    trap.mkdir()
    for name in ("config.py", "pickup_core.py", "pydantic.py", "logging.py", "sqlite3.py", "folder.py"):
        (trap / name).write_text("raise SystemExit('the working directory was read')\n")
    result = site.run("-q", cwd=trap)
    assert result.err == ""
    assert site.backups.is_dir()
    assert sorted(path.name for path in trap.iterdir()) == [
        "config.py", "folder.py", "logging.py", "pickup_core.py", "pydantic.py", "sqlite3.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "zone", ["", "Pacific/Kiritimati", "America/St_Johns", "nonsense/zone", "<-12>12", ":/etc/passwd"]
)
def test_a_backup_is_named_by_utc_whatever_the_time_zone(site: Site, zone: str) -> None:
    """E7, R9."""
    site.fill()
    site.env = {**CRON, "TZ": zone}
    before = subprocess.run(["date", "-u", "+%Y-%m-%dT%H%M%SZ"], capture_output=True, text=True, check=True).stdout
    name = site.backup()
    after = subprocess.run(["date", "-u", "+%Y-%m-%dT%H%M%SZ"], capture_output=True, text=True, check=True).stdout
    assert before.strip() <= name <= after.strip()
    (listed,) = site.run("list", "--json").json
    assert listed["started"].endswith("+00:00")
    site.env = CRON
    assert site.listed() == [(name, "complete")]


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_what_is_made_is_private_whatever_the_umask(site: Site, mask: int) -> None:
    """E5, S10, I7: the modes with which files are created, as the kernel saw them, and those that are left."""
    site.fill()
    site.configure(
        [folder_entry(), command_entry("date"), {"name": "db", "profile": "sqlite", "config": {"databases": ["x.db"]}}],
        [target_entry(retention={"last": 1}), target_entry("more/below", name="two")],
    )
    subprocess.run(["sqlite3", site.folder / "x.db", "CREATE TABLE t (x); INSERT INTO t VALUES (1)"], check=True)
    site.private.append(site.folder / "more")
    tree = copied_tree(site.folder / "tree")
    site.pickup = tree / "pickup.py"
    trace = site.folder / "trace"
    calls = "umask,openat,open,creat,mkdir,mkdirat"
    site.prefix = ["strace", "-f", "-qq", "-s", "4096", "-o", str(trace), "-e", f"trace={calls}"]
    for command in ([], [], ["check"], ["restore", "--to", site.folder / "to"], ["keep", "latest", "x"]):
        site.run("-q", *command, umask=mask)
        created = list(_created(trace, mask, site.folder))
        assert created, "the trace tells nothing"
        assert not [each for each in created if each[1] & 0o077], created
    loose = [path for path in tree.rglob("__pycache__/**") if stat.S_IMODE(path.stat().st_mode) & 0o022]
    assert list(tree.rglob("__pycache__")), "no bytecode was written"
    assert not loose, loose
    assert looks_of(site.folder / "to/folder/files/source") == looks_of(site.source)


def _created(trace: Path, mask: int, below: Path) -> Iterator[tuple[str, int]]:
    """Give path and mode of everything that was created, as the kernel made it; not what tar restores."""
    masks: dict[str, int] = {}
    for line in trace.read_text(errors="replace").splitlines():
        if found := MASKED.match(line):
            masks[found["pid"]] = int(found["mask"], 8)
        elif (found := CREATED.match(line)) and (str(below) in found["path"] or not found["path"].startswith("/")):
            first = next(iter(masks.values()), mask)  # children inherit the mask of the first process
            if "/to/" not in found["path"] and masks.get(found["pid"], first) != 0:
                yield found["path"], int(found["mode"], 8) & ~masks.get(found["pid"], first)


def test_few_open_files_are_enough(site: Site) -> None:
    """E6: `ulimit -n 32`."""
    site.fill({f"{number}/{name}": "x" for number in range(40) for name in "abc"})
    site.configure([folder_entry(split=True), command_entry("date")], [target_entry(), target_entry("two", name="two")])
    site.private.append(site.folder / "two")
    site.prefix = ["sh", "-c", 'ulimit -n 32 && exec "$@"', "sh"]
    site.run("-q")
    site.run("-q", "verify", "all")
    assert len(site.run("find", "a", "--json").json) == 80
    to = site.folder / "to"
    site.run("-q", "restore", "--to", to)
    assert len(list(to.rglob("a"))) == 40


def test_a_limit_on_the_size_of_files_fails_the_entry_that_meets_it(site: Site) -> None:
    """E6: `ulimit -f`, SIGXFSZ; the small ones are stored, the message names the file and the reason."""
    site.fill()
    site.configure(
        [shell_entry("head -c 3000000 /dev/urandom", name="large", filename="large.bin"), folder_entry(split=False)]
    )
    site.prefix = ["bash", "-c", 'ulimit -f 1000 && exec "$@"', "bash"]
    result = site.run("-q", status=2)
    assert result.problems.startswith("ERROR: GENERATORS[0] 'large' (command): large.bin: File too large")
    assert [status for _, status in site.listed()] == ["partial"]
    assert not list(site.backups.rglob("large*"))
    assert "large.bin" not in (site.backups / JOB / site.names()[0] / "SHA256SUMS").read_text()


def test_too_little_memory_is_a_clear_error(site: Site) -> None:
    """E6, K7: `ulimit -v` so small that something cannot be had; never a backup that looks whole and is not."""
    site.fill()
    fired = 0
    for kibibytes in (60_000, 100_000, 140_000):
        site.prefix = ["sh", "-c", f'ulimit -v {kibibytes} && exec "$@"', "sh"]
        process = site.start("-q")
        out, err = process.communicate(timeout=60)
        fired += process.returncode != 0
        assert process.returncode == 0 or err, (kibibytes, out, err)
    assert fired, "no limit was small enough"
    site.prefix = ()
    site.run("-q")
    assert {status for _, status in site.listed()} <= {"complete"}
    site.run("verify", "all")


def test_hostile_variables_do_not_reach_children(site: Site) -> None:
    """E8: what could make a child load or do something else is taken out of its environment."""
    site.fill()
    site.configure([command_entry("env"), folder_entry()])
    hostile = {"LD_LIBRARY_PATH": "/tmp", "PYTHONPATH": "/nonexistent", "PYTHONWARNINGS": "ignore"}
    hostile |= {"TAR_OPTIONS": "--bogus", "TAPE": "/dev/null", "POSIXLY_CORRECT": "1"}
    site.env = {**CRON, **hostile}
    site.run("-q")
    to = site.restored()
    seen = (to / "command/words/output").read_text()
    assert "LD_" not in seen
    assert "PYTHON" not in seen
    assert (to / "folder/files/source/a.txt").exists()


def test_children_get_nothing_but_their_pipes(site: Site) -> None:
    """G39, G12, C9: descriptors 0, 1 and 2 only, /dev/null to read from, a session of its own."""
    site.configure(
        [shell_entry("ls -l /proc/self/fd; ps -o pid=,sid=,tty= -p $$; readlink /proc/self/fd/0", name="fds")]
    )
    site.run("-q")
    seen = (site.restored() / "command/fds/output").read_text()
    numbers = re.findall(r" (\d+) -> (?!/proc/)", seen)
    assert sorted(set(numbers)) == ["0", "1", "2"], seen
    assert seen.endswith("/dev/null\n")
    pid, sid, terminal = seen.splitlines()[-2].split()
    assert (pid, terminal) == (sid, "?")


def test_the_command_starts_fast_and_imports_nothing_heavy(site: Site) -> None:
    code = "import sys; sys.argv = ['pickup.py', '--version']\n"
    code += f"try:\n    exec(compile(open({str(CHECKOUT / 'pickup.py')!r}).read(), 'pickup.py', 'exec'))\n"
    code += (
        "except SystemExit:\n    print(sorted(set(sys.modules) & {'pydantic', 'logging', 'sqlite3', 'subprocess'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True, env=CRON
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(CHECKOUT / "pickup.py"), "-c", str(site.config), "-n"],
        capture_output=True, text=True, env=CRON, check=False,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "pydantic" in imported
    assert not imported & {"paramiko", "psycopg2", "pymysql", "sqlite3", "backports.zstd", "asyncio"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_staging_area_that_is_full_fails_the_entry_and_keeps_the_older_backup(site: Site, small_disk: Path) -> None:
    """S1: ENOSPC on a real small file system; the small entry beside it is stored."""
    site.fill()
    site.configure(
        [shell_entry("head -c $SIZE /dev/urandom", name="large", env={"SIZE": "1000"}), folder_entry()],
        STAGING_AREA=str(small_disk / "area"),
    )
    site.private.append(small_disk / "area")
    good = site.backup()
    site.configure(
        [shell_entry("head -c $SIZE /dev/urandom", name="large", env={"SIZE": "4000000"}), folder_entry()],
        STAGING_AREA=str(small_disk / "area"),
    )
    result = site.run("-q", status=2)
    assert result.problems.startswith("ERROR: GENERATORS[0] 'large' (command): output: No space left on device: "), (
        result
    )
    assert [status for _, status in site.listed()] == ["partial", "complete"]
    assert site.listed()[1][0] == good
    site.run("verify", "all")
    assert not list((small_disk / "area").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_log_on_a_full_disk_does_not_stop_the_backup(site: Site, small_disk: Path) -> None:
    """L2, I12: said once on stderr, and exit 1."""
    site.fill()
    site.configure(LOG_FOLDER=str(small_disk / "log"))
    (small_disk / "filler").write_bytes(b"x" * 4096)
    subprocess.run(["sh", "-c", f"cat /dev/zero > {small_disk}/filler"], check=False, stderr=subprocess.DEVNULL)
    (small_disk / "log").mkdir(mode=0o700)
    result = site.run("-q", status=1)
    assert len(result.problems.splitlines()) == 1
    assert "No space left on device" in result.problems
    assert [status for _, status in site.listed()] == ["complete"]
