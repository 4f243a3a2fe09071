"""Mini clouds: local servers that implement a cloud's own protocol, so that tests and CI need no account.

Each one has its own random credentials. They are in files that only their owner may read, never in arguments, and in
the variables that ``mlport mock env`` prints.

A distribution provides a mini cloud by an entry point of the group ``mlport.clouds``. The entry point names a class
that is constructed with a folder of its own and the name of a runner (``process`` or ``docker``: how models and jobs
are run behind it). ``mlport mock up`` starts it in its own process, ``mlport mock env`` prints the variables that
point clients to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import ConfigError, MissingExtraError, PlatformError, SdkError, TimedOut, UnreadableError
from ...util import foreign, kept
from ...util.private import private_folder, write_private
from ...util.suggest import did_you_mean
from ..registry import extra_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from contextlib import AbstractContextManager

GROUP = "mlport.clouds"
START_S = 30.0
_PAUSE_S = 0.02
_LARGEST = 1 << 20  # bytes of a file that a mini cloud writes
_told: set[tuple[str, str]] = set()


class MiniCloud(Protocol):
    """The interface of the class behind an entry point."""

    def __init__(self, folder: Path, runner: str) -> None: ...

    def start(self) -> Mapping[str, str]:
        """Start answering, and return the variables that point clients here."""
        ...

    def close(self) -> None:
        """Stop everything that was started: servers, containers, processes."""
        ...


def tell(provider: str, url: str, variable: str) -> None:
    """Write to standard error, once per process, that a provider's targets use a mini cloud and not the real platform.

    Args:
        provider: Name of the provider.
        url: Where the mini cloud listens.
        variable: The environment variable that points to it.
    """
    if (provider, url) not in _told:
        _told.add((provider, url))
        with contextlib.suppress(AttributeError, OSError, ValueError):  # standard error is missing or closed
            sys.stderr.write(f"mlport: {provider} targets use the mini cloud at {url} ({variable})\n")


def names() -> tuple[str, ...]:
    """Return the names of the installed mini clouds, sorted; none is imported."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load(name: str) -> Any:
    """Return the class of a mini cloud.

    Raises:
        ConfigError: The mini cloud does not exist.
        MissingExtraError: A package that it needs is not installed.
    """
    _check(name)
    point = next(point for point in entry_points(group=GROUP) if point.name == name)
    with needed(name):
        return point.load()


def needed(name: str) -> AbstractContextManager[None]:
    """Return a context in which a missing module is reported as one of the extra that mini clouds need."""
    return extra_of(name, subject=f"mini cloud {name!r}", extra="mock")


