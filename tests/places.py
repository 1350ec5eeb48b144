"""What the tests of targets and of publish, prune and verify share: small real backups, stores that note or interrupt
every call, and disks of any size.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pickup_core.artefact import Readable
from pickup_core.entries import TargetEntry
from pickup_core.instructions import checksums, restore_text
from pickup_core.manifest import EntryRecord, Manifest, StoredArtefact, StoredFile, backup_id, encode
from pickup_core.publish import from_folder, mark_text, publish
from pickup_core.store import BLOCK, Item, Store, walk
from tests.servers.running import not_for_this_user

REPOSITORY = Path(__file__).resolve().parent.parent
JOB = "web01"
MACHINE = "0123456789abcdef"
NIGHT = datetime(2026, 11, 23, 3, 15, 2, tzinfo=timezone.utc)
CONTENTS: Mapping[str, bytes] = {"folder/www": b"<h1>Hello</h1>\n", "postgres/main": b"CREATE TABLE shop ();\n"}


# Backups


@dataclass(frozen=True)
class Made:
    """A backup as a run leaves it in the staging area, with its manifest and the manifest's bytes."""

    folder: Path
    manifest: Manifest
    encoded: bytes


def make_backup(
    folder: Path,
    started: datetime = NIGHT,
    contents: Mapping[str, bytes] = CONTENTS,
    *,
    job: str = JOB,
    machine: str = MACHINE,
    statuses: Mapping[str, str] | None = None,
) -> Made:
    """Write a backup's files into a new local folder. `contents` are the bytes of each entry's one artefact, by the
    entry's label; `statuses` are those that are not `ok`.
    """
    folder.mkdir(mode=0o700, parents=True)
    entries = []
    for label, data in contents.items():
        profile, _, name = label.partition("/")
        file = _write(folder, f"{profile}/{name}/data.bin", data)
        artefact = StoredArtefact(file.path, file.size, file.sha256, "data.bin", len(data), "none")
        entries.append(EntryRecord(name, profile, (statuses or {}).get(label, "ok"), (artefact,)))
    for label, status in (statuses or {}).items():
        if label not in contents:
            profile, _, name = label.partition("/")
            entries.append(EntryRecord(name, profile, status, (), ("it went wrong",) if status == "failed" else ()))
    name = backup_id(started)
    manifest = Manifest("1.0.0", job, f"{job}.example.org", machine, name, started, started, (), tuple(entries), ())
    mark = mark_text(job, name)
    others = [
        StoredFile("PICKUP.txt", len(mark), hashlib.sha256(mark).hexdigest()),
        _write(folder, "pickup/config.py", b"TARGETS = []\n"),
        _write(folder, "RESTORE.txt", restore_text(manifest, {}).encode()),
    ]
    others.append(_write(folder, "SHA256SUMS", checksums([*manifest.files, *others]).encode()))
    manifest = replace(manifest, others=tuple(others))
    encoded = encode(manifest)
    _write(folder, "manifest.json", encoded)
    return Made(folder, manifest, encoded)


def store_backup(store: Store, made: Made, read_back: bool = False) -> None:
    job, name = made.manifest.job, made.manifest.id
    put_files = from_folder(made.folder, made.manifest, made.encoded)
    publish(store, job, name, mark_text(job, name), put_files, read_back)


