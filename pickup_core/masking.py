"""Masking: the config's source without the secrets that are written in it, as it is stored with each backup."""

import ast
import io
import itertools
import re
import tokenize
from collections.abc import Iterator

from pickup_core.secret import MASK, SECRET_FOLLOWS, Secret, is_known_secret, redact, secrets_in, speaks_of_secret

_COMMENTED = re.compile(r"(\w+)[\"']?\]?\s*[=:]\s*([\"'])(.+?)\2")


_ADDRESS = re.compile(r"([\"'])(\w[\w+.-]*://[^\s\"']+)\1")
_OF_A_SERVICE = re.compile(r"\b(NOTIFY|HEARTBEAT_URL|url)\b")


def masked_source(source: str) -> str:
    """Give Python source with every secret in it masked: known values, literals under a name like `password`, and what
    stands in texts like `--password=...`; all of these are known from then on.
    """
    tree = ast.parse(source)  # first: what is no Python, only this tells in a way that can be understood
    for comment in _comments(source):
        for name, _, value in _COMMENTED.findall(comment):
            if speaks_of_secret(name):
                Secret(value)
        for _, address in _ADDRESS.findall(comment):
            if _OF_A_SERVICE.search(comment) or not address.startswith("http"):
                Secret(address)
    lines = re.findall(r".*?(?:\r\n?|\n)|.+", source, re.DOTALL)  # as Python counts them, unlike str.splitlines
    for first, start, last, end in sorted(_secret_places(tree), reverse=True):
        head, tail = lines[first - 1].encode()[:start].decode(), lines[last - 1].encode()[end:].decode()
        lines[first - 1 : last] = [f'{head}"{MASK}"{tail}']
    return redact("".join(lines))


def _comments(source: str) -> Iterator[str]:
    """Give each comment, which may be a line of the config that was taken out."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def _secret_places(tree: ast.AST) -> set[tuple[int, int, int, int]]:
    """Give first line, column, last line and end of each text that is a known secret, or stands under a name which
    speaks of one.
    """
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for constant in constants:
        for secret in secrets_in(str(constant.value)):
            Secret(secret)
    found: list[ast.expr] = [*_after_options(tree)]
    found += [node for node in constants if is_known_secret(str(node.value))]
    for name, value in _named_values(tree):
        if speaks_of_secret(name):
            found += _texts(value)
    for text in found:
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            Secret(text.value)  # so that it is redacted wherever else it stands
    around: dict[int, ast.expr] = {}  # what lies in an f-string, to that f-string: it is masked as a whole
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for part in ast.walk(node):
                around.setdefault(id(part), node)
    whole = [around.get(id(node), node) for node in found]
    return {(node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0) for node in whole}


def _after_options(tree: ast.AST) -> Iterator[ast.expr]:
    """Give each text that stands in a list after an option such as `--password`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple):
            for option, text in itertools.pairwise(node.elts):
                is_option = isinstance(option, ast.Constant) and SECRET_FOLLOWS.match(str(option.value))
                if is_option and isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text


def _named_values(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Give each value that Python source puts under a name: of a variable, an attribute, a keyword, a key."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            yield from ((_name(key), value) for key, value in zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.keyword):
            yield node.arg or "", node.value
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            yield _name(node.elts[0]), node.elts[1]
        elif isinstance(node, ast.arguments):
            plain = [*node.posonlyargs, *node.args]
            yield from (
                (arg.arg, value) for arg, value in zip(plain[-len(node.defaults) :], node.defaults, strict=False)
            )
            yield from ((arg.arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value)
        elif isinstance(node, ast.Assign):
            yield from (pair for target in node.targets for pair in _assigned(target, node.value))
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
            yield _name(node.target), node.value


def _assigned(target: ast.AST, value: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        for one, its_value in zip(target.elts, value.elts, strict=False):
            yield from _assigned(one, its_value)
    else:
        yield _name(target), value


def _name(node: ast.AST | None) -> str:
    """Give the name that a value gets here: `x`, `x.NAME`, `x["NAME"]`, or the key of a dictionary."""
    if isinstance(node, ast.Subscript):
        node = node.slice
    if isinstance(node, ast.Constant):
        return str(node.value)
    return str(getattr(node, "id", getattr(node, "attr", "")))


def _texts(value: ast.AST) -> list[ast.expr]:
    """List the texts that are written out in a value; `secret_file("name")` and its like name no secret."""
    if isinstance(value, ast.Constant | ast.JoinedStr):
        is_text = isinstance(value, ast.JoinedStr) or (isinstance(value.value, str | bytes) and value.value)
        return [value] if is_text else []
    if isinstance(value, ast.Call) and not _name(value.func).startswith("secret_"):
        inner = [*value.args, *(keyword.value for keyword in value.keywords)]
        inner += [value.func.value] if isinstance(value.func, ast.Attribute) else []
        return [text for part in inner for text in _texts(part)]
    if isinstance(value, ast.Dict):
        return [text for part in value.values for text in _texts(part)]
    if isinstance(value, ast.BinOp | ast.BoolOp | ast.IfExp | ast.Tuple | ast.List | ast.Set):
        return [text for part in ast.iter_child_nodes(value) for text in _texts(part)]
    return []
