"""The gateway's table of an endpoint: the replicas, and the share of traffic of each deployment."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .gateway_options import GatewayOptions


def table(
    replicas: Mapping[str, Sequence[Mapping[str, Any]]], weights: Mapping[str, int], options: GatewayOptions
) -> dict[str, Any]:
    """Return the table without its generation.

    Args:
        replicas: The entries of each deployment to serve: ``id``, ``address`` and, if the gateway has to start them,
            ``spawn``.
        weights: Shares in percent; may include deployments without an entry.
        options: The target's settings.
    """
    shares = whole({name: int(weights.get(name, 0)) for name in replicas})
    limits = {
        "max_body": options.max_body,
        "drain_s": options.drain_s,
        "stop_s": options.stop_s,
        "start_s": options.start_s,
        "response_s": options.deadline_s + 5,
    }
    entries = {name: {"weight": shares[name], "replicas": list(many)} for name, many in replicas.items()}
    return {"deployments": entries, "limits": limits}


def content_hash(wanted: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a table without its generation, to recognise an equal table."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def due(wanted: Mapping[str, Any], pushed: Mapping[str, Any], status: Mapping[str, Any]) -> int | None:
    """Return the generation under which to send a table; ``None`` if the gateway has it or is applying it.

    Args:
        wanted: The table without its generation.
        pushed: Generation and content hash of the table that was sent last.
        status: The gateway's answer to ``GET /status``.
    """
    if pushed["content"] == content_hash(wanted) and pushed["generation"] in {status["generation"], status["applying"]}:
        return None
    return int(max(status["generation"], status["applying"] or 0, pushed["generation"])) + 1


def whole(weights: Mapping[str, int]) -> dict[str, int]:
    """Scale weights to sum to 100 again if a deployment is missing, so that the others continue to serve.

    Example:
        >>> whole({"a": 60, "b": 30})
        {'a': 67, 'b': 33}
    """
    total = sum(weights.values())
    if total in {0, 100}:
        return dict(weights)
    shares = {name: 100 * weight // total for name, weight in weights.items()}
    rest = sorted(shares, key=lambda name: (100 * weights[name] / total - shares[name], name), reverse=True)
    return {name: share + (name in rest[: 100 - sum(shares.values())]) for name, share in shares.items()}
