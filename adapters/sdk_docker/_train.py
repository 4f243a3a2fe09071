"""Training jobs: one container each, which keeps its output in its own volume until it is deleted."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels, Live, Ref
from sdk.errors import ConfigError, ConflictError
from sdk.plane import inputs
from sdk.plane.planning import JOB
from sdk.types import JobState, JobStatus, LogLine

from ._engine import KIND, NOBODY, PRICE, SPEC, hardened, pack, unpack
from ._errors import PROVIDER, gone
from ._images import name_of, seconds
from ._plan import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sdk.adapter import Materials, Resource

    from ._engine import Host
    from .options import DockerOptions

_VOLUME = "/mlport"
_FOLLOW_S = 0.3


class Jobs:
    """All jobs of one engine."""

    def __init__(self, host: Host, options: DockerOptions) -> None:
        self.host = host
        self.options = options

    def submit(self, resource: Resource, materials: Materials, timeout: float) -> None:
        """Make the container, put the data into its volume, start it."""
        name = job_name(resource.id)
        spec: dict[str, Any] = dict(resource.spec or {})
        data = inputs.local_data(spec["data"], PROVIDER)
        self.host.create(name, _body(resource, data, materials), timeout)
        self.host.put(name, _VOLUME, pack({"output": None, "data": None, "work": None}), timeout)
        for channel, path in data.items():
            self.host.put(name, f"{_VOLUME}/data", _packed(channel, path), timeout)
        self.host.start(name, timeout)

    def all(self, timeout: float) -> Iterator[Live]:
        """All jobs, running or over."""
        for item in self.host.containers(timeout, kind=JOB):
            live = self.read(str(item["Labels"]["mlport-endpoint"]), timeout)
            if live is not None:
                yield live

    def read(self, name: str, timeout: float) -> Live | None:
        """The job as a resource: ready from the moment it is accepted, free once it is over."""
        about = self.host.inspect(job_name(name), timeout)
        if about is None:
            return None
        labels: dict[str, str] = about["Config"]["Labels"]
        state, reason = outcome(about)
        spec = json.loads(labels[SPEC])
        return Live(
            JOB,
            name,
            "ready",
            raw=str(about["State"]["Status"]),
            spec=spec,
            labels=Labels.from_tags(labels),
            created_at=seconds(about["Created"]),
            parents=(Ref(IMAGE, spec["image"]),),
            usd_per_hour=0.0 if state.finished else json.loads(labels[PRICE]),
            reason=reason,
        )

    def status(self, name: str, target: str, now: float, timeout: float) -> JobStatus | None:
        """The job in neutral words; one that is past its time is ended."""
        about = self.host.inspect(job_name(name), timeout)
        if about is None:
            return None
        state, reason = outcome(about)
        started, ended = seconds(about["State"]["StartedAt"]), seconds(about["State"]["FinishedAt"])
        price = json.loads(about["Config"]["Labels"][PRICE])
        hours = 0.0 if started is None else ((ended if state.finished and ended else now) - started) / 3600
        return JobStatus(
            name=name,
            target=target,
            provider=PROVIDER,
            state=state,
            raw=str(about["State"]["Status"]),
            reason=reason,
            created_at=seconds(about["Created"]),
            started_at=started,
            ended_at=ended if state.finished else None,
            exit_code=about["State"]["ExitCode"] if state.finished else None,
            usd=None if price is None else hours * price,
        )

    def stop(self, name: str, timeout: float) -> None:
        """Ask the job to end; nothing happens when it is over."""
        about = self._existing(name, timeout)
        if about["State"]["Running"]:
            self.host.put(job_name(name), _VOLUME, pack({"stopped": b"1"}), timeout)
            params = {"t": f"{self.options.stop_s:.0f}"}
            path = f"/containers/{job_name(name)}/stop"
            self.host.engine.call("POST", path, params=params, timeout_s=timeout + self.options.stop_s)

    def delete(self, name: str, timeout: float) -> None:
        """Remove a job that is over; one that runs is ended first.

        Raises:
            ConflictError: It still runs; retryable.
        """
        self.stop(name, timeout)
        about = self._existing(name, timeout)
        if about["State"]["Running"]:
            raise ConflictError(f"job {name!r} is being stopped", provider=PROVIDER, resource=name, retryable=True)
        self.host.remove(job_name(name), timeout)

    def output(self, name: str, directory: Path, timeout: float) -> None:
        """Copy what the job left."""
        self._existing(name, timeout)
        for path, data in unpack(self.host.get(job_name(name), f"{_VOLUME}/output")).items():
            parts = Path(path).parts[1:]
            if ".." in parts or Path(path).is_absolute():
                raise ConfigError(f"job {name!r} left a file with an unsafe name: {path!r}")
            file = directory.joinpath(*parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def logs(self, name: str, *, follow: bool, tail: int | None, sleep: Callable[[float], None]) -> Iterator[LogLine]:
        """The lines so far; with ``follow`` also those to come until the job is over."""
        shown = 0
        lines = 1_000_000 if tail is None or follow else tail
        while True:
            over = not self._existing(name, 30.0)["State"]["Running"]
            found = self.host.engine.logs(job_name(name), tail=lines)
            start = max(0, len(found) - tail) if tail is not None and not shown else shown
            for text in found[start:]:
                yield LogLine(0.0, text)
            shown = len(found)
            if over or not follow:
                return
            sleep(_FOLLOW_S)

    def _existing(self, name: str, timeout: float) -> dict[str, Any]:
        about = self.host.inspect(job_name(name), timeout)
        if about is None:
            raise gone(JOB, name)
        return about


def job_name(name: str) -> str:
    """The name of a job's container."""
    return f"mlport-job-{name}"


