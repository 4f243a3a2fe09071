"""Shared helpers of the server benchmarks: processes, slices of load by wrk, medians, and ratios within a round."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SLICE_S = 1


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port}")


@contextlib.contextmanager
def running(*command: str, env: dict[str, str] | None = None) -> Iterator[int]:
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=env
    ) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and all its descendants."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    below: list[str] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread may end while its file is read
            below += path.read_text().split()
    return own + sum(cpu_s(int(one)) for one in below)


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr] # wrk always prints so
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]


def slice_of_load(
    pid: int, port: int, clients: int, script: Path, *, path: str = "/invocations", slow: bool = False
) -> dict[str, float]:
    """Run one slice of load; `slow` raises wrk's timeout of two seconds per request."""
    before = cpu_s(pid)
    command = [
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{SLICE_S}s",
        "-s",
        str(script),
        "--latency",
        *(["--timeout", "30s"] if slow else []),
    ]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(output)
    count = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index] # wrk always prints so
    found = {f"p{q}_ms": _quantile(output, q) for q in (50, 99)}
    lasted = seconds(re.search(r"requests in (\S+),", output)[1])  # type: ignore[index] # wrk always prints so
    return {"cpu_us": (cpu_s(pid) - before) / max(count, 1) * 1e6, **found, "rps": count / lasted}


def _quantile(output: str, quantile: int) -> float:
    found = re.search(rf"^\s+{quantile}%\s+(\S+)", output, re.MULTILINE)
    return seconds(found[1]) * 1e3  # type: ignore[index] # wrk always prints so


Found = dict[str, list[dict[str, float]]]


def medians(found: Found) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(statistics.median(result[key] for result in results), 4) for key in results[0]}
        for name, results in sorted(found.items())
    }


def ratio(found: Found, key: str, one: str, other: str) -> float:
    """Return the median over the rounds of the ratio within a round, so that a slow minute affects both sides."""
    return statistics.median(a[key] / b[key] for a, b in zip(found[one], found[other], strict=True))
