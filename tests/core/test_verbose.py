"""Log lines on demand."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk.util.redact import MASK, Redactor
from sdk.util.verbose import _FORMATTER, _HANDLER, CALLS, OURS, log_to_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in (OURS, CALLS)}
    yield
    _FORMATTER.redactors = []
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).removeHandler(_HANDLER)


def test_nothing_is_written_unless_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    """A library does not write to somebody else's terminal."""
    logging.getLogger("sdk.x").warning("hello")
    assert ("", "") == capfd.readouterr()


def test_lines_from_the_level_on_are_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Even when several clients ask for it."""
    log_to_stderr("info", Redactor())
    log_to_stderr("info", Redactor())
    logging.getLogger("sdk.x").info("deployed")
    logging.getLogger("sdk.x").debug("detail")
    shown = capsys.readouterr()
    assert ("", 1, False) == (shown.out, shown.err.count("INFO sdk.x: deployed"), "detail" in shown.err)


@pytest.mark.parametrize(("level", "shown"), [("info", []), ("debug", ["httpx"])])
def test_only_our_own_lines_are_shown(capsys: pytest.CaptureFixture[str], level: str, shown: list[str]) -> None:
    """What the libraries below say stays theirs; each HTTP call is a detail, for level "debug"."""
    log_to_stderr(level, Redactor())
    others = [
        "httpx",
        "httpcore.connection",
        "botocore.hooks",
        "urllib3.connectionpool",
        "azure.identity",
        "google.auth",
    ]
    for name in others:
        logging.getLogger(name).info("a line of %s", name)
    found = capsys.readouterr().err
    assert shown == [name for name in others if f"INFO {name}: a line of {name}" in found]


def test_secrets_are_hidden_in_messages_arguments_and_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    """The secrets of every client, and terminal controls."""
    log_to_stderr("info", Redactor(["first-secret"]))
    log_to_stderr("info", Redactor(["second-secret"]))
    try:
        int("second-secret")
    except ValueError:
        logging.getLogger("sdk").exception("%s \x1b[31m", "first-secret")
    shown = capsys.readouterr().err
    left = [text for text in ("first-secret", "second-secret", "\x1b") if text in shown]
    assert ([], True, True) == (
        left,
        f"{MASK} \\x1b[31m" in shown,
        f"ValueError: invalid literal for int() with base 10: '{MASK}'" in shown,
    )


@pytest.mark.parametrize(("env", "handlers"), [({}, 0), ({"MLPORT_LOG": "info"}, 1)])
def test_a_client_writes_lines_only_when_the_configuration_says_so(
    home: Any, env: dict[str, str], handlers: int
) -> None:
    """`MLPORT_LOG=info` shows our lines."""
    with Client(home.load(env)):
        assert (handlers, 0) == tuple(logging.getLogger(name).handlers.count(_HANDLER) for name in (OURS, CALLS))
