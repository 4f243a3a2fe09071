"""The CPU time of `import sdk`, compared with importing httpx and pydantic in the same run.

Prints CPU milliseconds (user + system, median of interleaved runs) and the ratio; the limit is 2.
"""

import json
import resource
import statistics
import subprocess
import sys

RUNS = 15
CASES = {
    "nothing": "pass",
    "httpx+pydantic": "import httpx, pydantic; pydantic.BaseModel",
    "sdk": "import sdk; sdk.Client",
}
LIMIT = 2.0


def cpu_ms(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def main() -> int:
    figures: dict[str, list[float]] = {name: [] for name in CASES}
    for round_ in range(RUNS + 1):
        for name, code in CASES.items():
            value = cpu_ms(code)
            if round_:  # the first round warms the caches
                figures[name].append(value)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    ratio = (medians["sdk"] - medians["nothing"]) / (medians["httpx+pydantic"] - medians["nothing"])
    print(json.dumps({"benchmark": "import", "cpu_ms": medians, "ratio": round(ratio, 2), "limit": LIMIT}))
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
