"""Media types of requests and responses, and the choice of the response's type by the `Accept` header."""

from __future__ import annotations

from .failures import RequestError

JSON = b"application/json"
NPY = b"application/x-npy"
CSV = b"text/csv"
BINARY = b"application/octet-stream"
EVENTS = b"text/event-stream"
LINES = (
    b"application/jsonlines",
    b"application/x-ndjson",
    b"application/jsonl",
    b"application/x-jsonlines",
    b"application/x-jsonl",
    b"application/ndjson",
)
ARROW = (b"application/vnd.apache.arrow.stream",)
PARQUET = (b"application/x-parquet", b"application/vnd.apache.parquet", b"application/parquet")

BODIES = frozenset({JSON, NPY, CSV, BINARY, *LINES, *ARROW, *PARQUET})
"""The media types of requests. Browsers preflight all of them across sites; never add text/plain or a form."""

SHOWN_BODIES = (JSON, NPY, CSV, *LINES[:2], ARROW[0], PARQUET[0])
SHOWN_ANSWERS = (JSON, NPY, CSV, *LINES[:2], EVENTS)
_ANSWERS = (JSON, NPY, CSV, *LINES, EVENTS)
_MOST_RANGES = 32


def names(types: tuple[bytes, ...]) -> str:
    """Format media types for a message."""
    *first, last = (one.decode() for one in types)
    return f"{', '.join(first)} or {last}"


def parameters(value: bytes) -> dict[bytes, bytes]:
    """Return the parameters of a media type in lower case."""
    pairs = (part.strip().partition(b"=") for part in value.lower().split(b";")[1:])
    return {key.strip(): content.strip().strip(b'"') for key, _, content in pairs}


def wanted(accept: bytes | None, default: bytes) -> bytes:
    """Return the media type of the response that an `Accept` header asks for.

    Args:
        accept: The header's value, or None.
        default: The media type if the client accepts any.

    Raises:
        RequestError: 406; none of the supported media types is acceptable.
    """
    if accept is None or accept in {b"*/*", b""}:
        return default
    if accept == JSON:
        return JSON
    ranges = _ranges(accept)
    best, quality = default, 0.0
    for form in dict.fromkeys((default, *_ANSWERS)):
        found = _quality(form, ranges)
        if found > quality:
            best, quality = form, found
    if quality <= 0:
        message = f"the server has none of the forms that the header asks for; ask for {names(SHOWN_ANSWERS)}"
        raise RequestError(406, "not_acceptable", message, "accept")
    return best


def _ranges(accept: bytes) -> dict[bytes, float]:
    """Parse the quality of each media range; ranges beyond the first 32 are ignored."""
    found: dict[bytes, float] = {}
    for part in accept.lower().split(b",")[:_MOST_RANGES]:
        kind = part.partition(b";")[0].strip()
        if kind:
            found[kind] = _number(parameters(part).get(b"q", b"1"))
    return found


def _number(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(value, 1.0) if value > 0 else 0.0


def _quality(form: bytes, ranges: dict[bytes, float]) -> float:
    """Return the quality of a media type in the most specific range that contains it; 0 if none does."""
    main = form.partition(b"/")[0]
    return next((ranges[kind] for kind in (form, main + b"/*", b"*/*") if kind in ranges), 0.0)
