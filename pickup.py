#!/usr/bin/env python3
"""Pickup, a modular backup script for cron, as it is run from a checkout."""

import os
import sys

os.umask(0o077)  # before Python writes bytecode beside the modules, which nobody else may change
try:
    from pickup_core.cli import main
except Exception as error:  # noqa: BLE001 - a Python that is too old fails in many ways
    print(f"ERROR: this installation is broken: {error} (with {sys.executable})", file=sys.stderr)
    hint = "start it with the Python that it was installed with; in a checkout make demo makes .venv/bin/python"
    print(f"Hint: {hint}", file=sys.stderr)
    sys.exit(5)

if __name__ == "__main__":
    sys.exit(main())
