"""The command that tells whether backups still come: status."""

import json
import logging
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any

from pickup_core.catalogue import Catalogue
from pickup_core.history import History
from pickup_core.program import PROGRAM
from pickup_core.reading import Reading, reading_of
from pickup_core.session import Session, print_table
from pickup_core.status import ABSENT, FAILED, RETIRED, STALE, Status, state_of, status_of
from pickup_core.status_page import SHOWN_DAYS, page
from pickup_core.trust import replace_file
from pickup_core.wording import counted, duration, in_words, names_in_words

_HEAD = ["JOB", "TARGET", "STATE", "AGE", "SIZE", "TREND", "VERIFIED", "BACKUP"]
_SPARED = ("BACKUP", "VERIFIED", "TREND", "SIZE", "AGE")

log = logging.getLogger("pickup.commands")


def status_command(session: Session) -> None:
    """Show how old and how large the newest complete backups are, and fail where one is stale."""
    options, reading, now = session.options, reading_of(session), datetime.now(timezone.utc)
    found = [status for place in reading.places for status in _at(session, reading, place, now)]
    if options.json:
        print(json.dumps([_as_json(status) for status in found], indent=1))
    elif not options.quiet:
        rows = [_HEAD, *(_as_row(status, now) for status in found)]
        print_table(rows if options.all_jobs else [row[1:] for row in rows], _SPARED)
        print(end="", flush=True)  # before what is wrong is told, also where both go into one file
    for status in found:
        _tell(session, status)
    if options.html is not None:
        with session.report.attempt(f"page {options.html}"):
            replace_file(options.html, page(found, now).encode())


def _at(session: Session, reading: Reading, place: Catalogue, now: datetime) -> list[Status]:
    """Give what is known of each job at a place. One that cannot be read is told, and hides no other."""
    options, where = session.options, f"target {place.name}"
    since = now - timedelta(days=SHOWN_DAYS) if options.html else None
    found: list[Status] = []
    with session.report.attempt(where) as of_place, place.store:
        there = place.jobs()  # where that fails, nothing else is tried
        for job in there if options.all_jobs else [reading.job]:
            history = History(reading.config.state_folder, job) if reading.config else None
            with session.report.attempt(f"{where}: job {job}") as of_job:
                status = status_of(place, job, history, now, options.max_age, since)
                if status.holds_something or not options.all_jobs:  # else it is a folder of something else
                    found.append(status)
            if of_job.failures:
                found.append(Status(place.name, job, FAILED))
                place.store.listdir()  # where the place itself is gone, the other jobs need not be tried
        if not found:
            found.append(Status(place.name, None, state_of(None, False, options.max_age)))
        return found
    rest = None if options.all_jobs else reading.job
    lost = Status(place.name, rest, FAILED if of_place.failures else ABSENT)
    return found if lost in found else [*found, lost]


def _tell(session: Session, status: Status) -> None:
    """Say what the table does not: that a backup is stale, what came after it, and which clocks are wrong."""
    if status.state == RETIRED:
        return
    where, job = f"target {status.target}", f"job {status.job}" if status.job else "any job"
    since = ", ".join(f"{count} {state}" for state, count in status.newer.items())
    if status.future:
        what = f"{counted(len(status.future), 'backup')} dated later than now: {names_in_words(status.future)}"
        session.report.warn(
            where, f"{job} has {what}: not counted\nHint: look at the clocks of that machine and of this"
        )
    if status.state == STALE and status.newest and status.age is not None:
        name, age, limit = status.newest.id, duration(status.age), duration(session.options.max_age)
        newest = f"oldest of the newest copies of {job}, in" if status.beside else f"newest complete backup of {job},"
        what = f"is stale: the {newest} {name}, is {age} old, and may be {limit} at most"
        session.report.fail(where, what + (f"; newer are {since}" if since else ""))
    elif status.state == STALE:
        what = f"is stale: there is no complete backup of {job}" + (f", but {since}" if since else "")
        session.report.fail(where, f"{what}\nHint: {PROGRAM} list --all-jobs shows what there is")
    elif status.newest and status.beside:
        together = names_in_words(sorted([status.newest.id, *status.beside]))
        what = f"every entry has a good copy in one of {together}" + (f"; newer are {since}" if since else "")
        log.info("%s: %s: %s", where, job, what)
    elif since:
        what = "newer than the newest complete backup:" if status.newest else "there is no complete backup, but"
        log.info("%s: %s: %s %s", where, job, what, since)


def _as_json(status: Status) -> dict[str, Any]:
    newest, verified = status.newest, status.verified
    return {
        "target": status.target,
        "job": status.job,
        "state": status.state,
        "backup": newest.id if newest else None,
        "beside": list(status.beside),
        "started": newest.started.isoformat() if newest else None,
        "age": None if status.age is None else int(status.age),
        "size": newest.size if newest else None,
        "trend": None if status.trend is None else round(status.trend, 1),
        "newer": dict(status.newer),
        "future": list(status.future),
        "verified": asdict(verified) | {"time": verified.time.isoformat()} if verified else None,
    }


def _as_row(status: Status, now: datetime) -> list[str]:
    newest = status.newest
    return [
        status.job or "-",
        status.target,
        status.state,
        "-" if status.age is None else duration(status.age, parts=1),
        in_words(newest.size) if newest and newest.size is not None else "-",
        status.trend_in_words,
        status.verified_in_words(now),
        newest.id if newest else "-",
    ]
