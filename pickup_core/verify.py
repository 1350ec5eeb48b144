"""Verify: read a backup back and compare it with its manifest."""

import hashlib
from collections.abc import Collection

from pickup_core.catalogue import MANIFEST_COPY, Backup, read_small
from pickup_core.errors import DamageError
from pickup_core.manifest import LONGEST, UnfinishedError
from pickup_core.store import walk


def verify(backup: Backup, known_digests: Collection[str] = ()) -> list[str]:
    """Give a sentence for everything in a finished backup that is not as its manifest says; none where all is well.

    Compares size and SHA-256 of every file, finds missing and extra ones, and checks the manifest, its copy, and, where
    the machine that made it is asked, that it is the manifest that was written here (`known_digests`).
    """
    store = backup.catalogue.store
    try:
        manifest = backup.read_manifest()
        data = read_small(store, backup.manifest_path, LONGEST)
    except DamageError as error:
        return [f"{backup.manifest_path}: {error.message}"]
    except UnfinishedError:
        return [f"{backup.manifest_path}: the manifest is cut off"]
    findings = []
    if known_digests and hashlib.sha256(data).hexdigest() not in known_digests:
        findings.append(f"{backup.manifest_path} is not the manifest that this machine wrote")
    sizes = dict(walk(store, backup.folder))
    for file in manifest.files:
        path = f"{backup.folder}/{file.path}"
        if file.path not in sizes:
            findings.append(f"{path} is missing")
        elif sizes[file.path] != file.size:
            findings.append(f"{path} has {sizes[file.path]} bytes, not {file.size}")
        elif store.sha256(path) != file.sha256:
            findings.append(f"{path} has changed: its SHA-256 is not that of the manifest")
    if MANIFEST_COPY not in sizes:
        findings.append(f"{backup.folder}/{MANIFEST_COPY} is missing")
    elif sizes[MANIFEST_COPY] != len(data) or read_small(store, f"{backup.folder}/{MANIFEST_COPY}", LONGEST) != data:
        findings.append(f"{backup.folder}/{MANIFEST_COPY} differs from the manifest {backup.manifest_path}")
    extras = sorted(sizes.keys() - {file.path for file in manifest.files} - {MANIFEST_COPY})
    return [*findings, *(f"{backup.folder}/{extra} is no part of the backup" for extra in extras)]
