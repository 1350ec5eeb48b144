"""Archives: what tar can do, and the lists of contents that it writes."""

import io
import os
import tarfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core.archive import Listed, label_options, read_listing, unescaped
from pickup_core.errors import ProcessError
from tests.end_to_end.trees import HOSTILE_NAMES, fill_with_everything
from tests.stored import archived

IS_ROOT = os.geteuid() == 0


def test_a_tar_that_is_none_is_told_by_its_help(tmp_path: Path) -> None:
    (tmp_path / "tar").write_text("#!/bin/sh\necho a tar of our own\n")
    (tmp_path / "tar").chmod(0o755)
    with pytest.raises(ProcessError, match="is not GNU tar\nHint: install GNU tar"):
        label_options([str(tmp_path / "tar")])
    with pytest.raises(ProcessError, match="cannot be found in PATH"):
        label_options(["a-tar-that-is-not-there"])


# Lists of contents


def listed(*lines: bytes) -> list[Listed]:
    return list(read_listing(iter(line + b"\n" for line in lines)))


def test_a_line_of_a_list_tells_type_size_time_and_name() -> None:
    (line,) = listed(b"-rw-r--r--  root/root        15 2026-11-23 18:19:05.928903006 www/index.html")
    assert line == Listed("-", 15, datetime(2026, 11, 23, 18, 19, 5, tzinfo=timezone.utc), "www/index.html")


@pytest.mark.parametrize(
    ("line", "kind", "name"),
    [
        (b"drwxr-xr-x  root/root         0 2026-11-23 18:03:08.1 www/", "d", "www"),
        (b"-rw-r--r--* root/root         3 2026-11-23 18:03:08.1 www/with attributes", "-", "www/with attributes"),
        (b"-rw-r--r--+ root/root         3 2026-11-23 18:03:08.1 www/with acl", "-", "www/with acl"),
        (b"-rw-r--r--. root/root         3 2026-11-23 18:03:08.1 www/with label", "-", "www/with label"),
        (b"lrwxrwxrwx  root/root         0 2026-11-23 18:03:08.1 www/link -> ../elsewhere", "l", "www/link"),
        (b"hrw-r--r--  root/root         0 2026-11-23 18:03:08.1 www/a link to www/b", "h", "www/a"),
        (b"crw-rw-rw-  root/root       1,3 2026-11-23 18:03:08.1 dev/null", "c", "dev/null"),
        (b"prw-r-----  root/root         0 2026-11-23 18:03:08.1 www/fifo", "p", "www/fifo"),
        (b"-rwsr-Sr-t  1000/1000         0 1969-12-31 23:59:59 www/old", "-", "www/old"),
        (b"-rw-r--r--  CORP\\anna/CORP\\domain users 7 2026-11-23 18:03:08.1 www/of a domain", "-", "www/of a domain"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 www/\\303\\274\\377\\n\\t\\\\ \\e", "-", "www/\xfc\udcff\n\t\\ e"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 www/\xc3\xbc\\377", "-", "www/\xfc\udcff"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1  leading", "-", " leading"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 trailing ", "-", "trailing "),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 a -> b", "-", "a -> b"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 a link to b", "-", "a link to b"),
    ],
)  # fmt: skip
def test_a_line_of_a_list_is_read_whatever_it_holds(line: bytes, kind: str, name: str) -> None:
    (found,) = listed(line)
    assert (found.type, found.name) == (kind, name)


def test_lines_that_are_none_are_passed_over() -> None:
    assert (
        listed(b"", b"garbage", b"  x:  6 user.foo", b"\xff\xfe", b"-rw-r--r-- root/root x 2026-11-23 18:03:08 f") == []
    )


def test_a_list_that_tar_has_made_is_read_to_the_letter(tmp_path: Path) -> None:
    """G30"""
    if IS_ROOT:
        fill_with_everything(tmp_path / "www")
    else:
        (tmp_path / "www").mkdir()
        for name in HOSTILE_NAMES:
            with open(os.path.join(os.fsencode(tmp_path / "www"), name), "wb"):
                pass
    contents = archived(tmp_path, tmp_path / "www")
    with tarfile.open(fileobj=io.BytesIO(contents["www.tar"]), errors="surrogateescape") as archive:
        members: dict[str, Any] = {member.name: member for member in archive}
    lines = {line.name: line for line in read_listing(iter(contents["www.contents"].splitlines(keepends=True)))}
    assert lines.keys() == members.keys()
    for name, member in members.items():
        assert lines[name].size == (member.size if member.isreg() else 0), name
        assert abs(lines[name].modified.timestamp() - member.mtime) < 1, name


def test_escapes_are_undone() -> None:
    assert unescaped(r"a\nb\t\\ \"\303\274\377") == 'a\nb\t\\ "\xfc\udcff'
    assert unescaped("plain") == "plain"
    assert unescaped("\xfc") == "\xfc"
    assert os.fsencode(unescaped(r"\a\b\f\n\r\t\v\177\001")) == b"\a\b\f\n\r\t\v\x7f\x01"


def test_names_in_a_list_can_be_read_by_people(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "M\xfcller.txt").write_text("x")
    contents = archived(tmp_path, tmp_path / "www")["www.contents"]
    assert "www/M\xfcller.txt" in contents.decode()


@pytest.mark.parametrize(
    "line",
    [
        b"-rw-r--r-- a" + b" " * 500_000,
        b"-rw-r--r-- a" + b" 1" * 250_000,
        b"-rw-r--r-- " + b" " * 500_000 + b"a",
        b"-rw-r--r-- a " + b"9" * 500_000,
        b"-rw-r--r-- a 1 2026-11-23 18:03:08." + b"9" * 500_000,
    ],
)
def test_a_line_of_half_a_million_bytes_takes_a_moment(line: bytes) -> None:
    """V7"""
    start = time.monotonic()
    assert listed(line) == []
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("size", "moment"),
    [
        (b"1", b"2026-13-45 00:00:00"),
        (b"1", b"2026-11-23 25:00:00"),
        (b"1", b"0000-01-01 00:00:00"),
        (b"1", b"0001-01-01 00:00:00"),
        (b"1", b"9999-12-31 23:59:59"),
        (b"9" * 400, b"2026-11-23 18:03:08"),
        (b"9" * 5000, b"2026-11-23 18:03:08"),
    ],
)
def test_a_size_or_a_time_that_no_file_has_is_passed_over(size: bytes, moment: bytes) -> None:
    """V7: and what stands after it is read as before."""
    good = b"-rw-r--r-- a/a 1 2026-11-23 18:03:08 good"
    assert [line.name for line in listed(b"-rw-r--r-- a/a %b %b x" % (size, moment), good)] == ["good"]


def test_a_time_that_is_written_too_exactly_takes_nothing_from_the_names_after_it() -> None:
    exact = b"-rw-r--r-- a/a 1 2026-11-23 18:03:08." + b"0" * 100 + b" x"
    assert [line.name for line in listed(exact, b"-rw-r--r-- a/a 1 2026-11-23 18:03:08 good")] == ["good"]


def test_an_owner_may_have_spaces() -> None:
    (line,) = listed(b"-rw-r--r-- MY DOMAIN 5/domain users   7 2026-11-23 18:03:08 a 9 2026-11-23 18:03:08 b")
    assert (line.size, line.name) == (7, "a 9 2026-11-23 18:03:08 b")
