"""The process runner: runs images as processes of this machine, with this Python, so that CI needs no engine.

Only the layers that hold code and dependencies are unpacked, once per image; the interpreter and the system below
them are this machine's own. Where root rights or user namespaces are available, each container has its own view of the
files (``/opt/mlport``, ``/opt/ml``, …) and of processes; elsewhere it finds them under the folder named by
``MLPORT_ROOT``, and paths in its arguments and environment are rewritten.

It cannot provide a Python other than this one, limits of memory and CPU, or the image's own port. The variables by
which platforms set the port (``AIP_HTTP_PORT``, ``SAGEMAKER_BIND_TO_PORT``, ``PORT``) and ``MLPORT_BIND`` name a free
port instead; an image that insists on its own port needs the docker runner.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

import psutil

from sdk.packaging.image.manifests import ImageConfig

from ..images import unpack
from .base import Launch, Runner, Running, StartFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.packaging.image.manifests import Image

Isolation = Literal["root", "user", "prefix"]

CLOSED = "the runner was closed meanwhile"
INSIDE = Path(__file__).with_name("inside.py")
_PORTS = ("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT", "PORT")
#: Top-level folders of an image that are ignored, because this machine's own are used.
_SYSTEM = frozenset({"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "usr", "var"})
#: Of these top-level folders only the folders inside belong to the image; the rest stays this machine's.
_SHARED = frozenset({"home", "media", "mnt", "opt", "root", "srv", "tmp"})
_KILL_S = 10.0
_LINES = 10_000


class Process(Protocol):
    """The parts of :class:`subprocess.Popen` that a runner needs."""

    pid: int

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...


class ProcessRunner(Runner):
    """The process runner.

    Args:
        folder: For unpacked images, and for one folder per process while it runs.
        isolation: How a container gets its view of the files; the strongest way that this machine allows when left out.
        share: A folder of unpacked images that outlives this runner.
    """

    name = "process"

    def __init__(self, folder: Path, *, isolation: Isolation | None = None, share: Path | None = None) -> None:
        self._folder = folder
        self._cache = share or folder / "images"
        self.isolation: Isolation = isolation or find_isolation()
        self._running: list[ProcessRunning] = []
        self._lock = threading.Lock()
        self._numbers = 0
        self._closed = False
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self, launch: Launch) -> Running:
        """Run an image; see :meth:`Runner.start`."""
        image = image_of(launch)
        config = ImageConfig.read(image.config)
        _check_python(config.labels.get("dev.mlport.python"), image.title)
        root = unpack(image, launch.registry.store, self._cache)
        with self._lock:
            self._numbers += 1
            folder = self._folder / f"run-{self._numbers}"
        (folder / "root").mkdir(parents=True)
        port = free_port() if launch.port is not None else None
        spec = self._spec(launch, config, root, folder, port)
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        running = ProcessRunning(launch.name, self._begin(folder, root), folder, port)
        with self._lock:
            self._running = [item for item in self._running if item.exit_code is None]
            if not self._closed:
                self._running.append(running)
                return running
        running.stop(0.0)
        raise StartFailed(CLOSED)

    def close(self) -> None:
        """End everything that was started and still runs."""
        with self._lock:
            self._closed = True  # another thread may be starting a deployment
            running, self._running = self._running, []
        for item in running:
            item.stop(0.0)

    def alive(self) -> list[str]:
        """Return the names of everything that runs."""
        with self._lock:
            return sorted(item.name for item in self._running if item.exit_code is None)

    def _begin(self, folder: Path, root: Path) -> Process:
        """Start the first process in its own process group; its input is a pipe that closes when this process dies."""
        return subprocess.Popen(  # our own script
            [base_python(), "-I", "-S", str(INSIDE), str(folder / "spec.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath},
            start_new_session=True,
        )

    def _spec(self, launch: Launch, config: ImageConfig, root: Path, folder: Path, port: int | None) -> dict[str, Any]:
        binds = {**image_binds(root), **{path: str(source) for path, source in launch.mounts.items()}}
        env = {**config.env, **launch.env}
        env["PATH"] = os.pathsep.join([str(self._python_folder()), env.get("PATH", ""), os.defpath])
        if not (self.isolation == "root" and launch.user is None and everybody_reads(Path(sys.base_prefix))):
            env["MLPORT_RUN_AS"] = "0"  # the user it would become could not read this Python
        if port is not None:
            env |= {name: str(port) for name in _PORTS if name in env or name == "SAGEMAKER_BIND_TO_PORT"}
            env["MLPORT_BIND"] = f"tcp:127.0.0.1:{port}"
        argv, cwd = arguments(launch, config), config.working_dir or "/"
        if self.isolation == "prefix":
            prefix = self._prefix(folder, binds)
            argv, env = rewritten(argv, env, tuple(binds), str(prefix))
            env["MLPORT_ROOT"], cwd = str(prefix), str(prefix / cwd.strip("/"))
            Path(cwd).mkdir(parents=True, exist_ok=True)
        argv = [shutil.which(argv[0], path=env["PATH"]) or argv[0], *argv[1:]]
        return {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "binds": binds,
            "user": launch.user,
            "root": str(folder / "root"),
            "isolation": self.isolation,
        }

    def _prefix(self, folder: Path, binds: Mapping[str, str]) -> Path:
        """Return a folder in which each path of the container is a link to its folder."""
        prefix = folder / "prefix"
        for path, source in binds.items():
            place = prefix / path.strip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
        return prefix

    def _python_folder(self) -> Path:
        """Return a folder with ``python`` and ``python3``, however the machine names its interpreter."""
        folder = self._folder / "bin"
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
                with suppress(FileExistsError):
                    (folder / name).symlink_to(base_python())
        return folder


class ProcessRunning(Running):
    """A running process; its output is read as it comes, so that each line has its time."""

    def __init__(self, name: str, process: Process, folder: Path, port: int | None) -> None:
        self.name = name
        self.address = f"http://127.0.0.1:{port}" if port else ""
        self._process, self._folder = process, folder
        self._lines: list[tuple[float, str]] = []
        self._last_usage = (0.0, 0)
        assert process.stdout is not None  # PIPE was asked for
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def logs(self) -> list[tuple[float, str]]:
        """Return its output so far."""
        if self.exit_code is not None:
            self._reader.join(_KILL_S)
        return list(self._lines)

    @property
    def exit_code(self) -> int | None:
        """The exit code; ``None`` while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._release()
        return 128 - code if code < 0 else code

    def stop(self, grace_s: float = 30.0) -> None:
        """Send SIGTERM to the container, then SIGKILL."""
        if grace_s > 0 and self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self._release()
        try:
            self._process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end_group()
        self._reader.join(_KILL_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def usage(self) -> tuple[float, int]:
        """Return CPU seconds and bytes of memory."""
        with suppress(psutil.Error):
            family = psutil.Process(self._process.pid).children(recursive=True)
            cpu = sum(sum(process.cpu_times()[:4]) for process in family)
            memory = sum(process.memory_info().rss for process in family)
            self._last_usage = (max(cpu, self._last_usage[0]), memory)
        return self._last_usage

    def _release(self) -> None:
        """Signal the end through the pipe, then close it: a process forked since may hold a copy of it open."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with suppress(OSError, ValueError):  # it may have ended; another thread may have been faster
                pipe.write(b"\n")
                pipe.flush()
            with suppress(OSError):
                pipe.close()

    def _end_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in iter(stream.readline, b""):
                if len(self._lines) < _LINES:
                    self._lines.append((time.time(), line.decode("utf-8", "replace").rstrip("\n")))


# --- what a launch means ----------------------------------------------------------------------------------------------


def image_of(launch: Launch) -> Image:
    """Return the image to run.

    Raises:
        StartFailed: The registry does not have it.
    """
    image = launch.registry.image(*launch.place)
    if image is None:
        raise StartFailed(f"the registry has no image {launch.reference}")
    return image


def arguments(launch: Launch, config: ImageConfig) -> list[str]:
    """Return the command line, combining entrypoint and command as Docker does.

    Raises:
        StartFailed: There is nothing to run.
    """
    if launch.shell:
        return ["bash", "-c", *(launch.command or ())]
    own = launch.entrypoint is None
    entrypoint: Sequence[str] = config.entrypoint if launch.entrypoint is None else launch.entrypoint
    command = (config.command if own else ()) if launch.command is None else launch.command
    line = [*entrypoint, *command]
    if not line:
        raise StartFailed(f"image {launch.reference} has no entrypoint and no command was given")
    return line


def image_binds(root: Path) -> dict[str, str]:
    """Return which folders of an unpacked image replace the machine's own."""
    binds: dict[str, str] = {}
    for top in sorted(root.iterdir()):
        if top.name in _SHARED and top.is_dir() and not top.is_symlink():
            binds |= {f"/{top.name}/{item.name}": str(item) for item in sorted(top.iterdir())}
        elif top.name not in _SYSTEM:
            binds[f"/{top.name}"] = str(top)
    return binds


def rewritten(
    argv: Sequence[str], env: Mapping[str, str], paths: Sequence[str], prefix: str
) -> tuple[list[str], dict[str, str]]:
    """Return arguments and variables with the container's paths put under a prefix.

    Example:
        >>> rewritten(["a", "/opt/ml/x", "/opt/mlx"], {"P": "/opt/ml:/usr"}, ["/opt/ml"], "/r")
        (['a', '/r/opt/ml/x', '/opt/mlx'], {'P': '/r/opt/ml:/usr'})
    """
    if not paths:
        return list(argv), dict(env)
    choices = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])(?:{choices})(?![\w.-])")

    def put(text: str) -> str:
        return pattern.sub(lambda found: prefix + found[0], text)

    return [put(text) for text in argv], {name: put(text) for name, text in env.items()}


