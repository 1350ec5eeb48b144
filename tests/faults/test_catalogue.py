"""The catalogue of faults and the tests belong together."""

from tests.faults.catalogue import faults, ids_in_tests

FAULTS = faults()


def test_every_fault_has_a_test() -> None:
    assert [fault.id for fault in FAULTS if fault.applies and not fault.tests] == []


def test_a_fault_that_does_not_apply_has_none() -> None:
    assert {fault.id: fault.tests for fault in FAULTS if not fault.applies} == {}


def test_every_id_in_a_docstring_is_one_of_the_catalogue() -> None:
    known = {fault.id for fault in FAULTS}
    assert {test: names - known for test, names in ids_in_tests() if names - known} == {}


def test_no_id_stands_twice_and_every_row_says_what_happens() -> None:
    assert len({fault.id for fault in FAULTS}) == len(FAULTS) > 150
    assert [fault.id for fault in FAULTS if not (fault.what and fault.outcome and fault.section)] == []
