"""Reading a log for long: trouble of the platform and deleted deployments end nothing, and nothing is shown twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import NotFoundError, ThrottledError, UnavailableError
from sdk_azureml._monitor import _BUSY_S, Monitor
from sdk_azureml._plan import DEPLOYMENT

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = "Instance status:\nSystemSetup: Succeeded\n\nContainer events:\n\nContainer logs:\n"


class Azure:
    """Answers to reads of logs, one after the other; the last one for ever.

    Attributes:
        answers: For each deployment.
        pauses: How long the reader waited.
    """

    place = SimpleNamespace(mini=False)

    def __init__(self, **answers: list[list[str] | Exception]) -> None:
        self.answers = answers
        self.pauses: list[float] = []

    def call(self, _method: str, _path: str, _operation: str, *, resource: str, **_: Any) -> Any:
        left = self.answers[resource]
        told = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(told, Exception):
            raise told
        return SimpleNamespace(json=lambda: {"content": HEADER + "".join(f"{line}\n" for line in told)})

    def server_time(self) -> float:
        return 0.0

    def lines(self, *, stop: Callable[[], bool], **how: Any) -> list[str]:
        """What is read until a pause after which it is enough."""
        deployments: Any = SimpleNamespace(
            observe=lambda *_: [SimpleNamespace(kind=DEPLOYMENT, id=f"churn.{one}") for one in self.answers],
            deployment_path=str,
        )
        arm: Any = self
        settings: dict[str, Any] = {"deployment": None, "tail": None, "follow": True, "request_id": None, **how}
        seen: list[str] = []

        def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            if stop():
                raise KeyboardInterrupt

        lines = Monitor(arm, deployments, lambda _: None).logs("churn", sleep=sleep, **settings)
        with pytest.raises(KeyboardInterrupt):
            seen.extend(line.text for line in lines)
        return seen


def test_a_busy_platform_does_not_end_a_reader() -> None:
    """It waits as long as it is asked to, at least some seconds, and shows each line once."""
    busy, away = ThrottledError("busy", retry_after_s=33.0), UnavailableError("away")
    azure = Azure(d1=[["a"], busy, away, ["a", "b"], ["b", "c"], ["c"]])
    assert ["a", "b", "c"] == azure.lines(stop=lambda: len(azure.pauses) == 6)
    assert [33.0, 10.0] == azure.pauses[1:3]


def test_a_platform_that_stays_away_is_an_error() -> None:
    azure = Azure(d1=[UnavailableError("away")])
    pauses: list[float] = []
    arm: Any = azure
    deployments: Any = SimpleNamespace(
        observe=lambda *_: [SimpleNamespace(kind=DEPLOYMENT, id="churn.d1")], deployment_path=str
    )
    reader = Monitor(arm, deployments, lambda _: None).logs(
        "churn", deployment=None, tail=None, follow=False, request_id=None, sleep=pauses.append
    )
    with pytest.raises(UnavailableError):
        list(reader)
    assert list(_BUSY_S) == pauses


def test_a_deployment_that_is_deleted_meanwhile_ends_nothing() -> None:
    """The others are shown; the one that was asked for by name is missed."""
    gone = NotFoundError("gone")
    azure = Azure(d1=[["a"], gone], d2=[["x"], ["x", "y"]])
    assert ["a", "x", "y"] == azure.lines(stop=lambda: len(azure.pauses) == 3)
    azure = Azure(d1=[gone])
    with pytest.raises(NotFoundError):
        azure.lines(stop=lambda: True, deployment="d1")
