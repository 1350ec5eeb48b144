"""Keep backups on an FTP server, encrypted with TLS unless plain FTP is asked for.

Example entry::

    dict(
        name="offsite",
        profile="ftp",
        config=dict(host="backup.example.org", user="web01", password="...", path="backup"),
        retention=dict(daily=7, weekly=4),
    )

The password is best kept in a file of its own: ``password=secret_file("ftp.password")``.

With TLS, nothing secret is sent before the server has proved by its certificate that it is ``host``, and there is no
falling back to clear text. Each file's size is confirmed after it was sent. What the protocol cannot do: a file appears
under its name while it is still being sent, whether it has reached the disk is not told, and modes are set only where
the server knows ``SITE CHMOD``.
"""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from pickup_core.api import HOST, Item, Options, Readable, Secret, Store, StoreError, remote_path
from target_profiles._ftp_connection import Connection, ReplyLostError
from target_profiles._ftp_folders import Folders
from target_profiles._ftp_listing import FILE, OTHER
from target_profiles._ftp_login import Account

API_VERSION = (1, 0)

_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"


class Config(Options):
    host: str = Field(pattern=HOST)
    """The server. With `tls`, its certificate has to be valid for this name."""
    port: int = Field(21, ge=1, le=65535)
    """The server's port. TLS starts within the connection; servers that want it from the first byte are not served."""
    user: str = Field(pattern=_PRINTABLE)
    """The account to log in with."""
    password: Secret
    """The password of that account."""
    path: Annotated[str, AfterValidator(remote_path)]
    """The folder that holds the backups, relative to the one that the login leads to, unless it begins with `/`. The
    first run makes it; later on it has to be there."""
    tls: bool = True
    """Encrypt the connections. False sends password and backups for everyone on the way to read and to change."""
    ca_file: Path | None = None
    """With `tls`, the file (PEM) of the authority that signed the server's certificate, or of that certificate itself
    where it has signed itself; by default those that the system trusts."""
    timeout: float = Field(60, gt=0, le=3600)
    """For how many seconds the server may keep silent."""
    connections: int = Field(1, ge=1, le=16)
    """Over how many connections at a time files are sent. Many servers allow an account only a few."""

    @field_validator("password")
    @classmethod
    def _one_line(cls, password: Secret) -> Secret:
        if any(character in password.reveal() for character in "\r\n"):
            raise ValueError("has more than one line, which FTP cannot send")
        return password


def check(config: Config) -> Iterator[str]:
    """Point at what is in the clear."""
    if not config.tls:
        yield "tls=False: whoever is between reads the password and the backups, and can change them"


class Target(Store):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.connections = config.connections
        self._connection: Connection | None = None
        self._folders: Folders | None = None

    @property
    def place(self) -> str:
        config = self.config
        return f"ftp://{config.user}@{config.host.lower()}:{config.port}/{posixpath.normpath(config.path)}"

    def open(self) -> None:
        with self._session():
            pass

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = self._folders = None

    def create_root(self) -> None:
        with self._session() as (_, folders):
            folders.make_root()

    def put(self, path: str, stream: Readable) -> None:
        with self._session() as (connection, folders):
            folders.make(posixpath.dirname(path))
            if folders.find_here(path):
                raise FileExistsError(f"{path} exists already")
            size = self._send(connection, folders.full(path), stream)
        self._confirm(path, size)

    def can_append(self) -> bool:
        with self._session() as (connection, _):
            return connection.can_restart()

    def append(self, path: str, stream: Readable) -> None:
        with self._session() as (connection, folders):
            entry = folders.find(path)
            if entry is None or entry.size is None:
                raise FileNotFoundError(f"{path} does not exist")
            size = self._send(connection, folders.full(path), stream, entry.size)
        self._confirm(path, size)

    @contextmanager
    def get(self, path: str) -> Iterator[Readable]:
        with self._session() as (connection, folders):
            entry = folders.find(path)
            if entry is None:
                raise FileNotFoundError(f"{path} does not exist")
            if entry.kind != FILE:
                raise StoreError(f"{path} is not a regular file")
            with connection.receive(f"RETR {folders.full(path)}") as stream:
                yield stream

    def listdir(self, folder: str = "") -> list[Item]:
        with self._session() as (_, folders):
            entries = folders.entries() if folders.enter(folder) else []
        return [Item(each.name, each.size if each.kind == FILE else None) for each in entries if each.kind != OTHER]

    def delete(self, path: str) -> None:
        with self._session() as (_, folders):
            folders.remove(path)

    def _send(self, connection: Connection, place: str, stream: Readable, there: int = 0) -> int:
        """Send what comes after the bytes that are there; give the size that the file should have then."""
        try:
            return there + connection.send(f"STOR {place}", stream, there)
        except ReplyLostError as lost:
            self._drop()
            return there + lost.sent

    def _confirm(self, path: str, size: int) -> None:
        """See that the server has all of a file. Raises `StoreError` where it has not."""
        with self._session() as (_, folders):
            entry = folders.find(path)
            if entry is None or entry.size != size:
                stored = f"was stored with {entry.size} bytes" if entry else "is not there"
                raise StoreError(f"{path} {stored} in place of {size} bytes", hint="is the server's disk full?")
            folders.make_private(folders.full(path), "600")

    @contextmanager
    def _session(self) -> Iterator[tuple[Connection, Folders]]:
        """Give a connection that is in step, a new one where there is none. After any exception it is dropped: what it
        says next could be the answer to something else.
        """
        try:
            if self._connection is None or self._folders is None or not self._connection.is_alive():
                self._drop()
                self._connection = Connection(self._account())
                self._folders = Folders(self._connection, self.config.path)
            yield self._connection, self._folders
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection, self._folders = self._connection, None, None
        if connection:
            connection.drop()

    def _account(self) -> Account:
        config = self.config
        return Account(
            config.host, config.port, config.user, config.password, config.tls, config.ca_file, config.timeout
        )
