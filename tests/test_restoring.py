"""Restoring: from the best place that there is, and what is wrong with one does not hide the others."""

import shutil
from pathlib import Path

import pytest

from pickup_core.errors import DamageError, RefusedError, StoreError, UsageError
from pickup_core.history import History
from tests.places import JOB
from tests.sessions import DAMAGE, LABEL, carried_out, home_with_two_targets, keep, make_later, manifest_at


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return home_with_two_targets(tmp_path)


def restored(home: Path, *words: object) -> tuple[int, str, str]:
    """Restore what lies there; give the status, the content that came, and all that was said."""
    to = home / "to"
    shutil.rmtree(to, ignore_errors=True)
    done = carried_out(home, "restore", *words, "--to", to)
    return done.status, (to / LABEL / "data.bin").read_text(), done.out + done.err


def test_the_newest_backup_of_all_places_is_restored(home: Path) -> None:
    keep(home, 1, "one")
    keep(home, 2, "two")
    assert restored(home)[:2] == (0, "night 2")
    assert restored(home, "--target", "one")[:2] == (0, "night 1")
    assert restored(home, "--before", "2025-03-03 00:00+00:00")[:2] == (0, "night 1")


def test_of_equal_backups_that_of_the_first_place_is_taken(home: Path) -> None:
    made = keep(home, 1, "one", "two")
    said = restored(home)[2]
    assert f"from target one: job {JOB}, backup {made.manifest.id} of " in said
    assert "target two" not in said


def test_a_place_that_cannot_be_reached_is_told_and_the_others_serve(home: Path) -> None:
    """V4: the newest that can be had; the place that is missing may have a newer one, so it is warned about."""
    keep(home, 1, "two")
    status, content, said = restored(home)
    assert (status, content) == (1, "night 1")
    assert f"WARNING: target one: {home}/one does not exist\nHint: is the disk mounted?" in said
    shutil.rmtree(home / "two")
    with pytest.raises(StoreError) as caught:
        restored(home)
    assert [line for line in str(caught.value).splitlines() if line.startswith("target ")] == [
        f"target one: {home}/one does not exist", f"target two: {home}/two does not exist",
    ]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("named", [True, False])
def test_a_backup_that_is_damaged_in_one_place_comes_whole_from_another(home: Path, damage: str, named: bool) -> None:
    """V1: whether it is named or the latest."""
    keep(home, 1, "one", "two")
    made = keep(home, 2, "one", "two")
    DAMAGE[damage](manifest_at(home, "one", made))
    status, content, said = restored(home, *([made.manifest.id] if named else []))
    assert content == "night 2"
    assert f"from target two: job {JOB}, backup {made.manifest.id}" in said
    is_warned = f"WARNING: target one: {JOB}/{made.manifest.id}" in said
    assert is_warned == (status == 1) == (named or damage != "cut off")  # one that is not asked for is unfinished
    with pytest.raises(DamageError):
        restored(home, made.manifest.id, "--target", "one")


def test_a_backup_of_a_later_version_is_no_damage_and_passed_over(home: Path) -> None:
    keep(home, 1, "one")
    made = keep(home, 2, "one")
    make_later(manifest_at(home, "one", made), made)
    keep(home, 0, "two")
    status, content, said = restored(home)
    assert (status, content) == (1, "night 1")
    assert f"{JOB}/{made.manifest.id}.json: the manifest has format [2, 0], and this Pickup reads [1, 0]; it is" in said


def test_what_no_place_has_is_told_for_each(home: Path) -> None:
    keep(home, 1, "one", "two")
    with pytest.raises(UsageError, match=r"(?s)target one: it holds no backup .*'1999'.*\ntarget two: .*'1999'"):
        restored(home, "1999")


def test_no_way_leads_a_restore_into_the_folder_that_it_reads(home: Path) -> None:
    """I10."""
    keep(home, 1, "one")
    (home / "link").symlink_to("one")
    for folder, to in (("one", "one/web01/x"), ("one", "link/x"), ("link", "one/x"), ("link", "link")):
        with pytest.raises(RefusedError, match=f"lies in .*/{folder}, whose backups it would change"):
            carried_out(home, "restore", "--from", home / folder, "--to", home / to, needs_config=False)
    assert [path.name for path in (home / "one").iterdir()] == [JOB]


def test_what_was_restored_is_remembered(home: Path) -> None:
    made = keep(home, 1, "one", "two")
    restored(home, "--only", "system")
    [came] = History(home / "state", JOB).records("restore")
    assert (came["target"], came["backup"], came["to"], came["only"]) == (
        "one", made.manifest.id, str(home / "to"), ["system"],
    )  # fmt: skip
