"""Find: which backups hold a file, read from their lists of contents."""

import contextlib
import re
from collections.abc import Iterator

from pickup_core.archive import LONGEST_NAME, Listed, read_listing
from pickup_core.artefact import ARCHIVE_SUFFIX, CONTENTS_SUFFIX, Readable
from pickup_core.catalogue import Backup
from pickup_core.errors import DamageError
from pickup_core.manifest import EntryRecord, StoredArtefact
from pickup_core.streams import Bounded, decompressed, decompression_errors

_LONGEST_LINE = 5 * LONGEST_NAME  # four bytes may stand for each byte of a name, and the rest of a line is short


def archives(entry: EntryRecord) -> Iterator[tuple[StoredArtefact, StoredArtefact | None]]:
    """Give each archive of an entry, with its list of contents where it has one."""
    by_name = {artefact.name: artefact for artefact in entry.artefacts}
    for name, artefact in by_name.items():
        if name.endswith(ARCHIVE_SUFFIX):
            yield artefact, by_name.get(name.removesuffix(ARCHIVE_SUFFIX) + CONTENTS_SUFFIX)


def find(backup: Backup, pattern: re.Pattern[str]) -> Iterator[tuple[EntryRecord, Listed]]:
    """Give entry and line for each file in a finished backup whose member name matches."""
    for entry in backup.manifest.entries:
        for _, contents in archives(entry):
            if contents is not None:
                yield from ((entry, line) for line in listing(backup, contents) if pattern.match(line.name))


def listing(backup: Backup, contents: StoredArtefact) -> Iterator[Listed]:
    """Give the lines of a stored list of contents. Raises `DamageError` where it is missing, cannot be read, or has
    another size than the manifest says.
    """
    where = f"{backup.folder}/{contents.path}"
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(backup.open(contents.path))
            if contents.encryption:
                stream = stack.enter_context(backup.catalogue.identities.decrypted(stream, where))
            content = Bounded(decompressed(stream, contents.compression), contents.uncompressed_size)
            yield from read_listing(_lines(content))
    except FileNotFoundError:
        raise DamageError(f"{where} is missing") from None
    except decompression_errors() as error:
        raise DamageError(f"{where} cannot be uncompressed: {error}") from error
    except DamageError as error:
        raise DamageError(f"{where} {error.message}") from None


def _lines(stream: Readable) -> Iterator[bytes]:
    """Give the lines of a stream that can only `read`. Raises `DamageError` where one of them does not end."""
    rest = b""
    while block := stream.read(65_536):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST_LINE:
            raise DamageError(f"has a line of more than {_LONGEST_LINE} bytes")
    if rest:
        yield rest
