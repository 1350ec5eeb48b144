"""Archive folders with GNU tar, with a list of contents beside every archive.

Example entry::

    dict(
        name="websites",
        profile="folder",
        config=dict(path="/var/www", split=True, exclude=["*.tmp", "*/cache"]),
    )

Modes, owners, times, hard and symbolic links, sparse files, extended attributes, ACLs and SELinux labels are kept;
member names begin with the folder's own name. Sockets are left out. A file that changed or vanished while it was read
is a warning, one that could not be read is a loss: the archive is kept, and the entry has failed.

Root, and a user who may read everything (CAP_DAC_READ_SEARCH), goes the way to ``path`` step by step, and through no
symbolic link that is not root's: whose folder it is could lead it elsewhere.

``exclude`` and ``may_change`` take patterns: one without ``/`` matches a name at any depth, one with a leading ``/``
is an absolute path, any other is relative to ``path``. ``*`` stops at ``/``, ``**`` does not.
"""

import contextlib
import errno
import glob
import logging
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from generator_profiles._tar import (
    CREATE,
    LISTING,
    Judge,
    below_of,
    exclude_options,
    expressions,
    name_of,
    root_member,
    see_that_patterns_match,
)
from pickup_core.api import (
    ARCHIVE_SUFFIX,
    CONTENTS_SUFFIX,
    TAR_ENVIRONMENT,
    Artefact,
    Found,
    Options,
    Output,
    PickupError,
    Terms,
    broken,
    label_options,
    names_in_words,
    output_of,
)

API_VERSION = (1, 0)

LOOSE = "_files"
"""With `split`, the archive of what lies beside the subfolders."""

log = logging.getLogger("pickup.folder")

_PLACES = {
    "etc": ("etc", "The settings of this machine."),
    "home": ("home", "What its users have."),
    "root": ("root", "What root has."),
    "srv": ("srv", "What it serves."),
    "www": ("var/www", "Its websites."),
    "crontabs": ("var/spool/cron", "The crontabs of its users."),
}
_OF_USERS = ("home", "root")
_PASSING = [".cache", "**/.local/share/Trash"]
_DATABASES = {
    "PG_VERSION": "PostgreSQL",
    "ibdata1": "MySQL or MariaDB",
    "WiredTiger": "MongoDB",
}
_DATABASE_DEPTH = 5
_MOST_FOLDERS = 10_000
_MOST_LINKS = 40  # as the kernel has it
_CAP_DAC_READ_SEARCH = 2  # capability.h
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Config(Options):
    path: Path | list[Path]
    """The folder, or several. A symbolic link is refused: name the folder that it leads to."""
    split: bool = False
    """Make an archive of each subfolder, and one of the files beside them."""
    exclude: list[str] = []
    """Patterns of what is left out."""
    exclude_caches: bool = False
    """Leave out what lies in a folder that has a `CACHEDIR.TAG`."""
    exclude_if_present: list[str] = []
    """Leave out what lies in a folder that has a file of one of these names."""
    one_file_system: bool = False
    """Stay on the file system of `path`."""
    require_mount: bool = False
    """Refuse to work where `path` is not a mount point."""
    allow_empty: bool = False
    """Take an empty folder for one that may be empty, and not for a disk that is not mounted."""
    may_change: list[str] = []
    """Patterns of files that may change or vanish while they are read: they are counted, and not warned about."""
    missing_ok: bool = False
    """Take a path that does not exist for one that may be missing. Where all of them are missing the entry still fails:
    with nothing in it, it is no backup."""
    unreadable: Literal["fail", "warn"] = "fail"
    """What a file or folder in `path` that cannot be read is: a loss, which fails the entry, or a warning."""
    program: list[str] = Field(["tar"], min_length=1)
    """GNU tar, with words before it where wanted: `["sudo", "-n", "tar"]`. For root it is started in the folder that
    `path` lies in, and has to stay there."""

    @property
    def paths(self) -> list[Path]:
        """The folders, as a list."""
        return self.path if isinstance(self.path, list) else [self.path]

    @field_validator("path")
    @classmethod
    def _names_differ(cls, value: Path | list[Path]) -> Path | list[Path]:
        names = [name_of(path) for path in (value if isinstance(value, list) else [value])]
        if not names:
            raise ValueError("names no folder")
        if ".." in names:
            raise ValueError("ends with ..; name the folder itself")
        if len(set(names)) != len(names):
            raise ValueError("has two folders of the same name; make an entry for each")
        return value

    @field_validator("exclude_if_present")
    @classmethod
    def _are_names(cls, names: list[str]) -> list[str]:
        for name in names:
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"{name!r} is no name that a file can have")
        return names

    @model_validator(mode="after")
    def _patterns_can_match(self) -> "Config":
        see_that_patterns_match(self.exclude, self.may_change, self.paths)
        return self


