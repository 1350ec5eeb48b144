"""The way to a host over SSH: its names in ~/.ssh/config, its host key, the login, and the hosts to jump over."""

import logging
import re
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from pickup_core.api import PickupError, Secret, StoreError, UnreachableError, pip_install, read_trusted

_PORT = 22
_LOG = "pickup_ssh"


def library() -> Any:
    """Give paramiko, which only runs that use SSH have to load. Raises `StoreError` where it is not installed."""
    try:
        import paramiko  # type: ignore[import-untyped]
    except ImportError:
        what = "the target ssh needs paramiko, which is not installed"
        raise StoreError(what, hint=pip_install("paramiko")) from None
    return paramiko


@dataclass(frozen=True)
class Login:
    """What a config says about the way to a host; None is left to ~/.ssh/config and to what ssh does."""

    host: str
    port: int | None
    user: str | None
    key_file: Path | None
    key_passphrase: Secret | None
    password: Secret | None
    agent: bool
    known_hosts: Path
    fingerprint: str | None
    ssh_config: Path
    timeout: float
    keepalive: float


@dataclass(frozen=True)
class _Hop:
    """One host on the way, the last one included, with what ~/.ssh/config knows of it."""

    host: str
    port: int
    user: str | None
    key_file: Path | None

    @property
    def known_as(self) -> str:
        return self.host if self.port == _PORT else f"[{self.host}]:{self.port}"


def connected(login: Login) -> list[Any]:
    """Connect and log in; give the client of each host to jump over, and last that of the host itself.

    Raises `StoreError` or `OSError`. No credential is sent to a host whose key is not the known one.
    """
    clients: list[Any] = []
    hops = _hops(login)
    try:
        for hop in hops:
            is_last = hop is hops[-1]
            wire = _channel(clients[-1], hop, login.timeout) if clients else _socket(hop, login.timeout)
            clients.append(_client(login, hop, wire, is_last))
    except BaseException:
        disconnect(clients)
        raise
    return clients


def disconnect(clients: list[Any]) -> None:
    """Close the connections, the last one first."""
    for client in reversed(clients):
        client.close()


