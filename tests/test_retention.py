"""The retention policy: what is kept, why, and above all what is never let go."""

import os
import random
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pickup_core.manifest import backup_id
from pickup_core.retention import Decision, Holding, Policy, decide, deletes_too_much
from tests.builders import config_text, holding, moment, problems_of

START = moment("2024-02-27")
FAR = moment("2100-01-01")
ENTRIES = ("a", "b", "c")
GONE = "gone"  # an entry that the config no longer names
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago",
    "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham", "Africa/Casablanca",
    "America/Sao_Paulo", "Asia/Tehran", "Asia/Tokyo", "Pacific/Apia", "Antarctica/Troll", "Europe/Dublin", "Asia/Gaza",
    "XYZ-14", "ABC+12",
]  # fmt: skip

NAMES = st.frozensets(st.sampled_from([*ENTRIES, GONE]))
GAPS = st.integers(1, 40 * 86_400) | st.sampled_from([1, 60, 3600, 86_400, 7 * 86_400])


@st.composite
def backups(draw: st.DrawFn) -> list[Holding]:
    """Draw the holdings of up to thirty backups, in any order."""
    found, when = [], START
    for gap in draw(st.lists(GAPS, max_size=30)):
        when += timedelta(seconds=gap)
        good = draw(NAMES)
        because = draw(st.sampled_from([None, None, None, "audit"]))
        found.append(Holding(backup_id(when), when, good, draw(NAMES) - good, because))
    return draw(st.permutations(found))


PERIODS = ["last", "daily", "weekly", "monthly", "yearly"]
COUNTS = st.fixed_dictionaries({}, optional=dict.fromkeys(PERIODS, st.integers(1, 9)))
AGES = st.fixed_dictionaries({}, optional={"days": st.floats(0.01, 900), "hours": st.integers(1, 900)})
COUNT_POLICIES = COUNTS.filter(bool).map(lambda given: Policy(**given))
POLICIES = st.tuples(COUNTS, AGES).map(lambda both: both[0] | both[1]).filter(bool).map(lambda given: Policy(**given))
NOWS = st.just(FAR) | st.integers(0, 900).map(lambda days: START + timedelta(days=days))
thorough = settings(max_examples=220, deadline=None)


def kept(decisions: Sequence[Decision]) -> set[str]:
    return {decision.id for decision in decisions if decision.keep}


def reasons_of(decisions: Sequence[Decision], entry: str) -> dict[str, list[str]]:
    """Give what one entry says for each backup that it keeps."""
    said = {d.id: [reason for reason in d.reasons if reason.startswith(f"{entry} ")] for d in decisions}
    return {name: reasons for name, reasons in said.items() if reasons}


@pytest.fixture(autouse=True)
def _zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    yield
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@thorough
@given(backups(), POLICIES, NOWS)
def test_the_newest_good_copy_of_every_entry_stays(held: list[Holding], policy: Policy, now: datetime) -> None:
    """I2, R5: whatever the policy is, for entries that the config no longer names too."""
    stays = kept(decide(held, policy, ENTRIES, now))
    for entry in (*ENTRIES, GONE):
        good = [each for each in held if entry in each.good and each.started <= now]
        if good:
            assert max(good, key=lambda each: each.started).id in stays


