"""Notify: around a run, whatever comes of it. That real servers are told is seen in end_to_end/test_notifications.py."""

import logging
import signal
import threading
from pathlib import Path

import pytest

from pickup_core.config import Config
from pickup_core.errors import ConfigError, DamageError, LockedError, PickupError, Stopped
from pickup_core.notify import told
from pickup_core.report import Report
from pickup_core.run import RunWish
from pickup_core.secret import Secret
from tests.builders import LOCAL, config_text, loaded
from tests.servers.smtpd import smtpd
from tests.servers.web import web


def made(folder: Path, head: str = "") -> Config:
    return loaded(folder, config_text(f"{LOCAL}\n{head}"))


def mailed(folder: Path, port: int) -> Config:
    return made(folder, f'NOTIFY = [dict(mail=dict(to="root", port={port}), on=["failure", "warning", "success"])]')


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ConfigError("the area is open"), 3, "the area is open"),
        (LockedError("another run is at work"), 4, "another run is at work"),
        (DamageError("torn"), 6, "torn"),
        (PickupError("no target", hint="see"), 2, "no target"),
        (OSError(28, "No space left on device", "/x"), 2, "No space left on device: /x"),
        (ValueError("odd"), 5, "internal error, please report it: ValueError: odd"),
    ],
)
def test_what_ends_a_run_is_told_and_goes_on_its_way(
    tmp_path: Path, error: BaseException, code: int, said: str
) -> None:
    with smtpd() as inbox:
        config = mailed(tmp_path, inbox.port)
        with pytest.raises(type(error)) as caught, told(config, RunWish(), Report(), lambda: 0):
            raise error
    assert caught.value is error
    [message] = inbox.messages
    assert str(message["Subject"]).strip() == f"web01: backup failed: {said}"
    assert f"exit code {code}, 1 error, " in message.get_content()


def test_what_ends_a_run_is_told_without_its_secrets(tmp_path: Path) -> None:
    """I6, L5"""
    Secret("c4n4ry in the mine")
    with (
        smtpd() as inbox,
        pytest.raises(OSError, match="c4n4ry"),
        told(mailed(tmp_path, inbox.port), RunWish(), Report(), lambda: 0),
    ):
        raise OSError("login with c4n4ry in the mine refused\x1b[2J")
    assert inbox.messages[0]["Subject"] == "web01: backup failed: login with *** refused\\x1b[2J"
    assert b"c4n4ry" not in inbox.envelopes[0].content


def test_what_the_run_said_is_told_and_nothing_of_before_or_after(tmp_path: Path) -> None:
    log = logging.getLogger("pickup.x")
    with smtpd() as inbox:
        log.error("before")
        with told(mailed(tmp_path, inbox.port), RunWish(), Report(), lambda: 1):
            log.warning("meanwhile")
        log.error("after")
    [message] = inbox.messages
    assert message["Subject"] == "web01: backup stored, with warnings: meanwhile"
    assert not {"before", "after"} & set(message.get_content().split())


def test_what_a_library_warns_of_is_told_too(tmp_path: Path) -> None:
    """That of Pickup once, whether its messages go on to the root or not."""
    with smtpd() as inbox, told(mailed(tmp_path, inbox.port), RunWish(), Report(), lambda: 1):
        logging.getLogger("paramiko.transport").warning("an odd answer")
        logging.getLogger("paramiko.transport").info("connected")
        logging.getLogger("pickup.x").warning("meanwhile")
    text = inbox.messages[0].get_content()
    assert text.count("WARNING: an odd answer") == text.count("WARNING: meanwhile") == 1
    assert "connected" not in text


def test_an_error_of_our_own_costs_no_backup(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """L6"""
    with told(made(tmp_path, 'METRICS_FILE = "m"'), RunWish(), Report(), lambda: 1 // 0) as begun:
        begun()
    assert caplog.messages == [
        "how the run goes could not be told: ZeroDivisionError: integer division or modulo by zero"
    ]


def test_where_nobody_is_named_nothing_is_done(tmp_path: Path) -> None:
    before = logging.getLogger("pickup").handlers[:], threading.active_count()
    with told(made(tmp_path), RunWish(), Report(), lambda: 1 // 0) as begun:
        begun()
        assert (logging.getLogger("pickup").handlers, threading.active_count()) == before


def test_the_heartbeat_begins_with_the_run_and_not_before(tmp_path: Path) -> None:
    with web() as site:
        with told(
            made(tmp_path, f'HEARTBEAT_URL = "http://127.0.0.1:{site.port}/x"'), RunWish(), Report(), lambda: 0
        ) as begun:
            assert site.paths == []
            begun()
            assert site.paths == ["/x/start"]
        assert site.paths == ["/x/start", "/x"]
