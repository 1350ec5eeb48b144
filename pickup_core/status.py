"""Status: how old and how large the newest copies of a job are at a place, and whether they are stale.

All of it is read from the place and, where this machine has one, from the history of the job.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from pickup_core.catalogue import Backup, Catalogue
from pickup_core.history import History
from pickup_core.nights import Night, night_of, nights_of
from pickup_core.wording import duration

COMPARED = 7
"""With how many complete backups before them the newest copies are compared."""
_CLOCKS_DIFFER = timedelta(minutes=5)  # between machines whose clocks are right

OK, STALE, NONE, RETIRED, ABSENT, FAILED = "ok", "stale", "none", "retired", "absent", "failed"
STATES = {
    STALE: "not every entry has a copy that is as young as it should be",
    FAILED: "what is there could not be read",
    NONE: "there is no complete backup",
    OK: "every entry has a good copy, and a young one if that was asked for",
    ABSENT: "the target is optional, and not there",
    RETIRED: "no more backups are expected",
}
"""What each state means; those that want a look come first."""


@dataclass(frozen=True)
class Verified:
    """What the last verify on this machine found."""

    time: datetime
    backup: str
    findings: int


@dataclass(frozen=True)
class Status:
    """What is known of a job at a target; `job` is None where it is about all jobs there.

    `newest` is the newest complete backup. Where partial ones that came after it hold a good copy of every entry
    together, as when a run of what had failed follows, it is the oldest of these, `beside` are the names of the others,
    and its size is that of these copies. `trend` tells by how many percent it is larger than the median of the complete
    ones before it. `newer` counts by their status the other backups that came after it. Those that are `future` are
    dated later than now, and count as nothing. `nights` are given to a page only, the oldest first; with `whole_runs`
    their durations are those of runs, and else the time until all artefacts were made.
    """

    target: str
    job: str | None
    state: str
    newest: Night | None = None
    age: float | None = None
    trend: float | None = None
    newer: Mapping[str, int] = field(default_factory=dict)
    future: tuple[str, ...] = ()
    verified: Verified | None = None
    nights: tuple[Night, ...] = ()
    whole_runs: bool = False
    beside: tuple[str, ...] = ()

    @property
    def holds_something(self) -> bool:
        """Tell whether there are backups of it, in whatever state."""
        return bool(self.newest or self.newer or self.future)

    @property
    def trend_in_words(self) -> str:
        """Give the trend as it is shown: `+3 %`."""
        if self.trend is None:
            return "-"
        percent = round(self.trend)
        return f"{percent:+} %" if percent else "0 %"

    def verified_in_words(self, now: datetime) -> str:
        """Give how long ago the last verify was, and whether it found damage."""
        if self.verified is None:
            return "-"
        age = duration((now - self.verified.time).total_seconds(), parts=1)
        return f"{age}, DAMAGE" if self.verified.findings else age


def status_of(
    place: Catalogue,
    job: str,
    history: History | None,
    now: datetime,
    max_age: float | None = None,
    since: datetime | None = None,
) -> Status:
    """Give what is known of a job at a place, which is open. `max_age` is in seconds.

    The manifests of the newest backups are read; where `since` is given, those of all nights since then too.
    """
    listed, is_retired, _ = place.look(job)
    latest = now + _CLOCKS_DIFFER
    backups = [backup for backup in listed if backup.started <= latest]
    whole, size = _whole(backups)
    oldest = whole[-1] if whole else None
    newest = replace(night_of(oldest), size=size) if oldest else None
    earlier = (backup for backup in backups if oldest and backup.id < oldest.id and backup.status == "complete")
    age = max(0.0, (now - newest.started).total_seconds()) if newest else None
    nights, whole_runs = nights_of(backups, history, place.store.place, since) if since else ((), False)
    return Status(
        target=place.name,
        job=job,
        state=state_of(age, is_retired, max_age),
        newest=newest,
        beside=tuple(backup.id for backup in whole[:-1]),
        age=age,
        trend=trend([size, *(backup.manifest.size for backup in islice(earlier, COMPARED))]),
        newer=Counter(b.status for b in backups if b not in whole and (oldest is None or b.id > oldest.id)),
        future=tuple(backup.id for backup in listed if backup.started > latest),
        verified=_last_verify(history, place.name) if history else None,
        nights=nights,
        whole_runs=whole_runs,
    )


def state_of(age: float | None, is_retired: bool, max_age: float | None) -> str:
    """Give the state of a job whose newest complete backup has this age in seconds, None where there is none."""
    if is_retired:
        return RETIRED
    if max_age is not None and (age is None or age > max_age):
        return STALE
    return NONE if age is None else OK


def trend(sizes: Sequence[int]) -> float | None:
    """Give by how many percent the first of these sizes is larger than the median of the others, None where that cannot
    be told.
    """
    median = statistics.median(sizes[1:]) if len(sizes) > 1 else 0
    return (sizes[0] / median - 1) * 100 if median else None


def _whole(backups: Sequence[Backup]) -> tuple[list[Backup], int]:
    """Give which of these backups, the newest first, hold the newest good copy of each entry, and what these take, in
    bytes: the newest complete one, or partial ones that came after it and lack nothing together. The newest of all
    names the entries; empty where they have no such copies.
    """
    missing: set[str] | None = None
    found: list[Backup] = []
    size = 0
    for backup in backups:
        if backup.status == "complete":
            return [backup], backup.manifest.size
        if backup.status == "partial":
            entries = backup.manifest.entries
            missing = {entry.label for entry in entries} if missing is None else missing
            taken = [entry for entry in entries if entry.status == "ok" and entry.label in missing]
            if taken:
                found.append(backup)
                missing.difference_update(entry.label for entry in taken)
                size += sum(artefact.size for entry in taken for artefact in entry.artefacts)
            if not missing:
                return found, size
    return [], 0


def _last_verify(history: History, target: str) -> Verified | None:
    last: dict[str, Any] | None = None
    for record in history.records("verify"):
        if record["target"] == target:
            last = record
    return Verified(datetime.fromisoformat(last["time"]), last["backup"], last["findings"]) if last else None
