"""The table of verbs agrees with Python, with the handlers and with what is printed."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from sdk.cli import compare_command, handlers, mock_commands, testing
from sdk.cli.verbs import EXIT_CODES, VERBS, Verb
from sdk.client import Client, deploy
from sdk.errors import SdkError

PYTHON = [verb for verb in VERBS if verb.name not in {"init", "config", "mock", "prices", "stop", "test"}]
SIZES = {"cpu": "resources", "memory_gib": "resources", "gpu": "resources"}
RENAMED = {"percent": "shares"}


def _subclasses(kind: type[SdkError]) -> set[type[SdkError]]:
    return {kind}.union(*(_subclasses(child) for child in kind.__subclasses__()))


def _parameters(method: Callable[..., Any]) -> set[str]:
    """The names a method takes, with those of a shared set of arguments (``**how``) spelled out."""
    found = inspect.signature(method).parameters
    shared = next((str(item.annotation) for item in found.values() if item.kind is item.VAR_KEYWORD), "")
    shared = shared.removeprefix("Unpack[").removesuffix("]")
    spelled = getattr(deploy, shared).__annotations__ if shared else {}
    packing = (
        set(deploy.PackArguments.__annotations__) if "about" in found or shared else set[str]()
    )  # no shell has objects
    return {*(name for name in found if name not in {"self", "how", "about"}), *spelled} - packing


@pytest.mark.parametrize("verb", PYTHON, ids=lambda verb: verb.name)
def test_verb_is_the_same_in_python(verb: Verb) -> None:
    """Every parameter of the command is a parameter of the method, and the other way round."""
    parameters = _parameters(getattr(Client, verb.name))
    if verb.name == "plan":  # takes what deploy takes, but for what plans do not need
        parameters = _parameters(Client.deploy) - {"wait", "timeout", "dry_run"}
    shown = {RENAMED.get(param.name, SIZES.get(param.name, param.name)) for param in verb.params}
    local = {param.name for param in verb.params if param.cli_only} - set(SIZES)
    assert parameters == shown - local


@pytest.mark.parametrize(("child", "method"), [("show", "prices"), ("refresh", "refresh_prices")])
def test_prices_are_the_same_in_python(child: str, method: str) -> None:
    """The two commands of `prices` are two methods."""
    (group,) = (verb.group for verb in VERBS if verb.name == "prices")
    (verb,) = (one for one in group if one.name == child)
    assert _parameters(getattr(Client, method)) == {param.name for param in verb.params}


def test_stop_is_the_same_in_python() -> None:
    """`stop` is what the handle of a job does by its client."""
    (verb,) = (verb for verb in VERBS if verb.name == "stop")
    assert _parameters(Client.stop_job) == {param.name for param in verb.params}


def test_every_verb_has_a_handler() -> None:
    """A verb without a function behind it cannot be in the table, nor a function without a verb."""
    names = {f"do_{verb.name}" for verb in VERBS if not verb.group}
    names |= {f"do_{verb.name}_{child.name}" for verb in VERBS for child in verb.group}
    assert names == {
        name
        for name in {**vars(handlers), **vars(mock_commands), **vars(compare_command), **vars(testing)}
        if name.startswith("do_")
    }


def test_every_exit_code_is_documented() -> None:
    """No error ends the command with a code that its help does not explain."""
    assert {kind.exit_code for kind in _subclasses(SdkError)} <= {code for code, _ in EXIT_CODES}
