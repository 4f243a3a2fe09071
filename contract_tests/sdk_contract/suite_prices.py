"""Money: a price is right, or reported as unknown; it is never silently 0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .suite_capabilities import deployment, endpoint

if TYPE_CHECKING:
    from sdk.adapter import Resource

    from .rig import Rig


class PricesSuite:
    """Tables, plans and statuses agree about costs."""

    def test_the_table(self, rig: Rig) -> None:
        """Each row is about this platform, has one price per hour or none, a source and a date, and is unique."""
        adapter = rig.make()
        rows = list(adapter.prices())
        adapter.close()
        for row in rows:
            assert rig.adapter.provider == row.platform
            assert row.price is None or row.price > 0, f"{row}: unknown is None, not 0"
            assert row.source
            assert re.fullmatch(r"\d{4}-\d\d(-\d\d)?", row.as_of), str(row)
        keys = [(row.region, row.usage, row.instance_type) for row in rows]
        assert sorted(set(keys)) == sorted(keys)

    def test_unknown_is_not_free(self, rig: Rig) -> None:
        """Without a known price a billed resource costs None; one that is not billed costs 0."""
        adapter = rig.adapter(rig.adapter.Options.model_validate(dict(rig.unpriced())), rig.context())
        planned = list(adapter.resources(endpoint(deployment(rig, instance=rig.unpriced().get("instance")))))
        adapter.close()
        assert {None} == {item.usd_per_hour for item in self.billed(rig, planned)}
        assert {0.0} == {item.usd_per_hour for item in planned if item not in self.billed(rig, planned)}

    def test_plan_and_status_agree(self, rig: Rig) -> None:
        """A deployment costs in its status what the plan announced; a delete ends at 0."""
        name, client = rig.name("prices"), rig.client()
        plan = client.plan(rig.model(1), name=name)
        assert 0 == plan.usd_per_hour.before
        client.deploy(rig.model(1), name=name)
        status = client.status(name)
        if rig.price is not None:
            assert rig.price == plan.usd_per_hour.after
        assert plan.usd_per_hour.after == status.usd_per_hour
        assert status.usd_per_hour == status.deployments[0].usd_per_hour
        gone = client.delete(name, dry_run=True)
        assert (status.usd_per_hour, 0) == (gone.usd_per_hour.before, gone.usd_per_hour.after)
        client.delete(name)

    def test_two_deployments_cost_twice(self, rig: Rig) -> None:
        """The old deployment that is kept for a rollback is in the price, until finalize."""
        if not rig.price:
            pytest.skip("nothing costs anything here")
        name, client = rig.name("prices"), rig.client()
        client.deploy(rig.model(1), name=name)
        plan = client.plan(rig.model(2), name=name)
        cost = (plan.usd_per_hour.before, plan.usd_per_hour.peak, plan.usd_per_hour.after)
        assert pytest.approx((rig.price, rig.peak * rig.price, 2 * rig.price)) == cost
        client.deploy(rig.model(2), name=name)
        assert 2 * rig.price == client.status(name).usd_per_hour
        client.finalize(name)
        assert rig.price == client.status(name).usd_per_hour
        client.delete(name)

    @staticmethod
    def billed(rig: Rig, planned: list[Resource]) -> list[Resource]:
        """Return the resources of kinds that cost money while they exist."""
        return [item for item in planned if rig.adapter.kinds[item.kind].billed]
