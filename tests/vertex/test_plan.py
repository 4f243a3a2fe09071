"""Plans and requests without a cloud: what a plan says of costs, and what is sent for a job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import JobSpec, Labels, Materials
from sdk_vertex._plan import IMAGE, job_resources
from sdk_vertex._prices import Prices
from sdk_vertex._train import Jobs
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vertex.conftest import Place

SCAN = "$0.26 where images are scanned"


class Asked:
    """A control plane that keeps what it is sent."""

    parent = "projects/p/locations/r"

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def every(self, *_: Any, **__: Any) -> Iterator[Any]:
        """No job has the name yet."""
        return iter(())

    def call(self, _service: str, method: str, request: Any, **_: Any) -> None:
        self.sent.append((method, request))


def scheduling(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    """What is sent about the scheduling of a job."""
    options = VertexOptions(project="mini-project", region="europe-west4", **settings)
    prices, asked = Prices(options.region, tmp_path), Asked()
    spec = JobSpec("night", Labels("night", "me", "t1"), tmp_path, "0" * 64, timeout_s=600)
    images: Any = SimpleNamespace(uri=str)
    bucket: Any = SimpleNamespace(name="b")
    secrets: Any = SimpleNamespace(values=lambda *_, **__: {})
    control: Any = asked
    jobs = Jobs(control, images, bucket, options, prices, secrets=secrets)
    jobs.create(job_resources(spec, options, prices, {})[-1], Materials(), 10.0)
    ((method, request),) = asked.sent
    assert "create_custom_job" == method
    found: dict[str, Any] = request["custom_job"]["job_spec"]["scheduling"]
    return found


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"spot": True}, {"strategy": "SPOT"}),
        ({}, {"disable_retries": True}),
        ({"spot": False}, {"disable_retries": True}),
    ],
)
def test_a_job_on_spare_capacity_keeps_its_retries(tmp_path: Path, settings: Any, sent: dict[str, Any]) -> None:
    """Without them it ends for good when its machine is taken away; other jobs run once."""
    assert {"timeout": {"seconds": 600}, **sent} == scheduling(tmp_path, **settings)


def test_a_plan_says_what_scanning_an_image_costs(place: Place, tmp_path: Path) -> None:
    """Of endpoints and of jobs: with each image that would be pushed, and with nothing else."""
    client, script = place.client(), tmp_path / "train.py"
    script.write_text("print(1)\n")
    deploy = client.plan(place.samples.model(1), name="scanned")
    train = client.train(script, name="scanned", requirements=[], dry_run=True)
    for plan in (deploy, train):
        assert [IMAGE] == [step.ref.kind for step in plan.steps if SCAN in step.summary]
        assert 1 == str(plan).count(SCAN)
