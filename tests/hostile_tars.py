"""Archives that try to write outside of the folder that they are unpacked into, or to do other harm.

Each is made header by header, for no library would write it. `corpus` gives them all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

END = bytes(1024)
EVIL = b"evil\n"
BLOCK = 512

# How a restore may end. Whatever it does, nothing may be written outside.
DAMAGE = "damage"
"""It is refused before anything is unpacked."""
HARMLESS = "harmless"
"""It is unpacked, and what comes out lies inside."""
EITHER = "either"
"""It depends on the versions of tar and tarfile which of the three it is."""
FAILS = "fails"
"""It passes the check, and tar cannot unpack it; nothing of it is kept."""


@dataclass(frozen=True)
class Hostile:
    """A hostile entry: its archives in their order, and how its restore ends. `there` are names that come out."""

    name: str
    archives: tuple[bytes, ...]
    ending: str = DAMAGE
    there: tuple[str, ...] = ()


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int | bytes = 0,
    link: bytes = b"",
    mode: int = 0o644,
    uid: int = 0,
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    checksum: bytes | None = None,
    tail: bytes = b"",
) -> bytes:
    """Give a header block (POSIX.1-1988, ustar)."""
    number = size if isinstance(size, bytes) else b"%011o\0" % size
    block = b"".join(
        [
            name[:100].ljust(100, b"\0"),
            b"%07o\0" % mode,
            b"%07o\0" % uid,
            b"%07o\0" % 0,
            number[:12].ljust(12, b"\0"),
            b"%011o\0" % 1_700_000_000,
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            magic,
            b"root".ljust(32, b"\0"),
            b"root".ljust(32, b"\0"),
            b"%07o\0" % device[0],
            b"%07o\0" % device[1],
            (prefix.ljust(155, b"\0") + bytes(12)) if not tail else tail.ljust(167, b"\0"),
        ]
    )
    assert len(block) == BLOCK
    total = b"%06o\0 " % sum(block) if checksum is None else checksum
    return block[:148] + total + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def file(name: bytes, data: bytes = EVIL, **more: object) -> bytes:
    return header(name, size=len(data), **more) + padded(data)  # type: ignore[arg-type]


def folder(name: bytes, mode: int = 0o755) -> bytes:
    return header(name, b"5", mode=mode)


def symlink(name: bytes, to: bytes) -> bytes:
    return header(name, b"2", link=to)


def hard(name: bytes, to: bytes) -> bytes:
    return header(name, b"1", link=to)


def record(key: bytes, value: bytes) -> bytes:
    """Give a record of an extended header, with its own length in front (POSIX.1-2001, pax)."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    data = b"".join(record(key, value) for key, value in records)
    return header(b"PaxHeaders/x", kind, size=len(data)) + padded(data)


def long(text: bytes, kind: bytes = b"L") -> bytes:
    """Give the long name, or with `K` the long link target, of the next member (GNU)."""
    return header(b"././@LongLink", kind, size=len(text), magic=b"ustar  \0") + padded(text)


def huge(size: int) -> bytes:
    """Give a size in base 256 (GNU)."""
    return b"\x80" + size.to_bytes(11, "big")


