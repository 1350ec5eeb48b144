"""The target object_store: the contract of all targets on two servers, and what can go wrong there."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pickup_core.catalogue import Catalogue
from pickup_core.errors import StoreError, UnreachableError
from pickup_core.prune import prune
from pickup_core.retention import Policy
from pickup_core.store import BLOCK, Item
from pickup_core.verify import verify
from target_profiles import object_store
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target as Folder
from target_profiles.object_store import Config, Target, check
from tests.places import JOB, MACHINE, NIGHT, REPOSITORY, content, make_backup, put, store_backup, store_nights, tree
from tests.servers.ftpd import certificate
from tests.servers.relay import CUT, CUT_AFTER, CUT_WITHIN, SILENT, Answer, Relay, Request, relay
from tests.servers.running import free_port
from tests.servers.s3 import BUCKET, READER, SECRET, S3Server, rclone_s3, seaweedfs
from tests.target_contract import ENTRIES, Connect, Pieces, TargetContract

MIB = 2**20


def target_at(server: S3Server, prefix: str = "", **options: Any) -> Target:
    return Target(Config(**server.config(prefix, **options)))


def through(relay: Relay, server: S3Server, prefix: str = "", **options: Any) -> Target:
    return target_at(replace(server, port=relay.port), prefix or uuid.uuid4().hex, **options)


@pytest.fixture(scope="module")
def distributed() -> Iterator[S3Server]:
    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="module")
def simple() -> Iterator[S3Server]:
    with rclone_s3() as server:
        yield server


@pytest.fixture(scope="module")
def unlocked() -> Iterator[S3Server]:
    """A server that asks for no key."""
    with rclone_s3(open_to_all=True) as running:
        yield running


class _Contract(TargetContract):
    """The contract, below a prefix of its own for each test, on the server of the class."""

    has_root_to_make = False
    kind: str

    @pytest.fixture
    def connect(self, request: pytest.FixtureRequest) -> Connect:
        server, prefix = request.getfixturevalue(self.kind), f"{uuid.uuid4().hex}/a=place"
        return lambda: target_at(server, prefix)


class TestSeaweedFS(_Contract):
    kind = "distributed"


class TestRclone(_Contract):
    kind = "simple"


class TestGoogle(_Contract):
    """The client of Google Cloud Storage, whose XML interface has the requests of S3, before a server that asks for no
    token: https://cloud.google.com/storage/docs/interoperability
    """

    @pytest.fixture
    def connect(self, unlocked: S3Server, tmp_path: Path) -> Connect:
        account, prefix = tmp_path / "account.json", uuid.uuid4().hex
        with open(os.open(account, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            nothing = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
            json.dump({"gcs_base_url": unlocked.endpoint, "disable_oauth": True, **nothing}, file)
        return lambda: Target(Config(url=f"gs://{BUCKET}/{prefix}/a=place", service_account=account))


# Parts


def parts_seen(through: Relay) -> int:
    return through.count("PUT", "partNumber=")


def test_a_large_file_goes_in_parts_and_a_small_one_in_one_request(distributed: S3Server) -> None:
    with relay(distributed.port) as between, through(between, distributed, part_size=5) as target:
        put(target, "small", b"1" * (5 * MIB - 1))
        assert parts_seen(between) == 0
        data = os.urandom(5 * MIB)
        put(target, "large", data * 2 + b"1")
        assert parts_seen(between) == 3
        assert content(target, "large") == data * 2 + b"1"


def test_the_parts_of_a_file_grow_with_it(distributed: S3Server, tmp_path: Path, monkeypatch: Any) -> None:
    """A place takes 10,000 parts at most; here it is four."""
    monkeypatch.setattr(object_store, "_MOST_PARTS", 4)
    (tmp_path / "large").write_bytes(os.urandom(31 * MIB))
    with relay(distributed.port) as between, through(between, distributed, part_size=5) as target:
        with (tmp_path / "large").open("rb") as stream:
            target.put("large", stream)
        assert parts_seen(between) == 3
        assert content(target, "large") == (tmp_path / "large").read_bytes()


def test_a_stream_of_unknown_length_that_is_too_long_for_its_parts_says_so(
    distributed: S3Server, monkeypatch: Any
) -> None:
    monkeypatch.setattr(object_store, "_MOST_PARTS", 2)
    with relay(distributed.port) as between, through(between, distributed, part_size=5) as target:
        with pytest.raises(StoreError, match="is longer than 2 parts of 5 MiB") as caught:
            target.put("large", Pieces(b"x" * 12 * MIB, BLOCK))
        assert caught.value.hint == "raise part_size"
        assert between.count("DELETE", "uploadId=") == 1
        assert target.listdir() == []


def test_an_upload_that_breaks_off_is_given_up_at_the_place(distributed: S3Server) -> None:
    """T15, T29: what was sent of it would be paid for, and no listing shows it."""
    with relay(distributed.port) as between, through(between, distributed, part_size=5) as target:
        with pytest.raises(ZeroDivisionError):
            target.put("large", Pieces(b"x" * 12 * MIB, BLOCK, 11 * MIB, ZeroDivisionError()))
        assert parts_seen(between) >= 1
        assert between.count("DELETE", "uploadId=") == 1


def test_a_store_refuses_to_overwrite_by_itself(distributed: S3Server) -> None:
    """T7: somebody else was faster, after we had looked."""
    with target_at(distributed, "race") as target:
        put(target, "file", b"the first")

    def hide(request: Request) -> Answer | None:
        return (404, "") if request.method == "HEAD" else None

    with relay(distributed.port, hide) as between, through(between, distributed, "race") as target:
        with pytest.raises(FileExistsError):
            put(target, "file", b"another one")
        assert between.count("HEAD")
    with target_at(distributed, "race") as target:
        assert content(target, "file") == b"the first"


def test_a_store_that_does_not_know_the_condition_is_served_too(simple: S3Server) -> None:
    def unknown(request: Request) -> Answer | None:
        if "If-None-Match" in request.headers:
            return 501, "<Error><Code>NotImplemented</Code><Message>A header implies more.</Message></Error>"
        return None

    with relay(simple.port, unknown) as between, through(between, simple) as target:
        put(target, "web01/file", b"1")
        assert content(target, "web01/file") == b"1"
        assert between.count("PUT") > 1


# Who may what


def refused(target: Target, match: str, hint: str) -> None:
    with pytest.raises(StoreError, match=match) as caught:
        target.listdir()
    assert hint in caught.value.hint
    assert "battery" not in f"{caught.value!s}{caught.value!r}"


def test_keys_that_are_wrong_are_refused_in_a_sentence(distributed: S3Server) -> None:
    """I6"""
    refused(target_at(distributed, secret_access_key="another"), "SignatureDoesNotMatch: ", "compare secret_access_key")
    refused(target_at(distributed, user="nobody"), "InvalidAccessKeyId: ", "compare access_key_id")


def test_a_missing_library_is_told_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("obstore", "obstore.exceptions", "obstore.store"):
        monkeypatch.setitem(sys.modules, name, None)
    target = Target(Config(url="s3://a"))
    for ask in (
        target.listdir,
        lambda: target.delete("a"),
        lambda: put(target, "a", b"b"),
        lambda: content(target, "a"),
    ):
        with pytest.raises(StoreError, match="the target object_store needs obstore, which is not installed") as caught:
            ask()
        assert caught.value.hint == f"{sys.executable} -m pip install obstore"


def test_a_bucket_that_is_not_there_is_an_error_and_is_not_made(distributed: S3Server) -> None:
    """T34"""
    target = target_at(distributed, url="s3://another-one/web")
    for _ in range(2):
        refused(target, "NoSuchBucket: ", "make the bucket")
        target.create_root()


def test_an_account_that_may_only_read_says_so(distributed: S3Server) -> None:
    with target_at(distributed, "read") as target:
        put(target, "web01/file", b"1")
    with target_at(distributed, "read", user=READER) as target:
        assert content(target, "web01/file") == b"1"
        for data in (b"2", b"2" * 6 * MIB):
            with pytest.raises(StoreError, match="AccessDenied: ") as caught:
                put(target, "web01/new", data)
            assert "see its policy" in caught.value.hint.lower()


@pytest.mark.parametrize("nights", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_an_account_that_may_not_delete_keeps_backups_and_says_so_when_it_is_asked_to(
    distributed: S3Server, tmp_path: Path, nights: int
) -> None:
    """T19, T33: append-only is a choice, made as the documentation says."""

    def must_not_delete(request: Request) -> Answer | None:
        if request.method == "DELETE" or (request.method == "POST" and "delete" in request.path):
            return 403, "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
        return None

    with relay(distributed.port, must_not_delete) as between, through(between, distributed) as target:
        for night in range(nights):
            store_backup(target, make_backup(tmp_path / str(night), NIGHT + timedelta(days=night)))
        assert between.count("DELETE") == between.count("POST", "delete") == 0
        before = tree(target)
        with pytest.raises(StoreError, match="AccessDenied: ") as caught:
            target.delete(f"{JOB}/2026-11-23T031502Z.json")
        assert "may this key do that" in caught.value.hint
        assert tree(target) == before


def test_a_key_that_may_not_know_what_is_absent_does_its_work(distributed: S3Server, tmp_path: Path) -> None:
    """As of S3, where a policy lets a key list its own prefix only."""
    with relay(distributed.port) as between, through(between, distributed) as target:
        between.instead = lambda request: (403, "") if request.method == "HEAD" else None
        store_backup(target, make_backup(tmp_path / "made", contents={"folder/www": b"1" * 6 * MIB}))
        [backup] = Catalogue("there", target).backups(JOB)
        assert verify(backup) == []
        with pytest.raises(FileExistsError):
            put(target, f"{JOB}/{backup.id}.json", b"1")
        target.delete(JOB)
        assert target.listdir() == []


def test_keys_may_come_from_the_environment(distributed: S3Server, monkeypatch: Any) -> None:
    options = distributed.config("environment")
    target = Target(Config(url=options["url"], endpoint=options["endpoint"], region="us-east-1"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    put(target, "web01/file", b"1")
    assert target.listdir("web01") == [Item("file", 1)]


# What goes wrong on the way


def test_a_server_that_is_not_there_is_named(distributed: S3Server) -> None:
    """T1"""
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="Connection refused"):
        target_at(replace(distributed, port=free_port())).listdir()
    assert time.monotonic() - start < 10


KINDS = [
    ("HEAD", ""),
    ("PUT", ""),
    ("GET", "list-type"),
    ("GET", "file"),
    ("POST", "delete"),
    ("POST", "uploads"),
    ("PUT", "part"),
]


@pytest.mark.parametrize(("method", "text"), KINDS)
def test_a_server_that_falls_silent_is_waited_for_within_bounds(
    simple: S3Server, monkeypatch: pytest.MonkeyPatch, method: str, text: str
) -> None:
    """T3, I9"""
    monkeypatch.setattr(object_store, "_SLOWEST", 100 * MIB)

    def silent(request: Request) -> str | None:
        return SILENT if request.method == method and text in request.path else None

    with relay(simple.port) as between, through(between, simple, timeout=1, part_size=5) as target:
        put(target, "web01/file", b"1")
        between.instead = silent
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="did not answer within 1 seconds"):
            _all_kinds(target)
        assert time.monotonic() - start < 20


def _all_kinds(target: Target) -> None:
    content(target, "web01/file")
    target.listdir("web01")
    put(target, "web01/new", b"1")
    put(target, "web01/large", b"1" * 6 * MIB)
    target.delete("web01/file")


class Cuts:
    """Cuts the request of this number, and with `for_good` all that come after it."""

    def __init__(self, how: str, number: int, for_good: bool) -> None:
        self._how, self._number, self._for_good = how, number, for_good
        self._count = 0

    @property
    def has_fired(self) -> bool:
        return self._count >= self._number

    def __call__(self, request: Request) -> str | None:
        self._count += 1
        is_meant = self._count == self._number or (self._for_good and self.has_fired)
        return self._how if is_meant else None


def _cut_at_each_request(server: S3Server, folder: Path, how: str, for_good: bool, step: int) -> None:
    """See that a backup whose upload is cut at a request, at each in turn, is whole or none, and the next one works."""
    first = make_backup(folder / "first", contents={"folder/www": b"1" * 6 * MIB})
    second = make_backup(folder / "second", NIGHT + timedelta(days=1))
    number, has_fired = 1, True
    while has_fired:
        cuts = Cuts(how, number, for_good)
        with relay(server.port, cuts) as between, through(between, server) as target:
            try:
                store_backup(target, first)
            except (StoreError, FileExistsError):
                assert cuts.has_fired
            has_fired = cuts.has_fired
            between.instead = None
            for backup in Catalogue("there", target).backups(JOB):
                assert not backup.is_finished or verify(backup) == []
            store_backup(target, second)
            assert verify(Catalogue("there", target).backups(JOB)[0]) == []
        number += step
    assert number > 20


CUTTING = pytest.mark.parametrize(
    ("how", "for_good"), [(CUT, True), (CUT_AFTER, True), (CUT_AFTER, False), (CUT_WITHIN, False)]
)


@CUTTING
def test_a_connection_that_is_cut_leaves_no_backup_that_is_not_whole(
    distributed: S3Server, tmp_path: Path, how: str, for_good: bool
) -> None:
    """T2, I1: at some requests of an upload; a cut that comes once is tried again, and costs nothing at most."""
    _cut_at_each_request(distributed, tmp_path, how, for_good, 7)


@pytest.mark.slow
@CUTTING
def test_a_connection_that_is_cut_at_any_request_leaves_no_backup_that_is_not_whole(
    distributed: S3Server, tmp_path: Path, how: str, for_good: bool
) -> None:
    """T2, I1"""
    _cut_at_each_request(distributed, tmp_path, how, for_good, 1)


def test_a_download_that_is_cut_gives_all_or_raises(distributed: S3Server) -> None:
    """T2, V1"""
    data = os.urandom(3 * MIB)
    with relay(distributed.port) as between, through(between, distributed) as target:
        put(target, "file", data)
        between.instead = lambda request: CUT_WITHIN if request.method == "GET" else None
        with pytest.raises(StoreError):
            content(target, "file")
        count = 0

        def once(request: Request) -> str | None:
            nonlocal count
            count += request.method == "GET"
            return CUT_WITHIN if count == 1 else None

        between.instead = once
        assert content(target, "file") == data
        assert count > 1


def test_a_server_that_is_busy_for_a_moment_is_asked_again(distributed: S3Server) -> None:
    """T29"""
    busy = (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
    with relay(distributed.port) as between, through(between, distributed) as target:
        between.instead = lambda request: busy if len(between.seen) % 2 else None
        put(target, "web01/file", b"1")
        assert content(target, "web01/file") == b"1"
        between.instead = lambda request: busy
        with pytest.raises(StoreError, match="SlowDown: Please reduce"):
            target.listdir()


def test_a_full_place_says_so_and_what_to_do(distributed: S3Server) -> None:
    """T5"""
    full = (403, "<Error><Code>QuotaExceeded</Code><Message>Bucket is \x1b[31mfull.</Message></Error>")
    with relay(distributed.port) as between, through(between, distributed) as target:
        between.instead = lambda request: full if request.method == "PUT" else None
        with pytest.raises(StoreError, match="QuotaExceeded: Bucket is") as caught:
            put(target, "web01/file", b"1")
    assert "retention" in caught.value.hint
    assert "\x1b" not in str(caught.value)


def test_a_size_that_is_not_the_one_that_was_sent_is_noticed(distributed: S3Server) -> None:
    """T6"""
    with relay(distributed.port) as between, through(between, distributed) as target:
        sent = False

        def short(request: Request) -> Answer | None:
            nonlocal sent
            sent = sent or request.method == "PUT"
            return (200, "1") if sent and request.method == "HEAD" else None

        between.instead = short
        with pytest.raises(StoreError, match="was stored with 1 bytes in place of 3 bytes"):
            put(target, "web01/file", b"123")


def test_a_server_proves_itself_by_its_certificate(tmp_path: Path) -> None:
    good = certificate(tmp_path)
    with rclone_s3("--cert", str(good), "--key", str(good)) as server:
        options = {"endpoint": f"https://localhost:{server.port}"}
        with pytest.raises(StoreError, match="certificate"):
            target_at(server, **options).listdir()
        put(target_at(server, ca_file=good, **options), "file", b"1")
        other = certificate(tmp_path, "example.org")
        with pytest.raises(StoreError, match="certificate"):
            target_at(server, ca_file=other, **options).listdir()


# Many, and large


@pytest.mark.slow
def test_of_500_backups_the_right_ones_go(distributed: S3Server, tmp_path: Path) -> None:
    """R3: one listing tells which there are, and foreign files stay."""
    with Folder(FolderConfig(path=tmp_path / "local")) as local:
        local.create_root()
        store_nights(local, tmp_path / "nights", 500)
    with relay(distributed.port) as between, through(between, distributed) as target:
        for path in sorted((tmp_path / "local").rglob("*")):
            if path.is_file():
                put(target, path.relative_to(tmp_path / "local").as_posix(), path.read_bytes())
        put(target, f"{JOB}/2010-01-01/file", b"foreign")
        catalogue, before = Catalogue("there", target), between.count("GET", "list-type")
        assert len(catalogue.backups(JOB)) == 500
        assert between.count("GET", "list-type") <= before + 2  # a page has 1,000 names
        pruned = prune(catalogue, JOB, Policy(last=300), ENTRIES, NIGHT + timedelta(days=500), MACHINE)
        assert len(pruned.deleted) == 200
        assert len(catalogue.backups(JOB)) == 300
        assert content(target, f"{JOB}/2010-01-01/file") == b"foreign"


MEMORY = """
import sys
from target_profiles.object_store import Config, Target
class Zeros:
    left = 400 * 2**20
    def read(self, size=-1):
        given = min(size, self.left)
        self.left -= given
        return bytes(given)