def up(name: str, state: Path, *, runner: str = "process") -> dict[str, str]:
    """Start a mini cloud in the background, unless it runs, and return the variables that point clients to it.

    Args:
        name: One of :func:`names`.
        state: The state folder.
        runner: How models and jobs are run behind it: ``"process"`` or ``"docker"``.

    Raises:
        ConfigError: The mini cloud does not exist.
        PlatformError: It ended at once; with its output.
    """
    folder = _folder(name, state)
    if not _pid(folder):
        (folder / "env.json").unlink(missing_ok=True)
        write_private(folder / "log", b"")
        with (folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "sdk.adapter.shared.mini_clouds", name, str(folder), runner]
            process = subprocess.Popen(  # noqa: S603  # our own module
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _await(name, folder, process)
    return env(name, state)


def env(name: str, state: Path, *, account: str | None = None) -> dict[str, str]:
    """Return the variables that point clients to a running mini cloud, with credentials that it accepts.

    Args:
        name: One of :func:`names`.
        state: The state folder.
        account: The account whose credentials to return, in a cloud where each has its own.

    Raises:
        ConfigError: The mini cloud is not running, or has no credentials for this account.
        UnreadableError: The file that it wrote at its start is damaged or missing.
    """
    folder = _folder(name, state)
    if not _pid(folder):
        raise ConfigError(f"mini cloud {name!r} does not run", hint=f"start it with: mlport mock up {name}")
    with _restart_helps(name):
        found = _variables(name, folder / "env.json")
        return found if account is None else {**found, **_of_account(name, folder, account)}


def _variables(name: str, path: Path) -> dict[str, str]:
    found: dict[Any, Any] = foreign.table(_written(name, path), str(path))
    if found and all(isinstance(value, str) for value in found.values()):
        return found
    raise UnreadableError(f"{path} does not hold the variables of a mini cloud")


def _written(name: str, path: Path) -> bytes:
    """Return what a running mini cloud wrote when it started.

    Raises:
        UnreadableError: The file was removed since.
    """
    try:
        data = kept.read_regular(path, _LARGEST)
    except ValueError as error:
        raise UnreadableError(f"{path} cannot be used: {error}") from error
    if data is None:
        raise UnreadableError(f"{path} is gone, though the mini cloud {name!r} runs")
    return data


@contextlib.contextmanager
def _restart_helps(name: str) -> Generator[None]:
    try:
        yield
    except UnreadableError as error:
        error.hint = f"run: mlport mock down {name} && mlport mock up {name}"
        raise


def has_accounts(name: str) -> bool:
    """Return whether a mini cloud has different credentials for each account."""
    return hasattr(load(name), "account_variables")


def _of_account(name: str, folder: Path, account: str) -> dict[str, str]:
    if not has_accounts(name):
        hint = "leave --account out: what it prints is good everywhere in this cloud"
        raise ConfigError(f"mini cloud {name!r} has no credentials by account", hint=hint)
    try:
        found: dict[str, str] = load(name).account_variables(_written(name, folder / "secret"), account)
    except ValueError as error:
        raise ConfigError(f"--account: {error}", hint="write it as in an ARN, such as 123456789012") from error
    return found


def is_up(name: str, state: Path) -> bool:
    """Return whether a mini cloud is running."""
    return _pid(_folder(name, state)) != 0


def down(name: str, state: Path, *, timeout_s: float = START_S) -> bool:
    """Stop a mini cloud and everything that runs behind it; return whether it was running.

    Raises:
        TimedOut: The mini cloud did not end.
    """
    folder = _folder(name, state)
    pid, deadline = _pid(folder), time.monotonic() + timeout_s
    if not pid:
        return False
    os.kill(pid, signal.SIGTERM)
    while _pid(folder):
        if time.monotonic() > deadline:
            raise TimedOut(f"mini cloud {name!r} did not end", waited_s=timeout_s, resource=name)
        time.sleep(_PAUSE_S)
    return True


def exports(variables: Mapping[str, str]) -> str:
    """Return shell lines that set the variables.

    Example:
        >>> exports({"URL": "http://127.0.0.1:1 x"})
        "export URL='http://127.0.0.1:1 x'"
    """
    return "\n".join(f"export {key}={shlex.quote(value)}" for key, value in sorted(variables.items()))


def _folder(name: str, state: Path) -> Path:
    _check(name)
    try:
        for folder in (state, state / "mocks"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_folder(state / "mocks")
        return private_folder(state / "mocks" / name)
    except PermissionError as error:
        hint = "set MLPORT_STATE_DIR to a folder of your own"
        raise ConfigError(f"credentials cannot be kept in {state}: {error}", hint=hint) from error


def _check(name: str) -> None:
    known = names()
    if name not in known:
        hint = did_you_mean(name, known) if known else "none is installed"
        raise ConfigError(f"there is no mini cloud {name!r}", hint=hint)


def _pid(folder: Path) -> int:
    """Return the process id of the running mini cloud, read from the lock file that it holds; 0 if none runs."""
    try:
        with (folder / "lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 0
    except FileNotFoundError:
        return 0
    except IsADirectoryError:  # no process can hold a lock on that
        kept.set_aside(folder / "lock")
        return 0
    except BlockingIOError:
        return _number(folder / "lock")


def _number(lock: Path) -> int:
    """Return the process id in a lock that is held; 0 if the process has not written it yet."""
    text = b"?" if (found := kept.recall(lock, _LARGEST)) is None else found[:20]
    if text.isdigit() or not text:
        return int(text or b"0")
    raise UnreadableError(
        f"{lock} does not say which process runs the mini cloud, since it was damaged",
        hint=f"stop the process that holds it (`fuser {lock}` names it), then start the mini cloud again",
    )


def _await(name: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while not (folder / "env.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise _not_started(name, folder / "log", process.returncode)
        time.sleep(_PAUSE_S)


def _not_started(name: str, log: Path, code: int | None) -> SdkError:
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    if code == MissingExtraError.exit_code:  # the output already says what is missing and how to install it
        return MissingExtraError(said, provider=name, operation="mock up")
    last = said.rpartition("\n")[2] or "it said nothing"
    hint = f"{log} has the rest" if "\n" in said else None
    return PlatformError(f"mini cloud {name!r} did not start: {last}", operation="mock up", resource=name, hint=hint)


def _serve(name: str, folder: Path, runner: str) -> None:
    """Run a mini cloud in this process until SIGTERM or SIGINT."""
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    with (folder / "lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        lock.flush()
        with needed(name):
            cloud: MiniCloud = load(name)(folder, runner)
        try:
            with needed(name):
                found = dict(cloud.start())
            write_private(folder / "env.json", json.dumps(found).encode())
            signal.sigwait(stop)
        finally:
            cloud.close()
            for one in ("env.json", "secret"):
                (folder / one).unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        _serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except SdkError as told:
        sys.stderr.write(str(told))
        sys.exit(told.exit_code)
