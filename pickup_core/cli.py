"""The command line: its options, the signals, and the exit code. What the commands do is in `commands`.

Only argparse is imported here, so that `--version` and `--help` answer at once.
"""

import argparse
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from pickup_core import __version__
from pickup_core.errors import Ended, ExitCode, PickupError, Stopped, raise_if_stopped
from pickup_core.program import PROGRAM

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Parser(argparse.ArgumentParser):
    """Ends with status 3 on wrong usage, where argparse would end with 2."""

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help"
        if wrong := re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", message):
            import difflib

            alike = difflib.get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), 1)
            hint = f"did you mean {alike[0]!r}? {hint} tells more" if alike else hint
        self.exit(ExitCode.CONFIG, f"ERROR: {self.prog}: {message}\nHint: {hint}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line and give the exit code. Whatever happens, it says so in one sentence at least."""
    code = _carried_out(arguments)
    try:
        if sys.stdout is not None:  # closed, as by >&-
            sys.stdout.flush()
    except OSError as error:
        _let_go_of_stdout()
        if isinstance(error, BrokenPipeError):  # whoever reads our output has seen enough
            return code
        return _ended(f"what was said could not be written to stdout: {error.strerror}", code or ExitCode.FAILED)
    return code


def _carried_out(arguments: Sequence[str] | None) -> int:
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = parser().parse_args(_with_command(sys.argv[1:] if arguments is None else arguments))
        _listen_to_signals()
        try:
            from pickup_core.commands import carry_out

            return carry_out(options)
        except Exception:
            raise_if_stopped()
            raise
    except Ended as ended:
        return ended.exit_code
    except Stopped as stopped:
        return _ended(f"{stopped}; what was not finished is removed", stopped.exit_code)
    except KeyboardInterrupt:
        return _ended("interrupted", 128 + signal.SIGINT)
    except PickupError as error:
        return _ended(str(error), error.exit_code)
    except BrokenPipeError:  # whoever reads our output has seen enough
        _let_go_of_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        from pickup_core.report import explained

        return _ended(explained(error), ExitCode.FAILED)
    except ImportError as error:
        what = f"this installation is broken: {error} (with {sys.executable or 'an unknown Python'})"
        hint = "start it with the Python that it was installed with; in a checkout make demo makes .venv/bin/python"
        return _ended(f"{what}\nHint: {hint}", ExitCode.INTERNAL)
    except Exception as error:
        import logging

        logging.getLogger("pickup.cli").debug("internal error", exc_info=True)
        return _ended(f"internal error, please report it: {type(error).__name__}: {error}", ExitCode.INTERNAL)


def _let_go_of_stdout() -> None:
    """Send what is still to be written nowhere, or Python would try it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """Give the parser of the whole command line."""
    root = _Parser(
        prog=PROGRAM,
        description="Back up what the config names to the places that it names.",
        epilog=f"Without a command, a backup is run: {PROGRAM} --dry-run is {PROGRAM} run --dry-run.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"Pickup {__version__}")
    _add_everywhere(root, config=None, quiet=False, debug=False)
    everywhere = _Parser(add_help=False, allow_abbrev=False)
    _add_everywhere(everywhere, **dict.fromkeys(("config", "quiet", "debug"), argparse.SUPPRESS))
    commands = root.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser, required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        description = f"{text[0].upper()}{text[1:]}."
        return commands.add_parser(name, help=text, description=description, parents=[everywhere], allow_abbrev=False)

    for add in (_add_run, _add_check, _add_list, _add_status, _add_find, _add_verify, _add_restore, _add_copy,
                _add_prune, _add_delete, _add_keep, _add_profiles, _add_init, _add_schedule, _add_keygen,
                _add_completion):  # fmt: skip
        add(command)
    commands.choices["completion"].set_defaults(parser=root)  # which it tells of
    return root


_Command = Callable[[str, str], argparse.ArgumentParser]


def _add_run(command: _Command) -> None:
    run = command("run", "make a backup and bring it to the targets")
    run.add_argument("-n", "--dry-run", action="store_true", help="change nothing, show what would be done")
    _add_only(run, "run only this generator entry", "NAME")
    _add_target(run, several=True)
    run.add_argument("--keep", type=_some_text, metavar="REASON", help="let prune never delete this backup")
    text = "wait for another run, up to 90s, 30m, 2h"
    run.add_argument("--wait", type=_duration, default=0.0, metavar="DURATION", help=text)


def _add_check(command: _Command) -> None:
    text = "see whether a run would work: ask each generator, and write, read and delete a probe at each target"
    check = command("check", text)
    check.add_argument("--notify", action="store_true", help="send a test message to all that NOTIFY names")


def _add_list(command: _Command) -> None:
    listing = command("list", "show the backups at the targets")
    _add_reading(listing)
    listing.add_argument("--all-jobs", action="store_true", help="show the backups of every job")
    _add_json(listing)


def _add_status(command: _Command) -> None:
    status = command("status", "show how old and how large the newest complete backup of a job is at each target")
    _add_reading(status)
    status.add_argument("--all-jobs", action="store_true", help="show every job")
    text = "fail where no complete backup is as young as this: 26h, 8d"
    status.add_argument("--max-age", type=_duration, metavar="DURATION", help=text)
    text = "write a page with calendars and curves too, in place of the one that is there"
    status.add_argument("--html", type=_path, metavar="FILE", help=text)
    _add_json(status)


def _add_find(command: _Command) -> None:
    find = command("find", "show which backups hold a file, from the lists of contents")
    find.add_argument("pattern", metavar="PATTERN", help="a name, a path, or a pattern with * and ?")
    _add_reading(find)
    _add_identity(find)
    _add_json(find)


def _add_verify(command: _Command) -> None:
    verify = command("verify", "read backups back and compare them with their manifests")
    verify.add_argument("backup", metavar="BACKUP", nargs="?", default="latest", help=_BACKUP + ", or all")
    _add_reading(verify)
    text = "also decrypt and uncompress everything, and look through all archives"
    verify.add_argument("--deep", action="store_true", help=text)
    _add_identity(verify)
    _add_json(verify)


def _add_restore(command: _Command) -> None:
    restore = command("restore", "bring artefacts of a backup back, into a folder or into a server")
    restore.add_argument("backup", metavar="BACKUP", nargs="?", default="latest", help=_BACKUP)
    _add_reading(restore)
    _add_identity(restore)
    _add_only(restore, "restore only this entry, or this artefact of it", "ENTRY[/ARTEFACT]")
    text = "restore only such files of archives"
    restore.add_argument("--path", action="append", default=[], metavar="PATTERN", help=text)
    text = 'the latest before "2026-11-17 18:00" (local time)'
    restore.add_argument("--before", type=_moment, metavar="TIME", help=text)
    where = restore.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", type=_path, metavar="FOLDER", help="the folder to restore into")
    text = "load dumps into the server that the entry's config names, or SQLite databases into their place"
    where.add_argument("--into-server", action="store_true", help=text)
    text = "with --into-server: an option in place of that in the config, such as host=db2"
    restore.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE", help=text)
    text = "with --into-server: load it under another name"
    restore.add_argument("--as", type=_some_text, dest="as_name", metavar="NAME", help=text)
    restore.add_argument("--as-stored", action="store_true", help="leave the artefacts as they lie at the target")
    text = "replace files or databases that are there already"
    restore.add_argument("--overwrite", action="store_true", help=text)
    text = "as root, restore setuid bits, devices and capabilities too"
    restore.add_argument("--privileged", action="store_true", help=text)


def _add_copy(command: _Command) -> None:
    copy = command("copy", "bring a finished backup from one target to another, verified on the way")
    copy.add_argument("backup", metavar="BACKUP", nargs="?", default="latest", help=_BACKUP)
    _add_reading(copy)
    copy.add_argument("--to", type=_some_text, required=True, metavar="NAME", help="the target to copy to")


def _add_prune(command: _Command) -> None:
    prune = command("prune", "delete the backups that the retention policy does not keep")
    _add_target(prune, several=True)
    _add_job(prune)
    prune.add_argument("--all-jobs", action="store_true", help="prune the backups of every job that a target holds")
    text = "delete nothing, show what would be deleted and why"
    prune.add_argument("-n", "--dry-run", action="store_true", help=text)
    text = "even if an age rule deletes more than half of the backups, or another machine made some of them"
    prune.add_argument("--prune-anyway", action="store_true", help=text)


def _add_delete(command: _Command) -> None:
    delete = command("delete", "delete one backup, whatever retention says")
    delete.add_argument("backup", metavar="BACKUP", help="the whole name of the backup")
    _add_target(delete, several=True)
    _add_job(delete)
    delete.add_argument("-n", "--dry-run", action="store_true", help="delete nothing, show what would be deleted")
    delete.add_argument("--even-kept", action="store_true", help="also where somebody has said that it be kept")
    text = "even if nothing else holds a copy of all that it holds"
    delete.add_argument("--even-last", action="store_true", help=text)


def _add_keep(command: _Command) -> None:
    keep = command("keep", "let prune never delete a backup")
    keep.add_argument("backup", metavar="BACKUP", help=_BACKUP)
    text = "why it is kept; shown by prune, and in the file beside the backup"
    keep.add_argument("reason", metavar="REASON", nargs="?", default="", help=text)
    _add_job(keep)
    keep.add_argument("--release", action="store_true", help="let prune delete it again")


def _add_profiles(command: _Command) -> None:
    profiles = command("profiles", "show the profiles that there are, or the manual of one")
    profiles.add_argument("name", metavar="NAME", nargs="?", help="the profile")
    _add_json(profiles)


def _add_init(command: _Command) -> None:
    init = command("init", "write a commented config with what is found on this machine, to be edited")
    init.add_argument("file", metavar="FILE", nargs="?", type=_path, help="where; never over a file that is there")


def _add_schedule(command: _Command) -> None:
    schedule = command("schedule", "print what starts a run every night: a crontab, or units of systemd")
    text = "when, as 03:15; by default a time between 01:00 and 05:59 that follows from the host name"
    schedule.add_argument("--at", type=_time_of_day, metavar="HH:MM", help=text)
    text = "the system user that it runs as; with --systemd one that is not root may read everything"
    schedule.add_argument("--user", type=_some_text, metavar="NAME", help=text)
    schedule.add_argument("--systemd", action="store_true", help="units of systemd in place of a crontab")
    text = "with --systemd: write the units there, never over a file, as in /etc/systemd/system"
    schedule.add_argument("--to", type=_path, metavar="FOLDER", help=text)


def _add_keygen(command: _Command) -> None:
    keygen = command("keygen", "make a pair of keys for ENCRYPTION")
    keygen.add_argument("file", metavar="FILE", type=_path, help="where the private key goes; never over a file")


def _add_completion(command: _Command) -> None:
    completion = command("completion", "print a script with which a shell completes commands, options and names")
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")


_BACKUP = 'a backup\'s name, an unambiguous beginning of one ("2026-11-17"), or latest'


def _add_everywhere(parser: argparse.ArgumentParser, config: object, quiet: object, debug: object) -> None:
    """Add the options that may stand before the command and after it, with their defaults."""
    parser.add_argument("-c", "--config", type=_path, metavar="FILE", default=config, help="the config file")
    parser.add_argument("-q", "--quiet", action="store_true", default=quiet, help="write warnings and errors only")
    parser.add_argument("-d", "--debug", action="store_true", default=debug, help="show all that goes to the log")


def _add_only(command: argparse.ArgumentParser, text: str, metavar: str) -> None:
    command.add_argument(
        "--only", action="append", default=[], metavar=metavar, help=f"{text}; may be given several times"
    )


def _add_target(command: argparse.ArgumentParser, several: bool = False) -> None:
    if several:
        command.add_argument(
            "--target", action="append", default=[], metavar="NAME", help="only this target; may be given several times"
        )
    else:
        command.add_argument("--target", metavar="NAME", help="only this target")


def _add_reading(command: argparse.ArgumentParser) -> None:
    _add_target(command)
    _add_job(command)
    text = "a folder of backups in place of a target; needs no config"
    command.add_argument("--from", type=_path, dest="folder", metavar="FOLDER", help=text)


def _add_identity(command: argparse.ArgumentParser) -> None:
    text = "a file with the private key for what is encrypted: of age or SSH; may be given several times"
    command.add_argument("--identity", action="append", default=[], type=_path, metavar="FILE", help=text)


def _add_job(command: argparse.ArgumentParser) -> None:
    command.add_argument("--job", type=_some_text, metavar="JOB", help="the job, if not the config's own")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="write JSON")


def _with_command(arguments: Sequence[str]) -> list[str]:
    """Put the default command `run` before the first option that is not one for all commands."""
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument in ("-h", "--help", "--version") or not argument.startswith("-"):
            return list(arguments)
        if re.fullmatch(r"-[qd]*c|--config", argument):
            position += 2
        elif re.fullmatch(r"-[qd]+|--quiet|--debug|--config=.*|-[qd]*c.+", argument, re.DOTALL):
            position += 1
        else:
            break
    return [*arguments[:position], "run", *arguments[position:]] if position <= len(arguments) else list(arguments)


def _some_text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an empty text; is a variable not set?")
    return text


def _path(text: str) -> Path:
    return Path(_some_text(text))


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _time_of_day(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of the day such as 03:15")
    return int(found[1]), int(found[2])


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-11-17 or '2026-11-17 18:00'") from None


def _listen_to_signals() -> None:
    """Let TERM, INT and HUP raise `Stopped`, so that every `with` cleans up; a second one ends the process at once."""

    def stop(number: int, frame: object) -> NoReturn:
        for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(other, lambda number, frame: os._exit(128 + number))
        Stopped.heard = Stopped(number)
        raise Stopped.heard

    Stopped.heard = None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, stop)


def _ended(sentence: str, code: int) -> int:
    import logging

    logging.getLogger("pickup.cli").debug("ended with status %d: %s", code, sentence)  # to the log, if there is one
    text = f"ERROR: {sentence}"
    with contextlib.suppress(ImportError):  # where the installation is broken
        from pickup_core.terminal import dressed
        from pickup_core.wording import printable

        text = dressed(printable(text), logging.ERROR, sys.stderr)
    print(text, file=sys.stderr)
    return int(code)
