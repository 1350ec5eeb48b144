"""Check and dry run: would a run work? Both ask the profiles and the places, and neither makes a backup."""

import contextlib
import io
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from pickup_core.catalogue import Catalogue
from pickup_core.config import CONFIG_VERSION, Config
from pickup_core.delivery import tell_cleared, tell_pruned
from pickup_core.encryption import encrypt
from pickup_core.entries import GeneratorEntry, TargetEntry, chosen
from pickup_core.errors import ExitCode, LockedError, NoRootError, PickupError, StoreError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.manifest import EntryRecord, Manifest
from pickup_core.memory import Memory
from pickup_core.notify import check_notifications
from pickup_core.prune import clear_leftovers, prune
from pickup_core.report import Report
from pickup_core.room import needed_room, room_in
from pickup_core.run import RunWish, draft_of, warn_of_room
from pickup_core.staging import Staging
from pickup_core.store import DryRun, Store
from pickup_core.streams import Compressed
from pickup_core.wording import counted, in_words, names_in_words
from pickup_core.writers import another_writer

_VERDICTS: Mapping[int, str] = {
    ExitCode.OK: "a run would work",
    ExitCode.WARNINGS: "a run would work; see the warnings",
}

log = logging.getLogger("pickup.check")


def check(config: Config, report: Report, sends: bool = False) -> None:
    """Ask each generator whether it would work, write, read and delete a probe at each target, and see whether it could
    be told how a run went; where it `sends`, a test message is sent.

    Raises `ConfigError` where state folder or lock cannot be used, as a run would.
    """
    assert config.job is not None
    log.info("job %s, config %s", config.job, config.path)
    if config.masked_modules:
        log.info("  it imports %s", names_in_words(list(config.masked_modules)))
    if config.version < CONFIG_VERSION:
        log.info("note: the config is written for version %s, this Pickup reads %s too", config.version, CONFIG_VERSION)
    try:
        with job_lock(config.state_folder, config.job, datetime.now(timezone.utc)):
            pass
    except LockedError as error:
        log.info("note: %s", error.message)
    with report.attempt("staging area"), Staging(config.staging_area, config.min_free):
        _look_for_room(config, config.generators, report)
    for method in {config.compression, *(entry.keys.compression or config.compression for entry in config.generators)}:
        with report.attempt(f"compression {method.method}"):
            Compressed(io.BytesIO(), method).read()  # the library that it takes may be missing
    if config.recipients:
        with report.attempt("encryption"):
            encrypt(io.BytesIO(b"probe"), io.BytesIO(), config.recipients)
            log.info("encryption: to %s", counted(len(config.recipients), "public key"))
        if len(config.recipients) == 1:
            log.info("  note: one private key alone opens the backups: when it is lost, so are they")
    for entry in config.generators:
        _ask(entry, report)
    for target in config.targets:
        with report.attempt(target.where):
            _probe(target, config, report)
            for note in _notes_on(target, config):
                log.info("  note: %s", note)
    check_notifications(config, report, sends)
    log.info("%s", _VERDICTS.get(report.exit_code, "a run would not do all of this: see the errors"))


def dry_run(config: Config, wish: RunWish, report: Report) -> None:
    """Show what a run would do: what each generator says, what each target holds, what retention would delete and
    why.
    """
    assert config.job is not None
    generators, now = chosen(config.generators, wish.only), datetime.now(timezone.utc).replace(microsecond=0)
    manifest = _expected(config, wish, generators, now)
    sizes = History(config.state_folder, config.job).last_sizes()
    log.info("dry run of job %s: nothing is changed", config.job)
    _look_for_room(config, generators, report)
    for entry in generators:
        _ask(entry, report)
        if last := sizes.get(entry.label):
            log.info("  last time it stored %s, %s", counted(len(last), "artefact"), in_words(sum(last.values())))
    for target in chosen(config.targets, wish.targets):
        with report.attempt(target.where), target.store() as store:
            if _is_yet_to_be_made(store, config):
                log.info("%s: would make %s and store %s/%s there", target.label, store.place, config.job, manifest.id)
            else:
                _rehearse(target, store, config, manifest, report)


def _look_for_room(config: Config, generators: Sequence[GeneratorEntry], report: Report) -> None:
    """Say how much may be staged, and warn where that is not enough for what these entries took last time."""
    if config.streams:
        log.info("no staging area: what generators make goes straight to the targets")
        return
    sizes = History(config.state_folder, config.job or "").last_sizes()
    room = room_in(config.staging_area, config.min_free)
    log.info("staging area %s: %s may be written", config.staging_area, in_words(max(0, room.writable)))
    warn_of_room(room, needed_room([sizes.get(entry.label, {}) for entry in generators]), report)


