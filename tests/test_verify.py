"""Verify: whatever was changed is found and named, and what was not changed raises no alarm."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from pickup_core.catalogue import Backup, Catalogue
from pickup_core.errors import StoreError
from pickup_core.history import History
from pickup_core.manifest import encode, started_at
from pickup_core.memory import Memory
from pickup_core.report import Report
from pickup_core.run import RunWish, run
from pickup_core.verify import verify
from target_profiles.folder import Config, Target
from tests.builders import MemoryStore, config_text, loaded
from tests.places import JOB, NIGHT, REPOSITORY, Made, Watched, make_backup, put, store_backup, store_nights

CONTENTS = {"a/b": b"0123456789", "c/d": b"", "e/f": b"9876543210"}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_backup(tmp_path / "made", contents=CONTENTS)


@pytest.fixture
def store(made: Made) -> MemoryStore:
    store = MemoryStore()
    store_backup(store, made)
    return store


def backup_in(store: MemoryStore) -> Backup:
    [backup] = Catalogue("there", store).backups(JOB)
    return backup


def findings_in(store: MemoryStore) -> list[str]:
    return verify(backup_in(store))


MANIFEST = f"{JOB}/2026-11-23T031502Z.json"
FOLDER = f"{JOB}/2026-11-23T031502Z"


# What is found


def test_every_single_bit_of_every_byte_is_found_and_its_file_is_named(tmp_path: Path) -> None:
    """V1, I5: the manifest, its copy and the mark included."""
    store = MemoryStore()
    store_backup(store, make_backup(tmp_path / "made", contents={"a/b": b"0123456789"}))
    assert findings_in(store) == []
    flips = 0
    for path, data in list(store.files.items()):
        for position in range(len(data)):
            for bit in range(8):
                store.files[path] = data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
                findings = findings_in(store)
                assert len(findings) == 1, (path, position, bit, findings)
                assert findings[0].startswith(path), (path, position, bit, findings)
                flips += 1
        store.files[path] = data
    assert flips == 8 * sum(map(len, store.files.values())) > 20_000
    assert findings_in(store) == []


def test_what_is_whole_is_never_found_wanting(store: MemoryStore) -> None:
    """I5: a thousand times, for somebody is woken by it."""
    assert [findings for _ in range(1000) if (findings := findings_in(store))] == []


def test_one_bit_in_every_byte_is_found_on_a_disk(tmp_path: Path, made: Made) -> None:
    """V1: with the copies of manifests that a machine keeps, which hide nothing."""
    place, flips, bits = tmp_path / "place", 0, random.Random(1)
    with Target(Config(path=place)) as store:
        store.create_root()
        store_backup(store, made)
        catalogue = Catalogue("disk", store, Memory(tmp_path / "state"))
        for file in sorted(path for path in place.rglob("*") if path.is_file()):
            data = file.read_bytes()
            for position in range(len(data)):
                with file.open("r+b") as stream:
                    stream.seek(position)
                    stream.write(bytes([data[position] ^ 1 << bits.randrange(8)]))
                [backup] = catalogue.backups(JOB)
                findings = verify(backup)
                assert len(findings) == 1, (file, position, findings)
                assert findings[0].startswith(file.relative_to(place).as_posix())
                flips += 1
                with file.open("r+b") as stream:
                    stream.write(data)
        assert flips > 3000
        [backup] = catalogue.backups(JOB)
        assert verify(backup) == []


def test_every_truncation_is_found(store: MemoryStore) -> None:
    """V2: of every file, at every length."""
    cuts = 0
    for path, data in list(store.files.items()):
        for length in range(len(data)):
            store.files[path] = data[:length]
            findings = findings_in(store)
            assert len(findings) == 1, (path, length, findings)
            assert findings[0].startswith(path)
            cuts += 1
        store.files[path] = data
    assert cuts > 3000


@pytest.mark.parametrize("extra", [b"\n", b"\0", b" ", b"}", b"{}\n", bytes(1000)])
def test_every_appended_byte_is_found(store: MemoryStore, extra: bytes) -> None:
    """V2"""
    for path, data in list(store.files.items()):
        for changed in (data + extra, extra + data):
            store.files[path] = changed
            findings = findings_in(store)
            assert len(findings) == 1, (path, findings)
            assert findings[0].startswith(path)
        store.files[path] = data


def test_every_missing_file_is_found(store: MemoryStore) -> None:
    """V2"""
    for path, data in list(store.files.items()):
        if path != MANIFEST:
            del store.files[path]
            assert findings_in(store) == [f"{path} is missing"]
            store.files[path] = data


def test_a_missing_folder_names_each_of_its_files(store: MemoryStore, made: Made) -> None:
    """V2"""
    backup = backup_in(store)
    store.delete(FOLDER)
    expected = {f"{FOLDER}/{file.path} is missing" for file in made.manifest.files}
    assert set(verify(backup)) == expected | {f"{FOLDER}/manifest.json is missing"}


@pytest.mark.parametrize("path", ["extra", "a/b/extra", "a/extra", "new/folder/extra", ".hidden", "a/b/data.bin.zst"])
@pytest.mark.parametrize("data", [b"", b"extra"])
def test_every_extra_file_is_found(store: MemoryStore, path: str, data: bytes) -> None:
    """V2"""
    put(store, f"{FOLDER}/{path}", data)
    assert findings_in(store) == [f"{FOLDER}/{path} is no part of the backup"]


def test_every_two_swapped_files_are_found(store: MemoryStore) -> None:
    """V2: those of the same size too."""
    paths = [path for path in store.files if path != MANIFEST]
    for one, two in permutations(paths, 2):
        before = dict(store.files)
        store.files[one], store.files[two] = before[two], before[one]
        named = {path for path in paths if any(finding.startswith(path) for finding in findings_in(store))}
        assert named == {one, two}
        store.files = before
    sizes = [len(store.files[f"{FOLDER}/{entry}/data.bin"]) for entry in ("a/b", "e/f")]
    assert sizes[0] == sizes[1]


def test_every_renamed_file_is_found(store: MemoryStore) -> None:
    """V2: under both of its names."""
    for path in [path for path in store.files if path != MANIFEST]:
        for name in (f"{path}.bak", f"{path.rpartition('/')[0]}/{path.rpartition('/')[2].swapcase()}x"):
            store.files[name] = store.files.pop(path)
            assert sorted(findings_in(store)) == sorted([f"{path} is missing", f"{name} is no part of the backup"])
            store.files[path] = store.files.pop(name)


def test_a_file_that_has_become_a_folder_is_found(store: MemoryStore) -> None:
    """V2"""
    path = f"{FOLDER}/a/b/data.bin"
    store.files[f"{path}/data.bin"] = store.files.pop(path)
    assert findings_in(store) == [f"{path} is missing", f"{path}/data.bin is no part of the backup"]


def test_a_manifest_under_another_name_is_found(store: MemoryStore) -> None:
    """V2"""
    partial = MANIFEST.replace(".json", ".partial.json")
    store.files[partial] = store.files.pop(MANIFEST)
    assert findings_in(store) == [f"{partial} has the wrong name for a backup of its kind"]
    other = f"{JOB}/2026-11-24T031502Z.json"
    store.files[other] = store.files.pop(partial)
    [newer, older] = Catalogue("there", store).backups(JOB)
    assert verify(newer) == [f"{other} is the manifest of {FOLDER}"]
    assert older.status == "unfinished"


def test_the_findings_tell_what_is_the_matter(store: MemoryStore) -> None:
    path = f"{FOLDER}/a/b/data.bin"
    store.files[path] = b"0123456788"
    assert findings_in(store) == [f"{path} has changed: its SHA-256 is not that of the manifest"]
    store.files[path] = b"01234567890"
    assert findings_in(store) == [f"{path} has 11 bytes, not 10"]
    store.files[f"{FOLDER}/manifest.json"] += b"\n"
    del store.files[f"{FOLDER}/e/f/data.bin"]
    assert len(findings_in(store)) == 3
    store.files[MANIFEST] = store.files[MANIFEST][:100]
    assert findings_in(store) == [f"{MANIFEST}: the manifest is cut off"]
    store.files[MANIFEST] = b"no manifest\n"
    assert findings_in(store) == [f"{MANIFEST}: the manifest's own checksum is wrong"]


def test_a_link_in_place_of_a_file_is_found(tmp_path: Path, made: Made) -> None:
    """V2"""
    with Target(Config(path=tmp_path / "place")) as store:
        store.create_root()
        store_backup(store, made)
        file = tmp_path / "place" / FOLDER / "a/b/data.bin"
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
        [backup] = Catalogue("disk", store).backups(JOB)
        assert verify(backup) == [f"{FOLDER}/a/b/data.bin is missing"]


# The manifest that this machine wrote


def test_an_exchanged_manifest_is_noticed_where_it_was_made(store: MemoryStore, made: Made, tmp_path: Path) -> None:
    """V3: by the digest that the history holds; elsewhere nothing tells it from the real one."""
    history = History(tmp_path / "state", JOB)
    history.add("run", backup=made.manifest.id, manifest=hashlib.sha256(made.encoded).hexdigest())
    [backup] = Catalogue("disk", store, Memory(tmp_path / "state")).backups(JOB)
    assert verify(backup) == []
    other = make_backup(tmp_path / "other", contents={"a/b": b"something else"})
    store.delete(JOB)
    store_backup(store, other)
    [backup] = Catalogue("disk", store, Memory(tmp_path / "state")).backups(JOB)
    assert verify(backup) == [f"{MANIFEST} is not the manifest that this machine wrote"]
    assert verify(backup_in(store)) == []


def test_an_older_manifest_of_the_same_backup_is_noticed(store: MemoryStore, made: Made, tmp_path: Path) -> None:
    """V3: one that lists less, with its copy."""
    shorter = encode(replace(made.manifest, entries=made.manifest.entries[:2]))
    store.files[MANIFEST] = store.files[f"{FOLDER}/manifest.json"] = shorter
    History(tmp_path, JOB).add("run", backup=made.manifest.id, manifest=hashlib.sha256(made.encoded).hexdigest())
    [backup] = Catalogue("disk", store, Memory(tmp_path)).backups(JOB)
    assert verify(backup) == [f"{MANIFEST} is not the manifest that this machine wrote"]
    assert backup.status == "damaged"
    assert findings_in(store) == [f"{FOLDER}/e/f/data.bin is no part of the backup"]


# No false alarm


def test_a_thousand_clean_backups_raise_no_alarm(tmp_path: Path) -> None:
    """I5: of any sizes, complete and partial, at either place."""
    numbers = random.Random(5)
    with Target(Config(path=tmp_path / "place")) as folder:
        folder.create_root()
        for number in range(100):
            store = folder if number % 4 == 0 else MemoryStore()
            contents = {f"p{n}/e{n}": numbers.randbytes(numbers.choice([0, 1, 100, 70_000])) for n in range(number % 5)}
            statuses = {"x/y": numbers.choice(["failed", "skipped"])} if number % 3 == 0 else {}
            made = make_backup(tmp_path / str(number), NIGHT + timedelta(days=number), contents, statuses=statuses)
            store_backup(store, made)
            for _ in range(10):
                backup = Catalogue("there", store).select(JOB, made.manifest.id)
                assert verify(backup) == []


def test_verifying_changes_nothing(store: MemoryStore) -> None:
    before = dict(store.files)
    watched = Watched(store)
    [backup] = Catalogue("there", watched).backups(JOB)
    assert verify(backup) == []
    assert watched.changes() == []
    assert store.files == before


def test_a_place_that_does_not_answer_is_no_damage(store: MemoryStore) -> None:
    """V4"""

    class Silent(Watched):
        def sha256(self, path: str) -> str:
            raise StoreError("nas: nobody answers")

    [backup] = Catalogue("there", Silent(store)).backups(JOB)
    with pytest.raises(StoreError, match="nobody answers"):
        verify(backup)


# The command


class Site:
    """A config in a folder, with backups of two runs at one target."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        head = 'STAGING_AREA = "area"\nSTATE_FOLDER = LOG_FOLDER = "state"\nMIN_FREE = 0'
        self.config = loaded(folder, config_text(head))
        for _ in range(2):
            run(self.config, RunWish(), Report())
        place = folder / "backups" / JOB
        self.old, self.new = sorted(path for path in place.iterdir() if path.is_dir())

    def pickup(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, REPOSITORY / "pickup.py", "-c", self.config.path, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def spoil(self, file: Path, data: bytes) -> None:
        file.write_bytes(data)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(template: Site) -> Iterator[Site]:
    """The site, put back as it was after each test."""
    backups, saved = template.folder / "backups", template.folder / "saved"
    shutil.copytree(backups, saved)
    yield template
    shutil.rmtree(backups, ignore_errors=True)
    saved.rename(backups)


def test_the_command_says_that_all_is_whole(site: Site) -> None:
    """I5"""
    done = site.pickup("verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{site.new.name} is whole" in done.stdout
    done = site.pickup("-q", "verify", "all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_names_the_file_that_has_changed(site: Site) -> None:
    """V1: with exit code 6, and the backups beside it are verified all the same."""
    file = site.old / "command/system/output.zst"
    site.spoil(file, file.read_bytes()[:-1] + b"!")
    done = site.pickup("verify", "all")
    assert done.returncode == 6
    [line] = done.stderr.splitlines()
    assert f"target disk: {JOB}/{site.old.name}/command/system/output.zst has changed" in line
    assert f"{site.new.name} is whole" in done.stdout
    assert site.pickup("verify").returncode == 0
    assert site.pickup("verify", site.old.name).returncode == 6


def _flipped(data: bytes) -> bytes:
    return data.replace(b'"job": "web01"', b'"job": "web02"')


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("flipped", _flipped),
        ("shortened", lambda data: data[:-1]),
        ("empty", lambda data: b""),
        ("longer", lambda data: data + b"\n"),
    ],
)
@pytest.mark.parametrize("with_copies", [True, False])
def test_a_damaged_manifest_is_found_however_one_asks(site: Site, name: str, data: Any, with_copies: bool) -> None:
    """V1, V2: of the newest backup too, which must not hide behind an older one that is whole; and no copy that the
    machine keeps hides it.
    """
    if not with_copies:
        shutil.rmtree(site.folder / "state/manifests", ignore_errors=True)
    manifest = site.new.with_name(f"{site.new.name}.json")
    site.spoil(manifest, data(manifest.read_bytes()))
    for wanted in ([], ["all"], [site.new.name]):
        done = site.pickup("verify", *wanted)
        assert done.returncode == 6, (wanted, done.stderr)
        assert f"{JOB}/{manifest.name}" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_an_extra_file_is_reported(site: Site) -> None:
    """V2"""
    site.spoil(site.new / "extra", b"")
    done = site.pickup("verify")
    assert done.returncode == 6
    assert f"{JOB}/{site.new.name}/extra is no part of the backup" in done.stderr


def test_an_unfinished_backup_is_no_damage(site: Site) -> None:
    """T15"""
    site.new.with_name(f"{site.new.name}.json").unlink()
    done = site.pickup("verify", "all")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{site.new.name} is unfinished and not verified" in done.stdout
    done = site.pickup("verify")
    assert done.returncode == 0
    assert f"{site.old.name} is whole" in done.stdout


def test_findings_can_be_had_as_json(site: Site) -> None:
    file = site.new / "RESTORE.txt"
    site.spoil(file, b"")
    done = site.pickup("verify", "--json", "all")
    assert done.returncode == 6
    results = {result["backup"]: result for result in json.loads(done.stdout)}
    assert results[site.old.name]["status"] == "whole"
    assert results[site.new.name]["status"] == "damaged"
    [finding] = results[site.new.name]["findings"]
    assert finding.startswith(f"{JOB}/{site.new.name}/RESTORE.txt has 0 bytes, not ")


def test_a_target_that_cannot_be_reached_is_no_damage(site: Site) -> None:
    """V4: exit code 2, not 6."""
    os.rename(site.folder / "backups", site.folder / "unplugged")
    try:
        done = site.pickup("verify")
    finally:
        os.rename(site.folder / "unplugged", site.folder / "backups")
    assert done.returncode == 2
    assert "target disk" in done.stderr
    assert f"{site.folder}/backups does not exist" in done.stderr


def test_an_exchanged_backup_is_noticed_by_the_command(site: Site, tmp_path: Path) -> None:
    """V3"""
    with Target(Config(path=site.folder / "backups")) as store:
        store.delete(f"{JOB}/{site.new.name}.json")
        store.delete(f"{JOB}/{site.new.name}")
        moment = started_at(site.new.name)
        assert moment
        store_nights(store, tmp_path / "nights", 1, moment)
    done = site.pickup("verify")
    assert done.returncode == 6
    assert f"{JOB}/{site.new.name}.json is not the manifest that this machine wrote" in done.stderr
