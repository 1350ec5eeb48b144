"""The history: one line of JSON per run, copy, verify, restore, prune and delete, in the state folder, and one for each
start of a run, so that a run which was killed is told too, and its name not used again.

Estimates, the first run's right to make a target's root, and the digests that show an exchanged manifest all come from
here. Losing it loses no backup.
"""

import json
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pickup_core.errors import ConfigError, ExitCode
from pickup_core.trust import private_folder

log = logging.getLogger("pickup.history")

Record = dict[str, Any]


class History:
    """The history of one job. Reading passes over lines that are torn."""

    def __init__(self, state_folder: Path, job: str) -> None:
        self._path = state_folder / f"{job}.history.jsonl"

    def add(self, kind: str, **facts: Any) -> None:
        """Append a line: what happened, when, and the given facts. A line that cannot be written is a warning."""
        record = {"kind": kind, "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **facts}
        try:
            private_folder(self._path.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(self._path, flags, 0o600), "rb+", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                is_torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
                line = b"\n" * is_torn + json.dumps(record).encode() + b"\n"
                if file.write(line) != len(line):
                    raise OSError("the disk is full")
        except (OSError, ConfigError) as error:
            log.warning("history %s could not be written: %s", self._path, getattr(error, "strerror", None) or error)

    def records(self, *kinds: str) -> Iterator[Record]:
        """Give the records of these kinds, the oldest first."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("history %s cannot be read: %s", self._path, error.strerror or error)
            return
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("kind") in kinds:
                yield record

    def last_sizes(self, fact: str = "sizes") -> dict[str, dict[str, int]]:
        """Give, for each generator entry, the size in bytes of each artefact when it last went well: `sizes` as they
        were stored, `uncompressed` as they were read.
        """
        sizes: dict[str, dict[str, int]] = {}
        for record in self.records("run"):
            sizes.update(record.get(fact, {}))
        return sizes

    def manifest_digests(self) -> dict[str, set[str]]:
        """Give, by the names of backups, the SHA-256 of each manifest that a run here wrote."""
        digests: dict[str, set[str]] = {}
        for record in self.records("run"):
            if "backup" in record and "manifest" in record:
                digests.setdefault(record["backup"], set()).add(record["manifest"])
        return digests

    def begun(self) -> set[str]:
        """Give the names of the backups that runs here began, and of those that somebody has said are theirs."""
        return {record["backup"] for record in self.records("start", "adopted")}

    def last_backup(self) -> str | None:
        """Give the name of the backup that the last run here began."""
        return next((record["backup"] for record in reversed(list(self.records("start")))), None)

    def has_recovered(self, backup: str) -> bool:
        """Tell whether the run that made this backup is the first whole one to go well since one failed or was killed.
        A whole one leaves out no entry and no target. That this one went well is for the caller to know.
        """
        ends = {record["backup"]: record for record in self.records("run") if "backup" in record}
        if not _is_whole(ends.get(backup, {})):
            return False
        for start in reversed([record for record in self.records("start") if record["backup"] != backup]):
            end = ends.get(start["backup"], {})
            if end.get("exit") not in (ExitCode.OK, ExitCode.WARNINGS):
                return True
            if _is_whole(end):
                return False
        return False

    def stored_at(self, place: str) -> set[str]:
        """Give the names of the backups that a run or a copy here has brought to a place, and that nothing here has
        deleted there since.
        """
        stored: set[str] = set()
        for record in self.records("run", "copy", "delete", "prune"):
            if place in record.get("places", ()):
                stored.add(record["backup"])
            elif record.get("place") == place and record["kind"] == "delete":
                stored.discard(record["backup"])
            elif record.get("place") == place and record["kind"] == "prune":
                stored.difference_update(record["deleted"])
        return stored

    def knows_place(self, place: str) -> bool:
        """Tell whether a run or a copy here has stored a backup in this place before."""
        return any(place in record.get("places", ()) for record in self.records("run", "copy"))


def _is_whole(record: Record) -> bool:
    return not record.get("only") and not record.get("targets")
