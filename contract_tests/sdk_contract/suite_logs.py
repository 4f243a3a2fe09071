"""Log lines: what the model wrote is what the user reads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Capability
from sdk.errors import NotFoundError

from .samples import ANSWER, FAIL, FAILURE, SAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdk.adapter.types import LogLine
    from sdk.client.endpoint import Endpoint

    from .rig import Rig


def wait_for(rig: Rig, text: str, lines: Callable[[], Iterable[LogLine]]) -> LogLine:
    """Return the first line with this text; platforms may take time to show it."""
    give_up = rig.clock.monotonic() + rig.patience
    while True:
        seen = list(lines())
        found = next((line for line in seen if text in line.text), None)
        if found is not None:
            return found
        assert rig.clock.monotonic() < give_up, f"{text!r} is not among {[line.text for line in seen]}"
        rig.clock.sleep(0.2)


class LogsSuite:
    """logs() shows what containers wrote, of all deployments or one, of all requests or one."""

    @pytest.fixture(scope="class")
    @classmethod
    def endpoint(cls, rig: Rig) -> Iterator[Endpoint]:
        """Provide an endpoint with model 1, shared by the tests of this class."""
        rig.need(Capability.LOGS)
        made = rig.client().deploy(rig.model(1), name=rig.name("logs"))
        yield made
        made.delete()

    def test_what_the_model_prints(self, rig: Rig, endpoint: Endpoint) -> None:
        """A line printed by the model comes back with a time and its deployment."""
        endpoint.predict([[SAY, 17.0]])
        line = wait_for(rig, "contract: told to say 17", endpoint.logs)
        assert abs(time.time() - line.time) < 3600
        assert line.deployment in {None, *rig.client().status(endpoint.name).traffic}

    def test_why_the_model_failed(self, rig: Rig, endpoint: Endpoint) -> None:
        """The trace of a failed request is found under the id that the error carries."""
        failed: str | None = None
        try:
            endpoint.predict([[FAIL, 0.0]])
        except Exception as error:  # noqa: BLE001 - its class is the business of another suite
            failed = getattr(error, "request_id", None)
        assert failed
        wait_for(rig, FAILURE, lambda: endpoint.logs(request_id=failed))
        assert {failed} == {line.request_id for line in endpoint.logs(request_id=failed)}

    def test_the_last_lines(self, rig: Rig, endpoint: Endpoint) -> None:
        """``tail`` returns the newest lines, oldest of them first."""
        for number in (31, 32, 33):
            endpoint.predict([[SAY, float(number)]])
        wait_for(rig, "contract: told to say 33", endpoint.logs)
        assert 2 == len(list(endpoint.logs(tail=2)))
        said = [line for line in endpoint.logs(tail=50) if "told to say 3" in line.text]
        assert ["31", "32", "33"] == [line.text.split("say ")[1][:2] for line in said]

    def test_health_checks_are_not_logged(self, rig: Rig, endpoint: Endpoint) -> None:
        """The platform's health checks do not fill the log."""
        endpoint.predict([[ANSWER, 1.0]])
        assert [] == [line.text for line in endpoint.logs() if "/ping" in line.text]

    def test_one_deployment(self, rig: Rig) -> None:
        """``deployment`` selects the lines of one deployment."""
        rig.need(Capability.LOGS, Capability.TRAFFIC, Capability.PIN)
        name, client = rig.name("logs"), rig.client()
        client.deploy(rig.model(1), name=name)
        endpoint = client.deploy(rig.model(2), name=name)
        by_model = {item.model[:32]: item.id for item in client.status(name).deployments}
        old, new = by_model[rig.model(1).digest[:32]], by_model[rig.model(2).digest[:32]]
        endpoint.predict([[SAY, 51.0]], deployment=old)
        endpoint.predict([[SAY, 52.0]], deployment=new)
        wait_for(rig, "say 51", lambda: endpoint.logs(deployment=old))
        wait_for(rig, "say 52", lambda: endpoint.logs(deployment=new))
        assert [] == [line.text for line in endpoint.logs(deployment=old) if "say 52" in line.text]
        client.delete(name)

    def test_no_logs_of_nothing(self, rig: Rig) -> None:
        """The logs of a missing endpoint are a NotFoundError, or UnsupportedError without the capability."""
        if not rig.can(Capability.LOGS):
            rig.refuses(Capability.LOGS, lambda client: list(client.logs("contract-nobody")))
            return
        with pytest.raises(NotFoundError):
            list(rig.client().logs("contract-nobody"))
