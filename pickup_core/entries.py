"""Entries: one dict in `GENERATORS` or `TARGETS` each, checked together with its profile.

Every problem becomes a sentence that begins with its place: `GENERATORS[2] 'web' (folder): config.port: ...`.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from pickup_core.artefact import folder_name
from pickup_core.errors import ConfigError, UsageError
from pickup_core.hooks import Hook
from pickup_core.options import Options, parsed
from pickup_core.profiles import config_class, load_profile
from pickup_core.retention import Policy
from pickup_core.secret import redact, speaks_of_secret
from pickup_core.shaping import Shaped
from pickup_core.store import Store
from pickup_core.streams import Compression


def _printable(name: str) -> str:
    if not re.fullmatch(r"[^\x00-\x1f\x7f]{1,100}", name):
        raise ValueError("should be a text of at most 100 characters, without control characters")
    return name


_Name = Annotated[str, AfterValidator(_printable)]


class GeneratorKeys(Options):
    """The keys of an entry in `GENERATORS`."""

    name: _Name
    profile: _Name
    config: dict[str, Any] = Field(default_factory=dict)
    compression: Annotated[Compression, parsed(Compression.parse, Compression)] | None = None
    before: Hook | None = None
    after: Hook | None = None


class TargetKeys(Options):
    """The keys of an entry in `TARGETS`."""

    name: _Name
    profile: _Name
    config: dict[str, Any] = Field(default_factory=dict)
    retention: Policy | None = None
    read_back: bool = False
    optional: bool = False
    retries: int = Field(2, ge=0, le=100)
    bandwidth: int | None = Field(None, ge=1)
    stall: float = Field(240, gt=0)


KINDS_OF_LISTS = {"GENERATORS": "generator", "TARGETS": "target"}
"""The lists of a config, and the kind of profile that the entries of each have."""

Keys = TypeVar("Keys", GeneratorKeys, TargetKeys)
AnyEntry = TypeVar("AnyEntry", "GeneratorEntry", "TargetEntry")


@dataclass(frozen=True)
class Entry(Generic[Keys]):
    """One entry of `GENERATORS` or `TARGETS`: its keys, its profile's module, and its checked options."""

    list_name: ClassVar[str]
    index: int
    keys: Keys
    module: ModuleType
    options: Options

    @property
    def name(self) -> str:
        return self.keys.name

    @property
    def profile(self) -> str:
        return self.keys.profile

    @property
    def label(self) -> str:
        """The entry as it is written in reports and retention: `postgres/main`."""
        return f"{self.profile}/{self.name}"

    @property
    def where(self) -> str:
        """The entry as messages name it."""
        return f"{self.list_name}[{self.index}] {self.name!r} ({self.profile})"


class GeneratorEntry(Entry[GeneratorKeys]):
    """An entry that produces artefacts."""

    list_name = "GENERATORS"

    @property
    def folder(self) -> str:
        """The folder that its artefacts lie in, below a backup's."""
        return f"{folder_name(self.profile)}/{folder_name(self.name)}"


class TargetEntry(Entry[TargetKeys]):
    """An entry that keeps backups."""

    list_name = "TARGETS"

    def store(self) -> Store:
        """Give a new store for this target, not yet open."""
        keys = self.keys
        return Shaped(self.module.Target(self.options), self.label, keys.retries, keys.bandwidth, keys.optional)


def generator_entries(names: Mapping[str, Any], folder: Path, problems: list[str]) -> list[GeneratorEntry]:
    """Give the entries of `GENERATORS` that are without a problem; every problem adds a line to `problems`."""
    return [GeneratorEntry(*parts) for parts in _entries(names, "GENERATORS", GeneratorKeys, folder, problems)]


def target_entries(names: Mapping[str, Any], folder: Path, problems: list[str]) -> list[TargetEntry]:
    """Give the entries of `TARGETS` that are without a problem; every problem adds a line to `problems`."""
    targets = [TargetEntry(*parts) for parts in _entries(names, "TARGETS", TargetKeys, folder, problems)]
    _check_places(targets, problems)
    return targets


def chosen(entries: Sequence[AnyEntry], names: Collection[str]) -> list[AnyEntry]:
    """Give the entries of these names, or all where none is named. Raises `UsageError` for a name that there is not."""
    known = [entry.name for entry in entries]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no entry {name!r} in the config", hint=f"there are: {', '.join(known)}")
    return [entry for entry in entries if not names or entry.name in names]


def place_of(list_name: str, index: int, entry: Mapping[str, Any]) -> str:
    """Give an entry as messages name it, as far as it can be told before it is checked."""
    where = f"{list_name}[{index}]"
    where += f" {entry['name']!r}" if isinstance(entry.get("name"), str) else ""
    return where + (f" ({entry['profile']})" if isinstance(entry.get("profile"), str) else "")


