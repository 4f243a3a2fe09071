"""Answers that a model yields item by item: their forms, failures at each moment, slow and leaving clients."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SSE = "text/event-stream"


def counted(rows: Any) -> Any:
    """Yield as many numbers as the first row says; a second number says after how many items it fails."""
    most, *rest = rows[0]
    for number in range(int(most)):
        if rest and number == rest[0]:
            raise ValueError(f"item {number} is bad")
        yield {"n": number}


async def awaited(rows: Any) -> Any:
    for number in range(int(rows[0][0])):
        await asyncio.sleep(0)
        yield number


def gated(rows: Any) -> Any:
    """Yield one item, then one more for each file that appears in a folder, and note when it is closed."""
    from pathlib import Path

    folder = Path(rows[0])
    try:
        for number in range(1000):
            while number and not (folder / str(number)).exists():
                time.sleep(0.01)
            yield number
    finally:
        (folder / "closed").touch()


def large(rows: Any) -> Any:
    from pathlib import Path

    folder = Path(rows[0])
    for number in range(200):
        (folder / "yielded").write_text(str(number))
        yield "x" * 100_000


def odd(rows: Any) -> Any:
    import numpy as np

    yield np.float32(1.5)
    yield np.array([1, 2])
    yield float("nan")
    if rows[0] == "fails":
        yield object()


class Numbers:
    """An iterator that is no generator."""

    def __init__(self, most: int) -> None:
        self._left = most

    def __next__(self) -> int:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._left

    def __iter__(self) -> Numbers:
        return self


def iterators(rows: Any) -> Any:
    return map(str, rows) if rows[0] == "map" else Numbers(3)


def listed(rows: Any) -> Any:
    return [sum(row) for row in rows]


def events(response: httpx.Response) -> list[tuple[str, Any]]:
    """Return the events of a body: name and data."""
    found = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


@pytest.fixture
def served(bundles: Any, start: Callable[..., Any]) -> Iterator[Callable[..., tuple[Any, httpx.Client]]]:
    clients: list[httpx.Client] = []

    def run(function: Callable[..., Any], **env: str) -> tuple[Any, httpx.Client]:
        server = start(bundles.function(function), **env).ready()
        clients.append(httpx.Client(base_url=server.url, trust_env=False, timeout=30))
        return server, clients[-1]

    yield run
    for one in clients:
        one.close()


def ask(client: httpx.Client, rows: list[Any], accept: str = SSE) -> httpx.Response:
    return client.post("/invocations", json={"instances": rows}, headers={"accept": accept})


def test_the_forms_of_a_streamed_answer(served: Any, tools: Any) -> None:
    """The same items as events, as lines, and as one list for clients that know no streams."""
    server, client = served(counted)
    items = [{"n": 0}, {"n": 1}, {"n": 2}]
    sent = ask(client, [[3]])
    assert sent.headers["content-type"] == SSE
    assert sent.headers["transfer-encoding"] == "chunked"
    assert events(sent) == [*(("message", one) for one in items), ("end", {})]
    in_body = client.post("/invocations", json={"instances": [[3]], "stream": True})
    assert events(in_body) == events(sent), "for platforms that pass no Accept header on"
    lines = ask(client, [[3]], "application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == items
    assert ask(client, [[3]], "application/json").json() == {"predictions": items}
    assert ask(client, [[0]], "application/json").json() == {"predictions": []}
    assert events(ask(client, [[0]])) == [("end", {})]
    v2 = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1]}]}
    assert client.post("/v2/models/churn/infer", json=v2).status_code == 406
    assert ask(client, [[3]], "text/csv").status_code == 406
    tools.eventually(lambda: [one["items"] for one in server.events("request") if "items" in one] == [3, 3, 3, 0])


def test_http_1_0_gets_a_whole_body(served: Any) -> None:
    """It has no chunks."""
    server, _ = served(counted)
    body = b'{"instances": [[2]], "stream": true}'
    head = b"POST /score HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    answer = server.raw(head + body)
    assert b"content-length" in answer
    assert b"chunked" not in answer
    assert answer.endswith(b'data: {"n":1}\n\nevent: end\ndata: {}\n\n')


@pytest.mark.parametrize("function", [awaited, iterators])
def test_other_iterators(served: Any, function: Any) -> None:
    """Asynchronous generators, `map`, and objects with `__next__`."""
    _, client = served(function)
    rows = [[3]]
    wanted = [0, 1, 2] if function is awaited else [2, 1, 0]
    assert [data for name, data in events(ask(client, rows)) if name == "message"] == wanted
    if function is iterators:
        assert ask(client, ["map", "b"], "application/json").json() == {"predictions": ["map", "b"]}


def test_a_model_without_a_stream_can_be_asked_for_one(served: Any) -> None:
    """Its predictions are the items."""
    _, client = served(listed)
    assert events(ask(client, [[1, 2], [3, 4]])) == [("message", 3), ("message", 7), ("end", {})]


def test_items_of_any_type(served: Any) -> None:
    """Each is written as in other answers; one without a JSON form is the model's fault."""
    server, client = served(odd)
    assert events(ask(client, ["works"]))[:3] == [("message", 1.5), ("message", [1, 2]), ("message", None)]
    name, told = events(ask(client, ["fails"]))[-1]
    assert (name, told["error"]["code"]) == ("error", "bad_model_output")
    assert ask(client, ["fails"], "application/json").status_code == 500
    server.wait_event("bad_model_output", 2)


