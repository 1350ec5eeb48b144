"""Hands an archive on from its input to its output, and has it listed into a file on the way.

Arguments: the file, and the command that lists. Where that fails the file is removed, and the archive handed on all the
same: whether it is whole, those know who sent it.
"""

import contextlib
import os
import subprocess
import sys


def main(contents: str, *command: str) -> None:
    with open(contents, "wb") as file:
        lister = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.DEVNULL)
    assert lister.stdin is not None
    is_read = True
    while block := os.read(0, 256 * 1024):
        if is_read:
            try:
                lister.stdin.write(block)
            except BrokenPipeError:  # it has seen the end of the archive, or failed
                is_read = False
        view = memoryview(block)
        while view:
            view = view[os.write(1, view) :]
    with contextlib.suppress(BrokenPipeError):
        lister.stdin.close()
    if lister.wait() != 0:
        os.unlink(contents)


main(*sys.argv[1:])
