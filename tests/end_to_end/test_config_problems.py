"""A config that is wrong: nothing is done, every problem is told at once, with its place and what to do."""

import os
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.command import CRON, JOB, Site, command_entry, copied_tree, folder_entry, target_entry

VALID = """
CONFIG_VERSION = (1, 0)
JOB = "web"
STAGING_AREA, STATE_FOLDER, LOG_FOLDER, MIN_FREE = "staging", "state", "log", 0
GENERATORS = [dict(name="files", profile="folder", config=dict(path="source"))]
TARGETS = [dict(name="disk", profile="folder", config=dict(path="backups"))]
"""


def _problems(site: Site, text: str, *command: str) -> list[str]:
    """Run with a config of this text, see that nothing was done, and give what was said, line by line."""
    site.fill()
    site.write_config(text)
    result = site.run("-q", *command, status=3)
    assert result.out == ""
    assert sorted(path.name for path in site.folder.iterdir()) == ["config.py", "source"]
    return result.err.splitlines()


def test_every_problem_is_told_at_once_with_its_place_and_a_suggestion(site: Site) -> None:
    """F3, F4, F5, F6, F12, R12, T28: lists, indexes, names, profiles, keys; what is and what should be."""
    text = """
CONFIG_VERSION = (1, 0)
COMPRESION = "zstd"
MIN_FREE = "much"
GENERATORS = [
    dict(name="a", profile="foldr", config=dict(path="/x")),
    dict(name="b", profile="folder", config=dict(pth="/x", split="perhaps")),
    dict(name="c", profile="command", config=dict(command=7), compresion="zstd"),
    dict(name="c", profile="command", config=dict(command="date", timeout=-1)),
    "no entry at all",
    dict(profile="command", config=dict(command="date")),
]
TARGETS = [
    dict(name="disk", profile="folder", config=dict(path="backups"), retension=dict(days=3)),
    dict(name="twin", profile="folder", config=dict(path="./backups/../backups")),
    dict(name="tape", profile="folder", config=dict(path="tape"), retention=dict(dayly=7, weekly=0)),
    dict(name="none", profile="folder", config=dict(path="none"), retention=dict()),
]
"""
    lines = _problems(site, text)
    assert lines[0].startswith("ERROR: config.py: ")
    assert lines[-1] == f"Hint: mend {site.config}"
    said = "\n".join(lines)
    for sentence in (
        "unknown name COMPRESION; did you mean COMPRESSION?",
        'MIN_FREE: should be a number of bytes, a size like "2 GiB" or a share like "5%", got \'much\'',
        "GENERATORS[0] 'a' (foldr): there is no generator profile 'foldr'. Hint: did you mean 'folder'?",
        "GENERATORS[1] 'b' (folder): config.pth: unknown key; did you mean 'path'?",
        "GENERATORS[1] 'b' (folder): config.path: is missing",
        "GENERATORS[1] 'b' (folder): config.split: should be a valid boolean, unable to interpret input, got 'perhaps'",
        "GENERATORS[2] 'c' (command): config.command: ",
        "GENERATORS[2] 'c' (command): compresion: unknown key; did you mean 'compression'?",
        "GENERATORS[3] 'c' (command): config.timeout: should be greater than 0, got -1",
        "GENERATORS[4]: expected dict(name=..., profile=..., config=...), got str",
        "GENERATORS[5] (command): name: is missing",
        "TARGETS[0] 'disk' (folder): retension: unknown key; did you mean 'retention'?",
        "TARGETS[2] 'tape' (folder): retention.dayly: unknown key; did you mean 'daily'?",
        "TARGETS[2] 'tape' (folder): retention.weekly: should be greater than 0, got 0",
        "TARGETS[3] 'none' (folder): retention: says nothing; leave retention out to keep every backup",
    ):
        assert sentence in said, f"{sentence!r} is not in\n{said}"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name="files"', 'name="files", profile="x"', "line 5: keyword argument repeated: profile"),
        ('JOB = "web"', "JOB = web", "line 3: NameError: name 'web' is not defined"),
        ('JOB = "web"', "import nothing_of_that_name", "line 3: ModuleNotFoundError: No module named 'nothing_"),
        ('JOB = "web"', "raise SystemExit(0)", "line 3: SystemExit: 0"),
        ('JOB = "web"', "def f(): 1/0\nf()", "line 3: ZeroDivisionError: division by zero"),
        ('JOB = "web"', 'JOB = "a/b"', "JOB: "),
        ('JOB = "web"', 'JOB = "-rf"', "JOB: "),
        ('JOB = "web"', 'JOB = "web\\n"', "JOB: "),
        ("(1, 0)", "(2, 0)", "CONFIG_VERSION is (2, 0), but this Pickup reads 1.0; see the changelog"),
        ("(1, 0)", "(1, 7)", "CONFIG_VERSION is (1, 7), but this Pickup reads 1.0; see the changelog"),
        ("(1, 0)", "'1.0'", "CONFIG_VERSION is '1.0', expected (1, 0)"),
        ("(1, 0)", "(1,)", "CONFIG_VERSION is (1,), expected (1, 0)"),
        ("CONFIG_VERSION = (1, 0)", "", "CONFIG_VERSION is missing, expected (1, 0)"),
        ("TARGETS = [", "TARGETS = [] and [", "TARGETS is empty; expected a list of entries such as [dict(name=..."),
        ("TARGETS", "OTHERS", "TARGETS is missing; expected a list of entries such as [dict(name=..."),
        ("GENERATORS = [", "GENERATORS = 7 or [", "GENERATORS is not a list; expected a list of entries"),
        ("GENERATORS", "GENERATOR", "unknown name GENERATOR; did you mean GENERATORS?"),
        ('path="source"', 'path="sour\\0ce"', "config.path: holds a NUL character"),
        ('path="source"', 'path="sour\\nce"', "config.path: is a path with a control character in it"),
        ('path="source"', "path='x' * 70000", "config.path: is longer than 65536 characters"),
        ('name="files"', 'name="fi\\nles"', "name: should be a text of at most 100 characters, without control"),
        ('path="source"', 'path="source", exclude=["/elsewhere/*"]', "pattern '/elsewhere/*' matches nothing below"),
        ('profile="folder", config=dict(path="b', 'profile="folder", config=dict(path="source/../b', None),
        ('profile="folder", config=dict(path="source"', 'profile="os.path", config=dict(path="source"',
         "profile 'os.path' has no API_VERSION of two numbers"),
        ('JOB = "web"', 'LOGGING = dict(version=7)', "LOGGING is no dictionary that logging.config takes"),
        ('JOB = "web"', 'COMPRESSION = "zstd:99"', "COMPRESSION: level of zstd should be between 1 and 19, got 'zst"),
        ('JOB = "web"', 'COMPRESSION = "rar"', 'COMPRESSION: should be "zstd", "gzip" or "none"'),
    ],
)  # fmt: skip
def test_a_single_problem_is_told_with_its_place(site: Site, before: str, after: str, said: str | None) -> None:
    """F1, F2, F3, F6, F7, F12, F14, R12, T22."""
    assert before in VALID
    text = VALID.replace(before, after, 1)
    if said is None:
        site.fill()
        site.write_config(text)
        site.run("-q")
        return
    lines = _problems(site, text)
    assert said in "\n".join(lines)
    assert len(lines) <= 3, "one problem is one line, and a hint"


