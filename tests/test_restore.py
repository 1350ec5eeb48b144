"""Restore: everything, an entry, an artefact, single files; what is in the way, damaged, or too large."""

import io
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pickup_core.artefact import Readable
from pickup_core.catalogue import Backup
from pickup_core.choice import Wish, choose, space_needed
from pickup_core.errors import DamageError, ExitCode, PickupError, RefusedError, UsageError
from pickup_core.store import Store
from target_profiles.folder import Config, Target
from tests.builders import NOBODY, ordinary_folder, python
from tests.end_to_end.trees import everything_about, fill_with_everything, looks_of
from tests.hostile_tars import END, file, folder, hard
from tests.places import run_on_disk, store_backup
from tests.stored import archived, backup_at, file_of, make_stored, nothing_changes, restored, stored_backup

IS_ROOT = os.geteuid() == 0
CONTENTS = b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 www/index.html\n"


@pytest.fixture
def www(tmp_path: Path) -> Path:
    source = tmp_path / "srv" / "www"
    (source / "css").mkdir(parents=True)
    (source / "index.html").write_text("<h1>Hello</h1>")
    (source / "css" / "site.css").write_text("h1 { color: red }")
    (source / "css" / "print.css").write_text("h1 { color: black }")
    os.link(source / "css" / "site.css", source / "css" / "same.css")
    (source / "current").symlink_to("css")
    for path in (*source.rglob("*"), source):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    return source


@pytest.fixture
def database(tmp_path: Path) -> bytes:
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("CREATE TABLE orders (what TEXT)")
    connection.close()
    return (tmp_path / "shop.db").read_bytes()


@pytest.fixture
def backup(tmp_path: Path, www: Path, database: bytes) -> Backup:
    """A backup with an entry of each kind."""
    artefacts = {
        "folder/web": archived(tmp_path, www),
        "command/system": {"packages.txt": b"bash install\n" * 100, "a b/\xfc.txt": b"odd name\n"},
        "sqlite/shop": {"shop.db": database},
    }
    return stored_backup(tmp_path, artefacts)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "restored"


def files_below(to: Path) -> list[str]:
    return sorted(str(path.relative_to(to)) for path in to.rglob("*") if not path.is_dir() or path.is_symlink())


WEB = ["css/print.css", "css/same.css", "css/site.css", "current", "index.html"]
ALL = [
    "command/system/a=20b=2F=C3=BC.txt",
    "command/system/packages.txt",
    *(f"folder/web/www/{name}" for name in WEB),
    "sqlite/shop/shop.db",
]


# What comes back


def test_everything_comes_back_identical(backup: Backup, to: Path, www: Path, database: bytes) -> None:
    """V17"""
    outcome = restored(backup, to)
    assert files_below(to) == ALL
    assert looks_of(to / "folder/web/www") == looks_of(www)
    assert (to / "command/system/packages.txt").read_bytes() == b"bash install\n" * 100
    assert (to / "sqlite/shop/shop.db").read_bytes() == database
    assert outcome.left_out(False) == []
    assert sorted(path.name for path in to.iterdir()) == ["command", "folder", "sqlite"], "nothing of the spool is left"


