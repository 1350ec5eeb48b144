"""The command delete: one backup goes, wherever it is, unless something speaks against it; and nothing else does."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pickup_core.errors import LockedError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from target_profiles.folder import Target
from tests.builders import LOCAL, config_text, write_config
from tests.places import CONTENTS, JOB
from tests.sessions import LONG_AGO, carried_out, configure, keep, make_later, stored, there
from tests.stored import nothing_changes

ORDER = list(CONTENTS)


def refused(home: Path, *words: object) -> UsageError:
    """Give why a deletion is refused; nothing is changed, but for the log and what is remembered."""
    before = {path: path.stat().st_mtime_ns for name in ("one", "two") for path in (home / name).rglob("*")}
    with pytest.raises(UsageError) as caught:
        carried_out(home, "delete", *words)
    assert {path: path.stat().st_mtime_ns for name in ("one", "two") for path in (home / name).rglob("*")} == before
    return caught.value


def remains(home: Path, target: str, name: str, job: str = JOB) -> list[str]:
    return sorted(path.name for path in (home / target / job).glob(f"*{name}*"))


# What goes


def test_a_backup_goes_at_all_targets_and_no_other_does(tmp_path: Path) -> None:
    """The history says so, and nothing is remembered of it: its manifest names what it held."""
    configure(tmp_path, "one", "two")
    first, second, third = stored(tmp_path, "one", 3)
    stored(tmp_path, "two", 3)
    carried_out(tmp_path, "list")
    assert len(list((tmp_path / "state/manifests").rglob(f"{second}.json"))) == 2
    with nothing_changes(tmp_path):
        shown = carried_out(tmp_path, "delete", second, "--dry-run")
    assert shown.out.startswith(f"folder/one: would delete {second} of job {JOB}, complete, ")
    done = carried_out(tmp_path, "delete", second)
    assert (done.status, done.err, done.out) == (0, "", shown.out.replace("would delete", "deleted"))
    for target in ("one", "two"):
        assert there(tmp_path, target) == [first, third]
        assert remains(tmp_path, target, second) == []
    assert [record["target"] for record in History(tmp_path / "state", JOB).records("delete")] == ["one", "two"]
    listed = carried_out(tmp_path, "list", "--json").json
    assert [each["backup"] for each in listed] == [third, first] * 2
    assert not list((tmp_path / "state/manifests").rglob(f"{second}.json"))
    assert second not in "".join(path.read_text() for path in (tmp_path / "state/manifests").rglob("summaries.jsonl"))


def test_it_goes_at_the_target_that_is_named_alone(tmp_path: Path) -> None:
    """There the last copy may go: another target has it."""
    configure(tmp_path, "one", "two")
    [name] = stored(tmp_path, "one")
    stored(tmp_path, "two")
    assert carried_out(tmp_path, "delete", name, "--target", "two").status == 0
    assert (there(tmp_path, "one"), there(tmp_path, "two")) == ([name], [])


def test_a_backup_of_another_job_goes(tmp_path: Path) -> None:
    """As one that a cloned host has put there."""
    configure(tmp_path, "one")
    mine = stored(tmp_path, "one", 2)
    theirs = stored(tmp_path, "one", 2, LONG_AGO, job="db02")
    assert mine == theirs
    assert carried_out(tmp_path, "delete", theirs[0], "--job", "db02").status == 0
    assert (there(tmp_path, "one"), there(tmp_path, "one", "db02")) == (mine, theirs[1:])
    assert [each["backup"] for each in History(tmp_path / "state", "db02").records("delete")] == theirs[:1]


def test_what_has_no_manifest_or_a_damaged_one_goes_too(tmp_path: Path) -> None:
    """Prune never deletes a damaged one, and what is unfinished only after a day."""
    configure(tmp_path, "one")
    unfinished, damaged, files_alone, good = stored(tmp_path, "one", 4)
    folder = tmp_path / "one" / JOB
    (folder / f"{unfinished}.json").unlink()
    (folder / f"{damaged}.json").write_bytes((folder / f"{damaged}.json").read_bytes().replace(b'"ok"', b'"no"', 1))
    (folder / f"{files_alone}.json").write_bytes(b"{\n")
    for name in (unfinished, damaged, files_alone):
        assert carried_out(tmp_path, "delete", name).status == 0
        assert remains(tmp_path, "one", name) == []
    assert there(tmp_path, "one") == [good]


# What speaks against it


@pytest.mark.parametrize("name", ["latest", "all", "2025-03-01", "2025-03-01T021500", ""])
def test_only_a_whole_name_will_do(tmp_path: Path, name: str) -> None:
    configure(tmp_path, "one")
    stored(tmp_path, "one", 2)
    error = refused(tmp_path, name)
    assert error.message == f"delete takes the whole name of one backup, and {name!r} is none"


def test_a_backup_that_there_is_not_is_told(tmp_path: Path) -> None:
    configure(tmp_path, "one", "two")
    [name] = stored(tmp_path, "one")
    stored(tmp_path, "two")
    error = refused(tmp_path, name, "--job", "db02")
    assert str(error) == f"no target holds a backup {name} of job db02\nHint: pickup.py list shows what there is"


def test_one_that_is_kept_stays_until_that_is_meant(tmp_path: Path) -> None:
    """R20: at all targets, where one of them keeps it. Then the reason goes too."""
    configure(tmp_path, "one", "two")
    name, _ = stored(tmp_path, "one", 2)
    stored(tmp_path, "two", 2)
    (tmp_path / "two" / JOB / f"{name}.keep").write_text("for the audit")
    error = refused(tmp_path, name)
    assert str(error) == (
        f"TARGETS[1] 'two' (folder): backup {name} is kept: for the audit\nHint: --even-kept deletes it all the same"
    )
    assert carried_out(tmp_path, "delete", name, "--even-kept").status == 0
    assert remains(tmp_path, "one", name) == remains(tmp_path, "two", name) == []


def test_the_last_copy_of_an_entry_stays_until_that_is_meant(tmp_path: Path) -> None:
    """I2: a newer backup without that entry is no copy of it; one in which it has failed is none that is as good."""
    configure(tmp_path, "one")
    [name] = stored(tmp_path, "one")
    later = LONG_AGO + timedelta(days=1)
    stored(tmp_path, "one", 1, later, contents={ORDER[0]: b"1", ORDER[1]: b"2"}, statuses={ORDER[1]: "failed"})
    error = refused(tmp_path, name)
    assert error.message == f"backup {name} of job {JOB} holds the last copy that was found of {ORDER[1]}"
    assert error.hint.startswith("--even-last deletes it all the same")
    assert carried_out(tmp_path, "delete", name, "--even-last").status == 0
    [lossy] = there(tmp_path, "one")
    assert refused(tmp_path, lossy).message.endswith(f" found of {ORDER[0]}, {ORDER[1]}")


def test_the_backup_of_another_job_is_no_copy(tmp_path: Path) -> None:
    configure(tmp_path, "one")
    [name] = stored(tmp_path, "one")
    stored(tmp_path, "one", 1, LONG_AGO + timedelta(days=1), job="db02")
    assert refused(tmp_path, name).message.endswith(f" found of {', '.join(ORDER)}")


def test_a_target_that_cannot_be_asked_has_no_copy(tmp_path: Path) -> None:
    """It is not that target's turn, so its absence is no failure."""
    configure(tmp_path, "one", "two")
    [name] = stored(tmp_path, "one")
    assert "found of" in refused(tmp_path, name, "--target", "one").message
    done = carried_out(tmp_path, "delete", name, "--target", "one", "--even-last")
    assert (done.status, done.err) == (0, "")
    assert f"folder/two: could not be asked, so no copy there counts: {tmp_path}/two does not exist" in done.out


