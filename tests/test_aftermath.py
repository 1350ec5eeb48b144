"""What is to be known after a bad night, by how far the run came. Whole messages are in end_to_end/test_cron_mail.py."""

import os
import pwd
import shlex
from pathlib import Path

import pytest

from pickup_core.aftermath import aftermath
from pickup_core.report import Course
from pickup_core.run import RunWish
from tests.builders import MemoryStore
from tests.test_copies import Reading, put
from tests.test_delivery import config_of

ALL = {"folder/www", "command/main"}
ID = "2026-11-23T031502Z"


def commands(lines: list[str]) -> list[list[str]]:
    """Give the commands among the lines, without what starts Pickup with its config."""
    found = lines[lines.index("Once it works again:") + 1 :] if "Once it works again:" in lines else []
    return [shlex.split(line)[4:] for line in found]


@pytest.mark.parametrize(
    ("course", "wish", "expected"),
    [
        (Course(), RunWish(), [["run"]]),
        (Course(ID), RunWish(only=("main",), targets=("t1",)), [["run", "--only=main", "--target=t1"]]),
        (Course(ID, good=ALL, targets={"t0": "failed", "t1": "failed"}), RunWish(), [["run"]]),
        (
            Course(ID, good=ALL, targets={"t0": "stored", "t1": "failed"}),
            RunWish(),
            [["copy", ID, "--target=t0", "--to=t1"]],
        ),
        (Course(ID, good=ALL, targets={"t0": "stored", "t1": "absent"}), RunWish(), []),
        (Course(ID, good=ALL, targets={"t0": "stored"}), RunWish(targets=("t0",)), []),
        (
            Course(ID, good={"folder/www"}, failed={"command/main"}, targets={"t0": "stored", "t1": "stored"}),
            RunWish(targets=("t0", "t1")),
            [["run", "--only=main", "--target=t0", "--target=t1"]],
        ),
        (
            Course(ID, good={"folder/www"}, targets={"t0": "stored", "t1": "failed"}),
            RunWish(keep="before the move"),
            [
                ["run", "--only=main", "--keep=before the move"],
                ["copy", ID, "--target=t0", "--to=t1"],
                ["keep", ID, "before the move"],
            ],
        ),
    ],
)
def test_the_commands_bring_what_is_missing(
    tmp_path: Path, course: Course, wish: RunWish, expected: list[list[str]]
) -> None:
    config = config_of(tmp_path, MemoryStore(), MemoryStore())
    course.asked = {target.name for target in config.targets if not wish.targets or target.name in wish.targets}
    assert commands(aftermath(config, wish, course, may_look=True)) == expected


@pytest.mark.parametrize(
    ("shell", "head"), [("/usr/sbin/nologin", "Once it works again, as pickup:"), ("/bin/sh", "Once it works again:")]
)
def test_a_user_whom_nobody_can_log_in_as_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, head: str
) -> None:
    config = config_of(tmp_path, MemoryStore())
    ours = pwd.getpwuid(os.geteuid())
    user = pwd.struct_passwd(("pickup", *ours[1:6], shell))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    assert head in aftermath(config, RunWish(), Course(), may_look=False)


def test_a_target_that_failed_is_not_asked_again(tmp_path: Path) -> None:
    failed, sound = Reading(), Reading()
    for store in (failed, sound):
        put(store, 21)
    config = config_of(tmp_path, failed, sound)
    lines = aftermath(config, RunWish(), Course(ID, targets={"t0": "failed"}), may_look=True)
    assert (len(failed.read), len(sound.read)) == (0, 1)
    [www] = [line for line in lines if line.startswith("  folder/www: ")]
    assert www.endswith(" ago) at t1; not known at t0 (not read now)")


def test_no_target_is_looked_at_for_whoever_does_not_wait(tmp_path: Path) -> None:
    store = Reading()
    put(store, 21)
    lines = aftermath(config_of(tmp_path, store), RunWish(), Course(ID), may_look=False)
    assert store.read == []
    assert lines[1] == "  command/main, folder/www: not known at t0 (not read now)"
