"""The FTP target: the contract of all targets on three kinds of server, and what can go wrong with the protocol."""

import itertools
import os
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from pydantic import ValidationError

from pickup_core.catalogue import Catalogue
from pickup_core.errors import NoRootError, PickupError, StoreError, UnreachableError
from pickup_core.manifest import backup_id
from pickup_core.memory import Memory
from pickup_core.prune import prune
from pickup_core.retention import Policy
from pickup_core.shaping import Shaped
from pickup_core.store import BLOCK, Item, Store
from pickup_core.verify import verify
from target_profiles._ftp_listing import (
    FILE,
    FOLDER,
    OTHER,
    Entry,
    UnreadableError,
    mlsd_entries,
    plain_names,
    unix_entries,
)
from target_profiles.ftp import Config, Target
from tests.builders import tells
from tests.places import JOB, MACHINE, NIGHT, content, make_backup, put, store_backup, tree, write_files
from tests.servers.ftpd import PASSWORD, USER, DTPHandler, FTPHandler, Server, certificate, pyftpd, vsftpd
from tests.target_contract import ENTRIES, LARGE, Connect, Pieces, TargetContract

SECONDS = 1.0  # that a server is waited for, where it never answers


def target_at(server: Server, **changed: Any) -> Target:
    return Target(Config(**server.options(**changed)))


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    """No MLSD; TLS, whose session has to be reused."""
    with vsftpd() as server:
        yield server


@pytest.fixture(scope="module")
def old_server() -> Iterator[Server]:
    """T9, T11: neither MLSD nor SIZE, nor anything else that came after 1985."""
    with pyftpd(without=("MLSD", "MLST", "SIZE", "MDTM", "EPSV", "EPRT", "FEAT")) as server:
        yield server


@pytest.fixture(scope="module")
def modern_server() -> Iterator[Server]:
    """MLSD and all."""
    with pyftpd() as server:
        yield server


class _Contract(TargetContract):
    """The contract, in a place of its own for each test, on the server of the class."""

    kind: str

    @pytest.fixture
    def connect(self, request: pytest.FixtureRequest) -> Connect:
        server, path = request.getfixturevalue(self.kind), f"{uuid.uuid4().hex}/a place"
        self._home = server.folder
        return lambda: target_at(server, path=path)

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self._home / store.config.path / path).lstat().st_mode)


class TestStrictServer(_Contract):
    kind = "strict_server"
    can_append = True


class TestOldServer(_Contract):
    kind = "old_server"


class TestModernServer(_Contract):
    kind = "modern_server"
    can_append = True


class TestThreeConnections(_Contract):
    """As a backup's files go over several of them."""

    kind = "modern_server"

    @pytest.fixture
    def connect(self, request: pytest.FixtureRequest) -> Connect:
        server, path = request.getfixturevalue(self.kind), f"{uuid.uuid4().hex}/a place"
        self._home = server.folder
        return lambda: Shaped(target_at(server, path=path, connections=3), "ftp/offsite")


def opened(server: Server, **changed: Any) -> Target:
    """Give an open store for a fresh place."""
    target = target_at(server, path=uuid.uuid4().hex, **changed)
    target.open()
    target.create_root()
    return target


def at(target: Store, server: Server, path: str = "") -> Path:
    """Give where a path of a store lies on the server's disk."""
    return server.folder / target.config.path / path


# The certificate, and everything else that comes before the password


def refuse(verb: str, reply: str) -> Callable[[Any, str, str], bool]:
    """Answer one command, whatever its argument, with a reply of one's own."""

    def instead(handler: Any, seen: str, argument: str) -> bool:
        if seen == verb:
            handler.respond(reply)
        return seen == verb

    return instead


def refused(server: Server, pattern: str, **changed: Any) -> PickupError:
    """Assert that the server is refused before it hears the name or the password; give the error."""
    with pytest.raises(PickupError, match=pattern) as caught, target_at(server, **changed):
        pass
    assert {"USER", "PASS"}.isdisjoint(server.seen)
    assert caught.value.hint
    return caught.value


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """T18"""
    with pyftpd(certificate(tmp_path)) as server:
        error = refused(server, "the certificate of localhost:[0-9]+ is not valid: self-signed", ca_file=None)
        assert "ca_file" in error.hint


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """T18"""
    with pyftpd(certificate(tmp_path, "elsewhere.example.org")) as server:
        refused(server, "is not valid: Hostname mismatch")


def test_a_certificate_that_has_expired_is_refused(tmp_path: Path) -> None:
    """T18"""
    with pyftpd(certificate(tmp_path, days=-1)) as server:
        refused(server, "is not valid: certificate has expired")


def test_a_server_without_tls_is_refused_and_not_spoken_to_in_clear_text() -> None:
    """T18"""
    with pyftpd() as server:
        refused(server, r"refuses to encrypt \(AUTH TLS\): 500", tls=True)
        assert server.seen == ["AUTH"]


