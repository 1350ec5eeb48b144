"""Much of it: a hundred thousand files, and a large one, in bounded memory."""

import os
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.command import Result, Site, folder_entry
from tests.end_to_end.trees import looks_of

MOST_MEGABYTES = 120
FILES = 100_000
LARGE = 2 * 1024**3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Peaks(threading.Thread):
    """Looks every few milliseconds how much memory a process and those below it have ever had."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._ended = threading.Event()
        self.megabytes: dict[str, float] = {}

    def run(self) -> None:
        while not self._ended.wait(0.005):
            for pid in (self._process, *_below(self._process)):
                self._look_at(pid)

    def stop(self) -> dict[str, float]:
        self._ended.set()
        self.join()
        return self.megabytes

    def _look_at(self, pid: int) -> None:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return
        if found:
            self.megabytes[name] = max(self.megabytes.get(name, 0.0), int(found[1]) / 1024)


def _below(pid: int) -> list[int]:
    try:
        children = [
            int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*children, *(below for child in children for below in _below(child))]


def _measured(site: Site, *arguments: object) -> Result:
    """Run a command and see that none of its processes ever had more than it should."""
    before = time.monotonic()
    process = site.start(*arguments)
    peaks = Peaks(process.pid)
    peaks.start()
    try:
        out, err = process.communicate(timeout=900)
    finally:
        megabytes = peaks.stop()
    result = Result(tuple(map(str, arguments)), process.returncode, out.decode(), err.decode())
    shown = ", ".join(f"{name} {size:.0f} MB" for name, size in sorted(megabytes.items()))
    print(f"pickup {' '.join(map(str, arguments[:2]))}: {time.monotonic() - before:.1f} s, {shown}")
    assert result.status == 0, result
    assert megabytes, "nothing was measured"
    assert max(megabytes.values()) < MOST_MEGABYTES, shown
    return result


@pytest.fixture
def roomy(site: Site) -> Iterator[Site]:
    """A site whose folders are removed as soon as the test is over: pytest would keep them."""
    yield site
    shutil.rmtree(site.folder)
    site.folder.mkdir(mode=0o700)


def test_a_hundred_thousand_files_and_a_large_one_come_back_identical_in_little_memory(roomy: Site) -> None:
    """G33: contents, modes, times, links, attributes; no process above 120 MB in run, verify, find or restore."""
    dice = random.Random(4711)
    text = dice.randbytes(4096).hex().encode()
    for number in range(FILES):
        folder = roomy.source / f"{number // 1000:03d}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        path = folder / f"file {number}"
        path.write_bytes(text[dice.randrange(4096) :][: dice.randrange(1024, 8192)])
        if number % 1000 == 1:
            path.chmod(dice.choice((0o600, 0o640, 0o755, 0o444)))
            os.link(path, folder / "again")
            os.symlink(f"file {number}", folder / "link")
            os.setxattr(path, "user.number", str(number).encode())
        os.utime(path, ns=(number * 10_000_000_007, number * 10_000_000_007))
    with (roomy.source / "large").open("wb") as file:
        for _ in range(LARGE // 2 // len(text)):
            file.write(text)
        for _ in range(LARGE // 2 // (1 << 20)):
            file.write(dice.randbytes(1 << 20))
    roomy.configure([folder_entry()])
    _measured(roomy, "-q")
    _measured(roomy, "-q", "verify")
    found = _measured(roomy, "find", "file 54321", "--json")
    assert [each["path"] for each in found.json] == ["source/054/file 54321"]
    to = roomy.folder / "to"
    _measured(roomy, "-q", "restore", "--path", "file 54321", "--to", roomy.folder / "one")
    assert len([path for path in (roomy.folder / "one").rglob("*") if path.is_file()]) == 1
    _measured(roomy, "-q", "restore", "--to", to)
    before = looks_of(roomy.source)
    assert len(before) > FILES
    after = looks_of(to / "folder/files/source")
    assert after.keys() == before.keys()
    different = [path for path in before if before[path] != after[path]]
    assert not different, different[:5]


def test_fifty_thousand_entries_in_one_folder_are_no_trouble(roomy: Site) -> None:
    """G33: also with `split`, which looks at each, and with as many names to exclude as to keep."""
    roomy.source.mkdir()
    for number in range(50_000):
        (roomy.source / f"{number}.{'tmp' if number % 2 else 'txt'}").touch()
    roomy.configure([folder_entry(split=True, exclude=["*.tmp"])])
    _measured(roomy, "-q", "-n")
    _measured(roomy, "-q")
    to = roomy.folder / "to"
    _measured(roomy, "-q", "restore", "--to", to)
    assert len(list((to / "folder/files/source").iterdir())) == 25_000
