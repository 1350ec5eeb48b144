"""The services that `NOTIFY` names: how they are written, and what they are told."""

import json
import logging
import sys
from pathlib import Path

import pytest

from pickup_core.errors import PickupError
from pickup_core.mail import Mail
from pickup_core.notice import Notice, trial_notice
from pickup_core.secret import Secret
from pickup_core.services import Service, services_of
from tests.builders import config_text, loaded, problems_of
from tests.servers.smtpd import hanging, smtpd, talking
from tests.servers.web import web

FAILED = Notice(
    "failure", frozenset({"failure"}), "web01: <b>*failed*</b>", "a <i>short</i> text\nERROR: x", "a long one\n", "all"
)

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # which apprise imports


def made(given: object) -> tuple[Service, ...]:
    problems: list[str] = []
    services = services_of(given, Path("/etc/pickup"), problems)
    assert problems == []
    return services


def failure(service: Service, notice: Notice = FAILED) -> str:
    with pytest.raises(PickupError) as caught:
        service.send(notice)
    return str(caught.value)


def test_an_entry_is_an_address_or_a_dict() -> None:
    services = made(
        ["json://localhost/a", Secret("ntfys://b"), {"url": "json://c", "on": ["success"]}, {"mail": {"to": "root"}}]
    )
    usual = {"failure", "warning", "recovery"}
    assert [each.where for each in services] == [
        "NOTIFY[0] (json)",
        "NOTIFY[1] (ntfys)",
        "NOTIFY[2] (json)",
        "NOTIFY[3] (mail)",
    ]
    assert [each.occasions for each in services] == [usual, usual, {"success"}, usual]
    assert isinstance(services[3].way, Mail)
    assert made(()) == ()


def test_who_is_told_of_what() -> None:
    both, one = made([{"url": "json://a", "on": ["warning", "recovery"]}, {"url": "json://a", "on": ["success"]}])
    for occasions, expected in (
        ({"failure"}, [False, False]),
        ({"warning"}, [True, False]),
        ({"success"}, [False, True]),
        ({"success", "recovery"}, [True, True]),
        ({"test"}, [False, False]),
    ):
        notice = Notice("test", frozenset(occasions), "", "", "", "")  # type: ignore[arg-type]
        assert [both.wants(notice), one.wants(notice)] == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("json://localhost", "NOTIFY: is no list; expected [dict("),
        ([3], "NOTIFY[0]: expected dict(url=...) or dict(mail=...), got int"),
        ([{}], "NOTIFY[0]: should have one of the keys url and mail, and not both"),
        ([{"url": "json://a", "mail": {"to": "root"}}], "NOTIFY[0]: should have one of the keys url and mail, and not both"),
        ([{"ur": "json://a"}], "NOTIFY[0]: ur: unknown key; did you mean 'url'?"),
        ([{"mail": {"too": "root"}}], "NOTIFY[0]: mail.to: is missing\nNOTIFY[0]: mail.too: unknown key; did you mean 'to'?"),
        ([{"mail": "root"}], "NOTIFY[0]: mail: should be a valid dictionary, got 'root'"),
        ([{"url": "json://a", "on": []}], "NOTIFY[0]: on: should have at least 1 item"),
        ([{"url": "json://a", "on": ["failures"]}], "NOTIFY[0]: on.0: should be 'failure', 'warning', 'success' or 'recovery'"),
        (["json//Ab3Cd4Ef5"], "NOTIFY[0]: url: should be an address such as https://example.org/..., without spaces, got '***'"),
        ([{"url": ["json://Ab3Cd4Ef5"]}], "NOTIFY[0]: url: "),
        ([{"mail": {"to": "root", "password": "Ab3Cd4Ef5"}}], "NOTIFY[0]: mail: user and password belong together"),
    ],
)  # fmt: skip
def test_what_could_not_work_is_told_with_its_place_and_without_its_secret(given: object, said: str) -> None:
    problems: list[str] = []
    services_of(given, Path("/etc/pickup"), problems)
    assert "\n".join(problems).startswith(said)
    assert "Ab3Cd4Ef5" not in "".join(problems)


