"""Size and time limits for every AWS answer that a botocore client reads, as defined in :mod:`sdk.util.bounded`."""

from __future__ import annotations

import importlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from sdk.util import exchanges
from sdk.util.bounded import ANSWER, FILE
from sdk.util.bounded_http import BoundedAnswer, BoundedResponse, LargeAnswer, watch

if TYPE_CHECKING:
    from collections.abc import Generator

_BEGUN = "mlport_begun"  # key in a request's context: the time it was sent


def limit(client: Any, *, files: bool) -> None:
    """Limit the answers of a client in size and time; ``files`` if it also fetches files, which may take longer."""
    endpoint = cast("Any", vars(client)["_endpoint"])
    session: Any = endpoint.http_session
    inside = cast("dict[str, Any]", vars(session))
    manager = inside["_manager"]
    watch(manager, LargeAnswer if files else BoundedResponse)
    inside["_pool_classes_by_scheme"] = manager.pool_classes_by_scheme  # used by proxy managers
    endpoint.http_session = _Session(session)
    client.meta.events.register("before-call", _begin)
    client.meta.events.register("response-received", _publish)


def _begin(context: dict[str, Any], **_rest: Any) -> None:
    context[_BEGUN] = time.monotonic()


def _publish(
    event_name: str, context: dict[str, Any], response_dict: dict[str, Any] | None, parsed_response: Any, **_rest: Any
) -> None:
    """Publish an answer to the exchange listeners; the body of a file is left to the caller that reads it."""
    if response_dict is None or not exchanges.has_listener():
        return
    body: Any = response_dict.get("body")
    service, operation = event_name.split(".")[1:]
    exchanges.publish(
        exchanges.ControlExchange(
            method="POST",
            url="",
            status=int(response_dict["status_code"]),
            body=body[: exchanges.LARGEST] if isinstance(body, bytes) else b"",
            seconds=time.monotonic() - context[_BEGUN] if _BEGUN in context else None,
            operation=f"{service} {operation}",
            parsed=parsed_response,
        )
    )


@contextmanager
def _as_botocore(request: Any) -> Generator[None]:
    """Convert urllib3 errors of reading a body to botocore's own, which :mod:`._errors` handles."""
    from urllib3 import exceptions as urllib3

    botocore = importlib.import_module("botocore.exceptions")
    try:
        yield
    except urllib3.ReadTimeoutError as error:
        raise botocore.ReadTimeoutError(endpoint_url=request.url, error=error) from error
    except urllib3.ProtocolError as error:
        raise botocore.ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
    except urllib3.HTTPError as error:
        raise botocore.HTTPClientError(error=error) from error


class _Session:
    """A wrapper of botocore's HTTP session that limits the answers it reads."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def send(self, request: Any) -> Any:
        """Send one request; read its answer here unless it is a file."""
        file, request.stream_output = request.stream_output, True
        response = self._inner.send(request)
        bound = (FILE if file else ANSWER).of_status(response.status_code)
        what = f"the answer of {request.url.partition('?')[0]}"
        try:
            response.raw = BoundedAnswer(response.raw, bound, what, head=request.method == "HEAD")
            if not file:
                with _as_botocore(request):
                    _ = response.content
        except BaseException:
            response.raw.close()
            raise
        return response

    def close(self) -> None:
        """Close all connections."""
        self._inner.close()
