"""The contract between the core and the adapters: the interface, its values, and what adapters share.

Authors of adapters import the names below from here, values from :mod:`sdk.adapter.types`, :mod:`~sdk.adapter.metrics`
and :mod:`~sdk.adapter.prices`, and helpers from :mod:`sdk.adapter.shared`; see docs/adding-an-adapter.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .interface import (
        LARGEST_ANSWER,
        YES,
        Ack,
        Adapter,
        AdapterContext,
        Capability,
        ChangeTimes,
        Check,
        Clock,
        DeploymentSpec,
        DeploymentStatus,
        EndpointSpec,
        EndpointStatus,
        Invoker,
        JobSpec,
        JobStatus,
        Json,
        Kind,
        KnowsInstances,
        KnowsTimes,
        KnowsUsers,
        KnowsVariables,
        Labels,
        LeaseRecord,
        Leases,
        Limits,
        Live,
        LogLine,
        Materials,
        ModelFault,
        Monitors,
        Nature,
        Operation,
        PricesByRegion,
        ProbesAside,
        Ref,
        Replicas,
        Resource,
        Resources,
        ServiceHost,
        Streaming,
        StreamsLogs,
        Support,
        TargetOptions,
        Trains,
        change_times,
        spec_hash,
    )

__all__ = [
    "LARGEST_ANSWER", "YES", "Ack", "Adapter", "AdapterContext", "Capability", "ChangeTimes", "Check", "Clock",
    "DeploymentSpec", "DeploymentStatus", "EndpointSpec", "EndpointStatus", "Invoker", "JobSpec", "JobStatus",
    "Json", "Kind", "KnowsInstances", "KnowsTimes", "KnowsUsers", "KnowsVariables", "Labels", "LeaseRecord",
    "Leases", "Limits", "Live", "LogLine", "Materials", "ModelFault", "Monitors", "Nature", "Operation",
    "PricesByRegion", "ProbesAside", "Ref", "Replicas", "Resource", "Resources", "ServiceHost", "Streaming",
    "StreamsLogs", "Support", "TargetOptions", "Trains", "change_times", "spec_hash",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the interface on first use, since it needs pydantic and the values beside it do not."""
    if name in __all__:
        return getattr(importlib.import_module(".interface", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
