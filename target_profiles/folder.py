"""Keep backups in a folder: another disk, a mounted share, a stick.

Example entry::

    dict(
        name="disk",
        profile="folder",
        config=dict(path="/mnt/backup", require_mount=True),
        retention=dict(daily=7, weekly=4, monthly=12),
    )

Files are synced to the disk before the manifest is written. Where the staging area lies on the same file system, they
are hard links from there, not copies; two targets never share one file.
"""

import io
import os
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import cast

from pickup_core.api import (
    BLOCK,
    Item,
    NoRootError,
    Options,
    Readable,
    Store,
    StoreError,
    make_folder,
    metered,
    raise_if_stopped,
)

API_VERSION = (1, 0)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MANY, _SYNCS = 16, 8  # files, and how many are synced at a time
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Config(Options):
    path: Path
    """The folder that holds the backups. The first run makes it; later on it has to be there."""
    require_mount: bool = False
    """Refuse to work where `path` is not a mount point: a disk that is not plugged in is not an empty one."""

    @property
    def written_folders(self) -> Sequence[Path]:
        return (self.path,)


class Target(Store):
    config: Config
    bulk = sys.maxsize

    @property
    def place(self) -> str:
        return os.path.realpath(self.config.path)

    def open(self) -> None:
        if self.config.require_mount and not os.path.ismount(self.config.path):
            raise StoreError(
                f"{self.config.path} is not a mount point", hint="mount the disk, or take require_mount out"
            )

    def create_root(self) -> None:
        absent = [folder for folder in (self.config.path, *self.config.path.parents) if not folder.exists()]
        make_folder(self.config.path)
        for folder in absent:
            with suppress(PermissionError):  # a folder that one may write in, but not read
                _sync(folder.parent.resolve())

    def put(self, path: str, stream: Readable) -> None:
        with self._parent(path, create=True) as (folder, name):
            _write(folder, name, stream, self.config.path / path)
            os.fsync(folder)

    def commit(self, path: str, data: bytes) -> None:
        with self._parent(path, create=True) as (folder, name):
            if name in os.listdir(folder):
                raise FileExistsError(f"{path} exists already")
            temporary = f".{name}.{os.urandom(8).hex()}"
            try:
                _write(folder, temporary, io.BytesIO(data), self.config.path / path)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _remove(folder, temporary)
                raise
            os.fsync(folder)

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        for parent, _, names in os.walk(folder):
            below = Path(parent).relative_to(folder)
            with self._folder(f"{path}/{below.as_posix()}".removesuffix("/."), create=True) as there:
                wanted = [name for name in sorted(names) if (below / name).as_posix() not in without]
                linked = [name for name in wanted if _is_linked(os.path.join(parent, name), there, name)]
                _sync_all(linked, there)
                for name in sorted({*wanted} - {*linked}):
                    with open(os.path.join(parent, name), "rb") as stream:
                        _write(there, name, metered(stream), self.config.path / path / below / name)
                os.fsync(there)

    def get(self, path: str) -> AbstractContextManager[Readable]:
        with self._parent(path) as (folder, name), _naming(self.config.path / path):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StoreError(f"{path} is not a regular file")
        return cast(AbstractContextManager[Readable], open(descriptor, "rb", buffering=BLOCK))

    def listdir(self, folder: str = "") -> list[Item]:
        try:
            with self._folder(folder) as there, os.scandir(there) as found:
                entries = list(found)
                return [item for entry in entries if (item := _item(entry))]
        except FileNotFoundError:
            if not folder:  # it went away meanwhile
                raise
            return []

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError), self._parent(path) as (folder, name):
            _remove(folder, name)
            os.fsync(folder)

    @contextmanager
    def _parent(self, path: str, create: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder that a path lies in; give its descriptor and the last part of the path."""
        parent, _, name = path.rpartition("/")
        with self._folder(parent, create) as folder:
            yield folder, name

    @contextmanager
    def _folder(self, path: str, create: bool = False) -> Iterator[int]:
        """Open a folder step by step from the root, never through a symbolic link; where asked for, make what is
        absent. Raises `NoRootError` where the root is.
        """
        try:
            descriptor = os.open(self.config.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoRootError(
                f"{self.config.path} does not exist",
                hint=f"is the disk mounted? The first run makes it; if it is gone for good, mkdir {self.config.path}",
            ) from None
        place = self.config.path
        try:
            for name in path.split("/") if path else ():
                place /= name
                with _naming(place):
                    if create:
                        _make(descriptor, name)
                    below = os.open(name, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _make(folder: int, name: str) -> None:
    """Make a folder that lasts, if it is not there."""
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        return
    os.fsync(folder)


def _write(folder: int, name: str, stream: Readable, place: Path) -> None:
    """Write a new file to the end of the stream and sync it. After an exception a part may be there.

    Our own errors name the file by its `place`; those of the stream pass as they are.
    """
    with _naming(place):
        descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
    with open(descriptor, "wb", buffering=0) as file:
        while block := stream.read(BLOCK):
            raise_if_stopped()
            view = memoryview(block)
            with _naming(place):
                while view:
                    view = view[file.write(view) :]
        with _naming(place):
            os.fsync(descriptor)


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Let an error tell which file it is about: a full disk, for one, does not."""
    try:
        yield
    except OSError as error:
        error.filename = str(place)
        raise


def _is_linked(source: str, folder: int, name: str) -> bool:
    """Make a hard link of a local file in a folder; tell whether that gave a private file of our own."""
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError:  # another file system, or one that has no links
        return False
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    # A third link is another target's, and one disk error would hit both.
    is_linked = status.st_nlink == 2 and status.st_mode == stat.S_IFREG | 0o600
    if not is_linked:
        os.unlink(name, dir_fd=folder)
    return is_linked


def _sync_all(names: Sequence[str], folder: int) -> None:
    """Let files reach the disk. Many are asked for together: a file system writes those in a tenth of the time."""
    if len(names) < _MANY:
        for name in names:
            _sync(name, folder)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_SYNCS) as threads:
            for _ in threads.map(lambda name: _sync(name, folder), names):
                pass


def _sync(path: str | Path, folder: int | None = None) -> None:
    """Let a file or a folder reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: int, name: str) -> None:
    """Remove a file, a link, or a folder and all that is in it; nothing where it is gone already."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
            return
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
        try:
            for below in os.listdir(descriptor):
                _remove(descriptor, below)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _item(entry: "os.DirEntry[str]") -> Item | None:
    """Give the item of a regular file or a folder; links and special files are none of ours."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return Item(entry.name, None)
        if entry.is_file(follow_symlinks=False):
            return Item(entry.name, entry.stat(follow_symlinks=False).st_size)
    except FileNotFoundError:
        return None
    return None
