"""Container images built without a daemon: the same inputs give the same image, layer by layer."""

from .build import Registries, build_image, open_store, pull_image, push_image
from .manifests import Image
from .store import Store

__all__ = ["Image", "Registries", "Store", "build_image", "open_store", "pull_image", "push_image"]
