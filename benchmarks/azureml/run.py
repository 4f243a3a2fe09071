"""Predictions on Azure ML: mlport's data plane compared with `MLClient.online_endpoints.invoke` in the same run.

Both call the same endpoint of a mini cloud, which runs the real image, each from its own process. They alternate in
many short rounds, each going first in every second round, so that other load on the machine affects both. The result is
the median of the rounds' ratios. The cloud counts the round trips. Goal: at least five times as many calls per second,
with one round trip each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = 21, 20
GOAL = 5.0
ROWS = [[0.0, 1.0]]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as folder:
        os.environ.setdefault("MLPORT_STATE_DIR", folder)
        return report(Path(folder))


def report(folder: Path) -> int:
    from sdk.client import Client
    from sdk_contract.clouds import mini_cloud
    from sdk_contract.samples import Samples

    with mini_cloud("azureml", runner="fork", folder=folder / "cloud") as cloud:
        config = configuration(cloud, folder)
        with Caller("mlport", config, cloud.env) as own, Caller("MLClient", config, cloud.env) as official:
            client = Client(config["mlport"])
            client.deploy(Samples().model(1), name="bench")
            config["azure"] = next(iter(cloud.endpoints.all))  # type: ignore[attr-defined]  # the Azure ML mini cloud
            figures = measure([own, official], config, cloud)
            client.delete("bench")
            client.close()
    return told(figures)


def configuration(cloud: Any, folder: Path) -> dict[str, Any]:
    target = {"provider": "sdk_azureml:AzureMLAdapter", "instance": "Standard_DS2_v2", **cloud.settings}
    body = folder / "request.json"
    body.write_text(json.dumps({"instances": ROWS}))
    mlport = {"default": "t", "owner": "bench", "state_dir": str(folder / "state"), "target": {"t": target}}
    return {"mlport": mlport, "body": str(body)}


class Caller:
    """A process that makes calls in one way on request, and reports calls per second and CPU time per call."""

    def __init__(self, way: str, config: dict[str, Any], env: dict[str, str]) -> None:
        self.way, self.config = way, config
        self.process = subprocess.Popen(
            [sys.executable, __file__, way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def round(self, config: dict[str, Any]) -> tuple[float, float]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(config) + "\n")
        self.process.stdin.flush()
        rate, cpu_ms = self.process.stdout.readline().split()
        return float(rate), float(cpu_ms)


Round = tuple[float, float, float]  # calls per second, milliseconds of CPU per call, round trips per call


def measure(callers: list[Caller], config: dict[str, Any], cloud: Any) -> dict[str, list[Round]]:
    """Run the rounds and return the figures of each, by way of calling; a first round warms up and is not counted."""
    figures: dict[str, list[Round]] = {caller.way: [] for caller in callers}
    for number in range(ROUNDS + 1):
        for caller in callers if number % 2 else reversed(callers):
            with cloud.calls.since() as calls:
                rate, cpu_ms = caller.round(config)
            if number:
                figures[caller.way].append((rate, cpu_ms, len(calls) / CALLS))
    return figures


def told(figures: dict[str, list[Round]]) -> int:
    rates = {way: statistics.median(one[0] for one in found) for way, found in figures.items()}
    cpu_ms = {way: statistics.median(one[1] for one in found) for way, found in figures.items()}
    trips = {way: found[-1][2] for way, found in figures.items()}
    ratios = sorted(own[0] / official[0] for own, official in zip(*figures.values(), strict=True))
    ratio = statistics.median(ratios)
    shown = {way: round(rate, 1) for way, rate in rates.items()}
    result = {
        "benchmark": "azureml",
        "calls_per_s": shown,
        "cpu_ms_per_call": {way: round(cpu, 2) for way, cpu in cpu_ms.items()},
        "round_trips": trips,
        "ratio": round(ratio, 2),
        "ratios": [round(one, 2) for one in (ratios[0], ratios[-1])],
        "goal": GOAL,
    }
    print(json.dumps(result))
    return 0 if ratio >= GOAL and trips["mlport"] == 1 else 1


# --- the calling processes --------------------------------------------------------------------------------------


def by_mlport(config: dict[str, Any]) -> Callable[[], object]:
    from sdk.client import Client

    endpoint = Client(config["mlport"]).endpoint("bench")
    return lambda: endpoint.predict(ROWS)


def by_the_official_client(config: dict[str, Any]) -> Callable[[], object]:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    place = [os.environ[f"MLPORT_MOCK_AZUREML_{name}"] for name in ("SUBSCRIPTION", "RESOURCE_GROUP", "WORKSPACE")]
    client = MLClient(DefaultAzureCredential(), *place, enable_telemetry=False, show_progress=False)
    return lambda: client.online_endpoints.invoke(config["azure"], request_file=config["body"])


def answer(way: str) -> None:
    call: Callable[[], object] | None = None
    for line in sys.stdin:
        if call is None:
            call = {"mlport": by_mlport, "MLClient": by_the_official_client}[way](json.loads(line))
        begin, used = time.perf_counter(), time.process_time()
        for _ in range(CALLS):
            call()
        rate = CALLS / (time.perf_counter() - begin)
        print(rate, (time.process_time() - used) / CALLS * 1000, flush=True)


if __name__ == "__main__":
    sys.exit(answer(sys.argv[1]) if len(sys.argv) > 1 else main())
