"""The retention policy: a pure function from what each backup holds to what is kept, and why.

The policy is applied to each entry for itself, to the backups that hold this entry without failure. Ages and periods
are measured from the newest of them that is not later than now, never from the wall clock. A backup is kept if any
entry wants it, so the newest good copy of every entry always stays.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from annotated_types import Gt
from pydantic import Field, model_validator

from pickup_core.options import Options

_Length = Annotated[float, Gt(0)] | None
_Count = Annotated[int, Field(gt=0, strict=True)] | None


class Policy(Options):
    """How many backups a target keeps: an age, counts, or both; a backup is kept if any rule wants it."""

    weeks: _Length = None
    days: _Length = None
    hours: _Length = None
    minutes: _Length = None
    seconds: _Length = None
    milliseconds: _Length = None
    microseconds: _Length = None
    last: _Count = None
    daily: _Count = None
    weekly: _Count = None
    monthly: _Count = None
    yearly: _Count = None

    @model_validator(mode="after")
    def _says_something(self) -> "Policy":
        if self.age is None and not self.counts:
            raise ValueError("says nothing; leave retention out to keep every backup")
        return self

    @property
    def age(self) -> timedelta | None:
        """How old a backup may get, or None without such a rule. An age beyond what can be counted keeps everything."""
        lengths = {name: getattr(self, name) for name in _LENGTHS}
        given = {name: value for name, value in lengths.items() if value is not None}
        try:
            return timedelta(**given) if given else None
        except OverflowError:
            return timedelta.max

    @property
    def text(self) -> str:
        """The policy as it is written in the config: `days=30, last=3`."""
        return ", ".join(f"{name}={value:g}" for name, value in self if value is not None)

    @property
    def counts(self) -> dict[str, int]:
        """How many periods of each kind keep a backup."""
        return {name: count for name in _PERIODS if (count := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Holding:
    """What a finished backup holds: the entries without failure, and those whose artefacts have losses."""

    id: str
    started: datetime
    good: frozenset[str]
    lossy: frozenset[str] = frozenset()
    kept_because: str | None = None
    """The text of the backup's `.keep` file."""


@dataclass(frozen=True)
class Decision:
    """What becomes of a backup. Without a reason to keep it, it is deleted."""

    id: str
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        return bool(self.reasons)


def decide(holdings: Collection[Holding], policy: Policy, entries: Collection[str], now: datetime) -> list[Decision]:
    """Give a decision on each backup, the newest first.

    `entries` are the names that the config has; an entry that it no longer names keeps its newest copy only. Copies
    with losses count among themselves, where they are newer than the newest good one: a disk with one unreadable file
    has its history too, and a good copy is not displaced by bad ones.
    """
    newest_first = sorted(holdings, key=lambda holding: (holding.started, holding.id), reverse=True)
    reasons: dict[str, list[str]] = {holding.id: [] for holding in newest_first}
    for holding in newest_first:
        if holding.kept_because is not None:
            reasons[holding.id].append(f"kept by hand: {holding.kept_because}")
        if holding.started > now:
            reasons[holding.id].append("later than now")
    past = [holding for holding in newest_first if holding.started <= now]
    for entry in sorted({name for holding in past for name in holding.good | holding.lossy}):
        good = [holding for holding in past if entry in holding.good]
        lossy = [
            holding for holding in past if entry in holding.lossy and (not good or holding.started > good[0].started)
        ]
        for copies, remark in ((good, ""), (lossy, " (with losses)")):
            for name, reason in _wanted(copies, policy, entry in entries):
                reasons[name].append(f"{entry} {reason}{remark}")
    return [Decision(holding.id, tuple(reasons[holding.id])) for holding in newest_first]


def deletes_too_much(decisions: Sequence[Decision], policy: Policy) -> bool:
    """Tell whether an age rule would delete more than half of the backups at once, as after a jump of the clock."""
    deleted = sum(not decision.keep for decision in decisions)
    return policy.age is not None and deleted * 2 > len(decisions)


def _wanted(copies: Sequence[Holding], policy: Policy, configured: bool) -> Iterable[tuple[str, str]]:
    """Give id and reason for each copy of one entry that a rule keeps; `copies` come newest first."""
    if not copies:
        return
    yield copies[0].id, "newest" if configured else "newest, no longer in the config"
    if not configured:
        return
    if (age := policy.age) is not None:
        for copy in copies:
            if copies[0].started - copy.started > age:
                break  # and so are all that come after
            yield copy.id, "young enough"
    for period, count in policy.counts.items():
        slot_of, form = _PERIODS[period]
        filled = 0
        latest: object = None
        for copy in copies:
            slot = slot_of(copy)
            if slot == latest:
                continue
            if filled == count:
                break  # and what comes after is older still
            latest, filled = slot, filled + 1
            yield copy.id, f"{period} {copy.started.strftime(form) if form else copy.id}"


_LENGTHS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")
_PERIODS: Mapping[str, tuple[Callable[[Holding], object], str]] = {
    "last": (lambda copy: copy.id, ""),
    "daily": (lambda copy: copy.started.toordinal(), "%Y-%m-%d"),
    "weekly": (lambda copy: (copy.started.toordinal() - 1) // 7, "%G-W%V"),  # day 1 was a Monday
    "monthly": (lambda copy: (copy.started.year, copy.started.month), "%Y-%m"),
    "yearly": (lambda copy: copy.started.year, "%Y"),
}
"""For each kind of period, what tells one from the next, and how it is written: what is the same for many is cheap."""
