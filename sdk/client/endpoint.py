"""The handle of an endpoint, with all operations on it; it can be made from its name in any process."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    import httpx

    from ..adapter.types import EndpointStatus, LogLine
    from ..dataplane.prediction import Prediction
    from ..dataplane.streams import AsyncStream, Stream
    from .monitor import Watch


class _EndpointVerbs(Protocol):
    """The verbs that the handle of an endpoint calls; :class:`sdk.Client` has them and documents them."""

    def status(self, name: str, *, target: str | None = None) -> EndpointStatus: ...
    def resume(self, name: str, *, target: str | None = None, timeout: str | float | None = None) -> Endpoint: ...
    def predict(
        self, name: str, inputs: Any, *, deployment: str | None, target: str | None, timeout: str | float | None
    ) -> Prediction: ...
    def apredict(
        self, name: str, inputs: Any, *, deployment: str | None, target: str | None, timeout: str | float | None
    ) -> Coroutine[Any, Any, Prediction]: ...
    def stream(
        self, name: str, inputs: Any, *, deployment: str | None, target: str | None, timeout: str | float | None
    ) -> Stream: ...
    def astream(
        self, name: str, inputs: Any, *, deployment: str | None, target: str | None, timeout: str | float | None
    ) -> Coroutine[Any, Any, AsyncStream]: ...
    def request(self, name: str, inputs: Any, *, deployment: str | None, target: str | None) -> httpx.Request: ...
    def curl(self, name: str, inputs: Any, *, deployment: str | None, target: str | None) -> str: ...
    def promote(self, name: str, *, target: str | None, timeout: str | float | None) -> Endpoint: ...
    def rollback(self, name: str, *, target: str | None, timeout: str | float | None) -> Endpoint: ...
    def traffic(
        self, name: str, shares: int | Mapping[str, int], *, target: str | None, timeout: str | float | None
    ) -> Endpoint: ...
    def finalize(self, name: str, *, target: str | None, timeout: str | float | None) -> Endpoint: ...
    def delete(self, name: str, *, target: str | None, timeout: str | float | None) -> None: ...
    def monitor(self, name: str, *, window: str | float, target: str | None) -> Watch: ...
    def logs(
        self,
        name: str,
        *,
        tail: int | None,
        follow: bool,
        deployment: str | None,
        request_id: str | None,
        target: str | None,
    ) -> Iterator[LogLine]: ...


class Endpoint:
    """An endpoint on a target.

    A handle holds a name, not a connection: ``sdk.endpoint(name)`` makes the same one anywhere. It may be pickled for
    another process (multiprocessing, joblib, Dask): name, target and configuration are included, but connections and
    secrets are not.

    Args:
        client: The client that does the work.
        name: Name of the endpoint.
        target: The target that the endpoint is on.
        status: The status as last read.

    Example:
        >>> endpoint = sdk.endpoint("churn")
        >>> endpoint.predict([[1.0, 2.0]]).values
        [3.0]
    """

    def __init__(self, client: _EndpointVerbs, name: str, target: str, *, status: EndpointStatus | None = None) -> None:
        self._client = client
        self._status = status
        self.name = name
        self.target = target

    @property
    def status(self) -> EndpointStatus:
        """The status as last read; the first access reads it."""
        return self._status or self.refresh()

    def refresh(self) -> EndpointStatus:
        """Read the current status.

        Raises:
            NotFoundError: The endpoint does not exist.
        """
        self._status = self._client.status(self.name, target=self.target)
        return self._status

    def wait(self, *, timeout: str | float | None = None) -> Endpoint:
        """Wait until a change started with ``wait=False`` is done; return at once if none is running.

        Raises:
            DeployFailed: The change failed and was undone.
            TimedOut: The change takes longer than ``timeout`` (seconds, or text such as ``"10m"``).
        """
        self._client.resume(self.name, target=self.target, timeout=timeout)
        self.refresh()
        return self

    # --- calling ------------------------------------------------------------------------------------------------

    def predict(self, inputs: Any, *, deployment: str | None = None, timeout: str | float | None = None) -> Prediction:
        """Send inputs to the model and return its answer; see :meth:`sdk.Client.predict`."""
        return self._client.predict(self.name, inputs, deployment=deployment, target=self.target, timeout=timeout)

    def apredict(
        self, inputs: Any, *, deployment: str | None = None, timeout: str | float | None = None
    ) -> Coroutine[Any, Any, Prediction]:
        """Predict without blocking the event loop; see :meth:`sdk.Client.predict`."""
        return self._client.apredict(self.name, inputs, deployment=deployment, target=self.target, timeout=timeout)

    def stream(self, inputs: Any, *, deployment: str | None = None, timeout: str | float | None = None) -> Stream:
        """Send inputs to the model and return the items of its answer as they arrive; see :meth:`sdk.Client.stream`."""
        return self._client.stream(self.name, inputs, deployment=deployment, target=self.target, timeout=timeout)

    def astream(
        self, inputs: Any, *, deployment: str | None = None, timeout: str | float | None = None
    ) -> Coroutine[Any, Any, AsyncStream]:
        """Stream without blocking the event loop; see :meth:`sdk.Client.astream`."""
        return self._client.astream(self.name, inputs, deployment=deployment, target=self.target, timeout=timeout)

    def request(self, inputs: Any, *, deployment: str | None = None) -> httpx.Request:
        """Return the signed request of a predict, for any other HTTP client; it contains credentials."""
        return self._client.request(self.name, inputs, deployment=deployment, target=self.target)

    def curl(self, inputs: Any, *, deployment: str | None = None) -> str:
        """Return the same request as a shell command; it contains credentials."""
        return self._client.curl(self.name, inputs, deployment=deployment, target=self.target)

    # --- changing -----------------------------------------------------------------------------------------------

    def promote(self, *, timeout: str | float | None = None) -> Endpoint:
        """Give the newest deployment all traffic."""
        return self._changed(self._client.promote(self.name, target=self.target, timeout=timeout))

    def rollback(self, *, timeout: str | float | None = None) -> Endpoint:
        """Give all traffic back to an earlier deployment; see :meth:`sdk.Client.rollback`."""
        return self._changed(self._client.rollback(self.name, target=self.target, timeout=timeout))

    def traffic(self, shares: int | Mapping[str, int], *, timeout: str | float | None = None) -> Endpoint:
        """Set the traffic: whole percents by deployment id, or one number for the newest deployment."""
        return self._changed(self._client.traffic(self.name, shares, target=self.target, timeout=timeout))

    def finalize(self, *, timeout: str | float | None = None) -> Endpoint:
        """Remove the deployments without traffic."""
        return self._changed(self._client.finalize(self.name, target=self.target, timeout=timeout))

    def delete(self, *, timeout: str | float | None = None) -> None:
        """Delete the endpoint and everything that belongs to it; succeed if it no longer exists."""
        self._client.delete(self.name, target=self.target, timeout=timeout)
        self._status = None

    def _changed(self, fresh: Endpoint) -> Endpoint:
        self._status = fresh.status
        return self

    # --- reading ------------------------------------------------------------------------------------------------

    def monitor(self, *, window: str | float = "1h") -> Watch:
        """Return metrics, cost and alarms of a recent window; see :meth:`sdk.Client.monitor`."""
        return self._client.monitor(self.name, window=window, target=self.target)

    def logs(
        self,
        *,
        tail: int | None = None,
        follow: bool = False,
        deployment: str | None = None,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        """Return the log lines of its containers; see :meth:`sdk.Client.logs`."""
        return self._client.logs(
            self.name, tail=tail, follow=follow, deployment=deployment, request_id=request_id, target=self.target
        )

    def __reduce__(self) -> tuple[type[Endpoint], tuple[_EndpointVerbs, str, str]]:
        return type(self), (self._client, self.name, self.target)

    def __repr__(self) -> str:
        state = f" {self._status.state}" if self._status else ""
        return f"<Endpoint {self.name} on {self.target}{state}>"

    def _repr_html_(self) -> str:
        if self._status is None:
            return html.escape(repr(self))
        rows = "".join(
            f"<tr><td>{html.escape(item.id)}</td><td>{item.traffic} %</td><td>{html.escape(item.state)}</td></tr>"
            for item in self._status.deployments
        )
        return f"<b>{html.escape(repr(self))}</b><table>{rows}</table>"
