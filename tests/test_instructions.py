"""RESTORE.txt and SHA256SUMS: what they say is done here, by a shell that knows nothing of Pickup."""

import hashlib
import re
import shutil
import stat
import subprocess
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from pickup_core.instructions import checksums, restore_text
from pickup_core.manifest import StoredArtefact, StoredFile
from pickup_core.streams import Compressed, Compression, compression_suffix, transfer
from tests.builders import artefact, entry, manifest

needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")


def stored(folder: Path, path: str, content: bytes, method: str) -> StoredArtefact:
    """Store an artefact as a run does, and give its record."""
    done = BytesIO()
    transfer(Compressed(BytesIO(content), Compression.parse(method)), done)
    suffix = compression_suffix(method)
    file = folder / (path + suffix)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(done.getvalue())
    name = path.rpartition("/")[2]
    return artefact(path + suffix, done.getvalue(), name=name, uncompressed_size=len(content), compression=method)


def archive(name: str, content: bytes) -> bytes:
    done = BytesIO()
    with tarfile.open(fileobj=done, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, BytesIO(content))
    return done.getvalue()


def commands_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and not line.lstrip().startswith("#")]


@needs_zstd
def test_a_shell_restores_what_the_text_says(tmp_path: Path) -> None:
    """V16: two entries with artefacts of the same name, and names that were hostile, included."""
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    contents = {
        "command/a/out.txt": (b"of a", "gzip"),
        "command/b/out.txt": (b"of b", "none"),
        "command/b/=2Drf=20=27x=27": (b"odd", "zstd"),
        "folder/www/site.tar": (archive("site/index.html", b"<html>"), "zstd"),
        "folder/www/site.contents": (b"-rw-r--r-- 0/0 6 2026-11-23 03:15:02 site/index.html\n", "zstd"),
    }
    records = {path: stored(backup, path, *content) for path, content in contents.items()}
    entries = [
        entry(name, profile, artefacts=tuple(r for path, r in records.items() if path.startswith(f"{profile}/{name}/")))
        for profile, name in (("command", "a"), ("command", "b"), ("folder", "www"))
    ]
    text = restore_text(manifest(entries=tuple(entries)), {})
    for command in commands_of(text):
        if command.startswith(("pickup ", "sha256sum ")):
            continue
        line, home = command.replace("NAME", "index"), str(tmp_path)
        subprocess.run(["sh", "-euc", line], cwd=backup, env={"PATH": "/usr/bin:/bin", "HOME": home}, check=True)
    assert stat.S_IMODE((restored / "command/a").stat().st_mode) == 0o700
    files = [path for path in restored.rglob("*") if path.is_file()]
    found = {path.relative_to(restored).as_posix(): path.read_bytes() for path in files}
    assert found == {
        "command/a/out.txt": b"of a",
        "command/b/out.txt": b"of b",
        "command/b/=2Drf=20=27x=27": b"odd",
        "folder/www/site/index.html": b"<html>",
    }


def test_sha256sum_reads_the_checksums(tmp_path: Path) -> None:
    """I5, V16."""
    files = []
    for path in ("PICKUP.txt", "command/a/=2Drf", "command/a/out=~0123456789abcdef.txt.zst"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
        files.append(StoredFile(path, len(path), hashlib.sha256(path.encode()).hexdigest()))
    (tmp_path / "SHA256SUMS").write_text(checksums(reversed(files)))
    check = ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=True).stdout == b""
    (tmp_path / "PICKUP.txt").write_bytes(b"changed")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_the_checksums_are_sorted_and_of_every_file() -> None:
    small = manifest()
    lines = checksums(small.files).splitlines()
    assert [line.split("  ")[1] for line in lines] == sorted(file.path for file in small.files)


def test_the_head_tells_job_backup_host_and_state() -> None:
    text = restore_text(manifest(), {})
    assert text.startswith("How to restore backup 2026-11-23T031502Z of web01\n=====")
    assert "Made on web01.example.org by Pickup 1.0.0, started 2026-11-23 03:15:02 UTC." in text
    assert "The backup is complete." in text
    assert len({len(line) for line in text.splitlines()[:2]}) == 1


def test_a_partial_backup_says_so_and_what_failed() -> None:
    """R13."""
    entries = (
        entry(),
        entry("shop", status="failed", failures=("pg_dump ended with status 1:\n  no such table",)),
        entry("web", status="skipped"),
    )
    text = restore_text(manifest(entries=entries), {})
    assert "The backup is PARTIAL. These entries failed or were not asked for: shop, web." in text
    assert "FAILED: pg_dump ended with status 1:\nFAILED:   no such table\n" in text
    assert "web (command)" not in text


@pytest.mark.parametrize(
    ("methods", "programs"),
    [
        (["zstd"], "zstd, sha256sum"),
        (["gzip", "zstd"], "gzip, zstd, sha256sum"),
        (["none"], "sha256sum"),
    ],
)
def test_only_the_programs_that_are_needed_are_named(methods: list[str], programs: str) -> None:
    artefacts = tuple(artefact(f"command/a/{method}", compression=method) for method in methods)
    assert f"with nothing but {programs} (" in restore_text(manifest(entries=(entry(artefacts=artefacts),)), {})
    artefacts += (artefact("folder/web/www.tar"),)
    assert f"with nothing but GNU tar, {programs} (" in restore_text(
        manifest(entries=(entry(artefacts=artefacts),)), {}
    )


def test_the_note_of_a_profile_stands_with_its_entries_alone() -> None:
    entries = (entry(), entry("shop", "sqlite"), entry("off", "sqlite", "failed", failures=("x",)))
    text = restore_text(manifest(entries=entries), {"sqlite": "\n    sqlite3 FILE .dump\n", "folder": "never"})
    assert text.count("    sqlite3 FILE .dump") == 1
    assert text.index("shop (sqlite)") < text.index("sqlite3 FILE") < text.index("off (sqlite)")
    assert "never" not in text


def test_no_line_runs_over_the_edge_of_a_terminal() -> None:
    head = restore_text(replace(manifest(), entries=()), {})
    assert max(map(len, head.splitlines())) <= 120


def test_nothing_in_the_text_is_obeyed_by_a_terminal() -> None:
    """I11: names and messages may come from a server, and the text is shown by `cat`."""
    hostile = "a\x1b]0;owned\x07\x9b31m\r\x00b"
    entries = (
        entry(hostile, status="failed", failures=(f"pg_dump: {hostile}\nsecond line\tof it",)),
        entry("system", hostile, artefacts=(artefact("command/system/out.txt"),)),
    )
    text = restore_text(manifest(entries=entries, host=hostile), {})
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert text.count(r"a\x1b]0;owned\x07\x9b31m\x0d\x00b") == 5
    assert "FAILED: second line\tof it\n" in text
