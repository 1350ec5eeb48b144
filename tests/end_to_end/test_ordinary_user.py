"""As an ordinary user: what may not be read, not be written, and not be given to others.

Root becomes `nobody` for these; where folders above the checkout or above Python are closed to others, they are opened
in a mount namespace of the command's own, and nowhere else.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.command import CHECKOUT, JOB, Site, command_entry, folder_entry, target_entry
from tests.end_to_end.trees import fill_with_everything, looks_of

IS_ROOT = os.geteuid() == 0
USER = pwd.getpwnam("nobody") if IS_ROOT else pwd.getpwuid(os.geteuid())

OPENED = """
set -e
for place in "$@"; do
    [ "$place" != -- ] || break
    top=/$(printf %s "$place" | cut -d/ -f2)
    case $(stat -c %a "$top") in *[1357]) continue ;; esac
    hold=$(mktemp -d)
    mount --bind "$place" "$hold"
    mountpoint -q "$top" || mount -t tmpfs -o mode=755 tmpfs "$top"
    mkdir -p "$place"
    mount --move "$hold" "$place"
    rmdir "$hold"
done
while [ "$1" != -- ]; do shift; done
shift
exec setpriv --reuid="$USER_ID" --regid="$GROUP_ID" --clear-groups "$@"
"""
"""Makes each given place, up to `--`, reachable for everybody, and runs what comes after it as the user."""


def _as_user() -> list[str]:
    """Give the words that run a command as the ordinary user."""
    if not IS_ROOT:
        return []
    places = sorted({str(Path(place).resolve()) for place in (sys.base_prefix, sys.prefix, CHECKOUT)})
    places = [place for place in places if not any(place.startswith(f"{other}/") for other in places)]
    script = OPENED.replace("$USER_ID", str(USER.pw_uid)).replace("$GROUP_ID", str(USER.pw_gid))
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *places, "--"]


@pytest.fixture
def users(site: Site) -> Iterator[Site]:
    """A site that belongs to the ordinary user, below a folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="pickup-test-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        users = Site(Path(folder) / "site")
        users.prefix = _as_user()
        users.env = {**users.env, "PYTHONDONTWRITEBYTECODE": "1"}
        _give(users.folder)
        _configure(users)
        yield users
        users.look_over()
        subprocess.run(["chmod", "-R", "u+rwX", folder], check=False)


def _configure(users: Site, *arguments: object, **settings: object) -> None:
    users.configure(*arguments, **settings)  # type: ignore[arg-type]
    _give(users.config)


def _give(path: Path) -> None:
    """Give a path, and all below it, to the user."""
    if IS_ROOT:
        for each in (path, *path.rglob("*")):
            os.chown(each, USER.pw_uid, USER.pw_gid, follow_symlinks=False)


def test_these_tests_do_run_as_an_ordinary_user(users: Site) -> None:
    _configure(users, [command_entry("id", "-u", name="who")])
    users.run("-q")
    assert (users.restored() / "command/who/output").read_text() == f"{USER.pw_uid}\n"
    assert USER.pw_uid != 0 or not IS_ROOT
    assert users.backups.stat().st_uid == USER.pw_uid


def test_what_may_not_be_read_is_a_loss_and_the_rest_is_kept(users: Site) -> None:
    """G26, G28: exit 2, each is named, the archive is there, and a socket and a FIFO beside it are no fault."""
    fill_with_everything(users.source)
    _give(users.source)
    subprocess.run(["setfacl", "-b", users.source / "with attributes"], check=True)
    (users.source / "closed").mkdir(mode=0o000)
    _give(users.source)
    result = users.run("-q", status=2)
    line, hint = result.problems.splitlines()
    assert hint == 'Hint: exclude it, or say unreadable="warn"'
    assert line.startswith(
        "ERROR: GENERATORS[0] 'files' (folder): source.tar was stored with losses: could not be read: "
    )
    for name in ("source/closed", "source/mode 0"):
        assert f"{name} (Cannot open: Permission denied)" in line
    assert [status for _, status in users.listed()] == ["partial"]
    name = users.names()[0]
    to = users.restored(name)
    before, after = looks_of(users.source), looks_of(to / "folder/files/source")
    assert before.keys() - after.keys() == {b"mode 0", b"closed"}
    differences = {path for path in after if path != b"." and before[path] != after[path]}
    assert not differences, {path: (before[path], after[path]) for path in differences}
    assert users.run("verify").out


