"""The services that `NOTIFY` names: mail, and all those that the library apprise knows."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pickup_core.addresses import scheme_of, secret_address
from pickup_core.entries import validated
from pickup_core.errors import PickupError
from pickup_core.mail import Mail
from pickup_core.notice import Notice, Occasion
from pickup_core.options import Options
from pickup_core.secret import Secret
from pickup_core.wording import pip_install, short_line

if TYPE_CHECKING:
    import apprise

_KINDS = {"failure": "failure", "warning": "warning", "success": "success", "test": "info"}


class ServiceKeys(Options):
    """The keys of an entry in `NOTIFY`."""

    url: Annotated[Secret, AfterValidator(secret_address)] | None = None
    mail: dict[str, Any] | None = None
    on: list[Literal["failure", "warning", "success", "recovery"]] = Field(
        ["failure", "warning", "recovery"], min_length=1
    )

    @model_validator(mode="after")
    def _is_one(self) -> "ServiceKeys":
        if (self.url is None) == (self.mail is None):
            raise ValueError("should have one of the keys url and mail, and not both")
        return self


@dataclass(frozen=True)
class Service:
    """One entry of `NOTIFY`: where a message goes, and on which occasions."""

    index: int
    occasions: frozenset[Occasion]
    way: Secret | Mail

    @property
    def where(self) -> str:
        """The entry as messages name it."""
        return f"NOTIFY[{self.index}] ({'mail' if isinstance(self.way, Mail) else scheme_of(self.way)})"

    def wants(self, notice: Notice) -> bool:
        """Tell whether it is to be told."""
        return bool(self.occasions & notice.occasions)

    def send(self, notice: Notice) -> None:
        """Send a message. Raises `PickupError` where the service did not take it."""
        if isinstance(self.way, Mail):
            from pickup_core.smtp import send_mail

            send_mail(self.way, notice.subject, notice.body)
            return
        with _complaints() as complaints:
            service = _service_of(self.way, complaints)
            is_sent = service.notify(title=notice.subject, body=notice.summary, notify_type=_KINDS[notice.kind],
                                     overflow="truncate", body_format="text")  # fmt: skip
            if not is_sent:
                raise PickupError("; ".join(complaints) or "the service did not take it")

    def check(self) -> None:
        """See, as far as that can be seen without sending, whether a message could be sent. Raises `PickupError`."""
        if isinstance(self.way, Mail):
            from pickup_core.smtp import check_mail

            check_mail(self.way)
            return
        with _complaints() as complaints:
            _service_of(self.way, complaints)


def services_of(given: object, folder: Path, problems: list[str]) -> tuple[Service, ...]:
    """Give the entries of `NOTIFY` that are without a problem; every problem adds a line to `problems`."""
    if not isinstance(given, list | tuple):
        problems.append('NOTIFY: is no list; expected [dict(url="...", on=["failure"]), dict(mail=dict(to="..."))]')
        return ()
    found = []
    for index, raw in enumerate(given):
        where = f"NOTIFY[{index}]"
        entry: object = {"url": raw} if isinstance(raw, str | Secret) else raw
        if not isinstance(entry, Mapping):
            problems.append(f"{where}: expected dict(url=...) or dict(mail=...), got {type(raw).__name__}")
            continue
        url, mail = entry.get("url"), entry.get("mail")
        if isinstance(url, str):
            Secret(url)  # before anything is said about it
        keys = validated(ServiceKeys, entry, f"{where}: ", folder, problems)
        its_mail = validated(Mail, mail, f"{where}: mail.", folder, problems) if isinstance(mail, Mapping) else None
        way = its_mail or (keys.url if keys else None)
        if keys and way:
            found.append(Service(index, frozenset(keys.on), way))
    return tuple(found)


def _service_of(address: Secret, complaints: list[str]) -> "apprise.NotifyBase":
    """Give apprise's own service for an address, which sends plain text, in the thread that asks it to."""
    try:
        import apprise
    except ImportError as error:
        what = f"needs the package apprise: {error}"
        raise PickupError(what, hint=pip_install("apprise")) from None
    service = apprise.Apprise.instantiate(address.reveal())
    if service is None:
        why = "; ".join(complaints) or "apprise cannot read the address"
        raise PickupError(why, hint="https://github.com/caronc/apprise/wiki tells how each service is written")
    service.notify_format = apprise.NotifyFormat.TEXT  # names of files are no HTML, and no Markdown
    return service


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what apprise says in this thread, where it tells its reasons, and nowhere else; nobody else hears it."""
    complaints: list[str] = []
    logger, thread = logging.getLogger("apprise"), threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                complaints.append(short_line(record.getMessage()))

    listener = Listener(logging.WARNING)
    logger.propagate = False
    logger.addHandler(listener)
    try:
        yield complaints
    finally:
        logger.removeHandler(listener)
