"""What is told of a run: the subject, the short text and the long one."""

import logging
from collections.abc import Iterator

import pytest

from pickup_core.notice import Notice, Transcript, notice_of
from pickup_core.report import Course
from pickup_core.secret import Secret

ID = "2026-11-23T031502Z"


@pytest.fixture
def transcript() -> Iterator[Transcript]:
    transcript, logger = Transcript(), logging.getLogger("pickup")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(transcript)
    yield transcript
    logger.removeHandler(transcript)
    logger.setLevel(before)


def told(transcript: Transcript, code: int, has_recovered: bool = False, backup: str | None = ID) -> Notice:
    return notice_of("web01", Course(backup), code, has_recovered, transcript)


def hear(transcript: Transcript, level: int, text: str) -> None:
    transcript.handle(logging.makeLogRecord({"levelno": level, "msg": text}))


log = logging.getLogger("pickup.anything")


def test_a_good_night(transcript: Transcript) -> None:
    log.info("folder/notes: 2 artefacts")
    log.debug("a detail")
    notice = told(transcript, 0)
    assert (notice.kind, notice.occasions, notice.subject) == ("success", {"success"}, "web01: backup stored")
    assert notice.summary.splitlines()[0].startswith("job web01 on ")
    assert notice.summary.splitlines()[0].endswith(f", backup {ID}")
    assert notice.summary.splitlines()[1:] == ["backup stored: exit code 0, 0 errors, 0 warnings"]
    assert notice.body == f"{notice.summary}\n\nfolder/notes: 2 artefacts\n"


def test_a_subject_says_what_failed_first(transcript: Transcript) -> None:
    log.warning("GENERATORS[0] 'www' (folder): a file changed")
    log.error("GENERATORS[1] 'main' (postgres): shop: no route to host\nHint: see the cable")
    log.error("TARGETS[0] 'nas' (ssh): gone")
    notice = told(transcript, 2)
    assert (notice.kind, notice.occasions) == ("failure", {"failure"})
    assert notice.subject == "web01: backup failed: postgres 'main': shop: no route to host"
    assert notice.summary.splitlines()[1:] == [
        "backup failed: exit code 2, 2 errors, 1 warning",
        "",
        "ERROR: GENERATORS[1] 'main' (postgres): shop: no route to host",
        "Hint: see the cable",
        "ERROR: TARGETS[0] 'nas' (ssh): gone",
        "WARNING: GENERATORS[0] 'www' (folder): a file changed",
    ]


def test_a_subject_says_what_a_program_said(transcript: Transcript) -> None:
    log.error("GENERATORS[1] 'main' (postgres): shop: pg_dump ended with status 1:\n  no route\n  to host\nHint: none")
    subject = told(transcript, 2).subject
    assert subject == "web01: backup failed: postgres 'main': shop: pg_dump ended with status 1: no route"


@pytest.mark.parametrize(
    ("course", "done"),
    [
        (Course(ID), "backup failed"),
        (Course(ID, targets={"a": "failed", "b": "absent"}), "backup failed"),
        (Course(ID, targets={"a": "stored", "b": "absent"}), "backup stored, with errors"),
        (Course(ID, failed={"folder/www"}, targets={"a": "stored"}), "partial backup stored"),
        (Course(ID, targets={"a": "stored", "b": "failed", "c": "absent"}), "backup stored at 1 of 2 targets"),
        (Course(ID, failed={"x"}, targets={"a": "stored", "b": "failed"}), "partial backup stored at 1 of 2 targets"),
    ],
)
def test_a_subject_says_what_came_of_it(transcript: Transcript, course: Course, done: str) -> None:
    log.error("odd")
    course.asked = set(course.targets)
    assert notice_of("web01", course, 2, False, transcript).subject == f"web01: {done}: odd"


def test_below_the_problems_stands_what_to_know_and_do(transcript: Transcript) -> None:
    for number in range(30):
        log.error("error %d %s", number, "x" * 200)
    log.info("the end")
    notice = notice_of("web01", Course(ID), 2, False, transcript, ["Safe nevertheless:", "  all", "Log: /x"])
    rest = "\n\nSafe nevertheless:\n  all\nLog: /x"
    assert notice.summary.endswith("..." + rest)
    assert len(notice.summary.encode()) == 1500
    assert notice.message == f"{notice.subject}\n\n" + notice.message.split("\n", 2)[2]
    assert notice.message.endswith(rest)
    assert [number for number in range(30) if f"error {number} " in notice.message] == list(range(20))
    assert rest + "\n\nthe end" in notice.body


@pytest.mark.parametrize(
    ("code", "has_recovered", "kind", "subject"),
    [
        (1, False, "warning", "web01: backup stored, with warnings: odd"),
        (1, True, "warning", "web01: backup works again, with warnings: odd"),
        (0, True, "success", "web01: backup works again: odd"),
        (5, False, "failure", "web01: backup failed: odd"),
        (143, False, "failure", "web01: backup failed: odd"),
    ],
)
def test_what_kind_of_night_it_was(
    transcript: Transcript, code: int, has_recovered: bool, kind: str, subject: str
) -> None:
    log.warning("odd")
    notice = told(transcript, code, has_recovered)
    assert (notice.kind, notice.subject) == (kind, subject)
    assert notice.occasions == ({kind, "recovery"} if has_recovered else {kind})


def test_a_run_that_did_not_begin_names_no_backup(transcript: Transcript) -> None:
    assert told(transcript, 3, backup=None).summary.splitlines()[0].endswith(", no backup was begun")


def test_whatever_is_said_it_is_short_and_can_be_sent(transcript: Transcript) -> None:
    """L4: names come from elsewhere, and may be no Unicode, long, or commands to a terminal."""
    for number in range(300):  # not by way of a logger, because pytest would keep it all, and could not show it
        hear(transcript, logging.INFO, f"line {number} € \x1b[2J\udcff" * 5)
        hear(transcript, logging.ERROR, f"error {number}\r\n {'é' * 5000}")
        hear(transcript, logging.WARNING, "ü" * 5000)
    notice = told(transcript, 2)
    assert len(notice.subject.encode()) <= 120
    assert "\n" not in notice.subject
    assert len(notice.summary.encode()) <= 1500
    assert 9_000 < len(notice.body.encode()) <= 10_000
    assert "line 299 € \\x1b[2J\\udcff" in notice.body
    assert "line 200 " not in notice.body
    assert "\x1b" not in notice.body
    assert transcript.problems[-1] == "and 560 more"
    assert notice.summary.splitlines()[1].endswith("20 errors, 20 warnings, and 560 more")


def test_no_secret_is_told(transcript: Transcript) -> None:
    """I6"""
    Secret("c4n4ry-in-the-mine")
    log.error("login with c4n4ry-in-the-mine failed")
    log.info("at ftp://c4n4ry-in-the-mine@nas")
    notice = told(transcript, 2)
    assert "c4n4ry" not in f"{notice.subject}{notice.summary}{notice.body}"
    assert "login with *** failed" in notice.subject
