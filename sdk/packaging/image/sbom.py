"""Write bills of materials (CycloneDX 1.6) from the lock, which determines the content of an image.

Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from sdk.errors import PackagingError
from sdk.packaging.libraries import normal

from .manifests import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sdk.packaging.lock import Lock


def of_packages(lock: Lock, installed: Mapping[str, str]) -> bytes:
    """Return the bill of the installed locked packages, each with the hashes that the lock allows.

    Args:
        lock: The packages of every platform; it may have several versions of one name, distinguished by markers.
        installed: Normal names and exact versions of the packages installed for this platform.

    Raises:
        PackagingError: An installed package is not in the lock.
    """
    found: list[dict[str, Any]] = []
    missing = dict(installed)
    names = Counter(normal(pin.name) for pin in lock.pins)
    for pin in lock.pins:
        name = normal(pin.name)
        exact = _plain(missing.get(name, "")) == _plain(pin.version)
        if name in missing and (exact or names[name] == 1):  # some packages spell their version differently
            del missing[name]
            purl = f"pkg:pypi/{normal(pin.name)}@{quote(pin.version, safe='')}"
            found.append(_component(pin.name, pin.version, purl, sorted(pin.hashes)))
    if missing:
        name, version = min(missing.items())
        raise PackagingError(f"{name} {version} was installed and is not in the lock", operation="build", resource=name)
    return _document(found)


def _plain(version: str) -> str:
    """Return a version without differences of spelling: case, separators, leading zeros."""
    return re.sub(r"\b0+(?=\d)", "", re.sub(r"[-_]", ".", version.lower()))


def of_debs(debs: Iterable[tuple[str, str]]) -> bytes:
    """Return the bill of Debian packages, given as file name (``NAME_VERSION_ARCHITECTURE.deb``) and SHA-256."""
    found: list[dict[str, Any]] = []
    for file, sha256 in debs:
        name, version, architecture = file.removesuffix(".deb").split("_")
        version = unquote(version)  # apt writes the colon after an epoch as %3a
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}"
        found.append(_component(name, version, purl, [sha256]))
    return _document(found)


def _document(components: list[dict[str, Any]]) -> bytes:
    return canonical({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components})


def _component(name: str, version: str, purl: str, hashes: list[str]) -> dict[str, Any]:
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": purl,
        "bom-ref": purl,
        "hashes": [{"alg": "SHA-256", "content": value} for value in hashes],
    }
