"""Streams: no staging area, and the same backup as with one, at all targets at once."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import (
    JOB,
    Result,
    Site,
    command_entry,
    folder_entry,
    shell_entry,
    target_entry,
    wait_until,
)
from tests.end_to_end.test_large import Peaks
from tests.servers.ftpd import vsftpd
from tests.servers.running import kill
from tests.servers.s3 import BUCKET, rclone_s3
from tests.servers.sshd import SHELL, sshd

MOST_MEGABYTES = 150
SMALL = 64 * 2**20
"""No file of a run that streams grows as large as this, but for those at its targets."""

LEAVES_FILES = '''
"""Leaves files in its folder, and says where that is."""
from pathlib import Path

API_VERSION = (1, 0)


def run(config, folder):
    (folder / "deeper").mkdir()
    (folder / "deeper/file.txt").write_text("left in the folder")
    Path(__file__).with_name("folder-was").write_text(f"{folder} {folder.stat().st_mode & 0o777:o}")
'''

IN_STEPS = """
for step in start middle end; do
    touch at-$step
    until [ -e after-$step ]; do sleep 0.01; done
    [ $step = end ] || head -c 8000000 /dev/urandom
done
"""
"""A generator that goes on step by step, as the test wants it to."""
STEPS = ("start", "middle", "end")


def streams(
    site: Site, *generators: dict[str, Any], targets: Sequence[dict[str, Any]] | None = None, **settings: Any
) -> None:
    site.configure(generators or None, targets, STAGING_AREA=None, **settings)


def plain(config: dict[str, Any]) -> dict[str, Any]:
    """Give the config of an entry as it can be written into a file."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in config.items()}


# The same backup


