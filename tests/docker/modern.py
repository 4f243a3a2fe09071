"""Answers of an engine of API 1.41 as one of the newest version would give them.

Source: https://github.com/moby/moby/blob/master/api/docs/CHANGELOG.md, everything that was removed up to 1.56.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NETWORK = (
    "Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses",
    "SecondaryIPv6Addresses", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress",
    "IPPrefixLen", "IPv6Gateway", "MacAddress",
)  # fmt: skip
_IMAGE_CONFIG = (
    "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image",
    "NetworkDisabled", "MacAddress", "StopTimeout", "DockerVersion",
)  # fmt: skip
_UNSET = ("Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir")
_EMPTY = ("Parent", "Comment", "DockerVersion", "Author", "Created")


def container(value: dict[str, Any]) -> None:
    """`GET /containers/{id}/json`."""
    _without(value["NetworkSettings"], _NETWORK)
    _without(value["HostConfig"], ("KernelMemory", "KernelMemoryTCP"))
    _without(value["Config"], ("MacAddress",))
    _without_empty(value["Config"], ("OnBuild",))


def image(value: dict[str, Any]) -> None:
    """`GET /images/{name}/json`."""
    _without(value, ("VirtualSize", "Container", "ContainerConfig"))
    _without(value["Config"], _IMAGE_CONFIG)
    _without_empty(value["Config"], _UNSET)
    _without_empty(value, _EMPTY)


def images(value: list[dict[str, Any]]) -> None:
    """`GET /images/json`."""
    for one in value:
        _without(one, ("VirtualSize",))
        one["RepoTags"], one["Labels"] = one["RepoTags"] or [], one["Labels"] or {}


_SHAPES: dict[str, Callable[[Any], None]] = {
    r"/containers/[^/?]+/json": container,
    r"/images/json(\?.*)?": images,
    r"/images/(?!json).+/json": image,
}


def shape_of(path: str) -> Callable[[Any], None] | None:
    """What brings the answer to this request into its newest shape."""
    return next((shape for pattern, shape in _SHAPES.items() if re.fullmatch(pattern, path)), None)


def _without(value: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        value.pop(name, None)


def _without_empty(value: dict[str, Any], names: Iterable[str]) -> None:
    _without(value, [name for name in names if not value.get(name)])
