"""Layers and manifests: the same inputs give the same bytes."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from sdk.packaging.image.layers import Entry, pack, tree, with_parents
from sdk.packaging.image.manifests import Image, ImageConfig, Platform
from sdk.packaging.image.pyc import compiled
from sdk.packaging.image.store import Store


def _folder(root: Path, order: list[str]) -> Path:
    for number, name in enumerate(order):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"contents of {name}")
        os.utime(path, (number, number))
    return root


def _packed(entries: list[Entry]) -> tuple[bytes, str, str]:
    out = io.BytesIO()
    layer = pack(entries, out)
    return out.getvalue(), layer.diff_id, layer.digest


def test_layer_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    """Order of creation, times and owner do not show in a layer."""
    names = ["b/two.txt", "a/one.txt", "c.txt"]
    first = with_parents(tree(_folder(tmp_path / "x", names), "opt"))
    second = with_parents(tree(_folder(tmp_path / "y", names[::-1]), "opt"))
    assert _packed(first) == _packed(second)


def test_layer_digests_are_those_of_its_bytes() -> None:
    """`digest` is the hash of the blob, `diff_id` that of the tar in it."""
    blob, diff_id, digest = _packed(with_parents([Entry("opt/a", b"1"), Entry("opt/b", target="a")]))
    plain = gzip.decompress(blob)
    assert digest == f"sha256:{hashlib.sha256(blob).hexdigest()}"
    assert diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert [(item.name, item.mode, item.mtime, item.uid) for item in archive] == [
            ("opt", 0o755, 0, 0),
            ("opt/a", 0o644, 0, 0),
            ("opt/b", 0o777, 0, 0),
        ]


def test_compiled_files_do_not_depend_on_time() -> None:
    """A source gives one compiled file next to it; one that does not compile gives none."""
    import sys

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    sources = [Entry("p/a.py", b"x = 1\n"), Entry("p/bad.py", b"def ("), Entry("p/a.txt", b"")]
    found = [entry.path for entry in compiled(sources, python=python)]
    assert found == ["p/a.py", f"p/__pycache__/a.{sys.implementation.cache_tag}.pyc", "p/bad.py", "p/a.txt"]
    assert [entry.path for entry in compiled(sources, python="2.7")] == ["p/a.py", "p/bad.py", "p/a.txt"]


def test_store_packs_a_layer_once(tmp_path: Path) -> None:
    """The second request for a key reads nothing again; a lost blob is packed again."""
    store, calls = Store(tmp_path), []

    def entries() -> list[Entry]:
        calls.append(1)
        return with_parents([Entry("a", b"1")])

    first = store.layer("key", entries, created_by="test")
    assert store.layer("key", entries, created_by="test") == first
    assert len(calls) == 1
    store.path(first.digest).unlink()
    assert store.layer("key", entries, created_by="test") == first
    assert store.verified(first.digest)


def test_failed_layer_leaves_nothing(tmp_path: Path) -> None:
    """When packing fails no file stays in the store."""
    store = Store(tmp_path)

    def entries() -> list[Entry]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        store.layer("key", entries, created_by="test")
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]


def test_image_formats_share_their_identity(tmp_path: Path) -> None:
    """Docker schema 2 and OCI differ in the manifest, not in the image id."""
    layer = Store(tmp_path).layer("k", lambda: with_parents([Entry("a", b"1")]), created_by="test")
    config = ImageConfig(Platform("arm64"), env={"A": "1"}, entrypoint=("python",), ports=(8080,)).document([layer])
    docker, oci = Image(config, (layer,)), Image(config, (layer,), "oci")
    assert docker.id == oci.id
    assert docker.digest != oci.digest
    assert ImageConfig.read(config).platform == Platform("arm64")
