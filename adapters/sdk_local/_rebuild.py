"""Reconstruction of damaged records from other records, the gateway's table and running processes.

A rebuilt record is written to disk, so that it stays the same while the gateway runs. Its spec is marked as rebuilt, so
that the next deploy replaces it, and ``Record.damage`` makes the endpoint count as degraded until then.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.adapter import Labels
from sdk.serving.gateway import client
from sdk.serving.gateway.addresses import read_address
from sdk.serving.gateway.table import Replica, Table, TableError, load

from ._processes import MARK, marks_in
from ._records import (
    DAMAGE,
    DeploymentForm,
    Form,
    GatewayForm,
    Record,
    TrafficForm,
    asides,
    damage_of,
    keep,
    read_record,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._folder import EndpointFolder

_CALL_S = 1.0
REBUILT = "rebuilt"


def endpoint(folder: EndpointFolder) -> Record:
    """Rebuild the endpoint's own record."""
    port = read_address(folder.path).get("port", 0)
    spec = {"port": port, "expires_at": labels_of(folder).expires_at, REBUILT: True}
    extra = {"run": _run(folder), DAMAGE: damage_of(folder.gateway)}
    return keep(folder.gateway, Record(labels_of(folder), spec, _made_at(folder), extra))


def traffic(folder: EndpointFolder) -> Record | None:
    """Rebuild the record of the weights from those in force; return ``None`` if no such record was damaged.

    Damaged files no longer count once the record that replaced them was removed on purpose, see ``remove_record``.
    """
    if not asides(folder.traffic):
        return None
    table = _table(folder)
    weights = {name: one.weight for name, one in table.deployments.items()} if table else {}
    spec: dict[str, Any] = {"weights": weights, REBUILT: True}
    extra = {DAMAGE: damage_of(folder.traffic)}
    return keep(folder.traffic, Record(labels_of(folder), spec, _made_at(folder), extra))


def deployment(folder: EndpointFolder, name: str) -> Record:
    """Rebuild the record of a deployment as the gateway runs it, without what only the lost record contained."""
    table = _table(folder)
    known = table.deployments.get(name) if table else None
    replicas: list[dict[str, Any]] = msgspec.to_builtins(known.replicas) if known else []
    env = known.replicas[0].spawn.env if known and known.replicas[0].spawn else {}
    model = env.get("MLPORT_MODEL_DIGEST", "")
    labels = replace(labels_of(folder), model=model[:32])
    spec: dict[str, Any] = {"deployment": name, "model": model, "replicas": max(1, len(replicas)), REBUILT: True}
    path = folder.deployment(name)
    extra = {"usd_per_hour": None, "replicas": replicas, DAMAGE: damage_of(path)}
    return keep(path, Record(labels, spec, _made_at(folder), extra))


def labels_of(folder: EndpointFolder) -> Labels:
    """Return the labels of a sound record of this endpoint; without one, minimal labels with this client's owner."""
    found = next(_sound(folder), None)
    if found is None:
        return Labels(folder.name, folder.owner, "")
    return replace(found.labels, generation=0, model="", spec="")


def _sound(folder: EndpointFolder) -> Iterator[Record]:
    forms: list[tuple[Path, type[Form]]] = [(folder.gateway, GatewayForm), (folder.traffic, TrafficForm)]
    forms += [(path, DeploymentForm) for path in sorted(folder.records.glob("d-*.json"))]
    for path, form in forms:
        record = read_record(path, form, folder.name)
        if record is not None:
            yield record


def _table(folder: EndpointFolder) -> Table | None:
    """Return the table in force, from the gateway if it answers, else from its file."""
    if client.is_running(folder.short):
        with contextlib.suppress(client.GatewayError, msgspec.ValidationError):
            found = client.call(folder.short, "GET", "/table", timeout=_CALL_S)["table"]
            return None if found is None else msgspec.convert(found, type=Table)
    with contextlib.suppress(TableError, OSError):
        return load(folder.path / "table.json")
    return None


def _run(folder: EndpointFolder) -> str:
    """Return the mark of the endpoint's processes; if it is lost, a stable one derived from the folder."""
    for record in _sound(folder):
        for entry in record.extra.get("replicas", ()):
            spawn = msgspec.convert(entry, type=Replica).spawn
            if spawn is not None and MARK in spawn.env:
                return spawn.env[MARK]
    found = marks_in(folder.path)
    return min(found) if found else sha256(f"{folder.path} {folder.path.stat().st_ino}".encode()).hexdigest()[:32]


def _made_at(folder: EndpointFolder) -> float:
    """Return when the endpoint was created, estimated from the times of its files."""
    times = [path.lstat().st_mtime for path in (folder.path, folder.path / "token") if path.exists()]
    return min(times, default=0.0)
