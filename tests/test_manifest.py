"""The manifest: what goes in comes out, and whatever else a file holds is told from it."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pickup_core.errors import DamageError
from pickup_core.manifest import (
    EntryRecord,
    LaterFormatError,
    Manifest,
    StoredArtefact,
    StoredFile,
    UnfinishedError,
    backup_id,
    decode,
    encode,
    started_at,
)
from tests.builders import artefact, entry, manifest, moment

SMALL = manifest()
ENCODED = encode(SMALL)

TEXTS = st.text(st.characters(), max_size=20) | st.binary(max_size=20).map(os.fsdecode)
TUPLES = st.lists(TEXTS, max_size=3).map(tuple)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001
LINES = TEXTS.filter(lambda text: not re.search(r"[\x00-\x1f\x7f]", text))
SIZES = st.integers(0, 2**63 - 1)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
PARTS = st.from_regex(r"[A-Za-z0-9_=][A-Za-z0-9._=~-]{0,9}", fullmatch=True)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
ARTEFACTS = st.builds(StoredArtefact, PATHS, SIZES, DIGESTS, TEXTS, SIZES, LINES, st.lists(LINES, max_size=2).map(tuple),
                      TUPLES)  # fmt: skip
ENTRIES = st.builds(EntryRecord, LINES, LINES, LINES, st.lists(ARTEFACTS, max_size=2).map(tuple), TUPLES, TUPLES)
MANIFESTS = st.builds(
    Manifest, LINES, LINES, LINES, LINES, LINES, MOMENTS, MOMENTS, TUPLES, st.lists(ENTRIES, max_size=3).map(tuple),
    st.lists(st.builds(StoredFile, PATHS, SIZES, DIGESTS), max_size=2).map(tuple),
).filter(lambda made: len({file.path for file in made.files}) == len(made.files))  # fmt: skip


def sealed(text: str) -> bytes:
    """Give JSON as a manifest file whose own checksum is right: what an attacker would write."""
    body = text.rstrip().removesuffix("}").rstrip().encode() + b",\n"
    return body + f' "sha256": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def forged(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Give a small manifest with something changed, and the checksum that fits."""
    members = json.loads(ENCODED)
    del members["sha256"]
    change(members)
    return sealed(json.dumps(members, indent=1))


@given(MANIFESTS)
def test_a_manifest_comes_out_as_it_went_in(original: Manifest) -> None:
    """Names that are no UTF-8 included."""
    assert decode(encode(original)) == original


def test_a_manifest_is_plain_ascii_whatever_the_names_are() -> None:
    """G30: any program can read it."""
    encode(manifest(entries=(entry(artefacts=(artefact(name="\udcff\n€"),)),))).decode("ascii")


def test_the_last_member_is_the_checksum_of_all_before_it() -> None:
    lines = ENCODED.splitlines(keepends=True)
    assert lines[-1] == b"}\n"
    digest = hashlib.sha256(b"".join(lines[:-2])).hexdigest()
    assert lines[-2] == f' "sha256": "{digest}"\n'.encode()
    assert json.loads(ENCODED)["sha256"] == digest


@pytest.mark.parametrize("original", [SMALL, manifest(only=('",\n "sha256": "', "\n}\n"))])
def test_every_beginning_of_a_manifest_is_unfinished(original: Manifest) -> None:
    """R7: an upload that broke off left it, at whatever byte."""
    whole = encode(original)
    assert decode(whole) == original
    for length in range(len(whole)):
        with pytest.raises(UnfinishedError):
            decode(whole[:length])


def test_every_flipped_bit_is_damage() -> None:
    """V1: and none makes a finished backup look like an unfinished one, which prune would clear away."""
    for position in range(len(ENCODED)):
        for bit in range(8):
            changed = bytearray(ENCODED)
            changed[position] ^= 1 << bit
            with pytest.raises(DamageError):
                decode(bytes(changed))


@given(st.binary(min_size=1, max_size=40))
@example(b' "sha256": "')
@example(ENCODED)
def test_whatever_is_appended_is_damage(more: bytes) -> None:
    """V2."""
    with pytest.raises(DamageError):
        decode(ENCODED + more)


@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 40))
def test_a_part_that_is_missing_within_is_damage(start: int, length: int) -> None:
    changed = ENCODED[:start] + ENCODED[start + length :]
    with pytest.raises(UnfinishedError if start + length >= len(ENCODED) else DamageError):
        decode(changed)


@given(st.binary(min_size=2).filter(lambda data: not data.startswith(b"{\n")))
def test_a_foreign_file_is_damage_and_not_unfinished(data: bytes) -> None:
    """R7: what is not known to be ours is not cleared away."""
    with pytest.raises(DamageError):
        decode(data)


PATH = ("entries", 0, "artefacts", 0, "path")


def put(*place: Any) -> Callable[[dict[str, Any]], None]:
    """Give a change that puts the last of these words into the place that the others name."""
    *steps, key, value = place

    def change(members: Any) -> None:
        for step in steps:
            members = members[step]
        members[key] = value

    return change


def drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda members: members.pop(key)


