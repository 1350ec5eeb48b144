"""Real FTP servers: vsftpd, which wants TLS and knows little else, and pyftpdlib, which can be taught to misbehave."""

import contextlib
import datetime
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.running import free_port, hashed, required, running, server_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it stands on asyncore
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler as DTPHandler
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

USER = "pickup"
PASSWORD = "Canary-in-the-coal-mine"
_UID = 59_873  # of nobody else
_ALL_RIGHTS = "elradfmwMT"


@dataclass(frozen=True)
class Server:
    """A server that runs. `folder` is what its account sees as `/`."""

    port: int
    folder: Path
    certificate: Path | None = None
    seen: list[str] = field(default_factory=list)
    """The verbs of all commands that came, where the server is pyftpdlib."""
    pid: int = 0
    """Its process, where it has one of its own."""

    def options(self, **changed: Any) -> dict[str, Any]:
        """Give the config of a target entry."""
        known = {"host": "localhost", "port": self.port, "user": USER, "password": PASSWORD, "timeout": 20}
        trust = {"ca_file": self.certificate} if self.certificate else {"tls": False}
        return {**known, **trust, "path": "place", **changed}


def certificate(folder: Path, name: str = "localhost", days: int = 2) -> Path:
    """Write a self-signed certificate and its key into one file; with negative `days` it has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}{days}.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + made.public_bytes(pem))
    return file


@contextlib.contextmanager
def vsftpd(**settings: str) -> Iterator[Server]:
    """Run vsftpd as root, with an account that nobody sees but this server."""
    with server_folder() as folder:
        home, file, port = folder / "home", certificate(folder), free_port()
        for new in (home, folder / "empty"):
            new.mkdir(mode=0o755)
        home.chmod(0o777)
        accounts = {
            "passwd": Path("/etc/passwd").read_text() + f"{USER}:x:{_UID}:{_UID}::{home}:/bin/sh\n",
            "shadow": f"{USER}:{hashed(PASSWORD)}:19000:0:99999:7:::\n",
            "pam": "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
            "conf": "".join(f"{key}={value}\n" for key, value in {**_vsftpd(folder, file, port), **settings}.items()),
        }
        for name, text in accounts.items():
            (folder / name).write_text(text)
        script = (
            'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow && '
            'mount --bind "$0/pam" /etc/pam.d/vsftpd && exec "$1" "$0/conf"'
        )
        command = ["unshare", "--mount", "sh", "-c", script, folder, required("vsftpd")]
        with running(command, port, folder / "log") as pid:
            yield Server(port, home, file, pid=pid)


def _vsftpd(folder: Path, file: Path, port: int) -> Mapping[str, object]:
    yes = (
        "listen local_enable write_enable chroot_local_user allow_writeable_chroot ssl_enable force_local_logins_ssl"
        " force_local_data_ssl require_ssl_reuse"
    )
    no = "listen_ipv6 background anonymous_enable seccomp_sandbox isolate isolate_network ssl_sslv2 ssl_sslv3"
    return {
        **dict.fromkeys(yes.split(), "YES"),
        **dict.fromkeys(no.split(), "NO"),
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "pasv_address": "127.0.0.1",
        "secure_chroot_dir": folder / "empty",
        "pam_service_name": "vsftpd",
        "rsa_cert_file": file,
        "rsa_private_key_file": file,
        "local_umask": "022",
        "xferlog_enable": "YES",
        "vsftpd_log_file": folder / "vsftpd.log",
    }


def pass_all(handler: Any, verb: str, argument: str) -> bool:
    """Let the server answer every command by itself."""
    return False


@contextlib.contextmanager
def pyftpd(
    tls: Path | None = None,
    *,
    without: Sequence[str] = (),
    rights: str = _ALL_RIGHTS,
    instead: Callable[[Any, str, str], bool] = pass_all,
    **facts: Any,
) -> Iterator[Server]:
    """Run pyftpdlib in a thread, `without` some of its commands; `tls` is the file of its certificate and key.

    `instead` is called with the session's handler, verb and argument of each command, and gives True where it has dealt
    with it. `facts` become attributes and methods of the handler's class.
    """
    base = TLS_FTPHandler if tls else FTPHandler
    with server_folder() as folder:
        home, seen = folder / "home", list[str]()
        home.mkdir()
        authorizer = DummyAuthorizer()
        authorizer.add_user(USER, PASSWORD, str(home), perm=rights)

        def pre_process_command(handler: Any, line: str, verb: str, argument: str) -> None:
            seen.append(verb)
            if not instead(handler, verb, argument):
                base.pre_process_command(handler, line, verb, argument)

        if tls:
            facts = {"certfile": str(tls), "tls_control_required": True, "tls_data_required": True, **facts}
        known = {verb: facts for verb, facts in base.proto_cmds.items() if verb not in without}
        facts = {
            "proto_cmds": known,
            "authorizer": authorizer,
            "auth_failed_timeout": 0,
            "use_sendfile": False,
            **facts,
        }
        facts["pre_process_command"] = pre_process_command
        with _served(type("Handler", (base,), facts)) as port:
            yield Server(port, home, tls, seen)


@contextlib.contextmanager
def _served(handler: type[Any]) -> Iterator[int]:
    server, ended = FTPServer(("127.0.0.1", 0), handler, ioloop=IOLoop()), threading.Event()

    def serve() -> None:
        while not ended.is_set():
            server.serve_forever(timeout=0.05, blocking=False)
        server.close_all()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(server.address[1])
    finally:
        ended.set()
        thread.join(60)
