"""A power cut at any moment, in a model: what the folder target does is recorded, and every state that a file system
may then leave has to be a good one.

The file system of the model keeps what was synced and nothing else for certain. An entry of a folder that was made,
renamed or removed since may be there or not, each for itself; content may be whole, absent, zeros or cut off. A folder's
sync says nothing about the content of its files, a file's sync nothing about its name.
"""

import builtins
import contextlib
import io
import os
import random
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.manifest import Manifest
from pickup_core.prune import clear_leftovers, prune
from pickup_core.publish import mark_text, publish
from pickup_core.retention import Policy
from pickup_core.store import BLOCK, Item, Store
from pickup_core.verify import verify
from target_profiles.folder import Config, Target
from tests.builders import MemoryStore
from tests.places import CHANGING, JOB, MACHINE, NIGHT, Made, Watched, make_backup, store_backup

WAYS = ("linked", "shared", "copied", "streamed")
"""How files come to the target: as links; as copies, since a link would be a third one; as copies from another file
system; one by one, as a run without a staging area puts them.
"""
FEW = {"folder/www": b"<h1>Hello</h1>\n", "postgres/main": bytes(range(1, 251)) * (BLOCK // 250 + 1)}
"""What is backed up: one file takes two writes."""
MANY = {**FEW, **{f"mysql/{name}": f"CREATE TABLE {name} ();\n".encode() * 40 for name in ("a", "b", "c", "d", "e")}}
RANDOM_STATES = 240
"""How many random states are built after each step; many are the same."""
STATES = 1250
"""How many different states each way has to give."""
ROOT = 0


# What is recorded


@dataclass(frozen=True)
class Change:
    """Entries of a folder get another meaning at once: the number of a file or folder, or None for nothing."""

    folder: int
    names: Mapping[str, int | None]


@dataclass(frozen=True)
class Write:
    file: int
    data: bytes


@dataclass(frozen=True)
class Sync:
    """A sync of a file or folder, and the function that it is done `by`."""

    what: int
    by: str


Step = Change | Write | Sync


@dataclass
class Recording:
    """What was done to a place, step by step, and what is to be relied on after that many steps."""

    place: Path
    steps: list[Step] = field(default_factory=list)
    folders: set[int] = field(default_factory=lambda: {ROOT})
    returned: dict[int, set[str]] = field(default_factory=dict)
    """The paths with which the store's calls had returned, just then."""
    stored: dict[str, int] = field(default_factory=dict)
    """From when on a backup is stored, by its name."""
    withdrawn: dict[str, int] = field(default_factory=dict)
    """The step that takes away a backup's manifest, by the backup's name."""
    links: int = 0
    _numbers: dict[tuple[int, int], int] = field(default_factory=dict)
    _count: int = ROOT

    def __post_init__(self) -> None:
        self._numbers[_key(os.stat(self.place))] = ROOT

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Record what the functions of `os`, and `open`, do below the place."""
        real_open, real_mkdir, real_link, real_fsync = os.open, os.mkdir, os.link, os.fsync
        recording, open_file = self, builtins.open

        class Noted(io.FileIO):
            def write(self, data: Any) -> int:
                written = super().write(data)
                recording._note_write(os.fstat(self.fileno()), bytes(data[:written]))
                return written

        def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            if isinstance(file, int) and mode == "wb":
                return Noted(file, mode)
            return open_file(file, mode, *more, **options)

        def create(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
            if flags & os.O_CREAT:
                assert flags & os.O_EXCL, f"{path} may have been there before"
                self._enter(path, dir_fd, os.fstat(descriptor))
            return descriptor

        def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            real_mkdir(path, mode, dir_fd=dir_fd)
            number = self._enter(path, dir_fd, os.stat(path, dir_fd=dir_fd))
            self.folders |= {number} if number else set()

        def link(source: Any, path: Any, *, dst_dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
            real_link(source, path, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
            status = os.stat(path, dir_fd=dst_dir_fd)
            if self._enter(path, dst_dir_fd, status):
                self.links += 1
                self._note_write(status, Path(source).read_bytes())

        def fsync(descriptor: int) -> None:
            real_fsync(descriptor)
            number = self._numbers.get(_key(os.fstat(descriptor)))
            if number is not None:
                self.steps.append(Sync(number, sys._getframe(1).f_code.co_name))

        def renaming(real: Callable[..., None]) -> Callable[..., None]:
            def rename(old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
                number = self._numbers.get(_key(os.stat(old, dir_fd=src_dir_fd)))
                real(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
                (before, name), (after, new_name) = self._entry(old, src_dir_fd), self._entry(new, dst_dir_fd)
                assert before == after, "a rename from folder to folder is more than the model knows"
                if before is not None:
                    self.steps.append(Change(before, {name: None, new_name: number}))

            return rename

        def removing(real: Callable[..., None]) -> Callable[..., None]:
            def remove(path: Any, *, dir_fd: int | None = None) -> None:
                real(path, dir_fd=dir_fd)
                folder, name = self._entry(path, dir_fd)
                if folder is not None:
                    if name.endswith(".json") and name.split(".")[0] in self.stored:
                        self.withdrawn[name.split(".")[0]] = len(self.steps)
                    self.steps.append(Change(folder, {name: None}))

            return remove

        with pytest.MonkeyPatch.context() as patch:
            for name, function in {"open": create, "mkdir": mkdir, "link": link, "fsync": fsync}.items():
                patch.setattr(os, name, function)
            for name in ("rename", "replace"):
                patch.setattr(os, name, renaming(getattr(os, name)))
            for name in ("unlink", "remove", "rmdir"):
                patch.setattr(os, name, removing(getattr(os, name)))
            patch.setattr(builtins, "open", opened)
            yield

    def stored_after(self, steps: int) -> list[str]:
        """Give the backups that have to be there after so many steps: no deletion of theirs has begun."""
        return [
            name for name, since in self.stored.items() if since <= steps <= self.withdrawn.get(name, len(self.steps))
        ]

    def note_return(self, path: str) -> None:
        self.returned.setdefault(len(self.steps), set()).add(path)

    def _note_write(self, status: os.stat_result, data: bytes) -> None:
        number = self._numbers.get(_key(status))
        if number is not None:
            self.steps.append(Write(number, data))

    def _enter(self, path: Any, dir_fd: int | None, status: os.stat_result) -> int | None:
        """Note a new entry and give the number of what it leads to, None outside the place."""
        folder, name = self._entry(path, dir_fd)
        if folder is None:
            return None
        self._count += 1
        self._numbers[_key(status)] = self._count
        self.steps.append(Change(folder, {name: self._count}))
        return self._count

    def _entry(self, path: Any, dir_fd: int | None) -> tuple[int | None, str]:
        """Give the folder that a path lies in, None for one outside the place, and its name there."""
        above, name = os.path.split(os.fspath(path))
        assert dir_fd is None or not above, f"{path} leads through a folder"
        status = os.stat(above or ".") if dir_fd is None else os.fstat(dir_fd)
        return self._numbers.get(_key(status)), name


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Promising(Watched):
    """Notes in a recording when a call that changes something has returned."""

    def __init__(self, store: Store, recording: Recording) -> None:
        super().__init__(store)
        self._recording = recording

    def _call(self, name: str, path: str, *more: Any) -> Any:
        result = super()._call(name, path, *more)
        if name in CHANGING:
            self._recording.note_return(path)
        return result


def record(folder: Path, way: str, contents: Mapping[str, bytes]) -> Recording:
    """Record how two backups are stored at a new place, and the first one is then pruned."""
    place = folder / "place"
    with contextlib.ExitStack() as stack, Target(Config(path=place)) as target:
        area = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if way == "copied" else folder)))
        nights = [make_backup(area / f"{n}", NIGHT + timedelta(days=n), contents) for n in range(2)]
        if way == "shared":
            for made in nights:
                for number, file in enumerate(sorted(path for path in made.folder.rglob("*") if path.is_file())):
                    os.link(file, area / f"{made.manifest.id}-{number}")
        target.create_root()
        recording = Recording(place)
        store = Promising(target, recording)
        with recording.watching():
            for made in nights:
                _publish_one_by_one(store, made) if way == "streamed" else store_backup(store, made)
                recording.stored[made.manifest.id] = len(recording.steps)
                recording.note_return("")
                _see_that_all_was_recorded(recording)
            pruned = prune(Catalogue("disk", store), JOB, Policy(last=1), None, NIGHT + timedelta(days=2), MACHINE)
        _see_that_all_was_recorded(recording)
    assert (list(pruned.deleted), list(pruned.warnings)) == ([nights[0].manifest.id], [])
    assert list(recording.withdrawn) == [nights[0].manifest.id]
    assert recording.links == (2 * (len(contents) + 4) if way in ("linked", "shared") else 0)
    return recording


def _publish_one_by_one(store: Store, made: Made) -> None:
    def put_files(store: Store, path: str) -> tuple[Manifest, bytes]:
        Store.put_folder(store, made.folder, path)
        return made.manifest, made.encoded

    name = made.manifest.id
    publish(store, JOB, name, mark_text(JOB, name), put_files, read_back=False)


def _see_that_all_was_recorded(recording: Recording) -> None:
    """See that the model, with every step done, has just what the real place has."""
    disk = Disk(recording.folders)
    for step in recording.steps:
        disk.do(step)
    found = list(recording.place.rglob("*"))
    left = disk.left(ALL)
    assert left.files == {_below(recording, path): path.read_bytes() for path in found if path.is_file()}
    assert left.folders == {_below(recording, path) for path in found if path.is_dir()}


def _below(recording: Recording, path: Path) -> str:
    return path.relative_to(recording.place).as_posix()


# What a power cut may leave


class Left(MemoryStore):
    """What is left of a place: files, and folders, which may be empty."""

    def __init__(self) -> None:
        super().__init__()
        self.folders: set[str] = set()

    def listdir(self, folder: str = "") -> list[Item]:
        items = super().listdir(folder)
        start = f"{folder}/" if folder else ""
        below = {path.removeprefix(start) for path in self.folders if path.startswith(start)}
        return [*items, *(Item(name, None) for name in below - {item.name for item in items} if "/" not in name)]

    def delete(self, path: str) -> None:
        super().delete(path)
        self.folders = {name for name in self.folders if not f"{name}/".startswith(f"{path}/")}

    def below(self, path: str) -> dict[str, bytes | None]:
        """Give what lies at a path and below it: files with their content, folders with None."""
        everything = {**self.files, **dict.fromkeys(self.folders)}
        return {name: data for name, data in everything.items() if not path or f"{name}/".startswith(f"{path}/")}


@dataclass(frozen=True)
class Fate:
    """What becomes of what was not synced: `names` tells whether the N-th of M changes of a folder is there, and
    `content` what is in a file, from what was synced of it and from what it should be.
    """

    names: Callable[[int, int], bool]
    content: Callable[[bytes, bytes], bytes]


def _zeros(synced: bytes, whole: bytes) -> bytes:
    return synced + bytes(len(whole) - len(synced))


ALL = Fate(lambda number, count: True, lambda synced, whole: whole)
FATES = (
    Fate(lambda number, count: False, lambda synced, whole: synced),
    ALL,
    Fate(lambda number, count: True, lambda synced, whole: synced),
    Fate(lambda number, count: True, _zeros),
    Fate(lambda number, count: number == count - 1, ALL.content),
    Fate(lambda number, count: number < count - 1, ALL.content),
    Fate(lambda number, count: number > 0, ALL.content),
)
"""Nothing, all, names alone, names with zeros behind them; all contents, but of the names only the last, all but the
last, or all but the first.
"""


def random_fate(dice: random.Random) -> Fate:
    likely = dice.random()

    def content(synced: bytes, whole: bytes) -> bytes:
        cut = dice.randint(len(synced), len(whole))
        return dice.choice((synced, whole, _zeros(synced, whole), whole[:cut], _zeros(whole[:cut], whole)))

    return Fate(lambda number, count: dice.random() < likely, content)


class Disk:
    """A disk in the model: what was synced, and what was done since."""

    def __init__(self, folders: Collection[int]) -> None:
        self._entries: dict[int, dict[str, int | None]] = {folder: {} for folder in folders}
        self._changes: dict[int, list[Change]] = {folder: [] for folder in folders}
        self._synced: dict[int, bytes] = {}
        self._whole: dict[int, bytes] = {}

    def do(self, step: Step) -> None:
        if isinstance(step, Change):
            self._changes[step.folder].append(step)
        elif isinstance(step, Write):
            self._whole[step.file] = self._whole.get(step.file, b"") + step.data
        elif isinstance(step, Sync) and step.what in self._entries:
            for change in self._changes[step.what]:
                self._entries[step.what].update(change.names)
            self._changes[step.what] = []
        elif isinstance(step, Sync):
            self._synced[step.what] = self._whole.get(step.what, b"")

    @property
    def is_settled(self) -> bool:
        return not any(self._changes.values()) and all(self._synced.get(n) is data for n, data in self._whole.items())

    def left(self, fate: Fate) -> Left:
        """Give what is there after a power cut now, where what was not synced meets this fate."""
        left = Left()
        folders = [(ROOT, "")]
        for folder, path in folders:
            entries, changes = dict(self._entries[folder]), self._changes[folder]
            for number, change in enumerate(changes):
                if fate.names(number, len(changes)):
                    entries.update(change.names)
            for name, what in entries.items():
                if what in self._entries:
                    folders.append((what, f"{path}{name}/"))
                    left.folders.add(f"{path}{name}")
                elif what is not None:
                    synced, whole = self._synced.get(what, b""), self._whole.get(what, b"")
                    left.files[f"{path}{name}"] = whole if synced is whole else fate.content(synced, whole)
        return left


# What has to be true


def troubles(left: Left, stored: Collection[str]) -> list[str]:
    """Give what is wrong with what a power cut left, with the invariant that it breaks; clears what is unfinished.
    `stored` are the backups that have to be there.
    """
    catalogue = Catalogue("disk", left)
    assert set(catalogue.jobs()) <= {JOB}
    backups = catalogue.backups(JOB)
    finished = [backup for backup in backups if backup.is_finished]
    torn = [backup for backup in backups if backup.marker and not backup.is_finished]
    found = [f"I1: {backup.manifest_path} is {backup.status}" for backup in torn]
    found += [f"I1: {finding}" for backup in finished for finding in verify(backup)]
    found += [f"I2: {name} is not there" for name in sorted(set(stored) - {backup.id for backup in finished})]
    _, warnings = clear_leftovers(catalogue, JOB, NIGHT + timedelta(days=30))
    names = {path for backup in backups if backup.marker for path in (backup.folder, backup.manifest_path)}
    remaining = sorted({f"{JOB}/{item.name}" for item in left.listdir(JOB)} - names)
    return [*found, *warnings, *(f"T15: {path} is never cleared" for path in remaining)]


@dataclass
class Cut:
    """A state that a power cut after some steps may leave, and what is wrong with it."""

    steps: int
    troubles: list[str]

    @property
    def kinds(self) -> set[str]:
        return {trouble.partition(":")[0] for trouble in self.troubles}


def cuts(
    recording: Recording, fates: Callable[[], Sequence[Fate]], without: Collection[int] = (), start: int = 0
) -> Iterator[Cut]:
    """Give every state, each once, that these fates make of any beginning of the steps from `start` on, `without`
    which syncs they are done.
    """
    disk, seen = Disk(recording.folders), set()
    for done in range(len(recording.steps) + 1):
        if done >= start:
            stored = recording.stored_after(done)
            whole = disk.left(ALL)
            returned = {path: whole.below(path) for path in recording.returned.get(done, ())}
            for fate in [ALL] if disk.is_settled else fates():
                left = disk.left(fate)
                state = hash((frozenset(left.below("").items()), frozenset(stored), frozenset(returned)))
                if state not in seen:
                    seen.add(state)
                    broken = sorted(path for path, below in returned.items() if left.below(path) != below)
                    late = [
                        f"K6: {path or 'all'} is not on the disk as it was when the call returned" for path in broken
                    ]
                    yield Cut(done, [*late, *troubles(left, stored)])
        if done < len(recording.steps) and done not in without:
            disk.do(recording.steps[done])


def first_cut(
    recording: Recording, without: Collection[int], kinds: Collection[str], start: int | None = None
) -> Cut | None:
    """Give the first state that breaks an invariant of these kinds where some syncs are not done, None without one."""
    found = cuts(recording, lambda: FATES, without, min(without) if start is None else start)
    return next((cut for cut in found if cut.kinds & set(kinds)), None)


ANY = ("I1", "I2", "K6", "T15")


@pytest.mark.parametrize("way", WAYS)
def test_whatever_the_power_cut_left_each_finished_backup_is_whole_and_the_newest_is_there(
    tmp_path: Path, way: str, seed: int
) -> None:
    """K6, I1, I2: from every step of storing two backups and pruning one. What is unfinished can be cleared, too."""
    recording, dice = record(tmp_path, way, MANY), random.Random(seed)
    count, bad = 0, []
    for cut in cuts(recording, lambda: [*FATES, *(random_fate(dice) for _ in range(RANDOM_STATES))]):
        count += 1
        bad += [f"after step {cut.steps}: {trouble}" for trouble in cut.troubles]
        if len(bad) >= 20:
            break
    print(f"{way}: {count} states after {len(recording.steps)} steps")
    assert not bad, "\n".join([f"PICKUP_SEED={seed}", *bad])
    assert count >= STATES


@pytest.mark.parametrize("way", WAYS)
def test_without_any_one_sync_the_model_finds_what_may_be_lost(tmp_path: Path, way: str) -> None:
    """K6: but for a folder's sync that is followed by another one of the same folder before the store's call returns,
    and so before anybody relies on it.
    """
    recording = record(tmp_path, way, FEW)
    syncs = {number: step for number, step in enumerate(recording.steps) if isinstance(step, Sync)}
    missed = {number for number in syncs if first_cut(recording, [number], ANY) is None}
    spare = {
        number
        for number, sync in syncs.items()
        if any(step.what == sync.what for step in _later_in_the_call(recording, number))
    }
    assert missed == spare
    assert all(syncs[number].what in recording.folders for number in spare)
    assert len(syncs) - len(spare) >= 40


def _later_in_the_call(recording: Recording, number: int) -> list[Sync]:
    """Give the syncs after a step, up to where the call of the store that it belongs to returns."""
    end = min(returned for returned in recording.returned if returned > number)
    return [step for step in recording.steps[number + 1 : end] if isinstance(step, Sync)]


@pytest.mark.parametrize("way", WAYS)
def test_without_any_one_sync_before_the_manifest_has_its_name_a_finished_backup_may_be_damaged(
    tmp_path: Path, way: str
) -> None:
    """K6, I1: without that of a file, or the last one of a folder. The job's own folder holds the manifest as well, and
    is lost with it: there a backup that was stored is gone (I2).
    """
    recording = record(tmp_path, way, FEW)
    start = 0
    for name, end in recording.stored.items():
        renamed = next(n for n in range(start, end) if _names(recording.steps[n]) >= {f"{name}.json"})
        last = {
            step.what: n for n, step in enumerate(recording.steps[:renamed]) if isinstance(step, Sync) and n >= start
        }
        assert len(last) >= 12
        for what, number in last.items():
            kinds = ("I2",) if what == ROOT else ("I1",)
            assert first_cut(recording, [number], kinds, renamed), f"step {number}: {recording.steps[number]}"
        start = end


def _names(step: Step) -> set[str]:
    return set(step.names) if isinstance(step, Change) else set()


@pytest.mark.parametrize("way", WAYS)
def test_without_the_syncs_of_any_one_function_the_model_finds_what_may_be_lost(tmp_path: Path, way: str) -> None:
    """K6"""
    recording = record(tmp_path, way, FEW)
    syncs: dict[str, list[int]] = {}
    for number, step in enumerate(recording.steps):
        if isinstance(step, Sync):
            syncs.setdefault(step.by, []).append(number)
    for numbers in syncs.values():
        assert first_cut(recording, numbers, ANY)
    expected = {"put", "commit", "delete", "_make", "_write"}
    expected |= {"linked": {"put_folder", "_sync"}, "streamed": set()}.get(way, {"put_folder"})
    assert set(syncs) == expected