def test_what_is_made_is_private(backup: Backup, to: Path) -> None:
    """I7"""
    before = os.umask(0)
    try:
        restored(backup, to)
    finally:
        os.umask(before)
    for path in (to, to / "command", to / "command/system", to / "command/system/packages.txt", to / "folder/web"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.skipif(not IS_ROOT, reason="the tree has files that only root can read")
def test_all_that_a_file_system_can_hold_comes_back(tmp_path: Path, to: Path) -> None:
    """V14, G30, G31"""
    fill_with_everything(tmp_path / "www")
    for path, owner in (("empty", (1, 2)), ("dangling", (3, 4)), ("empty folder", (5, 6))):
        os.lchown(tmp_path / "www" / path, *owner)
    before = looks_of(tmp_path / "www")
    backup = stored_backup(tmp_path / "store", {"folder/web": archived(tmp_path, tmp_path / "www")})
    restored(backup, to)
    assert looks_of(to / "folder/web/www") == before


@pytest.mark.skipif(not IS_ROOT, reason="the tree has files that only root can read")
def test_a_split_folder_comes_back_as_one(tmp_path: Path, to: Path) -> None:
    fill_with_everything(tmp_path / "www")
    (tmp_path / "www").chmod(0o2750)
    os.chown(tmp_path / "www", 1, 2)
    for name in (b"again", b"empty folder/and again"):
        (tmp_path / "www" / os.fsdecode(name)).unlink()  # no link may lead from one archive to another
    before = looks_of(tmp_path / "www")
    backup = stored_backup(tmp_path / "store", {"folder/web": archived(tmp_path, tmp_path / "www", split=True)})
    assert len(backup.manifest.entries[0].artefacts) > 20
    restored(backup, to)
    assert looks_of(to / "folder/web/www") == before


@pytest.mark.parametrize(
    ("only", "there"),
    [
        (("web",), ALL[2:-1]),
        (("folder/web",), ALL[2:-1]),
        (("shop", "system"), [*ALL[:2], ALL[-1]]),
        (("system/packages.txt",), ALL[1:2]),
        (("command/system/packages.txt",), ALL[1:2]),
        (("system/packages.txt.zst",), ALL[1:2]),
        (("system/a b/\xfc.txt",), ALL[:1]),
        (("system/a=20b=2F=C3=BC.txt.zst",), ALL[:1]),
        (("web/www.tar",), ALL[2:-1]),
        (("web/www.contents",), ["folder/web/www.contents"]),
        (("web", "web/www.contents"), ["folder/web/www.contents", *ALL[2:-1]]),
        (("shop", "shop", "sqlite/shop"), ALL[-1:]),
    ],
)
def test_an_entry_or_an_artefact_alone_comes_back(
    backup: Backup, to: Path, only: tuple[str, ...], there: list[str]
) -> None:
    restored(backup, to, only=only)
    assert files_below(to) == there


@pytest.mark.parametrize("only", ["nothing", "web/nothing", "folder", "system/", "/web", "", "web/css", "webb"])
def test_what_a_backup_does_not_hold_is_named_with_what_it_holds(backup: Backup, to: Path, only: str) -> None:
    with pytest.raises(UsageError) as raised:
        restored(backup, to, only=("web", only))
    assert f"backup {backup.id} holds no artefacts of {only!r}" in str(raised.value)
    assert "Hint: it holds entries: web, system, shop" in str(raised.value)
    assert not to.exists()


@pytest.mark.parametrize(
    ("paths", "there"),
    [
        (("index.html",), ["index.html"]),
        (("www/index.html",), ["index.html"]),
        (("css",), ["css/print.css", "css/same.css", "css/site.css"]),
        (("*.html", "print.css"), ["css/print.css", "index.html"]),
        (("css/p*",), ["css/print.css"]),
        (("www/**/print.css",), ["css/print.css"]),
        (("www",), WEB),
        (("current",), ["current"]),
        (("same.css",), ["css/same.css", "css/site.css"]),
        (("same.css", "site.css", "s*.css"), ["css/same.css", "css/site.css"]),
    ],
)
def test_single_files_come_back(backup: Backup, to: Path, www: Path, paths: tuple[str, ...], there: list[str]) -> None:
    restored(backup, to, paths=paths)
    found = files_below(to)
    assert found == [f"folder/web/www/{name}" for name in there] or set(found) - {
        f"folder/web/www/{name}" for name in there
    } <= {"folder/web/www/css/site.css", "folder/web/www/css/same.css"}
    before, after = looks_of(www), looks_of(to / "folder/web/www")
    for name in there:
        assert after[name.encode()].content == before[name.encode()].content
        assert after[name.encode()].modified == before[name.encode()].modified
        assert after[name.encode()].mode == before[name.encode()].mode


def test_a_file_is_found_by_its_absolute_path_on_the_host(backup: Backup, to: Path, www: Path) -> None:
    restored(backup, to, paths=(f"{www}/css/print.css",))
    assert files_below(to) == ["folder/web/www/css/print.css"]


def test_a_file_of_a_whole_machine_is_found_by_its_absolute_path(tmp_path: Path, to: Path) -> None:
    archive = folder(b"./", 0o755) + folder(b"./etc") + file(b"./etc/hosts") + file(b"./etc/hostname") + END
    backup = stored_backup(tmp_path, {"folder/machine": {"root.tar": archive}})
    restored(backup, to, paths=("/etc/hosts",))
    assert files_below(to) == ["folder/machine/etc/hosts"]


def test_a_hard_link_comes_back_with_its_content(tmp_path: Path, to: Path) -> None:
    archive = file(b"a", b"content\n") + hard(b"b", b"a") + hard(b"c", b"a") + file(b"d") + END
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": archive}})
    restored(backup, to, paths=("b", "c"))
    assert (to / "folder/web/b").read_text() == "content\n"
    assert (to / "folder/web/b").samefile(to / "folder/web/c")
    assert not (to / "folder/web/d").exists()


def test_a_hostile_name_can_be_asked_for(tmp_path: Path, to: Path) -> None:
    """G30"""
    (tmp_path / "www").mkdir()
    names = ["new\nline", "-rf", "*", "\udcff\udcfe", "trailing ", "a -> b"]
    for name in (*names, "other"):
        (tmp_path / "www" / name).write_text(name.encode("utf-8", "backslashreplace").decode())
    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, tmp_path / "www")})
    for number, name in enumerate(names):
        pattern = name.replace("*", "\\*")
        restored(backup, tmp_path / f"to{number}", paths=(f"www/{pattern}",))
        assert files_below(tmp_path / f"to{number}") == [f"folder/web/www/{name}"]


