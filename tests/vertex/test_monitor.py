"""What is made of the time series of Cloud Monitoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from sdk.adapter import AdapterContext
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_vertex import VertexAdapter
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

VALUES: Mapping[str, list[list[float]]] = {  # the points of each series, newest first
    "cpu/utilization": [[1.5, 0.1], [1.25]],
    "memory/bytes_used": [[1000.0], [500.0]],
    "replicas": [[3.0, 1.0, 1.0]],
}


def answer(request: httpx.Request) -> httpx.Response:
    """Each gauge as it is planned above; one point a minute."""
    asked = request.url.params
    metric = asked["filter"].partition("online/")[2].partition('"')[0]
    shown: list[Any] = [
        {
            "metric": {"labels": {"replica_id": str(place)}},
            "points": [{"value": {"doubleValue": one}} for one in points],
        }
        for place, points in enumerate(VALUES.get(metric, []))
    ]
    if metric in VALUES:
        assert "60s" == asked["aggregation.alignmentPeriod"]
    return httpx.Response(200, json={"timeSeries": shown})


def test_gauges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Utilization is in processors as it comes; the newest sample counts; and all of it may be six minutes old."""
    monkeypatch.setenv("MLPORT_MOCK_VERTEX_URL", "http://127.0.0.1:1")
    options = VertexOptions(project="acme-ml", region="europe-west4")
    transport = httpx.MockTransport(answer)
    adapter: Any = VertexAdapter(options, AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor(), transport))
    report = adapter._metrics.report("churn", window_s=60.0, timeout=5.0)
    assert (2.75, 1500, 3, 360.0) == (report.cpu, report.memory_bytes, report.replicas, report.late_s)
    adapter.close()
