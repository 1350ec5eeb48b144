"""Every example of the documentation works: it is found by its directive, and executed or validated.

What becomes of an example is told by its language. An example in another one fails a test, so none can be forgotten.

    console    is run for real, page by page, and has to print what the page shows
    python     with a file name as its caption: is written there, for the commands that follow on the page
               without: is an entry, or some lines of a config, and is loaded as such
    sh         is not run here; bash can read it, and Pickup's command line its commands. The pages about databases are
               followed in end_to_end/test_database_pages.py
    ini        is a unit of systemd
    text       is a crontab

A page that shows a config of its own starts on a machine that has never seen Pickup, any other on one with a backup. A
line `...` stands for any lines.
"""

import configparser
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pickup_core import cli
from pickup_core.config import load_config
from pickup_core.encryption import make_identity
from pickup_core.errors import ConfigError
from pickup_core.profiles import KINDS, describe, load_profile
from tests.builders import ROOT, config_text, write_config
from tests.target_contract import Connect, TargetContract

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.rst", ROOT / "CHANGELOG.rst", *sorted(DOCS.rglob("*.rst"))]
PROFILES = [path for folder in KINDS.values() for path in sorted((ROOT / folder).glob("[!_]*.py"))]
EXAMPLE = ROOT / "config.py.example"
FIRST = "2026-11-23T031502Z"
CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "web01"
GENERATORS = [
    dict(name="notes", profile="folder", config=dict(path="/srv/notes")),
    dict(name="shop", profile="sqlite", config=dict(databases=["/srv/shop.db"])),
    dict(name="system", profile="command", config=dict(command=["uname", "-a"], filename="uname.txt")),
]
TARGETS = [
    dict(name="disk", profile="folder", config=dict(path="/mnt/backup"), retention=dict(days=30, monthly=12)),
]
"""


@dataclass(frozen=True)
class Example:
    """One example of a page: what stands below a directive."""

    page: Path
    line: int
    language: str
    caption: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_config(self) -> bool:
        return self.language == "python" and "\nCONFIG_VERSION = " in f"\n{self.text}"


def examples_of(page: Path) -> Iterator[Example]:
    """Give the examples of a page in their order; one below `::` is in no language."""
    lines, end = page.read_text(encoding="utf-8").splitlines(), 0
    for number, line in enumerate(lines):
        if number < end:
            continue
        directive = re.match(r"( *)\.\. (?:code|code-block|sourcecode|parsed-literal|prompt)::(.*)", line)
        if directive or (line.endswith("::") and not line.lstrip().startswith("..") and "|" not in line):
            indent = len(line) - len(line.lstrip())
            end = next(
                (n for n in range(number + 1, len(lines)) if lines[n] and not lines[n].startswith(" " * (indent + 1))),
                len(lines),
            )
            head, _, text = "\n".join(["", *lines[number + 1 : end]]).partition("\n\n")
            caption = re.search(r":caption: *(.+)", head)
            yield Example(
                page,
                number + 1,
                directive[2].strip() if directive else "",
                caption[1] if caption else "",
                textwrap.dedent(text).strip("\n") + "\n",
            )


EXAMPLES = {page: list(examples_of(page)) for page in PAGES if "_build" not in page.parts}
SESSIONS = [page for page, found in EXAMPLES.items() if {"console"} & {e.language for e in found}]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def each(language: str, has_caption: bool | None = None) -> pytest.MarkDecorator:
    """Let a test run for every example in a language."""
    chosen = [
        example
        for found in EXAMPLES.values()
        for example in found
        if example.language == language and has_caption in (None, bool(example.caption))
    ]
    return pytest.mark.parametrize("example", chosen, ids=str)


def test_every_example_is_in_a_language_that_is_tested_here() -> None:
    unknown = [str(e) for found in EXAMPLES.values() for e in found if e.language not in TESTED]
    assert unknown == []
    assert {example.language for found in EXAMPLES.values() for example in found} == TESTED


TESTED = {"console", "python", "sh", "ini", "text"}


# Pages, run from their beginning to their end


@dataclass
class Machine:
    """A machine in a folder: what stands on a page as `/srv` or `/opt/pickup` lies below it."""

    root: Path
    status: int = 0
    backup: str = FIRST
    working_folder: str = "srv"
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = {name: f"{self.root}{name}" for name in ("/opt/pickup", "/srv", "/mnt", "/etc", "/tmp")}
        for name in ("srv/notes/garden", "mnt", "tmp", "bin", "home", "opt/pickup/logs", "opt/pickup/.venv/bin"):
            (self.root / name).mkdir(parents=True)
        for part in ("pickup_core", "generator_profiles", "target_profiles", "tests", "docs"):
            shutil.copytree(ROOT / part, self.root / "opt/pickup" / part, ignore=shutil.ignore_patterns("_build"))
        for part in ("pickup.py", "pyproject.toml"):
            shutil.copy(ROOT / part, self.root / "opt/pickup")
        self._script("opt/pickup/.venv/bin/python", "")
        self._script("bin/python", "")
        self._script("bin/pickup.py", f"{self.root}/opt/pickup/pickup.py")
        (self.root / "srv/notes/today.txt").write_text("Buy bread.\n")
        (self.root / "srv/notes/garden/tomatoes.txt").write_text("Water the tomatoes.\n")
        with closing(sqlite3.connect(self.root / "srv/shop.db")) as database:
            database.executescript("CREATE TABLE orders (id, what); CREATE TABLE users (name)")
            database.execute("INSERT INTO orders VALUES (1, 'tea')")
            database.commit()

    def _script(self, path: str, argument: str) -> None:
        (self.root / path).write_text(f'#!/bin/sh\nexec {sys.executable} {argument} "$@"\n')
        (self.root / path).chmod(0o755)

    def here(self, text: str) -> str:
        """Give a text of a page as it is true on this machine."""
        names = "|".join(map(re.escape, self.names))
        text = re.sub(rf"(?<![\w./-])({names})(?![\w-])", lambda found: self.names[found[1]], text)
        return text.replace(FIRST, self.backup).replace(FIRST[:10], self.backup[:10])

    def there(self, text: str) -> str:
        """Give what this machine says as it would stand on a page."""
        for name, path in {"/var/tmp/pickup-0": f"{self.root}/staging", **self.names}.items():
            text = text.replace(path, name)
        return text.replace(f"/var/tmp/pickup-{os.geteuid()}", "/var/tmp/pickup-0")

    def write(self, example: Example) -> Path:
        """Write a file that a page shows. A config that names no staging area gets one of its own."""
        path = self.root / self.working_folder / self.here(example.caption)
        path.parent.mkdir(parents=True, exist_ok=True)
        own = f'STAGING_AREA = "{self.root}/staging"\n' if "\nSTAGING_AREA = " not in example.text else ""
        own = f"{own}MIN_FREE = 0\n" if example.is_config else ""
        path.write_text(self.here(example.text) + own, encoding="utf-8")
        path.chmod(0o600)
        return path

    def run(self, command: str) -> str:
        """Run a command and give what it prints."""
        script = f"cd {self.root}/{self.working_folder}; (exit {self.status})\n{self.here(command)}\n"
        done = subprocess.run(
            ["bash", "-c", f"{script}status=$?; pwd > {self.root}/where; exit $status"],
            env={
                "PATH": f"{self.root}/bin:/usr/bin:/bin",
                "HOME": f"{self.root}/home",
                "TMPDIR": f"{self.root}/tmp",
                "LC_ALL": "C.UTF-8",
                "TZ": "UTC",
            },
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=100, check=False,
        )  # fmt: skip
        self.status = done.returncode
        self.working_folder = (self.root / "where").read_text().strip().removeprefix(f"{self.root}/")
        return self.there(done.stdout)

    def back_up(self) -> None:
        """Make the backup that pages without a config of their own speak of."""
        self.write(Example(DOCS, 0, "python", "/opt/pickup/config.py", CONFIG))
        assert self.run("pickup.py -q") == ""
        [marker] = (self.root / "mnt/backup/web01").glob("*.json")
        self.backup = marker.stem


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def shape(text: str) -> str:
    """Give a text without what is another each time: moments, sizes, digests, owners, the widths of a table."""
    for pattern, word in (
        (r"\d{4}-\d\d-\d\dT\d{6}Z", "ID"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00)?", "MOMENT"),
        (r"\d{4}-(W\d\d|\d\d-\d\d|\d\d)\b", "PERIOD"),
        (r"\b(now|(a|an|\d+) (second|minute|hour|day)s? ago)\b", "AGE"),
        (r"\b\d+(\.\d+)? (Byte|Bytes|[KMGT]iB)\b", "SIZE"),
        (r'("size"|"uncompressed_size"|"age"): \d+', r"\1: SIZE"),
        (r"(?<![\w.])\d+[smhd]\b", "DURATION"),
        (r"(?<!\S)[+-]?\d+ %", "TREND"),
        (r"\b([0-9a-f]{64}|[0-9a-f]{16})\b", "DIGEST"),
        (rf"\b{re.escape(socket.gethostname())}\b|web01\.example\.org", "HOST"),
        (r"(?m)^([-dlhcb][-rwxsStT]{9}) +\S+/\S+ +\d+ ", r"\1 OWNER SIZE "),
        (r"passed in [\d.]+s", "passed in TIME"),
        (r"(?m) +$", ""),
        (r"(?<=\S) +", " "),
    ):
        text = re.sub(pattern, word, text)
    return text.strip("\n") + "\n"


def is_like(printed: str, shown: str) -> bool:
    """Tell whether a command printed what a page shows."""
    parts = [re.escape(part) for part in re.split(r"(?m)^\.\.\.\n", shape(shown))]
    return re.fullmatch("(?:.*\n)*?".join(parts), shape(printed)) is not None


def commands_of(example: Example) -> Iterator[tuple[str, str]]:
    """Give each command of a console example, with what it is shown to print."""
    assert example.text.startswith("$ "), f"{example} begins without a command"
    for part in re.split(r"(?m)^\$ ", example.text)[1:]:
        command, shown = re.match(r"((?:.*\\\n)*.*)\n([\s\S]*)", part).groups()  # type: ignore[union-attr]
        yield command, shown


@pytest.mark.parametrize("page", SESSIONS, ids=name_of)
def test_a_page_does_what_it_shows(page: Path, machine: Machine) -> None:
    if not any(example.is_config and example.caption.endswith("config.py") for example in EXAMPLES[page]):
        machine.back_up()
    for example in EXAMPLES[page]:
        if example.language == "python" and example.caption:
            path = machine.write(example)
            for problem in problems_of_config(path) if example.is_config else ():
                assert machine.there(problem) in page.read_text(encoding="utf-8"), f"{example}: {problem}"
        for command, shown in commands_of(example) if example.language == "console" else ():
            assert machine.status == 0 or command == "echo $?", f"{example}: {command!r} follows on a failure"
            printed = machine.run(command)
            assert is_like(printed, shown), f"{example}\n$ {command}\n--- shown\n{shown}--- printed\n{printed}---"
    assert machine.status == 0, f"{name_of(page)}: its last command failed"


def problems_of_config(path: Path) -> tuple[str, ...]:
    """Load a config and give what is wrong with it."""
    try:
        load_config(path, generators="GENERATORS" in path.read_text(encoding="utf-8"))
    except ConfigError as error:
        return error.problems
    return ()


def test_a_page_that_shows_something_else_is_found_out() -> None:
    assert is_like("a 7 Bytes\nb\nc\n", "a 80 Bytes\n...\nc\n")
    assert not is_like("a\nb\nc\nd\n", "a\n...\nc\n")
    assert not is_like("a\n", "b\n")


# Configs and entries


def problems_of_lines(text: str, folder: Path) -> tuple[str, ...]:
    """Load some lines of a config, with what they lack to be one, and give what is wrong."""
    lines = config_text().splitlines()
    rest = [line for line in lines if f"\n{line.partition(' = ')[0]} = " not in f"\n{text}"]
    return problems_of_config(write_config(folder, text + "\n".join(rest) + "\n"))


def problems_of_entry(text: str, folder: Path) -> tuple[str, ...]:
    """Load an entry, be it of a generator or of a target, and give what is wrong."""
    entry = text.strip().rstrip(",")
    as_generator = problems_of_lines(f"GENERATORS = [{entry}]\n", folder)
    as_target = problems_of_lines(f"TARGETS = [{entry}]\n", folder)
    return as_generator + as_target if as_generator and as_target else ()


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that examples speak of."""
    for name in ("ledger.key", "dump.key", "backup.password", "mail.password", "s3.secret", "bin/pass"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\necho correct-horse\n")
        (tmp_path / name).chmod(0o700)
    for name in ("heartbeat.url", "ntfy.url"):
        (tmp_path / name).write_text("https://example.org/2c3f5a7e-0000-4a3b-8c1d-1234567890ab\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")


@each("python", has_caption=False)
@pytest.mark.usefixtures("secrets")
def test_lines_of_a_config_are_valid(example: Example, tmp_path: Path) -> None:
    problems_of = problems_of_entry if example.text.startswith("dict(") else problems_of_lines
    assert problems_of(example.text, tmp_path) == ()


@pytest.mark.parametrize("path", PROFILES, ids=name_of)
def test_the_example_entries_of_a_profile_are_valid(path: Path, tmp_path: Path) -> None:
    found = re.findall(r"(?m)^.*::\n\n((?: {4}.*\n|\n)+)", describe(path).docstring + "\n")
    assert found, "a profile shows an entry"
    for entry in found:
        assert f'profile="{path.stem}"' in entry
        assert problems_of_entry(textwrap.dedent(entry), tmp_path) == ()


def test_a_wrong_entry_is_found_out(tmp_path: Path) -> None:
    assert problems_of_entry('dict(name="a", profile="folder", config=dict(pth="/srv"))', tmp_path)
    assert problems_of_lines('COMPRESSION = "zip"\n', tmp_path)


# The example config, and what `init` makes of it


def test_the_example_config_is_short_and_ascii() -> None:
    text = EXAMPLE.read_text(encoding="ascii")
    assert len(text.splitlines()) <= 70
    assert max(map(len, text.splitlines())) <= 120


def test_the_example_config_loads_as_it_is(tmp_path: Path) -> None:
    assert problems_of_config(write_config(tmp_path, EXAMPLE.read_text(encoding="utf-8") + 'JOB = "web01"\n')) == ()


def test_the_example_config_runs(machine: Machine) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace('"/etc/default"', '"/srv/notes"')
    machine.write(Example(EXAMPLE, 1, "python", "/opt/pickup/config.py", text + 'JOB = "web01"\n'))
    for command in ("check", "--dry-run", "-q", "verify", "restore --to /srv/restored"):
        printed = machine.run(f"pickup.py {command}")
        assert machine.status == 0, printed
    assert machine.run("diff -r /srv/notes /srv/restored/folder/settings/notes") == ""


def test_every_setting_and_key_of_the_example_has_a_comment_above_it() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?[A-Z_]+ = ", line):
            above = next(above for above in reversed(lines[:number]) if not re.match(r"(# )?[A-Z_]+ = ", above))
            assert above.startswith("# "), f"line {number + 1}: {line}"


@pytest.mark.usefixtures("secrets")
def test_each_example_that_is_commented_out_is_valid(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    [entry] = re.findall(r"(?m)^    # dict\(\n(?:    #     .*\n)+    # \),\n", text)
    assert problems_of_entry(re.sub(r"(?m)^    # ", "", entry), tmp_path) == ()
    settings = "\n".join(re.findall(r"(?m)^# ([A-Z_]+ = .*)$", text))
    assert {line.partition(" = ")[0] for line in settings.splitlines()} >= {"JOB", "COMPRESSION", "STAGING_AREA"}
    (tmp_path / "recipients").write_text(make_identity(tmp_path / "identity"))
    (imports,) = re.findall(r"(?m)^# (from pickup_core.api import .*)$", text)
    assert problems_of_lines(f"{imports}\n{settings}\n", tmp_path) == ()


def test_init_writes_the_job_as_a_text(machine: Machine) -> None:
    printed = machine.run("pickup.py init")
    assert machine.status == 0, printed
    path = machine.root / "opt/pickup/config.py"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text(encoding="utf-8")
    job = socket.gethostname().partition(".")[0]
    if re.fullmatch("localhost|[0-9a-f]{12}", job):
        assert '\n# JOB = "' in text
    else:
        assert f'\nJOB = "{job}"\n' in text
        assert load_config(path).job == job


# Commands


def pickup_commands(text: str) -> Iterator[list[str]]:
    """Give the arguments of each of Pickup's commands in some lines of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(re.split(r" [|>] ", line)[0], comments=True)
        starts = [number for number, word in enumerate(words) if re.fullmatch(r"(?:.*/)?pickup(?:\.py)?", word)]
        if starts:
            yield words[starts[-1] + 1 :]


def cli_commands() -> list[str]:
    """Give the name of each command."""
    return re.findall(r"^ {4}([a-z]+) ", cli.parser().format_help(), re.MULTILINE)


def accepted(arguments: list[str]) -> bool:
    """Tell whether Pickup's command line takes these arguments."""
    try:
        cli.parser().parse_args(cli._with_command(arguments))
    except SystemExit as ended:
        return ended.code == 0  # --help and --version
    return True


@each("sh")
def test_a_shell_example_can_be_read(example: Example) -> None:
    done = subprocess.run(["bash", "-n"], input=example.text, text=True, capture_output=True, check=False)
    assert done.stderr == ""
    for arguments in pickup_commands(example.text):
        assert accepted(arguments), arguments
    for target in re.findall(r"(?m)^make (\S+)", example.text):
        assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text()), f"make {target}"


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_a_command_within_a_sentence_can_be_parsed(page: Path) -> None:
    for command in re.findall(r"``((?:pickup|pickup\.py) [^`]+)``", page.read_text(encoding="utf-8")):
        arguments = shlex.split(command.partition(" ")[2])
        assert arguments[0] in cli_commands() if len(arguments) == 1 else accepted(arguments), command


def test_a_wrong_command_is_found_out() -> None:
    assert list(pickup_commands("cd /x\n/x/python /x/pickup.py -q \\\n  list | cat\n")) == [["-q", "list"]]
    assert list(pickup_commands("/x/pickup.py list > /etc/pickup\n")) == [["list"]]
    assert accepted(["--dry-run"])
    assert not accepted(["list", "--too"])


# Cron and systemd

CRON_FIELD = r"(?:\*|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)(?:/\d+)?"
CRON_LINE = re.compile(rf"(?:{CRON_FIELD} ){{5}} *(?:(?P<user>[a-z]\w*)  +)?(?P<command>(?:nice|/).*)")


def crontab_commands(text: str) -> Iterator[tuple[str | None, str]]:
    """Give user and command of each line of a crontab (crontab(5)); raises where one is none."""
    for line in text.splitlines():
        if line and not re.match(r"#|[A-Z]+=\S*$", line):
            found = CRON_LINE.fullmatch(line)
            assert found, f"this is no line of a crontab: {line!r}"
            assert "%" not in line, "cron makes a new line of a percent sign"
            yield found["user"], found["command"]


@each("text")
def test_a_crontab_starts_pickup(example: Example) -> None:
    found = list(crontab_commands(example.text))
    assert found
    for user, command in found:
        assert user == "root" or not example.caption, "a crontab of the system names a user"
        [arguments] = pickup_commands(command)
        assert accepted(arguments)
        assert "-q" in arguments


@each("ini")
def test_a_unit_of_systemd_is_valid(example: Example, tmp_path: Path) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(example.text)
    command = unit.get("Service", "ExecStart", fallback="")
    for arguments in pickup_commands(command):
        assert accepted(arguments)
    assert command or "Service" not in unit or example.caption.endswith(".conf")
    if shutil.which("systemd-analyze") and not example.caption.endswith(".conf"):
        path = tmp_path / Path(example.caption).name
        path.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", example.text))
        (tmp_path / f"{path.stem}.service").touch()
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
        assert [line for line in done.stderr.splitlines() if path.name in line] == []


# The demo


def test_the_demo_goes_well_twice_and_leaves_nothing_else(machine: Machine) -> None:
    for count in (1, 2):
        printed = machine.run("umask 002; bash /opt/pickup/docs/demo/demo.sh")
        assert machine.status == 0, printed
        assert len(list((machine.root / "opt/pickup/backups/demo").glob("*.json"))) == count
        assert list((machine.root / "tmp").iterdir()) == []
    commands = re.findall(r"(?m)^ +(?:\.venv/bin/python |15 3 .*/)(pickup\.py .*?)(?:  .*)?$", printed)
    assert len(commands) == 3
    for command in commands:
        assert accepted(shlex.split(command)[1:]), command


def test_the_demo_fails_where_something_differs(machine: Machine) -> None:
    demo = machine.root / "opt/pickup/docs/demo/demo.sh"
    text = demo.read_text(encoding="utf-8")
    demo.write_text(text.replace('\nsay "6.', '\necho >> restored/command/demo-system/uname.txt\nsay "6.'))
    printed = machine.run("bash /opt/pickup/docs/demo/demo.sh")
    assert machine.status == 1, printed
    assert "FAILED" in printed
    assert "How to go on" not in printed


# The target of the page passes what every target passes


def page_profile(kind: str, name: str, folder: Path) -> object:
    """Give the module that a page shows last under this name."""
    page = DOCS / "how-to" / f"write-a-{kind}.rst"
    example = [e for e in EXAMPLES[page] if e.caption == f"{KINDS[kind]}/{name}.py"][-1]
    path = folder / example.caption
    path.parent.mkdir(parents=True)
    path.write_text(example.text, encoding="utf-8")
    return load_profile(kind, name, folder)


class TestTargetOfThePage(TargetContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        module = page_profile("target", "onefile", tmp_path / "beside")
        return lambda: module.Target(module.Config(path=tmp_path / "backups.db"))  # type: ignore[attr-defined]
