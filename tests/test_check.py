"""Check and dry run: they find what a run would meet, and leave everything as it was."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pickup_core.artefact import Readable
from pickup_core.catalogue import Catalogue
from pickup_core.check import check, dry_run
from pickup_core.config import Config
from pickup_core.errors import ConfigError, StoreError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.manifest import backup_id
from pickup_core.report import Report
from pickup_core.room import Reserve
from pickup_core.run import RunWish, machine_digest, run
from pickup_core.store import Item
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target
from tests.builders import LOCAL, MemoryStore, config_text, loaded
from tests.places import JOB, Interrupted, Watched, make_backup, put, served_by, store_backup, store_nights
from tests.sessions import LABEL, LONG_AGO
from tests.stored import nothing_changes

WHERE = "TARGETS[0] 'disk' (folder)"


@pytest.fixture(autouse=True)
def _all_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pickup")


def target(path: str = "backups", retention: str = "None") -> str:
    return f'[dict(name="disk", profile="folder", config=dict(path="{path}"), retention={retention})]'


def made(folder: Path, generators: str | None = None, **of_the_target: str) -> Config:
    return loaded(folder, config_text(LOCAL, generators, target(**of_the_target)))


def at(config: Config, store: Watched | MemoryStore) -> Config:
    """Give the config with another store behind its target."""
    return replace(config, targets=(served_by(config.targets[0], store),))


def checked(config: Config, has_root: bool = True) -> int:
    if has_root:
        (config.path.parent / "backups").mkdir(exist_ok=True)
    report = Report()
    check(config, report)
    return report.exit_code


def tried(config: Config, **wish: tuple[str, ...]) -> int:
    report = Report()
    dry_run(config, RunWish(**wish), report)
    return report.exit_code


# Check: what it does


def test_a_check_does_at_a_target_what_a_run_does_and_takes_it_back(tmp_path: Path) -> None:
    store = Watched(MemoryStore())
    put(store.store, "web02/notes.txt", b"of another job")
    assert checked(at(made(tmp_path), store)) == 0
    [(_, probe)] = [call for call in store.calls if call[0] == "get"]
    assert re.fullmatch(r"pickup-probe-[0-9a-f]{16}", probe)
    assert store.calls == [("listdir", ""), ("put", probe), ("listdir", ""), ("get", probe), ("delete", probe)]
    assert list(store.store.files) == ["web02/notes.txt"]


def test_a_place_that_a_run_has_used_is_never_made_anew(tmp_path: Path) -> None:
    """T34: an unmounted disk is no empty one."""
    config, store = made(tmp_path), MemoryStore()
    store.has_root = False
    History(config.state_folder, JOB).add("run", places=[store.place])
    assert checked(at(config, store)) == 2
    assert not store.has_root


def test_no_generator_runs(tmp_path: Path) -> None:
    entry = f'[dict(name="system", profile="command", config=dict(command="touch {tmp_path}/ran"))]'
    assert checked(made(tmp_path, entry)) == 0
    assert not (tmp_path / "ran").exists()


def test_what_a_profile_has_to_say_is_shown_and_what_it_raises_costs_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "generator_profiles").mkdir()
    for name, body in (("speaks", "yield 'it is large'"), ("fails", "1 / 0"), ("silent", "pass")):
        text = f"API_VERSION = (1, 0)\ndef run(config, folder): ...\ndef check(config): {body}\n"
        (tmp_path / f"generator_profiles/{name}.py").write_text(text)
    entries = [dict(name=name, profile=name) for name in ("fails", "speaks", "silent")]
    assert checked(made(tmp_path, repr(entries))) == 2
    assert "GENERATORS[0] 'fails' (fails): ZeroDivisionError: division by zero" in caplog.messages
    after = caplog.messages.index("speaks/speaks: ok")
    assert caplog.messages[after + 1 : after + 3] == ["  note: it is large", "silent/silent: ok"]
    assert "folder/disk: ok" in caplog.messages


def test_a_config_of_an_older_minor_version_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """F7: no failure."""
    assert checked(replace(made(tmp_path), version=(0, 9))) == 0
    assert "note: the config is written for version (0, 9), this Pickup reads (1, 0) too" in caplog.messages
    caplog.clear()
    assert checked(made(tmp_path)) == 0
    assert "written for version" not in caplog.text


def test_another_run_at_work_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = made(tmp_path)
    with job_lock(config.state_folder, JOB, LONG_AGO):
        assert checked(config) == 0
        assert [message for message in caplog.messages if "note: another run of job web01 is at work" in message]
    caplog.clear()
    assert checked(config) == 0
    assert "at work" not in caplog.text


@pytest.mark.parametrize("obstacle", ["a file", "open to others", "a folder for the lock"])
def test_a_state_folder_that_no_run_could_use_ends_the_check(tmp_path: Path, obstacle: str) -> None:
    config, state = made(tmp_path), tmp_path / "state"
    if obstacle == "a file":
        state.write_text("")
    else:
        state.mkdir(mode=0o700)
        (state / f"{JOB}.lock").mkdir() if "lock" in obstacle else state.chmod(0o777)
    with pytest.raises(ConfigError):
        checked(config, has_root=False)
    assert not (tmp_path / "backups").exists()


def test_a_staging_area_that_is_not_safe_fails_and_the_targets_are_still_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "area").mkdir()
    (tmp_path / "area").chmod(0o755)
    assert checked(made(tmp_path)) == 2
    assert f"staging area: STAGING_AREA: {tmp_path}/area is not private" in caplog.text
    assert "folder/disk: ok" in caplog.messages


def test_a_run_that_will_not_fit_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S16: by what the entries of the config took last time, and a fifth more."""
    config = made(tmp_path)
    History(config.state_folder, JOB).add("run", sizes={LABEL: {"output": 10 * 2**60}, "command/gone": {"x": 2**70}})
    assert checked(config) == 1
    [warning] = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    said = r"staging area: of .+iB that are free, MIN_FREE keeps 0 Bytes, and a run will need about 12.0 EiB\nHint: .+"
    assert re.fullmatch(said, warning)
    assert not list((tmp_path / "area").iterdir())


