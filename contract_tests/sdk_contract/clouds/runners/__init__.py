"""The runners of mini clouds: they run the images of endpoints and jobs as processes or as containers of an engine.

All runners interpret a :class:`Launch` in the same way: the image's own entrypoint with the platform's command,
environment and folders. The module of the process runner lists what that runner cannot provide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.errors import ConfigError

from .base import Launch, Runner, Running, StartFailed

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NAMES", "Launch", "Runner", "Running", "StartFailed", "make_runner"]

NAMES = ("process", "docker", "fork")


def make_runner(name: str, folder: Path) -> Runner:
    """Return the runner of this name.

    Args:
        name: ``process``, ``docker``, or ``fork`` in tests.
        folder: For unpacked images and all other files that it stores.

    Raises:
        ConfigError: There is no such runner.
    """
    if name == "process":
        from .process import ProcessRunner

        return ProcessRunner(folder)
    if name == "fork":
        from .fork import ForkRunner

        return ForkRunner(folder)
    if name == "docker":
        from .docker import DockerRunner

        return DockerRunner(folder)
    raise ConfigError(f"runner: there is no {name!r}", hint=f"use one of {', '.join(NAMES)}")
