"""What is watched in every test: what Pickup makes is private, and no program is started with a secret in its arguments.

The tests in `end_to_end` run Pickup in processes of its own; there `Site.look_over` sees to both.
"""

import builtins
import functools
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pickup_core import secret
from pickup_core.secret import redact

OURS = ("pickup_core", "generator_profiles", "target_profiles")
_PYTHONS = ("contextlib", "functools", "io", "os", "pathlib", "shutil", "subprocess", "tempfile")


def _is_ours() -> bool:
    """Tell whether a module of Pickup makes the call, itself or through one of Python's own."""
    frame = sys._getframe(1)
    while (name := str(frame.f_globals.get("__name__"))) == __name__ or name.partition(".")[0] in _PYTHONS:
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return name.partition(".")[0] in OURS


_started_with: list[str] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    """Note the words of a program that Pickup starts where one of them holds a secret that it knows."""
    if event == "subprocess.Popen" and _is_ours():
        words = arguments[1] if isinstance(arguments[1], list | tuple) else [arguments[1]]
        texts = [os.fsdecode(word) for word in words if isinstance(word, str | bytes | os.PathLike)]
        _started_with.extend(text for text in texts if redact(text) != text)


sys.addaudithook(_hear)


@contextmanager
def watched() -> Iterator[None]:
    """Raise `AssertionError` at the end of the `with` where Pickup has made something that others may read (I7), or has
    shown a secret to everybody in the arguments of a program (I6).
    """
    made_open: list[str] = []
    _started_with.clear()
    secret._spellings.clear()  # those of other tests are none here, and may be words of paths

    def see(path: object, status: os.stat_result) -> None:
        if status.st_mode & 0o077 and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            made_open.append(f"{path} {stat.S_IMODE(status.st_mode):o}")

    def exists(path: Any, dir_fd: int | None = None) -> bool:
        try:
            os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        except (OSError, ValueError):
            return False
        return True

    real_open, real_mkdir, real_builtin = os.open, os.mkdir, builtins.open

    @functools.wraps(real_open)
    def watched_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        is_new = flags & os.O_CREAT and _is_ours() and not exists(path, dir_fd)
        descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
        if is_new:
            see(path, os.fstat(descriptor))
        return descriptor

    @functools.wraps(real_mkdir)
    def watched_mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real_mkdir(path, mode, dir_fd=dir_fd)
        if _is_ours():
            see(path, os.stat(path, dir_fd=dir_fd, follow_symlinks=False))

    @functools.wraps(real_builtin)
    def watched_builtin(file: Any, mode: str = "r", *others: Any, **more: Any) -> Any:
        is_new = set(mode) & set("wxa") and not isinstance(file, int) and _is_ours() and not exists(file)
        opened = real_builtin(file, mode, *others, **more)
        if is_new:
            see(file, os.fstat(opened.fileno()))
        return opened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", watched_open)
        patch.setattr(os, "mkdir", watched_mkdir)
        for module in (builtins, io):
            patch.setattr(module, "open", watched_builtin)
        yield
    assert not made_open, f"open to others (I7): {made_open}"
    assert not _started_with, f"secrets in the arguments of programs (I6): {_started_with}"
