"""Handles travel to other processes: as names and configuration, without connections or secrets."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.registry import adapters, register_adapter
from sdk.client import Client, pickling
from sdk.client.endpoint import Endpoint
from sdk.client.job import Job
from sdk.dataplane.prediction import Prediction
from sdk.errors import ConfigError, NotFoundError, UnknownKeyError
from sdk.packaging.model import Model, model
from sdk.util.waiting import SystemClock
from sdk_local import LocalAdapter
from tests.compare.rows import comparison, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DUMPS: list[Callable[[Any], bytes]] = [pickle.dumps, importlib.import_module("cloudpickle").dumps]
STATE, SECRET = "MLPORT_STATE_DIR", "CANARY-91d4"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    env = {STATE: str(tmp_path / "state"), "MY_TOKEN": SECRET, "PATH": os.environ["PATH"]}
    with Client({"default": "here", "target": {"here": {"provider": "local"}}}, env=env) as one:
        yield one


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """Each test receives as a process that has received nothing yet."""
    yield
    for one in pickling._clients.values():
        one.close()
    pickling._clients.clear()


@pytest.mark.parametrize("dumps", DUMPS)
def test_handles_arrive_with_their_configuration(client: Client, dumps: Callable[[Any], bytes], tmp_path: Path) -> None:
    """Name, target and every setting are the same on the other side, and all handles share one client there."""
    sent = [client.endpoint("churn"), Job(client, "night", "here"), client]
    endpoint, job, other = (pickle.loads(dumps(one)) for one in sent)
    assert (Endpoint, "churn", "here") == (type(endpoint), endpoint.name, endpoint.target)
    assert (Job, "night", "here") == (type(job), job.name, job.target)
    assert endpoint._client is job._client is other is not client
    assert tmp_path / "state" == other.settings.state_dir.value
    assert repr(client.settings) == repr(other.settings)
    for handle in (endpoint, job):
        with pytest.raises(NotFoundError):
            handle.refresh()


@pytest.mark.parametrize("dumps", DUMPS)
def test_no_secret_travels(client: Client, dumps: Callable[[Any], bytes]) -> None:
    """Neither the environment nor what the redactor knows is in the bytes."""
    client.redactor.add(SECRET)
    assert SECRET.encode() not in dumps(client.endpoint("churn"))


def test_a_secret_among_the_settings_is_refused(tmp_path: Path) -> None:
    """It names the setting, and what to do instead."""
    target = {"provider": "local", "api_token": SECRET}
    with Client({"default": "x", "target": {"x": target}}, env={STATE: str(tmp_path)}) as client:
        with pytest.raises(
            TypeError, match=r"target\.x\.api_token .* is a secret, .* in the receiving process"
        ) as caught:
            pickle.dumps(client)
        assert SECRET not in str(caught.value)


def test_what_is_only_here_is_refused(tmp_path: Path) -> None:
    """A clock or transport of one's own would be missing on the other side without a word."""

    class Mine(SystemClock):
        pass

    with (
        Client(env={STATE: str(tmp_path)}, clock=Mine()) as client,
        pytest.raises(TypeError, match="a clock of its own cannot be pickled"),
    ):
        pickle.dumps(client.endpoint("churn"))


class Added(LocalAdapter):
    """An adapter that a script has registered."""


def test_an_adapter_of_the_script_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiving process knows the providers that the sending one had added."""
    register_adapter("added-here", Added)
    try:
        with Client(
            {"default": "t", "target": {"t": {"provider": "added-here"}}}, env={STATE: str(tmp_path)}
        ) as client:
            sent = pickle.dumps(client.endpoint("churn"))
        monkeypatch.delitem(adapters._registered, "added-here")
        with pytest.raises(UnknownKeyError):
            adapters.load("added-here")
        endpoint = pickle.loads(sent)
        assert type(endpoint._client.session().adapter) is Added
    finally:
        adapters._registered.pop("added-here", None)


def test_clients_of_many_configurations_do_not_pile_up(tmp_path: Path) -> None:
    """The last few are kept."""
    for number in range(12):
        with Client({"default": "t", "owner": f"o{number}", "target": {"t": {"provider": "local"}}},
                    env={STATE: str(tmp_path)}) as client:  # fmt: skip
            pickle.loads(pickle.dumps(client))
    assert 8 == len(pickling._clients)


def test_values_survive(tmp_path: Path, faked: Any) -> None:
    """Answers, plans, watches, comparisons and models are plain values."""
    world = faked.World(tmp_path)
    try:
        client = world.client(monitor={"alarms": ["error_rate > 5%"]}, target={"t": {"instance": "big"}})
        made = faked.a_model()
        plan = client.plan(made, name="churn")
        client.deploy(made)
        values = [
            plan,
            client.monitor("churn"),
            client.status("churn"),
            Prediction([1.0], "d1"),
            made,
            comparison(row("a")),
        ]
        for value in values:
            for dumps in DUMPS:
                assert value == pickle.loads(dumps(value))
            assert value == copy.deepcopy(value)
    finally:
        world.close()


def add_one(rows: list[list[float]]) -> list[float]:
    """The model."""
    return [values[0] + 1.0 for values in rows]


def ask(endpoint: Endpoint, number: float) -> tuple[int, float]:
    """What a worker of a pool does."""
    return os.getpid(), endpoint.predict([[number]]).values[0]


def read(packed: Model, job: Job) -> tuple[str, list[Any] | None, str]:
    """What a worker sees of a model and a job."""
    try:
        job.refresh()
    except ConfigError:
        return packed.digest, packed.example, "wrong"
    except NotFoundError as error:
        return packed.digest, packed.example, error.message
    return packed.digest, packed.example, "there"


def test_a_pool_of_spawned_processes_uses_them(client: Client) -> None:
    """Processes that share nothing with this one call the endpoint, read the model and look for the job."""
    packed = model(add_one, name="adder", example=[[1.0]])
    endpoint = client.deploy(packed)
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            ((there, answer),) = pool.starmap(ask, [(endpoint, 41.0)])
            ((digest, example, said),) = pool.starmap(read, [(packed, Job(client, "night", "here"))])
        assert (True, 42.0) == (there != os.getpid(), answer)
        assert (packed.digest, [[1.0]]) == (digest, example)
        assert "night" in said
    finally:
        endpoint.delete()
