"""The cost of one journal record, compared with a bare write and fdatasync of the same bytes in the same run."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sdk.executor.journal import JournalRecord, Journals, encode

RECORDS = 500
INTENT = {
    "step": 3,
    "action": "create",
    "kind": "EndpointConfig",
    "id": "churn-c-0123456789ab",
    "attempt": 1,
    "time": 1.5,
}
BEGIN = {
    "verb": "deploy", "name": "churn", "txn": "bench1", "owner": "me", "target": "ab", "provider": "local",
    "fingerprint": "ab", "old": None, "new": "d1", "job": None, "deadline": 60.0, "time": 1.0, "pid": 1, "steps": [],
}  # fmt: skip


def milliseconds(start: int) -> float:
    return (time.perf_counter_ns() - start) / 1e6


def main() -> None:
    line = encode(1, JournalRecord("intent", INTENT))
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        journal = Journals(Path(folder) / "state").begin("bench1", **BEGIN)
        bare = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(RECORDS):  # alternate, so that both see the same state of the disk
            start = time.perf_counter_ns()
            os.write(bare, line)
            os.fdatasync(bare) if hasattr(os, "fdatasync") else os.fsync(bare)
            theirs.append(milliseconds(start))
            start = time.perf_counter_ns()
            journal.write("intent", **INTENT)
            ours.append(milliseconds(start))
        os.close(bare)
        journal.close()
    for name, values in (("bare write+sync", theirs), ("journal record", ours)):
        p50, p99 = statistics.median(values), statistics.quantiles(values, n=100)[98]
        print(f"{name:16} {len(line):4} bytes  p50 {p50:.3f} ms  p99 {p99:.3f} ms")
    print(f"ratio of the medians: {statistics.median(ours) / statistics.median(theirs):.2f}")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