def free_port() -> int:
    """Return a port on which no process listens now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def base_python() -> str:
    """Return this interpreter without its virtual environment, so that an image has to bring what it needs."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def everybody_reads(path: Path) -> bool:
    """Return whether other users may enter this folder and read it."""
    return all(folder.stat().st_mode & 0o5 == 0o5 for folder in [path, *path.parents])


@functools.cache
def find_isolation() -> Isolation:
    """Return the strongest isolation that this machine allows, found by trying."""
    ways: tuple[Isolation, ...] = ("root",) if os.geteuid() == 0 else ("user",)
    for way in ways if sys.platform == "linux" else ():
        if _works(way):
            return way
    return "prefix"


def _works(isolation: Isolation) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.json"
        (Path(folder) / "root").mkdir()
        spec.write_text(
            json.dumps(
                {
                    "argv": ["/bin/true"],
                    "env": {},
                    "cwd": "/",
                    "binds": {"/opt/mlport-probe": folder},
                    "user": None,
                    "root": f"{folder}/root",
                    "isolation": isolation,
                }
            )
        )
        with subprocess.Popen(  # our own script
            [base_python(), "-I", "-S", str(INSIDE), str(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            return process.wait(_KILL_S) == 0


def _check_python(wanted: str | None, title: str) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if wanted is not None and wanted != here:
        raise StartFailed(
            f"image {title} is for Python {wanted}, this is {here}; use the docker runner, or pack it with {here}"
        )
