"""Training jobs of SageMaker."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sdk.adapter import Capability, Labels, Live, Ref
from sdk.adapter.prices import find_price
from sdk.adapter.shared.checks import unsupported
from sdk.adapter.shared.inputs import path_of
from sdk.adapter.shared.uploads import of_addresses
from sdk.adapter.types import JobState, JobStatus
from sdk.errors import AuthError, ConfigError, ConflictError, InvalidRequestError, QuotaError
from sdk.packaging import archive, disk

from . import _bodies
from ._errors import PROVIDER, gone
from ._inputs import check_bucket, locate, manifest
from ._plan import IMAGE, JOB, job_resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sdk.adapter import JobSpec, Materials, Resource
    from sdk.adapter.prices import PriceRow
    from sdk.adapter.shared.uploads import Inputs

    from ._aws import Aws
    from ._calls import Control
    from ._images import Images
    from ._storage import Storage

_CHANNEL = re.compile(r"[a-z_][a-z0-9_]*")
_EXIT = re.compile(r"exit code:? (\d+)", re.IGNORECASE)
_WAITS = frozenset({"Starting", "Pending", "LaunchingMLInstances", "PreparingTrainingStack"})
_STATES = {
    "Completed": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
    "Stopped": JobState.STOPPED,
}
_LATE = frozenset({"MaxRuntimeExceeded", "MaxWaitTimeExceeded"})


class Jobs:
    """The training jobs of a target.

    Args:
        aws: The connection to AWS.
        control: Resolves secrets.
        images: The images of programs.
        storage: The location of data and results.
        inputs: The local data that jobs read.
        prices: The price table.
    """

    def __init__(
        self,
        aws: Aws,
        control: Control,
        images: Images,
        storage: Storage,
        inputs: Inputs,
        *,
        prices: tuple[PriceRow, ...],
    ) -> None:
        self.aws, self.control, self.images, self.storage = aws, control, images, storage
        self.inputs = inputs
        self.options, self.prices = aws.options, prices

    def plan(self, spec: JobSpec) -> Sequence[Resource]:
        """Return all resources of a job; read local data to identify it, and look at the inputs in S3."""
        paths = local_data(spec.data)
        if self.options.bucket is not None:  # mlport creates its default bucket in the target's region
            check_bucket(self.aws)
        sources = {name: locate(self.aws, name, uri) for name, uri in spec.data.items() if name not in paths}
        local = {name: self.inputs.plan(name, path, spec.labels) for name, path in paths.items()}
        files = {name: path.name for name, path in paths.items() if path.is_file()}
        files |= {name: one.file for name, one in sources.items() if one.file}
        where = {**spec.data, **{name: one.uri for name, one in sources.items()}}
        return job_resources(replace(spec, data=where), self.options, local, files)

    def submit(self, resource: Resource, materials: Materials) -> None:
        """Start a job."""
        spec: Any = resource.spec or {}
        image = self.images.uri(str(spec["image"]))
        secrets = self.control.secrets(spec["secrets"], materials, "training")
        place = self.storage.place
        self.storage.verify()
        body = _bodies.job_body(resource, image, secrets, role=self.aws.role, place=place, options=self.options)
        for name, uri in _bodies.objects_of(spec).items():
            self.storage.put(_bodies.manifest_path(resource.id, name), manifest(uri))
        try:
            self.aws.call("sagemaker", "create_training_job", resource.id, **body)
        except (InvalidRequestError, AuthError, QuotaError):  # certain: the job does not exist; remove its manifests
            self.storage.remove(f"jobs/{resource.id}/")
            raise

    def describe(self, name: str) -> dict[str, Any] | None:
        """Return SageMaker's description of a job, or ``None`` if it does not exist."""
        return self.aws.find("sagemaker", "describe_training_job", name, TrainingJobName=name)

    def read(self, name: str) -> Live | None:
        """Return a job as a resource: ready as soon as it is accepted, at no cost once it has ended."""
        about = self.describe(name)
        if about is None:
            return None
        tags = self.tags(name)
        if tags is None:
            return None
        raw = str(about["TrainingJobStatus"])
        over = raw in _STATES
        return Live(
            JOB,
            name,
            "deleting" if raw == "Deleting" else "ready",
            raw=raw,
            labels=Labels.from_tags(tags),
            created_at=about["CreationTime"].timestamp(),
            parents=tuple(self._needs(about, tags)),
            usd_per_hour=0.0 if over else self._price(about),
            reason=about.get("FailureReason"),
        )

    def tags(self, name: str) -> dict[str, str] | None:
        """Return the tags of a job, or ``None`` if it no longer exists."""
        about = self.aws.find("sagemaker", "list_tags", name, ResourceArn=self.aws.arn("training-job", name))
        return None if about is None else _bodies.from_tags(about["Tags"])

    def _needs(self, about: Mapping[str, Any], tags: Mapping[str, str]) -> list[Ref]:
        """Return the image of a job, from its tags, and until the job has ended also the mlport inputs it reads."""
        image = tags.get(_bodies.IMAGE_TAG)
        over = about["TrainingJobStatus"] in _STATES
        channels: Iterable[Any] = () if over else about.get("InputDataConfig") or ()
        found = of_addresses(self.storage.place, (str(one["DataSource"]["S3DataSource"]["S3Uri"]) for one in channels))
        return [*([Ref(IMAGE, image)] if image else []), *found]

    def _price(self, about: Mapping[str, Any]) -> float | None:
        instance = str(about["ResourceConfig"]["InstanceType"])
        row = find_price(self.prices, instance, region=self.aws.region, usage="training")
        return None if row is None else row.usd_per_hour

    def status(self, name: str, target: str) -> JobStatus | None:
        """Return the status of a job in provider-neutral form."""
        about = self.describe(name)
        if about is None:
            return None
        state, reason = outcome(about)
        price, seconds = self._price(about), about.get("BillableTimeInSeconds")
        return JobStatus(
            name=name,
            target=target,
            provider=PROVIDER,
            state=state,
            raw=str(about["TrainingJobStatus"]),
            reason=reason,
            created_at=_seconds(about.get("CreationTime")),
            started_at=_seconds(about.get("TrainingStartTime")),
            ended_at=_seconds(about.get("TrainingEndTime")) if state.finished else None,
            exit_code=exit_code(state, reason),
            instance=about["ResourceConfig"]["InstanceType"],
            usd=None if price is None or seconds is None else price * seconds / 3600,
        )

    def stop(self, name: str) -> None:
        """Ask a job to stop; do nothing if it has ended."""
        about = self.describe(name)
        if about is None:
            raise gone(JOB, name)
        if about["TrainingJobStatus"] == "InProgress":
            self.aws.call("sagemaker", "stop_training_job", name, TrainingJobName=name)

    def delete(self, name: str) -> None:
        """Delete a job that has ended, with its files; stop it first if it still runs.

        Raises:
            ConflictError: The job still runs; retryable.
        """
        about = self.describe(name)
        if about is None:
            raise gone(JOB, name)
        if about["TrainingJobStatus"] not in _STATES:
            self.stop(name)
            raise ConflictError(
                f"job {name!r} is being stopped", provider=PROVIDER, operation="DeleteTrainingJob", resource=name,
                retryable=True,
            )  # fmt: skip
        self.storage.remove(f"jobs/{name}/")
        self.aws.call("sagemaker", "delete_training_job", name, TrainingJobName=name)

    def output(self, name: str, directory: Path) -> None:
        """Copy the files that a job left in its output folder."""
        about = self.describe(name)
        if about is None:
            raise gone(JOB, name)
        artifacts: dict[str, Any] = about.get("ModelArtifacts") or {}
        uri = str(artifacts.get("S3ModelArtifacts") or "")
        if not uri:
            raise ConfigError(f"job {name!r} left no output", hint="it has none before it is over", provider=PROVIDER)
        with disk.staging_outside(directory.parent) as work:
            packed = work / "model.tar.gz"
            self.storage.download(urlsplit(uri).path.lstrip("/"), packed)
            unpacked = archive.extract(packed, work / "output")
            for item in unpacked.iterdir():
                item.rename(directory / item.name)


