"""Ping: ask a web server for an address, and be content with nothing but a clear yes."""

import http.client
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request

import tenacity

from pickup_core import __version__
from pickup_core.errors import PickupError
from pickup_core.secret import Secret
from pickup_core.wording import short_line

_SECONDS = 10  # for one answer
_PAUSE = 2
_MOST_READ = 200


class _PassingError(PickupError):
    """Another try may go well."""


def ask(address: Secret, body: str | None, tries: int) -> None:
    """Ask for an address: with a text to tell by POST, else by GET. Nobody is followed elsewhere.

    Raises `PickupError`, which does not show the address, where that went wrong every time.
    """
    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(tries),
        wait=tenacity.wait_fixed(_PAUSE),
        retry=tenacity.retry_if_exception_type(_PassingError),
        reraise=True,
    )
    again(_ask, address.reveal(), body)


def reach(address: Secret) -> None:
    """Connect to the server of an address, and say nothing. Raises `PickupError` where that cannot be."""
    parts = urllib.parse.urlsplit(address.reveal())
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies():
        return  # the proxy knows the way
    if parts.scheme == "https":
        context = ssl.create_default_context()
        link: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=_SECONDS, context=context
        )
    else:
        link = http.client.HTTPConnection(host, parts.port, timeout=_SECONDS)
    try:
        link.connect()
    except OSError as error:
        raise _explained(error, host) from error
    finally:
        link.close()


def _ask(address: str, body: str | None) -> None:
    host = urllib.parse.urlsplit(address).hostname or ""
    headers = {"User-Agent": f"Pickup/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    data = None if body is None else body.encode("utf-8", "backslashreplace")
    request = urllib.request.Request(address, data, headers)  # noqa: S310 - the config takes http and https only
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            status, reason = answer.status, short_line(answer.reason or "")
            said = answer.read(_MOST_READ).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise _explained(error, host) from error
    if status >= 500 or status in (408, 429):
        raise _PassingError(f"{host} answers {status} {reason}".rstrip())
    if not 200 <= status < 300:
        hint = "name the address that it leads to" if 300 <= status < 400 else "is the address right?"
        raise PickupError(f"{host} answers {status} {reason}".rstrip(), hint)
    if data is not None and (excuse := re.match(r"OK \(([a-z ]+)\)", said)):  # "OK (not found)", with status 200
        raise PickupError(f"{host} does not count it: {excuse[1]}", hint="is the address right?")


def _explained(error: Exception, host: str) -> PickupError:
    """Give what went wrong with a server, in a sentence that does not show the address."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        what = f"{host} has no valid certificate: {reason.verify_message}"
        return PickupError(what, hint="the variable SSL_CERT_FILE names authorities of your own")
    if isinstance(reason, TimeoutError):
        return _PassingError(f"{host} does not answer within {_SECONDS} seconds")
    if isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError):
        return _PassingError(f"{host} cannot be reached: {reason.strerror or reason}")
    return _PassingError(f"{host} gives no answer of a web server: {short_line(str(reason)) or type(reason).__name__}")
