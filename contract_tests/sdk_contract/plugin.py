"""The pytest plugin of the contract: readable assertions, the ``--live`` switch, the ``full`` marker."""

from __future__ import annotations

import pytest

pytest_plugins = ["sdk_contract.model_fixtures"]
_SUBJECTS = ["capabilities", "crash", "deploy", "errors", "logs", "monitor", "predict", "prices", "traffic", "train"]

# Without this a failed assertion of a suite would say no more than "AssertionError". The package itself is imported
# already, so its modules are named one by one.
pytest.register_assert_rewrite(
    "sdk_contract.rig", "sdk_contract.model_contract", *(f"sdk_contract.suite_{subject}" for subject in _SUBJECTS)
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the switch that turns the suites on real accounts."""
    group = parser.getgroup("mlport contract")
    group.addoption("--live", action="store_true", help="run the contract against the real platform; this costs money")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, so that ``--strict-markers`` works for everybody who uses the suites."""
    config.addinivalue_line("markers", "full: part of the whole matrices")
