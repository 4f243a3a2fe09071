"""The `vertex` target with a temporary endpoint for smoke tests: however a client dies, it does not stay."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, ClassVar

from sdk_contract import suites
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_crash import CrashSuite, run
from test_vertex import VertexRig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.client import Client
    from sdk_contract.rig import Rig


class SmokeRig(VertexRig):
    """Each update tries its model there first."""

    crash_points: ClassVar[int] = 2

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "smoke_endpoint": True}


rig = rig_fixture(SmokeRig)


class TestCrash:
    """Updates that die."""

    test_killed_while_updating = suites.CrashSuite.test_killed_while_updating
    test_killed_anywhere_while_updating = suites.CrashSuite.test_killed_anywhere_while_updating
    updating = suites.CrashSuite.updating
    clean = staticmethod(suites.CrashSuite.clean)
    answers = staticmethod(suites.CrashSuite.answers)

    def test_nobody_remembers_it(self, rig: Rig) -> None:
        """Without any journal its labels are enough: another machine's gc removes it, the endpoint stays."""
        name, before = rig.name("lost"), rig.left()
        rig.client().deploy(rig.model(1), name=name)
        served = rig.left()

        def update(client: Client) -> object:
            return client.deploy(rig.model(2), name=name)

        points = run(rig, update, None)
        rig.client().delete(name)
        rig.client().deploy(rig.model(1), name=name)
        run(rig, update, points.index("after create SmokeModel"))
        assert len(rig.left()) > len(served)
        shutil.rmtree(rig.state_dir("here") / "executor")
        client = rig.client(machine="elsewhere")
        client.session().executor.gc(apply=True, min_age_s=0)
        CrashSuite.answers(rig, name, {1.0})
        rig.patiently(lambda: client.delete(name))
        assert before == rig.left()
