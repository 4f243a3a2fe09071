"""Regions and sizes as one question: expanded to subjects, priced each, grouped on the page, found by gc."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk.client.candidates import spread, wanted_of
from sdk.client.temporary_endpoints import Passing, TemporaryRecords
from sdk.errors import ConfigError, UnknownKeyError
from sdk.packaging.model import model
from tests.compare.rows import comparison, row
from tests.compare.test_whole import double

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk.packaging.model import Model

AWS = {"provider": "sdk_sagemaker:SagemakerAdapter", "region": "us-west-2", "role": "arn:aws:iam::123456789012:role/x"}
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "x" * 40,
    "AWS_EC2_METADATA_DISABLED": "1",
}
BOTH = {"aws": {"region": ["us-east-1", "eu-west-1"], "instance": ["ml.m5.xlarge", "ml.g4dn.xlarge"]}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    env = {**os.environ, **KEYS, "MLPORT_STATE_DIR": str(tmp_path_factory.mktemp("state"))}
    config = {"default": "here", "target": {"here": {"provider": "local"}, "aws": AWS}}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with Client(config, env=env) as one:
            yield one


@pytest.fixture(scope="module")
def doubling(client: Client) -> Model:
    del client  # its state folder is where the model goes
    return model(double, name="double", example=[[1.0], [2.5]])


def test_each_region_with_each_size(client: Client, doubling: Model) -> None:
    """Four subjects with names that can be typed, each with the price of its own region, under one budget."""
    look: Any = client.compare(doubling, targets=BOTH, dry_run=True)
    names = [f"aws@{region} {kind}" for region in BOTH["aws"]["region"] for kind in BOTH["aws"]["instance"]]
    assert names == [one.key for one in look.candidates]
    assert ["us-east-1", "us-east-1", "eu-west-1", "eu-west-1"] == [one.region for one in look.candidates]
    assert [0.23, 0.7364, 0.257, 0.821] == [one.price.amount for one in look.candidates]
    with pytest.raises(ConfigError, match=r"may cost \$\d"):
        client.compare(doubling, targets=BOTH, budget_usd=0.01)


def test_the_command_line_asks_the_same(client: Client, doubling: Model) -> None:
    """``regions`` and ``instances`` beside a list of targets."""
    by_mapping: Any = client.compare(doubling, targets=BOTH, dry_run=True)
    by_list: Any = client.compare(
        doubling, targets=["aws"], regions={"aws": BOTH["aws"]["region"]}, instances={"aws": BOTH["aws"]["instance"]},
        dry_run=True,
    )  # fmt: skip
    assert [one.key for one in by_mapping.candidates] == [one.key for one in by_list.candidates]


def test_a_target_in_another_region(client: Client) -> None:
    """For every verb; the settings stay otherwise as they are."""
    assert "us-west-2" == client.session("aws").adapter.where()["region"]
    other = client.session("aws@eu-west-1")
    assert ("aws@eu-west-1", "eu-west-1") == (other.target, other.adapter.where()["region"])
    with pytest.raises(UnknownKeyError, match="region"):
        client.session("here@eu-west-1")
    with pytest.raises(UnknownKeyError, match="unknown target 'there'"):
        client.session("there@eu-west-1")


@pytest.mark.parametrize(
    ("targets", "regions", "message"),
    [
        ({"aws": {"zone": "a"}}, None, "targets: 'aws' has 'zone'"),
        ({"aws": "us-east-1"}, None, "targets: 'aws' has 'us-east-1'"),
        ({"aws": None}, None, "targets: 'aws' has None"),
        ({"aws": {1: "a"}}, None, "targets: 'aws' has '1'"),
        ({"aws": {"region": None}}, None, "regions: 'aws' has None"),
        ({"aws": {"instance": 5}}, None, "instances: 'aws' has 5"),
        ({"aws": {"region": ["a", 2]}}, None, "regions: 'aws' has ['a', 2]"),
        (["aws"], {"gcp": ["x"]}, "regions names 'gcp', which is not among the targets"),
        (["aws"], {"aws": ["x", "x"]}, "name each one once"),
        (["aws"], {"aws": ["x", ""]}, "name each one once"),
        (["aws"], {"aws": [f"r{n}" for n in range(33)]}, "33 things to compare"),
    ],
)
def test_refused(targets: Any, regions: Any, message: str) -> None:
    """By name, before anything is opened."""
    with pytest.raises(ConfigError) as refused:
        spread(wanted_of(targets, None, regions))
    assert message in f"{refused.value} {refused.value.hint}"


def test_gc_finds_what_a_killed_comparison_left_in_another_region(tmp_path: Path) -> None:
    """The record names the target with its region; it is found from the target of the configuration."""
    records = TemporaryRecords(tmp_path)
    left = [Passing("aws@eu-west-1", "cmp-1"), Passing("aws", "cmp-2"), Passing("awsome", "cmp-3")]
    with pytest.raises(KeyboardInterrupt), records.kept("run", left):
        raise KeyboardInterrupt
    assert [("run", left[0]), ("run", left[1])] == records.abandoned("aws")
    assert [("run", left[0])] == records.abandoned("aws@eu-west-1")
    records.gone("run", "aws@eu-west-1", "cmp-1")
    assert [("run", left[1])] == records.abandoned("aws")


def test_the_page_groups_them() -> None:
    """Under the name of the target, in whatever region."""
    rows = [row(f"aws@{place}", target=f"aws@{place}", region=place) for place in ("us-east-1", "eu-west-1")]
    assert "aws, 2 subjects" in comparison(*rows, row("gcp")).to_html()
    assert "gcp, 1" not in comparison(*rows, row("gcp")).to_html()