target = Target(Config(**eval(sys.argv[1])))
target.put("large", Zeros())
with target.get("large") as stream:
    while stream.read(2**18):
        pass
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_is_bounded_however_long_a_stream_is(simple: S3Server) -> None:
    options = repr(simple.config(uuid.uuid4().hex, part_size=8))
    command = [sys.executable, "-c", MEMORY, options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100)
    assert done.stderr == ""
    assert int(done.stdout) < 100 * 1024  # KiB; 60 MiB were measured


# The config


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "s3:/bucket"},
        {"url": "http://bucket/x"},
        {"url": "s3://bucket/../x"},
        {"url": "s3://bucket/a b"},
        {"url": "s3://bucket//x"},
        {"url": "s3://"},
        {"endpoint": "ftp://example.org"},
        {"endpoint": "https://user:word@example.org"},
        {"secret_access_key": None},
        {"access_key_id": None},
        {"account": "ours"},
        {"url": "gs://bucket"},
        {"url": "az://container"},
        {"part_size": 4},
        {"timeout": 0},
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    usual: dict[str, Any] = dict(
        url="s3://bucket/x", endpoint="https://s3.example.org", access_key_id="a", secret_access_key="b"
    )
    Config(**usual)
    with pytest.raises(ValidationError):
        Config(**{**usual, **wrong})


