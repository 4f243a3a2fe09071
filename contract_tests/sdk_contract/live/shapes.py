"""The form of a platform's answers without their content: operations, fields with types, states and error codes.

Nothing is recorded that could be a value of the user: of an address only known words, of a body only names of fields
and words in fields that hold states or codes. Keys of maps that a user chooses are shown as ``*``.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from sdk.errors import UnreadableError
from sdk.util.foreign import is_shallow, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdk.util.exchanges import ControlExchange

_WORDS = frozenset({
    "Microsoft.Authorization", "Microsoft.ContainerRegistry", "Microsoft.Insights", "Microsoft.MachineLearningServices",
    "Microsoft.Storage", "artifacts", "autoscalesettings", "b", "blobs", "checkAccess", "codes", "computeMetadata",
    "content", "customJobs", "data", "datastores", "default", "deployments", "dockerImages", "endpoints", "entries",
    "environments", "exchange", "experiments", "getLogs", "history", "instance", "jobs", "listCredentials", "listKeys",
    "listSecrets", "locations", "manifests", "metricDescriptors", "metrics", "mfeOperationResults",
    "mfeOperationsStatus", "microsoft.insights", "models", "msi", "o", "oauth2", "onlineEndpoints",
    "onlineEndpointsOperationsStatus", "operationResults", "operations", "operationsStatus", "packages", "permissions",
    "policy", "projects", "providers", "quotas", "registries", "repositories", "resourceGroups", "roleAssignments",
    "runs", "secrets", "service-accounts", "services", "skus", "storage", "subscriptions", "tags", "testIamPermissions",
    "timeSeries", "token", "ui", "upload", "uploads", "usages", "v1", "v1beta1", "v2", "v3", "versions", "vmSizes",
    "workspaces",
})  # fmt: skip
_FREE = re.compile(r"(?i)(?:^|_)(?:user)?(?:tags|labels|metadata|hyperparameters|parameters|environment|env)$")
_FREE_MAPS = frozenset({"environmentVariables", "traffic", "trafficSplit", "mirrorTraffic", "annotations", "inputs"})
_PLAIN = re.compile(r"[$@]?[A-Za-z_]{1,40}(?:\.[A-Za-z]{1,40})?")
_TELLING = re.compile(r"(?i)(?:state|status|code|__type)$")
_WORD = re.compile(r"[A-Za-z][A-Za-z_]{1,47}")
_TAG = re.compile(rb"<([A-Za-z]{1,40})[ >/]")
_XML_CODE = re.compile(rb"<Code>([A-Za-z]{2,48})</Code>")
_MOST = 4_000  # fields of one operation


@dataclass
class Answers:
    """The recorded answers of one operation."""

    count: int = 0
    statuses: set[int] = field(default_factory=set[int])
    fields: set[str] = field(default_factory=set[str])
    words: set[str] = field(default_factory=set[str])
    seconds: list[float] = field(default_factory=list[float])

    def to_dict(self) -> dict[str, Any]:
        """Return the answers as plain values."""
        ordered = sorted(self.seconds)
        middle, longest = (round(ordered[at], 3) for at in (len(ordered) // 2, -1)) if ordered else (0.0, 0.0)
        return {
            "count": self.count,
            "statuses": sorted(self.statuses),
            "fields": sorted(self.fields),
            "words": sorted(self.words),
            **({"median_s": middle, "longest_s": longest} if ordered else {}),
        }


class Shapes:
    """Collects the answers of a run; thread-safe."""

    def __init__(self) -> None:
        self.seen: dict[str, Answers] = {}
        self._lock = threading.Lock()

    def add(self, exchange: ControlExchange) -> None:
        """Record the form of one answer."""
        value = _value(exchange)
        fields = set(_fields(value)) if value is not None else {f"<{tag.decode()}>" for tag in _tags(exchange.body)}
        words = set(_words(value)) if value is not None else set[str]()
        words |= {f"<Code>={code.decode()}" for code in _XML_CODE.findall(exchange.body)}
        with self._lock:
            seen = self.seen.setdefault(operation_of(exchange), Answers())
            seen.count += 1
            seen.statuses.add(exchange.status)
            seen.fields |= set(sorted(fields)[: max(0, _MOST - len(seen.fields))])
            seen.words |= words
            if exchange.seconds is not None:
                seen.seconds.append(exchange.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return all recorded answers by operation."""
        with self._lock:
            return {name: self.seen[name].to_dict() for name in sorted(self.seen)}


