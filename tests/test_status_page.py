"""The page of status: it needs nothing else, shows what it should, and hostile names stay names."""

import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from pickup_core.drawings import add
from pickup_core.nights import Night
from pickup_core.secret import Secret
from pickup_core.status import STATES, Status, Verified
from pickup_core.status_page import page
from tests.places import JOB
from tests.sessions import carried_out, home_with_two_targets
from tests.test_watching import PARTIAL, stored

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=timezone.utc)
HOSTILE = "<script>alert(1)</script>\"' onload=x & \x1b[31m \u202e \udcff <img src=//evil.example/x>"
VOID = {"meta", "link", "img", "br", "input", "base", "embed", "source"}


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine's clock show UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@dataclass
class Parsed(HTMLParser):
    """What a browser would find on a page."""

    text: str
    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()
        assert self.open_tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open_tags[-1], data.strip()))

    def of(self, tag: str) -> list[str]:
        """Give the texts within elements of this kind."""
        return [text for within, text in self.texts if within == tag]

    def shapes(self) -> Counter[str]:
        """Count the shapes of the days, without those of the key."""
        used = Counter(value for tag, name, value in self.attributes if (tag, name) == ("use", "href"))
        return Counter({shape.removeprefix("#d-"): count - 1 for shape, count in used.items() if count > 1})


def night(day: int, status: str = "complete", size: int | None = 1024, note: str = "") -> Night:
    """Give what happened `day` days before NOW."""
    started = NOW - timedelta(days=day)
    return Night(f"{started:%Y-%m-%dT%H%M%SZ}", started, status, size, 60.0 * (day + 1), note)


def status(nights: list[Night], job: str = JOB, target: str = "disk", state: str = "ok") -> Status:
    newest = nights[-1] if nights else None
    age = (NOW - newest.started).total_seconds() if newest else None
    return Status(target, job, state, newest, age, nights=tuple(nights))


def assert_self_contained(parsed: Parsed) -> None:
    """See that nothing on a page is fetched or run."""
    assert not parsed.tags.keys() & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image"}
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href", "action", "data"):
            assert value.startswith("#"), (tag, name, value)
    [style] = parsed.of("style")
    assert not re.search(r"url\(|@import|expression|</", style)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, name, value in parsed.attributes if name == "href"} <= set(ids)


def test_a_page_of_all_that_there_is(tmp_path: Path) -> None:
    """W7."""
    nights = [night(4), night(3, "partial", note="'db' failed"), night(2, "missed", None), night(0)]
    verified = Verified(NOW - timedelta(hours=30), nights[0].id, 0)
    found = [
        Status("disk", JOB, "ok", nights[3], 7200.0, 12.3, {"partial": 1}, ("2030-01-01T000000Z",), verified, tuple(nights)),
        status([], target="offsite", state="stale"),
        status([night(9)], "db02", state="retired"),
        Status("stick", None, "absent"),
    ]  # fmt: skip
    parsed = Parsed(page(found, NOW))
    assert_self_contained(parsed)
    assert parsed.text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert ("meta", "content", "width=device-width, initial-scale=1") in parsed.attributes
    assert parsed.of("p")[0] == "1 stale, 1 ok, 1 absent, 1 retired"
    assert parsed.of("h2") == ["db02", JOB]
    assert parsed.of("h3") == ["disk", "disk", "offsite"]
    assert [text for text in parsed.of("td") if text in STATES] == ["stale", "ok", "absent", "retired"]
    sentences = "\n".join(parsed.of("p"))
    for words in ("2h ago", "1.0 KiB, +12 % against", "Newer than that: 1 partial", "2030-01-01T000000Z",
                  "and found whole", "Not every entry has a copy that is as young as it should be."):  # fmt: skip
        assert words in sentences
    assert parsed.shapes() == {"complete": 3, "partial": 1, "bad": 1, "empty": 1 + 9}
    titles = parsed.of("title")
    assert "2026-11-23: 12:00 partial, 'db' failed, 1.0 KiB" in titles
    assert "2026-11-25: no backup" in titles
    assert parsed.of("figcaption") == [
        "Size: now 1.0 KiB",
        "Time until all artefacts were made: now 60s",
    ]


@pytest.mark.parametrize("field_name", ["job", "target", "note", "newer"])
def test_a_hostile_name_stays_a_name(field_name: str) -> None:
    """W7."""
    job, target = (HOSTILE if field_name == name else name for name in ("job", "target"))
    note = HOSTILE if field_name == "note" else "note"
    nights = (night(1, note=note), night(0))
    newer = {HOSTILE: 1} if field_name == "newer" else {"partial": 1}
    text = page([Status(target, job, "ok", nights[1], 1.0, None, newer, nights=nights)], NOW)
    parsed = Parsed(text)
    assert_self_contained(parsed)
    assert "<script>alert(1)</script>" in " ".join(text for _, text in parsed.texts)
    assert parsed.tags["script"] == 0
    assert not re.search("[\x1b\u202e\udcff]", text)
    assert text.encode("utf-8")


