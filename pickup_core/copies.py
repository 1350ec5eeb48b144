"""Copies: which backup is the newest at each target that holds an entry as a whole, when a run went badly."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pickup_core.catalogue import Catalogue
from pickup_core.config import Config
from pickup_core.entries import TargetEntry
from pickup_core.history import History
from pickup_core.memory import Memory
from pickup_core.together import at_most

_LONGEST = 30  # seconds, for all targets together


@dataclass(frozen=True)
class Copies:
    """What a target holds: by the label of each entry the name of the newest backup with a good copy of it. `is_seen`
    where the target was looked at, and not only the history.
    """

    newest: Mapping[str, str]
    is_seen: bool


def copies_at(config: Config, targets: Sequence[TargetEntry], labels: Sequence[str]) -> dict[str, Copies]:
    """Give, by the names of the config's targets, what they hold of these entries. `targets` are looked at, all at once
    and for half a minute at most; of the others, and of those that could not be read by then, the history tells.
    """
    found = {target.name: Copies(newest, is_seen=False) for target, newest in _known(config)}
    seen: dict[str, Copies] = {}
    at_most(_LONGEST, {target.name: partial(_look, config, target, labels, seen) for target in targets})
    return found | seen


def _look(config: Config, target: TargetEntry, labels: Sequence[str], seen: dict[str, Copies]) -> None:
    assert config.job is not None
    newest: dict[str, str] = {}
    with target.store() as store:
        for backup in Catalogue(target.name, store, Memory(config.state_folder, is_frozen=True)).backups(config.job):
            if all(label in newest for label in labels):
                break
            if backup.is_finished:
                newest = dict.fromkeys(backup.summary.good, backup.id) | newest
    seen[target.name] = Copies(newest, is_seen=True)


def _known(config: Config) -> Iterable[tuple[TargetEntry, dict[str, str]]]:
    """Give what the history knows to have been brought to each target, by a run or a copy."""
    assert config.job is not None
    history = History(config.state_folder, config.job)
    labels = {record["backup"]: record["sizes"] for record in history.records("run") if "sizes" in record}
    for target in config.targets:
        newest: dict[str, str] = {}
        for name in sorted(history.stored_at(target.store().place)):
            newest |= dict.fromkeys(labels.get(name, ()), name)
        yield target, newest
