"""The inputs of a job that are on the local machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ...errors import ConfigError
from .checks import unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHANNEL = re.compile(r"[a-z_][a-z0-9_]*")


def check_data(data: Mapping[str, str], provider: str) -> None:
    """Refuse inputs that are not local, and names that no variable can have; only the text is checked.

    Raises:
        ConfigError: A channel's name is not valid.
        UnsupportedError: An input is the URI of a cloud.
    """
    for channel, where in data.items():
        if not _CHANNEL.fullmatch(channel):
            raise ConfigError(
                f"data: {channel!r} is no name for an input", hint="use lower-case letters, digits and underscores"
            )
        if "://" in where and urlsplit(where).scheme != "file":
            scheme = urlsplit(where).scheme
            raise unsupported(
                provider,
                "train",
                f"data.{channel} = {where!r}: {provider} reads paths and file:// only, so fetch {scheme}:// data first",
            )


def local_data(data: Mapping[str, str], provider: str) -> dict[str, Path]:
    """Return the inputs as absolute local paths, by channel.

    Raises:
        ConfigError: A path does not exist.
        UnsupportedError: An input is the URI of a cloud.
    """
    check_data(data, provider)
    return {channel: path_of(channel, where) for channel, where in data.items()}


def path_of(channel: str, where: str) -> Path:
    """Return the absolute path of an input that is a path or a ``file://`` URI.

    Raises:
        ConfigError: It does not exist.
    """
    path = Path(unquote(urlsplit(where).path) if "://" in where else where).expanduser().absolute()
    if not path.exists():
        raise ConfigError(f"data.{channel} = {where!r} does not exist", hint="give an existing file or folder")
    return path