@dataclass(frozen=True)
class _Archive:
    """One archive of `path`: its name without suffix, the member names that tar is given, and where they lie, None
    where tar may look for that folder by its name.
    """

    name: str
    path: Path
    members: Sequence[str]
    place: Path | None
    recurse: bool = True


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    options = [*LISTING, *label_options(config.program)]
    there, notes = _paths_there(config)
    for note in notes:
        log.info("%s", note)
    for path in there:
        with contextlib.ExitStack() as stack:
            try:
                archives = stack.enter_context(_archives(path, config))
            except PickupError as error:  # costs this folder; the others of this entry are saved
                yield Artefact(name_of(path) + ARCHIVE_SUFFIX, broken(error))
                continue
            for archive in archives:
                yield from _archived(archive, config, options, folder / "contents")


def check(config: Config) -> Iterator[str]:
    """Look at each folder, say what each exclude pattern matches, and point at a database that is at work in there."""
    label_options(config.program)
    there, notes = _paths_there(config)
    yield from notes
    for path in there:
        with _archives(path, config) as archives:
            if config.program == ["tar"] and not _may_read(path):
                raise PickupError(f"{path} cannot be read by this user", hint="run as root, or see `program`")
            whole = _Archive(name_of(path), path, [root_member(path)], archives[0].place)
            for pattern in config.exclude:
                if below_of(pattern, path) is not None:
                    matches = names_in_words(_excluded(config, whole, pattern)) or "nothing"
                    yield f"exclude {pattern!r} matches {matches} in {path}"
            yield from _databases_below(path, expressions(config.exclude, path))


def _may_read(path: Path) -> bool:
    """Tell whether we can read a folder or a file, with what capabilities we have."""
    return os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0), effective_ids=True)


def discover(root: Path, without: Sequence[Path]) -> Iterator[Found]:
    """Find the folders that nearly every host has, and that no package brings back."""
    for name, (place, why) in _PLACES.items():
        if paths := _own_folders(root / place):
            own = [f"{path}/{glob.escape(str(each.relative_to(path)))}" for path in paths for each in without
                   if path in each.parents]  # fmt: skip
            config: dict[str, Any] = {"path": str(paths[0]) if len(paths) == 1 else [*map(str, paths)]}
            if exclude := [*(_PASSING if name in _OF_USERS else ()), *own]:
                config["exclude"] = exclude
            yield Found(name, config | ({"exclude_caches": True} if name in _OF_USERS else {}), why)


def _own_folders(place: Path) -> list[Path]:
    """Give a folder, where we are root or it is ours, or else those in it that are ours; none that is empty."""
    try:
        place = place.resolve(strict=True)
        is_ours = os.geteuid() in (0, place.stat().st_uid)
        folders = [place] if is_ours else [each for each in sorted(place.iterdir()) if _is_own_folder(each)]
        return [folder for folder in folders if folder.is_dir() and any(folder.iterdir())]
    except OSError:  # it is not there, or not for us
        return []


