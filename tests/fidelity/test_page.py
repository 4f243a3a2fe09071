"""The page of operations and members is what the tables and the official models say."""

from __future__ import annotations

from tools import gen_docs


def test_the_page_is_current() -> None:
    """`make docs` writes it."""
    assert gen_docs.is_current("reference/fidelity.md")
