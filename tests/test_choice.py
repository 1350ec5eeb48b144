"""Choice: the newest backup that has what is asked for, without failure, and what of it has to be fetched."""

import io
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from pickup_core.catalogue import Backup, Catalogue
from pickup_core.choice import Wish, choose
from pickup_core.manifest import EntryRecord, encode
from pickup_core.wording import names_in_words
from tests.builders import MemoryStore, artefact, entry, manifest

CONTENTS = b"-rw-r--r-- root/root        20 2026-11-22 18:04:11 www/index.html\n"


def stored(store: MemoryStore, started: str, *files: str, other: str = "ok") -> str:
    """Store the manifest of a backup with an archive of files, and an entry that may have failed; give its name."""
    lines = b"".join(CONTENTS.replace(b"www/index.html", name.encode()) for name in files)
    pair = artefact("folder/www/www.tar"), artefact("folder/www/www.contents", lines)
    record = manifest(started, entries=(entry("www", "folder", artefacts=pair), entry("system", status=other)))
    marker = ".json" if record.is_complete else ".partial.json"
    store.put(f"{record.job}/{record.id}{marker}", io.BytesIO(encode(record)))
    store.put(f"{record.job}/{record.id}/folder/www/www.contents", io.BytesIO(lines))
    return record.id


def newest(store: MemoryStore, **wish: tuple[str, ...]) -> str:
    asked = Wish(to=Path("/x"), **wish)
    return Catalogue("memory", store).select("web01", lacks=asked.lacks, which=asked.which).id


def test_a_file_comes_from_the_newest_backup_that_holds_it_whatever_else_failed() -> None:
    """R13: it was the newest complete one once, with an older content."""
    store = MemoryStore()
    complete = stored(store, "2026-11-23 03:15:02", "www/index.html", "www/gone.html")
    partial = stored(store, "2026-11-24 03:15:02", "www/index.html", other="failed")
    assert newest(store) == newest(store, only=("system",)) == complete
    assert newest(store, only=("www",)) == partial
    assert newest(store, paths=("index.html",)) == partial
    assert newest(store, paths=("gone.html",)) == complete
    assert newest(store, paths=("gone.html",), only=("www",)) == complete


def test_a_backup_with_failures_gives_back_what_it_has() -> None:
    lossy = entry("www", "folder", "failed", artefacts=(artefact("folder/www/a.tar"), artefact("folder/www/b.tar")))
    lossy = replace(lossy, artefacts=(lossy.artefacts[0], replace(lossy.artefacts[1], losses=("b is missing",))))
    record = manifest(
        entries=(EntryRecord("web", "folder", "failed", (), ("it went wrong",)), manifest().entries[0], lossy),
    )
    partial = cast(Backup, SimpleNamespace(manifest=record))

    def lacks(*only: str) -> str:
        return Wish(to=Path("/x"), only=only).lacks(partial)

    assert lacks("system") == lacks("www/a.tar") == ""
    for name in ("web", "www", "www/b.tar"):
        assert lacks("system", name) == f"it does not hold {name!r} without failure, but system"
    assert lacks("a.t").endswith(" without failure, but system; of artefacts it holds www/a.tar")
    held = names_in_words([f"system/{each.name}" for each in manifest().entries[0].artefacts])
    assert lacks("system/b").endswith(f" without failure, but system; of artefacts it holds {held}")
    assert lacks() == "it is partial: 'web' failed, 'www' failed; --only ENTRY restores what it holds"


def test_the_choice_among_very_many_artefacts_takes_a_moment(tmp_path: Path) -> None:
    """V7: what comes from a manifest may be long; no step looks through all for each."""
    names = [f"{number:05}" for number in range(10_000)]
    many = [artefact(f"folder/web/{name}.tar", name=f"{name}.tar") for name in names]
    many.append(artefact("folder/web/00000.contents", CONTENTS, name="00000.contents"))
    record, store = manifest(entries=(entry("web", "folder", artefacts=tuple(many)),)), MemoryStore()
    store.put(f"{record.job}/{record.id}.json", io.BytesIO(encode(record)))
    store.put(f"{record.job}/{record.id}/folder/web/00000.contents", io.BytesIO(CONTENTS))
    (backup,) = Catalogue("memory", store).backups(record.job)
    assert len(backup.manifest.entries[0].artefacts) == 10_001
    began = time.process_time()
    assert len(choose(backup, Wish(tmp_path, only=("web", "web/00000.tar")))) == 10_000
    assert len(choose(backup, Wish(tmp_path, only=("web",), paths=("index.html",)))) == 10_000
    assert time.process_time() - began < 2, "it took 20 seconds once"