def _entries(
    names: Mapping[str, Any], list_name: str, keys_class: type[Keys], folder: Path, problems: list[str]
) -> Iterator[tuple[int, Keys, ModuleType, Any]]:
    """Give index, keys, module and options of each entry of a list that is without a problem."""
    entries = names.get(list_name)
    if not isinstance(entries, list | tuple) or not entries:
        what = "is missing" if list_name not in names else "is empty" if entries in ([], ()) else "is not a list"
        problems.append(
            f"{list_name} {what}; expected a list of entries such as [dict(name=..., profile=..., config=...)]"
        )
        return
    seen: dict[str, int] = {}
    for index, raw in enumerate(entries):
        if not isinstance(raw, Mapping):
            problems.append(
                f"{list_name}[{index}]: expected dict(name=..., profile=..., config=...), got {type(raw).__name__}"
            )
            continue
        where = place_of(list_name, index, raw)
        keys = validated(keys_class, raw, f"{where}: ", folder, problems)
        module, options = _profile(KINDS_OF_LISTS[list_name], raw, where, folder, problems)
        if keys is None:
            continue
        other = seen.setdefault(folder_name(keys.name).casefold(), index)
        if other != index:
            problems.append(f"{where}: has the same name as {list_name}[{other}], or one that would share its folder")
        elif module is not None and options is not None:
            yield index, keys, module, options


def _profile(
    kind: str, raw: Mapping[str, Any], where: str, folder: Path, problems: list[str]
) -> tuple[ModuleType | None, Options | None]:
    if not isinstance(raw.get("profile"), str) or not isinstance(raw.get("config", {}), Mapping):
        return None, None  # reported with the keys
    try:
        module = load_profile(kind, raw["profile"], folder)
    except ConfigError as error:
        problems.append(f"{where}: {error.message}" + (f". Hint: {error.hint}" if error.hint else ""))
        return None, None
    return module, validated(config_class(module), raw.get("config", {}), f"{where}: config.", folder, problems)


Model = TypeVar("Model", bound=Options)


def validated(
    model: type[Model], values: Mapping[str, Any], prefix: str, folder: Path, problems: list[str]
) -> Model | None:
    """Give the model made of the values, or None and a line in `problems` for everything that is wrong with them."""
    try:
        return model.model_validate(dict(values), context={"folder": folder})
    except ValidationError as error:
        by_place: dict[str, list[str]] = {}
        got: dict[str, str] = {}
        for one in error.errors(include_url=False):
            keys = _place(one, values)
            place = f"{prefix}{'.'.join(keys)}".rstrip(".: ")  # what is wrong may be the whole
            by_place.setdefault(place, []).append(_message(one, keys, model))
            got[place] = _got(one, keys)
        problems += [f"{place}: {' or '.join(dict.fromkeys(said))}{got[place]}" for place, said in by_place.items()]
        return None


def _place(error: Mapping[str, Any], values: Any) -> list[str]:
    """Give the keys and positions that lead to a wrong value, without pydantic's own names for alternatives."""
    place = []
    for position, part in enumerate(error["loc"]):
        is_there = part in values if isinstance(values, Mapping) else isinstance(part, int)
        is_missing = error["type"] == "missing" and part == error["loc"][-1]
        if is_there or is_missing or position == 0:  # a default may be wrong too
            place.append(str(part))
            values = values[part] if is_there else None
    return place


def _message(error: Mapping[str, Any], place: Sequence[str], model: type[Options]) -> str:
    """Say what is wrong with a value."""
    if error["type"] == "extra_forbidden":
        if len(place) > 1 and place[0] != "retention":
            return "unknown key"
        known = list((model if len(place) == 1 else Policy).model_fields)
        close = difflib.get_close_matches(place[-1], known, 1)
        return "unknown key" + (
            f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known) or 'none'}"
        )
    if error["type"] == "missing":
        return "is missing"
    message = re.sub(r"^(Value error, |(Input|String|List) (?=should|is))", "", error["msg"])
    return re.sub(r" for <class 'pathlib[\w.]*'>", "", message)


def _got(error: Mapping[str, Any], place: Sequence[str]) -> str:
    """Say what stands there: not where it could be a secret, and not more than a line of it."""
    value = error["input"]
    if error["type"] in ("missing", "extra_forbidden") or isinstance(value, Mapping | list | tuple):
        return ""
    is_secret = any(map(speaks_of_secret, place))
    return f", got {type(value).__name__ if is_secret else redact(repr(value))[:80]}"


def _check_places(targets: Sequence[TargetEntry], problems: list[str]) -> None:
    seen: dict[str, TargetEntry] = {}
    for target in targets:
        other = seen.setdefault(target.store().place, target)
        if other is not target:
            problems.append(f"{target.where}: is the same place as {other.where}")
