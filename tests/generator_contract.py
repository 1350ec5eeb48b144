"""What every generator profile promises. A profile passes by adding fixtures:

    class TestFolder(GeneratorContract):
        profile = "folder"

        @pytest.fixture
        def good(self, sources: Path) -> Sample: ...     # an entry that works, with what comes of it

        @pytest.fixture
        def bad(self, sources: Path) -> Sample: ...      # one of which an artefact fails

`sources` is a fresh folder for what is backed up. Where an artefact's bytes are not known beforehand, `meaning` tells
what they mean.
"""

import ast
import base64
import contextlib
import functools
import inspect
import io
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pickup_core import api
from pickup_core.artefact import Artefact, Judgement, Stored
from pickup_core.errors import ExitCode, PickupError
from pickup_core.generate import generate
from pickup_core.manifest import EntryRecord
from pickup_core.profiles import config_class, describe, find_profile, load_profile
from pickup_core.report import Report
from pickup_core.staging import Staging
from pickup_core.store import BLOCK
from pickup_core.streams import decompressed, zstd
from tests.builders import NOBODY, ROOT, config_text, loaded
from tests.end_to_end.trees import everything_about

CRON = {"PATH": "/usr/bin:/bin"}


@dataclass(frozen=True)
class Sample:
    """The config of an entry, and what comes of it: the meaning of each artefact that is whole, by its name, and a part
    of the message for each that fails.
    """

    config: Mapping[str, Any]
    artefacts: Mapping[str, Any]
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Produced:
    """What a profile produced: names in their order, contents, failures, and what it judged."""

    names: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    peak: int = 0
    """The largest memory of the process, in bytes; only of one that `produce_elsewhere` has started."""


def options_of(profile: str, config: Mapping[str, Any], folder: Path) -> Any:
    """Give the checked options of an entry; `folder` stands for the config file's."""
    module = load_profile("generator", profile, folder)
    return config_class(module).model_validate(dict(config), context={"folder": folder})


def produce(profile: str, config: Mapping[str, Any], scratch: Path, keep: bool = True) -> Produced:
    """Let a profile produce its artefacts, and read each as the core does."""
    module = load_profile("generator", profile, scratch)
    options = options_of(profile, config, scratch)
    produced = Produced()
    with contextlib.closing(module.run(options, scratch)) as artefacts:
        for artefact in artefacts:
            _read(artefact, produced, keep)
    return produced


def _read(artefact: Artefact, produced: Produced, keep: bool) -> None:
    produced.names.append(artefact.name)
    blocks = []
    try:
        with artefact.source as stream:
            while block := stream.read(BLOCK):
                blocks.append(block if keep else b"")
    except PickupError as error:
        produced.failures[artefact.name] = str(error)
        return
    produced.contents[artefact.name] = b"".join(blocks)
    judgement = getattr(artefact.source, "judgement", Judgement())
    produced.warnings += judgement.warnings
    produced.losses += judgement.losses