def test_a_check_makes_no_root_and_says_that_the_first_run_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is not plugged in would get a folder in its place."""
    assert checked(made(tmp_path, path="usb/backups"), has_root=False) == 0
    said = f"folder/disk: {tmp_path}/usb/backups does not exist, and the first run makes it; should a disk be mounted"
    assert said in caplog.text
    assert not (tmp_path / "usb").exists()


@pytest.mark.parametrize("ask", [checked, tried])
def test_where_nothing_may_be_staged_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ask: Callable[[Config], int]
) -> None:
    config = replace(made(tmp_path), min_free=Reserve(0.0, 2**60))
    assert ask(config) == 1
    assert re.search(r"staging area: of .+ that are free, MIN_FREE keeps 1.0 EiB\nHint: make room", caplog.text)


def test_a_target_may_say_what_is_worth_knowing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """E13: a standing fact is said here, and not every night."""
    (tmp_path / "target_profiles").mkdir()
    text = """
from target_profiles.folder import API_VERSION, Config, Target
def check(config): yield f"{config.path.name} is in the clear"
"""
    (tmp_path / "target_profiles/open.py").write_text(text)
    config = loaded(tmp_path, config_text(LOCAL, None, target().replace('profile="folder"', 'profile="open"')))
    assert checked(config) == 0
    assert "  note: backups is in the clear" in caplog.messages


class Refusing(Watched):
    def listdir(self, folder: str = "") -> list[Item]:
        raise StoreError("access denied")


def test_a_target_that_refuses_is_not_one_that_is_yet_to_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert checked(at(made(tmp_path), Refusing(MemoryStore()))) == 2
    assert f"{WHERE}: access denied" in caplog.messages


# Check: what a target may do wrong


class WrongSize(Watched):
    def listdir(self, folder: str = "") -> list[Item]:
        return [replace(item, size=item.size + 1) if item.size else item for item in super().listdir(folder)]


class WrongContent(Watched):
    def get(self, path: str) -> Readable:
        self.store.files[path] = bytes(1000)
        return super().get(path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(WrongSize, "is not listed with its size"), (WrongContent, "is read back with another content")],
)
def test_a_target_that_does_not_give_back_what_it_got_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: type[Watched], said: str
) -> None:
    """T5, T6: and the probe goes all the same."""
    store = wrong(MemoryStore())
    assert checked(at(made(tmp_path), store)) == 2
    [message] = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert re.fullmatch(re.escape(WHERE) + r": pickup-probe-\w+ was written, but " + said, message)
    assert store.store.files == {}


def test_a_probe_that_could_be_written_half_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """T4: after a `put` that raised, a part may lie at the place."""
    store = Interrupted(MemoryStore(), 1, "half", StoreError("552 quota exceeded"))
    assert checked(at(made(tmp_path), store)) == 2
    assert store.fired
    assert f"{WHERE}: 552 quota exceeded" in caplog.messages
    assert store.store.files == {}


@pytest.mark.parametrize(("retention", "status"), [("dict(last=3)", 1), ("None", 0)])
def test_an_account_that_may_not_delete_is_worth_a_word_only_where_something_is_to_be_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, retention: str, status: int
) -> None:
    """T19, T33: append-only is a choice."""
    store = Interrupted(MemoryStore(), 2, "before", StoreError("550 permission denied"))
    assert checked(at(made(tmp_path, retention=retention), store)) == status
    assert store.fired
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    said = r": retention is set, but pickup-probe-\w+ could not be deleted: 550 permission denied"
    assert [bool(re.fullmatch(re.escape(WHERE) + said, each)) for each in warnings] == [True] * status
    assert ("without retention, no backup is ever deleted there" in caplog.text) == (retention == "None")


@pytest.mark.parametrize(
    ("paths", "place", "noted"),
    [
        ("'data'", "data/backups", "data"),
        ("'data'", "data", "data"),
        ("['other', 'link']", "data/backups", "link"),
        ("'data'", "data-backups", None),
        ("['data/sub', 'other']", "data/backups", None),
    ],
)
def test_a_target_that_lies_in_what_is_backed_up_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, paths: str, place: str, noted: str | None
) -> None:
    """Each backup would hold the ones before."""
    for name in ("data/sub", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "link").symlink_to("data")
    entry = f'[dict(name="files", profile="folder", config=dict(path={paths}))]'
    checked(made(tmp_path, entry, path=place))
    notes = [message for message in caplog.messages if "it lies in" in message]
    said = f"  note: it lies in {tmp_path}/{noted}, which folder/files reads; excluded there, "
    assert notes == ([] if noted is None else [f"{said}backups do not hold backups"])


# Dry run


def used(folder: Path, count: int) -> list[str]:
    """Put backups of this machine into the target's folder, and a leftover; give their names, the oldest first."""
    with Target(FolderConfig(path=folder / "backups")) as store:
        store.create_root()
        facts = dict(contents={LABEL: b"Linux\n"}, machine=machine_digest())
        nights = store_nights(store, folder / "nights", count, LONG_AGO, **facts)
        left = make_backup(folder / "left", LONG_AGO - timedelta(days=9), **facts)
        store_backup(store, left)
        store.delete(f"{JOB}/{left.manifest.id}.json")
    return [night.manifest.id for night in nights]


