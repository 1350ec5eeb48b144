"""What fails costs itself only: an entry, a target, and the backup of the rest is stored and says what it lacks."""

import json
import os
import re
import stat
from pathlib import Path

import pytest

from tests.end_to_end.command import JOB, Site, command_entry, folder_entry, shell_entry, target_entry


@pytest.fixture
def half(site: Site) -> Site:
    """A site whose second entry fails as soon as the file `broken` is there."""
    site.fill()
    dump = f"cat {site.source}/a.txt; if [ -e {site.folder}/broken ]; then echo 'server has gone away' >&2; exit 3; fi"
    site.configure([folder_entry(), shell_entry(dump, name="dump", filename="dump.sql")])
    return site


def _break(site: Site) -> None:
    (site.folder / "broken").touch()


def test_a_failed_entry_leaves_a_partial_backup_that_says_so(half: Site) -> None:
    """G2, I11: exit 2, entry and reason on stderr, in the manifest and in RESTORE.txt; `partial` in the list."""
    _break(half)
    result = half.run("-q", status=2)
    assert re.findall("ERROR: (.*)", result.err) == [
        "GENERATORS[1] 'dump' (command): dump.sql: sh ended with status 3: server has gone away"
    ]
    (name,) = half.names()
    assert half.listed() == [(name, "partial")]
    assert " partial " in half.run("list").out
    assert (half.backups / JOB / f"{name}.partial.json").is_file()
    assert not (half.backups / JOB / f"{name}.json").exists()
    manifest = json.loads((half.backups / JOB / f"{name}.partial.json").read_text())
    assert [(entry["name"], entry["status"]) for entry in manifest["entries"]] == [("files", "ok"), ("dump", "failed")]
    assert manifest["entries"][1]["failures"] == ["dump.sql: sh ended with status 3: server has gone away"]
    assert not list(half.backups.rglob("dump*"))
    text = (half.backups / JOB / name / "RESTORE.txt").read_text()
    assert "PARTIAL. These entries failed or were not asked for: dump." in text
    assert "FAILED: dump.sql: sh ended with status 3: server has gone away" in text
    half.run("verify", "all")


def test_restore_of_a_failed_entry_falls_back_to_the_newest_backup_that_holds_it(half: Site) -> None:
    good = half.backup()
    _break(half)
    half.fill({"a.txt": "newer\n"})
    bad = half.backup(status=2)
    result = half.run("restore", "--only", "dump", "--to", half.folder / "dump")
    assert f"job {JOB}, backup {good} of" in result.out
    assert f"the newest is {bad}" in result.out
    assert (half.folder / "dump/command/dump/dump.sql").read_text() == "first\n"
    result = half.run("restore", "--only", "files", "--to", half.folder / "files")
    assert f"job {JOB}, backup {bad} of" in result.out
    assert (half.folder / "files/folder/files/source/a.txt").read_text() == "newer\n"


def test_restore_of_everything_takes_the_newest_complete_backup_or_the_one_that_is_named(half: Site) -> None:
    good = half.backup()
    _break(half)
    bad = half.backup(status=2)
    assert f"backup {good} of" in half.run("restore", "--to", half.folder / "all").out
    half.run("restore", bad, "--to", half.folder / "named")
    assert [path.name for path in (half.folder / "named").iterdir()] == ["folder"]
    result = half.run("restore", bad, "--only", "dump", "--to", half.folder / "none", status=3)
    assert f"backup {bad} holds no artefacts of 'dump'" in result.err
    assert not (half.folder / "none").exists()


