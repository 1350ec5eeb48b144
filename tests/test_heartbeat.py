"""The heartbeat: real web servers are asked, and some that hang, lie or lead elsewhere."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pickup_core import ping as module
from pickup_core.errors import PickupError
from pickup_core.heartbeat import Event, Heartbeat, heartbeat_of
from pickup_core.secret import Secret, redact
from tests.servers.ftpd import certificate
from tests.servers.smtpd import hanging, talking
from tests.servers.web import web


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0)
    monkeypatch.setattr(module, "_SECONDS", 0.5)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def made(given: object) -> Heartbeat:
    problems: list[str] = []
    heartbeat = heartbeat_of(given, problems)
    assert problems == []
    assert heartbeat is not None
    return heartbeat


def failure(heartbeat: Heartbeat, event: Event = "success") -> str:
    with pytest.raises(PickupError) as caught:
        heartbeat.ping(event, "text")
    return str(caught.value)


def test_one_address_stands_for_three() -> None:
    with web() as site:
        beat = made(f"http://127.0.0.1:{site.port}/key/web01/?create=1")
        beat.ping("start")
        beat.ping("success", "it went well: \udcff€")
        beat.ping("failure", "it did not")
    assert [(each.method, each.path) for each in site.asked] == [
        ("POST", "/key/web01/start?create=1"),
        ("POST", "/key/web01/?create=1"),
        ("POST", "/key/web01/fail?create=1"),
    ]
    assert [each.body.decode() for each in site.asked] == ["", "it went well: \\udcff€", "it did not"]
    assert site.asked[1].headers["Content-Type"] == "text/plain; charset=utf-8"


def test_addresses_of_ones_own_are_fetched_as_they_are() -> None:
    with web((200, b"OK (not found)")) as site:
        base = f"http://127.0.0.1:{site.port}"
        beat = made({"success": f"{base}/up?msg=OK", "failure": Secret(f"{base}/down")})
        for event in ("start", "success", "failure"):
            beat.ping(event, "text")  # type: ignore[arg-type]
    assert [(each.method, each.path, each.body) for each in site.asked] == [
        ("GET", "/up?msg=OK", b""),
        ("GET", "/down", b""),
    ]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_pass_is_tried_three_times(status: int) -> None:
    with web((status, b""), (status, b""), (200, b"OK")) as site:
        made(f"http://127.0.0.1:{site.port}/x").ping("success")
        assert len(site.asked) == 3
    with web((status, b"")) as site:
        assert failure(made(f"http://127.0.0.1:{site.port}/x")).startswith(f"127.0.0.1 answers {status} ")
        assert len(site.asked) == 3


@pytest.mark.parametrize(
    ("status", "hint"), [(404, "is the address right?"), (302, "name the address that it leads to")]
)
def test_an_answer_that_is_none_is_not_asked_for_again_nor_followed(status: int, hint: str) -> None:
    with web() as elsewhere, web((status, b""), location=f"http://127.0.0.1:{elsewhere.port}/") as site:
        said = failure(made(f"http://127.0.0.1:{site.port}/x"))
    assert said.startswith(f"127.0.0.1 answers {status} ")
    assert said.endswith(f"\nHint: {hint}")
    assert (len(site.asked), len(elsewhere.asked)) == (1, 0)


def test_a_check_that_the_service_does_not_know_is_no_success() -> None:
    """With status 200, as healthchecks.io has it."""
    with web((200, b"OK (not found)")) as site:
        assert failure(made(f"http://127.0.0.1:{site.port}/x")).startswith(
            "127.0.0.1 does not count it: not found\nHint"
        )


def test_a_server_that_hangs_costs_its_tries() -> None:
    with talking(hanging) as port:
        began = time.monotonic()
        assert failure(made(f"http://127.0.0.1:{port}/x")) == "127.0.0.1 does not answer within 0.5 seconds"
        assert 1.4 < time.monotonic() - began < 4


@pytest.mark.parametrize("said", [b"220 mail\r\n", b"HTTP/1.1 " + b"2" * 70_000, b""])
def test_what_is_no_web_server_is_told_as_such(said: bytes) -> None:
    def talk(connection) -> None:  # type: ignore[no-untyped-def]
        connection.recv(10_000)
        connection.sendall(said)

    with talking(talk) as port:
        assert failure(made(f"http://127.0.0.1:{port}/x")).startswith(
            ("127.0.0.1 gives no answer of a web server: ", "127.0.0.1 cannot be reached: ")
        )


def test_nobody_there() -> None:
    assert failure(made("http://127.0.0.1:1/x")) == "127.0.0.1 cannot be reached: Connection refused"
    assert failure(made("http://no.such.host.invalid/x")).startswith("no.such.host.invalid cannot be reached: ")


def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path)
    with web(certificate=file) as site:
        beat = made(f"https://localhost:{site.port}/x")
        assert failure(beat).startswith("localhost has no valid certificate: self-signed certificate\nHint: ")
        with pytest.raises(PickupError, match="localhost has no valid certificate"):
            beat.check()
        assert site.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        beat.check()
        assert site.asked == []
        beat.ping("success")
        assert site.paths == ["/x"]
        with pytest.raises(PickupError, match="has no valid certificate"):
            made(f"https://127.0.0.1:{site.port}/x").ping("success")


def test_a_check_tells_the_server_nothing() -> None:
    with web() as site:
        made(f"http://127.0.0.1:{site.port}/x").check()
    assert site.asked == []
    with pytest.raises(PickupError, match=r"127\.0\.0\.1 cannot be reached: Connection refused"):
        made("http://127.0.0.1:1/x").check()
    with pytest.raises(PickupError, match=r"no\.such\.host\.invalid cannot be reached"):
        made("http://no.such.host.invalid/x").check()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ftp://example.org/x1y2z3", "HEARTBEAT_URL: should begin with https:// or http:// and the name of a host"),
        ("file:///etc/passwd", "HEARTBEAT_URL: should begin with https://"),
        ("hc-ping.com/x1y2z3", "HEARTBEAT_URL: should be an address"),
        ("https://a:b@example.org/", "HEARTBEAT_URL: should name no user and no password"),
        ("https://example.org:99999/", "HEARTBEAT_URL: has a port that is none"),
        ("https://example.org:x1y2z3/", "HEARTBEAT_URL: has a port that is none"),
        ("https://exämple.org/", "HEARTBEAT_URL: should be ASCII"),
        ("https://[::1/x1y2z3", "HEARTBEAT_URL: "),
        ("", "HEARTBEAT_URL: should be an address"),
        (3, "HEARTBEAT_URL: should be an address, got int"),
        ({}, "HEARTBEAT_URL: is empty"),
        ({"sucess": "https://example.org/"}, "HEARTBEAT_URL.sucess: unknown key; there are: start, success, failure"),
        ({"start": "gopher://x1y2z3"}, "HEARTBEAT_URL.start: should begin with https://"),
    ],
)
def test_an_address_that_could_not_work_is_refused_and_not_shown(given: object, said: str) -> None:
    problems: list[str] = []
    heartbeat_of(given, problems)
    [problem] = problems
    assert problem.startswith(said)
    assert "x1y2z3" not in problem


def test_all_addresses_are_secrets() -> None:
    """I6"""
    beat = made("https://example.org/short")
    assert isinstance(beat.addresses, Mapping)
    for address in beat.addresses.values():
        assert redact(f"<{address.reveal()}>") == "<***>"
    assert "short" not in repr(beat)