def outcome(about: Mapping[str, Any]) -> tuple[JobState, str | None]:
    """How a job goes, from what the engine says of its container."""
    state: Mapping[str, Any] = about["State"]
    if state["Running"] or state["Status"] == "created":
        return (JobState.RUNNING if state["Running"] else JobState.QUEUED), None
    if state.get("OOMKilled"):
        return JobState.FAILED, "it was killed for the memory it used; give it more with resources = { memory_gib }"
    code = int(state["ExitCode"])
    if code == 0:
        return JobState.SUCCEEDED, None
    if code in {130, 137, 143}:
        return JobState.STOPPED, None
    return JobState.FAILED, "it took longer than its timeout" if code == 124 else f"exited with code {code}"


def _packed(channel: str, path: Path) -> bytes:
    buffer = io.BytesIO()

    def own(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = NOBODY
        return info

    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as tar:
        tar.add(path, arcname=channel if path.is_dir() else f"{channel}/{path.name}", filter=own)
    return buffer.getvalue()


def _inside(channel: str, path: Path) -> str:
    return f"{_VOLUME}/data/{channel}" + ("" if path.is_dir() else f"/{path.name}")


def _body(resource: Resource, data: Mapping[str, Path], materials: Materials) -> dict[str, Any]:
    spec: dict[str, Any] = dict(resource.spec or {})
    given = {**spec["env"], **materials.resolve(spec["secrets"])}
    threads = {"MLPORT_THREADS": str(max(1, round(spec["cpu"])))} if spec["cpu"] else {}
    own = {
        "MLPORT_OUTPUT_DIR": f"{_VOLUME}/output",
        "MLPORT_METRICS_FILE": f"{_VOLUME}/metrics.json",
        "MLPORT_PARAMS": json.dumps(spec["params"]),
        **{f"MLPORT_DATA_{channel.upper()}": _inside(channel, path) for channel, path in data.items()},
    }
    limit = f"{spec['timeout_s']:g}"
    return {
        "Image": name_of(spec["image"]),
        "Entrypoint": ["timeout", "--kill-after=10", limit, "python", "-P", "-m", "mlport_serving"],
        "Cmd": ["train"],
        "User": f"{NOBODY}:{NOBODY}",
        "WorkingDir": f"{_VOLUME}/work",
        "Env": [f"{key}={value}" for key, value in {**threads, **given, **own}.items()],
        "Labels": {**resource.tags, KIND: JOB, SPEC: json.dumps(spec), PRICE: json.dumps(resource.usd_per_hour)},
        "HostConfig": {
            **hardened(spec["cpu"], spec["memory_gib"]),
            "Mounts": [{"Type": "volume", "Target": _VOLUME}],
        },
    }
