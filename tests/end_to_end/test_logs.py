"""The log: everything down to DEBUG in a private rotating file, no secret in it, and never a reason to stop."""

import os
import re
import stat
import time
from pathlib import Path

import pytest

from tests.end_to_end.command import CRON, Code, Site, folder_entry, shell_entry, spellings, target_entry

CANARY = "kan'arie &gelb/4711=%\"\\"
"""A secret whose plain, URL-quoted, shell-quoted and base64 forms all differ."""


def test_the_log_is_private_and_holds_everything_down_to_debug(site: Site) -> None:
    """I7, G10: times, process numbers, levels; what children said on stderr is there too."""
    site.fill()
    site.configure([folder_entry(), shell_entry("echo 'a word on the side' >&2; date", name="date")])
    site.run("-q")
    assert stat.S_IMODE((site.log / "pickup.log").stat().st_mode) == 0o600
    assert stat.S_IMODE(site.log.stat().st_mode) == 0o700
    lines = site.log_text().splitlines()
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ (DEBUG|INFO|WARNING|ERROR) pickup\.\w+: ", line)
        for line in lines
    )
    assert any(" DEBUG pickup.process: start: tar --create" in line for line in lines)
    assert any(line.endswith("DEBUG pickup.process: sh: a word on the side") for line in lines)
    assert any(" INFO pickup.delivery: backup 2" in line for line in lines)


def test_the_reason_of_a_failure_is_in_the_log_with_its_traceback(site: Site) -> None:
    site.configure([shell_entry("date; exit 9", name="date")])
    site.run("-q", status=2)
    assert "Traceback (most recent call last)" in site.log_text()
    assert "ProcessError: sh ended with status 9" in site.log_text()


def test_the_log_is_rotated_and_all_of_it_stays_private(site: Site) -> None:
    site.fill()
    site.log.mkdir(mode=0o700)
    for name, size in (("pickup.log", 5 * 1024 * 1024), ("pickup.log.1", 1000), ("pickup.log.5", 1000)):
        (site.log / name).write_bytes(b"x" * size)
        (site.log / name).chmod(0o600)
    site.run("-q", umask=0)
    assert sorted(path.name for path in site.log.iterdir()) == [
        "pickup.log",
        "pickup.log.1",
        "pickup.log.2",
        "pickup.log.5",
    ]
    assert (site.log / "pickup.log.1").stat().st_size == 5 * 1024 * 1024
    assert (site.log / "pickup.log").stat().st_size < 100_000


def test_a_log_that_was_moved_away_by_logrotate_is_made_anew(site: Site) -> None:
    """L3: between two runs, by rename and by truncation."""
    site.fill()
    site.run("-q")
    (site.log / "pickup.log").rename(site.log / "moved.log")
    site.run("-q")
    os.truncate(site.log / "pickup.log", 0)
    site.run("-q")
    assert "backup 2" in site.log_text()
    assert "\0" not in site.log_text()


@pytest.mark.parametrize(
    "case", ["file", "link", "link to file", "link in it", "nowhere", "folder in place of file", "open"]
)
def test_a_log_that_cannot_be_written_never_stops_a_backup(site: Site, case: str) -> None:
    """L1, I12: the backup is stored, exit 1, and one line on stderr says what is wrong with the log."""
    site.fill()
    elsewhere = site.folder / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if case == "file":
        site.log.write_text("no folder\n")
        site.log.chmod(0o600)
    elif case == "link":
        site.log.symlink_to(elsewhere)
    elif case == "link to file":
        site.log.symlink_to("/etc/hostname")
        site.private.remove(site.log)
    elif case == "link in it":
        site.log.mkdir(mode=0o700)
        (site.log / "pickup.log").symlink_to(elsewhere / "victim")
    elif case == "nowhere":
        site.configure(LOG_FOLDER="/proc/nowhere/log")
    elif case == "open":
        site.log.mkdir()
        site.log.chmod(0o777)
        site.private.remove(site.log)
    else:
        (site.log / "pickup.log").mkdir(parents=True)
        site.log.chmod(0o700)
        (site.log / "pickup.log").chmod(0o700)
    result = site.run("-q", status=1)
    assert result.err.startswith("web: backup stored, with warnings: there is no log in "), result
    assert re.fullmatch(r"WARNING: there is no log in \S+: .+\n(Hint: .+\n)?", result.problems), result
    assert ("/proc/nowhere/log" if case == "nowhere" else str(site.log)) in result.err
    assert [status for _, status in site.listed(status=1)] == ["complete"]
    assert not list(elsewhere.iterdir())


