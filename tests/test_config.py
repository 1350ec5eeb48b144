"""The config: found, trusted, run, and checked as a whole before anything happens."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from pickup_core import config as module
from pickup_core.config import (
    Config,
    default_config_path,
    find_config,
    host_job,
    job_name,
    load_config,
)
from pickup_core.encryption import make_identity
from pickup_core.errors import ConfigError, ExitCode, Stopped
from pickup_core.program import in_checkout
from pickup_core.staging import Reserve
from pickup_core.streams import Compression
from tests.builders import (
    NOBODY,
    ROOT,
    as_ordinary_user,
    config_text,
    loaded,
    ordinary_folder,
    problems_of,
    python,
    write_config,
)


def error_of(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.exit_code == ExitCode.CONFIG
    return caught.value


def failing(folder: Path, text: str) -> str:
    """Give the message for a config that cannot even be run."""
    return error_of(write_config(folder, text)).message


# What a config gives


def test_a_config_gives_its_entries_and_settings(tmp_path: Path) -> None:
    head = (
        'COMPRESSION = "gzip:9"\nMIN_FREE = "2 GiB"\nSTAGING_AREA = "staging"\nSTATE_FOLDER = "/s"\nLOG_FOLDER = "log"'
    )
    config = loaded(tmp_path, config_text(head))
    assert config.job == "web01"
    assert config.version == (1, 0)
    assert config.compression == Compression("gzip", 9)
    assert config.min_free == Reserve(0.0, 2 * 2**30)
    assert (config.staging_area, config.log_folder) == (tmp_path / "staging", tmp_path / "log")
    assert config.state_folder == Path("/s")
    assert config.logging is None
    (generator,), (target,) = config.generators, config.targets
    assert (generator.label, generator.where) == ("command/system", "GENERATORS[0] 'system' (command)")
    assert (target.label, target.where) == ("folder/disk", "TARGETS[0] 'disk' (folder)")


def test_settings_have_safe_defaults(tmp_path: Path) -> None:
    config = loaded(tmp_path, config_text())
    assert config.compression == Compression("zstd", 3)
    assert config.staging_area == Path(f"/var/tmp/pickup-{os.geteuid()}")
    assert config.min_free == Reserve(0.05, 2**30)
    assert config.state_folder == config.log_folder == ROOT / "logs"


def test_a_relative_path_is_relative_to_the_config_and_not_to_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (target,) = loaded(tmp_path, config_text()).targets
    assert target.store().place == str(tmp_path / "backups")


def test_the_example_in_the_package_is_a_config_that_loads(tmp_path: Path) -> None:
    text = (ROOT / "config.py.example").read_text(encoding="utf-8")
    config = loaded(tmp_path, text.replace("# JOB =", "JOB ="))
    assert [entry.name for entry in config.generators] == ["settings", "system"]
    assert (ROOT / "config.py.example").resolve() == ROOT / "pickup_core/config.py.example"


def test_every_setting_that_the_example_shows_is_one(tmp_path: Path) -> None:
    text = (ROOT / "config.py.example").read_text(encoding="utf-8")
    shown = re.sub(r"(?m)^# ([A-Z_]+ = |from pickup_core.api import)", r"\1", text)
    (tmp_path / "heartbeat.url").write_text("https://example.org/a")
    (tmp_path / "heartbeat.url").chmod(0o600)
    names = set(re.findall(r"(?m)^([A-Z_]+) = ", shown))
    shown = shown.replace("handlers=..., root=...", "root=dict()")
    (tmp_path / "recipients").write_text(make_identity(tmp_path / "identity"))
    assert loaded(tmp_path, shown).staging_area == Path("/var/tmp/pickup")
    assert names == {"CONFIG_VERSION", "GENERATORS", "TARGETS", *module._Settings.model_fields}


def test_the_copy_for_the_targets_has_no_secret(tmp_path: Path) -> None:
    """I6."""
    config = loaded(tmp_path, config_text('OTHER_PASSWORD = "c4n4ry"'))
    assert "c4n4ry" not in config.masked_text
    assert 'OTHER_PASSWORD = "***"' in config.masked_text


# F1: the file


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    """F1."""
    error = error_of(tmp_path / "absent/config.py")
    assert str(error) == f"{tmp_path}/absent/config.py cannot be read: No such file or directory"


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    """F1."""
    assert str(error_of(tmp_path)) in (
        f"{tmp_path} is not a regular file",
        f"{tmp_path} cannot be read: Is a directory",
    )


def test_a_fifo_is_no_config_and_is_not_waited_for(tmp_path: Path) -> None:
    """F1, I9."""
    os.mkfifo(tmp_path / "config.py", 0o600)
    assert str(error_of(tmp_path / "config.py")) == f"{tmp_path}/config.py is not a regular file"


def test_a_config_that_may_not_be_read_is_named() -> None:
    """F1."""
    code = "from pickup_core.cli import main; import sys; sys.exit(main(['-c', sys.argv[1], 'check']))"
    with ordinary_folder() as folder:
        path = write_config(folder, config_text(), mode=0o000)
        done = as_ordinary_user(code, path)
    assert (done.returncode, done.stderr) == (3, f"ERROR: {path} cannot be read: Permission denied\n")


def test_a_config_that_is_no_text_is_named(tmp_path: Path) -> None:
    """F1."""
    path = write_config(tmp_path, "")
    path.write_bytes(b'JOB = "\xff"\n')
    assert "cannot be read: 'utf-8' codec can't decode byte 0xff" in str(error_of(path))


# F2: the code in it


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x = = 1", "config.py, line 3: invalid syntax"),
        ("x = undefined", "config.py, line 3: NameError: name 'undefined' is not defined"),
        ("import no_such_module", "config.py, line 3: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(0)", "config.py, line 3: SystemExit: 0"),
        ("exit()", "config.py, line 3: SystemExit: None"),
        ("1 / 0", "config.py, line 3: ZeroDivisionError: division by zero"),
        ("def f(): 1 / 0\nf()", "config.py, line 3: ZeroDivisionError: division by zero"),
        ("raise BaseException('odd')", "config.py, line 3: BaseException: odd"),
        ("TARGETS = [", "config.py, line 3: '[' was never closed"),
        ('"""', "config.py, line 3: unterminated triple-quoted string literal (detected at line 3)"),
    ],
)
def test_a_config_that_cannot_be_run_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    """F2."""
    assert failing(tmp_path, f"a = 1\nb = 2\n{line}\n") == message