def test_a_server_that_does_not_encrypt_the_data_is_refused(tmp_path: Path) -> None:
    """T18"""
    with pyftpd(certificate(tmp_path), instead=refuse("PROT", "534 Request denied for policy reasons.")) as server:
        refused(server, r"refuses to encrypt the data \(PROT P\): 534 Request denied")
        assert "PROT" in server.seen


def test_a_server_with_an_old_tls_is_refused(tmp_path: Path) -> None:
    """T18"""
    file, context = str(certificate(tmp_path)), SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.use_certificate_chain_file(file)
    context.use_privatekey_file(file)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    with pyftpd(Path(file), ssl_context=context) as server:
        error = refused(server, "does not agree on TLS")
        assert "TLS 1.2" in error.hint
        assert server.seen == ["AUTH"]


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pyftpd(certificate(tmp_path)) as server:
        for file in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
            error = refused(server, "cannot be used", ca_file=file)
            assert str(file) in error.message


def test_a_backup_is_made_and_pruned_over_another_kind_of_tls(tmp_path: Path) -> None:
    with pyftpd(certificate(tmp_path)) as server, opened(server) as target:
        store_backup(target, make_backup(tmp_path / "made", contents={"folder/www": os.urandom(LARGE)}), read_back=True)
        assert [verify(backup) for backup in Catalogue("offsite", target).backups(JOB)] == [[]]
        target.delete(JOB)
        assert target.listdir() == []


# Login, and what is told of it


def echo(handler: Any, verb: str, argument: str) -> bool:
    if verb == "PASS":
        handler.respond(f"530 {USER} may not use {argument}\x1b[31m.")
    return verb == "PASS"


def test_a_wrong_password_is_refused_in_a_sentence() -> None:
    """I6"""
    with pyftpd() as server:
        with pytest.raises(StoreError, match="refuses the login of pickup: 530") as caught:
            target_at(server, password="a-wrong-one").open()
        assert "a-wrong-one" not in f"{caught.value!s}{caught.value!r}"
        assert "password" in caught.value.hint


def test_a_server_that_repeats_the_password_is_not_quoted_with_it() -> None:
    """I6, L5"""
    with pyftpd(instead=echo) as server:
        with pytest.raises(StoreError, match=r"may not use \*\*\*") as caught:
            target_at(server).open()
        assert caught.value.__suppress_context__
        assert not tells(str(caught.value), PASSWORD)
        assert "\x1b" not in str(caught.value)


def test_a_place_names_account_server_and_folder_and_no_secret(tmp_path: Path) -> None:
    """T28, I6"""
    server = Server(2121, tmp_path)
    place = target_at(server, host="Backup.Example.org", path="a/./b/").place
    assert place == "ftp://pickup@backup.example.org:2121/a/b"
    assert target_at(server, path="/a").place != target_at(server, path="a").place
    assert not tells(repr(target_at(server).config), PASSWORD)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "-oProxyCommand=x"},
        {"host": "a\nb"},
        {"host": ""},
        {"user": "a\r\nDELE b"},
        {"path": "a\nb"},
        {"path": ""},
        {"password": "a\r\nDELE b"},
        {"port": 0},
        {"timeout": 0},
    ],
    ids=repr,
)
def test_what_could_become_a_command_of_its_own_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """T22, F14"""
    with pytest.raises(ValidationError):
        target_at(Server(21, tmp_path), **wrong)


def test_tls_is_what_one_gets_who_does_not_ask() -> None:
    assert Config(host="a", user="b", password="c", path="d").tls


# Connections that break


def cut_at(number: int, cuts: list[str]) -> Callable[[Any, str, str], bool]:
    """Close the control connection at the command of this number, counted from the login on."""
    count = 0

    def instead(handler: Any, verb: str, argument: str) -> bool:
        nonlocal count
        count += handler.authenticated
        if count != number or cuts:
            return False
        cuts.append(verb)
        handler.close()
        return True

    return instead


def test_a_connection_that_is_cut_at_any_command_costs_one_file_at_most() -> None:
    """T2: whether it is there then or not, it is not believed to be there when it is not, and the next call works."""
    number, has_fired = 0, True
    while has_fired:
        number, cuts = number + 1, list[str]()
        with pyftpd(instead=cut_at(number, cuts)) as server:
            target = target_at(server, path=".")
            try:
                with target:
                    put(target, "web01/file", b"1" * 10_000)
            except StoreError:
                assert cuts
            else:
                assert (server.folder / "web01/file").stat().st_size == 10_000
            has_fired = bool(cuts)
            cuts.append("over")
            with target:
                target.delete("web01/file")
                put(target, "web01/file", b"2" * 10_000)
                assert tree(target) == {"web01/file": b"2" * 10_000}
    assert number > 15


