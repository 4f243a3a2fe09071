"""Platforms newer than mlport on all three clouds: more fields in every answer, and words that are not known."""

from __future__ import annotations

import inspect
import json
import os
import re
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.adapter import Capability
from sdk.adapter.types import EndpointState
from sdk.errors import SdkError
from sdk_contract.life import steps
from sdk_contract.rig import shared_state
from sdk_contract.samples import ANSWER, LONG_SCRIPT, write_script
from tests.clouds.rigs import AzureML, Sagemaker, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk_contract.clouds.app import Match, Request, Response, Service
    from sdk_contract.clouds.faults import Fault

MORE = {"aNewField": {"state": "Resting", "parts": [{"of": None}]}, "aNewList": [1, "two"], "aNewCount": 2.5}
PLAIN = {"registry", "runtime", "sagemaker-runtime", "prediction", "scoring", "acr", "oauth2", "identity", "sts"}
"""Services whose answers are content, or of a standard of their own."""
STATE = re.compile(r"(state|status|phase)$", re.IGNORECASE)


class Newer:
    """A service before all others, whose answers hold more than theirs.

    Args:
        app: The application of a mini cloud.

    Attributes:
        fields: Whether every object has fields, lists and numbers that are not known.
        word: A word in place of each state, such as ``Rebalancing``; none if empty.
        changed: The operations whose answers were changed.
    """

    #: Objects whose keys are names that a user or the platform chose.
    maps: ClassVar = {
        "labels", "tags", "trafficSplit", "traffic", "mirrorTraffic", "environmentVariables", "metadata", "logFiles",
        "userAssignedIdentities", "HyperParameters", "Environment",
    }  # fmt: skip

    def __init__(self, app: Any) -> None:
        self._services: list[Service] = list(app.services)
        self.fields, self.word = False, ""
        self.changed: set[str] = set()

    def find(self, request: Request) -> Match | None:
        """Return the operation of the service that knows the request."""
        for service in self._services:
            if (match := service.find(request)) is not None:
                plain = match.service in PLAIN or inspect.iscoroutinefunction(match.handler)
                plain = plain or request.query.get("alt") == "media"
                return match if plain else replace(match, handler=partial(self._newer, match))
        return None

    def _newer(self, match: Match, request: Request) -> Any:
        response: Any = match.handler(request)
        kind = response.headers.get("content-type", "")
        if response.status < 300 and "json" in kind and isinstance(response.body, bytes) and response.body:
            response.body = json.dumps(self.changed_value(json.loads(response.body))).encode()
            response.headers.pop("content-length", None)
            self.changed.add(f"{match.service}:{match.operation}")
        return response

    def changed_value(self, value: Any, field: str = "") -> Any:
        """The same with more in it."""
        if isinstance(value, list):
            return [self.changed_value(item, field) for item in value]
        if isinstance(value, dict):
            inner = {key: self.changed_value(item, key) for key, item in value.items()}
            return inner if field in self.maps or not self.fields else {**MORE, **inner}
        known = isinstance(value, str) and value and STATE.search(field)
        return self.word if known and self.word else value

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the refusal of the service that knows the request."""
        service = next(one for one in self._services if one.find(request) is not None)
        refusal: Response = service.trouble(request, match, fault)
        return refusal


@pytest.fixture(scope="module", params=[Sagemaker, Vertex, AzureML], ids=lambda kind: kind.__name__.lower())
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        if "MLPORT_STATE_DIR" not in os.environ:  # environments and images are made once for all
            patch.setenv("MLPORT_STATE_DIR", str(shared_state(tmp_path_factory)))
        with request.param(tmp_path_factory.mktemp("rig")) as made:
            yield made


@pytest.fixture
def newer(rig: Any) -> Iterator[Newer]:
    app = rig.cloud.app
    made = Newer(app)
    app.services.insert(0, made)
    yield made
    app.services.remove(made)


@pytest.mark.full
def test_a_whole_life_with_more_in_every_answer(rig: Any, newer: Newer, tmp_path: Path) -> None:
    """Every verb, a killed deploy and `gc` included: none fails, and nothing is left."""
    newer.fields, failed = True, dict[str, SdkError]()
    for verb, do in steps(rig, tmp_path):
        try:
            do()
        except SdkError as error:
            failed.setdefault(verb, error)
    newer.fields = False
    assert {} == failed
    assert len(newer.changed) > 15, newer.changed
    end = time.monotonic() + 20  # a job that was asked to stop takes a moment to end
    while (left := [line for line in rig.left() if not line.startswith("job ")]) and time.monotonic() < end:
        time.sleep(0.05)
    assert [] == left


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Unrecognized JobState")  # Google's library says so, which ends nothing
def test_reads_with_states_that_are_not_known(rig: Any, newer: Newer, tmp_path: Path) -> None:
    """Nothing is hidden, undone, over or in error: it is shown as something under way, in the platform's word."""
    client, name, job = rig.client(), rig.name("newer"), rig.name("job")
    client.deploy(rig.model(1), name=name)
    client.train(write_script(tmp_path, LONG_SCRIPT), name=job, wait=False)
    for word in ("Rebalancing", "STATE_REBALANCING", "77"):
        newer.word = word
        status = client.status(name)
        assert name in {one.name for one in client.list()}
        assert status.state not in {EndpointState.FAILED, EndpointState.DELETING}
        assert not client.job(job).refresh().state.finished
        assert [] == client.gc(apply=True).removed
        assert client.doctor()
        assert [3.0] == list(client.predict(name, [[ANSWER, 2.0]]).values)
        if rig.can(Capability.METRICS):
            client.monitor(name)
        list(client.logs(name, tail=5))
    newer.word = ""
    client.stop_job(job)
    client.delete(name)
    assert newer.changed
