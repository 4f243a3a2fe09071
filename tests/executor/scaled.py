"""A platform that refuses to drop a deployment whose scaling is registered, as SageMaker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sdk.adapter import Kind, Nature, Ref, Resource
from sdk_contract.fake import SETTLE_S, ConfigFake

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter import AdapterContext, EndpointSpec, Live
    from sdk_contract.fake_cloud import FakeCloud

LIMITS: Mapping[str, Any] = {"min": 1, "max": 3}
RULE: Mapping[str, Any] = {"per_minute": 90}


class ScaledFake(ConfigFake):
    """Endpoint -> Config -> Models, with Target <- Rule hanging on the endpoint for each deployment."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        **{name: kind for name, kind in ConfigFake.kinds.items() if name != "Job"},
        "Target": Kind("Target", Nature.IMMUTABLE, settle_s=SETTLE_S, tagged=False, attached=True),
        "Rule": Kind("Rule", Nature.IMMUTABLE, settle_s=SETTLE_S, tagged=False, attached=True),
        "Job": ConfigFake.kinds["Job"],
    }

    def __init__(self, options: Any, context: AdapterContext) -> None:
        super().__init__(options, context)
        self.cloud.refusal = refusal

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """What scales a deployment is made after the endpoint."""
        found = list(super().resources(spec))
        for deployment in spec.deployments:
            target = Ref("Target", f"{spec.name}/{deployment.id}")
            found += [
                Resource("Target", target.id, LIMITS, spec.labels, (Ref("Endpoint", spec.name),)),
                Resource("Rule", target.id, RULE, spec.labels, (target,)),
            ]
        return found

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """And what hangs on the endpoint."""
        found = list(super().observe(name, timeout=timeout))
        hanging = [ref for ref in self.cloud.items if ref.kind in {"Target", "Rule"} and ref.id.startswith(f"{name}/")]
        return [*found, *(live for ref in hanging if (live := self.read(ref, timeout=timeout)) is not None)]


def variants(cloud: FakeCloud, config: str) -> set[str]:
    """The deployments of a configuration."""
    item = cloud.items.get(Ref("Config", config))
    return set(item.spec["variants"]) if item else set()


def refusal(cloud: FakeCloud, op: str, resource: Resource) -> str | None:
    """Why an update of an endpoint, or the scaling of a deployment, is refused."""
    spec: Any = resource.spec or {}
    if op == "update" and resource.kind == "Endpoint":
        scaled = {ref.id.split("/")[1] for ref in cloud.items if ref.kind == "Target"}
        dropped = scaled - variants(cloud, spec["config"])
        return f"{sorted(dropped)} must be deregistered" if dropped else None
    if op == "create" and resource.kind == "Target":
        name, deployment = resource.id.split("/")
        endpoint = cloud.items.get(Ref("Endpoint", name))
        known = variants(cloud, str(endpoint.spec["config"])) if endpoint else set[str]()
        return None if deployment in known else f"there is no deployment {deployment}"
    return None


def unscaled(cloud: FakeCloud, name: str) -> list[str]:
    """What is wrong with the scaling of an endpoint: each deployment has the limits and the rule that it had."""
    endpoint = cloud.items.get(Ref("Endpoint", name))
    wanted = variants(cloud, str(endpoint.spec["config"])) if endpoint else set[str]()
    wrong: list[str] = []
    for kind, spec in (("Target", LIMITS), ("Rule", RULE)):
        found = {ref.id.split("/")[1]: dict(item.spec) for ref, item in cloud.items.items() if ref.kind == kind}
        if found != {one: dict(spec) for one in wanted}:
            wrong.append(f"{kind}: {found}, deployments: {sorted(wanted)}")
    return wrong