def produce_elsewhere(
    profile: str,
    config: Mapping[str, Any],
    *,
    before: str = "",
    env: Mapping[str, str] = CRON,
    as_nobody: bool = False,
    keep: bool = True,
) -> Produced:
    """Let a profile produce its artefacts in a process of its own, in the environment of cron. `before` are lines of
    shell that run first, in a mount namespace that goes with them; root alone can have them.
    """
    prefix = ["unshare", "--mount", "sh", "-ec", f'{before}\nexec "$@"', "sh"] if before else []
    done = subprocess.run(
        [*prefix, sys.executable, "-c", f"from tests.generator_contract import answer; answer({as_nobody}, {keep})"],
        input=json.dumps([profile, dict(config)]), env={**env, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}, cwd="/",
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    answer["contents"] = {name: base64.b64decode(content) for name, content in answer["contents"].items()}
    return Produced(**answer)


def answer(as_nobody: bool, keep: bool) -> None:
    """Do in the child what `produce_elsewhere` asks for."""
    profile, config = json.load(sys.stdin)
    load_profile("generator", profile, Path("/"))
    if as_nobody:
        become_nobody()
    scratch = Path(tempfile.mkdtemp(prefix="pickup-test-"))
    try:
        produced = produce(profile, config, scratch, keep)
    finally:
        shutil.rmtree(scratch)
    produced.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    encoded = {name: base64.b64encode(content).decode() for name, content in produced.contents.items()}
    print(json.dumps({**asdict(produced), "contents": encoded}))


def become_nobody() -> None:
    """Go on as an ordinary user, where the tests run as root. Such a user may not be able to read Python's own library,
    so what is imported late is imported before.
    """
    import _strptime  # noqa: F401

    import humanize  # noqa: F401

    zstd()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@dataclass(frozen=True)
class Ran:
    """What came of one entry in a run: its record in the manifest, the exit code, and its artefacts uncompressed."""

    record: EntryRecord
    exit_code: int
    contents: Mapping[str, bytes]
    messages: Sequence[str]


def run_entry(
    folder: Path, profile: str, config: Mapping[str, Any], last_sizes: Mapping[str, int] | None = None, **keys: Any
) -> Ran:
    """Run one entry as a run does, config file, staging area and report included."""
    entry = dict(name="it", profile=profile, config=dict(config), **keys)
    report, logged = Report(), _Logged()
    settings = f"STAGING_AREA = {str(folder / 'staging')!r}\nMIN_FREE = 0"
    checked = loaded(folder, config_text(settings, repr([entry])))
    logging.getLogger("pickup").addHandler(logged)
    try:
        with Staging(checked.staging_area, checked.min_free) as staging:
            record = generate(checked.generators[0], checked, staging, staging.sink, report, dict(last_sizes or {}))
            contents = {}
            for artefact in record.artefacts:
                with (staging.backup / artefact.path).open("rb") as file:
                    stream = decompressed(file, artefact.compression)
                    contents[artefact.name] = b"".join(iter(lambda: stream.read(BLOCK), b""))  # noqa: B023
            files = [path for path in staging.backup.rglob("*") if path.is_file()]
            assert len(files) == len(record.artefacts), "a file lies in the backup that no artefact tells of"
    finally:
        logging.getLogger("pickup").removeHandler(logged)
    return Ran(record, report.exit_code, contents, logged.messages)


class _Logged(logging.Handler):
    """Keeps what would be written to standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def stored(contents: Mapping[str, bytes], *names: str) -> list[Stored]:
    """Give artefacts as `restore` gets them: those of these names, in their order, or all."""
    return [
        Stored(name, len(contents[name]), functools.partial(io.BytesIO, contents[name])) for name in names or contents
    ]


def load_back(
    profile: str,
    config: Mapping[str, Any],
    artefacts: Sequence[Stored],
    as_name: str | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Let a profile load artefacts, and give the sentences that tell about it."""
    options = options_of(profile, config, Path("/"))
    return list(load_profile("generator", profile, Path("/")).restore(options, artefacts, as_name, overwrite))


def children() -> set[str]:
    """Give the processes below this one, by number and command, but for those of an sshd that a test has started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            number, rest = (folder / "stat").read_text(errors="replace").rsplit(")", 1)
            parents[folder.name] = (rest.split()[1], number.partition("(")[2])
    below, ours = {str(os.getpid())}, set()
    while new := {number for number, (parent, _) in parents.items() if parent in below} - ours:
        ours |= new
        below = new
    return {f"{number} {parents[number][1]}" for number in ours if not parents[number][1].startswith("sshd")}


def open_files() -> dict[str, str]:
    """Give what this process has open."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[path.name] = os.readlink(path)
    return found


def what_lies_in(*folders: Path) -> dict[str, tuple[object, ...]]:
    """Describe folders as `everything_about` does, but for the times of folders: something may have come and gone."""
    about = everything_about(*folders)
    return {path: facts if not os.path.isdir(path) else facts[:5] for path, facts in about.items()}


class GeneratorContract:
    """The tests. Not collected itself, for its name."""

    profile: str

    @pytest.fixture
    def sources(self, tmp_path: Path) -> Path:
        """A folder for what is backed up."""
        folder = tmp_path / "sources"
        folder.mkdir()
        return folder

    @pytest.fixture
    def good(self, sources: Path) -> Sample:
        raise NotImplementedError

    @pytest.fixture
    def bad(self, sources: Path) -> Sample:
        raise NotImplementedError

    def meaning(self, name: str, content: bytes) -> Any:
        """Give what an artefact's bytes mean, to be compared with the sample."""
        return content

    def meanings(self, contents: Mapping[str, bytes]) -> dict[str, Any]:
        return {name: self.meaning(name, content) for name, content in contents.items()}

    # What it is

    def test_it_is_a_profile_of_this_api(self, tmp_path: Path) -> None:
        module = load_profile("generator", self.profile, tmp_path)
        assert module.API_VERSION[0] == api.API_VERSION[0]
        assert inspect.isgeneratorfunction(module.run)

    def test_its_docstring_begins_with_a_sentence_that_says_what_it_does(self, tmp_path: Path) -> None:
        first = describe(find_profile("generator", self.profile, tmp_path)).docstring.split("\n")[0]
        assert first.endswith("."), first
        assert first[0].isupper(), first
        assert len(first) <= 120, first

    def test_the_example_in_its_docstring_is_an_entry_that_works(self, tmp_path: Path) -> None:
        module = load_profile("generator", self.profile, tmp_path)
        docstring = inspect.getdoc(module) or ""
        assert "Example entry::" in docstring
        block = docstring.partition("Example entry::")[2].lstrip("\n")
        lines = []
        for line in block.splitlines():
            if line and not line.startswith(" "):
                break
            lines.append(line)
        source = textwrap.dedent("\n".join(lines)).strip().rstrip(",")
        names = {"Path": Path, "dict": dict, **{name: getattr(api, name) for name in api.__all__ if "secret" in name}}
        assert {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)} <= names.keys()
        entry = eval(source, names)
        assert entry["profile"] == self.profile
        assert entry["name"]
        options_of(self.profile, entry.get("config", {}), tmp_path)

    def test_each_option_has_a_help_text(self, tmp_path: Path) -> None:
        for option in describe(find_profile("generator", self.profile, tmp_path)).options:
            assert option.help.endswith("."), f"{option.name}: {option.help!r}"

    def test_its_parts_stand_in_the_order_of_every_profile(self, tmp_path: Path) -> None:
        tree = ast.parse(find_profile("generator", self.profile, tmp_path).read_text(encoding="utf-8"))
        order = []
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                order.append(node.targets[0].id)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                order.append("import")
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                order.append(node.name)
        places = [len(order) - 1 - order[::-1].index("import"), *map(order.index, ("API_VERSION", "Config", "run"))]
        assert places == sorted(places), order
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert functions.index("run") == 0, "private helpers stand below what the core calls"

    # What it produces

    def test_it_produces_what_it_is_asked_for(self, good: Sample, scratch: Path) -> None:
        produced = produce(self.profile, good.config, scratch)
        assert produced.failures == {}
        assert produced.warnings == produced.losses == []
        assert self.meanings(produced.contents) == good.artefacts

    def test_it_produces_the_same_a_second_time(self, good: Sample, scratch: Path) -> None:
        first = produce(self.profile, good.config, scratch)
        second = produce(self.profile, good.config, scratch)
        assert first.names == second.names
        assert self.meanings(first.contents) == self.meanings(second.contents)

    def test_artefact_names_are_unique(self, good: Sample, bad: Sample, scratch: Path) -> None:
        for sample in (good, bad):
            names = produce(self.profile, sample.config, scratch).names
            assert sorted(names) == sorted(set(names))
            assert all(names)

    def test_a_run_keeps_what_it_produces(self, good: Sample, tmp_path: Path) -> None:
        ran = run_entry(tmp_path, self.profile, good.config)
        assert ran.messages == []
        assert ran.exit_code == ExitCode.OK
        assert ran.record.status == "ok"
        assert self.meanings(ran.contents) == good.artefacts

    def test_the_failure_of_one_artefact_leaves_the_others(self, bad: Sample, scratch: Path) -> None:
        produced = produce(self.profile, bad.config, scratch)
        assert self.meanings(produced.contents) == bad.artefacts
        assert produced.failures.keys() == bad.failures.keys()
        for name, part in bad.failures.items():
            assert part in produced.failures[name]

    def test_a_run_names_what_failed_and_keeps_the_rest(self, bad: Sample, tmp_path: Path) -> None:
        ran = run_entry(tmp_path, self.profile, bad.config)
        assert ran.exit_code == ExitCode.FAILED
        assert ran.record.status == "failed"
        assert self.meanings(ran.contents) == bad.artefacts
        assert len(ran.record.failures) == len(ran.messages) == len(bad.failures)
        for part in bad.failures.values():
            assert any(part in failure for failure in ran.record.failures)
            assert any(part in line and f"GENERATORS[0] 'it' ({self.profile})" in line for line in ran.messages)

    # What it does not do

    def test_nothing_starts_before_a_source_is_entered(self, good: Sample, sources: Path, scratch: Path) -> None:
        module = load_profile("generator", self.profile, scratch)
        before, running = everything_about(sources), children()
        with contextlib.closing(module.run(options_of(self.profile, good.config, scratch), scratch)) as artefacts:
            for artefact in artefacts:
                assert children() == running, f"{artefact.name} has started something"
                assert everything_about(sources) == before
                if hasattr(artefact.source, "close"):
                    artefact.source.close()
        assert children() == running

    @pytest.mark.parametrize("amount", [0, 1, 700])
    def test_it_can_be_closed_early(self, amount: int, good: Sample, sources: Path, scratch: Path) -> None:
        module = load_profile("generator", self.profile, scratch)
        before, running, opened = what_lies_in(sources), children(), open_files()

        class Interrupted(BaseException):
            pass

        def interrupted() -> None:
            options = options_of(self.profile, good.config, scratch)
            with contextlib.closing(module.run(options, scratch)) as artefacts, next(artefacts).source as stream:
                if amount:
                    assert stream.read(amount)
                raise Interrupted

        with pytest.raises(Interrupted):
            interrupted()
        assert children() == running
        assert {number: what for number, what in open_files().items() if number not in opened} == {}
        assert what_lies_in(sources) == before

    def test_it_leaves_nothing_outside_of_its_scratch_folder(
        self,
        good: Sample,
        bad: Sample,
        sources: Path,
        scratch: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        elsewhere = [tmp_path / name for name in ("home", "temporary", "working")]
        for folder, name in zip(elsewhere, ("HOME", "TMPDIR", "PWD"), strict=True):
            folder.mkdir()
            monkeypatch.setenv(name, str(folder))
        monkeypatch.chdir(elsewhere[-1])
        monkeypatch.setattr(tempfile, "tempdir", None)
        before = what_lies_in(sources, *elsewhere)
        for sample in (good, bad):
            produce(self.profile, sample.config, scratch)
        assert what_lies_in(sources, *elsewhere) == before

    def test_check_changes_nothing_and_gives_texts(
        self, good: Sample, bad: Sample, sources: Path, scratch: Path
    ) -> None:
        module = load_profile("generator", self.profile, scratch)
        if not hasattr(module, "check"):
            pytest.skip("this profile has no check")
        before, running, opened = everything_about(sources), children(), open_files()
        notes = list(module.check(options_of(self.profile, good.config, scratch)) or ())
        assert all(isinstance(note, str) and note for note in notes), notes
        with contextlib.suppress(PickupError):
            list(module.check(options_of(self.profile, bad.config, scratch)) or ())
        assert everything_about(sources) == before
        assert list(scratch.iterdir()) == []
        assert children() == running
        assert {number: what for number, what in open_files().items() if number not in opened} == {}

    # Where it works

    @pytest.mark.parametrize(
        "env",
        [
            {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            {"PATH": "/usr/bin:/bin", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        ],
        ids=["C", "POSIX without UTF-8"],
    )
    def test_it_works_with_the_environment_of_cron(self, env: dict[str, str], good: Sample) -> None:
        """E1, E2"""
        assert "HOME" not in env
        produced = produce_elsewhere(self.profile, good.config, env=env)
        assert produced.failures == {}
        assert self.meanings(produced.contents) == good.artefacts
