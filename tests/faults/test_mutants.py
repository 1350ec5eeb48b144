"""The list of mutants fits the code; that each is caught is for `make mutants` to see."""

from tests.faults.mutants import MUTANTS, REPOSITORY


def test_each_mutant_changes_one_place_that_is_there() -> None:
    found = {each.name: (REPOSITORY / each.file).read_text(encoding="utf-8").count(each.old) for each in MUTANTS}
    assert {name: count for name, count in found.items() if count != 1} == {}


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len({each.name for each in MUTANTS}) == len(MUTANTS) >= 160
