"""The commands that write but are no run: keep, init; and profiles, which shows what there is."""

import os
import re
import socket
import stat
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from pickup_core.errors import ConfigError, UsageError
from tests.builders import LOCAL, config_text, write_config
from tests.places import JOB
from tests.sessions import LONG_AGO, carried_out, configure, stored
from tests.stored import nothing_changes

# Keep


def kept(home: Path, *targets: str) -> list[tuple[str, bytes]]:
    """Give what is kept, and why."""
    paths = [path for target in targets for path in sorted((home / target / JOB).glob("*.keep"))]
    return [(f"{path.parent.parent.name}/{path.stem}", path.read_bytes()) for path in paths]


def test_a_backup_is_kept_wherever_it_is_until_it_is_released(tmp_path: Path) -> None:
    """R20: the latest reason counts; one that is no text is taken as it is."""
    configure(tmp_path, "one", "two")
    old, new = stored(tmp_path, "one", 2)
    stored(tmp_path, "two", 1)
    done = carried_out(tmp_path, "keep", old, "for the audit")
    assert done.out == f"folder/one: {old} is never deleted by prune\nfolder/two: {old} is never deleted by prune\n"
    carried_out(tmp_path, "keep", "2025-03-01", "for \udcff")
    assert kept(tmp_path, "one", "two") == [(f"one/{old}", b"for \xff"), (f"two/{old}", b"for \xff")]
    assert stat.S_IMODE((tmp_path / "one" / JOB / f"{old}.keep").stat().st_mode) == 0o600
    carried_out(tmp_path, "keep", "latest", "newest")
    assert kept(tmp_path, "one", "two")[1] == (f"one/{new}", b"newest")
    assert len(kept(tmp_path, "two")) == 1
    for _ in range(2):
        assert carried_out(tmp_path, "keep", old, "--release").status == 0
    assert kept(tmp_path, "one", "two") == [(f"one/{new}", b"newest")]


def test_a_beginning_that_two_backups_have_keeps_none_of_them(tmp_path: Path) -> None:
    """Over all targets: what is unambiguous at one of them may mean another backup at the next."""
    configure(tmp_path, "one", "two")
    [first] = stored(tmp_path, "one", 1)
    [second] = stored(tmp_path, "two", 1, LONG_AGO + timedelta(hours=1))
    with pytest.raises(UsageError) as caught:
        carried_out(tmp_path, "keep", "2025-03-01", "for the audit")
    assert (
        caught.value.message == "no target holds one finished backup of job web01 whose name begins with '2025-03-01'"
    )
    assert caught.value.hint == f"give more of its name: {first}, {second}"
    assert kept(tmp_path, "one", "two") == []


def test_an_unfinished_backup_is_none_to_keep(tmp_path: Path) -> None:
    configure(tmp_path, "one")
    old, new = stored(tmp_path, "one", 2)
    (tmp_path / "one" / JOB / f"{new}.json").unlink()
    for name in (new, "1999"):
        with pytest.raises(UsageError, match=r"Hint: pickup\.py list shows them"):
            carried_out(tmp_path, "keep", name, "why")
    carried_out(tmp_path, "keep", "latest", "why")
    assert kept(tmp_path, "one") == [(f"one/{old}", b"why")]


def test_a_target_that_cannot_be_reached_may_hold_what_is_to_be_kept(tmp_path: Path) -> None:
    """It is told, and not that there is no such backup; the others are served."""
    configure(tmp_path, "one", "two")
    [name] = stored(tmp_path, "two", 1)
    done = carried_out(tmp_path, "keep", name, "why")
    assert (done.status, kept(tmp_path, "two")) == (2, [(f"two/{name}", b"why")])
    assert done.err.startswith(f"ERROR: TARGETS[0] 'one' (folder): {tmp_path}/one does not exist\n")
    done = carried_out(tmp_path, "keep", "1999", "why")
    assert done.status == 2
    assert "no target holds" not in done.err


@pytest.mark.parametrize("words", [["latest"], ["latest", "why", "--release"]])
def test_keep_takes_a_reason_or_its_release(tmp_path: Path, words: list[str]) -> None:
    configure(tmp_path, "one")
    with pytest.raises(UsageError, match="keep takes a REASON, or --release"):
        carried_out(tmp_path, "keep", *words)