def test_files_that_no_archive_holds_are_named(backup: Backup, to: Path) -> None:
    with pytest.raises(UsageError) as raised:
        restored(backup, to, paths=("nothing.txt", "no*"))
    assert f"backup {backup.id} holds no file that matches 'nothing.txt' or 'no*'" in str(raised.value)
    assert "Hint: pickup.py find PATTERN tells which backups do" in str(raised.value)
    with pytest.raises(UsageError):
        restored(backup, to, paths=("index.html",), only=("shop",))
    assert not to.exists()


class Reading(Target):
    """A folder target that notes what is read from it, and can do something before."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.read: list[str] = []
        self.before: Callable[[str], None] = lambda path: None

    def get(self, path: str) -> Any:
        self.before(path)
        self.read.append(path.rpartition("/")[2])
        return super().get(path)


@pytest.fixture
def watched(tmp_path: Path, www: Path) -> tuple[Backup, Reading]:
    """A split folder and a command's output, at a target that notes what is read."""
    (www / "images").mkdir()
    (www / "images" / "logo.png").write_text("png")
    store = Reading(Config(path=tmp_path / "backups"))
    store.create_root()
    artefacts = {"folder/web": archived(tmp_path, www, split=True), "command/system": {"uname.txt": b"Linux\n"}}
    store_backup(store, make_stored(tmp_path / "staged", artefacts))
    backup = backup_at(store)
    assert backup.manifest
    store.read.clear()
    return backup, store


def test_only_the_archives_that_hold_what_is_asked_for_are_fetched(watched: tuple[Backup, Reading], to: Path) -> None:
    backup, store = watched
    restored(backup, to, paths=("logo.png",))
    assert files_below(to) == ["folder/web/www/images/logo.png"]
    assert [name for name in store.read if ".contents" not in name] == ["images.tar.zst"]


def test_each_stored_file_is_read_once(watched: tuple[Backup, Reading], to: Path) -> None:
    backup, store = watched
    restored(backup, to)
    assert sorted(store.read) == sorted(
        ["css.tar.zst", "images.tar.zst", "=5Ffiles.tar.zst", "uname.txt.zst"]
    ) or sorted(store.read) == sorted(["css.tar.zst", "images.tar.zst", "_files.tar.zst", "uname.txt.zst"])


def test_files_come_back_as_they_are_stored(backup: Backup, to: Path) -> None:
    restored(backup, to, as_stored=True)
    stored = [artefact.path for entry in backup.manifest.entries for artefact in entry.artefacts]
    assert files_below(to) == sorted(stored)
    for path in stored:
        assert (to / path).read_bytes() == file_of(backup, path).read_bytes()
    assert len(stored) == 5


@pytest.mark.parametrize("method", ["zstd", "gzip", "none", "zstd:19", "gzip:1"])
def test_every_compression_is_undone(tmp_path: Path, to: Path, www: Path, method: str) -> None:
    method_name = method.partition(":")[0]
    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, www), "command/db": {"dump.sql": b"SELECT 1;\n" * 9}},
                           method_name)  # fmt: skip
    restored(backup, to)
    assert (to / "command/db/dump.sql").read_bytes() == b"SELECT 1;\n" * 9
    assert looks_of(to / "folder/web/www") == looks_of(www)