def test_all_problems_of_a_config_are_told_at_once(tmp_path: Path) -> None:
    text = config_text('NOTIFY = [dict(urk="x"), "nothing"]\nHEARTBEAT_URL = "nothing"\nMETRIC_FILE = "x"')
    problems = problems_of(tmp_path, text)
    assert [problem.partition(":")[0] for problem in problems] == [
        "unknown name METRIC_FILE; did you mean METRICS_FILE?",
        "NOTIFY[0]",
        "NOTIFY[1]",
        "HEARTBEAT_URL",
    ]
    assert problems_of(tmp_path, text.replace("METRIC_FILE", "x"), generators=False) == ()
    assert problems_of(tmp_path, config_text("METRICS_FILE = 3"))[0].startswith("METRICS_FILE: ")


def test_addresses_and_passwords_are_masked_in_the_config_that_is_stored(tmp_path: Path) -> None:
    """I6"""
    head = """
BASE = "https://hc-ping.example.org/"
HEARTBEAT_URL = BASE + "shorty"
# HEARTBEAT_URL = "https://old.example.org/shorty2"
TOKEN = "tk_thirdkey"
NOTIFY = ["ntfys://tk_firstkey1@ntfy.example.org/topic", dict(url="tgram://" + "123456789:secondkey22"),
          f"ntfys://{TOKEN}@host", dict(mail=dict(to="root", user="me", password="fourthkey"))]
METRICS_FILE = "pickup.prom"
"""
    masked = loaded(tmp_path, config_text(head)).masked_text
    for word in ("shorty", "shorty2", "tk_firstkey1", "topic", "secondkey22", "thirdkey", "fourthkey"):
        assert word not in masked, masked
    assert "pickup.prom" in masked
    assert 'to="root"' in masked


# apprise


def test_a_service_of_apprise_gets_subject_summary_and_kind_as_plain_text() -> None:
    with web() as site:
        [service] = made([f"json://127.0.0.1:{site.port}/Ab3Cd4Ef5"])
        service.send(FAILED)
        service.check()
        service.send(trial_notice("web01"))
    [first, second] = [json.loads(each.body) for each in site.asked]
    assert (first["title"], first["message"], first["type"]) == (FAILED.subject, FAILED.summary, "failure")
    assert (second["title"], second["type"]) == ("web01: test message of Pickup", "info")


def test_a_service_that_refuses_is_told_with_its_reason_and_nobody_else_hears_it() -> None:
    """I6: apprise shows parts of an address in its messages."""
    heard: list[logging.LogRecord] = []
    listener, root = logging.Handler(), logging.getLogger()
    listener.emit = heard.append  # type: ignore[method-assign]
    with web((403, b"no")) as site:
        [service] = made([f"json://127.0.0.1:{site.port}/Ab3Cd4Ef5"])
        root.addHandler(listener)
        try:
            assert "error=403" in failure(service)
            logging.getLogger("pickup.x").error("is heard")
        finally:
            root.removeHandler(listener)
    assert {record.name for record in heard if record.name.startswith(("apprise", "pickup"))} == {"pickup.x"}
    assert "Listener" not in [type(handler).__name__ for handler in logging.getLogger("apprise").handlers]


def test_a_service_that_hangs_or_is_not_there_is_told() -> None:
    assert "error occurred" in failure(made(["json://127.0.0.1:1/x"])[0])
    with talking(hanging) as port:
        assert "error occurred" in failure(made([f"json://127.0.0.1:{port}/?rto=0.2&cto=0.2"])[0])


@pytest.mark.parametrize("address", ["jsn://localhost", "discord://123"])
def test_an_address_that_apprise_cannot_read_is_told_by_check(address: str) -> None:
    [service] = made([address])
    with pytest.raises(PickupError, match=r"Hint: https://github\.com/caronc/apprise"):
        service.check()
    with pytest.raises(PickupError, match=r"Hint: https://github\.com/caronc/apprise"):
        service.send(FAILED)


def test_where_apprise_is_not_installed_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    [service] = made(["json://localhost"])
    for call in (service.check, lambda: service.send(FAILED)):
        with pytest.raises(PickupError, match=r"needs the package apprise: .*\nHint: /\S+ -m pip install apprise$"):
            call()


def test_mail_gets_the_whole_text() -> None:
    with smtpd() as inbox:
        [service] = made([{"mail": {"to": "root@example.org", "port": inbox.port}}])
        service.check()
        assert inbox.messages == []
        service.send(FAILED)
    [message] = inbox.messages
    assert message["Subject"] == FAILED.subject
    assert message.get_content().splitlines() == ["a long one"]
