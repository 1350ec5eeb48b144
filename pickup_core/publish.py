"""Publish: bring a backup to a target, so that it is finished only when all of it is there."""

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE, read_small
from pickup_core.errors import PickupError, StoreError
from pickup_core.manifest import LONGEST, Manifest, StoredFile
from pickup_core.progress import moving, showing
from pickup_core.store import Store, walk

log = logging.getLogger("pickup.publish")


def mark_text(job: str, name: str) -> bytes:
    """Give the content of `PICKUP.txt`, the mark by which an unfinished backup is known as ours."""
    return (
        f"This folder is a backup that Pickup made.\n\n{_stamp(job, name)}\n"
        f"It is finished once ../{name}.json or ../{name}.partial.json exists.\n"
        "RESTORE.txt says how to restore it, with Pickup or without.\n"
    ).encode()


def is_mark_of(mark: bytes, job: str, name: str) -> bool:
    """Tell whether this is the content of the `PICKUP.txt` of that backup."""
    return _stamp(job, name).encode() in mark


def _stamp(job: str, name: str) -> str:
    return f"job: {job}\nbackup: {name}\n"


PutFiles = Callable[[Store, str], tuple[Manifest, bytes]]
"""Puts the files of a backup into a folder of a store, and gives its manifest with the bytes of that."""


def from_folder(folder: Path, manifest: Manifest, encoded: bytes) -> PutFiles:
    """Give what puts the files of a backup that lie in a local folder."""

    def put_files(store: Store, path: str) -> tuple[Manifest, bytes]:
        store.put_folder(folder, path)
        return manifest, encoded

    return put_files


def publish(store: Store, job: str, name: str, mark: bytes, put_files: PutFiles, read_back: bool) -> None:
    """Store a backup: the mark, the files as `put_files` does it, and the manifest when they are confirmed.

    Raises whatever the store and `put_files` raise, and `StoreError` where the place does not list or give back what
    was put. After an exception the files that are there already are deleted again, as far as the place lets them; there
    is no manifest. Where something of this name is there already nothing is deleted: another machine may be at it.
    """
    path = f"{job}/{name}"
    names = {name, f"{name}.json", f"{name}.partial.json"}
    for found in sorted(names & {item.name for item in store.listdir(job)}):
        raise FileExistsError(f"{job}/{found} exists already at this target and is not overwritten")
    leftovers = [path]
    try:
        store.put(f"{path}/{MARK_FILE}", io.BytesIO(mark))
        manifest, encoded = put_files(store, path)
        marker = ".json" if manifest.is_complete else ".partial.json"
        _confirm(store, path, manifest, encoded, read_back)
        leftovers.insert(0, f"{path}{marker}")
        store.commit(f"{path}{marker}", encoded)
        if read_small(store, f"{path}{marker}", LONGEST) != encoded:
            raise StoreError(f"{path}{marker} was not stored as it was sent")
    except FileExistsError:
        raise
    except BaseException:
        _withdraw(store, leftovers)
        raise


def _confirm(store: Store, path: str, manifest: Manifest, encoded: bytes, read_back: bool) -> None:
    """Raise `StoreError` where a file is not listed with its size, or with `read_back` has another content."""
    listed = dict(walk(store, path))
    copy = StoredFile(MANIFEST_COPY, len(encoded), hashlib.sha256(encoded).hexdigest())
    files = (*manifest.files, copy)
    for file in files:
        if listed.get(file.path) != file.size:
            there = f"was stored with {listed[file.path]} bytes" if file.path in listed else "is not there"
            raise StoreError(f"{path}/{file.path} {there} in place of {file.size} bytes")
    if read_back:
        with showing(f"reading back from {store.place}", sum(file.size for file in files)):
            for file in files:
                with moving(file.size):
                    _read_back(store, f"{path}/{file.path}", file)


def _read_back(store: Store, path: str, file: StoredFile) -> None:
    if store.sha256(path) != file.sha256:
        raise StoreError(f"{path} was stored with another content than was sent")


def _withdraw(store: Store, leftovers: Sequence[str]) -> None:
    """Delete what an upload that failed has left, the manifest first: where it stays, its files have to stay too.

    What is left without a manifest is cleared by a later run.
    """
    for leftover in leftovers:
        try:
            store.delete(leftover)
        except (OSError, PickupError) as error:
            log.info("%s could not be deleted after the upload had failed: %s", leftover, error)
            return