def test_an_empty_artefact_comes_back(tmp_path: Path, to: Path) -> None:
    for method in ("zstd", "gzip", "none"):
        backup = stored_backup(tmp_path / method, {"command/db": {"empty": b""}}, method)
        restored(backup, to / method)
        assert (to / method / "command/db/empty").read_bytes() == b""


# What is in the way


def test_nothing_changes_where_a_file_is_in_the_way(backup: Backup, to: Path) -> None:
    """V8"""
    for existing in ("command/system/packages.txt", "folder/web/www/css/print.css", "folder/web/www/current"):
        (to / existing).parent.mkdir(parents=True, exist_ok=True)
        (to / existing).write_text("of today")
    (to / "folder/web/www/mine").write_text("mine")
    before = everything_about(to / "command", to / "folder")
    with pytest.raises(RefusedError) as raised:
        restored(backup, to)
    assert everything_about(to / "command", to / "folder") == before
    assert sorted(path.name for path in to.iterdir()) == ["command", "folder"]
    assert raised.value.exit_code == ExitCode.DAMAGE
    for existing in ("command/system/packages.txt", "folder/web/www/css/print.css", "folder/web/www/current"):
        assert str(to / existing) in raised.value.message
    assert "Hint: use another --to, or --overwrite to replace files" in str(raised.value)


def test_of_many_files_in_the_way_five_are_named(tmp_path: Path, to: Path) -> None:
    """V8"""
    backup = stored_backup(tmp_path, {"command/db": {f"{number}.sql": b"x" for number in range(9)}})
    restored(backup, to)
    with pytest.raises(RefusedError, match="and 4 more\nHint"):
        restored(backup, to)


def test_files_are_replaced_where_that_is_asked_for(backup: Backup, to: Path, www: Path) -> None:
    """V8"""
    restored(backup, to)
    (to / "folder/web/www/css/print.css").write_text("of today")
    (to / "folder/web/www/current").unlink()
    (to / "folder/web/www/current").write_text("a file in place of a link")
    (to / "folder/web/www/css").chmod(0o700)
    (to / "folder/web/www/mine").write_text("mine")
    (to / "folder/web/www/index.html").unlink()
    os.utime(to / "folder/web/www/css", (1, 1))
    restored(backup, to, overwrite=True)
    after = looks_of(to / "folder/web/www")
    assert after.pop(b"mine").kind
    assert after == looks_of(www)
    assert (to / "folder/web/www/mine").read_text() == "mine"


def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(backup: Backup, to: Path) -> None:
    """V8"""
    (to / "command/system/packages.txt").mkdir(parents=True)
    (to / "folder/web/www").mkdir(parents=True)
    (to / "folder/web/www/css").write_text("a file")
    before = everything_about(to / "command", to / "folder")
    with pytest.raises(RefusedError, match="already there: "):
        restored(backup, to, overwrite=True)
    assert everything_about(to / "command", to / "folder") == before


def test_a_file_that_somebody_reads_is_replaced_and_not_written_to(backup: Backup, to: Path) -> None:
    """V8: with a new file and a rename."""
    restored(backup, to, only=("system",))
    path = to / "command/system/packages.txt"
    path.write_text("of today")
    with path.open() as reader:
        restored(backup, to, only=("system",), overwrite=True)
        assert reader.read() == "of today"
    assert path.read_bytes() == b"bash install\n" * 100


def test_entries_are_added_to_what_is_there(backup: Backup, to: Path) -> None:
    """V8"""
    restored(backup, to, only=("web",))
    restored(backup, to, only=("system",))
    restored(backup, to, only=("shop",))
    assert files_below(to) == ALL


def test_a_folder_that_is_there_keeps_its_mode(backup: Backup, to: Path) -> None:
    """V8"""
    to.mkdir(mode=0o755)
    (to / "folder").mkdir()
    (to / "folder").chmod(0o711)
    restored(backup, to)
    assert stat.S_IMODE(to.stat().st_mode) == 0o755
    assert stat.S_IMODE((to / "folder").stat().st_mode) == 0o711


