"""Drawings of the page of `status`, as SVG within HTML: calendars of nights, and curves.

The tree of elements escapes every text; `add` is the one way into it.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from pickup_core.nights import Night
from pickup_core.secret import redact
from pickup_core.wording import in_words, local_time, short_line

_PITCH, _CELL = 12, 10  # pixels from one day to the next, and of a day
_WIDTH, _HEIGHT, _EDGE = 340, 110, 16  # of a curve; above and below it is room for a line of text
_MOST_DOTS = 62
_KINDS = {
    "complete": ("complete", "complete"),
    "partial": ("partial", "partial"),
    "deleted": ("deleted", "was there, deleted since"),
    "bad": ("unfinished damaged missed", "unfinished, damaged, or a run that brought none"),
    "later": ("later", "made by a later version of Pickup"),
}
"""As what the days of a calendar are drawn: the states of backups that are, and what it means. The best one counts."""
_SHAPES = {
    "complete": [("day-complete", "M0 0h10v10h-10z")],
    "partial": [("rim-partial", "M.5.5h9v9h-9z"), ("day-partial", "M0 10v-10h10z")],
    "deleted": [("day-deleted", "M0 0h10v10h-10z")],
    "bad": [("day-bad", "M1 1l8 8M9 1l-8 8")],
    "later": [("day-later", "M5 0l5 5l-5 5l-5-5z")],
    "empty": [("day-empty", "M.5.5h9v9h-9z")],
}


def add(parent: Element, tag: str, text: str = "", **attributes: object) -> Element:
    """Add an element. `class_` is for `class`, and `http_equiv` for `http-equiv`: Python takes no other names."""
    given = {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()}
    element = ElementTree.SubElement(parent, tag, given)
    if text:
        element.text = short_line(redact(text))
    return element


def add_shapes(body: Element) -> None:
    """Add, unseen, the shapes of the days, which calendars and key refer to."""
    shapes = add(body, "svg", width=0, height=0, style="position:absolute", aria_hidden="true")
    for kind, paths in _SHAPES.items():
        group = add(add(shapes, "defs"), "g", id=f"d-{kind}")
        for class_, path in paths:
            add(group, "path", d=path, class_=class_)


def add_key(body: Element) -> None:
    """Add what the days of a calendar mean."""
    key = add(body, "ul", class_="flow key")
    for kind, (_, meaning) in {**_KINDS, "empty": ("", "no backup")}.items():
        item = add(key, "li")
        icon = add(item, "svg", width=_CELL, height=_CELL, viewBox=f"0 0 {_CELL} {_CELL}", aria_hidden="true")
        add(icon, "use", href=f"#d-{kind}")
        icon.tail = f" {meaning}"


def add_calendar(section: Element, nights: Sequence[Night], now: datetime) -> None:
    """Add a calendar from the first night until now, month by month, each week a column."""
    days = {day: list(group) for day, group in groupby(nights, key=lambda night: night.started.astimezone().date())}
    first, last = min(days), max(now.astimezone().date(), *days)
    months = add(section, "div", class_="flow")
    every_day = (first + timedelta(days=count) for count in range((last - first).days + 1))
    for (year, month), group in groupby(every_day, key=lambda day: (day.year, day.month)):
        name = date(year, month, 1).strftime("%b %Y")
        width, height = 6 * _PITCH, 7 * _PITCH + _EDGE
        drawn = add(add(months, "figure"), "svg", width=width, height=height, viewBox=f"0 0 {width} {height}",
                     role="img", aria_label=f"Backups in {name}")  # fmt: skip
        add(drawn, "text", name, x=0, y=_CELL)
        for day in group:
            week = (day.day - 1 + date(year, month, 1).weekday()) // 7
            x, y = week * _PITCH, day.weekday() * _PITCH + _EDGE
            of_day = days.get(day, [])
            mark = add(drawn, "use", href=f"#d-{_kind(of_day)}", x=x, y=y)
            add(mark, "title", f"{day}: {'; '.join(map(_told, of_day)) or 'no backup'}")


def _kind(nights: Sequence[Night]) -> str:
    states = {night.status for night in nights}
    return next((kind for kind, (of_kind, _) in _KINDS.items() if states & set(of_kind.split())), "empty")


def _told(night: Night) -> str:
    """Give a night as the calendar tells it: `03:15 complete, 13.6 MiB`."""
    parts = [night.status, night.note, "" if night.size is None else in_words(night.size)]
    return f"{night.started.astimezone():%H:%M} {', '.join(filter(None, parts))}"


def add_curve(
    parent: Element, name: str, points: Sequence[tuple[datetime, float]], shown: Callable[[float], str]
) -> None:
    """Add a curve over time, with its highest value written at its top and zero at its bottom. One point makes none."""
    if len(points) < 2:
        return
    figure = add(parent, "figure", class_="curve")
    add(figure, "figcaption", f"{name}: now {shown(points[-1][1])}")
    highest, (first, last) = max(value for _, value in points), (points[0][0], points[-1][0])
    label = f"{name} from {local_time(first)} to {local_time(last)}, {shown(highest)} at most"
    drawn = add(figure, "svg", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label)
    top, bottom = _EDGE, _HEIGHT - _EDGE
    for height in (top, bottom):
        add(drawn, "line", x1=0, x2=_WIDTH, y1=height, y2=height, class_="grid")
    add(drawn, "text", shown(highest), x=0, y=top - 4)
    add(drawn, "text", f"{first.astimezone():%Y-%m-%d}", x=0, y=_HEIGHT - 3)
    add(drawn, "text", f"{last.astimezone():%Y-%m-%d}", x=_WIDTH, y=_HEIGHT - 3, text_anchor="end")
    span = (last - first).total_seconds()
    placed = [
        (3 + (moment - first).total_seconds() / span * (_WIDTH - 6), bottom - value / (highest or 1) * (bottom - top))
        for moment, value in points
    ]
    add(drawn, "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in placed), class_="line")
    for (x, y), (moment, value) in zip(placed, points, strict=True) if len(points) <= _MOST_DOTS else ():
        dot = add(drawn, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, class_="dot")
        add(dot, "title", f"{local_time(moment)}: {shown(value)}")
