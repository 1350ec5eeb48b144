"""Who writes to a job: one machine should. Two that share one, as clones do, see each other's backups as their own."""

import contextlib
from collections.abc import Sequence

from pickup_core.catalogue import Backup
from pickup_core.errors import PickupError
from pickup_core.wording import local_time

HINT = "give each machine its own JOB"


def another_writer(backups: Sequence[Backup], machine: str) -> str | None:
    """Say which other machine made the newest of these finished backups, of which the newest comes first; None where
    this machine did, or where that cannot be told.

    A manifest is read only of one that no run here began. So is one told of a clone that has this machine's id too.
    """
    newest = next((backup for backup in backups if backup.marker), None)
    memory = newest.catalogue.memory if newest else None
    if newest is None or memory is None or memory.began(newest.job, newest.id):
        return None
    with contextlib.suppress(OSError, PickupError):  # which verify tells; a new backup does not depend on it
        if newest.is_finished:
            host, its_machine = newest.summary.host, newest.summary.machine
            if its_machine != machine or memory.misses(newest.job, newest.id):
                return (
                    f"no run here made the newest backup of job {newest.job}, {newest.id} of "
                    f"{local_time(newest.started)}: a machine with the host name {host} did. Hint: {HINT}; "
                    "where this machine replaces that one, this is said once"
                )
    return None
