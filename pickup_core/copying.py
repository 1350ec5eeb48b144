"""The command that brings a finished backup from one place to another: copy."""

import io
import logging
from datetime import datetime, timezone

from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE, Backup
from pickup_core.entries import chosen
from pickup_core.errors import DamageError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.manifest import Manifest
from pickup_core.progress import showing
from pickup_core.publish import publish
from pickup_core.reading import Reading, reading_of, selected
from pickup_core.session import Session
from pickup_core.store import Store
from pickup_core.wording import counted, in_words

log = logging.getLogger("pickup.commands")


def copy_command(session: Session) -> None:
    """Copy a backup to one target from another one, or from the folder of `--from`."""
    reading = reading_of(session)
    config = reading.config or session.config(generators=False)
    [target] = chosen(config.targets, [session.options.to])
    places = [place for place in reading.places if place.store.place != target.store().place]
    if not places:
        raise UsageError(f"there is no other target than {target.name!r} to copy from")
    history = History(config.state_folder, reading.job)
    with job_lock(config.state_folder, reading.job, datetime.now(timezone.utc)):
        backup = selected(Reading(places, reading.job, config), session.options.backup)
        with backup.catalogue.store, target.store() as store:
            if not history.knows_place(store.place):
                store.create_root()
            log.info("from target %s: job %s, backup %s", backup.catalogue.name, backup.job, backup.id)
            manifest = copy(backup, store, target.keys.read_back)
        count, size = counted(len(manifest.files), "file"), in_words(manifest.size)
        log.info("%s: stored %s, %s, in %s", target.label, count, size, store.place)
        history.add("copy", origin=backup.catalogue.name, target=target.name, places=[store.place], backup=backup.id)


def copy(backup: Backup, store: Store, read_back: bool) -> Manifest:
    """Copy a finished backup into another store, and give its manifest, which is put last and is the same to the byte.

    Each file is verified on the way. Raises `DamageError` where one is not what was stored, `FileExistsError` where the
    place has a backup of this name, and whatever `publish` raises; then nothing of it stays there.
    """
    manifest, encoded = backup.read_manifest()
    files = {file.path: file for file in manifest.files}
    mark = files.pop(MARK_FILE, None)
    if mark is None:
        raise DamageError(f"{backup.folder} has no {MARK_FILE} in its manifest, as every backup has")

    def put_files(store: Store, folder: str) -> tuple[Manifest, bytes]:
        with showing(f"copying {backup.folder} to {store.place}", sum(file.size for file in files.values())):
            for path, file in sorted(files.items()):
                with backup.checked(file) as stream:
                    store.put(f"{folder}/{path}", stream)
        store.put(f"{folder}/{MANIFEST_COPY}", io.BytesIO(encoded))
        return manifest, encoded

    with backup.checked(mark) as stream:
        text = b"".join(iter(stream.read, b""))
    publish(store, backup.job, backup.id, text, put_files, read_back)
    return manifest
