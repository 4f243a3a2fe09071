"""Canaries, promotion, rollback: which deployment gets which share, without an outage."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Capability
from sdk.errors import ConfigError, ConflictError

from .samples import ANSWER

if TYPE_CHECKING:
    from sdk.client import Client
    from sdk.client.endpoint import Endpoint

    from .rig import Rig


def answers(endpoint: Endpoint, count: int) -> Counter[float]:
    """Return what ``count`` equal requests were answered, and how often."""
    return Counter(float(endpoint.predict([[ANSWER, 0.0]]).values[0]) for _ in range(count))


class TrafficSuite:
    """Shares are whole percents of the requests, and a change of them is never an outage."""

    def test_a_canary_gets_its_share(self, rig: Rig) -> None:
        """With 30 % three of ten requests go to the new deployment, and the status says so."""
        name, client = self.begin(rig)
        endpoint = client.deploy(rig.model(2), name=name, traffic=30)
        assert {1.0: 70, 2.0: 30} == self.shares(rig, client, name)
        seen = answers(endpoint, 100)
        assert {1.0, 2.0} == set(seen)
        assert abs(30 - seen[2.0]) <= rig.split_tolerance, f"{seen} is no split of 70 to 30"
        client.delete(name)

    def test_promote_then_rollback(self, rig: Rig) -> None:
        """Promote gives the new deployment all traffic, rollback the old one again; twice is the same as once."""
        name, client = self.begin(rig)
        endpoint = client.deploy(rig.model(2), name=name, traffic=10)
        for verb, winner in ((client.promote, 2.0), (client.promote, 2.0), (client.rollback, 1.0)):
            verb(name)
            assert {1.0: 0, 2.0: 0, winner: 100} == self.shares(rig, client, name)
            assert {winner: 20} == answers(endpoint, 20)
        with rig.calls.since() as calls:
            client.rollback(name)
        assert [] == calls.changes
        client.delete(name)

    def test_a_rollback_starts_nothing(self, rig: Rig) -> None:
        """Rolling back to the kept deployment is one change of traffic: nothing billed is created or removed."""
        name, client = self.begin(rig)
        client.deploy(rig.model(2), name=name)
        with rig.calls.since() as calls:
            client.rollback(name)
        made = [call.subject.split()[0] for call in calls.changes if call.operation != "update"]
        assert [] == [kind for kind in made if rig.adapter.kinds[kind].billed]
        assert "update" in [call.operation for call in calls.changes]
        assert {1.0: 100, 2.0: 0} == self.shares(rig, client, name)
        client.delete(name)

    def test_set_traffic(self, rig: Rig) -> None:
        """traffic() sets any whole shares that sum to 100 and refuses all others before any call."""
        name, client = self.begin(rig)
        client.deploy(rig.model(2), name=name, traffic=10)
        client.traffic(name, 55)
        assert {1.0: 45, 2.0: 55} == self.shares(rig, client, name)
        ids = list(client.status(name).traffic)
        for wrong in ({ids[0]: 50, ids[1]: 40}, {ids[0]: 120, ids[1]: -20}, {"d00000000": 100}):
            with rig.calls.since() as calls, pytest.raises(ConfigError):
                client.traffic(name, wrong)
            assert [] == calls.changes
        client.delete(name)

    def test_no_canary_during_a_canary(self, rig: Rig) -> None:
        """A third model while two share the traffic is a ConflictError that changes nothing."""
        name, client = self.begin(rig)
        client.deploy(rig.model(2), name=name, traffic=10)
        before = client.status(name).traffic
        with rig.calls.since() as calls, pytest.raises(ConflictError):
            client.deploy(rig.model(3), name=name, traffic=10)
        assert [] == calls.changes
        assert before == client.status(name).traffic
        client.delete(name)

    def test_a_dark_deployment_can_be_asked(self, rig: Rig) -> None:
        """A request that names a deployment with 0 % is answered by that deployment and by no other."""
        rig.need(Capability.PIN, Capability.DARK_PROBE)
        name, client = self.begin(rig)
        endpoint = client.deploy(rig.model(2), name=name)
        by_model = {item.model[:32]: item.id for item in client.status(name).deployments}
        for n in (1, 2, 1):
            pinned = by_model[rig.model(n).digest[:32]]
            answer = endpoint.predict([[ANSWER, 0.0]], deployment=pinned)
            assert (float(n), pinned) == (answer.values[0], answer.deployment)
        client.delete(name)

    def test_an_update_is_no_outage(self, rig: Rig) -> None:
        """While one model replaces another, every request is answered, by the old one and then by the new one."""
        name, client = self.begin(rig)
        done = threading.Event()
        seen: list[float] = []
        failures: list[Exception] = []
        begun = threading.Event()

        def ask() -> None:
            endpoint = rig.client(machine="elsewhere").endpoint(name)
            while not done.is_set() or seen[-1] != 2.0:
                try:
                    seen.append(float(endpoint.predict([[ANSWER, 0.0]]).values[0]))
                except Exception as error:  # noqa: BLE001 - any failure is an outage
                    failures.append(error)
                    return
                finally:
                    begun.set()

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            assert begun.wait(60)
            client.deploy(rig.model(2), name=name)
        finally:
            done.set()
            asking.join(60)
        client.finalize(name)
        assert [] == failures
        assert sorted(seen) == seen, "the old model answered after the new one had taken over"
        assert {1.0, 2.0} == set(seen)
        client.delete(name)

    @staticmethod
    def begin(rig: Rig) -> tuple[str, Client]:
        """Deploy an endpoint with model 1."""
        rig.need(Capability.TRAFFIC)
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name)
        return name, client

    @staticmethod
    def shares(rig: Rig, client: Client, name: str) -> dict[float, int]:
        """Return the traffic by number of model."""
        numbers = {rig.model(n).digest[:32]: float(n) for n in (1, 2, 3)}
        return {numbers[item.model[:32]]: item.traffic for item in client.status(name).deployments}


class NoTrafficSuite:
    """For targets that have one deployment only."""

    def test_a_canary_is_refused(self, rig: Rig) -> None:
        """A share of less than 100 % is an UnsupportedError before any call."""
        if rig.can(Capability.TRAFFIC):
            pytest.skip(f"{rig.adapter.provider} supports traffic")
        rig.refuses(Capability.TRAFFIC, lambda client: client.deploy(rig.model(1), name="contract-no", traffic=10))
