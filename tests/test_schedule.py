"""When Pickup is started, as whom, and by which command: a crontab, read back as cron and the shell read it, and run."""

import collections
import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core.errors import UsageError
from pickup_core.schedule import Plan, Time, crontab, plan_for, time_for
from tests.builders import LOCAL, ROOT, config_text, loaded, write_config
from tests.servers.cron import cron

PLAN = Plan(("/opt/pickup/.venv/bin/python", "/opt/pickup/pickup.py"), "web01", Time(3, 5), "root", True, (), False)


def as_cron_reads_it(command: str) -> str:
    """Give what of a command cron hands to the shell: up to the first % without a backslash before it, which goes."""
    text, escaped = "", False
    for character in command:
        if not escaped and character == "%":
            break
        text = text[:-1] + "%" if escaped and character == "%" else text + character
        escaped = not escaped and character == "\\"
    return text


@given(st.lists(st.text(st.sampled_from("a/ %\\'\"$;&|<>*?#~`\N{SNOWMAN}"), min_size=1), min_size=1, max_size=4))
def test_every_word_arrives_as_it_was(words: list[str]) -> None:
    line = crontab(replace(PLAN, command=tuple(words))).splitlines()[-1]
    command = re.fullmatch(r"5 3 \* \* \*  root  (.*)", line)
    assert command
    assert shlex.split(as_cron_reads_it(command[1])) == ["nice", "-n", "10", "ionice", "-c", "3", *words, "-q"]


def test_a_bare_percent_sign_would_end_the_command() -> None:
    assert as_cron_reads_it("a % b") == "a "
    assert as_cron_reads_it(r"a \% b") == "a % b"
    assert as_cron_reads_it(r"a \\% b") == r"a \\"


def test_a_file_for_cron_d_names_the_user_and_a_users_own_crontab_does_not() -> None:
    assert crontab(replace(PLAN, user="pickup")).splitlines()[-2:] == [
        "MAILTO=root",
        "5 3 * * *  pickup  nice -n 10 ionice -c 3 /opt/pickup/.venv/bin/python /opt/pickup/pickup.py -q",
    ]
    lines = crontab(replace(PLAN, user="ada", by_root=False)).splitlines()
    assert lines[-2] == "MAILTO=ada"
    assert lines[-1].startswith("5 3 * * *  nice -n 10 ")
    assert "crontab -e" in lines[0]


def test_a_line_that_cron_would_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="cron takes no command of more than 998 bytes"):
        crontab(replace(PLAN, command=("/" + "x" * 1000,)))


@pytest.mark.parametrize("word", ["a\nb", "a\tb", "\x1b[1m", "\udcff"])
def test_what_cannot_be_written_down_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(UsageError, match="has a character that cannot be written here"):
        plan_for(loaded(tmp_path, config_text()), ["/bin/x", word], Time(3, 5), "root", True)


def test_hosts_do_not_begin_at_once() -> None:
    assert time_for("web01") == time_for("web01")
    times = collections.Counter(str(time_for(f"web{number:02}")) for number in range(300))
    assert max(times.values()) <= 8
    assert len(times) > 150
    assert {text[:2] for text in times} == {"01", "02", "03", "04", "05"}


# What a run writes to, and which rights it may need


def plan_of(folder: Path, text: str) -> Plan:
    return plan_for(loaded(folder, text), ["/bin/x"], Time(3, 5), "root", True)


def test_the_folders_are_pickups_own_and_what_entries_say_that_they_write(tmp_path: Path) -> None:
    text = config_text(
        f'{LOCAL}\nMETRICS_FILE = "/srv/metrics/pickup.prom"',
        '[dict(name="a", profile="sqlite", config=dict(databases=["data/one.db", "/srv/app/two.db"]))]',
        '[dict(name="d", profile="folder", config=dict(path="/mnt/disk")), '
        'dict(name="r", profile="rsync", config=dict(host="nas", path="b", spool="/srv/spool")), '
        'dict(name="s", profile="ssh", config=dict(host="nas", path="b"))]',
    )
    names = ("area", "state", "log", "data")
    expected = {
        *(tmp_path / name for name in names),
        Path("/srv/app"),
        Path("/mnt/disk"),
        Path("/srv/spool"),
        Path("/srv/metrics"),
    }
    assert set(plan_of(tmp_path, text).folders) == expected


def test_a_folder_within_another_is_named_once(tmp_path: Path) -> None:
    text = config_text(
        f'{LOCAL}\nLOG_FOLDER = "state/log"', targets='[dict(name="d", profile="folder", config=dict(path="state"))]'
    )
    assert plan_of(tmp_path, text).folders == (tmp_path / "area", tmp_path / "state")


@pytest.mark.parametrize(
    ("head", "generators", "expected"),
    [
        ("", '[dict(name="a", profile="command", config=dict(command="uname"))]', False),
        ("BEFORE = lambda: None", None, True),
        ("AFTER = lambda: None", None, True),
        ("", '[dict(name="a", profile="command", config=dict(command="uname"), before=lambda: None)]', True),
        ("", '[dict(name="a", profile="command", config=dict(command="uname"), after=lambda: None)]', True),
        ("", '[dict(name="a", profile="command", config=dict(command="/usr/bin/sudo -n dump"))]', True),
        ("", '[dict(name="a", profile="folder", config=dict(path="/etc", program=["sudo", "-n", "tar"]))]', True),
        ("", '[dict(name="sudo", profile="command", config=dict(command="cat pseudo sudoers"))]', False),
    ],
)
def test_functions_and_sudo_may_need_more_rights(
    tmp_path: Path, head: str, generators: str | None, expected: bool
) -> None:
    assert plan_of(tmp_path, config_text(head, generators)).becomes_another is expected


# Cron itself


def scheduled(config: Path) -> str:
    """Give what `schedule` prints for a config, with every minute in place of the time of the day."""
    words = [sys.executable, ROOT / "pickup.py", "-c", config, "schedule"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return re.sub(r"(?m)^\d+ \d+ \* \* \* ", "* * * * * ", text)


def is_at_work(config: Path) -> bool:
    """Tell whether a process has this config among its arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if bytes(config) in path.read_bytes():
                return True
        except OSError:  # it has just ended
            continue
    return False


@pytest.mark.timeout(240)
def test_cron_makes_backups_and_mails_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    """E10, with Debian's cron; the paths are hostile to it and to the shell."""
    configs = {}
    for name, command in {"good": "uname", "bad": "false"}.items():
        folder = tmp_path / f"{name}, it's 100% $HOME \\%"
        folder.mkdir()
        entry = f'dict(name="{name}-one", profile="command", config=dict(command="{command}"))'
        configs[name] = write_config(folder, config_text(LOCAL, f"[{entry}]"))
    with cron(tmp_path / "cron", {name: scheduled(config) for name, config in configs.items()}) as server:
        deadline = time.monotonic() + 200
        while not (server.mail() and list(configs["good"].parent.glob("backups/web01/*.json"))):
            assert time.monotonic() < deadline, (server.mail(), (server.folder / "log").read_text())
            time.sleep(0.2)
        while any(map(is_at_work, configs.values())):
            time.sleep(0.1)
        time.sleep(1)  # for a mail, were there one
        mail = server.mail()
    [body] = [text.partition("\n\n")[2] for text in mail]
    assert body.startswith("web01: backup failed: command 'bad-one': ")
    assert body.count("ERROR: GENERATORS[0] 'bad-one' (command)") == 1
    assert "\nOnce it works again:\n" in body
    assert "good" not in body
    assert re.search(r"(?m)^To: root$", mail[0])