@pytest.fixture
def varied(site: Site) -> Site:
    """A site with many kinds of entries."""
    site.fill({"a.txt": "first\n", "deep/b.txt": "second\n", "zeros": bytes(3_000_000), "random": os.urandom(700_000)})
    with contextlib.closing(sqlite3.connect(site.folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE orders (what TEXT)")
    profiles = site.folder / "generator_profiles"
    profiles.mkdir()
    (profiles / "leaves.py").write_text(LEAVES_FILES)
    return site


ENTRIES: list[dict[str, Any]] = [
    folder_entry(),
    folder_entry(name="plain") | {"compression": "none"},
    command_entry("seq", "1", "100000"),
    shell_entry("echo lost; false", name="broken"),
    {"name": "shop", "profile": "sqlite", "config": {"databases": ["shop.db"]}},
    {"name": "left", "profile": "leaves"},
]


OTHERS = ["PICKUP.txt", "pickup/config.py", "RESTORE.txt", "SHA256SUMS"]
"""What stands beside the artefacts of a backup, and is of one night."""


def told(site: Site, name: str) -> dict[str, Any]:
    """Give the manifest of a backup, without what is of one night."""
    [manifest] = (site.backups / JOB).glob(f"{name}*.json")
    found = json.loads(manifest.read_text())
    found.pop("sha256")
    assert found.pop("id") == name
    nights = {key: found.pop(key) for key in ("started", "finished")}
    assert all(nights.values())
    assert [each["path"] for each in found.pop("others")] == OTHERS
    return found


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_config_gives_the_same_backup_with_a_staging_area_and_without(varied: Site) -> None:
    varied.configure(ENTRIES)
    staged = varied.backup(status=2)
    streams(varied, *ENTRIES)
    streamed = varied.backup(status=2)
    assert told(varied, streamed) == told(varied, staged)
    folders = [varied.backups / JOB / name for name in (staged, streamed)]
    artefacts = [
        {path: data for path, data in contents_of(folder).items() if path not in (*OTHERS, "manifest.json")}
        for folder in folders
    ]
    assert len(artefacts[0]) == 7
    assert artefacts[1] == artefacts[0]
    texts = [(folder / "RESTORE.txt").read_text().replace(folder.name, "NAME") for folder in folders]
    assert len({re.sub(r"\d\d:\d\d:\d\d UTC", "TIME", text) for text in texts}) == 1
    varied.run("verify", "all", "--deep")
    to = varied.restored(streamed)
    assert (to / "folder/files/source/deep/b.txt").read_text() == "second\n"
    assert (to / "leaves/left/deeper=2Ffile.txt").read_text() == "left in the folder"


def test_files_that_a_generator_leaves_lie_in_a_private_folder_until_they_are_sent(varied: Site) -> None:
    streams(varied, ENTRIES[-1])
    varied.backup()
    folder, mode = (varied.folder / "generator_profiles/folder-was").read_text().split()
    assert mode == "700"
    assert Path(folder).is_relative_to(f"/var/tmp/pickup-{os.geteuid()}")
    assert not Path(folder).parent.exists()
    assert not varied.staging.exists()


def test_what_is_streamed_can_be_encrypted(varied: Site) -> None:
    varied.canaries.append("first\n")
    key = varied.folder / "key"
    public = varied.run("keygen", key, config=False).out.splitlines()[0].removeprefix("public key: ")
    streams(varied, folder_entry(), targets=[target_entry(read_back=True)], ENCRYPTION={"recipients": [public]})
    varied.backup()
    varied.run("verify", "--deep", "--identity", key)
    assert (varied.restored("--identity", key) / "folder/files/source/a.txt").read_text() == "first\n"


# What the config is told


def test_a_target_that_needs_a_folder_is_refused_by_name(site: Site) -> None:
    site.fill()
    nas = {"name": "nas", "profile": "rsync", "config": {"host": "nas", "path": "elsewhere"}}
    streams(site, targets=[target_entry(), nas])
    for words in ((), ("check",), ("run", "--dry-run")):
        result = site.run(*words, status=3)
        assert (
            "TARGETS[1] 'nas' (rsync): needs the whole backup in a folder, and STAGING_AREA = None makes none"
            in result.err
        )
        assert "Hint: name a STAGING_AREA" in result.err
    assert not site.backups.exists()
    site.backups.mkdir(mode=0o700)
    site.run("list", "--target", "disk")  # reading needs no staging area


def test_check_and_dry_run_say_that_it_streams(site: Site) -> None:
    site.fill()
    streams(site)
    for words in (("check",), ("run", "--dry-run")):
        assert "no staging area: what generators make goes straight to the targets\n" in site.run(*words).out


# Targets that are killed


@dataclass
class Place:
    """A target on a server of its own: its entry, where its files lie, and how it is ended."""

    entry: dict[str, Any]
    folder: Path
    kill: Callable[[], None]


@contextlib.contextmanager
def place_on_ssh(site: Site) -> Iterator[Place]:
    with sshd() as server:
        config = plain(server.config(path="place", timeout=5))
        entry = {"name": "far", "profile": "ssh", "config": config}
        yield Place(entry, server.home(SHELL) / "place", lambda: kill(server.pid))


@contextlib.contextmanager
def place_on_ftp(site: Site) -> Iterator[Place]:
    with vsftpd() as server:
        entry = {"name": "far", "profile": "ftp", "config": plain(server.options(timeout=5))}
        yield Place(entry, server.folder / "place", lambda: kill(server.pid))


@contextlib.contextmanager
def place_in_object_store(site: Site) -> Iterator[Place]:
    with rclone_s3() as server:
        entry = {"name": "far", "profile": "object_store", "config": server.config("place", timeout=2)}
        folder = server.log_file.parent / "data" / BUCKET / "place"
        yield Place(entry, folder, lambda: kill(server.pid))


@contextlib.contextmanager
def place_in_folder(site: Site) -> Iterator[Place]:
    """A disk that is pulled out."""
    folder = site.folder / "far"
    yield Place(target_entry(folder, name="far"), folder, lambda: shutil.rmtree(folder))


PLACES = {
    "folder": place_in_folder, "ssh": place_on_ssh, "ftp": place_on_ftp, "object_store": place_in_object_store,
}  # fmt: skip


def go_on_until(site: Site, at: str) -> None:
    """Let the generator go on until it has come as far."""
    for step in STEPS[: STEPS.index(at) + 1]:
        wait_until((site.folder / f"at-{step}").exists, step)
        if step != at:
            (site.folder / f"after-{step}").touch()


def go_on(site: Site, process: "subprocess.Popen[bytes]") -> Result:
    """Let the generator go on to its end, and give what has come of the run."""
    for step in STEPS:
        (site.folder / f"after-{step}").touch()
    return site.finish(process)


@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("kind", PLACES)
def test_a_target_that_is_killed_costs_itself(site: Site, kind: str, at: str) -> None:
    """T2, T26: at the start, in the middle and at the end of a stream."""
    with PLACES[kind](site) as place:
        # the first entry sees to it that the target is connected when the second one starts
        streams(site, command_entry("seq", "9"), shell_entry(IN_STEPS), targets=[place.entry, target_entry()])
        process = site.start("-q")
        go_on_until(site, at)
        place.kill()
        result = go_on(site, process)
        assert result.status == 2, result
        [name] = site.names()
        assert result.problems.startswith(f"ERROR: TARGETS[0] 'far' ({kind}): "), result
        assert f"copy {name} --target=disk --to=far\n" in result.err, result
        assert not list(place.folder.glob(f"{JOB}/*.json"))
        assert site.run("verify", "--target", "disk", "--json").json[0]["status"] == "whole"
        stored = site.backups / JOB / name / "command/script/output.zst"
        assert stored.stat().st_size > 15_000_000


@pytest.mark.parametrize("at", STEPS)
def test_a_generator_that_is_killed_leaves_nothing_that_a_manifest_names(site: Site, at: str) -> None:
    """G5: what was sent of it is deleted everywhere; everything else is stored everywhere."""
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(PLACES[kind](site)) for kind in PLACES]
        for number, place in enumerate(places):
            place.entry["name"] = f"t{number}"
        streams(site, command_entry("seq", "9"), shell_entry(f"echo $$ > pid\n{IN_STEPS}"), command_entry("seq", "7", name="last"),
                targets=[place.entry for place in places])  # fmt: skip
        process = site.start("-q")
        go_on_until(site, at)
        os.kill(int((site.folder / "pid").read_text()), signal.SIGKILL)
        result = site.finish(process)
        assert result.status == 2, result
        [line] = result.problems.splitlines()
        assert line == "ERROR: GENERATORS[1] 'script' (command): output: sh was killed by signal 9 (out of memory?)"
        listed = site.run("list", "--json").json
        assert [each["status"] for each in listed] == ["partial"] * 4
        assert {each["status"] for each in site.run("verify", "all", "--json").json} == {"whole"}
        for place in places:
            assert not [path for path in place.folder.rglob("script/*") if path.is_file()]
            assert list(place.folder.rglob("last/*"))


def test_where_no_target_is_left_the_run_ends_at_once(site: Site) -> None:
    """The generator would never end; that hooks are called is seen too."""
    site.fill()
    broken = [target_entry(f"file/{name}", name=name) for name in ("one", "two")]
    (site.folder / "file").write_text("no folder can be made below this")
    site.configure([shell_entry("cat /dev/urandom; echo never"), folder_entry()], broken, STAGING_AREA=None,
                   head="from pathlib import Path\nAFTER = lambda: Path(__file__).with_name('after').touch()\n")  # fmt: skip
    result = site.run("-q", status=2)
    lines = result.problems.splitlines()
    assert sorted(line.partition("(folder): ")[0] for line in lines[:2]) == [
        "ERROR: TARGETS[0] 'one' ",
        "ERROR: TARGETS[1] 'two' ",
    ]
    assert lines[2:] == [
        f"ERROR: job {JOB}: no target took the backup, so the run is given up",
        "Hint: pickup.py check asks each of them",
    ]
    assert (site.folder / "after").exists()
    assert site.history()[-1]["exit"] == 2
    assert site.processes() == []


def test_an_optional_target_that_is_not_there_costs_nothing(site: Site) -> None:
    site.fill()
    streams(site, targets=[target_entry("not/mounted", name="stick", optional=True), target_entry()])
    site.backup()
    assert not (site.folder / "not").exists()


def test_a_server_that_stops_answering_holds_the_others_up_for_so_long_as_the_entry_says(site: Site) -> None:
    """T3: the others are done while it still hangs; and it drops out, though it answers again later."""
    with sshd() as server:
        far = {"name": "far", "profile": "ssh", "config": plain(server.config(path="place")), "stall": 0.5}
        long = shell_entry(f"{IN_STEPS} head -c 30000000 /dev/urandom")
        streams(site, command_entry("seq", "9"), long, targets=[far, target_entry()])
        process = site.start("-q")
        go_on_until(site, "middle")
        hanging = server.children()
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)
        for step in STEPS:
            (site.folder / f"after-{step}").touch()
        wait_until(lambda: list(site.backups.glob(f"{JOB}/*.json")), "the other target has the backup", 15)
        for pid in hanging:
            os.kill(pid, signal.SIGCONT)
        result = site.finish(process)
    assert result.status == 2, result
    what = "has taken nothing for 0.5 seconds, and drops out"
    assert result.problems.startswith(f"ERROR: TARGETS[0] 'far' (ssh): {what}\nHint: see stall in the entry\n"), result
    assert site.run("verify", "--target", "disk", "--json").json[0]["status"] == "whole"


# Stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("at", STEPS)
def test_a_signal_leaves_nothing_anywhere(site: Site, at: str, number: signal.Signals) -> None:
    streams(
        site,
        command_entry("seq", "9"),
        shell_entry(IN_STEPS),
        targets=[target_entry(), target_entry("second", name="stick")],
    )
    process = site.start("-q")
    go_on_until(site, at)
    process.send_signal(number)
    result = site.finish(process)
    assert result.status == 128 + number, result
    for target in (site.backups, site.folder / "second"):
        assert [path for path in target.rglob("*") if path.is_file()] == []


# Much of it


class Largest(threading.Thread):
    """Looks all the time how large the files are that a process writes, deleted ones too, but for those in some places."""

    def __init__(self, process: int, besides: Sequence[Path]) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._besides = besides
        self._ended = threading.Event()
        self.sizes: dict[str, int] = {}

    def run(self) -> None:
        while not self._ended.wait(0.02):
            for link in Path("/proc").glob(f"{self._process}/fd/*"):
                with contextlib.suppress(OSError):
                    path, status = link.readlink(), link.stat()
                    if stat.S_ISREG(status.st_mode) and not any(map(path.is_relative_to, self._besides)):
                        self.sizes[str(path)] = max(self.sizes.get(str(path), 0), status.st_size)

    def stop(self) -> dict[str, int]:
        self._ended.set()
        self.join()
        return self.sizes


