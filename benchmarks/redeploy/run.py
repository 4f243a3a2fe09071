"""How long a redeploy takes until the new model answers, on `local`.

The peer is what no server can avoid in the same run: a fresh interpreter that imports scikit-learn. Seconds are the
median of interleaved rounds; the ratio is redeploy / import.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
LIMIT = 6.0


def imported() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import sklearn.linear_model, numpy"], check=True)
    return time.perf_counter() - begin


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as state:
        os.environ["MLPORT_STATE_DIR"] = state
        figures = measure()
    medians = {name: statistics.median(values) for name, values in figures.items()}
    ratio = medians["redeploy"] / medians["import"]
    shown = {name: round(value, 2) for name, value in medians.items()}
    print(json.dumps({"benchmark": "redeploy", "seconds": shown, "ratio": round(ratio, 2), "limit": LIMIT}))
    return 0 if ratio <= LIMIT else 1


def measure() -> dict[str, list[float]]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    import sdk

    rows, labels = load_breast_cancer(return_X_y=True)
    figures: dict[str, list[float]] = {"import": [], "pack": [], "redeploy": [], "delete": []}
    endpoint = None
    try:
        for number in range(ROUNDS + 1):  # the first one makes the environment
            fitted = LogisticRegression(C=1.0 + number, max_iter=50_000, solver="liblinear").fit(rows, labels)
            begin = time.perf_counter()
            model = sdk.model(fitted, name="bench", example=rows[:5])
            packed = time.perf_counter()
            endpoint = sdk.deploy(model)
            endpoint.predict(rows[:1])
            answered = time.perf_counter()
            if number:
                figures["import"].append(imported())
                figures["pack"].append(packed - begin)
                figures["redeploy"].append(answered - packed)
    finally:
        begin = time.perf_counter()
        if endpoint is not None:
            endpoint.delete()
        figures["delete"].append(time.perf_counter() - begin)
    return figures


if __name__ == "__main__":
    sys.exit(main())
