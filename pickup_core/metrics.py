"""Metrics: how the last run went and when each entry and target last went well, for node_exporter's textfile collector.

The file is made anew after each run, from the history, so that one that fails takes nothing away. Its format is that of
https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pickup_core.config import Config
from pickup_core.history import History, Record
from pickup_core.secret import redact
from pickup_core.trust import replacing

_HELP = {
    "pickup_last_run_timestamp_seconds": "When the last run ended.",
    "pickup_last_run_duration_seconds": "How long the last run took.",
    "pickup_last_run_exit_code": "The exit code of the last run: 0 and 1 mean that a backup was stored.",
    "pickup_entry_last_success_timestamp_seconds": "When the last run ended that stored the entry whole; 0: never.",
    "pickup_entry_duration_seconds": "How long the entry took in that run.",
    "pickup_entry_bytes": "How many bytes of the entry that run stored.",
    "pickup_target_last_success_timestamp_seconds": "When the last run ended that stored its backup there; 0: never.",
    "pickup_target_duration_seconds": "How long that run was at work on the target.",
    "pickup_target_bytes": "The size of the backup that it stored there.",
}

Sample = tuple[str, dict[str, str], float]


def write_metrics(path: Path, config: Config, exit_code: int, seconds: float, now: datetime) -> None:
    """Replace the metrics file, in one step, and let everybody read it: node_exporter is another user, and there is no
    secret in it. Raises `OSError`.
    """
    text = exposition(samples(config, exit_code, seconds, now))
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
        os.fchmod(file.fileno(), 0o644)


def check_metrics(path: Path) -> None:
    """See whether the file could be written. Raises `OSError` where its folder is absent, or not for us to write to."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        state = "cannot be written to" if path.parent.is_dir() else "is no folder"
        raise OSError(f"{path.parent} {state}")
    if path.is_dir():
        raise OSError(f"{path} is a folder")


def samples(config: Config, exit_code: int, seconds: float, now: datetime) -> Iterator[Sample]:
    """Give what is known after a run: of the run itself, and from the history of all entries and targets there are."""
    assert config.job is not None
    job = {"job": config.job}
    yield "pickup_last_run_timestamp_seconds", job, int(now.timestamp())
    yield "pickup_last_run_duration_seconds", job, round(seconds, 3)
    yield "pickup_last_run_exit_code", job, exit_code
    stored = [record for record in History(config.state_folder, config.job).records("run") if record.get("places")]
    for entry in config.generators:
        last = _last(record for record in stored if entry.label in record.get("sizes", {}))
        size = sum(last["sizes"][entry.label].values()) if last else None
        yield from _of("entry", entry.label, job, last, size, last.get("entry_seconds", {}).get(entry.label))
    for target in config.targets:
        place = target.store().place
        last = _last(record for record in stored if place in record["places"])
        seconds_there = last.get("target_seconds", {}).get(target.name)
        yield from _of("target", target.name, job, last, last.get("size"), seconds_there)


def exposition(found: Iterator[Sample]) -> str:
    """Give samples as Prometheus reads them, those of one name together."""
    by_name: dict[str, list[str]] = {}
    for name, labels, value in found:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        by_name.setdefault(name, []).append(f"{name}{{{inside}}} {value}\n")
    return "".join(f"# HELP {n} {_HELP[n]}\n# TYPE {n} gauge\n{''.join(lines)}" for n, lines in by_name.items())


def _of(what: str, name: str, job: dict[str, str], last: Record, size: Any, seconds: Any) -> Iterator[Sample]:
    labels = {**job, what: name}
    ended = datetime.fromisoformat(last["time"]).timestamp() if last else 0
    yield f"pickup_{what}_last_success_timestamp_seconds", labels, int(ended)
    for fact, value in (("bytes", size), ("duration_seconds", seconds)):
        if value is not None:  # a run of an earlier version did not note it
            yield f"pickup_{what}_{fact}", labels, value


def _last(records: Iterator[Record]) -> Record:
    last: Record = {}
    for last in records:  # noqa: B007 - the last one
        pass
    return last


def _escaped(text: str) -> str:
    return redact(text).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