def local_data(data: Mapping[str, str]) -> dict[str, Path]:
    """Return the inputs that are on this machine; inputs in S3 are left out.

    Raises:
        ConfigError: An input's name is not a valid variable name, or its path does not exist.
        UnsupportedError: The URI is one of another cloud.
    """
    found: dict[str, Path] = {}
    for channel, where in data.items():
        if not _CHANNEL.fullmatch(channel):
            hint = "use lower-case letters, digits and underscores"
            raise ConfigError(f"data: {channel!r} is no name for an input", hint=hint)
        scheme = urlsplit(where).scheme if "://" in where else "file"
        if scheme == "s3":
            continue
        if scheme != "file":
            text = f"data.{channel} = {where!r}: SageMaker reads s3://, and paths of this machine are uploaded"
            raise unsupported(PROVIDER, Capability.TRAIN, text, reason="upstream")
        found[channel] = path_of(channel, where)
    return found


def outcome(about: Mapping[str, Any]) -> tuple[JobState, str | None]:
    """Return the state of a job, and the reason if it failed."""
    raw, second = str(about["TrainingJobStatus"]), str(about.get("SecondaryStatus", ""))
    if second in _LATE:
        return JobState.FAILED, "it took longer than its timeout"
    state = _STATES.get(raw)
    if state is None:
        return (JobState.QUEUED if second in _WAITS else JobState.RUNNING), None
    return state, about.get("FailureReason")


def exit_code(state: JobState, reason: str | None) -> int | None:
    """Return the exit code of the program, which SageMaker only reports as part of the reason.

    Example:
        >>> exit_code(JobState.FAILED, "AlgorithmError: , exit code: 3")
        3
    """
    if state is JobState.SUCCEEDED:
        return 0
    match = _EXIT.search(reason or "")
    return int(match[1]) if match else None


def _seconds(moment: Any) -> float | None:
    return None if moment is None else float(moment.timestamp())
