"""The examples in the docstrings of the core are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "sdk.resources",
    "sdk.config.load",
    "sdk.config.rules",
    "sdk.config.values",
    "sdk.durations",
    "sdk.errors",
    "sdk.logtext",
    "sdk.names",
    "sdk.redact",
    "sdk.registry",
    "sdk.suggest",
    "sdk.trust",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    """Each has at least one example, and all give what they show."""
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert (True, 0) == (result.attempted > 0, result.failed)
