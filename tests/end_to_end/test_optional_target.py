"""A target that is optional, as a stick that is not always plugged in."""

from pathlib import Path

import pytest

from tests.end_to_end.command import JOB, Result, Site, target_entry


@pytest.fixture
def stick(site: Site) -> Path:
    """The folder of the optional target, not there yet."""
    stick = site.folder / "stick"
    site.fill()
    site.private.append(stick)
    site.configure(targets=[target_entry("stick", name="stick", optional=True, retention={"last": 2}), target_entry()])
    return stick


def test_a_night_without_it_is_a_good_night(site: Site, stick: Path) -> None:
    name = site.backup()
    assert not stick.exists()
    told = _told(site.run())
    assert len(told) == 2
    assert "is not there, as it may be: " in told[0]
    assert told[0].endswith("/stick does not exist; the root of an optional target is yours to make")
    stick.mkdir(mode=0o700)
    site.run(*told[1].partition("pickup.py ")[2].split())
    stored = [path.name for path in (stick / JOB).iterdir()]
    assert name not in stored
    assert len(stored) == 2  # a backup and its manifest


def _told(result: Result) -> list[str]:
    return [line for line in result.out.splitlines() if line.startswith("TARGETS[0] 'stick' (folder): ")]


def test_all_commands_do_without_it(site: Site, stick: Path) -> None:
    name = site.backup()
    assert site.listed() == [(name, "complete")]
    for arguments in (["check"], ["--dry-run"], ["list"], ["verify", "all"], ["find", "a.txt"], ["prune"],
                      ["keep", "latest", "a reason"]):  # fmt: skip
        assert _told(site.run(*arguments)) or "target stick: " in site.run(*arguments).out, arguments
    assert (site.restored() / "folder/files/source/a.txt").read_text() == "first\n"
    assert not stick.exists()


def test_a_night_with_it_stores_there_too(site: Site, stick: Path) -> None:
    stick.mkdir(mode=0o700)
    name = site.backup()
    assert site.names(stick) == [name]
    assert site.listed("--target", "stick") == [(name, "complete")]


def test_where_no_target_is_there_the_night_has_failed_and_the_backup_is_kept(site: Site) -> None:
    site.fill()
    site.configure(targets=[target_entry("stick", name="stick", optional=True)])
    result = site.run("-q", status=2)
    assert "no target took the backup; it is kept in" in result.err