def test_reading_backups_needs_targets_only(site: Site) -> None:
    """F12: list, verify, find and restore work where GENERATORS is empty, absent or wrong."""
    site.fill()
    site.run("-q")
    for generators in ("GENERATORS = []", "", "GENERATORS = [dict(name=7)]"):
        kept = [line for line in VALID.splitlines() if not line.startswith("GENERATORS")]
        site.write_config("\n".join([*kept, generators]))
        site.run("list")
        site.run("verify")
        site.run("find", "a.txt")
        site.restored()
        assert "GENERATORS" in site.run("-q", status=3).err
        assert "GENERATORS" in site.run("-q", "check", status=3).err


def test_a_config_that_others_could_write_is_not_run(site: Site) -> None:
    """F8: file, and for root each folder above it; the hint is the line to run."""
    proof = site.folder / "was-run"
    site.write_config(VALID + f"\nopen({str(proof)!r}, 'w')\n")
    for mode in (0o666, 0o602, 0o622):
        site.config.chmod(mode)
        result = site.run("-q", status=3)
        assert result.err == (
            f"ERROR: {site.config} can be written by others, who could change what it says\n"
            f"Hint: chmod go-w {site.config}\n"
        )
    site.config.chmod(0o600)
    os.chmod(site.folder, 0o777)
    if os.geteuid() == 0:
        result = site.run("-q", status=3)
        assert f"ERROR: {site.folder} can be written by others" in result.err
        assert f"Hint: chmod go-w {site.folder}" in result.err
        os.chmod(site.folder, 0o700)
        os.chown(site.config, 12345, -1)
        result = site.run("-q", status=3)
        assert f"{site.config} belongs to user 12345" in result.err
    assert not proof.exists()


