"""The adapter class: each operation is one call of the platform."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from sdk.adapter import (
    YES,
    Ack,
    Capability,
    Invoker,
    Kind,
    Limits,
    Nature,
    Operation,
    ServiceHost,
    Support,
    TargetOptions,
)
from sdk.adapter.types import Check
from sdk.errors import NotFoundError
from sdk.util import bounded

from . import _errors, _plan
from .options import ShelfOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sdk.adapter import AdapterContext, EndpointSpec, Live, Materials, Ref, Resource
    from sdk.adapter.prices import PriceRow
    from sdk.adapter.types import EndpointStatus

_OFFICIAL = "shelf.example"
_LIMITS = Limits(request_bytes=25 * 2**20, timeout_s=60)
_SUPPORTED = {
    Capability.DEPLOY,
    Capability.TRAFFIC,
    Capability.DARK_PROBE,
    Capability.PIN,
    Capability.ENV,
    Capability.SECRETS,
    Capability.TAGS,
    Capability.TTL,
}


class ShelfAdapter:
    """The adapter for the Shelf platform."""

    provider: ClassVar[str] = "shelf"
    Options: ClassVar[type[TargetOptions]] = ShelfOptions
    kinds: ClassVar[Mapping[str, Kind]] = {
        "Model": Kind("Model", Nature.SHARED),
        "Deployment": Kind("Deployment", Nature.IMMUTABLE, billed=True),
        "Endpoint": Kind("Endpoint", Nature.MUTABLE, root=True),
    }

    poll_s: ClassVar[float] = 0.1  # a shelf is quick, so the core need not wait a whole second between two reads

    def __init__(self, options: ShelfOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context
        self._server_time: float | None = None
        self._http = bounded.client(base_url=options.url, transport=context.transport, trust_env=False)

    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:  # noqa: ARG003  no setting matters
        """Return what Shelf supports; it does not offer jobs, replicas, metrics or logs."""
        no = Support(ok=False, reason="upstream", text="Shelf does not offer it")
        return {capability: YES if capability in _SUPPORTED else no for capability in Capability}

    def limits(self) -> Limits:
        """Return the limits of one prediction."""
        return _LIMITS

    def prices(self) -> Iterable[PriceRow]:
        """Return an empty table: Shelf has only one price, which is in the options."""
        return ()

    def where(self) -> Mapping[str, str]:
        """Return the platform's address, which identifies this target."""
        return {"host": httpx.URL(self._options.url).netloc.decode()}

    def service_host(self) -> ServiceHost:
        """Return the host; a Shelf at any address other than the company's is a substitute and is not billed."""
        address = httpx.URL(self._options.url)
        official = address.host == _OFFICIAL
        return ServiceHost(address.netloc.decode(), official=official, billed=official)

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return the resources of an endpoint: models, deployments, endpoint."""
        return _plan.resources(spec, self._options.usd_per_hour)

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Return the status of the endpoint that these resources make up."""
        return _plan.status(name, live, self._context.target, self._url(name))

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Return all resources of this endpoint, and the models it uses."""
        own = self._items(timeout, endpoint=name)
        used = {str((item.spec or {})["model"])[:32] for item in own if item.kind == "Deployment"}
        shared = [i for i in self._items(timeout) if i.kind == "Model" and i.id in used and i not in own]
        return [*own, *shared]

    def list(self, *, timeout: float) -> Iterator[Live]:
        """Return all resources that carry mlport's label."""
        return (item for item in self._items(timeout) if item.labels is not None)

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Return one item, or ``None`` if the platform says that it does not exist."""
        try:
            return self._live(self._call("GET", ref, timeout=timeout).json())
        except NotFoundError:
            return None

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create an item; a model is uploaded with its files."""
        body: dict[str, Any] = {"spec": resource.spec, "tags": resource.tags}
        if resource.kind == "Model" and materials.model is not None:
            body["upload"] = str(materials.model.path)
        names: Any = (resource.spec or {}).get("secrets", {})
        if names and materials.secret is not None:
            body["secrets"] = {name: materials.secret(secret) for name, secret in names.items()}
        return self._ack(self._call("PUT", resource.ref, body, timeout=timeout))

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Replace an item, unless it has changed since ``before`` was read."""
        body = {"spec": resource.spec, "tags": resource.tags}
        return self._ack(self._call("PATCH", resource.ref, body, timeout=timeout, etag=before.etag))

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete an item."""
        return self._ack(self._call("DELETE", live.ref, timeout=timeout))

    def operation(self, name: str, *, timeout: float) -> Operation:  # noqa: ARG002  the protocol's signature
        """Raise ``NotFoundError``: Shelf lacks long-running operations, a deployment's state shows when it is ready."""
        raise NotFoundError(f"Shelf has no operation {name!r}", provider=self.provider, operation="operation")

    def server_time(self) -> float:
        """Return the platform's time, taken from its last answer."""
        return self._context.clock.time() if self._server_time is None else self._server_time

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Predictions are plain POSTs."""
        return Invoker(
            url=self._url(status.name),
            limits=_LIMITS,
            fault=_errors.model_fault,
            error=lambda answer: _errors.from_answer(answer, "predict"),
            pin=lambda deployment: {"x-shelf-deployment": deployment},
            deployment=lambda answer: answer.headers.get("x-shelf-deployment"),
        )

    def doctor(self) -> Iterator[Check]:
        """Check with one real read whether the platform can be reached."""
        try:
            self._items(5.0)
        except Exception as error:  # noqa: BLE001 - whatever is wrong is the finding
            yield Check("reach the Shelf", ok=False, detail=str(error), hint="is it running, and is `url` right?")
        else:
            yield Check("reach the Shelf", ok=True, detail=self._options.url)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _url(self, name: str) -> str:
        return f"{self._options.url}/endpoints/{name}"

    def _live(self, item: Mapping[str, Any]) -> Live:
        return _plan.live(item, self._options.usd_per_hour)

    def _items(self, timeout: float, **query: str) -> Sequence[Live]:
        answer = self._send("GET", "/items", "list", timeout=timeout, params=query)
        return [self._live(item) for item in answer.json()]

    def _call(
        self, method: str, ref: Ref, body: object = None, *, timeout: float, etag: str | None = None
    ) -> httpx.Response:
        operation = {"GET": "read", "PUT": "create", "PATCH": "update", "DELETE": "delete"}[method]
        headers = {} if etag is None else {"if-match": etag}
        path = f"/items/{ref.kind}/{ref.id}"
        return self._send(method, path, operation, timeout=timeout, ref=ref, json=body, headers=headers)

    def _send(
        self, method: str, path: str, operation: str, *, timeout: float, ref: Ref | None = None, **what: Any
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, path, timeout=timeout, **what)
        except httpx.TransportError as error:
            raise _errors.from_transport(error, operation) from error
        self._server_time = parsedate_to_datetime(answer.headers["date"]).timestamp()
        if answer.is_success:
            return answer
        raise _errors.from_answer(answer, operation, ref)

    @staticmethod
    def _ack(answer: httpx.Response) -> Ack:
        return Ack(etag=answer.headers.get("etag"))
