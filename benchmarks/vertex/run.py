"""`endpoint.predict` compared with the Vertex SDK's `Endpoint.predict` over REST, with 10,000 floats, and load costs.

Goals: at most a third of the CPU per call, at most 60 % of the growth of memory. A server that answers at once replaces
the platform, so only the clients differ. The sides run in turn, each in its own process. A first round, which also
writes missing bytecode of libraries, is not counted. Loading includes everything that a deploy and a prediction need:
the clients of all three services for mlport, an `Endpoint` for the Vertex SDK.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROUNDS, CALLS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 5, 30
ROWS = [[float(column) + row / 7 for column in range(50)] for row in range(200)]
CPU_GOAL, MEMORY_GOAL = 1 / 3, 0.6
NAME = "projects/mini-project/locations/europe-west4/endpoints/1234"


class Platform(BaseHTTPRequestHandler):
    """A handler that answers each prediction with as many numbers as rows."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        self.reply({"name": NAME, "displayName": "churn", "createTime": "2026-01-01T00:00:00Z"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.reply({"predictions": [1.5] * len(ROWS), "deployedModelId": "16"})

    def reply(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the standard library
        pass


def ours(url: str) -> Any:
    from sdk.dataplane.invoke import Caller, EndpointFacts
    from sdk.util.waiting import SystemClock
    from sdk_vertex import VertexOptions
    from sdk_vertex._access import Access
    from sdk_vertex._predict import DataPlane

    os.environ["MLPORT_MOCK_VERTEX_URL"] = url
    options = VertexOptions(project="mini-project", region="europe-west4")
    plane = DataPlane(Access(options, time.time), options)
    caller = Caller(
        plane.invoker(plane.url(NAME), ""), EndpointFacts("churn", "vertex"), clock=SystemClock(), redact=str
    )
    return lambda: caller.predict(ROWS).values


def ours_control(url: str) -> None:
    """Load the clients that deploys and jobs need, too."""
    from sdk_vertex import VertexOptions
    from sdk_vertex._access import Access
    from sdk_vertex._control import Control

    os.environ["MLPORT_MOCK_VERTEX_URL"] = url
    control = Control(Access(VertexOptions(project="mini-project", region="europe-west4"), time.time))
    for service in ("endpoints", "models", "jobs"):
        control.client(service)


def theirs(url: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    aiplatform.init(
        project="mini-project", location="europe-west4", api_endpoint=url, api_transport="rest",
        credentials=AnonymousCredentials(),
    )  # fmt: skip
    endpoint = aiplatform.Endpoint(NAME)
    return lambda: endpoint.predict(ROWS).predictions


def side(who: str, url: str) -> dict[str, float]:
    """Measure one side in this process: the cost of loading, then CPU milliseconds per call and calls per second."""
    process = psutil.Process()
    before, cpu = process.memory_info().rss, time.process_time()
    call = ours(url) if who == "ours" else theirs(url)
    if who == "ours":
        ours_control(url)
    grown, loaded = process.memory_info().rss - before, time.process_time() - cpu
    call()
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(CALLS):
        call()
    spent, passed = time.process_time() - cpu, time.perf_counter() - begin
    calls = {"cpu_ms_per_call": 1000 * spent / CALLS, "calls_per_s": CALLS / passed}
    return {**calls, "load_mib": grown / 2**20, "load_cpu_ms": 1000 * loaded}


def measured(url: str) -> dict[str, dict[str, float]]:
    """Run the rounds and return the medians of each side."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for number in range(ROUNDS + 1):
        for who, figures in found.items():
            command = [sys.executable, __file__, "side", who, url]
            one = json.loads(subprocess.run(command, check=True, capture_output=True, env=env).stdout)
            if number:
                figures.append(one)
    return {
        who: {name: round(statistics.median(one[name] for one in figures), 2) for name in figures[0]}
        for who, figures in found.items()
    }


def main() -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    child = os.fork()
    if child == 0:
        server.serve_forever()
    try:
        median = measured(f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    ratios = {name: round(median["ours"][name] / median["theirs"][name], 3) for name in median["ours"]}
    cpu, memory = ratios["cpu_ms_per_call"], ratios["load_mib"]
    goals = {"cpu_ms_per_call": round(CPU_GOAL, 3), "load_mib": MEMORY_GOAL}
    report = {"benchmark": "vertex", "library": version("google-cloud-aiplatform"), **median}
    print(json.dumps({**report, "ratios": ratios, "goals": goals}))
    return 0 if cpu <= CPU_GOAL and memory <= MEMORY_GOAL else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["side"]:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        print(json.dumps(side(sys.argv[2], sys.argv[3])))
        sys.exit(0)
    sys.exit(main())
