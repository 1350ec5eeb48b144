"""Restoring somewhere else: with another config, with none, and without Pickup."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.command import JOB, Site, command_entry, folder_entry, target_entry
from tests.end_to_end.trees import fill_with_everything, looks_of

IS_ROOT = os.geteuid() == 0
SCRIPT = Path(__file__).with_name("restore_without_pickup.sh")
TOOLS = ("sh", "sed", "grep", "tar", "zstd", "gzip", "cat", "mkdir", "sha256sum", "sqlite3", "printf", "env")


@pytest.fixture
def first_host(site: Site) -> Site:
    """A site with a backup of everything."""
    fill_with_everything(site.source)
    with contextlib.closing(sqlite3.connect(site.folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
        connection.executemany("INSERT INTO orders (what) VALUES (?)", ((f"thing {n}",) for n in range(100)))
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('ada')")
    site.configure(
        [
            folder_entry(),
            command_entry("printf", "a\\0b\\377\\n", name="system's", filename="a system.bin"),
            {"name": "shop", "profile": "sqlite", "config": {"databases": ["shop.db"]}},
        ]
    )
    site.backup()
    return site


@pytest.fixture
def second_host(first_host: Site, tmp_path: Path) -> Site:
    """Another machine, with another JOB and a config of three lines, that reads the first one's target."""
    second = Site(tmp_path / "second host")
    second.write_config(
        "CONFIG_VERSION = (1, 0)\n"
        f"TARGETS = [dict(name='theirs', profile='folder', config=dict(path={str(first_host.backups)!r}))]\n"
        "JOB, STATE_FOLDER, LOG_FOLDER = 'mail', 'state', 'log'\n"
    )
    return second


def _see_that_all_is_back(first_host: Site, to: Path) -> None:
    assert looks_of(to / "folder/files/source", owners=IS_ROOT) == looks_of(first_host.source, owners=IS_ROOT)
    assert (to / "command/system_s/a=20system.bin").read_bytes() == b"a\0b\xff\n"
    assert _dumped(to / "sqlite/shop/shop.db") == _dumped(first_host.folder / "shop.db")


