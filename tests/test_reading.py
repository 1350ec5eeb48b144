"""Reading: list, find and verify look at every place, and what is wrong with one does not hide the others."""

import shutil
from pathlib import Path

import pytest

from pickup_core.errors import UsageError
from pickup_core.history import History
from tests.builders import LOCAL, config_text, write_config
from tests.end_to_end.aging import copied_to
from tests.places import JOB
from tests.sessions import DAMAGE, LABEL, LONG_AGO, carried_out, home_with_two_targets, keep, make_later, manifest_at
from tests.stored import archived, stored_backup


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return home_with_two_targets(tmp_path)


# Verify


def test_verify_goes_on_after_a_backup_that_it_cannot_read(home: Path) -> None:
    """A later version's backup is a failure (2), and neither damage (6) nor the end of it."""
    nights = [keep(home, number, "one", "two") for number in range(3)]
    make_later(manifest_at(home, "one", nights[1]), nights[1])
    done = carried_out(home, "verify", "all", "--json")
    assert done.status == 2
    assert "target one: web01/2025-03-02T021500Z.json" in done.err
    verified = [(each["target"], each["backup"], each["status"]) for each in done.json]
    ids = [night.manifest.id for night in nights]
    assert verified == [
        *(("one", name, "whole") for name in (ids[2], ids[0])),
        *(("two", name, "whole") for name in reversed(ids)),
    ]


def test_verify_tells_what_is_damaged_and_what_is_not_finished(home: Path) -> None:
    """V1, I5: findings make it 6; an unfinished backup is none."""
    nights = [keep(home, number, "one") for number in range(3)]
    keep(home, 2, "two", content="whole")
    data = home / "one" / JOB / nights[2].manifest.id / LABEL / "data.bin"
    data.write_text("night X")
    manifest_at(home, "one", nights[0]).unlink()
    done = carried_out(home, "verify", "all", "--json", "--target", "one")
    assert done.status == 6
    said = f"{JOB}/{nights[2].manifest.id}/{LABEL}/data.bin has changed: its SHA-256 is not that of the manifest"
    assert [(each["status"], each["findings"]) for each in done.json] == [
        ("damaged", [said]), ("whole", []), ("unfinished", []),
    ]  # fmt: skip
    assert done.err == f"ERROR: target one: {said}\n"
    assert carried_out(home, "verify", "all", "--target", "two").status == 0


@pytest.mark.parametrize("damage", ["flipped", "without its files"])
def test_the_latest_that_is_verified_may_be_a_damaged_one(home: Path, damage: str) -> None:
    """It must not hide behind an older one that is whole."""
    keep(home, 1, "one", "two")
    made = keep(home, 2, "one", "two")
    DAMAGE[damage](manifest_at(home, "one", made))
    done = carried_out(home, "verify", "--json")
    assert done.status == 6
    assert [(each["target"], each["backup"], each["status"]) for each in done.json] == [
        ("one", made.manifest.id, "damaged"), ("two", made.manifest.id, "whole"),
    ]  # fmt: skip


def test_what_was_verified_is_remembered(home: Path) -> None:
    made = keep(home, 1, "one", "two")
    carried_out(home, "verify", "--target", "one")
    [verified] = History(home / "state", JOB).records("verify")
    assert (verified["target"], verified["backup"], verified["findings"]) == ("one", made.manifest.id, 0)


# List


def test_a_list_for_programs_tells_each_backup_whatever_its_state(home: Path) -> None:
    nights = [keep(home, number, "one") for number in range(4)]
    make_later(manifest_at(home, "one", nights[3]), nights[3])
    DAMAGE["flipped"](manifest_at(home, "one", nights[2]))
    manifest_at(home, "one", nights[1]).unlink()
    (home / "one" / JOB / f"{nights[0].manifest.id}.keep").write_text("why")
    done = carried_out(home, "list", "--json")
    assert done.status == 2
    assert f"target two: {home}/two does not exist" in done.err
    assert [(each["status"], each["kept"]) for each in done.json] == [
        ("later", False), ("damaged", False), ("unfinished", False), ("complete", True),
    ]  # fmt: skip
    assert done.json[3] == {
        "target": "one",
        "job": JOB,
        "backup": nights[0].manifest.id,
        "status": "complete",
        "started": "2025-03-01T02:15:00+00:00",
        "size": nights[0].manifest.size,
        "artefacts": [f"{LABEL}/data.bin"],
        "kept": True,
        "keys": [],
    }
    assert [each["size"] for each in done.json[:3]] == [None] * 3
    rows = carried_out(home, "list", "--target", "one").out.splitlines()
    assert [row.split()[-1] for row in rows[1:4]] == ["-"] * 3
    assert "complete, kept" in rows[4]


