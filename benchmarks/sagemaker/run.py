"""`endpoint.predict` compared with boto3's `invoke_endpoint` in the same run: calls per second and CPU per call.

Each uses one connection. Goal: at least twice as many calls. The server answers at once, so only the clients differ.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.dataplane.invoke import Caller, EndpointFacts
from sdk.util.waiting import SystemClock
from sdk_sagemaker import SagemakerOptions
from sdk_sagemaker._aws import Aws
from sdk_sagemaker._predict import invoker

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 9, 400
ROWS = [[1.0, 2.0], [3.0, 4.0]]
GOAL = 2.0


def ours(url: str) -> Callable[[], Any]:
    os.environ |= {"MLPORT_MOCK_SAGEMAKER_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    options = SagemakerOptions()
    aws = Aws(options, SystemClock())
    caller = Caller(
        invoker("churn", aws, options), EndpointFacts("churn", "sagemaker"), clock=SystemClock(), redact=str
    )
    return lambda: caller.predict(ROWS).values


def boto(url: str) -> Callable[[], Any]:
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("sagemaker-runtime", region_name="us-east-1", endpoint_url=url, **keys)

    def call() -> Any:
        body = json.dumps({"instances": ROWS})
        answer = client.invoke_endpoint(EndpointName="churn", Body=body, ContentType="application/json")
        return json.loads(answer["Body"].read())["predictions"]

    return call


def measure(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the calls per second, and the milliseconds of CPU per call."""
    cpu, begin = time.process_time(), time.perf_counter()
    for _ in range(CALLS):
        call()
    seconds = time.perf_counter() - begin
    return CALLS / seconds, 1000 * (time.process_time() - cpu) / CALLS


def main() -> int:
    server = subprocess.Popen([sys.executable, str(Path(__file__).with_name("server.py"))], stdout=subprocess.PIPE)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}"
    try:
        clients = {"mlport": ours(url), "boto3": boto(url)}
        assert {str([3.0, 7.0])} == {str(call()) for call in clients.values()}
        for call in clients.values():
            measure(call)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            for name, call in clients.items():
                found[name].append(measure(call))
    finally:
        server.terminate()
        server.wait()
    best = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    for name, (rate, cpu) in best.items():
        print(f"{name:<7} {rate:7.0f} calls/s  {cpu:.3f} ms CPU a call")
    ratio = best["mlport"][0] / best["boto3"][0]
    print(f"ratio {ratio:.2f} (goal {GOAL}), CPU {best['boto3'][1] / best['mlport'][1]:.2f}")
    versions = ", ".join(f"{name} {version(name)}" for name in ("boto3", "httpx"))
    print(f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