def _dumped(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        return list(connection.iterdump())


def test_another_host_restores_with_a_config_of_three_lines(first_host: Site, second_host: Site) -> None:
    """V17: its own job holds nothing, which says where to look; --job gives all of it."""
    result = second_host.run("restore", "--to", second_host.folder / "x", status=3)
    assert result.err == f"ERROR: target theirs: it holds no backup of job mail\nHint: it holds jobs: {JOB}\n"
    assert second_host.listed("--job", JOB) == [(first_host.names()[0], "complete")]
    assert second_host.listed("--all-jobs") == [(first_host.names()[0], "complete")]
    second_host.run("verify", "--job", JOB)
    second_host.run("find", "--job", JOB, "linked")
    _see_that_all_is_back(first_host, second_host.restored("--job", JOB))
    to = second_host.restored("--job", JOB, "--only", "files", "--path", "mode 644")
    assert [path.name for path in (to / "folder/files/source").iterdir()] == ["mode 644"]


@pytest.mark.parametrize("what", ["a backup", "a job", "a target"])
def test_a_folder_copied_by_hand_is_read_without_any_config(first_host: Site, tmp_path: Path, what: str) -> None:
    """V18: one backup's folder alone, a job's folder, or a whole target; nothing in it is changed."""
    name = first_host.names()[0]
    copy = tmp_path / "stick" / "copied here"
    source = {
        "a backup": first_host.backups / JOB / name,
        "a job": first_host.backups / JOB,
        "a target": first_host.backups,
    }
    copy.parent.mkdir()
    shutil.copytree(source[what], copy if what != "a job" else copy.with_name(JOB))
    copy = copy if what != "a job" else copy.with_name(JOB)
    before = looks_of(copy)
    second = Site(tmp_path / "second")
    options = {"config": False, "cwd": tmp_path}
    (listed,) = second.run("list", "--json", "--from", copy, **options).json
    assert (listed["job"], listed["backup"], listed["status"]) == (JOB, name, "complete")
    assert f"{name} is whole" in second.run("verify", "--from", copy, **options).out
    assert "source/linked" in second.run("find", "linked", "--from", copy, **options).out
    to = second.folder / "to"
    second.run("restore", "--from", copy.relative_to(tmp_path), "--to", "second/to", **options)
    _see_that_all_is_back(first_host, to)
    assert looks_of(copy) == before
    assert not (second.folder / "log").exists()


def test_nothing_is_restored_into_the_backup_itself(first_host: Site, tmp_path: Path) -> None:
    """I10: what stands in a backup's folder would be an extra file for ever, and verify would find it."""
    stored = first_host.backups / JOB / first_host.names()[0]
    for to in (stored, stored / "restored"):
        result = first_host.run("restore", "--from", stored, "--to", to, status=6)
        assert result.err == f"ERROR: --to {to} lies in {stored}, whose backups it would change\n"
    first_host.run("verify")


def test_a_folder_that_holds_no_backup_is_told(site: Site) -> None:
    site.fill()
    for folder, said in (("source", "there are no backups in it\nHint: "), ("nowhere", "there is no such folder\n")):
        result = site.run("list", "--from", site.folder / folder, config=False, status=3)
        assert result.err.startswith(f"ERROR: --from {site.folder / folder}: {said}"), result
    for job in (JOB, "mail"):
        site.configure(JOB=job)
        site.backup() if job == JOB else site.run("-q")
    result = site.run("list", "--from", site.backups, config=False, status=3)
    assert result.err == "ERROR: whose backups? No job is named\nHint: --job, one of: mail, web\n"
    assert len(site.listed("--from", site.backups, "--job", "mail")) == 1
    assert len(site.listed("--from", site.backups, "--all-jobs")) == 2
    head, *rows = site.run("list", "--from", site.backups, "--all-jobs").out.splitlines()
    assert head.startswith("JOB   TARGET ")
    assert [row.split()[0] for row in rows] == ["mail", "web"]


def test_a_copied_backup_in_which_something_was_changed_is_found(first_host: Site, tmp_path: Path) -> None:
    """V1, V2, V18: of the single folder, too."""
    copy = tmp_path / "copy"
    shutil.copytree(first_host.backups / JOB / first_host.names()[0], copy)
    artefact = copy / "sqlite/shop/shop.db.zst"
    artefact.write_bytes(artefact.read_bytes()[:-1])
    result = first_host.run("verify", "--from", copy, config=False, status=6)
    assert "sqlite/shop/shop.db.zst has" in result.err
    result = first_host.run("restore", "--from", copy, "--to", tmp_path / "to", config=False, status=6)
    assert "sqlite/shop/shop.db.zst has changed since it was stored" in result.err
    assert not (tmp_path / "to").exists()
    first_host.run("restore", "--from", copy, "--only", "files", "--to", tmp_path / "to", config=False)
    (copy / "manifest.json").write_bytes((copy / "manifest.json").read_bytes().replace(b'"ok"', b'"no"', 1))
    result = first_host.run("verify", "--from", copy, config=False, status=6)
    assert f"{copy}/manifest.json" in result.err


@pytest.fixture
def bare(first_host: Site, tmp_path: Path) -> Path:
    """A root folder of a machine with nothing but standard tools, and a copy of the backup's folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"{tool} is needed"
        (programs / tool).symlink_to(found)
    copy = tmp_path / "copy of the backup"
    shutil.copytree(first_host.backups / JOB / first_host.names()[0], copy)
    shutil.move(first_host.backups, tmp_path / "gone")
    first_host.private.clear()
    return copy


def _without_pickup(what: str, bare: Path, tmp_path: Path, *arguments: str) -> tuple[Path, str]:
    """Run the script on the copy; give the folder with what came of it, and what was said."""
    restored = tmp_path / f"restored-{what}"
    done = subprocess.run(
        ["sh", SCRIPT, what, bare, restored, *arguments],
        env={"PATH": str(tmp_path / "bin")}, cwd="/", capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return restored, done.stdout + done.stderr


def test_everything_comes_back_by_restore_txt_alone(first_host: Site, bare: Path, tmp_path: Path) -> None:
    """V16: its indented commands, in their order, in a copy of the backup's folder; no Python, no Pickup."""
    restored, said = _without_pickup("everything", bare, tmp_path)
    assert "sha256sum -c SHA256SUMS" in said
    assert said.count(": OK") == 7
    _see_that_all_is_back(first_host, restored)


def test_one_file_comes_back_by_restore_txt_alone(first_host: Site, bare: Path, tmp_path: Path) -> None:
    """V16: its name from the list of contents, written at the end of the line."""
    restored, said = _without_pickup("file", bare, tmp_path, "source/mode 644")
    assert "-rw-r--r--" in said, "the list of contents tells the mode"
    found = [path for path in restored.rglob("*") if path.is_file()]
    assert [path.relative_to(restored).as_posix() for path in found] == ["folder/files/source/mode 644"]
    assert found[0].read_bytes() == (first_host.source / "mode 644").read_bytes()
    assert found[0].stat().st_mtime_ns == (first_host.source / "mode 644").stat().st_mtime_ns


def test_one_table_comes_back_by_restore_txt_alone(first_host: Site, bare: Path, tmp_path: Path) -> None:
    """V16: out of the SQLite database into another one."""
    restored, _ = _without_pickup("table", bare, tmp_path, "shop.db", "users")
    with contextlib.closing(sqlite3.connect(restored / "other.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]
        assert connection.execute("SELECT name FROM users").fetchall() == [("ada",)]


@pytest.mark.parametrize("compression", ["gzip", "none", "zstd"])
def test_restore_txt_and_sha256sums_hold_for_every_compression(site: Site, tmp_path: Path, compression: str) -> None:
    """V16: sha256sum -c, and every command, on what another target holds."""
    site.fill()
    site.configure([folder_entry(), command_entry("date", name="date")], [target_entry()], COMPRESSION=compression)
    folder = site.backups / JOB / site.backup()
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK\n") == len(done.stdout.splitlines()) == 6
    listed = {line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - listed == {"SHA256SUMS", "manifest.json"}
    text = (folder / "RESTORE.txt").read_text()
    lines = [
        line[4:] for line in text.splitlines() if line.startswith("    ") and not line[4:].startswith(("pickup ", "#"))
    ]
    lines = [line for line in lines if "grep NAME" not in line]
    home = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(
        ["sh", "-eu"], input="\n".join(lines), cwd=folder, text=True, check=True, capture_output=True, env=home
    )
    assert looks_of(tmp_path / "restored/folder/files/source") == looks_of(site.source)


def test_a_manifest_that_was_exchanged_is_found_on_the_machine_that_wrote_it(site: Site) -> None:
    """V3: a manifest and files that fit together, but are not what was written here; elsewhere they pass."""
    from tests.end_to_end.aging import copied_to, moment_of

    site.fill({"a.txt": "true\n"})
    name = site.backup()
    genuine = site.backups / JOB / name
    site.fill({"a.txt": "forged\n"})
    other = site.backup()
    shutil.rmtree(genuine)
    (site.backups / JOB / f"{name}.json").unlink()
    assert copied_to(moment_of(name), site.backups / JOB / other) == name
    result = site.run("verify", name, status=6)
    assert f"{JOB}/{name}.json is not the manifest that this machine wrote" in result.err
    site.run("verify", name, "--from", site.backups, config=False)
