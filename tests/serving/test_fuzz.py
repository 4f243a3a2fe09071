"""Mutated requests: whatever comes over the wire, no 5xx, no hang, no trace."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from typing import Any

import pytest

HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
JSON_BODY = b'{"instances": [[1, 2.5, -3e2], [4, 5, 6]], "parameters": null}'
V2_BODY = (
    b'{"id":"1","inputs":[{"name":"input","shape":[1,3],"datatype":"FP64","data":[1,2,3]}],'
    b'"outputs":[{"name":"predict"}]}'
)
V2_HEAD = b'{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP64","parameters":{"binary_data_size":24}}]}'
NPY_HEAD = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }"
NPY_BODY = NPY_HEAD + b" " * 59 + b"\n" + b"\0" * 24

_CONNECTIONS = 16
_SILENCE_S = 0.05

SEEDS = [
    HEAD % len(JSON_BODY) + JSON_BODY,
    (HEAD % len(V2_BODY)).replace(b"/invocations", b"/v2/models/churn/infer") + V2_BODY,
    (HEAD % (len(V2_HEAD) + 24))
    .replace(b"/invocations", b"/v2/models/churn/infer")
    .replace(b"application/json", b"application/octet-stream")
    .replace(b"\r\n\r\n", b"\r\nInference-Header-Content-Length: %d\r\n\r\n" % len(V2_HEAD))
    + V2_HEAD
    + b"\0" * 24,
    (HEAD % len(NPY_BODY)).replace(b"application/json", b"application/x-npy") + NPY_BODY,
    (HEAD % 16).replace(b"application/json", b"text/csv") + b"a,b,c\n1,2.5,-3e2",
    (HEAD % 25).replace(b"application/json", b"application/jsonlines") + b"[1, 2.5, -3e2]\n[4, 5, 6]\n",
    (HEAD % 25).replace(b"Host: x", b"Host: x\r\nAccept: text/csv;q=0.5, */*;q=0.1") + b'{"inputs": [[1, 2.5, 3]]}',
    b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/models/churn HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"17\r\n" + b'{"instances":[[1,2,3]]}' + b"\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
]
TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"chunked", b"Content-Length: 5\r\n", b"Host: y\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Upgrade: x\r\n", b"Expect: 100-continue\r\n", b"x-mlport-deadline-ms: 0\r\n",
    b"Connection: close\r\n", b"Content-Encoding: gzip\r\n", b"HTTP/1.1", b"[", b"]", b"{", b"}", b'"', b"null",
    b"true", b"1e400", b"-0", b"9" * 40, b"\xff\xfe", b"\\ud800", b"%00", b"..", b"/v2/", b"-1", b"[" * 200,
    b"0\r\n\r\n",
]  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return `data` after one to four random changes, token-wise or byte-wise."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 1:
            out[at:at] = rng.choice(TOKENS)
        elif kind == 2:
            del out[at : at + rng.randint(1, 30)]
        elif kind == 3:
            out[at:at] = out[rng.randrange(len(out) + 1) :][: rng.randint(1, 60)]
        elif kind == 4:
            out[at : at + rng.randint(1, 8)] = rng.choice(TOKENS)
        elif kind == 5:
            number = rng.choice([m.span() for m in re.finditer(rb"\d+", bytes(out))] or [(0, 0)])
            out[slice(*number)] = str(rng.choice([0, -1, 1, 2**31, 2**63, 2**64, 10**30])).encode()
        else:
            del out[at:]
    return bytes(out)


def mutate_body(data: bytes, rng: random.Random) -> bytes:
    """Return a request whose body is mutated and whose Content-Length is right again."""
    head, _, body = data.partition(b"\r\n\r\n")
    body = mutate(body, rng)
    return re.sub(rb"(?<=\r\nContent-Length: )\d+", b"%d" % len(body), head) + b"\r\n\r\n" + body


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes and return the answers; after a while of silence the input ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(data)
        with contextlib.suppress(TimeoutError):
            answer = await asyncio.wait_for(reader.read(65536), _SILENCE_S)
        with contextlib.suppress(OSError):
            writer.write_eof()
        return answer + await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return answer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def bombard(port: int, count: int, rng: random.Random) -> dict[bytes, int]:
    """Exchange `count` mutated requests on several connections at a time; return how often each status came."""
    statuses: dict[bytes, int] = {}
    requests = iter(range(count))

    async def worker() -> None:
        for number in requests:
            seed = SEEDS[number % len(SEEDS)]
            data = mutate(seed, rng) if rng.random() < 0.5 else mutate_body(seed, rng)
            for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", await exchange(port, data)):
                statuses[status] = statuses.get(status, 0) + 1
                # A mutated deadline of a few milliseconds may honestly pass.
                assert status < b"500" or (status == b"504" and b"x-mlport-deadline-ms" in data), (status, data)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTIONS):
            group.create_task(worker())
    return statuses


@pytest.mark.parametrize("count", [3000, pytest.param(200_000, marks=pytest.mark.full)])
def test_mutated_requests_get_no_5xx_no_hang_and_no_trace(tensor_server: Any, count: int) -> None:
    """Each mutated request is answered below 500 or closed; afterwards the server answers as before."""
    statuses = asyncio.run(bombard(tensor_server.port, count, random.Random(count)))
    assert {b"200", b"400", b"404", b"413", b"415"} <= statuses.keys(), statuses
    assert statuses[b"200"] > count / 10, statuses
    reached = [line for line in tensor_server.events("request") if line["status"] != 499]
    assert len(reached) > count / 4, "too few requests get as far as the application"
    assert [] == [line for line in tensor_server.log if line["level"] == "error"]
    assert [] == tensor_server.unparsed
    assert b"200 OK" in tensor_server.raw(SEEDS[0].replace(b"Host: x", b"Host: x\r\nConnection: close"))
