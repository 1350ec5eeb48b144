"""System users: whom a command runs as, and whom we are for a moment, where we are root."""

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pickup_core.errors import ProcessError

_NO_GROUP = 65534


@dataclass(frozen=True)
class SystemUser:
    """Whom a command runs as: user, group, further groups, and the variables that tell them. See passwd(5)."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environment: Mapping[str, str]

    @classmethod
    def of(cls, user: str | int) -> "SystemUser":
        """Look a user up. Raises `ProcessError` for a name that there is not; a number needs no name."""
        try:
            found = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
        except KeyError:
            if isinstance(user, str):
                raise ProcessError(f"there is no system user {user!r}", hint="getent passwd lists them") from None
            return cls(user, _NO_GROUP, (), {"HOME": "/", "USER": str(user), "LOGNAME": str(user)})
        names = {"HOME": found.pw_dir, "USER": found.pw_name, "LOGNAME": found.pw_name}
        return cls(found.pw_uid, found.pw_gid, tuple(os.getgrouplist(found.pw_name, found.pw_gid)), names)


def other_user(name: str) -> int | None:
    """Give the number of the system user whom a command is to run as, None where we are that user already. Raises
    `ProcessError` where there is no such user, or where we may not.
    """
    user = SystemUser.of(name)
    if os.geteuid() not in (0, user.uid):
        raise _not_allowed(name)
    return user.uid if user.uid != os.geteuid() else None


@contextlib.contextmanager
def acting_as(user: str | int) -> Iterator[None]:
    """Be another system user for a moment, by the effective ids alone: to connect to a server that asks the kernel who
    is there (peer authentication). Raises `ProcessError` where there is no such user, or where we may not.

    All threads of this process are that user meanwhile: nothing else may go on.
    """
    other, ours = SystemUser.of(user), (os.geteuid(), os.getegid(), os.getgroups())
    if other.uid == ours[0]:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            os.setgroups(other.groups)
            stack.callback(os.setgroups, ours[2])
            os.setegid(other.gid)
            stack.callback(os.setegid, ours[1])
            os.seteuid(other.uid)
            stack.callback(os.seteuid, ours[0])
        except PermissionError:
            raise _not_allowed(user) from None
        yield


def _not_allowed(user: str | int) -> ProcessError:
    return ProcessError(f"only root can act as user {user}", hint="run as root, or as that user")
