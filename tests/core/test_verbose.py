"""Log lines on demand."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk.redact import MASK, Redactor
from sdk.verbose import _FORMATTER, _HANDLER, LOGGERS, log_to_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
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
    logging.getLogger("httpx").info("HTTP Request: GET x")
    logging.getLogger("sdk.x").debug("detail")
    shown = capsys.readouterr()
    assert ("", 1, False) == (shown.out, shown.err.count("INFO httpx: HTTP Request: GET x"), "detail" in shown.err)


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
    """`MLPORT_LOG=info` shows every call that is made."""
    with Client(home.load(env)):
        assert handlers == logging.getLogger("httpx").handlers.count(_HANDLER)
