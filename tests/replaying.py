"""Requests that a mini cloud has seen, sent again with odd values: it answers as a cloud does, and never fails."""

from __future__ import annotations

import http.client
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.mutating import Mutator

if TYPE_CHECKING:
    from sdk_contract.clouds.app import App, Match, Request, Response
    from sdk_contract.clouds.faults import Fault

MOST = 100_000
BROKEN = (b"[", b"[]", b"null", b"{" * 3000, b"[" * 50_000, b"\xff", b"1e999", b"")
ODD = ("", "x", "-1", "9" * 40, "%00", "%F0", "..", "%2e%2e", "a" * 300, "1")
HOP = {"content-length", "transfer-encoding", "connection", "host"}


class Recorder:
    """A service that is asked first, answers nothing, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[str, str, dict[str, str], bytes]]] = {}

    def find(self, request: Request) -> Match | None:
        """Keep a small request; blobs are not read, as their handlers stream them."""
        size = int(request.headers.get("content-length") or 0)
        if size < MOST and "transfer-encoding" not in request.headers and "/blobs/" not in request.path:
            query = f"?{request.query_string}" if request.query_string else ""
            kind = f"{request.method} {'/'.join(request.path.split('/')[-2:])}"
            body = request.body if size else b""
            self.seen.setdefault(kind, []).append(
                (request.method, f"{request.target}{query}", dict(request.headers), body)
            )
        return None

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Never asked, since it finds nothing."""
        raise NotImplementedError


def record(app: App) -> Recorder:
    """Keep the requests of an application from now on."""
    recorder = Recorder()
    app.services.insert(0, recorder)
    return recorder


def replay(url: str, recorder: Recorder, count: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Send so many of the requests again, each a little changed; their statuses, and what ended in a 5xx."""
    chance, mutator = random.Random(seed), Mutator()
    mutator.chance = chance
    seen = {kind: list(some) for kind, some in sorted(recorder.seen.items())}
    statuses: Counter[int] = Counter()
    failed: list[str] = []
    for _ in range(count):
        method, target, headers, body = chance.choice(seen[chance.choice(list(seen))])
        target, body = _target(chance, target), _body(chance, mutator, body)
        kept = {name: value for name, value in headers.items() if name not in HOP}
        if chance.random() < 0.05:
            kept.pop(chance.choice(list(kept)))
        status, said = _send(url, method, target, kept, body)
        statuses[status] += 1
        if status >= 500 and b'"model_error"' not in said:  # what the model itself answers passes through
            failed.append(f"{method} {target[:200]} {body[:300]!r} -> {status} {said[:300]!r}")
    return statuses, failed


def _body(chance: random.Random, mutator: Mutator, body: bytes) -> bytes:
    if chance.random() < 0.05:
        return chance.choice(BROKEN)
    try:
        value: Any = json.loads(body)
    except ValueError:
        return body
    for _ in range(chance.choice([0, 1, 1, 2])):
        value = mutator.mutated(value)
    return json.dumps(value).encode()


def _target(chance: random.Random, target: str) -> str:
    if chance.random() < 0.75:
        return target
    path, _, query = target.partition("?")
    if query and chance.random() < 0.6:
        fields = query.split("&")
        place = chance.randrange(len(fields))
        fields[place] = f"{fields[place].partition('=')[0]}={chance.choice(ODD)}"
        return f"{path}?{'&'.join(fields)}"
    names = path.split("/")
    names[chance.randrange(1, len(names))] = chance.choice(ODD)
    return "/".join(names) + (f"?{query}" if query else "")


def _send(url: str, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    place = urlsplit(url)
    link = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    try:
        link.request(method, target, body, headers)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()
