"""What a comparison reads from a target: prices, how to send requests to an endpoint, and the payloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ..adapter.prices import find_price
from ..compare.subject import Subject
from ..errors import ConfigError
from ..packaging.model import Model
from ..util.hosts import on_this_machine
from .callers import example_of
from .session import READ_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..adapter.metrics import MetricsReport
    from ..adapter.prices import PriceRow, Usage
    from .candidates import Candidate
    from .deploy import ChangeVerbs
    from .endpoint import Endpoint
    from .session import Session


class Listed:
    """An instance type, looked up in the price table of a target."""

    def __init__(self, session: Session, instance: str | None) -> None:
        self._table = tuple(session.adapter.prices())
        self.instance = instance
        self.region = session.adapter.where().get("region", "")

    @property
    def own(self) -> bool:
        """Whether the target is the user's own hardware, which means that it has no price table."""
        return not self._table

    def row(self, usage: Usage) -> PriceRow | None:
        """Return the row with the price of the instance type; ``None`` when unknown."""
        return find_price(self._table, self.instance, region=self.region, usage=usage) if self.instance else None


def subject_of(one: Candidate, client: ChangeVerbs) -> Subject:
    """Return an endpoint as a subject to measure; its requests are signed by the invoker of the target's adapter."""
    session = client.session()
    status = session.status(one.name, session.deadline(READ_S))
    invoker = session.adapter.invoker(status)

    def served(window_s: float) -> MetricsReport | None:
        return session.metrics(one.name, window_s, session.deadline(READ_S))

    return Subject(
        key=one.key,
        sign=lambda rows: client.request(one.name, rows),
        direct=on_this_machine(httpx.URL(invoker.url).host),
        verify=Path(invoker.verify).read_text("utf-8") if isinstance(invoker.verify, str) else True,
        served=served,
        machine=f"{one.target} {one.name}" if one.host.official and one.host.billed else "this machine",
    )


def payloads_of(
    client: ChangeVerbs,
    subject: Model | Mapping[str, Endpoint],
    given: Sequence[Any] | None,
    labels: Sequence[Any] | None,
) -> Sequence[Any]:
    """Return the inputs of single requests: the user's, else each row of the model's example.

    Raises:
        ConfigError: There are no payloads, or labels are given without payloads.
    """
    if given is not None:
        if not len(given):
            raise ConfigError("payloads is empty", hint="give the inputs of at least one request")
        return given
    if labels is not None:
        raise ConfigError("labels needs payloads", hint="give payloads, whose rows the labels are for")
    rows = _example(client, subject)
    if not rows:
        raise ConfigError(
            "there is nothing to send: the model has no example", hint="give payloads, a list of the inputs of requests"
        )
    return [[row] for row in rows]


def _example(client: ChangeVerbs, subject: Model | Mapping[str, Endpoint]) -> list[Any] | None:
    if isinstance(subject, Model):
        return subject.example
    for endpoint in subject.values():
        session = client.session(endpoint.target)
        for deployment in endpoint.status.deployments:
            found = example_of(session.state_dir, deployment)
            if found:
                return found
    return None
