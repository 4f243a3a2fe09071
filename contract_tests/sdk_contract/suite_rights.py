"""Rights: a life succeeds under the adapter's policy, and each statement of the policy is needed."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.adapter.rights import FIRST_DEPLOY, VERBS, CallRights, KnowsRights
from sdk.errors import TrainFailed

from .life import Life, live
from .samples import GOOD_SCRIPT, write_script

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from .clouds.guard import Guard, Need
    from .rig import Rig


_INCLUDES = {"deploy": (FIRST_DEPLOY,), "gc": ("gc --shared",)}  # verbs that make all calls of another one


@dataclass(frozen=True)
class Lived:
    """One life under the policies of the deployer and of the containers' identity, for all tests of a file."""

    policy: Any
    runtime: Any
    life: Life
    denied: Mapping[Need, str]
    acted: Mapping[Need, str]

    def needs_of(self, verbs: Collection[str]) -> set[Need]:
        """Return the rights that the calls of some verbs needed."""
        return {need for verb, need in self.life.needed if verb in verbs}


def policy_of(rig: Rig, role: Any) -> Any:
    """Return the policy of a role as the mini cloud reads it."""
    adapter = rig.make()
    assert isinstance(adapter, KnowsRights)
    text = adapter.policy(role, "json", ())
    adapter.close()
    return json.loads(text)


def guard_of(rig: Any) -> Guard[Any]:
    """Return the guard that enforces policies on the rig's cloud."""
    return rig.cloud.rights  # type: ignore[no-any-return]  # rigs of mini clouds have one


def calls_of(rig: Any) -> list[str]:
    """Return all calls so far, as the table of the adapter names them."""
    return [f"{call.service}:{call.operation}" for call in rig.cloud.calls.copy()]