def corpus(outside: Path) -> Iterator[Hostile]:
    """Give all hostile entries. `outside` is the folder that they aim at; a file `victim` lies in it."""
    out = bytes(outside)
    up = b"../" * 30
    relative_out = up + out.lstrip(b"/")

    def one(name: str, *members: bytes, ending: str = DAMAGE, there: tuple[str, ...] = (), end: bytes = END) -> Hostile:
        return Hostile(name, (b"".join(members) + end,), ending, there)

    yield one("parent", file(b"../evil"))
    yield one("many parents", file(relative_out + b"/evil"))
    yield one("parent in the middle", file(b"a/../../evil"))
    yield one("parents that cancel out", folder(b"a"), file(b"a/../b"))
    yield one("parent behind a dot", file(b"./../evil"))
    yield one("parent at the end", folder(b"a/.."))
    yield one("a folder that is the parent", folder(b"..", 0o777))
    yield one("absolute", file(out + b"/evil"))
    yield one("absolute with two slashes", file(b"/" + out + b"/evil"))
    yield one("an absolute folder", folder(out, 0o777))
    yield one("an absolute folder that is the root", folder(b"/", 0o777), ending=HARMLESS)
    yield one("prefix field with a parent", file(b"evil", prefix=b"../.."))
    yield one("prefix field that is absolute", file(b"evil", prefix=out))
    yield one("a name that fills its field", file(b"../" * 33 + b"e"))

    yield one("file through an absolute link", symlink(b"l", out), file(b"l/evil"))
    yield one("file through a relative link", symlink(b"l", relative_out), file(b"l/evil"))
    yield one("file through a link to the folder above", symlink(b"l", b".."), file(b"l/evil"))
    yield one("file through a link in a folder", folder(b"d"), symlink(b"d/l", out), file(b"d/l/evil"))
    yield one("file through two links", symlink(b"a", out), symlink(b"b", b"a"), file(b"b/evil"))
    yield one("file through a link written otherwise", symlink(b"./l", out), file(b"l//evil"))
    yield one("file through a link with a slash at its end", symlink(b"l/", out), file(b"l/evil"))
    yield one("folder through a link", symlink(b"l", out), folder(b"l/evil"))
    yield one("link through a link", symlink(b"l", out), symlink(b"l/evil", b"victim"))
    yield one("hard link through a link", file(b"f"), symlink(b"l", out), hard(b"l/evil", b"f"))
    yield one("link with a long target", long(relative_out, b"K"), symlink(b"l", b"x"), file(b"l/evil"))
    yield one("link with a target in a pax header", pax((b"linkpath", out)), symlink(b"l", b"x"), file(b"l/evil"))
    yield one("link and then a folder of its name", symlink(b"l", out), folder(b"l"), file(b"l/evil"))
    yield one("folder, link and file of one name", folder(b"l"), symlink(b"l", out), file(b"l/evil"))
    yield one("link and file that come after the file", file(b"l/f"), symlink(b"l", out), file(b"l/evil"))
    yield one("link that is the folder itself", symlink(b".", out), file(b"./evil"))
    yield one("link replaced by a file", symlink(b"l", out + b"/victim"), file(b"l"), ending=HARMLESS, there=("l",))
    yield one("only a link", symlink(b"l", out), ending=HARMLESS, there=("l",))

    yield one("hard link to a file outside", hard(b"h", out + b"/victim"))
    yield one("hard link to a file outside, relative", hard(b"h", relative_out + b"/victim"))
    yield one("hard link and then a file of its name", hard(b"h", out + b"/victim"), file(b"h"))
    yield one("hard link through a link to outside", symlink(b"l", out), hard(b"h", b"l/victim"))
    yield one(
        "hard link with a target in a pax header",
        pax((b"linkpath", out + b"/victim")),
        file(b"x"),
        hard(b"h", b"x"),
        ending=HARMLESS,
    )
    yield one("hard link with its own pax header", file(b"x"), pax((b"linkpath", out + b"/victim")), hard(b"h", b"x"))
    yield one("hard link with a long target", file(b"x"), long(relative_out + b"/victim", b"K"), hard(b"h", b"x"))
    yield one("file through a hard link to a link", symlink(b"s", out), hard(b"h", b"s"), file(b"h/evil"))
    yield one(
        "file over a hard link to a link",
        symlink(b"s", out + b"/victim"),
        hard(b"h", b"s"),
        file(b"h"),
        ending=HARMLESS,
        there=("h",),
    )
    yield one(
        "hard link to a link below", folder(b"d"), symlink(b"d/s", b"../" * 9), hard(b"h", b"d/s"), file(b"h/evil")
    )
    yield one("hard link to itself", hard(b"h", b"h"), ending=FAILS)
    yield one("hard link to the folder above", hard(b"h", b".."))

    yield one("pax name with a parent", pax((b"path", b"../evil")), file(b"safe"))
    yield one("pax name that is absolute", pax((b"path", out + b"/evil")), file(b"safe"))
    yield one("pax name given twice", pax((b"path", b"safe"), (b"path", b"../evil")), file(b"safe"))
    yield one("pax name for all members", pax((b"path", b"../evil"), kind=b"g"), file(b"safe"))
    yield one("pax name with a NUL", pax((b"path", b"safe\0/../../evil")), file(b"safe"))
    yield one("pax name of a sparse file", pax((b"path", b"safe"), (b"GNU.sparse.name", b"../evil")), file(b"safe"))
    yield one(
        "pax name of a sparse file, given first",
        symlink(b"l", out),
        pax((b"GNU.sparse.name", b"l/evil"), (b"path", b"safe")),
        file(b"safe"),
        ending=FAILS,
    )
    yield one("long name with a parent", long(b"../evil\0"), file(b"safe"))
    yield one("long name that is absolute", long(out + b"/evil\0"), file(b"safe"))
    yield one("long name over a pax name", pax((b"path", b"safe")), long(b"../evil\0"), file(b"safe"), ending=EITHER)
    yield one("pax name over a long name", long(b"safe\0"), pax((b"path", b"../evil")), file(b"safe"), ending=EITHER)
    yield one("two long names", long(b"safe\0"), long(b"../evil\0"), file(b"safe"), ending=EITHER)
    yield one("long name with a NUL", long(b"safe\0/../../evil\0"), file(b"x"), ending=HARMLESS, there=("safe",))
    yield one("name with a NUL", file(b"safe\0/../../evil"), ending=HARMLESS, there=("safe",))
    yield one(
        "pax link through a pax name",
        pax((b"linkpath", out)),
        symlink(b"l", b"x"),
        pax((b"path", b"l/evil")),
        file(b"safe"),
    )

    yield one(
        "character device", header(b"zero", b"3", mode=0o666, device=(1, 5)), file(b"f"), ending=HARMLESS, there=("f",)
    )
    yield one(
        "block device", header(b"disk", b"4", mode=0o666, device=(8, 0)), file(b"f"), ending=HARMLESS, there=("f",)
    )
    yield one("device outside", header(out + b"/evil", b"3", device=(1, 5)))
    yield one(
        "device and a folder of its name",
        header(b"d", b"3", device=(1, 5)),
        folder(b"d"),
        file(b"d/f"),
        ending=HARMLESS,
    )
    yield one("FIFO", header(b"fifo", b"6"), ending=HARMLESS, there=("fifo",))
    yield one("setuid file", file(b"shell", mode=0o4755), ending=HARMLESS, there=("shell",))
    yield one(
        "setgid file through a hard link",
        file(b"shell", mode=0o6755),
        hard(b"h", b"shell"),
        ending=HARMLESS,
        there=("shell", "h"),
    )
    yield one(
        "capability",
        pax((b"SCHILY.xattr.security.capability", b"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0")),
        file(b"f"),
        ending=HARMLESS,
        there=("f",),
    )

    yield one("dots and slashes", file(b".//a/./b//c"), ending=HARMLESS, there=("a/b/c",))
    yield one("file and then a folder of its name", file(b"d"), folder(b"d"), file(b"d/f"), ending=HARMLESS)
    yield one("folder and then a file of its name", file(b"d/f"), file(b"d"), ending=FAILS)
    yield one(
        "three files of one name", file(b"f"), file(b"f", b"two"), file(b"./f", b"last"), ending=HARMLESS, there=("f",)
    )
    yield one(
        "backslashes and drives",
        file(b"..\\evil"),
        file(b"C:\\evil"),
        file(b"C:/evil"),
        ending=HARMLESS,
        there=("..\\evil", "C:\\evil", "C:/evil"),
    )
    yield one("names like options", file(b"--to-command=touch evil"), file(b"-x"), ending=HARMLESS, there=("-x",))
    yield one("names with wildcards", file(b"*"), file(b"?"), file(b"[a]"), ending=HARMLESS, there=("*", "?", "[a]"))
    yield one("a name with control characters", file(b"a\nb\x1b[31m\xff"), ending=HARMLESS)
    yield one("an empty name", file(b""))
    yield one("an unknown kind with a parent", header(b"../evil", b"Z", size=5) + padded(EVIL))
    yield one("an unknown kind", header(b"odd", b"Z", size=5) + padded(EVIL), ending=HARMLESS, there=("odd",))
    yield one("a contiguous file with a parent", header(b"../evil", b"7", size=5) + padded(EVIL))
    yield one("a volume label with a parent", header(b"../evil", b"V", magic=b"ustar  \0"), file(b"f"))
    yield one("a continued file with a parent", header(b"../evil", b"M", size=5, magic=b"ustar  \0") + padded(EVIL))
    yield one("a list of a folder to be emptied", header(out, b"D", size=2, magic=b"ustar  \0") + padded(b"\0\0"))

    yield one("size of an exbibyte", header(b"f", size=huge(2**60)) + padded(EVIL))
    yield one("size of more bytes than there are", header(b"f", size=10_000_000) + padded(EVIL))
    yield one("negative size", header(b"f", size=b"\xff" * 12) + padded(EVIL))
    yield one("size that is no number", header(b"f", size=b"nonsense!!!\0") + padded(EVIL))
    yield one("pax size of an exbibyte", pax((b"size", b"%d" % 2**60)), header(b"f", size=5) + padded(EVIL))
    yield one("pax header of a gibibyte", header(b"PaxHeaders/x", b"x", size=2**30) + padded(EVIL))
    yield one("long name of a gibibyte", header(b"././@LongLink", b"L", size=2**30, magic=b"ustar  \0") + padded(EVIL))
    yield one(
        "pax record with a wrong length",
        header(b"PaxHeaders/x", b"x", size=20) + padded(b"999 path=../evil\n"),
        file(b"f"),
    )
    yield one("two thousand pax headers", *[pax((b"comment", b"c"))] * 2000, file(b"f"))
    sparse = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"))
    yield one(
        "sparse file of a pebibyte",
        pax(*sparse, (b"GNU.sparse.realsize", b"%d" % 2**50)),
        file(b"s", padded(b"1\n0\n5\n") + EVIL),
        ending=EITHER,
    )
    yield one(
        "sparse file that leads out",
        pax(*sparse[:2], (b"GNU.sparse.name", b"../evil"), (b"GNU.sparse.realsize", b"5")),
        file(b"s", padded(b"1\n0\n5\n") + EVIL),
    )
    yield one(
        "sparse map that is none", pax(*sparse, (b"GNU.sparse.realsize", b"5")), file(b"s", padded(b"x\ny\nz\n") + EVIL)
    )
    old = bytes(41) + b"%011o\0" % 0 + b"%011o\0" % 5 + bytes(72) + b"\0" + huge(2**50)
    yield one(
        "old sparse file of a pebibyte",
        header(b"s", b"S", size=5, magic=b"ustar  \0", tail=old) + padded(EVIL),
        ending=EITHER,
    )
    yield one("cut off in a header", file(b"f"), file(b"../evil")[:300], end=b"")
    yield one("cut off in a file", file(b"f", bytes(9000))[:2000], end=b"")
    yield one("without an end", file(b"f"), end=b"")
    yield one("nothing at all", end=b"")
    yield one(
        "a header with a wrong checksum before another", file(b"f"), file(b"g", checksum=b"000000\0 "), file(b"../evil")
    )
    yield one("a file behind the end", file(b"f"), END, file(b"../evil"), ending=HARMLESS, there=("f",))
    yield one("a file behind one empty block", file(b"f"), bytes(512), file(b"../evil"), ending=HARMLESS, there=("f",))
    yield one("garbage", b"\x5a" * 5120)

    link, through = symlink(b"l", out) + END, file(b"l/evil") + END
    yield Hostile("link in one archive, file through it in the next", (link, through))
    yield Hostile("link in one archive, folder and file through it in the next", (link, folder(b"l") + through))
    yield Hostile("file in one archive, link in the next", (through, link), FAILS)
    yield Hostile(
        "link in one archive, hard link in the next, file through it in a third",
        (symlink(b"s", out) + END, hard(b"h", b"s") + END, file(b"h/evil") + END),
        FAILS,
    )
    yield Hostile("links of one archive used two archives later", (link, file(b"x") + END, through))
    yield Hostile("hard link to a file of the archive before", (file(b"f") + END, hard(b"h", b"f") + END), FAILS)

    # Python's tarfile and GNU tar read these names differently: only one of the two sees where they lead.
    double = {
        "two long names": long(b"safe\0") + long(b"l/evil\0"),
        "two long names, the other way": long(b"l/evil\0") + long(b"safe\0"),
        "a pax name over a long name": long(b"safe\0") + pax((b"path", b"l/evil")),
        "a long name over a pax name": pax((b"path", b"safe")) + long(b"l/evil\0"),
        "two pax headers": pax((b"path", b"safe")) + pax((b"path", b"l/evil")),
        "the name of a sparse file": pax((b"GNU.sparse.name", b"l/evil"), (b"path", b"safe")),
        "a size that hides a header": pax((b"size", b"512")),
    }
    for what, names in double.items():
        member = names + (file(b"x", file(b"l/evil", b"")) if "hides" in what else file(b"x"))
        yield Hostile(f"link, and a file through it by {what}", (symlink(b"l", out) + member + END,), EITHER)
        yield Hostile(f"link in one archive, a file through it by {what}", (link, member + END), EITHER)
        yield Hostile(f"a file outside by {what}", (member.replace(b"l/evil", b"../evi") + END,), EITHER)
