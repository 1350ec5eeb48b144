"""What each guarantee of a backup costs: the bare pipeline, then one thing after another that makes it a backup."""

import shutil
from collections.abc import Generator
from pathlib import Path

from benchmarks.corpora import many, mixed
from benchmarks.measuring import Contest, Contestant, shell, size_of
from benchmarks.parts.tools import TAR, tools


def guarantees(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give a contest for many small files, and one for files of all sizes. The last row is what Pickup takes
    whatever it backs up: to start, and to make and confirm a backup.
    """
    for name, make in (("many", many), ("mixed", mixed)):
        there = folder / name
        source, tiny = make(there / "source", scale), there / "tiny"
        tiny.mkdir()
        (tiny / "file").touch()
        yield Contest(
            f"what each guarantee costs, {name}",
            {**_steps(source, there / "steps"), "Pickup": tools(source, there / "full")["Pickup"].first_night(),
             "Pickup, one empty file": tools(tiny, there / "bare")["Pickup"].first_night()},
        )  # fmt: skip
        shutil.rmtree(there)


def _steps(source: Path, kept: Path) -> dict[str, Contestant]:
    """Give pipelines of which each does what the one before it does, and one thing more."""
    options, end, found = "", "", {}
    for name, option, after in (
        ("tar | zstd, same options", "", ""),
        ("+ synced to the disk", "", "sync archive"),
        ("+ its sha256sum", "", "sha256sum archive > sums"),
        ("+ a list of contents", "-vv --full-time --index-file=$PWD/list", "zstd -q -3 list; sync list.zst"),
    ):
        options, end = f"{options} {option}", f"{end}; {after}" if after else end
        pipeline = f"{TAR}{options} --directory={source.parent} {source.name} | zstd -q -3 -T2 > archive"
        command = shell(f"cd {kept}; {pipeline}{end}")
        found[name] = Contestant(command, before=lambda: _emptied(kept), stored=lambda: size_of(kept))
    return found


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
