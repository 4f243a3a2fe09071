"""The house rules that keep the core free of any platform."""

import re
from pathlib import Path

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
