"""Who writes to a job: a run says so where another machine does, also where nothing is ever pruned."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.errors import StoreError
from pickup_core.history import History
from pickup_core.memory import Memory
from pickup_core.wording import local_time
from pickup_core.writers import another_writer
from tests.builders import MemoryStore
from tests.places import JOB, MACHINE, NIGHT, Watched, make_backup, store_backup

OTHER = "f" * 16


def told(store: MemoryStore | Watched, folder: Path) -> str | None:
    """Give what a machine says whose state lies in this folder."""
    return another_writer(Catalogue("there", store, Memory(folder / "state")).backups(JOB), MACHINE)


def nights(store: MemoryStore | Watched, folder: Path, machines: Sequence[str], begun: Sequence[int] = ()) -> list[str]:
    """Store a backup a night, each of a machine; those of the numbers in `begun` were begun by runs here."""
    names = []
    for number, machine in enumerate(machines):
        made = make_backup(folder / f"night {number}", NIGHT + timedelta(days=number), machine=machine)
        store_backup(store, made)
        names.append(made.manifest.id)
        if number in begun:
            History(folder / "state", JOB).add("start", backup=made.manifest.id)
    return names


def test_the_newest_backup_of_another_machine_is_told(tmp_path: Path) -> None:
    """R19: a clone, or a host of the same name."""
    store = MemoryStore()
    *_, newest = nights(store, tmp_path, [MACHINE, OTHER], begun=[0])
    assert told(store, tmp_path) == (
        f"no run here made the newest backup of job {JOB}, {newest} of {local_time(NIGHT + timedelta(days=1))}: a machine "
        f"with the host name {JOB}.example.org did. Hint: give each machine its own JOB; where this machine replaces that "
        "one, this is said once"
    )


def test_a_clone_with_this_machines_id_is_told(tmp_path: Path) -> None:
    """R19: /etc/machine-id was cloned with the rest; only this machine's history tells the two apart."""
    store = MemoryStore()
    nights(store, tmp_path, [MACHINE, MACHINE], begun=[0])
    assert "no run here made the newest backup" in (told(store, tmp_path) or "")


@pytest.mark.parametrize(
    ("machines", "begun"),
    [
        ([], []),
        ([MACHINE, MACHINE], [0, 1]),
        ([OTHER, MACHINE], [1]),
        ([MACHINE, MACHINE], []),
    ],
    ids=["none", "all from here", "one that was replaced", "a state folder that was lost"],
)
def test_where_this_machine_made_the_newest_nothing_is_said(
    tmp_path: Path, machines: list[str], begun: list[int]
) -> None:
    store = MemoryStore()
    nights(store, tmp_path, machines, begun)
    assert told(store, tmp_path) is None


def test_what_a_run_here_began_costs_no_question(tmp_path: Path) -> None:
    """The listing is all that is asked for."""
    store = Watched(MemoryStore())
    nights(store, tmp_path, [MACHINE, MACHINE], begun=[0, 1])
    store.calls.clear()
    assert told(store, tmp_path) is None
    assert store.calls == [("listdir", JOB)]


def test_a_manifest_that_cannot_be_read_stops_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    nights(store, tmp_path, [MACHINE, OTHER], begun=[0])

    def broken(path: str) -> None:
        raise StoreError("broken")

    monkeypatch.setattr(store, "get", broken)
    assert told(store, tmp_path) is None
