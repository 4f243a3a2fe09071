"""Train, deploy, call and watch models on any platform with one script.

Each public name is loaded at its first use, so ``import sdk`` is fast. The verbs are methods of one default
:class:`Client`, which reads its configuration when the first verb is called.

Example:
    >>> import sdk
    >>> sdk.capabilities(target="local")["local"]["deploy"].ok
    True
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False  # importing `typing` takes longer than the rest of this file, and Ctrl-C may come meanwhile
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from . import errors
    from .adapter.metrics import Latency, MetricsReport
    from .adapter.registry import register_adapter
    from .adapter.types import EndpointState, EndpointStatus, JobState, JobStatus, Replicas, Resources
    from .client import Client
    from .client.endpoint import Endpoint
    from .client.job import Job
    from .client.monitor import Watch
    from .compare.comparison import Comparison
    from .compare.workload import Workload
    from .dataplane.prediction import Prediction
    from .dataplane.streams import AsyncStream, Stream
    from .executor.plan import Plan
    from .packaging.image import BuiltImage
    from .packaging.model import Model, model

    __version__: str
    _client = Client()
    build = _client.build
    capabilities = _client.capabilities
    compare = _client.compare
    delete = _client.delete
    deploy = _client.deploy
    doctor = _client.doctor
    endpoint = _client.endpoint
    finalize = _client.finalize
    gc = _client.gc
    job = _client.job
    list = _client.list  # noqa: A001  # the verb has this name on the command line, too
    logs = _client.logs
    monitor = _client.monitor
    plan = _client.plan
    policy = _client.policy
    predict = _client.predict
    prices = _client.prices
    promote = _client.promote
    refresh_prices = _client.refresh_prices
    rollback = _client.rollback
    status = _client.status
    stream = _client.stream
    temporary = _client.temporary
    traffic = _client.traffic
    train = _client.train
    unlock = _client.unlock

_HOMES = {
    "AsyncStream": "dataplane.streams",
    "BuiltImage": "packaging.image",
    "Client": "client",
    "Comparison": "compare.comparison",
    "Endpoint": "client.endpoint",
    "EndpointState": "adapter.types",
    "EndpointStatus": "adapter.types",
    "Job": "client.job",
    "JobState": "adapter.types",
    "JobStatus": "adapter.types",
    "Latency": "adapter.metrics",
    "MetricsReport": "adapter.metrics",
    "Model": "packaging.model",
    "Plan": "executor.plan",
    "Prediction": "dataplane.prediction",
    "Replicas": "adapter.types",
    "Resources": "adapter.types",
    "Stream": "dataplane.streams",
    "Watch": "client.monitor",
    "Workload": "compare.workload",
    "model": "packaging.model",
    "register_adapter": "adapter.registry",
}
_VERBS = frozenset({
    "build", "capabilities", "compare", "delete", "deploy", "doctor", "endpoint", "finalize", "gc", "job", "list",
    "logs", "monitor", "plan", "policy", "predict", "prices", "promote", "refresh_prices", "rollback", "status",
    "stream", "temporary", "traffic", "train", "unlock",
})  # fmt: skip

__all__ = [
    "AsyncStream", "BuiltImage", "Client", "Comparison", "Endpoint", "EndpointState", "EndpointStatus", "Job",
    "JobState", "JobStatus", "Latency", "MetricsReport", "Model", "Plan", "Prediction", "Replicas", "Resources",
    "Stream", "Watch", "Workload",
    "__version__", "build", "capabilities", "compare", "delete", "deploy", "doctor", "endpoint", "errors", "finalize",
    "gc", "job", "list", "logs", "model", "monitor", "plan", "policy", "predict", "prices", "promote",
    "refresh_prices", "register_adapter", "rollback", "status", "stream", "temporary", "traffic", "train", "unlock",
]  # fmt: skip


class _Package(ModuleType):
    """The package itself; keeps modules such as ``sdk.model`` from hiding public names that are spelled the same."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and (name in _HOMES or name in _VERBS)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name in _VERBS:
        return getattr(importlib.import_module(".client", __name__).default_client(), name)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("mlport")
    if name == "errors":
        return importlib.import_module(".errors", __name__)
    # With these two arguments Python adds "Did you mean: 'deploy'?" to the message.
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> Iterable[str]:
    return sorted(__all__)
