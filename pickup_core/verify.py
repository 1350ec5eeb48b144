"""Verify: read a backup back and compare it with its manifest; and deep, see that what is in it can be read."""

import tempfile
from pathlib import Path

from pickup_core.artefact import ARCHIVE_SUFFIX
from pickup_core.catalogue import MANIFEST_COPY, Backup, read_small
from pickup_core.errors import DamageError
from pickup_core.manifest import LONGEST, StoredFile, UnfinishedError
from pickup_core.members import Members, check_members
from pickup_core.progress import moving, showing
from pickup_core.restore import opened, uncompressed
from pickup_core.store import BLOCK, Store, walk


def verify(backup: Backup) -> list[str]:
    """Give a sentence for everything in a finished backup that is not as its manifest says; none where all is well.

    Compares size and SHA-256 of every file, finds missing and extra ones, and checks the manifest, its copy, and, on
    the machine that made it, that it is the manifest that was written there. Raises `LaterFormatError` where a later
    version wrote it.
    """
    store = backup.catalogue.store
    try:
        manifest, data = backup.read_manifest()
    except DamageError as error:
        return [error.message]
    except UnfinishedError:
        return [f"{backup.manifest_path}: the manifest is cut off"]
    if not backup.has_folder:
        return [f"{backup.folder} is missing, with all of its files"]
    findings = []
    sizes = dict(walk(store, backup.folder))
    label = f"verifying {backup.catalogue.name} {backup.folder}"
    with showing(label, sum(file.size for file in manifest.files)):
        for file in manifest.files:
            with moving(file.size):
                findings += _compared(store, f"{backup.folder}/{file.path}", sizes.get(file.path), file)
    if MANIFEST_COPY not in sizes:
        findings.append(f"{backup.folder}/{MANIFEST_COPY} is missing")
    elif sizes[MANIFEST_COPY] != len(data) or read_small(store, f"{backup.folder}/{MANIFEST_COPY}", LONGEST) != data:
        findings.append(f"{backup.folder}/{MANIFEST_COPY} differs from the manifest {backup.manifest_path}")
    extras = sorted(sizes.keys() - {file.path for file in manifest.files} - {MANIFEST_COPY})
    return [*findings, *(f"{backup.folder}/{extra} is no part of the backup" for extra in extras)]


def _compared(store: Store, path: str, size: int | None, file: StoredFile) -> list[str]:
    """Give what is wrong with a file, which has this size in the listing, if it is there."""
    if size is None:
        return [f"{path} is missing"]
    if size != file.size:
        return [f"{path} has {size} bytes, not {file.size}"]
    if store.sha256(path) != file.sha256:
        return [f"{path} has changed: its SHA-256 is not that of the manifest"]
    return []


def verify_deep(backup: Backup) -> list[str]:
    """Give a sentence for each artefact that cannot be decrypted, uncompressed or, as an archive, unpacked without
    harm; nothing is kept of what is read.

    Raises `UsageError` where a key is needed that was not given.
    """
    findings = []
    for entry in backup.manifest.entries:
        for artefact in entry.artefacts:
            try:
                with tempfile.TemporaryDirectory(prefix="pickup-verify-", dir="/var/tmp") as spool:
                    file = opened(backup, artefact, Path(spool))
                    shown = showing(f"reading {artefact.path}", artefact.uncompressed_size)
                    with shown, uncompressed(artefact, file) as stream:
                        if artefact.name.endswith(ARCHIVE_SUFFIX):
                            check_members(stream, Members(), [])
                        while stream.read(BLOCK):
                            pass
            except DamageError as error:
                findings.append(f"{backup.folder}/{error.message}")
    return findings
