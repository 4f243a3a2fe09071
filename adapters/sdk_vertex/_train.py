"""Training jobs: each is a CustomJob with mlport's image, its data and its output in the target's bucket."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sdk.adapter import Ack, Labels, Live, Ref
from sdk.adapter.shared import transfers
from sdk.adapter.shared.inputs import path_of
from sdk.adapter.shared.transfers import Meter
from sdk.adapter.shared.uploads import of_addresses
from sdk.adapter.types import JobState, JobStatus
from sdk.errors import ConfigError, ConflictError, NotFoundError, SdkError

from ._access import unix
from ._errors import PROVIDER, exists, gone, refused_for_now, unsupported
from ._names import encryption
from ._operations import word_of
from ._plan import FILES, IMAGE, JOB
from ._shelf import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdk.adapter import Materials, Resource

    from ._bucket import Bucket
    from ._control import Control
    from ._images import Images
    from ._prices import Prices
    from ._secrets import Secrets
    from .options import VertexOptions

_FOLDER = "mlport/jobs"
_MARK = "mlport.json"  # object in the folder of a job: its metadata holds the job's labels
_IMAGE_LABEL, _INSTANCE_LABEL, _SPOT_LABEL = "mlport-image", "mlport-instance", "mlport-spot"
_CHANNEL = re.compile(r"[a-z_][a-z0-9_]*")
_GS = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?", re.DOTALL)
_EXIT = re.compile(r"non-zero status of (\d+)")
_STATES = {
    "JOB_STATE_QUEUED": JobState.QUEUED,
    "JOB_STATE_PENDING": JobState.QUEUED,
    "JOB_STATE_PAUSED": JobState.QUEUED,
    "JOB_STATE_RUNNING": JobState.RUNNING,
    "JOB_STATE_UPDATING": JobState.RUNNING,
    "JOB_STATE_CANCELLING": JobState.RUNNING,
    "JOB_STATE_SUCCEEDED": JobState.SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": JobState.SUCCEEDED,
    "JOB_STATE_CANCELLED": JobState.STOPPED,
    "JOB_STATE_FAILED": JobState.FAILED,
    "JOB_STATE_EXPIRED": JobState.FAILED,
}


class Jobs:
    """All jobs of one project and region.

    Args:
        control: The control plane.
        images: The images of programs.
        bucket: The bucket for data and output.
        options: The target's settings.
        prices: The prices of machines.
        secrets: The source of secret values.
    """

    def __init__(
        self,
        control: Control,
        images: Images,
        bucket: Bucket,
        options: VertexOptions,
        prices: Prices,
        *,
        secrets: Secrets,
    ) -> None:
        self.control, self.images, self.bucket, self.options, self.prices = control, images, bucket, options, prices
        self.secrets = secrets

    # --- reads ------------------------------------------------------------------------------------------------------

    def find(self, name: str, timeout: float) -> Any | None:
        """Return the newest job with a name; labels hold the name, since the platform chooses IDs itself."""
        filter_ = f'labels.mlport-endpoint="{name}"'
        found = list(self.control.every("jobs", "list_custom_jobs", filter_, timeout=timeout))
        return max(found, key=lambda one: unix(one.create_time) or 0.0, default=None)

    def existing(self, name: str, timeout: float) -> Any:
        """Return the newest job with a name; the job must exist.

        Raises:
            NotFoundError: There is no job with this name.
        """
        found = self.find(name, timeout)
        if found is None:
            raise gone(JOB, name)
        return found

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """Read a job, or its files, as a resource."""
        if ref.kind == FILES:
            about = self.bucket.about(f"{_FOLDER}/{ref.id}/{_MARK}", timeout=timeout)
            return None if about is None else _files_live(about)
        found = self.find(ref.id, timeout)
        return None if found is None else self._live(found)

    def observe(self, name: str, timeout: float) -> list[Live]:
        """Return all resources of a job."""
        found = [self.read(Ref(kind, name), timeout) for kind in (JOB, FILES)]
        return [one for one in found if one is not None]

    def list_all(self, timeout: float) -> Iterator[Live]:
        """Yield all jobs and their files."""
        for found in self.control.every("jobs", "list_custom_jobs", 'labels.mlport="1"', timeout=timeout):
            yield self._live(found)
        for about in self.bucket.names(f"{_FOLDER}/", suffix=f"/{_MARK}", timeout=timeout):
            yield _files_live(about)

    def _live(self, found: Any) -> Live:
        labels = dict(found.labels)
        own = Labels.from_tags(labels)
        name = labels.get("mlport-endpoint", found.display_name)
        image = labels.get(_IMAGE_LABEL)
        over = state_of(found).finished
        return Live(
            JOB,
            name,
            "ready",
            raw=word_of(found.state),
            labels=own,
            created_at=unix(found.create_time),
            parents=(
                *((Ref(IMAGE, image),) if image else ()),
                *(() if over else self._inputs(found)),
                Ref(FILES, name),
            ),
            usd_per_hour=0.0 if over else self._price(found),
            reason=str(found.error.message) or None,
        )

    def _inputs(self, found: Any) -> list[Ref]:
        """Return the mlport inputs that a job reads, found by its variables."""
        env = (one for pool in found.job_spec.worker_pool_specs for one in pool.container_spec.env)
        return of_addresses(_mounted(place_of(self.bucket)), (str(one.value) for one in env))

    def _price(self, found: Any) -> float | None:
        instance = dict(found.labels).get(_INSTANCE_LABEL, "")
        spot = dict(found.labels).get(_SPOT_LABEL) == "1"
        return self.prices.of(_read_instance(instance), spot=spot, training=True)

    def status(self, name: str, target: str, now: float, timeout: float) -> JobStatus | None:
        """Return the status of the job in provider-neutral form."""
        found = self.find(name, timeout)
        if found is None:
            return None
        state, message = state_of(found), str(found.error.message)
        started, ended = unix(found.start_time), unix(found.end_time)
        price, code = self._price(found), _EXIT.search(message)
        hours = 0.0 if started is None else ((ended or now) - started) / 3600
        exit_code = int(code[1]) if code else 0 if state is JobState.SUCCEEDED else None
        return JobStatus(
            name=name,
            target=target,
            provider=PROVIDER,
            state=state,
            raw=word_of(found.state),
            reason=_reason(found, message),
            created_at=unix(found.create_time),
            started_at=started,
            ended_at=ended,
            exit_code=exit_code,
            instance=_read_instance(dict(found.labels).get(_INSTANCE_LABEL, "")) or None,
            usd=None if price is None else hours * price,
        )

    # --- changes ----------------------------------------------------------------------------------------------------

    def create(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        """Create the folder of a job, or submit the job.

        Raises:
            ConflictError: A job with this name exists already.
        """
        if resource.kind == FILES:
            return self._begin(resource, timeout)
        return self._submit(resource, materials, timeout)

    def _begin(self, resource: Resource, timeout: float) -> Ack:
        try:
            self._mark(resource, timeout)
        except NotFoundError:
            self.bucket.make(timeout=timeout)
            self._mark(resource, timeout)
        except ConflictError as error:
            raise exists(FILES, resource.id) from error
        return Ack()

    def _mark(self, resource: Resource, timeout: float) -> None:
        """Create the object whose metadata holds the labels of the files."""
        self.bucket.put(
            f"{_FOLDER}/{resource.id}/{_MARK}", b"{}", "application/json", generation="0", timeout=timeout,
            labels={**resource.tags, "state": "ready"},
        )  # fmt: skip

    def _submit(self, resource: Resource, materials: Materials, timeout: float) -> Ack:
        if self.find(resource.id, timeout) is not None:
            raise exists(JOB, resource.id)
        spec: Any = resource.spec
        folder = f"{_FOLDER}/{resource.id}"
        env = {
            **spec["env"],
            **self.secrets.values(spec["secrets"], materials, timeout=timeout),
            **self._own(spec, folder),
        }
        pool = {
            "machine_spec": spec["machine"],
            "replica_count": 1,
            "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": spec["disk_gib"]},
            "container_spec": {
                "image_uri": self.images.uri(spec["image"]),
                "args": ["train"],
                "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
            },
        }
        scheduling: dict[str, Any] = {"timeout": {"seconds": max(1, round(spec["timeout_s"]))}}
        # A spot job that loses its capacity ends for good, unless the platform may start it again.
        scheduling |= {"strategy": "SPOT"} if spec["spot"] else {"disable_retries": True}
        job_spec: dict[str, Any] = {
            "worker_pool_specs": [pool],
            "scheduling": scheduling,
            "base_output_directory": {"output_uri_prefix": f"gs://{self.bucket.name}/{folder}"},
        }
        if spec["service_account"]:
            job_spec["service_account"] = spec["service_account"]
        about = {_IMAGE_LABEL: spec["image"], _INSTANCE_LABEL: _write_instance(spec["instance"])}
        user: dict[str, str] = spec.get("tags") or {}
        labels = {**user, **resource.tags, **about, **({_SPOT_LABEL: "1"} if spec["spot"] else {})}
        if spec["network"]:
            job_spec["network"] = spec["network"]
        job = {"display_name": resource.id, "labels": labels, "job_spec": job_spec, **encryption(spec.get("kms_key"))}
        request = {"parent": self.control.parent, "custom_job": job}
        self.control.call("jobs", "create_custom_job", request, timeout=timeout, about=resource.id)
        return Ack()

    def _own(self, spec: Any, folder: str) -> dict[str, str]:
        """Return variables for the training server: the bucket is mounted under ``/gcs`` on every machine of a job."""
        place = place_of(self.bucket)
        where = {**spec["data"], **{name: f"{place}/data/{path}" for name, path in spec["local"].items()}}
        return {
            **{f"MLPORT_DATA_{name.upper()}": _mounted(one) for name, one in where.items()},
            "MLPORT_PARAMS": json.dumps(spec["params"]),
            "MLPORT_METRICS_FILE": _mounted(f"gs://{self.bucket.name}/{folder}/logs/metrics.json"),
        }

    def stop(self, name: str, timeout: float) -> None:
        """Ask the job to stop; do nothing if it has ended."""
        found = self.existing(name, timeout)
        if not state_of(found).finished and word_of(found.state) != "JOB_STATE_CANCELLING":
            self.control.call("jobs", "cancel_custom_job", {"name": found.name}, timeout=timeout, about=name)

    def delete(self, live: Live, timeout: float) -> Ack:
        """Delete a job that has ended, or its files; stop a running job first.

        Raises:
            ConflictError: The job still runs; retryable.
        """
        if live.kind == FILES:
            return self._clear(live.id, timeout)
        found = self.existing(live.id, timeout)
        if not state_of(found).finished:
            self.stop(live.id, timeout)
            raise ConflictError(
                f"job {live.id!r} is being stopped", provider=PROVIDER, operation="DeleteCustomJob", resource=live.id,
                retryable=True,
            )  # fmt: skip
        try:
            begun = self.control.call("jobs", "delete_custom_job", {"name": found.name}, timeout=timeout, about=live.id)
        except SdkError as error:
            raise refused_for_now(error) from error.__cause__
        return Ack(operation=str(begun.operation.name))

    def _clear(self, name: str, timeout: float) -> Ack:
        mark = f"{_FOLDER}/{name}/{_MARK}"
        if self.bucket.about(mark, timeout=timeout) is None:
            raise gone(FILES, name)
        for about in list(self.bucket.names(f"{_FOLDER}/{name}/", timeout=timeout)):
            if about["name"] != mark:
                with contextlib.suppress(NotFoundError):  # another client was faster
                    self.bucket.delete(about["name"], timeout=timeout)
        self.bucket.delete(mark, timeout=timeout)  # last, so that files that remain after a crash can still be found
        return Ack()

    def output(self, name: str, directory: Path, timeout: float) -> None:
        """Copy the files that the job left."""
        self.existing(name, timeout)
        meter = Meter(None, "download", None)
        download = functools.partial(self.bucket.download, timeout=timeout, meter=meter)
        left = self._left(name, directory, timeout)
        transfers.run((functools.partial(download, object_, file) for object_, file in left), meter)

    def _left(self, name: str, directory: Path, timeout: float) -> Iterator[tuple[str, Path]]:
        """Yield the objects that a job left, each with the local path to store it at."""
        prefix = f"{_FOLDER}/{name}/model/"
        for about in self.bucket.names(prefix, timeout=timeout):
            rest = str(about["name"]).removeprefix(prefix)
            if rest.endswith("/"):
                continue
            if ".." in Path(rest).parts or Path(rest).is_absolute():
                raise ConfigError(f"job {name!r} left a file with an unsafe name: {rest!r}")
            yield str(about["name"]), directory / rest


def state_of(found: Any) -> JobState:
    """Return the state of a job in provider-neutral form."""
    return _STATES.get(word_of(found.state), JobState.QUEUED)


def _reason(found: Any, message: str) -> str | None:
    if word_of(found.state) == "JOB_STATE_EXPIRED":
        return message or "it took longer than its timeout"
    return message or None


def _files_live(about: Mapping[str, Any]) -> Live:
    labels: dict[str, str] = about.get("metadata") or {}
    name = str(about["name"]).split("/")[-2]
    state = "ready" if labels.get("state") == "ready" else "failed"
    return Live(
        FILES,
        name,
        state,  # type: ignore[arg-type]  # one of the two words above
        raw=labels.get("state", "unfinished"),
        labels=Labels.from_tags(labels),
        created_at=unix(about.get("timeCreated")),
        reason=None if state == "ready" else "the upload of its data was not finished",
    )


def check_data(data: Mapping[str, str]) -> None:
    """Refuse inputs that the platform cannot read, and names that no variable can have; only the text is checked."""
    for channel, where in data.items():
        if not _CHANNEL.fullmatch(channel):
            raise ConfigError(
                f"data: {channel!r} is no name for an input", hint="use lower-case letters, digits and underscores"
            )
        if "://" in where and urlsplit(where).scheme not in {"file", "gs"}:
            raise unsupported(
                "train",
                f"data.{channel} = {where!r}: vertex reads paths, file:// and gs:// only, so copy it to a bucket first",
            )
        if where.startswith("gs://") and not _GS.fullmatch(where):
            raise ConfigError(f"data.{channel} = {where!r} names no bucket", hint="write gs://BUCKET/NAME")


def local_data(data: Mapping[str, str]) -> dict[str, Path]:
    """Return the inputs that are files on this machine.

    Raises:
        ConfigError: An input does not exist.
    """
    return {channel: path_of(channel, where) for channel, where in data.items() if not where.startswith("gs://")}


def _mounted(address: str) -> str:
    """Return the path of an object on the machine of a job.

    Example:
        >>> _mounted("gs://data/rows.csv")
        '/gcs/data/rows.csv'
    """
    return f"/gcs/{address.removeprefix('gs://')}"


def _write_instance(instance: str) -> str:
    """Convert an instance type to the value of a label.

    Example:
        >>> _read_instance(_write_instance("n1-standard-4+NVIDIA_TESLA_T4x1"))
        'n1-standard-4+NVIDIA_TESLA_T4x1'
    """
    return instance.lower().replace("+", "__")


def _read_instance(label: str) -> str:
    machine, _, gpu = label.partition("__")
    name, _, count = gpu.rpartition("x")
    return f"{machine}+{name.upper()}x{count}" if gpu else machine
