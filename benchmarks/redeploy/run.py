"""The time of a redeploy until the new model answers, on `local` and, if there is an engine, on `docker`.

Only the model changes: its packages, the server and the gateway already exist. The clock starts with the packed model
and stops with the first answer to the caller. Seconds are medians of interleaved rounds.

The peer is the work that no server can avoid, in the same run: a new interpreter that imports scikit-learn. The goal on
`local` is a ratio to that. The goal on `docker` is in seconds, so a busy machine misses it; `load` in the result shows
how busy the machine was.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

ROUNDS = 5
LOCAL_LIMIT = 6.0
DOCKER_GOAL_S = 3.0


def imported() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import sklearn.linear_model, numpy"], check=True)
    return time.perf_counter() - begin


def redeployed(client: Any, target: str, number: int) -> tuple[float, float]:
    """Pack and deploy one more model; return the seconds to pack it, and from then to its first answer."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    import sdk

    rows, labels = load_breast_cancer(return_X_y=True)
    fitted = LogisticRegression(C=1.0 + number, max_iter=50_000, solver="liblinear").fit(rows, labels)
    begin = time.perf_counter()
    model = sdk.model(fitted, name="bench", example=rows[:5])
    packed = time.perf_counter()
    endpoint = client.deploy(model, name=f"bench-{target}-{os.getpid()}")
    answer = endpoint.predict(rows[:1]).values
    answered = time.perf_counter()
    assert list(answer) == fitted.predict(rows[:1]).tolist(), "the old model answered"
    return packed - begin, answered - packed


def measure(clients: dict[str, Any]) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {"import": [], "pack": []}
    try:
        for number in range(ROUNDS + 1):  # the first round creates the environment or the image
            for target, client in clients.items():
                pack, redeploy = redeployed(client, target, number)
                if number:
                    figures["pack"].append(pack)
                    figures.setdefault(target, []).append(redeploy)
            if number:
                figures["import"].append(imported())
    finally:
        for target, client in clients.items():
            figures[f"{target}_delete"] = [deleted(client, f"bench-{target}-{os.getpid()}")]
    return figures


def deleted(client: Any, name: str) -> float:
    from sdk.errors import NotFoundError

    begin = time.perf_counter()
    with contextlib.suppress(NotFoundError):  # its deploy failed, and that error is being raised already
        client.delete(name)
    return time.perf_counter() - begin


def clients() -> dict[str, Any]:
    """Return a client for each target that is available on this machine."""
    from sdk.client import Client
    from sdk.errors import PlatformError
    from sdk.packaging.image.engine import Engine

    targets: dict[str, dict[str, str]] = {"local": {"provider": "local"}}
    with Engine() as engine:
        try:
            _ = engine.version
            targets["docker"] = {"provider": "docker", "base": "debian-packages"}
        except PlatformError as error:
            print(f"docker is left out: {error}", file=sys.stderr)
    return {name: Client({"target": {name: settings}}, target=name) for name, settings in targets.items()}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as state:
        os.environ["MLPORT_STATE_DIR"] = state
        figures = measure(clients())
    load = os.getloadavg()[0]
    medians = {name: statistics.median(values) for name, values in figures.items()}
    ratio = medians["local"] / medians["import"]
    goals = {f"local / import <= {LOCAL_LIMIT:g}": ratio <= LOCAL_LIMIT}
    if "docker" in medians:
        goals[f"docker <= {DOCKER_GOAL_S:g} s"] = medians["docker"] <= DOCKER_GOAL_S
    shown = {name: round(value, 2) for name, value in medians.items()}
    fastest = {name: round(min(figures[name]), 2) for name in ("local", "docker") if name in figures}
    report = {"benchmark": "redeploy", "seconds": shown, "fastest": fastest, "ratio": round(ratio, 2)}
    print(json.dumps({**report, "goals": goals, "load": round(load, 1)}))
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
