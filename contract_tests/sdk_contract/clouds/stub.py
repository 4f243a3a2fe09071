"""The stub image: a few kilobytes that serve and train, for tests of mini clouds that are not about models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdk.packaging.image.layers import Entry, with_parents
from sdk.packaging.image.manifests import Format, Image, ImageConfig

if TYPE_CHECKING:
    from sdk.packaging.image.store import BlobStore

_PROGRAM = Path(__file__).with_name("stub_program.py")


def stub_image(store: BlobStore, *, name: str = "stub", base: Image | None = None, format: Format = "docker") -> Image:  # noqa: A002  # the word every image tool uses
    """Return an image that runs :mod:`~sdk_contract.clouds.stub_program`, after putting its blobs into the store.

    Args:
        store: Where its blobs are put.
        name: The name that its server prints; part of the image's identity.
        base: Layers below, with a Python, for a real engine; the process runner needs none.
        format: Format of its manifest.
    """
    entries = with_parents([Entry("opt/stub/program.py", _PROGRAM.read_bytes())])
    layer = store.layer(f"stub {_PROGRAM.read_text()}", lambda: entries, created_by="stub")
    below = ImageConfig.read(base.config) if base else ImageConfig()
    config = ImageConfig(
        env={**below.env, "STUB_NAME": name, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        entrypoint=("python", "/opt/stub/program.py"),
        command=("serve",),
        ports=(8080,),
        labels={"com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true"},
    )
    layers = (*(base.layers if base else ()), layer)
    image = Image(config.document(layers), layers, format)
    store.put(image.config)
    store.put(image.manifest)
    return image
