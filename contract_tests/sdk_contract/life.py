"""One endpoint and two jobs from the first deploy to the last ``gc``, verb by verb, for tests of rights."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdk.adapter import Capability
from sdk.adapter.rights import FIRST_DEPLOY
from sdk.adapter.types import Replicas
from sdk.errors import NotFoundError, SdkError

from .samples import ANSWER, GOOD_SCRIPT, LONG_SCRIPT, write_script
from .suite_crash import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk.client import Client

    from .clouds.guard import Guard, Need
    from .rig import Rig

_MANY_PARTS = 17 << 20  # bytes of a file that is uploaded in parts
_DIES_AT = 8  # point of a deploy at which a client is killed
Step = tuple[str, "Callable[[], object]"]


@dataclass
class Life:
    """What was observed during a life.

    Attributes:
        made: Each call with the verb that made it.
        needed: Each right with the verb whose calls needed it.
        failed: The verbs that failed, with their errors.
    """

    made: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    needed: set[tuple[str, Need]] = field(default_factory=set[tuple[str, "Need"]])
    failed: dict[str, SdkError] = field(default_factory=dict[str, SdkError])


def live(
    rig: Rig, folder: Path, log: Callable[[], list[str]], guard: Guard[Any], *, until_failure: bool = False
) -> Life:
    """Run through all verbs.

    Args:
        rig: The target.
        folder: For scripts and data.
        log: Returns the calls so far, each as service and operation.
        guard: Records which rights the calls needed.
        until_failure: Whether to stop at the first verb that fails.
    """
    seen = Life()
    for verb, do in steps(rig, folder):
        before = len(log())
        guard.needs.clear()
        try:
            do()
        except SdkError as error:
            seen.failed.setdefault(verb, error)
        seen.made |= {(verb, call) for call in log()[before:]}
        seen.needed |= {(verb, need) for need in guard.needs.copy()}
        if seen.failed and until_failure:
            break
    rig.retire()
    return seen


def steps(rig: Rig, folder: Path) -> Iterator[Step]:
    """Yield all verbs in an order in which each has something to do."""
    client, name = rig.client(), rig.name("life")
    endpoint = _endpoint(rig, client, name)
    yield from endpoint[:-1]
    yield from _jobs(rig, client, folder)
    yield from endpoint[-1:]
    name = rig.name("killed")
    yield "deploy", lambda: run(rig, lambda mortal: mortal.deploy(rig.model(1), name=name), _DIES_AT)
    yield "gc", lambda: rig.patiently(lambda: rig.client().gc(apply=True, expired=True))
    yield "gc --shared", lambda: _remove_shared(rig)


def _endpoint(rig: Rig, client: Client, name: str) -> list[Step]:
    replicas = Replicas(1, 2) if rig.can(Capability.AUTOSCALE) else None
    return [
        ("doctor", client.doctor),
        (FIRST_DEPLOY, lambda: client.deploy(rig.model(1), name=name, replicas=replicas)),
        ("status", lambda: client.status(name)),
        ("list", client.list),
        ("predict", lambda: client.predict(name, [[ANSWER, 2.0]])),
        ("stream", lambda: list(client.stream(name, [[ANSWER, 2.0]]))),
        ("deploy", lambda: client.deploy(rig.model(2), name=name, traffic=10, replicas=replicas)),
        ("traffic", lambda: client.traffic(name, 50)),
        ("traffic", lambda: client.promote(name)),
        ("traffic", lambda: client.rollback(name)),
        ("finalize", lambda: client.finalize(name)),
        ("logs", lambda: list(client.logs(name))),
        ("logs", lambda: list(client.logs(name, tail=5))),
        ("monitor", lambda: client.monitor(name)),
        ("delete", lambda: client.delete(name)),
    ]


def _jobs(rig: Rig, client: Client, folder: Path) -> Iterator[Step]:
    first, second, third = (rig.name("job") for _ in range(3))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / "rows.csv").write_text("1,2\n3,4\n5,6\n")
    with (data / "large").open("wb") as file:
        file.truncate(_MANY_PARTS)
    script, endless = (
        write_script(folder, text, name) for text, name in ((GOOD_SCRIPT, "a.py"), (LONG_SCRIPT, "b.py"))
    )

    def train() -> None:
        job = client.train(script, name=first, data={"train": rig.upload(data)}, params={"C": 0.5}).wait()
        assert list(job.logs())
        assert list(job.logs(tail=3))
        job.output(folder / first)

    yield "train", train
    yield "train", lambda: client.train(script, name=third, data={"train": rig.upload(data)}, params={"C": 0.5})
    yield "train", lambda: client.train(endless, name=second, wait=False)
    yield "stop", lambda: client.stop_job(second)


def _remove_shared(rig: Rig) -> None:
    """Delete unused shared resources: ``gc --shared`` does so after a day, with the same calls."""
    rig.client().gc(apply=True, shared=True)
    with contextlib.closing(rig.make()) as adapter:  # also where a right is missing
        for live_one in adapter.list(timeout=60.0):
            if live_one.labels is not None and live_one.labels.endpoint == "shared":
                with contextlib.suppress(NotFoundError):
                    adapter.delete(live_one, timeout=60.0)
