"""Check that the generated pages are current and that the tree has no unfinished code and no local names."""

from __future__ import annotations

import ast
import io
import itertools
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import gen_docs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("sdk/", "mlport/", "adapters/", "contract_tests/sdk_contract/", "examples/")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home/[a-z][\w-]*/|Users/[A-Za-z][\w-]*/|work/(?:main|shared)\b|root/\.)")
REGISTRY_HOST = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|(?:deb|security|snapshot)\.debian\.org|crates\.io)\b"
)
# Words that readers stumbled over, with what to write instead.
AVOIDED = {
    r"told|tells?": "report, pass, say which",
    r"who(?:m|so)?ever|nobody|somebody|anybody|everybody": "name the user, client, process or owner",
    r"lets? go(?: of)?": "release",
    r"goes on": "continue",
    r"(?<!there )(?:is|are|was|were) no (?!longer|more|less|other)(?:an? )?\w+": "is not a ...",
}
AVOIDED_WORD = re.compile("|".join(rf"\b(?:{words})\b" for words in AVOIDED), re.IGNORECASE)


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def local_names(name: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in (("machine path", MACHINE_PATH), ("registry host name", REGISTRY_HOST)):
            if pattern.search(line):
                yield f"{name}:{number}: {what}: {line.strip()[:100]}"


def unfinished(name: str, text: str) -> Iterator[str]:
    if not UNFINISHED.search(text) and "NotImplementedError" not in text:
        return  # most files: they are not parsed, which would cost seconds
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and UNFINISHED.search(token.string):
            yield f"{name}:{token.start[0]}: unfinished: {token.string}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and node.exc and _raised(node.exc) == "NotImplementedError":
            yield f"{name}:{node.lineno}: raises NotImplementedError: use UnsupportedError or finish it"


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines of docstrings, without their examples, and comments."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                shown = itertools.takewhile(
                    lambda number: ">>>" not in lines[number - 1], range(statement.lineno, value.end_lineno + 1)
                )
                yield from ((number, lines[number - 1]) for number in shown)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def avoided(name: str, text: str) -> Iterator[str]:
    if not AVOIDED_WORD.search(text):
        return  # likewise
    for number, line in prose(text):
        for found in AVOIDED_WORD.findall(line):
            better = next(better for words, better in AVOIDED.items() if re.search(words, found, re.IGNORECASE))
            yield f"{name}:{number}: {found!r}; better: {better}: {line.strip()[:100]}"


def _raised(expression: ast.expr) -> str:
    called = expression.func if isinstance(expression, ast.Call) else expression
    return called.id if isinstance(called, ast.Name) else ""


def problems() -> Iterator[str]:
    for name, text in tracked_texts():
        yield from local_names(name, text)
        if name.endswith(".py") and name.startswith(SHIPPED):
            yield from unfinished(name, text)
            yield from avoided(name, text)
    yield from (f"docs/{name} is out of date: run `make docs`" for name in gen_docs.stale())


def main() -> int:
    found = list(problems())
    print("\n".join(found) or "docs and texts are clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
