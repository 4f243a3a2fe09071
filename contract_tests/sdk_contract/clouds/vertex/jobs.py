"""Training: custom jobs that run the real image, with buckets under ``/gcs`` and the states of the platform.

Source: https://cloud.google.com/vertex-ai/docs/training/code-requirements
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..runners import Launch, StartFailed
from ..timing import Step
from .api import Api, body_of
from .errors import Refusal
from .machines import check_machine
from .models import shown
from .permissions import needed_for_objects
from .serving import expand
from .values import duration, part, parts, text, words
from .world import Veil, check_key, check_labels, listing, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..app import Request
    from ..runners import Runner, Running
    from ..timing import Line
    from .storage import Storage
    from .values import Json
    from .world import World

PENDING_S, CANCEL_S, DELETE_S, GRACE_S = 90.0, 30.0, 5.0, 10.0
MOST_VARIABLES = 100
OVER = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}
_MOUNT = "/gcs/"
_NETWORK = re.compile(r"projects/\d+/global/networks/[a-z][a-z0-9-]*")  # with the number of the project
_OVER = "over"  # final state of a job's line; its outcome says how it ended
_PARENT = "/v1/projects/{project}/locations/{location}/customJobs"


@dataclass
class Task:
    """The state and the container of one job."""

    line: Line
    launch: Launch
    limit_s: float
    running: Running | None = None
    began: float = 0.0
    failing: bool = False
    stillborn: bool = False
    cancelled: bool = False
    timed_out: bool = False
    lines: list[tuple[float, str]] = field(default_factory=list[Any])

    def outcome(self) -> str:
        """Return the state in which it ended."""
        if self.cancelled:
            return "JOB_STATE_CANCELLED"
        good = self.running is not None and self.running.exit_code == 0
        return "JOB_STATE_SUCCEEDED" if good and not (self.failing or self.timed_out) else "JOB_STATE_FAILED"


def _check_network(network: str) -> None:
    if network and not _NETWORK.fullmatch(network):
        raise Refusal("INVALID_ARGUMENT", f"job_spec.network {network!r} must match {_NETWORK.pattern}.")


class Jobs:
    """The custom jobs of one region of one project.

    Args:
        world: The other resources of the region.
        runner: Starts containers.
        registry: The registry that holds their images.
        storage: The buckets that they see.
        image: Resolves a reference to the exact image.
    """

    def __init__(
        self, world: World, runner: Runner, registry: Any, storage: Storage, image: Callable[[str], str]
    ) -> None:
        self.world, self._runner, self._registry, self._storage, self._image = world, runner, registry, storage, image
        self.table = world.tables["customJobs"]
        self.tasks: dict[str, Task] = {}
        world.ticks.append(self.tick)
        self.api = self._routes()

    def _routes(self) -> Api:
        api = Api(self.world, "aiplatform")
        api.on("POST", _PARENT, "CreateCustomJob")(self.create)
        api.on("GET", _PARENT, "ListCustomJobs")(self.every)
        api.on("GET", f"{_PARENT}/{{job}}", "GetCustomJob")(self.get)
        api.on("POST", f"{_PARENT}/{{job}}:cancel", "CancelCustomJob")(self.cancel)
        api.on("DELETE", f"{_PARENT}/{{job}}", "DeleteCustomJob")(self.delete)
        return api

    def create(self, request: Request) -> Json:
        """Start a job under a number that the platform chooses."""
        body = body_of(request)
        spec: Json = part(body, "jobSpec")
        check_labels(part(body, "labels"))
        check_key(text(part(body, "encryptionSpec"), "kmsKeyName"), self.world.region)
        _check_network(text(spec, "network"))
        pools = parts(spec, "workerPoolSpecs")
        if not text(body, "displayName") or not pools or not part(pools[0], "containerSpec").get("imageUri"):
            raise Refusal("INVALID_ARGUMENT", "custom_job needs a display name and a worker pool with a container.")
        if len(pools) > 1:
            raise Refusal("INVALID_ARGUMENT", "This mini cloud does not play custom_job.job_spec.worker_pool_specs[1].")
        if not part(pools[0], "machineSpec").get("machineType"):
            raise Refusal("INVALID_ARGUMENT", "worker_pool_specs[0].machine_spec.machine_type is not set.")
        check_machine(part(pools[0], "machineSpec"), "training", "job_spec.worker_pool_specs[0].machine_spec")
        container = part(pools[0], "containerSpec")
        text(container, "imageUri")
        for name in ("args", "command"):
            words(container, name)
        names = [text(one, "name") for one in parts(container, "env")]
        if not all(names):
            raise Refusal("INVALID_ARGUMENT", "Required field container_spec.env.name is not set.")
        if len(names) > MOST_VARIABLES:
            raise Refusal("INVALID_ARGUMENT", f"container_spec.env has more than {MOST_VARIABLES} entries.")
        number = self.world.next_number()
        self.tasks[number] = task = self._task(request, number, spec)
        named: Json = {"labels": {}, **body, "name": f"{self.world.parent}/customJobs/{number}"}
        made = self.world.add("customJobs", number, {**named, "state": task.line.show()})
        made["_veil"] = Veil(request, self.world.pace.clock)
        return shown(made)

    def _task(self, request: Request, number: str, spec: Json) -> Task:
        pool = spec["workerPoolSpecs"][0]
        container = pool["containerSpec"]
        base = str(part(spec, "baseOutputDirectory").get("outputUriPrefix", "")).rstrip("/")
        env = self._environment(number, spec, base)
        given = {one["name"]: str(one.get("value", "")) for one in parts(container, "env")}
        digest = self._image(container["imageUri"])
        launch = Launch(
            f"vertex-job-{self.world.key}{number}", self._registry, digest,
            [expand(word, {**env, **given}) for word in words(container, "args")] or None,
            entrypoint=[expand(word, {**env, **given}) for word in words(container, "command")] or None,
            env={**given, **env},
            mounts={f"/gcs/{name}": self._storage.folder / name for name in self._storage.buckets},
        )  # fmt: skip
        for folder in ("model", "checkpoints", "logs"):  # a mounted bucket shows a folder only if it is not empty
            if base.startswith("gs://"):
                (self._storage.folder / base.removeprefix("gs://") / folder).mkdir(parents=True, exist_ok=True)
        forever = request.hit_by("stuck")
        line = self.world.pace.line(
            Step("JOB_STATE_QUEUED", float("inf") if forever else 5.0),
            Step("JOB_STATE_PENDING", PENDING_S),
            Step("JOB_STATE_RUNNING", 0.0, lambda: self._is_over(number)),
            final=_OVER,
        )
        limit = duration(part(spec, "scheduling"), "timeout", 604_800.0)
        return Task(line, launch, limit, failing=request.hit_by("fail"))

    def _environment(self, number: str, spec: Json, base: str) -> dict[str, str]:
        folders = {"AIP_MODEL_DIR": "model", "AIP_CHECKPOINT_DIR": "checkpoints", "AIP_TENSORBOARD_LOG_DIR": "logs"}
        cluster = {
            "cluster": {"workerpool0": ["cmle-training-workerpool0-0:2222"]}, "environment": "cloud",
            "task": {"type": "workerpool0", "index": 0, "trial": ""}, "job": json.dumps(spec),
        }  # fmt: skip
        return {
            **({name: f"{base}/{folder}/" for name, folder in folders.items()} if base else {}),
            "CLOUD_ML_PROJECT_ID": self.world.number,
            "CLOUD_ML_JOB_ID": number,
            "CLUSTER_SPEC": json.dumps(cluster),
        }

    # --- what happens without a request -----------------------------------------------------------------------------

    def tick(self) -> None:
        """Start the jobs that are due, and record the ones that have ended."""
        for number, task in self.tasks.items():
            job = self.table.get(number)
            if job is None or job["state"] in OVER:
                continue
            state = task.line.now()
            if state == _OVER:
                state = task.outcome()
            if state == "JOB_STATE_RUNNING" and task.running is None:
                self._start(task, job)
            if state != job["state"]:
                job["state"] = state
                self.world.touch(job)
            if state in OVER:
                self._end(task, job)

    def _start(self, task: Task, job: Json) -> None:
        task.began = self.world.pace.clock()
        job["startTime"] = stamp()
        try:
            self._act(job)
            task.running = self._runner.start(task.launch)
        except Exception as error:  # noqa: BLE001  # any error is the reason why the job failed
            task.lines.append((time.time(), f"{type(error).__name__}: {error}"))
            task.failing = task.stillborn = True

    def _act(self, job: Json) -> None:
        """Act as the service account of a job, as the platform does: mount its inputs and its output folder.

        Raises:
            StartFailed: The account lacks a permission.
        """
        spec: Json = job["jobSpec"]
        container = part(spec["workerPoolSpecs"][0], "containerSpec")
        values = [str(one.get("value", "")) for one in parts(container, "env")]
        base = str(part(spec, "baseOutputDirectory").get("outputUriPrefix", ""))
        read = [f"gs://{value.removeprefix(_MOUNT)}" for value in values if value.startswith(_MOUNT)]
        needs = [need for address in read for need in needed_for_objects(address, "list", "get")]
        needs += needed_for_objects(base, "create", "delete") if base else []
        lacking = self.world.common.lacking("mounting buckets", needs)
        if lacking is not None:
            account = spec.get("serviceAccount")
            raise StartFailed(f"{account} does not have {lacking.action} access to {lacking.resource}.")

    def _is_over(self, number: str) -> bool:
        task = self.tasks[number]
        if task.running is None:
            return task.stillborn
        late = self.world.pace.clock() - task.began > task.limit_s
        if task.running.exit_code is None and late and not task.timed_out:
            task.timed_out = True
            _ended_in_background(task.running)
        return task.running.exit_code is not None

    def _end(self, task: Task, job: Json) -> None:
        job["endTime"] = stamp()
        if job["state"] == "JOB_STATE_FAILED":
            job["error"] = self._why(task).result()

    @staticmethod
    def _why(task: Task) -> Refusal:
        if task.timed_out:
            return Refusal("DEADLINE_EXCEEDED", f"The job exceeded its timeout of {task.limit_s:g}s and was stopped.")
        code = task.running.exit_code if task.running else 1
        if code == 0:
            return Refusal("INTERNAL", "Internal error occurred for the current attempt.")
        return Refusal(
            "INVALID_ARGUMENT",
            f"The replica workerpool0-0 exited with a non-zero status of {code}. Termination reason: Error. To find "
            "out more about why your job exited please check the logs.",
        )

    # --- handlers ---------------------------------------------------------------------------------------------------

    def _find(self, request: Request) -> tuple[str, Json]:
        number = request.params["job"]
        found = self.world.get("customJobs", number)
        if found["_veil"].hides():
            raise Refusal("NOT_FOUND", f"The CustomJob {found['name']} cannot be found.")
        self.tasks[number].line.show()
        return number, found

    def get(self, request: Request) -> Json:
        """Return one job."""
        return shown(self._find(request)[1])

    def every(self, request: Request) -> Json:
        """List all jobs."""
        found = [job for job in self.table.values() if not job["_veil"].hides()]
        for job in found:
            self.tasks[job["name"].rpartition("/")[2]].line.show()
        return listing([shown(job) for job in found], request.query, "customJobs")

    def cancel(self, request: Request) -> Json:
        """Ask a running job to end; refuse one that is over."""
        number, job = self._find(request)
        task = self.tasks[number]
        if job["state"] in OVER:
            raise Refusal("FAILED_PRECONDITION", f"The job {job['name']} is in state {job['state']}.")
        task.cancelled = True
        if task.running is not None:
            _ended_in_background(task.running)
        task.line.turn(
            Step("JOB_STATE_CANCELLING", CANCEL_S, lambda: task.running is None or task.running.exit_code is not None),
            final=_OVER,
        )
        return {}

    def delete(self, request: Request) -> Json:
        """Delete a job that is over."""
        number, job = self._find(request)
        if job["state"] not in OVER:
            raise Refusal("FAILED_PRECONDITION", f"The job {job['name']} is in state {job['state']}; cancel it first.")

        def finish() -> Json:
            self.table.pop(number, None)
            return {}

        line = self.world.line(request, DELETE_S)
        return self.world.begin("DeleteCustomJob", f"customJobs/{number}", line, finish, kind="google.protobuf.Empty")

    # --- for the rest of the cloud ----------------------------------------------------------------------------------

    def logs(self) -> Iterable[tuple[str, list[tuple[float, str]]]]:
        """Yield the output of each job, with its number."""
        for number, task in self.tasks.items():
            yield number, [*task.lines, *(task.running.logs() if task.running else [])]

    def close(self) -> None:
        """Stop all running jobs."""
        for task in self.tasks.values():
            if task.running is not None and task.running.exit_code is None:
                task.running.stop(0.0)


def _ended_in_background(running: Running) -> None:
    threading.Thread(target=running.stop, args=(GRACE_S,), daemon=True).start()
