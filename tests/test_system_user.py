"""System users: looked up as the system knows them, and acted as for no longer than a `with`."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pickup_core.errors import ProcessError
from pickup_core.system_user import SystemUser, acting_as, other_user
from tests.builders import NOBODY, ROOT, as_ordinary_user, ordinary_folder

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
UNKNOWN = 3_999_999_999


@needs_root
def test_acting_as_a_user_ends_with_the_with_whatever_happens(tmp_path: Path) -> None:
    before = os.getresuid(), os.getresgid(), os.getgroups()
    seen = []
    for error in (None, RuntimeError("ours")):
        with pytest.raises(RuntimeError) if error else contextlib.nullcontext(), acting_as("nobody"):
            seen.append((os.geteuid(), os.getegid(), os.getgroups(), os.access(tmp_path, os.W_OK, effective_ids=True)))
            if error:
                raise error
        assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
    assert seen == [(NOBODY, NOBODY, [NOBODY], False)] * 2
    with pytest.raises(ProcessError, match="there is no system user 'no-such-user'"), acting_as("no-such-user"):
        raise AssertionError
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


HALF_WAY = """
import os
from pickup_core.errors import ProcessError
from pickup_core.system_user import acting_as
before = os.getresuid(), os.getresgid(), os.getgroups()
os.setgroups([7, *before[2]])
try:
    with acting_as("nobody"):
        print("reached")
except ProcessError as error:
    print(error.message)
print((os.getresuid(), os.getresgid()) == before[:2], os.getgroups() == [7, *before[2]])
"""


@needs_root
@pytest.mark.parametrize("missing", ["setuid", "setgid"])
def test_where_only_half_of_it_is_allowed_we_stay_who_we_are(missing: str) -> None:
    """As in a container that gives root only some of its capabilities."""
    without = f"-{missing}"
    code = (
        HALF_WAY if missing == "setuid" else HALF_WAY.replace("os.setgroups([7, *before[2]])\n", "").replace("7, ", "")
    )
    program = ["setpriv", "--bounding-set", without, "--inh-caps", without, sys.executable, "-c", code]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("only root can act as user nobody\nTrue True\n", "")


@needs_root
def test_the_kernel_tells_a_server_whom_we_act_as() -> None:
    """Peer authentication: G42."""

    def peer(listening: socket.socket, path: Path) -> int:
        with socket.socket(socket.AF_UNIX) as ours:
            ours.connect(str(path))
            theirs, _ = listening.accept()
            with theirs:
                found = theirs.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                return int(struct.unpack("3i", found)[1])

    with ordinary_folder() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        os.chmod(folder / "socket", 0o777)
        listening.listen()
        assert peer(listening, folder / "socket") == 0
        with acting_as("nobody"):
            assert peer(listening, folder / "socket") == NOBODY


def test_a_system_user_is_looked_up_by_name_or_number() -> None:
    by_name, by_number = SystemUser.of("daemon"), SystemUser.of(1)
    assert by_name == by_number
    assert (by_name.uid, by_name.gid, by_name.environment["USER"]) == (1, 1, "daemon")


@needs_root
def test_a_user_that_is_not_us_has_a_number() -> None:
    assert (other_user("nobody"), other_user("root")) == (NOBODY, None)
    with pytest.raises(ProcessError, match="there is no system user 'no-such-user'\nHint: getent passwd"):
        other_user("no-such-user")


def test_only_root_can_name_a_user_that_is_not_us() -> None:
    code = """
import pwd
from pickup_core.system_user import other_user
print(other_user(pwd.getpwuid(os.geteuid()).pw_name))
try:
    other_user("root")
except Exception as error:
    print(error)
"""
    done = as_ordinary_user(code)
    assert done.stdout == "None\nonly root can act as user root\nHint: run as root, or as that user\n", done.stderr
