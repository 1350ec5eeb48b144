"""The manifest: what a backup contains. Written last, it is what makes a backup finished.

The file is JSON in UTF-8. Its last member, on a line of its own, is the SHA-256 of all bytes before that line. Without
such a line the file is torn and the backup unfinished; where it is wrong, the backup is damaged. This module reads and
writes nothing: it turns bytes into a `Manifest` and back.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple

from pickup_core.errors import DamageError, PickupError

FORMAT = (1, 0)
_LARGEST = 2**63 - 1  # no file system has a larger file
LONGEST = 64 * 1024 * 1024
"""No manifest of more bytes is read."""

_ID = re.compile(r"(\d{4})-(\d{2})-(\d{2})T(\d{2})(\d{2})(\d{2})Z", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # as none has that a config names
_SHA256 = re.compile("[0-9a-f]{64}")
_START = b"{\n"
_LAST_MEMBER = b'\n "sha256": "'
_SAFE_PATH = re.compile(r"(?:[A-Za-z0-9_=][A-Za-z0-9._=~-]{0,254}/)*[A-Za-z0-9_=][A-Za-z0-9._=~-]{0,254}")


class UnfinishedError(Exception):
    """These bytes are the beginning of a manifest, or nothing that became one."""


class LaterFormatError(PickupError):
    """A manifest was written by a later version of Pickup, in a format that this one does not know."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a backup: its path in the backup's folder, its size in bytes, its SHA-256 in hex digits."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class StoredArtefact(StoredFile):
    """An artefact as it is stored: the name that its generator gave it, and how it was compressed."""

    name: str
    uncompressed_size: int
    compression: str
    encryption: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    """What is missing from it, in sentences; none where it is whole."""


@dataclass(frozen=True)
class EntryRecord:
    """What became of one generator entry: `status` is `ok`, `failed` or `skipped` (not asked for).

    A failed entry may have artefacts: those that went well, and those with losses.
    """

    name: str
    profile: str
    status: str
    artefacts: tuple[StoredArtefact, ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The entry as it is written in reports and retention: `postgres/main`."""
        return f"{self.profile}/{self.name}"


class Summary(NamedTuple):
    """What of a manifest tells which backups there are, and which of them are kept. `size` is in bytes; `good` and
    `lossy` are the labels of the entries that went well, and of those that failed but have artefacts.
    """

    host: str
    machine: str
    size: int
    good: tuple[str, ...]
    lossy: tuple[str, ...]
    artefacts: tuple[str, ...]
    """Their paths in the backup's folder."""
    keys: tuple[str, ...]
    """The public keys to which they are encrypted, each with its comment."""


@dataclass(frozen=True)
class Manifest:
    """What a backup contains, and how it came to be. Times are aware and UTC; `machine` is a digest of the machine
    id.
    """

    pickup: str
    job: str
    host: str
    machine: str
    id: str
    started: datetime
    finished: datetime
    only: tuple[str, ...]
    entries: tuple[EntryRecord, ...]
    others: tuple[StoredFile, ...]
    """The files beside the artefacts: instructions, checksums, the config."""
    format: tuple[int, int] = FORMAT

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every file in the backup's folder but the manifest's own copy."""
        return (*(artefact for entry in self.entries for artefact in entry.artefacts), *self.others)

    @property
    def keys(self) -> tuple[str, ...]:
        """The public keys to which its artefacts are encrypted, each with its comment."""
        return tuple(
            dict.fromkeys(key for entry in self.entries for each in entry.artefacts for key in each.encryption)
        )

    @property
    def summary(self) -> Summary:
        return Summary(
            self.host,
            self.machine,
            self.size,
            tuple(entry.label for entry in self.entries if entry.status == "ok"),
            tuple(entry.label for entry in self.entries if entry.status == "failed" and entry.artefacts),
            tuple(artefact.path for entry in self.entries for artefact in entry.artefacts),
            self.keys,
        )

    @property
    def is_complete(self) -> bool:
        return all(entry.status == "ok" for entry in self.entries)

    @property
    def missing(self) -> str:
        """Say which entries a partial backup lacks, and why."""
        states = {"failed": "failed", "skipped": "was not asked for"}
        return ", ".join(f"{e.name!r} {states.get(e.status, e.status)}" for e in self.entries if e.status != "ok")

    @property
    def size(self) -> int:
        """The sum of the sizes of all files, in bytes."""
        return sum(file.size for file in self.files)


def backup_id(moment: datetime) -> str:
    """Give the name of a backup that was started at this moment."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H%M%SZ")


