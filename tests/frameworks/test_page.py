"""The page about frameworks says what the tests try, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.frameworks import page
from tests.frameworks.listed import FRAMEWORKS
from tests.packaging.test_files import FILES
from tests.packaging.test_flavours import LIBRARIES

DOCS = Path(__file__).parents[2] / "docs"


def test_page_is_that_of_the_tests() -> None:
    text = (DOCS / "frameworks.md").read_text(encoding="utf-8")
    assert page.page() == text.partition("-->\n\n")[2], "run `make docs`"


def test_each_line_is_a_test_of_its_own() -> None:
    assert len(FRAMEWORKS) == len({one.id for one in FRAMEWORKS})


def test_libraries_of_the_other_tests_are_in_the_list() -> None:
    listed = {module for one in FRAMEWORKS for module in one.modules}
    assert set() == {*LIBRARIES.values(), *FILES.values()} - listed
