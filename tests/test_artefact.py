"""Artefacts, and the names under which they are stored: names come from servers, and are hostile."""

import io
import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pickup_core.artefact import Artefact, broken, folder_name, stored_name
from pickup_core.errors import PickupError
from pickup_core.manifest import _SAFE_PATH
from tests.builders import plain_locale, python

ANY_TEXT = st.text(st.characters(), min_size=1)
FROM_A_FILE_SYSTEM = st.binary(min_size=1, max_size=255).map(lambda name: name.decode("utf-8", "surrogateescape"))
HOSTILE = [
    ".", "..", "-rf", "--all-databases", "a; rm -rf /", "host=evil dbname=x", "a/../../b", "/etc/passwd", "a\nb",
    "$(id)", "`id`", "'", '"', "\\", "\0", " ", "a ", "CON", "a:b", "*", "é" * 31, "\x1b[2J", "\udcff\udcfe", "\ud800",
    "=", "=41", "~",
]  # fmt: skip


def is_safe(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9_=][A-Za-z0-9._=~-]*", name)) and len(name) <= 180


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.sql", "shop.sql"),
        ("a b", "a=20b"),
        ("größe.sql", "gr=C3=B6=C3=9Fe.sql"),
        ("\udcff", "=FF"),
        ("..", "=2E."),
        (".hidden", "=2Ehidden"),
        ("-rf", "=2Drf"),
        ("a/../b", "a=2F..=2Fb"),
        ("a=b~", "a=3Db=7E"),
    ],
)
def test_a_name_is_escaped_byte_by_byte(name: str, expected: str) -> None:
    assert stored_name(name) == expected


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_becomes_a_harmless_one(name: str) -> None:
    """G18: no path, no option, no shell, no control character; nothing that the manifest would refuse."""
    assert is_safe(stored_name(name))
    assert _SAFE_PATH.fullmatch(f"command/x/{stored_name(name)}.zst")


@given(ANY_TEXT | FROM_A_FILE_SYSTEM)
def test_every_name_becomes_a_safe_one(name: str) -> None:
    assert is_safe(stored_name(name))


@given(st.text(string.printable + "üß€\udc80", min_size=1, max_size=40))
def test_an_escaped_name_tells_the_original(name: str) -> None:
    stored = stored_name(name).encode()
    if b"=~" not in stored:
        raw = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), stored)
        assert raw.decode("utf-8", "surrogateescape") == name
    else:
        assert len(name.encode("utf-8", "surrogateescape")) > 60


@given(st.lists(st.text("aAbB._-=~ é\udcc3\udca9/" + "x", min_size=1, max_size=400), unique=True, max_size=20))
@example(["a" * 181, "a" * 182, "A" * 181])
@example(["é", "=C3=A9", "\udcc3"])
@example(["é=", "\udcc3\udca9="])
def test_two_names_never_share_a_file(names: list[str]) -> None:
    """G34: not where case does not matter either."""
    assert len({stored_name(name) for name in names}) == len(names)
    taken: set[str] = set()
    for name in names:
        stored = stored_name(name, taken)
        assert stored.casefold() not in taken
        assert is_safe(stored)
        taken.add(stored.casefold())


def test_a_name_that_differs_in_case_only_gets_a_digest_before_its_suffix() -> None:
    """G34."""
    assert stored_name("Shop.sql", {"other.sql"}) == "Shop.sql"
    assert re.fullmatch(r"Shop=~[0-9a-f]{16}\.sql", stored_name("Shop.sql", {"shop.sql"}))


def test_a_long_name_keeps_its_beginning_and_its_suffix() -> None:
    """G30: the suffix tells archives from their lists of contents."""
    assert stored_name("x" * 180) == "x" * 180
    stored = stored_name("x" * 300 + ".tar")
    assert re.fullmatch(r"x{150}=~[0-9a-f]{16}\.tar", stored)


def test_a_name_is_stored_alike_whatever_the_locale() -> None:
    """E2."""
    code = "from pickup_core.artefact import stored_name; print(stored_name(chr(0xe9) + chr(0x20ac) + chr(0xdcff)))"
    for settings in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}, {"PYTHONUTF8": "1"}):
        done = python(code, env=plain_locale(**settings))
        assert done.stdout == "=C3=A9=E2=82=AC=FF\n", done.stderr


def test_a_broken_source_raises_where_it_is_entered_and_not_before() -> None:
    source = broken(PickupError("no database 'shop'", hint="is the name right?"))
    with pytest.raises(PickupError, match=r"no database 'shop'\nHint: is the name right"), source:
        pytest.fail("it gave a stream")


def test_an_artefact_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        Artefact("", io.BytesIO())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("main", "main"), ("acme.backup.redis", "acme.backup.redis"), ("a/b c", "a_b_c"), (".ssh", "_ssh"), ("-x", "_x"),
     ("..", "_."), ("Größe", "Gr__e")],
)  # fmt: skip
def test_an_entry_has_a_folder(name: str, expected: str) -> None:
    assert folder_name(name) == expected


@given(ANY_TEXT)
def test_every_entry_has_a_safe_folder(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", folder_name(name))
