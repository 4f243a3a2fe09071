"""CPU and latency of the gateway compared with HAProxy and a direct call: python benchmarks/gateway/run.py [--quick].

All run on the same machine in the same run with the same model server, one thread each, keep-alive, and the same work:
check a token and the Host header, route, and add headers that name the request and the deployment. Slices of load are
interleaved in random order, so that other load on the machine affects all equally; medians are reported. CPU is the
user plus system time of the proxy's process per answered request.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import importlib.metadata
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.serving.gateway import client

sys.path.append(str(Path(__file__).parents[1]))
from load import SLICE_S, Found, free_port, medians, ratio, running, slice_of_load, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
TOKEN = "a-token-for-the-benchmark"
CPU_GOAL = 1.5
P50_GOAL = 1.4
MODEL_S = 0.0003  # duration of one scikit-learn call
CLIENTS = (1, 16, 64)

SCRIPT = f"""
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {TOKEN}"
wrk.body = '{{"instances":[[' .. string.rep("0.123456789012,", 29) .. '0.5]]}}'
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 300s
  timeout http-request 10s
  timeout http-keep-alive 75s
  http-reuse always
  unique-id-format %{{+X}}o%pid-%rt
  unique-id-header x-request-id
frontend public
  bind 127.0.0.1:{port}
  acl known hdr(host) -i 127.0.0.1:{port} localhost:{port}
  http-request deny deny_status 421 unless known
  acl owner req.hdr(authorization) -m str "Bearer {token}"
  http-request deny deny_status 401 unless owner
  http-request del-header authorization
  http-response set-header x-mlport-deployment d1
  default_backend model
backend model
  server one unix@{socket}
"""


@contextlib.contextmanager
def gateway(folder: Path, model: Path) -> Iterator[tuple[int, int]]:
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    state = client.ensure_gateway(folder, [sys.executable, "-m", "sdk.serving", "gateway"])
    try:
        replicas = [{"id": "r1", "address": f"unix:{model}"}]
        table = {"generation": 1, "deployments": {"d1": {"weight": 100, "health": "/", "replicas": replicas}}}
        client.put_table(folder, table, timeout_s=10)
        yield state["gateway"]["pid"], state["address"]["port"]
    finally:
        client.stop(folder)


def measure(rounds: int, model_s: float, counts: tuple[int, ...], folder: Path) -> Found:
    """Run interleaved slices of load and return the figures of each round by `<server> c<clients>`."""
    model, script = folder / "m.sock", folder / "load.lua"
    script.write_text(SCRIPT)
    direct, haproxy = free_port(), free_port()
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=haproxy, token=TOKEN, socket=model))
    with (
        running(sys.executable, str(HERE / "model.py"), str(model), str(direct), str(model_s)) as model_pid,
        running("haproxy", "-f", str(config), "-db") as haproxy_pid,
    ):
        wait_for(direct)
        wait_for(haproxy)
        with gateway(folder, model) as (gateway_pid, gateway_port):
            servers = {"gateway": (gateway_pid, gateway_port), "haproxy": (haproxy_pid, haproxy)}
            servers["direct"] = (model_pid, direct)
            found: Found = {}
            for _ in range(rounds):
                slices = [(name, clients) for name in servers for clients in counts]
                for name, clients in random.sample(slices, len(slices)):
                    result = slice_of_load(*servers[name], clients, script)
                    found.setdefault(f"{name} c{clients}", []).append(result)
    return found


def version(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).splitlines()[0]


def report(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gwbench") as folder:
        empty = measure(rounds, 0.0, CLIENTS, Path(folder))
    with tempfile.TemporaryDirectory(prefix="gwbench") as folder:
        real = measure(rounds, MODEL_S, (1,), Path(folder))
    ratios = {f"cpu_c{count}": ratio(empty, "cpu_us", f"gateway c{count}", f"haproxy c{count}") for count in CLIENTS}
    ratios["p50_c1"] = ratio(real, "p50_ms", "gateway c1", "direct c1")
    ratios["haproxy_p50_c1"] = ratio(real, "p50_ms", "haproxy c1", "direct c1")
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}",
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("uvloop", "httptools")},
            "haproxy": version(["haproxy", "-v"]),
            "wrk": version(["wrk", "-v"]).partition(" [")[0],
        },
        "rounds": rounds,
        "slice_s": SLICE_S,
        "goals": {"cpu": CPU_GOAL, "p50_c1": P50_GOAL},
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "results": {"empty": medians(empty), "sklearn": medians(real)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, for a first look")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "gateway.json")
    options = parser.parse_args()
    missing = [name for name in ("haproxy", "wrk") if shutil.which(name) is None]
    if missing:
        sys.stderr.write(f"gateway benchmark: needs {' and '.join(missing)}: apt-get install {' '.join(missing)}\n")
        return 2
    value = report(3 if options.quick else 9)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(value, indent=1) + "\n")
    for name, group in value["results"].items():
        for server, numbers in group.items():
            print(f"{name:8} {server:14}", "  ".join(f"{key} {number:10.3f}" for key, number in numbers.items()))
    ratios = value["ratios"]
    print("ratios", ratios)
    return int(max(ratios[f"cpu_c{c}"] for c in CLIENTS) > CPU_GOAL or ratios["p50_c1"] > P50_GOAL)


if __name__ == "__main__":
    sys.exit(main())