def test_a_config_with_a_null_byte_is_named(tmp_path: Path) -> None:
    """F2: Python has several sentences and errors for one."""
    message = failing(tmp_path, "a = '\0'\n")
    assert re.fullmatch(r"config\.py: (ValueError: )?source code (string )?cannot contain null bytes", message)


def test_a_syntax_error_in_another_module_is_named_with_that_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F2."""
    (tmp_path / "broken_part.py").write_text("x = 1\nx = = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = f"config.py, line 2: {tmp_path}/broken_part.py, line 2: invalid syntax"
    assert failing(tmp_path, "a = 1\nimport broken_part\n") == message


def test_a_config_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F2, I9."""
    monkeypatch.setattr(module, "_LOAD_SECONDS", 1)
    before, start = signal.getsignal(signal.SIGALRM), time.monotonic()
    message = "config.py, line 2: TimeoutError: was still being loaded after 1 seconds"
    assert failing(tmp_path, "a = 1\nwhile True: pass\n") == message
    assert time.monotonic() - start < 10
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.alarm(0) == 0


def test_loading_leaves_no_alarm_behind(tmp_path: Path) -> None:
    loaded(tmp_path, config_text())
    assert signal.alarm(0) == 0


@pytest.mark.parametrize("kind", ["KeyboardInterrupt()", "Stopped(15)"])
def test_a_signal_while_the_config_is_loaded_is_no_problem_of_the_config(tmp_path: Path, kind: str) -> None:
    path = write_config(tmp_path, f"from pickup_core.errors import Stopped\nraise {kind}\n")
    with pytest.raises((KeyboardInterrupt, Stopped)):
        load_config(path)


def test_an_exception_does_not_show_a_secret(tmp_path: Path) -> None:
    """F2, L5."""
    text = "from pickup_core.api import Secret\nSecret('c4n4ry-17')\nraise ValueError('bad login c4n4ry-17')\n"
    assert failing(tmp_path, text) == "config.py, line 3: ValueError: bad login ***"


def test_a_secret_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    """F13."""
    path = write_config(tmp_path, 'from pickup_core.api import secret_file\nx = secret_file("db.password")\n')
    message = f"config.py, line 2: secret file {tmp_path}/db.password cannot be read: No such file or directory"
    assert error_of(path).message == message