def test_a_logging_dictionary_replaces_all_of_it_and_is_freed_of_secrets_too(site: Site) -> None:
    """L5, I6: the user's own formatter and file, at DEBUG, of a run that fails with the secret in its message."""
    site.fill()
    site.canaries.append(CANARY)
    secret = site.folder / "secret"
    secret.write_text(CANARY + "\n")
    secret.chmod(0o600)
    own = site.folder / "log"
    own.mkdir(mode=0o700)
    logging = {
        "version": 1,
        "formatters": {"own": {"format": "own %(levelname)s %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(own / "own.log"), "formatter": "own"}},
        "root": {"level": "DEBUG", "handlers": ["file"]},
    }
    text = 'echo "password is $KEY" >&2; exit 1'
    entry = shell_entry(text, name="dump", env={"KEY": Code(f"secret_file({str(secret)!r})")})
    head = "from pickup_core.api import secret_file"
    site.configure([folder_entry(), entry], head=head, LOGGING=logging)
    result = site.run(status=2)
    assert result.out == ""
    assert result.err == "ERROR: ended with status 2; what LOGGING in the config names tells why\n"
    assert (
        "own ERROR GENERATORS[1] 'dump' (command): output: sh ended with status 1: password is ***"
        in (own / "own.log").read_text()
    )
    assert not (site.log / "pickup.log").exists()


@pytest.mark.parametrize("source", ["file", "env", "command", "credential", "literal"])
def test_a_secret_is_seen_nowhere_wherever_it_comes_from(site: Site, source: str) -> None:
    """I6, L5, F13: a command gets it in its environment, prints it in all its forms to stderr, and fails or not."""
    site.fill()
    site.canaries.append(CANARY)
    credentials = site.folder / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "key").write_text(CANARY)
    (credentials / "key").chmod(0o600)
    (site.folder / "forms").write_bytes(b"\n".join(sorted(spellings(CANARY))))
    value = {
        "file": f"secret_file({str(credentials / 'key')!r})",
        "env": "secret_env('MY_KEY')",
        "command": f"secret_command(['cat', {str(credentials / 'key')!r}])",
        "credential": "secret_credential('key')",
        "literal": repr(CANARY),
    }[source]
    site.env = {**CRON, "MY_KEY": CANARY, "CREDENTIALS_DIRECTORY": str(credentials)}
    head = "from pickup_core.api import secret_file, secret_env, secret_command, secret_credential"
    proof = site.folder / "proof"
    text = f'printf %s "$API_TOKEN" > {proof}; cat {site.folder}/forms >&2; env >&2; date; exit $STATUS'
    for status in ("0", "1"):
        entry = shell_entry(text, name="dump", env={"API_TOKEN": Code(value), "STATUS": status})
        site.configure([folder_entry(), entry], head=head)
        site.run("-d", status=2 if status == "1" else 0)
        assert proof.read_text() == CANARY, "the command did not get the secret"
    site.run("-d", "check")
    site.run("-d", "verify", "all")
    site.run("list", "--json")
    stored = (site.backups / "web" / site.names()[0] / "pickup/config.py").read_text()
    if source == "literal":
        assert '"***"' in stored
    else:
        assert value in stored, "where it comes from is no secret"


def test_a_history_that_cannot_be_written_is_a_warning(site: Site) -> None:
    """L6, I12: the backup is stored, exit 1, also where LOGGING hides the words."""
    site.fill()
    site.run("-q")
    history = site.state / "web.history.jsonl"
    history.unlink()
    history.mkdir(mode=0o700)
    time.sleep(1.1)  # the name of the last backup is not known any more
    result = site.run("-q", status=1)
    assert f"history {history} could not be written: " in result.err
    site.run("list", status=1)
    assert len(site.names()) == 2
    site.configure(LOGGING={"version": 1, "loggers": {"pickup": {"handlers": [], "propagate": False}}})
    time.sleep(1.1)
    assert "ended with status 1" in site.run("-q", status=1).err


def test_a_secret_does_not_reach_children_that_have_no_need_of_it(site: Site) -> None:
    """I6: a variable that held a secret is taken out of the environment of all other children."""
    site.fill()
    site.env = {**CRON, "MY_KEY": CANARY, "CREDENTIALS_DIRECTORY": "/nonexistent"}
    head = "from pickup_core.api import secret_env\nKEY = secret_env('MY_KEY')"
    site.configure([shell_entry("env; cat /proc/$PPID/cmdline | tr '\\0' ' '")], head=head)
    site.run("-q")
    seen = (site.restored() / "command/script/output").read_text()
    assert "MY_KEY" not in seen
    assert "CREDENTIALS_DIRECTORY" not in seen
    assert CANARY not in seen


def test_an_older_log_says_the_same_for_every_run(site: Site, tmp_path: Path) -> None:
    """E13: ten nights with standing facts (no retention, an older entry that may be empty) write nothing to stderr."""
    site.fill()
    site.configure([folder_entry(), shell_entry("true", name="empty", allow_empty=True)], [target_entry()])
    for _ in range(3):
        assert site.run("-q").err == ""