def _is_own_folder(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _archived(archive: _Archive, config: Config, options: Sequence[str], contents: Path) -> Iterator[Artefact]:
    """Give an archive as an artefact, and its list of contents where that was read to its end."""
    first = archive.path.parent / archive.members[0]
    if config.split and not os.path.lexists(first):
        log.info("%s has gone since its folder was listed", first)
        return
    contents.touch(mode=0o600)
    output = _tar(config, archive, config.exclude, [*options, "--file=-", f"--index-file={contents}"])
    yield Artefact(archive.name + ARCHIVE_SUFFIX, output)
    if output.succeeded:
        yield Artefact(archive.name + CONTENTS_SUFFIX, contents.open("rb"))
    contents.unlink()


def _paths_there(config: Config) -> tuple[list[Path], list[str]]:
    """Give the paths that are not missing, and a sentence about each that is, and may be. Raises `PickupError` where
    nothing is left.
    """
    missing = [path for path in config.paths if config.missing_ok and _is_missing(path)]
    if len(missing) == len(config.paths):
        names = names_in_words([str(path) for path in missing])
        raise PickupError(f"there is nothing to archive, for none of these exists: {names}", hint="is it mounted?")
    notes = [f"{path} does not exist, as it may" for path in missing]
    return [path for path in config.paths if path not in missing], notes


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it may well be there
        return False
    return False


@contextlib.contextmanager
def _archives(path: Path, config: Config) -> Iterator[list[_Archive]]:
    """Give the archives to make of a folder while the `with` lasts. Raises `PickupError` where it is missing, empty, or
    not what it should be.
    """
    with contextlib.ExitStack() as stack:
        archives: list[_Archive] = []
        place = None
        try:
            _check_path(path, config)
            place = stack.enter_context(_held(path.parent)) if _reads_all() else None
            if config.split and path.is_dir():
                archives = _split(path, place, config)
        except OSError as error:
            if not isinstance(error, PermissionError) or config.split or config.require_mount or os.geteuid() == 0:
                raise PickupError(f"{path} cannot be read: {error.strerror}") from error
            # else `program` may be allowed what we are not, or tar will say so
        yield archives or [_Archive(name_of(path), path, [root_member(path)], place)]


def _reads_all() -> bool:
    """Tell whether we may read what others may not, and so could be led to it."""
    found = re.search(rb"(?m)^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_bytes())
    return os.geteuid() == 0 or (found is not None and bool(int(found[1], 16) >> _CAP_DAC_READ_SEARCH & 1))


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """Give a name of a folder that leads a child process there, whatever somebody does meanwhile to what lies above it.

    The way goes through no link that is not root's. Raises `PickupError` where there is one, `OSError` where the folder
    cannot be reached.
    """
    descriptor, ahead, links = os.open("/", _STEP), list(folder.parts[:0:-1]), 0
    try:
        while ahead:
            part = ahead.pop()
            try:
                below = os.open(part, _STEP, dir_fd=descriptor)
            except NotADirectoryError:
                target = _target(part, descriptor, folder)
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder)) from None
                ahead += reversed(target.parts[target.is_absolute() :])
                if not target.is_absolute():
                    continue
                below = os.open("/", _STEP)
            os.close(descriptor)
            descriptor = below
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _target(name: str, above: int, folder: Path) -> Path:
    """Give where a link of root's leads."""
    link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        status = os.fstat(link)
        if not stat.S_ISLNK(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        if status.st_uid != 0:
            what = f"{name}, on the way to {folder}, is a symbolic link of user {status.st_uid}"
            raise PickupError(f"{what}, who could lead root elsewhere", hint="name the folder that it leads to")
        return Path(os.readlink("", dir_fd=link))
    finally:
        os.close(link)


def _split(path: Path, place: Path | None, config: Config) -> list[_Archive]:
    """Give an archive for each subfolder, and one for what lies beside them."""
    with os.scandir(path) as found:
        items = sorted(found, key=lambda item: item.name)
    excluded, device = expressions(config.exclude, path), path.stat().st_dev
    items = [item for item in items if not any(pattern.match(item.name) for pattern in excluded)]
    folders: list[str] = []
    beside: list[str] = []
    for item in items:
        is_own = item.is_dir(follow_symlinks=False) and (
            not config.one_file_system or item.stat(follow_symlinks=False).st_dev == device
        )
        (folders if is_own else beside).append(item.name)
    loose = LOOSE
    while loose in folders:
        loose = f"_{loose}"
    root, prefix = root_member(path), f"{name_of(path)}/" if len(config.paths) > 1 else ""
    archives = [_Archive(prefix + name, path, [f"{root}/{name}"], place) for name in folders]
    members = [root, *(f"{root}/{name}" for name in beside)]
    return [*archives, _Archive(prefix + loose, path, members, place, recurse=False)]


def _check_path(path: Path, config: Config) -> None:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise PickupError(f"{path} does not exist") from None
    if stat.S_ISLNK(mode):
        raise PickupError(f"{path} is a symbolic link", hint=f"name the folder that it leads to: {path.resolve()}")
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise PickupError(f"{path} is neither a folder nor a regular file")
    if config.require_mount and not os.path.ismount(path):
        raise PickupError(f"{path} is not a mount point", hint="mount it, or take require_mount out")
    if stat.S_ISDIR(mode) and not config.allow_empty:
        with os.scandir(path) as found:
            if next(found, None) is None:
                raise PickupError(f"{path} is empty", hint="is it mounted? If it may be empty, say allow_empty=True")


def _tar(config: Config, archive: _Archive, exclude: Sequence[str], options: Sequence[str]) -> Output:
    """Give the output of tar that makes an archive. Names are handed over by its input, so none can be taken for an
    option.
    """
    command = [*config.program, *CREATE]
    command += [f"--directory={archive.path.parent}"] * (archive.place is None)
    command += [option for pattern in exclude for option in exclude_options(pattern, archive.path)]
    command += ["--exclude-caches"] * config.exclude_caches + ["--one-file-system"] * config.one_file_system
    command += [f"--exclude-tag={name}" for name in config.exclude_if_present]
    command += ["--no-recursion"] * (not archive.recurse)
    command += [*options, "--null", "--verbatim-files-from", "--files-from=-"]
    names = b"".join(os.fsencode(name) + b"\0" for name in archive.members)
    terms = Terms(env=TAR_ENVIRONMENT, stdin=names, cwd=archive.place)
    return output_of(command, judge=_judge(config, archive), terms=terms)


def _judge(config: Config, archive: _Archive) -> Judge:
    def is_folder(member: str) -> bool:
        return os.path.isdir(archive.path.parent / member)

    return Judge(config.program[0], archive.name, archive.path, config.may_change, config.unreadable, is_folder)


def _excluded(config: Config, archive: _Archive, pattern: str) -> list[str]:
    """List the members that a pattern leaves out, by asking tar itself with it and without."""
    everything, rest = _member_names(config, archive, []), _member_names(config, archive, [pattern])
    left, found = next(rest, None), []
    for name in everything:
        if name == left:
            left = next(rest, None)
        else:
            found.append(name)
    return found


def _member_names(config: Config, archive: _Archive, exclude: Sequence[str]) -> Iterator[str]:
    """Give the names that tar would archive; it reads no file where the archive is /dev/null."""
    rest = b""
    with _tar(config, archive, exclude, ["-v", "--file=/dev/null"]) as stream:
        while block := stream.read():
            *lines, rest = (rest + block).split(b"\n")
            yield from map(os.fsdecode, lines)


def _databases_below(path: Path, excluded: Sequence[re.Pattern[str]]) -> Iterator[str]:
    """Point at the data folders of database servers: copied while the server runs, they are of no use."""
    for seen, (folder, folders, files) in enumerate(os.walk(path)):
        below = Path(folder).relative_to(path)

        def is_kept(name: str, below: Path = below) -> bool:
            return not any(pattern.match(str(below / name)) for pattern in excluded)

        for mark in _DATABASES.keys() & set(filter(is_kept, files)):
            what = f"{folder} is a data folder of {_DATABASES[mark]}"
            yield f"{what}; a copy made while the server runs does not restore: exclude it, and dump the databases"
            folders.clear()
        if below.parts[_DATABASE_DEPTH - 1 :] or seen > _MOST_FOLDERS:
            folders.clear()
        folders[:] = filter(is_kept, folders)
