"""What a run with `-q` leaves for cron to mail: nothing after a good night, one message after a bad one. The commands in
it are run, and bring what was missing. Without `-q` the same is said below what went wrong. That Debian's cron mails it
is seen in tests/test_schedule.py.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from typing import Any

import pytest

from tests.end_to_end.command import (
    CHECKOUT,
    CRON,
    JOB,
    Code,
    Result,
    Site,
    folder_entry,
    shell_entry,
    target_entry,
    wait_until,
)

STREAMS = pytest.mark.parametrize("settings", [{}, {"STAGING_AREA": None}], ids=["staged", "streamed"])
DB = "cat db 2> /dev/null || { echo no route to host >&2; exit 3; }"
PROGRAM = "/opt/pickup/.venv/bin/python /opt/pickup/pickup.py"


@pytest.fixture
def two(site: Site) -> Site:
    """A site with a folder and a database, which is kept at two targets."""
    site.fill()
    site.fill({"db": "rows\n"}, "data")
    configure(site)
    return site


def configure(site: Site, **settings: Any) -> None:
    entries = [folder_entry(), shell_entry(f"cd {site.folder}/data && {DB}", name="db")]
    site.configure(entries, [target_entry(), target_entry("other", name="nas")], **settings)


def break_db(site: Site) -> None:
    (site.folder / "data/db").unlink()


def section(said: Result | str, head: str) -> list[str]:
    """Give the lines below a head."""
    found = re.search(rf"(?m)^{head}:\n((?:  .*\n)+)", said if isinstance(said, str) else said.err)
    return [line.strip() for line in found[1].splitlines()] if found else []


def carry_out(site: Site, command: str) -> None:
    """Run a command of a message, as a shell of the administrator would."""
    subprocess.run(command, shell=True, check=True, env=CRON, cwd="/", capture_output=True)
    site.look_over()


def test_a_good_night_says_nothing(two: Site) -> None:
    """E10"""
    result = two.run("-q")
    assert (result.out, result.err) == ("", "")


@STREAMS
def test_an_entry_that_failed(two: Site, settings: dict[str, Any]) -> None:
    configure(two, **settings)
    good = two.backup()
    break_db(two)
    result = two.run("-q", status=2)
    bad = two.names()[0]
    first, second, *_ = result.err.splitlines()
    assert first == "web: partial backup stored: command 'db': output: sh ended with status 3: no route to host"
    assert second == ""
    assert result.out == ""
    assert f"backup {bad}\npartial backup stored: exit code 2, 1 error, 0 warnings\n" in result.err
    assert result.err.count("ERROR: ") == 1
    stored, safe = section(result, "Safe nevertheless")
    assert stored == "folder/files: in this backup at disk, nas"
    assert re.fullmatch(rf"command/db: {good} \(.* ago\) at disk, nas", safe)
    assert not section(result, "Pruned")
    assert result.err.endswith(f"\nLog: {two.log}/pickup.log\n")
    [command] = section(result, "Once it works again")
    two.fill({"db": "rows again\n"}, "data")
    carry_out(two, command)
    [path] = (two.folder / "other" / JOB).glob(f"{two.names()[0]}*.json")
    assert [entry["status"] for entry in json.loads(path.read_text())["entries"]] == ["skipped", "ok"]


@pytest.mark.parametrize("settings", [{}, {"HEARTBEAT_URL": "http://127.0.0.1:9/x"}], ids=["nobody", "somebody"])
def test_who_looks_on_is_told_the_same(two: Site, settings: dict[str, Any]) -> None:
    """Whether there is somebody else to be told or not; nothing of it is on stderr, where each error has been."""
    good = two.backup()
    configure(two, **settings)
    break_db(two)
    (two.folder / "other").rename(two.folder / "away")
    result = two.run(status=2)
    safe = section(result.out, "Safe nevertheless")
    assert safe[0] == "folder/files: in this backup at disk"
    assert re.fullmatch(rf"command/db: {good} \(.* ago\) at disk, nas \(not read now\)", safe[1])
    assert len(section(result.out, "Once it works again")) == 2
    assert f"\nLog: {two.log}/pickup.log\n" in result.out
    assert "\n  folder/files: in this backup at disk\n" not in result.err
    assert "INFO pickup.notify: Safe nevertheless:\n" in (two.log / "pickup.log").read_text()
    assert "Safe nevertheless" not in two.run("-n", status=2).out


@STREAMS
def test_a_target_that_failed(two: Site, settings: dict[str, Any]) -> None:
    configure(two, **settings)
    good = two.backup()
    (two.folder / "other").rename(two.folder / "away")
    result = two.run("-q", status=2)
    assert result.err.startswith("web: backup stored at 1 of 2 targets: folder 'nas': /")
    assert f"\nERROR: TARGETS[1] 'nas' (folder): {two.folder}/other does not exist\nHint: " in result.err
    stored, safe = section(result, "Safe nevertheless")
    assert stored == "command/db, folder/files: in this backup at disk"
    assert re.fullmatch(rf"command/db, folder/files: {good} \(.* ago\) at nas \(not read now\)", safe)
    [command] = section(result, "Once it works again")
    (two.folder / "away").rename(two.folder / "other")
    carry_out(two, command)
    assert two.names(two.folder / "other") == two.names()


def test_an_entry_and_a_target_that_failed_have_a_command_each(two: Site) -> None:
    two.backup()
    break_db(two)
    (two.folder / "other").rename(two.folder / "away")
    result = two.run("-q", status=2)
    assert result.err.startswith("web: partial backup stored at 1 of 2 targets: command 'db': ")
    commands = [shlex.split(line)[4:] for line in section(result, "Once it works again")]
    assert commands == [["run", "--only=db"], ["copy", two.names()[0], "--target=disk", "--to=nas"]]


def test_a_backup_that_is_nowhere(two: Site) -> None:
    good = two.backup()
    for name in ("other", "backups"):
        (two.folder / name).rename(two.folder / f"{name}-away")
    result = two.run("-q", "run", "--only", "files", status=2)
    assert result.err.startswith("web: backup failed: folder '")
    [safe] = section(result, "Safe nevertheless")
    assert re.fullmatch(rf"folder/files: {good} \(.* ago\) at disk \(not read now\), nas \(not read now\)", safe)
    for name in ("other", "backups"):
        (two.folder / f"{name}-away").rename(two.folder / name)
    [command] = section(result, "Once it works again")
    carry_out(two, command)
    assert len(two.names()) == len(two.names(two.folder / "other")) == 2


def test_what_the_targets_hold_counts_and_not_what_the_history_says(two: Site) -> None:
    """Somebody has deleted the newest good copy at one target, and has a backup of another machine at the other."""
    older, newer = two.backup(), two.backup()
    (two.backups / JOB / f"{newer}.json").unlink()
    break_db(two)
    safe = section(two.run("-q", status=2), "Safe nevertheless")[1]
    assert re.fullmatch(rf"command/db: {newer} \(.* ago\) at nas; {older} \(.* ago\) at disk", safe)


def test_an_optional_target_that_is_not_there_lacks_nothing(two: Site) -> None:
    break_db(two)
    targets = [target_entry(), target_entry("none/other", name="nas", optional=True)]
    two.configure([shell_entry(f"cd {two.folder}/data && {DB}", name="db"), folder_entry()], targets)
    result = two.run("-q", status=2)
    assert result.err.startswith("web: partial backup stored: command 'db': ")
    assert len(section(result, "Once it works again")) == 1


def test_what_was_never_stored_is_said_to_be_nowhere(two: Site) -> None:
    break_db(two)
    assert "command/db: none at disk, nas" in section(two.run("-q", status=2), "Safe nevertheless")


def test_what_was_pruned(two: Site) -> None:
    last = [target_entry(retention={"last": 1})]
    two.configure([folder_entry()], last)
    old = two.backup()
    two.configure([folder_entry()], last, AFTER=Code("lambda: 1 / 0"))
    result = two.run("-q", status=2)
    assert result.err.startswith("web: backup stored, with errors: job web: ")
    assert section(result, "Pruned") == [f"{old} at disk"]
    assert not section(result, "Once it works again")


def test_a_warning(site: Site) -> None:
    site.configure([shell_entry("head -c 9000 /dev/urandom")])
    site.backup()
    site.configure([shell_entry("echo less")])
    result = site.run("-q", status=1)
    assert result.err.startswith("web: backup stored, with warnings: command 'script': output has shrunk from ")
    assert result.err.endswith(f"\n\nLog: {site.log}/pickup.log\n")
    assert not section(result, "Safe nevertheless")


def test_a_log_that_cannot_be_written_is_part_of_the_message(two: Site) -> None:
    """L2"""
    two.log.mkdir(mode=0o700)
    (two.log / "pickup.log").symlink_to("/dev/full")
    result = two.run("-q", status=1)
    assert result.err.startswith("web: backup stored, with warnings: there is no log in ")
    assert result.err.count("WARNING: there is no log in ") == 1


def test_a_warning_is_not_lost_where_the_config_is_wrong(two: Site) -> None:
    two.log.write_text("no folder")
    two.log.chmod(0o600)
    result = two.run("-q", "run", "--only", "nonsense", status=3)
    assert "WARNING: there is no log in " in result.err
    assert "there is no entry 'nonsense' in the config" in result.err


def test_a_run_that_is_stopped(site: Site) -> None:
    """Who stops it does not wait until the target has been looked at."""
    site.configure([shell_entry("echo begun")])
    good = site.backup()
    site.configure([shell_entry("echo begun; sleep 60")])
    process = site.start("-q")
    wait_until(lambda: list(site.staging.glob("*/backup/command")), "the entry is at work")
    process.send_signal(signal.SIGTERM)
    result = site.finish(process)
    assert result.status == 128 + signal.SIGTERM
    assert result.err.startswith("web: backup failed: stopped by SIGTERM\n\n")
    assert result.err.count("stopped by SIGTERM") == 2, "in the first line, and among the errors"
    [safe] = section(result, "Safe nevertheless")
    assert re.fullmatch(rf"command/script: {good} \(.* ago\) at disk \(not read now\)", safe)
    assert len(section(result, "Once it works again")) == 1


def test_a_run_that_is_stopped_when_one_target_has_it(two: Site) -> None:
    (two.source / "large").write_bytes(os.urandom(3_000_000))
    slow = target_entry("other", name="nas", bandwidth=200)
    two.configure([folder_entry()], [target_entry(), slow])
    process = two.start("-q")
    wait_until(lambda: list(two.backups.glob(f"{JOB}/*.json")), "the first target has it")
    process.send_signal(signal.SIGTERM)
    result = two.finish(process)
    assert result.err.startswith("web: backup stored at 1 of 2 targets: stopped by SIGTERM\n")
    assert section(result, "Safe nevertheless")[0] == "folder/files: in this backup at disk"
    [command] = section(result, "Once it works again")
    two.configure([folder_entry()], [target_entry(), target_entry("other", name="nas")])
    carry_out(two, command)
    assert two.names() == two.names(two.folder / "other")


@pytest.mark.parametrize("level", ["warning", "error"])
def test_what_a_library_warns_of_in_a_good_night_is_not_lost(two: Site, level: str) -> None:
    two.configure(
        BEFORE=Code(f"lambda: logging.getLogger('acme.lib').{level}('the data may be stale')"), head="import logging"
    )
    process = two.start("-q")
    assert process.communicate()[1].decode() == f"{level.upper()}: the data may be stale\n"


def test_what_a_program_said_is_told_to_its_end(two: Site) -> None:
    two.configure([shell_entry("for i in $(seq 19); do printf '%0150d\\n' $i >&2; done; echo the cause >&2; exit 1")])
    result = two.run("-q", status=2)
    assert "the cause\n" in result.err


def test_another_run_at_work(site: Site) -> None:
    site.configure([shell_entry("echo begun; sleep 60")])
    process = site.start("-q")
    wait_until(lambda: list(site.staging.glob("*/backup/command")), "the entry is at work")
    result = site.run("-q", status=4)
    assert result.err.startswith("web: backup failed: another run ")
    assert not section(result, "Safe nevertheless")
    assert result.err.endswith(f"\nLog: {site.log}/pickup.log\n")
    process.send_signal(signal.SIGTERM)
    site.finish(process)


def test_an_entry_that_is_not_in_the_config(two: Site) -> None:
    result = two.run("-q", "run", "--only", "nonsense", status=3)
    assert "there is no entry 'nonsense' in the config" in result.err.splitlines()[0]
    assert "Hint: there are: files, db\n" in result.err


def test_names_that_would_command_a_terminal_are_only_shown(site: Site) -> None:
    """L4"""
    site.configure([shell_entry("printf 'a\\033[2J\\nb' >&2; exit 1")])
    result = site.run("-q", status=2)
    assert "\x1b" not in result.err
    assert result.err.splitlines()[0].endswith("a\\x1b[2J")


def test_whoever_has_a_logging_of_his_own_gets_what_that_says(two: Site) -> None:
    break_db(two)
    handlers = {"err": {"class": "logging.StreamHandler", "level": "ERROR"}}
    configure(two, LOGGING={"version": 1, "handlers": handlers, "root": {"handlers": ["err"], "level": "INFO"}})
    result = two.run("-q", status=2)
    assert result.err == "GENERATORS[1] 'db' (command): output: sh ended with status 3: no route to host\n"


def test_the_manual_shows_such_a_message(site: Site) -> None:
    site.fill()
    site.fill({"db": "rows\n"}, "data")
    entries = [folder_entry(name="www"), shell_entry(f"cd {site.folder}/data && {DB}", name="shop")]
    site.configure(entries, [target_entry(), target_entry("mnt/nas", name="nas")], JOB="web01")
    site.run("-q")
    break_db(site)
    (site.folder / "mnt/nas").rename(site.folder / "mnt/away")
    said = site.run("-q", status=2).err.replace(shlex.join(site.command(config=False)), PROGRAM)
    said = said.replace(socket.gethostname(), "web01.example.org").replace(f"{site.log}/", "/opt/pickup/logs/")
    said = said.replace(str(site.config), "/opt/pickup/config.py").replace(str(site.folder), "")
    assert alike(said) == alike((CHECKOUT / "docs/how-to/mail.txt").read_text())


def alike(text: str) -> str:
    """Give a message without its times."""
    return re.sub(r"\(.* ago\)", "(AGO)", re.sub(r"20\d\d-\d\d-\d\dT\d{6}Z", "BACKUP", text))
