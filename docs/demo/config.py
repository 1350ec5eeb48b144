"""The config of `make demo`. demo.sh copies it into a private folder and runs it there.

It is an example too, but for CHECKOUT: a config of yours names its paths itself.
"""

import os

CONFIG_VERSION = (1, 0)
JOB = "demo"

CHECKOUT = os.environ["PICKUP_DEMO_CHECKOUT"]

GENERATORS = [
    # A folder: the source of this documentation. What Sphinx and Python make of it is left out.
    dict(
        name="demo-docs",
        profile="folder",
        config=dict(path=f"{CHECKOUT}/docs", exclude=["_build", "__pycache__"]),
    ),
    # What a command prints.
    dict(
        name="demo-system",
        profile="command",
        config=dict(command=["uname", "-a"], filename="uname.txt"),
    ),
    # An SQLite database, which demo.sh has made beside the copy of this file.
    dict(
        name="demo-shop",
        profile="sqlite",
        config=dict(databases=["shop.db"]),
    ),
]

TARGETS = [
    dict(
        name="disk",
        profile="folder",
        config=dict(path=f"{CHECKOUT}/backups"),
        retention=dict(last=3),
    ),
]

# All that a run needs for itself lies in the private folder.
STAGING_AREA = "staging"
MIN_FREE = "16 MiB"
LOG_FOLDER = "logs"
STATE_FOLDER = "logs"

# ruff: noqa: C408 - entries are written with dict()