def started_at(name: str) -> datetime | None:
    """Give the moment that a backup's name tells, or None for any other text, and for a year that no clock shows."""
    found = _ID.fullmatch(name)
    if not found:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())  # ten times as fast as strptime
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    return moment if _FIRST_YEAR <= year <= _LAST_YEAR else None


def encode(manifest: Manifest) -> bytes:
    """Give the bytes of a manifest file."""
    head = json.dumps(asdict(manifest), indent=1, default=lambda moment: moment.isoformat()).encode()
    body = head.removesuffix(b"\n}") + b",\n"
    return body + f' "sha256": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def decode(data: bytes) -> Manifest:
    """Give the manifest that a file holds.

    Raises `UnfinishedError` where the file was not written to its end, `LaterFormatError` where its major version is
    not ours, `DamageError` where it was changed or holds what no Pickup would write. Members that this version does not
    know are passed over, so that it reads later minor versions.
    """
    _check_whole(data)
    try:
        members = json.loads(data, object_pairs_hook=_without_duplicates)
        if _number(members["format"][0]) > FORMAT[0]:
            what = f"the manifest has format {members['format']}, and this Pickup reads {list(FORMAT)}"
            raise LaterFormatError(what, hint="use the version of Pickup that wrote it")
        manifest = _manifest(members)
        _check_paths(manifest.files)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise DamageError(f"the manifest does not have the shape of one: {error}") from None
    return manifest


def _check_whole(data: bytes) -> None:
    """Raise `UnfinishedError` for the beginning of a manifest, and `DamageError` for what no interruption leaves: that
    must not be taken for a backup that was never finished, and so be deleted.
    """
    body, has_last_member, end = data.partition(_LAST_MEMBER)
    expected = hashlib.sha256(body + b"\n").hexdigest().encode() + b'"\n}\n'
    if has_last_member and end == expected:
        return
    is_cut_off = expected.startswith(end) if has_last_member else b"\n}" not in data
    if is_cut_off and data.startswith(_START[: len(data)]):
        raise UnfinishedError("the manifest was not written to its end")
    raise DamageError("the manifest's own checksum is wrong")


def _manifest(members: dict[str, Any]) -> Manifest:
    return Manifest(
        **{name: _line(members[name]) for name in ("pickup", "job", "host", "machine", "id")},
        started=_moment(members["started"]),
        finished=_moment(members["finished"]),
        only=_texts(members["only"]),
        entries=tuple(_entry(entry) for entry in members["entries"]),
        others=tuple(StoredFile(**_file(file)) for file in members["others"]),
        format=(_number(members["format"][0]), _number(members["format"][1])),
    )


def _entry(members: dict[str, Any]) -> EntryRecord:
    return EntryRecord(
        **{name: _line(members[name]) for name in ("name", "profile", "status")},
        artefacts=tuple(
            StoredArtefact(
                **_file(artefact),
                name=_text(artefact["name"]),
                uncompressed_size=_number(artefact["uncompressed_size"]),
                compression=_line(artefact["compression"]),
                encryption=tuple(map(_line, _texts(artefact["encryption"]))),
                losses=_texts(artefact["losses"]),
            )
            for artefact in members["artefacts"]
        ),
        failures=_texts(members["failures"]),
        warnings=_texts(members["warnings"]),
    )


def _file(members: dict[str, Any]) -> dict[str, Any]:
    digest = _text(members["sha256"])
    if not _SHA256.fullmatch(digest):
        raise ValueError("a sha256 is not one")
    return {"path": _text(members["path"]), "size": _number(members["size"]), "sha256": digest}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _line(value: object) -> str:
    """Give a text that stands in messages as it is: with a line end in it, it could forge others."""
    text = _text(value)
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} has control characters")
    return text


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"expected a list, got {type(values).__name__}")
    return tuple(_text(value) for value in values)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise TypeError("expected a number, and none that is too large")
    return value


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError("a time has no zone")
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError("a time is none that a clock shows")
    return moment.astimezone(timezone.utc)


def _check_paths(files: Iterable[StoredFile]) -> None:
    seen = set()
    for file in files:
        if not _SAFE_PATH.fullmatch(file.path) or file.path in seen:
            raise ValueError(f"path {file.path!r} stands twice, or is none that Pickup writes")
        seen.add(file.path)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members
