"""Layers and manifests: the same inputs give the same bytes."""

import gzip
import hashlib
import importlib.util
import io
import marshal
import os
import sys
import tarfile
from pathlib import Path

import pytest

from sdk.packaging.image.layers import Entry, pack, tree, with_parents
from sdk.packaging.image.manifests import Image, ImageConfig, Platform
from sdk.packaging.image.pyc import compiled, tag
from sdk.packaging.image.store import BlobStore


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


def test_compiled_files_do_not_depend_on_the_process() -> None:
    """A source gives the same compiled file beside others or alone; one that does not compile gives none."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    sources = [Entry("p/a.py", b"x = 'abc'\n"), Entry("p/bad.py", b"def ("), Entry("p/a.txt", b"")]
    many = [Entry(f"q/{number}.py", b"x = 'abc'\ny = 1000\n") for number in range(40)]
    made = f"p/__pycache__/a.{sys.implementation.cache_tag}.pyc"
    alone = compiled(sources, python=python)
    assert ["p/a.py", "p/bad.py", "p/a.txt", made] == [entry.path for entry in alone]
    beside = {entry.path: entry for entry in compiled([*many, *sources], python=python)}
    assert alone[-1] == beside[made]


def test_compiled_file_is_what_python_runs() -> None:
    """The file runs without its source, is of the unchecked kind, and names the path it has in the image."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    code = compiled([Entry("opt/a.py", b"answer = 42\n")], python=python)[-1].content
    assert isinstance(code, bytes)
    assert (importlib.util.MAGIC_NUMBER, 1) == (code[:4], int.from_bytes(code[4:8], "little"))
    found: dict[str, object] = {}
    unmarshalled = marshal.loads(code[16:])
    exec(unmarshalled, found)
    assert (42, "/opt/a.py") == (found["answer"], unmarshalled.co_filename)


def test_nothing_is_compiled_for_an_unknown_python() -> None:
    """Without an interpreter of the image's version the sources go in alone."""
    sources = [Entry("p/a.py", b"x = 1\n")]
    assert sources == compiled(sources, python="2.7")
    assert tag("2.7") == ""


def test_store_packs_a_layer_once(tmp_path: Path) -> None:
    """The second request for a key reads nothing again; a lost blob is packed again."""
    store, calls = BlobStore(tmp_path), []

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
    store = BlobStore(tmp_path)

    def entries() -> list[Entry]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        store.layer("key", entries, created_by="test")
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]


def test_image_formats_share_their_identity(tmp_path: Path) -> None:
    """Docker schema 2 and OCI differ in the manifest, not in the image id."""
    layer = BlobStore(tmp_path).layer("k", lambda: with_parents([Entry("a", b"1")]), created_by="test")
    config = ImageConfig(Platform("arm64"), env={"A": "1"}, entrypoint=("python",), ports=(8080,)).document([layer])
    docker, oci = Image(config, (layer,)), Image(config, (layer,), "oci")
    assert docker.id == oci.id
    assert docker.digest != oci.digest
    assert ImageConfig.read(config).platform == Platform("arm64")
