"""A plan as units of systemd: systemd itself reads them, without running, and a backup is made with what they allow."""

import contextlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pickup_core.errors import UsageError
from pickup_core.schedule import Plan, Time
from pickup_core.units import service, switch_on, timer
from tests.builders import NOBODY, ROOT, config_text, ordinary_folder, write_config
from tests.servers.running import as_user, not_for_this_user, required

USER = "backup"  # which every Debian has
PLAN = Plan((sys.executable, "/opt/pickup/pickup.py"), "web01", Time(3, 5), "root", True, (), False)
KINDS = {
    "root": PLAN,
    "a user who reads all": replace(PLAN, user=USER),
    "a user's own": replace(PLAN, user=USER, by_root=False),
    "root, with functions": replace(PLAN, becomes_another=True),
    "a user, with sudo": replace(PLAN, user=USER, becomes_another=True),
}
WORDS = [
    "a b",
    "100%",
    "%h",
    "$HOME",
    "${HOME}",
    "it's",
    'say "hi"',
    "back\\slash",
    "\\",
    ";",
    "-",
    "@x",
    "\N{SNOWMAN}",
]


def verified(folder: Path, plan: Plan) -> list[str]:
    """Give what systemd says of the units of a plan."""
    (folder / "pickup.service").write_text(service(plan))
    (folder / "pickup.timer").write_text(timer(plan))
    names = [str(folder / name) for name in ("pickup.service", "pickup.timer")]
    scope = [] if plan.by_root else ["--user"]
    done = subprocess.run(["systemd-analyze", *scope, "verify", *names], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if "pickup" in line]


def settings(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"[A-Z]\w+=", line))


@pytest.mark.parametrize("plan", KINDS.values(), ids=KINDS)
def test_systemd_has_nothing_to_say_against_them(tmp_path: Path, plan: Plan) -> None:
    required("systemd-analyze")
    assert verified(tmp_path, replace(plan, folders=(Path("/var/lib/pickup"), Path("/usr/share")))) == []


def test_what_systemd_would_say_is_seen(tmp_path: Path) -> None:
    assert verified(tmp_path, replace(PLAN, command=("/nowhere/python",))) != []
    assert verified(tmp_path, replace(PLAN, time=Time(25, 5))) != []


@pytest.mark.parametrize(("name", "most"), [("root", 7.5), ("a user who reads all", 3.0)])
def test_systemd_thinks_well_of_the_service(tmp_path: Path, name: str, most: float) -> None:
    """From 0, safe, to 10, as without any setting."""
    (tmp_path / "pickup.service").write_text(service(KINDS[name]))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / "pickup.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    level = re.search(r"Overall exposure level for pickup.service: ([\d.]+)", done.stdout)
    assert level
    assert float(level[1]) <= most


def test_every_word_arrives_as_it_was() -> None:
    """systemd in its test mode loads the unit, shows what it has read, and ends."""
    program = required("systemd", "/lib/systemd", "/usr/lib/systemd")
    with ordinary_folder() as folder:
        folder.chmod(0o755)
        place = folder / "it is 100% $HOME"
        place.mkdir()
        plan = replace(KINDS["a user's own"], command=(str(place / "python"), *WORDS))
        (folder / "pickup.service").write_text(service(plan), encoding="utf-8")
        env = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "SYSTEMD_UNIT_PATH": f"{folder}:",
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [program, "--test", "--user", "--unit=pickup.service"],
            capture_output=True, text=True, env=env, timeout=60, check=False, **as_user("nobody"),
        )  # fmt: skip
    [line] = re.findall(r"Command Line: (.*it is.*)", done.stdout)
    shown, *words = shlex.split(line.replace("\\$", "$"))
    assert shown == str(place / "python")
    assert words == [word.replace("$", "$$") for word in WORDS], "of two $ it makes one when it starts the command"


def test_a_program_that_systemd_would_not_start_is_refused() -> None:
    with pytest.raises(UsageError, match="no program whose path has a quote or a backslash"):
        service(replace(PLAN, command=("/srv/it's/python",)))