def test_one_of_a_later_version_and_one_without_our_mark_stay(tmp_path: Path) -> None:
    configure(tmp_path, "one")
    made = keep(tmp_path, 1, "one")
    make_later(tmp_path / "one" / JOB / f"{made.manifest.id}.json", made)
    error = refused(tmp_path, made.manifest.id)
    assert "has format [2, 0], and this Pickup reads [1, 0]; only a Pickup that reads it deletes it" in error.message
    other = keep(tmp_path, 2, "one").manifest.id
    (tmp_path / "one" / JOB / f"{other}.json").unlink()
    (tmp_path / "one" / JOB / other / "PICKUP.txt").write_text("mine")
    assert "it bears no mark of Pickup" in refused(tmp_path, other).message


def test_it_waits_for_no_run_that_is_at_work(tmp_path: Path) -> None:
    """C1."""
    configure(tmp_path, "one")
    name, _ = stored(tmp_path, "one", 2)
    with job_lock(tmp_path / "state", JOB, LONG_AGO):
        with pytest.raises(LockedError):
            carried_out(tmp_path, "delete", name)
        assert carried_out(tmp_path, "delete", name, "-n").status == 0
    assert len(there(tmp_path, "one")) == 2


# What fails


def test_a_target_that_fails_is_told_and_the_other_one_served(tmp_path: Path) -> None:
    """Exit code 2, for there the backup is still; the same command goes on."""
    configure(tmp_path, "one", "two")
    name, _ = stored(tmp_path, "two", 2)
    done = carried_out(tmp_path, "delete", name)
    assert (done.status, len(there(tmp_path, "two"))) == (2, 1)
    assert done.err.startswith(f"ERROR: TARGETS[0] 'one' (folder): {tmp_path}/one does not exist")
    done = carried_out(tmp_path, "delete", name)
    assert done.status == 2
    assert "no target holds" not in done.err


