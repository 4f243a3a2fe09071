"""Predictions: the same answers, the same errors, wherever the model runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Capability
from sdk.errors import InvalidInputError, ModelError, PayloadTooLargeError, UnsupportedError

from .samples import ANSWER, FAIL, FAILURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.client.endpoint import Endpoint

    from .rig import Rig


class PredictSuite:
    """One data plane, through every platform's envelope."""

    @pytest.fixture(scope="class")
    @classmethod
    def endpoint(cls, rig: Rig) -> Iterator[Endpoint]:
        """Provide an endpoint with model 1, shared by the tests of this class."""
        made = rig.client().deploy(rig.model(1), name=rig.name("predict"))
        yield made
        made.delete()

    def test_rows_are_answered_in_order(self, endpoint: Endpoint) -> None:
        """Each row has its answer, as a plain Python value."""
        answer = endpoint.predict([[ANSWER, float(x)] for x in range(50)])
        assert [x + 1.0 for x in range(50)] == list(answer.values)
        assert {float} == {type(value) for value in answer.values}

    def test_arrays_are_rows(self, endpoint: Endpoint) -> None:
        """A numpy array is the same input as the list of its rows."""
        numpy = pytest.importorskip("numpy")
        rows = [[ANSWER, 1.5], [ANSWER, 2.5]]
        assert [2.5, 3.5] == list(endpoint.predict(numpy.array(rows)).values) == list(endpoint.predict(rows).values)

    def test_it_says_who_answered(self, rig: Rig, endpoint: Endpoint) -> None:
        """An answer names its request, and its deployment where the platform reports it."""
        answer = endpoint.predict([[ANSWER, 1.0]])
        (deployment,) = rig.client().status(endpoint.name).deployments
        assert answer.request_id
        assert answer.deployment in ({deployment.id} if rig.can(Capability.PIN) else {None, deployment.id})
        assert answer.latency_ms > 0

    def test_without_blocking(self, endpoint: Endpoint) -> None:
        """Apredict gives the same answers, many at a time."""

        async def ask() -> list[float]:
            answers = await asyncio.gather(*(endpoint.apredict([[ANSWER, float(x)]]) for x in range(10)))
            return [float(answer.values[0]) for answer in answers]

        assert [x + 1.0 for x in range(10)] == asyncio.run(ask())

    def test_predictions_are_streamed(self, rig: Rig, endpoint: Endpoint) -> None:
        """The items of a model that does not stream are its predictions; a refusal is the same error."""
        rig.need(Capability.STREAM)
        assert [2.0, 3.0] == list(endpoint.stream([[ANSWER, 1.0], [ANSWER, 2.0]]))
        with pytest.raises(InvalidInputError):
            endpoint.stream([[ANSWER]])

    def test_the_models_own_failure(self, rig: Rig, endpoint: Endpoint) -> None:
        """An exception in the model is a ModelError with the container's own status, not the platform's; no trace."""
        with pytest.raises(ModelError) as failed:
            endpoint.predict([[FAIL, 0.0]])
        assert not isinstance(failed.value, InvalidInputError)
        assert 500 == failed.value.status
        assert rig.adapter.provider == failed.value.provider
        assert failed.value.request_id
        assert not failed.value.retryable
        assert FAILURE not in str(failed.value), "the text of an exception belongs into the log"

    @pytest.mark.parametrize("rows", [[[ANSWER]], [[ANSWER, "x"]], [[ANSWER, 1.0], [ANSWER]]])
    def test_wrong_input_is_named(self, endpoint: Endpoint, rows: list[list[object]]) -> None:
        """Input that the model cannot take is an InvalidInputError with the container's 400 and the field."""
        with pytest.raises(InvalidInputError) as refused:
            endpoint.predict(rows)
        assert 400 == refused.value.status
        assert refused.value.field

    def test_no_rows_are_refused(self, endpoint: Endpoint) -> None:
        """Nothing to predict is the caller's mistake, on every platform."""
        with pytest.raises(InvalidInputError):
            endpoint.predict([])

    def test_an_unknown_deployment_is_an_error(self, rig: Rig, endpoint: Endpoint) -> None:
        """A request for a missing deployment is never answered by another one."""
        if not rig.can(Capability.PIN):
            with pytest.raises(UnsupportedError):
                endpoint.predict([[ANSWER, 1.0]], deployment="d00000000")
            return
        with pytest.raises(Exception, match=r".") as refused:
            endpoint.predict([[ANSWER, 1.0]], deployment="d00000000")
        assert refused.type.__module__ == "sdk.errors"

    def test_too_much_is_cut_or_refused(self, rig: Rig, endpoint: Endpoint) -> None:
        """A single row over the platform's limit is a PayloadTooLargeError before it is sent."""
        adapter = rig.make()
        limit = adapter.limits().request_bytes
        adapter.close()
        if limit > 64 * 2**20:
            pytest.skip(f"{limit} bytes are too many to try")
        with pytest.raises(PayloadTooLargeError):
            endpoint.predict(["x" * (limit + 1)])

    def test_the_request_works_elsewhere(self, rig: Rig, endpoint: Endpoint) -> None:
        """The signed request of an endpoint can be sent by any other HTTP client."""
        request = endpoint.request([[ANSWER, 4.0]])
        with rig.http() as client:
            answer = client.send(request)
        assert 200 == answer.status_code, answer.text

    def test_credentials_are_needed(self, rig: Rig, endpoint: Endpoint) -> None:
        """The same request without its credentials is refused, on platforms that protect their endpoints."""
        if not rig.protected:
            pytest.skip(f"{rig.adapter.provider} endpoints are open")
        request = endpoint.request([[ANSWER, 4.0]])
        for name in ("authorization", "x-amz-security-token", "api-key"):
            request.headers.pop(name, None)
        with rig.http() as client:
            assert client.send(request).status_code in {401, 403}

    def test_no_credential_shows(self, endpoint: Endpoint) -> None:
        """The handle of an endpoint and its invoker can be printed without revealing a credential."""
        request = endpoint.request([[ANSWER, 4.0]])
        secret = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secret:
            pytest.skip("no credential in this request")
        assert secret not in repr(endpoint)
        assert secret not in repr(endpoint.status)
