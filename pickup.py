#!/usr/bin/env python3
"""Pickup, a modular backup script for cron, as it is run from a checkout."""

import sys

try:
    from pickup_core.cli import main
except ImportError as error:
    sys.exit(print(f"ERROR: this installation is broken: {error}", file=sys.stderr) or 5)

if __name__ == "__main__":
    sys.exit(main())
