"""Parses the heads of HTTP/1.1 messages and rebuilds each for forwarding.

A head is never forwarded unchanged: it is parsed (by llhttp, through httptools), refused if anything in it is
ambiguous, and rebuilt from its fields. Clients and servers on keep-alive connections send the same head repeatedly, so
parsed heads are cached by their bytes; only heads that passed every check are cached.
"""

from __future__ import annotations

import re

import httptools

CRLF = b"\r\n"
END = b"\r\n\r\n"
CHUNKED = -1
UNTIL_CLOSE = -2

_KEPT = 512  # maximum number of cached heads per direction
_LENGTH = re.compile(rb"[0-9]{1,15}")
_TARGET = re.compile(rb"/[\x21-\x22\x24-\x7e]*")
_REQUEST_LINE = re.compile(rb"[A-Z]{3,10} [^ \r\n]+ HTTP/1\.[01]\r\n")
# Line ends other than CRLF, folded lines, control characters.
_UNCLEAN = re.compile(rb"(?<!\r)\n|\r(?!\n)|\r\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID_LINE = re.compile(rb"\r\n[Xx]-[Rr]equest-[Ii][Dd]: ([A-Za-z0-9._-]{1,64})(?=\r\n)")
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

# RFC 9110 7.6.1: these apply to one connection, not to the message.
_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te"}
    | {b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
)
# Fields that the gateway itself sets or consumes.
_OWN_REQUEST = frozenset({b"authorization", b"x-request-id", b"x-mlport-deployment", b"content-length"})
_OWN_RESPONSE = frozenset({b"x-request-id", b"x-mlport-deployment", b"content-length"})
_ONCE = (b"authorization", b"content-type", b"origin", b"sec-fetch-site", b"x-mlport-deployment", b"content-encoding")


class Refusal(Exception):
    """Raised for a request that the gateway answers itself with an error."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.request: RequestHead | None = None
        """The request if it could be parsed, so that the connection can be kept."""


class Fields:
    """The receiver of the parser's callbacks: the parts of one message head."""

    __slots__ = ("_named", "items", "url")

    def __init__(self) -> None:
        self.url = b""
        self.items: list[tuple[bytes, bytes]] = []
        self._named: dict[bytes, list[bytes]] = {}

    def on_url(self, url: bytes) -> None:
        """Append to the request target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store one header field."""
        name, value = name.lower(), value.strip(b" \t")
        self.items.append((name, value))
        self._named.setdefault(name, []).append(value)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of one field in their order."""
        return self._named.get(name, [])

    def one(self, name: bytes) -> bytes | None:
        """Return the value of a field that `read_request` allows at most once, or None."""
        values = self._named.get(name)
        return values[0] if values else None

    def tokens(self, name: bytes) -> frozenset[bytes]:
        """Return the lower-case members of a comma-separated field."""
        return frozenset(part.strip().lower() for value in self.values(name) for part in value.split(b",")) - {b""}


class RequestHead:
    """An accepted request head; `prefix` is the head for the replica without the request id and the blank line."""

    __slots__ = (
        "close", "deployment", "expect", "fields", "health", "length", "method", "old", "prefix", "probe", "request_id",
    )  # fmt: skip

    def __init__(self, method: bytes, fields: Fields, *, old: bool) -> None:
        self.method = method
        self.fields = fields
        self.health = fields.url == b"/healthz" and method in {b"GET", b"HEAD"}
        self.old = old
        self.length = _body_length(fields, old=old)
        connection = fields.tokens(b"connection")
        self.close = old or b"close" in connection
        self.expect = bool(fields.values(b"expect"))
        wanted = fields.one(b"x-mlport-deployment")
        self.deployment = None if wanted is None else wanted.decode("latin-1")
        self.probe = bool(fields.values(b"x-mlport-probe"))  # a smoke test, which is not counted as traffic
        ids = fields.values(b"x-request-id")
        self.request_id = ids[0] if len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]) else None
        drop = _HOP | _OWN_REQUEST | (connection - {b"host"})
        lines = [method + b" " + fields.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in fields.items if name not in drop]
        if self.length > 0 or fields.values(b"content-length"):
            lines.append(b"content-length: %d" % self.length)
        self.prefix = CRLF.join(lines) + CRLF


def cut_request_id(head: bytes) -> tuple[bytes, bytes | None]:
    """Split the line of a valid request id off a head, as often only this line differs between requests."""
    match = _REQUEST_ID_LINE.search(head)
    return (head, None) if match is None else (head[: match.start()] + head[match.end() :], match[1])


def read_request(head: bytes, *, max_url: int, max_headers: int) -> RequestHead:
    """Parse a whole request head, including the blank line.

    Raises:
        Refusal: 400, 405, 414, 417 or 431; the connection must then be closed, as its framing is uncertain.

    """
    if _UNCLEAN.search(head):
        raise Refusal(400, "bad_request", "Lines end in CRLF, are not folded and hold no control characters.")
    if head.count(CRLF) - 2 > max_headers:
        raise Refusal(431, "too_many_headers", f"More than {max_headers} header lines.")
    if head.find(CRLF) > max_url + 32:
        raise Refusal(414, "url_too_long", f"The request line is longer than {max_url} bytes.")
    if not _REQUEST_LINE.match(head):
        raise Refusal(400, "bad_request", "The request line must be METHOD PATH HTTP/1.1.")
    if head.startswith(b"CONNECT "):
        raise Refusal(405, "method_not_allowed", "CONNECT is not served.")
    fields = Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
        method, old = parser.get_method(), parser.get_http_version() == "1.0"
    except httptools.HttpParserUpgrade:
        raise Refusal(400, "upgrade_refused", "Upgrading the connection is not served.") from None
    except httptools.HttpParserError as error:
        raise Refusal(400, "bad_request", f"The request could not be read: {error}.") from None
    _check_fields(method, fields, max_url=max_url)
    return RequestHead(method, fields, old=old)


def _check_fields(method: bytes, fields: Fields, *, max_url: int) -> None:
    if method not in METHODS:
        raise Refusal(405, "method_not_allowed", f"Use one of {b', '.join(sorted(METHODS)).decode()}.")
    if len(fields.url) > max_url:
        raise Refusal(414, "url_too_long", f"The path is longer than {max_url} bytes.")
    if not _TARGET.fullmatch(fields.url):
        raise Refusal(400, "bad_request", "The request target must be a path.")
    _check_counts(fields)
    if b"upgrade" in fields.tokens(b"connection") or fields.values(b"upgrade"):
        raise Refusal(400, "upgrade_refused", "Upgrading the connection is not served.")
    if fields.tokens(b"expect") - {b"100-continue"}:
        raise Refusal(417, "expectation_failed", "Only Expect: 100-continue is understood.")


def _check_counts(fields: Fields) -> None:
    if len(fields.values(b"host")) != 1:
        raise Refusal(400, "bad_host", "Send exactly one Host header.")
    for name in _ONCE:
        if len(fields.values(name)) > 1:
            raise Refusal(400, "bad_request", f"Header {name.decode()} was sent more than once.")


def _body_length(fields: Fields, *, old: bool) -> int:
    lengths = fields.values(b"content-length")
    codings = fields.values(b"transfer-encoding")
    if codings:
        if lengths or old or len(codings) != 1 or codings[0].lower() != b"chunked":
            raise Refusal(400, "bad_framing", "Send one Content-Length, or Transfer-Encoding: chunked, not both.")
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refusal(400, "bad_framing", "Content-Length must be one decimal number.")
    return int(lengths[0])


class BadResponse(Exception):
    """Raised for a replica's response that cannot be forwarded."""


class Response:
    """An accepted response head; `prefix` is the head for the client without the gateway's own fields."""

    __slots__ = ("close", "interim", "length", "prefix", "status")

    def __init__(self, status: int, line: bytes, fields: Fields, *, old: bool) -> None:
        connection = fields.tokens(b"connection")
        lengths = fields.values(b"content-length")
        codings = fields.values(b"transfer-encoding")
        if codings and (lengths or len(codings) != 1 or codings[0].lower() != b"chunked"):
            raise BadResponse("ambiguous framing")
        if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
            raise BadResponse("bad content-length")
        self.status = status
        self.interim = status < 200
        self.length = CHUNKED if codings else int(lengths[0]) if lengths else UNTIL_CLOSE
        self.close = old or b"close" in connection or self.length == UNTIL_CLOSE
        drop = _HOP | _OWN_RESPONSE | connection
        lines = [line]
        lines += [name + b": " + value for name, value in fields.items if name not in drop]
        if lengths:
            lines.append(b"content-length: " + lengths[0])
        self.prefix = CRLF.join(lines) + CRLF


def read_response(head: bytes) -> Response:
    """Parse a whole response head, including the blank line.

    Raises:
        BadResponse: The head is not HTTP/1.x, or its length is ambiguous.

    """
    if _UNCLEAN.search(head):
        raise BadResponse("bare line ends, folded headers or control characters")
    fields = Fields()
    parser = httptools.HttpResponseParser(fields)
    try:
        parser.feed_data(head)
        status, old = parser.get_status_code(), parser.get_http_version() == "1.0"
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise BadResponse(str(error)) from None
    if status == 101:
        raise BadResponse("switching protocols was not asked for")
    line = b"HTTP/1.1" + head[8 : head.find(CRLF)]
    return Response(status, line, fields, old=old)