def test_a_config_is_a_module_and_writes_no_bytecode(tmp_path: Path) -> None:
    """Classes in it can be found by their module's name, as dataclasses and pickle need it."""
    head = "import dataclasses\n@dataclasses.dataclass\nclass Place:\n    name: str\nassert 'config.py' in __file__"
    loaded(tmp_path, config_text(head))
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]
    assert "config" not in sys.modules


# F3, F4: what it says


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """F3, F4, F12: each with its place, and nothing else is said."""
    text = """
JOB = "a/b"
COMPRESSION = "zstd:99"
MIN_FREE = "much"
STAGING_AREA = 7
LOGGING = "verbose"
GENERATORS = [dict(name="a", profile="command", config=dict(command=5, filenam="x")), 7]
TARGET = []
"""
    error = error_of(write_config(tmp_path, text))
    command = "GENERATORS[0] 'a' (command): config.command: should be a valid list or should be a valid string"
    assert set(error.problems) == {
        "config.py: CONFIG_VERSION is missing, expected (1, 0)",
        "config.py: unknown name TARGET; did you mean TARGETS?",
        "config.py: JOB: should be made of letters, digits, dots, dashes and underscores, at most 100, got 'a/b'",
        "config.py: COMPRESSION: level of zstd should be between 1 and 19, got 'zstd:99'",
        'config.py: MIN_FREE: should be a number of bytes, a size like "2 GiB" or a share like "5%", got \'much\'',
        "config.py: STAGING_AREA: is not a valid path, got 7",
        "config.py: LOGGING: should be a valid dictionary, got 'verbose'",
        "config.py: TARGETS is missing; expected a list of entries such as [dict(name=..., profile=..., config=...)]",
        f"config.py: {command}, got 5",
        "config.py: GENERATORS[0] 'a' (command): config.filenam: unknown key; did you mean 'filename'?",
        "config.py: GENERATORS[1]: expected dict(name=..., profile=..., config=...), got int",
    }
    assert error.hint == f"mend {tmp_path}/config.py"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("TARGETZ = []", None),  # there is TARGETS already, so this is something of the user's own
        ("COMPRESION = 'gzip'", "unknown name COMPRESION; did you mean COMPRESSION?"),
        ("STAGING = '/x'", None),
        ("LOGFOLDER = '/x'", "unknown name LOGFOLDER; did you mean LOG_FOLDER?"),
        ("HOSTS = ['a']", None),
        ("job = 'x'", None),
    ],
)
def test_a_name_that_is_nearly_a_setting_is_reported(tmp_path: Path, line: str, problem: str | None) -> None:
    """F4."""
    assert problems_of(tmp_path, config_text(line)) == ((problem,) if problem else ())


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        ("(1, 0)", True),
        ("(1, 1)", False),
        ("(2, 0)", False),
        ("(0, 9)", False),
        ("(1,)", False),
        ("(1, 0, 0)", False),
        ("[1, 0]", False),
        ("'1.0'", False),
        ("1.0", False),
        ("(1, '0')", False),
        ("(1.0, 0)", False),
        ("(True, False)", False),
        ("None", False),
    ],
)
def test_the_version_of_the_config_is_compared_as_a_whole(tmp_path: Path, version: str, accepted: bool) -> None:
    """F7."""
    problems = problems_of(tmp_path, config_text().replace("(1, 0)", version))
    assert len(problems) == (0 if accepted else 1)
    assert all(problem.startswith(f"CONFIG_VERSION is {version}, ") for problem in problems)


