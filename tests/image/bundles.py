"""Bundles made by hand, with a wheel of their own, so that builds need neither network nor heavy packages."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from sdk.packaging import bundle
from sdk.packaging.image.layers import Entry, ImageLayer, with_parents
from sdk.packaging.image.manifests import Image, ImageConfig, Platform
from sdk.packaging.image.store import BlobStore
from sdk.packaging.manifest import LOCK, Manifest
from sdk.packaging.model import Model

PURE = "py3-none-any"
X86 = "cp311-cp311-manylinux_2_28_x86_64"
ARM = "cp311-cp311-manylinux_2_28_aarch64"


def wheel(folder: Path, files: Mapping[str, bytes], *, version: str = "1.0", tag: str = PURE) -> Path:
    """A wheel called `tiny`."""
    info = f"tiny-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    contents[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"]).encode()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny-{version}-{tag}.whl"
    path.write_bytes(data.getvalue())
    return path


def model(
    folder: Path,
    *,
    data: bytes = b"weights",
    code: Mapping[str, bytes] | None = None,
    package: Mapping[str, bytes] | None = None,
    version: str = "1.0",
    tag: str = PURE,
    flavour: str = "function",
) -> Model:
    """A sealed bundle with one model file, code, and the wheel `tiny`."""
    for name, content in {"model/model.pkl": data, **{f"code/{k}": v for k, v in (code or {}).items()}}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    made = wheel(folder / "wheels", package or {"tiny.py": b"x = 1\n"}, version=version, tag=tag)
    lock = f"tiny=={version} \\\n    --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}\n"
    (folder / LOCK).write_text(lock)
    manifest = Manifest(
        name="churn",
        flavour=flavour,
        format="cloudpickle",
        entry="model/model.pkl",
        python="3.11",
        lock_sha256=hashlib.sha256(lock.encode()).hexdigest(),
    )
    sealed = bundle.seal(folder, manifest)
    return Model("churn", sealed.digest, folder, sealed)


def base(store: BlobStore, *, text: bytes = b"base", architecture: str = "amd64", python: str = "3.11.9") -> Image:
    """A base image of one small layer."""
    layer = store.layer(f"base {text!r}", lambda: with_parents([Entry("etc/base", text)]), created_by="test")
    config = ImageConfig(Platform(architecture), env={"PATH": "/usr/bin", "PYTHON_VERSION": python})
    image = Image(config.document([layer]), (layer,))
    store.put(image.config)
    return image


def files(store: BlobStore, layer: ImageLayer) -> dict[str, bytes]:
    """What is in a layer."""
    plain = gzip.decompress(store.path(layer.digest).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        return {item.name: file.read() for item in archive if (file := archive.extractfile(item))}
