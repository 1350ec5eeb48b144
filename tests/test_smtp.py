"""SMTP: mail that is sent to real servers, with TLS and logins, and to some that hang, refuse or lie."""

import email.utils
import time
from pathlib import Path
from typing import Any

import pytest

from pickup_core.errors import PickupError
from pickup_core.mail import Mail
from pickup_core.secret import Secret
from pickup_core.smtp import check_mail, send_mail
from tests.servers.ftpd import certificate
from tests.servers.smtpd import PASSWORD, USER, hanging, saying, smtpd, talking

LOGIN = {"user": USER, "password": Secret(PASSWORD)}


def mail(port: int, **options: Any) -> Mail:
    return Mail.model_validate({"to": "root@example.org", "port": port, "timeout": 5, **options})


def failure(mail: Mail) -> str:
    with pytest.raises(PickupError) as caught:
        send_mail(mail, "subject", "body")
    return str(caught.value)


def test_a_message_says_who_when_and_that_nobody_need_answer() -> None:
    with smtpd() as inbox:
        send_mail(
            mail(inbox.port, to=["root@example.org", "admin@example.org"], sender="web@example.org"), "hä", "Grüße €\n"
        )
    [envelope], [message] = inbox.envelopes, inbox.messages
    assert (envelope.mail_from, envelope.rcpt_tos) == ("web@example.org", ["root@example.org", "admin@example.org"])
    assert message["From"] == "web@example.org"
    assert message["To"] == "root@example.org, admin@example.org"
    assert message["Subject"] == "hä"
    assert abs(email.utils.parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 60
    assert message["Message-ID"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().splitlines() == ["Grüße €"]


def test_the_sender_is_this_user_on_this_host_by_default() -> None:
    with smtpd() as inbox:
        send_mail(mail(inbox.port, to="root"), "subject", "body")
    assert "@" in inbox.envelopes[0].mail_from
    assert inbox.envelopes[0].rcpt_tos == ["root"]


def test_a_subject_adds_no_header(tmp_path: Path) -> None:
    """Injection: names of databases and files come from elsewhere."""
    with smtpd() as inbox:
        send_mail(mail(inbox.port), "a\r\nBcc: evil@example.org\n\nbody\r", "x\n.\nMAIL FROM:<y>\n..\n")
    [message] = inbox.messages
    assert message["Subject"] == "a Bcc: evil@example.org body"
    assert message["Bcc"] is None
    assert inbox.envelopes[0].rcpt_tos == ["root@example.org"]
    assert message.get_content().replace("\r", "") == "x\n.\nMAIL FROM:<y>\n..\n"


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_login_goes_over_tls(tmp_path: Path, security: str) -> None:
    file = certificate(tmp_path)
    with smtpd(file, implicit=security == "tls", login=True) as inbox:
        send_mail(mail(inbox.port, security=security, ca_file=file, **LOGIN), "subject", "body")
        assert len(inbox.messages) == 1
        check_mail(mail(inbox.port, security=security, ca_file=file, **LOGIN))
        assert len(inbox.messages) == 1
        wrong = failure(mail(inbox.port, security=security, ca_file=file, user=USER, password="wrong"))
        assert (
            wrong == f"localhost:{inbox.port} refuses the login of {USER}: 535 5.7.8 Authentication credentials invalid"
        )


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("trust", ["none", "another name", "expired"])
def test_a_certificate_that_is_not_valid_ends_it(tmp_path: Path, security: str, trust: str) -> None:
    name, days = ("elsewhere" if trust == "another name" else "localhost"), (-1 if trust == "expired" else 2)
    file = certificate(tmp_path, name, days)
    ca_file = {} if trust == "none" else {"ca_file": file}
    with smtpd(file, implicit=security == "tls", login=True) as inbox:
        said = failure(mail(inbox.port, security=security, **ca_file, **LOGIN))
        assert said.startswith(f"localhost:{inbox.port} has no valid certificate: ")
        assert "\nHint: host has to be a name in the certificate; ca_file names" in said
        assert inbox.envelopes == []


def test_a_server_that_does_not_encrypt_gets_no_password() -> None:
    with smtpd() as inbox:
        said = failure(mail(inbox.port, security="starttls", **LOGIN))
    assert said.startswith(f"localhost:{inbox.port} cannot do what the config asks for: STARTTLS")


def test_a_server_that_lies_about_encryption_gets_no_password() -> None:
    heard: list[bytes] = []

    def lie(connection: Any) -> None:
        reader = connection.makefile("rb")
        connection.sendall(b"220 hello\r\n")
        heard.append(reader.readline())
        connection.sendall(b"250-me\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n")
        heard.append(reader.readline())
        connection.sendall(b"220 go on\r\n")
        heard.append(connection.recv(10_000))
        connection.sendall(b"250 this is no TLS\r\n")
        heard.append(connection.recv(10_000))

    with talking(lie) as port:
        assert failure(mail(port, security="starttls", **LOGIN)).startswith(f"localhost:{port} does not agree on TLS: ")
    assert heard[1] == b"STARTTLS\r\n"
    assert b"AUTH" not in b"".join(heard[2:])


def test_who_is_refused_is_named() -> None:
    with smtpd(refuses=("gone@example.org",)) as inbox:
        alone = failure(mail(inbox.port, to="gone@example.org"))
        assert alone == f"localhost:{inbox.port} refuses gone@example.org: 550 5.1.1 no such user here [2J"
        beside = failure(mail(inbox.port, to=["root@example.org", "gone@example.org"]))
        assert beside == f"{alone}; the others get the message"
        assert [each.rcpt_tos for each in inbox.envelopes] == [["root@example.org"]]


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (hanging, "does not answer within 1 seconds"),
        (saying("220 hello", "250 me"), "does not answer within 1 seconds"),
        (saying("554 no mail from you"), "says 554 no mail from you"),
        (saying("220 hello", "250 me", "451 later"), "says 451 later"),
        (saying("HTTP/1.1 400 Bad Request"), "broke the connection off, or does not speak SMTP"),
        (lambda connection: connection.sendall(b"x" * 10_000 + b"\r\n"), "says 500 Line too long."),
        (lambda connection: None, "broke the connection off, or does not speak SMTP"),
    ],
)
def test_a_server_that_does_not_do_its_part_costs_its_timeout_at_most(talk: Any, said: str) -> None:
    with talking(talk) as port:
        began = time.monotonic()
        assert failure(mail(port, timeout=1)).startswith(f"localhost:{port} {said}")
        assert time.monotonic() - began < 4


def test_where_nobody_listens_it_says_so() -> None:
    assert failure(mail(1)) == (
        "localhost:1 cannot be reached: Connection refused\n"
        "Hint: where this host has no mail server, name one: host, and port 587 with a login"
    )


def test_what_the_server_took_is_sent_even_if_it_does_not_say_good_bye() -> None:
    lines = ("220 hello", "250 me", "250 OK", "250 OK", "354 go on")
    with talking(_taking(lines)) as port:
        send_mail(mail(port, timeout=1), "subject", "body")


def _taking(lines: tuple[str, ...]) -> Any:
    def talk(connection: Any) -> None:
        reader = connection.makefile("rb")
        for line in lines:
            connection.sendall(f"{line}\r\n".encode())
            if line != "354 go on":
                reader.readline()
        while reader.readline() not in (b".\r\n", b""):
            pass
        connection.sendall(b"250 taken\r\n")
        hanging(connection)

    return talk


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    with smtpd() as inbox:
        said = failure(mail(inbox.port, security="tls", ca_file=tmp_path / "none.pem"))
    assert said.startswith(f"ca_file {tmp_path}/none.pem cannot be used: ")
