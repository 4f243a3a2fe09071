"""Shelf: a complete model platform in one file, so that the adapter beside it has a real platform to call.

It keeps *items* (kind, id, spec, tags) behind a small REST interface and runs the mlport server for each deployment::

    PUT    /items/KIND/ID         201, or 409 when it exists
    GET    /items/KIND/ID         200 with an ETag, or 404
    PATCH  /items/KIND/ID         200; 412 when If-Match is not the current ETag
    DELETE /items/KIND/ID         204, 404, or 409 while an endpoint uses it
    GET    /items?endpoint=NAME   all items with that tag; without the query all items
    POST   /endpoints/NAME        a prediction, by traffic or by the header x-shelf-deployment

Models are uploaded as a path, since platform and client share one disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self
from urllib.parse import parse_qs, urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Item = dict[str, Any]
Reply = tuple[int, bytes, dict[str, str]]
_PASSED = ("content-type", "x-request-id")  # headers that are passed on, in both directions


class Shelf:
    """The platform; ``url`` is its address while its context manager is active.

    Args:
        serve: Starts the server of a deployment from its name, the folder of its model, a folder for its own files
            and its environment.
    """

    def __init__(self, serve: Callable[[str, Path, Path, Mapping[str, str]], Server] | None = None) -> None:
        self._serve = serve or ModelServer
        self.items: dict[tuple[str, str], Item] = {}
        self.failing: list[int] = []  # HTTP statuses with which the next calls are answered, whatever they request
        self._lock = threading.RLock()
        self._servers: dict[str, Server] = {}
        self._turn = 0
        self._dir = Path(tempfile.mkdtemp(prefix="shelf-"))
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"shelf": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        for server in self._servers.values():
            server.stop()
        shutil.rmtree(self._dir, ignore_errors=True)

    def inventory(self) -> list[str]:
        """Return the items on the shelf and the running server processes."""
        with self._lock:
            items = [f"{kind} {name}" for kind, name in self.items]
            return items + [f"process of {name}" for name, server in self._servers.items() if server.running]

    # --- the interface

    def put(self, kind: str, name: str, body: Item) -> Reply:
        """Create an item, and start the server of a deployment."""
        with self._lock:
            if (kind, name) in self.items:
                return _json(409, {"error": f"{kind} {name} exists"})
            item = {"kind": kind, "id": name, "etag": 1, "created": time.time(), **body}
            if kind == "Model":
                item["path"] = str(self._dir / name)
                shutil.copytree(body.pop("upload"), item["path"])
                item.pop("upload")
            elif kind == "Deployment":
                model = self.items.get(("Model", body["spec"]["model"][:32]))
                if model is None:
                    return _json(400, {"error": "no such model"})
                env = {**body["spec"]["env"], **item.pop("secrets", {})}  # secrets are used once and never shown
                self._servers[name] = self._serve(body["spec"]["deployment"], Path(model["path"]), self._dir, env)
            self.items[kind, name] = item
            return _json(201, self._shown(item), etag=1)

    def get(self, kind: str, name: str) -> Reply:
        """Return one item."""
        with self._lock:
            item = self.items.get((kind, name))
            return _json(200, self._shown(item), etag=item["etag"]) if item else _json(404, {"error": "no such item"})

    def find(self, endpoint: str | None) -> Reply:
        """Return the items of an endpoint, or all items without a name."""
        with self._lock:
            chosen = [i for i in self.items.values() if endpoint in {None, i["tags"].get("mlport-endpoint")}]
            return _json(200, [self._shown(item) for item in chosen])

    def patch(self, kind: str, name: str, body: Item, if_match: str | None) -> Reply:
        """Replace the spec and the tags of an item, if its etag is still the one the caller saw."""
        with self._lock:
            item = self.items.get((kind, name))
            if item is None:
                return _json(404, {"error": "no such item"})
            if if_match != str(item["etag"]):
                return _json(412, {"error": f"{kind} {name} changed meanwhile"})
            item.update(body, etag=item["etag"] + 1)
            return _json(200, self._shown(item), etag=item["etag"])

    def delete(self, kind: str, name: str) -> Reply:
        """Delete an item that no other item uses."""
        with self._lock:
            item = self.items.get((kind, name))
            if item is None:
                return _json(404, {"error": "no such item"})
            users = [other for (_, other), i in self.items.items() if name in self._used(i)]
            if users:
                return _json(409, {"error": f"{kind} {name} is used by {users[0]}"})
            if kind == "Deployment":
                self._servers.pop(name).stop()
            elif kind == "Model":
                shutil.rmtree(item["path"], ignore_errors=True)
            del self.items[kind, name]
            return 204, b"", {}

    def predict(self, endpoint: str, wanted: str | None, body: bytes, given: dict[str, str]) -> Reply:
        """Pass a request to one deployment of the endpoint and return its answer."""
        with self._lock:
            item = self.items.get(("Endpoint", endpoint))
            traffic: dict[str, int] = item["spec"]["traffic"] if item else {}
            chosen = wanted or self._next(traffic)
            server = self._servers.get(f"{endpoint}-{chosen}") if chosen in traffic else None
        if server is None:
            return _json(404, {"error": "no such endpoint or deployment"})
        status, content, headers = server.predict(body, given)
        return status, content, {**headers, "x-shelf-deployment": str(chosen)}

    def _next(self, traffic: dict[str, int]) -> str | None:
        self._turn = (self._turn + 37) % 100  # 37 and 100 have no common factor: each percent occurs once in 100 turns
        place = self._turn
        for name, share in sorted(traffic.items()):
            if place < share:
                return name
            place -= share
        return None

    def _shown(self, item: Item) -> Item:
        server = self._servers.get(item["id"])
        return {**item, "state": server.state if server else "ready", "reason": server.reason if server else None}

    @staticmethod
    def _used(item: Item) -> Iterable[str]:
        if item["kind"] == "Endpoint":
            return [f"{item['id']}-{name}" for name in item["spec"]["traffic"]]
        return [item["spec"]["model"][:32]] if item["kind"] == "Deployment" else []


class Server(Protocol):
    """The interface of what runs a model."""

    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def running(self) -> bool: ...
    def predict(self, body: bytes, given: Mapping[str, str]) -> Reply: ...
    def stop(self) -> None: ...


class ModelServer:
    """The mlport model server as a process, reached through a unix socket."""

    def __init__(self, name: str, model: Path, folder: Path, env: Mapping[str, str]) -> None:
        self._socket = folder / f"{secrets.token_hex(4)}.sock"  # the path of a socket must be short
        self._log = self._socket.with_suffix(".log")
        system = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)}
        own = {"MLPORT_MODEL_DIR": str(model), "MLPORT_BIND": f"unix:{self._socket}", "MLPORT_DEPLOYMENT": name}
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "sdk.serving", "serve"]
            self._process = subprocess.Popen(command, env={**env, **system, **own}, stderr=log, stdout=log)
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(self._socket)), base_url="http://localhost")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def state(self) -> str:
        if not self.running:
            return "failed"
        with socket.socket(socket.AF_UNIX) as probe:  # closes a refused connection at once
            try:
                probe.connect(str(self._socket))
            except OSError:
                return "creating"
        try:
            return "ready" if self._client.get("/ping").status_code == 200 else "creating"
        except httpx.TransportError:
            return "creating"

    @property
    def reason(self) -> str | None:
        return None if self.running else f"the server ended: {self._log.read_text()[-500:]}"

    def predict(self, body: bytes, given: Mapping[str, str]) -> Reply:
        try:
            answer = self._client.post("/invocations", content=body, headers=given, timeout=60)
        except httpx.TransportError as error:
            return _json(503, {"error": f"no answer from the deployment: {error}"})
        kept = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
        return answer.status_code, answer.content, {**kept, "x-shelf-origin": "model"}

    def stop(self) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()


def _json(status: int, body: object, **headers: object) -> Reply:
    shown = {"content-type": "application/json", **{key: str(value) for key, value in headers.items()}}
    return status, json.dumps(body).encode(), shown


class _Handler(BaseHTTPRequestHandler):
    """The HTTP interface of a :class:`Shelf`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise the body waits until the other side has acknowledged the head
    shelf: ClassVar[Shelf]

    def answer(self) -> None:
        """Answer a request of any method."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        failing = self.shelf.failing
        status, content, headers = _json(failing.pop(0), {"error": "told to fail"}) if failing else self.route(body)
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for key, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

    def route(self, body: bytes) -> Reply:
        """Return the platform's answer to the request with this body."""
        url = urlsplit(self.path)
        match url.path.strip("/").split("/"):
            case ["endpoints", name] if self.command == "POST":
                given = {key: self.headers[key] for key in _PASSED if key in self.headers}
                return self.shelf.predict(name, self.headers.get("x-shelf-deployment"), body, given)
            case ["items"] if self.command == "GET":
                return self.shelf.find(parse_qs(url.query).get("endpoint", [None])[0])
            case ["items", kind, name]:
                return self.item(kind, name, body)
            case _:
                return _json(400, {"error": "no such route"})

    def item(self, kind: str, name: str, body: bytes) -> Reply:
        """Carry out a request for one item and return the answer."""
        if self.command == "PUT":
            return self.shelf.put(kind, name, json.loads(body))
        if self.command == "PATCH":
            return self.shelf.patch(kind, name, json.loads(body), self.headers.get("if-match"))
        return self.shelf.delete(kind, name) if self.command == "DELETE" else self.shelf.get(kind, name)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST = answer  # noqa: N815  names of the standard library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  signature of the standard library
        """Suppress the log line of a request."""
