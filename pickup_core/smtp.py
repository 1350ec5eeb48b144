"""SMTP: sends mail, with the standard library alone."""

import getpass
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid

from pickup_core.errors import PickupError
from pickup_core.mail import Mail
from pickup_core.tls import tls_context
from pickup_core.wording import short_line


def send_mail(mail: Mail, subject: str, body: str) -> None:
    """Send a message. Raises `PickupError` where the server did not take it for everyone."""
    sender = mail.sender or f"{_user()}@{socket.gethostname()}"
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, ", ".join(mail.to), " ".join(subject.split())
    message["Date"], message["Message-ID"] = format_datetime(localtime()), make_msgid(domain=socket.gethostname())
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer of a machine, please
    message.set_content(body)
    with _connected(mail) as smtp:
        refused = smtp.send_message(message, sender, mail.to)
    if refused:
        raise PickupError(f"{mail.server} {_refusal(refused)}; the others get the message")


def check_mail(mail: Mail) -> None:
    """See whether the server answers, and takes the login, without sending. Raises `PickupError` where it does not."""
    with _connected(mail) as smtp:
        smtp.noop()


@contextmanager
def _connected(mail: Mail) -> Iterator[smtplib.SMTP]:
    """Give a connection that is secured and logged in as far as the config asks for."""
    smtp: smtplib.SMTP | None = None
    try:
        if mail.way == "tls":
            smtp = smtplib.SMTP_SSL(
                mail.host, mail.server_port, timeout=mail.timeout, context=tls_context(mail.ca_file)
            )
        else:
            smtp = smtplib.SMTP(mail.host, mail.server_port, timeout=mail.timeout)
        if mail.way == "starttls":
            smtp.starttls(context=tls_context(mail.ca_file))
        smtp.ehlo_or_helo_if_needed()
        if mail.user is not None and mail.password is not None:
            smtp.login(mail.user, mail.password.reveal())
        yield smtp
        with suppress(OSError, smtplib.SMTPException):  # what had to be said is said
            smtp.quit()
    except (OSError, smtplib.SMTPException) as error:
        raise _explained(error, mail) from error
    finally:
        if smtp is not None:
            smtp.close()


def _explained(error: Exception, mail: Mail) -> PickupError:
    """Give what went wrong with the server, in a sentence."""
    hint = ""
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, TimeoutError):
        error = error.__context__  # smtplib calls that a broken connection too
    match error:
        case smtplib.SMTPRecipientsRefused():
            what = _refusal(error.recipients)
        case smtplib.SMTPAuthenticationError():
            what = f"refuses the login of {mail.user}: {_said(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPResponseException() if error.smtp_code > 0:
            what = f"says {_said(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPNotSupportedError():
            what = f"cannot do what the config asks for: {short_line(str(error))}"
            hint = "security says how the connection is secured: 'starttls', 'tls' or 'none'"
        case smtplib.SMTPServerDisconnected() | smtplib.SMTPResponseException():
            what = "broke the connection off, or does not speak SMTP"
        case ssl.SSLCertVerificationError():
            what = f"has no valid certificate: {error.verify_message}"
            hint = "host has to be a name in the certificate; ca_file names an authority of your own"
        case ssl.SSLError():
            what, hint = f"does not agree on TLS: {error}", "tls is for port 465, starttls for 587 and 25"
        case TimeoutError():
            what = f"does not answer within {mail.timeout:g} seconds"
        case OSError() if not isinstance(error, smtplib.SMTPException):
            what = f"cannot be reached: {error.strerror or error}"
            hint = "where this host has no mail server, name one: host, and port 587 with a login"
        case _:
            what = short_line(f"{type(error).__name__}: {error}")
    return PickupError(f"{mail.server} {what}", hint)


def _refusal(refused: dict[str, tuple[int, bytes]]) -> str:
    return "refuses " + ", ".join(f"{address}: {_said(code, text)}" for address, (code, text) in refused.items())


def _said(code: int, text: bytes | str) -> str:
    return f"{code} {short_line(text.decode('utf-8', 'replace') if isinstance(text, bytes) else text)}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return "pickup"
