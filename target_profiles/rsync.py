"""Keep backups where rsync leads: on a host that is reached over SSH, or in a module of an rsync daemon.

Example entry::

    dict(
        name="nas",
        profile="rsync",
        config=dict(host="nas", user="web01", path="/srv/backup", key_file="~/.ssh/pickup"),
        retention=dict(daily=7, weekly=4),
    )

To a daemon it is ``config=dict(host="nas", module="web01", user="web01", password=secret_file("nas.password"))``.

Over SSH the host's key must be known and the login must need no password. A daemon encrypts nothing: it is for a
network that you trust. ``check`` says so, and points at an rsync that is older than 3.5.0.

rsync alone does everything; no shell has to be there on the other side, so an account that may run only ``rrsync``
will do. A file appears under its name when all of it is there. One call sends all files of a backup. What is read is
copied into a private folder first, and so is each of the small files that are written one by one.
"""

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from pickup_core.api import (
    BLOCK,
    HOST,
    Item,
    Judgement,
    NoRootError,
    Options,
    Readable,
    Secret,
    Store,
    StoreError,
    Terms,
    files_in,
    make_file,
    make_folder,
    moved,
    output_of,
    remote_path,
    ssh_command,
    text_of,
)
from target_profiles._rsync_answers import Found, judged, listed

API_VERSION = (1, 0)

_SAFE_SINCE = (3, 5, 0)  # https://download.samba.org/pub/rsync/NEWS: many security fixes
_VERSION = re.compile(r"version v?(\d+)\.(\d+)\.(\d+)")
_NAME = re.compile(r"[A-Za-z0-9._=~-]+")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/=+,-]*")
_SENT = "sent "
_GONE = re.compile(rb"\r *([0-9,]+) +[0-9]+%")  # what --info=progress2 prints: bytes, and the share of all
_SENDING = ["--recursive", "--chmod=D700,F600", "--ignore-existing", "--info=progress2"]
# What a transfer that broke off has left is gone on with; what comes of it is checked by rsync's own digest.
_GOING_ON = ["--no-whole-file", "--partial-dir=.pickup-parts"]
# What a variable of rsync's own would change, https://download.samba.org/pub/rsync/rsync.1
_ENVIRONMENT = {"LC_ALL": "C", "RSYNC_RSH": None, "RSYNC_OLD_ARGS": None, "RSYNC_PROTECT_ARGS": None,
                "RSYNC_ICONV": None, "RSYNC_PARTIAL_DIR": None, "RSYNC_PASSWORD": None}  # fmt: skip


