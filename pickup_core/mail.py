"""Mail: what an entry of `NOTIFY` says of it. `smtp` sends it."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pickup_core.options import HOST, Options
from pickup_core.secret import Secret

_PORTS = {"none": 25, "starttls": 587, "tls": 465}


def _address(text: str) -> str:
    if not re.fullmatch(r"[^\s,;<>()\"\x00-\x1f\x7f]+", text):
        raise ValueError("should be one address such as root@example.org, without a name")
    return text


def _ascii(value: str | Secret) -> str | Secret:
    if not (value.reveal() if isinstance(value, Secret) else value).isascii():
        raise ValueError("should be ASCII: SMTP knows no other logins")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Address = Annotated[str, AfterValidator(_address)]


class Mail(Options):
    """What `mail` says in an entry of `NOTIFY`."""

    to: Annotated[list[_Address], BeforeValidator(_listed), Field(min_length=1)]
    sender: _Address | None = None
    host: str = Field("localhost", pattern=HOST)
    port: int | None = Field(None, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] | None = None
    user: Annotated[str, AfterValidator(_ascii)] | None = None
    password: Annotated[Secret, AfterValidator(_ascii)] | None = None
    ca_file: Path | None = None
    timeout: float = Field(20, gt=0, le=60)

    @model_validator(mode="after")
    def _hangs_together(self) -> "Mail":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if self.password is not None and self.way == "none" and not self.is_local:
            raise ValueError("a password needs security, 'starttls' or 'tls': else everybody on the way could read it")
        return self

    @property
    def is_local(self) -> bool:
        """Tell whether the server is on this machine, so that nobody is in between."""
        return self.host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", self.host) is not None

    @property
    def way(self) -> str:
        """How the connection is secured; by default it is, but for one that does not leave this machine."""
        return self.security or ("none" if self.is_local else "starttls")

    @property
    def server_port(self) -> int:
        """The port: that of the config, or the usual one."""
        return self.port or _PORTS[self.way]

    @property
    def server(self) -> str:
        """The server as messages name it."""
        return f"{self.host}:{self.server_port}"
