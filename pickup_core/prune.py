"""Prune: delete the backups of a job that the retention policy does not keep, and what broken uploads have left."""

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from pickup_core.catalogue import MARK_FILE, Backup, Catalogue, read_small
from pickup_core.errors import PickupError, StoreError
from pickup_core.history import History
from pickup_core.manifest import Manifest, Summary, started_at
from pickup_core.program import PROGRAM
from pickup_core.publish import is_mark_of, mark_text
from pickup_core.retention import Decision, Holding, Policy, decide, deletes_too_much
from pickup_core.store import Store
from pickup_core.wording import local_time
from pickup_core.writers import HINT

_LEFTOVER_AGE = timedelta(days=1)
_TAKEOVER_TIME = timedelta(days=7)
_LONGEST_RUN = timedelta(days=2)  # of another machine, which may bring a backup that was begun so long before
_LONGEST_UPLOAD = timedelta(days=7)
_LONGEST_MARK = 65_536
_ON_ITS_WAY = re.compile(r"\.([^.]+)\.(?:json|partial\.json|keep)\.[^.]+")

log = logging.getLogger("pickup.prune")


class _Present(NamedTuple):
    """A finished backup that is there, or is taken as such."""

    id: str
    started: datetime
    summary: Summary


@dataclass(frozen=True)
class Earlier:
    """What earlier prunes on this machine saw of another machine's job at a place: the `names` of the backups that were
    there at the `last` of them, and when each of the uploads that were unfinished then was first seen so (`left`).
    """

    last: datetime
    names: Collection[str]
    left: Mapping[str, datetime]

    @classmethod
    def known_to(cls, history: History, place: str) -> "Earlier | None":
        """Give what the history tells, None where there was no prune. Each has noted what was new, and what was gone:
        that counts as never seen, for whoever knows its name could bring another one in its place.
        """
        last, names, left = None, set[str](), dict[str, datetime]()
        for record in history.records("prune", "delete"):
            if record.get("place") != place:
                continue
            if record["kind"] == "delete":
                names.discard(record["backup"])
            elif "left" in record:
                last = datetime.fromisoformat(record["time"])
                names = names.union(record["names"]).difference(record["gone"], record["deleted"])
                left = {path: left.get(path, last) for path in record["left"]}
        return cls(last, names, left) if last else None

    def is_late(self, backup: Backup) -> bool:
        """Tell whether a backup was not there then, though it is dated so long before: whoever has broken into the
        other machine could add such, and so let those be deleted that it may not delete itself.
        """
        return backup.id not in self.names and backup.started < self.last - _LONGEST_RUN

    def is_given_up(self, path: str, now: datetime) -> bool:
        """Tell whether what an upload has left was there so long ago that no upload can be at work on it still."""
        return path in self.left and now - self.left[path] > _LONGEST_UPLOAD


@dataclass(frozen=True)
class Pruned:
    """What prune decided on each backup, which ones it deleted (or, in a dry run, would delete), which ones bear this
    machine's name though no run here made them, what is to be warned about, and what is only worth knowing.
    """

    decisions: Sequence[Decision] = ()
    deleted: Sequence[str] = ()
    strange: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


