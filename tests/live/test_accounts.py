"""A live run with each mini cloud as the account: it leaves nothing, keeps its budget, and says what it saw."""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sdk_contract.live
from sdk_contract.live.identity import identifying
from sdk_contract.live.life import STAGES
from sdk_contract.live.shapes import recorded
from tests.clouds.rigs import AzureML, Sagemaker, Vertex

if TYPE_CHECKING:
    from sdk_contract.clouds.app import App, Match, Request, Response
    from sdk_contract.clouds.faults import Fault
    from tests.live.conftest import Account

RECORD = os.environ.get("MLPORT_RECORD_SHAPES")  # writes what the mini clouds answer; see docs/live.md
_FORM = ("statuses", "fields", "words")
STEPS = ["deploy", "predict", "live change", "roll back", "finalize", "logs", "metrics", "delete", "train", "gc"]


@pytest.mark.parametrize(
    "account",
    [Sagemaker, pytest.param(Vertex, marks=pytest.mark.full), pytest.param(AzureML, marks=pytest.mark.full)],
    ids=lambda rig: rig.adapter.provider,
    indirect=True,
)
def test_a_whole_life(account: Account, tmp_path: Path) -> None:
    """Every step goes well, nothing is left, and hardly a field is new to what was recorded."""
    before = account.left()
    run = account.run()
    report = run.run()
    assert [*STEPS, "clean up"] == [step.name for step in report.steps]
    assert {"ok"} == {step.outcome for step in report.steps}, account.said
    assert report.ok
    assert before == account.left()
    assert report.usd > 0
    assert not report.billed
    data, text = report.write(tmp_path, identifying(run.life))
    shown = json.loads(data.read_text())
    provider = report.provider
    if RECORD:
        target = Path(sdk_contract.live.__file__).parent / "shapes" / f"{provider}.json"
        target.write_text(json.dumps(_form(shown["answers"], recorded(provider) or {}), indent=1) + "\n")
    fields = sum(len(one["fields"]) for one in shown["answers"].values())
    new = [one for one in shown["differences"] or () if one["kind"] == "new field"]
    assert len(new) <= fields // 10, f"the mini cloud answers more than was recorded (docs/live.md): {new}"
    assert [] == [one for one in shown["differences"] or () if one["kind"] == "new operation"]
    assert "mlport-live/1" == shown["schema"]
    planted = {"planted-owner", "planted-target", run.life.endpoint, run.life.job, account.cloud.url}
    for value in planted | _place(account):
        assert value not in data.read_text(), value
        assert value not in text.read_text(), value


ODD = {"maintenance": {"state": "Resting", "window": 3}}
OPERATIONS = {"DescribeEndpoint", "GetEndpoint"}


class Differing:
    """A service before all others, whose answers about an endpoint have one more field, with a state of its own."""

    def __init__(self, app: App) -> None:
        self._services = list(app.services)

    def find(self, request: Request) -> Match | None:
        for service in self._services:
            if (match := service.find(request)) is not None:
                odd = match.operation in OPERATIONS and not inspect.iscoroutinefunction(match.handler)
                return replace(match, handler=partial(self.more, match.handler)) if odd else match
        return None

    @staticmethod
    def more(handler: Any, request: Request) -> Any:
        response = handler(request)
        if response.status == 200 and isinstance(response.body, bytes):
            response.body = json.dumps({**json.loads(response.body), **ODD}).encode()
            response.headers.pop("content-length", None)
        return response

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Never asked, since nothing is planned."""
        raise NotImplementedError


def test_what_differs_is_named(account: Account, tmp_path: Path) -> None:
    """A platform that answers one more field and state than its mini cloud: the life goes well, the report says it."""
    app = account.cloud.app
    odd = Differing(app)
    app.services.insert(0, odd)
    try:
        run = account.run(stages=[stage for stage in STAGES if stage.name in {"deploy", "delete"}])
        report = run.run()
    finally:
        app.services.remove(odd)
    assert report.ok, account.said
    data, text = report.write(tmp_path, identifying(run.life))
    found = json.loads(data.read_text())["differences"]
    odd_ones = {("new field", "maintenance.state:string"), ("new field", "maintenance.window:number")}
    odd_ones.add(("new word", "maintenance.state=Resting"))
    assert odd_ones <= {(one["kind"], one["what"]) for one in found}
    assert "maintenance.state=Resting" in text.read_text()


def _place(account: Account) -> set[str]:
    """What the settings of the target say about the account."""
    names = ("account", "project", "subscription", "resource_group", "workspace", "role", "bucket")
    settings = account.rig.settings()
    return {str(settings[name]) for name in names if name in settings}


def _form(answers: dict[str, Any], before: Any) -> dict[str, Any]:
    """What is recorded: the forms only, joined with what was seen before."""
    joined: dict[str, Any] = {}
    for name in sorted({*answers, *before}):
        both = [some[name] for some in (answers, before) if name in some]
        joined[name] = {
            key: sorted({one for some in both for one in some[key]}) for key in ("statuses", "fields", "words")
        }
    return joined