def test_a_config_that_is_no_file_is_told(site: Site) -> None:
    """F1."""
    site.config.unlink()
    site.config.mkdir(mode=0o700)
    assert f"ERROR: {site.config} cannot be read: Is a directory" in site.run("-q", status=3).err
    site.config.rmdir()
    os.mkfifo(site.config, 0o600)
    assert f"ERROR: {site.config} is not a regular file" in site.run("-q", status=3).err
    site.config.unlink()
    site.config.write_bytes(b"\xff\xfe")
    site.config.chmod(0o600)
    assert f"ERROR: {site.config} cannot be read: " in site.run("-q", status=3).err


def test_without_a_config_the_places_that_were_looked_at_are_told(site: Site, tmp_path: Path) -> None:
    """F1, E1: never in the working directory; without HOME the home folder is left out."""
    tree = copied_tree(tmp_path / "tree")
    site.pickup = tree / "pickup.py"
    result = site.run("-q", status=3, config=False, cwd=site.folder)
    assert result.err.startswith(f"ERROR: there is no config; looked for {tree}/config.py, ")
    assert result.err.endswith("/etc/pickup/config.py\nHint: make one: pickup.py init\n")
    home = tmp_path / "home"
    (home / ".config/pickup").mkdir(parents=True)
    shutil.copy(site.config, home / ".config/pickup/config.py")
    (home / ".config/pickup/source").mkdir()
    (home / ".config/pickup/source/file").touch()
    site.env = {**CRON, "HOME": str(home)}
    site.run("-q", config=False)
    assert (home / ".config/pickup/backups" / JOB).is_dir()


