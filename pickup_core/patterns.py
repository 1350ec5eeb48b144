"""File name patterns, with one meaning everywhere: `exclude` and `may_change` of generators, `find`, `restore --path`.

A pattern without `/` matches a name at any depth. With a leading `/` it is an absolute path on the host, else it is
relative to a folder that the caller names. `*` and `?` stop at `/`, `**` does not, `[a-z]` is one character of a set.
What lies below a matching folder matches too.
"""

import re


def expression(pattern: str) -> re.Pattern[str]:
    """Give the regular expression of a pattern: it matches a relative path, from its first character on."""
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    return re.compile(f"{anywhere}{_translated(pattern.strip('/'))}(?:/.*)?\\Z", re.DOTALL)


def search_expression(pattern: str) -> re.Pattern[str]:
    """Give the regular expression for looking a file up among member names, which begin with the archived folder's own.

    A pattern without a leading `/` matches at any depth. One with it may be the absolute path on the host, whose first
    parts no member name has.
    """
    if not pattern.startswith("/"):
        return re.compile(f"(?:.*/)?{_translated(pattern.strip('/'))}(?:/.*)?\\Z", re.DOTALL)
    parts = pattern.strip("/").split("/")
    ends = "|".join(_translated("/".join(parts[start:])) for start in range(len(parts)))
    return re.compile(f"(?:{ends})(?:/.*)?\\Z", re.DOTALL)


_PART = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]]*\]|\\.|.", re.DOTALL)


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
    if part[0] == "[" and len(part) > 2:
        inner = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' + inner[1:] if inner.startswith('!') else inner}]"
    return re.escape(part[1:] if len(part) == 2 else part)
