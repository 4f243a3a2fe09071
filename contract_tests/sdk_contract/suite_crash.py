"""Crash and recover: a client is killed before and after every changing call and every write of the journal."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

import pytest

from sdk.adapter import Capability
from sdk.errors import NotFoundError

from .kill import Kill, Killed, die_by_exception, die_by_signal
from .samples import ANSWER, GOOD_SCRIPT, write_script

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.client import Client

    from .rig import Rig

Verb = Callable[["Client"], object]

_LOG = logging.getLogger(__name__)  # shown by pytest's log_cli: the matrices are long


def run(rig: Rig, verb: Verb, at: int | None) -> list[str]:
    """Run a verb in a client that dies at point ``at``; return the points that were passed."""
    if rig.crash == "raise":
        kill = Kill(at, die_by_exception)
        with contextlib.suppress(Killed):
            verb(rig.mortal(kill))
        return kill.points
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        _in_child(rig, verb, Kill(at, die_by_signal), into)
    os.close(into)
    with os.fdopen(out) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    points = text.splitlines()
    if not os.WIFSIGNALED(status):  # it may end before that point, since shared resources are created only once
        assert os.WEXITSTATUS(status) == 0, text
        assert at is None or len(points) <= at, f"it should have died at point {at}"
    return points


def _in_child(rig: Rig, verb: Verb, kill: Kill, into: int) -> NoReturn:
    try:
        verb(rig.mortal(kill))
        os.write(into, "\n".join(kill.points).encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the parent has to see every failure
        os.write(into, traceback.format_exc().encode())
        os._exit(1)


def sample(points: list[str], count: int | None) -> Iterator[int]:
    """Choose the points to try: all, the middle one, or some from the first to the last; write each to the log."""
    chosen: Iterable[int] = range(len(points))
    if count == 1:
        chosen = [len(points) // 2]
    elif count is not None and len(points) > count:
        chosen = sorted({round(i * (len(points) - 1) / (count - 1)) for i in range(count)})
    for at in chosen:
        _LOG.info("point %d of %d: %s", at + 1, len(points), points[at])
        yield at


class CrashSuite:
    """However a client dies, ``gc`` leaves nothing behind, no endpoint goes down, and deploying again works."""

    def test_killed_while_deploying(self, rig: Rig) -> None:
        """A first deploy that dies leaves nothing after gc; the same deploy then works."""
        self.deploying(rig, rig.crash_points)

    @pytest.mark.full
    def test_killed_anywhere_while_deploying(self, rig: Rig) -> None:
        """The same at every single point."""
        self.deploying(rig, None)

    def test_killed_while_updating(self, rig: Rig) -> None:
        """An update that dies is not an outage, and ends as the old or the new model, without any leftover."""
        self.updating(rig, rig.crash_points)

    @pytest.mark.full
    def test_killed_anywhere_while_updating(self, rig: Rig) -> None:
        """The same at every single point."""
        self.updating(rig, None)

    def test_killed_while_deleting(self, rig: Rig) -> None:
        """A delete that dies is finished by gc."""
        self.deleting(rig, rig.crash_points)

    @pytest.mark.full
    def test_killed_anywhere_while_deleting(self, rig: Rig) -> None:
        """The same at every single point."""
        self.deleting(rig, None)

    def test_killed_while_training(self, rig: Rig, tmp_path: Path) -> None:
        """A train that dies leaves no process after gc, and the next job runs."""
        self.training(rig, tmp_path, rig.crash_points)

    @pytest.mark.full
    def test_killed_anywhere_while_training(self, rig: Rig, tmp_path: Path) -> None:
        """The same at every single point."""
        self.training(rig, tmp_path, None)

    def test_the_machine_is_gone_as_well(self, rig: Rig) -> None:
        """Without any journal the labels are enough: another machine's gc finds what is unused."""
        name, before = rig.name("lost"), rig.left()
        points = run(rig, lambda client: client.deploy(rig.model(1), name=name), None)
        rig.client().delete(name)
        last = max(i for i, point in enumerate(points) if point.startswith("after create"))
        for at in {points.index("before create " + points[last].split()[-1]), last}:
            run(rig, lambda client: client.deploy(rig.model(1), name=name), at)
            shutil.rmtree(rig.state_dir("here") / "executor")
            client = rig.client(machine="elsewhere")
            assert [] == client.gc(apply=True).removed, "what is young may belong to a deploy that is still running"
            assert before == self.eventually_swept(rig, client, name, before), at

    # --- scenarios

    def deploying(self, rig: Rig, count: int | None) -> None:
        """Kill the client while it creates an endpoint."""
        name, before = rig.name("crash"), rig.left()

        def deploy(client: Client) -> object:
            return client.deploy(rig.model(1), name=name)

        points = run(rig, deploy, None)
        rig.client().delete(name)
        assert before == rig.left()
        for at in sample(points, count):
            rig.retire()
            run(rig, deploy, at)
            self.clean(rig)
            try:
                self.answers(rig, name, {1.0})  # the deploy went far enough to be finished
            except NotFoundError:
                assert before == rig.left(), f"killed {points[at]}"
            rig.patiently(lambda: deploy(rig.client()))
            self.answers(rig, name, {1.0})
            rig.patiently(lambda: rig.client().delete(name))
            assert before == rig.left(), f"killed {points[at]}, then deployed and deleted"

    def updating(self, rig: Rig, count: int | None) -> None:
        """Kill the client while it updates an endpoint."""
        name, before = rig.name("crash"), rig.left()

        def update(client: Client) -> object:
            return client.deploy(rig.model(2), name=name)

        rig.client().deploy(rig.model(1), name=name)
        points = run(rig, update, None)
        rig.client().delete(name)
        for at in sample(points, count):
            rig.retire()
            rig.patiently(lambda: rig.client().deploy(rig.model(1), name=name))
            run(rig, update, at)
            if rig.can(Capability.TRAFFIC):
                self.answers(rig, name, {1.0, 2.0})
            self.clean(rig)
            self.answers(rig, name, {1.0, 2.0})
            shares = sorted(item.traffic for item in rig.client().status(name).deployments)
            assert shares in ([100], [0, 100]), f"killed {points[at]}"
            rig.patiently(lambda: update(rig.client()))
            self.answers(rig, name, {2.0})
            rig.patiently(lambda: rig.client().delete(name))
            assert before == rig.left(), f"killed {points[at]}"

    def deleting(self, rig: Rig, count: int | None) -> None:
        """Kill the client while it deletes an endpoint."""
        name, before = rig.name("crash"), rig.left()

        def delete(client: Client) -> object:
            return client.delete(name)

        rig.client().deploy(rig.model(1), name=name)
        points = run(rig, delete, None)
        for at in sample(points, count):
            rig.retire()
            rig.patiently(lambda: rig.client().deploy(rig.model(1), name=name))
            run(rig, delete, at)
            self.clean(rig)
            if rig.left() != before:  # the client died before the delete was recorded, so nothing happened
                self.answers(rig, name, {1.0})
                rig.patiently(lambda: rig.client().delete(name))
            assert before == rig.left(), f"killed {points[at]}"

    def training(self, rig: Rig, folder: Path, count: int | None) -> None:
        """Kill the client while it submits a job."""
        rig.need(Capability.TRAIN)
        before = [item for item in rig.left() if "process" in item]
        (folder / "rows.csv").write_text("1,2\n")
        script, data = write_script(folder, GOOD_SCRIPT), {"train": rig.upload(folder / "rows.csv")}

        def train(name: str) -> Verb:
            return lambda client: client.train(script, name=name, data=data, params={"C": 1.0}, wait=False)

        points = run(rig, train(rig.name("crash")), None)
        for at in sample(points, count):
            rig.retire()
            run(rig, train(rig.name("crash")), at)
            self.clean(rig)
            job = rig.client().train(script, name=rig.name("crash"), data=data, params={"C": 1.0})
            assert "succeeded" == job.refresh().state
            give_up = rig.clock.monotonic() + rig.patience
            while [item for item in rig.left() if "process" in item] != before:
                assert rig.clock.monotonic() < give_up, f"killed {points[at]}: {rig.left()}"
                rig.clock.sleep(0.1)

    def eventually_swept(self, rig: Rig, client: Client, name: str, before: list[str]) -> list[str]:
        """Repeat ``swept`` until lists have caught up."""
        return rig.eventually(lambda: self.swept(rig, client, name), lambda left: left == before)

    @staticmethod
    def swept(rig: Rig, client: Client, name: str) -> list[str]:
        """Run a gc without a minimum age, delete the endpoint in case it was complete, and return what is left."""
        client.session().executor.gc(apply=True, min_age_s=0)
        rig.patiently(lambda: client.delete(name))
        return rig.left()

    @staticmethod
    def clean(rig: Rig) -> None:
        """Run gc as the next client on this machine would, after which gc finds nothing more."""
        client = rig.client()
        client.gc(apply=True)
        report = rig.eventually(client.gc, lambda found: not found.young)  # lists may be incomplete at first
        assert ([], []) == (report.orphans, report.young)

    @staticmethod
    def answers(rig: Rig, name: str, expected: set[float]) -> None:
        """Check that the endpoint answers with one of these models."""
        client = rig.client()
        seen = {float(client.predict(name, [[ANSWER, 0.0]]).values[0]) for _ in range(3)}
        assert seen <= expected
