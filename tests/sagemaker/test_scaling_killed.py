"""The kill matrix of a change that removes a scaled variant, on the mini cloud: scaling is restored, or it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.adapter.types import Replicas
from sdk_contract.clouds.sagemaker.rig import SagemakerRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_crash import CrashSuite, run
from sdk_sagemaker import SagemakerAdapter, _plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import Kind
    from sdk.client import Client


class Quick(SagemakerAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class Mini(SagemakerRig):
    """One account."""

    adapter = Quick


rig = rig_fixture(Mini)


def scaling(rig: Any) -> list[str]:
    """What is registered, with its policy and alarms, without the random part of their names."""
    kinds = ("scalable-target ", "scaling-policy ", "alarm ")
    return sorted(one.partition("-Alarm")[0] for one in rig.left() if one.startswith(kinds))


def finalize(name: str) -> Any:
    return lambda client: client.finalize(name)


@pytest.mark.full
def test_killed_while_a_scaled_variant_goes(rig: Any) -> None:
    """Killed at each call: after gc each deployment of the endpoint is scaled, none other is, and a retry works."""
    name = rig.name("killed")

    def prepare(client: Client) -> None:
        for number in (1, 2):
            client.deploy(rig.model(number), name=name, replicas=Replicas(1, 2))

    prepare(rig.client())
    points = run(rig, finalize(name), None)
    rig.client().delete(name)
    assert [] == scaling(rig)
    wanted = [at for at, point in enumerate(points) if "delete Scal" in point or "update Endpoint" in point]
    for at in wanted:
        rig.retire()
        rig.patiently(lambda: prepare(rig.client()))
        run(rig, finalize(name), at)
        CrashSuite.clean(rig)
        left = [one.id for one in rig.client().status(name).deployments]
        assert len(left) * 4 == len(scaling(rig)), f"killed {points[at]}"
        assert all(any(one in entry for one in left) for entry in scaling(rig)), f"killed {points[at]}"
        rig.patiently(lambda: rig.client().finalize(name))
        assert 4 == len(scaling(rig)), f"killed {points[at]}, then finalized"
        rig.client().delete(name)
        assert [] == scaling(rig)
