"""Training jobs: the real image with SageMaker's folders, data from S3, the result back to S3."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..runners import Launch, StartFailed
from ..timing import Line, Step
from .aws import split_uri
from .errors import AwsError, invalid
from .models import check_disk
from .rights import needed_for_objects
from .state import Record, Shelf, page, tags_of
from .world import without_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..faults import Fault
    from ..runners import Running
    from .keys import Spot
    from .world import World

GROUP = "/aws/sagemaker/TrainingJobs"
_STEPS = (("Starting", 60.0), ("Downloading", 30.0), ("Training", 0.0), ("Uploading", 15.0))
_STOP_S = 120.0
_QUICK_STOP_S = 5.0
_FAILURE = 1024
_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
}


@dataclass
class Job(Record):
    """One job; ``outcome`` is ``Completed``, ``Failed`` or ``Stopped`` once it is known."""

    line: Line = field(kw_only=True)
    phase: str = "Starting"
    outcome: str | None = None
    secondary: str | None = None
    failure: str | None = None
    artifact: str | None = None
    running: Running | None = None
    started: float | None = None
    ended: float | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stopping: threading.Event = field(default_factory=threading.Event)
    finished: threading.Event = field(default_factory=threading.Event)
    noted: dict[str, float] = field(default_factory=dict[str, float])


class Jobs:
    """The operations on training jobs, such as ``CreateTrainingJob``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shelf: Shelf[Job] = Shelf("training-job")

    # --- operations -----------------------------------------------------------------------------------------------

    def create(self, spot: Spot, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Carry out ``CreateTrainingJob``."""
        algorithm: Mapping[str, Any] = body.get("AlgorithmSpecification") or {}
        image = algorithm.get("TrainingImage")
        if not image:
            raise invalid("AlgorithmSpecification.TrainingImage is required.")
        for name in ("ResourceConfig", "StoppingCondition"):
            if not body.get(name):
                raise invalid(f"{name} is required.")
        stop = body["StoppingCondition"]
        if body.get("EnableManagedSpotTraining"):
            wait, run = stop.get("MaxWaitTimeInSeconds"), stop.get("MaxRuntimeInSeconds", 86400)
            if wait is None or wait < run:
                raise invalid("Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                              "MaxRuntimeInSeconds")  # fmt: skip
        resources = body["ResourceConfig"]
        check_disk(str(resources.get("InstanceType")), resources.get("VolumeKmsKeyId"), "VolumeKmsKeyId")
        self.world.image(str(image), spot)
        for channel in body.get("InputDataConfig") or ():
            self.world.check_source(channel["DataSource"]["S3DataSource"], spot, str(body["RoleArn"]))
        self._check_quota(spot, body)
        job = Job("training-job", body["TrainingJobName"], spot, body, tags_of(body), line=self.world.pace.line(
            final="Completed"))  # fmt: skip
        job.line.turn(*(Step(name, seconds, _past(job, name)) for name, seconds in _STEPS), final="Completed")
        job.hide(fault)
        self.shelf.add(job)
        threading.Thread(target=self._run, args=(job, fault), name=f"job-{job.name}", daemon=True).start()
        return {"TrainingJobArn": job.arn}

    def stop(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``StopTrainingJob``."""
        job = self.shelf.get(spot, body["TrainingJobName"])
        if self._status(job, job.line.now()) != "InProgress":
            raise invalid("The request was rejected because the training job is in status "
                          f"{self._status(job, job.line.now())}.")  # fmt: skip
        job.stopping.set()
        job.line.turn(Step("Stopping", 15.0, job.finished.is_set), final="Stopped")
        return {}

    def delete(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``DeleteTrainingJob``, which is allowed only after the job has ended."""
        job = self.shelf.get(spot, body["TrainingJobName"])
        status = self._status(job, job.line.now())
        if status in {"InProgress", "Stopping"}:
            raise AwsError("ResourceInUse", f"Training job {job.name} is in status {status}.")
        self.shelf.drop(job)
        return {}

    def describe(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``DescribeTrainingJob``."""
        job = self.shelf.get(spot, body["TrainingJobName"])
        state = job.line.show()
        status = self._status(job, state)
        over = status in {"Completed", "Failed", "Stopped"}
        seconds = int(max(1, (job.ended or time.time()) - job.started)) if over and job.started else None
        shown = {name: value for name, value in job.body.items() if name != "Tags"}
        return without_nothing({
            **shown,
            "TrainingJobArn": job.arn,
            "TrainingJobStatus": status,
            "SecondaryStatus": (job.secondary or status) if over else state,
            "FailureReason": job.failure if over else None,
            "ModelArtifacts": {"S3ModelArtifacts": job.artifact} if over and job.artifact else None,
            "CreationTime": job.created,
            "TrainingStartTime": job.started,
            "TrainingEndTime": job.ended if over else None,
            "LastModifiedTime": job.modified,
            "SecondaryStatusTransitions": _transitions(job, state, status if over else None),
            "FinalMetricDataList": job.metrics if over else None,
            "TrainingTimeInSeconds": seconds,
            "BillableTimeInSeconds": seconds,
            "EnableNetworkIsolation": bool(job.body.get("EnableNetworkIsolation")),
            "EnableInterContainerTrafficEncryption": bool(job.body.get("EnableInterContainerTrafficEncryption")),
            "EnableManagedSpotTraining": bool(job.body.get("EnableManagedSpotTraining")),
        })  # fmt: skip

    def list(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``ListTrainingJobs``."""

        def show(job: Job) -> dict[str, Any]:
            return without_nothing({
                "TrainingJobName": job.name,
                "TrainingJobArn": job.arn,
                "CreationTime": job.created,
                "TrainingEndTime": job.ended,
                "LastModifiedTime": job.modified,
                "TrainingJobStatus": self._status(job, job.line.show()),
            })  # fmt: skip

        return page(body, list(self.shelf.all(spot)), show, "TrainingJobSummaries", "TrainingJobName")

    def status(self, job: Job) -> str:
        """Return the state, without counting it as shown."""
        return self._status(job, job.line.now())

    # --- its states -----------------------------------------------------------------------------------------------

    @staticmethod
    def _status(job: Job, state: str) -> str:
        if state == "Stopping":
            return "Stopping"
        if state in dict(_STEPS):
            return "InProgress"
        return job.outcome or state

    def _check_quota(self, spot: Spot, body: Mapping[str, Any]) -> None:
        wanted = body["ResourceConfig"]
        instance, count = str(wanted.get("InstanceType")), int(wanted.get("InstanceCount") or 1)
        running = [job for job in self.shelf.all(spot) if self.status(job) in {"InProgress", "Stopping"}]
        used = sum(int(job.body["ResourceConfig"].get("InstanceCount") or 1) for job in running
                   if job.body["ResourceConfig"].get("InstanceType") == instance)  # fmt: skip
        self.world.check_quota("training job", instance, used, count)

    # --- the work ---------------------------------------------------------------------------------------------------

    def _run(self, job: Job, fault: Fault | None) -> None:
        folder = self.world.folder / "jobs" / f"{job.spot.account}-{job.spot.region}-{job.name}"
        try:
            _trouble(job, fault)
            job.phase = "Downloading"
            job.noted["Downloading"] = job.started = time.time()
            _prepare(job, folder, self.world)
            job.phase = "Training"
            self._train(job, folder)
        except (StartFailed, AwsError) as error:
            job.outcome, job.failure = "Failed", str(error)
        except Exception as error:  # noqa: BLE001  # no caller sees a thread's exception
            job.outcome, job.failure = "Failed", f"the mini cloud broke: {error!r}"
        finally:
            job.ended = job.modified = time.time()
            job.phase = "Over"
            job.finished.set()
            shutil.rmtree(folder, ignore_errors=True)

    def _train(self, job: Job, folder: Path) -> None:
        if job.stopping.is_set():
            job.outcome = job.secondary = "Stopped"
            return
        job.running = self.world.runner.start(_launch(job, folder, self.world))
        stream = f"{job.name}/algo-1-{int(job.created)}"
        self.world.watch(job.spot, GROUP, stream, job.running)
        code, limit = self._await(job, job.running)
        self.world.logs.collect()
        job.metrics = _metrics(job, [text for _, text in job.running.logs()])
        job.phase = "Uploading"
        _save(job, folder / "checkpoints", self.world)
        if code == 0 or job.stopping.is_set() or limit:
            job.artifact = _upload(job, folder, self.world)
        if limit or job.stopping.is_set():
            job.outcome, job.secondary = "Stopped", "MaxRuntimeExceeded" if limit else "Stopped"
        elif code == 0:
            job.outcome = "Completed"
        else:
            job.outcome, job.failure = "Failed", _reason(folder, code)

    def _await(self, job: Job, running: Running) -> tuple[int | None, bool]:
        """Wait for the end; return the exit code, and whether the job exceeded its maximum runtime."""
        end = time.monotonic() + float(job.body["StoppingCondition"].get("MaxRuntimeInSeconds") or 86400)
        grace = _STOP_S if self.world.pace.factor >= 1 else _QUICK_STOP_S
        while (code := running.exit_code) is None:
            if job.stopping.is_set() or time.monotonic() >= end:
                limit = not job.stopping.is_set()
                running.stop(grace)
                return running.exit_code, limit
            time.sleep(0.02)
        running.stop(0.0)
        return code, False


def _past(job: Job, phase: str) -> Callable[[], bool]:
    """Return a function that checks whether the work is past a phase."""
    order = [*(name for name, _ in _STEPS), "Over"]
    return lambda: order.index(job.phase) > order.index(phase)


def _trouble(job: Job, fault: Fault | None) -> None:
    """Apply a planned fault: be stuck before the job begins, or fail with an error of the platform."""
    if fault is not None and fault.kind == "stuck":
        job.stopping.wait(fault.seconds or None)
    if fault is not None and fault.kind == "fail":
        raise StartFailed("InternalServerError: We encountered an internal error (planned by a test).")


def _transitions(job: Job, state: str, final: str | None) -> list[dict[str, Any]]:
    """Return the states that were passed, each with its time; monotonic times are converted to Unix times."""
    offset = time.time() - time.monotonic()
    found: list[dict[str, Any]] = []
    begin = job.created
    for name, end in job.line.passed:
        if not found or found[-1]["Status"] != name:
            found.append({"Status": name, "StartTime": begin, "StatusMessage": _MESSAGES.get(name, name)})
        begin = max(begin, end + offset)
        found[-1]["EndTime"] = begin
    last = final or state
    found.append({"Status": last, "StartTime": begin, "StatusMessage": _MESSAGES.get(last, last)})
    return found


def _launch(job: Job, folder: Path, world: World) -> Launch:
    spec = job.body["AlgorithmSpecification"]
    own: Mapping[str, str] = job.body.get("Environment") or {}
    env = {**own, "TRAINING_JOB_NAME": job.name, "TRAINING_JOB_ARN": job.arn}
    return Launch(
        f"training-job {job.name}",
        world.ecr.registry,
        "@".join(world.image_digest(str(spec["TrainingImage"]), job.spot)),
        spec.get("ContainerArguments") or ["train"],
        entrypoint=spec.get("ContainerEntrypoint"),
        env={**env, "AWS_REGION": job.spot.region},
        mounts={"/opt/ml": folder},
    )


def _prepare(job: Job, folder: Path, world: World) -> None:
    """Create the contents of ``/opt/ml`` as the platform does."""
    for name in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    channels: dict[str, Any] = {}
    for channel in job.body.get("InputDataConfig") or ():
        name, source = channel["ChannelName"], channel["DataSource"]["S3DataSource"]
        for key, data in world.source(source, f"data of channel {name}", job.spot):
            place = folder / "input" / "data" / name / key
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        channels[name] = {
            "TrainingInputMode": channel.get("InputMode") or job.body["AlgorithmSpecification"]["TrainingInputMode"],
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if channel.get("ContentType") else {}),
        }
    _restore(job, folder / "checkpoints", world)
    instance = job.body["ResourceConfig"].get("InstanceType")
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance, "hosts": ["algo-1"]}
    files = {
        "hyperparameters.json": job.body.get("HyperParameters") or {},
        "inputdataconfig.json": channels,
        "resourceconfig.json": {
            **hosts,
            "current_instance_type": instance,
            "current_group_name": "homogeneousCluster",
            "instance_groups": [group],
        },
    }
    for name, value in files.items():
        (folder / "input" / "config" / name).write_text(json.dumps(value), "utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def _upload(job: Job, folder: Path, world: World) -> str | None:
    """Upload ``/opt/ml/model`` and the content of ``/opt/ml/output/data`` to S3; return the address of the model."""
    base = f"{job.body['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output"
    artifact = f"{base}/model.tar.gz"
    for source, uri in ((folder / "model", artifact), (folder / "output" / "data", f"{base}/output.tar.gz")):
        if not any(source.iterdir()) and uri != artifact:
            continue
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path in sorted(source.rglob("*")):
                archive.add(path, str(path.relative_to(source)), recursive=False)
        bucket, key = split_uri(uri)
        world.act("Artifact upload", needed_for_objects(job.spot, uri, "PutObject"))
        try:
            world.moto.put_object(bucket, key, packed.getvalue())
        except KeyError as error:
            raise StartFailed(f"ClientError: Artifact upload failed: the bucket {bucket} does not exist") from error
    return artifact


def _checkpoints(job: Job) -> tuple[str, str] | None:
    """Return bucket and prefix of the checkpoints of a job, if it has any."""
    config: Mapping[str, Any] = job.body.get("CheckpointConfig") or {}
    if not config.get("S3Uri"):
        return None
    bucket, key = split_uri(str(config["S3Uri"]))
    return bucket, f"{key.rstrip('/')}/" if key else ""


def _restore(job: Job, folder: Path, world: World) -> None:
    """Copy earlier checkpoints to where the container looks for them.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
    """
    if place := _checkpoints(job):
        with suppress(KeyError):  # a missing bucket fails the upload later
            for key, data in world.moto.objects(*place):
                target = folder / key.removeprefix(place[1])
                if target.resolve().is_relative_to(folder.resolve()) and not key.endswith("/"):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)


def _save(job: Job, folder: Path, world: World) -> None:
    """Copy the checkpoints of a job to S3, however it ended."""
    if place := _checkpoints(job):
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            try:
                world.moto.put_object(place[0], f"{place[1]}{path.relative_to(folder)}", path.read_bytes())
            except KeyError as error:
                raise StartFailed(f"ClientError: the bucket {place[0]} of the checkpoints does not exist") from error


def _reason(folder: Path, code: int | None) -> str:
    path = folder / "output" / "failure"
    said = path.read_text("utf-8", errors="replace")[:_FAILURE] if path.is_file() else "See job logs for more"
    return f"AlgorithmError: {said}, exit code: {code}"


def _metrics(job: Job, lines: list[str]) -> list[dict[str, Any]]:
    """Return the last value of each metric that the job's own patterns find in its output."""
    found: dict[str, float] = {}
    for definition in job.body["AlgorithmSpecification"].get("MetricDefinitions") or ():
        pattern = re.compile(definition["Regex"])
        for line in lines:
            for match in pattern.finditer(line):
                try:
                    found[definition["Name"]] = float(match[1])
                except (ValueError, IndexError):
                    continue
    return [
        {"MetricName": name, "Value": value, "Timestamp": job.ended or time.time()} for name, value in found.items()
    ]