def test_a_secret_is_not_shown() -> None:
    Secret("correct-horse-battery")
    assert add(Element("p"), "b", "password correct-horse-battery").text != "password correct-horse-battery"


def test_the_policy_of_the_page_lets_nothing_in() -> None:
    parsed = Parsed(page([], NOW))
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in parsed.attributes


@pytest.mark.parametrize(("count", "dots"), [(1, 0), (2, 4), (62, 124), (63, 0), (366, 0)])
def test_a_curve_has_its_points_while_they_can_be_told_apart(count: int, dots: int) -> None:
    parsed = Parsed(page([status([night(day) for day in reversed(range(count))])], NOW))
    assert parsed.tags["circle"] == dots
    assert parsed.tags["polyline"] == (2 if count > 1 else 0)


def test_a_curve_goes_from_zero_to_its_highest_value() -> None:
    sizes = [0, 512, 1024]
    text = page([status([night(2 - day, size=size) for day, size in enumerate(sizes)])], NOW)
    points = re.findall(r'points="([^"]+)"', text)[0].split()
    assert [float(point.split(",")[1]) for point in points] == [94, 55, 16]
    assert [float(point.split(",")[0]) for point in points] == [3, 170, 337]
    assert Parsed(page([status([night(1, size=0), night(0, size=0)])], NOW)).tags["polyline"] == 2


def test_a_curve_is_one_of_complete_backups() -> None:
    nights = [night(4), night(3, "deleted"), night(2, "deleted", None), night(1, "partial"), night(0)]
    points = re.findall(r'points="([^"]+)"', page([status(nights)], NOW))
    assert [len(each.split()) for each in points] == [3, 3]


def test_the_best_of_a_day_is_drawn_and_all_of_it_told() -> None:
    one, other = night(0, "missed", None), night(0)
    parsed = Parsed(page([status([one, other])], NOW))
    assert parsed.shapes() == {"complete": 1}
    assert "2026-11-26: 12:00 missed; 12:00 complete, 1.0 KiB" in parsed.of("title")


def test_days_lie_under_each_other_from_monday_on() -> None:
    """2026-11-01 is a Sunday, and 2026-11-26 a Thursday of the fifth week."""
    text = page([status([night(25), night(0)])], NOW)
    places = re.findall(r'<use href="#d-complete" x="(\d+)" y="(\d+)">', text)
    assert places == [("0", str(16 + 6 * 12)), (str(4 * 12), str(16 + 3 * 12))]


# The file


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = home_with_two_targets(tmp_path)
    for hours in (50, 26, 2):
        stored(home, "one", hours)
    stored(home, "one", 1, job="db02", **PARTIAL)
    return home


def test_a_page_is_written_for_us_alone_and_beside_it_nothing_is_left(home: Path) -> None:
    file = home / "page.html"
    for _ in range(2):
        assert carried_out(home, "status", "-q", "--target", "one", "--html", file, "--all-jobs").status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(home.glob(".*.new")) == []
    parsed = Parsed(file.read_text(encoding="utf-8"))
    assert_self_contained(parsed)
    assert parsed.of("h2") == ["db02", JOB]
    assert parsed.shapes()["complete"] == 3


def test_a_page_is_read_by_those_who_could_read_the_one_before(home: Path) -> None:
    file = home / "page.html"
    file.touch()
    file.chmod(0o666)
    if os.geteuid() == 0:
        os.chown(file, 0, 4711)
    carried_out(home, "status", "--target", "one", "--html", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.stat().st_gid == (4711 if os.geteuid() == 0 else os.getegid())
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("what", ["folder", "link", "absent", "."])
def test_a_page_that_cannot_be_written_is_a_failure(home: Path, what: str) -> None:
    """W8: What lies there stays, and what is stale is told all the same."""
    (home / "folder").mkdir()
    (home / "elsewhere").write_text("mine")
    (home / "link").symlink_to(home / "elsewhere")
    file = {"absent": home / "absent/page.html", ".": "."}.get(what, home / what)
    done = carried_out(home, "status", "--target", "one", "--max-age", "1h", "--html", file)
    assert done.status == 2
    assert f"ERROR: page {file}: " in done.err
    assert "is stale" in done.err
    assert (home / "elsewhere").read_text() == "mine"
    assert (home / "folder").is_dir()
    assert list(home.rglob(".*.new")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to mind it")
def test_root_writes_no_page_where_another_user_could_lead_it_elsewhere(home: Path) -> None:
    """W8."""
    folder = home / "theirs"
    folder.mkdir()
    os.chown(folder, 4711, 4711)
    done = carried_out(home, "status", "--target", "one", "--html", folder / "page.html")
    assert done.status == 2
    assert f"{folder} belongs to user 4711" in done.err
    assert list(folder.iterdir()) == []
