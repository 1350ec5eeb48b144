"""The folder generator: the contract of all generators, real races with a real tar, and excludes beside an oracle."""

import contextlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from generator_profiles import folder as profile
from pickup_core.archive import Listed, read_listing
from pickup_core.errors import ExitCode, PickupError
from pickup_core.patterns import expression
from pickup_core.store import BLOCK
from tests.builders import NOBODY, config_text, problems_of, python
from tests.end_to_end.trees import HOSTILE_NAMES, fill_with_everything, looks_of
from tests.generator_contract import (
    GeneratorContract,
    Produced,
    Sample,
    options_of,
    produce,
    produce_elsewhere,
    run_entry,
)

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may mount and make devices")


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    """Give the members of an archive by name, as another reader of the format sees them."""
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        found = tar.getmembers()
        assert len({member.name for member in found}) == len(found), "a name stands twice in the archive"
        return {member.name: member for member in found}


def files_in(archive: bytes) -> dict[str, bytes]:
    """Give the content of each regular file in an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]


def listed(contents: bytes) -> list[Listed]:
    return list(read_listing(iter(contents.splitlines(keepends=True))))


def unpacked(archive: bytes, folder: Path) -> Path:
    """Let tar alone unpack an archive, as RESTORE.txt says."""
    folder.mkdir()
    command = ["tar", "--extract", "--file=-", "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--acls"]
    subprocess.run([*command, "--directory", folder], input=archive, check=True, stderr=subprocess.PIPE)
    return folder


def fill(folder: Path, *names: str) -> Path:
    """Make files with these names, whose content is their name; a name that ends with `/` is a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(name)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fill(tmp_path / "www", "index.html", "css/site.css", "css/deep/print.css")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="pickup-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for path, names, _ in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(path, name), 0o700)
    shutil.rmtree(folder)


def archive_of(produced: Produced, name: str = "www.tar") -> bytes:
    assert produced.failures == {}
    return produced.contents[name]


class TestContract(GeneratorContract):
    profile = "folder"

    @pytest.fixture
    def good(self, sources: Path) -> Sample:
        fill(sources / "www", "index.html", "css/site.css", "\N{SNOWMAN} and\nmore")
        fill(sources / "mail", "anna/inbox")
        (sources / "mail" / "link").symlink_to("anna")
        return Sample(
            dict(path=[str(sources / "www"), str(sources / "mail")]),
            {
                "www.tar": {
                    b"www": None,
                    b"www/index.html": b"index.html",
                    b"www/css": None,
                    b"www/css/site.css": b"css/site.css",
                    b"www/\xe2\x98\x83 and\nmore": "\N{SNOWMAN} and\nmore".encode(),
                },
                "www.contents": [
                    (b"www", "d"),
                    (b"www/css", "d"),
                    (b"www/css/site.css", "-"),
                    (b"www/index.html", "-"),
                    (b"www/\xe2\x98\x83 and\nmore", "-"),
                ],
                "mail.tar": {
                    b"mail": None,
                    b"mail/anna": None,
                    b"mail/anna/inbox": b"anna/inbox",
                    b"mail/link": b"-> anna",
                },
                "mail.contents": [
                    (b"mail", "d"),
                    (b"mail/anna", "d"),
                    (b"mail/anna/inbox", "-"),
                    (b"mail/link", "l"),
                ],
            },
        )

    @pytest.fixture
    def bad(self, sources: Path) -> Sample:
        fill(sources / "www", "index.html")
        return Sample(
            dict(path=[str(sources / "missing"), str(sources / "www")]),
            {
                "www.tar": {b"www": None, b"www/index.html": b"index.html"},
                "www.contents": [(b"www", "d"), (b"www/index.html", "-")],
            },
            {"missing.tar": f"{sources / 'missing'} does not exist"},
        )

    def meaning(self, name: str, content: bytes) -> Any:
        if name.endswith(".contents"):
            return sorted((os.fsencode(line.name), line.type) for line in listed(content))
        files: dict[str, bytes] = files_in(content)
        return {
            os.fsencode(name): f"-> {member.linkname}".encode() if member.issym() else files.get(name)
            for name, member in members(content).items()
        }


# What is there, and what is not


def test_a_missing_folder_fails_and_makes_no_archive(tmp_path: Path) -> None:
    """G19"""
    ran = run_entry(tmp_path, "folder", dict(path="nowhere"))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert ran.messages == [f"GENERATORS[0] 'it' (folder): nowhere.tar: {tmp_path / 'nowhere'} does not exist"]


def test_of_several_folders_a_missing_one_costs_itself(tmp_path: Path, source: Path) -> None:
    """G19"""
    fill(tmp_path / "mail", "inbox")
    ran = run_entry(tmp_path, "folder", dict(path=["www", "nowhere", "mail"]))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"www.tar", "www.contents", "mail.tar", "mail.contents"}
    assert ran.record.failures == (f"nowhere.tar: {tmp_path / 'nowhere'} does not exist",)