@pytest.mark.slow
def test_a_connection_that_is_cut_at_any_command_of_a_backup_leaves_none_that_is_not_whole(tmp_path: Path) -> None:
    """T2, I1"""
    first, number = make_backup(tmp_path / "first"), 0
    second = make_backup(tmp_path / "second", NIGHT + timedelta(days=1))
    while True:
        number, cuts = number + 1, list[str]()
        with pyftpd(instead=cut_at(number, cuts)) as server:
            target = target_at(server, path=".")
            try:
                with target:
                    store_backup(target, first)
            except StoreError:
                assert cuts
            has_fired = bool(cuts)
            cuts.append("over")
            with target:
                for backup in Catalogue("offsite", target).backups(JOB):
                    assert not backup.is_finished or verify(backup) == []
                store_backup(target, second)
                assert verify(Catalogue("offsite", target).backups(JOB)[0]) == []
        if not has_fired:
            break
    assert number > 60


@pytest.mark.parametrize("verb", ["USER", "TYPE", "PWD", "CWD", "MKD", "SIZE", "PASV", "MLSD", "STOR", "SITE CHMOD"])
def test_a_server_that_falls_silent_is_waited_for_within_bounds(verb: str) -> None:
    """T3, I9"""
    silent: list[str] = []

    def instead(handler: Any, seen: str, argument: str) -> bool:
        if f"{seen} {argument}".startswith(verb):
            silent.append(seen)
        return bool(silent)

    with pyftpd(instead=instead) as server:
        target, start = target_at(server, timeout=SECONDS), time.monotonic()
        with pytest.raises(UnreachableError, match="did not answer for 1 seconds") as caught:
            _create_and_put(target)
        assert silent
        assert time.monotonic() - start < 8 * SECONDS
        assert not tells(str(caught.value), PASSWORD)


def _create_and_put(target: Target) -> None:
    target.open()
    target.create_root()
    put(target, "web01/file", b"1")


def test_a_connection_that_the_server_ended_while_nothing_was_asked_of_it_is_replaced() -> None:
    """A restore unpacks for minutes between two files; servers are less patient."""
    with pyftpd(timeout=1) as server, opened(server) as target:
        put(target, "web01/file", b"1")
        time.sleep(2.5)
        assert content(target, "web01/file") == b"1"
        assert server.seen.count("USER") == 2


class Stalling(DTPHandler):
    """Takes and gives nothing more once 100,000 bytes have passed."""

    def handle_read(self) -> None:
        if self.tot_bytes_received < 100_000:
            super().handle_read()

    handle_read_event = handle_read

    def send(self, data: bytes) -> int:
        return int(super().send(data)) if self.tot_bytes_sent < 100_000 else 0


def test_a_server_that_falls_silent_in_the_middle_of_a_file_is_waited_for_within_bounds() -> None:
    """T3, I9"""
    with pyftpd(dtp_handler=Stalling) as server, opened(server, timeout=SECONDS) as target:
        at(target, server, "large").write_bytes(b"x" * 20_000_000)
        for call in (lambda: put(target, "web01/large", b"x" * 20_000_000), lambda: content(target, "large")):
            start = time.monotonic()
            with pytest.raises(StoreError, match="did not answer for 1 seconds"):
                call()
            assert time.monotonic() - start < 8 * SECONDS
        target.delete("web01/large")
        assert target.listdir("web01") == []


class Cutting(DTPHandler):
    """Gives up both connections once 100,000 bytes have passed."""

    def handle_read(self) -> None:
        super().handle_read()
        self._cut()

    handle_read_event = handle_read

    def send(self, data: bytes) -> int:
        sent = super().send(data)
        self._cut()
        return int(sent)

    def _cut(self) -> None:
        if self.get_transmitted_bytes() > 100_000:
            self.cmd_channel.close()


def test_a_connection_that_is_cut_in_the_middle_of_a_file_is_an_error_and_the_next_one_works() -> None:
    """T2"""
    with pyftpd(dtp_handler=Cutting) as server, opened(server) as target:
        for _ in range(2):
            with pytest.raises(StoreError, match="STOR"):
                put(target, "web01/large", b"x" * 20_000_000)
            assert 0 < at(target, server, "web01/large").stat().st_size < 20_000_000
            target.delete("web01/large")
            assert tree(target) == {}
        at(target, server, "large").write_bytes(b"x" * 20_000_000)
        for _ in range(2):
            with pytest.raises(StoreError, match="RETR"):
                content(target, "large")
        put(target, "web01/small", b"small")
        assert content(target, "web01/small") == b"small"


def test_a_server_that_never_says_hello_is_waited_for_within_bounds(tmp_path: Path) -> None:
    """T3"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = Server(silent.getsockname()[1], tmp_path)
        with pytest.raises(StoreError, match="did not answer for 1 seconds: connect"):
            target_at(server, host="127.0.0.1", timeout=SECONDS).open()


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    """T1"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StoreError, match=f"localhost:{port}: connect: .*refused"):
        target_at(Server(port, tmp_path)).open()


