"""Many hosts with one repository and one place: what their configs share, who writes to which job, and what goes."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core.manifest import backup_id
from tests.end_to_end.command import CANARY, JOB, Code, Site, command_entry, folder_entry, target_entry, wait_until
from tests.servers.running import not_for_this_user
from tests.servers.s3 import rclone_s3
from tests.servers.sshd import sshd

Place = Callable[[Site], AbstractContextManager[dict[str, Any]]]


@contextlib.contextmanager
def in_folder(site: Site) -> Iterator[dict[str, Any]]:
    site.private.append(site.folder / "far")
    yield target_entry(site.folder / "far", name="far")


@contextlib.contextmanager
def on_ssh(site: Site) -> Iterator[dict[str, Any]]:
    with sshd() as server:
        config = {name: str(value) if isinstance(value, Path) else value for name, value in server.config().items()}
        yield {"name": "far", "profile": "ssh", "config": {**config, "path": "place"}}


@contextlib.contextmanager
def in_object_store(site: Site) -> Iterator[dict[str, Any]]:
    with rclone_s3() as server:
        yield {"name": "far", "profile": "object_store", "config": server.config("hosts")}


PLACES: dict[str, Place] = {"folder": in_folder, "ssh": on_ssh, "object_store": in_object_store}


def share(site: Site, text: str, name: str = "common.py") -> Path:
    path = site.folder / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


# What configs share


def test_hosts_share_modules_and_each_backup_has_a_copy_of_it_without_secrets(site: Site) -> None:
    """I6: check and run take it; the backup holds what made it."""
    site.fill()
    share(site, f"from places.disk import DISK\nMAIL_PASSWORD = {CANARY!r}\n")
    share(site, "", "places/__init__.py")
    share(site, f"DISK = {target_entry()!r}\nprint('loaded')\n", "places/disk.py")
    site.configure(targets=Code("[DISK]"), head="from common import DISK, MAIL_PASSWORD as PASSWORD")
    assert "  it imports common.py, places/__init__.py, places/disk.py\n" in site.run("check").out
    folder = site.backups / JOB / site.backup()
    stored = {path.relative_to(folder / "pickup").as_posix() for path in (folder / "pickup").rglob("*.py")}
    modules = ("common.py", "places/__init__.py", "places/disk.py")
    assert stored == {"config.py", *(f"imported/{name}" for name in modules)}
    assert 'MAIL_PASSWORD = "***"' in (folder / "pickup/imported/common.py").read_text()
    site.run("verify", "--deep")
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    assert not list(site.folder.rglob("*.pyc"))


def test_a_module_that_others_can_write_stops_everything_before_it_is_run(site: Site) -> None:
    """F8."""
    site.fill()
    path = share(site, f"open({str(site.folder / 'run')!r}, 'w')\n")
    path.chmod(0o662)
    site.configure(head="import common")
    for command in ("run", "check", "list", "prune"):
        result = site.run(command, status=3)
        assert result.err == (
            f"ERROR: config.py, line 1: {path} can be written by others, who could change what it says\n"
            f"Hint: chmod go-w {path}\n"
        )
    assert not (site.folder / "run").exists()
    assert not site.names()


def test_a_mistake_in_a_module_is_told_with_its_line_and_without_secrets(site: Site) -> None:
    site.fill()
    path = share(site, f"DB_PASSWORD = {CANARY!r}\nTARGETS = [DB_PASSWORD + 1]\n")
    site.configure(head="import common")
    result = site.run(status=3)
    assert result.err == (
        f'ERROR: common.py, line 2: TypeError: can only concatenate str (not "int") to str\nHint: mend {path}\n'
    )
    share(site, f"DB_PASSWORD = {CANARY!r}\nraise ValueError(DB_PASSWORD)\n")
    assert site.run(status=3).err == f"ERROR: common.py, line 2: ValueError: ***\nHint: mend {path}\n"


# One backup goes


@pytest.mark.parametrize("kind", PLACES)
def test_a_backup_with_a_secret_goes_everywhere(site: Site, kind: str) -> None:
    """The manifest first, and then it is listed nowhere; the others are whole."""
    site.fill()
    with PLACES[kind](site) as far:
        site.configure(targets=[target_entry(), far])
        first = site.backup()
        site.fill({"secret.txt": "4711\n"})
        second = site.backup("--keep", "before the move")
        site.source.joinpath("secret.txt").unlink()
        third = site.backup()
        assert "is kept: before the move\nHint: --even-kept" in site.run("delete", second, status=3).err
        shown = site.run("delete", second, "--even-kept", "-n").out
        assert [line.split(":")[0] for line in shown.splitlines()] == ["folder/disk", f"{far['profile']}/far"]
        assert len(site.listed()) == 6
        result = site.run("delete", second, "--even-kept")
        assert result.out == shown.replace("would delete", "deleted")
        assert site.listed() == [(third, "complete"), (first, "complete")] * 2
        site.run("verify", "all")
        assert "no target holds a backup" in site.run("delete", second, status=3).err
        site.run("delete", first, "--target", "far")
        assert site.listed("--target", "far") == [(third, "complete")]
        site.run("delete", third, "--target", "far")
        site.run("delete", third)
        assert "the last copy that was found of folder/files" in site.run("delete", first, status=3).err
        assert site.listed() == [(first, "complete")]


def test_the_last_copy_goes_only_where_that_is_meant(site: Site) -> None:
    site.fill()
    site.configure([folder_entry(), command_entry("date", name="date")])
    both, one = site.backup(), site.backup("--only", "date")
    result = site.run("delete", both, status=3)
    assert result.err == (
        f"ERROR: backup {both} of job {JOB} holds the last copy that was found of folder/files\n"
        "Hint: --even-last deletes it all the same; a newer backup would hold another one\n"
    )
    site.run("delete", both, "--even-last")
    assert site.listed() == [(one, "partial")]
    assert site.backup() not in (both, one)


def test_a_target_that_does_not_answer_is_told_and_served_later(site: Site) -> None:
    """Exit code 2: there it is still."""
    site.fill()
    with in_object_store(site) as far:
        site.configure(targets=[target_entry(), far])
        name, _ = site.backup(), site.backup()
        far_config = far["config"]
        far["config"] = {**far_config, "endpoint": "http://127.0.0.1:9"}
        far |= {"retries": 0}
        site.configure(targets=[target_entry(), far])
        result = site.run("delete", name, status=2)
        assert "TARGETS[1] 'far' (object_store): " in result.err
        assert name not in site.names()
        far["config"] = far_config
        site.configure(targets=[target_entry(), far])
        assert (name, "complete") in site.listed("--target", "far")
        assert site.run("delete", name).out.startswith(f"object_store/far: deleted {name}")
        assert name not in dict(site.listed())


# Renamed, cloned and retired hosts


@pytest.mark.parametrize("kind", PLACES)
def test_a_clone_is_told_in_the_next_run_of_the_other_machine(site: Site, kind: str) -> None:
    """R19: where nothing is ever pruned, too."""
    if os.geteuid() != 0 or not Path("/etc/machine-id").exists():
        not_for_this_user("only root can give a process another machine id")
    site.fill()
    with PLACES[kind](site) as far:
        site.configure(targets=[far])
        site.run("-q")
        site.run("-q")
        assert site.run("-q", "--dry-run").err == ""
        clone = Site(site.folder / "clone")
        clone.fill()
        clone.configure(targets=[far])
        clone.prefix = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f'mount --bind {_machine_id(clone)} /etc/machine-id; exec "$@"',
            "sh",
        ]
        _let_the_second_pass()
        clone.run("-q", status=1)  # it is told of the first one
        _let_the_second_pass()
        for command in (["--dry-run"], []):
            result = site.run("-q", *command, status=1)
            assert "'far'" in result.err
            assert f"no run here made the newest backup of job {JOB}, " in result.err
            assert "Hint: give each machine its own JOB" in result.err
        clone.configure(targets=[far], JOB="clone")
        clone.run("-q")
        site.run("-q", status=0)


def _let_the_second_pass() -> None:
    """Two machines that begin in the same second meet: the later one fails."""
    second = backup_id(datetime.now(timezone.utc))
    wait_until(lambda: backup_id(datetime.now(timezone.utc)) > second, "the next second")


def _machine_id(site: Site) -> Path:
    path = site.folder / "machine-id"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    return path


@pytest.mark.parametrize("kind", PLACES)
def test_one_host_prunes_for_those_that_may_not(site: Site, kind: str) -> None:
    """R18: all jobs of the place, each by what it holds, and one that is retired."""
    site.fill()
    with PLACES[kind](site) as far:
        for job in ("web", "db"):
            site.configure(targets=[far], JOB=job)
            for _ in range(3):
                site.run("-q")
        trusted = Site(site.folder / "trusted")
        far["retention"] = {"last": 2}
        trusted.configure(Code("()"), [far])
        trusted.write_config(
            trusted.config.read_text().replace("GENERATORS = ()\n", "").replace(f"JOB = {JOB!r}\n", "")
        )
        trusted.run("-q", "prune", "--job", "db")
        jobs = [each["job"] for each in trusted.run("list", "--all-jobs", "--json").json]
        assert sorted(jobs) == ["db", "db", "web", "web", "web"]
        assert "deleted 1 of 3 backups" in trusted.run("prune", "--all-jobs").out
        jobs = [each["job"] for each in trusted.run("list", "--all-jobs", "--json").json]
        assert sorted(jobs) == ["db", "db", "web", "web"]
        trusted.run("verify", "all", "--job", "db")
        del far["retention"]
        site.configure(targets=[far], JOB="db")
        site.run("-q")
