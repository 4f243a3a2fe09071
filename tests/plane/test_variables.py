"""Variables with which no process starts are refused, in words that show no value."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import KnowsVariables
from sdk.adapter.registry import adapters
from sdk.adapter.shared.checks import VARIABLE_BYTES, VARIABLES_BYTES, check_variables
from sdk.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = "x" * (VARIABLE_BYTES - len("A=") - 1)


def starts(variables: dict[str, str]) -> bool:
    """Whether this machine starts a process with these variables."""
    try:
        subprocess.run([sys.executable, "-S", "-c", ""], env=variables, check=True)
    except (OSError, ValueError):
        return False
    return True


def is_taken(variables: dict[str, str]) -> bool:
    try:
        check_variables(variables, "test")
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("variables", "taken"),
    [
        ({}, True),
        ({"A": LONGEST}, True),
        ({"A": f"{LONGEST}x"}, False),
        ({"A": LONGEST[:-1] + "ü"}, False),
        ({"A": "a\0b"}, False),
        ({f"V{number}": "x" * 100_000 for number in range(19)}, True),
        ({f"V{number}": "x" * 100_000 for number in range(22)}, False),
    ],
)
def test_the_limits_are_those_of_linux(variables: dict[str, str], taken: bool) -> None:
    assert taken is is_taken(variables)
    if sys.platform == "linux":
        assert taken is starts(variables)


@pytest.mark.parametrize(
    "variables",
    [{"PASSWORD": "hunter2" * 20_000}, {"PASSWORD": "hunter2\0"}, {f"V{n}": "hunter2" * 9000 for n in range(40)}],
)
def test_no_value_is_shown(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="env and secrets") as caught:
        check_variables(variables, "test")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("name", sorted(adapters.names()))
def test_every_adapter_knows_its_variables(name: str) -> None:
    """So that what cannot start is refused before anything is built."""
    kind: Callable[..., object] = adapters.load(name)
    assert issubclass(kind, KnowsVariables)  # type: ignore[arg-type]  # a class


def test_the_total_leaves_room() -> None:
    assert VARIABLES_BYTES < 2 << 20
