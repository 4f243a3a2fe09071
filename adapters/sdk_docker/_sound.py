"""Validation of labels and records read from an engine; damage is recorded and does not stop an operation.

Labels and records can be written by every user of the engine. A container with unusable labels gets replacement labels
and a note of the damage, so that it is listed and can be removed like any other.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional

import msgspec
from msgspec import Meta

from sdk.adapter import Labels
from sdk.adapter.shared.gateway_status import DAMAGE
from sdk.errors import InvalidNameError, UnreadableError
from sdk.util import foreign
from sdk.util.names import check_name

from ._containers import DEPLOYMENT, ENDPOINT, PRICE, SPEC

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DAMAGED = "mlport-damaged"
"""A label that is set only in memory, never in the engine: why the labels of a container were replaced."""


class Damage(NamedTuple):
    """A description of an unusable record; ``etag`` is that of a record which the gateway still stores."""

    text: str
    etag: str | None = None


class _Workload(msgspec.Struct):
    image: str
    replicas: Annotated[int, Meta(ge=1, le=10_000)]
    cpu: float | None = None
    memory_gib: float | None = None


class _TrafficSpec(msgspec.Struct):
    weights: dict[str, Annotated[int, Meta(ge=0, le=100)]]


class _Traffic(msgspec.Struct):
    labels: dict[str, str]
    spec: _TrafficSpec


class _Gateway(msgspec.Struct):
    labels: dict[str, str]
    spec: dict[str, Any]


class _Failed(msgspec.Struct):
    reason: str


_FORMS: dict[str, Any] = {"gateway": _Gateway, "traffic": _Traffic, "failed": _Failed, "ending": dict[str, Any]}


_PRICE: Any = Optional[Annotated[float, Meta(ge=0)]]  # noqa: UP045  # an annotation takes no | before Python 3.14


def container(about: dict[str, Any]) -> dict[str, Any]:
    """Return the container, with replacement labels if its own cannot be used."""
    return {**about, "Config": {**about["Config"], "Labels": usable(about["Config"]["Labels"] or {})}}


def usable(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels of a container, with replacements for those that cannot be used."""
    try:
        msgspec.json.decode(labels[SPEC], type=_Workload)
        foreign.table(labels[SPEC], f"the label {SPEC}")
        msgspec.json.decode(labels[PRICE], type=_PRICE)
    except (KeyError, ValueError, RecursionError, UnreadableError) as error:
        what = f"it has no label {error}" if isinstance(error, KeyError) else f"a label is damaged: {error}"
        spec = {"image": "", "replicas": 1}
        return {**labels, SPEC: json.dumps(spec), PRICE: "null", DAMAGED: what[:300]}
    return labels


def deployment_of(labels: Mapping[str, str], container: str) -> str:
    """Return the deployment of a replica's container, from its name if no label names it."""
    return labels.get(DEPLOYMENT) or container.rpartition("_")[2].rpartition("-")[0] or container.lstrip("/")


def labels_of(labels: Mapping[str, str], name: str) -> Labels:
    """Return the labels of this SDK; minimal ones if there are none."""
    return Labels.from_tags(labels) or Labels(name, labels.get("mlport-owner", ""), "")


def endpoints_of(labels: Iterable[Mapping[str, str] | None]) -> set[str]:
    """Return the names in these labels that are valid names of an endpoint or job."""
    found: set[str] = set()
    for one in labels:
        try:
            found.add(check_name((one or {}).get(ENDPOINT, "")))
        except InvalidNameError:
            continue  # no resource of this SDK has such a name
    return found


def records(answer: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Damage]]:
    """Return the sound records of a gateway, and descriptions of the damaged ones."""
    aside: Mapping[str, str] = answer.get("damaged", {})
    what = "its record {}.json was damaged and set aside as {}"
    damaged = {name: Damage(what.format(name, file)) for name, file in aside.items()}
    sound: dict[str, dict[str, Any]] = {}
    for name, record in answer["records"].items():
        form = _FORMS.get(name.partition("-")[0])
        try:
            msgspec.convert(record["value"], type=form)
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            damaged[name] = Damage(f"its record {name} has another form than expected: {error}", record.get("etag"))
        else:
            sound[name] = record
    return sound, damaged


def rebuilt(
    record: str, name: str, damage: Damage, gateway: Mapping[str, Any], status: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the value of a damaged record of an endpoint or its traffic, rebuilt from labels and the gateway's status.

    Its spec is marked as rebuilt, so that the next deploy replaces it.
    """
    labels = replace(labels_of(gateway["Config"]["Labels"], name), generation=0, model="", spec="")
    spec: dict[str, Any] = {"rebuilt": True}
    if record == "traffic":
        known: dict[str, Any] = status.get("deployments", {})
        spec["weights"] = {one: int(deployment["weight"]) for one, deployment in known.items()}
    return {"labels": labels.to_tags(), "spec": spec, DAMAGE: damage.text}