def test_an_older_minor_version_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F7: this Pickup has none, so it is made to be a later one."""
    monkeypatch.setattr(module, "CONFIG_VERSION", (1, 2))
    assert loaded(tmp_path, config_text()).version == (1, 0)
    (problem,) = problems_of(tmp_path, config_text().replace("(1, 0)", "(1, 10)"))
    assert (
        problem == "CONFIG_VERSION is (1, 10), but this Pickup reads 1.0 to 1.2; see the changelog for what has changed"
    )


def test_a_config_without_targets_is_refused(tmp_path: Path) -> None:
    """F12: also by commands that only read."""
    for generators in (True, False):
        (problem,) = problems_of(tmp_path, config_text() + "TARGETS = []\n", generators)
        assert problem.startswith("TARGETS is empty; expected a list of entries")


@pytest.mark.parametrize(
    ("more", "state"),
    [("GENERATORS = []", "is empty"), ("GENERATORS = {}", "is not a list"), ("del GENERATORS", "is missing")],
)
def test_a_config_without_generators_is_enough_for_reading(tmp_path: Path, more: str, state: str) -> None:
    """F12, V17."""
    text = f"{config_text()}\n{more}\n"
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith(f"GENERATORS {state}; expected a list of entries")
    assert loaded(tmp_path, text, generators=False).generators == ()


def test_two_targets_in_the_same_place_are_refused(tmp_path: Path) -> None:
    """T28: also where one of them goes there by a link."""
    (tmp_path / "backups").mkdir()
    (tmp_path / "link").symlink_to("backups")
    targets = '[dict(name=n, profile="folder", config=dict(path=p)) for n, p in (("a", "backups"), ("b", "link"))]'
    expected = "TARGETS[1] 'b' (folder): is the same place as TARGETS[0] 'a' (folder)"
    assert problems_of(tmp_path, config_text(targets=targets)) == (expected,)


def test_a_link_that_leads_nowhere_is_no_internal_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    targets = '[dict(name="disk", profile="folder", config=dict(path="loop"))]'
    assert problems_of(tmp_path, config_text(targets=targets)) == ()


# F8, F9: who could have written it, and who can read it


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o622])
def test_a_config_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """F8: it is executed."""
    path = write_config(tmp_path, config_text("open('ran', 'w')"), mode)
    error = error_of(path)
    assert error.message == f"{path} can be written by others, who could change what it says"
    assert error.hint == f"chmod go-w {path}"
    assert not Path("ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_config_of_another_user_is_refused(tmp_path: Path) -> None:
    """F8."""
    path = write_config(tmp_path, config_text())
    os.chown(path, NOBODY, NOBODY)
    assert error_of(path).message == f"{path} belongs to user {NOBODY}, who could change what it says"


@pytest.mark.skipif(os.geteuid() != 0, reason="this holds for root alone")
def test_root_runs_no_config_from_a_folder_that_others_can_write(tmp_path: Path) -> None:
    """F8: they could exchange it, whoever it belongs to; by a link that lies there too."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    write_config(tmp_path, config_text())
    path = write_config(tmp_path / "open", config_text())
    assert error_of(path).message == f"{tmp_path}/open can be written by others, who could replace what lies there"
    path.unlink()
    path.symlink_to(tmp_path / "config.py")
    assert error_of(path).message == f"{tmp_path}/open can be written by others, who could replace what lies there"


def test_a_config_that_all_can_read_may_hold_no_secret(tmp_path: Path) -> None:
    """F9."""
    path = write_config(tmp_path, config_text('DB_PASSWORD = "c4n4ry"'), 0o644)
    (problem,) = error_of(path).problems
    assert problem == f"config.py: {path} holds a secret and can be read by everybody. Hint: chmod 600 {path}"
    path.chmod(0o640)
    assert load_config(path)


def test_a_config_that_all_can_read_may_read_its_secrets_elsewhere(tmp_path: Path) -> None:
    """F9."""
    (tmp_path / "db.password").touch(0o600)
    (tmp_path / "db.password").write_text("c4n4ry-9")
    head = 'from pickup_core.api import secret_file\nDB_PASSWORD = secret_file("db.password")'
    assert load_config(write_config(tmp_path, config_text(head), 0o644))


# The job


@pytest.mark.parametrize("name", ["web01", "a", "0", "web01.example.org", "A_b-c", "x" * 100])
def test_a_job_is_named_like_a_folder(name: str) -> None:
    assert job_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "_x", "a/b", "a b", "a\n", "é", "x" * 101, "a\0"])
def test_a_job_is_not_named_like_anything_else(name: str) -> None:
    with pytest.raises(ValueError, match="should be made of letters"):
        job_name(name)


@pytest.mark.parametrize(
    ("host", "job"),
    [("web01", "web01"), ("web01.example.org", "web01"), ("localhost", None), ("localhost.localdomain", None),
     ("0123456789ab", None), ("(none)", None), ("", None)],
)  # fmt: skip
def test_the_host_name_is_the_job_where_it_tells_one_host_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, job: str | None
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    text = config_text().replace('JOB = "web01"\n', "")
    assert host_job() == job
    assert loaded(tmp_path, text, generators=False).job == job
    if job is None:
        problem = f"JOB is missing, and the host name {host!r} is no name to file backups under"
        assert problems_of(tmp_path, text) == (problem,)


# Where it is found


