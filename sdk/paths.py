"""Paths as people write them, with ``~`` for a home folder."""

from __future__ import annotations

from pathlib import Path

from .errors import ConfigError


def expand(path: str | Path, *, field: str = "path") -> Path:
    """The path with ``~`` and ``~user`` replaced.

    Args:
        path: What was written.
        field: The setting or argument it stands in, for the message.

    Raises:
        ConfigError: Nobody of that name has a home folder here.

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