def test_a_destination_that_is_no_folder_is_refused(backup: Backup, to: Path) -> None:
    """V8"""
    to.write_text("a file")
    for overwrite in (False, True):
        with pytest.raises(RefusedError, match=f"{to} is not a folder\nHint: use another --to"):
            restored(backup, to, overwrite=overwrite)
        assert to.read_text() == "a file"


def test_a_destination_below_folders_that_are_missing_is_made_and_on_failure_removed(
    tmp_path: Path, backup: Backup
) -> None:
    (tmp_path / "new").mkdir()
    file_of(backup, "sqlite/shop/shop.db.zst").unlink()
    with pytest.raises(DamageError):
        restored(backup, tmp_path / "new" / "a" / "b")
    assert list((tmp_path / "new").iterdir()) == []
    restored(backup, tmp_path / "new" / "a" / "b", only=("web",))
    assert (tmp_path / "new" / "a" / "b" / "folder" / "web").is_dir()


@pytest.mark.skipif(not IS_ROOT, reason="only root can give folders away")
def test_root_restores_over_the_folders_that_other_users_have_in_it(backup: Backup, to: Path, www: Path) -> None:
    """V8, I10: a website belongs to the web server's user, in a folder of root's."""
    restored(backup, to)
    for path in (to / "folder/web/www", to / "folder/web/www/css"):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o2777)
    restored(backup, to, overwrite=True)
    assert looks_of(to / "folder/web/www") == looks_of(www)


@pytest.mark.skipif(not IS_ROOT, reason="an ordinary user is not warned of the folders of others")
def test_root_does_not_restore_into_a_folder_that_somebody_else_has_made(backup: Backup, home: Path) -> None:
    """I10: its owner could exchange what is in it while root writes."""
    for to in (home, home / "new"):
        with pytest.raises(RefusedError, match=f"{home} belongs to user {NOBODY}, who could replace what") as raised:
            restored(backup, to)
        assert raised.value.exit_code == ExitCode.DAMAGE
        assert "/root/restored" in raised.value.hint
    assert list(home.iterdir()) == []


# What is damaged


def damage_of(backup: Backup, path: str, how: str) -> str:
    """Damage a stored file, and give a part of the message."""
    stored = file_of(backup, path)
    content = bytearray(stored.read_bytes())
    if how == "missing":
        stored.unlink()
        return f"{backup.folder}/{path} is missing"
    content[len(content) // 2] ^= 1
    changed = {"flipped": bytes(content), "cut": bytes(content[:-1]), "longer": bytes(content) + b"\0", "empty": b""}[
        how
    ]
    stored.write_bytes(changed)
    return f"{backup.folder}/{path} has changed since it was stored"


@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "empty", "missing"])
@pytest.mark.parametrize("path", ["folder/web/www.tar.zst", "sqlite/shop/shop.db.zst"])
def test_a_stored_file_that_has_changed_is_found_before_anything_is_written(
    backup: Backup, to: Path, how: str, path: str
) -> None:
    """V5"""
    message = damage_of(backup, path, how)
    to.mkdir()
    (to / "mine").write_text("mine")
    before = everything_about(to / "mine")
    for as_stored in (False, True):
        with pytest.raises(DamageError) as raised:
            restored(backup, to, as_stored=as_stored)
        assert message in raised.value.message
        assert "--only restores other entries" in raised.value.hint
        assert raised.value.exit_code == ExitCode.DAMAGE
        assert everything_about(to / "mine") == before
        assert [path.name for path in to.iterdir()] == ["mine"]


def test_the_entries_that_are_whole_come_back_alone(backup: Backup, to: Path) -> None:
    """V5"""
    damage_of(backup, "folder/web/www.tar.zst", "flipped")
    restored(backup, to, only=("system", "shop"))
    assert files_below(to) == [*ALL[:2], ALL[-1]]


def test_a_list_of_contents_that_has_changed_does_not_stop_its_archive(backup: Backup, to: Path) -> None:
    """V5"""
    damage_of(backup, "folder/web/www.contents.zst", "missing")
    restored(backup, to, only=("web",))
    assert files_below(to) == ALL[2:-1]


