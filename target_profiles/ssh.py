"""Keep backups on a host that is reached over SSH, with or without a shell there.

Example entry::

    dict(
        name="nas",
        profile="ssh",
        config=dict(host="nas.example.org", user="backup", path="/srv/backup", key_file="~/.ssh/pickup"),
        retention=dict(daily=7, weekly=4, monthly=12),
    )

The host key has to be known before: from ``known_hosts``, or pinned as ``fingerprint``. Names, ports, users, keys and
``ProxyJump`` of ``~/.ssh/config`` count; what the entry says counts more.

Where the host has a shell with ``sha256sum``, files are written and hashed by its own programs, which is faster. Where
it has not, SFTP alone does. Both ways a file is private, never overwritten, and synced to the disk where the server is
able to: an SFTP server other than OpenSSH is not asked to.
"""

import errno
import posixpath
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from pickup_core.api import BLOCK, Item, Options, Readable, Secret, Store, StoreError, files_in, remote_path
from target_profiles._ssh_login import Login
from target_profiles._ssh_reading import Reading
from target_profiles._ssh_session import Session, quoted
from target_profiles._ssh_together import write_together
from target_profiles._ssh_writing import make_folders, write_by_sftp, write_by_shell

API_VERSION = (1, 0)


class Config(Options):
    host: str
    """The host's name or address, or its alias in `ssh_config`."""
    path: Annotated[str, AfterValidator(remote_path)]
    """The folder that holds the backups, absolute or relative to the login folder. The first run makes it."""
    port: int | None = Field(None, ge=1, le=65535)
    """The port, 22 unless `ssh_config` says otherwise."""
    user: str | None = None
    """The account, by default that of `ssh_config` or the user that runs Pickup."""
    key_file: Path | None = None
    """The private key. Without it and without a password, that of `ssh_config` or the usual ones are tried."""
    key_passphrase: Secret | None = None
    """The passphrase of the private key."""
    password: Secret | None = None
    """The password of the account; a key is better."""
    agent: bool = False
    """Ask the SSH agent for keys; there is none in cron."""
    known_hosts: Path = Path("~/.ssh/known_hosts")
    """The file of the host keys that are known."""
    fingerprint: str | None = Field(None, pattern=r"^SHA256:[A-Za-z0-9+/]{43}=?$")
    """The fingerprint of the host key, `SHA256:...`, in place of a line in `known_hosts`."""
    ssh_config: Path = Path("~/.ssh/config")
    """The file that knows aliases: HostName, Port, User, IdentityFile and ProxyJump are taken from it."""
    timeout: float = Field(60, gt=0)
    """How many seconds the host may be silent; for a large file that it syncs or hashes, a second more per 10 MiB."""
    keepalive: float = Field(30, ge=0)
    """Seconds between two signs of life, so that no firewall forgets the connection; 0 for none."""

    @field_validator("host", "user")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and (not re.fullmatch(r"[^\s/@\x00-\x20\x7f]+", value) or value.startswith("-")):
            raise ValueError("is no name: it is empty, begins with -, or has a character that no name has")
        return value

    @model_validator(mode="after")
    def _has_a_key_to_its_passphrase(self) -> "Config":
        if self.key_passphrase and not self.key_file:
            raise ValueError("key_passphrase is given without a key_file")
        return self