def test_a_place_names_bucket_and_endpoint_and_no_secret() -> None:
    """T28, I6"""
    config = Config(url="s3://bucket/x", endpoint="https://s3.example.org", access_key_id="a", secret_access_key=SECRET)
    assert Target(config).place == "s3://bucket/x at https://s3.example.org"
    assert "battery" not in repr(config)


def test_check_points_at_what_is_in_the_clear() -> None:
    assert list(check(Config(url="s3://bucket/x", endpoint="https://s3.example.org"))) == []
    assert "http://" in next(check(Config(url="s3://bucket/x", endpoint="http://s3.example.org")))


def test_google_and_azure_are_reached_by_names_of_their_own() -> None:
    """Without a server: the requests go where they should, and say what is missing."""
    with relay(free_port()) as between:
        seen = []
        between.instead = lambda request: (
            seen.append(request) or (403, "<Error><Code>AuthenticationFailed</Code></Error>")
        )
        azure = Config(
            url="az://container/web",
            account="ours",
            account_key="c2VjcmV0",
            endpoint=f"http://127.0.0.1:{between.port}",
        )
        with pytest.raises(StoreError, match="AuthenticationFailed") as caught:
            Target(azure).listdir()
        assert "account_key" in caught.value.hint
        assert seen[0].path.startswith("/container?")
