"""The aftermath of a run that went badly: which copies are safe nevertheless, what prune deleted, which command repeats
the part that failed, and where the log is.
"""

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence

from pickup_core.config import Config, command_line
from pickup_core.copies import Copies, copies_at
from pickup_core.entries import GeneratorEntry, TargetEntry, chosen
from pickup_core.logs import LOG_FILE
from pickup_core.manifest import started_at
from pickup_core.report import Course
from pickup_core.run import RunWish
from pickup_core.wording import age_of, names_in_words, printable

_UNKNOWN = "not known"


def aftermath(config: Config, wish: RunWish, course: Course, may_look: bool) -> list[str]:
    """Give the lines about a run that failed. Where it `may_look`, the targets that did not fail are read, for half a
    minute at most.
    """
    failed = [entry for entry in chosen(config.generators, wish.only) if entry.label not in course.good]
    missing = [target for target in config.targets if target.name in course.missing]
    lines = [
        *_under("Safe nevertheless:", _safe(config, course, failed, missing, may_look)),
        *_under("Pruned:", _pruned(course)),
        *_under(f"Once it works again{_as_whom()}:", _commands(config, wish, course, failed, missing)),
    ]
    return [printable(line) for line in lines]


def _as_whom() -> str:
    """Name our user where nobody can log in as such: then whoever reads the message is somebody else."""
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return ""
    return f", as {user.pw_name}" if user.pw_shell.rpartition("/")[2] in ("nologin", "false") else ""


def log_line(config: Config) -> str:
    """Give the line that tells where the log is."""
    where = config.log_folder / LOG_FILE if config.logging is None else "where LOGGING in the config says"
    return printable(f"Log: {where}")


def _under(head: str, lines: Iterator[str]) -> list[str]:
    below = [f"  {line}" for line in lines]
    return [head, *below] if below else []


def _safe(
    config: Config,
    course: Course,
    failed: Sequence[GeneratorEntry],
    missing: Sequence[TargetEntry],
    may_look: bool,
) -> Iterator[str]:
    """Say where this backup is, and of each entry that failed, or did not come to a target, where its newest good copy
    is.
    """
    labels, good = [entry.label for entry in failed], sorted(course.good)
    if course.stored and good:
        yield f"{names_in_words(good)}: in this backup at {', '.join(course.stored)}"
    elif not course.stored:
        labels = sorted([*labels, *good])
    at_hand = [target for target in config.targets if course.targets.get(target.name, "stored") == "stored"]
    copies = copies_at(config, at_hand if may_look and labels else [], labels)
    yield from _by_places(labels, copies)
    if course.stored:
        yield from _by_places(good, {target.name: copies[target.name] for target in missing})


def _by_places(labels: Sequence[str], copies: Mapping[str, Copies]) -> Iterator[str]:
    """Say where the newest copies of these entries are; those that lie together, in one line."""
    together: dict[str, list[str]] = {}
    for label in labels if copies else ():
        together.setdefault(_places(label, copies), []).append(label)
    for places, names in together.items():
        yield f"{names_in_words(names)}: {places}"


def _places(label: str, copies: Mapping[str, Copies]) -> str:
    by_backup: dict[str, list[str]] = {}
    for target, held in copies.items():
        by_backup.setdefault(held.newest.get(label, "" if held.is_seen else _UNKNOWN), []).append(
            target if held.is_seen else f"{target} (not read now)"
        )
    known = sorted((name for name in by_backup if name not in ("", _UNKNOWN)), reverse=True)
    words = [f"{_with_age(name)} at {', '.join(by_backup[name])}" for name in known]
    for name, said in (("", "none"), (_UNKNOWN, _UNKNOWN)):
        words += [f"{said} at {', '.join(by_backup[name])}"] if name in by_backup else []
    return "; ".join(words)


def _with_age(name: str) -> str:
    started = started_at(name)
    return f"{name} ({age_of(started)})" if started else name


def _pruned(course: Course) -> Iterator[str]:
    for target, names in course.pruned.items():
        if names:
            yield f"{names_in_words(names)} at {target}"


def _commands(
    config: Config,
    wish: RunWish,
    course: Course,
    failed: Sequence[GeneratorEntry],
    missing: Sequence[TargetEntry],
) -> Iterator[str]:
    """Give the commands that bring what is missing: one for the entries, and one for each target."""
    stored = course.stored
    if failed or not stored:
        names = [entry.name for entry in failed] if stored else wish.only
        words = [*(f"--only={name}" for name in names), *(f"--target={name}" for name in wish.targets)]
        yield command_line(config, "run", *words, *([f"--keep={wish.keep}"] if wish.keep else []))
    if stored and course.backup and missing:
        for target in missing:
            yield command_line(config, "copy", course.backup, f"--target={stored[0]}", f"--to={target.name}")
        if wish.keep:
            yield command_line(config, "keep", course.backup, wish.keep)