@pytest.mark.parametrize(("how", "message"), [("missing", "is missing"), ("cut", "cannot be uncompressed")])
def test_single_files_need_a_list_that_is_whole(backup: Backup, to: Path, how: str, message: str) -> None:
    """V5"""
    damage_of(backup, "folder/web/www.contents.zst", how)
    with pytest.raises(DamageError, match=rf"folder/web/www\.contents\.zst {message}"):
        restored(backup, to, paths=("index.html",))
    assert not to.exists()


@pytest.mark.parametrize("method", ["zstd", "gzip"])
@pytest.mark.parametrize("label", ["folder/web", "command/db"])
def test_a_compression_that_is_damaged_under_a_right_digest_is_found(
    tmp_path: Path, to: Path, method: str, label: str
) -> None:
    """V5: a manifest that somebody else made."""
    name = "www.tar" if label == "folder/web" else "dump.sql"
    for number, wrong in enumerate((b"not compressed at all" * 100, b"", None)):
        backup = stored_backup(tmp_path / f"{number}", {label: {name: b"x" * 100_000}}, "none", compression=method)
        if wrong is not None:
            backup = stored_backup(
                tmp_path / f"{number}b", {label: {name: wrong}}, "none", compression=method, uncompressed_size=9
            )
        with pytest.raises(DamageError) as raised:
            restored(backup, to)
        assert str(raised.value).startswith(f"{label}/{name}: ")
        assert not to.exists()


def test_a_compression_of_a_later_version_is_named(tmp_path: Path, to: Path) -> None:
    backup = stored_backup(tmp_path, {"command/db": {"dump.sql": b"x"}}, "none", compression="lzma2")
    with pytest.raises(
        PickupError, match="compression 'lzma2' is not known here\nHint: use the Pickup version that wrote"
    ):
        restored(backup, to)
    assert not to.exists()


def test_nothing_is_left_where_a_restore_is_interrupted(watched: tuple[Backup, Reading], to: Path) -> None:
    """K1"""
    backup, store = watched

    class Interrupted(BaseException):
        pass

    def stop(path: str) -> None:
        if len(store.read) == 3:
            raise Interrupted

    store.before = stop
    with pytest.raises(Interrupted):
        restored(backup, to)
    assert not to.exists()


def test_a_backup_that_is_deleted_meanwhile_ends_with_a_clean_error(watched: tuple[Backup, Reading], to: Path) -> None:
    """V15"""
    backup, store = watched
    fired = []

    def delete(path: str) -> None:
        if len(store.read) == 2 and not fired:
            fired.append(path)
            store.delete(backup.folder)

    store.before = delete
    with pytest.raises(DamageError, match="is missing"):
        restored(backup, to)
    assert fired
    assert not to.exists()


def test_a_target_that_breaks_off_leaves_nothing(watched: tuple[Backup, Reading], to: Path) -> None:
    backup, store = watched

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    store.get = lambda path: Broken()  # type: ignore[method-assign, assignment]
    with pytest.raises(PickupError, match="Input/output error") as raised:
        restored(backup, to)
    assert raised.value.exit_code == ExitCode.FAILED
    assert not to.exists()


def test_two_artefacts_that_want_one_place_are_refused(tmp_path: Path, to: Path) -> None:
    archive = file(b"dump.sql", b"of the archive") + END
    backup = stored_backup(tmp_path, {"folder/web": {"a.tar": archive, "dump.sql": b"of the dump"}})
    with pytest.raises(PickupError, match=r"File exists.*dump\.sql"):
        restored(backup, to)
    assert not to.exists()


# Room and time


def test_the_room_that_is_needed_is_told_beforehand(backup: Backup, to: Path) -> None:
    chosen = choose(backup, Wish(to=to))
    sizes = [(artefact.size, artefact.uncompressed_size) for _, artefact in chosen]
    assert space_needed(chosen, Wish(to=to)) == sum(map(sum, sizes))
    assert space_needed(chosen, Wish(to=to, as_stored=True)) == sum(size for size, _ in sizes)


