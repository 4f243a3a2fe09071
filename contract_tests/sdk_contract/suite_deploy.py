"""Deploy, update, find, and delete: what ``sdk.deploy`` promises on every target."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Capability, Nature
from sdk.adapter.types import EndpointState, Replicas
from sdk.errors import ConflictError, InvalidNameError, NotFoundError

from .samples import ANSWER, ENV, ENV_NAME, SECRET, SECRET_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.adapter.types import DeploymentStatus
    from sdk.client import Client

    from .rig import Rig

CANARY = "73501926481"  # a secret that the sample model can return as a number


class DeploySuite:
    """The life of an endpoint, by the verbs that users call."""

    def test_life_of_an_endpoint(self, rig: Rig) -> None:
        """A deployed endpoint is ready, listed, found by another client, and answers; a delete leaves nothing of it."""
        before, name, client = rig.left(), rig.name(), rig.client()
        endpoint = client.deploy(rig.model(1), name=name)
        status = client.status(name)
        assert (EndpointState.READY, name, rig.owner) == (status.state, status.name, status.owner)
        assert [100] == [item.traffic for item in status.deployments]
        assert rig.model(1).digest[:32] == status.deployments[0].model[:32]
        assert status.url
        assert name in rig.eventually(lambda: self.names(client), lambda names: name in names)
        assert status.deployments == rig.client(machine="elsewhere").status(name).deployments
        assert [3.0] == list(endpoint.predict([[ANSWER, 2.0]]).values)
        endpoint.delete()
        assert before == rig.left()
        assert name not in rig.eventually(lambda: self.names(client), lambda names: name not in names)
        with pytest.raises(NotFoundError):
            client.status(name)

    def test_the_same_again_changes_nothing(self, rig: Rig) -> None:
        """A second identical deploy makes no changing call and leaves the deployment as it is."""
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name)
        first = client.status(name).deployments
        with rig.calls.since() as calls:
            rig.client(machine="elsewhere").deploy(rig.model(1), name=name)
        assert [] == calls.changes
        assert first == client.status(name).deployments
        client.delete(name)

    def test_a_plan_is_what_happens(self, rig: Rig) -> None:
        """The changing calls of deploy, update and delete are those of the plan, in its order; planning makes none."""
        name, client = rig.name(), rig.client()
        for n in (1, 2):
            with rig.calls.since() as calls:
                plan = client.plan(rig.model(n), name=name)
            assert [] == calls.changes
            with rig.calls.since() as calls:
                client.deploy(rig.model(n), name=name)
            wanted = [f"{step.action} {step.ref.kind}" for step in plan.steps if step.action != "probe"]
            assert wanted == [f"{call.operation} {call.subject.split()[0]}" for call in calls.changes]
        with rig.calls.since() as calls:
            plan = client.delete(name, dry_run=True)
        assert [] == calls.changes
        with rig.calls.since() as calls:
            client.delete(name)
        assert {str(step.ref) for step in plan.steps} == {call.subject for call in calls.changes}

    def test_update_keeps_the_old_one_until_finalize(self, rig: Rig) -> None:
        """After an update the old deployment stays at 0 % for a rollback; finalize removes it."""
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name)
        client.deploy(rig.model(2), name=name)
        shares = {item.model[:32]: item.traffic for item in client.status(name).deployments}
        assert 100 == shares[rig.model(2).digest[:32]]
        if rig.can(Capability.TRAFFIC):
            assert {rig.model(1).digest[:32]: 0, rig.model(2).digest[:32]: 100} == shares
        client.finalize(name)
        assert [100] == [item.traffic for item in client.status(name).deployments]
        assert [4.0] == list(client.predict(name, [[ANSWER, 2.0]]).values)
        client.delete(name)

    def test_generations_count_up(self, rig: Rig) -> None:
        """Each deployment of an endpoint has the next generation and a unique id."""
        name, client = rig.name(), rig.client()
        seen: list[DeploymentStatus] = []
        for n in (1, 2):
            client.deploy(rig.model(n), name=name)
            seen.append(max(client.status(name).deployments, key=lambda item: item.generation))
        assert [1, 2] == [item.generation for item in seen]
        assert seen[0].id != seen[1].id
        client.delete(name)

    def test_everything_is_labelled(self, rig: Rig) -> None:
        """Everything that a deploy created has endpoint, owner and transaction, so gc finds it without a journal."""
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name)
        adapter = rig.make()
        own = [item for item in adapter.observe(name, timeout=60) if self.tagged(rig, item.kind)]
        assert own
        listed = rig.eventually(
            lambda: {item.ref: item.labels for item in adapter.list(timeout=60)},
            lambda found: {item.ref for item in own} <= set(found),
        )
        adapter.close()
        for item in own:
            labels = listed[item.ref]
            assert labels is not None
            assert (name, rig.owner) == (labels.endpoint, labels.owner), str(item.ref)
            assert labels.txn
        client.delete(name)

    def test_somebody_elses_endpoint_is_left_alone(self, rig: Rig) -> None:
        """Another owner may neither deploy over an endpoint nor delete it, unless with the option to adopt it."""
        name, client, stranger = rig.name(), rig.client(), rig.client(owner=rig.stranger, machine="stranger")
        client.deploy(rig.model(1), name=name)
        first = client.status(name)
        with rig.calls.since() as calls:
            with pytest.raises(ConflictError) as refused:
                stranger.deploy(rig.model(2), name=name)
            with pytest.raises(ConflictError):
                stranger.delete(name)
        assert rig.owner in str(refused.value), "the message must name the owner"
        assert [] == [call for call in calls.changes if name in call.subject]
        assert first.deployments == client.status(name).deployments
        stranger.deploy(rig.model(2), name=name, adopt=True)
        assert rig.stranger == client.status(name).owner
        stranger.delete(name)
        with pytest.raises(NotFoundError):
            client.status(name)

    def test_foreign_things_are_left_alone(self, rig: Rig) -> None:
        """A resource without our labels survives deploy, delete and gc untouched."""
        untouched = rig.plant_foreign()
        if untouched is None:
            pytest.skip("this rig cannot plant anything foreign")
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name)
        client.delete(name)
        client.gc(apply=True)
        assert untouched()

    @pytest.mark.parametrize("name", ["ab", "Churn", "churn_2", "churn-", "2churn", "c" * 24, "churn\n", "../churn"])
    def test_bad_names_are_refused_before_any_call(self, rig: Rig, name: str) -> None:
        """A name that some platform would refuse never reaches this one."""
        with rig.calls.since() as calls, pytest.raises(InvalidNameError):
            rig.client().deploy(rig.model(1), name=name)
        assert [] == calls.made

    def test_delete_twice_is_delete_once(self, rig: Rig) -> None:
        """Deleting a missing endpoint makes no changing call."""
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name)
        client.delete(name)
        with rig.calls.since() as calls:
            try:
                client.delete(name)
            except NotFoundError as error:
                assert name in str(error)  # noqa: PT017 - an error and no error are both fine
        assert [] == calls.changes

    def test_expired_ones_are_removed_by_anybody(self, rig: Rig) -> None:
        """An endpoint past its ttl is removed by ``gc --expired`` from any machine; one with time left is not."""
        rig.need(Capability.TTL)
        short, long, client = rig.name("short"), rig.name("long"), rig.client()
        client.deploy(rig.model(1), name=short, ttl="1s")
        client.deploy(rig.model(1), name=long, ttl="1d")
        assert client.status(short).expires_at is not None
        rig.clock.sleep(2.1)
        other = rig.client(machine="elsewhere")
        rig.eventually(lambda: self.names(other), lambda names: {short, long} <= set(names))
        other.gc(apply=True)
        assert client.status(short).deployments
        rig.patiently(lambda: other.gc(apply=True, expired=True))
        assert client.status(long).deployments
        with pytest.raises(NotFoundError):
            client.status(short)
        client.delete(long)

    def test_env_reaches_the_model(self, rig: Rig) -> None:
        """Variables given to deploy are in the model's environment; another value is another deployment."""
        rig.need(Capability.ENV)
        name, client = rig.name(), rig.client()
        for value in ("41", "42"):
            endpoint = client.deploy(rig.model(1), name=name, env={ENV_NAME: value})
            assert [float(value) + 1] == list(endpoint.predict([[ENV, 0.0]]).values)
        client.delete(name)

    def test_secrets_reach_the_model_and_nothing_else(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The model gets a secret's value; plan, status, listing, journal and output contain only its name."""
        rig.need(Capability.SECRETS)
        monkeypatch.setenv(SECRET_NAME, CANARY)
        name, client = rig.name(), rig.client()
        plan = client.plan(rig.model(1), name=name, secrets={SECRET_NAME: SECRET_NAME})
        endpoint = client.deploy(rig.model(1), name=name, secrets={SECRET_NAME: SECRET_NAME})
        assert [float(CANARY) + 1] == list(endpoint.predict([[SECRET, 0.0]]).values)
        adapter = rig.make()
        seen = [plan, str(plan), endpoint, client.status(name), list(adapter.observe(name, timeout=60))]
        adapter.close()
        assert CANARY not in repr(seen)
        assert CANARY not in "".join(capfd.readouterr())
        assert [] == [str(path) for path in self.holders(rig) if path.stat().st_mode & 0o077], "others may read it"
        client.delete(name)
        assert [] == [str(path) for path in self.holders(rig)]

    def test_replicas(self, rig: Rig) -> None:
        """As many replicas as requested exist, and are shown."""
        rig.need(Capability.REPLICAS)
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name, replicas=2)
        assert Replicas(2, 2) == client.status(name).deployments[0].replicas
        client.delete(name)

    def test_without_waiting(self, rig: Rig) -> None:
        """``wait=False`` returns a handle that can be waited for."""
        name, client = rig.name(), rig.client()
        client.deploy(rig.model(1), name=name, wait=False).wait()
        assert EndpointState.READY == client.status(name).state
        client.delete(name)

    def test_unknown_endpoints(self, rig: Rig) -> None:
        """Verbs about a missing endpoint raise an error, and change nothing."""
        client = rig.client()
        with rig.calls.since() as calls:
            for verb in (client.status, client.promote, client.rollback, client.finalize):
                with pytest.raises(NotFoundError):
                    verb("contract-nobody")
            with pytest.raises(NotFoundError):
                client.predict("contract-nobody", [[ANSWER, 1.0]])
        assert [] == calls.changes

    def test_what_is_not_supported_is_refused_before_any_call(self, rig: Rig) -> None:
        """Requesting what a target declares as unsupported is an UnsupportedError with its reason, without any call."""
        wishes: dict[Capability, dict[str, Any]] = {
            Capability.AUTOSCALE: {"replicas": Replicas(1, 3)},
            Capability.REPLICAS: {"replicas": 2},
            Capability.ENV: {"env": {ENV_NAME: "1"}},
            Capability.SECRETS: {"secrets": {"PATH": "PATH"}},
            Capability.INSTANCES: {"instance": "contract-instance"},
            Capability.GPU: {"resources": {"gpu": 1}},
            Capability.RESOURCES: {"resources": {"cpu": 1}},
            Capability.TAGS: {"tags": {"team": "contract"}},
            Capability.TTL: {"ttl": "1d"},
        }
        for capability, asked in wishes.items():
            if not rig.can(capability):
                rig.refuses(capability, functools.partial(self.ask, rig, asked))

    @staticmethod
    def ask(rig: Rig, asked: Any, client: Client) -> None:
        """Deploy with one unsupported option."""
        client.deploy(rig.model(1), name="contract-no", **asked)

    @staticmethod
    def names(client: Client) -> list[str]:
        """Return the names of the endpoints in the list."""
        return [item.name for item in client.list()]

    @staticmethod
    def tagged(rig: Rig, kind: str) -> bool:
        """Return whether resources of this kind carry the labels of their endpoint."""
        return rig.adapter.kinds[kind].tagged and rig.adapter.kinds[kind].nature is not Nature.SHARED

    @staticmethod
    def holders(rig: Rig) -> list[Path]:
        """Return the client's files that contain the secret."""
        files = (path for path in rig.state_dir("here").rglob("*") if path.is_file())
        return [path for path in files if CANARY.encode() in path.read_bytes()]
