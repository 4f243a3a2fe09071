"""A rig: how the suites reach one target, and how they see what is left on it.

A test file of an adapter is a rig, the fixture made from it, and one class per suite::

    class LocalRig(Rig):
        adapter = LocalAdapter

    rig = rig_fixture(LocalRig)

    class TestDeploy(DeploySuite): ...
"""

from __future__ import annotations

import itertools
import os
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import httpx
import pytest

from sdk.adapter import Adapter, AdapterContext, Capability, Clock
from sdk.client import Client
from sdk.config import load
from sdk.errors import ConflictError, SdkError, UnsupportedError
from sdk.executor import Executor
from sdk.executor.disk import RealDisk
from sdk.executor.lease import Lease
from sdk.redact import Redactor
from sdk.registry import Registry
from sdk.waiting import SystemClock

from .kill import Kill, MortalDisk
from .samples import Samples
from .spy import Calls, watched

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    from sdk.model import Model

T = TypeVar("T")


class ShortLease(Lease):
    """Nobody waits for a dead client for long."""

    ttl_s = 6.0
    renew_s = 2.0


class ShortLived(Executor):
    """What a client that is to die works with."""

    lease_class = ShortLease


class Rig(ABC):
    """What the suites need to know about one target; override what differs.

    Args:
        folder: For everything this rig keeps on disk.
        live: Whether the real platform is meant (``--live``).

    Attributes:
        adapter: The class under test.
        crash: How a crash is made: ``"process"`` kills a forked client with SIGKILL, for platforms that live outside
            this process; ``"raise"`` stops the client with an exception that nothing may catch.
        price: Dollars per hour of one deployment with these settings; ``None`` to leave it open.
        peak: How many deployments run at the most while a second one is added: 3 where all of them start anew.
        official: Whether the platform itself is meant, not a substitute for it such as a mini cloud.
        protected: Whether a predict needs credentials.
        crash_points: At how many points a client is killed when not every one is asked for.
        patience: Seconds that any single step may take.
        executor: What a client that is to die works with; :class:`ShortLived` saves its successors waiting.
        split_tolerance: How far the share of 100 requests may be from the one asked for: 0 for an exact round-robin.
        polls: By which requests a client of a mini cloud asks how far an operation is; none where it asks for the
            resource itself.
        owner: Who owns what the client under test makes.
        stranger: Another owner on the same platform.
    """

    adapter: ClassVar[type[Adapter]]
    crash: ClassVar[Literal["process", "raise"]] = "process"
    price: ClassVar[float | None] = None
    peak: ClassVar[int] = 2
    official: ClassVar[bool] = True
    protected: ClassVar[bool] = True
    split_tolerance: ClassVar[int] = 0
    patience: ClassVar[float] = 300.0
    crash_points: ClassVar[int] = 1
    executor: ClassVar[type[Executor]] = Executor
    polls: ClassVar[frozenset[str]] = frozenset()
    owner: str = "contract"
    stranger: str = "stranger"

    def __init__(self, folder: Path, *, live: bool = False) -> None:
        self.folder = folder
        self.live = live
        self.calls = Calls()
        self.samples = Samples()
        self._clients: list[Client] = []
        self._numbers = itertools.count(1)

    # --- override these

    def start(self) -> None:  # noqa: B027  # most platforms are there anyway
        """Bring the platform up, when it is not there anyway."""

    def stop(self) -> None:  # noqa: B027  # see start
        """Take it down again."""

    def settings(self) -> Mapping[str, Any]:
        """The target's settings, as they stand in ``mlport.toml``."""
        return {}

    def unpriced(self) -> Mapping[str, Any]:
        """Settings with which the price of a deployment is not known."""
        return self.settings()

    def transport(self) -> httpx.BaseTransport | None:
        """What carries predictions instead of the network."""
        return None

    def verify(self) -> ssl.SSLContext | bool:
        """Whom an HTTP client trusts that is not the one under test."""
        return True

    def upload(self, path: Path) -> str:
        """Puts training data where the target can read it, and says where that is."""
        return str(path)

    @abstractmethod
    def left(self) -> list[str]:
        """Everything of ours on the target, by the platform's own account: processes, ports, files, records.

        Shared things that are kept on purpose (``gc --shared``) and free records that cannot be deleted do not count.
        """

    def forget_shared(self) -> None:  # noqa: B027  # most targets have nothing shared
        """Remove shared things that are kept on purpose, as if nobody had used the target before."""

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        """Make the platform answer every call with ``throttled``, ``unavailable``, ``denied`` or ``refused``.

        ``refused`` means that no connection can be made, ``throttled once`` that only the next call is throttled.
        What a rig cannot do, it skips.
        """
        pytest.skip(f"this rig cannot make the platform answer {failure!r}")
        yield

    @contextmanager
    def slowly(self) -> Generator[None]:
        """Operations of a mini cloud last for several looks inside the block."""
        yield

    def plant_foreign(self) -> Callable[[], bool] | None:
        """Put something without our labels on the target; what is returned tells whether it is untouched."""
        return None

    # --- use these

    @property
    def clock(self) -> Clock:
        """The clock that the client under test lives by."""
        return SystemClock()

    def http(self, **settings: Any) -> httpx.Client:
        """A plain HTTP client, as somebody has who knows nothing of mlport."""
        return httpx.Client(transport=self.transport(), verify=self.verify(), trust_env=False, **settings)

    def options(self) -> Any:
        """The target's settings as the adapter gets them."""
        return self.adapter.Options.model_validate(dict(self.settings()))

    def make(self, owner: str | None = None) -> Adapter:
        """An adapter of its own, without a spy."""
        return self.adapter(self.options(), self.context(owner))

    def state_dir(self, machine: str) -> Path:
        """The state folder of a client on this machine; targets that live in theirs have one machine only."""
        return self.folder / machine

    def client(self, *, owner: str | None = None, machine: str = "here") -> Client:
        """A client as another process would make it; its calls are recorded."""
        return self._client(self.calls, owner or self.owner, machine)

    def mortal(self, kill: Kill) -> Client:
        """A client that dies when it is told to."""
        return self._short_lived(Calls(hook=kill.around_call), MortalDisk(kill))

    def doomed(self) -> Client:
        """A client that somebody is going to kill."""
        return self._short_lived(Calls(), RealDisk())

    def _short_lived(self, calls: Calls, disk: RealDisk) -> Client:
        client = self._client(calls, self.owner, "here")
        session = client.session()
        session.executor = self.executor(
            session.adapter,
            owner=self.owner,
            state_dir=session.state_dir,
            clock=self.clock,
            target=session.target,
            disk=disk,
        )
        return client

    def _client(self, calls: Calls, owner: str, machine: str) -> Client:
        registry = Registry(find=lambda: ())  # of its own: other tests of this process do not know the adapter
        registry.register("watched", watched(self.adapter, calls))
        config: dict[str, Any] = {
            "default": "contract",
            "owner": owner,
            "state_dir": str(self.state_dir(machine)),
            "target": {"contract": {"provider": "watched", **self.settings()}},
        }
        settings = load(arguments=config, registry=registry)
        made = Client(settings, clock=self.clock, transport=self.transport())
        self._clients.append(made)
        return made

    def retire(self) -> None:
        """Close the clients made so far; in a long test each would hold megabytes of a cloud's library."""
        made, self._clients = self._clients, []
        for client in made:
            client.close()

    def model(self, n: int = 1) -> Model:
        """Model number ``n`` of :class:`~sdk_contract.samples.Samples`."""
        return self.samples.model(n)

    def broken(self) -> Model:
        """A model that cannot be loaded."""
        return self.samples.broken()

    def failing(self) -> Model:
        """A model that loads, and raises as soon as it is asked."""
        return self.samples.failing()

    def orphans(self, client: Client) -> list[str]:
        """What gc would remove."""
        return [f"{item.kind} {item.id}" for item in client.gc().orphans]

    def image(self, model: Model) -> str | None:
        """The reference of the image that runs this model, on platforms that run images."""
        return None

    def can(self, capability: Capability) -> bool:
        """Whether the target declares to be able to do it."""
        return self.adapter.capabilities(self.options())[capability].ok

    def need(self, *capabilities: Capability) -> None:
        """Skips a test on targets that declare to lack something; that they refuse it properly is tested elsewhere."""
        for capability in capabilities:
            support = self.adapter.capabilities(self.options())[capability]
            if not support.ok:
                pytest.skip(f"{self.adapter.provider} has no {capability}: {support.reason}, {support.text}")

    def refuses(self, capability: Capability, verb: Callable[[Client], object]) -> None:
        """Shows that a verb is refused for lack of a capability, in the adapter's words and before any call."""
        support = self.adapter.capabilities(self.options())[capability]
        with self.calls.since() as calls, pytest.raises(UnsupportedError) as refused:
            verb(self.client())
        assert [] == calls.made
        assert (capability, support.reason) == (refused.value.capability, refused.value.reason)
        assert support.text in str(refused.value)
        assert self.adapter.provider == refused.value.provider

    def eventually(self, look: Callable[[], T], wanted: Callable[[T], bool]) -> T:
        """Looks until it is as wanted, for lists and logs that show things late."""
        give_up = self.clock.monotonic() + self.patience
        while not wanted(seen := look()) and self.clock.monotonic() < give_up:
            self.clock.sleep(0.2)
        return seen

    def patiently(self, verb: Callable[[], T]) -> T:
        """Does something after a crash: the lease of a dead client holds others off until it runs out."""
        give_up = self.clock.monotonic() + self.patience
        while True:
            try:
                return verb()
            except ConflictError:
                if not self.can(Capability.LEASE) or self.clock.monotonic() > give_up:
                    raise
                self.clock.sleep(1.0)

    def name(self, word: str = "contract") -> str:
        """An endpoint or job name that nobody uses yet."""
        suffix = f"{int(time.time()) % 100000}" if self.live else ""
        return f"{word[:12]}-{next(self._numbers)}{suffix}"

    def context(self, owner: str | None = None) -> AdapterContext:
        """What the core would lend an adapter."""
        folder = self.state_dir("here")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return AdapterContext("contract", owner or self.owner, folder, self.clock, Redactor())

    def __enter__(self) -> Self:
        self.start()
        return self

    def sweep(self) -> None:
        """Deletes what failed tests left, whoever owns it: on a real platform it would cost."""
        with suppress(SdkError):
            for left in self.client().list():
                self.client(owner=left.owner).delete(left.name)

    def __exit__(self, *error: object) -> None:
        self.sweep()
        self.retire()
        self.stop()


def shared_state(factory: pytest.TempPathFactory) -> Path:
    """Return the state folder of a test run, whose workers build each model, environment and image once."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "state"


def rig_fixture(*rigs: type[Rig]) -> Any:
    """The pytest fixture ``rig``: one target for a whole test file; with several rigs everything runs on each."""

    @pytest.fixture(scope="module", name="rig", params=rigs, ids=lambda rig: rig.__name__)
    def fixture(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
        with pytest.MonkeyPatch.context() as patch:
            if "MLPORT_STATE_DIR" not in os.environ:  # models and environments are made once for all rigs
                patch.setenv("MLPORT_STATE_DIR", str(shared_state(tmp_path_factory)))
            with request.param(tmp_path_factory.mktemp("rig"), live=request.config.getoption("--live")) as made:
                yield made

    return fixture