class Target(Store):
    config: Config
    bulk = BLOCK

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._session: Session | None = None

    @property
    def place(self) -> str:
        user = f"{self.config.user}@" if self.config.user else ""
        port = f":{self.config.port}" if self.config.port else ""
        below = self.config.path if self.config.path.startswith("/") else f"/~/{self.config.path}"
        return f"ssh://{user}{self.config.host}{port}{below}"

    def open(self) -> None:
        with self._connected():
            pass

    def close(self) -> None:
        session, self._session = self._session, None
        if session:
            session.close()

    def create_root(self) -> None:
        with self._asking(self.config.path) as session:
            make_folders(session, self.config.path)

    def put(self, path: str, stream: Readable) -> None:
        with self._connected() as session:
            self._write(session, path, stream, 0)

    def can_append(self) -> bool:
        return True

    def append(self, path: str, stream: Readable) -> None:
        with self._connected() as session:
            with session.asking(path):
                there = self._size_of(session, path)
            self._write(session, path, stream, there)

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        small = [(name, file) for name, file in files_in(folder) if file.stat().st_size <= self.bulk]
        wanted = [(f"{path}/{name}", file) for name, file in small if name not in without]
        there = [f"{path}/{name}" for name, _ in small if name in without]
        with self._connected() as session:
            if session.is_openssh and small:
                write_together(session, self.config.path, wanted, there)
                without = {*without, *(name for name, _ in small)}
        super().put_folder(folder, path, without)

    def get(self, path: str) -> AbstractContextManager[Readable]:
        with self._asking(path) as session:
            size = self._size_of(session, path)
            return Reading(session.sftp, session.sftp.open(self._at(path), "r", 0), size, lambda: self._asking(path))

    def listdir(self, folder: str = "") -> list[Item]:
        with self._asking(folder) as session:
            try:
                found = session.sftp.listdir_attr(self._at(folder))
            except FileNotFoundError:
                session.require_root(self.config.path)
                return []
            return [item for entry in found if (item := _item(entry))]

    def delete(self, path: str) -> None:
        with self._asking(path) as session:
            *parents, _ = _with_parents(path)
            for parent in parents:
                status = session.status_of(self._at(parent))
                if status and not stat.S_ISDIR(status.st_mode or 0):
                    raise StoreError(f"{parent} is not a folder; nothing is deleted through it")
            if not _remove(session, self._at(path)):
                session.require_root(self.config.path)

    def sha256(self, path: str) -> str:
        with self._asking(path) as session:
            if session.has_shell:
                size = self._size_of(session, path)
                status, printed, said = session.run(f"sha256sum < {quoted(self._at(path))}", path, size)
                digest = printed[:64].decode("ascii", "replace")
                if status != 0 or not re.fullmatch("[0-9a-f]{64}", digest):
                    raise StoreError(f"{path} could not be hashed by the server: {said}")
                return digest
        return super().sha256(path)

    @contextmanager
    def _connected(self) -> Iterator[Session]:
        """Give the session, a new one where there is none. After an exception it is not used again, unless that only
        tells what is there.
        """
        if self._session is None:
            self._session = Session(self._login())
        try:
            yield self._session
        except (FileExistsError, FileNotFoundError):
            raise
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _asking(self, path: str) -> Iterator[Session]:
        """Give the session, for what is asked about a path and reads no stream of others."""
        with self._connected() as session, session.asking(path or self.config.path):
            yield session

    def _write(self, session: Session, path: str, stream: Readable, there: int) -> None:
        write = write_by_shell if session.has_shell else write_by_sftp
        size = there + write(session, self.config.path, path, stream, there)
        with session.asking(path):
            stored = session.sftp.stat(self._at(path)).st_size
        if stored != size:
            raise StoreError(f"{path} was stored with {stored} bytes in place of {size}")

    def _login(self) -> Login:
        names = Login.__dataclass_fields__
        return Login(**{name: getattr(self.config, name) for name in names})

    def _at(self, path: str) -> str:
        return posixpath.join(self.config.path, path) if path else self.config.path

    def _size_of(self, session: Session, path: str) -> int:
        """Give a file's size. Raises `FileNotFoundError`, or `StoreError` for what is no regular file."""
        status = session.status_of(self._at(path))
        if status is None:
            session.require_root(self.config.path)
            raise FileNotFoundError(errno.ENOENT, "there is no such file", path)
        if not stat.S_ISREG(status.st_mode or 0):
            raise StoreError(f"{path} is not a regular file")
        return int(status.st_size)


def _with_parents(path: str) -> list[str]:
    """Give a path and all above it, the highest first: a, a/b, a/b/c."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _remove(session: Session, path: str) -> bool:
    """Remove a file, a link, or a folder and all that is in it; tell whether there was one."""
    status = session.status_of(path)
    if status is None:
        return False
    with suppress(FileNotFoundError):  # somebody else was faster
        if stat.S_ISDIR(status.st_mode or 0):
            for entry in session.sftp.listdir_attr(path):
                _remove(session, f"{path}/{entry.filename}")
            session.sftp.rmdir(path)
        else:
            session.sftp.remove(path)
    return True


def _item(entry: Any) -> Item | None:
    """Give the item of a regular file or a folder; links and special files are none of ours."""
    if entry.st_mode is None:
        raise StoreError(f"the server does not tell what {entry.filename!r} is")
    if stat.S_ISDIR(entry.st_mode):
        return Item(entry.filename, None)
    return Item(entry.filename, entry.st_size) if stat.S_ISREG(entry.st_mode) else None
