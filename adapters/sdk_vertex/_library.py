"""Google's generated clients, without those of the thirty services that nobody here asks.

``google.cloud.aiplatform_v1`` imports the clients of all its services when any part of it is imported, which takes
twice the time and memory of the few that are needed. On Python 3.15 it does so lazily (it names them in
``__lazy_modules__``, PEP 810); :func:`defer` gives the same to older ones: the package is there at once, and its
``__init__`` runs when somebody asks for a name that is not one of its parts. So it stays whole for everybody else in
the process.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

PACKAGE = "google.cloud.aiplatform_v1"
_SERVICES = {"endpoints": "endpoint_service", "models": "model_service", "jobs": "job_service"}
_CLIENTS = {"endpoints": "EndpointServiceClient", "models": "ModelServiceClient", "jobs": "JobServiceClient"}


def client_class(service: str) -> Any:
    """The generated client of ``endpoints``, ``models`` or ``jobs``."""
    defer(PACKAGE)
    return getattr(import_module(f"{PACKAGE}.services.{_SERVICES[service]}"), _CLIENTS[service])


def defer(name: str) -> None:
    """Makes a package importable part by part; one that somebody has imported already stays as it is.

    Raises:
        ImportError: It is not installed.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = module_from_spec(spec)
    vars(module)["__getattr__"] = _Whole(module, spec.loader.exec_module).get
    if sys.modules.setdefault(name, module) is module:
        holder, _, last = name.rpartition(".")
        setattr(import_module(holder), last, module)


class _Whole:
    """Runs the ``__init__`` of a package when a name is asked for that is none of its parts."""

    def __init__(self, module: ModuleType, run: Callable[[ModuleType], object]) -> None:
        self.module, self.run = module, run
        self._lock = threading.RLock()  # the thread that runs the `__init__` may ask for more names meanwhile
        self._state: Literal["new", "running", "done"] = "new"

    def get(self, name: str) -> Any:
        """What the package holds under a name that it does not have yet.

        A part is imported under the locks of the import system alone: ours must never be waited for while one of those
        is held.
        """
        part = f"{self.module.__name__}.{name}"
        if not name.startswith("__") and find_spec(part) is not None:
            return import_module(part)
        with self._lock:
            if self._state == "running":
                raise AttributeError(f"module {self.module.__name__!r} has no attribute {name!r}")
            if self._state == "new":
                self._run()
        return getattr(self.module, name)

    def _run(self) -> None:
        """The ``__init__``, after which nobody asks here any more; if it fails, whoever asks next tries again."""
        self._state = "running"
        try:
            self.run(self.module)
        except BaseException:
            self._state = "new"
            raise
        self._state = "done"
        if vars(self.module).get("__getattr__") == self.get:
            del vars(self.module)["__getattr__"]
