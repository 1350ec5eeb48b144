"""The nights of a job at a place: the backups that it holds, and what the history tells of those that it does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pickup_core.catalogue import Backup
from pickup_core.history import History
from pickup_core.manifest import started_at


@dataclass(frozen=True)
class Night:
    """A backup, or what the history tells of one that is not there. `status` is that of a backup, or `deleted` where it
    was there once, or `missed` where a run brought none. Size in bytes and duration in seconds are None where nobody
    knows them; the history knows the size of complete ones only.
    """

    id: str
    started: datetime
    status: str
    size: int | None = None
    seconds: float | None = None
    note: str = ""

    @property
    def was_complete(self) -> bool:
        """Tell whether it is complete, or was when it was there."""
        return self.status == "complete" or (self.status == "deleted" and self.size is not None)


def night_of(backup: Backup) -> Night:
    """Give what a backup that is there tells. Its manifest is read."""
    if not backup.is_finished:
        return Night(backup.id, backup.started, backup.status)
    manifest = backup.manifest
    seconds = max(0.0, (manifest.finished - manifest.started).total_seconds())
    return Night(backup.id, backup.started, backup.status, manifest.size, seconds, manifest.missing)


def nights_of(
    backups: Sequence[Backup], history: History | None, place: str, since: datetime
) -> tuple[tuple[Night, ...], bool]:
    """Give the nights since a moment, and whether their durations are those of whole runs: these are taken where the
    history knows any, for both together would make no curve.
    """
    nights = {backup.id: night_of(backup) for backup in backups if backup.started >= since}
    records = history.records("run") if history else ()
    runs = {record["backup"]: record for record in records if "backup" in record}
    gone = _gone(history, place, {backup.id for backup in backups}) if history else {}
    for name, status in gone.items():
        started, run = started_at(name), runs.get(name, {})
        if started is not None and started >= since:
            was_complete = status == "deleted" and run.get("exit") in (0, 1)
            sizes = [size for artefacts in run.get("sizes", {}).values() for size in artefacts.values()]
            nights[name] = Night(name, started, status, sum(sizes) if was_complete else None)
    whole_runs = not runs.keys().isdisjoint(nights)
    if whole_runs:
        for name, night in nights.items():
            nights[name] = Night(**vars(night) | {"seconds": runs.get(name, {}).get("seconds")})
    return tuple(night for _, night in sorted(nights.items())), whole_runs


def _gone(history: History, place: str, here: set[str]) -> dict[str, str]:
    """Give, by their names, what became of the backups that runs and copies here made, and that a place does not hold:
    those from before its first one are none of it.
    """
    stored = {record["backup"] for record in history.records("run", "copy") if place in record.get("places", ())}
    begun = {record["backup"] for record in history.records("start")}
    first = min(here | stored, default=None)
    gone = sorted((stored | begun) - here)
    return {name: "deleted" if name in stored else "missed" for name in gone if first is not None and name >= first}
