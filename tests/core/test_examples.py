"""The examples in the docstrings of the core are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "sdk.adapter.resources",
    "sdk.config.load",
    "sdk.config.rules",
    "sdk.config.values",
    "sdk.util.durations",
    "sdk.errors",
    "sdk.util.logtext",
    "sdk.util.names",
    "sdk.util.redact",
    "sdk.adapter.registry",
    "sdk.util.suggest",
    "sdk.config.trust",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    """Each has at least one example, and all give what they show."""
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert (True, 0) == (result.attempted > 0, result.failed)
