"""A disk that is really full: a small file system under the store, the archive, or the registry."""

import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sdk
from sdk.errors import PackagingError, PlatformError
from sdk.packaging.image import BlobStore, build_image, open_store, published, push_image
from sdk.packaging.image.archives import write
from sdk.packaging.model import Model

MUCH = 16 << 20


@pytest.fixture
def large(bundles: ModuleType, tmp_path: Path) -> Model:
    """A model that does not fit."""
    found: Model = bundles.model(tmp_path / "large", data=os.urandom(MUCH))
    return found


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_store(small_disk: Path, large: Model, bundles: ModuleType, tmp_path: Path) -> None:
    """The error says where there is no room; what was whole before stays, nothing half-written does, and a smaller
    model can still be built."""
    store = BlobStore(small_disk / "images")
    base = bundles.base(store)
    small = bundles.model(tmp_path / "small")
    first = build_image(small, base=base, store=store)
    before = _files(store.folder)
    with pytest.raises(PackagingError, match=f"no space left while writing {small_disk}"):
        build_image(large, base=base, store=store)
    assert before == _files(store.folder)
    assert first == build_image(small, base=base, store=store)


def test_archive(small_disk: Path, large: Model, bundles: ModuleType) -> None:
    """No part of the file stays."""
    store = open_store()
    image = build_image(large, base=bundles.base(store), store=store)
    with pytest.raises(PackagingError, match=r"no space left while writing .*image\.tar"):
        write(image, store, small_disk / "image.tar", "localhost/large:v1")
    assert set() == _files(small_disk)


def test_registry(own_registry: Any, small_disk: Path, large: Model, bundles: ModuleType, tmp_path: Path) -> None:
    """A registry without room refuses the blob; there is no image under the tag, and a smaller one still goes in."""
    own_registry.kill()
    shutil.rmtree(tmp_path / "registry" / "data", ignore_errors=True)
    (tmp_path / "registry" / "data").symlink_to(small_disk)
    own_registry.start()
    store = open_store()
    base = bundles.base(store)
    with pytest.raises(PlatformError, match=f"registry {own_registry.host}"):
        push_image(build_image(large, base=base, store=store), f"{own_registry.host}/full:v1", store=store)
    assert published(f"{own_registry.host}/full:v1") is None
    small = build_image(bundles.model(tmp_path / "small"), base=base, store=store)
    shutil.rmtree(small_disk / "docker" / "registry" / "v2" / "repositories" / "full")
    assert small.digest in push_image(small, f"{own_registry.host}/fits:v1", store=store)


def test_command_says_it(small_disk: Path, large: Model, bundles: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the verb: one error with the fix, and the registry and engine were never asked."""
    monkeypatch.setenv("MLPORT_CACHE_DIR", str(small_disk))
    base = bundles.base(open_store())
    with pytest.raises(PackagingError) as caught:
        sdk.Client({}, env={}).build(large, base=base, push="127.0.0.1:9/never/asked:v1")
    assert "MLPORT_CACHE_DIR" in str(caught.value.hint)
