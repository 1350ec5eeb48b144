"""Choice: which backup, and which of its artefacts, a restore needs for what is asked for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pickup_core.catalogue import Backup
from pickup_core.errors import UsageError
from pickup_core.find import archives, listing
from pickup_core.manifest import EntryRecord, Manifest, StoredArtefact
from pickup_core.patterns import search_expression
from pickup_core.program import PROGRAM
from pickup_core.wording import names_in_words

Chosen = list[tuple[EntryRecord, StoredArtefact]]


@dataclass(frozen=True)
class Wish:
    """What is to be restored, and how. `only` names entries or `ENTRY/ARTEFACT`, `paths` are patterns of member
    names.
    """

    to: Path
    only: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    as_stored: bool = False
    overwrite: bool = False
    privileged: bool = False

    def lacks(self, backup: Backup) -> str:
        """Say what a finished backup lacks of what is asked for, or has with failures only; nothing if it will do."""
        manifest = backup.manifest
        for text in self.only:
            if not _find_only(manifest, text, good=True):
                there = ", ".join(entry.name for entry in manifest.entries if entry.status == "ok")
                alike = [
                    f"{entry.name}/{each.name}"
                    for entry in manifest.entries
                    for each in entry.artefacts
                    if text in each.name or (entry.status == "ok" and text.startswith(f"{entry.name}/"))
                ]
                more = f"; of artefacts it holds {names_in_words(alike)}" if alike else ""
                return f"it does not hold {text!r} without failure, but {there or 'nothing'}{more}"
        if self.paths:
            good = _selected(manifest, self.only, good=True)
            lack = f"it holds no file that matches {self.patterns}, as {PROGRAM} find would tell"
            return "" if _with_paths(backup, good, self.paths) else lack
        if self.only or manifest.is_complete:
            return ""
        return f"it is partial: {manifest.missing}; --only ENTRY restores what it holds"

    @property
    def which(self) -> str:
        """Say in words which backups will do."""
        if self.paths:
            return f"that holds a file which matches {self.patterns}, in an entry without failure"
        return f"that holds {' and '.join(map(repr, self.only))} without failure" if self.only else "that is complete"

    @property
    def patterns(self) -> str:
        """The patterns in words."""
        return " or ".join(map(repr, self.paths))


def choose(backup: Backup, wish: Wish) -> Chosen:
    """List the artefacts that a wish needs. Raises `UsageError` where the backup does not have what is asked for."""
    for text in wish.only:
        if not _find_only(backup.manifest, text):
            names = ", ".join(entry.name for entry in backup.manifest.entries)
            raise UsageError(f"backup {backup.id} holds no artefacts of {text!r}", hint=f"it holds entries: {names}")
    chosen = _selected(backup.manifest, wish.only)
    if not wish.paths:
        return chosen if wish.as_stored else _without_lists(chosen, wish.only)
    found = _with_paths(backup, chosen, wish.paths)
    if not found:
        hint = f"{PROGRAM} find PATTERN tells which backups do"
        raise UsageError(f"backup {backup.id} holds no file that matches {wish.patterns}", hint=hint)
    return found


def _selected(manifest: Manifest, only: Sequence[str], good: bool = False) -> Chosen:
    """List the artefacts of what is named, or of all entries where nothing is, each once; with `good`, those of entries
    without failure.
    """
    if not only:
        entries = [entry for entry in manifest.entries if entry.status == "ok" or not good]
        return [(entry, artefact) for entry in entries for artefact in entry.artefacts]
    found = (pair for text in only for pair in _find_only(manifest, text, good))
    return list({artefact.path: (entry, artefact) for entry, artefact in found}.values())


def _without_lists(chosen: Chosen, only: Sequence[str]) -> Chosen:
    """Leave out the lists of contents, which unpacked archives have no need of, but for those that are asked for."""
    entries = {entry.name: entry for entry, _ in chosen}.values()
    lists = {contents.path for entry in entries for _, contents in archives(entry) if contents}
    asked_for = {text.rpartition("/")[2] for text in only}
    return [(e, a) for e, a in chosen if a.path not in lists or asked_for & {a.name, PurePosixPath(a.path).name}]


def space_needed(chosen: Chosen, wish: Wish) -> int:
    """Give how many bytes a restore takes at the destination while it works."""
    artefacts = [artefact for _, artefact in chosen]
    if wish.as_stored:
        return sum(artefact.size for artefact in artefacts)
    return space_to_open(artefacts) + sum(artefact.uncompressed_size for artefact in artefacts)


def space_to_open(artefacts: Sequence[StoredArtefact]) -> int:
    """Give how many bytes fetched artefacts take; each that is encrypted lies beside its decrypted form for a while."""
    return sum(each.size for each in artefacts) + max((each.size for each in artefacts if each.encryption), default=0)


def _find_only(manifest: Manifest, text: str, good: bool = False) -> Chosen:
    """Give the artefacts that `ENTRY` or `ENTRY/ARTEFACT` names; both may be written as they are or as stored."""
    for entry in manifest.entries:
        if text in (entry.name, entry.label):
            return [(entry, artefact) for artefact in entry.artefacts] if entry.status == "ok" or not good else []
        for prefix in (f"{entry.name}/", f"{entry.label}/"):
            name = text.removeprefix(prefix)
            found = [a for a in entry.artefacts if name in (a.name, PurePosixPath(a.path).name)]
            if text.startswith(prefix) and found:
                return [(entry, artefact) for artefact in found if not (good and artefact.losses)]
    return []


def _with_paths(backup: Backup, chosen: Chosen, patterns: Sequence[str]) -> Chosen:
    """Give the archives among the chosen artefacts that have a member which matches, as far as their lists tell."""
    wanted = [search_expression(pattern) for pattern in patterns]
    candidates = {artefact.path for _, artefact in chosen}
    found: Chosen = []
    for entry in backup.manifest.entries:
        for archive, contents in archives(entry):
            if archive.path in candidates and (contents is None or _mentions(backup, contents, wanted)):
                found.append((entry, archive))
    return found


def _mentions(backup: Backup, contents: StoredArtefact, wanted: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.match(line.name) for line in listing(backup, contents) for pattern in wanted)
