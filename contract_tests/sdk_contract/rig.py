"""A rig: how the suites reach one target, and how they find what is left on it.

A test file of an adapter is a rig, the fixture made from it, and one class per suite::

    class LocalRig(Rig):
        adapter = LocalAdapter

    rig = rig_fixture(LocalRig)

    class TestDeploy(DeploySuite): ...
"""

from __future__ import annotations

import itertools
import json
import os
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import httpx
import pytest

from sdk.adapter import Adapter, AdapterContext, Capability, Clock
from sdk.adapter.registry import Registry
from sdk.client import Client
from sdk.config import load
from sdk.errors import ConflictError, SdkError, UnsupportedError
from sdk.executor import Executor
from sdk.executor.disk import RealDisk
from sdk.executor.lease import Lease
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock

from .kill import Kill, MortalDisk
from .samples import Samples
from .spy import Calls, watched

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    from sdk.packaging.model import Model

T = TypeVar("T")


class ShortLease(Lease):
    """A short lease, so that clients do not wait long for a dead one."""

    ttl_s = 6.0
    renew_s = 2.0


class ShortLived(Executor):
    """The executor of a client that is to die."""

    lease_class = ShortLease


class Rig(ABC):
    """What the suites need to know about one target; override what differs.

    Args:
        folder: Where this rig stores its files.
        live: Whether the real platform is used (``--live``).

    Attributes:
        adapter: The class under test.
        crash: How a crash is simulated: ``"process"`` kills a forked client with SIGKILL, for platforms outside this
            process; ``"raise"`` stops the client with an exception that no code may catch.
        price: Dollars per hour of one deployment with these settings; ``None`` to leave it open.
        peak: Maximum number of deployments while a second one is added: 3 where all of them start anew.
        official: Whether this is the platform itself, not a substitute such as a mini cloud.
        protected: Whether a predict needs credentials.
        crash_points: At how many points a client is killed unless every point is requested.
        patience: Seconds that any single step may take.
        executor: The executor of a client that is to die; with :class:`ShortLived` its successors wait less.
        split_tolerance: How far the share of 100 requests may be from the requested one: 0 for an exact round-robin.
        polls: The requests by which a client of a mini cloud polls an operation; none where it polls the resource
            itself.
        owner: Owner of what the client under test creates.
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

    def start(self) -> None:  # noqa: B027  # most platforms need no start
        """Start the platform, if it is not always running."""

    def stop(self) -> None:  # noqa: B027  # see start
        """Stop the platform."""

    def settings(self) -> Mapping[str, Any]:
        """Return the target's settings, as in ``mlport.toml``."""
        return {}

    def unpriced(self) -> Mapping[str, Any]:
        """Return settings with which the price of a deployment is not known."""
        return self.settings()

    def transport(self) -> httpx.BaseTransport | None:
        """Return the transport that carries predictions instead of the network."""
        return None

    def verify(self) -> ssl.SSLContext | bool:
        """Return the certificate authorities that an HTTP client other than the client under test trusts."""
        return True

    def upload(self, path: Path) -> str:
        """Put training data where the target can read it, and return its location."""
        return str(path)

    @abstractmethod
    def left(self) -> list[str]:
        """List everything of ours on the target, according to the platform: processes, ports, files, records.

        Shared things that are kept on purpose (``gc --shared``) and free records that cannot be deleted do not count.
        """

    def forget_shared(self) -> None:  # noqa: B027  # most targets have nothing shared
        """Delete shared resources that are kept on purpose, as if the target had never been used."""

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        """Make the platform answer every call with ``throttled``, ``unavailable``, ``denied`` or ``refused``.

        ``refused`` means that no connection can be made, ``throttled once`` that only the next call is throttled.
        A rig skips what it cannot do.
        """
        pytest.skip(f"this rig cannot make the platform answer {failure!r}")
        yield

    @contextmanager
    def slowly(self) -> Generator[None]:
        """Make operations of a mini cloud last for several polls inside the block."""
        yield

    def plant_foreign(self) -> Callable[[], bool] | None:
        """Put something without our labels on the target, and return a check that it is untouched."""
        return None

    # --- use these

    @property
    def clock(self) -> Clock:
        """The clock of the client under test."""
        return SystemClock()

    def http(self, **settings: Any) -> httpx.Client:
        """Return a plain HTTP client, as a user without mlport would have."""
        return httpx.Client(transport=self.transport(), verify=self.verify(), trust_env=False, **settings)

    def options(self) -> Any:
        """Return the target's settings as the adapter gets them."""
        return self.adapter.Options.model_validate(dict(self.settings()))

    def make(self, owner: str | None = None) -> Adapter:
        """Create a new adapter, without a spy."""
        return self.adapter(self.options(), self.context(owner))

    def state_dir(self, machine: str) -> Path:
        """Return the state folder of a client on this machine; targets that store state there have one machine only."""
        return self.folder / machine

    def client(self, *, owner: str | None = None, machine: str = "here") -> Client:
        """Create a client as another process would; its calls are recorded."""
        return self._client(self.calls, owner or self.owner, machine)

    def mortal(self, kill: Kill) -> Client:
        """Create a client that dies at the point that ``kill`` chooses."""
        return self._short_lived(Calls(hook=kill.around_call), MortalDisk(kill))

    def doomed(self) -> Client:
        """Create a client for a process that will be killed."""
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
        registry = Registry(find=lambda: ())  # its own registry: other tests of this process do not know the adapter
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
        """Return model number ``n`` of :class:`~sdk_contract.samples.Samples`."""
        return self.samples.model(n)

    def broken(self) -> Model:
        """Return a model that cannot be loaded."""
        return self.samples.broken()

    def failing(self) -> Model:
        """Return a model that loads, and raises when it is called."""
        return self.samples.failing()

    def streaming(self) -> Model:
        """Return a model that yields its answer."""
        return self.samples.streaming()

    def orphans(self, client: Client) -> list[str]:
        """List what gc would delete."""
        return [f"{item.kind} {item.id}" for item in client.gc().orphans]

    def image(self, model: Model) -> str | None:
        """Return the reference of the image that runs this model, on platforms that run images."""
        return None

    def can(self, capability: Capability) -> bool:
        """Return whether the target declares a capability."""
        return self.adapter.capabilities(self.options())[capability].ok

    def need(self, *capabilities: Capability) -> None:
        """Skip a test on targets without these capabilities; other tests check that they refuse them properly."""
        for capability in capabilities:
            support = self.adapter.capabilities(self.options())[capability]
            if not support.ok:
                pytest.skip(f"{self.adapter.provider} has no {capability}: {support.reason}, {support.text}")

    def refuses(self, capability: Capability, verb: Callable[[Client], object]) -> None:
        """Check that a verb is refused for lack of a capability, with the adapter's text and before any call."""
        support = self.adapter.capabilities(self.options())[capability]
        with self.calls.since() as calls, pytest.raises(UnsupportedError) as refused:
            verb(self.client())
        assert [] == calls.made
        assert (capability, support.reason) == (refused.value.capability, refused.value.reason)
        assert support.text in str(refused.value)
        assert self.adapter.provider == refused.value.provider

    def eventually(self, look: Callable[[], T], wanted: Callable[[T], bool]) -> T:
        """Repeat a check until it returns the wanted result, for lists and logs that are late."""
        give_up = self.clock.monotonic() + self.patience
        while not wanted(seen := look()) and self.clock.monotonic() < give_up:
            self.clock.sleep(0.2)
        return seen

    def patiently(self, verb: Callable[[], T]) -> T:
        """Call a verb after a crash: the lease of a dead client blocks other clients until it expires."""
        give_up = self.clock.monotonic() + self.patience
        while True:
            try:
                return verb()
            except ConflictError:
                if not self.can(Capability.LEASE) or self.clock.monotonic() > give_up:
                    raise
                self.clock.sleep(1.0)

    def name(self, word: str = "contract") -> str:
        """Return an endpoint or job name that is not in use yet."""
        suffix = f"{int(time.time()) % 100000}" if self.live else ""
        return f"{word[:12]}-{next(self._numbers)}{suffix}"

    def context(self, owner: str | None = None) -> AdapterContext:
        """Return a context such as the core passes to an adapter."""
        folder = self.state_dir("here")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return AdapterContext("contract", owner or self.owner, folder, self.clock, Redactor())

    def __enter__(self) -> Self:
        self.start()
        return self

    def sweep(self) -> None:
        """Delete what failed tests left, whatever its owner: on a real platform it would cost money."""
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


