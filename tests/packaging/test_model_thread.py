"""A model that does not answer while it is packed: packing ends with a reason, and what can be stopped is stopped."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import missing
from sdk.packaging.model import model
from sdk.packaging.model_thread import ModelThread

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = "100ms"


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Check that no thread of a model runs on after the test."""
    before = {*threading.enumerate()}
    yield
    for thread in {*threading.enumerate()} - before:
        if thread.name == "mlport-model":
            thread.join(30)
            assert not thread.is_alive()


def spin(*_: Any) -> Any:
    number = 0
    while True:
        number += 1


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"__init__": spin}, "Mine() takes more than 100ms"),
        ({"load": spin}, "load('model') of Mine takes more than 100ms"),
        ({"predict": spin}, "the model's answer to its example takes more than 100ms"),
    ],
    ids=["__init__", "load", "predict"],
)
def test_an_endless_call_is_stopped(parts: dict[str, Any], said: str) -> None:
    subject = type("Mine", (), {"predict": lambda _, rows: rows, **parts})
    with pytest.raises(PackagingError) as caught:
        model(subject, name="mine", example=[[1.0]], answer_within=SHORT)
    assert said == caught.value.message
    assert 'answer_within="30m"' in str(caught.value.hint)


def test_a_call_that_cannot_be_stopped_is_reported() -> None:
    """Nothing interrupts a call within C; packing ends nevertheless."""
    end = threading.Event()

    def blocked(_: Any) -> Any:
        end.wait(60)

    try:
        with pytest.raises(PackagingError, match="takes more than 100ms; the call runs on, since it cannot be stopped"):
            model(blocked, name="mine", example=[[1.0]], answer_within=SHORT)
    finally:
        end.set()


def test_an_answer_that_is_awaited_in_vain() -> None:
    end = threading.Event()

    async def waits(_: Any) -> Any:
        await asyncio.to_thread(end.wait)

    try:
        with pytest.raises(PackagingError, match="the model's answer to its example takes more than 100ms"):
            model(waits, name="mine", example=[[1.0]], answer_within=0.1)
    finally:
        end.set()


def test_a_model_without_an_answer_to_a_missing_value_accepts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some algorithms iterate until a number is small enough, which NaN never is."""

    def halved(rows: Any) -> Any:
        def small(value: float) -> float:
            while not value < 1:
                value /= 2
            return value

        return [small(float(row[0])) for row in rows]

    monkeypatch.setattr(missing, "SECONDS", 0.2)
    signature = model(halved, name="halved", example=[[3.0], [5.0]]).signature
    assert signature is not None
    assert (False, "float64") == (signature.allow_nan, signature.outputs[0].dtype)


def test_one_thread_loads_and_answers() -> None:
    """As in the server: a connection of SQLite, for example, is only usable where it was opened."""

    class Mine:
        def load(self, _: str) -> None:
            import sqlite3

            self.database = sqlite3.connect(":memory:")

        def predict(self, rows: Any) -> Any:
            return [self.database.execute("select ? * 2", (float(row[0]),)).fetchone()[0] for row in rows]

    signature = model(Mine, name="mine", example=[[1.0], [2.0]]).signature
    assert signature is not None
    assert ((-1,),) == tuple(one.shape for one in signature.outputs)


def test_a_long_call_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    end = threading.Event()
    thread = ModelThread(60, reported_s=0.01)

    class Ends(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            end.set()

    log, handler = logging.getLogger("sdk.packaging.model_thread"), Ends()
    log.addHandler(handler)
    try:
        assert thread.call(lambda: end.wait(30), "the answer", hint="none")
    finally:
        log.removeHandler(handler)
        thread.close()
    assert ["still waiting for the answer, at most 1m"] == caplog.messages


@pytest.mark.parametrize("wrong", [0, -1, "soon", True, math.nan])
def test_wrong_times_are_named(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="answer_within = "):
        model(len, name="mine", example=[[1.0]], answer_within=wrong)
