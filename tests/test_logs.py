"""Where messages go: each to its stream, all of them to a private file, none with a secret, and never in the way."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.builders import NOBODY, ROOT, as_ordinary_user, ordinary_folder, plain_locale, python

HEAD = """
import logging, sys
from pathlib import Path
from pickup_core import logs as module
from pickup_core.errors import ConfigError
from pickup_core.secret import Secret
folder, logs, log = Path(sys.argv[1]), module.Logs(), logging.getLogger("pickup.test")
"""
ALL = """
log.debug("a detail")
log.info("some information")
log.warning("a warning")
log.error("an error")
"""
TO_BOTH = "logs.to_console(quiet=False, debug=False); logs.to_file(folder)\n"


def logged(folder: Path, code: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return python(HEAD + code, folder, **options)


def file_of(folder: Path) -> Path:
    return folder / "pickup.log"


@pytest.mark.parametrize(
    ("quiet", "debug", "out"),
    [
        (False, False, "some information\n"),
        (True, False, ""),
        (False, True, "a detail\nsome information\n"),
        (True, True, "a detail\nsome information\n"),
    ],
)
def test_information_goes_to_stdout_and_trouble_to_stderr(tmp_path: Path, quiet: bool, debug: bool, out: str) -> None:
    """E10."""
    done = logged(tmp_path, f"logs.to_console(quiet={quiet}, debug={debug}){ALL}print(logs.is_broken)")
    assert done.stdout == f"{out}False\n"
    assert done.stderr == "WARNING: a warning\nERROR: an error\n"


def test_the_file_gets_everything(tmp_path: Path) -> None:
    logged(tmp_path, f"logs.to_console(quiet=True, debug=False); logs.to_file(folder){ALL}")
    lines = file_of(tmp_path).read_text().splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == [
        "DEBUG pickup.test: a detail",
        "INFO pickup.test: some information",
        "WARNING pickup.test: a warning",
        "ERROR pickup.test: an error",
    ]


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_the_file_and_its_folder_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """I7, S10, E5."""
    done = logged(tmp_path / "logs", f"import os; os.umask({umask}); (folder / 'x').parent\n{TO_BOTH}{ALL}")
    if umask != 0o777:  # with that, nobody but root could enter it
        assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
        assert stat.S_IMODE(file_of(tmp_path / "logs").stat().st_mode) == 0o600
    assert "an error" in done.stderr


def broken(done: "subprocess.CompletedProcess[str]") -> str:
    """Give what is said of a log that cannot be: once, before all else, while the rest goes its way."""
    assert done.stdout == "some information\nTrue\n", done.stderr
    assert done.stderr.endswith("\nWARNING: a warning\nERROR: an error\n")
    return done.stderr.removesuffix("\nWARNING: a warning\nERROR: an error\n")


def test_a_file_in_place_of_the_folder_stops_nothing(tmp_path: Path) -> None:
    """L1, I12."""
    path = tmp_path / "logs"
    path.touch()
    said = broken(logged(path, f"{TO_BOTH}{ALL}print(logs.is_broken)"))
    assert said == f"WARNING: there is no log in {path}: {path} is not a folder"


def test_a_link_in_place_of_the_file_stops_nothing_and_is_not_followed(tmp_path: Path) -> None:
    """L1: it may lead anywhere."""
    (tmp_path / "precious").write_text("precious")
    file_of(tmp_path).symlink_to("precious")
    said = broken(logged(tmp_path, f"{TO_BOTH}{ALL}print(logs.is_broken)"))
    what = f"Too many levels of symbolic links: {file_of(tmp_path)}"
    assert said == f"WARNING: there is no log in {tmp_path}: {what}"
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_folder_that_others_can_write_stops_nothing(tmp_path: Path) -> None:
    """L1."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o777)
    said = broken(logged(tmp_path / "logs", f"{TO_BOTH}{ALL}print(logs.is_broken)"))
    assert "can be written by others" in said
    assert os.listdir(tmp_path / "logs") == []


@pytest.mark.parametrize("name", ["closed", "closed/more"])
def test_a_folder_that_may_not_be_written_stops_nothing(name: str) -> None:
    """L1."""
    with ordinary_folder() as folder:
        (folder / "closed").mkdir(mode=0o500)
        if os.geteuid() == 0:
            os.chown(folder / "closed", NOBODY, NOBODY)
        said = broken(as_ordinary_user(f"{HEAD}{TO_BOTH}{ALL}print(logs.is_broken)", folder / name))
    assert "Permission denied" in said
    assert f"{folder}/closed" in said


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """L1."""
    logged(tmp_path / "a/b", f"{TO_BOTH}{ALL}")
    assert "an error" in file_of(tmp_path / "a/b").read_text()