ON_DISK = """
import sys
from pickup_core.errors import PickupError
from target_profiles.folder import Config, Target
from tests.stored import backup_at, restored
backup = backup_at(Target(Config(path=pathlib.Path(sys.argv[1]))))
(DISK / "mine").write_text("mine")
try:
    restored(backup, DISK / "to")
    ended = [0, ""]
except PickupError as error:
    ended = [int(error.exit_code), str(error)]
left = sorted(path.name for path in DISK.iterdir())
print(json.dumps([*ended, left, str(DISK)]))
"""


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """V9"""
    stored_backup(tmp_path, {"command/db": {"dump.sql": bytes(5_000_000)}})
    code, message, left, disk = run_on_disk(ON_DISK, "1m", tmp_path / "backups")
    assert code == ExitCode.FAILED
    assert message.startswith("restoring takes up to 4.8 MiB, but ")
    assert f"{disk}/to has " in message
    assert "Hint: use another --to" in message
    assert left == ["mine"]


def test_a_stored_file_that_has_grown_does_not_fill_the_disk(tmp_path: Path) -> None:
    """V7: a hole of a terabyte costs whoever made it nothing."""
    backup = stored_backup(tmp_path, {"command/db": {"dump.sql": b"x"}})
    os.truncate(file_of(backup, "command/db/dump.sql.zst"), 2**40)
    code, message, left, _ = run_on_disk(ON_DISK, "1m", tmp_path / "backups")
    assert code == ExitCode.DAMAGE
    assert "command/db/dump.sql.zst has changed since it was stored" in message
    assert left == ["mine"]


def test_a_disk_that_becomes_full_while_tar_unpacks_is_left_as_it_was(tmp_path: Path) -> None:
    """V9: each small file takes a whole page, which no manifest tells."""
    archive = b"".join(file(b"f%d" % number, b"x") for number in range(400)) + END
    stored_backup(tmp_path, {"folder/web": {"www.tar": archive}})
    code, message, left, _ = run_on_disk(ON_DISK, "1m", tmp_path / "backups")
    assert code == ExitCode.FAILED
    assert message.startswith("folder/web/www.tar.zst: tar ended with status 2:")
    assert "No space left on device" in message
    assert left == ["mine"]


@pytest.mark.parametrize("inodes", range(4, 12))
def test_a_disk_without_inodes_is_left_as_it_was(tmp_path: Path, inodes: int) -> None:
    """V9, S5"""
    artefacts = {"command/db": {"a.sql": b"x", "b.sql": b"y"}, "folder/web": {"www.tar": file(b"a") + file(b"b") + END}}
    stored_backup(tmp_path, artefacts)
    code, message, left, _ = run_on_disk(ON_DISK, "1m", tmp_path / "backups", options=[f"nr_inodes={inodes}"])
    assert code == ExitCode.FAILED
    assert "No space left on device" in message
    assert left == ["mine"]


# Other users


AS_NOBODY = """
import json, pathlib, sys
import tests.stored
from pickup_core.errors import PickupError
from target_profiles.folder import Config, Target
from tests.generator_contract import become_nobody
become_nobody()
backup = tests.stored.backup_at(Target(Config(path=pathlib.Path(sys.argv[1]))))
ended = []
for wish in json.loads(sys.argv[3]):
    try:
        outcome = tests.stored.restored(backup, pathlib.Path(sys.argv[2]), **wish)
        ended.append([0, outcome.left_out(wish.get("privileged", False))])
    except PickupError as error:
        ended.append([int(error.exit_code), str(error)])
print(json.dumps(ended))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with ordinary_folder() as folder:
        yield folder


def restored_by_nobody(store: Path, to: Path, *wishes: dict[str, Any]) -> list[Any]:
    """Restore as an ordinary user, and give how each restore ended."""
    if IS_ROOT:
        for path in (store, *store.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    done = python(AS_NOBODY, store, to, json.dumps(wishes))
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_an_ordinary_user_is_told_in_one_line_how_many_owners_were_lost(tmp_path: Path, home: Path, www: Path) -> None:
    """V14"""
    if not IS_ROOT:
        pytest.skip("only root can give files away")
    os.mknod(www / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (www / "shell").write_text("#!")
    (www / "shell").chmod(0o4755)
    before = looks_of(www, owners=False)
    stored_backup(home, {"folder/web": archived(tmp_path, www)})
    ended = restored_by_nobody(
        home / "backups",
        home / "to",
        {},
        {"paths": ["index.html"], "overwrite": True},
        {"privileged": True, "overwrite": True},
    )
    owners = "9 files of other users became yours: only root can set owners"
    left_out = "left out: 1 device, 1 setuid bit. Hint: as root, --privileged restores them"
    assert ended == [[0, [left_out, owners]], [0, [owners.replace("9 files", "1 file")]], [0, [left_out, owners]]]
    after = looks_of(home / "to/folder/web/www", owners=False)
    assert after.keys() == before.keys() - {b"null"}
    assert {key for key in after if after[key] != before[key]} <= {b".", b"shell"}
    assert {path.lstat().st_uid for path in (home / "to").rglob("*")} == {NOBODY}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A tree with folders that not even their owner may write or read."""
    source = tmp_path / "www"
    for name, mode in (("read-only", 0o555), ("closed", 0o000), ("write-only", 0o300), ("open", 0o755)):
        (source / name / "deeper").mkdir(parents=True)
        (source / name / "deeper" / "inside").write_text(name)
        (source / name / "file").write_text(name)
        (source / name / "deeper").chmod(0o500)
        (source / name).chmod(mode)
    source.chmod(0o555)
    return source


