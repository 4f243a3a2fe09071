from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway import harness

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def endpoint() -> Iterator[harness.Endpoint]:
    """A gateway of the test's own, without a table."""
    with harness.endpoint() as value:
        yield value


@pytest.fixture(scope="module")
def served() -> Iterator[harness.Endpoint]:
    """A gateway shared by a module, with one deployment that serves: one that is busy is not taken for sick."""
    with harness.endpoint() as value:
        limits = {"max_body": 100_000, "header_s": 1.0, "body_s": 1.0, "probe_s": 1.0}
        value.put(d1=value.deployment("d1"), limits=limits)
        yield value


@pytest.fixture(scope="module")
def served_large() -> Iterator[harness.Endpoint]:
    """A gateway shared by a module, with the default limits."""
    with harness.endpoint() as value:
        value.put(d1=value.deployment("d1"))
        yield value