def test_the_timer_makes_up_for_a_night() -> None:
    found = settings(timer(PLAN))
    assert found["OnCalendar"] == "*-*-* 03:05:00"
    assert found["Persistent"] == "true"


def test_a_user_may_read_all_and_do_nothing_else() -> None:
    found = settings(service(KINDS["a user who reads all"]))
    assert found["User"] == USER
    assert found["AmbientCapabilities"] == found["CapabilityBoundingSet"] == "CAP_DAC_READ_SEARCH"
    assert found["NoNewPrivileges"] == "true"


@pytest.mark.parametrize("name", ["root, with functions", "a user, with sudo"])
def test_what_may_need_more_rights_is_not_kept_from_them(name: str) -> None:
    text = service(KINDS[name])
    assert (
        settings(text)
        .keys()
        .isdisjoint({"NoNewPrivileges", "CapabilityBoundingSet", "SystemCallFilter", "PrivateDevices"})
    )
    assert "# The config calls functions, or names sudo" in text
    assert settings(text)["ProtectSystem"] == "strict"
    assert "ProtectClock" not in text  # which would deny the disks to what mounts one


def test_sudo_is_kept_from_nothing_by_what_implies_no_new_privileges() -> None:
    """systemd.exec(5), NoNewPrivileges=: these override it where the service is an ordinary user's."""
    found = settings(service(KINDS["a user, with sudo"]))
    implying = {"SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies", "RestrictNamespaces",
                "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectClock",
                "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "DynamicUser", "LockPersonality",
                "ProtectHostname"}  # fmt: skip
    assert implying.isdisjoint(found)
    assert implying & settings(service(KINDS["root, with functions"])).keys()


def test_a_users_own_service_asks_for_nothing_that_only_root_can_give() -> None:
    text = service(KINDS["a user's own"])
    assert settings(text).keys() == {
        "Description",
        "Type",
        "ExecStart",
        "TimeoutStartSec",
        "KillMode",
        "UMask",
        "Nice",
        "IOSchedulingClass",
        "NoNewPrivileges",
        "SyslogIdentifier",
    }
    assert switch_on(KINDS["a user's own"]).startswith("systemctl --user daemon-reload")


# The folders


def test_folders_of_systemds_own_are_made_by_it_and_others_may_be_absent() -> None:
    folders = [Path(name) for name in ("/var/lib/pickup", "/var/log/pickup", "/var/cache/pickup", "/var/tmp/pickup-0")]
    plan = replace(PLAN, folders=(*folders, Path("/var/lib/two words"), Path("/usr/a b%/c"), Path("/usr/lib/x")))
    found = settings(service(plan))
    assert (found["StateDirectory"], found["LogsDirectory"], found["CacheDirectory"]) == ("pickup", "pickup", "pickup")
    assert found["StateDirectoryMode"] == "0700"
    assert shlex.split(found["ReadWritePaths"]) == ["-/tmp", "-/var/tmp", "-/var/lib", "-/usr"]


def test_a_folder_of_another_program_stays_its_own() -> None:
    """A unit's StateDirectory= is given to its user, with all that is in it: systemd.exec(5)."""
    found = settings(service(replace(PLAN, folders=(Path("/var/lib/grafana"), Path("/var/log/postgresql")))))
    assert not {"StateDirectory", "LogsDirectory"} & found.keys()
    assert "-/var/lib" in found["ReadWritePaths"]


def test_a_folder_that_only_the_root_could_hold_is_to_be_made_first() -> None:
    with pytest.raises(UsageError, match=r"/no-such does not exist, .*\nHint: mkdir -m 700 /no-such"):
        service(replace(PLAN, folders=(Path("/no-such"),)))


def test_a_folder_with_odd_characters_is_named_as_systemd_reads_it(tmp_path: Path) -> None:
    with apart() as folder:
        odd = folder / 'a "b" 100%'
        odd.mkdir()
        assert f'"-{folder}/a \\"b\\" 100%%"' in service(replace(PLAN, folders=(odd,)))
        assert verified(tmp_path, replace(PLAN, folders=(odd,))) == []


# What they allow is enough

