"""The main line: a folder, a command's output and an SQLite database are kept, listed, verified, found and restored."""

import contextlib
import os
import re
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.end_to_end.command import JOB, Site, command_entry, folder_entry, shell_entry, target_entry
from tests.end_to_end.trees import HOSTILE_NAMES, fill_with_everything, looks_of

IS_ROOT = os.geteuid() == 0
KEYS_OF_THE_DESIGN = {"target", "job", "backup", "status", "started", "size", "artefacts"}


def _database(path: Path, rows: int = 1000) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.executemany("INSERT INTO orders (what) VALUES (?)", ((f"thing {n}",) for n in range(rows)))
        connection.execute("INSERT INTO users VALUES ('ada')")
    return path


def _dumped(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def full(site: Site) -> Site:
    """A site with one entry of each profile, and everything that a file system can hold."""
    fill_with_everything(site.source)
    _database(site.folder / "shop.db")
    site.configure(
        [
            folder_entry(site.source),
            command_entry("printf", "a\\0b\\377\\n", name="system", filename="system.bin"),
            {"name": "shop", "profile": "sqlite", "config": {"databases": ["shop.db"]}},
        ]
    )
    return site


def test_what_is_kept_comes_back_identical(full: Site) -> None:
    """G28, G30, G31, G29, V14, E1, I4: names, links, holes, special files, attributes, modes and times."""
    before = looks_of(full.source, owners=IS_ROOT)
    result = full.run()
    (name,) = full.names()
    assert f"job {JOB}, backup {name}" in result.out
    assert re.search(rf"folder/disk: stored {name} in {re.escape(str(full.backups))}\n", result.out)
    assert re.search(rf"backup {name}: complete, .*, stored at 1 of 1 targets\n\Z", result.out)
    assert not list(full.staging.iterdir())

    to = full.folder / "restored"
    result = full.run("restore", "--to", to)
    assert f"from target disk: job {JOB}, backup {name} of 2" in result.out
    after = looks_of(to / "folder/files/source", owners=IS_ROOT)
    assert {name: look for name, look in after.items() if look != before.get(name)} == {}
    assert after.keys() == before.keys()
    assert len(after) > 2 * len(HOSTILE_NAMES) + 30
    assert not (to / "folder/files/source/socket").exists()
    assert stat.S_ISFIFO((to / "folder/files/source/fifo").stat().st_mode)
    assert (to / "folder/files/source/sparse").stat().st_blocks * 512 < 1 << 20 < (64 << 20)
    assert (to / "command/system/system.bin").read_bytes() == b"a\0b\xff\n"
    assert _dumped(to / "sqlite/shop/shop.db") == _dumped(full.folder / "shop.db")
    assert sorted(path.name for path in to.iterdir()) == ["command", "folder", "sqlite"]
    assert not list(Path("/").glob("pwned"))


def test_names_survive_where_python_is_told_to_read_ascii(full: Site) -> None:
    """E2, L4: LC_ALL=C without UTF-8 mode; nothing that a terminal would obey is printed."""
    full.env = {**full.env, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    before = looks_of(full.source, owners=IS_ROOT)
    full.run()
    assert looks_of(full.restored() / "folder/files/source", owners=IS_ROOT) == before
    for command in (
        ["find", "*"],
        ["find", "*", "--json"],
        ["list"],
        ["restore", "--path", "*red", "--to", "/dev/null/x"],
    ):
        result = full.run(*command, status=None)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", result.out + result.err), result
        assert "internal error" not in result.err, result


def test_list_shows_a_table_for_people_and_json_for_programs(full: Site) -> None:
    name = full.backup()
    head, row = full.run("list").out.splitlines()
    assert head.split() == ["TARGET", "BACKUP", "LOCAL", "TIME", "AGE", "STATUS", "SIZE"]
    assert row.startswith(f"disk    {name}  ")
    assert " complete " in row
    assert len(row) <= 80
    (backup,) = full.run("list", "--json").json
    assert backup.keys() >= KEYS_OF_THE_DESIGN
    assert (backup["target"], backup["job"], backup["backup"], backup["status"]) == ("disk", JOB, name, "complete")
    assert backup["started"] == f"{name[:13]}:{name[13:15]}:{name[15:17]}+00:00"
    folder = full.backups / JOB / name
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert backup["size"] == sum(path.stat().st_size for path in files)
    assert backup["artefacts"] == [
        "folder/files/source.tar.zst", "folder/files/source.contents.zst",
        "command/system/system.bin.zst", "sqlite/shop/shop.db.zst",
    ]  # fmt: skip


def test_verify_reads_everything_back(full: Site) -> None:
    name = full.backup()
    assert f"target disk: {name} is whole: 8 files" in full.run("verify").out
    assert f"{name} is whole" in full.run("verify", name).out
    assert f"{name} is whole" in full.run("verify", name[:10]).out
    assert full.run("verify", "all", "-q").out == ""
    assert full.run("-q", "verify", "all").out == ""
    (result,) = full.run("verify", "--json").json
    assert (result["backup"], result["status"], result["findings"]) == (name, "whole", [])


@pytest.mark.parametrize("pattern", ["sparse", "source/sparse", "spar??", "/SITE/source/sparse", "*parse", "[st]parse"])
def test_find_tells_which_backups_hold_a_file(full: Site, pattern: str) -> None:
    name = full.backup()
    pattern = pattern.replace("/SITE", str(full.folder))
    (found,) = full.run("find", pattern, "--json").json
    assert (found["backup"], found["entry"], found["path"], found["size"]) == (
        name, "files", "source/sparse", 64 << 20
    )  # fmt: skip
    table = full.run("find", pattern).out.splitlines()
    assert len(table) == 2
    assert table[1].startswith(f"disk    {name}  files")
    assert table[1].endswith("source/sparse")


def test_find_tells_hostile_names_exactly(full: Site) -> None:
    """G30: what `find --json` says is the name, byte for byte."""
    full.backup()
    found = {os.fsencode(each["path"]) for each in full.run("find", "source/**", "--json").json}
    assert {b"source/" + name for name in HOSTILE_NAMES} <= found
    assert b"source/loop a" in found
    assert b"source/socket" not in found


def test_find_of_what_is_in_no_backup_says_so(full: Site) -> None:
    full.backup()
    result = full.run("find", "no such file", status=3)
    assert result.err.startswith(
        "ERROR: no backup of job web holds a file that matches 'no such file'\nHint: a pattern"
    )


def test_single_files_come_back_by_pattern(full: Site) -> None:
    full.backup()
    to = full.restored("--path", "mode 644", "--path", "folder mode 500")
    found = sorted(path.relative_to(to).as_posix() for path in to.rglob("*") if not path.is_dir())
    assert found == ["folder/files/source/folder mode 500/inside", "folder/files/source/mode 644"]
    assert (to / "folder/files/source/mode 644").read_text() == "644\n"
    hard_link = full.restored("--path", "source/linked") / "folder/files/source/linked"
    assert hard_link.read_text() == "one inode, three names\n"
    result = full.run("restore", "--path", "no such file", "--to", to, status=3)
    assert "it holds no backup of job web that holds a file which matches 'no such file'" in result.err
    assert "it holds no file that matches 'no such file', as pickup.py find would tell" in result.err


def test_one_entry_or_one_artefact_comes_back(full: Site) -> None:
    full.backup()
    assert [path.name for path in full.restored("--only", "shop").iterdir()] == ["sqlite"]
    assert [path.name for path in full.restored("--only", "system/system.bin").iterdir()] == ["command"]
    result = full.run("restore", "--only", "ship", "--to", full.folder / "x", status=3)
    assert result.err == (
        "ERROR: target disk: it holds no backup of job web that holds 'ship' without failure\n"
        f"Hint: the newest is {full.names()[0]}: it does not hold 'ship' without failure, but files, system, shop. "
        "One that is named is taken as it is\n"
    )
    assert not (full.folder / "x").exists()


def test_artefacts_come_back_as_they_are_stored(full: Site) -> None:
    name = full.backup()
    to = full.restored("--as-stored")
    stored = full.backups / JOB / name
    for path in ("folder/files/source.tar.zst", "folder/files/source.contents.zst", "sqlite/shop/shop.db.zst"):
        assert (to / path).read_bytes() == (stored / path).read_bytes()


@pytest.mark.parametrize(("compression", "suffix"), [("gzip", ".gz"), ("none", ""), ("zstd:9", ".zst")])
def test_every_compression_comes_back(site: Site, compression: str, suffix: str) -> None:
    site.fill({"a": "text\n" * 10_000})
    site.configure([folder_entry(site.source), shell_entry("seq 1 100000")], COMPRESSION=compression)
    name = site.backup()
    assert (site.backups / JOB / name / f"folder/files/source.tar{suffix}").is_file()
    to = site.restored()
    assert looks_of(to / "folder/files/source") == looks_of(site.source)
    assert (to / "command/script/output").read_text().endswith("\n100000\n")


def test_restore_refuses_to_overwrite_and_leaves_everything_as_it_was(site: Site) -> None:
    """V8: what is in the way is named; with --overwrite it is replaced, and what else is there stays."""
    site.fill()
    site.backup()
    to = site.restored()
    (to / "folder/files/source/a.txt").write_text("changed since\n")
    (to / "folder/files/source/mine.txt").write_text("mine\n")
    before = looks_of(to / "folder")
    result = site.run("restore", "--to", to, status=6)
    assert result.err.startswith("ERROR: already there: ")
    assert f"{to}/folder/files/source/a.txt" in result.err
    assert "--overwrite" in result.err
    assert looks_of(to / "folder") == before
    site.run("restore", "--to", to, "--overwrite")
    assert (to / "folder/files/source/a.txt").read_text() == "first\n"
    assert (to / "folder/files/source/mine.txt").read_text() == "mine\n"


def test_restore_before_a_moment_takes_the_backup_of_that_time(site: Site) -> None:
    site.fill({"a": "old\n"})
    site.backup()
    site.fill({"a": "new\n"})
    site.backup()
    result = site.run("restore", "--before", "2001-01-01 18:00", "--to", site.folder / "x", status=3)
    assert "no backup of job web that is complete and was started before 2001-01-01 18:00\n" in result.err
    assert (site.restored("--before", "2999-01-01") / "folder/files/source/a").read_text() == "new\n"


def test_two_targets_get_the_same_backup_and_never_share_a_file(site: Site) -> None:
    site.fill()
    site.configure(targets=[target_entry("backups"), target_entry("second", name="stick")])
    site.private.append(site.folder / "second")
    name = site.backup()
    first, second = (looks_of(site.folder / folder / JOB / name) for folder in ("backups", "second"))
    assert first.keys() == second.keys()
    assert all(first[path].content == second[path].content for path in first)
    files = [path for top in ("backups", "second") for path in (site.folder / top).rglob("*") if path.is_file()]
    assert all(path.stat().st_nlink == 1 for path in files)
    assert site.listed("--target", "stick") == [(name, "complete")]
    assert len(site.listed()) == 2


@pytest.mark.skipif(not IS_ROOT, reason="only root can make devices and give files away")
def test_setuid_bits_devices_and_capabilities_come_back_only_when_asked_for(site: Site) -> None:
    """V14: root gets owners back; what could harm is left out, and its number is said."""
    site.fill({"setuid": "x\n", "setgid": "x\n", "capable": "x\n", "given away": "x\n"})
    os.mknod(site.source / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.chown(site.source / "given away", 12345, 54321)
    (site.source / "setuid").chmod(0o4755)
    (site.source / "setgid").chmod(0o2755)
    capability = bytes.fromhex("0100000202040000000000000000000000000000")
    os.setxattr(site.source / "capable", "security.capability", capability)
    site.backup()
    to = site.folder / "plain"
    result = site.run("restore", "--to", to)
    assert (
        "left out: 1 device, 2 setuid bits, 1 capability set. Hint: as root, --privileged restores them" in result.out
    )
    plain = to / "folder/files/source"
    assert sorted(path.name for path in plain.iterdir()) == ["capable", "given away", "setgid", "setuid"]
    assert [stat.S_IMODE((plain / name).stat().st_mode) for name in ("setuid", "setgid")] == [0o755, 0o755]
    assert os.listxattr(plain / "capable") == []
    assert ((plain / "given away").stat().st_uid, (plain / "given away").stat().st_gid) == (12345, 54321)
    to = site.folder / "privileged"
    assert "left out" not in site.run("restore", "--privileged", "--to", to).out
    assert looks_of(to / "folder/files/source") == looks_of(site.source)
