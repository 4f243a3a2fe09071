"""Predictions: in the platform's envelope (``:predict``) or unchanged (``:rawPredict``), with the platform's limits."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from ..app import Dropped, Response
from ..hop import end_to_end, whole
from .api import Api, body_of
from .errors import Refusal, word_of
from .values import duration, part

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ..app import Request
    from .endpoints import Endpoints
    from .serving import Deployment, Fleet
    from .values import Json
    from .world import World

SHARED_BYTES, DEDICATED_BYTES = 1_572_864, 10_485_760
SHARED_S, DEDICATED_S = 60.0, 600.0
TOO_LARGE = (  # as in https://github.com/googleapis/python-aiplatform/issues/190
    "Failed to handle request. endpoint_id: {endpoint}, deployed_model_id: {number} with error: "
    "`Response size too large. Received at least {size} bytes; max is {limit}.`"
)
WAKING = "Model is not yet ready for inference. Please try again later."
_JSON = {"content-type": "application/json", "accept-encoding": "identity"}
_MINE = {"host", "authorization"}


@dataclass(frozen=True)
class Served:
    """One answered request: Unix time, deployed model, status, milliseconds in model and in total, bytes in and out."""

    at: float
    endpoint: str
    number: str
    status: int
    model_ms: float
    total_ms: float
    received: int
    sent: int


@dataclass
class Predictions:
    """The data plane of one region of one project.

    Attributes:
        served: The answered requests, oldest first.
        asleep: Endpoints that are scaled to zero, and how many requests it takes until they are ready.
    """

    world: World
    endpoints: Endpoints
    fleet: Fleet
    served: list[Served] = field(default_factory=list[Served])
    asleep: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        self._http = httpx.Client(limits=limits, trust_env=False)
        self.api = self._routes()

    def close(self) -> None:
        """Close the connections to the containers."""
        self._http.close()

    def _routes(self) -> Api:
        api = Api(self.world, "prediction")
        one = "/v1/projects/{project}/locations/{location}/endpoints/{endpoint}"
        for verb, operation, handler in (
            ("predict", "Predict", self.predict),
            ("rawPredict", "RawPredict", self.raw),
            ("streamRawPredict", "StreamRawPredict", self.stream),
        ):
            api.on("POST", f"{one}:{verb}", operation, changing=False, locked=False)(handler)
        api.on("POST", f"{one}/invoke/{{route:path}}", "Invoke", changing=False, locked=False)(self.invoke)
        return api

    def predict(self, request: Request) -> Json:
        """Return ``predictions`` for ``instances``, and which deployed model and version answered."""
        endpoint = self._endpoint(request)
        body = body_of(request)
        if not isinstance(body.get("instances"), list):
            raise Refusal("INVALID_ARGUMENT", "Required field instances is not set.")
        kept = {name: body[name] for name in ("instances", "parameters") if name in body}
        made, answer = self._ask(endpoint, json.dumps(kept).encode(), _JSON)
        if answer.status_code >= 400:
            raise Refusal(word_of(answer.status_code), answer.text, status=answer.status_code)
        try:
            told = answer.json()
            predictions = told["predictions"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal("INTERNAL", "The response of the model server holds no predictions.") from error
        more = {"metadata": told["metadata"]} if "metadata" in told else {}
        return {
            "predictions": predictions, **more, "deployedModelId": made.number, "model": made.model["name"],
            "modelDisplayName": made.model["displayName"], "modelVersionId": made.model["versionId"],
        }  # fmt: skip

    def raw(self, request: Request) -> Response:
        """Forward body and headers unchanged, and return the answer unchanged."""
        endpoint = self._endpoint(request)
        headers = _forwarded(request)
        made, answer = self._ask(endpoint, request.body, headers)
        return self._through(made, endpoint, answer)

    def stream(self, request: Request) -> Response:
        """Forward as :meth:`raw` does, and return the answer piece by piece, as the container sends it."""
        endpoint = self._endpoint(request)
        made, url = self._where(endpoint)
        begin, content = time.monotonic(), request.body
        asked = self._http.build_request(
            "POST", url, content=content, headers=_forwarded(request), timeout=seconds_of(endpoint)
        )
        with self._lost(endpoint, made, (begin, begin), len(content)):
            told = self._http.send(asked, stream=True)

        def pieces() -> Iterator[bytes]:
            size = 0
            try:
                for piece in told.iter_raw():
                    size += len(piece)
                    yield piece
            except httpx.HTTPError:
                raise Dropped from None
            finally:
                told.close()
                self._note(endpoint, made, told.status_code, (begin, begin), (len(content), size))

        return Response(told.status_code, pieces(), _headers(made, endpoint, told))

    def invoke(self, request: Request) -> Response:
        """Call any route of the container, on dedicated endpoints only."""
        endpoint = self._endpoint(request)
        if not endpoint.get("dedicatedEndpointEnabled"):
            raise Refusal("FAILED_PRECONDITION", "invoke is supported on dedicated endpoints only.")
        headers = _forwarded(request)
        made, answer = self._ask(endpoint, request.body, headers, route=f"/{request.params['route']}")
        return self._through(made, endpoint, answer)

    @staticmethod
    def _through(made: Deployment, endpoint: Json, answer: httpx.Response) -> Response:
        return Response(answer.status_code, answer.extensions["raw"], _headers(made, endpoint, answer))

    def _endpoint(self, request: Request) -> Json:
        with self.world.lock:
            endpoint = self.endpoints.find(request.params["endpoint"])
        dedicated = bool(endpoint.get("dedicatedEndpointEnabled"))
        at_home = request.headers.get("host") == endpoint.get("dedicatedEndpointDns")
        if dedicated and not at_home:
            raise Refusal(
                "FAILED_PRECONDITION",
                f"This endpoint is a dedicated endpoint and cannot be accessed through the shared domain; use "
                f"https://{endpoint['dedicatedEndpointDns']}.",
            )
        limit = bytes_of(endpoint)
        if len(request.body) > limit:
            raise Refusal("INVALID_ARGUMENT", f"Request payload size exceeds the limit: {limit} bytes.")
        if self.asleep.get(request.params["endpoint"], 0) > 0:
            self.asleep[request.params["endpoint"]] -= 1
            raise Refusal("RESOURCE_EXHAUSTED", WAKING)
        return endpoint

    def _ask(
        self, endpoint: Json, content: bytes, headers: dict[str, str], *, route: str | None = None
    ) -> tuple[Deployment, httpx.Response]:
        begin = time.monotonic()
        made, url = self._where(endpoint, route)
        limit = seconds_of(endpoint)
        sent = time.monotonic()
        with (
            self._lost(endpoint, made, (begin, sent), len(content)),
            self._http.stream("POST", url, content=content, headers=headers, timeout=limit) as told,
        ):
            answer = whole(told, b"".join(told.iter_raw()))
        size = len(answer.extensions["raw"])
        self._note(endpoint, made, answer.status_code, (begin, sent), (len(content), size))
        if size > (most := bytes_of(endpoint)):
            words = TOO_LARGE.format(endpoint=made.endpoint, number=made.number, size=size, limit=most)
            raise Refusal("INVALID_ARGUMENT", words)
        return made, answer

    def _where(self, endpoint: Json, route: str | None = None) -> tuple[Deployment, str]:
        """Choose the deployed model, and return its URL."""
        made = self.fleet.choose(endpoint)
        return made, f"{made.address()}{route or made.predict_route}"

    @contextmanager
    def _lost(self, endpoint: Json, made: Deployment, times: tuple[float, float], received: int) -> Generator[None]:
        """Convert a container's missing answer to the platform's refusal."""
        try:
            yield
        except httpx.TimeoutException as error:
            self._note(endpoint, made, 504, times, (received, 0))
            text = f"The model server did not answer within {seconds_of(endpoint):g} s."
            raise Refusal("DEADLINE_EXCEEDED", text) from error
        except httpx.TransportError as error:
            self._note(endpoint, made, 503, times, (received, 0))
            raise Refusal("UNAVAILABLE", "The model server is not available.") from error

    def _note(
        self, endpoint: Json, made: Deployment, status: int, times: tuple[float, float], sizes: tuple[int, int]
    ) -> None:
        """Record a request: when it arrived and when it was forwarded, bytes in and out."""
        now, (begin, sent) = time.monotonic(), times
        name = endpoint["name"].rpartition("/")[2]
        model_ms, total_ms = (now - sent) * 1000, (now - begin) * 1000
        self.served.append(Served(time.time(), name, made.number, status, model_ms, total_ms, *sizes))


def _headers(made: Deployment, endpoint: Json, answer: httpx.Response) -> dict[str, str]:
    return {
        **end_to_end(answer.headers),
        "x-vertex-ai-endpoint-id": endpoint["name"].rpartition("/")[2],
        "x-vertex-ai-deployed-model-id": made.number,
        "x-vertex-ai-model": made.model["name"],
        "x-vertex-ai-model-version-id": made.model["versionId"],
    }


def _forwarded(request: Request) -> dict[str, str]:
    """Return the headers to forward; the container may only use an encoding that the client accepts."""
    given = {name: text for name, text in end_to_end(request.headers).items() if name not in _MINE}
    return {"accept-encoding": "identity", **given}


def bytes_of(endpoint: Json) -> int:
    """Return how large a request, or its answer, may be."""
    return DEDICATED_BYTES if endpoint.get("dedicatedEndpointEnabled") else SHARED_BYTES


def seconds_of(endpoint: Json) -> float:
    """Return how long a request may take; a dedicated endpoint can set this."""
    if not endpoint.get("dedicatedEndpointEnabled"):
        return SHARED_S
    return duration(part(endpoint, "clientConnectionConfig"), "inferenceTimeout", DEDICATED_S)


__all__ = ["WAKING", "Predictions", "Served"]