def test_what_may_not_be_read_may_be_taken_for_a_warning(users: Site) -> None:
    """G26: `unreadable="warn"`; exit 1, and the backup is complete."""
    users.fill({"open": "x", "closed": "x"})
    (users.source / "closed").chmod(0o000)
    _configure(users, [folder_entry(unreadable="warn")])
    _give(users.source)
    result = users.run("-q", status=1)
    assert result.problems.startswith(
        "WARNING: GENERATORS[0] 'files' (folder): source.tar: could not be read: source/closed"
    )
    assert [status for _, status in users.listed()] == ["complete"]


def test_a_folder_that_may_not_be_read_at_all_is_no_archive(users: Site) -> None:
    """G19, G26: nothing that looks like one."""
    users.fill()
    _configure(users, [folder_entry(), command_entry("date", name="date")])
    _give(users.source)
    users.source.chmod(0o000)
    result = users.run("-q", status=2)
    assert "GENERATORS[0] 'files' (folder)" in result.err
    assert "Permission denied" in result.err
    assert not list(users.backups.rglob("*.tar.zst"))
    assert [status for _, status in users.listed()] == ["partial"]


@pytest.mark.skipif(not IS_ROOT, reason="only root can make files of several owners")
def test_restore_says_how_many_owners_it_could_not_set(users: Site) -> None:
    """V14."""
    users.fill({"mine": "x", "theirs": "x", "of somebody": "x", "setuid": "x"})
    _give(users.source)
    os.chown(users.source / "theirs", 0, 0)
    os.chown(users.source / "of somebody", 12345, 12345)
    for path in users.source.iterdir():
        path.chmod(0o644)
    (users.source / "setuid").chmod(0o4755)
    users.backup()
    to = users.folder / "to"
    result = users.run("restore", "--to", to)
    assert "2 files of other users became yours: only root can set owners" in result.out
    assert "left out: 1 setuid bit." in result.out
    restored = to / "folder/files/source"
    assert {path.stat().st_uid for path in restored.iterdir()} == {USER.pw_uid}
    assert (restored / "setuid").stat().st_mode & 0o7777 == 0o755
    assert "privileged" not in users.run("restore", "--privileged", "--to", users.folder / "other", status=None).err


def test_a_folder_that_may_not_be_written_is_told(users: Site) -> None:
    """L1, C4, T26, V9: log, state, target, staging and destination, one after the other."""
    users.fill()
    _give(users.source)
    users.backup()
    closed = users.folder / "closed"
    closed.mkdir()
    _give(closed)
    closed.chmod(0o500)
    _configure(users, LOG_FOLDER=str(closed / "log"))
    result = users.run("-q", status=1)
    assert (
        result.problems
        == f"WARNING: there is no log in {closed}/log: folder {closed}/log cannot be made: Permission denied\n"
    )
    for setting in ("STATE_FOLDER", "STAGING_AREA"):
        _configure(users, **{setting: str(closed / "x")})
        result = users.run("-q", status=3 if setting == "STATE_FOLDER" else None)
        assert result.status in (2, 3)
        assert f"{closed}/x cannot be made: Permission denied" in result.err
    _configure(users, targets=[target_entry(closed / "backups")])
    result = users.run("-q", status=2)
    assert f"ERROR: TARGETS[0] 'disk' (folder): Permission denied: {closed}/backups\n" in result.err
    _configure(users)
    result = users.run("-q", "restore", "--to", closed / "to", status=2)
    assert result.err.endswith(f"Permission denied: {closed}/to\n")


def test_a_backup_of_root_is_not_readable_for_others(users: Site, site: Site) -> None:
    """I7: an ordinary user who knows the place is told that he may not."""
    if not IS_ROOT:
        pytest.skip("only root can write what this user may not read")
    site.fill()
    site.configure(targets=[target_entry(users.folder.parent / "roots")])
    name = site.backup() if site.names() else site.run("-q") and None
    assert name is None
    (users.folder.parent / "roots").chmod(0o755)
    _configure(users, targets=[target_entry(users.folder.parent / "roots")])
    result = users.run("list", "--job", JOB, status=2)
    assert "Permission denied" in result.err
    (users.folder.parent / "roots").chmod(0o700)
    shutil.rmtree(users.folder.parent / "roots")
