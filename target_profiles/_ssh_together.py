"""How many small files are written over SSH: by SFTP, with all requests of some files on their way at a time.

One by one, each request would wait for the answer to the one before: five times per file the way there and back.
"""

import posixpath
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pickup_core.api import BLOCK, StoreError, moved, raise_if_stopped
from target_profiles._ssh_requests import Requests
from target_profiles._ssh_session import Session, quoted
from target_profiles._ssh_writing import PACKET, make_folders, taken

_AT_A_TIME = 100  # files: each is open at the server


def write_together(session: Session, root: str, files: Sequence[tuple[str, Path]], there: Sequence[str]) -> None:
    """Write local files under paths that are free, or raise `FileExistsError`; private, synced, in new folders. Those
    that are `there` were written over a connection that broke, perhaps before it had synced them, and are synced now.

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
        raise_if_stopped()
        _write(session, root, files[start : start + _AT_A_TIME])
    for start in range(0, len(there), _AT_A_TIME):
        _sync(session, root, there[start : start + _AT_A_TIME])
    if session.has_shell:
        status, _, said = session.run(f"sync {' '.join(map(quoted, [*folders, root]))}", root)
        if status != 0:
            raise StoreError(f"{root} could not be synced: {said}")


def _write(session: Session, root: str, files: Sequence[tuple[str, Path]]) -> None:
    requests, size = Requests(session.sftp), 0
    with session.asking(""), requests.at_once():
        opening = [requests.new_file(posixpath.join(root, path)) for path, _ in files]
    handles = [_handle(session, root, path, requests, number) for (path, _), number in zip(files, opening, strict=True)]
    writing: list[tuple[str, list[int]]] = []
    for (path, file), handle in zip(files, handles, strict=True):
        raise_if_stopped()
        data = file.read_bytes()
        size += len(data)
        with session.asking(path), requests.at_once():
            pieces = ((start, data[start : start + PACKET]) for start in range(0, len(data), PACKET))
            numbers = [requests.write(handle, start, piece) for start, piece in pieces]
            writing.append((path, [*numbers, requests.sync(handle), requests.close(handle)]))
    _wait(session, requests, writing, size)
    moved(size)


def _sync(session: Session, root: str, paths: Sequence[str]) -> None:
    requests = Requests(session.sftp)
    with session.asking(""), requests.at_once():
        opening = [requests.known_file(posixpath.join(root, path)) for path in paths]
    handles: dict[str, bytes] = {}
    for path, number in zip(paths, opening, strict=True):
        with suppress(FileNotFoundError):  # it was not wanted
            handles[path] = _handle(session, root, path, requests, number)
    with session.asking(""), requests.at_once():
        syncing = [(path, [requests.sync(handle), requests.close(handle)]) for path, handle in handles.items()]
    _wait(session, requests, syncing, len(paths) * BLOCK)


def _wait(session: Session, requests: Requests, asked: Sequence[tuple[str, list[int]]], size: int) -> None:
    """Wait for the answers to what was asked about each path; so many bytes are synced meanwhile."""
    with session.patient(size):
        for path, numbers in asked:
            with session.asking(path):
                for number in numbers:
                    requests.answer(number)


def _handle(session: Session, root: str, path: str, requests: Requests, number: int) -> bytes:
    with session.asking(path):
        try:
            handle: bytes = requests.answer(number).get_binary()
            return handle
        except OSError as error:
            raise taken(session, root, path, error) from None