@contextmanager
def bounded(client: Any, seconds: float) -> Iterator[None]:
    """Close a connection where what is done with it takes longer: paramiko waits for some answers for ever.

    Raises `StoreError` then.
    """
    timer = Timer(seconds, client.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if timer.finished.is_set():
            raise UnreachableError(f"the server has not answered within {seconds:g} seconds") from error
        raise
    finally:
        timer.cancel()


def _hops(login: Login) -> list[_Hop]:
    """Give the hosts to jump over, and last the host itself."""
    paramiko = library()
    try:
        known = paramiko.SSHConfig.from_text(_config_text(login.ssh_config))
        found = known.lookup(login.host)
        jumps = [jump.strip() for jump in found.get("proxyjump", "none").split(",")]
        hops = [_jump(known, jump) for jump in jumps if jump.lower() != "none"]
        last = _hop(found, login.port, login.user, login.key_file)
    except (paramiko.SSHException, OSError, ValueError) as error:
        raise StoreError(f"{login.ssh_config} cannot be used for {login.host}: {error}") from error
    if found.get("proxycommand", "none").lower() != "none":
        raise StoreError(
            f"{login.ssh_config} names a ProxyCommand for {login.host}, which Pickup does not run",
            hint="use ProxyJump, or name the host itself in the config",
        )
    return [*hops, last]


def _config_text(path: Path) -> str:
    """Give what ~/.ssh/config says, nothing where there is none. Raises `StoreError` where it would run a program."""
    text = _trusted_text(path)
    if re.search(r"(?im)^\s*match\b.*\bexec\b", text):
        raise StoreError(f"{path} has a Match exec, which Pickup does not run", hint="name another file as ssh_config")
    return text


def _trusted_text(path: Path) -> str:
    """Give the text of a file that we believe, nothing where there is none. Raises `StoreError` where others could have
    written it.
    """
    if not path.exists():
        return ""
    try:
        return read_trusted(path)[0]
    except PickupError as error:
        raise StoreError(error.message, error.hint) from error


def _jump(known: Any, text: str) -> _Hop:
    """Give a host to jump over, as ssh_config(5) has it: [user@]host[:port]."""
    user, _, address = text.removeprefix("ssh://").rpartition("@")
    host, _, port = address.rpartition(":") if address.rpartition(":")[2].isdigit() else (address, "", "")
    return _hop(known.lookup(host.strip("[]")), int(port) if port else None, user or None, None)


def _hop(found: Any, port: int | None, user: str | None, key_file: Path | None) -> _Hop:
    identities = [Path(file) for file in found.get("identityfile", [])]
    key = key_file or next((file for file in identities if file.exists()), None)
    return _Hop(found["hostname"], port or int(found.get("port", _PORT)), user or found.get("user"), key)


def _socket(hop: _Hop, timeout: float) -> socket.socket:
    try:
        wire = socket.create_connection((hop.host, hop.port), timeout)
    except OSError as error:
        raise UnreachableError(
            f"{hop.host} port {hop.port} cannot be reached: {error.strerror or error}",
            hint="is the host up, and does its firewall let this machine in?",
        ) from error
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a small file is some small packets in a row
    # paramiko tries for ever to send to a peer that takes nothing any more; this lets the kernel give up.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))
    return wire


def _channel(client: Any, hop: _Hop, timeout: float) -> Any:
    try:
        return client.get_transport().open_channel(
            "direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=timeout
        )
    except (library().SSHException, EOFError) as error:
        raise UnreachableError(f"the host to jump over does not reach {hop.host} port {hop.port}: {error}") from error


def _client(login: Login, hop: _Hop, wire: Any, is_last: bool) -> Any:
    """Log in over a connection that is open. The password is for the last host alone."""
    paramiko = library()
    client = paramiko.SSHClient()
    client.set_log_channel(_LOG)
    logging.getLogger(_LOG).setLevel(logging.CRITICAL)  # what matters is raised, and told once
    try:
        fingerprint = login.fingerprint if is_last else None
        if fingerprint is None:
            _load_host_keys(client, login.known_hosts)
        client.set_missing_host_key_policy(_KnownAlone(fingerprint, login.known_hosts))
        key = _key(hop.key_file, login.key_passphrase) if hop.key_file else None
        password = login.password.reveal() if login.password and is_last else None
        with bounded(client, 3 * login.timeout):
            client.connect(
                hop.host,
                hop.port,
                hop.user,
                password,
                key,
                timeout=login.timeout,
                banner_timeout=login.timeout,
                auth_timeout=login.timeout,
                channel_timeout=login.timeout,
                allow_agent=login.agent,
                look_for_keys=key is None and password is None,
                sock=wire,
                transport_factory=_transport,
            )
        client.get_transport().set_keepalive(int(login.keepalive))
    except paramiko.BadHostKeyException as error:
        client.close()
        raise _changed(hop.known_as, error.key, f"not the one in {login.known_hosts}") from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        client.close()
        raise _refused(hop, error) from error
    except BaseException:
        client.close()
        wire.close()
        raise
    return client


def _transport(wire: Any, disabled_algorithms: Any = None, gss_kex: Any = False, gss_deleg_creds: Any = False) -> Any:
    """Give paramiko's transport, with the ciphers first that the processor helps with most.

    Older versions of paramiko speak of GSS here, which is not used.
    """
    transport = library().Transport(wire, disabled_algorithms=disabled_algorithms)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    return transport


def _load_host_keys(client: Any, path: Path) -> None:
    """Load a known_hosts file, but for keys that it revokes: of two keys of one kind for a host, the first counts, as
    sshd(8) has it. Raises `StoreError` where others could have written it, and where it has a line that is no host key.
    """
    paramiko, keys = library(), client.get_host_keys()
    lines = [line for line in _trusted_text(path).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    revoked = {line.split()[3] for line in lines if line.startswith("@revoked ") and len(line.split()) > 3}
    for line in lines:
        if line.startswith("@") or set(line.split()[2:3]) & revoked:
            continue
        try:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(line.strip())
        except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey) as error:
            raise StoreError(f"{path} has a line that is no host key: {line[:100]}") from error
        if entry is not None:  # of a kind that paramiko knows
            for name in entry.hostnames:
                if entry.key.get_name() not in (keys.lookup(name) or {}):
                    keys.add(name, entry.key.get_name(), entry.key)


class _KnownAlone:
    """Refuses every host key but the one whose fingerprint is pinned; known_hosts was looked at before."""

    def __init__(self, fingerprint: str | None, known_hosts: Path) -> None:
        self._fingerprint = fingerprint
        self._known_hosts = known_hosts

    def missing_host_key(self, client: Any, name: str, key: Any) -> None:
        if self._fingerprint is None:
            raise StoreError(
                f"host key of {name} is unknown: {key.get_name()} {key.fingerprint}",
                hint=f"compare the fingerprint on the host itself; then add to {self._known_hosts}: "
                f"{name} {key.get_name()} {key.get_base64()}",
            )
        if key.fingerprint != self._fingerprint.rstrip("="):
            raise _changed(name, key, f"not the pinned {self._fingerprint}")


def _changed(name: str, key: Any, than: str) -> StoreError:
    return StoreError(
        f"host key of {name} is {key.get_name()} {key.fingerprint}, {than}",
        hint="somebody may be in between. Where the host was set up anew, compare the fingerprint on the host itself, "
        f"remove the old line (ssh-keygen -R {shlex.quote(name)}) or pin the new fingerprint; the new line: "
        f"{name} {key.get_name()} {key.get_base64()}",
    )


def _key(path: Path, passphrase: Secret | None) -> Any:
    """Load a private key. Raises `StoreError` where that cannot be, or where others could read the file."""
    paramiko = library()
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StoreError(f"key {path} can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}")
        return paramiko.PKey.from_path(path, passphrase.reveal().encode() if passphrase else None)
    except OSError as error:
        raise StoreError(f"key {path} cannot be read: {error.strerror or error}") from error
    except (paramiko.PasswordRequiredException, TypeError) as error:
        raise StoreError(f"key {path} has a passphrase", hint="give it as key_passphrase") from error
    except (paramiko.SSHException, paramiko.UnknownKeyType, ValueError) as error:
        hint = "is key_passphrase the right one, and the file a private key?"
        raise StoreError(f"key {path} cannot be used", hint=hint) from error


def _refused(hop: _Hop, error: Exception) -> StoreError:
    paramiko, place = library(), f"{hop.host} port {hop.port}"
    user = hop.user or "the user that runs Pickup"
    if isinstance(error, paramiko.BadAuthenticationType):
        allowed = ", ".join(error.allowed_types)
        return StoreError(f"{place} does not let {user} in: it wants {allowed}", hint="give a key_file or a password")
    if isinstance(error, paramiko.AuthenticationException):
        return StoreError(
            f"{place} does not let {user} in: {error}", hint="try the same with ssh; its log on the host says why"
        )
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        hint = "is its SSH server years old? Keys by SHA-1 (ssh-rsa) and DSA are refused"
        return StoreError(f"{place} and Pickup have no method in common: {error}", hint=hint)
    if "No authentication methods" in str(error):
        return StoreError(f"there is no key and no password for {user} at {place}", hint="give a key_file")
    said = str(error) or type(error).__name__
    return UnreachableError(f"no connection to {place}: {said}", hint="is it an SSH server?")
