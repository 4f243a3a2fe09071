"""Every error: its class, whether to try again, its facts, and the exit code it ends a command with."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from sdk import errors
from sdk.errors import Leftover

LEFT = Leftover("Endpoint", "churn", "it would not go", 0.5, "mlport delete churn")
# class: (exit code, retryable, also a)
KINDS: dict[type[errors.SdkError], tuple[int, bool, type[BaseException]]] = {
    errors.SdkError: (1, False, Exception),
    errors.ConfigError: (3, False, ValueError),
    errors.UnknownKeyError: (3, False, errors.ConfigError),
    errors.InvalidNameError: (3, False, errors.ConfigError),
    errors.MissingExtraError: (3, False, ImportError),
    errors.UntrustedConfigError: (3, False, errors.ConfigError),
    errors.PackagingError: (1, False, errors.SdkError),
    errors.LockMismatchError: (1, False, errors.PackagingError),
    errors.UnsupportedError: (2, False, NotImplementedError),
    errors.PlatformError: (1, False, errors.SdkError),
    errors.AuthError: (4, False, errors.PlatformError),
    errors.SecurityError: (4, False, errors.AuthError),
    errors.QuotaError: (6, False, errors.PlatformError),
    errors.NotFoundError: (5, False, LookupError),
    errors.ConflictError: (1, False, errors.PlatformError),
    errors.DriftError: (1, False, errors.ConflictError),
    errors.ThrottledError: (1, True, errors.PlatformError),
    errors.UnavailableError: (1, True, errors.PlatformError),
    errors.InvalidRequestError: (1, False, ValueError),
    errors.PayloadTooLargeError: (1, False, ValueError),
    errors.UnreadableError: (1, False, ValueError),
    errors.PlanStale: (1, False, errors.SdkError),
    errors.DeployFailed: (1, False, errors.SdkError),
    errors.RollbackFailed: (8, False, errors.DeployFailed),
    errors.TrainFailed: (1, False, errors.SdkError),
    errors.ModelError: (1, False, errors.SdkError),
    errors.InvalidInputError: (1, False, ValueError),
    errors.TimedOut: (124, False, TimeoutError),
    errors.JournalError: (1, False, errors.SdkError),
    errors.JournalDamaged: (1, False, errors.JournalError),
    errors.GateFailed: (7, False, errors.SdkError),
    errors.Interrupted: (130, False, errors.SdkError),
}
FACTS: dict[str, Any] = {
    "provider": "fake",
    "operation": "CreateEndpoint",
    "resource": "churn",
    "status": 503,
    "request_id": "r-1",
    "hint": "do this",
}


def test_table_is_complete() -> None:
    """No public error class is missing in this file."""
    public = {
        value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.SdkError) and not name.startswith("_")
    }
    assert public == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_error(kind: type[errors.SdkError]) -> None:
    """Class, retryable, status, request id, hint and exit code are as documented, in text and as plain data."""
    code, retryable, base = KINDS[kind]
    error = kind("it went wrong", **FACTS)
    assert (code, retryable) == (error.exit_code, error.retryable)
    assert isinstance(error, base)
    assert FACTS == {name: getattr(error, name) for name in FACTS}
    assert str(error).startswith("it went wrong; do this")
    plain = error.to_dict()
    assert {**FACTS, "error": kind.__name__, "retryable": retryable} == {
        key: plain[key] for key in (*FACTS, "error", "retryable")
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_retryable_can_be_said_otherwise(kind: type[errors.SdkError]) -> None:
    """An adapter that knows better overrides the class."""
    assert kind("x", retryable=True).retryable
    assert not kind("x", retryable=False).retryable


@pytest.mark.parametrize("kind", [errors.DeployFailed, errors.TrainFailed, errors.RollbackFailed])
def test_failures_show_reason_lines_and_leftovers(kind: type[errors.DeployFailed]) -> None:
    """What is left over and the last log lines are part of the text."""
    error = kind("it failed", reason="out of memory", logs=["line one"], leftovers=[LEFT])
    text = str(error)
    assert "line one" in text
    assert "Endpoint churn ($0.5/h): it would not go; remove it with: mlport delete churn" in text
    assert ("out of memory", ["line one"]) == (error.to_dict()["reason"], error.to_dict()["logs"])
