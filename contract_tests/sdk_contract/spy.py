"""An adapter under observation: what was called, in which order, and what happens around each call."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sdk.adapter import Adapter

READS = ("observe", "list", "read", "operation", "doctor", "job_status", "job_logs", "job_output", "metrics", "logs")
LEASES = ("lease_read", "lease_write", "lease_delete")
CHANGES = ("create", "update", "delete", "stop_job")


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of an adapter and its subject (``Ref`` as text, or a name)."""

    operation: str
    subject: str = ""

    @property
    def changes(self) -> bool:
        """Whether it changes the platform."""
        return self.operation in CHANGES


@dataclass
class Calls:
    """All operations that went through the adapters made with it; ``hook`` runs before and after each."""

    made: list[Call] = field(default_factory=list[Call])
    hook: Callable[[str, Call], None] | None = None

    @property
    def changes(self) -> list[Call]:
        """The calls that changed the platform."""
        return [call for call in self.made if call.changes]

    def around(self, call: Call, do: Callable[[], Any]) -> Any:
        """Record one call, and run the hook before and after it."""
        self.made.append(call)
        if self.hook is not None:
            self.hook("before", call)
        result = do()
        if self.hook is not None:
            self.hook("after", call)
        return result

    @contextmanager
    def since(self) -> Generator[Calls]:
        """Collect only the calls made inside the ``with`` block.

        Example:
            >>> calls = Calls()
            >>> with calls.since() as new:
            ...     calls.around(Call("create", "Model m"), lambda: None)
            >>> [call.operation for call in new.changes]
            ['create']
        """
        start = len(self.made)
        inside = Calls()
        try:
            yield inside
        finally:
            inside.made[:] = self.made[start:]


def watched(adapter: type[Adapter], calls: Calls) -> type[Adapter]:
    """Return a subclass of the adapter whose operations are recorded; everything else is unchanged."""
    names = [name for name in (*READS, *LEASES, *CHANGES) if hasattr(adapter, name)]
    return type(adapter.__name__, (adapter,), {name: _watch(name, getattr(adapter, name), calls) for name in names})


def _watch(name: str, inner: Callable[..., Any], calls: Calls) -> Callable[..., Any]:
    def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
        return calls.around(Call(name, _subject(args)), lambda: inner(self, *args, **kwargs))

    return outer


def _subject(args: tuple[Any, ...]) -> str:
    if not args:
        return ""
    return str(getattr(args[0], "ref", args[0]))


# --- proof that a function is pure -------------------------------------------------------------------------------

_EVENTS = frozenset({
    "socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.exec", "os.fork", "os.posix_spawn",
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.kill", "shutil.rmtree",
})  # fmt: skip
_watching = threading.local()
_installed = False


def _audit(event: str, args: tuple[Any, ...]) -> None:
    seen = getattr(_watching, "seen", None)
    if seen is None:
        return
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event in _EVENTS or writes:
        seen.append(f"{event} {args[0] if args else ''}")


@contextmanager
def effects() -> Generator[list[str]]:
    """Collect the connections, processes and file changes that this thread causes inside the ``with`` block.

    Example:
        >>> with effects() as seen:
        ...     sum([1, 2])
        3
        >>> seen
        []
    """
    global _installed  # noqa: PLW0603 - the interpreter cannot remove an audit hook, so only one is added
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    seen: list[str] = []
    _watching.seen = seen
    try:
        yield seen
    finally:
        _watching.seen = None