# Uploads


class CutOnce(DTPHandler):
    """Gives up both connections once, after 8 MiB."""

    received, is_cut = 0, False

    def handle_read(self) -> None:
        kind = type(self)
        before = self.get_transmitted_bytes()
        super().handle_read()
        kind.received += self.get_transmitted_bytes() - before
        if not kind.is_cut and self.get_transmitted_bytes() > 8 * 2**20:
            kind.is_cut = True
            self.cmd_channel.close()

    handle_read_event = handle_read


@pytest.mark.parametrize("feat", [True, False])
def test_a_large_file_goes_on_where_the_connection_was_cut(feat: bool) -> None:
    """T2: and begins anew where the server does not say that it can do that."""
    handler, data = type("Fresh", (CutOnce,), {}), os.urandom(20 * 2**20)
    with (
        pyftpd(dtp_handler=handler, without=() if feat else ("FEAT",)) as server,
        opened(server) as target,
    ):
        put(Shaped(target, "ftp/offsite", 1), "web01/large", data)
        assert handler.is_cut
        assert ("REST" in server.seen) == feat
        assert (handler.received < len(data) + 2**20) == feat
        assert at(target, server, "web01/large").read_bytes() == data


def test_files_go_over_several_connections(tmp_path: Path) -> None:
    with pyftpd() as server:
        target = target_at(server, path=".", connections=3)
        with Shaped(target, "ftp/offsite") as store:
            local = write_files(tmp_path / "local", {f"{n}/file": os.urandom(1_000_000) for n in range(9)})
            store.put_folder(local, "web01/id")
            assert tree(store) == {f"web01/id/{n}/file": (local / f"{n}/file").read_bytes() for n in range(9)}
        assert server.seen.count("USER") == 3


def test_a_server_that_allows_fewer_connections_says_so(tmp_path: Path) -> None:
    users = itertools.count(1)

    def instead(handler: Any, verb: str, argument: str) -> bool:
        if verb == "USER" and next(users) > 2:
            handler.respond("421 Too many connections of this account.")
            return True
        return False

    with pyftpd(instead=instead) as server:
        target = target_at(server, path=".", connections=4)
        local = write_files(tmp_path / "local", {f"{n}/file": os.urandom(1_000_000) for n in range(9)})
        with Shaped(target, "ftp/offsite") as store, pytest.raises(StoreError, match="421"):
            store.put_folder(local, "web01/id")


class Truncating(DTPHandler):
    """Writes the first 1000 bytes of a file, and says that all is well."""

    def handle_read(self) -> None:
        super().handle_read()
        if self.file_obj and not self.file_obj.closed and self.tot_bytes_received > 1000:
            self.file_obj.seek(1000)
            self.file_obj.truncate()

    handle_read_event = handle_read


class Quota(DTPHandler):
    """Has room for 100,000 bytes, and says what a real server says."""

    def handle_read(self) -> None:
        super().handle_read()
        if self.tot_bytes_received > 100_000:
            self._resp = ("552 Exceeded storage allocation.", print)
            self.close()

    handle_read_event = handle_read


def test_an_upload_that_is_cut_short_and_called_complete_is_noticed() -> None:
    """T5"""
    with pyftpd(dtp_handler=Truncating) as server, opened(server) as target:
        with pytest.raises(StoreError, match="web01/file was stored with 1000 bytes in place of 3000 bytes"):
            put(target, "web01/file", b"x" * 3000)
        assert at(target, server, "web01/file").stat().st_size == 1000
        put(target, "web01/small", b"fits")


def test_a_quota_that_is_used_up_is_named() -> None:
    """T4: the server's reason is given, though it hangs up in the middle, and the part can be deleted."""
    with pyftpd(dtp_handler=Quota) as server, opened(server) as target:
        put(target, "web01/small", b"x" * 50_000)
        with pytest.raises(StoreError, match="552 Exceeded storage allocation") as caught:
            put(target, "web01/large", b"x" * 20_000_000)
        assert "room" in caught.value.hint
        target.delete("web01/large")
        assert tree(target) == {"web01/small": b"x" * 50_000}


