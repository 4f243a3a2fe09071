"""Trouble on the wire of a mini cloud: at each request that can change it the client dies, or the cloud does wrong."""

from __future__ import annotations

import os
import signal
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from sdk.errors import NotFoundError, SdkError

from .clouds.faults import KINDS
from .suite_crash import CrashSuite, sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clouds.app import Match
    from .clouds.faults import Kind
    from .rig import Rig

_SECONDS = {"slow": 0.05, "stuck": 0.3, "late": 0.1}
_SAMPLED = 2
_VERBS = ("deploy", "update", "delete")


class Trap:
    """Kills a client before or after one of its requests; without a number it only counts them.

    Before: the request is never carried out. After: it is, and nobody hears the answer.
    """

    def __init__(self, at: int | None, when: str) -> None:
        self.at, self.when, self.client = at, when, 0
        self.requests: list[str] = []

    def __call__(self, moment: str, match: Match) -> bool:
        """Told of every request."""
        if not match.changing:
            return False
        if moment == "before":
            self.requests.append(f"{match.service}:{match.operation}")
        if self.at != len(self.requests) - 1 or self.when != moment:
            return False
        os.kill(self.client, signal.SIGKILL)
        return True


def dying(rig: Any, verb: Callable[[Any], object], at: int | None, when: str) -> list[str]:
    """Runs a verb in a process of its own that dies at a request; gives the requests that could change something."""
    trap = Trap(at, when)
    go, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        _client(rig, verb, go)
    trap.client, rig.cloud.app.watch = child, trap
    os.close(go)
    os.close(told)  # the client waits for this
    _, status = os.waitpid(child, 0)
    rig.cloud.app.watch = None
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the client failed; see its trace above"
    return trap.requests


def _client(rig: Any, verb: Callable[[Any], object], go: int) -> NoReturn:
    try:
        os.read(go, 1)
        verb(rig.doomed())
        os._exit(0)
    except BaseException:  # noqa: BLE001  # whatever it is, it has to be seen
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


class WireSuite:
    """For rigs on a mini cloud (``rig.cloud``): whatever happens to a request, nothing is lost and nothing is left."""

    def test_killed_at_requests(self, rig: Rig) -> None:
        """A client that dies at a request of a deploy, an update or a delete leaves nothing after gc."""
        self.killing(rig, ("update",), _SAMPLED)

    @pytest.mark.full
    @pytest.mark.parametrize("verb", _VERBS)
    def test_killed_at_every_request(self, rig: Rig, verb: str) -> None:
        """The same before and after every request."""
        self.killing(rig, (verb,), None)

    def test_trouble_at_requests(self, rig: Rig) -> None:
        """A deploy ends well, or with an error of ours and everything rolled back or listed."""
        self.troubling(rig, ("deploy",), ("drop_after",), _SAMPLED)

    @pytest.mark.full
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("verb", _VERBS)
    def test_every_trouble_at_every_request(self, rig: Rig, verb: str, kind: Kind) -> None:
        """The same for every kind of trouble at every request of a deploy, an update and a delete."""
        self.troubling(rig, (verb,), (kind,), None)

    # --- the client dies

    def killing(self, rig: Any, verbs: tuple[str, ...], count: int | None) -> None:
        """Each verb, killed at some or all of its requests."""
        before = rig.left()
        for verb in verbs:
            name = rig.name(verb)
            begin, do, answers = self.scenes(rig, name, verb)
            rig.forget_shared()
            begin()
            requests = dying(rig, do, None, "before")
            rig.client().delete(name)
            assert requests, verb
            points = [f"{when} {number} {text}" for number, text in enumerate(requests) for when in ("before", "after")]
            for at in sample(points, count):
                rig.retire()
                when, number, request = points[at].split(" ")
                what = f"{verb}: killed {when} {request}"
                name = rig.name(verb)  # a dead client's lease holds the name it was at
                begin, do, answers = self.scenes(rig, name, verb)
                rig.forget_shared()
                begin()
                dying(rig, do, int(number), when)
                CrashSuite.clean(rig)
                self.sound(rig, name, answers, before, what)

    # --- the cloud does wrong

    def troubling(self, rig: Any, verbs: tuple[str, ...], kinds: tuple[Kind, ...], count: int | None) -> None:
        """Each verb, with each kind of trouble at some or all of its requests."""
        before = rig.left()
        for verb in verbs:
            name = rig.name(verb)
            begin, do, answers = self.scenes(rig, name, verb)
            rig.forget_shared()
            begin()
            with rig.cloud.calls.since() as calls:
                do(rig.doomed())
            rig.client().delete(name)
            requests = sorted({f"{call.service}:{call.operation}" for call in calls.changing})
            for at in sample(requests, count):
                for kind in kinds:
                    rig.retire()
                    what = f"{verb}: {kind} at {requests[at]}"
                    rig.forget_shared()
                    begin()
                    rig.cloud.faults.add(requests[at], kind, seconds=_SECONDS.get(kind, 0.0))
                    self.ends(rig, do, before, what, begun=verb != "deploy")
                    rig.cloud.faults.clear()
                    CrashSuite.clean(rig)
                    self.sound(rig, name, answers, before, what)

    @staticmethod
    def ends(rig: Any, do: Callable[[Any], object], before: list[str], what: str, *, begun: bool) -> None:
        """It ends well, or with an error of ours that lists what it could not take back."""
        error: SdkError | None = None
        try:
            do(rig.doomed())  # a lease that could not be given back is soon over
        except SdkError as raised:
            error = raised
        listed = getattr(error, "leftovers", ())
        assert error is None or begun or listed or before == rig.left(), f"{what}: {error!r} left {rig.left()}"

    # --- both

    @staticmethod
    def scenes(rig: Any, name: str, verb: str) -> tuple[Callable[[], object], Callable[[Any], object], set[float]]:
        """What is there before, what is done, and which models may answer afterwards."""
        if verb == "deploy":
            return (lambda: None), (lambda client: client.deploy(rig.model(1), name=name)), {1.0}

        def begin() -> object:
            return rig.patiently(lambda: rig.client().deploy(rig.model(1), name=name))

        if verb == "update":
            return begin, (lambda client: client.deploy(rig.model(2), name=name)), {1.0, 2.0}
        return begin, (lambda client: client.delete(name)), {1.0}

    @staticmethod
    def sound(rig: Any, name: str, answers: set[float], before: list[str], what: str) -> None:
        """What is left serves or is gone; deleting it leaves nothing."""
        try:
            CrashSuite.answers(rig, name, answers)
        except NotFoundError:
            assert before == rig.left(), what
        rig.patiently(lambda: rig.client().delete(name))
        assert before == rig.left(), f"{what}, then deleted"
