"""Keep what a command prints: a list of packages, a configuration, a dump that a program of your own makes.

Example entry::

    dict(
        name="packages",
        profile="command",
        config=dict(command=["dpkg", "--get-selections"], filename="packages.txt"),
    )

There is no shell between: a text is split into words as a shell would do it, and nothing else of it is interpreted.
What the command writes to its standard error goes to the log.
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from pickup_core.api import Artefact, Found, Options, PickupError, Secret, Terms, output_of, require_program

API_VERSION = (1, 0)

_PACKAGES = {"dpkg": ["dpkg", "--get-selections"], "rpm": ["rpm", "--query", "--all"]}


class Config(Options):
    command: list[str] | str
    """The program and its arguments, as a list; or as a text that is split into words as a shell does it."""
    filename: str = Field("output", min_length=1)
    """The name of the artefact."""
    shell: bool = False
    """Hand `command`, which must be a text, to `/bin/sh -c`. Only needed for pipes and the like."""
    success_codes: list[int] = Field([0], min_length=1)
    """The exit statuses with which the command has done its work."""
    cwd: Path = Path(".")
    """The folder that the command runs in; by default that of the config file."""
    env: dict[str, str | Secret] = {}
    """Variables that are added to the environment of this command alone."""
    timeout: float | None = Field(None, gt=0)
    """After how many seconds the command is stopped."""
    stall: float = Field(900, gt=0)
    """After how many seconds without any output the command is stopped."""
    allow_empty: bool = False
    """Take a command that prints nothing for one that went well."""

    @field_validator("env")
    @classmethod
    def _are_variables(cls, env: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name in env:
            if not name or "=" in name:
                raise ValueError(f"{name!r} is no name that a variable can have")
        return env

    @model_validator(mode="after")
    def _is_something(self) -> "Config":
        if self.shell and not isinstance(self.command, str):
            raise ValueError("shell=True needs the command as one text")
        try:
            names_none = not self.command or not self.words or not self.words[0]
        except ValueError as error:
            raise ValueError(f"command: {error}") from error
        if names_none:
            raise ValueError("command: should name a program")
        return self

    @property
    def words(self) -> list[str]:
        """The command as a list."""
        if not isinstance(self.command, str):
            return self.command
        return ["/bin/sh", "-c", self.command] if self.shell else shlex.split(self.command)


def run(config: Config, folder: Path) -> Iterator[Artefact]:
    terms = Terms(stall=config.stall, timeout=config.timeout, env=config.env, cwd=config.cwd)
    source = output_of(config.words, success_codes=config.success_codes, allow_empty=config.allow_empty, terms=terms)
    yield Artefact(config.filename, source)


def check(config: Config) -> None:
    """See whether the program is there, and its folder. It is not run: it could do anything."""
    if not config.cwd.is_dir():
        raise PickupError(f"folder {config.cwd}, in which {config.words[0]} should run, does not exist")
    if "PATH" not in config.env:
        require_program(str(config.cwd / config.words[0]) if "/" in config.words[0] else config.words[0])


def discover(root: Path, without: Sequence[Path]) -> Iterator[Found]:
    """Find the first of the known package managers."""
    for program, command in _PACKAGES.items():
        if (root / "usr/bin" / program).exists():
            yield Found("packages", {"command": command, "filename": "packages.txt"}, "The installed packages.")
            return