@pytest.mark.parametrize("instead", ["", "421 Timeout."])
@pytest.mark.parametrize("is_whole", [True, False])
def test_an_upload_whose_confirmation_is_lost_is_looked_for(instead: str, is_whole: bool) -> None:
    """T27: a router or the server gave the control connection up, and the listing tells whether the file is whole."""
    lost: list[str] = []

    def respond(handler: Any, reply: str, logfun: object = None) -> None:
        if reply.startswith("226") and "STOR" in server.seen and not lost:
            lost.append(reply)
            reply = instead
        if reply:
            handler.push(f"{reply}\r\n")

    data = {} if is_whole else {"dtp_handler": Truncating}
    with pyftpd(respond=respond, **data) as server, opened(server, timeout=SECONDS) as target:
        if is_whole:
            put(target, "web01/file", b"x" * 300_000)
        else:
            with pytest.raises(StoreError, match="1000 bytes in place of 3000"):
                put(target, "web01/file", b"x" * 3000)
        assert lost
        assert server.seen.count("USER") == 2


def test_a_broken_off_upload_does_not_reach_the_server_as_a_whole_one(strict_server: Server) -> None:
    """G2: the data connection ends in an error, and the log of the server says so."""
    with opened(strict_server) as target:
        log = strict_server.folder.parent / "vsftpd.log"
        before = log.read_text().count("FAIL UPLOAD")
        with pytest.raises(ZeroDivisionError):
            target.put("web01/broken", Pieces(b"x" * 2**20, BLOCK, 2**19, ZeroDivisionError()))
        target.delete("web01/broken")
        assert log.read_text().count("FAIL UPLOAD") == before + 1
        assert tree(target) == {}


def test_a_server_that_allows_one_connection_is_enough(tmp_path: Path) -> None:
    """T32: after an upload that broke off, too."""
    with vsftpd(max_per_ip="1") as server, opened(server) as target:
        for number in range(3):
            with pytest.raises(ZeroDivisionError):
                target.put("web01/broken", Pieces(b"x" * 2**20, BLOCK, 2**19, ZeroDivisionError()))
            target.delete("web01/broken")
            store_backup(target, make_backup(tmp_path / str(number), NIGHT + timedelta(days=number)))
        assert [verify(backup) for backup in Catalogue("offsite", target).backups(JOB)] == [[]] * 3


def test_a_server_that_is_busy_is_asked_again() -> None:
    """T32: the connection that was just ended may still count."""
    busy: list[Any] = []

    def handle(handler: Any) -> None:
        if len(busy) < 2:
            busy.append(handler)
            handler.push("421 Too many connections.\r\n")
            handler.close_when_done()
        else:
            FTPHandler.handle(handler)

    with pyftpd(handle=handle) as server, opened(server) as target:
        assert len(busy) == 2
        assert target.listdir() == []


# Downloads and listings that break off


def test_a_download_that_breaks_off_is_no_whole_file() -> None:
    """T2"""

    def respond(handler: Any, reply: str, logfun: object = None) -> None:
        wrong = reply.startswith("226") and server.seen[-1] == "RETR"
        handler.push("426 Connection closed; transfer aborted.\r\n" if wrong else f"{reply}\r\n")

    with pyftpd(respond=respond) as server, opened(server) as target:
        put(target, "file", b"x" * 1000)
        with pytest.raises(StoreError, match=r"RETR .*426 Connection closed"):
            content(target, "file")


def test_a_small_file_that_is_not_read_to_its_end_costs_no_new_login() -> None:
    with pyftpd() as server, opened(server) as target:
        put(target, "web01/x.keep", b"why")
        put(target, "web01/large", b"x" * LARGE)
        for path, logins in [("x.keep", 1), ("x.keep", 1), ("large", 1), ("x.keep", 2), ("x.keep", 2)]:
            with target.get(f"web01/{path}") as stream:
                assert stream.read(4096)
            assert server.seen.count("USER") == logins


@pytest.mark.parametrize("verb", ["MLSD", "LIST", "NLST"])
def test_a_listing_that_breaks_off_raises_and_gives_no_part(verb: str) -> None:
    def respond(handler: Any, reply: str, logfun: object = None) -> None:
        wrong = reply.startswith("226") and server.seen[-1] == verb
        handler.push("451 Local error in processing.\r\n" if wrong else f"{reply}\r\n")

    ways = ["MLSD", "LIST", "NLST"]
    with pyftpd(without=ways[: ways.index(verb)], respond=respond) as server, target_at(server, path=".") as target:
        write_files(server.folder / "below", {"file": b"1"})
        for call in (target.listdir, lambda: target.delete("below")):
            with pytest.raises(StoreError, match="451 Local error"):
                call()
        assert (server.folder / "below/file").exists()


