"""Secrets: where they come from, and how they stay unseen.

A config writes `password=secret_file("db.password")` instead of the password. Whatever Pickup logs, prints or stores
goes through `redact`, which knows every secret that was made, also as URLs, shells, JSON and base64 write it.
"""

import base64
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pickup_core.errors import ConfigError

MASK = "***"
_SHORTEST_REDACTED = 4
_SPEAKING_NAME = re.compile(
    r"((\A|_|db|ftp|smtp|user)pass|password|passwd|pwd|passphrase|secret|token|heartbeat_url"
    r"|(api|access|secret|account|encryption|master|private|signing)_?key|(?-i:[A-Z0-9]_KEY))s?\d*\Z",
    re.IGNORECASE,
)
_SPEAKING_PLACE = re.compile(
    r"\b\w+://[^/\s:@]*:(?P<address>[^/\s@]+)@"
    r"|(?:\A|(?<=[\s;]))-u\s+\w+:(?P<login>[^\s'\"]+)"
    r"|Authorization:\s*\w+\s+(?P<header>[^\s'\"]+)"
    r"|[?&](?:token|key|secret|password|sig)=(?P<query>[^&\s'\"]+)"
    r"|(?<![\w-])--[\w-]*(?:password|passwd|passphrase|secret|token|api-?key)"
    r"(?:=|\s+)['\"]?(?P<option>[^\s'\"-][^\s'\"]*)"
    r"|\b\w*(?:password|passwd|passphrase|(?-i:PASS|PWD|SECRET|TOKEN|_KEY))=['\"]?(?P<variable>[^\s'\"]+)",
    re.IGNORECASE,
)
SECRET_FOLLOWS = re.compile(r"--?[\w-]*(password|passwd|passphrase|secret|token|api-?key)\Z", re.IGNORECASE)
"""An option whose next word is a secret."""

# The one piece of state that a module holds: a secret has to be masked in messages of code that never saw the config.
_spellings: dict[str, None] = {}
_environment_names: set[str] = set()


class Secret:
    """A text that is never shown: its `str`, `repr` and `format` are `***`. `reveal()` gives the text."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _remember(value)

    def reveal(self) -> str:
        """Give the text itself; to be called where it is handed over, and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        from_text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strict=True))
        return core_schema.union_schema([core_schema.is_instance_schema(cls), from_text])


def secret_file(path: str | Path) -> Secret:
    """Give the content of a file, without the line end, as a secret; a relative path is relative to the config file.

    Raises `ConfigError` where it cannot be read, or where anyone but its owner and root could read it.
    """
    config = sys.modules.get("pickup_config")  # the config that is being loaded
    folder = Path(config.__file__ or "").parent if config else Path()
    path = folder / Path(path).expanduser()
    try:
        with open(path, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o077:
                raise ConfigError(
                    f"secret file {path} can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}"
                )
            return _some_secret(file.read().rstrip("\r\n"), f"secret file {path}")
    except UnicodeDecodeError:
        raise ConfigError(f"secret file {path} is no text in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"secret file {path} cannot be read: {error.strerror or error}") from None


def secret_env(name: str) -> Secret:
    """Give the value of an environment variable as a secret; child processes do not inherit that variable.

    Raises `ConfigError` where it is not set.
    """
    if name not in os.environ:
        raise ConfigError(f"environment variable {name} is not set, but the config reads a secret from it")
    _environment_names.add(name)
    return _some_secret(os.environ[name], f"environment variable {name}")


def secret_command(command: str | Sequence[str], timeout: float = 30) -> Secret:
    """Give the standard output of a command, without the line end, as a secret; `timeout` is in seconds. A text is
    split into words as a shell does it.

    Raises `ConfigError` where the command cannot be started, fails or takes longer; what it printed is not shown.
    """
    words = shlex.split(command) if isinstance(command, str) else list(command)
    if not words:
        raise ConfigError("secret_command names no program")
    limit = signal.alarm(0)  # this command has its own time, beside that for the config as a whole
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False, env=clean_environment()
        )
        value = done.stdout.decode().rstrip("\r\n")
    except subprocess.TimeoutExpired:
        raise ConfigError(f"secret command {words[0]!r} took longer than {timeout:g} seconds") from None
    except UnicodeDecodeError:
        raise ConfigError(f"secret command {words[0]!r} printed no text in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"secret command {words[0]!r} cannot be started: {error.strerror or error}") from None
    finally:
        signal.alarm(limit)
    if done.returncode != 0 or not value:
        raise ConfigError(f"secret command {words[0]!r} ended with status {done.returncode} and no secret")
    return Secret(value)


def secret_credential(name: str) -> Secret:
    """Give a credential that systemd handed over (`LoadCredential=`, see systemd.exec(5)) as a secret.

    Raises `ConfigError` where Pickup was not started by systemd with this credential.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None or "/" in name:
        raise ConfigError(f"no systemd credential {name!r}", hint=f"add LoadCredential={name}:FILE to the service")
    try:
        value = (Path(folder) / name).read_text(encoding="utf-8").rstrip("\r\n")
        return _some_secret(value, f"systemd credential {name!r}")
    except UnicodeDecodeError:
        raise ConfigError(f"systemd credential {name!r} is no text in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"systemd credential {name!r} cannot be read: {error.strerror or error}") from None


def _some_secret(value: str, where: str) -> Secret:
    if not value:
        raise ConfigError(f"{where} is empty, but the config reads a secret from it")
    return Secret(value)


def redact(text: str) -> str:
    """Give the text with every known secret of four characters or more replaced by `***`."""
    for spelling in list(_spellings):
        if spelling in text:
            text = text.replace(spelling, MASK)
    return text


def is_known_secret(text: str) -> bool:
    """Tell whether a text is a secret of four characters or more, in any of its spellings."""
    return text in _spellings


def clean_environment() -> dict[str, str]:
    """Give the environment for child processes: ours, less what is or held a secret or could change what a child
    loads.
    """
    hidden = _environment_names | {"CREDENTIALS_DIRECTORY"} | {k for k, v in os.environ.items() if is_known_secret(v)}
    return {k: v for k, v in os.environ.items() if k not in hidden and not k.startswith(("PYTHON", "LD_"))}


def speaks_of_secret(name: str) -> bool:
    """Tell whether a name like `password` or `API_TOKEN` says that a secret stands under it."""
    return bool(_SPEAKING_NAME.search(name))


def secrets_in(text: str) -> list[str]:
    """List the secrets that stand in a text at a place which speaks of one: in an address (`ftp://web:SECRET@nas/`), an
    option (`--password=SECRET`), or a variable (`PGPASSWORD=SECRET`).
    """
    return [found[found.lastgroup or 0] for found in _SPEAKING_PLACE.finditer(text)]


def _remember(value: str) -> None:
    """Note the spellings under which a secret could appear in a message, the longest first."""
    if len(value) < _SHORTEST_REDACTED:
        return
    encoded = base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
    for_urls = encoded.translate({ord("+"): "-", ord("/"): "_"})
    quoted = urllib.parse.quote(value, safe="", errors="surrogateescape")
    form = urllib.parse.quote_plus(value, errors="surrogateescape")
    spellings = {value, encoded, encoded.rstrip("="), for_urls, for_urls.rstrip("="), quoted, form, shlex.quote(value),
                 urllib.parse.quote(value, errors="surrogateescape"),
                 repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}  # fmt: skip
    known = sorted({*_spellings, *spellings}, key=len, reverse=True)
    _spellings.clear()
    _spellings.update(dict.fromkeys(known))