class Config(Options):
    host: str = Field(pattern=HOST)
    """The host's name or address; over SSH also a name that `~/.ssh/config` explains."""
    port: int | None = Field(None, ge=1, le=65535)
    """The port of the host; by default that of SSH, or 873 for a daemon."""
    user: str | None = Field(None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    """The user to log in as; by default the one that SSH takes, or none for a daemon."""
    path: str = ""
    """The folder that holds the backups, as the host or the module knows it; over SSH it must be said, and begins at
    the home folder where it does not begin with `/`. The first run makes it; later on it has to be there."""
    key_file: Path | None = None
    """The file of the private key, without a passphrase; by default those that SSH takes."""
    known_hosts: Path | None = None
    """The file of the only host keys that are trusted; by default those that SSH trusts."""
    module: str | None = Field(None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    """The module of an rsync daemon. Without it the host is reached over SSH."""
    password: Secret | None = None
    """The password of the daemon's user."""
    timeout: int = Field(300, ge=1)
    """How many seconds may go by without a byte."""
    connect_timeout: int = Field(30, ge=1)
    """How many seconds it may take to be connected."""
    fsync: bool = True
    """Let the server sync each file to its disk. Both sides need rsync 3.2.4 or newer."""
    spool: Path = Path("/var/tmp")  # noqa: S108 - a private folder is made in it
    """The folder for what is read from there: it must have room for the largest file of a backup."""
    program: str = "rsync"
    """The rsync program."""

    @property
    def written_folders(self) -> Sequence[Path]:
        return (self.spool,)

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if set(path) & set("*?[]\\"):
            raise ValueError("has one of * ? [ ] \\ in it, which rsync takes for patterns")
        return remote_path(path) if path else ""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "Config":
        if self.module is None and not self.path:
            raise ValueError("needs a path, or the module of a daemon")
        if self.module is None and self.password is not None:
            raise ValueError("a password is for a daemon's module; over SSH use a key")
        if self.module is not None and (self.key_file or self.known_hosts):
            raise ValueError("key_file and known_hosts are for SSH, and a module is reached without")
        return self

    @property
    def base(self) -> str:
        """The folder at which `path` begins, as rsync's arguments have it; the rest of `path` is `below`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = f"{self.user}@{host}" if self.user else host
        if self.module is not None:
            return f"{address}::{self.module}/./"  # what comes after it is never taken for an option
        return f"{address}:{'/' if self.path.startswith('/') else './'}"

    @property
    def below(self) -> str:
        """The path without the `/` at its beginning."""
        return self.path.lstrip("/")

    @property
    def ssh_command(self) -> list[str]:
        """The words with which rsync starts SSH."""
        return ssh_command(self.port, self.key_file, self.known_hosts, self.connect_timeout)


def check(config: Config) -> Iterator[str]:
    """Point at what is in the clear, and at an old rsync."""
    if config.module is not None:
        yield "a daemon encrypts nothing: whoever is between reads and can change the backups"
    version = _version_of(config.program)
    if version < _SAFE_SINCE:
        known = ".".join(map(str, version)) or "of no known version"
        yield f"{config.program} {known} is older than 3.5.0, which closed many security holes; did your distribution?"


class Target(Store):
    config: Config
    takes_streams = False
    keeps_bandwidth = True
    bulk = sys.maxsize

    @property
    def place(self) -> str:
        config = self.config
        port = f":{config.port}" if config.port is not None else ""
        if config.module is not None:
            return f"rsync://{config.host}{port}/{config.module}/{config.below}".rstrip("/")
        return f"rsync+ssh://{config.user + '@' if config.user else ''}{config.host}{port}:{config.path}"

    def open(self) -> None:
        _version_of(self.config.program)  # it is there, and runs

    def create_root(self) -> None:
        try:
            self.listdir()
        except NoRootError:
            with self._spool() as spool:
                make_folder(spool / self.config.below)
                self._rsync([*_SENDING], f"{spool}/", self.config.base)

    def put(self, path: str, stream: Readable) -> None:
        with self._spool() as spool:
            file = spool / path
            make_folder(file.parent)
            with open(make_file(file), "wb") as spooled:
                shutil.copyfileobj(stream, spooled, BLOCK)
            self._send(spool, [path])

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        names = [name for name, _ in files_in(folder) if name not in without]
        with self._spool() as spool:
            link = spool / path
            make_folder(link.parent)
            link.symlink_to(folder.absolute())  # so that the folders above are made too, and nothing is copied
            left_out = [f"--exclude=/{path}/{name}" for name in without]
            self._send(spool, [f"{path}/{name}" for name in names], [*_GOING_ON, *left_out], moved)

    @contextmanager
    def get(self, path: str) -> Iterator[Readable]:
        with self._spool() as spool:
            self._rsync([*_SENDING, *_rules([path])], self._root, f"{spool}/")
            file = spool / path
            if not os.path.lexists(file):
                raise FileNotFoundError(f"{path} does not exist in {self.place}, or is not a regular file")
            if not file.is_file():
                raise IsADirectoryError(f"{path} in {self.place} is a folder")
            with file.open("rb") as stream:
                yield stream

    def listdir(self, folder: str = "") -> list[Item]:
        found = self._look([folder], [f"{folder}/*"])
        start = f"{folder}/" if folder else ""
        items = {path.removeprefix(start): each for path, each in found.items() if path.startswith(start)}
        return [
            Item(name, each.size if each.kind == "-" else None)
            for name, each in items.items()
            if each.kind in "-d" and name != "." and _NAME.fullmatch(name)
        ]

    def delete(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if path not in self._look([parent], [path]):
            return
        options = ["--recursive", "--delete", "--existing", "--ignore-existing", *_rules([path], [f"{path}/**"])]
        with self._spool() as spool:
            make_folder(spool / parent)
            said = self._rsync(options, f"{spool}/", self._root)
        if left := [line for line in said if line.startswith("cannot delete")]:
            raise StoreError(f"{self.place}: {left[0]}", hint="do rules of the module hide files there?")

    @property
    def _root(self) -> str:
        return f"{self.config.base}{self.config.below}/" if self.config.below else self.config.base

    def _look(self, folders: Collection[str], more: Collection[str] = ()) -> dict[str, Found]:
        """List these folders, all that they lie in, and what `more` says is wanted; nothing is read through a link.

        Raises `NotADirectoryError` where one of the folders is something else.
        """
        # Only the root is shared with others, whose folders we may not be able to open: there nothing is descended.
        options = ["--recursive", *_rules(folders, more)] if any(folders) else ["--dirs"]
        found = listed(self._rsync(["--list-only", "--no-human-readable", *options], self._root))
        for folder in _with_parents(folders):
            if folder in found and found[folder].kind != "d":
                raise NotADirectoryError(f"{folder} in {self.place} is not a folder, or a link to one")
        return found

    def _send(
        self,
        spool: Path,
        paths: Collection[str],
        options: Sequence[str] = (),
        count: Callable[[int], object] = lambda size: None,
    ) -> None:
        """Send all that lies in the spool; `count` is told of the bytes as they go. Raises `FileExistsError` where not
        all of these files were new.
        """
        self._look({path.rpartition("/")[0] for path in paths})
        options = [*_SENDING, "--copy-dirlinks", f"--out-format={_SENT}%n", *options]
        if self.config.fsync:
            options.append("--fsync")
        said = self._rsync(options, f"{spool}/", self._root, count=count)
        sent = {line.removeprefix(_SENT) for line in said if line.startswith(_SENT)}
        for path in sorted(set(paths) - sent):
            raise FileExistsError(f"{path} exists already in {self.place} and is not overwritten")

    def _rsync(
        self, options: Sequence[str], *ends: str, count: Callable[[int], object] = lambda size: None
    ) -> list[str]:
        """Run rsync, and give the lines that it prints; `count` is told of the bytes that it says have gone."""
        config = self.config
        words = [config.program, "--no-motd", f"--timeout={config.timeout}"]
        if config.module is not None:
            words += [f"--contimeout={config.connect_timeout}", f"--port={config.port or 873}"]
            words.append("--sockopts=TCP_NODELAY")  # without it each call waits some 40 ms, several times
        else:
            words.append(f"--rsh={shlex.join(config.ssh_command)}")
        if self.bandwidth is not None:
            words.append(f"--bwlimit={self.bandwidth}")
        if not _PLAIN_PATH.fullmatch(config.path):  # rrsync refuses the option, so it is not given without need
            words.append("--protect-args")
        # rsync knows best when its connection stalls; this is for what it does not notice.
        terms = Terms(stall=3 * config.timeout + 60, env={**_ENVIRONMENT, "RSYNC_PASSWORD": config.password})
        with output_of([*words, *options, "--", *ends], judge=self._judge, allow_empty=True, terms=terms) as stream:
            said, gone = [], 0
            while block := stream.read(BLOCK):
                said.append(block)
                for text in _GONE.findall(block):
                    before, gone = gone, int(text.replace(b",", b""))
                    count(gone - before)
        return re.split("[\r\n]", b"".join(said).decode("ascii", "backslashreplace"))

    def _judge(self, status: int, lines: Sequence[str]) -> Judgement:
        return judged(self.place, status, lines)

    @contextmanager
    def _spool(self) -> Iterator[Path]:
        """Give a private local folder, which is removed when the `with` is left."""
        try:
            spool = tempfile.TemporaryDirectory(prefix="pickup-rsync-", dir=self.config.spool)
        except OSError as error:
            what = f"no folder can be made in {self.config.spool}: {error.strerror}"
            raise StoreError(what, hint="`spool` may name another place") from error
        with spool as folder:
            yield Path(folder)


def _version_of(program: str) -> tuple[int, ...]:
    """Give the version of rsync, () where it does not tell. Raises `ProcessError` where it cannot be run."""
    match = _VERSION.search(text_of([program, "--version"], Terms(stall=60, env=_ENVIRONMENT)))
    return tuple(map(int, match.groups())) if match else ()


def _with_parents(paths: Collection[str]) -> list[str]:
    """Give these paths and all folders that they lie in, each once, a folder before what is in it."""
    split = [path.split("/") for path in paths if path]
    return sorted({"/".join(parts[:count]) for parts in split for count in range(1, len(parts) + 1)})


def _rules(paths: Collection[str], more: Collection[str] = ()) -> list[str]:
    """Give the filter rules that admit these paths, the folders that they lie in, what `more` names, and nothing else.

    A rule is a pattern: the names of what Pickup stores have no character that means anything in one.
    """
    admitted = _with_parents(paths)
    for path in admitted:
        if not all(_NAME.fullmatch(name) and name not in (".", "..") for name in path.split("/")):
            raise StoreError(f"{path!r} is no path that Pickup stores anything at")
    return [*(f"--include=/{each}" for each in (*admitted, *more)), "--exclude=*"]
