"""How the profile `mysql` reaches a server, and as whom: what an option file says of it, and what one says to programs.

An option file is the form that all programs of MariaDB and MySQL read:
https://dev.mysql.com/doc/refman/8.4/en/option-files.html.
"""

import contextlib
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from generator_profiles._mysql_programs import Tool
from pickup_core.api import PickupError, Secret, make_file, secret_file

_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108 - MySQL's default


@dataclass(frozen=True)
class Login:
    """How to reach the server, and as whom: by `socket`, or by `host` and `port`. `certificates` are the files for an
    encrypted connection, None where it need not be one.
    """

    user: str
    password: Secret | None
    host: str | None
    port: int
    socket: Path | None
    certificates: Mapping[str, str] | None

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}" if self.host else f"socket {self.socket}"


def usual_socket(root: Path = Path("/")) -> Path:
    """Give the first of the usual sockets below `root` that is there, or the first of all where none is."""
    sockets = [root / socket.lstrip("/") for socket in _SOCKETS]
    return next(filter(Path.is_socket, sockets), sockets[0])


def system_user() -> str:
    """Give the name of the system user that we are."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise PickupError(f"system user {os.geteuid()} has no name", hint="say which `user` to connect as") from None


def certificates(ca: Path | None, cert: Path | None, key: Path | None) -> dict[str, str]:
    """Give the files by which a server is known, and we by it, under the names that all libraries have for them."""
    import ssl

    usual = ssl.get_default_verify_paths()
    files = {"ca": ca or usual.cafile, "cert": cert, "key": key}
    if files["ca"] is None:
        files["capath"] = usual.capath or usual.openssl_capath
    return {kind: str(path) for kind, path in files.items() if path}


def read_defaults_file(path: Path) -> dict[str, str]:
    """Give what the group `[client]` of an option file says, as the server's own programs read it.

    Raises `PickupError` where it cannot be read, or where others than its owner and root can.
    """
    said: dict[str, str] = {}
    group = ""
    for line in map(str.strip, secret_file(path).reveal().splitlines()):
        if line.startswith("["):
            group = line.strip("[] ")
        elif group == "client" and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            said[name.strip().replace("_", "-")] = _meant(value.strip())
    return said


@contextlib.contextmanager
def options_file(folder: Path, login: Login, tool: Tool) -> Iterator[Path]:
    """Give a private file with what a program needs to connect, so that no password is ever an argument.

    It is handed over as `--defaults-file`: the program reads no other, and connects as PyMySQL does.
    """
    said = {"user": login.user, "password": login.password.reveal() if login.password else ""}
    if login.host:
        said |= {"protocol": "TCP", "host": login.host, "port": str(login.port)}
    else:
        said |= {"protocol": "SOCKET", "socket": str(login.socket)}
    lines = ["[client]"]
    if login.certificates is not None:
        lines += ["ssl-mode=VERIFY_IDENTITY"] if tool.knows("--ssl-mode") else ["ssl", "ssl-verify-server-cert"]
        said |= {f"ssl-{kind}": file for kind, file in login.certificates.items()}
    lines += [f"{name}={written(value)}" for name, value in said.items()]
    path = folder / "client.cnf"
    with open(make_file(path), "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))
    try:
        yield path
    finally:
        path.unlink()


def written(value: str) -> str:
    """Give a value as it is written in an option file."""
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(character, escape)
    return f'"{value}"'


def _meant(value: str) -> str:
    """Give the value that is meant in an option file: without quotes or a comment, its escapes resolved."""
    if value[:1] in ("'", '"') and (found := re.match(r"(['\"])((?:\\.|(?!\1).)*)\1", value)):
        value = found[2]
    else:
        value = re.split(r"\s*#", value)[0]
    escapes = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " "}
    return re.sub(r"\\([ntrbs\\\"'])", lambda found: escapes.get(found[1], found[1]), value)