def test_a_target_that_may_not_delete_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And has the whole backup still, for the manifest goes first."""

    def may_not(store: Target, path: str) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    configure(tmp_path, "one", "two")
    name, _ = stored(tmp_path, "one", 2)
    stored(tmp_path, "two", 2)
    monkeypatch.setattr(Target, "delete", may_not)
    done = carried_out(tmp_path, "delete", name, "--target", "one")
    assert done.status == 2
    assert done.err == (
        f"ERROR: TARGETS[0] 'one' (folder): backup {JOB}/{name} could not be deleted: Operation not permitted: "
        f"{JOB}/{name}.json\nHint: may this account delete there? The same command goes on with what is left\n"
    )
    assert name in there(tmp_path, "one")
    assert list(History(tmp_path / "state", JOB).records("delete")) == []


def test_a_target_that_deletes_nothing_though_it_says_so_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, "one")
    name, _ = stored(tmp_path, "one", 2)
    monkeypatch.setattr(Target, "delete", lambda store, path: None)
    done = carried_out(tmp_path, "delete", name)
    assert done.status == 2
    assert f"backup {JOB}/{name} is listed still, after it was deleted" in done.err


def test_an_optional_target_that_is_away_may_hold_it_still(tmp_path: Path) -> None:
    """Exit 2: who deletes a secret has to know where it may be."""
    entry = 'dict(name="{0}", profile="folder", config=dict(path="{0}"), optional={1})'
    write_config(tmp_path, config_text(LOCAL, targets=f"[{entry.format('one', False)}, {entry.format('two', True)}]"))
    first, second = stored(tmp_path, "one", 2)
    done = carried_out(tmp_path, "delete", second)
    assert (done.status, there(tmp_path, "one")) == (2, [first])
    assert done.err == (
        f"ERROR: TARGETS[1] 'two' (folder): is not there, and a backup {second} that it may hold stays\n"
        "Hint: run the same command when it is there\n"
    )
    assert carried_out(tmp_path, "delete", second).status == 2, "no word of there being no such backup"


def test_only_a_copy_of_the_same_machine_is_one(tmp_path: Path) -> None:
    """A clone has its own things under the same names; and what is dated later than now is no copy to rely on."""
    configure(tmp_path, "one")
    [mine] = stored(tmp_path, "one", machine="a" * 16)
    stored(tmp_path, "one", 1, LONG_AGO + timedelta(days=1), machine="e" * 16)
    stored(tmp_path, "one", 1, datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=9), machine="a" * 16)
    assert "holds the last copy that was found of" in str(refused(tmp_path, mine))


def test_what_breaks_off_leaves_nothing_that_is_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path, "one")
    name, _ = stored(tmp_path, "one", 2)
    (tmp_path / "one" / JOB / f"{name}.keep").write_text("before the move")
    with monkeypatch.context() as broken:
        broken.setattr(Target, "delete", once(Target.delete))
        assert carried_out(tmp_path, "delete", name, "--even-kept").status == 2
    assert not (tmp_path / "one" / JOB / f"{name}.keep").exists()
    assert carried_out(tmp_path, "delete", name).status == 0
    assert remains(tmp_path, "one", name) == []


def once(delete: Callable[..., None]) -> Callable[..., None]:
    """Give what deletes once, and then fails."""
    calls = iter([delete])

    def deletes(*arguments: object) -> None:
        next(calls, broken)(*arguments)

    def broken(*arguments: object) -> None:
        raise OSError("the disk is gone")

    return deletes
