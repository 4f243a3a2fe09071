"""What it costs that the server understands more than JSON: CPU of the main path with and without the choice of a form.

The server's protocol and application answer requests in this process, one row of 30 numbers as JSON, with a socket that
does nothing, no log and a model that does no work. Beside them runs the same application that reads and writes nothing
but JSON, and refuses other content types. Many short rounds are interleaved, and the ratio of CPU times is taken within
a round; the median may be at most 1.02.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np
from uvicorn.config import Config
from uvicorn.server import ServerState

import sdk
from sdk.serving import bundle
from sdk.serving.app import App, ServerExchange
from sdk.serving.codecs import Answer, Input, decode_instances, encode_predictions, unsupported
from sdk.serving.flavours import Predictor, load
from sdk.serving.guard import GuardedProtocol
from sdk.serving.media import JSON
from sdk.serving.outputs import Outputs
from sdk.serving.settings import from_environment

ROUNDS = 201
REQUESTS = 100
LIMIT = 1.02
ROW = np.random.default_rng(0).random((1, 30))
BODY = json.dumps({"instances": ROW.tolist()}).encode()
HEAD = "POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: "
REQUEST = f"{HEAD}{len(BODY)}\r\n\r\n".encode() + BODY


class JsonOnly(App):
    """The application as it would be if JSON were all that there is."""

    async def _predict(self, exchange: ServerExchange) -> Answer:
        self._check_loaded()
        header = exchange.header(b"content-type")
        if header != JSON:
            raise unsupported(header or b"", "application/json")
        given = decode_instances(exchange.body, self._manifest.signature, self._settings.limits)
        return encode_predictions(await self._run(given, exchange))


class Direct:
    """Runs the model at once."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def predict(self, given: Input, *_: object) -> Outputs:
        return self._predictor(given)


class Silent:
    """A log without a reader."""

    def info(self, *_: object, **__: object) -> None: ...

    error = info


def constant(rows: Any) -> Any:
    return rows[:, 0]


class Socket(asyncio.Transport):
    """Takes what is written, and says when an answer is whole."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()
        self.status = b""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("client", 1), "sockname": ("model", 2)}.get(name, default)

    def write(self, data: bytes) -> None:
        self.status = self.status or data[:15]
        self.answered.set()

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def set_write_buffer_limits(self, *_: object, **__: object) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def requests(app: App) -> float:
    """CPU seconds of many requests on one connection."""
    config = Config(app, http=GuardedProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
                    proxy_headers=False, server_header=False)  # fmt: skip
    config.load()
    connection, socket = GuardedProtocol(config, ServerState(), {}), Socket()
    connection.connection_made(socket)
    began = time.process_time()
    for _ in range(REQUESTS):
        socket.answered.clear()
        connection.data_received(REQUEST)
        await socket.answered.wait()
        await asyncio.sleep(0)  # the application's task ends
    seconds = time.process_time() - began
    assert socket.status == b"HTTP/1.1 200 OK", socket.status
    connection.connection_lost(None)
    return seconds


def main() -> int:
    with tempfile.TemporaryDirectory() as state:
        os.environ["MLPORT_STATE_DIR"] = state
        model = sdk.model(constant, name="constant", example=ROW, rowwise=True)
        read = bundle.read(model.path)
        apps = [kind(from_environment({}), read, Direct(load(read)), Silent()) for kind in (App, JsonOnly)]
    for app in apps:
        app.loaded = True
    found: list[tuple[float, float]] = []
    for round_ in range(ROUNDS):
        order = apps if round_ % 2 else apps[::-1]
        seconds = {app: asyncio.run(requests(app)) for app in order}
        found.append((seconds[apps[0]], seconds[apps[1]]))
    ratio = statistics.median(a / b for a, b in found[1:])
    each = [statistics.median(column) / REQUESTS * 1e6 for column in zip(*found[1:], strict=True)]
    figures = {"cpu_us": [round(one, 1) for one in each], "ratio": round(ratio, 4), "limit": LIMIT}
    print(json.dumps({"benchmark": "negotiation", **figures}))
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
