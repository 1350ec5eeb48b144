"""Archive folders of another host over SSH, with the tar that is there, and a list of contents beside every archive.

Example entry::

    dict(
        name="web02",
        profile="remote_tar",
        config=dict(host="web02.example.org", user="pickup", path=["/etc", "/var/www"], sudo=True),
    )

The archive comes over the network as it is made; nothing is stored on the other host. That needs a shell and GNU tar
there, a login without a password, and a host key that is known. Names, ports, keys and jump hosts may stand in
``~/.ssh/config``, for it is the program ``ssh`` that connects.

What is kept, ``exclude`` and ``may_change`` are as with the profile ``folder``. So is what counts as a warning and what
as a loss.
"""

import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from generator_profiles._tar import (
    CREATE,
    LISTING,
    Judge,
    exclude_options,
    name_of,
    root_member,
    see_that_patterns_match,
)
from pickup_core.api import (
    ARCHIVE_SUFFIX,
    CONTENTS_SUFFIX,
    HOST,
    TAR_ENVIRONMENT,
    Artefact,
    Judgement,
    Listed,
    Options,
    PickupError,
    Terms,
    failure,
    output_of,
    read_listing,
    short_line,
    ssh_command,
)

API_VERSION = (1, 0)

_ANSWER = "pickup-remote-tar"
_CHILD = Path(__file__).with_name("_remote_tar_child.py")
_NO_OPTIONS = [name for name, value in TAR_ENVIRONMENT.items() if value is None]
_SET = [f"{name}={value}" for name, value in TAR_ENVIRONMENT.items() if value is not None]
_END = re.compile(rb"\0{1024}\Z")  # https://www.gnu.org/software/tar/manual/html_node/Standard.html
_BY_SSH = 255
_NOT_FOUND = 127
_HINTS = [
    ("ost key", "`ssh-keyscan HOST | ssh-keygen -lf -` shows its fingerprint; if that is right, add it to known_hosts"),
    ("denied (publickey", "is the public half of the key in authorized_keys of that user?"),
    ("Could not resolve", "is the name right?"),
    ("Connection refused", "is sshd running there, and is the port right?"),
    ("timed out", "is the host up, and does its firewall let this machine in?"),
    ("a password is required", "sudo wants a password: see NOPASSWD in sudoers(5)"),
    ("sudo", "may that user run tar with sudo? See sudoers(5)"),
]


