"""Training jobs: one container each, which keeps its output in its own volume until it is deleted."""

from __future__ import annotations

import json
import tarfile
import tempfile
from typing import TYPE_CHECKING, Any

from sdk.adapter import Live, Ref
from sdk.adapter.shared import inputs
from sdk.adapter.shared.gateway_plan import JOB
from sdk.adapter.types import JobState, JobStatus, LogLine
from sdk.errors import ConflictError, PlatformError
from sdk.packaging import archive, disk
from sdk.serving.train import KILLED
from sdk.util import bounded, foreign

from . import _sound
from ._containers import KIND, NOBODY, PRICE, SPEC, VOLUME, environment, limits_of, threads
from ._endings import how_ended
from ._engine import pack, seconds
from ._errors import PROVIDER, exists, gone
from ._images import name_of
from ._plan import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sdk.adapter import Materials, Resource

    from ._engine import Host
    from .options import DockerOptions

_FOLLOW_S = 0.3
_OUTPUT = bounded.Bound(
    2 * archive.ArchiveLimits().total_bytes, 600.0, large=True
)  # with the headers of many small files
_BLOCK = 1 << 20
_YOUNG_S = 60.0  # a job that was never started may still be receiving its data until it is this old
_STOPS = {128 + signal for signal in (2, 9, 15)}  # exit codes of a stopped job, or after such a signal
_LAST_LINES = 5


class Jobs:
    """The jobs of one engine."""

    def __init__(self, host: Host, options: DockerOptions) -> None:
        self.host = host
        self.options = options

    def submit(self, resource: Resource, materials: Materials, timeout: float) -> None:
        """Create the container, copy the data into its volume, and start it.

        Raises:
            ConflictError: A job with this name exists.
        """
        name = job_name(resource.id)
        spec: dict[str, Any] = dict(resource.spec or {})
        data = inputs.local_data(spec["data"], PROVIDER)
        try:
            self.host.create(name, _body(resource, data, materials), timeout)
        except ConflictError as error:
            raise exists(resource) from error
        self.host.put(name, VOLUME, pack(dict.fromkeys(("output", "data", "work", "state")), NOBODY), timeout)
        for channel, path in data.items():
            self.host.put(name, f"{VOLUME}/data", _packed(channel, path), timeout)
        self.host.start(name, timeout)

    def all(self, timeout: float) -> Iterator[Live]:
        """Yield all jobs, running or finished."""
        for item in self.host.containers(timeout, kind=JOB):
            for name in _sound.endpoints_of([item["Labels"]]):
                live = self.read(name, timeout)
                if live is not None:
                    yield live

    def read(self, name: str, timeout: float) -> Live | None:
        """Return the job as a resource: ready from the moment it is accepted, at no cost once it has finished."""
        about = self.host.inspect(job_name(name), timeout)
        if about is None:
            return None
        about = _sound.container(about)
        labels: dict[str, str] = about["Config"]["Labels"]
        state, reason = self._outcome(about)
        spec = foreign.parse(labels[SPEC], f"the label {SPEC}")
        return Live(
            JOB,
            name,
            "ready",
            raw=str(about["State"]["Status"]),
            spec=spec,
            labels=_sound.labels_of(labels, name),
            created_at=seconds(about["Created"]),
            parents=(Ref(IMAGE, spec["image"]),) if spec["image"] else (),
            usd_per_hour=0.0 if state.finished else foreign.parse(labels[PRICE], f"the label {PRICE}"),
            reason=reason or labels.get(_sound.DAMAGED),
        )

    def status(self, name: str, target: str, now: float, timeout: float) -> JobStatus | None:
        """Return the job's neutral status."""
        about = self.host.inspect(job_name(name), timeout)
        if about is None:
            return None
        about = _sound.container(about)
        state, reason = self._outcome(about)
        started, ended = seconds(about["State"]["StartedAt"]), seconds(about["State"]["FinishedAt"])
        price = foreign.parse(about["Config"]["Labels"][PRICE], f"the label {PRICE}")
        hours = 0.0 if started is None else ((ended if state.finished and ended else now) - started) / 3600
        return JobStatus(
            name=name,
            target=target,
            provider=PROVIDER,
            state=state,
            raw=str(about["State"]["Status"]),
            reason=reason or about["Config"]["Labels"].get(_sound.DAMAGED),
            created_at=seconds(about["Created"]),
            started_at=started,
            ended_at=ended if state.finished else None,
            exit_code=about["State"]["ExitCode"] if state.finished else None,
            usd=None if price is None else max(0.0, hours) * price,
        )

    def _outcome(self, about: Mapping[str, Any]) -> tuple[JobState, str | None]:
        young = self.host.time(0.0) - (seconds(about["Created"]) or 0.0) < _YOUNG_S
        return outcome(about, young=young, last=lambda: self._last_lines(about))

    def _last_lines(self, about: Mapping[str, Any]) -> list[str]:
        try:
            return self.host.engine.logs(about["Id"], tail=_LAST_LINES)
        except PlatformError:
            return []

    def stop(self, name: str, timeout: float) -> None:
        """Ask the job to end; do nothing if it has finished."""
        about = self._existing(name, timeout)
        if about["State"]["Running"]:
            params = {"t": f"{self.options.stop_s:.0f}"}
            path = f"/containers/{job_name(name)}/stop"
            self.host.engine.call("POST", path, params=params, timeout_s=timeout + self.options.stop_s)

    def delete(self, name: str, timeout: float) -> None:
        """Remove a finished job; one that runs is stopped first.

        Raises:
            ConflictError: The job still runs; retryable.
        """
        self.stop(name, timeout)
        about = self._existing(name, timeout)
        if about["State"]["Running"]:
            raise ConflictError(f"job {name!r} is being stopped", provider=PROVIDER, resource=name, retryable=True)
        self.host.remove(job_name(name), timeout)

    def output(self, name: str, directory: Path, timeout: float) -> None:
        """Copy the job's output, without links and devices."""
        self._existing(name, timeout)
        path = f"/containers/{job_name(name)}/archive"
        with disk.staging_outside(directory.parent) as folder:
            packed, unpacked = folder / "output.tar", folder / "output"
            params = {"path": f"{VOLUME}/output"}
            with (
                packed.open("wb") as file,
                self.host.engine.stream("GET", path, params=params, bound=_OUTPUT) as pieces,
            ):
                for piece in pieces:
                    file.write(piece)
            archive.extract(packed, unpacked)
            for found in sorted((unpacked / "output").iterdir()):
                found.rename(directory / found.name)

    def logs(self, name: str, *, follow: bool, tail: int | None, sleep: Callable[[float], None]) -> Iterator[LogLine]:
        """Yield the lines so far; with ``follow`` also later ones until the job has finished."""
        last, first = "", True
        while True:
            over = not self._existing(name, 30.0)["State"]["Running"]
            for stamp, text in self.host.lines(job_name(name), after=last, tail=tail if first else None):
                yield LogLine(seconds(stamp) or 0.0, text)
                last = stamp
            if over or not follow:
                return
            first = False
            sleep(_FOLLOW_S)

    def _existing(self, name: str, timeout: float) -> dict[str, Any]:
        about = self.host.inspect(job_name(name), timeout)
        if about is None:
            raise gone(JOB, name)
        return about


