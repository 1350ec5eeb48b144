"""Told how a run went: by mail, by a service, by the heartbeat and in the metrics, and what becomes of a backup of which
nobody can be told.
"""

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.command import (
    Code,
    Result,
    Site,
    command_entry,
    folder_entry,
    shell_entry,
    target_entry,
    wait_until,
)
from tests.servers.ftpd import certificate
from tests.servers.smtpd import PASSWORD, USER, Inbox, hanging, smtpd, talking
from tests.servers.web import Web, web

KEY = "Ab3Cd4Ef5-canary"
ALL = ["failure", "warning", "success", "recovery"]


@dataclass
class Listeners:
    """A site whose runs are told to a mail server, a service and a heartbeat, and the metrics in a folder of their own."""

    site: Site
    inbox: Inbox
    service: Web
    heartbeat: Web
    certificate: Path

    def configure(self, on: list[str] | None = None, **settings: Any) -> None:
        mail = {"to": "root@example.org", "port": self.inbox.port, "security": "starttls", "user": USER}
        mail |= {"password": PASSWORD, "ca_file": str(self.certificate), "sender": "web@example.org"}
        names: dict[str, Any] = {
            "NOTIFY": [
                {"mail": mail, "on": on or ALL},
                {"url": f"json://127.0.0.1:{self.service.port}/{KEY}", "on": on or ALL},
            ],
            "HEARTBEAT_URL": f"http://127.0.0.1:{self.heartbeat.port}/{KEY}",
            "METRICS_FILE": "metrics/pickup.prom",
        }
        self.site.configure(**{**names, **settings})

    @property
    def mails(self) -> list[EmailMessage]:
        return self.inbox.messages

    @property
    def subjects(self) -> list[str]:
        """The subjects of all messages; the service got the same ones as the mail server."""
        subjects = [str(message["Subject"]).strip() for message in self.mails]  # it may be folded
        assert [json.loads(each.body)["title"] for each in self.service.asked] == subjects
        return subjects

    @property
    def pings(self) -> list[str]:
        return [path.removeprefix(f"/{KEY}") for path in self.heartbeat.paths]

    def forget(self) -> None:
        for seen in (self.inbox.envelopes, self.service.asked, self.heartbeat.asked):
            seen.clear()

    def metrics(self) -> Mapping[str, float]:
        text = (self.site.folder / "metrics/pickup.prom").read_text()
        return {
            " ".join([sample.name, *(value for key, value in sample.labels.items() if key != "job")]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def listeners(site: Site, tmp_path: Path) -> Iterator[Listeners]:
    site.fill()
    site.canaries += [KEY, PASSWORD]
    (site.folder / "metrics").mkdir()
    file = certificate(tmp_path)
    with ExitStack() as stack:
        inbox = stack.enter_context(smtpd(file, login=True))
        listeners = Listeners(site, inbox, stack.enter_context(web()), stack.enter_context(web()), file)
        listeners.configure()
        yield listeners


STREAMS = pytest.mark.parametrize("settings", [{}, {"STAGING_AREA": None}], ids=["staged", "streamed"])


@STREAMS
def test_a_good_night_is_told_to_those_who_want_to_hear_of_it(listeners: Listeners, settings: dict[str, Any]) -> None:
    listeners.configure(**settings)
    began = time.time()
    name = listeners.site.backup()
    assert listeners.subjects == ["web: backup stored"]
    [mail] = listeners.mails
    assert f", backup {name}\n" in mail.get_content().replace("\r", "")
    assert f"backup {name}: complete, " in mail.get_content()
    assert listeners.pings == ["/start", ""]
    assert listeners.heartbeat.asked[1].body.decode().splitlines() == mail.get_content().splitlines()
    metrics = listeners.metrics()
    assert metrics["pickup_last_run_exit_code"] == 0
    assert metrics["pickup_target_bytes disk"] > metrics["pickup_entry_bytes folder/files"] > 0
    for metric in ("last_run_timestamp_seconds", "entry_last_success_timestamp_seconds folder/files",
                   "target_last_success_timestamp_seconds disk"):  # fmt: skip
        assert int(began) <= metrics[f"pickup_{metric}"] <= time.time()
    assert stat.S_IMODE((listeners.site.folder / "metrics/pickup.prom").stat().st_mode) == 0o644
    listeners.configure(on=["failure", "warning", "recovery"], **settings)
    listeners.site.backup()
    assert len(listeners.mails) == 1


@STREAMS
def test_a_failure_is_told_with_its_cause_and_the_first_good_night_after_it(
    listeners: Listeners, settings: dict[str, Any]
) -> None:
    entries = [folder_entry(), command_entry("sh", "-c", "echo about $0 >&2; exit 3", "x", name="db")]
    usual = ["failure", "warning", "recovery"]
    listeners.configure(usual, generators=entries, **settings)
    listeners.site.backup(status=2)
    [subject] = listeners.subjects
    assert subject.startswith("web: partial backup stored: command 'db': ")
    [mail] = listeners.mails
    assert "\nSafe nevertheless:" in mail.get_content().replace("\r", "")
    assert "ERROR: GENERATORS[1] 'db' (command): " in mail.get_content()
    assert listeners.pings == ["/start", "/fail"]
    assert "exit code 2" in listeners.heartbeat.asked[1].body.decode()
    before = listeners.metrics()
    assert before["pickup_last_run_exit_code"] == 2
    assert before["pickup_entry_last_success_timestamp_seconds folder/files"] > 0
    assert before["pickup_entry_last_success_timestamp_seconds command/db"] == 0
    listeners.configure(usual, **settings)
    listeners.site.backup()
    assert listeners.subjects[1:] == ["web: backup works again"]
    listeners.site.backup()
    assert len(listeners.subjects) == 2
    assert listeners.pings == ["/start", "/fail", "/start", "", "/start", ""]


def test_a_warning_is_told_and_the_heartbeat_goes_on(listeners: Listeners) -> None:
    """The backup is there."""
    listeners.configure(["warning"], generators=[shell_entry("head -c 9000 /dev/urandom")])
    listeners.site.backup()
    listeners.configure(["warning"], generators=[shell_entry("echo less")])
    listeners.site.backup(status=1)
    [subject] = listeners.subjects
    assert subject.startswith("web: backup stored, with warnings: command 'script': ")
    assert listeners.pings == ["/start", "", "/start", ""]
    assert listeners.metrics()["pickup_last_run_exit_code"] == 1


# What goes wrong with it


@pytest.mark.parametrize("status", [0, 2])
def test_whom_nobody_can_tell_has_a_backup_all_the_same(site: Site, status: int) -> None:
    """L6"""
    site.fill()
    site.canaries.append(KEY)
    entries = [folder_entry(), *([folder_entry("missing", name="gone")] if status else [])]
    with web((403, b"no")) as refusing, talking(hanging) as port:
        mail = {"to": "root@example.org", "port": port, "timeout": 1}
        site.configure(
            generators=entries,
            NOTIFY=[{"mail": mail, "on": ALL}, {"url": f"json://127.0.0.1:{refusing.port}/{KEY}", "on": ALL}],
            HEARTBEAT_URL=f"http://127.0.0.1:{refusing.port}/{KEY}",
            METRICS_FILE="none/pickup.prom",
        )
        began = time.monotonic()
        result = site.run("-q", status=max(status, 1))
        assert time.monotonic() - began < 20
    assert site.listed()[0][1] == ("partial" if status else "complete")
    lines = result.err.splitlines()
    for line in (
        f"WARNING: NOTIFY[0] (mail): could not be told: localhost:{port} does not answer within 1 seconds",
        "WARNING: NOTIFY[1] (json): could not be told: Failed to send JSON POST notification: ",
        "WARNING: HEARTBEAT_URL: could not be told: 127.0.0.1 answers 403 Forbidden",
        f"WARNING: METRICS_FILE: could not be told: No such file or directory: {site.folder}/none",
    ):
        assert [each for each in lines if each.startswith(line)], result
    [run] = [record for record in site.history() if record["kind"] == "run"]
    assert run["exit"] == status, "what the history knows is the backup's own"


def test_where_apprise_is_missing_a_run_says_how_to_get_it(site: Site) -> None:
    site.fill()
    head = "import sys\nsys.modules['apprise'] = None"
    site.configure(head=head, NOTIFY=[{"url": "json://localhost", "on": ["success"]}])
    result = site.run("-q", status=1)
    assert "WARNING: NOTIFY[0] (json): could not be told: needs the package apprise: " in result.err
    assert f"Hint: {sys.executable} -m pip install apprise" in result.err
    assert site.listed()[0][1] == "complete"


@pytest.mark.slow
def test_a_heartbeat_that_hangs_holds_nobody_up_for_longer_than_it_may(site: Site) -> None:
    site.fill()
    with talking(hanging) as port:
        site.configure(HEARTBEAT_URL=f"http://127.0.0.1:{port}/{KEY}")
        began = time.monotonic()
        result = site.run("-q", status=1)
    assert 40 < time.monotonic() - began < 55
    assert result.err.startswith(
        "web: backup stored, with warnings: HEARTBEAT_URL: could not be told: 127.0.0.1 does not "
    )
    assert result.err.count("WARNING: HEARTBEAT_URL: could not be told: 127.0.0.1 does not answer within 10 s") == 2
    assert site.listed()[0][1] == "complete"


# However it ends


def ended(listeners: Listeners, number: signal.Signals, **settings: Any) -> Result:
    """Start a run, send it a signal in the middle, and give what came of it."""
    site = listeners.site
    listeners.configure(generators=[shell_entry(f"touch {site.folder}/begun; sleep 60")], **settings)
    (site.folder / "begun").unlink(missing_ok=True)
    process = site.start("-q")
    wait_until((site.folder / "begun").exists, "the entry is at work")
    os.kill(process.pid, number)
    return site.finish(process)


@STREAMS
def test_a_run_that_a_signal_ends_is_told(listeners: Listeners, settings: dict[str, Any]) -> None:
    """K1"""
    assert ended(listeners, signal.SIGTERM, **settings).status == 143
    assert listeners.subjects == ["web: backup failed: stopped by SIGTERM"]
    assert listeners.pings == ["/start", "/fail"]
    assert listeners.metrics()["pickup_last_run_exit_code"] == 143
    listeners.configure(**settings)
    listeners.site.backup()
    assert listeners.subjects[1:] == ["web: backup works again"]


def test_a_run_that_was_killed_cannot_be_told_but_that_it_works_again_is(listeners: Listeners) -> None:
    """K2"""
    assert ended_by_force(listeners) == -9
    assert listeners.subjects == []
    assert listeners.pings == ["/start"]
    listeners.configure()
    listeners.site.backup()
    assert listeners.subjects == ["web: backup works again"]


def ended_by_force(listeners: Listeners) -> int:
    site = listeners.site
    listeners.configure(generators=[shell_entry(f"touch {site.folder}/begun; exec sleep 3")])
    process = site.start("-q")
    wait_until((site.folder / "begun").exists, "the entry is at work")
    process.kill()
    process.communicate()
    wait_until(lambda: not site.processes(), "what it had started has ended")
    return process.returncode


def test_a_run_that_finds_another_one_at_work_tells_the_services_alone(listeners: Listeners) -> None:
    site = listeners.site
    listeners.configure(
        generators=[shell_entry(f"touch {site.folder}/begun; until [ -e {site.folder}/go ]; do sleep 0.01; done; echo")]
    )
    first = site.start("-q")
    wait_until((site.folder / "begun").exists, "the entry is at work")
    site.run("-q", status=4)
    seen = listeners.subjects, listeners.pings, list((site.folder / "metrics").iterdir())
    (site.folder / "go").touch()
    site.finish(first)
    assert seen[0][0].startswith("web: backup failed: another run of job web is at work")
    assert seen[1:] == (["/start"], [])
    assert listeners.pings == ["/start", ""]


def test_an_entry_that_the_config_no_longer_has_is_told(listeners: Listeners) -> None:
    listeners.site.run("-q", "run", "--only", "shop", status=3)
    assert listeners.subjects == ["web: backup failed: there is no entry 'shop' in the config"]
    assert listeners.metrics()["pickup_last_run_exit_code"] == 3


@pytest.mark.parametrize("part", [("--only", "files"), ("--target", "disk")])
def test_a_run_of_a_part_is_no_sign_of_life_of_the_nightly_one(listeners: Listeners, part: tuple[str, str]) -> None:
    listeners.site.run("-q", "run", *part)
    assert listeners.subjects == ["web: backup stored"]
    assert listeners.pings == []


def test_an_internal_error_is_told(listeners: Listeners) -> None:
    """What is no PickupError, where no entry and no target is to blame."""
    head = "import pickup_core.run\ndef broken(*arguments): raise ZeroDivisionError('of the test')\npickup_core.run.draft_of = broken"
    listeners.configure(head=head)
    listeners.site.run("-q", status=5)
    assert listeners.subjects == [
        "web: backup failed: internal error, please report it: ZeroDivisionError: of the test"
    ]
    assert listeners.pings[-1] == "/fail"


def test_a_config_that_cannot_be_loaded_tells_nobody(listeners: Listeners) -> None:
    listeners.configure(targets=Code("[]"))
    listeners.site.run("-q", status=3)
    assert (listeners.subjects, listeners.pings) == ([], [])


# Check and dry run


def test_a_dry_run_and_a_check_tell_nobody(listeners: Listeners) -> None:
    listeners.site.run("run", "--dry-run")
    result = listeners.site.run("check")
    assert (listeners.subjects, listeners.pings) == ([], [])
    assert not (listeners.site.folder / "metrics/pickup.prom").exists()
    lines = result.out.splitlines()
    ways = ["NOTIFY[0] (mail)", "NOTIFY[1] (json)", "HEARTBEAT_URL", "METRICS_FILE"]
    assert lines[-5:] == [*(f"{way}: ok" for way in ways), "a run would work"]


def test_a_check_can_send_a_test_message(listeners: Listeners) -> None:
    listeners.configure(["failure"])
    result = listeners.site.run("check", "--notify")
    assert listeners.subjects == ["web: test message of Pickup"]
    assert listeners.pings == []
    assert "NOTIFY[0] (mail): a test message was sent\nNOTIFY[1] (json): a test message was sent\n" in result.out


def test_a_check_tells_what_could_not_be_told(site: Site) -> None:
    site.fill()
    site.canaries.append(KEY)
    site.configure(
        targets=[target_entry()],
        NOTIFY=[f"nothing://{KEY}", {"mail": {"to": "root", "port": 1}}],
        HEARTBEAT_URL=f"http://127.0.0.1:1/{KEY}",
        METRICS_FILE="none/pickup.prom",
    )
    result = site.run("check", status=1)
    assert result.out.endswith("\na run would work; see the warnings\n")
    for line in (
        "WARNING: NOTIFY[0] (nothing): ",
        "WARNING: NOTIFY[1] (mail): localhost:1 cannot be reached: Connection refused",
        "WARNING: HEARTBEAT_URL: 127.0.0.1 cannot be reached: Connection refused",
        f"WARNING: METRICS_FILE: {site.folder}/none is no folder",
    ):
        assert line in result.err, result
    assert "folder/disk: ok" not in result.err
