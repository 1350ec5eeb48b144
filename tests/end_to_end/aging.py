"""Backups of other nights: a real one, copied under another name, with everything in it that tells its time."""

import hashlib
import os
import shutil
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE
from pickup_core.instructions import checksums
from pickup_core.manifest import StoredFile, backup_id, decode, encode, started_at
from pickup_core.publish import mark_text

LAST_NIGHT = datetime(2026, 3, 1, 2, 15, tzinfo=timezone.utc)
"""The newest of the nights that are made up; long past, so that real runs come after it."""


def nights(count: int, hour: int = 2) -> list[datetime]:
    """Give the moments of as many nights, the newest first."""
    return [LAST_NIGHT.replace(hour=hour) - timedelta(days=days) for days in range(count)]


def copied_to(moment: datetime, backup: Path, machine: str | None = None) -> str:
    """Copy a finished backup, whose folder this is, to another time at the same target, and give its name."""
    marker = next(path for path in backup.parent.glob(f"{backup.name}.*json"))
    manifest = decode(marker.read_bytes())
    name = backup_id(moment)
    folder = backup.with_name(name)
    shutil.copytree(backup, folder, copy_function=os.link)
    mark = mark_text(manifest.job, name)
    others = [file for file in manifest.others if file.path not in (MARK_FILE, "SHA256SUMS")]
    others.append(_replaced(folder, MARK_FILE, mark))
    artefacts = [artefact for entry in manifest.entries for artefact in entry.artefacts]
    others.append(_replaced(folder, "SHA256SUMS", checksums([*artefacts, *others]).encode()))
    aged = replace(manifest, id=name, started=moment, finished=moment, others=tuple(others))
    encoded = encode(replace(aged, machine=machine) if machine else aged)
    _replaced(folder, MANIFEST_COPY, encoded)
    _replaced(folder.parent, marker.name.replace(backup.name, name), encoded)
    return name


def moment_of(name: str) -> datetime:
    """Give the moment that a backup's name tells."""
    moment = started_at(name)
    assert moment is not None
    return moment


def _replaced(folder: Path, name: str, data: bytes) -> StoredFile:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())
