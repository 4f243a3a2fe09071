"""A client killed with -9 at any system call that changes something: gc leaves nothing, and no endpoint goes down."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Ref
from sdk.adapter.types import EndpointState, JobState
from sdk.executor import lifecycle
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk.packaging.model import Model

CHANGING = {
    "os.rename",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "subprocess.Popen",
    "socket.connect",
    "fcntl.flock",
    "shutil.rmtree",
    "tempfile.mkstemp",
    "pathlib.Path.touch",
}
SAMPLES = 3
Verb = "Callable[[], object]"


def killed(verb: Callable[[], object], at: int | None) -> int:
    """Run a verb in a forked client that kills itself before changing call number ``at``; gives how many there were.

    The number differs a little from run to run, as there are more looks when the machine is slow.
    """
    out, into = os.pipe()
    child = os.fork()
    if not child:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event in CHANGING or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        try:
            sys.addaudithook(hook)
            verb()
            os.write(into, str(count).encode())
        except BaseException:  # noqa: BLE001  the parent must see whatever it was
            os.write(into, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return at or 0
    assert text.isdigit(), text
    return int(text)


def points(count: int, request: pytest.FixtureRequest) -> list[int]:
    """All points when marked so, else a few that lie evenly."""
    if request.node.get_closest_marker("full"):
        return list(range(count))
    return sorted({round(step * (count - 1) / (SAMPLES - 1)) for step in range(SAMPLES)})


def fresh(local: Any, name: str, made: Model, request: pytest.FixtureRequest, left: Callable[[str], list[str]]) -> None:
    local.deploy(made, name)
    local.delete(name)
    count = killed(lambda: local.deploy(made, name), None)
    local.delete(name)
    for at in points(count, request):
        killed(lambda: local.deploy(made, name), at)
        report = local.executor.gc(apply=True)
        assert [] == [item for item in report.orphans if name in item.id], at
        assert local.status(name) is None or EndpointState.READY == local.status(name).state, at
        if local.status(name) is None:
            assert [] == left(name), at
        else:
            assert [[4.0]] == local.predict(name, [[2.0]]), at
            local.delete(name)
            assert [] == left(name), at
    assert EndpointState.READY == local.deploy(made, name).status.state


def test_killed_while_deploying(
    local: Any, name: str, times: Any, request: pytest.FixtureRequest, left_over: Callable[[str], list[str]]
) -> None:
    """A first deploy killed at sampled points leaves nothing after gc, and can be done again."""
    fresh(local, name, times(2), request, left_over)


@pytest.mark.full
def test_killed_anywhere_while_deploying(
    local: Any, name: str, times: Any, request: pytest.FixtureRequest, left_over: Callable[[str], list[str]]
) -> None:
    """The same at every point."""
    fresh(local, name, times(2), request, left_over)


def update(local: Any, name: str, times: Any, request: pytest.FixtureRequest) -> None:
    local.deploy(times(2), name)
    count = killed(lambda: local.deploy(times(3), name), None)
    local.delete(name)
    for at in points(count, request):
        local.deploy(times(2), name)
        killed(lambda: local.deploy(times(3), name), at)
        assert local.predict(name, [[1.0]]) in ([[2.0]], [[3.0]]), at
        local.executor.gc(apply=True)
        status = local.status(name)
        assert EndpointState.READY == status.state, (at, status)
        assert 100 == sum(status.traffic.values()), at
        assert local.predict(name, [[1.0]]) in ([[2.0]], [[3.0]]), at
        assert [] == [one for one in local.executor.gc().orphans if name in one.id], at
        local.delete(name)


def test_killed_while_updating(local: Any, name: str, times: Any, request: pytest.FixtureRequest) -> None:
    """An update killed at sampled points never stops the endpoint, and gc ends it one way or the other."""
    update(local, name, times, request)


@pytest.mark.full
def test_killed_anywhere_while_updating(local: Any, name: str, times: Any, request: pytest.FixtureRequest) -> None:
    """The same at every point."""
    update(local, name, times, request)


def test_killed_while_deleting(
    local: Any, name: str, times: Any, request: pytest.FixtureRequest, left_over: Callable[[str], list[str]]
) -> None:
    """A delete killed at sampled points is finished by gc."""
    local.deploy(times(2), name)
    count = killed(lambda: local.delete(name), None)
    for at in points(count, request):
        local.deploy(times(2), name)
        killed(lambda: local.delete(name), at)
        local.executor.gc(apply=True)
        if local.status(name) is not None:  # killed before the intent was written down
            local.delete(name)
        assert [] == left_over(name), at


def test_journal_lost(
    new_local: Any, name: str, times: Any, state: Path, left_over: Callable[[str], list[str]]
) -> None:
    """Without the journal, and for every other client, gc finds by labels alone what nobody needs."""
    import shutil

    local = new_local()
    live = local.deploy(times(2), name).status
    local.adapter.delete(local.adapter.read(Ref("Traffic", name), timeout=5), timeout=5)
    shutil.rmtree(state / "executor")
    assert [] == new_local("janitor").executor.gc(apply=True).removed
    late = new_local("me", ahead=1e6).executor.gc(apply=True)
    assert {"Process", "Gateway"} == {item.kind for item in late.removed}
    assert live.deployments
    assert [] == left_over(name)


def test_killed_while_submitting(
    local: Any, name: str, tmp_path: Path, request: pytest.FixtureRequest, left_over: Callable[[str], list[str]]
) -> None:
    """A job whose submission is killed either runs or does not; nothing half-made is left."""
    script = tmp_path / "train.py"
    script.write_text("import os, pathlib\npathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'x').touch()\n")
    local.submit(script, name)
    local.finished(name)
    local.delete(name)
    count = killed(lambda: local.submit(script, name), None)
    local.delete(name)
    for at in points(count, request):
        killed(lambda: local.submit(script, name), at)
        local.executor.gc(apply=True)
        status = local.adapter.job_status(name, timeout=5)
        if status is not None:
            assert local.finished(name).state in {JobState.SUCCEEDED, JobState.FAILED}, at
            local.delete(name)
        assert [] == left_over(name), at


def test_everything_killed(local: Any, name: str, times: Any, left_over: Callable[[str], list[str]]) -> None:
    """Client, gateway and replicas killed in the middle of an update: the next look brings the endpoint back."""
    import psutil

    local.deploy(times(2), name)
    count = killed(lambda: local.deploy(times(3), name), None)
    local.verb(lifecycle.finalize, name)
    killed(lambda: local.deploy(times(5), name), count // 2)
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("MLPORT_ENDPOINT") == name or f"/endpoints/{name}" in " ".join(
                process.cmdline()
            )
        except (psutil.Error, OSError):
            continue
        if mine:
            process.kill()
    local.executor.gc(apply=True)
    seen = {local.status(name).state for _ in range(3)}
    assert EndpointState.FAILED not in seen
    until(lambda: local.status(name).state == EndpointState.READY)
    assert local.predict(name, [[1.0]]) in ([[3.0]], [[5.0]])
    local.delete(name)
    assert [] == left_over(name)
