"""Google's generated clients, without importing the thirty services that mlport does not use.

``google.cloud.aiplatform_v1`` imports the clients of all its services when any part of it is imported, which takes
twice the time and memory of the few that are needed. On Python 3.15 it does so lazily (it names them in
``__lazy_modules__``, PEP 810); :func:`defer` does the same on older versions: the package is importable at once, and
its ``__init__`` runs when code asks for a name that is not one of its submodules. The package therefore stays complete
for all other code in the process.
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
    """Return the generated client class of ``endpoints``, ``models`` or ``jobs``."""
    defer(PACKAGE)
    return getattr(import_module(f"{PACKAGE}.services.{_SERVICES[service]}"), _CLIENTS[service])


def defer(name: str) -> None:
    """Make a package importable submodule by submodule; leave it as it is if it was imported already.

    Raises:
        ImportError: The package is not installed.
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
    """A ``__getattr__`` hook that runs a package's ``__init__`` for the first name that is not a submodule."""

    def __init__(self, module: ModuleType, run: Callable[[ModuleType], object]) -> None:
        self.module, self.run = module, run
        self._lock = threading.RLock()  # the thread that runs the `__init__` may ask for more names in the meantime
        self._state: Literal["new", "running", "done"] = "new"

    def get(self, name: str) -> Any:
        """Return the value of a name that the package does not hold yet.

        A submodule is imported under the locks of the import system alone: no thread may wait for the lock of this
        class while it holds one of those.
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
        """Run the ``__init__`` and then remove this hook; if it fails, the next request for a name runs it again."""
        self._state = "running"
        try:
            self.run(self.module)
        except BaseException:
            self._state = "new"
            raise
        self._state = "done"
        if vars(self.module).get("__getattr__") == self.get:
            del vars(self.module)["__getattr__"]
