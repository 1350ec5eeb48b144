"""Generate: from what a profile produces to the record of an entry, whatever a profile does."""

import json
import os
import stat
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pickup_core.entries import GeneratorEntry
from pickup_core.errors import ExitCode
from pickup_core.generate import generate, skipped
from pickup_core.manifest import EntryRecord
from pickup_core.report import Report
from pickup_core.staging import Staging
from pickup_core.wording import in_words
from tests.builders import config_text, loaded
from tests.generator_contract import Ran, run_entry
from tests.places import run_on_disk
from tests.stored import sha256

WHERE = "GENERATORS[0] 'it' (mine)"


def write_profile(folder: Path, body: str, head: str = "") -> None:
    """Write a profile named `mine` beside the config of a test."""
    (folder / "generator_profiles").mkdir(exist_ok=True)
    text = '"""A profile of this test."""\nimport io, os\nfrom pickup_core.api import *\nAPI_VERSION = (1, 0)\n'
    path = folder / "generator_profiles" / "mine.py"
    path.write_text(
        text + textwrap.dedent(head) + "\ndef run(config, folder):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    )
    path.chmod(0o600)


def ran(folder: Path, body: str, head: str = "", last_sizes: Mapping[str, int] | None = None, **keys: Any) -> Ran:
    """Run an entry whose profile has this body."""
    write_profile(folder, body, head)
    return run_entry(folder, "mine", {}, last_sizes, **keys)


SOURCE = """
class Source:
    '''A source that gives some bytes, and does on leaving what it is told.'''
    def __init__(self, data, error=None, judgement=None):
        self.data, self.error = io.BytesIO(data), error
        if judgement is not None:
            self.judgement = judgement
    def __enter__(self):
        return self.data
    def __exit__(self, *failure):
        if self.error is not None and failure[0] is None:
            raise self.error
"""


# What is kept


def test_a_source_that_hides_its_failure_is_not_stored(tmp_path: Path) -> None:
    """G2: the bytes that came are cut, and nothing says so."""
    head = """
    class Hiding:
        def __enter__(self):
            return self
        def read(self, size=-1):
            raise OSError("the disk is broken")
        def __exit__(self, *failure):
            return True
    """
    result = ran(tmp_path, 'yield Artefact("a", Hiding())', head)
    assert result.exit_code == ExitCode.FAILED
    assert "its source broke off, and kept to itself why" in result.messages[0]
    assert result.contents == {}


def test_what_a_profile_yields_is_kept_in_its_order(tmp_path: Path) -> None:
    result = ran(tmp_path, 'for name in ("b", "a", "c"): yield Artefact(name, io.BytesIO(name.encode() * 1000))')
    assert result.exit_code == ExitCode.OK
    assert result.messages == []
    assert result.record == EntryRecord("it", "mine", "ok", result.record.artefacts)
    assert [artefact.name for artefact in result.record.artefacts] == ["b", "a", "c"]
    assert result.contents == {name: name.encode() * 1000 for name in "bac"}
    assert {artefact.uncompressed_size for artefact in result.record.artefacts} == {1000}
    assert [artefact.path for artefact in result.record.artefacts] == [f"mine/it/{name}.zst" for name in "bac"]


def test_a_record_tells_size_and_digest_of_what_lies_in_the_staging_area(tmp_path: Path) -> None:
    write_profile(tmp_path, 'yield Artefact("a.txt", io.BytesIO(b"content" * 1000))')
    config = loaded(
        tmp_path,
        config_text(f"STAGING_AREA = {str(tmp_path / 's')!r}\nMIN_FREE = 0", '[dict(name="it", profile="mine")]'),
    )
    with Staging(config.staging_area, config.min_free) as staging:
        record = generate(config.generators[0], config, staging, staging.sink, Report(), {})
        for artefact in record.artefacts:
            path = staging.backup / artefact.path
            assert (artefact.size, artefact.sha256) == (path.stat().st_size, sha256(path.read_bytes()))
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [path.name for path in staging.backup.parent.glob("scratch-*")] == []


@pytest.mark.parametrize(("compression", "suffix"), [("zstd", ".zst"), ("gzip:9", ".gz"), ("none", "")])
def test_an_entry_may_have_its_own_compression(tmp_path: Path, compression: str, suffix: str) -> None:
    result = ran(tmp_path, 'yield Artefact("a", io.BytesIO(b"x" * 1000))', compression=compression)
    (artefact,) = result.record.artefacts
    assert (artefact.path, artefact.compression) == (f"mine/it/a{suffix}", compression.partition(":")[0])
    assert result.contents == {"a": b"x" * 1000}


def test_a_plain_function_publishes_what_it_leaves_in_its_folder(tmp_path: Path) -> None:
    body = r"""
    (folder / "hello.txt").write_text("Hello World!\n")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "empty").touch()
    (folder / "deeper" / "\udcff \n").write_bytes(b"odd")
    (folder / "an empty folder").mkdir()
    """
    result = ran(tmp_path, body)
    assert result.messages == []
    assert result.contents == {"deeper/empty": b"", "deeper/\udcff \n": b"odd", "hello.txt": b"Hello World!\n"}


def test_the_smallest_profile_of_the_design_works(tmp_path: Path) -> None:
    (tmp_path / "generator_profiles").mkdir()
    path = tmp_path / "generator_profiles" / "mine.py"
    path.write_text(
        '"""One file, written into the folder that the core hands over."""\nAPI_VERSION = (1, 0)\n\n\n'
        'def run(config, folder):\n    (folder / "hello.txt").write_text("Hello World!\\n")\n'
    )
    path.chmod(0o600)
    assert run_entry(tmp_path, "mine", {}).contents == {"hello.txt": b"Hello World!\n"}


def test_what_a_profile_that_yields_leaves_in_its_folder_is_thrown_away(tmp_path: Path) -> None:
    body = """
    (folder / "left").write_text("thrown away")
    yield Artefact("kept", (folder / "left").open("rb"))
    """
    result = ran(tmp_path, body)
    assert result.contents == {"kept": b"thrown away"}
    assert not any("left" in str(path) for path in (tmp_path / "staging").rglob("*"))


def test_a_list_of_artefacts_will_do(tmp_path: Path) -> None:
    assert ran(tmp_path, 'return [Artefact("a", io.BytesIO(b"a"))]').contents == {"a": b"a"}


def test_the_folder_of_a_profile_is_private_and_its_own(tmp_path: Path) -> None:
    body = (
        'yield Artefact("a", io.BytesIO(f"{folder.stat().st_mode & 0o777:o} {os.listdir(folder)} {folder}".encode()))'
    )
    content = ran(tmp_path, body).contents["a"].decode()
    assert content.startswith(f"700 [] {tmp_path}/staging/run-")
    assert "/backup" not in content
    assert list((tmp_path / "staging").iterdir()) == []


# What fails


def failure_of(result: Ran) -> str:
    """See that the entry failed with one message, and give it."""
    assert result.exit_code == ExitCode.FAILED
    assert result.record.status == "failed"
    (message,) = result.messages
    assert message == f"{WHERE}: {result.record.failures[0]}"
    return result.record.failures[0]


@pytest.mark.parametrize("body", ["return iter(())", "return []", "pass", "return None\nyield"])
def test_a_profile_that_produces_nothing_has_failed(tmp_path: Path, body: str) -> None:
    result = ran(tmp_path, body)
    assert failure_of(result).startswith(
        "produced nothing\nHint: a run yields artefacts, or leaves files in its folder"
    )
    assert result.contents == {}


@pytest.mark.parametrize(
    ("left", "name"),
    [
        ('(folder / "link").symlink_to("/etc/passwd")', "link"),
        ('(folder / "dangling").symlink_to("nowhere")', "dangling"),
        ('(folder / "d").mkdir(); (folder / "d" / "to a folder").symlink_to("/etc")', "d/to a folder"),
        ('os.mkfifo(folder / "fifo")', "fifo"),
        ('import socket; s = socket.socket(socket.AF_UNIX); os.chdir(folder); s.bind("socket"); s.close(); os.chdir("/")', "socket"),
    ],
)  # fmt: skip
def test_links_and_special_files_fail_the_entry(
    tmp_path: Path, left: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S9"""
    monkeypatch.chdir(tmp_path)
    result = ran(tmp_path, f'(folder / "a.txt").write_text("fine")\n{left}')
    assert failure_of(result) == f"{name} is a link or a special file, which cannot be published"
    assert result.contents == {}


def test_a_broken_artefact_costs_only_itself(tmp_path: Path) -> None:
    """G15"""
    body = """
    yield Artefact("first", Source(b"1"))
    yield Artefact("broken", Source(b"half of it", PickupError("the dump broke off", hint="try again")))
    yield Artefact("third", Source(b"3"))
    """
    result = ran(tmp_path, body, SOURCE)
    assert failure_of(result) == "broken: the dump broke off\nHint: try again"
    assert result.contents == {"first": b"1", "third": b"3"}
    assert [artefact.name for artefact in result.record.artefacts] == ["first", "third"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('Source(b"x", OSError(5, "Input/output error", "/dev/sdb"))', "Input/output error: /dev/sdb"),
        ('Source(b"x", ValueError("odd"))', "ValueError: odd"),
        ('Source(b"x", MemoryError())', "MemoryError"),
        ('open("/nonexistent/file", "rb")', "No such file or directory: /nonexistent/file"),
        ("None", "Error: "),
        ('"a text"', "Error: "),
    ],
)  # fmt: skip
def test_whatever_a_source_does_costs_no_more_than_its_entry(tmp_path: Path, source: str, message: str) -> None:
    """K7"""
    result = ran(tmp_path, f'yield Artefact("good", Source(b"good"))\nyield Artefact("bad", {source})', SOURCE)
    assert message in failure_of(result)
    assert result.contents == {"good": b"good"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('raise PickupError("no connection", hint="is the server up?")', "no connection\nHint: is the server up?"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ('return "some text"', "yielded a str, and no Artefact"),
        ("return 42", "'int' object is not iterable"),
        ('yield "a name"', "yielded a str, and no Artefact"),
        ('yield Artefact("", io.BytesIO(b"x"))', "an artefact needs a name"),
        ("raise SystemError(folder.name[:0])", "SystemError"),
    ],
)
def test_a_profile_that_breaks_says_how(tmp_path: Path, body: str, message: str) -> None:
    result = ran(tmp_path, body)
    assert any(message in failure for failure in result.record.failures), result.record.failures
    assert result.exit_code == ExitCode.FAILED
    assert result.contents == {}
    assert all(line.startswith(f"{WHERE}: ") for line in result.messages)


def test_a_profile_that_breaks_keeps_what_it_had_produced(tmp_path: Path) -> None:
    result = ran(tmp_path, 'yield Artefact("a", io.BytesIO(b"a"))\nraise PickupError("and then it broke")')
    assert failure_of(result) == "and then it broke"
    assert result.contents == {"a": b"a"}


def test_a_plain_function_that_breaks_publishes_nothing(tmp_path: Path) -> None:
    result = ran(tmp_path, '(folder / "half").write_text("half")\nraise PickupError("broke off")')
    assert failure_of(result) == "broke off"
    assert result.contents == {}


def test_a_failure_is_not_thrown_into_the_profile_and_it_is_closed_in_the_end(tmp_path: Path) -> None:
    body = f"""
    seen = []
    try:
        try:
            yield Artefact("bad", Source(b"x", PickupError("broke")))
        except BaseException as error:
            seen.append(type(error).__name__)
        yield Artefact("good", Source(b"x"))
        raise PickupError("broke too")
    finally:
        with open({str(tmp_path / "closed")!r}, "w") as file:
            file.write(repr(seen))
    """
    result = ran(tmp_path, body, SOURCE)
    assert (tmp_path / "closed").read_text() == "[]"
    assert result.record.failures == ("bad: broke", "broke too")
    assert result.contents == {"good": b"x"}


def test_two_artefacts_of_one_name_fail_the_second(tmp_path: Path) -> None:
    """G34"""
    result = ran(tmp_path, 'for text in (b"first", b"second"): yield Artefact("a", Source(text))', SOURCE)
    assert failure_of(result) == "a: another artefact of this entry has the same name"
    assert result.contents == {"a": b"first"}


def test_names_that_a_file_system_could_confuse_get_files_of_their_own(tmp_path: Path) -> None:
    """G34"""
    names = [
        "a/b",
        "a_b",
        "A_b",
        "A/B",
        "a=2Fb",
        "\xfc",
        "\xdc",
        "..",
        ".",
        "x" * 300,
        "x" * 301,
        "X" * 300,
        "-rf",
        "con",
        "\udcff",
        "a\nb",
    ]
    result = ran(
        tmp_path,
        f'for name in {names!r}: yield Artefact(name, Source(name.encode("utf-8", "surrogateescape")))',
        SOURCE,
    )
    assert result.messages == []
    assert result.contents == {name: name.encode("utf-8", "surrogateescape") for name in names}
    paths = [artefact.path for artefact in result.record.artefacts]
    assert len({path.casefold() for path in paths}) == len(names)
    assert all(len(path.rpartition("/")[2]) <= 190 for path in paths)


def test_many_artefacts_take_no_more_than_their_time(tmp_path: Path) -> None:
    import time

    start = time.monotonic()
    result = ran(
        tmp_path, 'for number in range(4000): yield Artefact(f"{number}", Source(b"x"))', SOURCE, compression="none"
    )
    assert len(result.contents) == 4000
    assert time.monotonic() - start < 10


# What is worth a look


def test_warnings_and_losses_reach_the_record(tmp_path: Path) -> None:
    """G26"""
    body = """
    yield Artefact("warned", Source(b"1", judgement=Judgement(warnings=("one", "two"))))
    yield Artefact("lossy", Source(b"2", judgement=Judgement(warnings=("three",), losses=("four", "five"))))
    yield Artefact("good", Source(b"3", judgement=Judgement()))
    """
    result = ran(tmp_path, body, SOURCE)
    assert result.exit_code == ExitCode.FAILED
    assert result.record.status == "failed"
    assert result.record.warnings == ("warned: one", "warned: two", "lossy: three")
    assert result.record.failures == ("lossy was stored with losses: four", "lossy was stored with losses: five")
    assert result.contents == {"warned": b"1", "lossy": b"2", "good": b"3"}
    assert result.messages == [
        f"{WHERE}: warned: one", f"{WHERE}: warned: two", f"{WHERE}: lossy: three",
        f"{WHERE}: lossy was stored with losses: four", f"{WHERE}: lossy was stored with losses: five",
    ]  # fmt: skip


def test_warnings_alone_leave_the_entry_good(tmp_path: Path) -> None:
    """G21"""
    result = ran(tmp_path, 'yield Artefact("a", Source(b"1", judgement=Judgement(warnings=("odd",))))', SOURCE)
    assert result.exit_code == ExitCode.WARNINGS
    assert result.record.status == "ok"
    assert result.record.warnings == ("a: odd",)


def test_a_judgement_of_a_source_that_failed_does_not_count(tmp_path: Path) -> None:
    result = ran(
        tmp_path, 'yield Artefact("a", Source(b"1", PickupError("broke"), Judgement(warnings=("odd",))))', SOURCE
    )
    assert failure_of(result) == "a: broke"
    assert result.record.warnings == ()


@pytest.mark.parametrize(
    ("size", "last", "warns"),
    [
        (4000, 8001, True),
        (4000, 8000, False),
        (4000, 9000, True),
        (9000, 4000, False),
        (0, 4096, True),
        (0, 4095, False),
    ],
)
def test_an_artefact_of_less_than_half_of_its_last_size_is_warned_about(
    tmp_path: Path, size: int, last: int, warns: bool
) -> None:
    """G7"""
    body = f'yield Artefact("dump.sql", Source(bytes({size})))\nyield Artefact("new", Source(b"x"))'
    result = ran(tmp_path, body, SOURCE, {"dump.sql": last, "gone": 1_000_000}, compression="none")
    assert result.record.status == "ok"
    assert result.contents["dump.sql"] == bytes(size)
    assert result.exit_code == (ExitCode.WARNINGS if warns else ExitCode.OK)
    expected = f"dump.sql has shrunk from {in_words(last)} last time to {in_words(size)}"
    assert result.record.warnings == ((expected,) if warns else ())
    assert result.messages == ([f"{WHERE}: {expected}"] if warns else [])


def test_an_entry_that_was_not_asked_for_is_recorded_as_skipped(tmp_path: Path) -> None:
    config = loaded(tmp_path, config_text())
    (entry,) = config.generators
    assert isinstance(entry, GeneratorEntry)
    assert skipped(entry) == EntryRecord("system", "command", "skipped")


# Where there is no room


ON_DISK = """
import sys
from tests.generator_contract import run_entry
from tests.test_generate import SOURCE, write_profile
write_profile(DISK, sys.argv[1], SOURCE)
result = run_entry(DISK, "mine", {}, compression="none")
print(json.dumps([result.exit_code, result.messages, sorted(result.contents)]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="to root of a name space, /tmp belongs to somebody else")
def test_a_full_disk_costs_what_does_not_fit_and_no_more(tmp_path: Path) -> None:
    """S1"""
    body = """
    yield Artefact("small", Source(b"x" * 1000))
    yield Artefact("large", Source(b"x" * 3_000_000))
    yield Artefact("smaller", Source(b"x" * 500))
    """
    code, messages, names = run_on_disk(ON_DISK, "1m", textwrap.dedent(body))
    assert code == ExitCode.FAILED
    assert len(messages) == 1
    assert messages[0].startswith(f"{WHERE}: ")
    assert "No space left on device" in messages[0] or "MIN_FREE" in messages[0]
    assert names == ["small", "smaller"]


def test_the_record_of_an_entry_can_be_written_as_json(tmp_path: Path) -> None:
    from dataclasses import asdict

    result = ran(tmp_path, 'yield Artefact("\\udcff", Source(b"x"))\nraise PickupError("broke")', SOURCE)
    assert json.loads(json.dumps(asdict(result.record)))["artefacts"][0]["name"] == "\udcff"
    assert os.listdir(tmp_path / "staging") == []
