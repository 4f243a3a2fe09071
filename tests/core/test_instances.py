"""Instance types: what a platform does not take is refused when a verb is planned, with the nearest that it takes."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.instances import InstanceTypes, read_types, spelled
from sdk.adapter.prices import read_prices
from sdk.adapter.types import Resources
from sdk.client import Client
from sdk.client.resolve import RequestedSettings, resolve
from sdk.errors import ConfigError
from sdk_contract.clouds.vertex.errors import Refusal
from sdk_contract.clouds.vertex.machines import check_machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk.adapter.prices import Usage

TARGETS: dict[str, dict[str, Any]] = {
    "sagemaker": {"region": "us-east-1", "role": "arn:aws:iam::123456789012:role/mlport"},
    "vertex": {"project": "mini-project", "region": "europe-west4"},
    "azureml": {"subscription": "0000", "resource_group": "rg", "workspace": "wks", "region": "westeurope"},
}
TYPOS = [
    ("sagemaker", "ml.m5.lagre", "ml.m5.large"),
    ("sagemaker", "m5.xlarge", "ml.m5.xlarge"),
    ("vertex", "n1-standart-4", "n1-standard-4"),
    ("vertex", "n1-standard4+NVIDIA_TESLA_T4x1", "n1-standard-4"),
    ("azureml", "Standard_DS2v2", "Standard_DS2_v2"),
    ("azureml", "Standard_D4as_v44", "Standard_D4as_v4"),
]
typos = pytest.mark.parametrize(("provider", "wrong", "right"), TYPOS)
usages = pytest.mark.parametrize("usage", ["inference", "training"])


class Targets:
    """Clients with one target each, of which nothing is called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, list[Client]()

    def session(self, provider: str, **settings: Any) -> Any:
        target = {"provider": provider, **TARGETS[provider], **settings}
        config = {"default": "t", "owner": "me", "state_dir": str(self.folder), "target": {"t": target}}
        self.made.append(Client(config))
        return self.made[-1].session()


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Targets]:
    made = Targets(tmp_path)
    yield made
    for client in made.made:
        client.close()


@typos
@usages
def test_a_typo_in_the_call(targets: Targets, provider: str, wrong: str, right: str, usage: Usage) -> None:
    """The field, the use and the nearest types are named, before any call."""
    with pytest.raises(ConfigError, match=f"instance = '{wrong[:5]}") as refused:
        resolve(targets.session(provider), RequestedSettings(instance=wrong), usage=usage)
    assert repr(right) in str(refused.value.hint)
    assert "any_instance = true" in str(refused.value.hint)


@typos
@usages
def test_a_typo_in_the_configuration(targets: Targets, provider: str, wrong: str, right: str, usage: Usage) -> None:
    """A target's own setting is judged like an argument."""
    with pytest.raises(ConfigError) as refused:
        resolve(targets.session(provider, instance=wrong), RequestedSettings(), usage=usage)
    assert repr(right) in str(refused.value.hint)


@pytest.mark.parametrize(("provider", "new"), [("sagemaker", "ml.m99.large"), ("vertex", "n9-standard-4")])
def test_a_type_that_is_newer_than_this_version(targets: Targets, provider: str, new: str) -> None:
    """With any_instance = true it is taken as it is written, at an unknown price."""
    order = resolve(targets.session(provider, any_instance=True), RequestedSettings(instance=new), usage="inference")
    assert (new, None) == (order.instance, order.usd_per_hour)


def test_capitals_do_not_matter(targets: Targets) -> None:
    """The platform gets its own spelling."""
    order = resolve(targets.session("sagemaker"), RequestedSettings(instance="ML.M5.Large"), usage="inference")
    assert "ml.m5.large" == order.instance


@pytest.mark.parametrize(
    ("provider", "instance", "usage", "use"),
    [
        ("sagemaker", "ml.t2.medium", "training", "serving"),
        ("sagemaker", "ml.p3dn.24xlarge", "inference", "training"),
        ("vertex", "n1-standard-2", "training", "serving"),
        ("vertex", "e2-standard-2", "training", "serving"),
        ("vertex", "c3-standard-4", "training", "serving"),
        ("vertex", "m1-megamem-96", "inference", "training"),
    ],
)
def test_a_type_for_the_other_use(targets: Targets, provider: str, instance: str, usage: Usage, use: str) -> None:
    """It is refused, and the error says what the platform takes it for."""
    with pytest.raises(ConfigError, match=f"takes it for {use} only"):
        resolve(targets.session(provider), RequestedSettings(instance=instance), usage=usage)


def test_a_target_that_names_an_instance_for_serving_trains_on_the_default(targets: Targets) -> None:
    """The setting is for serving only: the job takes the default for training, and the plan says so."""
    session = targets.session("vertex", instance="n1-standard-2")
    order = resolve(session, RequestedSettings(), usage="training")
    assert "e2-standard-4" == order.instance
    assert "n1-standard-2" in order.notes[0]
    assert "e2-standard-4 is used" in order.notes[0]
    assert order.usd_per_hour is not None


@usages
def test_resources_choose_what_the_platform_takes(targets: Targets, usage: Usage) -> None:
    """Two processors are enough: serving has a type with two, training has none and takes the next."""
    session = targets.session("vertex")
    order = resolve(session, RequestedSettings(resources=Resources(cpu=2, memory_gib=4)), usage=usage)
    assert order.instance in session.adapter.instance_types(usage)


def read_shipped(provider: str) -> InstanceTypes:
    """The types that an adapter knows."""
    if provider == "sagemaker":
        aws = import_module("sdk_sagemaker._aws").Aws
        return InstanceTypes(
            aws.instance_types("ProductionVariantInstanceType"), aws.instance_types("TrainingInstanceType")
        )
    return read_types(files(f"sdk_{provider}") / "machines.csv")


@pytest.mark.parametrize("provider", list(TARGETS))
def test_only_what_is_taken_has_a_price(provider: str) -> None:
    """The price list holds no type that the platform does not take for that use."""
    rows, types = read_prices(files(f"sdk_{provider}") / "prices.csv"), read_shipped(provider)
    wrong = [row for row in rows if row.instance_type.partition("+")[0] not in types.of(row.usage)]  # type: ignore[arg-type]  # one of the two
    assert [] == wrong


def test_the_mini_cloud_refuses_the_same() -> None:
    """Training on a machine for serving only is refused in the words of the platform."""
    check_machine({"machineType": "n1-standard-2"}, "inference", "machine_spec")
    with pytest.raises(Refusal, match='Machine type "n1-standard-2" is not supported'):
        check_machine({"machineType": "n1-standard-2"}, "training", "job_spec.worker_pool_specs[0].machine_spec")


def test_nothing_is_near() -> None:
    """Then some of the known types are listed."""
    known: dict[Usage, list[str]] = {"inference": ["a1", "b2"], "training": []}
    with pytest.raises(ConfigError) as refused:
        spelled("zzzzzz", "inference", known, "cloud")
    assert "known are a1, b2" in str(refused.value.hint)
