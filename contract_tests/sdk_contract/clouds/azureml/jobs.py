"""Command jobs: serverless or on a cluster, launched through bash as the platform does, with logs and outputs."""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..app import Response, Routes
from ..runners import Launch, StartFailed
from ..timing import Step
from .answers import ArmRoutes, answer, empty, failure, not_found, stamp, system_data, table, trouble
from .durations import seconds_of
from .names import Names, same
from .rights import needed_for_blobs, needed_for_image
from .world import size_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..app import Request
    from ..registry import Registry
    from ..runners import Runner, Running
    from ..timing import Line
    from .assets import Assets
    from .world import World

CLUSTER = "mini-cluster"
_MOUNT = "/mnt/azureml"
_LOG = "user_logs/std_log.txt"
_OVER = frozenset({"Completed", "Failed", "Canceled"})
_PLACE = re.compile(r"\$\{\{(inputs|outputs)\.([A-Za-z0-9_]+)\}\}")


@dataclass
class Job:
    """One job."""

    name: str
    body: dict[str, Any]
    line: Line
    output: Path
    running: Running | None = None
    ended: float | None = None
    error: str | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    created: float = field(default_factory=time.time)
    canceled: bool = False

    @property
    def told(self) -> dict[str, Any]:
        """The properties in the request that created it."""
        found: dict[str, Any] = self.body["properties"]
        return found