def test_a_literal_password_in_a_config_that_everybody_can_read_is_refused(site: Site) -> None:
    """F9: with the chmod line; the password itself is not shown, and at 0600 all is well."""
    site.fill()
    site.canaries.append("Kanarie-4711")
    site.configure([folder_entry(), command_entry("date", name="date", env={"DB_PASSWORD": "Kanarie-4711"})])
    site.config.chmod(0o644)
    result = site.run("-q", status=3)
    assert f"{site.config} holds a secret and can be read by everybody. Hint: chmod 600 {site.config}" in result.err
    site.config.chmod(0o600)
    site.run("-q")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("secret_file('open')", "secret file {site}/open can be read by others\nHint: chmod 600 {site}/open"),
        ("secret_file('absent')", "secret file {site}/absent cannot be read: "),
        ("secret_env('NOT_SET')", "environment variable NOT_SET is not set, but the config reads a secret from it"),
        ("secret_command(['sh', '-c', 'echo Kanarie-4711; exit 3'])", "secret command 'sh' ended with status 3"),
        (
            "secret_command(['no-such-program'])",
            "secret command 'no-such-program' cannot be started: No such file or directory",
        ),
        ("secret_command(['sleep', '100'], timeout=0.2)", "secret command 'sleep' took longer than 0.2 seconds"),
        ("secret_command(['echo', '-n'])", "secret command 'echo' "),
        ("secret_credential('key')", "no systemd credential 'key'\nHint: add LoadCredential=key:FILE to the service"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_with_the_line_of_the_config(site: Site, source: str, said: str) -> None:
    """F13: exit 3; what the command printed is not shown."""
    site.canaries.append("Kanarie-4711")
    (site.folder / "open").write_text("Kanarie-4711\n")
    (site.folder / "open").chmod(0o644)
    if "secret_file" in source:
        source = source.replace("('", f"('{site.folder}/")
    imports = "from pickup_core.api import secret_file, secret_env, secret_command, secret_credential\n"
    site.write_config(f"{imports}PASSWORD = {source}\n{VALID}")
    result = site.run("-q", status=3)
    assert result.err.startswith("ERROR: config.py, line 2: "), result
    assert said.format(site=site.folder) in result.err


@pytest.mark.slow
def test_a_config_that_never_ends_is_given_up(site: Site) -> None:
    """F2: after 30 seconds."""
    site.write_config("while True:\n    pass\n")
    result = site.run("-q", status=3)
    assert result.err.startswith("ERROR: config.py, line ")
    assert "TimeoutError: was still being loaded after 30 seconds" in result.err


GENERATOR = '''"""One file, written into the folder that the core hands over."""
API_VERSION = (1, 0)


def run(config, folder):
    (folder / "hello.txt").write_text("Hello World!\\n")
'''
TARGET = '''"""A folder with a sign at its door."""
from target_profiles import folder

API_VERSION = (1, 0)


class Config(folder.Config):
    sign: str
    """What the sign says."""


class Target(folder.Target):
    def create_root(self):
        super().create_root()
        (self.config.path / "SIGN").write_text(self.config.sign)
        (self.config.path / "SIGN").chmod(0o600)
'''


@pytest.fixture
def own(site: Site) -> Site:
    """A site with profiles of the user's own beside the config."""
    for folder, name, text in (("generator_profiles", "hello", GENERATOR), ("target_profiles", "signed", TARGET)):
        (site.folder / folder).mkdir(mode=0o700)
        (site.folder / folder / f"{name}.py").write_text(text)
        (site.folder / folder / f"{name}.py").chmod(0o600)
    site.configure(
        [{"name": "greeting", "profile": "hello"}],
        [{"name": "disk", "profile": "signed", "config": {"path": "backups", "sign": "mind the gap"}}],
    )
    return site


def test_profiles_of_the_users_own_beside_the_config_work_like_all_others(own: Site) -> None:
    """DESIGN 3: the smallest generator of all, and a target; they are listed with their manuals, too."""
    own.run("-q")
    assert (own.backups / "SIGN").read_text() == "mind the gap"
    assert (own.restored() / "hello/greeting/hello.txt").read_text() == "Hello World!\n"
    own.run("verify")
    assert "One file, written into the folder" in own.run("profiles").out
    assert "sign: str (required)\n      What the sign says." in own.run("profiles", "signed").out
    assert not list(own.folder.glob("*_profiles/__pycache__"))


@pytest.mark.parametrize("which", ["generator_profiles/hello.py", "target_profiles/signed.py"])
def test_a_profile_beside_the_config_that_others_could_write_is_not_run(own: Site, which: str) -> None:
    """F8: the same rule as for the config."""
    path = own.folder / which
    path.write_text(path.read_text() + f"\nopen({str(own.folder / 'was-run')!r}, 'w')\n")
    path.chmod(0o666)
    result = own.run("-q", status=3)
    assert f"{path} can be written by others, who could change what it says. Hint: chmod go-w {path}" in result.err
    assert ("GENERATORS[0] 'greeting' (hello): " if "hello" in which else "TARGETS[0] 'disk' (signed): ") in result.err
    assert not (own.folder / "was-run").exists()
    path.chmod(0o600)
    if os.geteuid() == 0:
        path.parent.chmod(0o777)
        assert f"{path.parent} can be written by others" in own.run("-q", status=3).err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_that_name", "Hint: install the Python package that has the module 'nothing_of_that_name'"),
        ("def run(config, folder): pass", "has no API_VERSION of two numbers"),
        ("API_VERSION = (9, 0)\ndef run(config, folder): pass", "is written for API_VERSION (9, 0)"),
        ("API_VERSION = (1, 0)", "generator profile 'hello' has no function run(config, folder)"),
        ("API_VERSION = (1, 0)\nConfig = 7\ndef run(config, folder): pass", "Config that is no class Config(Options)"),
        ("def def", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)  # fmt: skip
def test_a_profile_that_is_wrong_is_told_before_anything_runs(own: Site, text: str, said: str) -> None:
    """F6."""
    (own.folder / "generator_profiles/hello.py").write_text(text)
    result = own.run("-q", status=3)
    assert "ERROR: config.py: GENERATORS[0] 'greeting' (hello): " in result.err, result
    assert said in result.err
    assert not own.backups.exists()


def test_two_targets_that_are_the_same_place_are_refused(site: Site) -> None:
    """T28: also by another spelling, and through a link."""
    site.fill()
    (site.folder / "link").symlink_to(site.folder / "backups")
    for other in ("backups", "./source/../backups", "link"):
        site.configure(targets=[target_entry(), target_entry(other, name="twin")])
        result = site.run("-q", status=3)
        assert "TARGETS[1] 'twin' (folder): is the same place as TARGETS[0] 'disk' (folder)" in result.err
