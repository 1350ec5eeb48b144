"""How a file is written over SSH: by the server's own programs where it has a shell, else by SFTP.

Both make the folders above it, give it a name that is free or raise `FileExistsError`, keep it private, sync it, and
give the number of bytes that were written. Where bytes are `there` already, it is a file that they go on with. An
exception of the stream passes as it is.
"""

import errno
import posixpath
import stat
from collections import deque
from typing import Any

from pickup_core.api import BLOCK, Readable, StoreError, UnreachableError
from target_profiles._ssh_requests import Requests
from target_profiles._ssh_session import CLOSED, Session, quoted

_READY = b"ready\n"
_NO_STATUS = -1  # paramiko's word for it
PACKET = 32 * 1024
"""How many bytes every SFTP server takes in one request."""
_OPENSSH_PACKET = 128 * 1024  # which takes up to 256 KiB
_ON_THE_WAY = 8 * 2**20  # bytes


def write_by_shell(session: Session, root: str, path: str, stream: Readable, there: int) -> int:
    """Let the server's cat write the file, and sync it and the folders above.

    The script says that it is ready once the file is made: nothing makes it again after it was deleted.
    """
    with session.script(_script(root, path, there), path) as channel:
        with session.asking(path):
            is_ready = channel.makefile("rb").readline(len(_READY)) == _READY
        if not is_ready:
            said = session.end_of(channel, path)[1]
            if there:
                what = f"{path}, of which a part was stored, is another file now: {said or 'it has another size'}"
                raise StoreError(what, hint="does somebody else write there?")
            raise _not_made(session, root, path, said)
        size, takes_more = 0, True
        while takes_more and (block := stream.read(BLOCK)):
            with session.asking(path):
                takes_more = _send(channel, block)
            size += len(block)
        if takes_more:
            with session.asking(path):
                channel.shutdown_write()
        status, said = session.end_of(channel, path, there + size)
    if status == _NO_STATUS:
        raise UnreachableError(f"{path}: the connection has ended")
    if status != 0 or not takes_more:
        raise StoreError(f"{path} was not stored: {said or f'it ended with status {status}'}")
    return size


def _script(root: str, path: str, there: int) -> str:
    parts = path.split("/")[:-1]
    parents = [posixpath.join(root, *parts[:count]) for count in range(1, len(parts) + 1)]
    file, above = quoted(posixpath.join(root, path)), " ".join(map(quoted, [*reversed(parents), root]))
    making = [
        "umask 077",
        f"[ -d {quoted(root)} ] || exit 1",
        f"[ -e {file} ] || [ -L {file} ] && exit 1",
        *(f"mkdir -p {quoted(parent)} || exit 1" for parent in parents[-1:]),
        "set -C",  # where the file appears meanwhile, > fails
    ]
    going_on = [f"[ -f {file} ] && [ ! -L {file} ] && [ $(wc -c < {file}) -eq {there} ] || exit 1"]
    write = f"{{ echo ready >&3; cat; }} 3>&1 {'>>' if there else '>'} {file} && sync {file} {above}"
    return "; ".join([*(going_on if there else making), write])


def _not_made(session: Session, root: str, path: str, said: str) -> Exception:
    """Give what explains that a file could not be made."""
    with session.asking(path):
        session.require_root(root)
        if session.status_of(posixpath.join(root, path)):
            return FileExistsError(errno.EEXIST, "exists already", path)
    return StoreError(f"{path} could not be made: {said}", hint="may this account write there?")


def _send(channel: Any, block: bytes) -> bool:
    """Send a block; tell whether the script still takes what is sent: it may have ended, or the connection."""
    try:
        channel.sendall(memoryview(block))
    except OSError as error:
        if str(error) != CLOSED:
            raise
        return False
    return True


def write_by_sftp(session: Session, root: str, path: str, stream: Readable, there: int) -> int:
    """Write the file with many requests on their way at a time; OpenSSH syncs it."""
    with session.asking(path):
        if there:
            file = session.sftp.open(posixpath.join(root, path), "r+", 0)
            file.seek(there)
        else:
            file = _made(session, root, path)
        if stat.S_IMODE(file.stat().st_mode or 0) != 0o600:  # while it is empty; some accounts may not do it
            file.chmod(0o600)
    requests, size, packet = Requests(session.sftp), 0, _OPENSSH_PACKET if session.is_openssh else PACKET
    writing: deque[int] = deque()
    while block := stream.read(BLOCK):
        with session.asking(path):
            with requests.at_once():
                for start in range(0, len(block), packet):
                    writing.append(requests.write(file.handle, there + size + start, block[start : start + packet]))
            while len(writing) * packet > _ON_THE_WAY:
                requests.answer(writing.popleft())
        size += len(block)
    with session.asking(path):
        for number in writing:
            requests.answer(number)
        if session.is_openssh:
            with session.patient(there + size):
                requests.answer(requests.sync(file.handle))
        file.close()
    return size


def _made(session: Session, root: str, path: str) -> Any:
    """Make a file that is not there, and the folders above it; give it open for writing."""
    try:
        return _new_file(session, root, path)
    except FileNotFoundError:
        session.require_root(root)
        make_folders(session, posixpath.dirname(posixpath.join(root, path)), root)
        return _new_file(session, root, path)


def _new_file(session: Session, root: str, path: str) -> Any:
    place = posixpath.join(root, path)
    try:
        return session.sftp.open(place, "wx", 0)
    except OSError as error:
        raise taken(session, root, path, error) from None


def taken(session: Session, root: str, path: str, error: OSError) -> OSError:
    """Give what a file that could not be made has to raise: SFTP has no word for a name that is taken."""
    if error.errno is None and session.status_of(posixpath.join(root, path)):
        return FileExistsError(errno.EEXIST, "exists already", path)
    return error


def make_folders(session: Session, path: str, above: str = "") -> None:
    """Make a folder, private, and those that are missing between it and the one `above`."""
    if path in ("", above) or session.is_folder(path):
        return
    make_folders(session, posixpath.dirname(path), above)
    try:
        session.sftp.mkdir(path, 0o700)
    except OSError:
        if not session.is_folder(path):  # another run may have made it meanwhile
            raise
