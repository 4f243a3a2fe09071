"""The page `docs/frameworks.md`, made from the list of what the tests try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.frameworks.listed import FRAMEWORKS, NOT_TRIED, PACKAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = """# Frameworks

Each line of the first table is a test: it makes the small model, packs it, deploys it, asks it over HTTP and compares
the answers with those of the live object: on a `local` target (`tests/frameworks/test_local.py`) and, where the last
column says so, in a hardened container of the image that every other target runs (`tests/image/test_flavours.py`).

`OBJECT` and `BOOSTER` are live objects. `CLASS` is a class of yours with `load(folder)` and `predict(rows)` that reads
its files with the library's own functions, see [bundle.md](bundle.md).

"""
_NOT_TRIED = """
## Not tried here

"""
_RUN = """
## Run these tests

They are part of `make test-full`, which skips those of libraries that are not installed. These are not installed by it:

```console
$ uv pip install {packages}
$ .venv/bin/pytest -n 0 tests/frameworks tests/image/test_flavours.py
```
"""


def page() -> str:
    """The page as Markdown."""
    said = {True: "equal", False: "not tried here"}
    rows = [(one.library, one.given, one.small, said[True], said[one.image]) for one in FRAMEWORKS]
    table = _table(("library", "what you give", "model in the test", "`local`", "image"), rows)
    missing = _table(("what", "why"), NOT_TRIED)
    return _HEAD + table + _NOT_TRIED + missing + _RUN.format(packages=" ".join(PACKAGES))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *rows))
