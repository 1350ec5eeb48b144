"""The page of `status`: what is known of all jobs, with a calendar of nights and curves of size and duration.

One HTML file that needs no other one and no script. Names on it come from servers: the tree escapes every text.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from pickup_core.drawings import add, add_calendar, add_curve, add_key, add_shapes
from pickup_core.nights import Night
from pickup_core.status import COMPARED, STATES, Status
from pickup_core.wording import duration, in_words, local_time, names_in_words

SHOWN_DAYS = 366
"""How many days a page looks back."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_COLUMNS = [("Job", ""), ("Target", ""), ("State", "state"), ("Age", "number"), ("Size", "number"),
            ("Trend", "wide number"), ("Verified", "wide number"), ("Started", "wide number")]  # fmt: skip


def page(found: Sequence[Status], now: datetime) -> str:
    """Give the page, as HTML, of what is known at a moment. Times are those of this machine's zone."""
    root = Element("html", lang="en")
    head = add(root, "head")
    add(head, "meta", charset="utf-8")
    add(head, "meta", http_equiv="Content-Security-Policy", content=_POLICY)
    for name, content in (("viewport", "width=device-width, initial-scale=1"), ("robots", "noindex")):
        add(head, "meta", name=name, content=content)
    add(head, "title", "Backups")
    add(head, "style").text = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    body = add(root, "body")
    add_shapes(body)
    add(body, "h1", "Backups")
    counts = Counter(status.state for status in found)
    add(body, "p", ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]))
    moment = f"{local_time(now)} ({now.astimezone():UTC%z})"
    add(body, "p", f"As of {moment}. Ages are those at that moment.", class_="faint")
    _add_overview(body, found, now)
    if any(status.nights for status in found):
        add_key(body)
    numbered = sorted(enumerate(found), key=lambda each: (each[1].job or "", each[0]))
    for job, statuses in groupby(numbered, key=lambda each: each[1].job):
        if job is not None:
            add(body, "h2", job)
            for number, status in statuses:
                _add_target(body, f"s{number}", status, now)
    text = ElementTree.tostring(root, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n"


def _add_overview(body: Element, found: Sequence[Status], now: datetime) -> None:
    """Add the table of all jobs and targets; those that want a look come first."""
    table = add(body, "table")
    head = add(add(table, "thead"), "tr")
    for name, class_ in _COLUMNS:
        add(head, "th", name, class_=class_, scope="col")
    rows = add(table, "tbody")
    for number, status in sorted(enumerate(found), key=lambda each: list(STATES).index(each[1].state)):
        row = add(rows, "tr")
        newest = status.newest
        texts = [
            "",
            status.target,
            status.state,
            "-" if status.age is None else duration(status.age, parts=1),
            _size(newest),
            status.trend_in_words,
            status.verified_in_words(now),
            local_time(newest.started) if newest else "-",
        ]
        for text, (_, class_) in zip(texts, _COLUMNS, strict=True):
            cell = add(row, "td", text, class_=f"{class_} {status.state}" if class_ == "state" else class_)
            if not text:
                add(cell, "a", status.job or "every job", **({"href": f"#s{number}"} if status.job else {}))


def _add_target(body: Element, anchor: str, status: Status, now: datetime) -> None:
    """Add what is known of a job at a target."""
    section = add(body, "section", id=anchor)
    heading = add(section, "h3", status.target)
    add(heading, "span", status.state, class_=f"state {status.state}", title=STATES[status.state])
    for sentence in _sentences(status, now):
        add(section, "p", sentence, class_="faint")
    if status.nights:
        add_calendar(section, status.nights, now)
        curves = add(section, "div", class_="flow curves")
        good = [night for night in status.nights if night.was_complete]
        what = "Duration of runs" if status.whole_runs else "Time until all artefacts were made"
        add_curve(curves, "Size", [(n.started, float(n.size)) for n in good if n.size is not None],
                   lambda size: in_words(int(size)))  # fmt: skip
        add_curve(curves, what, [(n.started, n.seconds) for n in good if n.seconds is not None], duration)


def _sentences(status: Status, now: datetime) -> Iterator[str]:
    """Say in words what is known, as far as there is something to say."""
    newest = status.newest
    if newest is None or status.age is None:
        yield f"{STATES[status.state][0].upper()}{STATES[status.state][1:]}."
    else:
        size = f"{_size(newest)}, {status.trend_in_words} against the median of up to {COMPARED} before it"
        what = "Newest complete backup" if not status.beside else "The oldest of the newest copies"
        yield f"{what}: {newest.id}, started {local_time(newest.started)}, {duration(status.age)} ago."
        if status.beside:
            yield f"Every entry has a good copy in it or in {names_in_words(status.beside)}."
        yield f"{size if status.trend is not None else _size(newest)}."
    if status.newer:
        others = ", ".join(f"{count} {state}" for state, count in status.newer.items())
        yield f"Newer than that: {others}." if newest else f"There are: {others}."
    if status.future:
        yield f"Dated later than now, and not counted: {names_in_words(status.future)}."
    if verified := status.verified:
        outcome = "with damage" if verified.findings else "and found whole"
        yield f"Last verified {local_time(verified.time)}: {verified.backup}, {outcome}."


def _size(night: Night | None) -> str:
    return "-" if night is None or night.size is None else in_words(night.size)
