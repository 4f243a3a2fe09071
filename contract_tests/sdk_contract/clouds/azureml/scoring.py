"""The front of every endpoint: authentication, choice of the deployment, and conversion of the container's answer.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..app import Dropped, Match, Response
from ..hop import end_to_end
from .answers import failure, table, trouble
from .durations import seconds_of
from .traffic import Turns
from .wire import Pool, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from ..app import Request
    from ..faults import Fault
    from .monitor import Counters
    from .online import Deployment, Endpoint

PIN = "azureml-model-deployment"
_DROPPED = frozenset({"authorization", "host", PIN})
_TIMEOUT_S = 5.0  # Azure's time-out of a request unless the deployment sets one
_CONCURRENCY = 1
_QUEUE = 2  # as many more requests as may run at once


class Scoring:
    """The scoring service, one of the services of the cloud.

    Attributes:
        inside: Whether requests come from the network of the workspace's private endpoint.

    Args:
        endpoint: Finds an endpoint by its name and region; an empty region means the first one.
        counters: Counts the requests.
        valid: Checks whether a token is one of this cloud.
        seed: Seed of the choice of mirrored requests.
    """

    def __init__(
        self,
        endpoint: Callable[[str, str], Endpoint | None],
        counters: Counters,
        valid: Callable[[str], bool],
        seed: int,
    ) -> None:
        self._endpoint, self._counters, self._valid = endpoint, counters, valid
        self.inside = False
        self._turns: dict[str, Turns] = {}
        self._open: dict[tuple[str, str], int] = {}
        self._pool = Pool()
        self._random = random.Random(seed)
        self._mirrors: set[asyncio.Task[Any]] = set()

    def find(self, request: Request) -> Match | None:
        """Return the operation that the request means."""
        head, _, rest = request.path.removeprefix("/").partition("/")
        if head != "score":
            return None
        name, _, path = rest.partition("/")
        return Match("scoring", "Score", self._score, name, False, {"endpoint": name, "path": f"/{path}"})

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in Azure's format."""
        return trouble(request, match, fault)

    # --- one request

    async def _score(self, request: Request) -> Response:
        begun, seen = time.monotonic(), str(uuid.uuid4())
        endpoint = self._endpoint(*request.params["endpoint"].partition(".")[::2])
        if endpoint is None:
            return failure(404, "NotFound", "There is no endpoint of this name.")
        if endpoint.body["properties"].get("publicNetworkAccess") == "Disabled" and not self.inside:
            # The wording is not documented (likely).
            return failure(403, "Forbidden", "Public network access is disabled.", x_request_id=seen)
        if not self._may_call(request, endpoint):
            return failure(
                401, "Unauthorized", "The request is not authorized: check the key or token.", x_request_id=seen
            )
        deployment = self._chosen(request, endpoint)
        if deployment is None:
            return failure(
                404, "NoValidDeployments", "There is no deployment to route the request to.", x_request_id=seen
            )
        call = _Call(request.method, request.params["path"], _headers(request, seen), request.body)
        response, model_status = await self._passed_on(call, endpoint, deployment)
        self._mirror(call, endpoint)
        took = (time.monotonic() - begun) * 1000
        self._counters.add(endpoint.key, deployment.name, response.status, model_status, took)
        response.headers |= {PIN: deployment.name, "x-request-id": seen}
        return response

    def _may_call(self, request: Request, endpoint: Endpoint) -> bool:
        secret = request.headers.get("authorization", "").partition(" ")[2]
        mode = endpoint.body["properties"]["authMode"]
        if mode == "Key":
            return secret in endpoint.keys
        if mode == "AMLToken":
            return endpoint.tokens.get(secret, 0.0) > time.time()
        return self._valid(secret)

    def _chosen(self, request: Request, endpoint: Endpoint) -> Deployment | None:
        pinned = request.headers.get(PIN)
        name = pinned or self._turns.setdefault(endpoint.key, Turns()).next(endpoint.traffic)
        return endpoint.deployments.get(name) if name else None

    async def _passed_on(self, call: _Call, endpoint: Endpoint, deployment: Deployment) -> tuple[Response, int | None]:
        """Return the reply, and the status of the container's own answer."""
        settings: Mapping[str, Any] = table(deployment.body["properties"].get("requestSettings"))
        most = int(settings.get("maxConcurrentRequestsPerInstance") or _CONCURRENCY) * deployment.capacity
        key = endpoint.key, deployment.name
        if self._open.get(key, 0) >= _QUEUE * most:
            return failure(429, "TooManyRequests", "Too many requests are in flight.", retry_after="1"), None
        self._open[key] = self._open.get(key, 0) + 1
        timeout = seconds_of(settings["requestTimeout"]) if settings.get("requestTimeout") else _TIMEOUT_S
        end = time.monotonic() + timeout
        async with AsyncExitStack() as ending:
            ending.callback(self._leave, key)
            try:
                async with asyncio.timeout(timeout):
                    response, status = await self._asked(call, deployment)
            except TimeoutError:
                return failure(408, "RequestTimeout", f"The request took longer than {timeout:g} s."), None
            if not isinstance(response.body, bytes):
                ending.pop_all()
                response.body = self._streamed(cast("AsyncGenerator[bytes]", response.body), key, end)
            return response, status

    def _leave(self, key: tuple[str, str]) -> None:
        self._open[key] -= 1

    async def _streamed(self, body: AsyncGenerator[bytes], key: tuple[str, str], end: float) -> AsyncGenerator[bytes]:
        """Iterate over the pieces of a body until the request's time is over (likely: Azure documents no other)."""
        try:
            async with aclosing(body):
                while piece := await asyncio.wait_for(anext(body, None), end - time.monotonic()):
                    yield piece
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            raise Dropped from None
        finally:
            self._leave(key)

    async def _asked(self, call: _Call, deployment: Deployment) -> tuple[Response, int | None]:
        fleet = deployment.serving
        where = fleet.pick()
        if where is None:
            return failure(502, "BadGateway", "The container does not run."), None
        fleet.open += 1
        try:
            status, told, body = await self._pool.send(where, call.method, call.path, call.headers, call.body)
        except Unreachable:
            return failure(502, "BadGateway", "The container did not answer."), None
        finally:
            fleet.open -= 1
        kept = end_to_end(told)
        if status == 200:
            return Response(200, body, kept), 200
        reason = {"ms-azureml-model-error-statuscode": str(status), "ms-azureml-model-error-reason": "model_error"}
        return Response(424, body, {**kept, **reason}), status

    def _mirror(self, call: _Call, endpoint: Endpoint) -> None:
        """Send a copy of some requests to the shadow deployment; its answers are discarded."""
        for name, share in endpoint.mirrored.items():
            deployment = endpoint.deployments.get(name)
            if deployment is None or self._random.randrange(100) >= share:
                continue
            task = asyncio.get_running_loop().create_task(self._shadow(call, endpoint, deployment))
            self._mirrors.add(task)
            task.add_done_callback(self._mirrors.discard)

    async def _shadow(self, call: _Call, endpoint: Endpoint, deployment: Deployment) -> None:
        begun = time.monotonic()
        response, model_status = await self._passed_on(call, endpoint, deployment)
        if not isinstance(response.body, bytes):
            _ = [piece async for piece in cast("AsyncGenerator[bytes]", response.body)]
        took = (time.monotonic() - begun) * 1000
        self._counters.add(endpoint.key, deployment.name, response.status, model_status, took)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request to forward to a container; outlives the request it was made from."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def _headers(request: Request, seen: str) -> dict[str, str]:
    given = {name: text for name, text in end_to_end(request.headers).items() if name not in _DROPPED}
    return {**given, "x-request-id": seen}