@pytest.mark.skipif(not IS_ROOT, reason="only root can archive what cannot be read")
@pytest.mark.parametrize("split", [False, True])
def test_folders_that_their_owner_may_not_write_come_back_for_an_ordinary_user(
    tmp_path: Path, home: Path, sealed: Path, split: bool
) -> None:
    """V14"""
    before = looks_of(sealed, owners=False)
    stored_backup(home, {"folder/web": archived(tmp_path, sealed, split=split)})
    ended = restored_by_nobody(home / "backups", home / "to", {})
    assert [code for code, _ in ended] == [0]
    assert looks_of(home / "to/folder/web/www", owners=False) == before
    assert [path.name for path in (home / "to").iterdir()] == ["folder"]


@pytest.mark.skipif(not IS_ROOT, reason="only root can archive what cannot be read")
def test_such_folders_are_refused_and_replaced_like_others(tmp_path: Path, home: Path, sealed: Path) -> None:
    """V8, V14"""
    before = looks_of(sealed, owners=False)
    stored_backup(home, {"folder/web": archived(tmp_path, sealed)})
    ended = restored_by_nobody(home / "backups", home / "to", {}, {}, {"overwrite": True}, {})
    assert [code for code, _ in ended] == [0, ExitCode.DAMAGE, 0, ExitCode.DAMAGE], ended
    assert looks_of(home / "to/folder/web/www", owners=False) == before
    assert [path.name for path in (home / "to").iterdir()] == ["folder"]


@pytest.mark.skipif(not IS_ROOT, reason="for an ordinary user there is a folder that they may not write")
def test_a_destination_that_may_not_be_written_is_named(tmp_path: Path, home: Path) -> None:
    stored_backup(home, {"command/db": {"dump.sql": b"x"}})
    (home / "closed").mkdir(mode=0o755)
    ((code, message),) = restored_by_nobody(home / "backups", home / "closed" / "to", {})
    assert code == ExitCode.FAILED
    assert message == f"restoring to {home}/closed/to failed: Permission denied: {home}/closed/to"


# The store


def test_a_restore_writes_nothing_at_the_target(backup: Backup, to: Path, tmp_path: Path) -> None:
    store: Store = backup.catalogue.store
    assert isinstance(store, Target)
    with nothing_changes(tmp_path / "backups"):
        restored(backup, to)
        with pytest.raises(RefusedError):
            restored(backup, to)


def test_it_does_not_matter_how_a_target_gives_its_bytes(tmp_path: Path, www: Path, to: Path) -> None:
    class Slow:
        def __init__(self, stream: Readable) -> None:
            self._stream = stream

        def __enter__(self) -> "Slow":
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()  # type: ignore[attr-defined]

        def read(self, size: int = -1) -> bytes:
            return self._stream.read(min(size, 7) if size > 0 else 7)

    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, www)})
    store = backup.catalogue.store
    get = store.get
    store.get = lambda path: Slow(get(path)) if path.endswith(".zst") else get(path)  # type: ignore[method-assign, arg-type, return-value, assignment]
    restored(backup, to, paths=("index.html",))
    assert files_below(to) == ["folder/web/www/index.html"]
    shutil.rmtree(to)
    restored(backup, to)
    assert looks_of(to / "folder/web/www") == looks_of(www)
