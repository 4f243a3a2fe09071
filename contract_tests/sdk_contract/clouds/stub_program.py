"""The program inside the stub image: a model server and a training job that use only the standard library.

When serving, it answers each POST with what it received, as JSON; a body ``{"do": …}`` makes it fail, sleep, print,
stream or encode.
When training, it reads SageMaker's layout or the folders that ``STUB_IN``/``STUB_OUT`` name, and writes a model that
records what it read.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ML = pathlib.Path(os.environ.get("MLPORT_ROOT", "/")) / "opt" / "ml"


class Handler(BaseHTTPRequestHandler):
    """A request handler that answers as a model container does."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_GET(self) -> None:
        """Answer a health check."""
        self.reply(200, b"")

    def do_POST(self) -> None:
        """Answer a prediction."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        try:
            wish: dict[str, Any] = {"do": None} | json.loads(body)
        except (ValueError, TypeError):
            wish = {}
        act = wish.get("do")
        if act == "fail":
            self.reply(int(wish.get("status", 500)), str(wish.get("say", "told to fail")).encode())
        elif act == "encode":
            self.encoded(gzip.compress(str(wish["say"]).encode(), mtime=0))
        elif act == "stream":
            self.stream(wish["parts"])
        elif act == "die":
            os._exit(3)
        else:
            time.sleep(float(wish.get("seconds", 0)) if act == "sleep" else 0)
            if act == "say":
                print(wish["line"], flush=True)
            seen = {
                "who": os.environ.get("STUB_NAME", "stub"),
                "body": body.decode("latin-1"),
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "model": sorted(path.name for path in (ML / "model").glob("*")),
                "env": dict(os.environ),
            }
            self.reply(200, json.dumps(seen).encode())

    def reply(self, status: int, body: bytes) -> None:
        """Send a complete reply."""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if "x-amzn-sagemaker-custom-attributes" in self.headers:
            self.send_header("x-amzn-sagemaker-custom-attributes", "stub=1")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def encoded(self, body: bytes) -> None:
        """Send a body in gzip, with custom headers: one for the client, one for the next hop only."""
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-stub", "for the client")
        self.send_header("x-hop", "for the gateway")
        self.send_header("connection", "keep-alive, x-hop")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, parts: list[str]) -> None:
        """Send a reply piece by piece."""
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(f"{len(part):x}\r\n{part}\r\n".encode())
            self.wfile.flush()
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing about requests."""


def serve() -> None:
    """Listen until SIGTERM."""
    if os.environ.get("STUB_BROKEN"):
        print("stub: told to be broken", flush=True)
        sys.exit(4)
    ports = ("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT", "PORT")
    port = next((os.environ[name] for name in ports if os.environ.get(name)), "8080")
    host = "127.0.0.1" if "MLPORT_BIND" in os.environ else "0.0.0.0"
    server = ThreadingHTTPServer((host, int(port)), Handler)
    print(f"stub: {os.environ.get('STUB_NAME', 'stub')} listens", flush=True)
    server.serve_forever()


def train() -> None:
    """Read the inputs, print messages, and write a model."""
    config = ML / "input" / "config" / "hyperparameters.json"
    parameters: dict[str, str] = json.loads(config.read_text()) if config.is_file() else {}
    data = pathlib.Path(os.environ.get("STUB_IN") or ML / "input" / "data")
    out = pathlib.Path(os.environ.get("STUB_OUT") or ML / "model")
    files = {str(path.relative_to(data)): path.read_text() for path in sorted(data.rglob("*")) if path.is_file()}
    print(f"stub: trains on {len(files)} files", flush=True)
    print(json.dumps({"mlport_metric": {"loss": 0.25}}), flush=True)
    print("loss=0.25;", flush=True)
    time.sleep(float(parameters.get("sleep", "0")))
    if parameters.get("fail"):
        (ML / "output" / "failure").write_text(parameters["fail"])
        sys.exit(5)
    out.mkdir(parents=True, exist_ok=True)
    seen = {"parameters": parameters, "files": files, "env": dict(os.environ)}
    (out / "seen.json").write_text(json.dumps(seen))


def stop(*_: object) -> None:
    """Exit on SIGTERM, which process 1 of a container has to handle itself."""
    print("stub: stops", flush=True)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    {"serve": serve, "train": train}[sys.argv[1] if len(sys.argv) > 1 else "serve"]()
