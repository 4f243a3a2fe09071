"""The child process that submits a job with Azure's own client: ``python -m sdk_azureml._submit``.

It reads one line of JSON, answers with one line, and ends at once when its standard input closes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from typing import Any, NamedTuple, cast

_SLOW = "rfc3987_syntax"  # slow to load where it is installed; only for checks that Azure's client does not make


class AccessToken(NamedTuple):
    """A token in the form that ``azure-core`` expects."""

    token: str
    expires_on: int


class Given:
    """A credential that returns the parent's tokens."""

    def __init__(self, tokens: dict[str, str]) -> None:
        self._tokens = tokens

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return the parent's token for a scope; the resource manager's token if the parent sent none for it."""
        token = self._tokens.get(scopes[0]) or next(iter(self._tokens.values()))
        return AccessToken(token, int(time.time()) + 3000)


def _library(name: str) -> Any:
    """Return a module of Azure's client, which is only partly typed."""
    return importlib.import_module(name)


def client(told: dict[str, Any]) -> Any:
    """Return Azure's client of the workspace."""
    place = (told["subscription"], told["resource_group"], told["workspace"])
    more: dict[str, Any] = {"enable_telemetry": False, "show_progress": False}
    arm = told["arm"]
    if arm:  # a mini cloud; its name has to be new for each address
        metadata = {
            "azure_portal": arm,
            "resource_manager": arm,
            "active_directory": arm,
            "aml_resource_id": arm,
            "storage_endpoint": told["storage"],
            "registry_discovery_endpoint": arm,
        }
        more |= {"cloud": "mlport-" + arm.rpartition(":")[2], "cloud_metadata": metadata}
    return _library("azure.ai.ml").MLClient(Given(told["tokens"]), *place, **more)


def job_of(given: dict[str, Any]) -> Any:
    """Return the command job."""
    ml = _library("azure.ai.ml")
    job = ml.command(
        name=given["name"],
        display_name=given["name"],
        experiment_name="mlport",
        command=given["command"],
        environment=given["environment"],
        environment_variables=given["env"],
        inputs={key: ml.Input(**value) for key, value in given["inputs"].items()},
        outputs={"output": ml.Output(type="uri_folder", path=given["output"])},
        tags=given["tags"],
        compute=given["compute"],
    )
    job.identity = identity_of(given["identity"])
    job.set_limits(timeout=given["timeout_s"])
    if given["compute"] is None:
        job.set_resources(instance_count=1, instance_type=given["instance"])
        job.queue_settings = _library("azure.ai.ml.entities").QueueSettings(job_tier=given["tier"])
    return job


def identity_of(given: str | None) -> Any:
    """Return the identity with which a job reads data, as a type of Azure's client; ``None`` for no identity."""
    if given is None:
        return None
    entities = _library("azure.ai.ml.entities")
    if given.lower() == "user":
        return entities.UserIdentityConfiguration()
    return entities.ManagedIdentityConfiguration(resource_id=given)


def run(told: dict[str, Any]) -> dict[str, Any]:
    """Submit the job, and return the outcome."""
    try:
        from azure.core.exceptions import AzureError, HttpResponseError
    except ImportError as error:
        return {"missing": error.name}
    try:
        client(told).jobs.create_or_update(job_of(told["job"]))
    except ImportError as error:
        return {"missing": error.name}
    except HttpResponseError as error:
        code = str(getattr(error.error, "code", None) or "")  # a proxy's own error may have a number there
        return _failed(str(error.message), code=code, status=error.status_code, unreached=error.status_code is None)
    except AzureError as error:
        return _failed(str(error), unreached=True)
    return {"ok": True}


def _failed(message: str, *, code: str = "", status: int | None = None, unreached: bool) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "status": status, "unreached": unreached}}


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Read one request and write one answer."""
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.modules.setdefault(_SLOW, cast("Any", None))
    with contextlib.redirect_stdout(sys.stderr):  # the client may print to standard output
        answer = run(told)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # a thread of this process is still reading


if __name__ == "__main__":
    main()
