"""How mini clouds run images behind endpoints and jobs: as processes of this machine, or as containers of an engine.

All runners mean the same by a :class:`Launch`: the image's own entrypoint with the platform's command, environment
and folders. What the process runner cannot give is said there.
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
    """The runner of this name.

    Args:
        name: ``process``, ``docker``, or ``fork`` in tests.
        folder: For unpacked images and everything else that it keeps.

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
