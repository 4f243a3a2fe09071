"""Submission of a job by Azure's own client, in a child process.

That client keeps its cloud in a variable of the process, prints to standard output and takes a second to load; the
child keeps all that out of the user's process. The child ends with its parent, since it ends when its standard input
closes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sdk.adapter.registry import missing_extra
from sdk.adapter.shared.inputs import path_of
from sdk.errors import TimedOut, UnavailableError

from ._errors import PROVIDER, made
from ._json import table
from ._names import ENVIRONMENT_VERSION, environment_name
from ._shelf import PLACE
from ._storage import DATASTORE
from ._where import ML_SCOPE, STORAGE_SCOPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import Resource

    from ._arm import Arm
    from .options import AzureMLOptions

OUTPUT = "output"
_ALLOWED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SYSTEMROOT",
)


def order(resource: Resource, env: Mapping[str, str]) -> dict[str, Any]:
    """Return the job to submit, in the format for the child process."""
    spec: Any = table(resource.spec)
    uploaded = {channel: f"{PLACE}/data/{path}" for channel, path in spec["local"].items()}
    inputs = {channel: _input(where) for channel, where in {**spec["data"], **uploaded}.items()}
    return {
        "name": resource.id,
        "command": command(inputs),
        "environment": f"azureml:{environment_name(spec['image'])}:{ENVIRONMENT_VERSION}",
        "inputs": inputs,
        "output": f"azureml://datastores/{DATASTORE}/paths/{output_prefix(resource.id)}",
        "env": dict(env),
        "tags": {**(spec.get("tags") or {}), **resource.tags},
        "instance": spec["instance"],
        "compute": spec["compute"],
        "tier": spec["tier"],
        "identity": spec["identity"],
        "timeout_s": max(1, round(spec["timeout_s"])),
    }


def output_prefix(job: str) -> str:
    """Return the path of a job's outputs in the container of the workspace's own datastore.

    Example:
        >>> output_prefix("churn-1")
        'azureml/churn-1/output/'
    """
    return f"azureml/{job}/{OUTPUT}/"


def command(inputs: Mapping[str, Any]) -> str:
    """Return a job's shell command: Azure replaces the image's entrypoint and fills in the paths of data and output.

    Example:
        >>> command({"train": {}})[:86]
        'export MLPORT_OUTPUT_DIR="${{outputs.output}}" MLPORT_DATA_TRAIN="${{inputs.train}}" &&'
    """
    data = "".join(f' MLPORT_DATA_{channel.upper()}="${{{{inputs.{channel}}}}}"' for channel in inputs)
    return (
        f'export MLPORT_OUTPUT_DIR="${{{{outputs.output}}}}"{data} && '
        "export MLPORT_METRICS_FILE=outputs/metrics.json && exec python -P -m mlport_serving train"
    )


def _input(where: str) -> dict[str, str]:
    return {"type": "uri_folder" if where.endswith("/") else "uri_file", "path": where}


def local_data(data: Mapping[str, str]) -> dict[str, Path]:
    """Return the inputs that are on this machine.

    Raises:
        ConfigError: An input does not exist.
    """
    local = {
        channel: where for channel, where in data.items() if "://" not in where or urlsplit(where).scheme == "file"
    }
    return {channel: path_of(channel, where) for channel, where in local.items()}


def send(arm: Arm, options: AzureMLOptions, job: Mapping[str, Any], timeout: float) -> None:
    """Submit a job through the child process.

    Raises:
        PlatformError: Azure refused; the class says what is known about the effect.
        TimedOut: The child did not answer in time.
        MissingExtraError: Azure's client is not installed.
    """
    place = arm.place
    scopes = [f"{place.arm}/.default", STORAGE_SCOPE]
    if str(job["identity"]).lower() == "user" and not place.mini:  # the service acts for the user with this token
        scopes.append(ML_SCOPE)
    told = {
        "subscription": options.subscription,
        "resource_group": options.resource_group,
        "workspace": options.workspace,
        "arm": place.arm if place.mini else None,
        "storage": place.storage,
        "tokens": {scope: arm.tokens.get(scope) for scope in scopes},
        "job": job,
    }
    answer = _ask(json.dumps(told), _environment(place.ca), timeout)
    if "missing" in answer:
        raise missing_extra(PROVIDER, answer["missing"])
    if "error" in answer:
        failed: dict[str, Any] = answer["error"]
        facts: dict[str, Any] = {"operation": "submit job", "resource": job["name"], "status": failed["status"]}
        if failed["unreached"]:
            raise UnavailableError(failed["message"], sent=True, provider=PROVIDER, **facts)
        raise made(failed["code"], f"submit job was refused: {failed['message']}", **facts)


def _environment(ca: str | None) -> dict[str, str]:
    env = {key: os.environ[key] for key in _ALLOWED if key in os.environ}
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    bundle = ca or os.environ.get("REQUESTS_CA_BUNDLE")
    return {**env, "PYTHONPATH": paths, **({"REQUESTS_CA_BUNDLE": bundle} if bundle else {})}


def _ask(text: str, env: Mapping[str, str], timeout: float) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sdk_azureml._submit"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=Path.cwd().anchor,  # the client sends remote, branch and commit of the repository in which it runs
        text=True,
        start_new_session=True,  # Ctrl-C reaches only the parent, which ends the child or lets it finish an undo
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, end)
    timer.start()
    try:
        said = _talk(process, text)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    if late.is_set():
        raise TimedOut("submit job: no answer in time", waited_s=timeout, provider=PROVIDER, operation="submit job")
    return said


def _talk(process: subprocess.Popen[str], text: str) -> dict[str, Any]:
    """Send the child its request and read its answer; its input stays open, since the child ends when it closes."""
    assert process.stdin is not None  # noqa: S101  Popen was given pipes
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    with process.stdin as order_in, process.stdout as answers, process.stderr as trouble:
        order_in.write(text + "\n")
        order_in.flush()
        said = answers.read()
        if not said:
            why = trouble.read()[-2000:]
            raise UnavailableError(f"submit job: Azure's client ended without a word: {why}", provider=PROVIDER)
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer
