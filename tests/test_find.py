"""Find: which files a backup holds, told by its lists of contents alone."""

import os
import re
from pathlib import Path

import pytest

from pickup_core.catalogue import Backup
from pickup_core.errors import DamageError, PickupError
from pickup_core.find import archives, find, listing
from pickup_core.manifest import EntryRecord
from pickup_core.patterns import search_expression
from tests.builders import artefact, python
from tests.end_to_end.trees import HOSTILE_NAMES
from tests.hostile_tars import END, file
from tests.places import store_nights
from tests.stored import archived, file_of, stored_backup


def found(backup: Backup, pattern: str) -> list[str]:
    """Give the names of the files that match, each with its entry."""
    return [f"{entry.name}: {line.name}" for entry, line in find(backup, search_expression(pattern))]


@pytest.fixture
def www(tmp_path: Path) -> Path:
    source = tmp_path / "srv" / "www"
    (source / "css" / "deep").mkdir(parents=True)
    for name in ("index.html", "css/site.css", "css/deep/print.css", "CSS.txt"):
        (source / name).write_text(name)
    (source / "current").symlink_to("css")
    os.link(source / "index.html", source / "start.html")
    return source


@pytest.fixture
def backup(tmp_path: Path, www: Path) -> Backup:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "index.html").write_text("mail")
    artefacts = {
        "folder/web": archived(tmp_path, www),
        "folder/mail": archived(tmp_path, tmp_path / "mail"),
        "command/system": {"index.html": b"an artefact, and no member of an archive"},
    }
    return stored_backup(tmp_path, artefacts)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("index.html", ["web: www/index.html", "mail: mail/index.html"]),
        ("mail/index.html", ["mail: mail/index.html"]),
        ("*.css", ["web: www/css/deep/print.css", "web: www/css/site.css"]),
        ("www/*.css", []),
        ("www/**/*.css", ["web: www/css/deep/print.css", "web: www/css/site.css"]),
        ("css/site.css", ["web: www/css/site.css"]),
        ("deep", ["web: www/css/deep", "web: www/css/deep/print.css"]),
        ("css/deep/", ["web: www/css/deep", "web: www/css/deep/print.css"]),
        ("css", ["web: www/css", "web: www/css/deep", "web: www/css/deep/print.css", "web: www/css/site.css"]),
        ("[cC]*.txt", ["web: www/CSS.txt"]),
        ("current", ["web: www/current"]),
        ("start.html", ["web: www/start.html"]),
        ("ndex.htm", []),
        ("nothing", []),
    ],
)
def test_files_are_found_by_a_pattern(backup: Backup, pattern: str, names: list[str]) -> None:
    assert sorted(found(backup, pattern)) == sorted(names)


def test_a_file_is_found_by_its_absolute_path_on_the_host(backup: Backup, www: Path, tmp_path: Path) -> None:
    assert found(backup, f"{www}/css/site.css") == ["web: www/css/site.css"]
    assert found(backup, f"{tmp_path}/mail/*") == ["mail: mail/index.html"]
    assert found(backup, f"{tmp_path}/srv/www/nothing") == []


def test_a_file_of_a_whole_machine_is_found_by_its_absolute_path(tmp_path: Path) -> None:
    contents = b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 ./etc/hosts\n"
    backup = stored_backup(tmp_path, {"folder/machine": {"root.tar": END, "root.contents": contents}})
    for pattern in ("/etc/hosts", "/etc/*", "/etc", "hosts", "etc/hosts"):
        assert found(backup, pattern) == ["machine: ./etc/hosts"], pattern
    assert found(backup, "/hosts/etc") == []


def test_a_line_tells_size_time_and_type(backup: Backup, www: Path) -> None:
    lines = {line.name: line for _, line in find(backup, search_expression("www"))}
    assert {name: line.type for name, line in lines.items()} == {
        "www": "d", "www/css": "d", "www/css/deep": "d", "www/css/deep/print.css": "-", "www/css/site.css": "-",
        "www/CSS.txt": "-", "www/current": "l", **{name: line.type for name, line in lines.items() if ".html" in name},
    }  # fmt: skip
    assert sorted(lines[f"www/{name}.html"].type for name in ("index", "start")) == ["-", "h"]
    assert lines["www/css/site.css"].size == 12
    assert lines["www/css/site.css"].modified.timestamp() == int((www / "css" / "site.css").stat().st_mtime)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_found_byte_by_byte(tmp_path: Path, name: bytes) -> None:
    """G30"""
    top = os.fsencode(tmp_path / "www")
    os.mkdir(top)
    for each in HOSTILE_NAMES:
        with open(os.path.join(top, each), "wb"):
            pass
    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, tmp_path / "www")})
    quoted = re.sub(r"([*?\[\\])", r"\\\1", os.fsdecode(name))
    (line,) = [line for _, line in find(backup, search_expression(f"www/{quoted}"))]
    assert os.fsencode(line.name) == b"www/" + name


def test_what_an_archive_without_a_list_holds_is_not_known(tmp_path: Path) -> None:
    backup = stored_backup(
        tmp_path, {"command/mine": {"mine.tar": file(b"inside") + END, "mine.contents.txt": b"inside\n"}}
    )
    assert found(backup, "inside") == []


def test_an_archive_and_its_list_belong_together_by_their_names() -> None:
    names = ["a.tar", "a.contents", "b.tar", "c.contents", "d/e.tar", "d/e.contents", "f.contents.tar"]
    entry = EntryRecord(
        "web", "folder", "ok", tuple(artefact(f"folder/web/{n}", name=name) for n, name in enumerate(names))
    )
    pairs = [(archive.name, contents and contents.name) for archive, contents in archives(entry)]
    assert pairs == [("a.tar", "a.contents"), ("b.tar", None), ("d/e.tar", "d/e.contents"), ("f.contents.tar", None)]


def test_an_entry_that_failed_is_searched_too(tmp_path: Path) -> None:
    from tests.builders import MemoryStore

    store = MemoryStore()
    nights = store_nights(store, tmp_path, 1, contents={"folder/web": b"x"}, statuses={"folder/web": "failed"})
    from tests.stored import backup_at

    assert backup_at(store).manifest.entries[0].status == "failed"
    assert nights
    assert found(backup_at(store), "*") == []


@pytest.mark.parametrize("method", ["zstd", "gzip", "none"])
def test_lists_are_read_in_every_compression(tmp_path: Path, www: Path, method: str) -> None:
    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, www)}, method)
    assert found(backup, "site.css") == ["web: www/css/site.css"]


@pytest.mark.parametrize("method", ["zstd", "gzip"])
@pytest.mark.parametrize(("how", "message"), [("cut", "cannot be uncompressed"), ("changed", "cannot be uncompressed"), ("missing", "is missing")])  # fmt: skip
def test_a_list_that_is_damaged_is_named(tmp_path: Path, www: Path, method: str, how: str, message: str) -> None:
    """V5"""
    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, www)}, method)
    stored = file_of(backup, "folder/web/www.contents" + {"zstd": ".zst", "gzip": ".gz"}[method])
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 0xFF
    if how == "missing":
        stored.unlink()
    else:
        stored.write_bytes(content if how == "changed" else content[: len(content) // 2])
    with pytest.raises(DamageError, match=rf"{backup.folder}/folder/web/www\.contents\.\w+ {message}"):
        found(backup, "site.css")


def test_a_list_of_a_later_version_is_named(tmp_path: Path) -> None:
    backup = stored_backup(tmp_path, {"folder/web": {"a.tar": END, "a.contents": b"x"}}, "none", compression="lzma2")
    with pytest.raises(PickupError, match="compression 'lzma2' is not known here"):
        found(backup, "x")


def test_a_long_list_is_read_in_pieces(tmp_path: Path) -> None:
    line = b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 www/%06d\n"
    contents = b"".join(line % number for number in range(30_000)).removesuffix(b"\n")
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": END, "www.contents": contents}})
    ((_, contents_record),) = archives(backup.manifest.entries[0])
    assert contents_record is not None
    assert [line.name for line in listing(backup, contents_record)] == [f"www/{number:06}" for number in range(30_000)]
    assert found(backup, "www/029999") == ["web: www/029999"]


LIST_WITHOUT_LINES = """
import resource, sys
from pathlib import Path
from pickup_core.errors import DamageError
from pickup_core.find import find
from pickup_core.patterns import search_expression
from target_profiles.folder import Config, Target
from tests.stored import backup_at
backup = backup_at(Target(Config(path=Path(sys.argv[1]))))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(find(backup, search_expression("x")))
except DamageError as error:
    print(str(error))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_list_whose_line_does_not_end_is_damaged_and_takes_little_memory(tmp_path: Path) -> None:
    """V7: 300 MB of zeros, in 10 KB."""
    stored_backup(tmp_path, {"folder/web": {"www.tar": END, "www.contents": bytes(300_000_000)}})
    done = python(LIST_WITHOUT_LINES, tmp_path / "backups")
    message, mebibytes = done.stdout.splitlines()
    assert message.endswith("/folder/web/www.contents.zst has a line of more than 655360 bytes"), done.stderr
    assert int(mebibytes) < 40


@pytest.mark.parametrize(("size", "how"), [(1, "larger"), (1_000, "smaller")])
def test_a_list_of_another_size_than_its_manifest_says_is_damaged(tmp_path: Path, size: int, how: str) -> None:
    """V7"""
    artefacts = {"folder/web": {"www.tar": END, "www.contents": b"-rw-r--r-- a/a 1 2026-11-23 18:03:08 x\n" * 20}}
    backup = stored_backup(tmp_path, artefacts, uncompressed_size=size)
    with pytest.raises(DamageError, match=rf"folder/web/www\.contents\.zst is {how} than its manifest says"):
        found(backup, "nothing")


def test_a_list_with_a_number_that_is_none_is_searched(tmp_path: Path) -> None:
    """V7"""
    contents = b"-rw-r--r-- a/a 1 2026-13-45 00:00:00 x\n-rw-r--r-- a/a 1 2026-11-23 00:00:00 x\n"
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": END, "www.contents": contents}})
    assert found(backup, "x") == ["web: x"]
