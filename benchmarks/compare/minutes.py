"""The duration, machine load and verdict of a comparison of ``local`` and three mini clouds.

    python benchmarks/compare/minutes.py [preset] [competing processes]

Each mini cloud delays its answers by a lognormal time; two of them differ by 30 %. Each competing process keeps a core
busy. On an otherwise idle machine with two cores,

    python benchmarks/compare/minutes.py standard 2

is the acceptance of "an answer on ordinary machines": it ends with 1, and says what is unmet, unless every target has
its cost and the two that differ by 30 % are in the right order, within five minutes of measuring.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from sdk_azureml import AzureMLAdapter
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.clouds.sagemaker.rig import SagemakerRig
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_sagemaker import SagemakerAdapter
from sdk_vertex import VertexAdapter

TARGETS = ("local", "sagemaker", "vertex", "azureml")
# Operation, median in seconds: vertex is 30 % slower than azureml.
LATE = {"sagemaker": ("InvokeEndpoint", 0.015), "vertex": ("RawPredict", 0.052), "azureml": ("Score", 0.040)}
SIGMA = 0.3
FAST, SLOW = "azureml", "vertex"  # by 30 %
MOST_S = 320.0  # five minutes, and five seconds for the last window of each target

PROGRAM = """
import sys, time
sys.path[:0] = {path!r}
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
import sdk
rows, labels = load_wine(return_X_y=True)
fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
model = sdk.model(fitted, name="example-wine", example=rows[:3])
begin = [0.0]
def told(event):
    now = time.monotonic()
    if not begin[0] and "warming up" in event.detail:
        begin[0] = now
        print("MEASURING", flush=True)
    print(f"{{now - begin[0] if begin[0] else -1:8.1f}} {{event.stage}}: {{event.detail}}", flush=True)
with sdk.Client(progress=told) as client:
    payloads = [[row] for row in rows[:50].tolist()]
    found = client.compare(model, targets={targets!r}, workload={workload!r}, payloads=payloads, p95_ms=100,
        traffic_per_month=1_000_000, hardware={{"local": 0.05}}, ttl="6h")
    print(f"MEASURED", flush=True)
print(found)
found.to_json("comparison.json")
found.to_html("comparison.html")
"""


class Busy(threading.Thread):
    """A thread that records the used share of the machine's CPUs each second until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.shares: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        psutil.cpu_percent()
        while not self.over.wait(1.0):
            self.shares.append(psutil.cpu_percent() / 100)


def rigs(stack: ExitStack, folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for kind, adapter in (
        (SagemakerRig, SagemakerAdapter),
        (VertexMiniRig, VertexAdapter),
        (AzureMLRig, AzureMLAdapter),
    ):
        own = type(kind.__name__, (kind,), {"adapter": adapter})
        made[adapter.provider] = stack.enter_context(own(folder / adapter.provider))
    for name, (operation, median) in LATE.items():
        draw, fault = random.Random(name), made[name].cloud.faults.add(operation, "slow", times=10**9)

        def strikes(fault: Any = fault, draw: random.Random = draw, median: float = median) -> bool:
            fault.seconds = draw.lognormvariate(math.log(median), SIGMA)
            return True

        fault.strikes = strikes
    return made


def project(folder: Path, made: dict[str, Any]) -> dict[str, str]:
    targets = {
        "local": {"provider": "local"},
        **{name: {"provider": name, **rig.settings()} for name, rig in made.items()},
    }
    tables = [
        "\n".join([f"[target.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())])
        for name, settings in targets.items()
    ]
    (folder / "mlport.toml").write_text("\n\n".join(['default = "local"', *tables]) + "\n")
    env = {**os.environ, **{key: value for rig in made.values() for key, value in rig.cloud.env.items()}}
    return {**env, "MLPORT_STATE_DIR": str(folder / "state")}


def measure(folder: Path, env: dict[str, str], workload: object) -> dict[str, Any]:
    code = PROGRAM.format(targets=list(TARGETS), workload=workload, path=sys.path)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    busy, load = Busy(), os.getloadavg()[0]
    begin, took = time.monotonic(), 0.0
    for line in process.stdout:
        if line.startswith("MEASURING"):
            begin = time.monotonic()
            busy.start()
        elif busy.is_alive() and ": delete" in line:
            took = time.monotonic() - begin
            busy.over.set()
            busy.join()
        print(line, end="", flush=True)
    process.wait()
    found = json.loads((folder / "comparison.json").read_text())
    return {"unmet": unmet(found, took), "measuring_s": took, "load_before": load, "load_after": os.getloadavg()[0],
            "machine_used": sum(busy.shares) / max(1, len(busy.shares)), "verdict": found["verdict"],
            "usd_per_month": {row["key"]: row["cost"]["usd_per_month"] for row in found["rows"]}}  # fmt: skip


def unmet(found: dict[str, Any], took: float) -> list[str]:
    """Return what a comparison (as in its JSON) lacks of an answer; empty if it is one."""
    lacks = [
        f"the cost of {row['key']} is unknown"
        for row in found["rows"]
        if row["price"]["amount"] is not None and row["cost"]["usd_per_month"] is None
    ]
    lacks += [f"{row['key']} has no p95" for row in found["rows"] if not row["latency"].get("p95", {}).get("value")]
    if not any(_orders(pair) for pair in found["pairs"]):
        lacks.append(f"{FAST} is not shown to be faster than {SLOW}")
    if took > MOST_S:
        lacks.append(f"measuring took {took:.0f} s, {MOST_S:.0f} are allowed")
    return lacks


def _orders(pair: dict[str, Any]) -> bool:
    """Return whether a pair shows that the fast target is faster: the interval of its difference excludes 0."""
    gap, names = pair["difference"], (pair["one"], pair["other"])
    if pair["quantile"] != "p95" or gap["basis"] != "runs" or None in {gap["low"], gap["high"]}:
        return False
    return bool((names == (FAST, SLOW) and gap["high"] < 0) or (names == (SLOW, FAST) and gap["low"] > 0))


def main() -> None:
    preset = sys.argv[1] if len(sys.argv) > 1 else None
    rivals = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(int(sys.argv[2] if len(sys.argv) > 2 else 0))
    ]
    folder = Path(tempfile.mkdtemp(prefix="minutes-"))
    try:
        with ExitStack() as stack:
            env = project(folder, rigs(stack, folder))
            trust = [sys.executable, "-m", "sdk", "config", "trust"]
            subprocess.run(trust, cwd=folder, env=env, check=True, capture_output=True)
            figures = measure(folder, env, preset)
            print(json.dumps(figures, indent=1))
            print(folder)
    finally:
        for one in rivals:
            one.kill()
            one.wait()
    sys.exit(1 if figures["unmet"] else 0)


if __name__ == "__main__":
    main()