def job_name(name: str) -> str:
    """Return the name of a job's container.

    Example:
        >>> job_name("churn")
        'mlport_job-churn'
    """
    return f"mlport_job-{name}"


def outcome(
    about: Mapping[str, Any], *, young: bool, last: Callable[[], list[str]] = list
) -> tuple[JobState, str | None]:
    """Return the state of a job and its reason, from the engine's description of its container.

    Args:
        about: The container.
        young: Whether it may still be started.
        last: Returns the job's last lines, which show whether a signal came from elsewhere than a stop.

    Example:
        >>> outcome({"State": {"Running": False, "Status": "exited", "ExitCode": 3}}, young=False)
        (<JobState.FAILED: 'failed'>, 'exited with code 3')
    """
    state: Mapping[str, Any] = about["State"]
    if state["Running"]:
        return JobState.RUNNING, None
    if state["Status"] == "created":
        return (
            (JobState.QUEUED, None) if young else (JobState.FAILED, "it was never started: whoever submitted it died")
        )
    code = int(state["ExitCode"])
    if code == 0:
        return JobState.SUCCEEDED, None
    if state.get("OOMKilled"):
        return JobState.FAILED, how_ended(about)
    if code in _STOPS:
        killed = next((line for line in last() if line.startswith(KILLED)), None)
        return (JobState.STOPPED, None) if killed is None else (JobState.FAILED, killed.partition(": ")[2])
    return JobState.FAILED, "it took longer than its timeout" if code == 124 else how_ended(about)


def _packed(channel: str, path: Path) -> Iterator[bytes]:
    """Pack the data of a channel as a tar archive owned by the containers' user, through a temporary file."""

    def own(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = NOBODY
        return info

    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", dereference=True) as tar:
            tar.add(path, arcname=channel if path.is_dir() else f"{channel}/{path.name}", filter=own)
        file.seek(0)
        while block := file.read(_BLOCK):
            yield block


def _inside(channel: str, path: Path) -> str:
    return f"{VOLUME}/data/{channel}" + ("" if path.is_dir() else f"/{path.name}")


def _body(resource: Resource, data: Mapping[str, Path], materials: Materials) -> dict[str, Any]:
    spec: dict[str, Any] = dict(resource.spec or {})
    given = {**spec["env"], **materials.resolve(spec["secrets"])}
    own = {
        "MLPORT_OUTPUT_DIR": f"{VOLUME}/output",
        "MLPORT_METRICS_FILE": f"{VOLUME}/state/metrics.json",
        "MLPORT_PARAMS": json.dumps(spec["params"]),
        **{f"MLPORT_DATA_{channel.upper()}": _inside(channel, path) for channel, path in data.items()},
    }
    limit = f"{spec['timeout_s']:g}"
    return {
        "Image": name_of(spec["image"]),
        "Entrypoint": ["timeout", "--kill-after=10", limit, "python", "-P", "-m", "mlport_serving"],
        "Cmd": ["train"],
        "User": f"{NOBODY}:{NOBODY}",
        "WorkingDir": f"{VOLUME}/work",
        "Env": environment(threads(spec["cpu"]), given, own),
        "Labels": {**resource.tags, KIND: JOB, SPEC: json.dumps(spec), PRICE: json.dumps(resource.usd_per_hour)},
        "HostConfig": {
            **limits_of(spec),
            "Mounts": [{"Type": "volume", "Target": VOLUME, "VolumeOptions": {"Labels": resource.tags}}],
        },
    }
