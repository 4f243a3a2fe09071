"""The HTTP path of every prediction on every target: connection pools, time-outs, chunks and answers.

The attempts of a single request are in :mod:`sdk.dataplane.attempts`, the bodies in :mod:`sdk.dataplane.payload`.
"""

from __future__ import annotations

import asyncio
import random as _random
import secrets
import shlex
import ssl
import threading
import weakref
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import httpx
import msgspec

from ..errors import ModelError, UnreadableError, UnsupportedError
from ..util import bounded
from ..util.certificates import authorities
from ..util.hosts import on_this_machine
from ..util.waiting import Deadline, TokenBucket
from .attempts import REQUEST_ID, WAITED, Attempts, Outcome, Steps
from .health_checks import HealthWatch, Standstill
from .payload import EVENTS, JSON, EncodingRules, RequestBody, bodies, index_of
from .prediction import Prediction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from ..adapter import Clock, Invoker
    from .connections import ConnectionPool
    from .streams import AsyncStream, Stream

_STREAM_BYTES = 1 << 40  # of a whole stream, which is never in memory; its items are limited like other answers


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """Facts about an endpoint that the data plane needs beside its :class:`~sdk.adapter.Invoker`.

    Args:
        name: Name of the endpoint, for errors.
        provider: Provider, for errors.
        rowwise: Whether requests may be cut into chunks.
        signature_known: Whether the server knows the types of the inputs.
        pinnable: Whether a request can name its deployment.
        models: Deployment id to the hex digest of its model.
        axes: The number of axes of each input, if the models that serve are known here and agree.
        target: Name of the target, for commands in hints.
    """

    name: str
    provider: str
    rowwise: bool = False
    signature_known: bool = False
    pinnable: bool = False
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    axes: Mapping[str, int] | None = None
    target: str = ""


