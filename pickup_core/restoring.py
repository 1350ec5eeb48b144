"""The command that brings backups back: restore, into a folder or into a server."""

import argparse
import logging
import os
from pathlib import Path

from pickup_core.catalogue import LATEST, Backup
from pickup_core.choice import Chosen, Wish, choose, space_needed
from pickup_core.config import default_staging_area
from pickup_core.errors import RefusedError, UsageError
from pickup_core.load import Origin, load, loadable, settings_of, spooled
from pickup_core.reading import Reading, reading_of, selected
from pickup_core.restore import restore
from pickup_core.room import Reserve
from pickup_core.session import Session
from pickup_core.staging import Staging
from pickup_core.wording import age_of, counted, in_words, local_time

log = logging.getLogger("pickup.commands")


def restore_command(session: Session) -> None:
    """Restore the newest backup that any place has of what is asked for, from the first of the places that have it."""
    options, reading = session.options, reading_of(session)
    _see_that_options_fit(options)
    area = reading.config.staging_area if reading.config else default_staging_area()
    wish = Wish(
        to=area if options.into_server else options.to.absolute(),
        only=tuple(options.only),
        paths=tuple(options.path),
        as_stored=options.as_stored,
        overwrite=options.overwrite,
        privileged=options.privileged and os.geteuid() == 0,
    )
    for place in () if options.into_server else reading.places:
        root = Path(place.store.place)
        if root.is_absolute() and wish.to.resolve().is_relative_to(root.resolve()):
            raise RefusedError(f"--to {wish.to} lies in {root}, whose backups it would change")
    backup = selected(reading, options.backup, options.before, wish.lacks, wish.which)
    with backup.catalogue.store:
        chosen = choose(backup, wish)
        locked = [artefact.path for _, artefact in chosen if artefact.encryption and not wish.as_stored]
        if locked:
            backup.catalogue.identities.load(locked[0])
        _announce(backup, wish)
        if options.into_server:
            _load_into_server(session, reading, backup, chosen, wish)
        else:
            _restore_into_folder(reading, backup, chosen, wish)


def _see_that_options_fit(options: argparse.Namespace) -> None:
    """Raise `UsageError` for options that belong to the other way to restore."""
    into_folder = {"--path": options.path, "--as-stored": options.as_stored, "--privileged": options.privileged}
    into_server = {"--set": options.settings, "--as": options.as_name}
    for name, value in (into_folder if options.into_server else into_server).items():
        if value:
            raise UsageError(f"{name} goes with {'--to' if options.into_server else '--into-server'}")
    if options.before and options.backup != LATEST:
        raise UsageError("--before chooses the latest backup, and does not go with a name")


def _announce(backup: Backup, wish: Wish) -> None:
    """Say which backup it is, before anything is written."""
    if backup.status == "partial" and not wish.only:
        log.info("backup %s is partial: %s", backup.id, backup.manifest.missing)
    log.info("from target %s: job %s, backup %s of %s (%s)", backup.catalogue.name, backup.job, backup.id,
             local_time(backup.started), age_of(backup.started))  # fmt: skip


def _restore_into_folder(reading: Reading, backup: Backup, chosen: Chosen, wish: Wish) -> None:
    count, space = counted(len(chosen), "artefact"), in_words(space_needed(chosen, wish))
    log.info("to %s: %s, taking up to %s meanwhile", wish.to, count, space)
    restored = restore(backup, chosen, wish)
    is_of_files = wish.paths and not wish.as_stored
    if is_of_files and not restored.members:
        raise UsageError(f"backup {backup.id} holds no file that matches {wish.patterns}")
    log.info("restored %s", counted(restored.members, "file") if is_of_files else count)
    for sentence in restored.left_out(wish.privileged):
        log.info("%s", sentence)
    reading.remember("restore", target=backup.catalogue.name, backup=backup.id, to=str(wish.to), only=wish.only)


def _load_into_server(session: Session, reading: Reading, backup: Backup, chosen: Chosen, wish: Wish) -> None:
    options, config = session.options, reading.config
    origin = Origin(
        entries=config.raw_generators if config else (),
        folder=config.path.parent if config else Path("/"),
        settings=settings_of(options.settings),
    )
    entries = loadable(chosen, origin, is_asked_for=bool(wish.only))
    if options.as_name and len(entries) > 1:
        raise UsageError(f"--as {options.as_name} can be the name of one thing only", hint="--only ENTRY/ARTEFACT")
    with Staging(wish.to, config.min_free if config else Reserve(0.0, 0)) as staging, staging.scratch() as scratch:
        artefacts = spooled(backup, entries, scratch, staging.room().writable)
        for each in entries:
            with session.report.attempt(each.label):
                load(each, artefacts[each.label], options.as_name, wish.overwrite)
                log.info("%s: loaded", each.label)
    reading.remember("restore", target=backup.catalogue.name, backup=backup.id, to="server", only=wish.only)
