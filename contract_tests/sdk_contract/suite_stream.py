"""Streamed answers: a generator's items arrive one by one, on every platform that has streams."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Capability
from sdk.errors import ModelError

from .samples import ANSWER, FAIL, FAILURE, SLEEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.client.endpoint import Endpoint

    from .rig import Rig


class StreamSuite:
    """A model that yields its answer, through every platform's own way of streaming."""

    @pytest.fixture(scope="class")
    @classmethod
    def endpoint(cls, rig: Rig) -> Iterator[Endpoint]:
        """Provide an endpoint with the streaming model, shared by the tests of this class."""
        rig.need(Capability.STREAM)
        made = rig.client().deploy(rig.streaming(), name=rig.name("stream"))
        yield made
        made.delete()

    def test_items_in_order(self, endpoint: Endpoint) -> None:
        """Blocking and asynchronous streams have the items that a whole answer lists."""
        rows = [[ANSWER, 3.0]]
        wanted = [{"item": number} for number in range(3)]
        with endpoint.stream(rows) as answer:
            assert wanted == list(answer)
            assert answer.request_id
        assert wanted == endpoint.predict(rows).values

        async def ask() -> list[object]:
            async with await endpoint.astream(rows) as items:
                return [item async for item in items]

        assert wanted == asyncio.run(ask())

    def test_items_arrive_while_the_model_works(self, endpoint: Endpoint) -> None:
        """An answer without end has a beginning; closing the stream ends the model's work on it."""
        with endpoint.stream([[SLEEP, 0.01]]) as answer:
            assert [{"item": number} for number in range(5)] == list(islice(answer, 5))
        assert [{"item": 0}] == endpoint.predict([[ANSWER, 1.0]]).values, "the model is free again"

    def test_failures(self, endpoint: Endpoint) -> None:
        """An exception before the first item is an ordinary one; later the items so far are valid."""
        with pytest.raises(ModelError) as early:
            endpoint.stream([[FAIL, 0.0]])
        with endpoint.stream([[FAIL, 2.0]]) as answer:
            assert [{"item": 0}, {"item": 1}] == list(islice(answer, 2))
            with pytest.raises(ModelError) as late:
                next(answer)
        for failed in (early.value, late.value):
            assert 500 == failed.status
            assert failed.request_id
            assert FAILURE not in str(failed), "the text of an exception belongs into the log"