def operation_of(exchange: ControlExchange) -> str:
    """Return the name of an operation: the library's own, else the method and the known words of the path.

    Example:
        >>> from sdk.util.exchanges import ControlExchange
        >>> url = "https://x/v1/projects/secret/locations/eu1/endpoints/7:deployModel"
        >>> operation_of(ControlExchange("POST", url, 200))
        'POST /v1/projects/{}/locations/{}/endpoints/{}:deployModel'
    """
    if exchange.operation:
        return exchange.operation
    parts: list[str] = []
    for segment in unquote(urlsplit(exchange.url).path).strip("/").split("/"):
        name, colon, verb = segment.partition(":")
        known = name if name in _WORDS else "{}"
        part = f"{known}:{verb}" if colon and _WORD.fullmatch(verb) else known
        if part != "{}" or parts[-1:] != ["{}"]:
            parts.append(part)
    return f"{exchange.method} /{'/'.join(parts)}"


def _value(exchange: ControlExchange) -> Any:
    """Return the JSON of an answer, else what the client library parsed; ``None`` for neither."""
    if exchange.body.lstrip()[:1] in {b"{", b"["}:
        try:
            return parse(exchange.body)
        except UnreadableError:
            return None
    parsed: Any = exchange.parsed
    if not isinstance(parsed, dict) or not is_shallow(parsed):
        return None
    return {key: value for key, value in cast("dict[str, Any]", parsed).items() if key != "ResponseMetadata"}


def _tags(body: bytes) -> list[bytes]:
    return _TAG.findall(body) if body.lstrip()[:1] == b"<" else []


def _fields(value: Any) -> Iterator[str]:
    return (f"{path}:{_type(leaf)}" for path, leaf in _leaves(value))


def _words(value: Any) -> Iterator[str]:
    for path, leaf in _leaves(value):
        if isinstance(leaf, str) and _TELLING.search(path):
            word = leaf.rpartition("#")[2]
            yield f"{path}={word if _WORD.fullmatch(word) else '?'}"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is not a container, with its path."""
    if isinstance(value, dict):
        for key, inner in cast("Any", value).items():
            yield from _leaves(inner, f"{path}.{_name(path, key)}".lstrip("."))
    elif isinstance(value, list):
        for inner in cast("Any", value):
            yield from _leaves(inner, f"{path}[]")
    else:
        yield path, value


def _name(path: str, key: Any) -> str:
    """Return the name of a field; ``*`` for keys that a user chooses, and for text that is unlike any field name."""
    last = path.rpartition(".")[2]
    free = last in _FREE_MAPS or _FREE.search(last) is not None or path.endswith("properties.properties")
    return "*" if free or not isinstance(key, str) or not _PLAIN.fullmatch(key) else key


def _type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    return "number" if isinstance(value, int | float) else "string"


@dataclass(frozen=True)
class Difference:
    """One way in which an answer differs from that of the mini cloud."""

    operation: str
    kind: str
    what: str

    def to_dict(self) -> dict[str, str]:
        """Return the difference as plain values."""
        return {"operation": self.operation, "kind": self.kind, "what": self.what}


def recorded(provider: str) -> Mapping[str, Any] | None:
    """Return the recorded answers of a provider's mini cloud in the same run; ``None`` without a recording."""
    file = files(__package__ or "") / "shapes" / f"{provider}.json"
    return cast("Mapping[str, Any]", json.loads(file.read_text("utf-8"))) if file.is_file() else None


def differences(seen: Mapping[str, Any], mini: Mapping[str, Any]) -> list[Difference]:
    """Return what only the platform answered, and what only the mini cloud does.

    Example:
        >>> mini = {"Get": {"statuses": [200], "fields": ["id:string"], "words": []}}
        >>> seen = {"Get": {"statuses": [200], "fields": ["id:string", "zone:string"], "words": ["state=Odd"]}}
        >>> [(one.kind, one.what) for one in differences(seen, mini)]
        [('new field', 'zone:string'), ('new word', 'state=Odd')]
    """
    found: list[Difference] = []
    for operation in sorted({*seen, *mini}):
        if operation not in mini or operation not in seen:
            kind = "new operation" if operation not in mini else "operation not seen"
            found.append(Difference(operation, kind, ""))
            continue
        real, small = seen[operation], mini[operation]
        for key, word in (("statuses", "status"), ("fields", "field"), ("words", "word")):
            found += [Difference(operation, f"new {word}", str(one)) for one in real[key] if one not in small[key]]
        found += [Difference(operation, "field not seen", one) for one in small["fields"] if one not in real["fields"]]
    return found