def test_where_all_entries_fail_nothing_is_published(half: Site) -> None:
    """S13, I2: exit 2, the older backup is as it was, nothing is left in the staging area."""
    good = half.backup()
    half.configure([command_entry("false", name="one"), command_entry("sh", "-c", "kill -9 $$", name="two")])
    result = half.run("-q", status=2)
    assert "ERROR: GENERATORS[0] 'one' (command): output: false ended with status 1\n" in result.err
    assert "GENERATORS[1] 'two' (command): output: sh was killed by signal 9 (out of memory?)\n" in result.err
    assert "no entry produced anything, so nothing is published; earlier backups are as they were" in result.err
    assert half.names() == [good]
    assert not list(half.staging.iterdir())
    half.run("verify", "all")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("true", "sh ended without an error, but wrote nothing"),
        ("/nonexistent/dump-it", "sh ended with status 127: /bin/sh: 1: /nonexistent/dump-it: not found"),
        ("head -c 2000000 /dev/zero | tr '\\0' 'x' >&2; echo end >&2; exit 1", "sh ended with status 1:\n  x"),
        ("echo part; sleep 100", "sh wrote nothing for 1 seconds and was stopped"),
        ('read x; echo "got $x"', None),
        ("echo part; exec 1>&-; sleep 100", "sh did not end within 1 seconds after its last byte"),
    ],
)
def test_a_command_that_goes_wrong_fails_its_entry(site: Site, text: str, said: str | None) -> None:
    """G2, G6, G8, G10, G12: bounded in time and memory, with the end of what it said."""
    site.fill()
    site.configure([shell_entry(text, name="dump", stall=1), folder_entry()])
    result = site.run("-q", status=2 if said else 0)
    assert (f"ERROR: GENERATORS[0] 'dump' (command): output: {said}" if said else "") in result.err
    assert len(result.err) < 500_000
    assert [status for _, status in site.listed()] == ["partial" if said else "complete"]


def test_a_program_that_there_is_not_is_named_with_the_path_that_was_searched(site: Site) -> None:
    """G1."""
    site.fill()
    site.configure([command_entry("dump-nothing-at-all"), folder_entry()])
    result = site.run("-q", status=2)
    assert (
        "ERROR: GENERATORS[0] 'words' (command): output: program dump-nothing-at-all cannot be found in PATH, which is "
        "/usr/bin:/bin, or may not be executed\nHint: install it\n"
    ) in result.err
    assert "dump-nothing-at-all" in site.run("-q", "check", status=2).err
    assert site.run("check", status=2).out.endswith("\na run would not do all of this: see the errors\n")


def test_one_database_of_two_that_fails_costs_itself_only(site: Site) -> None:
    """G15: the other is in the backup, and the failure names the one."""
    os.system(f"sqlite3 {site.folder}/good.db 'CREATE TABLE t (x); INSERT INTO t VALUES (1)'")
    (site.folder / "bad.db").write_bytes(b"no database at all" * 100)
    entry = {"name": "shop", "profile": "sqlite", "config": {"databases": ["bad.db", "good.db"]}}
    site.configure([entry])
    result = site.run("-q", status=2)
    assert re.search(
        rf"'shop' \(sqlite\): bad.db: database {site.folder}/bad.db\S* .*file is not a database", result.err
    )
    (name,) = site.names()
    assert [path.name for path in (site.backups / JOB / name / "sqlite/shop").iterdir()] == ["good.db.zst"]
    assert site.listed() == [(name, "partial")]


def test_one_target_of_two_that_fails_leaves_the_other_with_the_whole_backup(site: Site) -> None:
    """T26, FAIL t: exit 2, the target is named; nothing is kept in the staging area, as one place has it."""
    site.fill()
    (site.folder / "occupied").write_text("a file, where a folder should be\n")
    site.configure(targets=[target_entry("occupied", name="broken"), target_entry()])
    result = site.run("-q", status=2)
    assert re.search(rf"(?m)^ERROR: TARGETS\[0\] 'broken' \(folder\): .*{site.folder}/occupied", result.err)
    (name,) = site.names()
    assert f"copy {name} --target=disk --to=broken\n" in result.err
    assert site.listed("--target", "disk") == [(name, "complete")]
    assert not list(site.staging.iterdir())
    result = site.run("list", "--json", status=2)
    assert [each["target"] for each in result.json] == ["disk"]
    result = site.run("-q", "restore", "--to", site.folder / "restored", status=1)
    assert result.err == f"WARNING: target broken: Not a directory: {site.folder}/occupied\n"
    (site.folder / "occupied").unlink()
    site.run("copy", name, "--target", "disk", "--to", "broken")
    site.run("verify", "all", "--target", "broken")


