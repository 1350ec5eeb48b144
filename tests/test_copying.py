"""Copying: a backup comes to another target as it is, verified on the way, or not at all."""

import re
from pathlib import Path

import pytest

from pickup_core.errors import DamageError, PickupError, StoreError, UsageError
from pickup_core.history import History
from tests.places import JOB
from tests.sessions import DAMAGE, LABEL, carried_out, home_with_two_targets, keep, manifest_at


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return home_with_two_targets(tmp_path)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_is_the_same_to_the_byte_and_may_be_verified_and_restored(home: Path) -> None:
    keep(home, 1, "one")
    made = keep(home, 2, "one")
    done = carried_out(home, "copy", "--to", "two")
    assert (done.status, done.err) == (0, "")
    assert f"from target one: job {JOB}, backup {made.manifest.id}" in done.out
    name = made.manifest.id
    assert tree_of(home / "two") == {path: data for path, data in tree_of(home / "one").items() if name in path}
    assert carried_out(home, "verify", "--target", "two").status == 0
    assert carried_out(home, "restore", "--target", "two", "--to", home / "to").status == 0
    assert (home / "to" / LABEL / "data.bin").read_text() == "night 2"
    [copied] = History(home / "state", JOB).records("copy")
    assert (copied["origin"], copied["target"], copied["backup"]) == ("one", "two", name)


def test_a_named_backup_and_one_of_a_copied_folder_can_be_copied(home: Path) -> None:
    made = keep(home, 1, "one")
    keep(home, 2, "one")
    assert carried_out(home, "copy", made.manifest.id[:10], "--target", "one", "--to", "two").status == 0
    (home / "one").rename(home / "stick")
    assert carried_out(home, "copy", "--from", home / "stick", "--to", "two").status == 0
    assert len(list((home / "two" / JOB).glob("*.json"))) == 2


def test_a_place_that_a_copy_has_used_is_never_made_anew(home: Path) -> None:
    """T34: a disk that is not mounted; the first copy makes the place."""
    first, second = keep(home, 1, "one"), keep(home, 2, "one")
    words = ["--target", "one", "--to", "two"]
    assert carried_out(home, "copy", first.manifest.id, *words).status == 0
    (home / "two").rename(home / "unplugged")
    with pytest.raises(StoreError, match="is the disk mounted"):
        carried_out(home, "copy", second.manifest.id, *words)
    assert not (home / "two").exists()


@pytest.mark.parametrize("path", [f"{LABEL}/data.bin", "PICKUP.txt", "RESTORE.txt"])
@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "missing"])
def test_a_file_that_is_not_what_was_stored_is_not_copied_and_nothing_stays(home: Path, path: str, how: str) -> None:
    """V1, V2, I1."""
    made = keep(home, 1, "one")
    file = home / "one" / JOB / made.manifest.id / path
    data = file.read_bytes()
    changed = {"flipped": bytes([data[0] ^ 1]) + data[1:], "cut": data[:-1], "longer": data + b"x"}
    file.write_bytes(changed[how]) if how in changed else file.unlink()
    with pytest.raises(PickupError) as caught:
        carried_out(home, "copy", "--to", "two")
    assert re.search(f"{made.manifest.id}/{path} (has changed since it was stored|is missing)", str(caught.value))
    assert tree_of(home / "two") == {}


def test_a_damaged_backup_is_taken_from_another_place_or_not_at_all(home: Path) -> None:
    made = keep(home, 1, "one")
    DAMAGE["flipped"](manifest_at(home, "one", made))
    with pytest.raises(DamageError):
        carried_out(home, "copy", made.manifest.id, "--to", "two")
    assert not (home / "two").exists()


def test_what_is_there_already_is_not_written_over(home: Path) -> None:
    made = keep(home, 1, "one")
    keep(home, 1, "two", content="another content")
    before = tree_of(home / "two")
    with pytest.raises(FileExistsError, match=f"{JOB}/{made.manifest.id} exists already at this target"):
        carried_out(home, "copy", "--target", "one", "--to", "two")
    assert tree_of(home / "two") == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "three"], "there is no entry 'three' in the config"),
        (["--target", "two", "--to", "two"], "there is no other target than 'two' to copy from"),
        (["2020", "--to", "two"], "whose name begins with '2020'"),
    ],
)
def test_what_cannot_be_copied_is_a_usage_error(home: Path, words: list[str], message: str) -> None:
    keep(home, 1, "one")
    with pytest.raises(UsageError, match=message):
        carried_out(home, "copy", *words)
