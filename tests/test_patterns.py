"""Patterns of files and of names: one meaning everywhere, for files the one that GNU tar gives them too."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pickup_core.patterns import expression, names_matching, search_expression


def matches(pattern: str, path: str) -> bool:
    return expression(pattern).match(path) is not None


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.tmp", "a.tmp", True),
        ("*.tmp", "a/b/c.tmp", True),
        ("*.tmp", "a.tmpx", False),
        ("cache", "a/cache/b", True),
        ("cache", "a/cached", False),
        ("a/*.tmp", "a/x.tmp", True),
        ("a/*.tmp", "a/b/x.tmp", False),
        ("a/*.tmp", "z/a/x.tmp", False),
        ("a/**", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/x/y/c", True),
        ("a/**/c", "a/xc", False),
        ("**/c", "c", True),
        ("**/c", "x/y/c", True),
        ("?", "x", True),
        ("?", "xy", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("a[!x]b", "a/b", False),
        ("a[/]b", "a/b", False),
        ("[a-c]x", "bx", True),
        ("[a-c]x", "dx", False),
        ("[!a-c]x", "dx", True),
        ("[^a-c]x", "bx", False),
        ("[]a]x", "]x", True),
        ("[!]a]x", "]x", False),
        ("[!^]x", "^x", False),
        ("[a-]x", "-x", True),
        ("[c-a]x", "bx", False),
        ("[[a]x", "[x", True),
        ("[", "[", True),
        ("[]", "[]", True),
        ("[]", "]", False),
        ("[!]", "[!]", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a\\", "a\\", True),
        ("a.b", "axb", False),
        ("a\nb", "a\nb", True),
        ("*", "a\nb", True),
        ("A", "a", False),
        ("/a/", "a/b", True),
    ],
)
def test_a_pattern_matches_what_the_manual_says(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


@given(st.text("ab*?[]!^-/\\&|~\n.") | st.text())
@example("[z-a]")
@example("[a--b]")
@example("[a&&b||c~~d]")
def test_every_text_is_a_pattern(text: str) -> None:
    """Warnings of the regular expression module are errors here."""
    expression(text)
    search_expression(text)


@given(st.text(st.characters(exclude_characters="/"), min_size=1))
def test_an_escaped_name_matches_itself_alone(name: str) -> None:
    pattern = re.sub(r"([*?\[\\])", r"\\\1", name)
    assert matches(pattern, name)
    assert matches(pattern, f"x/{name}/y")
    assert not matches(pattern, f"{name}x")
    assert not matches(pattern, f"x{name}")


def slowly(pattern: str, path: str) -> bool:
    """Match a pattern without sets against a whole path, one character after the other."""
    if not pattern:
        return not path
    if pattern.startswith("**/"):
        return any(slowly(pattern[3:], path[i:]) for i in range(len(path) + 1) if i == 0 or path[i - 1] == "/")
    if pattern.startswith("**"):
        return any(slowly(pattern[2:], path[i:]) for i in range(len(path) + 1))
    if pattern[0] == "*":
        return any(slowly(pattern[1:], path[i:]) for i in range(len(path) + 1) if "/" not in path[:i])
    return (
        bool(path)
        and (pattern[0] == path[0] or (pattern[0] == "?" and path[0] != "/"))
        and slowly(pattern[1:], path[1:])
    )


PATHS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@given(st.text("ab*?/", min_size=1, max_size=8).filter(lambda text: text.strip("/")), PATHS)
def test_a_pattern_matches_a_path_or_a_folder_above_it(pattern: str, path: str) -> None:
    parts = path.split("/")
    starts = range(len(parts)) if "/" not in pattern else [0]
    pieces = ["/".join(parts[start:end]) for start in starts for end in range(start + 1, len(parts) + 1)]
    expected = any(slowly(pattern.strip("/"), piece) for piece in pieces)
    if "**" not in pattern:
        assert matches(pattern, path) == expected
    else:  # what ** leaves over may be empty, or end with a slash
        assert matches(pattern, path) >= expected


@pytest.mark.parametrize(
    "pattern",
    ["*.x", "?", "[ab]", "[!ab]", "[^ab]", "[a-c]*", "[]a]", "[!]a]", "[c-a]", "[a-]", "a[!b]c", "[[]", "\\*", "[!-]"],
)
def test_gnu_tar_leaves_out_what_a_pattern_matches(tmp_path: Path, pattern: str) -> None:
    names = ["a", "b", "c", "d", "-", "]", "[", "*", "!", "^", "ab", "a.x", "x.xx", "abc", "acc"]
    (tmp_path / "top/a").mkdir(parents=True)
    for name in names[1:]:
        (tmp_path / "top/a" / name).touch()
    options = ["--wildcards", "--no-anchored", "--no-wildcards-match-slash", f"--exclude={pattern}", "--file=/dev/null"]
    listed = subprocess.run(
        ["tar", "-cv", *options, "top"], cwd=tmp_path, capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    kept = {line.strip("/") for line in listed.stdout.splitlines()}
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert kept == {path for path in there if not matches(pattern, path)}


@pytest.mark.parametrize(
    ("pattern", "member", "expected"),
    [
        ("index.html", "www/site/index.html", True),
        ("site/index.html", "www/site/index.html", True),
        ("/var/www/site/index.html", "www/site/index.html", True),
        ("/var/www/site", "www/site/index.html", True),
        ("/var/www/*.html", "www/x.html", True),
        ("/var/www/other", "www/site/index.html", False),
        ("/var/www/site", "backup/www/site", False),
        ("site", "sites/x", False),
        ("**/x", "a/b/x", True),
    ],
)
def test_a_file_is_found_by_its_name_or_its_path_on_the_host(pattern: str, member: str, expected: bool) -> None:
    assert (search_expression(pattern).match(member) is not None) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["shop", "Shop", "shop_2", "[s]hop", "a\nb", "a/b", "*"]),
        ("shop", ["shop"]),
        ("shop*", ["shop", "shop_2"]),
        ("?hop", ["shop", "Shop"]),
        ("[s]hop", ["[s]hop"]),
        ("a?b", ["a\nb", "a/b"]),
        ("sho", []),
        ("hop_2", []),
        ("", []),
    ],
)
def test_a_pattern_of_names_matches_whole_names(pattern: str, expected: list[str]) -> None:
    """G18: whatever a name holds; only `*` and `?` have a meaning."""
    assert names_matching(pattern, ["shop", "Shop", "shop_2", "[s]hop", "a\nb", "a/b", "*"]) == expected
