"""What may be relied on: files that nobody else can change, folders that nobody else can write."""

import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pickup_core.errors import ConfigError, RefusedError
from pickup_core.trust import (
    check_way_to,
    others_may_write,
    private_folder,
    read_trusted,
    see_that_nobody_else_leads,
    way_to,
)
from tests.builders import NOBODY, as_ordinary_user, ordinary_folder

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away, and asks for all folders above")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"
    path.touch(mode=0o600)
    path.write_text("x = 'ü'\n", encoding="utf-8")
    return path


def test_a_file_of_our_own_is_read_with_its_status(file: Path) -> None:
    text, status = read_trusted(file)
    assert text == "x = 'ü'\n"
    assert os.path.samestat(status, file.stat())


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644, 0o755])
def test_others_may_read_it(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_trusted(file)


@pytest.mark.parametrize("mode", [0o602, 0o606, 0o666, 0o1602])
def test_others_may_not_write_it(file: Path, mode: int) -> None:
    """F8: the sticky bit of a file protects nothing."""
    file.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        read_trusted(file)
    assert caught.value.message == f"{file} can be written by others, who could change what it says"
    assert caught.value.hint == f"chmod go-w {file}"


def test_the_line_to_run_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "it's here"
    path.touch()
    path.chmod(0o602)
    with pytest.raises(ConfigError) as caught:
        read_trusted(path)
    assert caught.value.hint.endswith("""/it'"'"'s here'""")


@needs_root
@pytest.mark.parametrize("group", [NOBODY, 4])
def test_a_group_of_others_may_not_write_it(file: Path, group: int) -> None:
    """F8."""
    os.chown(file, 0, group)
    file.chmod(0o660)
    with pytest.raises(ConfigError, match="can be written by others"):
        read_trusted(file)


@needs_root
def test_a_group_of_nobody_else_may_write_it(file: Path) -> None:
    """F8: Debian and Red Hat give each user a group of the same name, and a umask of 002."""
    os.chown(file, 0, 0)
    file.chmod(0o660)
    assert read_trusted(file)
    os.chown(file, 0, 4_000_000)  # a group without a name
    with pytest.raises(ConfigError, match="can be written by others"):
        read_trusted(file)


@needs_root
def test_a_group_of_the_same_name_with_another_member_may_not_write_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F8: no machine can be asked to have such a group, so the group database is made to say so."""
    os.chown(file, 0, 0)
    file.chmod(0o660)
    monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group(("root", "x", number, ["root", "mallory"])))
    with pytest.raises(ConfigError, match="can be written by others"):
        read_trusted(file)


@needs_root
def test_it_may_not_belong_to_another_user(file: Path) -> None:
    """F8."""
    os.chown(file, NOBODY, NOBODY)
    with pytest.raises(ConfigError) as caught:
        read_trusted(file)
    assert caught.value.message == f"{file} belongs to user {NOBODY}, who could change what it says"
    assert caught.value.hint == f"chown 0 {file}"


def test_a_file_of_root_is_trusted_by_everyone() -> None:
    done = as_ordinary_user("from pickup_core.trust import *; print(read_trusted(Path('/etc/passwd'))[0][:4])")
    assert done.stdout == "root\n", done.stderr


@needs_root
@pytest.mark.parametrize(("mode", "is_fine"), [(0o777, False), (0o1777, True), (0o770, True), (0o755, True)])
def test_root_asks_for_every_folder_above(tmp_path: Path, mode: int, is_fine: bool) -> None:
    """F8: who can write in a folder can exchange what lies in it, but for the sticky bit."""
    path = tmp_path / "a/b/code.py"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    (tmp_path / "a").chmod(mode)
    if is_fine:
        assert read_trusted(path)
    else:
        with pytest.raises(ConfigError, match=f"^{tmp_path}/a can be written by others"):
            read_trusted(path)


@needs_root
def test_root_asks_for_the_folders_of_a_link_and_of_what_it_leads_to(tmp_path: Path, file: Path) -> None:
    """F8."""
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open/link").symlink_to(file)
    (tmp_path / "open/code.py").touch(mode=0o600)
    (tmp_path / "closed/link").symlink_to(tmp_path / "open/code.py")
    for path in ("open/link", "closed/link"):
        with pytest.raises(ConfigError, match=f"^{tmp_path}/open can be written by others"):
            read_trusted(tmp_path / path)
    (tmp_path / "open").chmod(0o755)
    assert read_trusted(tmp_path / "closed/link")


@needs_root
def test_root_does_not_trust_a_folder_of_another_user(tmp_path: Path) -> None:
    """F8: not even with a sticky bit, which the owner may take away."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/code.py").touch(mode=0o600)
    os.chown(tmp_path / "home", NOBODY, NOBODY)
    (tmp_path / "home").chmod(0o1777)
    with pytest.raises(ConfigError, match=f"^{tmp_path}/home belongs to user {NOBODY}"):
        read_trusted(tmp_path / "home/code.py")


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    """F1, I9: a FIFO would be waited for."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(ConfigError, match=r"is not a regular file|can be written by others"):
            read_trusted(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """F1."""
    for path in (tmp_path / "absent", tmp_path / "absent/more"):
        with pytest.raises(ConfigError) as caught:
            read_trusted(path)
        assert str(caught.value) == f"{path} cannot be read: No such file or directory"


def test_reading_keeps_no_file_open(tmp_path: Path, file: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    read_trusted(file)
    file.chmod(0o666)
    for path in (file, tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError):
            read_trusted(path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_private_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    """I7."""
    before = os.umask(0o022)
    try:
        assert private_folder(tmp_path / "a/b/c") == tmp_path / "a/b/c"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o700
    assert private_folder(tmp_path / "a/b/c").is_dir()


def test_a_folder_of_our_own_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine").chmod(0o755)
    assert stat.S_IMODE(private_folder(tmp_path / "mine").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("mode", "message", "hint"),
    [
        (0o777, "{} can be written by others, who could replace what lies there", "chmod go-w {}"),
        (0o1777, "{} is a folder that everybody shares", "name one of our own"),
        (0o3777, "{} is a folder that everybody shares", "name one of our own"),
    ],
)
def test_a_folder_that_others_can_write_is_not_private(tmp_path: Path, mode: int, message: str, hint: str) -> None:
    """C4, S8: /tmp is nowhere to keep a lock or a history, and its mode is nothing to be changed."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        private_folder(path)
    assert (caught.value.message, caught.value.hint) == (message.format(path), hint.format(path))


