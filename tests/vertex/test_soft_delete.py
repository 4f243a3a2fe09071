"""Deleted data that is kept and billed: never in a bucket that mlport makes; `doctor` says so of one that was named."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import AdapterContext
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_vertex import VertexAdapter
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.adapter.types import Check
    from tests.vertex.conftest import Place


def bucket_check(tmp_path: Path, *, make: bool = False, **settings: Any) -> Check:
    """What `doctor` says of the bucket."""
    options = VertexOptions(project="mini-project", region="europe-west4", **settings)
    context = AdapterContext("gcp", "me", tmp_path / "state", SystemClock(), Redactor())
    with closing(VertexAdapter(options, context)) as adapter:
        if make:
            adapter._bucket.make(timeout=10.0)
        return next(check for check in adapter.doctor() if check.name == "bucket")


@pytest.mark.parametrize(("seconds", "days"), [("604800", "7"), ("7776000", "90")])
def test_a_bucket_of_yours_may_keep_deleted_data(place: Place, tmp_path: Path, seconds: str, days: str) -> None:
    place.cloud.storage.make_bucket("team-data", {"softDeletePolicy": {"retentionDurationSeconds": seconds}})
    found = bucket_check(tmp_path, bucket="team-data")
    assert found.ok
    assert f"gs://team-data, where deleted data is billed for another {days} days" == found.detail
    assert "--clear-soft-delete" in str(found.hint)


@pytest.mark.parametrize("policy", [{}, {"softDeletePolicy": None}, {"softDeletePolicy": {}}])
def test_a_bucket_without_the_policy_keeps_nothing(place: Place, tmp_path: Path, policy: dict[str, Any]) -> None:
    place.cloud.storage.make_bucket("team-data", {"softDeletePolicy": {"retentionDurationSeconds": "0"}, **policy})
    assert "gs://team-data" == bucket_check(tmp_path, bucket="team-data").detail


@pytest.mark.usefixtures("place")
def test_a_bucket_that_mlport_makes_keeps_nothing(tmp_path: Path) -> None:
    assert "gs://mini-project-mlport-europe-west4" == bucket_check(tmp_path, make=True).detail
