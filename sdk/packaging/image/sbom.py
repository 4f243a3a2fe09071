"""Bills of materials, CycloneDX 1.6, written from what was locked: what the lock says is what is inside.

Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from sdk.packaging.libraries import normal

from .manifests import canonical

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sdk.packaging.lock import Lock


def of_packages(lock: Lock, installed: Collection[str]) -> bytes:
    """The locked packages that are installed, each with the hashes that the lock allows.

    Args:
        lock: Holds the packages of every platform.
        installed: Normal names of those that this platform got.
    """
    found: list[dict[str, Any]] = []
    for pin in lock.pins:
        if normal(pin.name) in installed:
            purl = f"pkg:pypi/{normal(pin.name)}@{quote(pin.version, safe='')}"
            found.append(_component(pin.name, pin.version, purl, sorted(pin.hashes)))
    return _document(found)


def of_debs(debs: Iterable[tuple[str, str]]) -> bytes:
    """Debian packages, given as file name (``NAME_VERSION_ARCHITECTURE.deb``) and SHA-256."""
    found: list[dict[str, Any]] = []
    for file, sha256 in debs:
        name, version, architecture = file.removesuffix(".deb").split("_")
        version = unquote(version)  # apt writes the sign after an epoch as %3a
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