def test_jobs_are_listed_one_by_one_or_all(home: Path) -> None:
    keep(home, 1, "one", "two")
    keep(home, 2, "one", job="db02")

    def jobs(*words: str) -> list[str]:
        return [each["job"] for each in carried_out(home, "list", "--json", *words).json]

    assert jobs() == [JOB, JOB]
    assert jobs("--all-jobs") == ["db02", JOB, JOB]
    assert jobs("--job", "db02") == ["db02"]
    assert carried_out(home, "list", "--job", "db03").out == "no backups of job db03; there are jobs: db02, web01\n"
    with pytest.raises(UsageError, match="the name of a job should be made of letters"):
        jobs("--job", "../db02")


# Find


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder with a config, and two backups that hold `srv/index.html`; their names, the newest first."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/index.html").write_text("x" * 2048)
    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, tmp_path / "srv")})
    older = copied_to(LONG_AGO, tmp_path / "backups" / JOB / backup.id)
    write_config(tmp_path, config_text(LOCAL))
    return tmp_path, [backup.id, older]


def test_find_tells_each_backup_that_holds_a_file(searched: tuple[Path, list[str]]) -> None:
    home, names = searched
    found = carried_out(home, "find", "*.html", "--json").json
    assert [each["backup"] for each in found] == names
    assert found[0] | {"modified": ""} == {
        "target": "disk",
        "backup": names[0],
        "entry": "web",
        "path": "srv/index.html",
        "type": "-",
        "size": 2048,
        "modified": "",
    }
    rows = carried_out(home, "find", "index.html").out.splitlines()
    assert rows[0].split() == ["TARGET", "BACKUP", "ENTRY", "SIZE", "MODIFIED", "FILE"]
    assert [row.split()[:5] for row in rows[1:]] == [["disk", name, "web", "2.0", "KiB"] for name in names]


def test_a_list_of_contents_that_is_damaged_costs_its_backup_only(searched: tuple[Path, list[str]]) -> None:
    home, names = searched
    [contents] = (home / "backups" / JOB / names[0] / "folder/web").glob("*.contents.zst")
    contents.unlink()
    done = carried_out(home, "find", "*.html", "--json")
    assert done.status == 6
    assert f"{JOB}/{names[0]}/folder/web/srv.contents.zst is missing" in done.err
    assert [each["backup"] for each in done.json] == [names[1]]


def test_a_file_that_nowhere_is_found_is_said(searched: tuple[Path, list[str]]) -> None:
    home, _ = searched
    with pytest.raises(
        UsageError, match=r"^no backup of job web01 holds a file that matches '\*\.php'\nHint: a pattern"
    ):
        carried_out(home, "find", "*.php")
    shutil.rmtree(home / "backups")
    done = carried_out(home, "find", "*.php")
    assert done.status == 2
    assert "holds a file" not in done.err


# A folder in place of a target


def test_a_folder_needs_no_config_and_leaves_no_trace(home: Path) -> None:
    made = keep(home, 1, "one")
    (home / "config.py").unlink()
    before = sorted(home.rglob("*"))
    folder = home / "one"
    done = carried_out(home, "verify", "--from", folder, needs_config=False)
    assert (done.status, f"target {folder}: {made.manifest.id} is whole" in done.out) == (0, True)
    assert sorted(home.rglob("*")) == before


def test_of_several_jobs_in_a_folder_one_is_named(home: Path) -> None:
    keep(home, 1, "one")
    keep(home, 2, "one", job="db02")
    with pytest.raises(UsageError, match=r"No job is named\nHint: --job, one of: db02, web01"):
        carried_out(home, "verify", "--from", home / "one", needs_config=False)
    done = carried_out(home, "list", "--from", home / "one", "--job", "db02", "--json", needs_config=False)
    assert [each["job"] for each in done.json] == ["db02"]
    done = carried_out(home, "list", "--from", home / "one/db02", "--json", needs_config=False)
    assert [each["job"] for each in done.json] == ["db02"]
    (home / "empty").mkdir()
    with pytest.raises(UsageError, match="there are no backups in it"):
        carried_out(home, "list", "--from", home / "empty", needs_config=False)
