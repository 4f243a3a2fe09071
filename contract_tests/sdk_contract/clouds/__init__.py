"""Mini clouds: local servers that speak each cloud's own protocol and run the real image behind endpoints and jobs.

>>> with mini_cloud("sagemaker") as cloud:  # doctest: +SKIP
...     boto3.client("sagemaker", endpoint_url=cloud.url).list_endpoints()
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.adapter.shared import mini_clouds

if TYPE_CHECKING:
    from collections.abc import Generator

    from .cloud import Cloud


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
    """Run a mini cloud in this process, for as long as the ``with`` block lasts.

    Args:
        name: Such as ``"sagemaker"``; distributions register theirs as entry points of the group ``mlport.clouds``.
        runner: How models and jobs run: ``"process"``, ``"docker"``, or ``"fork"`` in tests.
        folder: Where it stores its files; a temporary folder when left out.
        pace: Seconds that it takes for one second of the real cloud; 0: no delays.
        seed: Seed of everything that is random.
        settings: More arguments of that cloud's class.

    Raises:
        ConfigError: No such mini cloud is installed.
        MissingExtraError: A package that it needs is not installed.
    """
    made = mini_clouds.load(name)
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"mini-{name}-")))
        with mini_clouds.needed(name):
            cloud = stack.enter_context(made(folder, runner, pace=pace, seed=seed, **settings))
        yield cloud
