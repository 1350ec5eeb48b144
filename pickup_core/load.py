"""Load: bring artefacts of a backup back to where their generator took them from: into a server, or over a file.

A profile that can do that has a function `restore(config, artefacts, as_name, overwrite)`. Which server it is tells the
entry's `config`, with what the command line sets in it. All that is loaded is spooled and verified before the first of
it is handed to a profile.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pickup_core.artefact import Stored
from pickup_core.catalogue import Backup
from pickup_core.choice import Chosen, space_to_open
from pickup_core.entries import validated
from pickup_core.errors import ConfigError, PickupError, UsageError
from pickup_core.manifest import EntryRecord, StoredArtefact
from pickup_core.options import Options
from pickup_core.profiles import config_class, load_profile
from pickup_core.progress import showing
from pickup_core.restore import opened, uncompressed
from pickup_core.secret import speaks_of_secret
from pickup_core.wording import counted, in_words

log = logging.getLogger("pickup.load")


@dataclass(frozen=True)
class Origin:
    """Where the entries of a backup come from: the dicts of `GENERATORS` as they are written, the folder of the config,
    and the options that the command line sets in place of theirs, or, with an empty text, leaves out.
    """

    entries: Sequence[Mapping[str, Any]]
    folder: Path
    settings: Mapping[str, str]

    def profile(self, entry: EntryRecord) -> ModuleType:
        """Give the profile of an entry. Raises `ConfigError` where it cannot be loaded, and where a module on the
        Python path is named by the backup alone, which somebody else may have written.
        """
        if "." in entry.profile and entry.profile not in [each.get("profile") for each in self.entries]:
            raise ConfigError(
                f"{entry.label}: no entry of the config has the profile {entry.profile!r}, so it is not imported",
                hint="add such an entry to GENERATORS, or --only other entries",
            )
        return load_profile("generator", entry.profile, self.folder)

    def options(self, entry: EntryRecord, module: ModuleType) -> Options:
        """Give the options of an entry. Raises `ConfigError` with all that is wrong with them."""
        raw: Mapping[str, Any] = next(
            (each for each in self.entries if each.get("name") == entry.name and each.get("profile") == entry.profile),
            {},
        )
        config = raw.get("config") or {}
        if not isinstance(config, Mapping):
            raise ConfigError(f"{entry.label}: config is no dictionary", hint="mend the entry in GENERATORS")
        problems: list[str] = []
        known = config_class(module)
        left_out = {key for key, value in self.settings.items() if not value and key in known.model_fields}
        given = {key: value for key, value in {**config, **self.settings}.items() if key not in left_out}
        options = validated(known, given, f"{entry.label}: config.", self.folder, problems)
        if options is None:
            hint = "--set KEY=VALUE sets an option for this restore, --set KEY= leaves one of the config out"
            raise ConfigError(*problems, hint=hint)
        return options


def settings_of(texts: Sequence[str]) -> dict[str, str]:
    """Read `KEY=VALUE` texts. Raises `UsageError` for one that is none, and for a secret: anybody may see it."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--set {text}: expected KEY=VALUE", hint="for example --set host=db2 --set port=5433")
        if speaks_of_secret(key):
            hint = "write it into the config, or into the file that the database's own programs read"
            raise UsageError(f"--set {key}=...: a secret on the command line can be seen by everybody", hint=hint)
        settings[key] = value
    return settings


@dataclass(frozen=True)
class Loadable:
    """An entry of a backup that can be loaded: its artefacts, its options, and its profile's `restore`."""

    entry: EntryRecord
    artefacts: Sequence[StoredArtefact]
    options: Options
    restore: Callable[..., Iterator[str]]

    @property
    def label(self) -> str:
        return self.entry.label


def loadable(chosen: Chosen, origin: Origin, is_asked_for: bool) -> list[Loadable]:
    """Give those of the chosen entries that can be loaded. The others are told, and, where each was asked for by name,
    are a `UsageError`; so is it where none is left. Raises `ConfigError` where a profile cannot be loaded, or may not.
    """
    found: list[Loadable] = []
    by_label: dict[str, list[StoredArtefact]] = {}
    entries = {entry.label: entry for entry, _ in chosen}
    for entry, artefact in chosen:
        by_label.setdefault(entry.label, []).append(artefact)
    for label, artefacts in by_label.items():
        module = origin.profile(entries[label])
        restore = getattr(module, "restore", None)
        if restore is not None:
            found.append(Loadable(entries[label], artefacts, origin.options(entries[label], module), restore))
        elif is_asked_for:
            raise UsageError(f"{label} cannot be loaded into a server", hint="restore --to FOLDER restores it")
        else:
            log.info("%s: left out, as it cannot be loaded into a server; restore --to FOLDER restores it", label)
    if not found:
        raise UsageError("there is nothing in this backup that could be loaded into a server")
    return found


def spooled(backup: Backup, chosen: Sequence[Loadable], folder: Path, room: int) -> dict[str, list[Stored]]:
    """Copy everything that is to be loaded, decrypted, into a private folder, where `room` bytes may be written, and
    give it by the entry's label.

    Raises `DamageError` where a stored file is not what was stored, `PickupError` where room is lacking.
    """
    needed = space_to_open([artefact for each in chosen for artefact in each.artefacts])
    if needed > room:
        what = f"loading takes {in_words(needed)} meanwhile, but {in_words(max(0, room))} may be written to {folder}"
        raise PickupError(what, hint="see STAGING_AREA and MIN_FREE in the config")
    return {
        each.label: [
            Stored(a.name, a.uncompressed_size, functools.partial(uncompressed, a, opened(backup, a, folder)))
            for a in each.artefacts
        ]
        for each in chosen
    }


def load(each: Loadable, artefacts: Sequence[Stored], as_name: str | None, overwrite: bool) -> None:
    """Let the profile load the artefacts; what it says is logged as it goes on. Raises what the profile raises."""
    log.info("%s: loads %s", each.label, counted(len(artefacts), "artefact"))
    with showing(f"loading {each.label}", sum(artefact.size for artefact in artefacts)):
        for sentence in each.restore(each.options, artefacts, as_name, overwrite):
            log.info("  %s", sentence)