@pytest.mark.parametrize(
    "change",
    [
        *(put(*PATH, path) for path in ("/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", "", ".", "..", "a\\b",
                                        "a b", "a\n", "\0", "é", ".hidden", "-rf", "x" * 256, "PICKUP.txt", None, 5)),
        *(put("entries", 0, "artefacts", 0, "sha256", text) for text in ("", "0" * 63, "G" * 64, "A" * 64, None)),
        *(put("entries", 0, "artefacts", 0, key, value) for key in ("size", "uncompressed_size")
          for value in (-1, 1.5, "1", None, True, [], 2**63, 10**400)),
        *(put("entries", value) for value in (None, 5, "text", {"a": 1}, [None], [[]], [5])),
        *(put("entries", 0, "artefacts", 0, "encryption", value) for value in (None, "age1", [5], {}, ["age1\nx"])),
        *(put(key, value) for key in ("pickup", "job", "host", "machine", "id") for value in (None, 5, [], {}, "a\nb")),
        *(put("entries", 0, key, "a\nERROR: b") for key in ("name", "profile", "status")),
        put("entries", 0, "artefacts", 0, "compression", "a\x1b[2J"),
        *(put("started", value) for value in ("yesterday", "2026-11-23", "2026-11-23T03:15:02", 5, None,
                                              "0001-01-01T00:00:00+10:00",
                                              "0001-01-01T00:00:00+00:00", "9999-12-31T00:00:00+00:00")),
        *(put("only", value) for value in (None, "a", [5])),
        *(put("format", value) for value in (None, [], 1, "1.0", [1], [1, "0"], [True, None], ["2", 0])),
        *(put("entries", 0, "artefacts", 0, "losses", value) for value in (None, "all", [5], {})),
        *(drop(key) for key in asdict(SMALL)),
    ],
)  # fmt: skip
def test_a_hostile_manifest_is_damage(change: Callable[[dict[str, Any]], object]) -> None:
    """R7: though its own checksum is right."""
    with pytest.raises(DamageError):
        decode(forged(change))


def test_a_member_that_stands_twice_is_damage() -> None:
    """R7: readers would not agree on which of the two counts."""
    text = ENCODED.decode().rpartition(',\n "sha256"')[0]
    assert decode(sealed(text + "\n}")) == SMALL
    for twice in ('"job": "other"', '"job": "web01"'):
        with pytest.raises(DamageError, match="a member stands twice"):
            decode(sealed(f"{text},\n {twice}\n}}"))


def test_a_path_that_stands_twice_is_damage() -> None:
    """R7."""
    twice = manifest(entries=(entry(artefacts=(artefact(), artefact())),))
    with pytest.raises(DamageError, match=r"path 'command/system/uname\.txt' stands twice"):
        decode(encode(twice))


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_a_manifest_nested_without_end_is_damage(nested: str) -> None:
    """R7: not a crash."""
    with pytest.raises(DamageError):
        decode(sealed(f'{{\n "more": {nested}\n}}'))


def test_a_number_without_end_is_damage() -> None:
    """R7."""
    with pytest.raises(DamageError):
        decode(sealed(ENCODED.decode().rpartition(',\n "sha256"')[0] + f',\n "more": {"9" * 5000}\n}}'))


def test_a_newer_major_format_is_refused_with_a_hint() -> None:
    with pytest.raises(LaterFormatError) as caught:
        decode(forged(put("format", [2, 0])))
    assert caught.value.message == "the manifest has format [2, 0], and this Pickup reads [1, 0]"
    assert caught.value.hint == "use the version of Pickup that wrote it"


def test_a_newer_minor_format_is_read_with_what_it_adds() -> None:
    def later(members: dict[str, Any]) -> None:
        members["format"] = [1, 7]
        members["mood"] = "good"
        members["entries"][0]["mood"] = members["entries"][0]["artefacts"][0]["mood"] = ["good"]

    assert decode(forged(later)) == replace(SMALL, format=(1, 7))


def test_a_time_in_another_zone_is_taken_as_utc() -> None:
    """R9: days and weeks are counted in UTC."""
    read = decode(forged(put("started", "2026-11-23T04:15:02+01:00")))
    assert read.started == SMALL.started
    assert read.started.tzinfo == timezone.utc


def test_a_backup_is_complete_where_every_entry_went_well() -> None:
    assert manifest().is_complete
    assert not manifest(entries=(entry(), entry("x", status="failed"))).is_complete
    assert not manifest(entries=(entry(), entry("x", status="skipped"))).is_complete


def test_files_are_those_of_the_entries_and_the_others() -> None:
    assert [file.path for file in SMALL.files] == ["command/system/out.txt", "PICKUP.txt"]
    assert SMALL.size == sum(file.size for file in SMALL.files) == 10


def test_a_backup_is_named_by_the_moment_in_utc() -> None:
    """E7, R9."""
    assert backup_id(moment("2026-11-23 03:15:02")) == "2026-11-23T031502Z"
    zone = timezone(timedelta(hours=5, minutes=30))
    assert backup_id(moment("2026-11-23 03:15:02").astimezone(zone)) == "2026-11-23T031502Z"


@given(MOMENTS)
def test_the_name_of_a_backup_tells_its_moment(start: datetime) -> None:
    assert started_at(backup_id(start)) == start.replace(microsecond=0)


def test_names_sort_as_their_moments_do() -> None:
    moments = [moment("2026-01-01") + timedelta(hours=7 * hours) for hours in range(2000)]
    assert sorted(map(backup_id, moments)) == [backup_id(start) for start in moments]


@pytest.mark.parametrize(
    "name",
    ["", "2010-01-01", "2026-13-01T000000Z", "2026-02-30T000000Z", "2026-11-23T240000Z", "2026-11-23T031502",
     "2026-11-23T031502Z ", "2026-11-23T031502Z\n", " 2026-11-23T031502Z", "2026-11-23T031502z", "x2026-11-23T031502Z",
     "2026-11-23T031502Z.json", "\uff12026-11-23T031502Z", "0000-01-01T000000Z", "notes.txt"],
)  # fmt: skip
def test_a_foreign_name_is_no_backup(name: str) -> None:
    """R3."""
    assert started_at(name) is None
