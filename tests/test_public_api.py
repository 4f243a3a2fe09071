"""What `import sdk` offers is what it says it offers."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types

import pytest

import sdk
from sdk.client import Client

VERBS = sdk._VERBS  # its table


def test_all_is_what_is_public() -> None:
    """`__all__` is sorted, complete, and everything in it can be had."""
    offered = {*sdk._HOMES, *VERBS, "__version__", "errors"}  # its tables
    assert sorted(offered) == list(sdk.__all__)
    assert list(sdk.__all__) == list(dir(sdk))


@pytest.mark.parametrize("name", sorted(sdk._HOMES))  # its table
def test_names_lead_home(name: str) -> None:
    """Each name is the object of that name in its module."""
    assert name == getattr(sdk, name).__name__


@pytest.mark.parametrize("name", sorted(VERBS))
def test_verbs_are_those_of_the_client(name: str) -> None:
    """Each verb is a documented method of the client."""
    assert getattr(Client, name) is inspect.unwrap(getattr(sdk, name).__func__)
    assert getattr(Client, name).__doc__


def test_modules_never_hide_names() -> None:
    """Importing a module whose name is also a verb leaves the verb in place."""
    code = (
        "import sdk, sdk.compare, sdk.errors, sdk.client\n"
        "import types\n"
        "print([n for n in sdk.__all__ if n != 'errors' and isinstance(getattr(sdk, n), types.ModuleType)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()


def test_unknown_names_are_attribute_errors() -> None:
    """A name that is not there is not there."""
    assert not hasattr(sdk, "deplyo")
    assert isinstance(sdk.errors, types.ModuleType)