def prune(
    catalogue: Catalogue,
    job: str,
    policy: Policy,
    entries: Collection[str] | None,
    now: datetime,
    machine: str | None,
    anyway: bool = False,
    upcoming: Manifest | None = None,
    earlier: Earlier | None = None,
) -> Pruned:
    """Apply the policy to a job's finished backups at one place, and delete those that it does not keep.

    `entries` are the labels of the config's generator entries, and `machine` is this machine's digest; both are None
    for another machine's job, of which the manifests tell the entries, and `earlier` what was there before. `anyway`
    lets an age rule delete more than half of the backups at once, and counts those of other machines and those that no
    run here made. `upcoming` is a backup that a dry run takes as present. Each deletion takes the manifest first; one
    that fails is a warning, and the others go on.
    """
    finished, warnings, notes = _sorted_out(catalogue.backups(job))
    again = f"{PROGRAM} prune --prune-anyway" if machine else f"{PROGRAM} prune --job {job} --prune-anyway"
    strange = [backup.id for backup in finished if machine and is_strange(backup, machine, now)]
    late = [backup.id for backup in finished if earlier and earlier.is_late(backup)]
    if not anyway:
        finished = [backup for backup in finished if backup.id not in {*strange, *late}]
        hint = f"if that is right, as after a restore of this machine, {again}"
        warnings += [f"no run here made {name}: kept, and not counted. Hint: {hint}" for name in strange]
        what = "was not there when this machine last pruned, though it is dated long before: kept, and not counted"
        warnings += [f"{name} {what}. Hint: if that is right, as after a copy, {again}" for name in late]
    present = [_Present(backup.id, backup.started, backup.summary) for backup in finished]
    if upcoming and upcoming.id not in {each.id for each in present}:
        present.insert(0, _Present(upcoming.id, upcoming.started, upcoming.summary))
    notes += [
        f"backup {each.id} is dated later than now: kept, and not counted" for each in present if each.started > now
    ]
    reasons = {backup.id: backup.keep_reason() for backup in finished if backup.is_kept}
    sets: Callable[[tuple[str, ...]], frozenset[str]] = functools.cache(frozenset)  # most backups hold the same
    holdings = [
        Holding(each.id, each.started, sets(each.summary.good), sets(each.summary.lossy), reasons.get(each.id))
        for each in present
    ]
    if entries is None:
        entries = {label for holding in holdings for label in holding.good | holding.lossy}
    decisions = decide(holdings, policy, entries, now)
    objection = None if anyway else _objection(decisions, policy, job, present, machine, again)
    if objection:
        return Pruned(decisions, (), strange, [*warnings, objection], notes)
    unwanted = {decision.id for decision in decisions if not decision.keep}
    deleted = []
    for backup in finished:
        if backup.id in unwanted:
            with _failure_noted(f"backup {backup.folder} could not be deleted", warnings):
                delete_backup(backup)
                deleted.append(backup.id)
    return Pruned(decisions, deleted, strange, warnings, notes)


def is_strange(backup: Backup, machine: str, now: datetime) -> bool:
    """Tell whether a backup bears this machine's name, but no run here made it: whoever can add files at a place could
    make it, and so let the real ones be deleted.
    """
    memory = backup.catalogue.memory
    is_of_us = backup.summary.machine == machine and backup.started <= now
    return is_of_us and memory is not None and memory.misses(backup.job, backup.id)


def _sorted_out(backups: Iterable[Backup]) -> tuple[list[Backup], list[str], list[str]]:
    """Give the finished backups, warnings of damaged ones, and notes on those that a later version wrote."""
    finished, warnings, notes = [], [], []
    for backup in backups:
        if backup.is_finished:
            finished.append(backup)
        elif backup.status == "damaged":
            warnings.append(f"{backup.manifest_path} is damaged: neither counted nor deleted")
        elif backup.status == "later":
            notes.append(f"{backup.manifest_path}, of a later version of Pickup: neither counted nor deleted")
    return finished, warnings, notes


def _objection(
    decisions: Sequence[Decision],
    policy: Policy,
    job: str,
    present: Sequence[_Present],
    machine: str | None,
    again: str,
) -> str | None:
    """Say why nothing should be deleted for now, None where nothing speaks against it."""
    if machine and (other := _other_machine(present, machine)):
        return (
            f"{other.summary.host} writes backups of job {job} too, the last of them {other.id} of "
            f"{local_time(other.started)}: nothing is pruned. Hint: {HINT}; where this machine replaces that one, "
            f"{again}"
        )
    if deletes_too_much(decisions, policy):
        count = sum(not decision.keep for decision in decisions)
        return (
            f"the retention policy would delete {count} of {len(decisions)} backups at once, so nothing was deleted. "
            f"Hint: if that is right, {again}; if not, look at the clock and at retention"
        )
    return None