class Jobs:
    """The jobs of the workspace.

    Args:
        world: The workspace.
        assets: The assets with environments and code, and their blobs.
        runner: Runs containers.
        registry: The registry that holds their images.
        valid: Checks whether a token is one of this cloud.
    """

    def __init__(
        self, world: World, assets: Assets, runner: Runner, registry: Registry, valid: Callable[[str], bool]
    ) -> None:
        self.world, self.assets, self.blobs = world, assets, assets.blobs
        self.runner, self.registry = runner, registry
        self.all: Names[Job] = Names()
        self.routes, self.history = ArmRoutes("jobs", valid), ArmRoutes("history", valid, versioned=False)
        self.open = Routes("logs", trouble)
        path, add = f"{world.place.path}/jobs", self.routes.add
        add("GET", path, "ListJobs")(self._list)
        add("GET", f"{path}/{{job}}", "GetJob")(self._get)
        add("PUT", f"{path}/{{job}}", "PutJob")(self._put)
        add("POST", f"{path}/{{job}}/cancel", "CancelJob")(self._cancel)
        add("GET", f"{world.place.path}/computes/{{compute}}", "GetCompute")(self._compute)
        runs = f"/history/v1.0{world.place.path}"
        self.history.add("GET", f"{runs}/runs/{{job}}/details", "GetRunDetails")(self._details)
        self.history.add("GET", f"{runs}/runs/{{job}}", "GetRun")(self._details)
        self.history.add("POST", f"{runs}/rundata", "GetRunData", changing=False)(self._run_data)
        self.open.add("GET", f"/logs/{{job}}/{{key}}/{_LOG}", "GetLog")(self._log)

    # --- resources

    def shown(self, job: Job) -> dict[str, Any]:
        """Return a job as the resource manager shows it."""
        path = f"{self.world.place.path}/jobs/{job.name}"
        outputs = {
            name: {"uri": self._uri(job, name), **value} for name, value in table(job.told.get("outputs")).items()
        }
        services = {"Studio": {"jobServiceType": "Studio", "endpoint": f"{self.world.url}/studio/{job.name}"}}
        told = {**job.told, "status": self.state(job), "services": services, "outputs": outputs}
        return {
            "id": path,
            "name": job.name,
            "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            "properties": told,
            "systemData": system_data(job.created),
        }

    def _uri(self, job: Job, name: str) -> str:
        return f"azureml:/{self.world.place.path}/datastores/workspaceblobstore/paths/azureml/{job.name}/{name}/"

    def state(self, job: Job) -> str:
        """Return the state of a job, as Azure names it."""
        state = job.line.show()
        if state in _OVER and job.ended is None:
            job.ended = time.time()
        return state

    def _list(self, request: Request) -> Response:
        tag = request.query.get("tag")
        with self.world.lock:
            found = [one for one in self.all.values() if not tag or tag in table(one.told.get("tags"))]
            return answer({"value": [self.shown(one) for one in found]})

    def _get(self, request: Request) -> Response:
        with self.world.lock:
            found = self.all.get(request.params["job"])
            return answer(self.shown(found)) if found else not_found(request.params["job"])

    def _compute(self, request: Request) -> Response:
        if not same(request.params["compute"], CLUSTER):
            return not_found(request.params["compute"])
        told = {
            "computeType": "AmlCompute",
            "provisioningState": "Succeeded",
            "properties": {"vmSize": "Standard_DS3_v2"},
        }
        return answer({"id": request.path, "name": CLUSTER, "location": self.world.place.region, "properties": told})

    def _put(self, request: Request) -> Response:
        name, body = request.params["job"], request.json()
        with self.world.lock:
            known = self.all.get(name)
            if known is not None:
                return failure(409, "Conflict", f"A job with this name already exists: {name}")
            refusal = self._refused(table(body.get("properties")))
            if refusal:
                return refusal
            job = self._begun(name, body, fails=request.hit_by("fail"))
            self.all[name] = job
            return answer(self.shown(job), 201)

    def _refused(self, told: dict[str, Any]) -> Response | None:
        if told.get("jobType") != "Command" or not told.get("command"):
            return failure(400, "UserError", "Only command jobs run here.")
        if self.assets.at(str(told.get("environmentId"))) is None:
            return failure(400, "UserError", f"environmentId: {told.get('environmentId')} was not found.")
        compute, size = told.get("computeId"), table(told.get("resources")).get("instanceType")
        if compute and not same(str(compute).rpartition("/")[2], CLUSTER):
            return failure(400, "UserError", f"computeId: {compute} was not found.")
        if size and size_of(size) is None:
            return failure(400, "UserError", f"resources.instanceType: '{size}' is not offered here.")
        return None

    # --- running

    def _begun(self, name: str, body: dict[str, Any], *, fails: bool) -> Job:
        def ended() -> bool:
            if job.running is not None and job.running.exit_code is None:
                return False
            job.line.final = self._outcome(job)
            return True

        steps = (Step("Queued", 30.0), Step("Preparing", 120.0), Step("Running", 0.0, ended))
        output = self.blobs.path(self.world.container, f"azureml/{name}")
        job = Job(name, body, self.world.pace.line(*steps, final="Completed"), output)
        if fails:
            job.error = "planned failure"
            return job
        try:
            job.running = self.runner.start(self._launch(job))
        except StartFailed as error:
            job.error = str(error)
        else:
            limit = table(job.told.get("limits")).get("timeout")
            if limit:
                self._watch(job, seconds_of(limit))
        return job

    def _outcome(self, job: Job) -> str:
        if job.canceled:
            return "Canceled"
        code = job.running.exit_code if job.running else None
        if code == 0:
            return "Completed"
        job.error = job.error or f"Execution failed. User process 'bash' exited with status code {code}."
        return "Failed"

    def _watch(self, job: Job, seconds: float) -> None:
        def end() -> None:
            if job.running and job.running.exit_code is None:
                job.error, job.canceled = f"The job ran longer than its limit of {seconds:g} s.", True
                job.running.stop(1.0)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()

    def _launch(self, job: Job) -> Launch:
        environment = self.assets.at(str(job.told["environmentId"]))
        assert environment is not None
        self._act(job)
        places, mounts = self._places(job)
        line = _PLACE.sub(lambda found: places[found[1], found[2]], job.told["command"])
        code = self.assets.at(str(job.told.get("codeId") or ""))
        folder = self._code(code.properties["codeUri"]) if code else self.world.folder / "work" / job.name
        folder.mkdir(parents=True, exist_ok=True)
        variables = {f"AZURE_ML_{kind[:-1].upper()}_{name}": place for (kind, name), place in places.items()}
        return Launch(
            job.name,
            self.registry,
            str(environment.properties["image"]).partition("/")[2],
            command=[f"cd {_MOUNT}/code && {line}"],
            shell=True,
            env={**variables, "AZUREML_RUN_ID": job.name, **table(job.told.get("environmentVariables"))},
            mounts={**mounts, f"{_MOUNT}/code": folder},
        )

    def _act(self, job: Job) -> None:
        """Act as the managed identity of a job, as the platform does.

        Raises:
            StartFailed: The identity lacks a right.
        """
        if table(job.told.get("identity")).get("identityType") != "Managed":
            return
        group = self.world.place.group
        needs = [
            *needed_for_image(self.world.registry_path),
            *(needed_for_blobs(group, "read") if job.told.get("inputs") else []),
            *needed_for_blobs(group, "write"),
        ]
        lacking = self.world.lacking("preparing the job", needs)
        if lacking is not None:
            raise StartFailed(
                f"The identity of the job is not authorized to perform {lacking.action} on {lacking.resource}."
            )

    def _places(self, job: Job) -> tuple[dict[tuple[str, str], str], dict[str, Path]]:
        """Return the container paths of inputs and outputs, and what is mounted there."""
        places: dict[tuple[str, str], str] = {}
        mounts: dict[str, Path] = {}
        for name, value in table(job.told.get("inputs")).items():
            if value.get("jobInputType") == "literal":
                places["inputs", name] = str(value["value"])
                continue
            source = self._source(str(value["uri"]))
            folder = source if source.is_dir() else source.parent
            inside = f"{_MOUNT}/inputs/{name}"
            mounts[inside] = folder
            places["inputs", name] = inside if source.is_dir() else f"{inside}/{source.name}"
        for name in table(job.told.get("outputs")):
            mounts[f"{_MOUNT}/outputs/{name}"] = job.output / name
            (job.output / name).mkdir(parents=True, exist_ok=True)
            (job.output / name).chmod(0o777)
            places["outputs", name] = f"{_MOUNT}/outputs/{name}"
        return places, mounts

    def _source(self, uri: str) -> Path:
        """Return the blob or folder at an address.

        Raises:
            StartFailed: It does not exist.
        """
        asset = self.assets.at(uri)
        uri = str(asset.properties["dataUri"]) if asset else uri
        path = self.blobs.path(self.world.container, uri.partition("/paths/")[2])
        if not path.exists() or "/paths/" not in uri:
            raise StartFailed(f"input {uri} does not exist")
        return path

    def _code(self, uri: str) -> Path:
        container, _, name = uri.partition("://")[2].partition("/")[2].partition("/")[2].partition("/")
        return self.blobs.path(container, name)

    def _cancel(self, request: Request) -> Response:
        with self.world.lock:
            job = self.all.get(request.params["job"])
            if job is None:
                return not_found(request.params["job"])
            if self.state(job) in _OVER:
                return empty(200)
            job.canceled = True
            if job.running is not None:
                threading.Thread(target=job.running.stop, args=(10.0,), daemon=True).start()
            return empty(202)

    # --- run history

    def _details(self, request: Request) -> Response:
        with self.world.lock:
            job = self.all.get(request.params["job"])
            return answer(self._run(job)) if job else not_found(request.params["job"])

    def _run(self, job: Job) -> dict[str, Any]:
        state = self.state(job)
        error = {"error": {"code": "UserError", "message": job.error}} if job.error and state in _OVER else None
        return {
            "runId": job.name,
            "status": state,
            "startTimeUtc": stamp(job.created),
            "endTimeUtc": stamp(job.ended) if job.ended else None,
            "logFiles": {_LOG: f"{self.world.url}/logs/{job.name}/{job.key}/{_LOG}"},
            "error": error,
            "warnings": [],
            "inputs": {},
            "outputs": {},
            "properties": {},
        }

    def _run_data(self, request: Request) -> Response:
        with self.world.lock:
            job = self.all.get(request.json().get("runId", ""))
            return answer({"runMetadata": self._run(job)}) if job else not_found("run")

    def _log(self, request: Request) -> Response:
        """Return the log of a job; the key in the address is the only credential."""
        with self.world.lock:
            job = self.all.get(request.params["job"])
        if job is None or not secrets.compare_digest(job.key, request.params["key"]):
            return not_found("log")
        text = "".join(f"{line}\n" for _, line in (job.running.logs() if job.running else []))
        return Response(200, text.encode(), {"content-type": "text/plain; charset=utf-8"})
