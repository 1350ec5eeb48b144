"""Terminals: whether a stream is one that obeys, and whether it is to show colours (https://no-color.org)."""

import os
from typing import Any

RED, YELLOW, GREEN = "31", "33", "32"


def obeys(stream: Any) -> bool:
    """Tell whether a stream, or what stands in its place, is a terminal that moves its cursor when told to."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")
    except ValueError:  # it is closed
        return False


def has_colours(stream: Any) -> bool:
    """Tell whether a stream is a terminal that is to show colours."""
    return obeys(stream) and not os.environ.get("NO_COLOR")


def coloured(text: str, colour: str) -> str:
    """Give a text in a colour, for a terminal that has them."""
    return f"\x1b[{colour}m{text}\x1b[0m"