def clear_leftovers(
    catalogue: Catalogue, job: str, now: datetime, spares: Callable[[str], bool] = lambda path: False
) -> tuple[list[str], list[str]]:
    """Delete unfinished backups of this job that are older than a day and bear our mark; so goes a manifest that never
    got its final name. `spares` is asked of each, by its path, and what it says yes to stays. Give what was deleted,
    and a warning for each that could not be.
    """
    cleared: list[str] = []
    warnings: list[str] = []
    found = catalogue.look(job)
    for backup in found.backups:
        if backup.status == "unfinished" and now - backup.started > _LEFTOVER_AGE and not backup.is_kept:
            with _failure_noted(f"{backup.folder} was left unfinished and could not be deleted", warnings):
                if is_ours(catalogue.store, backup) and not spares(backup.folder):
                    delete_backup(backup)
                    cleared.append(backup.folder)
    for item in found.others:
        name = _ON_ITS_WAY.fullmatch(item.name)
        started = started_at(name[1]) if name and not item.is_folder else None
        is_old = started is not None and now - started > _LEFTOVER_AGE
        if is_old and not spares(f"{job}/{item.name}"):
            with _failure_noted(f"{job}/{item.name} was left unfinished and could not be deleted", warnings):
                catalogue.store.delete(f"{job}/{item.name}")
                cleared.append(f"{job}/{item.name}")
    return cleared, warnings


@contextlib.contextmanager
def _failure_noted(what: str, warnings: list[str]) -> Iterator[None]:
    """Make a warning of what a store could not do, so that the others are served."""
    try:
        yield
    except (OSError, PickupError) as error:
        warnings.append(f"{what}: {error}")


def delete_backup(backup: Backup) -> None:
    """Delete a backup: the reason to keep it, its manifest, and its mark last, so that what an interruption leaves is
    known as ours, and goes one day.
    """
    store = backup.catalogue.store
    if backup.is_kept:
        store.delete(f"{backup.folder}.keep")
    if backup.marker:
        store.delete(backup.manifest_path)
    for item in store.listdir(backup.folder):
        if "/" in item.name or item.name in (".", ".."):
            raise StoreError(f"{backup.folder} is listed with a name that leads out of it: {item.name!r}")
        if item.name != MARK_FILE:
            store.delete(f"{backup.folder}/{item.name}")
    store.delete(backup.folder)


def is_ours(store: Store, backup: Backup) -> bool:
    """Tell whether an unfinished backup bears our mark, or holds nothing beside the beginning of one. A power cut may
    leave zeros in place of its end.
    """
    mark = b""
    with contextlib.suppress(FileNotFoundError):
        mark = read_small(store, f"{backup.folder}/{MARK_FILE}", _LONGEST_MARK)
    others = [item for item in store.listdir(backup.folder) if item.name != MARK_FILE]
    is_beginning = mark_text(backup.job, backup.id).startswith(mark.rstrip(b"\0"))
    return is_mark_of(mark, backup.job, backup.id) or (is_beginning and not others)


def _other_machine(present: Sequence[_Present], machine: str) -> _Present | None:
    """Give the newest backup of another machine that writes this job's backups too, or None.

    Its newest backup is later than one of this machine's, or less than a week older than the newest of all. So a
    machine that was set up anew in place of another one prunes nothing for a week, and then goes on.
    """
    others = [each for each in present if each.summary.machine != machine]
    if not others:
        return None
    newest_other = max(others, key=lambda each: each.started)
    oldest_own = min((each.started for each in present if each.summary.machine == machine), default=None)
    newest = max(each.started for each in present)
    alternate = oldest_own is not None and newest_other.started > oldest_own
    return newest_other if alternate or newest - newest_other.started < _TAKEOVER_TIME else None
