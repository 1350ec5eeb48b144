"""Patterns of files and of names.

Patterns of files: `exclude` and `may_change` of generators, and, at any depth, `find` and `restore --path`.

A pattern without `/` matches a name at any depth. With a leading `/` it is an absolute path on the host, else it is
relative to a folder that the caller names. `*` and `?` stop at `/`, `**` does not, `[a-z]` is one character of a set,
`[!a-z]` one that is not in it. What lies below a matching folder matches too.

Patterns of names, such as those of databases: `*` stands for any text, `?` for one character, all else for itself.
"""

import re
from collections.abc import Iterable


def expression(pattern: str) -> re.Pattern[str]:
    """Give the regular expression of a pattern: it matches a relative path, from its first character on."""
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    return re.compile(f"{anywhere}{_translated(pattern.strip('/'))}(?:/.*)?\\Z", re.DOTALL)


def search_expression(pattern: str) -> re.Pattern[str]:
    """Give the regular expression for looking a file up among member names, which begin with the archived folder's own.

    A pattern without a leading `/` matches at any depth. One with it may be the absolute path on the host, whose first
    parts no member name has, but in an archive of `/` itself, where they begin with a dot; then what is left of it
    begins with a folder's own name, and not with a wildcard.
    """
    if not pattern.startswith("/"):
        return re.compile(f"(?:.*/)?{_translated(pattern.strip('/'))}(?:/.*)?\\Z", re.DOTALL)
    parts = pattern.strip("/").split("/")
    whole = _translated("/".join(parts))
    ends = [_translated("/".join(parts[start:])) for start in range(1, len(parts)) if not _WILD.search(parts[start])]
    return re.compile(f"(?:{'|'.join([f'(?:[.]/)?{whole}', *ends])})(?:/.*)?\\Z", re.DOTALL)


def names_matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Give those of some names that match a pattern of names, in their order; a plain name matches itself."""
    wild = {"*": ".*", "?": "."}
    whole = re.compile("".join(wild.get(character, re.escape(character)) for character in pattern), re.DOTALL)
    return [name for name in names if whole.fullmatch(name)]


_WILD = re.compile(r"[*?\[]")
_PART = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^]]*\]|\\.|.", re.DOTALL)


def _translated(pattern: str) -> str:
    return "".join(_piece(part) for part in _PART.findall(pattern))


def _piece(part: str) -> str:
    if part == "**/":
        return "(?:.*/)?"
    if part == "**":
        return ".*"
    if part == "*":
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if part[0] == "[" and len(part) > 2 and part not in ("[!]", "[^]"):
        return _set(part[1:-1])
    return re.escape(part[1:] if part[0] == "\\" and len(part) == 2 else part)


def _set(inner: str) -> str:
    """Give the regular expression of a set: one character of it, or with `!` in front none of it; never a `/`."""
    is_negated = inner[0] in "!^"
    ranges = re.findall(r"(.)-(.)|(.)", inner[is_negated:], re.DOTALL)
    members = [re.escape(one) if one else f"{re.escape(first)}-{re.escape(last)}"
               for first, last, one in ranges if first <= last]  # fmt: skip
    if is_negated:
        return f"[^/{''.join(members)}]"
    return f"(?!/)[{''.join(members)}]" if members else "(?!)"
