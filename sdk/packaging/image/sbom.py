"""The bill of materials of an image, CycloneDX 1.6, written from the lock: what the lock says is what is inside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .manifests import canonical

if TYPE_CHECKING:
    from sdk.packaging.lock import Lock

    from .bases import Base

_PACKAGE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill_of_materials(lock: Lock, base: Base) -> bytes:
    """One component per locked package with the hashes of its wheels, and one for the base.

    Source: https://cyclonedx.org/docs/1.6/json/
    """
    components: list[dict[str, Any]] = [
        {"type": "container", "name": base.name, "version": base.digest, "bom-ref": f"base:{base.digest}"}
    ]
    for block in re.split(r"\n(?=\S)", lock.text):
        match = _PACKAGE.match(block)
        if match:
            components.append(_component(match[1], match[2], _HASH.findall(block)))
    return canonical({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components})


def _component(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.lower()}@{version}"
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": purl,
        "bom-ref": purl,
        "hashes": [{"alg": "SHA-256", "content": value} for value in sorted(hashes)],
    }
