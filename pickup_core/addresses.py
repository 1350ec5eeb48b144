"""Addresses that are secrets: whoever knows that of a service, or of a heartbeat, can speak in our name.

They are masked as a whole. So are the parts of them that look like keys: a library may show those in its messages.
"""

import re
import urllib.parse

from pickup_core.secret import Secret

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<login>[^/?#]*)@)?(?P<host>[^/?#]*)(?P<rest>.*)")
_PARTS = re.compile(r"[/?&=:@#,;]+")
_WORDS = re.compile(r"[-_.]+")
_LONG = 16
_MIXED = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{8,}")


def secret_address(address: Secret) -> Secret:
    """Give an address back; from now on its password and each part of it that looks like a key are secrets too.

    Raises `ValueError`, without a word of it, where it is no address.
    """
    found = _ADDRESS.fullmatch(address.reveal())
    if not found or re.search(r"[\s\x00-\x1f\x7f]", address.reveal()):
        raise ValueError("should be an address such as https://example.org/..., without spaces")
    _, _, password = (found["login"] or "").partition(":")
    is_name = "." in found["host"] or found["host"].partition(":")[0] == "localhost"
    path, _, query = found["rest"].partition("?")
    texts = [found["login"] or "", "" if is_name else found["host"], query]
    keys = [part for text in texts for part in _PARTS.split(text) if _looks_like_key(part)]
    # The name of a job, such as web01-prod, may stand in a path, and does in every message.
    keys += [part for part in _PARTS.split(path) if any(map(_looks_like_key, _WORDS.split(part)))]
    for part in (password, *keys):
        Secret(part)
        Secret(urllib.parse.unquote(part))
    return address


def scheme_of(address: Secret) -> str:
    """Give what stands before `://`, which tells the kind of a service and is no secret."""
    return address.reveal().partition("://")[0].lower()


def _looks_like_key(part: str) -> bool:
    """Tell whether a part is no word that could stand in other texts too: it is long, or has letters and digits."""
    return len(part) >= _LONG or _MIXED.fullmatch(part) is not None