def test_where_all_targets_fail_the_backup_is_kept_until_one_takes_the_next(site: Site) -> None:
    """S13: kept 0700 with its path on stderr, once only, whole and restorable; the next good run removes it."""
    site.fill()
    (site.folder / "occupied").write_text("a file\n")
    site.configure(targets=[target_entry("occupied/below")])
    kept = site.staging / f"kept-{JOB}/backup"
    for _ in range(2):
        result = site.run("-q", status=2)
        assert (
            f"ERROR: job {JOB}: no target took the backup; it is kept in {kept} until one takes a later one\n"
            in result.err
        )
        assert [path.name for path in site.staging.iterdir()] == [f"kept-{JOB}"]
        assert stat.S_IMODE((site.staging / f"kept-{JOB}").stat().st_mode) == 0o700
    os.chdir("/")
    site.run("verify", "--from", kept, config=False)
    site.run("restore", "--from", kept, "--to", site.folder / "rescued", config=False)
    assert (site.folder / "rescued/folder/files/source/a.txt").read_text() == "first\n"
    site.configure()
    result = site.run()
    assert f"staging area: removed {kept.parent}, which an earlier run had kept" in result.out
    assert not list(site.staging.iterdir())


def test_a_mount_point_without_its_disk_is_refused(site: Site) -> None:
    """T25: nothing is written to the file system below."""
    site.fill()
    site.backups.mkdir(mode=0o700)
    entry = {"name": "disk", "profile": "folder", "config": {"path": str(site.backups), "require_mount": True}}
    site.configure(targets=[entry])
    result = site.run("-q", status=2)
    assert f"TARGETS[0] 'disk' (folder): {site.backups} is not a mount point\nHint: mount the disk" in result.err
    assert not list(site.backups.iterdir())


def test_leftovers_of_a_killed_run_are_cleared_and_what_is_not_ours_is_left(site: Site) -> None:
    """S6: in the staging area by mark and free lock; a folder of somebody else stays."""
    site.fill()
    site.run("-q")
    killed = site.staging / "run-killed01"
    for folder in (killed / "backup/folder", site.staging / "run-foreign", site.staging / "mine"):
        folder.mkdir(parents=True, mode=0o700)
    (killed / "PICKUP-STAGING").touch(mode=0o600)
    (killed / "backup/folder/half").write_text("half")
    (site.staging / "run-foreign/letter").write_text("dear")
    (site.staging / "run-empty").mkdir(mode=0o700)
    os.utime(site.staging / "run-empty", (0, 0))
    for path in (killed, killed / "backup", killed / "backup/folder/half", site.staging / "run-foreign/letter"):
        path.chmod(0o700)
    result = site.run()
    assert f"staging area: removed {killed}, left by a run that was killed" in result.out
    assert sorted(path.name for path in site.staging.iterdir()) == ["mine", "run-foreign"]
    assert (site.staging / "run-foreign/letter").read_text() == "dear"


@pytest.mark.parametrize("case", ["link", "open", "open parent", "file"])
def test_a_staging_area_that_is_not_safe_is_refused(site: Site, case: str) -> None:
    """S8: exit 3, nothing was done, and a hint that can be followed."""
    site.fill()
    area: Path = site.folder / "area"
    if case == "link":
        (site.folder / "real").mkdir(mode=0o700)
        area.symlink_to(site.folder / "real")
    elif case == "open":
        area.mkdir()
        area.chmod(0o755)
    elif case == "file":
        area.write_text("")
    else:
        (site.folder / "parent").mkdir()
        (site.folder / "parent").chmod(0o777)
        area = site.folder / "parent/area"
    site.configure(STAGING_AREA=str(area))
    result = site.run("-q", status=3)
    assert result.err.startswith("web: backup failed: STAGING_AREA: ")
    assert str(area if case != "open parent" else area.parent) in result.err
    assert not site.backups.exists()
    if case == "open":
        assert f"\nHint: chmod 700 {area}" in result.err


def test_two_entries_with_the_same_file_name_are_kept_apart(site: Site) -> None:
    """G34: injective names; what would collide after case folding is refused with both names."""
    for name in ("a/data", "b/data"):
        site.fill({"x": name}, below=f"source/{name}")
    site.configure([folder_entry("source/a/data", name="one"), folder_entry("source/b/data", name="two")])
    site.run("-q")
    to = site.restored()
    assert (to / "folder/one/data/x").read_text() == "a/data"
    assert (to / "folder/two/data/x").read_text() == "b/data"
    site.configure([folder_entry("source/a/data", name="web/one"), folder_entry("source/b/data", name="Web_one")])
    result = site.run("-q", status=3)
    assert "GENERATORS[1] 'Web_one' (folder): has the same name as GENERATORS[0], or one that would share" in result.err
