"""The crontab and the units in `docs/examples` are what `schedule` makes for a checkout in /opt/pickup."""

from pathlib import Path

import pytest

from pickup_core.schedule import Plan, Time, crontab
from pickup_core.units import service, timer
from tests.builders import ROOT

COMMAND = ("/opt/pickup/.venv/bin/python", "/opt/pickup/pickup.py", "-c", "/etc/pickup/config.py")
FOLDERS = tuple(map(Path, ("/var/tmp/pickup-0", "/var/lib/pickup", "/var/log/pickup", "/mnt")))
PLAN = Plan(COMMAND, "web01", Time(3, 15), "root", True, FOLDERS, False)


@pytest.mark.parametrize(
    ("name", "text"),
    [("pickup.cron", crontab(PLAN)), ("pickup.service", service(PLAN)), ("pickup.timer", timer(PLAN))],
    ids=lambda value: value if "\n" not in value else "",
)
def test_an_example_is_what_schedule_makes(name: str, text: str) -> None:
    assert (ROOT / "docs/examples" / name).read_text(encoding="utf-8") == text