def store_nights(store: Store, folder: Path, count: int, first: datetime = NIGHT, **facts: Any) -> list[Made]:
    """Publish one backup a night; the oldest comes first."""
    nights = [
        make_backup(folder / f"{facts.get('job', JOB)}-{backup_id(first)}-{n}", first + timedelta(days=n), **facts)
        for n in range(count)
    ]
    for night in nights:
        store_backup(store, night)
    return nights


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a new local folder, all private, as the staging area has them."""
    folder.mkdir(mode=0o700)
    for path, data in files.items():
        _write(folder, path, data)
    return folder


def _write(folder: Path, path: str, data: bytes) -> StoredFile:
    file = folder / path
    for parent in reversed(file.relative_to(folder).parents):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    return StoredFile(path, len(data), hashlib.sha256(data).hexdigest())


# Reading and writing stores


def put(store: Store, path: str, data: bytes) -> None:
    store.put(path, io.BytesIO(data))


def content(store: Store, path: str) -> bytes:
    with store.get(path) as stream:
        return b"".join(iter(lambda: stream.read(BLOCK), b""))


def tree(store: Store, folder: str = "") -> dict[str, bytes]:
    """Give all files below a folder with what is in them; the sizes of the listing are checked on the way."""
    found = {}
    for top in store.listdir(folder):
        path = f"{folder}/{top.name}".lstrip("/")
        files = {path: top.size} if top.size is not None else {f"{path}/{p}": size for p, size in walk(store, path)}
        for name, size in files.items():
            found[name] = content(store, name)
            assert len(found[name]) == size, f"{name} is listed with {size} bytes and has {len(found[name])}"
    return found


# Stores that watch, and stores that break

CHANGING = ("put", "commit", "put_folder", "delete", "create_root")


class Watched(Store):
    """Hands every call on to another store, and notes it in `calls` as method and path."""

    bulk = sys.maxsize

    def __init__(self, store: Store) -> None:
        super().__init__(store.config)
        self.store = store
        self.calls: list[tuple[str, str]] = []

    @property
    def place(self) -> str:
        return self.store.place

    def changes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in CHANGING]

    def open(self) -> None:
        self.store.open()

    def close(self) -> None:
        self.store.close()

    def create_root(self) -> None:
        self._call("create_root", "")

    def put(self, path: str, stream: Readable) -> None:
        self._call("put", path, stream)

    def commit(self, path: str, data: bytes) -> None:
        self._call("commit", path, data)

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        self._call("put_folder", path, folder, without)

    def can_append(self) -> bool:
        return self.store.can_append()

    def append(self, path: str, stream: Readable) -> None:
        self._call("append", path, stream)

    def get(self, path: str) -> Any:
        return self._call("get", path)

    def listdir(self, folder: str = "") -> list[Item]:
        return list(self._call("listdir", folder))

    def delete(self, path: str) -> None:
        self._call("delete", path)

    def sha256(self, path: str) -> str:
        return str(self._call("sha256", path))

    def _call(self, name: str, path: str, *more: Any) -> Any:
        self.calls.append((name, path))
        method = getattr(self.store, name)
        if name == "create_root":
            return method()
        return method(more[0], path, *more[1:]) if name == "put_folder" else method(path, *more)


class Cut(BaseException):
    """The end of a run from outside, which no `except Exception` stops."""


class Interrupted(Watched):
    """Raises at the N-th changing call: `before` it, `half` way through it or `after` it; `fired` tells that it did."""

    def __init__(self, store: Store, number: int, moment: str, error: BaseException | None = None) -> None:
        super().__init__(store)
        self._left = number
        self._moment = moment
        self._error = error or Cut()
        self.fired = False

    def _call(self, name: str, path: str, *more: Any) -> Any:
        if name in CHANGING:
            self._left -= 1
        if name not in CHANGING or self._left != 0:
            return super()._call(name, path, *more)
        self.fired = True
        if self._moment == "half":
            self._half(name, path, *more)
        elif self._moment == "after":
            super()._call(name, path, *more)
        raise self._error

    def _half(self, name: str, path: str, *more: Any) -> None:
        if name == "put":
            put(self.store, path, b"cut of")
        elif name == "put_folder":
            files = sorted(file for file in more[0].rglob("*") if file.is_file())
            for file in files[: len(files) // 2]:
                put(self.store, f"{path}/{file.relative_to(more[0]).as_posix()}", file.read_bytes())
        elif name == "delete" and Item(path.rpartition("/")[2], None) in self.store.listdir(path.rpartition("/")[0]):
            files = sorted(name for name, _ in walk(self.store, path))
            for file in files[: (len(files) + 1) // 2]:
                self.store.delete(f"{path}/{file}")


def served_by(target: TargetEntry, store: Store) -> TargetEntry:
    """Give the target with this very store, in place of those that its profile makes."""
    return replace(target, module=SimpleNamespace(Target=lambda options: store))


# Disks


def run_on_disk(script: str, size: str, *arguments: object, options: Sequence[str] = ()) -> Any:
    """Run a Python script with an empty file system of this size (tmpfs) mounted at `DISK`, and give what it prints as
    JSON. The mount is seen by nobody else and goes with the process.

    Root may always do that; for others the test is skipped where the kernel does not let them have a name space.
    """
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if os.geteuid() != 0 and subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        not_for_this_user("this user may not mount anything")
    mount = f'mount -t tmpfs -o {",".join([f"size={size}", *options])} none "$DISK"; exec "$@"'
    head = "import json, os, pathlib, sys\nDISK = pathlib.Path(os.environ['DISK'])\n"
    command = [*unshare, "sh", "-ec", mount, "sh", sys.executable, "-c", head + textwrap.dedent(script)]
    with tempfile.TemporaryDirectory(prefix="pickup-disk-") as disk:
        done = subprocess.run(
            [*command, *map(str, arguments)], cwd=REPOSITORY, env={**os.environ, "DISK": disk},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
