"""An endpoint whose state has a form that nobody expected does not hide the others, and loses nothing to `gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.adapter.types import EndpointState
from sdk.errors import UnreadableError
from sdk_contract.fake import ConfigFake, TrafficFake

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdk.adapter import Live, Ref

STRANGE = "strange"


class Surprised:
    """What a third party's adapter does that has never seen such an answer: it does not call it unreadable."""

    surprised_by: ClassVar[set[str]] = set()

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        self._surprise("observe", name)
        return super().observe(name, timeout=timeout)  # type: ignore[misc, no-any-return]  # a mixin

    def status(self, name: str, live: Sequence[Live]) -> Any:
        self._surprise("status", name)
        return super().status(name, live)  # type: ignore[misc]  # a mixin

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        self._surprise("read", ref.id)
        return super().read(ref, timeout=timeout)  # type: ignore[misc, no-any-return]  # a mixin

    def _surprise(self, operation: str, name: str) -> None:
        if operation in self.surprised_by and name.startswith(STRANGE):
            dict[str, int]()["properties"]


class SurprisedConfig(Surprised, ConfigFake):
    """Endpoints that point at a configuration."""


class SurprisedTraffic(Surprised, TrafficFake):
    """Endpoints with deployments."""


@pytest.mark.parametrize("operation", ["observe", "status", "read"])
@pytest.mark.parametrize("shape", [SurprisedConfig, SurprisedTraffic])
def test_only_that_endpoint_is_shown_as_unreadable(
    shape: Any, operation: str, faked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = faked.World(tmp_path, shape)
    client = world.client()
    for name in ("calm", STRANGE):
        client.deploy(faked.a_model(name=name), name=name)
    world.clock.sleep(7 * 86400)
    before = dict(world.cloud.items)
    monkeypatch.setattr(Surprised, "surprised_by", {operation})
    if operation != "read":
        calm, strange = client.list()
        assert (EndpointState.READY, None) == (calm.state, calm.reason)
        assert (STRANGE, EndpointState.DEGRADED) == (strange.name, strange.state)
        assert f"what fake answered to {operation} strange cannot be read" in str(strange.reason)
        with pytest.raises(UnreadableError, match="properties"):
            client.status(STRANGE)
    report = client.gc(apply=True, shared=True)
    assert before == world.cloud.items, "nothing goes"
    assert [] == [*report.removed, *report.orphans]
    assert f"the state of {STRANGE} cannot be read" in {one.reason for one in report.kept_records}
    world.close()


def test_what_others_left_still_goes(faked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the endpoints that can be read, `gc` removes what nothing needs."""
    world = faked.World(tmp_path, SurprisedConfig)
    client = world.client()
    client.deploy(faked.a_model(), name=STRANGE)
    client.deploy(faked.a_model(), name="calm")
    root = next(ref for ref in world.cloud.items if ref.kind == "Endpoint" and ref.id == "calm")
    del world.cloud.items[root]
    world.clock.sleep(7 * 86400)
    monkeypatch.setattr(Surprised, "surprised_by", {"observe"})
    removed = {one.id for one in client.gc(apply=True).removed}
    assert removed
    assert all(name.startswith("calm") for name in removed)
    assert any(ref.id.startswith(STRANGE) for ref in world.cloud.items)
    world.close()
