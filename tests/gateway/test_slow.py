"""Clients that are slow, silent, too many, or gone."""

from __future__ import annotations

import time

from tests.gateway.harness import Endpoint, Load, receive, statuses, until


def test_slow_clients_are_shed(served: Endpoint) -> None:
    """Silent sockets, half heads and dripped heads and bodies are closed; honest clients are served meanwhile."""
    half = served.head("POST /predict HTTP/1.1", "Content-Length: 5000")
    openings = {"silent": b"", "half head": half[:40], "half body": half + b"123", "chunk drip": half}
    with Load(served, 2) as honest:
        slow = {name: served.connect() for name in openings for _ in range(1)}
        for name, connection in slow.items():
            connection.sendall(openings[name])
        answers = {}
        for name, connection in slow.items():
            received, closed = receive(connection)
            assert closed
            answers[name] = statuses(received)
            connection.close()
        honest.wait(10)
    assert {"silent": [], "half head": [408], "half body": [408], "chunk drip": [408]} == answers
    assert {"200"} == set(honest.answers)
    refusals = served.status()["gateway"]["refusals"]
    assert refusals["header_timeout"] >= 1
    assert refusals["body_timeout"] >= 2


def test_client_that_does_not_read_is_shed(endpoint: Endpoint) -> None:
    """A client that asks for much and reads nothing is cut off, without filling the gateway's memory."""
    endpoint.put(d1=endpoint.deployment("d1"), limits={"write_s": 0.5})
    with endpoint.connect() as connection:
        connection.sendall(endpoint.head("GET /big?n=200000000 HTTP/1.1"))
        until(lambda: endpoint.status()["gateway"]["refusals"].get("slow_reader"))
        assert endpoint.status()["gateway"]["rss_bytes"] < 100_000_000
    until(lambda: 0 == endpoint.replica("d1-0")["inflight"])


def test_pipelining_client_that_does_not_read_is_held(endpoint: Endpoint) -> None:
    """A client that asks again and again without reading gets no further than its buffers, and all when it reads."""
    endpoint.put(d1=endpoint.deployment("d1"))
    with endpoint.connect() as connection:
        count = 150
        connection.sendall(endpoint.head("GET /big?n=100000 HTTP/1.1") * count + endpoint.head("GET /last HTTP/1.0"))
        time.sleep(0.5)
        assert endpoint.replica("d1-0")["served"] < count
        received, closed = receive(connection)
    assert (count + 1, True) == (received.count(b"HTTP/1.1 200 "), closed)


def test_client_that_leaves_frees_the_replica(endpoint: Endpoint) -> None:
    """When a client goes away, its request is cancelled at the replica too."""
    endpoint.put(d1=endpoint.deployment("d1"))
    with endpoint.connect() as connection:
        connection.sendall(endpoint.head("GET /hang HTTP/1.1"))
        until(lambda: 1 == endpoint.replica("d1-0")["inflight"])
    until(lambda: 0 == endpoint.replica("d1-0")["inflight"])


def test_connections_over_the_limit_push_out_idle_ones(endpoint: Endpoint) -> None:
    """Past the limit an idle connection makes room, so that silent sockets cannot lock others out."""
    endpoint.put(d1=endpoint.deployment("d1"), limits={"max_connections": 20})
    silent = [endpoint.connect() for _ in range(60)]
    assert 200 == endpoint.post().status_code
    assert endpoint.status()["gateway"]["connections"] <= 21
    for connection in silent:
        connection.close()


def test_open_files_do_not_run_out() -> None:
    """Silent sockets beyond what the process has file descriptors for are shed, and it stays in reach."""
    value = Endpoint()
    try:
        value.start(before=["sh", "-c", 'ulimit -n 200; exec "$@"', "sh"])
        value.put(d1=value.deployment("d1"))
        silent = [value.connect() for _ in range(300)]
        assert 200 == value.post().status_code
        assert 70 >= value.status()["gateway"]["connections"]
        for connection in silent:
            connection.close()
    finally:
        value.close()