def test_a_folder_that_may_be_missing_is_skipped(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """G19"""
    caplog.set_level(logging.INFO)
    config = dict(path=["nowhere", "www", "www/index.html/x"], missing_ok=True)
    ran = run_entry(tmp_path, "folder", config)
    assert ran.exit_code == ExitCode.OK
    assert ran.record.status == "ok"
    assert ran.contents.keys() == {"www.tar", "www.contents"}
    assert f"{tmp_path / 'nowhere'} does not exist, as it may" in caplog.messages
    caplog.clear()
    notes = notes_of({**config, "path": [str(tmp_path / path) for path in config["path"]]}, tmp_path)
    assert sorted(notes) == [f"{tmp_path / path} does not exist, as it may" for path in ("nowhere", "www/index.html/x")]
    assert [line for line in caplog.messages if "as it may" in line] == [], "the notes say it"


def test_where_all_that_may_be_missing_is_missing_the_entry_fails(tmp_path: Path) -> None:
    """G19: else it would count as a good backup of this entry, and displace those that have something in them."""
    config = dict(path=[str(tmp_path / "a"), str(tmp_path / "b")], missing_ok=True)
    ran = run_entry(tmp_path, "folder", config)
    assert ran.exit_code == ExitCode.FAILED
    assert len(ran.messages) == 1
    assert f"none of these exists: {tmp_path / 'a'}, {tmp_path / 'b'}" in ran.messages[0]
    with pytest.raises(PickupError, match="none of these exists"):
        notes_of(config, tmp_path)


def test_what_may_be_missing_is_not_skipped_for_another_reason(open_folder: Path, source: Path) -> None:
    """G19, G20, G26: a folder that cannot be reached, a link, a device."""
    fill(open_folder / "closed" / "inner", "secret")
    (open_folder / "closed").chmod(0)
    (open_folder / "link").symlink_to("nowhere")
    fill(open_folder / "www", "index.html")
    paths = [str(open_folder / name) for name in ("closed/inner", "link", "www")]
    code, _, messages, names = run_as_nobody(dict(path=[*paths, "/dev/null"], missing_ok=True))
    assert code == ExitCode.FAILED
    assert names == ["www.contents", "www.tar"]
    assert len(messages) == 3
    assert all(
        any(part in line for line in messages) for part in ("Permission denied", "is a symbolic link", "/dev/null")
    )


def test_a_symbolic_link_is_refused_with_the_folder_that_it_leads_to(tmp_path: Path, source: Path) -> None:
    """G20"""
    (tmp_path / "link").symlink_to("www")
    ran = run_entry(tmp_path, "folder", dict(path="link"))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert (
        f"{tmp_path / 'link'} is a symbolic link\nHint: name the folder that it leads to: {source}" in ran.messages[0]
    )


@needs_root
@pytest.mark.parametrize("through", ["link", "roots-link"])
def test_a_link_on_the_way_that_is_not_roots_is_refused(tmp_path: Path, source: Path, through: str) -> None:
    """G20: its owner could lead root to any folder. One behind a link of root's too."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "roots-link").symlink_to("../" + tmp_path.name + "/link")
    for owner in (0, NOBODY):
        os.lchown(tmp_path / "link", owner, owner)
        config = dict(path=str(tmp_path / through / "www"))
        ran = run_entry(tmp_path, "folder", config)
        if owner == 0:
            assert ran.messages == []
            assert files_in(ran.contents["www.tar"])["www/index.html"] == b"index.html"
        else:
            way = f"link, on the way to {tmp_path / through}, is a symbolic link of user {NOBODY}"
            message = f"{way}, who could lead root elsewhere\nHint: name the folder that it leads to"
            assert message in ran.messages[0]
            assert ran.contents == {}
            with pytest.raises(PickupError, match="is a symbolic link of user"):
                list(profile.check(options_of("folder", config, tmp_path)))


def test_links_on_the_way_that_lead_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    ran = run_entry(tmp_path, "folder", dict(path="a/www"))
    assert f"{tmp_path}/a/www cannot be read: Too many levels of symbolic links" in ran.messages[0]


@needs_root
def test_a_link_that_takes_the_place_of_a_folder_on_the_way_is_not_followed(tmp_path: Path) -> None:
    """G27: somebody whose folder it is puts it there when it was looked at, before tar starts."""
    fill(tmp_path / "app" / "www", "mine")
    fill(tmp_path / "roots" / "www", "secret")
    script = tmp_path / "program"
    swap = f"mv {tmp_path}/app {tmp_path}/old; ln -s {tmp_path}/roots {tmp_path}/app"
    script.write_text(f'#!/bin/sh\n[ "$1" = --help ] || {{ {swap}; }}\nexec tar "$@"\n')
    script.chmod(0o755)
    ran = run_entry(tmp_path, "folder", dict(path="app/www", program=[str(script)]))
    assert (tmp_path / "app").is_symlink()
    assert os.listdir(tmp_path / "app" / "www") == ["secret"]
    assert files_in(ran.contents["www.tar"]) == {"www/mine": b"mine"}


def test_a_single_file_is_archived(tmp_path: Path) -> None:
    """G20"""
    (tmp_path / "notes.txt").write_text("remember")
    for split in (False, True):
        ran = run_entry(tmp_path, "folder", dict(path="notes.txt", split=split))
        assert ran.exit_code == ExitCode.OK
        assert files_in(ran.contents["notes.txt.tar"]) == {"notes.txt": b"remember"}


def test_a_fifo_and_a_device_are_refused(tmp_path: Path) -> None:
    """G20"""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null")):
        ran = run_entry(tmp_path, "folder", dict(path=str(path)))
        assert ran.exit_code == ExitCode.FAILED
        assert ran.contents == {}
        assert f"{path} is neither a folder nor a regular file" in ran.messages[0]


def test_an_empty_folder_fails_unless_it_may_be_empty(tmp_path: Path) -> None:
    """G40"""
    (tmp_path / "www").mkdir()
    ran = run_entry(tmp_path, "folder", dict(path="www"))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert (
        f"{tmp_path / 'www'} is empty\nHint: is it mounted? If it may be empty, say allow_empty=True" in ran.messages[0]
    )
    ran = run_entry(tmp_path, "folder", dict(path="www", allow_empty=True))
    assert ran.exit_code == ExitCode.OK
    assert list(members(ran.contents["www.tar"])) == ["www"]


def test_require_mount_names_the_folder_where_nothing_is_mounted(tmp_path: Path, source: Path) -> None:
    """G40"""
    ran = run_entry(tmp_path, "folder", dict(path="www", require_mount=True))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert f"{source} is not a mount point\nHint: mount it" in ran.messages[0]


@needs_root
def test_require_mount_takes_a_mount_point(source: Path) -> None:
    """G40"""
    mount = f"mount -t tmpfs none {shlex.quote(str(source))}; echo there > {shlex.quote(str(source / 'mounted'))}"
    produced = produce_elsewhere("folder", dict(path=str(source), require_mount=True), before=mount)
    assert files_in(archive_of(produced)) == {"www/mounted": b"there\n"}


# Files that change while they are read


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    """A folder whose first file is large, so that something can happen while it is read."""
    folder = fill(tmp_path / "www", "z-file", "z-folder/inside")
    (folder / "a-large").write_bytes(os.urandom(1_000_000))
    return folder


def meanwhile(tmp_path: Path, *lines: str) -> list[str]:
    """Give a tar that runs lines of shell once, after it has written 200 KiB; the file `fired` tells that it did."""
    script, fired = tmp_path / "meanwhile.sh", tmp_path / "fired"
    script.write_text("\n".join(["#!/bin/sh", "set -e", f"[ ! -e {fired} ] || exit 0", f"touch {fired}", *lines]))
    script.chmod(0o755)
    return ["tar", "--sort=name", "--checkpoint=20", f"--checkpoint-action=exec={script}"]


def fired(tmp_path: Path) -> bool:
    return (tmp_path / "fired").is_file()


def test_a_file_that_vanishes_is_named_in_a_warning(tmp_path: Path, busy: Path) -> None:
    """G21"""
    ran = run_entry(tmp_path, "folder", dict(path="www", program=meanwhile(tmp_path, f"rm {busy}/z-file")))
    assert fired(tmp_path)
    assert not (busy / "z-file").exists()
    assert ran.exit_code == ExitCode.WARNINGS
    assert ran.record.status == "ok"
    assert ran.messages == [
        "GENERATORS[0] 'it' (folder): www.tar: changed or vanished while it was read: www/z-file",
    ]
    assert files_in(ran.contents["www.tar"])["www/a-large"] == (busy / "a-large").read_bytes()
    assert list(members(ran.contents["www.tar"])) == ["www", "www/a-large", "www/z-folder", "www/z-folder/inside"]


def test_of_many_that_vanish_five_are_named(tmp_path: Path, busy: Path) -> None:
    """G21"""
    fill(busy, *(f"z-{number}" for number in range(7)))
    ran = run_entry(tmp_path, "folder", dict(path="www", program=meanwhile(tmp_path, f"rm {busy}/z-[0-9]")))
    assert fired(tmp_path)
    assert ran.messages[0].endswith(": www/z-0, www/z-1, www/z-2, www/z-3, www/z-4 and 2 more")


@pytest.mark.parametrize("pattern", ["z-file", "/z-file", "{www}/z-file", "z-*", "**/z-file", "{www}/z-*"])
def test_a_file_that_may_change_is_not_warned_about(tmp_path: Path, busy: Path, pattern: str) -> None:
    """G21"""
    pattern = pattern.format(www=busy)
    if pattern.startswith("/z"):
        pattern = f"{busy}{pattern}"
    program = meanwhile(tmp_path, f"rm {busy}/z-file")
    ran = run_entry(tmp_path, "folder", dict(path="www", may_change=[pattern], program=program))
    assert fired(tmp_path)
    assert ran.exit_code == ExitCode.OK
    assert ran.messages == []


def test_files_that_may_change_are_counted_in_one_line(
    tmp_path: Path, busy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """G21: five are named."""
    caplog.set_level(logging.INFO)
    fill(busy, *(f"z-{number}" for number in range(7)))
    program = meanwhile(tmp_path, f"rm {busy}/z-[0-9] {busy}/z-file")
    ran = run_entry(tmp_path, "folder", dict(path="www", may_change=["z-?"], program=program))
    assert fired(tmp_path)
    assert ran.exit_code == ExitCode.WARNINGS
    assert ran.messages[0].endswith("while it was read: www/z-file")
    assert [line for line in caplog.messages if "as it may" in line] == [
        "www: changed or vanished while it was read, as it may: www/z-0, www/z-1, www/z-2, www/z-3, www/z-4 and 2 more"
    ]


@pytest.mark.parametrize("pattern", ["{www}/z-file", "./z-file", "z", "deeper/deeper/z-file", "{www}/z-*", "*/x"])
def test_an_absolute_pattern_excuses_only_the_file_that_it_names(tmp_path: Path, busy: Path, pattern: str) -> None:
    """G21"""
    fill(busy, "deeper/z-file")
    (busy / "a-large").rename(busy / "deeper" / "a-large")
    program = meanwhile(tmp_path, f"rm {busy}/deeper/z-file")
    ran = run_entry(tmp_path, "folder", dict(path="www", may_change=[pattern.format(www=busy)], program=program))
    assert fired(tmp_path)
    assert ran.exit_code == ExitCode.WARNINGS
    assert ran.messages[0].endswith(": www/deeper/z-file")


def test_a_file_that_shrinks_is_padded_and_named(tmp_path: Path, busy: Path) -> None:
    """G22"""
    ran = run_entry(
        tmp_path, "folder", dict(path="www", program=meanwhile(tmp_path, f"truncate -s 600000 {busy}/a-large"))
    )
    assert fired(tmp_path)
    assert (busy / "a-large").stat().st_size == 600_000
    assert ran.exit_code == ExitCode.WARNINGS
    assert ran.record.status == "ok"
    assert ran.messages[0].endswith("changed or vanished while it was read: www/a-large")
    stored = files_in(ran.contents["www.tar"])
    assert stored["www/a-large"] == (busy / "a-large").read_bytes() + bytes(400_000)
    assert stored["www/z-file"] == b"z-file"


def test_a_file_that_grows_is_cut_and_named(tmp_path: Path, busy: Path) -> None:
    """G23"""
    before = (busy / "a-large").read_bytes()
    program = meanwhile(tmp_path, f"head -c 50000 /dev/zero >> {busy}/a-large")
    ran = run_entry(tmp_path, "folder", dict(path="www", program=program))
    assert fired(tmp_path)
    assert (busy / "a-large").stat().st_size == 1_050_000
    assert ran.exit_code == ExitCode.WARNINGS
    assert ran.messages[0].endswith("changed or vanished while it was read: www/a-large")
    assert files_in(ran.contents["www.tar"])["www/a-large"] == before


def test_a_file_that_is_rewritten_in_place_is_named(tmp_path: Path, busy: Path) -> None:
    """G24"""
    program = meanwhile(tmp_path, f"printf changed | dd of={busy}/a-large conv=notrunc bs=1 seek=900000 2> /dev/null")
    ran = run_entry(tmp_path, "folder", dict(path="www", program=program))
    assert fired(tmp_path)
    assert (busy / "a-large").stat().st_size == 1_000_000
    assert ran.exit_code == ExitCode.WARNINGS
    assert ran.messages[0].endswith("changed or vanished while it was read: www/a-large")


def test_a_folder_in_which_a_file_appears_is_not_warned_about(tmp_path: Path, busy: Path) -> None:
    """G24"""
    ran = run_entry(tmp_path, "folder", dict(path="www", program=meanwhile(tmp_path, f"touch {busy}/new")))
    assert fired(tmp_path)
    assert ran.messages == []
    assert ran.exit_code == ExitCode.OK


def test_changes_are_seen_when_tar_is_named_by_its_path(tmp_path: Path, busy: Path) -> None:
    """G21"""
    path = shutil.which("tar")
    assert path is not None
    program = [path, *meanwhile(tmp_path, f"rm {busy}/z-file")[1:]]
    ran = run_entry(tmp_path, "folder", dict(path="www", program=program))
    assert fired(tmp_path)
    assert ran.exit_code == ExitCode.WARNINGS
    assert ran.messages[0].endswith("changed or vanished while it was read: www/z-file")


def test_a_folder_that_becomes_a_link_is_not_followed(tmp_path: Path, busy: Path) -> None:
    """G27"""
    fill(tmp_path / "outside", "secret")
    program = meanwhile(tmp_path, f"mv {busy}/z-folder {tmp_path}/moved", f"ln -s {tmp_path}/outside {busy}/z-folder")
    ran = run_entry(tmp_path, "folder", dict(path="www", program=program))
    assert fired(tmp_path)
    assert (busy / "z-folder").is_symlink()
    found = members(ran.contents["www.tar"])
    assert found["www/z-folder"].issym()
    assert not any("secret" in name for name in found)


@pytest.mark.parametrize("vanishing", ["z-file", "z-folder"])
def test_with_split_what_vanishes_after_the_listing_costs_nothing_else(
    tmp_path: Path, busy: Path, vanishing: str
) -> None:
    """G21"""
    fill(busy, "a-folder/x", "y-file")
    (busy / "a-large").rename(busy / "a-folder" / "large")
    program = meanwhile(tmp_path, f"rm -r {busy}/{vanishing}")
    ran = run_entry(tmp_path, "folder", dict(path="www", split=True, program=program))
    assert fired(tmp_path)
    assert not (busy / vanishing).exists()
    assert ran.record.status == "ok"
    assert ran.contents.keys() >= {"a-folder.tar", "a-folder.contents", "_files.tar", "_files.contents"}
    assert files_in(ran.contents["_files.tar"])["www/y-file"] == b"y-file"
    if vanishing == "z-file":
        assert ran.exit_code == ExitCode.WARNINGS
        assert ran.messages[0].endswith("_files.tar: changed or vanished while it was read: www/z-file")


# Files that cannot be read


@pytest.fixture
def partly_unreadable(open_folder: Path) -> Path:
    """A folder in which an ordinary user may not read everything."""
    folder = fill(open_folder / "www", "index.html", "closed.txt", "closed folder/inside")
    (folder / "closed.txt").chmod(0)
    (folder / "closed folder").chmod(0)
    return folder


RUN_AS_NOBODY = """
import json, sys, tempfile, pathlib
from pickup_core.profiles import load_profile
from tests.generator_contract import become_nobody, run_entry
load_profile("generator", "folder", pathlib.Path("/"))
become_nobody()
with tempfile.TemporaryDirectory() as folder:
    ran = run_entry(pathlib.Path(folder), "folder", json.loads(sys.argv[1]))
print(json.dumps([ran.exit_code, ran.record.status, ran.messages, sorted(ran.contents)]))
"""


def run_as_nobody(config: dict[str, Any]) -> list[Any]:
    done = python(RUN_AS_NOBODY, json.dumps(config))
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_what_cannot_be_read_is_a_loss_and_the_rest_is_saved(partly_unreadable: Path) -> None:
    """G26"""
    produced = produce_elsewhere("folder", dict(path=str(partly_unreadable)), as_nobody=True)
    assert files_in(archive_of(produced)) == {"www/index.html": b"index.html"}
    assert produced.warnings == []
    (loss,) = produced.losses
    assert loss.startswith("could not be read: ")
    assert "www/closed.txt (Cannot open: Permission denied)" in loss
    assert "www/closed folder (Cannot open: Permission denied)" in loss


def test_a_loss_fails_the_entry_and_keeps_the_archive(partly_unreadable: Path) -> None:
    """G26"""
    code, status, messages, names = run_as_nobody(dict(path=str(partly_unreadable)))
    assert code == ExitCode.FAILED
    assert status == "failed"
    assert names == ["www.contents", "www.tar"]
    assert len(messages) == 1
    assert "GENERATORS[0] 'it' (folder): www.tar was stored with losses: could not be read: " in messages[0]
    assert "unreadable" in messages[0], "a hint says what could be done"


def test_what_cannot_be_read_can_be_made_a_warning(partly_unreadable: Path) -> None:
    """G26"""
    code, status, messages, names = run_as_nobody(dict(path=str(partly_unreadable), unreadable="warn"))
    assert code == ExitCode.WARNINGS
    assert status == "ok"
    assert names == ["www.contents", "www.tar"]
    assert "www.tar: could not be read: " in messages[0]
    assert "www/closed.txt" in messages[0]


@pytest.mark.parametrize("name", ["www", "w\N{LATIN SMALL LETTER U WITH DIAERESIS}w"])
def test_a_folder_that_cannot_be_opened_is_a_failure(open_folder: Path, name: str) -> None:
    """G26"""
    fill(open_folder / name, "index.html").chmod(0)
    code, status, messages, names = run_as_nobody(dict(path=str(open_folder / name)))
    assert code == ExitCode.FAILED
    assert status == "failed"
    assert names == []
    assert "Permission denied" in messages[0]


@pytest.mark.parametrize("split", [False, True])
def test_a_folder_that_cannot_be_reached_costs_itself(open_folder: Path, split: bool) -> None:
    """G26"""
    fill(open_folder / "closed" / "inner", "secret")
    (open_folder / "closed").chmod(0)
    fill(open_folder / "www", "index.html")
    paths = [str(open_folder / "closed" / "inner"), str(open_folder / "www")]
    code, _, messages, names = run_as_nobody(dict(path=paths, split=split))
    assert code == ExitCode.FAILED
    assert names == (["www/_files.contents", "www/_files.tar"] if split else ["www.contents", "www.tar"])
    assert len(messages) == 1
    assert str(open_folder / "closed") in messages[0]
    assert "Permission denied" in messages[0]


def test_with_split_a_subfolder_that_cannot_be_read_costs_itself(partly_unreadable: Path) -> None:
    """G26"""
    fill(partly_unreadable, "open/page")
    code, status, messages, names = run_as_nobody(dict(path=str(partly_unreadable), split=True))
    assert (code, status) == (ExitCode.FAILED, "failed")
    assert {"open.tar", "_files.tar"} <= set(names)
    what = "was stored with losses: could not be read: www/closed"
    assert any(f"closed folder.tar {what} folder (Cannot open: Permission denied)" in line for line in messages)
    assert any(f"_files.tar {what}.txt" in line for line in messages)


def test_with_split_a_subfolder_that_cannot_be_read_can_be_made_a_warning(partly_unreadable: Path) -> None:
    """G26"""
    fill(partly_unreadable, "open/page")
    config = dict(path=str(partly_unreadable), split=True, unreadable="warn")
    code, status, messages, names = run_as_nobody(config)
    assert (code, status) == (ExitCode.WARNINGS, "ok")
    assert {"open.tar", "_files.tar"} <= set(names)
    assert any("closed folder.tar: could not be read: www/closed folder (Cannot open" in line for line in messages)
    assert any("_files.tar: could not be read: www/closed.txt" in line for line in messages)


def test_a_read_error_in_the_middle_of_a_file_is_a_loss(tmp_path: Path, busy: Path) -> None:
    """G25"""
    if shutil.which("strace") is None:
        pytest.skip("strace injects the error")
    trace = tmp_path / "trace"
    program = ["strace", "-f", "-o", str(trace), "-P", str(busy / "a-large"), "-e", "trace=read",
               "-e", "inject=read:error=EIO:when=3+", "tar"]  # fmt: skip
    ran = run_entry(tmp_path, "folder", dict(path="www", program=program))
    assert "EIO" in trace.read_text()
    assert ran.exit_code == ExitCode.FAILED
    assert ran.record.status == "failed"
    assert "www.tar was stored with losses: could not be read: www/a-large (Read error at byte" in ran.messages[0]
    assert files_in(ran.contents["www.tar"])["www/z-file"] == b"z-file"
    assert len(files_in(ran.contents["www.tar"])["www/a-large"]) == 1_000_000


# Whatever a file system can hold


@pytest.mark.skipif(not IS_ROOT, reason="the tree has files that only root can read")
def test_everything_comes_back_as_it_was(tmp_path: Path, scratch: Path) -> None:
    """G28, G29, G30, G31"""
    fill_with_everything(tmp_path / "www")
    before = looks_of(tmp_path / "www")
    produced = produce("folder", dict(path=str(tmp_path / "www")), scratch)
    assert produced.warnings == produced.losses == []
    folder = unpacked(archive_of(produced), tmp_path / "restored")
    assert looks_of(folder / "www") == before


def test_hostile_names_come_back_byte_by_byte(tmp_path: Path, scratch: Path) -> None:
    """G30"""
    top = os.fsencode(tmp_path / "www")
    os.mkdir(top)
    for number, name in enumerate(HOSTILE_NAMES):
        with open(os.path.join(top, name), "wb") as file:
            file.write(b"%d" % number)
    produced = produce("folder", dict(path=os.fsdecode(top)), scratch)
    assert produced.warnings == produced.losses == []
    folder = os.fsencode(unpacked(archive_of(produced), tmp_path / "restored"))
    for number, name in enumerate(HOSTILE_NAMES):
        with open(os.path.join(folder, b"www", name), "rb") as file:
            assert file.read() == b"%d" % number
    assert sorted(os.listdir(os.path.join(folder, b"www"))) == sorted(HOSTILE_NAMES)
    names = {os.fsencode(line.name) for line in listed(produced.contents["www.contents"])}
    assert names == {b"www", *(b"www/" + name for name in HOSTILE_NAMES)}


@pytest.mark.parametrize("number", range(len(HOSTILE_NAMES)))
def test_the_folder_itself_and_with_split_its_subfolders_may_have_hostile_names(
    tmp_path: Path, scratch: Path, number: int
) -> None:
    """G30"""
    name = os.fsdecode(HOSTILE_NAMES[number])
    fill(tmp_path / "www" / name, "inside")
    produced = produce("folder", dict(path=str(tmp_path / "www"), split=True), scratch)
    assert produced.failures == {}
    assert files_in(produced.contents[f"{name}.tar"]) == {f"www/{name}/inside": b"inside"}
    if any(ord(character) < 32 for character in name):
        return  # such a path is refused in a config
    produced = produce("folder", dict(path=str(tmp_path / "www" / name), exclude=[f"{tmp_path}/www/{name}/x"]), scratch)
    assert files_in(archive_of(produced, f"{name}.tar")) == {f"{name}/inside": b"inside"}


def test_paths_of_more_than_4096_bytes_are_archived(tmp_path: Path, scratch: Path) -> None:
    """G30"""
    (tmp_path / "www").mkdir()
    part = "p" * 250
    with contextlib.ExitStack() as stack:
        folder = os.open(tmp_path / "www", os.O_RDONLY)
        for _ in range(18):
            stack.callback(os.close, folder)
            os.mkdir(part, dir_fd=folder)
            folder = os.open(part, os.O_RDONLY, dir_fd=folder)
        stack.callback(os.close, folder)
        with open(os.open("end", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=folder), "w") as file:
            file.write("reached")
    produced = produce("folder", dict(path=str(tmp_path / "www")), scratch)
    assert produced.warnings == produced.losses == []
    name = f"www/{'/'.join([part] * 18)}/end"
    assert len(name) > 4096
    assert files_in(archive_of(produced))[name] == b"reached"
    assert name in {line.name for line in listed(produced.contents["www.contents"])}


def test_special_files_are_never_read(tmp_path: Path, source: Path) -> None:
    """G28"""
    os.mkfifo(source / "fifo")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(source / "socket"))
        if IS_ROOT:
            os.mknod(source / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero never ends
        start = time.monotonic()
        ran = run_entry(tmp_path, "folder", dict(path="www"))
    assert time.monotonic() - start < 30
    assert ran.messages == []
    assert ran.exit_code == ExitCode.OK
    found = members(ran.contents["www.tar"])
    assert found["www/fifo"].isfifo()
    assert "www/socket" not in found
    assert not IS_ROOT or found["www/device"].ischr()


def test_a_sparse_file_of_a_tebibyte_is_small_and_quick(tmp_path: Path, source: Path, scratch: Path) -> None:
    """G29"""
    with (source / "image").open("wb") as file:
        file.truncate(2**40)
        file.seek(2**39)
        file.write(b"in the middle")
    start = time.monotonic()
    produced = produce("folder", dict(path=str(source)), scratch)
    assert time.monotonic() - start < 20
    assert len(archive_of(produced)) < 100_000
    assert members(archive_of(produced))["www/image"].size == 2**40
    restored = unpacked(archive_of(produced), tmp_path / "restored") / "www" / "image"
    assert restored.stat().st_size == 2**40
    assert restored.stat().st_blocks < 1000
    with restored.open("rb") as file:
        file.seek(2**39 - 1)
        assert file.read(15) == b"\0in the middle\0"


def test_hard_links_are_kept_once_and_loops_are_not_followed(tmp_path: Path, source: Path, scratch: Path) -> None:
    """G31"""
    (source / "large").write_bytes(os.urandom(300_000))
    os.link(source / "large", source / "css" / "same")
    (source / "css" / "up").symlink_to("..")
    (source / "self").symlink_to("self")
    produced = produce("folder", dict(path=str(source)), scratch)
    assert len(archive_of(produced)) < 400_000
    found = members(archive_of(produced))
    assert [found[name].islnk() for name in ("www/large", "www/css/same")].count(True) == 1
    assert found["www/css/up"].linkname == ".."
    assert found["www/self"].linkname == "self"
    restored = unpacked(archive_of(produced), tmp_path / "restored") / "www"
    assert (restored / "large").samefile(restored / "css" / "same")


@needs_root
def test_a_folder_mounted_into_itself_is_not_followed_for_ever(source: Path) -> None:
    """G31"""
    (source / "loop").mkdir()
    produced = produce_elsewhere("folder", dict(path=str(source)), before=f"mount --bind {source} {source}/loop")
    found = members(archive_of(produced))
    assert "www/loop/index.html" in found
    assert not any(name.startswith("www/loop/loop/") for name in found)


@needs_root
@pytest.mark.parametrize("split", [False, True])
def test_one_file_system_leaves_out_what_is_mounted(source: Path, split: bool) -> None:
    """G31"""
    fill(source, "css/mounted/", "mounted/")
    mounts = "\n".join(f"mount -t tmpfs none {folder}; touch {folder}/other" for folder in (source / "mounted", source / "css/mounted"))  # fmt: skip
    config = dict(path=str(source), split=split)
    with_other = produce_elsewhere("folder", config, before=mounts)
    without = produce_elsewhere("folder", {**config, "one_file_system": True}, before=mounts)
    names = [
        {name for archive, content in each.contents.items() if archive.endswith(".tar") for name in members(content)}
        for each in (with_other, without)
    ]
    assert with_other.failures == without.failures == {}
    assert names[0] - names[1] == {"www/css/mounted/other", "www/mounted/other"}
    assert names[1] - names[0] == set()


def test_attributes_and_access_lists_are_kept(source: Path, scratch: Path) -> None:
    try:
        os.setxattr(source / "index.html", "user.colour", b"bl\0ue\xff")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    subprocess.run(["setfacl", "-m", "u:daemon:r", source / "index.html"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:daemon:rx", source / "css"], check=True)
    produced = produce("folder", dict(path=str(source)), scratch)
    found = members(archive_of(produced))
    header = {
        key.encode("utf-8", "surrogateescape"): value for key, value in found["www/index.html"].pax_headers.items()
    }
    assert b"SCHILY.xattr.user.colour" in header
    assert "user:daemon:r--" in header[b"SCHILY.acl.access"]
    assert "user:daemon:r-x" in found["www/css"].pax_headers["SCHILY.acl.default"]
    assert {line.name for line in listed(produced.contents["www.contents"])} == set(found)


def test_the_list_of_contents_tells_what_the_archive_holds(source: Path, scratch: Path) -> None:
    (source / "link").symlink_to("index.html")
    os.link(source / "index.html", source / "hard")
    os.mkfifo(source / "fifo")
    os.utime(source / "index.html", ns=(1_000_000_000_123_456_789, 1_000_000_000_123_456_789))
    os.utime(source / "css", (-86400, -86400))
    produced = produce("folder", dict(path=str(source)), scratch)
    found = members(archive_of(produced))
    lines = {line.name: line for line in listed(produced.contents["www.contents"])}
    assert lines.keys() == found.keys()
    kinds = {
        tarfile.REGTYPE: "-",
        tarfile.DIRTYPE: "d",
        tarfile.SYMTYPE: "l",
        tarfile.LNKTYPE: "h",
        tarfile.FIFOTYPE: "p",
    }
    for name, member in found.items():
        assert lines[name].type == kinds[member.type]
        assert lines[name].size == (member.size if member.isreg() else 0)
        assert lines[name].modified.timestamp() == int(member.mtime // 1)


@pytest.mark.slow
def test_a_folder_of_fifty_thousand_files_takes_little_memory(tmp_path: Path) -> None:
    """G33"""
    (tmp_path / "www").mkdir()
    top = os.open(tmp_path / "www", os.O_RDONLY)
    for number in range(50_000):
        os.close(os.open(f"{number:06}", os.O_WRONLY | os.O_CREAT, dir_fd=top))
    os.close(top)
    few = produce_elsewhere("folder", dict(path=str(fill(tmp_path / "few", "one"))), keep=False)
    many = produce_elsewhere("folder", dict(path=str(tmp_path / "www")), keep=False)
    assert many.failures == {}
    assert many.peak - few.peak < 10_000_000
    options = options_of("folder", dict(path=str(tmp_path / "www")), tmp_path)
    artefacts = iter(profile.run(options, tmp_path))
    with next(artefacts).source as stream:
        while stream.read(BLOCK):
            pass
    with next(artefacts).source as stream:
        assert sum(1 for _ in read_listing(stream)) == 50_001  # type: ignore[arg-type]


# Split


def names_of(produced: Produced) -> dict[str, list[str]]:
    """Give the members of each archive."""
    assert produced.failures == {}
    return {name: sorted(members(content)) for name, content in produced.contents.items() if name.endswith(".tar")}


def test_split_makes_an_archive_of_each_subfolder_and_one_of_the_files_beside_them(source: Path, scratch: Path) -> None:
    fill(source, "images/logo.png", "robots.txt", ".hidden/x")
    (source / "current").symlink_to("css")
    os.mkfifo(source / "fifo")
    produced = produce("folder", dict(path=str(source), split=True), scratch)
    assert names_of(produced) == {
        ".hidden.tar": ["www/.hidden", "www/.hidden/x"],
        "css.tar": ["www/css", "www/css/deep", "www/css/deep/print.css", "www/css/site.css"],
        "images.tar": ["www/images", "www/images/logo.png"],
        "_files.tar": ["www", "www/current", "www/fifo", "www/index.html", "www/robots.txt"],
    }
    assert produced.contents.keys() == {
        f"{name}{suffix}" for name in (".hidden", "css", "images", "_files") for suffix in (".tar", ".contents")
    }


def test_split_of_several_folders_puts_their_names_before(tmp_path: Path, source: Path, scratch: Path) -> None:
    fill(tmp_path / "mail", "css/one")
    produced = produce("folder", dict(path=[str(source), str(tmp_path / "mail")], split=True), scratch)
    assert names_of(produced).keys() == {"www/css.tar", "www/_files.tar", "mail/css.tar", "mail/_files.tar"}


def test_an_excluded_subfolder_makes_no_archive(source: Path, scratch: Path) -> None:
    fill(source, "images/logo.png", "skip.me", "css/images/x")
    for pattern in ("images", "images/", f"{source}/images", "im*", "**/images", "./images"):
        produced = produce("folder", dict(path=str(source), split=True, exclude=[pattern, "skip.me"]), scratch)
        assert produced.contents.keys() == {"css.tar", "css.contents", "_files.tar", "_files.contents"}, pattern
        assert "www/skip.me" not in names_of(produced)["_files.tar"]
    assert "www/css/images/x" in names_of(produced)["css.tar"]


def test_split_of_a_folder_without_subfolders_makes_one_archive(tmp_path: Path, scratch: Path) -> None:
    fill(tmp_path / "www", "a", "b")
    produced = produce("folder", dict(path=str(tmp_path / "www"), split=True), scratch)
    assert names_of(produced) == {"_files.tar": ["www", "www/a", "www/b"]}


def test_a_subfolder_with_the_name_of_the_archive_beside_it_is_told_from_it(tmp_path: Path, source: Path) -> None:
    """G34"""
    fill(source, "_files/inside")
    ran = run_entry(tmp_path, "folder", dict(path="www", split=True))
    assert ran.messages == []
    together = {name for archive in ran.contents if archive.endswith(".tar") for name in members(ran.contents[archive])}
    assert {"www/_files/inside", "www/index.html", "www/css/site.css"} <= together


def test_a_list_of_contents_is_made_only_for_an_archive_that_was_read(source: Path, scratch: Path) -> None:
    options = options_of("folder", dict(path=str(source), split=True), scratch)
    names = [artefact.name for artefact in profile.run(options, scratch)]
    assert names == ["css.tar", "_files.tar"]


# Exclude

TREE = (
    "a", "b", "ab", "a.tmp", ".hidden", "cache/x", "cache/cache/y", "sub/cache/z", "sub/a", "sub/deep/a", "sub/deep/b.tmp",
    "sub/deep/er/a.tmp", "x[1]", "sub/x[1]", "star*", "sub/star*", "back\\slash", "new\nline", "sub/new\nline", "\xfc.tmp",
    "sub/\xfc", "a b", "-dash", "sub/-dash", "tmp/", "tmp/a/b/c", "A", "sub/A.TMP", "a!b", "a^b", "a-b", "]", "sub/b",
)  # fmt: skip
ROOTS = ("www", "w[w] *?\\d")


@pytest.fixture(scope="module", params=ROOTS)
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("tree") / str(request.param), *TREE)


def kept_by_oracle(root: Path, patterns: Sequence[str]) -> set[str]:
    """Walk a tree and leave out what the patterns say, with nothing of tar or of the profile."""
    wanted = []
    for pattern in patterns:
        if pattern.startswith(f"{root}/"):
            wanted.append(expression("/" + pattern[len(str(root)) + 1 :]))
        elif not pattern.startswith("/"):
            wanted.append(expression(pattern))
    kept = {root.name}
    for folder, folders, files in os.walk(root):
        below = os.path.relpath(folder, root)
        for name in (*folders, *files):
            path = name if below == "." else f"{below}/{name}"
            if not any(one.match(path) for one in wanted):
                kept.add(f"{root.name}/{path}")
        folders[:] = [name for name in folders if f"{root.name}/{name if below == '.' else f'{below}/{name}'}" in kept]
    return kept


def assert_left_out(archive: bytes, root: Path, patterns: Sequence[str]) -> None:
    """See that an archive lacks what the patterns mean, and nothing else.

    Where a character of a name takes several bytes, glibc's fnmatch tries the bytes too, so that `??` matches "\xfc".
    """
    found, meant = set(members(archive)), kept_by_oracle(root, patterns)
    if any(len(re.findall(r"\?|\[.", pattern)) > 1 for pattern in patterns):
        found, meant = set(filter(str.isascii, found)), set(filter(str.isascii, meant))
    assert found == meant


PATTERNS = (
    "a", "*.tmp", "cache", "cache/", "cache/*", "cache/**", "**/cache", "**/cache/*", "sub/cache", "sub/*", "sub/*/a", "sub/**/a",
    "sub/**", "*/cache", "*/a", "**/a", "**/deep/a", "deep/a", "sub/deep", "x[1]", "x[[]1]", "x\\[1]", "star*", "star\\*",
    "back\\slash", "back\\\\slash", "?", "??", "a?b", "[ab]", "[!a]", "[!a-z]", "[^a]", "sub[!a]a", "a[-!^]b", "[]]",
    "*", "*/*", "*/*/*", ".*", "-*", "\xfc*", "new\nline", "*\n*", "tmp", "/nowhere", "ROOT/a", "ROOT/cache", "ROOT/*.tmp",
    "ROOT/sub/**", "ROOT/**/a", "ROOT/sub/deep/", "ROOT/?", "ROOT/*", "ROOT/**", "a/", "sub/deep/er", "s*/d*/e*", "A",
    "sub/star\\*", "**/*.tmp", "tmp/**/c", "tmp/a/**", "**/b/c", "su**a", "**a", "sub/**er", "[a", "a[", "\\a", "*[*]",
)  # fmt: skip


def accepted(root: Path, patterns: Sequence[str]) -> dict[str, Any] | None:
    config = dict(path=str(root), exclude=list(patterns))
    try:
        options_of("folder", config, root)
    except ValidationError:
        return None
    return config


@pytest.mark.parametrize("pattern", PATTERNS)
def test_exclude_leaves_out_what_the_pattern_means(tree: Path, tmp_path: Path, pattern: str) -> None:
    pattern = pattern.replace("ROOT", str(tree))
    config = accepted(tree, [pattern])
    if config is None:
        meant = kept_by_oracle(tree, [pattern])
        is_hard = "**" in pattern and (any(c in pattern for c in "?[") or "*" in pattern.replace("**", ""))
        is_root = "/" not in pattern.removeprefix("**/") and expression(pattern).match(tree.name)
        assert is_hard or is_root or pattern == "/nowhere", f"{pattern!r} is refused, and leaves {len(meant)}"
        return
    produced = produce("folder", config, tmp_path)
    assert_left_out(archive_of(produced, f"{tree.name}.tar"), tree, [pattern])


def test_several_patterns_add_up(tree: Path, tmp_path: Path) -> None:
    patterns = ["cache", "*.tmp", f"{tree}/sub/deep", "sub/**/b", "tmp/a/**", "sub/?"]
    produced = produce("folder", dict(path=str(tree), exclude=patterns), tmp_path)
    assert_left_out(archive_of(produced, f"{tree.name}.tar"), tree, patterns)


_word = st.sampled_from(
    ["a", "b", "ab", "sub", "deep", "cache", "tmp", ".tmp", "x", "[1]", "*", "?", "[ab]", "[!b]", "\xfc", "\\*", "-"]
)
_part = st.lists(_word, min_size=1, max_size=3).map("".join) | st.just("**")
_pattern = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "", "", "ROOT/", "**/", "*/", "sub/"]),
    st.lists(_part, min_size=1, max_size=4),
    st.sampled_from(["", "", "", "/", "/**", "/*"]),
)


@pytest.fixture(scope="module")
def plain_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("plain") / "www", *TREE)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(patterns=st.lists(_pattern, min_size=1, max_size=3))
def test_exclude_means_the_same_as_a_walk_in_python(plain_tree: Path, patterns: list[str]) -> None:
    patterns = [pattern.replace("ROOT", str(plain_tree)) for pattern in patterns]
    config = accepted(plain_tree, patterns)
    if config is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        produced = produce("folder", config, Path(scratch))
    assert_left_out(archive_of(produced), plain_tree, patterns)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(exclude=["/etc/cache"]), "pattern '/etc/cache' matches nothing below /srv/www"),
        (dict(exclude=["/srv/wwww/cache"]), "matches nothing below /srv/www"),
        (dict(exclude=["/srv/www"]), "matches nothing below /srv/www"),
        (dict(exclude=["/srv/www/"]), "matches nothing below /srv/www"),
        (dict(exclude=["/"]), "matches nothing below /srv/www"),
        (dict(exclude=[""]), "matches nothing below /srv/www"),
        (dict(may_change=["/srv/log/*"]), "pattern '/srv/log/*' matches nothing below /srv/www"),
        (dict(exclude=["w*"]), "pattern 'w*' also matches the folder /srv/www itself"),
        (dict(exclude=["**"]), "pattern '**' also matches the folder /srv/www itself"),
        (dict(exclude=["sub/**/*.tmp"]), "has ** between other wildcards, which tar cannot do; write it as several"),
        (dict(exclude=["../other"]), "matches nothing below /srv/www"),
        (dict(exclude=["sub/../../other"]), "matches nothing below /srv/www"),
        (dict(exclude="*.tmp"), "list"),
        (dict(path=[]), "names no folder"),
        (dict(path=["/srv/www", "/home/www"]), "has two folders of the same name; make an entry for each"),
        (dict(path=["/", "/srv/root"]), "has two folders of the same name; make an entry for each"),
        (dict(path="/srv/www/.."), "name the folder"),
        (dict(unreadable="skip"), "'fail' or 'warn'"),
        (dict(program=[]), "at least 1 item"),
        (dict(program="tar"), "list"),
        (dict(exclude_if_present=["a/b"]), "name"),
        (dict(exclude_if_present=[""]), "name"),
    ],
)
def test_what_cannot_be_meant_is_a_config_error(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    entry = dict(name="it", profile="folder", config={"path": "/srv/www", **config})
    problems = problems_of(tmp_path, config_text(generators=repr([entry])))
    assert len(problems) == 1, problems
    assert problems[0].startswith("GENERATORS[0] 'it' (folder): config")
    assert message in problems[0]


def test_a_pattern_may_lie_below_any_of_several_folders(tmp_path: Path, source: Path, scratch: Path) -> None:
    fill(tmp_path / "mail", "css/one", "two")
    config = dict(path=[str(source), str(tmp_path / "mail")], exclude=[f"{tmp_path}/mail/css"])
    produced = produce("folder", config, scratch)
    assert names_of(produced)["mail.tar"] == ["mail", "mail/two"]
    assert "www/css/site.css" in names_of(produced)["www.tar"]


def test_exclude_caches_leaves_out_what_is_marked_as_a_cache(source: Path, scratch: Path) -> None:
    fill(source, "css/cached", "not/CACHEDIR.TAG", "not/x")
    (source / "css" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert "www/css/cached" in names_of(produce("folder", dict(path=str(source)), scratch))["www.tar"]
    produced = produce("folder", dict(path=str(source), exclude_caches=True), scratch)
    assert names_of(produced)["www.tar"] == [
        "www", "www/css", "www/css/CACHEDIR.TAG", "www/index.html", "www/not", "www/not/CACHEDIR.TAG", "www/not/x",
    ]  # fmt: skip


def test_exclude_if_present_leaves_out_folders_with_such_a_file(source: Path, scratch: Path) -> None:
    fill(source, "css/.nobackup", "other/.skip", "other/x", "third/x")
    config = dict(path=str(source), exclude_if_present=[".nobackup", ".skip"])
    names = names_of(produce("folder", config, scratch))["www.tar"]
    assert names == [
        "www", "www/css", "www/css/.nobackup", "www/index.html", "www/other", "www/other/.skip", "www/third", "www/third/x",
    ]  # fmt: skip


# Check


def notes_of(config: dict[str, Any], folder: Path) -> list[str]:
    return list(profile.check(options_of("folder", config, folder)))


def test_check_says_what_each_pattern_matches(source: Path, scratch: Path) -> None:
    fill(source, *(f"tmp/{number}.tmp" for number in range(8)))
    patterns = ["*.css", "tmp/*", f"{source}/index.html", "nothing", "css"]
    notes = notes_of(dict(path=str(source), exclude=patterns), scratch)
    assert len(notes) == 5
    said = dict(zip(patterns, notes, strict=True))
    assert "matches" in said["*.css"]
    assert {"www/css/site.css", "www/css/deep/print.css"} <= set(said["*.css"].replace(",", "").split())
    assert said["tmp/*"].endswith("and 3 more") or "and 3 more" in said["tmp/*"]
    assert "matches www/index.html" in said[f"{source}/index.html"]
    assert "matches nothing" in said["nothing"]
    assert "www/css" in said["css"]


def test_check_of_a_split_folder_says_each_pattern_once(source: Path, scratch: Path) -> None:
    fill(source, *(f"sub{number}/x.tmp" for number in range(30)))
    notes = notes_of(dict(path=str(source), split=True, exclude=["*.tmp"]), scratch)
    assert len(notes) == 1
    assert "and 25 more" in notes[0]


@pytest.mark.parametrize(
    ("mark", "server"),
    [("PG_VERSION", "PostgreSQL"), ("ibdata1", "MySQL or MariaDB"), ("WiredTiger", "MongoDB")],
)
def test_check_points_at_the_data_folder_of_a_database(source: Path, scratch: Path, mark: str, server: str) -> None:
    fill(source, f"lib/data/{mark}", "lib/data/base/1")
    (note,) = notes_of(dict(path=str(source)), scratch)
    assert note.startswith(f"{source / 'lib' / 'data'} is a data folder of {server}")
    assert "dump the databases" in note
    assert notes_of(dict(path=str(source), split=True), scratch) == [note]


@pytest.mark.parametrize("pattern", ["data", "lib/data", "ROOT/lib", "lib/data/*", "lib/**"])
def test_check_is_silent_about_a_database_that_is_excluded(source: Path, scratch: Path, pattern: str) -> None:
    fill(source, "lib/data/PG_VERSION")
    pattern = pattern.replace("ROOT", str(source))
    notes = notes_of(dict(path=str(source), exclude=[pattern]), scratch)
    assert not any("data folder" in note for note in notes), notes


def test_check_reads_no_file(source: Path, scratch: Path) -> None:
    with (source / "huge").open("wb") as file:
        file.truncate(2**40)
    os.mkfifo(source / "fifo")
    start = time.monotonic()
    notes_of(dict(path=str(source), exclude=["*.tmp"]), scratch)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("path", ["nowhere", "fifo", "empty", "link"])
def test_check_finds_what_a_run_would_stumble_over(source: Path, scratch: Path, path: str) -> None:
    fill(source, "empty/")
    os.mkfifo(source / "fifo")
    (source / "link").symlink_to("css")
    with pytest.raises(PickupError, match=path):
        notes_of(dict(path=str(source / path)), scratch)


# The program


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


def test_words_may_stand_before_tar(tmp_path: Path, source: Path, scratch: Path) -> None:
    wrapper = script(tmp_path / "sudo", f'echo "$@" >> {tmp_path}/calls', "shift", 'exec "$@"')
    config = dict(path=str(source), exclude=["*.tmp"], program=[str(wrapper), "-n", "tar"])
    assert set(members(archive_of(produce("folder", config, scratch)))) >= {"www", "www/index.html", "www/css/site.css"}
    assert "tar --create" in (tmp_path / "calls").read_text()
    assert notes_of(config, scratch) == [f"exclude '*.tmp' matches nothing in {source}"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["echo 'sudo: a password is required' >&2", "exit 1"], "sudo: a password is required"),
        (["echo bsdtar 3.6.2"], "is not GNU tar\nHint: install GNU tar, and name it in `program`"),
    ],
)
def test_a_program_that_is_no_tar_is_named(
    tmp_path: Path, source: Path, scratch: Path, lines: Sequence[str], message: str
) -> None:
    """G1"""
    config = dict(path=str(source), program=[str(script(tmp_path / "sudo", *lines)), "-n", "tar"])
    ran = run_entry(tmp_path, "folder", config)
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert message in ran.messages[0]
    with pytest.raises(PickupError, match=message.split("\n")[0]):
        notes_of(config, scratch)


def test_a_program_that_is_not_there_is_named(tmp_path: Path, source: Path, scratch: Path) -> None:
    """G1"""
    config = dict(path=str(source), program=["gnutar-that-is-not-there"])
    ran = run_entry(tmp_path, "folder", config)
    assert ran.exit_code == ExitCode.FAILED
    assert "program gnutar-that-is-not-there cannot be found in PATH" in ran.messages[0]
    with pytest.raises(PickupError, match="gnutar-that-is-not-there cannot be found"):
        notes_of(config, scratch)


@pytest.mark.usefixtures("source")
def test_a_tar_that_dies_costs_the_archive(tmp_path: Path) -> None:
    """G2, G3"""
    for ending, message in (("exit 3", "ended with status 3"), ("kill -9 $$", "killed by signal 9 (out of memory?)")):
        wrapper = script(
            tmp_path / "tar", 'case "$*" in *--help*) exec tar --help;; esac', "head -c 20000 /dev/zero", ending
        )
        ran = run_entry(tmp_path, "folder", dict(path="www", program=[str(wrapper)]))
        assert ran.exit_code == ExitCode.FAILED
        assert ran.contents == {}
        assert message in ran.messages[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAR_OPTIONS", "--exclude=*.css"),
        ("TAR_OPTIONS", "--version"),
        ("TAR_OPTIONS", "--no-such-option"),
        ("POSIXLY_CORRECT", "1"),
        ("TAPE", "/nonexistent/tape"),
        ("LC_ALL", "de_DE.UTF-8"),
    ],
)
def test_the_environment_has_no_effect_on_tar(
    source: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    subprocess.run(["setfacl", "-m", "u:daemon:r", source / "index.html"], check=True)
    config = dict(path=str(source), exclude=["nothing"])
    before = produce("folder", config, scratch)
    monkeypatch.setenv(name, value)
    after = produce("folder", config, scratch)
    assert after.contents == before.contents
    assert "SCHILY.acl.access" in members(archive_of(after))["www/index.html"].pax_headers
    assert notes_of(config, scratch) == [f"exclude 'nothing' matches nothing in {source}"]


def test_the_root_of_the_file_system_is_archived_as_a_dot(tmp_path: Path, source: Path) -> None:
    config = options_of("folder", dict(path="/", exclude=["/css/deep", "*.tmp", "/proc/*", "index.html"]), tmp_path)
    with profile._archives(Path("/"), config.model_copy(update={"allow_empty": True})) as (archive,):
        assert (archive.name, archive.members) == ("root", ["."])
        assert (os.readlink(archive.place) if archive.place else None) == ("/" if IS_ROOT else None)
    words = profile._tar(config, archive, config.exclude, ["--file=-"])._commands[0]
    assert ("--directory=/" in words) is not IS_ROOT
    fill(source, "a.tmp", "proc/1", "proc/proc/2", "css/proc/3")
    elsewhere = [word for word in words if not word.startswith("--directory=")]
    done = subprocess.run(elsewhere, input=b".\0", capture_output=True, check=True, cwd=source)
    assert sorted(members(done.stdout)) == [".", "./css", "./css/proc", "./css/proc/3", "./css/site.css", "./proc"]


def test_the_members_are_named_after_the_folder_and_not_after_where_it_lies(source: Path, scratch: Path) -> None:
    names = members(archive_of(produce("folder", dict(path=str(source)), scratch)))
    assert all(name == "www" or name.startswith("www/") for name in names)


def test_relative_paths_are_relative_to_the_config(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    ran = run_entry(tmp_path, "folder", dict(path="www"))
    assert ran.exit_code == ExitCode.OK


def test_nothing_of_the_archive_tells_when_it_was_made(source: Path, scratch: Path) -> None:
    first = archive_of(produce("folder", dict(path=str(source)), scratch))
    for path in (source, *source.rglob("*")):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns + 5, status.st_mtime_ns))
    assert archive_of(produce("folder", dict(path=str(source)), scratch)) == first
