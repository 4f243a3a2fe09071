"""The steps that a live run carries out on a target, with the verbs that users call."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdk.adapter import Capability
from sdk.errors import SdkError

from ..samples import ANSWER, GOOD_SCRIPT, SAY, Samples, write_script

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from sdk.adapter import Clock
    from sdk.client import Client
    from sdk.client.session import Session
    from sdk.executor import Plan

    from .money import Meter

    Do = Callable[["Life"], dict[str, Any]]

TTL = "12h"  # after this time `gc --expired` deletes what is left, wherever it runs
SHOWN_S = 900.0  # how long lists, logs and metrics may take to show something
_SAID = 73501
_BETWEEN_S = 1.0


class Differs(Exception):
    """Raised when an answer differs from the expected one; the text does not name a resource."""


@dataclass
class Life:
    """An endpoint and a job of one run.

    Args:
        client: The client of the user's target.
        clock: The source of time, which stops the run when the budget is used up.
        meter: Gets the cost of each change, during it and after it.
        samples: The models.
        endpoint: Name of the endpoint.
        job: Name of the job.
        folder: For the files of the job.
        made: Kinds of the resources that the plans created.
        instance: Instance type of the endpoint, once it exists.
    """

    client: Client
    clock: Clock
    meter: Meter
    samples: Samples
    endpoint: str
    job: str
    folder: Path
    made: list[str] = field(default_factory=list[str])
    instance: str | None = None

    @property
    def session(self) -> Session:
        """The session of the target."""
        return self.client.session()

    def can(self, *capabilities: Capability) -> bool:
        """Return whether the target declares all these capabilities."""
        return all(self.session.can(one) for one in capabilities)

    def deploying(self, n: int) -> dict[str, Any]:
        """Return the arguments with which model ``n`` is deployed."""
        about: dict[str, Any] = {"ttl": TTL} if self.can(Capability.TTL) else {}
        return {"model": self.samples.model(n), "name": self.endpoint, **about}

    def training(self) -> dict[str, Any]:
        """Return the arguments of the job."""
        rows = self.folder / "rows.csv"
        rows.write_text("1,2\n3,4\n5,6\n", "utf-8")
        script = write_script(self.folder, GOOD_SCRIPT)
        return {"script": script, "name": self.job, "data": {"train": rows}, "params": {"C": 0.5}, "timeout": "30m"}

    def paid(self, what: str, verb: Callable[..., Any], **how: Any) -> Any:
        """Carry out a change, with its hourly cost from the plan: the maximum during it, and the cost after it."""
        plan: Plan = verb(**how, dry_run=True)
        cost, before = plan.usd_per_hour, self.meter.hourly
        self.meter.set(what, before if cost.peak is None else cost.peak)
        self.made += [step.ref.kind for step in plan.steps if step.action == "create"]
        done = verb(**how)
        self.meter.set(what, before if cost.after is None else cost.after)
        return done

    def answers(self, value: float = 2.0, action: float = ANSWER) -> float:
        """Return the answer of the endpoint to one row."""
        return float(self.client.predict(self.endpoint, [[action, value]]).values[0])

    def expect(self, wanted: float) -> None:
        """Check that the expected model answers.

        Raises:
            Differs: Another model answers.
        """
        if (found := self.answers()) != wanted:
            raise Differs(f"the endpoint answered {found:g}, not {wanted:g}")

    def until(self, what: str, look: Callable[[], bool]) -> float:
        """Wait until a check succeeds, and return the seconds that took.

        Raises:
            Differs: It did not succeed in time.
        """
        begin, pause = self.clock.monotonic(), float(getattr(self.session.adapter, "poll_s", 1.0))
        while not look():
            if self.clock.monotonic() - begin > SHOWN_S:
                raise Differs(f"{what} within {SHOWN_S:.0f} s")
            self.clock.sleep(pause)
            pause = min(pause * 2, 15.0)
        return round(self.clock.monotonic() - begin, 1)


@dataclass(frozen=True)
class Stage:
    """A step of the life.

    Args:
        name: Its name in the report.
        do: Carries it out, and returns the facts for the report.
        needs: Capabilities that the target must have; otherwise the step is skipped.
        vital: Whether the following steps make no sense without it.
    """

    name: str
    do: Do
    needs: tuple[Capability, ...] = ()
    vital: bool = False


def deploy(life: Life) -> dict[str, Any]:
    """Deploy the first model."""
    life.paid(life.endpoint, life.client.deploy, **life.deploying(1))
    status = life.client.status(life.endpoint)
    life.instance = next((one.instance for one in status.deployments), None)
    return {"state": status.state.value, "deployments": len(status.deployments)}


def predict(life: Life) -> dict[str, Any]:
    """Call the first model, once with a line for the log, and find the endpoint in the list."""
    latencies: list[float] = []
    for _ in range(10):
        begin = life.clock.monotonic()
        life.expect(3.0)
        latencies.append(life.clock.monotonic() - begin)
    life.answers(_SAID, SAY)
    listed_s = life.until("the list did not show it", lambda: life.endpoint in _names(life))
    return {"median_ms": round(1000 * sorted(latencies)[len(latencies) // 2]), "listed_after_s": listed_s}


def change(life: Life) -> dict[str, Any]:
    """Deploy the second model while requests continue."""
    with asked_all_along(life) as asked:
        life.paid(life.endpoint, life.client.deploy, **life.deploying(2))
    life.expect(4.0)
    if asked.failed:
        raise Differs(f"{asked.failed} of {asked.count} requests failed during the change")
    return {"requests": asked.count, "failed": asked.failed}


def roll_back(life: Life) -> dict[str, Any]:
    """Roll back to the first model."""
    life.paid(life.endpoint, life.client.rollback, name=life.endpoint)
    life.expect(3.0)
    return {}


def finalize(life: Life) -> dict[str, Any]:
    """Remove the deployments without traffic."""
    life.paid(life.endpoint, life.client.finalize, name=life.endpoint)
    return {"deployments": len(life.client.status(life.endpoint).deployments)}


def logs(life: Life) -> dict[str, Any]:
    """Find the line that the model was asked to write."""
    wanted = f"contract: told to say {_SAID:g}"

    def look() -> bool:
        return any(wanted in line.text for line in life.client.logs(life.endpoint))

    return {"shown_after_s": life.until("the log did not show the line", look)}


def metrics(life: Life) -> dict[str, Any]:
    """Check that the requests are counted."""

    def look() -> bool:
        return life.client.monitor(life.endpoint).requests.get("2xx", 0) > 0

    counted = life.until("no request was counted", look)
    watch = life.client.monitor(life.endpoint)
    return {"counted_after_s": counted, "requests": sum(watch.requests.values()), "quantiles": len(watch.latency)}


def delete(life: Life) -> dict[str, Any]:
    """Delete the endpoint."""
    life.client.delete(life.endpoint)
    life.meter.set(life.endpoint, 0.0)
    gone_s = life.until("the list still showed it", lambda: life.endpoint not in _names(life))
    return {"unlisted_after_s": gone_s}


def train(life: Life) -> dict[str, Any]:
    """Run a job, and read its log lines and its output."""
    job = life.paid(life.job, life.client.train, **life.training())
    life.meter.set(life.job, 0.0)

    def look() -> bool:
        return any("3 rows, C=0.5" in line.text for line in job.logs())

    said = life.until("the log of the job did not show its line", look)
    found = len(list(job.output(life.folder / "out").rglob("seen.json")))
    if not found:
        raise Differs("the output of the job did not come back")
    return {"state": job.status.state.value, "logs_after_s": said, "outputs": found}


def gc(life: Life) -> dict[str, Any]:
    """Run `gc` without deleting anything."""
    report = life.client.gc()
    return {"orphans": len(report.orphans), "young": len(report.young), "kept_records": len(report.kept_records)}


STAGES = (
    Stage("deploy", deploy, (Capability.DEPLOY,), vital=True),
    Stage("predict", predict),
    Stage("live change", change, vital=True),
    Stage("roll back", roll_back, (Capability.TRAFFIC,)),
    Stage("finalize", finalize),
    Stage("logs", logs, (Capability.LOGS,)),
    Stage("metrics", metrics, (Capability.METRICS,)),
    Stage("delete", delete, vital=True),
    Stage("train", train, (Capability.TRAIN,)),
    Stage("gc", gc),
)


@dataclass
class Asked:
    """Requests that another thread sends."""

    count: int = 0
    failed: int = 0


@contextlib.contextmanager
def asked_all_along(life: Life) -> Generator[Asked]:
    """Send a request every second for as long as the block lasts."""
    asked, done = Asked(), threading.Event()

    def ask() -> None:
        while True:
            asked.count += 1
            try:
                life.answers()
            except SdkError:
                asked.failed += 1
            if done.wait(_BETWEEN_S):
                return

    thread = threading.Thread(target=ask, name="live-requests", daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        done.set()
        thread.join()


def _names(life: Life) -> list[str]:
    return [status.name for status in life.client.list()]