class Config(Options):
    host: str = Field(pattern=HOST)
    """The host's name or address, or a name that `~/.ssh/config` explains."""
    path: str | list[str]
    """The folder on that host, or several; each begins with `/`."""
    user: str | None = Field(None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    """The user to log in as; by default the one that SSH takes."""
    port: int | None = Field(None, ge=1, le=65535)
    """The port; by default that of SSH."""
    key_file: Path | None = None
    """The file of the private key, without a passphrase; by default those that SSH takes."""
    known_hosts: Path | None = None
    """The file of the only host keys that are trusted; by default those that SSH trusts."""
    sudo: bool = False
    """Run tar as root over there, with `sudo -n`."""
    exclude: list[str] = []
    """Patterns of what is left out."""
    exclude_caches: bool = False
    """Leave out what lies in a folder that has a `CACHEDIR.TAG`."""
    one_file_system: bool = False
    """Stay on the file system of `path`."""
    allow_empty: bool = False
    """Take an empty folder for one that may be empty, and not for a disk that is not mounted there."""
    may_change: list[str] = []
    """Patterns of files that may change or vanish while they are read: they are counted, and not warned about."""
    unreadable: Literal["fail", "warn"] = "fail"
    """What a file or folder that cannot be read is: a loss, which fails the entry, or a warning."""
    program: str = "tar"
    """GNU tar on that host."""
    connect_timeout: int = Field(30, ge=1)
    """How many seconds it may take to be connected."""
    stall: int = Field(900, ge=1)
    """How many seconds may go by without a byte."""

    @property
    def paths(self) -> list[PurePosixPath]:
        """The folders, as a list."""
        return [PurePosixPath(path) for path in (self.path if isinstance(self.path, list) else [self.path])]

    @field_validator("path")
    @classmethod
    def _are_whole_paths(cls, value: str | list[str]) -> str | list[str]:
        paths = value if isinstance(value, list) else [value]
        if not paths:
            raise ValueError("names no folder")
        if any(not path.startswith("/") or ".." in path.split("/") for path in paths):
            raise ValueError("should begin with / and have no .. in it")
        if len({name_of(PurePosixPath(path)) for path in paths}) != len(paths):
            raise ValueError("has two folders of the same name; make an entry for each")
        return value

    @model_validator(mode="after")
    def _patterns_can_match(self) -> "Config":
        see_that_patterns_match(self.exclude, self.may_change, self.paths)
        return self


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    labels = _labels(config)
    for path in config.paths:
        contents = folder / "contents"
        words = [config.program, *CREATE, *labels, "--file=-", f"--directory={path.parent}"]
        words += [option for pattern in config.exclude for option in exclude_options(pattern, path)]
        words += ["--exclude-caches"] * config.exclude_caches + ["--one-file-system"] * config.one_file_system
        words += ["--null", "--verbatim-files-from", "--files-from=-"]
        listing = ["tar", "--list", "--file=-", "--quoting-style=escape", *LISTING]
        child = [sys.executable, "-I", "-S", str(_CHILD), str(contents), *listing]
        terms = Terms(stall=config.stall, stdin=os.fsencode(root_member(path)) + b"\0", env=TAR_ENVIRONMENT)
        output = output_of(_remote(config, words), child, judge=_Judge(config, path, contents), end=_END, terms=terms)
        yield Artefact(name_of(path) + ARCHIVE_SUFFIX, output)
        if output.succeeded:
            yield Artefact(name_of(path) + CONTENTS_SUFFIX, contents.open("rb"))
        contents.unlink(missing_ok=True)


def check(config: Config) -> Iterator[str]:
    """Connect, look for a shell and GNU tar, and see whether each folder can be read."""
    _labels(config)
    version = _answer(config, [config.program, "--version"]).splitlines()[0]
    for path in config.paths:
        words = [config.program, "--create", "--file=/dev/null", "--no-recursion", f"--directory={path.parent}", "--"]
        _answer(config, [*words, root_member(path)])
    yield f"{config.host} has {short_line(version)}"


def _labels(config: Config) -> list[str]:
    """Give the options for ACLs and SELinux labels that the tar over there has. Raises `PickupError` where there is no
    shell, or no GNU tar.
    """
    said = _answer(config, [config.program, "--help"])
    if "GNU" not in said or "--verbatim-files-from" not in said:
        what = f"{config.host}: {config.program} is not GNU tar, or is older than 1.29"
        raise PickupError(what, hint="install GNU tar there, and name it in `program`")
    return [option for option in ("--acls", "--selinux") if option in said]


def _answer(config: Config, words: Sequence[str]) -> str:
    """Give what a command prints over there. A host without a shell may answer with a sentence, so it has to say a word
    first.
    """
    command = _remote(config, words, f"echo {_ANSWER}; ")

    def judge(status: int, lines: Sequence[str]) -> Judgement:
        _see_that_it_came_through(config, status, lines)
        if status != 0:
            raise failure(f"{config.program} on {config.host}", status, lines, _hint(lines))
        return Judgement()

    terms = Terms(stall=3 * config.connect_timeout, env=TAR_ENVIRONMENT)
    with output_of(command, judge=judge, allow_empty=True, terms=terms) as stream:
        said = b"".join(iter(stream.read, b"")).decode("utf-8", "replace")
        before, has_shell, text = said.partition(f"{_ANSWER}\n")
        if said and not has_shell:
            raise PickupError(f"{config.host} has no shell: {short_line(said)}", hint="tar has to be run there")
        if before:
            what = f"the shell of {config.host} prints something of its own: {short_line(before)}"
            raise PickupError(what, hint="its startup files must be silent where there is no terminal")
    return text


def _remote(config: Config, words: Sequence[str], before: str = "") -> list[str]:
    """Give the command that runs another one over there: nothing in that means anything to a shell."""
    env = ["env", *(part for name in _NO_OPTIONS for part in ("-u", name)), *_SET]
    line = before + shlex.join([*env, *(["sudo", "-n"] if config.sudo else []), *words])
    login = ["-l", config.user] if config.user else []
    command = ssh_command(config.port, config.key_file, config.known_hosts, config.connect_timeout)
    return [*command, *login, "--", config.host, line]


class _Judge:
    """Tells what the status means that comes from tar, or from ssh."""

    def __init__(self, config: Config, path: PurePosixPath, contents: Path) -> None:
        self._config = config
        self._path = path
        self._contents = contents
        name = f"{config.program} on {config.host}"
        self._tar = Judge(name, str(path), path, config.may_change, config.unreadable, self._is_folder)

    def __call__(self, status: int, lines: Sequence[str]) -> Judgement:
        _see_that_it_came_through(self._config, status, lines)
        judgement = self._tar(status, lines)
        if not self._contents.exists():
            raise PickupError(f"what came from {self._config.host} is no whole archive")
        if not self._config.allow_empty and self._is_empty():
            what = f"{self._path} on {self._config.host} is empty"
            raise PickupError(what, hint="is it mounted there? If it may be empty, say allow_empty=True")
        return judgement

    def _is_empty(self) -> bool:
        return [line.type for line in itertools.islice(self._listed(), 2)] == ["d"]

    def _is_folder(self, member: str) -> bool:
        return any(line.type == "d" and line.name == member for line in self._listed())

    def _listed(self) -> Iterator[Listed]:
        """Give the list of contents; nothing where there is none, because what came is no whole archive."""
        if self._contents.exists():
            with self._contents.open("rb") as lines:
                yield from read_listing(lines)


def _see_that_it_came_through(config: Config, status: int, lines: Sequence[str]) -> None:
    """Raise `PickupError` for what is no status of tar's."""
    if status == _BY_SSH:
        said = short_line(" ".join(lines)) or "it says nothing"
        raise PickupError(f"{config.host} cannot be reached, or the connection broke: {said}", hint=_hint(lines))
    if status == _NOT_FOUND:
        said = short_line(" ".join(lines))
        raise PickupError(f"{config.host} has no program {config.program}: {said}", hint="install it there")


def _hint(lines: Sequence[str]) -> str:
    text = " ".join(lines)
    return next((hint for mark, hint in _HINTS if re.search(re.escape(mark), text)), "")
