"""The house rules that keep the core free of any platform."""

import ast
import re
from collections import Counter
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
VENDOR = re.compile(r"^\s*(import|from)\s+(boto3|botocore|google\.|azure|sagemaker|docker)\b", re.MULTILINE)
PROVIDER_BRANCH = re.compile(r"provider\s*(==|!=|in)\s*[\[({]?[\"']")


def _sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_core_imports_no_vendor_package() -> None:
    """No file of the core imports a cloud's package."""
    assert [] == [str(path) for path in _sources("sdk") if VENDOR.search(path.read_text(encoding="utf-8"))]


def test_core_never_branches_on_the_provider() -> None:
    """No file of the core asks which provider it is dealing with."""
    assert [] == [str(path) for path in _sources("sdk") if PROVIDER_BRANCH.search(path.read_text(encoding="utf-8"))]


def test_adapters_folder_is_no_package() -> None:
    """`adapters` is a source root: as a package it would overwrite another distribution of that name."""
    assert not (ROOT / "adapters" / "__init__.py").exists()


def test_server_imports_relatively_only() -> None:
    """`sdk.serving` never imports `sdk` by name, so that the folder runs under another name."""
    by_name = re.compile(r"^\s*(import|from)\s+sdk\b", re.MULTILINE)
    above = re.compile(r"^\s*from\s+\.\.\.|^\s*from\s+\.\.\s+import", re.MULTILINE)
    texts = {path: path.read_text(encoding="utf-8") for path in _sources("sdk/serving")}
    assert [] == [path for path, text in texts.items() if by_name.search(text) or above.search(text)]


def _parts() -> set[str]:
    names = {path.stem for path in (ROOT / "sdk").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    return names - {"__init__", "__main__"}


def test_the_parts_of_sdk_are_those_of_the_architecture_page() -> None:
    """The page names each in a sentence, and there are at most 14."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("## The parts of `sdk`") : page.index("Outside of `sdk`")]
    assert _parts() == set(re.findall(r"^\| `(\w+)` \| \w.+\. \|", table, re.MULTILINE))
    assert len(_parts()) <= 14


def test_class_names_occur_once() -> None:
    """A reader who searches for a class finds one."""
    found = Counter(
        node.name
        for path in _sources("sdk")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [] == [name for name, count in found.items() if count > 1]


def test_no_import_cycle_even_for_types() -> None:
    """Imports that only type checkers see are counted."""
    graph = grimp.build_graph("sdk", exclude_type_checking_imports=False, cache_dir=None)
    direct = ((one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one))
    back = (graph.find_shortest_chain(importer=other, imported=one) for one, other in direct)
    assert [] == [" -> ".join(chain) for chain in back if chain]
