"""The figures as a picture: a bar for each wall time, all to one scale."""

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.measuring import Contest, Figures
from benchmarks.page import Result

_OURS, _THEIRS, _GOAL, _PAPER = "#2a6f97", "#b0b7bd", "#c1440e", "white"
_BAR, _LINE, _GAP = 14, 20, 12
_LABEL, _NUMBER, _UNIT = 250, 40, 84  # pixels that are left for a name and for a number, and of the ratio 1
_MOST = 6  # of a longer bar the end is cut off
_WIDTH = _LABEL + _UNIT * _MOST + 60


def plot(results: Sequence[Result]) -> str:
    """Draw the ratios of wall time, a group for each contest. What is longer than the paper is cut, and shows it."""
    shapes, y = _legend(), _LINE + _GAP
    for contest, found in results:
        if found:
            shapes += _group(contest, found, y)
            y += _LINE * (len(found) + 1) + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}" '
        f'font-family="sans-serif" font-size="12"><rect width="{_WIDTH}" height="{y}" fill="{_PAPER}"/>'
        f"{''.join(shapes)}</svg>\n"
    )


def _legend() -> list[str]:
    return [
        _box(8, 8, _BAR, _BAR, _OURS), _text(28, 19, "Pickup"),
        _box(88, 8, _BAR, _BAR, _THEIRS), _text(108, 19, "others"),
        _box(168, 6, 2, _BAR + 4, _GOAL), _text(176, 19, "goal"),
        _text(_WIDTH - 8, 19, "wall time as a multiple of the first of each group; shorter is faster", 'text-anchor="end"'),
    ]  # fmt: skip


def _group(contest: Contest, found: Mapping[str, Figures], y: int) -> list[str]:
    first = next(iter(found.values())).wall
    shapes = [_text(8, y + 13, contest.name, 'font-weight="bold"')]
    for number, (name, figures) in enumerate(found.items(), 1):
        top, ratio = y + _LINE * number, figures.wall / first
        end = min(ratio, _MOST) * _UNIT
        goals = [goal.most * found[goal.than].wall / first * _UNIT for goal in contest.goals
                 if goal.ours == name and goal.than in found]  # fmt: skip
        shapes.append(_text(_LABEL - 8, top + 11, name, 'text-anchor="end"'))
        shapes.append(_box(_LABEL, top, end, _BAR, _OURS if name.startswith("Pickup") else _THEIRS))
        if ratio > _MOST:
            shapes += [_stroke(_LABEL + end - away, top) for away in (24, 16)]
        shapes += [_box(_LABEL + mark - 1, top - 2, 2, _BAR + 4, _GOAL) for mark in goals if mark <= _MOST * _UNIT]
        beside = max([end, *(mark for mark in goals if mark < end + _NUMBER)])
        shapes.append(_text(_LABEL + beside + 8, top + 11, f"{ratio:.2f}"))
    return shapes


def _text(x: float, y: int, text: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y}"{f" {more}" if more else ""}>{escape(text)}</text>'


def _box(x: float, y: int, width: float, height: int, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def _stroke(x: float, y: int) -> str:
    return f'<path d="M{x:.0f} {y + _BAR + 2}l6 -{_BAR + 4}" stroke="{_PAPER}" stroke-width="3"/>'
