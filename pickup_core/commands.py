"""Carries out a command line: finds the function of the command, which loads what it needs and shows what comes."""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable

from pickup_core.session import Session
from pickup_core.terminal import obeys

MODULES = {
    "run": "running", "check": "running", "list": "reading", "status": "watching", "find": "reading",
    "verify": "reading", "restore": "restoring", "copy": "copying", "prune": "pruning", "delete": "deleting",
    "keep": "keeping", "profiles": "beginning", "init": "beginning", "schedule": "scheduling", "keygen": "beginning",
    "completion": "completion",
}  # fmt: skip
"""Which module has the function `NAME_command` of each command. The others are not loaded: that takes its time."""
_MOVING = ("run", "verify", "restore", "copy")


def carry_out(options: argparse.Namespace) -> int:
    """Carry out a parsed command line and give the exit code."""
    with _shown(options):
        session = Session(options)
        function_of(options.command)(session)
        if session.exit_code and not session.logs.reach_stderr:
            what = f"ended with status {session.exit_code}; what LOGGING in the config names tells why"
            print(f"ERROR: {what}", file=sys.stderr)
        return session.exit_code


def function_of(command: str) -> Callable[[Session], None]:
    """Give the function that carries out a command."""
    module = importlib.import_module(f"pickup_core.{MODULES[command]}")
    function: Callable[[Session], None] = getattr(module, f"{command}_command")
    return function


def _shown(options: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Show progress while the `with` goes on, where bytes are moved and somebody looks on."""
    if options.command not in _MOVING or options.quiet or not obeys(sys.stderr):
        return contextlib.nullcontext()
    from pickup_core.screen import on_screen

    return on_screen(sys.stderr)
