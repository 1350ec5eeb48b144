"""`Store`: the contract of a target. Four methods are the whole of it; everything else is built on them.

What must be true, whatever the place:

- Paths are relative to the target's root, `/` between their parts, each part of `A-Za-z0-9._=~-`, never `.` or `..`.
- When `put` returns, the content is whole, private (0600 in folders of 0700, where the place knows modes) and as
  durable as the place can promise. It makes parent folders and never overwrites: `FileExistsError`.
- If `stream.read` raises, the file does not exist. `put` stops, closes the transfer without an end mark that would
  commit it, and lets that exception out; it never catches it and never returns normally.
- After any exception `path` may hold a part, and the connection may be unusable: the core calls `delete(path)`, and the
  next call opens a new connection.
- `get` raises `FileNotFoundError` where there is no such file.
- `listdir` gives one level; nothing for a folder that is absent. A listing that fails half-way raises, it never gives a
  part. An absent *root* is a `NoRootError`: a disk that is not mounted is not an empty one.
- `delete` removes a file, or a folder and all that is in it, never through a symbolic link. It is content where the
  path is gone already.
- Any other failure is an `OSError` or a `PickupError`. Every wait is bounded. One thread at a time uses a store.
"""

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pickup_core.artefact import Readable
from pickup_core.errors import StoreError
from pickup_core.progress import metered

BLOCK = 256 * 1024
"""How many bytes are read and written at a time, everywhere."""
_LEVELS = 16  # of folders; a backup has three


@dataclass(frozen=True)
class Item:
    """One name in a listing; `size` is in bytes, and None for a folder."""

    name: str
    size: int | None

    @property
    def is_folder(self) -> bool:
        return self.size is None


class Store(ABC):
    """A place that keeps backups. A profile's `Target` implements the four abstract methods.

    A store is entered in a `with` before it is used, and may be entered again after that was left: `open` is the place
    to connect, `close` to say goodbye.
    """

    takes_streams = True
    """False where `put` must have the whole file on disk first."""
    keeps_bandwidth = False
    """True where the store itself sends and reads no more than `bandwidth` KiB a second."""
    bandwidth: int | None = None
    """What the entry's key says."""
    bulk = 0
    """How many bytes a file may have so that `put_folder` brings it there faster than `put`, which can go on within a
    file.
    """
    connections = 1
    """Over how many connections at a time a backup's files are stored: each has a store of its own."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def put(self, path: str, stream: Readable) -> None:
        """Store what the stream gives, to its end, as a new file."""

    @abstractmethod
    def get(self, path: str) -> AbstractContextManager[Readable]:
        """Give a file's content as a stream, to be used in a `with`."""

    @abstractmethod
    def listdir(self, folder: str = "") -> list[Item]:
        """List one level of a folder, in any order."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file, or a folder and all that is in it."""

    @property
    def place(self) -> str:
        """Say where this is, for people. Two targets with the same text are the same place; it holds no secret."""
        fields = ", ".join(f"{name}={value}" for name, value in self.config)
        return f"{type(self).__module__}({fields})"

    def create_root(self) -> None:
        """Make the root where it is absent, if such a place has one. Called by the first run."""

    def open(self) -> None:
        """Connect. Called when the `with` is entered."""

    def close(self) -> None:
        """Disconnect. Called when the `with` is left, after an error too."""

    def __enter__(self) -> "Store":
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def commit(self, path: str, data: bytes) -> None:
        """Store a small file in one step, so that it is there as a whole or not at all, where the place can do that.

        A name that it has meanwhile begins with a dot and its own name, so that what is left of it can be told.
        """
        self.put(path, io.BytesIO(data))

    def can_append(self) -> bool:
        """Tell whether an upload that broke off can go on in the middle of a file."""
        return False

    def append(self, path: str, stream: Readable) -> None:
        """Go on with a file of which `put` has left a part: add what the stream gives, to its end.

        Guarantees what `put` does. Asked for only where `can_append`, else a `StoreError`; that the part is what it
        should be was seen before.
        """
        raise StoreError(f"{path}: {self.place} cannot go on within a file", hint="see can_append")

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        """Store all regular files below a local folder, as `put` would one by one, but for those `without` which it
        goes, by their names relative to the folder.
        """
        for name, file in files_in(folder):
            if name not in without:
                with file.open("rb") as stream:
                    self.put(f"{path}/{name}", stream)

    def sha256(self, path: str) -> str:
        """Give the SHA-256 of a file's content as it lies in the place, in hex digits."""
        digest = hashlib.sha256()
        with self.get(path) as stream:
            content = metered(stream)
            while block := content.read(BLOCK):
                digest.update(block)
        return digest.hexdigest()


def files_in(folder: Path) -> list[tuple[str, Path]]:
    """Give each regular file below a local folder: its path relative to that, and itself."""
    start = len(os.fspath(folder)) + 1
    paths = sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return [(path[start:], Path(path)) for path in paths if os.path.isfile(path)]


def walk(store: Store, folder: str, levels: int = _LEVELS) -> Iterator[tuple[str, int]]:
    """Give path and size of each file below a folder of a store; the paths are relative to that folder.

    Raises `StoreError` where it has more `levels` of folders than Pickup makes.
    """
    for item in store.listdir(folder):
        if item.size is None:
            below = f"{folder}/{item.name}" if folder else item.name
            if levels == 0:
                raise StoreError(f"{below} lies deeper than anything that Pickup stores", hint="see who made it")
            yield from ((f"{item.name}/{path}", size) for path, size in walk(store, below, levels - 1))
        else:
            yield item.name, item.size


class DryRun(Store):
    """A store that reads from another one and changes nothing: what would be put or deleted is noted in `changes`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.config)
        self._store = store
        self.changes: list[str] = []

    def put(self, path: str, stream: Readable) -> None:
        self.changes.append(f"put {path}")

    def get(self, path: str) -> AbstractContextManager[Readable]:
        return self._store.get(path)

    def listdir(self, folder: str = "") -> list[Item]:
        return self._store.listdir(folder)

    def delete(self, path: str) -> None:
        self.changes.append(f"delete {path}")

    @property
    def place(self) -> str:
        return self._store.place

    def open(self) -> None:
        self._store.open()

    def close(self) -> None:
        self._store.close()

    def sha256(self, path: str) -> str:
        return self._store.sha256(path)
