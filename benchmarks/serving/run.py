"""The model server compared with others: python benchmarks/serving/run.py [--quick] [--peers kserve,mlserver].

All servers of a model run at the same time. Slices of load by wrk (closed loop, keep-alive, one row of 30 numbers) are
interleaved in random order, medians are reported, and ratios are calculated within a round. CPU is the user plus system
time of all processes of a server per answered request. Every server runs the same fitted estimator with one thread for
the numeric libraries. In mlport's server, metrics, limits, input checks and the request log are on.

Peers are installed into their own environments on first use (`--cache`). Without `--peers`, only the servers that need
no other environment are measured.
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
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import sdk
from sdk.packaging import venv

sys.path.append(str(Path(__file__).parents[1]))
from load import Found, free_port, medians, ratio, running, slice_of_load

HERE = Path(__file__).parent
CLIENTS = (1, 16, 64)
PEERS = {"kserve": ["kserve==0.21.0"], "mlserver": ["mlserver==1.7.1", "mlserver-sklearn==1.7.1"]}
PATHS = {"kserve": "/v1/models/model:predict", "mlserver": "/v2/models/model/infer"}
# (what, model, server, other server, clients, goal): the ratio of requests per second must be at least the goal
GOALS = (
    ("requests/s with a forest against its own unbatched rate", "forest", "mlport", "mlport unbatched", 64, 10.0),
    ("requests/s with logistic regression against http.server", "logistic", "mlport", "stdlib", 16, 3.0),
)
CPU_GOALS = (("CPU of a request without a model against bare uvicorn", "noop", "mlport", "uvicorn", 16, 2.5),)


@dataclass(frozen=True)
class Server:
    """A server to measure: how to start it, and which request to send to which path."""

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    path: str = "/invocations"
    script: str = "native.lua"


def noop(rows: Any) -> Any:
    return rows[:, 0] * 0


def fitted() -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 30))
    labels = (rows[:, 0] + rows[:, 1] > 0).astype(int)
    forest = RandomForestClassifier(100, n_jobs=1, random_state=0)
    return {"logistic": LogisticRegression().fit(rows, labels), "forest": forest.fit(rows, labels)}, rows


def scripts(folder: Path, row: list[float]) -> None:
    tensor = {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    for name, body in (("native", {"instances": [row]}), ("v2", {"inputs": [tensor]})):
        lines = ['wrk.method = "POST"', 'wrk.headers["content-type"] = "application/json"']
        (folder / f"{name}.lua").write_text("\n".join([*lines, f"wrk.body = [==[{json.dumps(body)}]==]"]))


def peer_python(name: str, cache: Path) -> str:
    """Return the interpreter of a peer's environment, which is created if it does not exist."""
    folder = cache / name
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        same = [f"{one}=={importlib.metadata.version(one)}" for one in ("scikit-learn", "joblib")]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS[name], *same], check=True)
        (folder / "complete").touch()
    return str(python)


def servers(model: str, bundle: Path, file: Path, peers: list[str], cache: Path) -> dict[str, Server]:
    own = [sys.executable, "-P", "-m", "mlport_serving", "serve"]
    env = {"MLPORT_MODEL_DIR": str(bundle), "PYTHONPATH": str(venv.runtime()), "MLPORT_THREADS": "1"}
    program = str(HERE / "peers.py")
    found = {"mlport": Server(own, env)}
    if model == "noop":
        return {**found, "uvicorn": Server([sys.executable, program, "uvicorn", "noop"])}
    found["mlport unbatched"] = Server(own, {**env, "MLPORT_MAX_BATCH": "1"})
    found["stdlib"] = Server([sys.executable, program, "stdlib", str(file)])
    for name in peers:
        command = [peer_python(name, cache), program, name, str(file)]
        found[name] = Server(command, path=PATHS[name], script="v2.lua" if name == "mlserver" else "native.lua")
    return found


def wait_until_it_answers(port: int, server: Server, row: list[float]) -> None:
    tensor = {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    body = {"inputs": [tensor]} if server.script == "v2.lua" else {"instances": [row]}
    url, headers = f"http://127.0.0.1:{port}{server.path}", {"content-type": "application/json"}
    for _ in range(600):
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{server.command} does not answer on port {port}")


def measure(known: dict[str, Server], row: list[float], rounds: int, folder: Path) -> Found:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    found: Found = {}
    with contextlib.ExitStack() as stack:
        started: dict[str, tuple[int, int]] = {}
        for name, server in known.items():
            port = free_port()
            env = {**os.environ, **threads, **server.env, "MLPORT_BIND": f"tcp:127.0.0.1:{port}"}
            command = server.command if "serve" in server.command else [*server.command, str(port)]
            started[name] = stack.enter_context(running(*command, env=env)), port
        for name, server in known.items():
            wait_until_it_answers(started[name][1], server, row)
        for number in range(rounds + 1):
            slices = [(name, clients) for name in known for clients in CLIENTS]
            for name, clients in random.sample(slices, len(slices)):
                script = folder / known[name].script
                one = slice_of_load(*started[name], clients, script, path=known[name].path, slow=True)
                if number:  # the first round warms up
                    found.setdefault(f"{name} c{clients}", []).append(one)
    return found


def report(rounds: int, peers: list[str], cache: Path) -> dict[str, Any]:
    live, rows = fitted()
    results: dict[str, Any] = {}
    ratios: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="svbench") as text:
        folder = Path(text)
        scripts(folder, rows[0].tolist())
        for name in ("noop", *live):
            file = folder / f"{name}.joblib"
            if name == "noop":
                packed = sdk.model(noop, name="noop", example=rows[:3], rowwise=True)
            else:
                packed = sdk.model(live[name], name=name, example=rows[:3])
                joblib.dump(live[name], file)
            known = servers(name, packed.path, file, peers, cache)
            found = measure(known, rows[0].tolist(), rounds, folder)
            results[name] = medians(found)
            for goals, key in ((GOALS, "rps"), (CPU_GOALS, "cpu_us")):
                for what, model, one, other, clients, goal in goals:
                    if model == name:
                        value = ratio(found, key, f"{one} c{clients}", f"{other} c{clients}")
                        ok = value >= goal if key == "rps" else value <= goal
                        ratios.append({"what": what, "ratio": round(value, 2), "goal": goal, "met": ok})
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, load {os.getloadavg()[0]:.1f}",
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("uvicorn", "uvloop", "scikit-learn", "numpy")},
            **{one: " ".join(PEERS[one]) for one in peers},
        },
        "rounds": rounds,
        "ratios": ratios,
        "results": results,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, for a first look")
    parser.add_argument("--peers", default="", help="kserve, mlserver or both, with a comma")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "mlport-bench-peers")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "serving.json")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.stderr.write("serving benchmark: needs wrk: apt-get install wrk\n")
        return 2
    value = report(3 if options.quick else 9, [one for one in options.peers.split(",") if one], options.cache)
    options.output.write_text(json.dumps(value, indent=1) + "\n")
    for name, group in value["results"].items():
        for server, numbers in group.items():
            print(f"{name:9} {server:22}", "  ".join(f"{key} {number:9.2f}" for key, number in numbers.items()))
    for one in value["ratios"]:
        print(f"{one['what']}: {one['ratio']} (goal {one['goal']}, {'met' if one['met'] else 'missed'})")
    return int(not all(one["met"] for one in value["ratios"]))


if __name__ == "__main__":
    sys.exit(main())
