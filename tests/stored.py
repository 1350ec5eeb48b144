"""Backups with any artefacts, stored at a real target, for the tests that read them back."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pickup_core.artefact import stored_name
from pickup_core.catalogue import Backup, Catalogue
from pickup_core.choice import Wish, choose
from pickup_core.manifest import EntryRecord, Manifest, StoredArtefact, encode
from pickup_core.restore import Restored, restore
from pickup_core.store import Store
from pickup_core.streams import Compressed, Compression, Digest, compression_suffix, transfer
from target_profiles.folder import Config, Target
from tests.end_to_end.trees import everything_about
from tests.generator_contract import produce
from tests.places import JOB, MACHINE, NIGHT, Made, backup_id, store_backup

Artefacts = Mapping[str, Mapping[str, bytes]]
"""The contents of artefacts by their name, by the label of their entry."""


def make_stored(folder: Path, artefacts: Artefacts, method: str = "zstd", **changes: Any) -> Made:
    """Write a backup into a new local folder, as a run leaves it in the staging area. `changes` are for the record of
    each artefact, which may then lie.
    """
    folder.mkdir(mode=0o700, parents=True)
    records = []
    for label, contents in artefacts.items():
        profile, _, name = label.partition("/")
        record = tuple(_stored(folder, label, each, data, method, changes) for each, data in contents.items())
        records.append(EntryRecord(name, profile, "ok", record))
    name = backup_id(NIGHT)
    manifest = Manifest("1.0.0", JOB, f"{JOB}.example.org", MACHINE, name, NIGHT, NIGHT, (), tuple(records), ())
    encoded = encode(manifest)
    (folder / "manifest.json").write_bytes(encoded)
    return Made(folder, manifest, encoded)


def _stored(
    folder: Path, label: str, name: str, data: bytes, method: str, changes: Mapping[str, Any]
) -> StoredArtefact:
    path = f"{label}/{stored_name(name)}{compression_suffix(method)}"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    with (folder / path).open("wb") as file:
        digest = Digest(file)
        transfer(Compressed(io.BytesIO(data), Compression.parse(method)), digest)
    record = StoredArtefact(path, digest.size, digest.sha256, name, len(data), method)
    return replace(record, **changes)


def stored_backup(folder: Path, artefacts: Artefacts, method: str = "zstd", **changes: Any) -> Backup:
    """Store a backup in a folder target below `folder`, and give it."""
    store = Target(Config(path=folder / "backups"))
    store.create_root()
    store_backup(store, make_stored(folder / "staged", artefacts, method, **changes))
    return backup_at(store)


def backup_at(store: Store) -> Backup:
    """Give the one backup at a store."""
    (backup,) = Catalogue("disk", store).backups(JOB)
    return backup


def file_of(backup: Backup, path: str) -> Path:
    """Give the file behind a path in a backup that `stored_backup` has made."""
    found: Path = backup.catalogue.store.config.path / backup.folder / path
    return found


def archived(folder: Path, *paths: Path, **options: Any) -> dict[str, bytes]:
    """Archive folders with the folder profile, and give the archives and their lists of contents."""
    scratch = folder / "archiving"
    scratch.mkdir(exist_ok=True)
    produced = produce("folder", dict(path=list(map(str, paths)), **options), scratch)
    assert produced.failures == {}
    assert produced.losses == []
    return produced.contents


def restored(backup: Backup, to: Path, **wish: Any) -> Restored:
    """Restore what a wish names, as the command does."""
    made = Wish(to=to, **wish)
    with backup.catalogue.store:
        return restore(backup, choose(backup, made), made)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def nothing_changes(*folders: Path) -> Iterator[None]:
    """See that in the `with` nothing below the folders is written."""
    before = everything_about(*folders)
    yield
    assert everything_about(*folders) == before
