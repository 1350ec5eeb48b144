"""How many small files are written over SSH: by SFTP, with all requests of some files on their way at a time.

One by one, each request would wait for the answer to the one before: five times per file the way there and back.
"""

import errno
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pickup_core.api import StoreError
from target_profiles._ssh_login import library
from target_profiles._ssh_session import Session, quoted
from target_profiles._ssh_writing import EXTENDED, FSYNC, PACKET, make_folders

_AT_A_TIME = 100  # files: each is open at the server


def write_together(session: Session, root: str, files: Sequence[tuple[str, Path]]) -> None:
    """Write local files under paths that are free, or raise `FileExistsError`; private, synced, in new folders.

    For OpenSSH alone: it gives a new file the mode that is asked for, and syncs. Files are read as a whole. What was
    written before a failure stays.
    """
    folders = sorted({posixpath.dirname(posixpath.join(root, path)) for path, _ in files})
    with session.asking(""):
        session.require_root(root)
    for folder in folders:
        with session.asking(folder):
            make_folders(session, folder, root)
    for start in range(0, len(files), _AT_A_TIME):
        _write(session, root, files[start : start + _AT_A_TIME])
    if session.has_shell and folders:
        status, _, said = session.run(f"sync {' '.join(map(quoted, [*folders, root]))}", root)
        if status != 0:
            raise StoreError(f"{root} could not be synced: {said}")


def _write(session: Session, root: str, files: Sequence[tuple[str, Path]]) -> None:
    sftp, answers = library().sftp, _Answers(session.sftp)
    private = library().SFTPAttributes()
    private.st_mode = 0o600
    mode = sftp.SFTP_FLAG_WRITE | sftp.SFTP_FLAG_CREATE | sftp.SFTP_FLAG_EXCL
    with session.asking(""), answers.one_packet():
        opening = [answers.ask(sftp.CMD_OPEN, posixpath.join(root, path), mode, private) for path, _ in files]
    handles = [_handle(session, root, path, answers, number) for (path, _), number in zip(files, opening, strict=True)]
    size, writing = 0, list[tuple[str, list[int]]]()
    for (path, file), handle in zip(files, handles, strict=True):
        data = file.read_bytes()
        with session.asking(path), answers.one_packet():
            numbers = [answers.ask(sftp.CMD_WRITE, handle, sftp.int64(start), data[start : start + PACKET])
                       for start in range(0, len(data), PACKET)]  # fmt: skip
            numbers.append(answers.ask(EXTENDED, FSYNC, handle))
            numbers.append(answers.ask(sftp.CMD_CLOSE, handle))
        writing.append((path, numbers))
        size += len(data)
    with session.patient(size):
        for path, numbers in writing:
            with session.asking(path):
                for number in numbers:
                    answers.to(number)


def _handle(session: Session, root: str, path: str, answers: "_Answers", number: int) -> bytes:
    """Give the handle of a file that was made. SFTP has no word for a name that is taken."""
    with session.asking(path):
        try:
            handle: bytes = answers.to(number).get_binary()
            return handle
        except OSError as error:
            if error.errno is None and session.status_of(posixpath.join(root, path)):
                raise FileExistsError(errno.EEXIST, "exists already", path) from error
            raise


class _Answers:
    """Answers to requests, in whatever order they are wanted. paramiko's public calls wait for each; what they are made
    of does not.
    """

    def __init__(self, sftp: Any) -> None:
        self._sftp = sftp
        self._found: dict[int, tuple[int, Any]] = {}

    @contextmanager
    def one_packet(self) -> Iterator[None]:
        """Let what is asked meanwhile go out as one: each packet of SSH has its own cipher text, and its price."""
        channel, self._sftp.sock = self._sftp.sock, self
        self._waiting = bytearray()
        try:
            yield
        finally:
            self._sftp.sock = channel
        channel.sendall(self._waiting)

    def send(self, data: bytes) -> int:
        """Take what a channel would send."""
        self._waiting += data
        return len(data)

    def ask(self, kind: int, *words: Any) -> int:
        """Send a request; give its number."""
        number: int = self._sftp._async_request(self, kind, *words)  # noqa: SLF001
        return number

    def to(self, number: int) -> Any:
        """Give the answer to a request. Raises `OSError` where that is a failure."""
        while number not in self._found:
            self._sftp._read_response()  # noqa: SLF001
        kind, message = self._found.pop(number)
        if kind == library().sftp.CMD_STATUS:
            self._sftp._convert_status(message)  # noqa: SLF001
        return message

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Take an answer: paramiko's name for it."""
        self._found[number] = (kind, message)
