"""Build container images without a daemon: the same inputs give the same image, layer by layer.

Submodules are loaded at first use, so that an adapter can plan with :func:`image_id` at no cost.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .publish import PublishedImage, content_of, image_id, publish, published

if TYPE_CHECKING:
    from .build import build_image, open_store, pull_image, push_image
    from .made import BuiltImage
    from .manifests import Image
    from .registries import Registries
    from .store import BlobStore

_HOMES = {
    "BuiltImage": "made",
    "Image": "manifests",
    "Registries": "registries",
    "BlobStore": "store",
    "build_image": "build",
    "open_store": "build",
    "pull_image": "build",
    "push_image": "build",
}

__all__ = [
    "BlobStore",
    "BuiltImage",
    "Image",
    "PublishedImage",
    "Registries",
    "build_image",
    "content_of",
    "image_id",
    "open_store",
    "publish",
    "published",
    "pull_image",
    "push_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
