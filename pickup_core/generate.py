"""Generate: let a generator entry produce its artefacts, and bring each through the byte path into the backup."""

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from pickup_core.artefact import Artefact, Judgement, Writable, stored_name
from pickup_core.config import Config
from pickup_core.encryption import Recipient, encrypt, stored_suffix
from pickup_core.entries import GeneratorEntry
from pickup_core.errors import PickupError
from pickup_core.hooks import hooked
from pickup_core.manifest import EntryRecord, StoredArtefact
from pickup_core.progress import metered, showing
from pickup_core.report import Outcome, Report
from pickup_core.secret import redact
from pickup_core.staging import Staging
from pickup_core.streams import Compressed, Compression, Digest, transfer
from pickup_core.wording import counted, in_words, one_line

log = logging.getLogger("pickup.generate")

_SMALL = 4096

SinkOf = Callable[[str], AbstractContextManager[Writable]]
"""Gives a new file of the backup to write to: it stays after a clean exit of the `with`, and after no other."""


def generate(
    entry: GeneratorEntry, config: Config, staging: Staging, sink_of: SinkOf, report: Report, last_sizes: dict[str, int]
) -> EntryRecord:
    """Give the record of an entry, whose artefacts are then where the sinks lead; its own folder is in `staging`.

    An artefact that fails costs itself; an entry that fails keeps what it had produced before. `last_sizes` are the
    uncompressed sizes of its artefacts when it last went well: a size below half of that is worth a warning.
    """
    outcome = Outcome()
    stored: dict[str, StoredArtefact] = {}
    taken: set[str] = set()
    log.info("%s: starts", entry.label)
    hooks = hooked(entry.keys.before, entry.keys.after, entry.where, report, config.at_hand)
    with report.attempt(entry.where, outcome), hooks, showing(entry.label), staging.scratch() as scratch:
        with contextlib.closing(_artefacts(entry, scratch)) as artefacts:
            for artefact in artefacts:
                with report.attempt(entry.where, outcome, part=one_line(artefact.name)):
                    if artefact.name in stored:
                        raise PickupError("another artefact of this entry has the same name")
                    method = entry.keys.compression or config.compression
                    about = last_sizes.get(artefact.name)
                    with showing(f"{entry.label}/{artefact.name}", about, is_estimate=True):
                        stored[artefact.name] = _store(artefact, entry, sink_of, method, config.recipients, taken)
                    _tell_what_came(artefact, stored[artefact.name], entry, report, outcome)
        if not stored and outcome.is_ok:
            raise PickupError("produced nothing", hint="a run yields artefacts, or leaves files in its folder")
    for name, file in stored.items():
        size, last = file.uncompressed_size, last_sizes.get(name, 0)
        if size * 2 < last and last >= _SMALL:
            what = f"{one_line(name)} has shrunk from {in_words(last)} last time to {in_words(size)}"
            report.warn(entry.where, what, outcome)
    if stored:
        total = in_words(sum(file.size for file in stored.values()))
        log.info("%s: %s, %s", entry.label, counted(len(stored), "artefact"), total)
    return EntryRecord(
        name=entry.name,
        profile=entry.profile,
        status="ok" if outcome.is_ok else "failed",
        artefacts=tuple(stored.values()),
        failures=tuple(outcome.failures),
        warnings=tuple(outcome.warnings),
    )


def _artefacts(entry: GeneratorEntry, scratch: Path) -> Generator[Artefact, None, None]:
    """Give what the profile yields; for one that yields nothing, the files that it left in its folder."""
    produced: Iterable[Artefact] | None = entry.module.run(entry.options, scratch)
    if produced is None:
        yield from _left_in(scratch)
        return
    try:
        for artefact in produced:
            if not isinstance(artefact, Artefact):
                what = f"yielded a {type(artefact).__name__}, and no Artefact"
                raise PickupError(what, hint="yield Artefact(name, source)")
            yield artefact
    finally:
        if hasattr(produced, "close"):
            produced.close()


def _left_in(folder: Path) -> Iterator[Artefact]:
    def refuse(error: OSError) -> None:
        raise error

    walked = os.walk(folder, onerror=refuse)
    paths = sorted(Path(parent, name) for parent, folders, files in walked for name in (*folders, *files))
    for path in paths:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PickupError(f"{path.relative_to(folder)} is a link or a special file, which cannot be published")
    for path in paths:
        if path.is_file():
            yield Artefact(path.relative_to(folder).as_posix(), path.open("rb"))


def _store(
    artefact: Artefact,
    entry: GeneratorEntry,
    sink_of: SinkOf,
    compression: Compression,
    recipients: Sequence[Recipient],
    taken: set[str],
) -> StoredArtefact:
    """Bring one artefact through the byte path. Raises whatever went wrong; then there is no file. `taken` are the
    stored names of the entry's other artefacts, without suffix and case-folded; this one's is added.
    """
    name = stored_name(artefact.name, taken)
    path = f"{entry.folder}/{name}{stored_suffix(compression.method, bool(recipients))}"
    is_at_end = False
    with _closed_if_unused(artefact.source), sink_of(path) as sink:
        digest = Digest(sink)
        with artefact.source as stream:
            compressed = Compressed(metered(stream), compression)
            if recipients:
                encrypt(compressed, digest, recipients)
            else:
                transfer(compressed, digest)
            is_at_end = True
        if not is_at_end:
            raise PickupError("its source broke off, and kept to itself why", hint="`__exit__` must not give True")
    taken.add(name.casefold())
    return StoredArtefact(
        path=path,
        size=digest.size,
        sha256=digest.sha256,
        name=artefact.name,
        uncompressed_size=compressed.size,
        compression=compression.method,
        encryption=tuple(map(str, recipients)),
        losses=tuple(map(redact, _judgement(artefact).losses)),
    )


@contextlib.contextmanager
def _closed_if_unused(source: object) -> Iterator[None]:
    """Close a source that is open before it is entered, as a file is, where that does not come to pass."""
    try:
        yield
    except BaseException:
        if hasattr(source, "close"):
            source.close()
        raise


def _tell_what_came(
    artefact: Artefact, stored: StoredArtefact, entry: GeneratorEntry, report: Report, outcome: Outcome
) -> None:
    name = one_line(artefact.name)
    for sentence in _judgement(artefact).warnings:
        report.warn(entry.where, f"{name}: {sentence}", outcome)
    for sentence in stored.losses:
        report.fail(entry.where, f"{name} was stored with losses: {sentence}", outcome)


def _judgement(artefact: Artefact) -> Judgement:
    """Give what the profile says of an artefact whose source has ended."""
    judgement: Judgement = getattr(artefact.source, "judgement", Judgement())
    return judgement


def skipped(entry: GeneratorEntry) -> EntryRecord:
    """Give the record of an entry that was not asked for."""
    return EntryRecord(entry.name, entry.profile, "skipped")