def _expected(config: Config, wish: RunWish, generators: Sequence[GeneratorEntry], now: datetime) -> Manifest:
    """Give the manifest of the backup that a run would make if all went well, without its artefacts."""
    states = [(entry, "ok" if entry in generators else "skipped") for entry in config.generators]
    records = tuple(EntryRecord(entry.name, entry.profile, state) for entry, state in states)
    return replace(draft_of(config, wish, now), entries=records)


def _rehearse(target: TargetEntry, store: Store, config: Config, manifest: Manifest, report: Report) -> None:
    """Show what a run would do at one target: clear, store, prune."""
    catalogue = Catalogue(target.name, DryRun(store), Memory(config.state_folder, is_frozen=True), lists_once=True)
    there = catalogue.backups(manifest.job)
    log.info("%s: holds %s; would store %s/%s", target.label, counted(len(there), "backup"), manifest.job, manifest.id)
    policy = target.keys.retention
    if policy:
        tell_cleared(target, clear_leftovers(catalogue, manifest.job, manifest.started), report, dry=True)
        labels = [entry.label for entry in config.generators]
        pruned = prune(catalogue, manifest.job, policy, labels, manifest.started, manifest.machine, upcoming=manifest)
        tell_pruned(target, policy, pruned, report, logging.INFO, dry=True)
    elif other := another_writer(there, manifest.machine):
        report.warn(target.where, other)


def _ask(entry: GeneratorEntry, report: Report) -> None:
    """Let the profile's own `check` speak, where it has one: it raises, or gives notes."""
    ask: Callable[..., object] | None = getattr(entry.module, "check", None)
    with report.attempt(entry.where):
        notes = list(ask(entry.options) or ()) if ask else []  # type: ignore[call-overload]
        log.info("%s: ok", entry.label)
        for note in notes:
            log.info("  note: %s", note)


def _notes_on(target: TargetEntry, config: Config) -> Iterator[str]:
    """Give what is worth knowing about a target that works."""
    ask: Callable[..., Iterable[str] | None] | None = getattr(target.module, "check", None)
    yield from (ask(target.options) or ()) if ask else ()
    if target.keys.retention is None:
        yield "without retention, no backup is ever deleted there"
    place = Path(target.store().place)
    for entry in config.generators:
        paths = getattr(entry.options, "path", None)
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, Path) and place.is_absolute() and place.is_relative_to(path.resolve()):
                yield f"it lies in {path}, which {entry.label} reads; excluded there, backups do not hold backups"


def _probe(target: TargetEntry, config: Config, report: Report) -> None:
    """Write, list, read and delete a small file, unless the first run has yet to make the place."""
    with target.store() as store:
        if _is_yet_to_be_made(store, config):
            log.info("%s: %s does not exist, and the first run makes it; should a disk be mounted there?",
                     target.label, store.place)  # fmt: skip
            return
        path, content = f"pickup-probe-{secrets.token_hex(8)}", os.urandom(1000)
        try:
            _write_and_read(store, path, content)
        except (OSError, PickupError):
            with contextlib.suppress(OSError, PickupError):  # what was wrong before is worth more words
                store.delete(path)
            raise
        try:
            store.delete(path)
        except (OSError, PickupError) as error:
            if target.keys.retention:  # without it, an account that may not delete is a choice
                report.warn(target.where, f"retention is set, but {path} could not be deleted: {error}")
        log.info("%s: ok", target.label)


def _write_and_read(store: Store, path: str, content: bytes) -> None:
    store.put(path, io.BytesIO(content))
    if {item.name: item.size for item in store.listdir()}.get(path) != len(content):
        raise StoreError(f"{path} was written, but is not listed with its size")
    with store.get(path) as stream:
        if b"".join(iter(lambda: stream.read(4096), b"")) != content:
            raise StoreError(f"{path} was written, but is read back with another content")


def _is_yet_to_be_made(store: Store, config: Config) -> bool:
    """Tell whether the next run makes the root: it is absent, and no run here has used it."""
    if History(config.state_folder, config.job or "").knows_place(store.place):
        return False
    try:
        store.listdir()
    except NoRootError:
        return True
    return False
