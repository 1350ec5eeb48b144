"""A session with a host over SSH: its files by SFTP, and its shell where it has one. Here failures are explained."""

import shlex
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from pickup_core.api import NoRootError, StoreError, UnreachableError, short_line
from target_profiles._ssh_login import Login, bounded, connected, disconnect, library

_SLOWEST_DISK = 10 * 2**20  # bytes a second: nothing is heard of a server that syncs or hashes a large file
_PROBE = "sha256sum < /dev/null"
_PROBE_ANSWER = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_LONGEST_ANSWER = 4096
CLOSED = "Socket is closed"
"""What paramiko's channels raise, without a number."""


class Session:
    """A connection that is logged in. `sftp` is paramiko's client, `has_shell` tells whether commands can be run.

    A host without a shell may answer a command with a sentence, so what a harmless one prints is looked at.
    """

    def __init__(self, login: Login) -> None:
        self._host = login.host
        self._timeout = login.timeout
        self._clients = connected(login)
        try:
            with self.asking(""), bounded(self._client, self._timeout):
                self.sftp = self._client.open_sftp()
            self.sftp.get_channel().settimeout(self._timeout)
            self.has_shell = self._finds_shell()
        except BaseException:
            self.close()
            raise

    @property
    def _client(self) -> Any:
        return self._clients[-1]

    @property
    def is_openssh(self) -> bool:
        return "OpenSSH" in self._client.get_transport().remote_version

    def _finds_shell(self) -> bool:
        try:
            status, printed, _ = self.run(_PROBE, "")
        except StoreError:  # some servers refuse every command; where the connection has ended, SFTP will tell
            return False
        return status == 0 and printed.startswith(_PROBE_ANSWER)

    def close(self) -> None:
        disconnect(self._clients)

    def patience(self, size: int) -> float:
        """Give how many seconds the server may be silent while it syncs or reads so many bytes."""
        return self._timeout + size / _SLOWEST_DISK

    @contextmanager
    def patient(self, size: int) -> Iterator[None]:
        """Let SFTP wait longer for an answer, as `patience` says."""
        channel = self.sftp.get_channel()
        channel.settimeout(self.patience(size))
        yield
        channel.settimeout(self._timeout)

    @contextmanager
    def script(self, text: str, path: str) -> Iterator[Any]:
        """Run a script about a path in the server's sh; give its channel, which is closed at the end. The words in it
        must be quoted.
        """
        with self.asking(path), bounded(self._client, self._timeout):
            channel = self._client.get_transport().open_session(timeout=self._timeout)
        channel.settimeout(self._timeout)
        try:
            with self.asking(path), bounded(self._client, self._timeout):
                channel.exec_command(f"sh -c {shlex.quote(text)}")
            yield channel
        finally:
            with suppress(OSError, EOFError, library().SSHException):  # what went wrong before is what matters
                channel.close()

    def end_of(self, channel: Any, path: str, size: int = 0) -> tuple[int, str]:
        """Wait for the end of a script that syncs or reads so many bytes; give its status and the beginning of what it
        says on stderr.
        """
        seconds = self.patience(size)
        with explained(path, seconds):
            if not channel.status_event.wait(seconds):
                raise TimeoutError
            return channel.recv_exit_status(), _text(channel.makefile_stderr("rb").read(_LONGEST_ANSWER))

    def run(self, text: str, path: str, size: int = 0) -> tuple[int, bytes, str]:
        """Run a script that prints little and reads so many bytes; give its status, stdout and stderr."""
        seconds = self.patience(size)
        with self.script(text, path) as channel, explained(path, seconds):
            channel.settimeout(seconds)
            printed = channel.makefile("rb").read(_LONGEST_ANSWER)
            status, said = self.end_of(channel, path, size)
            return status, printed, said

    def status_of(self, path: str) -> Any:
        """Give what SFTP knows of a path, links not followed; None where there is nothing."""
        try:
            return self.sftp.lstat(path)
        except FileNotFoundError:
            return None

    def is_folder(self, path: str) -> bool:
        """Tell whether a folder is there, by a link or by itself. Raises `StoreError` where it is something else."""
        try:
            status = self.sftp.stat(path)
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(status.st_mode or 0):
            raise StoreError(f"{path} is not a folder", hint="see what it is and whose")
        return True

    def require_root(self, root: str) -> None:
        """Raise `NoRootError` where the root of the target is not there."""
        if not self.is_folder(root):
            raise NoRootError(
                f"{root} does not exist at {self._host}",
                hint=f"is the disk mounted there? If it is gone for good: mkdir {shlex.quote(root)}",
            )

    def asking(self, path: str) -> AbstractContextManager[None]:
        """Give the context in which the server is asked about a path: it explains failures."""
        return explained(path, self._timeout)


@contextmanager
def explained(path: str, seconds: float) -> Iterator[None]:
    """Let what paramiko raises be an `OSError` that names the path, or a `StoreError`."""
    paramiko, about = library(), f"{path}: " if path else ""
    try:
        yield
    except TimeoutError as error:
        raise UnreachableError(
            f"{about}the server has not answered within {seconds:g} seconds", hint="a larger timeout may help"
        ) from error
    except (paramiko.SSHException, EOFError) as error:
        what = f"{about}the connection has ended: {str(error) or type(error).__name__}"
        raise UnreachableError(what) from error
    except OSError as error:
        if str(error) == CLOSED:
            raise UnreachableError(f"{about}the connection has ended") from error
        if error.errno is None:  # SFTP has no word for most failures
            raise StoreError(
                f"{about}the server says: {short_line(str(error))}",
                hint="is its disk full, or the quota of the account?",
            ) from error
        error.filename = error.filename or path or None
        raise


def quoted(path: str) -> str:
    """Give a path as a word of a script, which no program takes for an option."""
    return shlex.quote(path if path.startswith("/") else f"./{path}")


def _text(said: bytes) -> str:
    return short_line(said.decode("utf-8", "replace"))
