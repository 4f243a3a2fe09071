"""The single operations, one after the other on one endpoint, without the core around them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Adapter, EndpointSpec, Live, Materials, Nature, Ref, Resource
from sdk.errors import ConflictError, NotFoundError, SdkError

from .samples import ANSWER
from .suite_capabilities import deployment, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from .rig import Rig

TIMEOUT = 60.0


@dataclass
class Walk:
    """An endpoint that was created by hand, and the states observed meanwhile."""

    adapter: Adapter
    spec: EndpointSpec
    resources: list[Resource]
    materials: Materials
    first: httpx.Response | None = None
    states: dict[Ref, list[Live | None]] = field(default_factory=dict[Ref, "list[Live | None]"])

    def ready(self, ref: Ref) -> Live:
        """Return the resource as it looked when it was ready."""
        last = self.states[ref][-1]
        assert last is not None
        return last


def until_ready(rig: Rig, adapter: Adapter, ref: Ref) -> list[Live | None]:
    """Return all answers of ``read`` until the resource is ready."""
    seen: list[Live | None] = []
    give_up = rig.clock.monotonic() + rig.patience
    while rig.clock.monotonic() < give_up:
        seen.append(adapter.read(ref, timeout=TIMEOUT))
        last = seen[-1]
        if last is not None and last.state == "ready":
            return seen
        assert last is None or last.state != "failed", f"{ref} failed: {last.reason}"
        rig.clock.sleep(0.1)
    raise AssertionError(f"{ref} was not ready after {rig.patience:g} s: {seen[-1]}")


def until_gone(rig: Rig, adapter: Adapter, live: Live) -> None:
    """Delete a resource, trying again while the platform is not ready for that, until it can no longer be read."""
    give_up = rig.clock.monotonic() + rig.patience
    asked = False
    while rig.clock.monotonic() < give_up:
        try:
            if not asked:
                adapter.delete(live, timeout=TIMEOUT)
            asked = True
        except NotFoundError:
            return
        except ConflictError as refused:
            assert refused.retryable, f"must be retryable: {refused}"  # noqa: PT017  a refusal is one of several fine answers
        if adapter.read(live.ref, timeout=TIMEOUT) is None:
            return
        rig.clock.sleep(0.1)
    raise AssertionError(f"{live.ref} is still there after {rig.patience:g} s")


def ask(rig: Rig, adapter: Adapter, name: str) -> httpx.Response:
    """Send one prediction, without the retries of the core."""
    status = adapter.status(name, adapter.observe(name, timeout=TIMEOUT))
    assert status is not None
    invoker = adapter.invoker(status)
    body = json.dumps({"instances": [[ANSWER, 1.0]]}).encode()
    headers = {**invoker.headers, "content-type": "application/json"}
    with rig.http(timeout=TIMEOUT, auth=invoker.auth) as client:
        content = invoker.wrap(body) if invoker.wrap else body
        return client.post(invoker.url, content=content, headers=headers)


class OperationsSuite:
    """read, create, update, delete, list and observe behave as the core expects."""

    @pytest.fixture(scope="class")
    @classmethod
    def walk(cls, rig: Rig) -> Iterator[Walk]:
        """Create one endpoint, resource by resource."""
        model = rig.model(1)
        adapter = rig.make()
        made = deployment(rig, 1, model=model.digest, image=rig.image(model))
        walk = Walk(adapter, endpoint(made, name=rig.name(), owner=rig.owner), [], Materials(model=model))
        walk.resources = list(adapter.resources(walk.spec))
        for resource in walk.resources:
            if adapter.read(resource.ref, timeout=TIMEOUT) is None:  # a shared resource may exist already
                adapter.create(resource, walk.materials, timeout=rig.patience)
            walk.states[resource.ref] = until_ready(rig, adapter, resource.ref)
        walk.first = ask(rig, adapter, walk.spec.name)
        yield walk
        for resource in reversed(cls.own(rig, walk)):
            until_gone(rig, adapter, walk.ready(resource.ref))
        adapter.close()

    @staticmethod
    def own(rig: Rig, walk: Walk) -> list[Resource]:
        """Return the resources that belong to this endpoint alone."""
        return [r for r in walk.resources if rig.adapter.kinds[r.kind].nature is not Nature.SHARED]

    def test_what_is_being_made_is_seen(self, rig: Rig, walk: Walk) -> None:
        """A resource whose create was acknowledged can be read at once, or within its kind's settle time."""
        for ref, states in walk.states.items():
            if rig.adapter.kinds[ref.kind].settle_s == 0:
                assert None not in states, f"{ref} was not there right after its creation"
            first = next(i for i, state in enumerate(states) if state is not None)
            assert None not in states[first:], f"{ref} was there and then was not"

    def test_ready_means_that_it_answers(self, walk: Walk) -> None:
        """As soon as every resource is reported as ready, the very first request is answered."""
        assert walk.first is not None
        assert 200 == walk.first.status_code, walk.first.text

    def test_it_reads_back_as_it_was_asked_for(self, rig: Rig, walk: Walk) -> None:
        """Labels are read back whole with the hash of the spec; mutable kinds return the spec itself."""
        for resource in self.own(rig, walk):
            kind = rig.adapter.kinds[resource.kind]
            live = walk.ready(resource.ref)
            assert resource.ref == live.ref
            assert set(resource.parents) <= set(live.parents), f"{resource.ref} forgot what it needs"
            if kind.tagged:
                assert replace(resource.labels, spec=resource.hash[:32]) == live.labels, str(resource.ref)
            if kind.nature is Nature.MUTABLE:
                assert resource.spec == live.spec, str(resource.ref)

    def test_its_age_is_told_by_the_platform(self, rig: Rig, walk: Walk) -> None:
        """created_at and server_time() come from one clock: a new resource is young."""
        for resource in self.own(rig, walk):
            created = walk.ready(resource.ref).created_at
            assert created is not None or not rig.adapter.kinds[resource.kind].tagged, str(resource.ref)
            if created is not None:
                assert -5 < walk.adapter.server_time() - created < 3600, str(resource.ref)

    def test_observe_finds_all_of_it(self, rig: Rig, walk: Walk) -> None:
        """observe() returns every resource of the endpoint, and status() makes a ready endpoint of them."""
        found = walk.adapter.observe(walk.spec.name, timeout=TIMEOUT)
        assert {resource.ref for resource in walk.resources} == {live.ref for live in found}
        status = walk.adapter.status(walk.spec.name, found)
        assert status is not None
        assert "ready" == status.state
        assert dict(walk.spec.traffic) == status.traffic
        assert rig.owner == status.owner

    def test_observe_finds_nothing_elsewhere(self, rig: Rig, walk: Walk) -> None:
        """Another name is another endpoint, even one that begins with the same text."""
        assert [] == list(walk.adapter.observe(f"{walk.spec.name}0", timeout=TIMEOUT))
        assert [] == [
            live.ref
            for live in walk.adapter.observe(walk.spec.name[:-1], timeout=TIMEOUT)
            if live.ref in {resource.ref for resource in self.own(rig, walk)}
        ]

    def test_everybody_sees_it_in_the_list(self, rig: Rig, walk: Walk) -> None:
        """list() shows resources with our labels to every owner, with the owner's name on them."""
        stranger = rig.make(rig.stranger)
        tagged = {item.ref for item in self.own(rig, walk) if rig.adapter.kinds[item.kind].tagged}
        listed = rig.eventually(
            lambda: {live.ref: live for live in stranger.list(timeout=TIMEOUT)}, lambda found: tagged <= set(found)
        )
        stranger.close()
        assert tagged <= set(listed), "something is missing in the list"
        for ref in tagged:
            labels = listed[ref].labels
            assert labels is not None
            assert (rig.owner, walk.spec.name) == (labels.owner, labels.endpoint)

    def test_an_id_is_made_once(self, rig: Rig, walk: Walk) -> None:
        """A second create of the same id is a ConflictError and changes nothing."""
        for resource in self.own(rig, walk):
            with pytest.raises(ConflictError) as refused:
                walk.adapter.create(resource, walk.materials, timeout=TIMEOUT)
            assert rig.adapter.provider == refused.value.provider
            after = walk.adapter.read(resource.ref, timeout=TIMEOUT)
            assert after is not None
            assert walk.ready(resource.ref).labels == after.labels

    def test_nothing_is_read_as_nothing(self, walk: Walk) -> None:
        """read() returns None for an id that does not exist, of every kind."""
        for resource in walk.resources:
            absent = Ref(resource.kind, self.absent(resource.id))
            assert walk.adapter.read(absent, timeout=TIMEOUT) is None, str(absent)

    def test_what_is_gone_cannot_be_deleted_or_changed(self, rig: Rig, walk: Walk) -> None:
        """delete() and update() of an absent id raise NotFoundError, so the core knows that the resource is deleted."""
        for resource in self.own(rig, walk):
            absent = replace(walk.ready(resource.ref), id=self.absent(resource.id))
            with pytest.raises(NotFoundError):
                walk.adapter.delete(absent, timeout=TIMEOUT)
            if rig.adapter.kinds[resource.kind].nature is Nature.MUTABLE:
                with pytest.raises(NotFoundError):
                    walk.adapter.update(replace(resource, id=absent.id), absent, timeout=TIMEOUT)

    def test_an_unknown_operation_is_an_error_of_ours(self, walk: Walk) -> None:
        """A long-running operation that the platform has forgotten ends in one of our errors."""
        with pytest.raises(SdkError):
            walk.adapter.operation("operations/contract-never-was", timeout=TIMEOUT)

    def test_a_stale_update_is_refused(self, rig: Rig, walk: Walk) -> None:
        """Where the platform returns etags, an update from an old reading is a ConflictError."""
        resource = walk.resources[-1]
        if rig.adapter.kinds[resource.kind].nature is not Nature.MUTABLE:
            pytest.skip(f"{resource.kind} is not mutable")
        old = walk.adapter.read(resource.ref, timeout=TIMEOUT)
        assert old is not None
        if old.etag is None:
            pytest.skip(f"{rig.adapter.provider} gives no etag for {resource.kind}")
        walk.adapter.update(replace(resource, labels=replace(resource.labels, txn="t2")), old, timeout=TIMEOUT)
        until_ready(rig, walk.adapter, resource.ref)
        with pytest.raises(ConflictError):
            walk.adapter.update(replace(resource, labels=replace(resource.labels, txn="t3")), old, timeout=TIMEOUT)
        live = walk.adapter.read(resource.ref, timeout=TIMEOUT)
        assert live is not None
        assert live.etag != old.etag
        assert live.labels is not None
        assert "t2" == live.labels.txn
        walk.states[resource.ref].append(live)

    def test_doctor_is_content(self, rig: Rig) -> None:
        """doctor() finds nothing wrong with a target that works, and reports what it checked."""
        adapter = rig.make()
        checks = list(adapter.doctor())
        adapter.close()
        assert checks
        assert [] == [check for check in checks if not check.ok]

    def test_deleted_is_deleted(self, rig: Rig) -> None:
        """In reverse order everything can be deleted, a second time is NotFoundError, and nothing is left."""
        before = rig.left()
        model = rig.model(1)
        adapter = rig.make()
        spec = endpoint(
            deployment(rig, 2, model=model.digest, image=rig.image(model)), name=rig.name(), owner=rig.owner
        )
        kinds = rig.adapter.kinds
        own = [r for r in adapter.resources(spec) if kinds[r.kind].nature is not Nature.SHARED]
        for resource in adapter.resources(spec):
            if adapter.read(resource.ref, timeout=TIMEOUT) is None:
                adapter.create(resource, Materials(model=model), timeout=TIMEOUT)
            until_ready(rig, adapter, resource.ref)
        assert rig.left() != before, "the rig does not see what was made"
        for resource in reversed(own):
            live = adapter.read(resource.ref, timeout=TIMEOUT)
            if live is not None:  # deleting a container deletes its contents too
                until_gone(rig, adapter, live)
                with pytest.raises(NotFoundError):
                    adapter.delete(live, timeout=TIMEOUT)
        assert adapter.status(spec.name, adapter.observe(spec.name, timeout=TIMEOUT)) is None
        adapter.close()
        assert before == rig.left()

    @staticmethod
    def absent(taken: str) -> str:
        """Return an id like this one that does not exist."""
        return taken[:-1] + ("0" if taken[-1] != "0" else "1")
