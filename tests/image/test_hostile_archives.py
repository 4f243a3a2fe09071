"""Image archives of others end in our errors, within limits of memory."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConfigError, PackagingError, SdkError
from sdk.packaging.image import BlobStore, archives

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = json.dumps({"rootfs": {"diff_ids": ["x"]}}).encode()


def manifest(**fields: Any) -> bytes:
    return json.dumps([{"Config": "config", "RepoTags": [], "Layers": ["layer"]} | fields]).encode()


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def header(kind: bytes) -> bytes:
    """A header that claims 8 GiB of text behind it."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, (1 << 33) - 1
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


CASES = {
    "links to each other": packed(link("manifest.json", "a"), link("a", "b"), link("b", "a")),
    "hard link to itself": packed(link("manifest.json", "manifest.json", tarfile.LNKTYPE)),
    "hard links to each other": packed(
        link("a", "manifest.json", tarfile.LNKTYPE), link("manifest.json", "a", tarfile.LNKTYPE)
    ),
    "folder": packed(member("manifest.json", type=tarfile.DIRTYPE)),
    "number for a name": packed(member("manifest.json", manifest(Config=5)), member("config", CONFIG)),
    "list for a name": packed(member("manifest.json", manifest(Layers=[["x"]])), member("config", CONFIG)),
    "number for a digest": packed(member("index.json", b'{"manifests": [{"digest": 5}]}')),
    "large manifest": packed(member("manifest.json", b" " * (5 << 20))),
    "cut layer": packed(
        member("manifest.json", manifest()), member("config", CONFIG), member("layer", gzip.compress(b"x" * 99)[:-9])
    ),
    "name without end": header(tarfile.GNUTYPE_LONGNAME),
}


@pytest.mark.parametrize("case", CASES)
def test_an_archive_that_holds_no_image_is_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "image.tar").write_bytes(CASES[case])
    with pytest.raises((ConfigError, PackagingError)):
        archives.load(tmp_path / "image.tar", BlobStore(tmp_path / "store"))


def test_a_file_of_holes_is_not_read(tmp_path: Path) -> None:
    """Ten kilobytes that claim to be a manifest of eight gigabytes."""
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(1 << 33)
    subprocess.run(["tar", "-S", "-cf", "image.tar", "manifest.json"], check=True, cwd=tmp_path)
    with pytest.raises(ConfigError, match=r"manifest\.json is no file"):
        archives.load(tmp_path / "image.tar", BlobStore(tmp_path / "store"))


def test_a_layer_is_unpacked_in_small_steps(tmp_path: Path) -> None:
    """One block of a compressed layer may hold a thousand times as much."""
    layer = gzip.compress(bytes(64 << 20), 9)
    parts = (member("manifest.json", manifest()), member("config", CONFIG), member("layer", layer))
    (tmp_path / "image.tar").write_bytes(packed(*parts))
    tracemalloc.start()
    try:
        with pytest.raises(SdkError, match="other layers than its configuration says"):
            archives.load(tmp_path / "image.tar", BlobStore(tmp_path / "store"))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
