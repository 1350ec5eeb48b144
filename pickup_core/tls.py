"""TLS: by which rules a server is believed."""

from pathlib import Path
from typing import TYPE_CHECKING

from pickup_core.errors import PickupError

if TYPE_CHECKING:
    import ssl


def tls_context(ca_file: Path | None = None) -> "ssl.SSLContext":
    """Give the rules for a connection: the server has a valid certificate for its name, and speaks TLS 1.2 at least.

    `ca_file` names, in PEM, the authorities that count instead of those of the system. Raises `PickupError` where it
    cannot be used.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise PickupError(f"ca_file {ca_file} cannot be used: {error}", hint="it has to be PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