def test_a_thousand_backups_are_told_from_one_listing(modern_server: Server, tmp_path: Path) -> None:
    """What was read once is not read again, and no backup costs a command of its own."""
    root = uuid.uuid4().hex
    for number in range(1000):
        folder = modern_server.folder / root / JOB / backup_id(NIGHT - timedelta(days=number))
        made = make_backup(folder, NIGHT - timedelta(days=number))
        folder.with_suffix(".json").write_bytes(made.encoded)

    def asked(call: Callable[[Catalogue], Any], count: int) -> list[str]:
        with target_at(modern_server, path=root) as target:
            del modern_server.seen[:]
            result = call(Catalogue("offsite", target, Memory(tmp_path / "state")))
            assert len(result) == count
            return [verb for verb in modern_server.seen if verb not in ("CWD", "PWD", "NOOP", "EPSV", "PASV")]

    def states(catalogue: Catalogue) -> list[str]:
        return [backup.id for backup in catalogue.backups(JOB) if backup.is_finished]

    def pruned(last: int) -> Callable[[Catalogue], Any]:
        return lambda catalogue: prune(catalogue, JOB, Policy(last=last), ENTRIES, NIGHT, MACHINE).decisions

    assert asked(states, 1000).count("RETR") == 1000, "on a new machine"
    assert asked(states, 1000) == ["MLSD"]
    assert asked(pruned(1000), 1000) == ["MLSD"]
    assert len(asked(pruned(999), 1000)) < 60, "one is deleted, with its files"
    assert asked(states, 999) == ["MLSD"]


def test_a_file_is_deleted_without_a_listing(modern_server: Server) -> None:
    root = uuid.uuid4().hex
    write_files(modern_server.folder / root, {"file": b"1"})
    (modern_server.folder / root / "link").symlink_to("file")
    with target_at(modern_server, path=root) as target:
        for name in ("link", "file"):
            del modern_server.seen[:]
            target.delete(name)
            assert {"MLSD", "LIST", "NLST"}.isdisjoint(modern_server.seen)
            assert name not in os.listdir(modern_server.folder / root)


# How servers list


def nlst(empty: str, path: str) -> Callable[[Any, str, str], bool]:
    """Know neither MLSD nor LIST; list names with a path before them, `.` and `..` among them."""

    def instead(handler: Any, verb: str, argument: str) -> bool:
        if verb in ("MLSD", "LIST"):
            handler.respond("502 Command not implemented.")
            return True
        if verb != "NLST":
            return False
        names = sorted(os.listdir(handler.fs.ftp2fs(handler.fs.cwd)))
        if not names and empty:
            handler.respond(empty)
        else:
            lines = [path.format(cwd=handler.fs.cwd.rstrip("/"), name=name) for name in [".", "..", *names]]
            handler.push_dtp_data("".join(f"{line}\r\n" for line in lines).encode(), cmd="NLST")
        return True

    return instead


@pytest.mark.parametrize("path", ["{name}", "{cwd}/{name}", "./{name}"])
@pytest.mark.parametrize("empty", ["", "550 No files found.", "450 No files found."])
def test_a_server_that_lists_names_only_is_enough(tmp_path: Path, empty: str, path: str) -> None:
    """T9"""
    with pyftpd(instead=nlst(empty, path)) as server, opened(server) as target:
        assert target.listdir() == []
        assert target.listdir("absent") == []
        (at(target, server) / "link").symlink_to("nothing")
        store_backup(target, make_backup(tmp_path / "made"), read_back=True)
        assert target.listdir() == [Item(JOB, None)]
        [backup] = Catalogue("offsite", target).backups(JOB)
        assert verify(backup) == []
        target.delete(JOB)
        assert target.listdir() == []


def test_a_server_that_tells_no_size_in_any_way_is_refused() -> None:
    """T11"""
    with (
        pyftpd(instead=nlst("", "{name}"), without=["SIZE"]) as server,
        opened(server) as target,
        pytest.raises(StoreError, match="does not tell the size"),
    ):
        put(target, "file", b"1")


def test_lines_that_are_not_those_of_ls_lead_to_another_way() -> None:
    def instead(handler: Any, verb: str, argument: str) -> bool:
        if verb == "LIST":
            handler.push_dtp_data(b"10-23-26  03:25PM       <DIR>          web01\r\n", cmd="LIST")
        return verb == "LIST"

    with pyftpd(instead=instead, without=["MLSD"]) as server, opened(server) as target:
        put(target, "web01/file", b"12345")
        assert tree(target) == {"web01/file": b"12345"}
        assert "NLST" in server.seen


@pytest.mark.parametrize("without", [[], ["MLSD"]])
def test_an_account_that_may_not_list_is_told_so(without: list[str]) -> None:
    """T19"""
    with pyftpd(rights="erdmwM", without=without) as server, target_at(server, path=".") as target:
        with pytest.raises(StoreError, match="550 Not enough privileges") as caught:
            target.listdir()
        assert "may this account list" in caught.value.hint


def test_a_folder_that_may_not_be_entered_is_not_an_empty_one(strict_server: Server) -> None:
    with opened(strict_server) as target:
        put(target, "web01/file", b"1")
        at(target, strict_server, "web01/closed").mkdir(mode=0o700)  # it belongs to root
        with pytest.raises(StoreError, match="web01/closed is there, but cannot be entered: 550"):
            target.listdir("web01/closed")
        with pytest.raises(StoreError, match="web01/closed is there"):
            target.delete("web01/closed/below")
        assert target.listdir("web01/absent") == []