@needs_root
def test_a_folder_of_another_user_is_left_to_that_user(tmp_path: Path) -> None:
    """C4: to give it to root would lock out the job that writes there."""
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(ConfigError, match=f"{path} belongs to user {NOBODY}, who could replace") as caught:
        private_folder(path)
    assert caught.value.hint == f"run it as {pwd.getpwuid(NOBODY).pw_name}, or name another folder in the config"
    os.chown(path, 4711, 4711)
    with pytest.raises(ConfigError, match=r"\nHint: run it as that user, or name another folder"):
        private_folder(path)


def test_a_file_is_no_private_folder(tmp_path: Path, file: Path) -> None:
    """L1."""
    with pytest.raises(ConfigError, match=f"^{file} is not a folder"):
        private_folder(file)
    with pytest.raises(ConfigError, match=f"^folder {file}/more cannot be made: File exists: {file}$"):
        private_folder(file / "more")


def test_a_folder_that_may_not_be_made_is_named() -> None:
    """L1, C4."""
    code = """
from pathlib import Path
from pickup_core.errors import ConfigError
from pickup_core.trust import private_folder
try:
    private_folder(Path(sys.argv[1]) / "closed/state")
except ConfigError as error:
    print(error)
"""
    with ordinary_folder() as folder:
        (folder / "closed").mkdir(mode=0o500)
        if IS_ROOT:
            os.chown(folder / "closed", NOBODY, NOBODY)
        done = as_ordinary_user(code, folder)
        assert done.stdout == f"folder {folder}/closed/state cannot be made: Permission denied\n", done.stderr


# Link by link


@needs_root
@pytest.mark.parametrize("check", [check_way_to, see_that_nobody_else_leads])
def test_a_link_in_the_middle_of_several_is_looked_at(tmp_path: Path, check: Callable[[Path], None]) -> None:
    """F8, I10: it lies neither on the way as it is written nor on the way to what it leads to."""
    (tmp_path / "roots").mkdir()
    (tmp_path / "between").mkdir()
    (tmp_path / "between/hop").symlink_to(tmp_path / "roots")
    (tmp_path / "link").symlink_to("x/../between/hop")
    (tmp_path / "x").mkdir()
    for path in ("link", "link/absent" if check is see_that_nobody_else_leads else "link"):
        check(tmp_path / path)
        os.chown(tmp_path / "between", NOBODY, NOBODY)
        with pytest.raises((ConfigError, RefusedError), match=f"^{tmp_path}/between belongs to user {NOBODY}"):
            check(tmp_path / path)
        os.chown(tmp_path / "between", 0, 0)
        (tmp_path / "between").chmod(0o1777)
        check(tmp_path / path)
        os.lchown(tmp_path / "between/hop", NOBODY, NOBODY)
        with pytest.raises((ConfigError, RefusedError), match=f"between/hop is a symbolic link of user {NOBODY}"):
            check(tmp_path / path)
        os.lchown(tmp_path / "between/hop", 0, 0)


def test_links_that_lead_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        check_way_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="a cannot be read: Too many levels of symbolic links"):
        read_trusted(tmp_path / "a")


def test_the_way_to_a_path_is_told_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/../a/b")
    path = tmp_path / "link/end"
    ends = ["link", "a", "", "a", "a/b", "a/b/end"]
    before = list(reversed([tmp_path, *tmp_path.parents]))
    assert [hop for hop, _ in way_to(path)] == [*before, *(tmp_path / end for end in ends)]
    assert [status is None for _, status in way_to(path)][-2:] == [False, True]
    (tmp_path / "a/b/end").touch()
    *_, (end, status) = way_to(path)
    assert end == path.resolve()
    assert status == path.stat()
    with pytest.raises(NotADirectoryError):
        list(way_to(path / "more"))
    (tmp_path / "a/b/end").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        list(way_to(path / "more"))
    assert caught.value.filename == str(tmp_path / "a/b/end")


@needs_root
@pytest.mark.parametrize(("mode", "answer"), [(0o755, False), (0o757, True), (0o1777, True), (0o775, True)])
def test_others_may_write_where_the_mode_lets_them(tmp_path: Path, mode: int, answer: bool) -> None:
    """F8: the group has a name that is not the owner's."""
    (tmp_path / "folder").mkdir()
    os.chown(tmp_path / "folder", 0, NOBODY)
    (tmp_path / "folder").chmod(mode)
    assert others_may_write(tmp_path / "folder", (tmp_path / "folder").stat()) is answer


def test_nobody_writes_to_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    status = (tmp_path / "link").lstat()
    assert status.st_mode & 0o022
    assert not others_may_write(tmp_path / "link", status)
