"""Clients of botocore that read every answer of AWS within a number of bytes and a time, as :mod:`sdk.bounded` says."""

from __future__ import annotations

import importlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from sdk import exchanges
from sdk.bounded import ANSWER, FILE
from sdk.bounded_http import Answer, LargeAnswer, Stream, watch

if TYPE_CHECKING:
    from collections.abc import Generator

_BEGUN = "mlport_begun"  # in the context of a request: when it was sent


def limit(client: Any, *, files: bool) -> None:
    """Put the bounds around the connections of a client; ``files`` when it also fetches files, which may take long."""
    endpoint = cast("Any", vars(client)["_endpoint"])
    session: Any = endpoint.http_session
    inside = cast("dict[str, Any]", vars(session))
    manager = inside["_manager"]
    watch(manager, LargeAnswer if files else Answer)
    inside["_pool_classes_by_scheme"] = manager.pool_classes_by_scheme  # of managers for proxies
    endpoint.http_session = _Session(session)
    client.meta.events.register("before-call", _begin)
    client.meta.events.register("response-received", _tell)


def _begin(context: dict[str, Any], **_rest: Any) -> None:
    context[_BEGUN] = time.monotonic()


def _tell(
    event_name: str, context: dict[str, Any], response_dict: dict[str, Any] | None, parsed_response: Any, **_rest: Any
) -> None:
    """Tell listeners of an answer; the body of a file is left to the caller who reads it."""
    if response_dict is None or not exchanges.has_listener():
        return
    body: Any = response_dict.get("body")
    service, operation = event_name.split(".")[1:]
    exchanges.publish(
        exchanges.Exchange(
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
    """The errors of reading a body as botocore's own, which :mod:`._errors` knows."""
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
    """What botocore sends requests with."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def send(self, request: Any) -> Any:
        """Send one request; its answer is read here unless it is a file."""
        file, request.stream_output = request.stream_output, True
        response = self._inner.send(request)
        bound = (FILE if file else ANSWER).of_status(response.status_code)
        what = f"the answer of {request.url.partition('?')[0]}"
        try:
            response.raw = Stream(response.raw, bound, what, head=request.method == "HEAD")
            if not file:
                with _as_botocore(request):
                    _ = response.content
        except BaseException:
            response.raw.close()
            raise
        return response

    def close(self) -> None:
        """Let go of the connections."""
        self._inner.close()
