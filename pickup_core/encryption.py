"""Encryption in the age format (https://age-encryption.org/v1): to public keys, so that this host cannot open what it
has backed up. Anyone with one of the private keys can, with Pickup or with the program `age` alone.
"""

import contextlib
import getpass
import logging
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pickup_core.artefact import Readable, Writable
from pickup_core.errors import ConfigError, DamageError, UsageError, raise_if_stopped
from pickup_core.program import PROGRAM
from pickup_core.progress import aside
from pickup_core.store import BLOCK
from pickup_core.streams import compression_suffix
from pickup_core.trust import make_file, read_trusted
from pickup_core.wording import pip_install, printable, short_line

_SUFFIX = ".age"
_PRIVATE = re.compile(r"AGE-SECRET-KEY|-----BEGIN", re.IGNORECASE)
_LONGEST_IDENTITY = 1024 * 1024
_ENCRYPTED = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----")

log = logging.getLogger("pickup.encryption")


def stored_suffix(compression: str, is_encrypted: bool) -> str:
    """Give what the file name of an artefact has at its end: the suffix of its compression, and that of age."""
    return compression_suffix(compression) + (_SUFFIX if is_encrypted else "")


@dataclass(frozen=True)
class Recipient:
    """A public key, and what the config calls it."""

    key: str
    comment: str = ""

    def __str__(self) -> str:
        return f"{self.key} {self.comment}".rstrip()


def parse_recipients(given: object) -> tuple[Recipient, ...]:
    """Give the recipients of a list of public keys, or of a dict of comments and public keys. Raises `ValueError`."""
    if isinstance(given, dict):
        return _recipients((key, comment) for comment, key in given.items())
    if isinstance(given, list | tuple):
        return _recipients((key, "") for key in given)
    raise ValueError('recipients should be a list of public keys, or a dict such as {"web team": "age1..."}')