CONFINED = """
for path in {writable}; do mount --bind "$path" "$path"; done
findmnt --raw --noheadings --output TARGET | while read -r mounted; do
    case " {writable} " in *" $mounted "*) continue;; esac
    case "$mounted/" in /proc/*|/sys/*|/dev/*) continue;; esac
    mount -o remount,bind,ro "$mounted" || test "$mounted" != /
done
exec "$@"
"""
RIGHTS = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search")


@contextlib.contextmanager
def apart() -> Iterator[Path]:
    """Give a folder outside of those that everybody may write to."""
    if os.geteuid() != 0:
        not_for_this_user("the folder lies where root alone can make one")
    folder = Path(tempfile.mkdtemp(prefix="pickup-test-", dir="/var/lib"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def confined(unit: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """Start what a unit starts, where nothing can be written but what it says, and with the rights that it says."""
    found = settings(unit)
    writable = [path.removeprefix("-") for path in shlex.split(found["ReadWritePaths"])]
    assert not any(" " in path for path in writable)
    rights = ["--no-new-privs"] if found.get("NoNewPrivileges") == "true" else []
    if "User" in found:
        assert found["AmbientCapabilities"] == "CAP_DAC_READ_SEARCH"
        rights += [f"--reuid={found['User']}", f"--regid={found['User']}", "--clear-groups", *RIGHTS]
    script = CONFINED.format(writable=" ".join(writable))
    words = [
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-e",
        "-c",
        script,
        "sh",
        "setpriv",
        *rights,
        *shlex.split(found["ExecStart"]),
        *more,
    ]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=100, check=False, env={"PATH": "/usr/bin:/bin"}
    )


@pytest.mark.parametrize("user", ["root", USER])
def test_what_the_service_may_is_enough_for_a_run(user: str) -> None:
    with apart() as folder:
        for name in ("area", "state", "log", "backups", "data"):
            (folder / name).mkdir(mode=0o700)
            shutil.chown(folder / name, user, user)
        (folder / "private").mkdir(mode=0o700)
        (folder / "private/diary.txt").write_text("It rains.\n")
        (folder / "private/diary.txt").chmod(0o600)
        with contextlib.closing(sqlite3.connect(folder / "data/app.db")) as database:
            database.executescript("PRAGMA journal_mode=WAL; CREATE TABLE orders (id); INSERT INTO orders VALUES (1)")
        for path in (folder / "data").iterdir():
            shutil.chown(path, user, user)
        head = f'STAGING_AREA = "{folder}/area"\nSTATE_FOLDER = "{folder}/state"\nLOG_FOLDER = "{folder}/log"\nMIN_FREE = 0'
        generators = (
            f'[dict(name="private", profile="folder", config=dict(path="{folder}/private")),'
            f'dict(name="app", profile="sqlite", config=dict(databases=["{folder}/data/app.db"]))]'
        )
        config = write_config(folder, config_text(head, generators))
        words = [
            sys.executable,
            ROOT / "pickup.py",
            "-c",
            config,
            "schedule",
            "--systemd",
            "--user",
            user,
            "--to",
            folder,
        ]
        subprocess.run(words, capture_output=True, timeout=60, check=True)
        unit = (folder / "pickup.service").read_text()
        for command in (["check"], ["run", "-q"], ["verify", "-q"]):
            done = confined(unit, *command)
            assert (done.returncode, done.stderr) == (0, ""), done
        [listed] = json.loads(confined(unit, "list", "--json").stdout)
        assert listed["status"] == "complete"
        assert listed["artefacts"][0] == "folder/private/private.tar.zst"
        (folder / "theirs").symlink_to(folder)
        os.chown(folder / "theirs", NOBODY, NOBODY, follow_symlinks=False)
        text = config.read_text()
        config.write_text(text.replace(f"{folder}/private", f"{folder}/theirs/private"))
        assert f"is a symbolic link of user {NOBODY}" in confined(unit, "check").stderr
        config.write_text(text)
        refused = confined(unit.replace(f"-{folder}/backups", "-/tmp"), "run", "-q")
        assert "Read-only file system" in refused.stderr
