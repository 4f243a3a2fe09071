"""Paths as users write them, with ``~`` for a home folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError


def expand(path: str | Path, *, field: str = "path") -> Path:
    """Return the path with ``~`` and ``~user`` replaced.

    Args:
        path: The path as the user wrote it.
        field: The setting or argument that holds it, for the message.

    Raises:
        ConfigError: The home folder of that user is unknown.

    Example:
        >>> expand("data/train.csv").as_posix()
        'data/train.csv'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{field} = {str(path)!r}: that home folder is not known", hint="write the whole path"
        ) from None
