"""What every test needs of the process it runs in."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure() -> None:
    """Undo what a shell may have set: Ctrl-C that is ignored, and imports that are compiled anew in each process.

    A program in the background ignores Ctrl-C, and its children inherit that. Without compiled files, each of the
    thousand processes that the tests start would compile all that it imports, and pytest all tests.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # How long a generated input takes says more about what else the machine does than about the test.
    settings.register_profile("mlport", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("mlport")


@pytest.fixture(scope="session", autouse=True)
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Resolve each lock and build each environment and base image once for all workers of a test run."""
    from sdk_contract.rig import shared_state

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPORT_CACHE_DIR", str(shared_state(tmp_path_factory).with_name("cache")))
        yield
