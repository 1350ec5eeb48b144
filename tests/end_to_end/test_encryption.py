"""Encrypted backups, from `keygen` to a restore with Debian's age alone."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.command import JOB, Code, Site, command_entry, folder_entry, target_entry
from tests.end_to_end.test_other_host import SCRIPT, TOOLS

CANARY = "the content of a file that nobody else may read"


@pytest.fixture
def locked(site: Site) -> Site:
    """A site whose backups are encrypted to two keys; the private ones are `desk` and `safe`."""
    site.fill({"a.txt": CANARY, "deep/b.txt": "second\n"})
    site.canaries += [CANARY, "deep/b.txt"]
    with contextlib.closing(sqlite3.connect(site.folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE orders (what TEXT)")
        connection.execute("INSERT INTO orders VALUES ('a thing')")
    entries = [folder_entry(), command_entry("cat", str(site.source / "a.txt"), name="words", filename="words.txt"),
               {"name": "shop", "profile": "sqlite", "config": {"databases": ["shop.db"]}}]  # fmt: skip
    keys = {"web team 2026": make_keys(site, "desk"), "safe in the office": make_keys(site, "safe")}
    site.configure(entries, ENCRYPTION={"recipients": keys})
    return site


def make_keys(site: Site, name: str) -> str:
    """Make a pair of keys as the documentation says; give the public one."""
    said = site.run("keygen", site.folder / name, config=False).out
    assert f"The private key is in {site.folder / name}." in said
    return said.splitlines()[0].removeprefix("public key: ")


def see_that_all_is_back(site: Site, to: Path) -> None:
    assert (to / "folder/files/source/a.txt").read_text() == CANARY
    assert (to / "folder/files/source/deep/b.txt").read_text() == "second\n"
    assert (to / "command/words/words.txt").read_text() == CANARY
    with contextlib.closing(sqlite3.connect(to / "sqlite/shop/shop.db")) as connection:
        assert connection.execute("SELECT what FROM orders").fetchall() == [("a thing",)]


def test_nothing_is_seen_of_it_and_each_key_opens_it(locked: Site) -> None:
    """I6: no content and no name within an archive stands in the clear, at the target or anywhere else."""
    name = locked.backup()
    stored = {path.name for path in (locked.backups / JOB / name).rglob("*") if path.is_file()}
    assert {each for each in stored if each.endswith(".age")} == {
        "source.tar.zst.age", "source.contents.zst.age", "words.txt.zst.age", "shop.db.zst.age"}  # fmt: skip
    for key in ("desk", "safe"):
        see_that_all_is_back(locked, locked.restored("--identity", locked.folder / key))


def test_what_needs_no_key_asks_for_none(locked: Site) -> None:
    name = locked.backup()
    locked.run("verify")
    listed = locked.run("list").out
    desk = listed.splitlines()[-2]
    assert desk.startswith(f"1 backup, the newest of them {name}: opened by the private key of age1")
    assert desk.endswith(" web team 2026")
    [as_json] = locked.run("list", "--json").json
    assert [key.partition(" ")[2] for key in as_json["keys"]] == ["web team 2026", "safe in the office"]
    to = locked.restored("--as-stored", "--only", "words")
    assert (to / "command/words/words.txt.zst.age").read_bytes().startswith(b"age-encryption.org/v1\n")
    config = locked.config.read_text()
    places = [target_entry(retention={"last": 1}), target_entry("second", name="stick")]
    locked.write_config(f"{config}\nTARGETS = {places!r}\n")
    locked.run("copy", name, "--target", "disk", "--to", "stick")
    said = [line for line in locked.run("list").out.splitlines() if "opened by" in line]
    assert [line.partition(",")[0] for line in said] == ["1 backup"] * 2  # at two targets
    new = locked.backup()
    assert locked.names() == [new]
    assert locked.names(locked.folder / "second") == [new, name]


def test_what_needs_a_key_says_so(locked: Site) -> None:
    """V10"""
    locked.backup()
    locked.canaries = locked.canaries[:1]  # of what is found, names are told
    make_keys(locked, "wrong")
    to = locked.folder / "nothing"
    commands = {("restore", "--to", to): 3, ("verify", "--deep"): 2, ("find", "b.txt"): 2,
                ("restore", "--path", "a.txt", "--to", to): 3}  # fmt: skip
    for words, status in commands.items():
        without = locked.run(*words, status=status)
        assert "is encrypted" in without.err
        assert "--identity FILE names the private key" in without.err
        wrong = locked.run(*words, "--identity", locked.folder / "wrong", status=status)
        assert "opens with another key than" in wrong.err
    assert not to.exists() or not list(to.iterdir())
    key = ("--identity", locked.folder / "safe")
    assert "deep/b.txt" in locked.run("find", "b.txt", *key).out
    assert "and what it holds can be read" in locked.run("verify", "--deep", *key).out
    back = locked.restored("--path", "a.txt", *key)
    assert [path.name for path in back.rglob("*") if path.is_file()] == ["a.txt"]


def test_a_database_is_loaded_back_with_a_key(locked: Site) -> None:
    locked.backup()
    (locked.folder / "shop.db").unlink()
    words = ("restore", "--into-server", "--only", "shop")
    assert "is encrypted" in locked.run(*words, status=3).err
    locked.run(*words, "--identity", locked.folder / "desk")
    with contextlib.closing(sqlite3.connect(locked.folder / "shop.db")) as connection:
        assert connection.execute("SELECT what FROM orders").fetchall() == [("a thing",)]


def test_age_alone_restores_by_the_instructions(locked: Site, tmp_path: Path) -> None:
    """V17, V18: no Pickup, no Python; RESTORE.txt names the keys."""
    name = locked.backup()
    copy, tools = tmp_path / "copy", tmp_path / "tools"
    shutil.copytree(locked.backups / JOB / name, copy)
    text = (copy / "RESTORE.txt").read_text()
    assert "The private key of any one of these public keys opens it:" in text
    assert " web team 2026\n" in text
    tools.mkdir()
    for tool in (*TOOLS, "age"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    shutil.copy2(locked.folder / "desk", tmp_path / "identity")
    (tmp_path / "to").mkdir()
    done = subprocess.run(
        ["/bin/sh", SCRIPT, "everything", copy, tmp_path / "to"], env={"PATH": str(tools), "HOME": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "source.tar.zst.age: OK" in done.stdout, done
    assert done.returncode == 0, done.stderr
    see_that_all_is_back(locked, tmp_path / "to")


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damage_is_found_and_nothing_of_it_is_restored(locked: Site, damage: str) -> None:
    """V1: without a key too."""
    [stored] = locked.backups.glob(f"{JOB}/{locked.backup()}/command/words/*.age")
    data = bytearray(stored.read_bytes())
    data[-3] ^= 1
    stored.write_bytes(data if damage == "flip" else data[:-1])
    locked.run("verify", status=6)
    to = locked.folder / "nothing"
    locked.run("restore", "--to", to, "--identity", locked.folder / "desk", status=6)
    assert not to.exists() or not list(to.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "should have one of the keys recipients and recipients_file"),
        ({"recipient": ["age1"]}, "should have one of the keys recipients and recipients_file"),
        ({"recipients": []}, "names no public key"),
        ({"recipients": ["age1xyz"]}, "is no public key"),
        ({"recipients_file": "absent"}, "absent"),
        ({"recipients_file": ""}, "should be the path of a file"),
        ([], "ENCRYPTION"),
    ],
    ids=repr,
)
def test_what_cannot_encrypt_does_not_run(site: Site, given: object, message: str) -> None:
    """It fails closed: nothing goes out in the clear."""
    site.fill()
    site.configure(ENCRYPTION=given)
    result = site.run("-q", status=3)
    assert "ENCRYPTION" in result.err
    assert message in result.err
    assert site.names() == []


def test_without_the_library_nothing_runs(locked: Site) -> None:
    (locked.folder / "without").mkdir()
    (locked.folder / "without/pyrage.py").write_text("raise ImportError('no pyrage here')")
    locked.env = {**locked.env, "PYTHONPATH": str(locked.folder / "without")}
    result = locked.run("-q", status=3)
    assert "encryption needs the package pyrage: no pyrage here" in result.err
    assert locked.names() == []


def test_a_file_of_public_keys_is_read_beside_the_config(site: Site) -> None:
    site.fill()
    (site.folder / "recipients").write_text(f"# web team\n{make_keys(site, 'desk')}\n")
    site.configure(ENCRYPTION=Code("dict(recipients_file='recipients')"))
    site.backup()
    assert "web team" in site.run("list").out
    assert (site.restored("--identity", site.folder / "desk") / "folder/files/source/a.txt").exists()


def test_check_points_at_a_single_key(site: Site) -> None:
    site.fill()
    site.configure(ENCRYPTION={"recipients": [make_keys(site, "desk")]})
    assert "one private key alone opens the backups" in site.run("check").out
    site.configure(ENCRYPTION={"recipients": [make_keys(site, "a"), make_keys(site, "b")]})
    said = site.run("check").out
    assert "encryption: to 2 public keys" in said
    assert "alone" not in said


def test_a_source_that_breaks_costs_its_artefact(site: Site) -> None:
    """G1: with its own message, and nothing of it is stored."""
    site.fill()
    script = "import sys, os; os.write(1, os.urandom(3000000)); sys.exit('the disk is broken')"
    broken = command_entry(sys.executable, "-c", script, name="broken")
    site.configure([folder_entry(), broken], ENCRYPTION={"recipients": [make_keys(site, "desk")]})
    result = site.run("-q", status=2)
    assert "the disk is broken" in result.err
    assert not list(site.backups.glob(f"{JOB}/*/command/*/*"))
    assert os.listdir(site.staging) == []