class Caller:
    """A client of one endpoint; share it between threads, close it at the end.

    Args:
        invoker: Address and credentials, from the adapter.
        facts: Facts about the endpoint.
        clock: The source of time.
        redact: Hides secrets in the messages of errors.
        bucket: The budget for retries.
        transport: Replaces the network in tests.
        random: The source of jitter.
        revive: Reads the endpoint's status within so many seconds, which restarts a stopped or paused gateway; see
            :mod:`sdk.dataplane.health_checks`.
    """

    def __init__(
        self,
        invoker: Invoker,
        facts: EndpointFacts,
        *,
        clock: Clock,
        redact: Callable[[str], str],
        bucket: TokenBucket | None = None,
        transport: httpx.BaseTransport | None = None,
        random: _random.Random | None = None,
        revive: Callable[[float], str | None] | None = None,
    ) -> None:
        self.invoker = invoker
        self.facts = facts
        self._clock = clock
        self._redact = redact
        self._bucket = bucket or TokenBucket()
        self._transport = transport
        self._random = random or _random.Random()  # noqa: S311  # jitter, not a secret
        self._client: httpx.Client | None = None
        self._wire: ConnectionPool | None = None
        self._watch: HealthWatch | None = None
        if invoker.health and revive is not None and transport is None:
            self._watch = HealthWatch(invoker.health, revive)
        self._url = httpx.URL(invoker.url)
        self._by_proxy: bool | None = None  # read from the environment at the first call
        self._lock = threading.Lock()
        self._aclients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )
        self._closers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None]] = (
            weakref.WeakKeyDictionary()
        )

    def predict(self, inputs: Any, *, deployment: str | None = None, timeout: float | None = None) -> Prediction:
        """Send the input, in as many requests as needed, and join the answers."""
        answers = _Answers(self.invoker, self.facts, deployment, index_of(inputs))
        parts = bodies(inputs, self._rules())
        deadline, begin = self._deadline(timeout), self._clock.monotonic()
        for body in parts:
            request = self._request(body, answers.pinned)
            answers.add(self._drive(self._attempts(deadline).steps(request)))
        return answers.joined((self._clock.monotonic() - begin) * 1000)

    async def apredict(self, inputs: Any, *, deployment: str | None = None, seconds: float | None = None) -> Prediction:
        """Predict without blocking the event loop."""
        answers = _Answers(self.invoker, self.facts, deployment, index_of(inputs))
        parts = bodies(inputs, self._rules())
        deadline, begin = self._deadline(seconds), self._clock.monotonic()
        for body in parts:
            request = self._request(body, answers.pinned)
            answers.add(await self._adrive(self._attempts(deadline, asynchronous=True).steps(request)))
        return answers.joined((self._clock.monotonic() - begin) * 1000)

    def stream(self, inputs: Any, *, deployment: str | None = None, timeout: float | None = None) -> Stream:
        """Send the input in one request, and return the items of the answer as they arrive."""
        from .streams import Stream

        request, attempts = self._stream_request(inputs, deployment, self._deadline(timeout))
        return Stream(self._drive(attempts.steps(request), self._open), attempts)

    async def astream(self, inputs: Any, *, deployment: str | None = None, seconds: float | None = None) -> AsyncStream:
        """Stream without blocking the event loop."""
        from .streams import AsyncStream

        deadline = self._deadline(seconds)
        request, attempts = self._stream_request(inputs, deployment, deadline, asynchronous=True)
        return AsyncStream(await self._adrive(attempts.steps(request), self._aopen), attempts)

    def request(self, inputs: Any, *, deployment: str | None = None) -> httpx.Request:
        """Return the signed request of a predict, for any other client to send.

        Raises:
            PayloadTooLargeError: The input needs more than one request.
        """
        rules = self._rules()
        (body,) = bodies(inputs, replace(rules, rowwise=False))
        request = self._request(body, deployment)
        return request if self.invoker.auth is None else next(self.invoker.auth.sync_auth_flow(request))

    def curl(self, inputs: Any, *, deployment: str | None = None) -> str:
        """Return the request as a shell command. It contains the credentials, so keep it private.

        Address and headers are passed to curl on its standard input, because every user of a machine can see the
        arguments of all processes.

        Raises:
            UnicodeDecodeError: The input has only a binary form.
        """
        request = self.request(inputs, deployment=deployment)
        settings = [f"url = {_quoted(str(request.url))}"]
        for name, value in request.headers.items():
            settings += [] if name in {"host", "content-length"} else [f"header = {_quoted(f'{name}: {value}')}"]
        words = ["curl", "-sS", "-X", request.method, "--data-binary", request.content.decode(), "--config", "-"]
        return "\n".join([f"{shlex.join(words)} <<'{_END}'", *settings, _END])

    def close(self) -> None:
        """Close the pooled connections of the blocking calls."""
        with self._lock:
            client, self._client = self._client, None
            wire, self._wire = self._wire, None
        for one in (client, wire):
            if one is not None:
                one.close()

    async def aclose(self) -> None:
        """Close all pooled connections of this event loop and of the blocking calls."""
        loop = asyncio.get_running_loop()
        self._aclients.pop(loop, None)
        closer = self._closers.pop(loop, None)
        if closer is not None:
            await closer.aclose()
        self.close()

    # --- building -----------------------------------------------------------------------------------------------

    def _rules(self) -> EncodingRules:
        facts, invoker = self.facts, self.invoker
        limit = invoker.limits.request_bytes
        return EncodingRules(limit, facts.rowwise, facts.signature_known, invoker.wrap, facts.axes)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._clock, self.invoker.limits.timeout_s if timeout is None else timeout)

    def _request(self, body: RequestBody, deployment: str | None) -> httpx.Request:
        headers = {
            **self.invoker.headers,
            "content-type": body.content_type,
            "accept": "application/json",
            REQUEST_ID: secrets.token_hex(16),
        }
        if deployment is not None:
            if self.invoker.pin is None or not self.facts.pinnable:
                raise _cannot(self.facts, "pin", "send a request to one deployment of an endpoint")
            headers.update(self.invoker.pin(deployment))
        return httpx.Request("POST", self._url, headers=headers, content=body.content)

    def _stream_request(
        self, inputs: Any, deployment: str | None, deadline: Deadline, *, asynchronous: bool = False
    ) -> tuple[httpx.Request, Attempts]:
        """Return the request for a streamed answer, and the attempts to send it.

        Raises:
            UnsupportedError: The platform has no streams.
        """
        way = self.invoker.stream
        if way is None:
            raise _cannot(self.facts, "stream", "stream an answer")
        (body,) = bodies(inputs, replace(self._rules(), rowwise=False, wrap=None))
        if body.content_type == JSON:  # for platforms that do not pass the Accept header on to the container
            body = replace(body, content=body.content[:-1] + b',"stream":true}')
        request = self._request(body, deployment)
        request.url = httpx.URL(way.url) if way.url else self._url
        request.headers.update({"accept": EVENTS, **way.headers})
        attempts = self._attempts(deadline, asynchronous=asynchronous)
        attempts.most = _STREAM_BYTES
        return request, attempts

    def _attempts(self, deadline: Deadline, *, asynchronous: bool = False) -> Attempts:
        return Attempts(
            self.invoker,
            self.facts.provider,
            self.facts.name,
            self._redact,
            self._bucket,
            self._random,
            deadline,
            asynchronous=asynchronous,
            target=self.facts.target,
        )

    # --- sending ------------------------------------------------------------------------------------------------

    def _drive(self, steps: Steps, send: Callable[[httpx.Request], httpx.Response] | None = None) -> httpx.Response:
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return cast("httpx.Response", done.value)
            if not isinstance(step, httpx.Request):
                self._clock.sleep(step)
                continue
            try:
                outcome = (send or self._send)(step)
            except (httpx.TransportError, UnreadableError) as error:
                outcome = error

    def _send(self, request: httpx.Request) -> httpx.Response:
        """Send with :mod:`sdk.dataplane.connections`, or with httpx if a custom transport or a proxy is in use."""
        wire = self._own_wire()
        if wire is None:
            return self._pool().send(request, auth=self.invoker.auth)
        flow = (self.invoker.auth or httpx.Auth()).sync_auth_flow(request)
        signed = next(flow)
        while True:
            answer = wire.send(signed)
            try:
                signed = flow.send(answer)
            except StopIteration:
                return answer

    def _open(self, request: httpx.Request) -> httpx.Response:
        """Send with httpx, and return the answer without its body unless it is a refusal."""
        response = self._pool().send(request, auth=self.invoker.auth, stream=True)
        if not response.is_success:
            response.read()
        return response

    async def _aopen(self, pool: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        response = await pool.send(request, auth=self.invoker.auth, stream=True)
        if not response.is_success:
            await response.aread()
        return response

    async def _adrive(
        self,
        steps: Steps,
        send: Callable[[httpx.AsyncClient, httpx.Request], Awaitable[httpx.Response]] | None = None,
    ) -> httpx.Response:
        outcome: Outcome | None = None
        pool = await self._apool()
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return cast("httpx.Response", done.value)
            if not isinstance(step, httpx.Request):
                await asyncio.sleep(step)
                continue
            try:
                async with asyncio.timeout(step.extensions["timeout"]["read"]):
                    outcome = await (send or self._asend)(pool, step)
            except TimeoutError:
                outcome = httpx.ReadTimeout("no whole answer in time", request=step)
            except (httpx.TransportError, UnreadableError) as error:
                outcome = error

    async def _asend(self, pool: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        """Send one request, and check the gateway while it waits."""
        if self._watch is None:
            return await pool.send(request, auth=self.invoker.auth)
        end = self._clock.monotonic() + request.extensions["timeout"]["read"]
        sending = asyncio.ensure_future(pool.send(request, auth=self.invoker.auth))
        try:
            for pause in self._watch.pauses():
                if (await asyncio.wait({sending}, timeout=pause))[0]:
                    break
                await request.extensions["trace"](WAITED, {})
                try:
                    await asyncio.to_thread(self._watch.look, end - self._clock.monotonic())
                except Standstill:
                    if not sending.done():
                        raise
            return await sending
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    def _own_wire(self) -> ConnectionPool | None:
        with self._lock:
            if self._by_proxy is None:
                self._by_proxy = _by_proxy(self.invoker.url)
            if self._wire is None and self._transport is None and not self._by_proxy:
                from .connections import ConnectionPool

                self._wire = ConnectionPool(self._url, _network(self.invoker)["verify"] or None, self._watch)
            return self._wire

    def _pool(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = bounded.client(transport=self._transport, **_network(self.invoker))
            return self._client

    async def _apool(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._aclients.get(loop)
        if client is None:
            own = self._transport if isinstance(self._transport, httpx.AsyncBaseTransport) else None
            client = self._aclients[loop] = bounded.async_client(transport=own, **_network(self.invoker))
            self._closers[loop] = _closed_with_the_loop(client)
            await anext(self._closers[loop])
        return client


async def _closed_with_the_loop(client: httpx.AsyncClient) -> AsyncGenerator[None]:
    """Close the client when ``asyncio.run`` ends, which closes all open asynchronous generators of its loop."""
    try:
        yield
    finally:
        await client.aclose()


class _Answers:
    """The answers to the requests into which one predict was split."""

    def __init__(self, invoker: Invoker, facts: EndpointFacts, deployment: str | None, index: Any) -> None:
        self.pinned = deployment
        self._index = index
        self._invoker = invoker
        self._facts = facts
        self._values: list[Any] = []
        self._deployments: list[str | None] = []
        self._request_id: str | None = None
        self._default = False

    def add(self, response: httpx.Response) -> None:
        """Add an answer; later requests are pinned to the deployment that gave the first one."""
        read = self._invoker.deployment
        deployment = read(response) if read else None
        self._values.append(self._decoded(response))
        self._deployments.append(deployment)
        self._request_id = self._request_id or response.headers.get(REQUEST_ID) or response.request.headers[REQUEST_ID]
        if self._facts.pinnable:
            self.pinned = self.pinned or deployment

    def _decoded(self, response: httpx.Response) -> Any:
        content = response.content
        try:
            content = self._invoker.unwrap(content) if self._invoker.unwrap else content
            decoded = msgspec.json.decode(content)
            self._default = self._default or decoded.get("default") is True
            return decoded["predictions"]
        except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(
                "the answer is no JSON object with `predictions`",
                body=content[:200].decode("utf-8", "replace"),
                provider=self._facts.provider,
                operation="predict",
                resource=self._facts.name,
                status=response.status_code,
                request_id=response.headers.get(REQUEST_ID),
            ) from error

    def joined(self, latency_ms: float) -> Prediction:
        one = self._deployments[0] if len(set(self._deployments)) == 1 else None
        values = self._values[0] if len(self._values) == 1 else [row for part in self._values for row in part]
        model = self._facts.models.get(one) if one else None
        return Prediction(values, one, self._request_id, latency_ms, model, self._index, self._default)


_END = "END-OF-SETTINGS"


def _quoted(text: str) -> str:
    """Quote a text as a value of curl's configuration; see https://curl.se/docs/manpage.html#-K."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _cannot(facts: EndpointFacts, capability: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{facts.provider} cannot {what}",
        capability=capability,
        reason="upstream",
        provider=facts.provider,
        resource=facts.name,
    )


def _network(invoker: Invoker) -> dict[str, Any]:
    """Return settings of the HTTP client; proxies of the environment are used for other machines only."""
    url = httpx.URL(invoker.url)
    verify: ssl.SSLContext | bool
    if url.scheme == "http":
        verify = False  # nothing to verify; loading the system's certificates takes longer than the call
    elif isinstance(invoker.verify, str):
        verify = ssl.create_default_context(cafile=invoker.verify)
    else:
        verify = authorities()
    return {"verify": verify, "trust_env": not on_this_machine(url.host), "limits": httpx.Limits(max_connections=None)}


def _by_proxy(url: str) -> bool:
    """Check whether a proxy of the environment handles this URL."""
    from urllib.request import getproxies, proxy_bypass

    parts = httpx.URL(url)
    found = getproxies()
    way = found.get(parts.scheme) or found.get("all")
    return bool(way) and not on_this_machine(parts.host) and not proxy_bypass(parts.host)