def test_a_full_disk_stops_nothing_and_is_said_once(tmp_path: Path) -> None:
    """L2."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
{TO_BOTH}
for number in range(200):
    log.debug("%d: %s", number, "x" * 80)
{ALL}print(logs.is_broken)
"""
    done = logged(tmp_path, code)
    said = broken(done)
    assert said == f"WARNING: the log {file_of(tmp_path)} cannot be written: [Errno 27] File too large"


def test_a_disk_that_has_room_again_is_written_again(tmp_path: Path) -> None:
    """L2."""
    code = f"""
import resource
{TO_BOTH}
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
log.info("lost")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.info("later")
"""
    logged(tmp_path, code)
    assert file_of(tmp_path).read_text().endswith("INFO pickup.test: later\n")


SECRETS = """
Secret("c4n4ry-p&ss w")
log.info("plain c4n4ry-p&ss w, url c4n4ry-p%26ss%20w, form c4n4ry-p%26ss+w, shell 'c4n4ry-p&ss w'")
log.info("argument %s and %r", "c4n4ry-p&ss w", {"dsn": "pg://me:c4n4ry-p%26ss%20w@host"})
logging.getLogger("paramiko.transport").info("login c4n4ry-p&ss w")
try:
    raise ValueError("bad c4n4ry-p&ss w")
except ValueError:
    log.error("failed", exc_info=True)
    log.debug("a detail", exc_info=True)
"""


def test_no_message_shows_a_secret(tmp_path: Path) -> None:
    """L5, I6: nor a traceback, nor another package's messages, on the console or in the file."""
    done = logged(tmp_path, f"logs.to_console(quiet=False, debug=True); logs.to_file(folder){SECRETS}")
    text = file_of(tmp_path).read_text()
    for shown in (done.stdout + done.stderr, text):
        assert "c4n4ry" not in shown
        assert shown.count("***") >= 7
        assert "Traceback (most recent call last)" in shown
    assert "paramiko.transport: login ***" in text


def test_no_message_commands_the_terminal(tmp_path: Path) -> None:
    """L4: names come from file systems and servers."""
    done = logged(tmp_path, f"{TO_BOTH}log.info('a\\x1b[2Jb\\rc\\x9bd\\x7fe\\x00f\\tg\\nh')")
    assert done.stdout == "a\\x1b[2Jb\\x0dc\\x9bd\\x7fe\\x00f\tg\nh\n"
    assert file_of(tmp_path).read_text().endswith(": a\\x1b[2Jb\\x0dc\\x9bd\\x7fe\\x00f\tg\nh\n")


def test_a_name_that_is_no_text_goes_into_the_file_whatever_the_locale(tmp_path: Path) -> None:
    """E2, G30."""
    code = "logs.to_file(folder); log.warning('%s', '\\u00fc\\u20ac\\udcff')\nprint(logs.is_broken)"
    done = logged(tmp_path, code, env=plain_locale())
    assert done.stdout == "False\n", done.stderr
    assert file_of(tmp_path).read_text(encoding="utf-8").endswith("ü€\\udcff\n")


def test_the_file_is_rotated_and_every_part_is_private(tmp_path: Path) -> None:
    done = logged(tmp_path, f"module._FILE_SIZE = 2000\n{TO_BOTH}for number in range(300): log.debug('x' * 80)")
    assert (done.stdout, done.stderr) == ("", "")
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["pickup.log", *(f"pickup.log.{number}" for number in range(1, 6))]
    assert all(path.stat().st_size <= 2000 and stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)


def test_a_file_that_logrotate_has_moved_is_made_anew_by_the_next_process(tmp_path: Path) -> None:
    """L3."""
    logged(tmp_path, f"{TO_BOTH}log.info('first')")
    file_of(tmp_path).rename(tmp_path / "pickup.log-20261123")
    logged(tmp_path, f"{TO_BOTH}log.info('second')")
    assert file_of(tmp_path).read_text().count("\n") == 1
    assert "second" in file_of(tmp_path).read_text()


OWN = """
logs.to_console(quiet=False, debug=False)
settings = dict(
    version=1,
    formatters=dict(short=dict(format="OWN %(message)s")),
    handlers=dict(own=dict({handler}, formatter="short")),
    root=dict(handlers=["own"], level="DEBUG"),
)
try:
    logs.replace(settings)
except ConfigError as error:
    print("refused:", error)
"""
TO_OWN_FILE = '{"class": "logging.FileHandler", "filename": folder / "own.log"}'


