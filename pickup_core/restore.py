"""Restore: bring artefacts back into a folder, verified before anything of them is written there.

Each stored file is spooled once into a private folder on the destination's file system, and its digest taken on the
way. Archives are checked, then unpacked into a fresh folder. Only when all of that went well are the results moved to
their places.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pickup_core.artefact import ARCHIVE_SUFFIX, Readable
from pickup_core.catalogue import Backup
from pickup_core.choice import Chosen, Wish, space_needed
from pickup_core.encryption import stored_suffix
from pickup_core.errors import DamageError, PickupError
from pickup_core.manifest import StoredArtefact
from pickup_core.members import Members, check_members, unpack
from pickup_core.merge import move_into_place, replace
from pickup_core.patterns import search_expression
from pickup_core.program import PROGRAM
from pickup_core.progress import metered, showing
from pickup_core.report import explained
from pickup_core.spool import made_below, spool_in
from pickup_core.streams import Bounded, decompressed, decompression_errors, transfer
from pickup_core.trust import make_file
from pickup_core.wording import counted, in_words

_OTHERS = f"--only restores other entries; {PROGRAM} verify all shows which backups are whole"


@dataclass
class Restored:
    """What was restored from archives: how many of the files asked for, and what was left out on the way."""

    members: int = 0
    devices: int = 0
    setuid_files: int = 0
    capabilities: int = 0
    foreign_owners: int = 0

    def count(self, members: Members) -> None:
        self.members += len(members.selected or ())
        self.devices += members.devices
        self.setuid_files += members.setuid_files
        self.capabilities += members.capabilities
        self.foreign_owners += members.foreign_owners

    def left_out(self, privileged: bool) -> list[str]:
        """Give a sentence for each kind of thing that did not come back as it was."""
        is_root, sentences = os.geteuid() == 0, []
        if not (privileged and is_root):
            counts = {"device": self.devices, "setuid bit": self.setuid_files, "capability set": self.capabilities}
            found = [counted(count, what) for what, count in counts.items() if count]
            if found:
                sentences.append(f"left out: {', '.join(found)}. Hint: as root, --privileged restores them")
        if self.foreign_owners and not is_root:
            sentences.append(
                f"{counted(self.foreign_owners, 'file')} of other users became yours: only root can set owners"
            )
        return sentences


def restore(backup: Backup, chosen: Chosen, wish: Wish) -> Restored:
    """Restore the chosen artefacts to `wish.to/PROFILE/ENTRY/...`.

    Raises `DamageError` where a stored file is not what was stored, or an archive could harm, and `RefusedError` where
    something is in the way, or another user could lead root elsewhere; then the destination is as it was. Raises
    `PickupError` where space is lacking, and for whatever else the destination's file system has against it.
    """
    try:
        with spool_in(wish.to) as spool:
            return _restore_through(spool, backup, chosen, wish)
    except OSError as error:
        raise PickupError(f"restoring to {wish.to} failed: {explained(error)}") from error


def _restore_through(spool: Path, backup: Backup, chosen: Chosen, wish: Wish) -> Restored:
    free, needed = shutil.disk_usage(spool).free, space_needed(chosen, wish)
    if needed > free:
        raise PickupError(
            f"restoring takes up to {in_words(needed)}, but {wish.to} has {in_words(free)} left",
            hint="use another --to",
        )
    for _, artefact in chosen:
        if artefact.path.count("/") != 2:  # deeper, it could lead through a link that an archive brings
            raise DamageError(f"{artefact.path} is no path that an artefact has: PROFILE/ENTRY/NAME")
    fresh, restored = spool / "fresh", Restored()
    get = fetched if wish.as_stored else opened
    files = [(entry, artefact, get(backup, artefact, spool)) for entry, artefact in chosen]
    wanted = [search_expression(pattern) for pattern in wish.paths]
    symlinks: dict[str, set[bytes]] = {}
    for number, (entry, artefact, file) in enumerate(files):
        folder = made_below(fresh, PurePosixPath(artefact.path).parent)
        if wish.as_stored:
            file.rename(fresh / artefact.path)
        elif artefact.name.endswith(ARCHIVE_SUFFIX):
            members = Members(symlinks=symlinks.setdefault(entry.name, set()))
            unpacked = spool / f"unpacked-{number}"  # of its own: tar follows links that were there before it
            unpacked.mkdir(mode=0o700)
            _unpack(artefact, file, unpacked, members, wanted, wish.privileged)
            replace(unpacked, folder)
            restored.count(members)
        else:
            _write_uncompressed(artefact, file, fresh / artefact.path)
        file.unlink(missing_ok=True)
    move_into_place(fresh, wish.to, wish.overwrite)
    return restored


def fetched(backup: Backup, artefact: StoredArtefact, spool: Path) -> Path:
    """Copy a stored file into the spool, and no more of it than its size in the manifest. Raises `DamageError` where it
    is not the one that the manifest names.
    """
    descriptor, name = tempfile.mkstemp(dir=spool)
    try:
        shown = showing(f"fetching {artefact.path}", artefact.size)
        with open(descriptor, "wb") as file, shown, backup.checked(artefact) as stream:
            transfer(metered(stream), file)
    except DamageError as error:
        raise DamageError(error.message, hint=_OTHERS) from error
    return Path(name)


def opened(backup: Backup, artefact: StoredArtefact, spool: Path) -> Path:
    """Fetch a stored file as `fetched` does, and decrypt it where it is encrypted. Raises `UsageError` where no key
    that opens it was given.
    """
    file = fetched(backup, artefact, spool)
    if not artefact.encryption:
        return file
    descriptor, name = tempfile.mkstemp(dir=spool)
    shown = showing(f"decrypting {artefact.path}", artefact.size)
    with open(descriptor, "wb") as plain, file.open("rb") as stream, shown:
        try:
            backup.catalogue.identities.decrypt(metered(stream), plain, artefact.path)
        except DamageError as error:
            raise DamageError(f"{artefact.path} {error.message}") from None
    file.unlink()
    return Path(name)


@contextlib.contextmanager
def uncompressed(artefact: StoredArtefact, file: Path) -> Iterator[Readable]:
    """Give the content of an opened file. What is wrong with its compression or size is a `DamageError`; this and what
    tar says names the artefact.
    """
    try:
        with file.open("rb") as stream:
            yield metered(Bounded(decompressed(stream, artefact.compression), artefact.uncompressed_size))
    except decompression_errors() as error:
        raise DamageError(f"{artefact.path}: cannot be uncompressed: {error}") from error
    except PickupError as error:
        raise type(error)(f"{artefact.path}: {error.message}", error.hint) from error


def _unpack(
    artefact: StoredArtefact,
    file: Path,
    folder: Path,
    members: Members,
    wanted: Sequence[re.Pattern[str]],
    privileged: bool,
) -> None:
    size = artefact.uncompressed_size
    with showing(f"checking {artefact.path}", size), uncompressed(artefact, file) as stream:
        check_members(stream, members, wanted)
    with showing(f"unpacking {artefact.path}", size), uncompressed(artefact, file) as stream:
        unpack(stream, folder, members, privileged)


def _write_uncompressed(artefact: StoredArtefact, file: Path, path: Path) -> None:
    suffix = stored_suffix(artefact.compression, bool(artefact.encryption))
    shown = showing(f"writing {artefact.path}", artefact.uncompressed_size)
    with shown, uncompressed(artefact, file) as stream:
        descriptor = make_file(path.with_name(path.name.removesuffix(suffix)))
        with open(descriptor, "wb") as out:
            transfer(stream, out)
