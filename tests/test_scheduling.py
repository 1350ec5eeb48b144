"""The command `schedule`: it prints, or writes units where it is told to, and changes nothing else."""

import os
import pwd
import re
import shlex
import socket
import stat
import sys
from pathlib import Path

import pytest

from pickup_core.errors import ConfigError, UsageError
from pickup_core.program import command_words
from tests.builders import LOCAL, ROOT, as_ordinary_user, config_text, ordinary_folder, write_config
from tests.servers.running import not_for_this_user
from tests.sessions import carried_out
from tests.stored import nothing_changes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a config."""
    write_config(tmp_path, config_text(LOCAL))
    return tmp_path


def line_of(text: str) -> str:
    return text.splitlines()[-1]


def test_the_line_starts_this_very_pickup_with_this_config(home: Path) -> None:
    done = carried_out(home, "schedule")
    assert shlex.split(line_of(done.out))[-5:] == [
        sys.executable,
        str(ROOT / "pickup.py"),
        "-c",
        str(home / "config.py"),
        "-q",
    ]
    assert "nice -n 10 ionice -c 3 /" in done.out


def test_an_installed_pickup_is_started_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pickup_core.program.in_checkout", lambda: False)
    monkeypatch.setattr(sys, "argv", ["/opt/venv/bin/pickup", "schedule"])
    assert command_words() == [sys.executable, "/opt/venv/bin/pickup"]


def test_it_changes_nothing(home: Path) -> None:
    with nothing_changes(home):
        carried_out(home, "schedule")
        carried_out(home, "schedule", "--systemd")


def test_the_time_follows_from_the_host_name_or_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = set()
    for name in ("web01", "web02", "web01"):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        lines.add(line_of(carried_out(home, "schedule").out))
    assert len(lines) == 2
    assert line_of(carried_out(home, "schedule", "--at", "03:07").out).startswith("7 3 * * * ")
    assert "\nOnCalendar=*-*-* 03:07:00\n" in carried_out(home, "schedule", "--systemd", "--at", "3:07").out


def test_a_config_with_a_mistake_is_not_scheduled(tmp_path: Path) -> None:
    write_config(tmp_path, config_text("COMPRESSION = 'zip'"))
    with pytest.raises(ConfigError, match="COMPRESSION"):
        carried_out(tmp_path, "schedule")


# Units that are written


def test_units_are_written_for_everybody_to_read_and_never_over_others(home: Path) -> None:
    folder = home / "units"
    folder.mkdir()
    done = carried_out(home, "schedule", "--systemd", "--to", folder)
    assert re.search(r"(?m)^wrote .*/pickup.service and .*/pickup.timer\. Switch it on: systemctl", done.out)
    texts = [(folder / f"pickup.{kind}").read_text() for kind in ("service", "timer")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o644, 0o644]
    assert carried_out(home, "schedule", "--systemd").out == "\n".join(texts)
    with (
        nothing_changes(home),
        pytest.raises(UsageError, match=r"pickup\.service is there already and is left as it is"),
    ):
        carried_out(home, "schedule", "--systemd", "--to", folder)


def test_a_folder_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(UsageError, match=r"/nowhere/pickup\.service cannot be written: there is no folder .*/nowhere"):
        carried_out(home, "schedule", "--systemd", "--to", "/nowhere")


def test_a_crontab_is_not_written(home: Path) -> None:
    with pytest.raises(UsageError, match=r"--to goes with --systemd\nHint: pickup.py schedule > /etc/cron.d/pickup"):
        carried_out(home, "schedule", "--to", home)


# As whom


@pytest.fixture
def _root() -> None:
    if os.geteuid() != 0:
        not_for_this_user("root alone lets others run something")


@pytest.mark.usefixtures("_root")
def test_root_lets_another_user_run_it(home: Path) -> None:
    assert "* * *  root  nice" in carried_out(home, "schedule").out
    assert "* * *  daemon  nice" in carried_out(home, "schedule", "--user", "daemon").out
    assert "\nUser=daemon\n" in carried_out(home, "schedule", "--user", "daemon", "--systemd").out
    assert "\nUser=" not in carried_out(home, "schedule", "--user", "root", "--systemd").out
    with pytest.raises(UsageError, match=r"there is no system user 'no-such'\nHint: useradd --system "):
        carried_out(home, "schedule", "--user", "no-such")


@pytest.mark.usefixtures("_root")
def test_a_folder_that_another_user_may_not_write_to_is_warned_of(home: Path) -> None:
    """A target; one that the user, a group or everybody may write to is none."""
    place = home / "backups"
    place.mkdir(mode=0o700)
    daemon = pwd.getpwnam("daemon")
    for owner, group, mode, may in ((0, 0, 0o755, False), (daemon.pw_uid, 0, 0o700, True), (0, daemon.pw_gid, 0o770, True),
                                    (0, daemon.pw_gid, 0o757, False), (0, 0, 0o777, True)):  # fmt: skip
        os.chown(place, owner, group)
        place.chmod(mode)
        done = carried_out(home, "schedule", "--systemd", "--user", "daemon")
        assert done.out.count("User=daemon") == 1
        what = f"WARNING: TARGETS[0] 'disk' (folder): daemon may not write to {place}\nHint: chown -R daemon {place}\n"
        assert (done.status, done.err) == ((0, "") if may else (1, what))


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize(
    ("folder_mode", "mode", "may"), [(0o755, 0o644, True), (0o755, 0o640, False), (0o700, 0o644, False)]
)
def test_a_config_that_another_user_may_not_read_under_cron_is_warned_of(
    folder_mode: int, mode: int, may: bool
) -> None:
    with ordinary_folder() as above:
        above.chmod(0o755)
        os.chown(above, 0, 0)
        home = above / "home"
        home.mkdir()
        config = write_config(home, config_text(f"STATE_FOLDER = LOG_FOLDER = '{home}/own'"))
        config.chmod(mode)
        home.chmod(folder_mode)
        what = f"WARNING: daemon may not read {config}\nHint: --systemd lets daemon read everything; cron does not\n"
        done = carried_out(home, "schedule", "--user", "daemon")
        assert (done.status, done.err) == ((0, "") if may else (1, what))
        assert carried_out(home, "schedule", "--systemd", "--user", "daemon").err == ""


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "",
            'the config names no STATE_FOLDER and no LOG_FOLDER, and root\'s own are not for daemon\nHint: add STATE_FOLDER = "/var/lib/pickup"; LOG',
        ),
        ('STATE_FOLDER = "/var/lib/pickup"', "the config names no LOG_FOLDER, and"),
    ],
)
def test_another_user_does_not_get_the_folders_of_root(tmp_path: Path, head: str, message: str) -> None:
    write_config(tmp_path, config_text(head))
    with pytest.raises(UsageError, match=re.escape(message)):
        carried_out(tmp_path, "schedule", "--user", "daemon")


def test_an_ordinary_user_gets_lines_of_their_own(tmp_path: Path) -> None:
    with ordinary_folder() as folder:
        write_config(folder, config_text(LOCAL), 0o644)
        code = "from pickup_core.cli import main\nsys.exit(main(sys.argv[1:]))"
        words = ["-c", folder / "config.py", "schedule"]
        assert re.search(r"(?m)^\d+ [1-5] \* \* \*  nice -n 10", as_ordinary_user(code, *words).stdout)
        units = as_ordinary_user(code, *words, "--systemd").stdout
        assert "# ~/.config/systemd/user/pickup.service\n" in units
        assert "systemctl --user" in units
        refused = as_ordinary_user(code, *words, "--user", "root")
        assert refused.returncode == 3
        assert "only root can let a job run as root" in refused.stderr