def refuses(calls: list[Callable[[], object]], said: str) -> None:
    """Assert that each call is refused in these words, and not for an absent root."""
    for call in calls:
        with pytest.raises(StoreError, match=said) as caught:
            call()
        assert not isinstance(caught.value, NoRootError)


@pytest.mark.parametrize("above", [False, True])
def test_a_root_that_may_not_be_entered_is_not_absent(strict_server: Server, above: bool) -> None:
    """T19, T34: whoever took it for absent would make it anew, or say that a disk is not mounted."""
    place = uuid.uuid4().hex
    with target_at(strict_server, path=f"{place}/root") as target:
        target.create_root()
        closed = at(target, strict_server).parent if above else at(target, strict_server)
        closed.chmod(0)
        calls = [target.listdir, target.create_root, lambda: target.delete("x"), lambda: put(target, "x/y", b"1")]
        refuses(calls, f"/{place}{'' if above else '/root'} is there, but cannot be entered: 550")


def test_a_root_that_may_not_be_listed_is_neither_empty_nor_absent(strict_server: Server) -> None:
    """T19, T34: this server says then that all is well, and gives nothing."""
    place = uuid.uuid4().hex
    with target_at(strict_server, path=f"{place}/root") as target:
        target.create_root()
        at(target, strict_server).chmod(0o300)
    with target_at(strict_server, path=f"{place}/root") as target:
        refuses([target.listdir, lambda: target.delete("web01")], f"/{place}/root cannot be listed")
        at(target, strict_server).chmod(0)
        at(target, strict_server).parent.chmod(0o300)
    with target_at(strict_server, path=f"{place}/root") as target:
        refuses([target.listdir], f"/{place} cannot be listed")


def test_a_root_that_is_a_file_is_not_absent() -> None:
    with pyftpd() as server, target_at(server, path="place/root") as target:
        (server.folder / "place").mkdir()
        (server.folder / "place/root").write_text("1")
        refuses([target.listdir, target.create_root], "/place/root is there, but cannot be entered: 550")


def test_a_folder_that_is_made_only_in_words_is_noticed() -> None:
    """T10"""
    with (
        pyftpd(instead=refuse("MKD", '257 "/x" created.')) as server,
        target_at(server, path=".") as target,
        pytest.raises(StoreError, match="web01 could not be made: 257"),
    ):
        put(target, "web01/file", b"1")


def test_a_folder_that_is_there_already_may_be_answered_in_any_way() -> None:
    """T10"""
    with pyftpd(instead=refuse("MKD", "521 Taking exception.")) as server, target_at(server, path=".") as target:
        (server.folder / "web01").mkdir()
        put(target, "web01/file", b"1")
        assert tree(target) == {"web01/file": b"1"}


HOSTILE = ["..", ".", "", "../x", "/etc/passwd", "a/b", "a\x00b", "a\x1b[2J", "a\rDELE b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_are_dropped(name: str) -> None:
    """T9, T21: unknown answers never lead to a delete."""
    assert mlsd_entries([f"type=file;size=1; {name}", "type=dir; ok"]) == [Entry("ok", FOLDER)]
    assert unix_entries([f"-rw------- 1 0 0 1 Nov 26 03:00 {name or '..'}"]) == []
    assert not {"..", ".", "", "/etc/passwd", "../x"} & set(plain_names([name]))


@given(st.lists(st.text() | st.from_regex(r"[-dl][-rwx]{9} 1 a b 5 Nov 26 03:00 .*|(type|size)=\w+;(type=\w+;)? .*")))
def test_any_lines_are_understood_or_refused(lines: list[str]) -> None:
    for read in (mlsd_entries, unix_entries, lambda lines: [Entry(name, OTHER) for name in plain_names(lines)]):
        try:
            entries = read(lines)
        except UnreadableError:
            continue
        assert not [entry for entry in entries if entry.name in ("", ".", "..") or "/" in entry.name or entry.size < 0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-rw-------    1 1000     1000        12345 Nov 26 03:00 data.bin", Entry("data.bin", FILE, 12345)),
        ("-rw-r--r--   1 web users 7 Feb  3  2025 a b  c", Entry("a b  c", FILE, 7)),
        ("-rw-r--r--+  1 a domain users 7 Feb 3 2025  x", Entry(" x", FILE, 7)),
        ("drwx------ 2 0 0 4096 Jan 1 00:00 5 Jan 1 00:00 x", Entry("5 Jan 1 00:00 x", FOLDER)),
        ("drwxr-xr-x owner group 4096 2026-11-26 03:00 web01", Entry("web01", FOLDER)),
        ("lrwxrwxrwx 1 0 0 3 Nov 26 03:00 to -> here", Entry("to", OTHER)),
        ("prw------- 1 0 0 0 Nov 26 03:00 fifo", Entry("fifo", OTHER)),
    ],
)
def test_lines_of_ls_are_read_whoever_the_owner_is(line: str, expected: Entry) -> None:
    assert unix_entries(["total 8", line]) == [expected]