@pytest.fixture(scope="module")
def lived(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Provide one life for all tests of a file, since it takes half a minute."""
    guard, policy, runtime = guard_of(rig), policy_of(rig, "deployer"), policy_of(rig, "runtime")
    rig.forget_shared()
    with guard.enforced(policy, runtime=runtime):
        life = live(rig, tmp_path_factory.mktemp("life"), lambda: calls_of(rig), guard)
    return Lived(policy, runtime, life, dict(guard.denied), dict(guard.acted))


class RightsSuite(ABC):
    """The table of an adapter is complete, and its policies are the smallest possible.

    Attributes:
        rare: Calls in the table that a life need not make, with the reason.
        untested: Rights of the policy that only rare calls need.
        sampled: Rights without which a life is really carried out in each run of the tests.
        untested_of_containers: Rights of the containers' policy that the mini cloud does not use, with the reason.
        sampled_of_containers: A right without which a job fails.
    """

    rare: ClassVar[Mapping[str, str]] = {}
    untested: ClassVar[frozenset[str]] = frozenset()
    sampled: ClassVar[tuple[str, ...]] = ()
    untested_of_containers: ClassVar[Mapping[str, str]] = {}
    sampled_of_containers: ClassVar[str]

    @abstractmethod
    def without(self, policy: Any) -> Iterator[tuple[str, Any]]:
        """Yield each right of a policy by its name, with the policy without it."""

    def test_life_under_the_policy(self, lived: Lived) -> None:
        """No verb fails, and no call is refused, not even one that a verb could do without."""
        assert ({}, {}) == (lived.life.failed, lived.denied)

    def test_table_names_each_call_of_each_verb(self, rig: Rig, lived: Lived) -> None:
        """Each call in the log of a life is in the table, for its verb; the table has no other calls but rare ones."""
        adapter: Any = rig.adapter
        rows: Sequence[CallRights] = adapter.call_rights()
        table = {(verb, row.call) for row in rows for verb in row.verbs}
        table |= {(more, call) for verb, call in table for more in _INCLUDES.get(verb, ())}
        assert set() == lived.life.made - table
        assert set() == {row.call for row in rows} - {call for _, call in lived.life.made} - set(self.rare)

    def test_each_right_is_needed(self, lived: Lived, rig: Rig) -> None:
        """A policy that lacks any one of its rights refuses a call of the life."""
        guard, spare = guard_of(rig), set[str]()
        for name, rest in self.without(lived.policy):
            if all(guard.allows(rest, need) for _, need in lived.life.needed):
                spare.add(name)
        assert set() == spare - self.untested

    def test_life_fails_without_a_right(self, lived: Lived, rig: Rig, tmp_path: Path) -> None:
        """Without one right a verb fails, and the missing right is the one that is refused."""
        policies = dict(self.without(lived.policy))
        assert {} == {name: seen for name in self.sampled if (seen := self._lives(rig, tmp_path, name, policies[name]))}

    @pytest.mark.full
    def test_life_fails_without_any_right(self, lived: Lived, rig: Rig, tmp_path: Path) -> None:
        """The same for each right of the policy."""
        policies = {name: rest for name, rest in self.without(lived.policy) if name not in self.untested}
        assert {} == {name: seen for name, rest in policies.items() if (seen := self._lives(rig, tmp_path, name, rest))}

    @staticmethod
    def _lives(rig: Rig, folder: Path, name: str, policy: Any) -> str:
        """Return what was seen in a life that was never refused the right it lacks, else nothing."""
        guard = guard_of(rig)
        rig.forget_shared()
        with guard.enforced(policy):
            life = live(rig, folder, lambda: calls_of(rig), guard, until_failure=True)
        denied = {need.action.lower() for need in guard.denied}  # Azure's own lists differ in the case of its actions
        rig.sweep()
        return (
            ""
            if name.split(" ", maxsplit=1)[0].lower() in denied
            else f"refused {sorted(denied)}, failed {life.failed}"
        )

    def test_caller_may_call_and_nothing_else(self, lived: Lived, rig: Rig) -> None:
        """The caller's policy has the rights that a predict needed, and not those of a deploy or a delete."""
        guard, policy = guard_of(rig), policy_of(rig, "caller")
        assert set() == {need for need in lived.needs_of(VERBS["caller"]) if not guard.allows(policy, need)}
        for verb in ("deploy", "delete", "train"):
            assert not all(guard.allows(policy, need) for need in lived.needs_of({verb})), verb

    def test_ci_lives_without_what_is_made_once(self, lived: Lived, rig: Rig) -> None:
        """The policy of a pipeline has the rights of all its verbs where bucket and repository exist already.

        No call is refused under it, so a life under it makes the calls of the recorded one.
        """
        guard, policy = guard_of(rig), policy_of(rig, "ci")
        assert lived.policy != policy
        assert set() == {need for need in lived.needs_of(VERBS["ci"]) if not guard.allows(policy, need)}

    def test_each_right_of_containers_is_needed(self, lived: Lived, rig: Rig) -> None:
        """In the life under it, the cloud used each right of the policy of the containers' identity."""
        guard, spare = guard_of(rig), set[str]()
        for name, rest in self.without(lived.runtime):
            if all(guard.allows(rest, need) for need in lived.acted):
                spare.add(name.split(" ", maxsplit=1)[0])
        assert set(self.untested_of_containers) == spare

    def test_job_fails_without_a_right_of_containers(self, lived: Lived, rig: Rig, tmp_path: Path) -> None:
        """A job whose identity lacks a right fails, and the error names the right."""
        rest = {name.split(" ", maxsplit=1)[0]: rest for name, rest in self.without(lived.runtime)}
        (tmp_path / "rows.csv").write_text("1,2\n")
        script, client, name = write_script(tmp_path, GOOD_SCRIPT), rig.client(), rig.name("job")
        with (
            guard_of(rig).enforced(None, runtime=rest[self.sampled_of_containers]),
            pytest.raises(TrainFailed, match=re.escape(self.sampled_of_containers)),
        ):
            client.train(script, name=name, data=tmp_path / "rows.csv", params={"C": 0.5})
