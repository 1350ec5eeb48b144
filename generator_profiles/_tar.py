"""What the profiles that archive with GNU tar have in common: its options, what its messages mean, and patterns."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from pickup_core.api import STAGING_MARK, Judgement, expression, failure, names_in_words, unescaped

log = logging.getLogger("pickup.tar")

CREATE = ("--create", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--sparse", "--xattrs",
          "--xattrs-include=*", "--quoting-style=escape", f"--exclude-tag-all={STAGING_MARK}")  # fmt: skip
"""The options for an archive that keeps all that tar can keep, but for what label_options gives. The last one is there
so that no archive can hold itself. Blocks larger than its own 10 KiB would take a quarter off its work; but a tar that
unpacks does not read their padding, and what feeds it would fail.
"""
LISTING = ("--utc", "-vv", "--full-time")
"""The options for a list of contents."""
_CHANGE = re.compile(r"[^:]+: (.*): (file changed as we read it|File removed before we read it|File shrank by .*)")
_CHANGED = "changed or vanished while it was read"
_LOSS = re.compile(r"[^:]+: (.*): (?:Warning: )?((?:Cannot|Read error|Unknown file type).*)")
_LOSSES_END = "Exiting with failure status due to previous errors"
_GONE = "Cannot stat: No such file or directory"
_DENIED = "Permission denied"


def name_of(path: PurePath) -> str:
    return path.name or "root"


def root_member(path: PurePath) -> str:
    """Give the name that the folder itself has in its archive."""
    return path.name or "."


@dataclass(frozen=True)
class Judge:
    """Tells what tar's status and messages mean for an archive of `path`, which is called `name`.

    `is_folder` tells whether a member is one. `may_change` and `unreadable` are the options.
    """

    program: str
    name: str
    path: PurePath
    may_change: Sequence[str]
    unreadable: str
    is_folder: Callable[[str], bool]

    def __call__(self, status: int, lines: Sequence[str]) -> Judgement:
        is_loss = status == 2 and any(line.endswith(_LOSSES_END) for line in lines)
        if status not in (0, 1) and not is_loss:
            raise failure(self.program, status, lines)
        changes = [(found[1], found[2]) for line in lines if (found := _CHANGE.match(line))]
        losses = [(found[1], found[2]) for line in lines if is_loss and (found := _LOSS.match(line))]
        root = root_member(self.path)
        if any(unescaped(name) == root for name, _ in losses) or (is_loss and not losses):
            raise failure(self.program, status, lines)
        changes += [(name, reason) for name, reason in losses if reason == _GONE]  # since the folder was listed
        changes = [(name, reason) for name, reason in changes if not self._is_new_or_gone_within(name, reason)]
        changed = [name for name, _ in changes if not self._may(name)]
        expected = [name for name, _ in changes if self._may(name)]
        if expected:
            log.info("%s: %s, as it may: %s", self.name, _CHANGED, names_in_words(expected))
        unread = [(name, reason) for name, reason in losses if reason != _GONE]
        warnings = [f"{_CHANGED}: {names_in_words(changed)}"] if changed else []
        if self.unreadable == "warn":
            return Judgement(warnings=(*warnings, *_unread(unread)))
        hint = '\nHint: exclude it, or say unreadable="warn"' if all(_DENIED in reason for _, reason in unread) else ""
        return Judgement(tuple(warnings), tuple(sentence + hint for sentence in _unread(unread)))

    def _is_new_or_gone_within(self, name: str, reason: str) -> bool:
        """Tell whether it is a folder that has changed: a name came or went in it."""
        return reason.startswith("file changed") and self.is_folder(unescaped(name))

    def _may(self, name: str) -> bool:
        below = unescaped(name).partition("/")[2]
        return any(pattern.match(below) for pattern in expressions(self.may_change, self.path))


def _unread(found: Sequence[tuple[str, str]]) -> list[str]:
    return [f"could not be read: {names_in_words([f'{name} ({reason})' for name, reason in found])}"] if found else []


def below_of(pattern: str, path: PurePath) -> str | None:
    """Give a pattern relative to a folder, with a leading `/` but for one that matches a name at any depth: None where
    it leads elsewhere, or to the folder itself.
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/"):
        home = path.parts[1:]
        if tuple(parts[: len(home)]) != home:
            return None
        del parts[: len(home)]
    if not parts or ".." in parts:
        return None
    return "/" * ("/" in pattern) + "/".join(parts)


def expressions(patterns: Sequence[str], path: PurePath) -> list[re.Pattern[str]]:
    """Give the expressions for those patterns that can match below a folder; they match paths relative to it."""
    return [expression(below) for pattern in patterns if (below := below_of(pattern, path)) is not None]


def see_that_patterns_match(exclude: Sequence[str], may_change: Sequence[str], paths: Sequence[PurePath]) -> None:
    """Raise `ValueError` where a pattern matches nothing below any of the paths, or tar cannot exclude it."""
    for pattern in (*exclude, *may_change):
        if all(below_of(pattern, path) is None for path in paths):
            raise ValueError(f"pattern {pattern!r} matches nothing below {', '.join(map(str, paths))}")
    for pattern in exclude:
        for path in paths:
            exclude_options(pattern, path)


def exclude_options(pattern: str, path: PurePath) -> list[str]:
    """Give tar's options for an exclude pattern; none for one that leads elsewhere.

    Tar knows two kinds of `*`, but not both in one pattern. Raises `ValueError` where that would be needed, and where
    the pattern would leave out the whole folder.
    """
    below = below_of(pattern, path)
    if below is None:
        return []
    anywhere, below = not below.startswith("/"), below.lstrip("/")
    if below.startswith("**/"):
        below, anywhere = below[3:], True
    if below.endswith("/**"):
        below = below[:-1]
    if below == "**":
        below = "*"
    first = below.partition("/")[0]
    if anywhere and path.name and expression(first).match(path.name):
        raise ValueError(f"pattern {pattern!r} also matches the folder {path} itself; write it with its absolute path")
    crosses = "**" in below
    if crosses and re.search(r"[?\[]|(?<!\*)\*(?!\*)", below):
        raise ValueError(
            f"pattern {pattern!r} has ** between other wildcards, which tar cannot do; write it as several"
        )
    start = "" if anywhere else re.sub(r"([*?\[\\])", r"\\\1", root_member(path)) + "/"
    variants = [below.replace("**", "*"), below.replace("/**/", "/").replace("**", "*")] if crosses else [below]
    slash = "--wildcards-match-slash" if crosses else "--no-wildcards-match-slash"
    anchor = "--no-anchored" if anywhere else "--anchored"
    return ["--wildcards", anchor, slash, *(f"--exclude={start}{variant}" for variant in dict.fromkeys(variants))]