def test_a_failure_before_the_first_item_is_an_ordinary_error(served: Any) -> None:
    """A status says more than an event."""
    _, client = served(counted)
    answer = ask(client, [[3, 0]])
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_error")


def test_a_failure_after_an_item(served: Any) -> None:
    """It is an event, or cuts the lines, which must not look complete; log and metrics count it as failed."""
    server, client = served(counted)
    *first, (name, told) = events(ask(client, [[3, 2]]))
    assert first == [("message", {"n": 0}), ("message", {"n": 1})]
    assert (name, told["error"]["code"]) == ("error", "model_error")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(client, [[3, 2]], "application/x-ndjson")
    assert ask(client, [[3, 2]], "application/json").status_code == 500
    assert "item 2 is bad" in server.wait_event("model_error", 3)["trace"]
    assert 'mlport_requests_total{route="predict",status="500"} 3' in client.get("/metrics").text


def test_items_arrive_as_they_are_yielded(served: Any, tmp_path: Any) -> None:
    """The first item is there while the model waits; health answers meanwhile."""
    _, client = served(gated)
    with client.stream("POST", "/score", json={"instances": [str(tmp_path)], "stream": True}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == "data: 0"
        assert httpx.get(f"{client.base_url}/ping", trust_env=False).status_code == 200
        (tmp_path / "1").touch()
        assert next(lines) == "data: 1"


def test_a_client_that_leaves_stops_the_model(served: Any, tmp_path: Any, tools: Any) -> None:
    """The generator is closed at its next item, and the worker is free."""
    server, client = served(gated)
    with client.stream("POST", "/score", json={"instances": [str(tmp_path)], "stream": True}) as answer:
        next(answer.iter_lines())
    for number in range(1, 1000):  # slowly: the server must first see that the client has left
        (tmp_path / str(number)).touch()
        time.sleep(0.02)
        if (tmp_path / "closed").exists():
            break
    assert (tmp_path / "closed").exists()
    tools.eventually(lambda: [one["status"] for one in server.events("request")] == [499])
    assert httpx.get(f"{client.base_url}/ping", trust_env=False).status_code == 200


def failing_at_its_end(rows: Any) -> Any:
    try:
        while True:
            yield 1
    finally:
        raise ValueError("while it was closed")


def test_a_failure_while_the_iterator_is_closed_is_logged(served: Any, tools: Any) -> None:
    """Its client has left, but the author of the model wants to know; the worker goes on."""
    server, client = served(failing_at_its_end)
    for _ in range(2):
        with client.stream("POST", "/score", json={"instances": [1], "stream": True}) as answer:
            next(answer.iter_lines())
    tools.eventually(lambda: len(server.events("model_error")) == 2)
    assert "while it was closed" in server.events("model_error")[0]["trace"]
    assert server.unparsed == []


def test_a_slow_client_slows_the_model(served: Any, tmp_path: Any, tools: Any) -> None:
    """The server keeps few items in memory; all of them arrive."""
    _, client = served(large)
    with client.stream("POST", "/score", json={"instances": [str(tmp_path)], "stream": True}) as answer:
        yielded = tmp_path / "yielded"
        tools.eventually(yielded.exists)
        seen = ["", "0"]
        while seen[-1] != seen[-2]:
            time.sleep(0.5)
            seen.append(yielded.read_text())
        assert int(seen[-1]) < 150, "20 MB would be too many to wait for the client"
        assert sum(line.startswith("data: ") for line in answer.iter_lines()) == 201


def test_a_model_that_hangs_between_two_items(served: Any, tmp_path: Any) -> None:
    """The deadline applies to each item: from the header, else from the server."""
    _, client = served(gated)
    answer = client.post("/score", json={"instances": [str(tmp_path)], "stream": True},
                         headers={"x-mlport-deadline-ms": "300"})  # fmt: skip
    assert [name for name, _ in events(answer)] == ["message", "error"]
    assert events(answer)[1][1]["error"]["code"] == "deadline_exceeded"
    (tmp_path / "1").touch()
    plain = {"x-mlport-deadline-ms": "300", "accept": "application/json"}
    assert client.post("/score", json={"instances": [str(tmp_path)]}, headers=plain).status_code == 504


def test_a_server_that_stops_ends_its_streams(served: Any, tmp_path: Any) -> None:
    """A client must not take the end of the server for the end of the answer."""
    server, client = served(gated, MLPORT_GRACE_S="0.2")
    with client.stream("POST", "/score", json={"instances": [str(tmp_path)], "stream": True}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == "data: 0"
        stopping = threading.Thread(target=server.terminate)
        stopping.start()
        assert next(lines) == "event: error"
        assert "the server is stopping" in next(lines)
    stopping.join()
