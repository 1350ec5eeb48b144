"""What is backed up in the benchmarks: the same bytes at each call."""

import random
from pathlib import Path

_MANY = 100_000
_MIXED = 40_000


def _words(chance: random.Random) -> list[bytes]:
    return [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)]


def _text(chance: random.Random, words: list[bytes], size: int) -> bytes:
    return b" ".join(chance.choices(words, k=size // 6))[:size]


def many(folder: Path, scale: float) -> Path:
    """Make 100,000 text-like files of 1 to 8 KiB, 250 in a folder, 460 MB in all."""
    chance = random.Random(1)  # noqa: S311 - the same files every time are the point
    words = _words(chance)
    for number in range(int(_MANY * scale)):
        parent = folder / f"{number // 250:04d}"
        parent.mkdir(parents=True, exist_ok=True)
        size = chance.randint(1024, 8192)
        (parent / f"{number:06d}.txt").write_bytes(_text(chance, words, size))
    return folder


def mixed(folder: Path, scale: float) -> Path:
    """Make 40,000 files of some bytes to some MiB, 940 MB in all, a quarter of them incompressible."""
    chance = random.Random(2)  # noqa: S311
    words = _words(chance)
    for number in range(int(_MIXED * scale)):
        parent = folder / f"{number % 97:02d}" / f"{number // 1000:02d}"
        parent.mkdir(parents=True, exist_ok=True)
        size = min(int(chance.lognormvariate(8.8, 1.6)), 8 * 2**20)
        if number % 4:
            data = (b" ".join(chance.choices(words, k=max(1, min(size, 60_000) // 6))) * (size // 60_000 + 1))[:size]
        else:
            data = chance.randbytes(size)
        (parent / f"{number:05d}").write_bytes(data)
    return folder


def large(path: Path, scale: float) -> Path:
    """Make a file of 1 GiB that cannot be compressed."""
    chance = random.Random(3)  # noqa: S311
    with path.open("wb") as file:
        for _ in range(max(1, int(1024 * scale))):
            file.write(chance.randbytes(2**20))
    return path


def small_files(folder: Path, count: int) -> Path:
    """Make so many files of 4 KiB that cannot be compressed."""
    chance = random.Random(4)  # noqa: S311
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04d}").write_bytes(chance.randbytes(4096))
    return folder


def change(folder: Path, every: int) -> None:
    """Write other words, of the same size, into one file of so many."""
    chance = random.Random(5)  # noqa: S311
    words = _words(chance)
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[::every]:
        size = path.stat().st_size
        path.write_bytes(_text(chance, words, size))
