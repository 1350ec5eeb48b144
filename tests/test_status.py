"""What is known of a job at a target, as far as it is only computed; and its nights, from manifests and history."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.history import History
from pickup_core.nights import Night, nights_of
from pickup_core.status import COMPARED, Status, state_of, trend
from target_profiles.folder import Config, Target
from tests.builders import LOCAL, config_text, write_config
from tests.places import JOB, make_backup, store_backup
from tests.sessions import LABEL, LONG_AGO, carried_out, own_logging

DAY = timedelta(days=1)
EVER = datetime(2000, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("age", "is_retired", "max_age", "state"),
    [
        (10, False, None, "ok"),
        (10, False, 10, "ok"),
        (10.1, False, 10, "stale"),
        (None, False, 10, "stale"),
        (None, False, None, "none"),
        (99, True, 10, "retired"),
        (None, True, 10, "retired"),
        (0, False, 0, "ok"),
    ],
)
def test_a_state_is_told_by_the_age(age: float | None, is_retired: bool, max_age: float | None, state: str) -> None:
    assert state_of(age, is_retired, max_age) == state


@pytest.mark.parametrize(
    ("sizes", "percent", "words"),
    [
        ([], None, "-"),
        ([5], None, "-"),
        ([110, 100], 10, "+10 %"),
        ([50, 100, 900, 10], -50, "-50 %"),
        ([1004, 1000], 0.4, "0 %"),
        ([996, 1000], -0.4, "0 %"),
        ([7, 0, 0], None, "-"),
        ([0, 10], -100, "-100 %"),
    ],
)
def test_a_trend_is_told_against_the_median(sizes: list[int], percent: float | None, words: str) -> None:
    """One huge night before it says little about this one."""
    found = trend(sizes)
    assert found == (None if percent is None else pytest.approx(percent))
    assert Status("t", "j", "ok", trend=found).trend_in_words == words


# Nights


@pytest.fixture
def store(tmp_path: Path) -> Target:
    store = Target(Config(path=tmp_path / "one"))
    store.create_root()
    return store


def stored(store: Target, folder: Path, day: int, seconds: int = 0, size: int = 1, **facts: object) -> str:
    made = make_backup(folder / f"made-{day}", LONG_AGO + day * DAY, {LABEL: b"x" * size}, **facts)  # type: ignore[arg-type]
    store_backup(store, made)
    return made.manifest.id


def found(store: Target, history: History | None, since: datetime = EVER) -> tuple[list[Night], bool]:
    nights, whole_runs = nights_of(Catalogue("one", store).backups(JOB), history, store.place, since)
    return list(nights), whole_runs


def test_nights_are_those_of_the_manifests_where_there_is_no_history(store: Target, tmp_path: Path) -> None:
    first = stored(store, tmp_path, 0)
    second = stored(store, tmp_path, 1, statuses={"sqlite/db": "failed"})
    third = stored(store, tmp_path, 3)
    (tmp_path / "one" / JOB / f"{third}.json").unlink()
    for history in (None, History(tmp_path / "state", JOB)):
        nights, whole_runs = found(store, history)
        assert not whole_runs
        assert [(n.id, n.status, n.size is None, n.note) for n in nights] == [
            (first, "complete", False, ""), (second, "partial", False, "'db' failed"), (third, "unfinished", True, ""),
        ]  # fmt: skip
        assert [n.seconds for n in nights] == [0, 0, None]
    assert [n.id for n in found(store, None, LONG_AGO + DAY)[0]] == [second, third]


def test_the_history_tells_what_is_not_there(store: Target, tmp_path: Path) -> None:
    """It tells of nothing from before the first backup that came to this place."""
    history = History(tmp_path / "state", JOB)
    names = [f"2025-03-{day:02}T021500Z" for day in range(1, 7)]
    before, deleted, failed_and_deleted, missed, here, copied = names
    for name in names[:5]:
        history.add("start", backup=name)
    sizes = {"sizes": {LABEL: {"data.bin": 70}, "sqlite/db": {"a": 7}}}
    history.add("run", exit=0, seconds=9, backup=before, places=["elsewhere"], **sizes)
    history.add("run", exit=1, seconds=30, backup=deleted, places=["elsewhere", store.place], **sizes)
    history.add("run", exit=2, seconds=40, backup=failed_and_deleted, places=[store.place], **sizes)
    history.add("run", exit=2, seconds=5, backup=missed)
    stored(store, tmp_path, 4, size=10)
    history.add("run", exit=0, seconds=60, backup=here, places=[store.place], **sizes)
    history.add("copy", backup=copied, places=[store.place], target="one", origin="two")
    nights, whole_runs = found(store, history)
    assert whole_runs
    assert [(n.id, n.status, n.seconds) for n in nights] == [
        (deleted, "deleted", 30), (failed_and_deleted, "deleted", 40), (missed, "missed", 5), (here, "complete", 60),
        (copied, "deleted", None),
    ]  # fmt: skip
    assert [n.size for n in nights[:3]] == [77, None, None]
    assert found(store, history, LONG_AGO + 9 * DAY) == ([], False)


def test_real_runs_leave_the_nights_that_are_told(tmp_path: Path) -> None:
    """The line that a run writes is the one that is read here."""
    write_config(tmp_path, config_text(LOCAL))
    with own_logging():
        assert carried_out(tmp_path, "run").status == 0
        assert carried_out(tmp_path, "run").status == 0
    store = Target(Config(path=tmp_path / "backups"))
    gone, here = sorted(backup.id for backup in Catalogue("disk", store).backups(JOB))
    store.delete(f"{JOB}/{gone}.json")
    store.delete(f"{JOB}/{gone}")
    nights, whole_runs = found(store, History(tmp_path / "state", JOB))
    assert whole_runs
    assert [(n.id, n.status) for n in nights] == [(gone, "deleted"), (here, "complete")]
    assert all(n.size and n.seconds is not None for n in nights)


def test_no_more_manifests_are_read_than_are_needed(tmp_path: Path) -> None:
    """Without a page, 400 nights cost the manifests of the newest ones."""
    home = tmp_path
    write_config(home, config_text(LOCAL))
    store = Target(Config(path=home / "backups"))
    store.create_root()
    for day in range(COMPARED + 5):
        stored(store, home, day)
    carried_out(home, "status")
    assert len(list((home / "state/manifests").rglob("*.json"))) == COMPARED + 1
    carried_out(home, "status", "--html", home / "page.html")
    assert len(list((home / "state/manifests").rglob("*.json"))) == COMPARED + 1  # those are years old