@contextmanager
def under_policy(rig: Any) -> Generator[None]:
    """Enforce the policy that the adapter gives a deployer, on rigs of mini clouds."""
    guard = getattr(getattr(rig, "cloud", None), "rights", None)
    if guard is None:
        yield
        return
    adapter = rig.make()
    policy = json.loads(adapter.policy("deployer", "json", ()))
    adapter.close()
    with guard.enforced(policy):
        yield
    assert not guard.denied, f"the policy of a deployer lacks what the suite needs: {guard.denied}"


def rig_fixture(*rigs: type[Rig]) -> Any:
    """Return the pytest fixture ``rig``: one target for a whole test file; tests run on each of several rigs."""

    @pytest.fixture(scope="module", name="rig", params=rigs, ids=lambda rig: rig.__name__)
    def fixture(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
        with pytest.MonkeyPatch.context() as patch:
            if "MLPORT_STATE_DIR" not in os.environ:  # models and environments are made once for all rigs
                patch.setenv("MLPORT_STATE_DIR", str(shared_state(tmp_path_factory)))
            limited = under_policy if request.config.getoption("--under-policy") else nullcontext
            live = request.config.getoption("--live")
            with request.param(tmp_path_factory.mktemp("rig"), live=live) as made, limited(made):
                yield made

    return fixture
