"""Faults on the wire of a mini cloud: at each changing request the client dies, or the cloud misbehaves."""

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

    Before: the request is never carried out. After: it is, but no client gets the answer.

    Args:
        at: The number of the request.
        when: ``before`` or ``after``.
        polls: The requests that count; when empty, those that can change something.
    """

    def __init__(self, at: int | None, when: str, polls: frozenset[str] = frozenset()) -> None:
        self.at, self.when, self.polls, self.client = at, when, polls, 0
        self.requests: list[str] = []

    def __call__(self, moment: str, match: Match) -> bool:
        """Handle a request, before and after the cloud does; return whether to cut its connection."""
        if not (match.operation in self.polls if self.polls else match.changing):
            return False
        if moment == "before":
            about = match.resource if self.polls else match.operation
            self.requests.append(f"{match.service}:{about}")
        if self.at != len(self.requests) - 1 or self.when != moment:
            return False
        os.kill(self.client, signal.SIGKILL)
        return True


def dying(
    rig: Any, verb: Callable[[Any], object], at: int | None, when: str, polls: frozenset[str] = frozenset()
) -> list[str]:
    """Run a verb in a separate process that dies at a request; return the requests that counted (:class:`Trap`)."""
    trap = Trap(at, when, polls)
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
    except BaseException:  # noqa: BLE001  # every failure has to be shown
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def some_of_each(polls: list[str]) -> list[int]:
    """Return the first two and the last poll of each operation; the ones between show the same.

    Example:
        >>> some_of_each(["a", "a", "a", "a", "b", "c", "c"])
        [0, 1, 3, 4, 5, 6]
    """
    chosen: set[int] = set()
    for one in set(polls):
        places = [number for number, poll in enumerate(polls) if poll == one]
        chosen |= {*places[:2], places[-1]}
    return sorted(chosen)


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

    def test_killed_between_polls(self, rig: Rig) -> None:
        """When a client dies while it waits for the platform, the platform's work continues and is taken over."""
        self.waiting(rig, "update", _SAMPLED)

    @pytest.mark.full
    @pytest.mark.parametrize("verb", _VERBS)
    def test_killed_between_any_polls(self, rig: Rig, verb: str) -> None:
        """The same between the polls of every operation of a deploy, an update and a delete."""
        self.waiting(rig, verb, None)

    def test_trouble_at_requests(self, rig: Rig) -> None:
        """A deploy succeeds, or ends with an error of ours and everything rolled back or listed."""
        self.troubling(rig, ("deploy",), ("drop_after",), _SAMPLED)

    @pytest.mark.full
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("verb", _VERBS)
    def test_every_trouble_at_every_request(self, rig: Rig, verb: str, kind: Kind) -> None:
        """The same for every kind of fault at every request of a deploy, an update and a delete."""
        self.troubling(rig, (verb,), (kind,), None)

    # --- the client dies

    def killing(self, rig: Any, verbs: tuple[str, ...], count: int | None) -> None:
        """Kill each verb at some or all of its requests."""
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
                name = rig.name(verb)  # a dead client's lease still holds the earlier name
                begin, do, answers = self.scenes(rig, name, verb)
                rig.forget_shared()
                begin()
                dying(rig, do, int(number), when)
                CrashSuite.clean(rig)
                self.sound(rig, name, answers, before, what)

    def waiting(self, rig: Any, verb: str, count: int | None) -> None:
        """Kill a verb between its polls of slow operations, which the next client sees as well."""
        if not rig.polls:
            pytest.skip("its client asks for resources only, not for operations")
        before, name = rig.left(), rig.name(verb)
        begin, do, answers = self.scenes(rig, name, verb)
        begin()
        with rig.slowly():
            polls = dying(rig, do, None, "before", rig.polls)
        rig.client().delete(name)
        chosen = some_of_each(polls)
        for place in sample([polls[at] for at in chosen], count):
            rig.retire()
            name = rig.name(verb)
            begin, do, answers = self.scenes(rig, name, verb)
            begin()
            with rig.slowly():
                dying(rig, do, chosen[place], "before", rig.polls)
                CrashSuite.clean(rig)
            self.sound(rig, name, answers, before, f"{verb}: killed before poll {chosen[place]}")

    # --- the cloud misbehaves

    def troubling(self, rig: Any, verbs: tuple[str, ...], kinds: tuple[Kind, ...], count: int | None) -> None:
        """Run each verb with each kind of fault at some or all of its requests."""
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
        """Check that the verb succeeds, or raises an error of ours that lists what it could not undo."""
        error: SdkError | None = None
        try:
            do(rig.doomed())  # a lease that could not be released expires soon
        except SdkError as raised:
            error = raised
        listed = getattr(error, "leftovers", ())
        assert error is None or begun or listed or before == rig.left(), f"{what}: {error!r} left {rig.left()}"

    # --- both

    @staticmethod
    def scenes(rig: Any, name: str, verb: str) -> tuple[Callable[[], object], Callable[[Any], object], set[float]]:
        """Return what to do before, the verb itself, and which models may answer afterwards."""
        if verb == "deploy":
            return (lambda: None), (lambda client: client.deploy(rig.model(1), name=name)), {1.0}

        def begin() -> object:
            return rig.patiently(lambda: rig.client().deploy(rig.model(1), name=name))

        if verb == "update":
            return begin, (lambda client: client.deploy(rig.model(2), name=name)), {1.0, 2.0}
        return begin, (lambda client: client.delete(name)), {1.0}

    @staticmethod
    def sound(rig: Any, name: str, answers: set[float], before: list[str], what: str) -> None:
        """Check that the endpoint serves or is deleted, and that deleting it leaves nothing."""
        try:
            CrashSuite.answers(rig, name, answers)
        except NotFoundError:
            assert before == rig.left(), what
        rig.patiently(lambda: rig.client().delete(name))
        assert before == rig.left(), f"{what}, then deleted"
