"""Keep backups in an object store: S3 and what speaks it, Google Cloud Storage, or Azure.

Example entry::

    dict(
        name="offsite",
        profile="object_store",
        config=dict(
            url="s3://backups/web", region="eu-central-1", access_key_id="AKIA...", secret_access_key="..."
        ),
        retention=dict(daily=7, weekly=4, monthly=12),
    )

The secret is best kept in a file of its own: ``secret_access_key=secret_file("s3.secret")``. Without keys, those of the
environment are taken (``AWS_ACCESS_KEY_ID`` and its like), or those that the platform gives to a machine of its own.

``endpoint`` names the server of any other store that speaks S3: Ceph, MinIO, Garage, SeaweedFS, a provider's. The
bucket has to be there. Each file appears as a whole or not at all, and its size is confirmed. What is small, and so
the manifest too, is written on the condition that there is nothing of its name.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, model_validator

from pickup_core.api import BLOCK, Item, Options, Readable, Secret, Store, StoreError, pip_install
from target_profiles._object_store_errors import explained, is_unknown_condition

API_VERSION = (1, 0)

_MIB = 2**20
_ONE_REQUEST = 5 * _MIB  # what is not larger is sent in one; and the least that S3 takes as a part
_MOST_PARTS = 10_000  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_AT_ONCE = 2  # parts on their way
_SLOWEST = 64 * 1024  # bytes a second that a line carries at least
_NAME = r"[A-Za-z0-9._=~-]+"


class Config(Options):
    url: str = Field(pattern=rf"^(s3|gs|az)://{_NAME}(/{_NAME})*$")
    """The bucket and the prefix in it: `s3://BUCKET/PREFIX`, `gs://` for Google Cloud Storage, `az://` for a container
    of Azure. The backups of all jobs lie below the prefix."""
    endpoint: str | None = Field(None, pattern=r"^https?://[^\s/@]+(/[^\s@]*)?$")
    """The server, where it is not that of Amazon, Google or Azure: `https://s3.example.org`."""
    region: str | None = None
    """The bucket's region, for S3; stores that know none take any."""
    access_key_id: str | None = None
    """The id of the S3 access key."""
    secret_access_key: Secret | None = None
    """The secret of the S3 access key."""
    account: str | None = None
    """The Azure storage account."""
    account_key: Secret | None = None
    """The key of the Azure storage account."""
    service_account: Path | None = None
    """The file (JSON) with the key of a Google service account."""
    virtual_hosted: bool = False
    """Send the bucket as a part of the server's name, which some S3 stores want."""
    ca_file: Path | None = None
    """The file (PEM) of one more authority that may have signed the server's certificate."""
    part_size: int = Field(16, ge=5, le=5120)
    """How many MiB are sent at a time; three times as many are in memory. A stream of unknown length may have 10,000
    parts; the parts of a longer file grow with it."""
    timeout: float = Field(60, gt=0, le=3600)
    """How many seconds the server may keep silent; while something is sent to it, a second more for each 64 KiB."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        kind = self.url.partition(":")[0]
        if {".", ".."} & set(self.url.split("/")):
            raise ValueError("has . or .. in its url; write the prefix without")
        for name, of in (("region", "s3"), ("access_key_id", "s3"), ("secret_access_key", "s3"), ("account", "az"),
                         ("account_key", "az"), ("service_account", "gs")):  # fmt: skip
            if getattr(self, name) is not None and kind != of:
                raise ValueError(f"has {name}, which is for {of}://")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("has one of access_key_id and secret_access_key, and needs both or none")
        if kind == "az" and self.account is None:
            raise ValueError("needs an account, as every az:// does")
        return self


def check(config: Config) -> Iterator[str]:
    """Point at what is in the clear."""
    if config.endpoint and config.endpoint.startswith("http://"):
        yield "the endpoint is http://: whoever is between reads the backups, and can change them"


class Target(Store):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._clients: dict[float, Any] = {}

    @property
    def place(self) -> str:
        at = f" at {self.config.endpoint}" if self.config.endpoint else ""
        return f"{self.config.url}{at}"

    def close(self) -> None:
        self._clients.clear()

    def put(self, path: str, stream: Readable) -> None:
        obstore = _library()
        with self.asking(path):
            if self._size_of(path) is not None:
                raise FileExistsError(f"{path} exists already")
        start = _filled(stream, _ONE_REQUEST)
        if len(start) < _ONE_REQUEST:
            sent = len(start)
            with self.asking(path, sent):
                self._create(path, start)
        else:
            part_size = max(self.config.part_size * _MIB, -(-_length_of(stream) // (_MOST_PARTS - 1)))
            source = _Source(start, stream, part_size)
            try:
                with self.asking(path, part_size):
                    obstore.put(self._client(part_size), path, source, chunk_size=part_size, max_concurrency=_AT_ONCE)
            except BaseException:
                if source.error is not None:
                    raise source.error from None
                raise
            sent = source.given
        with self.asking(path):
            stored = self._size_of(path)
        if stored != sent:
            what = "is not there" if stored is None else f"was stored with {stored} bytes"
            raise StoreError(f"{path} {what} in place of {sent} bytes")

    @contextlib.contextmanager
    def get(self, path: str) -> Iterator[Readable]:
        with self.asking(path):
            found = _library().get(self._client(), path)
        yield _Download(self, path, found)

    def listdir(self, folder: str = "") -> list[Item]:
        with self.asking(folder):
            found = _library().list_with_delimiter(self._client(), folder)
        folders = [Item(path.rpartition("/")[2], None) for path in found["common_prefixes"]]
        files = [each for each in found["objects"] if each["path"] != folder]  # as some stores have folders too
        return folders + [Item(each["path"].rpartition("/")[2], each["size"]) for each in files]

    def delete(self, path: str) -> None:
        obstore, client, folders = _library(), self._client(), {path}
        with self.asking(path):
            if self._size_of(path) is not None:
                obstore.delete(client, path)
            for found in obstore.list(client, path, chunk_size=1000):
                names = [each["path"] for each in found]
                obstore.delete(client, names)
                folders |= {str(folder) for name in names for folder in PurePosixPath(name).parents}
            left = obstore.list_with_delimiter(client, path)
            if left["objects"] or left["common_prefixes"]:  # a store that has folders too keeps them, as SeaweedFS does
                for folder in sorted((each for each in folders if each.startswith(path)), reverse=True):
                    obstore.delete(client, folder)

    def asking(self, path: str, sends: int = 0) -> contextlib.AbstractContextManager[None]:
        """Let what the store has against a request about a path, which sends so many bytes, be an error of ours."""
        _library()  # whose absence is told first
        return explained(self.place, path, self._patience(sends))

    def _patience(self, sends: int) -> float:
        """Give how many seconds a server has to answer a request that sends so many bytes."""
        return self.config.timeout + sends / _SLOWEST

    def _create(self, path: str, data: bytes) -> None:
        """Store a small file in one request. A store that knows the condition refuses to overwrite by itself."""
        obstore = _library()
        try:
            obstore.put(self._client(len(data)), path, data, mode="create", use_multipart=False)
        except Exception as error:
            if not is_unknown_condition(error):
                raise
            obstore.put(self._client(len(data)), path, data, use_multipart=False)

    def _size_of(self, path: str) -> int | None:
        """Give the size of a file, None where there is none.

        To a key that may not list the whole bucket, S3 does not tell what is absent but that it may not know:
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html. The listing tells.
        """
        from obstore.exceptions import PermissionDeniedError

        try:
            return int(_library().head(self._client(), path)["size"])
        except FileNotFoundError:
            return None
        except PermissionDeniedError:
            folder, _, name = path.rpartition("/")
            return next((item.size for item in self.listdir(folder) if item.name == name and not item.is_folder), None)

    def _client(self, sends: int = 0) -> Any:
        """Give the client for requests that send so many bytes: it waits as long as that may take."""
        patience = self._patience(sends)
        if patience not in self._clients:
            self._clients[patience] = _new_client(self.config, patience)
        return self._clients[patience]


class _Source:
    """What a stream gives, as `obstore` wants it: block by block. It keeps what the stream raised."""

    def __init__(self, start: bytes, stream: Readable, part_size: int) -> None:
        self._start = start
        self._stream = stream
        self._most = part_size * _MOST_PARTS
        self.given = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            block = self._start
            while block:
                self.given += len(block)
                if self.given > self._most:
                    what = f"is longer than {_MOST_PARTS} parts of {self._most // _MOST_PARTS // _MIB} MiB"
                    raise StoreError(what, hint="raise part_size")
                yield block
                block = self._stream.read(BLOCK)
        except GeneratorExit:  # nobody wants more
            raise
        except BaseException as error:
            self.error = error
            raise


class _Download:
    """A stream of what a store sends. That it has ended is believed when all has come."""

    def __init__(self, target: Target, path: str, found: Any) -> None:
        self._target = target
        self._path = path
        self._left = found.meta["size"]
        self._blocks = iter(found.stream(min_chunk_size=BLOCK))
        self._rest = memoryview(b"")

    def read(self, size: int = BLOCK) -> bytes:
        """Give some bytes, at most `size`; none at the end."""
        if not self._rest and self._left and size:
            with self._target.asking(self._path):
                self._rest = memoryview(next(self._blocks, b""))
            self._left -= len(self._rest)
            if not self._rest or self._left < 0:
                raise StoreError(f"{self._path} did not come as long as it is listed")
        given, self._rest = (self._rest, self._rest[:0]) if size < 0 else (self._rest[:size], self._rest[size:])
        return bytes(given)


def _library() -> Any:
    """Give obstore, which only runs that use an object store have to load."""
    try:
        import obstore
    except ImportError:
        what = "the target object_store needs obstore, which is not installed"
        raise StoreError(what, hint=pip_install("obstore")) from None
    return obstore


def _new_client(config: Config, patience: float) -> Any:
    """Give a client that waits so many seconds for the answer to a request."""
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store

    kind, _, rest = config.url.partition("://")
    bucket, _, prefix = rest.partition("/")
    seconds = timedelta(seconds=patience)
    options: dict[str, Any] = {"allow_http": True, "connect_timeout": timedelta(seconds=min(patience, 30)),
                               "read_timeout": seconds, "timeout": timedelta(days=7)}  # fmt: skip
    common: dict[str, Any] = {"prefix": prefix or None, "client_options": options,
                              "retry_config": {"max_retries": 3, "retry_timeout": 4 * seconds}}  # fmt: skip
    if config.endpoint is not None:
        common["endpoint"] = config.endpoint
    secret = config.secret_access_key or config.account_key
    settings: dict[str, Any]
    make: Any = S3Store
    if kind == "s3":
        settings = {"region": config.region, "access_key_id": config.access_key_id,
                    "secret_access_key": secret and secret.reveal(),
                    "virtual_hosted_style_request": config.virtual_hosted or None}  # fmt: skip
    elif kind == "gs":
        settings = {"service_account": str(config.service_account) if config.service_account else None}
        make = GCSStore
    else:
        settings = {"account_name": config.account, "account_key": secret and secret.reveal()}
        make = AzureStore
    try:
        if config.ca_file is not None:
            options["root_certificate"] = config.ca_file.read_bytes()
        return make(bucket, **common, **{name: value for name, value in settings.items() if value is not None})
    except (OSError, ValueError, BaseError) as error:
        which = "ca_file" if config.ca_file is not None else "the options"
        raise StoreError(f"{which} cannot be used: {str(error).partition(chr(10))[0]}") from error


def _filled(stream: Readable, size: int) -> bytes:
    """Read until there are so many bytes, or none any more."""
    data = bytearray()
    while len(data) < size and (block := stream.read(min(BLOCK, size - len(data)))):
        data += block
    return bytes(data)


def _length_of(stream: Readable) -> int:
    """Give how long a stream is where it is a local file, else 0."""
    try:
        return os.fstat(stream.fileno()).st_size  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return 0