def test_a_backup_of_another_job_is_kept_by_its_name_there(tmp_path: Path) -> None:
    configure(tmp_path, "one")
    stored(tmp_path, "one", 1)
    [name] = stored(tmp_path, "one", 1, job="db02")
    done = carried_out(tmp_path, "keep", "latest", "why", "--job", "db02")
    assert (done.status, kept(tmp_path, "one")) == (0, [])
    assert (tmp_path / f"one/db02/{name}.keep").read_bytes() == b"why"


# Init


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let this host have a name."""
    monkeypatch.setattr(socket, "gethostname", lambda: request.param)


@pytest.mark.parametrize(
    ("hosted", "line"),
    [("web07.example.org", '^JOB = "web07"$'), ("localhost", "^# JOB = "), ("0123456789ab", "^# JOB = ")],
    indirect=["hosted"],
)
def test_a_new_config_names_the_job_where_the_host_has_a_name_of_its_own(
    tmp_path: Path, hosted: None, line: str
) -> None:
    """A container's id is a new one each time."""
    done = carried_out(tmp_path, "init", tmp_path / "new/pickup.py", needs_config=False)
    assert done.out.splitlines()[-1].startswith(f"wrote {tmp_path}/new/pickup.py. ")
    text = (tmp_path / "new/pickup.py").read_text()
    assert re.search(line, text, re.MULTILINE)
    assert len(re.findall("^(?:# )?JOB = ", text, re.MULTILINE)) == 1


def test_a_new_config_is_private_from_its_first_moment(tmp_path: Path) -> None:
    """I7: secrets will be written into it."""
    before = os.umask(0)
    try:
        carried_out(tmp_path, "init", tmp_path / "pickup.py", needs_config=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "pickup.py").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_a_new_config_is_never_written_over_something(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pickup.py"
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        path.mkdir()
    with nothing_changes(tmp_path), pytest.raises(ConfigError, match="is there already and is left as it is"):
        carried_out(tmp_path, "init", path, needs_config=False)


# Profiles


def test_the_profiles_of_the_config_are_shown_beside_pickups_own(tmp_path: Path) -> None:
    configure(tmp_path, "one")
    (tmp_path / "target_profiles").mkdir()
    (tmp_path / "target_profiles/tape.py").write_text('"""Keep backups on tape.\n\nNot run: 1 / 0."""\n1 / 0\n')
    rows = [line.split(maxsplit=2) for line in carried_out(tmp_path, "profiles").out.splitlines()]
    assert rows[0] == ["KIND", "PROFILE", "WHAT IT DOES"]
    assert ["target", "tape", "Keep backups on tape."] in rows
    assert {"generator", "target"} == {kind for kind, name, _ in rows if name == "folder"}
    both = carried_out(tmp_path, "profiles", "folder", "--json").json
    assert [(each["kind"], each["name"]) for each in both] == [("generator", "folder"), ("target", "folder")]
    assert "path" in {option["name"] for option in both[1]["options"]}
    with pytest.raises(UsageError, match=r"there is no profile 'tap'\nHint: pickup.py profiles lists them"):
        carried_out(tmp_path, "profiles", "tap")


@pytest.mark.parametrize("text", [None, "1 / 0"])
def test_profiles_are_shown_whatever_the_config_is(tmp_path: Path, text: str | None) -> None:
    if text:
        write_config(tmp_path, text)
    assert "sqlite" in carried_out(tmp_path, "profiles").out


def test_a_dotted_profile_is_found_on_a_path_that_the_config_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "lib/acme").mkdir(parents=True)
    (tmp_path / "lib/acme/redis.py").write_text('"""Dump Redis."""\n')
    write_config(tmp_path, config_text(f"{LOCAL}\nimport sys; sys.path.insert(0, {str(tmp_path / 'lib')!r})"))
    shown = carried_out(tmp_path, "profiles", "acme.redis").out
    del sys.modules["acme"]
    assert "redis (generator profile)\n\nDump Redis." in shown
