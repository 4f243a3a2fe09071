"""The data plane: forwards a request to a variant by weight or by name, and answers in SageMaker's envelope."""

from __future__ import annotations

import asyncio
import functools
import json
import struct
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httpx

from ..app import Match, Request, Response
from ..hop import whole
from ..traffic import Sample
from .errors import AwsError, render, request_id, trouble
from .keys import partition_of
from .members import RUNTIME
from .shapes import check, check_played, service_model

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from ..faults import Fault
    from .endpoints import Endpoint, Endpoints
    from .fleet import Variant
    from .keys import Spot
    from .sigv4 import Signature
    from .world import World

_SYNC, _STREAM = "invocations", "invocations-response-stream"
_OPERATIONS = {_SYNC: "InvokeEndpoint", _STREAM: "InvokeEndpointWithResponseStream"}
LIMIT, SERVERLESS_LIMIT = 6 * 2**20, 4 * 2**20
_ANSWER_S = 60.0
_PREFIX = "x-amzn-sagemaker-"
_KEPT = ("content-type", "accept")
_RETURNED = ("custom-attributes", "new-session-id", "closed-session-id")
"""The container headers that ``InvokeEndpoint`` returns besides the content type; SageMaker drops all others.

Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""
_MOST_SAID = 1024


@dataclass
class Trip:
    """One request in progress: its endpoint and variant, and when it arrived and was forwarded (seconds)."""

    record: Endpoint
    variant: Variant
    arrived: float = field(default_factory=time.perf_counter)
    sent: float = field(default_factory=time.perf_counter)

    def sample(self, status: int) -> Sample:
        """Return its record for the metrics, when it ends."""
        return Sample(time.time(), status, time.perf_counter() - self.sent, self.sent - self.arrived)


class Runtime:
    """``InvokeEndpoint`` and its streaming form.

    Args:
        world: The state that all parts share: clock, random numbers, traffic.
        endpoints: The endpoints that can be called.
        signature: Reads and checks the signature of a request.
        limit: Largest body in bytes.
    """

    def __init__(
        self,
        world: World,
        endpoints: Endpoints,
        signature: Callable[[Request], Signature | None],
        *,
        limit: int = LIMIT,
    ) -> None:
        self._world, self._endpoints, self._signature, self._limit = world, endpoints, signature, limit
        self._made: httpx.AsyncClient | None = None  # created in the server's event loop
        self._copies: set[asyncio.Task[None]] = set()

    def find(self, request: Request) -> Match | None:
        """Match an invocation."""
        parts = request.path.split("/")
        if len(parts) != 4 or parts[1] != "endpoints" or parts[3] not in _OPERATIONS or request.method != "POST":
            return None
        params = {"name": unquote(parts[2]), "kind": parts[3]}
        return Match("sagemaker-runtime", _OPERATIONS[parts[3]], self._invoke, params["name"], False, params)

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in the format of REST-JSON."""
        return trouble(request, match, fault)

    async def close(self) -> None:
        """Close the connections to containers."""
        if self._made is not None:
            await self._made.aclose()

    async def _invoke(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except AwsError as error:
            return render(error, "sagemaker-runtime")

    async def _answer(self, request: Request) -> Response:
        arrived = time.perf_counter()
        signature = self._signature(request)
        if signature is None:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        _check_headers(_OPERATIONS[request.params["kind"]], request.headers)
        record = self._record(signature.spot, request.params["name"])
        body = request.body
        trip = Trip(record, self._choose(record, request.headers.get(f"{_PREFIX}target-variant")), arrived)
        self._check_size(trip.variant, len(body))
        self._mirror(record, request, body)
        trip.variant.in_flight += 1
        try:
            self._check_concurrency(trip.variant)
            trip.sent = time.perf_counter()
            if request.params["kind"] == _STREAM:
                return await self._stream(trip, request, body)
            return self._envelope(trip, await self._send(trip.variant, request, body))
        except httpx.HTTPError as error:
            raise self._lost(trip, error) from error
        finally:
            trip.variant.in_flight -= 1

    def _record(self, spot: Spot, name: str) -> Endpoint:
        with self._world.lock:
            record = self._endpoints.shelf.peek(spot, name)
            status = self._endpoints.status(record) if record else ""
        if record is None or status in {"Creating", "Failed", "Deleting"}:
            raise AwsError("ValidationError", f"Endpoint {name} of account {spot.account} not found.")
        return record

    def _choose(self, record: Endpoint, wanted: str | None) -> Variant:
        if wanted:
            variant = record.fleet.variant(wanted)
            if variant is None:
                message = f'Variant "{wanted}" not found in endpoint "{record.name}" of account {record.spot.account}.'
                raise AwsError("ValidationError", message)
            return variant
        variants = record.fleet.variants
        weights = [one.weight for one in variants]
        if not any(weights):
            raise AwsError("ValidationError", f"All variants of endpoint {record.name} have weight 0.")
        return self._world.random.choices(variants, weights)[0]

    def _check_size(self, variant: Variant, size: int) -> None:
        limit = min(self._limit, SERVERLESS_LIMIT) if variant.serverless else self._limit
        if size > limit:
            text = "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length"
            raise AwsError("ValidationError", f"{text} less than or equal to {limit}", 413)

    @staticmethod
    def _check_concurrency(variant: Variant) -> None:
        serverless = variant.serverless
        if serverless and variant.in_flight > serverless["MaxConcurrency"]:
            message = "Your invocation request was throttled: the endpoint's MaxConcurrency is reached."
            raise AwsError("ThrottlingException", message, 429)

    # --- to the container -----------------------------------------------------------------------------------------

    @property
    def _client(self) -> httpx.AsyncClient:
        """One client for all containers, which come and go."""
        if self._made is None:
            time_out, limits = httpx.Timeout(_ANSWER_S, connect=5), httpx.Limits(max_connections=None)
            self._made = httpx.AsyncClient(timeout=time_out, limits=limits, verify=False, trust_env=False)
        return self._made

    def _asked(self, variant: Variant, request: Request, body: bytes) -> httpx.Request:
        address = variant.running.address if variant.running else "http://127.0.0.1:9"
        return self._client.build_request("POST", f"{address}/invocations", content=body, headers=_forwarded(request))

    async def _send(self, variant: Variant, request: Request, body: bytes) -> httpx.Response:
        """Return the complete answer, its body as received: nothing is decoded."""
        answer = await self._client.send(self._asked(variant, request, body), stream=True)
        try:
            return whole(answer, b"".join([block async for block in answer.aiter_raw()]))
        finally:
            await answer.aclose()

    def _mirror(self, record: Endpoint, request: Request, body: bytes) -> None:
        """Send shadow variants their share of copies; their answers are discarded."""
        total = sum(one.weight for one in record.fleet.variants) or 1.0
        for shadow in record.fleet.shadows:
            if self._world.random.random() < shadow.weight / total:
                task = asyncio.get_running_loop().create_task(self._copy(record, shadow, request, body))
                self._copies.add(task)
                task.add_done_callback(self._copies.discard)

    async def _copy(self, record: Endpoint, shadow: Variant, request: Request, body: bytes) -> None:
        trip, status = Trip(record, shadow), 500
        shadow.in_flight += 1
        try:
            with suppress(httpx.HTTPError):
                status = (await self._send(shadow, request, body)).status_code
        finally:
            shadow.in_flight -= 1
            self._count(trip, status)

    def _envelope(self, trip: Trip, answer: httpx.Response) -> Response:
        self._count(trip, answer.status_code)
        if answer.status_code >= 300:
            raise _failed(trip, answer.status_code, answer.text)
        return Response(answer.status_code, answer.extensions["raw"], _headers(trip.variant, answer, "content-type"))

    async def _stream(self, trip: Trip, request: Request, body: bytes) -> Response:
        answer = await self._client.send(self._asked(trip.variant, request, body), stream=True)
        if answer.status_code >= 300:
            text = (await answer.aread()).decode("utf-8", "replace")
            self._count(trip, answer.status_code)
            raise _failed(trip, answer.status_code, text)
        headers = _headers(trip.variant, answer, f"{_PREFIX}content-type")
        headers["content-type"] = "application/vnd.amazon.eventstream"
        trip.variant.in_flight += 1  # until the last part is sent

        async def parts() -> AsyncGenerator[bytes]:
            try:
                async for block in answer.aiter_raw():
                    yield event(block)
            except httpx.HTTPError as error:
                slow = isinstance(error, httpx.TimeoutException)
                yield failure("ModelInvocationTimeExceeded" if slow else "StreamBroken", str(error) or repr(error))
            finally:
                trip.variant.in_flight -= 1
                self._count(trip, answer.status_code)
                await answer.aclose()

        return Response(200, parts(), headers)

    def _lost(self, trip: Trip, error: httpx.HTTPError) -> AwsError:
        self._count(trip, 0)
        slow = isinstance(error, httpx.TimeoutException)
        text = "Your invocation timed out while waiting for a response from container primary."
        return _failed(trip, 0, text if slow else f"the container broke the connection: {error!r}")

    def _count(self, trip: Trip, status: int) -> None:
        key = (trip.record.spot, trip.record.name, trip.variant.name)
        self._world.traffic.add(key, trip.sample(status))


@functools.cache
def _members_of(operation: str) -> dict[str, str]:
    """Return the members of an operation that are headers, by header."""
    shape = service_model("sagemaker-runtime").operation_model(operation).input_shape
    said = {name: member.serialization for name, member in shape.members.items()}
    return {about["name"].lower(): name for name, about in said.items() if about.get("location") == "header"}


def _check_headers(operation: str, headers: Mapping[str, str]) -> None:
    """Refuse headers that AWS's own model does not allow, or that this mini cloud does not support.

    Raises:
        AwsError: The request has such a header.
    """
    known = _members_of(operation)
    given = {known[name]: value for name, value in headers.items() if name in known}
    try:
        check("sagemaker-runtime", operation, {"EndpointName": "x", "Body": "", **given})
        check_played(operation, RUNTIME[operation], given)
    except AwsError as error:
        raise AwsError("ValidationError", error.message) from None


def _headers(variant: Variant, answer: httpx.Response, content_type: str) -> dict[str, str]:
    headers = {
        content_type: answer.headers.get("content-type", "application/octet-stream"),
        "x-amzn-invoked-production-variant": variant.name,
        "x-amzn-requestid": request_id(),
    }
    own = {f"{_PREFIX}{name}": answer.headers.get(f"{_PREFIX}{name}") for name in _RETURNED}
    return {**headers, **{name: text for name, text in own.items() if text}}


def _failed(trip: Trip, status: int, text: str) -> AwsError:
    whose = "client" if 400 <= status < 500 else "server"
    group = f"/aws/sagemaker/Endpoints/{trip.record.name}"
    account, region = trip.record.spot
    arn = f"arn:{partition_of(region)}:logs:{region}:{account}:log-group:{group}"
    return AwsError(
        "ModelError",
        f'Received {whose} error ({status}) from primary with message "{text[:_MOST_SAID]}". '
        f"See {arn} in account {account} for more information.",
        424,
        OriginalStatusCode=status,
        OriginalMessage=text,
        LogStreamArn=arn,
    )


def _forwarded(request: Request) -> dict[str, str]:
    """Return the headers to forward: the content type, the accepted type, and SageMaker's own."""
    headers = {name: value for name, value in request.headers.items() if name in _KEPT or name.startswith(_PREFIX)}
    for name in _KEPT:  # the streaming form uses other names for them
        other = headers.pop(f"{_PREFIX}{name}", None)
        if other is not None:
            headers[name] = other
    return {"accept-encoding": "identity", **headers}


def event(payload: bytes) -> bytes:
    """Encode one ``PayloadPart`` in the binary format of AWS's event streams.

    Source: https://smithy.io/2.0/aws/amazon-eventstream.html
    """
    return _message(
        {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}, payload
    )


def failure(code: str, message: str) -> bytes:
    """Encode a ``ModelStreamError``, which ends a stream."""
    told = {
        ":exception-type": "ModelStreamError",
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return _message(told, json.dumps({"Message": message, "ErrorCode": code}).encode())


def _message(told: Mapping[str, str], payload: bytes) -> bytes:
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in told.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))
