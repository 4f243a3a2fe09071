"""Mini clouds: local servers that speak each cloud's own wire and run the real image behind endpoints and jobs.

>>> with mini_cloud("sagemaker") as cloud:  # doctest: +SKIP
...     boto3.client("sagemaker", endpoint_url=cloud.url).list_endpoints()
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError
from sdk.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Generator

    from .cloud import Cloud

GROUP = "mlport.clouds"


@contextmanager
def mini_cloud(
    name: str,
    *,
    runner: str = "process",
    folder: Path | None = None,
    pace: float = 0.0,
    seed: int = 0,
    **settings: Any,
) -> Generator[Cloud]:
    """A mini cloud in this process, for as long as the ``with`` block lasts.

    Args:
        name: Such as ``"sagemaker"``; distributions offer them as entry points of the group ``mlport.clouds``.
        runner: How models and jobs run behind it: ``"process"``, ``"docker"``, or ``"fork"`` in tests.
        folder: For what it keeps on disk; a temporary one when left out.
        pace: Seconds it takes for one second of the real cloud; 0: as fast as it is asked.
        seed: Of everything that is left to chance.
        settings: More arguments of that cloud's class.

    Raises:
        ConfigError: No such mini cloud is installed.
    """
    made = _load(name)
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"mini-{name}-")))
        yield stack.enter_context(made(folder, runner, pace=pace, seed=seed, **settings))


def _load(name: str) -> Any:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        hint = did_you_mean(name, tuple(sorted(found))) if found else "none is installed"
        raise ConfigError(f"there is no mini cloud {name!r}", hint=hint)
    return found[name].load()
