"""A base image for images that only process runners run: these use the host's Python, so it is nearly empty."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sdk.packaging.image import Registries, open_store, push_image
from sdk.packaging.image.layers import Entry, with_parents
from sdk.packaging.image.manifests import Image, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.packaging.image.auth import Credentials


def push_base(reference: str, login: Callable[[str], Credentials | None]) -> str:
    """Push the base image to a registry and return its address by digest, for the setting ``base``.

    Args:
        reference: ``HOST/REPOSITORY:TAG``; the repository must exist.
        login: Returns user name and password for a host.
    """
    store = open_store()
    python = ".".join(str(part) for part in sys.version_info[:3])
    entries = with_parents([Entry("etc/mlport-base", python.encode())])
    layer = store.layer(f"mini base {python}", lambda: entries, created_by="mini cloud")
    config = ImageConfig(env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON_VERSION": python})
    image = Image(config.document((layer,)), (layer,))
    store.put(image.config)
    return push_image(image, reference, store=store, registries=Registries(login))
