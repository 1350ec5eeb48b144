"""Which databases are dumped, and under which names: the rules that profiles of servers share."""

from collections.abc import Sequence

import pytest

from generator_profiles._databases import Choice, checked_names, choice_of, database_of, plain_names, stem_of

THERE = ["Shop", "shop_1", "shop_2", "users"]


@pytest.mark.parametrize(
    ("database", "exclude", "names", "unmatched", "idle"),
    [
        ("*", [], THERE, [], []),
        ("shop_?", "*_2", ["shop_1"], [], []),
        (["users", "*", "users"], [], ["users", "Shop", "shop_1", "shop_2"], [], []),
        (["absent", "shop_1"], [], ["absent", "shop_1"], [], []),
        (["absent", "nope_*"], ["absent"], [], ["nope_*"], []),
        ("shop*", ["Shop", "till", "*_test"], ["shop_1", "shop_2"], [], ["till", "*_test"]),
        ("[s]hop_1", [], ["[s]hop_1"], [], []),
        ("sh.p_1*", [], [], ["sh.p_1*"], []),
    ],
)
def test_names_and_patterns_choose_databases(
    database: str | list[str], exclude: str | list[str], names: list[str], unmatched: list[str], idle: list[str]
) -> None:
    notes = [f"exclude {text!r} matches no database" for text in idle]
    assert choice_of(database, exclude, THERE) == Choice(names, unmatched, notes)


@pytest.mark.parametrize("reserved", ["globals", "users", "a.b"])
def test_no_database_has_the_reserved_name_and_each_has_its_own(reserved: str) -> None:
    databases = [reserved, f"{reserved}.database", f"{reserved}.database.database", f"{reserved}.databases", "axb", "é\n/x",
                 reserved.upper(), f"{reserved}.sql", ""]  # fmt: skip
    stems = [stem_of(database, reserved) for database in databases]
    assert reserved not in stems
    assert len(set(stems)) == len(stems)
    assert [database_of(stem, reserved) for stem in stems] == databases
    assert stems[3:] == databases[3:], "only what could be mistaken has another name"


@pytest.mark.parametrize("value", ["", ["a", ""]])
def test_a_name_is_not_empty(value: str | list[str]) -> None:
    with pytest.raises(ValueError, match="has an empty name"):
        checked_names(value)


@pytest.mark.parametrize(("value", "names"), [("*", []), ("shop", ["shop"]), (["a", "b?", "c"], ["a", "c"])])
def test_a_pattern_is_no_name(value: str | list[str], names: Sequence[str]) -> None:
    assert plain_names(value) == names
    assert checked_names(value) == value
