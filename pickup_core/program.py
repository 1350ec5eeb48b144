"""This very Pickup: whether it runs from a checkout or was installed, what it is called, and how it is started."""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def in_checkout() -> bool:
    """Tell whether Pickup runs from a checkout or an unpacked source, and not from where a package was installed."""
    return (CHECKOUT / "pickup.py").is_file()


PROGRAM = "pickup.py" if in_checkout() else "pickup"
"""What it is called in sentences."""


def command_words() -> list[str]:
    """Give the command that starts this very Pickup, by whole paths: what stands before its options."""
    script = CHECKOUT / "pickup.py" if in_checkout() else Path(sys.argv[0]).absolute()
    return [sys.executable, str(script)]