# Deleting


@pytest.mark.parametrize("kind", ["strict_server", "old_server", "modern_server"])
def test_a_folder_is_deleted_with_strange_names_and_links_in_it_and_nothing_beside_it(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """T20, T21: a link goes, what it leads to stays."""
    server = request.getfixturevalue(kind)
    with opened(server) as target:
        put(target, "web01/id/file", b"1")
        put(target, "web02/kept", b"2")
        folder = at(target, server, "web01/id")
        folder.chmod(0o777)
        for name in ["a b", "größe", "-rf", " -> ", "x -> y", ".hidden", "*", "[a]", "%s", "a\\b", "~"]:
            (folder / name).write_text("1")
        (folder / "to-folder").symlink_to("../../web02")
        (folder / "to-file").symlink_to("../../web02/kept")
        (folder / "to-nothing").symlink_to("nothing")
        if kind == "strict_server":
            for path in [folder, *folder.iterdir()]:
                os.chown(path, folder.parent.stat().st_uid, -1, follow_symlinks=False)
        target.delete("web01/id")
        assert target.listdir("web01") == []
        assert tree(target) == {"web02/kept": b"2"}


def test_links_and_special_files_are_none_of_ours(strict_server: Server) -> None:
    """T20"""
    with opened(strict_server) as target:
        put(target, "web01/file", b"1")
        folder = at(target, strict_server, "web01")
        (folder / "to-folder").symlink_to("..")
        (folder / "to-nothing").symlink_to("nothing")
        os.mkfifo(folder / "fifo")
        assert target.listdir("web01") == [Item("file", 1)]
        with pytest.raises(FileExistsError):
            put(target, "web01/to-nothing", b"through")
        for call in (lambda: target.listdir("web01/to-folder"), lambda: put(target, "web01/to-folder/new", b"1")):
            with pytest.raises(StoreError, match="web01/to-folder leads to"):
                call()
        with pytest.raises(StoreError, match="not a regular file"):
            content(target, "web01/fifo")


def test_a_root_that_was_renamed_is_an_error_and_stays_away(strict_server: Server, tmp_path: Path) -> None:
    """T34: within one connection too."""
    with opened(strict_server) as target:
        put(target, "web01/file", b"1")
        root = at(target, strict_server)
        root.rename(f"{root}-away")
        for call in (target.listdir, lambda: target.listdir("web01"), lambda: put(target, "web01/new", b"1")):
            with pytest.raises(StoreError, match="does not exist on the server"):
                call()
        assert not root.exists()


@pytest.mark.parametrize("nights", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_an_account_that_may_not_delete_keeps_backups_and_says_so_when_it_is_asked_to(
    tmp_path: Path, nights: int
) -> None:
    """T19, T33: append-only is a choice, made as the documentation says."""
    with vsftpd(cmds_denied="DELE,RMD,RNFR,RNTO,SITE") as server, opened(server) as target:
        for night in range(nights):
            store_backup(target, make_backup(tmp_path / str(night), NIGHT + timedelta(days=night)))
        before = tree(target)
        with pytest.raises(StoreError, match="could not be deleted: 550") as caught:
            target.delete(JOB)
        assert "may this account delete" in caught.value.hint
        assert tree(target) == before


@pytest.mark.slow
def test_of_500_backups_the_right_ones_go(tmp_path: Path) -> None:
    """R3: one listing tells which there are, and foreign files stay."""
    with pyftpd() as server, opened(server) as target:
        for night in range(500):
            made = make_backup(tmp_path / "made", NIGHT + timedelta(days=night), contents={"folder/www": b"1"})
            put(target, f"{JOB}/{made.manifest.id}/PICKUP.txt", b"1")
            shutil.copytree(made.folder, at(target, server, f"{JOB}/{made.manifest.id}"), dirs_exist_ok=True)
            at(target, server, f"{JOB}/{made.manifest.id}.json").write_bytes(made.encoded)
            shutil.rmtree(made.folder)
        put(target, f"{JOB}/2010-01-01/file", b"foreign")
        catalogue = Catalogue("offsite", target)
        before = server.seen.count("MLSD")
        assert len(catalogue.backups(JOB)) == 500
        assert server.seen.count("MLSD") == before + 1
        pruned = prune(catalogue, JOB, Policy(last=300), ENTRIES[:1], NIGHT + timedelta(days=500), MACHINE)
        assert len(pruned.deleted) == 200
        assert len(catalogue.backups(JOB)) == 300
        assert content(target, f"{JOB}/2010-01-01/file") == b"foreign"
