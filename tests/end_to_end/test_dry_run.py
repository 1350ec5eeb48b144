"""A dry run tells what would be, and changes nothing anywhere."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.end_to_end.aging import copied_to, nights
from tests.end_to_end.command import JOB, Site, command_entry, folder_entry, shell_entry, target_entry
from tests.end_to_end.trees import everything_about


@pytest.fixture
def used(site: Site) -> Site:
    """A site with five old backups, a database, and a second target that was never used."""
    site.fill()
    with contextlib.closing(sqlite3.connect(site.folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    entries = [
        folder_entry(exclude=["*.tmp"]),
        shell_entry(f"touch {site.folder}/command-was-run; date", name="date"),
        {"name": "shop", "profile": "sqlite", "config": {"databases": ["shop.db"]}},
    ]
    site.fill({"x.tmp": "", "deep/y.tmp": ""})
    site.configure(entries)
    name = site.backup()
    for moment in nights(5):
        copied_to(moment, site.backups / JOB / name)
    shutil.rmtree(site.backups / JOB / name)
    (site.backups / JOB / f"{name}.json").unlink()
    site.configure(entries, [target_entry(retention={"last": 3}), target_entry("never/used", name="new")])
    (site.folder / "command-was-run").unlink()
    return site


def test_a_dry_run_changes_nothing_and_tells_what_a_run_would_do(used: Site) -> None:
    """R17: every path, inode, time and content below the test's folder is as it was, the log's too."""
    before = everything_about(used.folder)
    result = used.run("--dry-run")
    assert everything_about(used.folder) == before
    assert "dry run of job web: nothing is changed" in result.out
    assert "folder/files: ok" in result.out
    (note,) = [line for line in result.out.splitlines() if "exclude '*.tmp' matches " in line]
    assert "source/x.tmp" in note
    assert "source/deep/y.tmp" in note
    assert "folder/disk: holds 5 backups; would store web/2" in result.out
    assert f"folder/new: would make {used.folder}/never/used and store web/2" in result.out
    names = used.names()
    assert [f"delete {name}" in result.out for name in names] == [False, False, True, True, True]
    assert f"keep {names[0]}: " in result.out


def test_other_commands_that_only_look_change_nothing_either(used: Site) -> None:
    """R17, C6: prune -n, list and find; verify and restore write their line of history, and nothing else."""
    used.run("list", "--target", "disk")
    before = everything_about(used.backups, used.staging, used.source)
    state = everything_about(used.state)
    used.run("prune", "-n", "--target", "disk")
    used.run("list", "--target", "disk")
    used.run("find", "a.txt", "--target", "disk")
    assert everything_about(used.state) == state
    used.run("verify", "all", "--target", "disk")
    used.restored("--target", "disk")
    assert everything_about(used.backups, used.staging, used.source) == before
    changed = everything_about(used.state).items() ^ state.items()
    assert {Path(path).name for path, _ in changed} == {f"{JOB}.history.jsonl"}


def test_a_first_dry_run_makes_no_folder_at_all(site: Site) -> None:
    site.fill()
    before = everything_about(site.folder)
    site.run("-n")
    assert everything_about(site.folder) == before


def test_a_dry_run_finds_what_a_run_would_fail_at(site: Site) -> None:
    """G1, G19, T34: exit 2, each named."""
    site.fill()
    site.run("-q")
    site.backups.rename(site.folder / "unmounted")
    site.configure([folder_entry("gone"), command_entry("no-such-program")], [target_entry()])
    before = everything_about(site.folder)
    result = site.run("-n", status=2)
    assert everything_about(site.folder) == before
    assert f"GENERATORS[0] 'files' (folder): {site.folder}/gone does not exist" in result.err
    assert "GENERATORS[1] 'words' (command): program no-such-program cannot be found in PATH" in result.err
    assert f"TARGETS[0] 'disk' (folder): {site.backups} does not exist" in result.err


def test_a_database_in_wal_mode_is_looked_at_without_a_trace(site: Site) -> None:
    """R17: no -wal and -shm files appear beside it."""
    with contextlib.closing(sqlite3.connect(site.folder / "shop.db")) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
    assert not (site.folder / "shop.db-wal").exists()
    site.configure([{"name": "shop", "profile": "sqlite", "config": {"databases": ["shop.db"]}}])
    before = everything_about(site.folder)
    result = site.run("-n")
    assert everything_about(site.folder) == before
    assert "journal mode wal" in result.out


def test_check_proves_that_a_run_would_work_and_leaves_nothing(used: Site) -> None:
    """A probe is written, read and deleted at each target; notes say what is excluded and what is never deleted."""
    before = sorted(path for path in used.backups.rglob("*"))
    result = used.run("check")
    assert "folder/disk: ok" in result.out
    assert f"folder/new: {used.folder}/never/used does not exist, and the first run makes it" in result.out
    assert "  note: without retention, no backup is ever deleted there" in result.out
    assert "matches" in result.out
    assert sorted(path for path in used.backups.rglob("*")) == before
    assert not (used.folder / "never").exists()
    assert not (used.folder / "command-was-run").exists()
    assert result.out.endswith("\na run would work\n")
    (used.source.parent / "data").mkdir()
    (used.source / "PG_VERSION").write_text("17\n")
    assert f"note: {used.source} is a data folder of PostgreSQL" in used.run("check").out
