"""Calls of an endpoint: HTTP with a bearer token, by ``:rawPredict`` so that the body arrives unchanged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Invoker, Limits, ModelFault, Streaming
from sdk.dataplane.intermediaries import error_of_front, is_of_front
from sdk.util import foreign

from ._errors import PROVIDER, from_response
from ._names import deployment_of

if TYPE_CHECKING:
    import httpx

    from sdk.errors import SdkError

    from ._access import Access
    from .options import VertexOptions

SHARED_BYTES, DEDICATED_BYTES = 1_500_000, 10_000_000  # of the body, in each direction
SHARED_S, DEDICATED_S = 60.0, 600.0
_WHO = "x-vertex-ai-deployed-model-id"
_IN_BODY = re.compile(rb'"deployedModelId"\s*:\s*"(\d+)"')
_TAIL = 1000  # bytes at each end of an answer that are searched for the platform's own fields


class DataPlane:
    """The data plane of one target: predictions.

    Args:
        access: The access to Google's services.
        options: The target's settings.
    """

    def __init__(self, access: Access, options: VertexOptions) -> None:
        self.access, self.options = access, options

    def limits(self) -> Limits:
        """Return the limits of one prediction.

        Source: https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type
        """
        most, seconds = (DEDICATED_BYTES, DEDICATED_S) if self.options.dedicated else (SHARED_BYTES, SHARED_S)
        return Limits(most, self.options.deadline_s or seconds, self.options.max_answer)

    def url(self, endpoint: str, dns: str = "") -> str:
        """Return the URL for predictions of an endpoint; a dedicated endpoint has a host of its own."""
        verb = "rawPredict" if self.options.predict == "raw" else "predict"
        host = dns.removeprefix("https://").rstrip("/")
        base = self.access.url("aiplatform") if self.access.mock or not host else f"https://{host}"
        return f"{base}/v1/{endpoint}:{verb}"

    def invoker(self, url: str, dns: str) -> Invoker:
        """Return what the core needs to call the endpoint at a URL."""
        host = dns.removeprefix("https://").rstrip("/")
        return Invoker(
            url=url,
            limits=self.limits(),
            auth=self.access,
            headers={"host": host} if self.access.mock and host else {},
            fault=fault,
            error=error,
            deployment=deployment,
            stream=Streaming(url=f"{url.rpartition(':')[0]}:streamRawPredict"),
        )


def deployment(response: httpx.Response) -> str | None:
    """Return the deployment that answered, or ``None`` if the answer does not name it."""
    number = response.headers.get(_WHO)
    if number is None:
        found = _IN_BODY.search(response.content[-_TAIL:]) or _IN_BODY.search(response.content[:_TAIL])
        number = found[1].decode() if found else ""
    return deployment_of(number)


def fault(response: httpx.Response) -> ModelFault | None:
    """Return the model's own failed answer: as it is (``:rawPredict``), or from the text of the platform's error.

    ``None`` if the failure is one of the platform, or of a proxy between it and the model. A container's own answer
    carries the number of its deployed model.
    """
    if _WHO not in response.headers and is_of_front(response):
        return None
    told = _object(response.content).get("error")
    platforms = isinstance(told, dict) and isinstance(cast("dict[str, Any]", told).get("code"), int)
    if platforms:
        words = str(cast("dict[str, Any]", told).get("message", ""))
        said = _object(words.encode())
        return _fault(response, said, words) if said else None
    return _fault(response, _object(response.content), response.text)


def error(response: httpx.Response) -> SdkError:
    """Convert a failed answer of the platform, or of a proxy in front of the model, to an error."""
    if is_of_front(response):
        return error_of_front(response, {"provider": PROVIDER, "operation": "predict"})
    return from_response(response, "predict")


def _fault(response: httpx.Response, said: dict[str, Any], text: str) -> ModelFault:
    inner = said.get("error", said)
    told = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {"message": inner}
    return ModelFault(
        status=response.status_code,
        message=str(told.get("message") or text[:500] or response.reason_phrase),
        field=told.get("field"),
        request_id=told.get("request_id") or response.headers.get("x-request-id"),
        body=text[:10_000],
    )


def _object(content: bytes) -> dict[str, Any]:
    try:
        value: Any = foreign.parse(content)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
