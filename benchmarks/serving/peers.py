"""The other servers of the benchmark, each in its own virtual environment: python peers.py NAME MODEL PORT.

`NAME` is `stdlib`, `uvicorn`, `kserve` or `mlserver`; `MODEL` is a joblib file, or `noop` for no model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

try:
    import kserve
except ImportError:  # the other environments have no KServe
    kserve = None


def model_of(path: str) -> Any:
    if path == "noop":
        return lambda rows: [0.0] * len(rows)
    import joblib
    import numpy as np

    predict = joblib.load(path).predict
    return lambda rows: predict(np.asarray(rows)).tolist()


def stdlib(path: str, port: int) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    predict = model_of(path)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # send head and body in one piece, else each answer waits 40 ms for an acknowledgement
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = json.dumps({"predictions": predict(body["instances"])}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    Server(("127.0.0.1", port), Handler).serve_forever()


def uvicorn(path: str, port: int) -> None:
    """Serve a bare application, which parses the body but has no checks, metrics or log."""
    import msgspec
    import uvicorn as server

    predict, decode, encode = model_of(path), msgspec.json.decode, msgspec.json.encode

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        answer = encode({"predictions": predict(decode(body)["instances"])})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    server.run(app, port=port, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error")


class ServedByKServe(kserve.Model if kserve else object):
    """A KServe model, defined at module level, since KServe sends it to its workers."""

    def __init__(self, path: str) -> None:
        super().__init__("model")
        self.path = path
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        del headers, response_headers
        if not hasattr(self, "answer"):
            self.answer = model_of(self.path)
        return {"predictions": self.answer(payload["instances"])}


def serve_kserve(path: str, port: int) -> None:
    server = kserve.ModelServer(http_port=port, enable_grpc=False, workers=2, access_log_format=None)
    server.start([ServedByKServe(path)])


def mlserver(path: str, port: int) -> None:
    """Serve with MLServer without a process pool and with adaptive batching, its fastest setup on two cores."""
    folder = Path(path).parent / f"mlserver-{Path(path).stem}"
    folder.mkdir(exist_ok=True)
    settings = {
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": "model",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "max_batch_size": 64,
        "max_batch_time": 0.005,
        "parameters": {"uri": path},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(folder)])


if __name__ == "__main__":
    {"stdlib": stdlib, "uvicorn": uvicorn, "kserve": serve_kserve, "mlserver": mlserver}[sys.argv[1]](
        sys.argv[2], int(sys.argv[3])
    )