def test_a_config_is_looked_for_in_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never in the working directory, for it is code."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("pickup_core.program.CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickup.py").touch()
    places = [tmp_path / "config.py", tmp_path / "home/.config/pickup/config.py", Path("/etc/pickup/config.py")]
    if places[2].exists():
        pytest.skip("this machine has a config of its own")
    with pytest.raises(ConfigError) as caught:
        find_config(None)
    assert caught.value.message == "there is no config; looked for " + ", ".join(map(str, places))
    places[1].parent.mkdir(parents=True)
    places[1].touch()
    assert find_config(None) == places[1]
    places[0].touch()
    assert find_config(None) == places[0] == default_config_path()
    (tmp_path / "pickup.py").unlink()
    assert not in_checkout()
    assert find_config(None) == places[1]


def test_a_config_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(Path("my.py")) == tmp_path / "my.py"


def test_an_installed_pickup_keeps_its_state_where_a_system_does() -> None:
    code = f"""
import os, pathlib
from pickup_core import config, program
program.CHECKOUT = pathlib.Path("/nonexistent")
if os.geteuid() == 0:
    print(config._Settings().STATE_FOLDER, config._Settings().LOG_FOLDER)
    os.setuid({NOBODY})
else:
    print("/var/lib/pickup /var/log/pickup")
os.environ["HOME"] = "/home/somebody"
print(config._Settings().STATE_FOLDER, config._Settings().LOG_FOLDER)
"""
    done = python(code)
    user = "/home/somebody/.local/state/pickup"
    assert (done.stdout, done.stderr) == (f"/var/lib/pickup /var/log/pickup\n{user} {user}\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that there is not")
def test_a_user_without_a_home_is_told_which_settings_need_one() -> None:
    """E1: in a container, for example."""
    code = """
import os, pathlib
from pickup_core import commands, config, program
program.CHECKOUT = pathlib.Path("/nonexistent")
os.environ.pop("HOME", None)
os.setuid(54321)
problems = []
config.validated(config._Settings, {}, "", pathlib.Path("/etc"), problems)
print(*problems, sep="\\n")
"""
    done = python(code)
    what = "begins with ~, but there is no home folder; write the whole path, got PosixPath('~/.local/state/pickup')"
    assert done.stdout.splitlines() == [f"LOG_FOLDER: {what}", f"STATE_FOLDER: {what}"], done.stderr


def test_a_home_that_may_not_be_entered_holds_no_config() -> None:
    """E1: as after `su` without a dash."""
    code = """
import os, pathlib
from pickup_core import config, program
program.CHECKOUT = pathlib.Path("/nonexistent")
os.environ["HOME"] = os.path.join(sys.argv[1], "closed")
os.makedirs(os.environ["HOME"], mode=0)
print(config.find_config(None))
"""
    with ordinary_folder() as folder:
        done = as_ordinary_user(code, folder)
    assert "/etc/pickup/config.py" in done.stdout + done.stderr
    assert "PermissionError" not in done.stderr
    if not Path("/etc/pickup/config.py").exists():
        assert f"; this user may not look into {folder}/closed/.config/pickup\n" in done.stderr


# MIN_FREE


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, Reserve(0.0, 0)), ("0", Reserve(0.0, 0)), (1000, Reserve(0.0, 1000)), ("1000", Reserve(0.0, 1000)),
     ("1 KiB", Reserve(0.0, 1024)), ("1.5GiB", Reserve(0.0, 3 * 2**29)), ("5%", Reserve(0.05, 0)),
     ("0.5 %", Reserve(0.005, 0))],
)  # fmt: skip
def test_a_reserve_is_a_size_or_a_share(value: object, expected: Reserve) -> None:
    assert Reserve.parse(value) == expected


@pytest.mark.parametrize("value", ["", "-1", -1, "5 %%", "100%", "1 GB", "GiB", True, None, "1 gib", "1e9", [], "nan"])
def test_anything_else_is_no_reserve(value: object) -> None:
    with pytest.raises(ValueError, match="should be a number of bytes"):
        Reserve.parse(value)


def test_the_larger_of_a_share_and_a_size_stays_free() -> None:
    assert Reserve(0.05, 1000).of(10_000) == 1000
    assert Reserve(0.05, 1000).of(100_000) == 5000


def test_a_config_is_frozen(tmp_path: Path) -> None:
    config: Config = loaded(tmp_path, config_text())
    with pytest.raises(AttributeError):
        config.job = "other"  # type: ignore[misc]