def recipients_in(path: Path) -> tuple[Recipient, ...]:
    """Give the recipients of a file as `age --recipients-file` reads it: a public key a line. A comment names the key
    below it. Raises `ConfigError`, also where somebody else could have written the file, and `ValueError`.
    """
    text, _ = read_trusted(path)
    pairs, comment = [], ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            comment = line.lstrip("# ")
        elif line:
            pairs.append((line, comment))
            comment = ""
    try:
        return _recipients(pairs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _recipients(pairs: Iterable[tuple[object, object]]) -> tuple[Recipient, ...]:
    found: dict[str, Recipient] = {}
    for key, comment in pairs:
        if not (isinstance(key, str) and isinstance(comment, str)):
            raise ValueError(f"has a {type(key).__name__} where a public key should stand")  # noqa: TRY004 - see above
        words = key.split()
        length = 2 if words and words[0].startswith("ssh-") else 1
        plain, more = " ".join(words[:length]), " ".join(words[length:])
        if plain in found:
            raise ValueError(f"has the key {plain} twice")
        _public_key(plain)
        if printable(comment or more) != (comment or more) or "\n" in comment:
            raise ValueError(f"has a comment with control characters beside the key {plain}")
        found[plain] = Recipient(plain, comment or more)
    if not found:
        raise ValueError(f"names no public key; {PROGRAM} keygen FILE makes a pair of keys")
    return tuple(found.values())


def _public_key(text: str) -> Any:
    """Give the library's form of a public key. Raises `ValueError`, which shows no private key."""
    pyrage = _library()
    if _PRIVATE.match(text):
        raise ValueError("has a private key, which must not be on this host; age-keygen -y FILE tells its public one")
    try:
        if text.startswith("ssh-ed25519 "):
            return pyrage.ssh.Recipient.from_str(text)
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        what = f"{text!r} is no public key of age or ssh-ed25519: {short_line(str(error))}"
        raise ValueError(what) from None


def encrypt(reader: Readable, writer: Writable, recipients: Sequence[Recipient]) -> None:
    """Move everything from a reader to a writer, encrypted to all of the recipients. What they raise gets out."""
    ends = _Ends(reader, writer)
    keys = [_public_key(recipient.key) for recipient in recipients]
    ends.watch(lambda: _library().encrypt_io(ends, ends, keys))


class Identities:
    """Private keys; those of a file are read when they are needed, and its passphrase is asked for once."""

    def __init__(self, files: Sequence[Path] = ()) -> None:
        self._files = files
        self._keys: list[Any] = []

    def load(self, name: str) -> None:
        """Read the private keys, of which one has to open what bears this name. Raises `UsageError` where none was
        given, or one cannot be used.
        """
        if not self._files:
            raise UsageError(f"{name} is encrypted", hint="--identity FILE names the private key that opens it")
        self._keys = self._keys or [key for file in self._files for key in _private_keys(file)]

    def decrypt(self, reader: Readable, writer: Writable, name: str) -> None:
        """Move everything from a reader to a writer, decrypted. Raises what `load` does, `UsageError` where no key
        fits, and `DamageError`, without the name, where what comes is no whole file of age: by then a part of it may be
        written.
        """
        self.load(name)
        pyrage, ends = _library(), _Ends(reader, writer)
        try:
            ends.watch(lambda: pyrage.decrypt_io(ends, ends, self._keys))
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                where = ", ".join(map(str, self._files))
                raise UsageError(f"{name} opens with another key than {where}", hint="list shows with which") from None
            raise DamageError(f"cannot be decrypted: {short_line(str(error))}") from None

    @contextlib.contextmanager
    def decrypted(self, stream: Readable, name: str) -> Iterator[BinaryIO]:
        """Give the content of an encrypted stream, once all of it was decrypted. Raises what `decrypt` does."""
        with tempfile.TemporaryFile(dir="/var/tmp") as file:
            self.decrypt(stream, file, name)
            file.seek(0)
            yield cast(BinaryIO, file)


class _Ends:
    """A reader and a writer for the library, which makes one error of its own of all that they raise."""

    def __init__(self, reader: Readable, writer: Writable) -> None:
        self._reader = reader
        self._writer = writer
        self._error: BaseException | None = None
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Give at most so many bytes, as the library needs it: some of our readers give more."""
        with self._noted():
            data = self._rest or self._reader.read(max(size, BLOCK))
        self._rest = data[size:] if size >= 0 else b""
        return data[:size] if size >= 0 else data

    def write(self, data: bytes) -> int:
        with self._noted():
            return self._writer.write(data)

    def flush(self) -> None:
        """Nothing is held back."""

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._error = self._error or error
            raise

    def watch(self, call: Callable[[], None]) -> None:
        """Make a call of the library; raise what reader or writer have raised in it."""
        try:
            call()
        except Exception as error:
            if self._error is not None:
                raise self._error from None
            raise_if_stopped()
            if isinstance(error, OSError):  # what the library finds while it reads
                raise _library().DecryptError(str(error)) from None
            raise


def _private_keys(path: Path) -> list[Any]:
    """Give the keys of an identity file: one of age's, encrypted with a passphrase or not, or a private key of SSH.

    Raises `UsageError` where it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_IDENTITY)
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise UsageError(f"identity {path} cannot be read: {error.strerror or error}") from None
    if mode & 0o077:
        log.info("identity %s can be read by others", path)
    if data.startswith(_ENCRYPTED):
        data = _opened(path, data)
    pyrage = _library()
    try:
        if data.startswith(b"-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        keys = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, UnicodeDecodeError) as error:
        hint = "ssh-keygen -p takes the passphrase of a copy away" if "decrypted first" in str(error) else ""
        what = "it has a passphrase" if hint else "it is no private key"
        raise UsageError(f"identity {path} cannot be used: {what}", hint) from None
    if not keys:
        raise UsageError(f"identity {path} holds no private key")
    return keys


def _opened(path: Path, data: bytes) -> bytes:
    """Give the content of an identity file that is encrypted with a passphrase, which is asked for on the terminal."""
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError(f"identity {path} has a passphrase, and there is no terminal to ask for it",
                         hint="age --decrypt writes one without")  # fmt: skip
    with aside():
        passphrase = getpass.getpass(f"Passphrase of {path}: ")
    pyrage = _library()
    try:
        return bytes(pyrage.passphrase.decrypt(data, passphrase))
    except pyrage.DecryptError:
        raise UsageError(f"identity {path}: that is not its passphrase") from None


def make_identity(path: Path) -> str:
    """Make a pair of keys, write the private one to a new private file as age-keygen(1) does, and give the public one.

    Raises `UsageError` where the file is there, or cannot be written.
    """
    identity = _library().x25519.Identity.generate()
    public = str(identity.to_public())
    try:
        descriptor = make_file(path)
    except FileExistsError:
        raise UsageError(f"{path} is there already, and what it opens would be lost") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    with open(descriptor, "w") as file:
        file.write(f"# public key: {public}\n{identity}\n")
        file.flush()
        os.fsync(descriptor)
    return public


def _library() -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise ConfigError(f"encryption needs the package pyrage: {error}", hint=pip_install("pyrage")) from None
    return pyrage
