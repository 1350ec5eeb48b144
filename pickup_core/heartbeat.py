"""The heartbeat: a service that expects to hear from every run, and raises the alarm when it does not.

The convention is that of healthchecks.io (https://healthchecks.io/docs/http_api/): one address for success, and below
it `/start` and `/fail`. A service with another one has an address for each.
"""

import http.client
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pickup_core import __version__
from pickup_core.addresses import secret_address
from pickup_core.errors import PickupError
from pickup_core.secret import Secret
from pickup_core.wording import short_line

Event = Literal["start", "success", "failure"]

_EVENTS = ("start", "success", "failure")
_SECONDS = 10  # for one answer
_PAUSE = 2
_MOST_READ = 200


class _PassingError(PickupError):
    """Another try may go well."""


@dataclass(frozen=True)
class Heartbeat:
    """The addresses that are asked for when something happens. Where it `tells`, they are told what came of the run."""

    addresses: Mapping[str, Secret]
    tells: bool

    def ping(self, event: Event, body: str = "", tries: int = 3) -> None:
        """Ask for the address of an event, if there is one. Raises `PickupError` where that went wrong every time."""
        import tenacity

        if event in self.addresses:
            again = tenacity.Retrying(
                stop=tenacity.stop_after_attempt(tries),
                wait=tenacity.wait_fixed(_PAUSE),
                retry=tenacity.retry_if_exception_type(_PassingError),
                reraise=True,
            )
            again(self._ask, self.addresses[event].reveal(), body)

    def check(self) -> None:
        """See whether each server can be reached, and has a valid certificate, without telling it anything."""
        for address in self.addresses.values():
            parts = urllib.parse.urlsplit(address.reveal())
            host = parts.hostname or ""
            if parts.scheme in urllib.request.getproxies():
                continue  # the proxy knows the way
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

    def _ask(self, address: str, body: str) -> None:
        host = urllib.parse.urlsplit(address).hostname or ""
        headers = {"User-Agent": f"Pickup/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
        data = body.encode("utf-8", "backslashreplace") if self.tells else None
        request = urllib.request.Request(address, data, headers)  # noqa: S310 - http and https only: see `_checked`
        opener = urllib.request.OpenerDirector()  # which follows nobody elsewhere
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
        if self.tells and (excuse := re.match(r"OK \(([a-z ]+)\)", said)):  # "OK (not found)", with status 200
            raise PickupError(f"{host} does not count it: {excuse[1]}", hint="is the address right?")


def heartbeat_of(given: object, problems: list[str]) -> Heartbeat | None:
    """Give the heartbeat that `HEARTBEAT_URL` names; every problem adds a line to `problems`."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        address = _checked(given, "HEARTBEAT_URL", problems)
        if address is None:
            return None
        below = {"start": _below(address, "start"), "success": address, "failure": _below(address, "fail")}
        return Heartbeat(below, tells=True)
    unknown = [key for key in given if key not in _EVENTS]
    problems += [f"HEARTBEAT_URL.{key}: unknown key; there are: {', '.join(_EVENTS)}" for key in unknown]
    if not given:
        problems.append("HEARTBEAT_URL: is empty; expected an address, or dict(success=..., failure=...)")
    found = {event: _checked(given[event], f"HEARTBEAT_URL.{event}", problems) for event in _EVENTS if event in given}
    return Heartbeat({event: address for event, address in found.items() if address is not None}, tells=False)


def _checked(given: Any, where: str, problems: list[str]) -> Secret | None:
    """Give an address, or None and a line in `problems`, which does not show it."""
    if not isinstance(given, str | Secret):
        problems.append(f"{where}: should be an address, got {type(given).__name__}")
        return None
    try:
        address = secret_address(given if isinstance(given, Secret) else Secret(given))
        if not address.reveal().isascii():
            raise ValueError("should be ASCII; write other characters as %XX")
        parts = urllib.parse.urlsplit(address.reveal())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("should begin with https:// or http:// and the name of a host")
        if parts.username is not None:
            raise ValueError("should name no user and no password")
        if not _has_valid_port(parts):
            raise ValueError("has a port that is none")
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None
    return address


def _has_valid_port(parts: urllib.parse.SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _below(address: Secret, word: str) -> Secret:
    parts = urllib.parse.urlsplit(address.reveal())
    return Secret(parts._replace(path=f"{parts.path.rstrip('/')}/{word}", fragment="").geturl())


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