@pytest.mark.parametrize("wish", [RunWish(), RunWish(only=("date",))])
def test_what_a_dry_run_would_do_is_what_a_run_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wish: RunWish
) -> None:
    """R17: the same deletions, the same leftovers; and where nothing is to be stored of an entry, its last copies
    stay.
    """
    nights = used(tmp_path, 5)
    entries = '[dict(name=name, profile="command", config=dict(command="date")) for name in ("system", "date")]'
    config = made(tmp_path, entries, retention="dict(last=2)")
    report = Report()
    with nothing_changes(tmp_path):
        dry_run(config, wish, report)
    assert report.exit_code == 0
    shown = list(caplog.messages)
    would = [
        found[1] for each in shown if (found := re.search(r": would delete (\S+): no rule of last=2 keeps it", each))
    ]
    run(config, wish, report)
    assert report.exit_code == 0
    [record] = History(config.state_folder, JOB).records("prune")
    assert would == record["deleted"] == nights[: 3 if wish.only else 4][::-1]
    leftover = f"{JOB}/{backup_id(LONG_AGO - timedelta(days=9))}"
    assert f"folder/disk: would remove {leftover}, left by an upload that broke off" in shown
    assert f"folder/disk: removed {leftover}, left by an upload that broke off" in caplog.messages


def test_a_dry_run_tells_what_was_stored_last_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = made(tmp_path)
    assert tried(config) == 0
    assert "last time" not in caplog.text
    History(config.state_folder, JOB).add("run", sizes={LABEL: {"a": 1024, "b": 512}})
    assert tried(config) == 0
    assert "  last time it stored 2 artefacts, 1.5 KiB" in caplog.messages


def test_a_dry_run_makes_no_root_and_says_that_a_run_would(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = made(tmp_path, path="new/place")
    with nothing_changes(tmp_path):
        assert tried(config) == 0
    assert re.search(f": would make {tmp_path}/new/place and store {JOB}/2", caplog.text)


def test_a_dry_run_asks_a_place_for_no_change(tmp_path: Path) -> None:
    """R17: neither to clear nor to prune, and the leftovers count as gone for nobody."""
    store = Watched(MemoryStore())
    store_nights(store, tmp_path / "nights", 4, LONG_AGO, contents={LABEL: b"x"}, machine=machine_digest())
    store.calls.clear()
    assert tried(at(made(tmp_path, retention="dict(last=1)"), store)) == 0
    assert store.calls
    assert store.changes() == []
    assert len(Catalogue("there", store).backups(JOB)) == 4


def test_a_dry_run_of_some_asks_no_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entries = '[dict(name=name, profile="command", config=dict(command="no-such-program")) for name in ("a", "b")]'
    config = made(tmp_path, entries)
    assert tried(config, only=("b",)) == 2
    assert "GENERATORS[1] 'b' (command)" in caplog.text
    assert "GENERATORS[0] 'a' (command)" not in caplog.text
    with pytest.raises(UsageError, match="there is no entry 'c' in the config"):
        tried(config, only=("c",))