@thorough
@given(backups(), POLICIES, NOWS, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(
    held: list[Holding], policy: Policy, now: datetime, chance: random.Random
) -> None:
    decisions = decide(held, policy, ENTRIES, now)
    assert [decision.id for decision in decisions] == sorted((each.id for each in held), reverse=True)
    chance.shuffle(held)
    assert decide(held, policy, list(reversed(ENTRIES)), now) == decisions


def test_the_order_does_not_matter_for_two_of_the_same_second() -> None:
    twins = [replace(holding("2026-01-01", "a"), id=name) for name in ("x", "y")]
    assert decide(twins, Policy(last=1), ["a"], FAR) == decide(twins[::-1], Policy(last=1), ["a"], FAR)


@settings(max_examples=100, deadline=None)
@given(backups(), POLICIES, NOWS)
def test_the_time_zone_does_not_matter(held: list[Holding], policy: Policy, now: datetime) -> None:
    """R9."""
    found = []
    for zone in ZONES[:6]:
        os.environ["TZ"] = zone
        time.tzset()
        found.append(decide(held, policy, ENTRIES, now))
    assert all(decisions == found[0] for decisions in found)


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_and_a_week_are_those_of_utc(zone: str) -> None:
    """R9: around both changes of the clock, a leap day, and the end of a year that is another week's year."""
    os.environ["TZ"] = zone
    time.tzset()
    held = [
        holding(text, "a")
        for text in ("2024-02-28 23:59:59", "2024-02-29 00:00:00", "2024-02-29 23:59:59", "2024-03-31 00:30:00",
                     "2024-03-31 02:30:00", "2024-10-27 00:59:59", "2024-10-27 01:00:00", "2024-12-29 12:00:00",
                     "2024-12-30 00:00:00", "2025-01-05 23:59:59")
    ]  # fmt: skip
    assert kept(decide(held, Policy(daily=99), ["a"], FAR)) == {
        "2024-02-28T235959Z", "2024-02-29T235959Z", "2024-03-31T023000Z", "2024-10-27T010000Z", "2024-12-29T120000Z",
        "2024-12-30T000000Z", "2025-01-05T235959Z",
    }  # fmt: skip
    weeks = reasons_of(decide(held, Policy(weekly=2), ["a"], FAR), "a")
    assert weeks["2025-01-05T235959Z"] == ["a newest", "a weekly 2025-W01"]
    assert weeks["2024-12-29T120000Z"] == ["a weekly 2024-W52"]


@thorough
@given(backups(), POLICIES, NOWS)
def test_applied_again_the_policy_deletes_nothing_more(held: list[Holding], policy: Policy, now: datetime) -> None:
    stays = kept(decide(held, policy, ENTRIES, now))
    rest = [each for each in held if each.id in stays]
    assert kept(decide(rest, policy, ENTRIES, now)) == stays


@thorough
@given(
    backups(),
    POLICIES,
    NOWS,
    st.sampled_from([*PERIODS, "days"]),
    st.integers(1, 9),
)
def test_a_policy_that_says_more_keeps_no_less(
    held: list[Holding], policy: Policy, now: datetime, rule: str, more: int
) -> None:
    said = policy.model_dump(exclude_none=True)
    generous = Policy(**{**said, rule: said.get(rule, 0) + more})
    assert kept(decide(held, policy, ENTRIES, now)) <= kept(decide(held, generous, ENTRIES, now))


@thorough
@given(backups(), POLICIES, NOWS)
def test_an_entry_decides_as_if_it_were_alone(held: list[Holding], policy: Policy, now: datetime) -> None:
    """R13: a run with --only, or with another entry that failed, never displaces what it does not hold."""
    together = decide(held, policy, ENTRIES, now)
    for entry in (*ENTRIES, GONE):
        own = [each for each in held if entry in each.good | each.lossy]
        assert reasons_of(together, entry) == reasons_of(decide(own, policy, ENTRIES, now), entry)


@thorough
@given(backups(), POLICIES, NOWS)
def test_what_is_later_than_now_is_kept_and_fills_no_slot(held: list[Holding], policy: Policy, now: datetime) -> None:
    """R2."""
    decisions = decide(held, policy, ENTRIES, now)
    later = {each.id for each in held if each.started > now}
    assert later <= kept(decisions)
    past = [each for each in held if each.started <= now]
    assert [each for each in decisions if each.id not in later] == decide(past, policy, ENTRIES, now)


@thorough
@given(backups(), COUNT_POLICIES, NOWS)
def test_no_entry_keeps_more_than_its_counts(held: list[Holding], policy: Policy, now: datetime) -> None:
    """R18: its good copies, and those with losses that are newer, are bounded each."""
    decisions = decide(held, policy, ENTRIES, now)
    most = sum(policy.counts.values()) + 1
    for entry in ENTRIES:
        said = reasons_of(decisions, entry).values()
        lossy = [reasons for reasons in said if any(reason.endswith("(with losses)") for reason in reasons)]
        assert len(lossy) <= most
        assert len(said) - len(lossy) <= most


@thorough
@given(backups(), POLICIES, NOWS)
def test_an_entry_that_the_config_no_longer_names_keeps_its_newest_copy_only(
    held: list[Holding], policy: Policy, now: datetime
) -> None:
    said = reasons_of(decide(held, policy, ENTRIES, now), GONE)
    good = {name for name, reasons in said.items() if "gone newest, no longer in the config" in reasons}
    lossy = {name for name, reasons in said.items() if "gone newest, no longer in the config (with losses)" in reasons}
    assert len(good) == any(GONE in each.good and each.started <= now for each in held)
    assert len(lossy) <= 1
    assert set(said) == good | lossy


@thorough
@given(backups(), POLICIES, NOWS)
def test_a_backup_is_kept_by_hand_and_fills_its_slots_like_any_other(
    held: list[Holding], policy: Policy, now: datetime
) -> None:
    """R20."""
    decisions = decide(held, policy, ENTRIES, now)
    assert {each.id for each in held if each.kept_because} <= kept(decisions)
    without = decide([replace(each, kept_because=None) for each in held], policy, ENTRIES, now)
    for entry in (*ENTRIES, GONE):
        assert reasons_of(decisions, entry) == reasons_of(without, entry)


@thorough
@given(backups(), POLICIES, NOWS)
def test_every_reason_is_true(held: list[Holding], policy: Policy, now: datetime) -> None:
    by_id = {each.id: each for each in held}
    for decision in decide(held, policy, ENTRIES, now):
        backup = by_id[decision.id]
        for reason in decision.reasons:
            entry, _, what = reason.partition(" ")
            if reason == "later than now":
                assert backup.started > now
            elif reason.startswith("kept by hand: "):
                assert backup.kept_because
            else:
                assert entry in (backup.lossy if what.endswith("(with losses)") else backup.good)
                assert what.split()[0].rstrip(",") in {"newest", "young", *policy.counts}


@settings(max_examples=100, deadline=None)
@given(backups(), st.integers(1, 400), NOWS)
def test_ages_are_measured_from_the_newest_copy(held: list[Holding], days: int, now: datetime) -> None:
    """R1: and not from the clock, so that a long pause deletes nothing."""
    stays = kept(decide(held, Policy(days=days), ENTRIES, now))
    for entry in ENTRIES:
        good = [each for each in held if entry in each.good and each.started <= now]
        newest = max((each.started for each in good), default=now)
        assert {each.id for each in good if newest - each.started <= timedelta(days=days)} <= stays


@thorough
@given(st.lists(GAPS | st.sampled_from([365 * 86_400, 366 * 86_400]), min_size=1, max_size=30), COUNT_POLICIES)
def test_each_slot_is_filled_by_its_newest_copy(gaps: list[int], policy: Policy) -> None:
    """As the calendar writes days, weeks of ISO 8601, months and years; the same month of two years is two."""
    forms = {"daily": "%Y-%m-%d", "weekly": "%G-W%V", "monthly": "%Y-%m", "yearly": "%Y"}
    moments = [START + timedelta(seconds=sum(gaps[: n + 1])) for n in range(len(gaps))]
    decisions = decide([Holding(backup_id(when), when, frozenset("a")) for when in moments], policy, ENTRIES, FAR)
    for period, count in policy.counts.items():
        if period in forms:
            newest = {when.strftime(forms[period]): backup_id(when) for when in moments}
            expected = {f"a {period} {slot}": newest[slot] for slot in sorted(newest, reverse=True)[:count]}
            said = {reason: decision.id for decision in decisions for reason in decision.reasons}
            assert {reason: said[reason] for reason in said if reason.startswith(f"a {period} ")} == expected


def nights(count: int, **holds: str) -> list[Holding]:
    return [holding(START + timedelta(days=night, hours=3), **holds) for night in range(count)]


def slots(decisions: Sequence[Decision], entry: str, period: str) -> list[str]:
    reasons = [reason for d in decisions for reason in d.reasons if reason.startswith(f"{entry} {period} ")]
    return [reason.split()[2] for reason in reasons]


def test_thirty_evenings_with_only_leave_every_entry_what_the_policy_says() -> None:
    """R13."""
    evenings = [holding(START + timedelta(days=night, hours=19), "a") for night in range(30)]
    decisions = decide(nights(30, good="a b") + evenings, Policy(daily=7, weekly=4), ["a", "b"], FAR)
    for entry in ("a", "b"):
        assert len(slots(decisions, entry, "daily")) == 7
        assert len(slots(decisions, entry, "weekly")) == 4
    assert len(kept(decisions)) == 2 * (7 + 2)  # a's evenings and b's nights: seven days, and two Sundays before


def night_by_night(all_nights: Sequence[Holding], policy: Policy, entries: Collection[str]) -> list[list[Holding]]:
    """Give what lies at the target after each night, pruned every time."""
    there: list[Holding] = []
    history = []
    for tonight in all_nights:
        stays = kept(decide([*there, tonight], policy, entries, tonight.started))
        there = [each for each in [*there, tonight] if each.id in stays]
        history.append(there)
    return history


@pytest.mark.parametrize("failing", [{"good": "a"}, {"good": "a", "lossy": "b"}])
def test_an_entry_that_fails_for_sixty_nights_keeps_its_last_good_copy_and_the_rest_is_pruned(
    failing: dict[str, str],
) -> None:
    """R18, R6: what lies at the target stays bounded, whether it fails altogether or with losses."""
    well = nights(20, good="a b")
    ill = [replace(each, id=backup_id(each.started + timedelta(days=20)), started=each.started + timedelta(days=20))
           for each in nights(60, **failing)]  # fmt: skip
    history = night_by_night(well + ill, Policy(daily=7, weekly=4), ["a", "b"])
    assert all(well[-1] in there for there in history[20:])
    assert max(map(len, history)) <= 2 * (7 + 4 + 1)
    assert [each for each in history[-1] if "b" in each.good] == history[19]  # as before the first failure


def test_after_sixty_nights_of_failure_nothing_is_deleted() -> None:
    """R6: nothing new is stored, so nothing old is too old."""
    assert kept(decide(nights(10, good="a"), Policy(days=10), ["a"], FAR)) == {each.id for each in nights(10)}


def test_a_year_of_nights_ends_with_what_the_policy_says() -> None:
    last = night_by_night(nights(400, good="a"), Policy(daily=7, weekly=4, monthly=12), ["a"])[-1]
    decisions = decide(last, Policy(daily=7, weekly=4, monthly=12), ["a"], FAR)
    assert [len(slots(decisions, "a", period)) for period in ("daily", "weekly", "monthly")] == [7, 4, 12]
    assert len(last) == 7 + 2 + 10  # the last week is two Sundays' too, and the end of two months


def test_a_good_copy_makes_older_ones_with_losses_superfluous() -> None:
    held = [holding("2026-01-01", "a"), holding("2026-01-02", lossy="a"), holding("2026-01-03", "a")]
    assert kept(decide(held, Policy(last=1), ["a"], FAR)) == {"2026-01-03T000000Z"}
    assert kept(decide(held[:2], Policy(last=1), ["a"], FAR)) == {"2026-01-01T000000Z", "2026-01-02T000000Z"}


def test_a_decision_says_why() -> None:
    held = [holding("2026-11-16", "postgres/main"), holding("2026-11-17", "postgres/main", kept_because="audit")]
    assert decide(held, Policy(weekly=1, last=2, days=1), ["postgres/main"], FAR) == [
        Decision("2026-11-17T000000Z", (
            "kept by hand: audit", "postgres/main newest", "postgres/main young enough",
            "postgres/main last 2026-11-17T000000Z", "postgres/main weekly 2026-W47",
        )),
        Decision("2026-11-16T000000Z", ("postgres/main young enough", "postgres/main last 2026-11-16T000000Z")),
    ]  # fmt: skip


def test_a_jump_of_the_clock_is_noticed() -> None:
    """R1: an age rule would delete more than half at once; where only counts rule, that cannot happen by a clock."""
    held = [*nights(10, good="a"), holding("2036-01-01", "a")]
    jumped = decide(held, Policy(days=30), ["a"], FAR)
    assert kept(jumped) == {"2036-01-01T000000Z"}
    assert deletes_too_much(jumped, Policy(days=30))
    assert not deletes_too_much(decide(held, Policy(daily=1), ["a"], FAR), Policy(daily=1))
    assert not deletes_too_much(decide(held, Policy(days=9999), ["a"], FAR), Policy(days=9999))
    half = [Decision("x", ("a newest",)), Decision("y", ())]
    assert not deletes_too_much(half, Policy(days=1))
    assert deletes_too_much([*half, Decision("z", ())], Policy(days=1))
    assert not deletes_too_much([], Policy(days=1))


@pytest.mark.parametrize("name", ["weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds"])
def test_every_argument_of_a_timedelta_is_an_age(name: str) -> None:
    assert Policy(**{name: 3}).age == timedelta(**{name: 3})


def test_ages_add_up() -> None:
    assert Policy(days=1, hours=12).age == timedelta(days=1.5)
    assert Policy(daily=1).age is None


@pytest.mark.parametrize("days", [1e300, 10**12, float("inf")])
def test_a_huge_age_keeps_everything(days: float) -> None:
    """R12: huge is fine."""
    assert len(kept(decide(nights(30, good="a"), Policy(days=days), ["a"], FAR))) == 30


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{}", "says nothing; leave retention out to keep every backup"),
        ("dict(days=None)", "says nothing; leave retention out to keep every backup"),
        ("dict(daily=0)", "should be greater than 0, got 0"),
        ("dict(days=0)", "should be greater than 0, got 0"),
        ("dict(days=-1)", "should be greater than 0, got -1"),
        ("dict(days=float('nan'))", "should be greater than 0, got nan"),
        ("dict(last=1.5)", "should be a valid integer, got 1.5"),
        ("dict(last='3')", "should be a valid integer, got '3'"),
        ("dict(last=True)", "should be a valid integer, got True"),
        ("dict(dayly=3)", "unknown key; did you mean 'daily'?"),
        ("7", "should be a valid dictionary or instance of Policy, got 7"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_with_its_key(tmp_path: Path, said: str, message: str) -> None:
    """R12: in the words of the config."""
    targets = f'[dict(name="disk", profile="folder", config=dict(path="backups"), retention={said})]'
    (problem,) = problems_of(tmp_path, config_text(targets=targets))
    key = said.partition("(")[2].partition("=")[0] if "=" in said and "None" not in said else ""
    assert problem == f"TARGETS[0] 'disk' (folder): retention{'.' * bool(key)}{key}: {message}"


@pytest.mark.parametrize("said", [{"last": 10**9}, {"yearly": 10**9, "weeks": 10**9}])
def test_a_huge_policy_is_a_policy(said: dict[str, Any]) -> None:
    """R12: huge is fine."""
    assert Policy(**said)


def test_a_policy_without_a_rule_is_none() -> None:
    with pytest.raises(ValidationError, match="says nothing"):
        Policy()
