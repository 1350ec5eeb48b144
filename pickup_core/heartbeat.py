"""The heartbeat: a service that expects to hear from every run, and raises the alarm when it does not.

The convention is that of healthchecks.io (https://healthchecks.io/docs/http_api/): one address for success, and below
it `/start` and `/fail`. A service with another one has an address for each.
"""

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pickup_core.addresses import secret_address
from pickup_core.secret import Secret

Event = Literal["start", "success", "failure"]

_EVENTS = ("start", "success", "failure")


@dataclass(frozen=True)
class Heartbeat:
    """The addresses that are asked for when something happens. Where it `tells`, they are told what came of the run."""

    addresses: Mapping[str, Secret]
    tells: bool

    def ping(self, event: Event, body: str = "", tries: int = 3) -> None:
        """Ask for the address of an event, if there is one. Raises `PickupError` where that went wrong every time."""
        from pickup_core.ping import ask

        if event in self.addresses:
            ask(self.addresses[event], body if self.tells else None, tries)

    def check(self) -> None:
        """See whether each server can be reached, and has a valid certificate, without telling it anything. Raises
        `PickupError`.
        """
        from pickup_core.ping import reach

        for address in self.addresses.values():
            reach(address)


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
