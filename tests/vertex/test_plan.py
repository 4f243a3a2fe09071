"""Plans and requests without a cloud: what a plan says of costs, and what is sent for a job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import JobSpec, Labels, Materials
from sdk.errors import ConfigError
from sdk_vertex._plan import IMAGE, job_resources
from sdk_vertex._prices import Prices
from sdk_vertex._train import Jobs, check_data
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


def sent_of(tmp_path: Path, settings: dict[str, Any], **about: Any) -> dict[str, Any]:
    """What is sent of a job."""
    options = VertexOptions(project="mini-project", region="europe-west4", **settings)
    prices, asked = Prices(options.region, tmp_path), Asked()
    spec = JobSpec("night", Labels("night", "me", "t1"), tmp_path, "0" * 64, timeout_s=600, **about)
    images: Any = SimpleNamespace(uri=str)
    bucket: Any = SimpleNamespace(name="b")
    secrets: Any = SimpleNamespace(values=lambda *_, **__: {})
    control: Any = asked
    jobs = Jobs(control, images, bucket, options, prices, secrets=secrets)
    jobs.create(job_resources(spec, options, prices, {})[-1], Materials(), 10.0)
    ((method, request),) = asked.sent
    assert "create_custom_job" == method
    found: dict[str, Any] = request["custom_job"]
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
    found = sent_of(tmp_path, settings)["job_spec"]["scheduling"]
    assert {"timeout": {"seconds": 600}, **sent} == found


def test_a_job_has_the_tags_of_its_user(tmp_path: Path) -> None:
    """As labels, beside those of mlport."""
    labels = sent_of(tmp_path, {}, tags={"team": "a_b"})["labels"]
    assert {"team": "a_b", "mlport": "1", "mlport-owner": "me"}.items() <= labels.items()


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"tags": {"Team": "a"}}, "cannot be a label"),
        ({"params": {"p": "x" * (128 << 10)}}, "params have 131,[0-9]+ bytes together"),
    ],
)
def test_what_a_job_cannot_have(tmp_path: Path, about: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        sent_of(tmp_path, {}, **about)
    assert refused.value.hint


@pytest.mark.parametrize("where", ["gs://", "gs:///rows.csv", "gs://Upper/rows.csv", "gs://a_/rows.csv", "gs://ab"])
def test_an_address_without_a_bucket(where: str) -> None:
    with pytest.raises(ConfigError, match="names no bucket"):
        check_data({"train": where})


@pytest.mark.parametrize("where", ["gs://abc", "gs://a.b-c_d/x y/*?#.csv", "gs://0ab/"])
def test_an_address_with_a_bucket(where: str) -> None:
    check_data({"train": where})


def test_a_plan_says_what_scanning_an_image_costs(place: Place, tmp_path: Path) -> None:
    """Of endpoints and of jobs: with each image that would be pushed, and with nothing else."""
    client, script = place.client(), tmp_path / "train.py"
    script.write_text("print(1)\n")
    deploy = client.plan(place.samples.model(1), name="scanned")
    train = client.train(script, name="scanned", requirements=[], dry_run=True)
    for plan in (deploy, train):
        assert [IMAGE] == [step.ref.kind for step in plan.steps if SCAN in step.summary]
        assert 1 == str(plan).count(SCAN)