@pytest.mark.parametrize(
    "size", [200 * 2**20, pytest.param(4 * 2**30, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_much_goes_through_three_targets_in_bounded_memory_and_is_never_on_this_disk(site: Site, size: int) -> None:
    with place_on_ssh(site) as far, place_in_object_store(site) as bucket:
        bucket.entry["name"] = "bucket"
        bucket.entry["config"]["timeout"] = far.entry["config"]["timeout"] = 60
        streams(site, command_entry("head", "-c", str(size), "/dev/urandom"), targets=[target_entry(), far.entry, bucket.entry],
                COMPRESSION="none")  # fmt: skip
        before = time.monotonic()
        process = site.start("-q")
        peaks, largest = Peaks(process.pid), Largest(process.pid, [site.backups])
        peaks.start()
        largest.start()
        out, err = process.communicate(timeout=1000)
        megabytes, sizes = peaks.stop(), largest.stop()
        assert (process.returncode, out, err) == (0, b"", b"")
        print(f"{size / 2**20:.0f} MiB in {time.monotonic() - before:.1f} s; peak {max(megabytes.values()):.0f} MB")
        assert max(megabytes.values()) < MOST_MEGABYTES, megabytes
        assert max(sizes.values()) < SMALL, sizes
        [name] = site.names()
        path = f"{JOB}/{name}/command/words/output"
        assert [(place / path).stat().st_size for place in (site.backups, far.folder, bucket.folder)] == [size] * 3