def test_logging_in_the_config_replaces_everything_but_hides_secrets(tmp_path: Path) -> None:
    """L5."""
    done = logged(tmp_path, OWN.format(handler=TO_OWN_FILE) + ALL + SECRETS)
    text = (tmp_path / "own.log").read_text()
    assert (done.stdout, done.stderr) == ("", "")
    assert text.startswith("OWN a detail\nOWN some information\nOWN a warning\nOWN an error\nOWN plain ***")
    assert "c4n4ry" not in text
    assert "Traceback" in text


def test_logging_in_the_config_that_cannot_be_opened_stops_nothing(tmp_path: Path) -> None:
    """L1, I12: the console is as it was."""
    folder = tmp_path / "absent"
    said = broken(logged(folder, OWN.format(handler=TO_OWN_FILE) + ALL + "print(logs.is_broken)"))
    what = f"No such file or directory: {folder}/own.log"
    assert said == f"WARNING: there is no log as LOGGING describes it: {what}"


@pytest.mark.parametrize(
    ("handler", "what"),
    [
        ('{"class": "no.such.Handler"}', "Unable to configure handler 'own': "),
        (
            '{"class": "logging.StreamHandler", "level": "LOUD"}',
            "Unable to configure handler 'own': Unknown level",
        ),
    ],
)
def test_logging_in_the_config_that_is_none_is_refused(tmp_path: Path, handler: str, what: str) -> None:
    """F3."""
    done = logged(tmp_path, OWN.format(handler=handler))
    assert done.stdout.startswith(f"refused: LOGGING is no dictionary that logging.config takes: {what}")


def test_where_several_things_are_done_at_once_every_line_tells_what_it_is_about(tmp_path: Path) -> None:
    """Also one from a thread that watches a program; a line that tells it anyway stays as it is."""
    code = """
from pickup_core.process import text_of
from pickup_core.together import together
def work():
    log.warning("TARGETS[0] 'nas' (ssh): a sentence")
    log.warning("ssh/nas: a word")
    log.warning("a word of a library's")
    text_of(["sh", "-c", "echo a word of a program >&2"])
together({"ssh/nas": work, "ftp/box": lambda: None})
log.warning("a word of all")
"""
    done = logged(tmp_path, TO_BOTH + code)
    assert done.stderr.splitlines() == [
        "WARNING: TARGETS[0] 'nas' (ssh): a sentence",
        "WARNING: ssh/nas: a word",
        "WARNING: ssh/nas: a word of a library's",
        "WARNING: a word of all",
    ]
    assert "DEBUG pickup.process: ssh/nas: sh: a word of a program\n" in file_of(tmp_path).read_text()


# The journal


def in_journal(folder: Path, code: str) -> str:
    """Give what arrives of what goes to stderr, which is a pipe that is said to lead to the journal."""
    with tempfile.TemporaryFile() as journal:
        status = os.fstat(journal.fileno())
        env = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run([sys.executable, "-c", HEAD + code, folder], stderr=journal, env=env, cwd=ROOT, check=True)
        journal.seek(0)
        return journal.read().decode()


def test_the_journal_is_told_how_grave_each_line_is(tmp_path: Path) -> None:
    """So that `journalctl -p err` finds an error with its hint; the log file has nothing of it."""
    code = f'{TO_BOTH}log.warning("a warning")\nlog.error("an error\\nHint: no")\nlog.info("nothing")'
    assert in_journal(tmp_path, code) == "<4>WARNING: a warning\n<3>ERROR: an error\n<3>Hint: no\n"
    assert "<" not in file_of(tmp_path).read_text()


def test_what_ends_a_command_is_grave_too(tmp_path: Path) -> None:
    code = "from pickup_core.cli import main\nmain(['-c', '/nowhere/config.py', 'list'])"
    assert in_journal(tmp_path, code).startswith("<3>ERROR: /nowhere/config.py cannot be read")


@pytest.mark.parametrize(("level", "priority"), [("error", 3), ("warning", 4)])
def test_what_is_held_back_is_as_grave_as_what_it_is_about(tmp_path: Path, level: str, priority: int) -> None:
    code = f"""
logs.to_console(quiet=True, debug=False)
with logs.held_back() as held:
    log.{level}("it")
    held.replace("all\\nof it")
"""
    assert in_journal(tmp_path, code) == f"<{priority}>all\n<{priority}>of it\n"


def test_a_stream_that_does_not_lead_there_stays_as_it_is(tmp_path: Path) -> None:
    """As where a program that a service has started is told the same variable."""
    done = logged(tmp_path, f'{TO_BOTH}log.error("an error")', env={**os.environ, "JOURNAL_STREAM": "1:2"})
    assert done.stderr == "ERROR: an error\n"
