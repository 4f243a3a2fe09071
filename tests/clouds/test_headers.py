"""What a container says reaches the caller as each platform passes it on: end-to-end headers, bytes as they came."""

from __future__ import annotations

import asyncio
import doctest
import gzip
import io
import json
import threading
import time
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from sdk_contract.clouds import hop
from sdk_contract.clouds.app import Request
from sdk_contract.clouds.azureml.containers import Fleet
from sdk_contract.clouds.azureml.monitor import Counters
from sdk_contract.clouds.azureml.online import Deployment, Endpoint
from sdk_contract.clouds.azureml.scoring import Scoring
from sdk_contract.clouds.sagemaker import runtime
from sdk_contract.clouds.stub_program import Handler
from sdk_contract.clouds.timing import Pace
from sdk_contract.clouds.vertex.identity import Identity
from sdk_contract.clouds.vertex.predicting import Predictions
from sdk_contract.clouds.vertex.world import Common, World

if TYPE_CHECKING:
    from collections.abc import Iterator

SAY = "encoded by the container"
FORMS = {"content-type": "text/csv; header=present", "accept": "text/csv, application/json;q=0.5"}
BODY = json.dumps({"do": "encode", "say": SAY}).encode()


def test_examples_are_true() -> None:
    found = doctest.testmod(hop)
    assert (0, True) == (found.failed, found.attempted > 0)


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """The stub's server, as a container would run it; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass
class Running:
    """A container that somebody else runs."""

    address: str
    exit_code: int | None = None


def test_azure_passes_end_to_end_headers(container: str) -> None:
    """The encoding and the container's own header arrive, what was for the gateway does not, and back the same."""
    route = {"path": "/score", "port": 0}
    fleet = Fleet("f", "i", {}, {"scoringRoute": route, "readinessRoute": route}, time.monotonic())
    fleet.running.append(Running(container))  # type: ignore[arg-type]  # all that is asked of it
    line = Pace().line(final="Succeeded")
    endpoint = Endpoint("e", {"properties": {"authMode": "Key", "traffic": {"BLUE": 100}}}, line)
    endpoint.deployments["blue"] = Deployment("blue", {"sku": {"capacity": 1}, "properties": {}}, line, fleet)
    scoring = Scoring(lambda name, _: {"e": endpoint}.get(name), Counters(), lambda _: True, 0)

    async def ask(body: bytes, **headers: str) -> Any:
        given = {"authorization": f"Bearer {endpoint.keys[0]}", **headers}
        request = Request("POST", "/score/e/score", headers=given, content=io.BytesIO(body))
        match = scoring.find(request)
        assert match is not None
        request.params = match.params
        answer: Any = match.handler(request)
        return await answer

    async def both() -> tuple[Any, Any]:
        more = {"x-mine": "1", "x-yours": "2", "te": "trailers", **FORMS}
        return await ask(BODY), await ask(b"{}", connection="x-mine", **more)

    answer, echo = asyncio.run(both())
    assert ("gzip", "for the client") == (answer.headers["content-encoding"], answer.headers["x-stub"])
    assert SAY == gzip.decompress(answer.body).decode()
    assert not {"x-hop", "connection", "transfer-encoding"} & answer.headers.keys()
    assert "text/plain" == answer.headers["content-type"]
    seen = json.loads(echo.body)["headers"]
    assert FORMS == {name: seen[name] for name in FORMS}
    assert "2" == seen["x-yours"]
    assert not {"x-mine", "te", "authorization"} & seen.keys()


@dataclass
class Deployed:
    """A deployed model whose container somebody else runs."""

    base: str
    endpoint: str = "e"
    number: str = "1"
    predict_route: str = "/predict"

    @property
    def model(self) -> dict[str, Any]:
        """What the platform says of its model."""
        return {"name": "projects/p/locations/l/models/m", "displayName": "m", "versionId": "1"}

    def address(self) -> str:
        """Where it listens."""
        return self.base


class OnlyOne:
    """An endpoint with one deployed model, and its fleet."""

    def __init__(self, base: str) -> None:
        self.base = base

    def find(self, name: str) -> dict[str, Any]:
        """The endpoint."""
        return {"name": f"projects/p/locations/l/endpoints/{name}"}

    def choose(self, _: Any) -> Deployed:
        """What answers."""
        return Deployed(self.base)


def test_vertex_passes_raw_predictions_as_they_are(container: str) -> None:
    """Bytes and end-to-end headers go through `:rawPredict` both ways; `:predict` reads what it has to envelop."""
    one: Any = OnlyOne(container)
    made = Predictions(World("p", "l", Common(Pace(), Identity("p"))), one, one)
    params = {"project": "p", "location": "l", "endpoint": "e"}

    def request(body: bytes, **headers: str) -> Request:
        return Request("POST", "/", headers=headers, content=io.BytesIO(body), params=params)

    try:
        answer = made.raw(request(BODY))
        assert ("gzip", "for the client") == (answer.headers["content-encoding"], answer.headers["x-stub"])
        assert isinstance(answer.body, bytes)
        assert SAY == gzip.decompress(answer.body).decode()
        assert not {"x-hop", "connection"} & answer.headers.keys()
        wanted = {"accept-encoding": "zstd", "x-yours": "2", "connection": "x-mine", "x-mine": "1", **FORMS}
        echo = made.raw(request(b"{}", **wanted))
        assert isinstance(echo.body, bytes)
        seen = json.loads(echo.body)["headers"]
        assert "text/plain" == answer.headers["content-type"]
        assert FORMS == {name: seen[name] for name in FORMS}
        assert ("zstd", "2") == (seen["accept-encoding"], seen["x-yours"])
        assert "x-mine" not in seen
    finally:
        made.close()


def test_sagemaker_passes_the_forms_of_body_and_answer() -> None:
    """ContentType and Accept of InvokeEndpoint reach the container, in the streaming form too; others do not."""
    prefix = "x-amzn-sagemaker-"
    for given in (FORMS, {f"{prefix}{name}": value for name, value in FORMS.items()}):
        request = Request("POST", "/", headers={**given, "x-yours": "2"}, content=io.BytesIO(b""))
        assert {**FORMS, "accept-encoding": "identity"} == runtime._forwarded(request)
