"""What goes wrong on a machine: each failure is told with its reason, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from sdk.adapter import Labels, Resource
from sdk.adapter.types import Replicas, Resources
from sdk.errors import DeployFailed, LockMismatchError, SdkError, UnsupportedError
from sdk.packaging.model import Model, model
from sdk_local._prepare import Prepared
from sdk_local._records import new_record
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def breaking(how: str) -> Model:
    """A model that does something bad when it is loaded."""

    def act(kind: str) -> None:
        import os
        import signal

        os.write(1, f"loading, about to {kind}\n".encode())
        if kind == "raise":
            raise RuntimeError("weights are missing")
        if kind == "exit":
            os._exit(0)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "hang":
            time.sleep(600)
        if kind == "eat":
            eaten = [b"x" * 2**24 for _ in range(64)]
            time.sleep(600 if eaten else 0)

    class Mine:
        def __reduce__(self) -> Any:
            return act, (how,)

    mine = Mine()

    def predict(rows: Any) -> Any:
        return rows if mine else [how]

    return model(predict, name="breaking")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "weights are missing"),
        ("exit", "SystemExit: os._exit(0)"),
        ("kill", "killed by SIGKILL"),
        ("crash", "killed by SIGSEGV"),
    ],
)
def test_crash_on_load(local: Any, name: str, how: str, reason: str) -> None:
    """A model that cannot be loaded fails its deployment with the exit and its last lines, and nothing is left."""
    with pytest.raises(DeployFailed) as failed:
        local.deploy(breaking(how), name)
    assert reason in str(failed.value.reason)
    assert local.status(name) is None


def test_last_lines_of_what_never_was_ready(local: Any, name: str, times: Callable[[float], Model]) -> None:
    """The lines of a deployment that failed to load can be read while its record is there."""
    local.deploy(times(2), name)
    process = failing_process(local, name, breaking("raise"))
    live = local.adapter.read(process, timeout=10)
    while live.state == "creating":
        live = local.adapter.read(process, timeout=10)
    assert ("failed", "never ready") == (live.state, live.raw)
    deployment = process.id.partition(".")[2]
    text = "\n".join(line.text for line in local.adapter.logs(name, deployment=deployment, tail=50))
    assert "loading, about to raise" in text
    assert "weights are missing" in text
    assert [[4.0]] == local.predict(name, [[2.0]])


def failing_process(local: Any, name: str, bad: Model) -> Any:
    """Add a deployment by its single operations, as the executor would before it rolls back."""
    from sdk.adapter import DeploymentSpec, EndpointSpec, Labels, Materials

    spec = DeploymentSpec("dbad00000", bad.name, bad.digest, 2)
    endpoint = EndpointSpec(name, (spec,), {}, Labels(name, "me", "bad1", 2))
    by_kind = {resource.kind: resource for resource in local.adapter.resources(endpoint)}
    for kind in ("Model", "Process"):
        local.adapter.create(by_kind[kind], Materials(model=bad), timeout=60)
    return by_kind["Process"].ref


def test_hang_on_load(new_local: Any, name: str) -> None:
    """A model that never gets ready fails when its time is over."""
    with pytest.raises(DeployFailed) as failed:
        new_local(start_s=1.5).deploy(breaking("hang"), name)
    assert "ready" in str(failed.value.reason)


def test_eats_memory_on_load(local: Any, name: str) -> None:
    """A model that needs more memory than it may is ended, and the reason names memory."""
    with pytest.raises(DeployFailed) as failed:
        local.deploy(breaking("eat"), name, resources=Resources(memory_gib=0.3))
    assert "memory" in str(failed.value.reason)


def test_eats_memory_on_predict(local: Any, name: str, acting: Model) -> None:
    """A request that would take a replica over its memory limit fails with a 5xx; the next one is answered."""
    local.deploy(acting, name, resources=Resources(memory_gib=0.4))
    assert 500 <= local.ask(name, [["eat", "900"]]).status_code < 600
    until(lambda: local.status(name).state == "ready")
    assert ["hi"] == local.predict(name, [["say", "hi"]])


def test_killed_replica(local: Any, name: str, acting: Model) -> None:
    """A replica that dies is started again, and the restart is counted."""
    local.deploy(acting, name)
    assert local.ask(name, [["die", ""]]).status_code in {502, 503}
    until(lambda: (restarts(local, name), local.status(name).state) == (1, "ready"), lambda: inside(local, name))
    assert ["hi"] == local.predict(name, [["say", "hi"]])
    assert 1 == restarts(local, name)


def test_killed_gateway(local: Any, name: str, times: Callable[[float], Model]) -> None:
    """A gateway killed with -9 is started by the next look, with the same address, token, traffic and models."""
    local.deploy(times(2), name)
    local.deploy(times(3), name, share=20)
    before = local.status(name)
    psutil.Process(gateway_pid(local, name)).kill()
    until(lambda: local.status(name).state == "ready")
    after = local.status(name)
    assert (before.url, before.traffic) == (after.url, after.traffic)
    assert [[6.0]] == local.predict(name, [[2.0]], after.deployments[-1].id)


def test_port_taken(new_local: Any, name: str, times: Callable[[float], Model]) -> None:
    """A port that something else has fails the deployment, names the port, and leaves nothing."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        client = new_local(port=port)
        with pytest.raises(SdkError, match=str(port)):
            client.deploy(times(2), name)
        assert client.status(name) is None


def test_fixed_port(new_local: Any, name: str, times: Callable[[float], Model]) -> None:
    """A free port that is asked for is the endpoint's; it cannot change while the endpoint lives."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    client = new_local(port=port)
    assert f"http://127.0.0.1:{port}/invocations" == client.deploy(times(2), name).status.url
    with pytest.raises(SdkError, match="port"):
        new_local(port=port - 1).deploy(times(3), name)
    assert [[4.0]] == client.predict(name, [[2.0]])


def test_tampered_model(local: Any, name: str) -> None:
    """A model whose file was changed on disk is refused before anything of it is loaded."""
    factor = 1234.5

    def predict(rows: Any) -> Any:
        return rows * factor

    made = model(predict, name="tampered", example=np.ones((1, 1)))
    assert made.path is not None
    target = next((made.path / "model").iterdir())
    target.chmod(0o600)
    target.write_bytes(target.read_bytes().replace(b"predict", b"predigt"))
    with pytest.raises((LockMismatchError, DeployFailed), match="changed") as failed:
        local.deploy(made, name)
    assert "changed" in str(failed.value)


def test_lost_environment(alone: Any, times: Callable[[float], Model]) -> None:
    """An environment that somebody removed is made again by the next deployment."""
    import shutil
    from pathlib import Path

    made = times(2)
    alone.deploy(made, "lost")
    record = alone.adapter._prepared.existing("Model", made.digest[:32])
    shutil.rmtree(Path(record.extra["python"]).parents[1])
    assert [[6.0]] == alone.predict("lost", [[3.0]])
    alone.deploy(times(7), "lost")
    assert [[21.0]] == alone.predict("lost", [[3.0]])


@pytest.mark.parametrize("shared", [False, True])
def test_an_environment_that_others_share_stays(tmp_path: Path, shared: bool) -> None:
    """Deleting the last model of a state folder removes its environment, but none of a cache outside of it."""
    python = tmp_path / ("cache" if shared else "state") / "envs" / ("0" * 40) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    resource = Resource("Model", "m", labels=Labels("churn", "me", "t1"), spec={"digest": "m"})
    record = new_record(resource, 1.0, {"python": str(python), "folder": str(tmp_path)})
    (tmp_path / "state" / "prepared").mkdir(parents=True)
    (tmp_path / "state" / "prepared" / "Model-m.json").write_bytes(record.encode())
    Prepared(tmp_path / "state").delete("Model", "m")
    assert shared == python.exists()


@pytest.mark.parametrize(
    ("spec", "capability"),
    [
        ({"replicas": Replicas(1, 2)}, "autoscale"),
        ({"instance": "ml.m5.large"}, "instances"),
        ({"image": "repo@sha256:00"}, "images"),
    ],
)
def test_unsupported(local: Any, name: str, times: Callable[[float], Model], spec: Any, capability: str) -> None:
    """What local cannot do is refused before anything is made."""
    with pytest.raises(UnsupportedError) as refused:
        local.deploy(times(2), name, **spec)
    assert capability == refused.value.capability
    assert local.status(name) is None


def test_environment_and_secrets(
    local: Any, name: str, acting: Model, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    """A model sees what it was given, no cloud key; a secret survives a killed gateway and is never shown."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-models")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    secret = "s3cr3t-canary-value"
    local.deploy(acting, name, env={"GREETING": "hello"}, secrets={"DB_PASSWORD": "db"}, secret=lambda _: secret)
    assert ["hello"] == local.predict(name, [["env", "GREETING"]])
    assert [secret] == local.predict(name, [["env", "DB_PASSWORD"]])
    seen = set(local.predict(name, [["names", ""]])[0].split(","))
    assert not {one for one in seen if one.startswith(("AWS_", "GOOGLE_", "AZURE_", "SSH_"))}
    psutil.Process(gateway_pid(local, name)).kill()
    until(lambda: local.status(name).state == "ready")
    assert [secret] == local.predict(name, [["env", "DB_PASSWORD"]])
    shown = [*map(repr, local.adapter.observe(name, timeout=10)), *map(repr, local.adapter.logs(name))]
    assert not [text for text in shown if secret in text]
    kept = [path for path in state.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert {state / "endpoints" / name} == {path.parents[0 if path.name == "table.json" else 1] for path in kept}
    assert {0} == {path.stat().st_mode & 0o077 for path in kept}


def test_full_disk(state: Path, name: str, times: Callable[[float], Model]) -> None:
    """On a full disk a deployment fails with an error that says so, and the endpoint there is goes on."""
    outcome = in_child(
        state,
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n",
        name,
        times(2),
    )
    assert outcome["error"] in {"PackagingError", "QuotaError", "JournalError"}
    assert "space" in outcome["message"] or "large" in outcome["message"]
    assert not (state / "endpoints" / name).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="changes its user")
def test_read_only_state(tmp_path: Path, times: Callable[[float], Model]) -> None:
    """A state folder that cannot be written gives an error that names it and the setting."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    for path in [folder, *folder.parents][:4]:
        path.chmod(0o755)
    outcome = in_child(folder, "import os\nos.setgid(65534)\nos.setuid(65534)\n", "readonly", times(2))
    assert outcome["error"] in {"PackagingError", "AuthError", "JournalError"}
    assert "MLPORT_STATE_DIR" in outcome["message"] or str(folder) in outcome["message"]


def in_child(folder: Path, prepare: str, name: str, made: Model) -> dict[str, str]:
    """Create a gateway in a process that was put in a difficult place; gives its error."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from sdk.adapter import AdapterContext, DeploymentSpec, EndpointSpec, Labels, Materials\n"
        "from sdk.util.redact import Redactor\n"
        "from sdk.util.waiting import SystemClock\n"
        "from sdk_local import LocalAdapter, LocalOptions\n"
        "folder, name, digest = Path(sys.argv[1]), sys.argv[2], sys.argv[3]\n"
        "adapter = LocalAdapter(LocalOptions(), AdapterContext('local', 'me', folder, SystemClock(), Redactor()))\n"
        "spec = EndpointSpec(name, (DeploymentSpec('d00000001', 'm', digest, 1),), {}, Labels(name, 'me', 't1', 1))\n"
        f"{prepare}"
        "try:\n"
        "    for resource in adapter.resources(spec):\n"
        "        if resource.kind == 'Gateway':\n"
        "            adapter.create(resource, Materials(), timeout=20)\n"
        "    told = {'error': '', 'message': ''}\n"
        "except Exception as error:\n"
        "    told = {'error': type(error).__name__, 'message': str(error)}\n"
        "print(json.dumps(told))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), name, made.digest],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told: dict[str, str] = json.loads(done.stdout)
    return told


def restarts(local: Any, name: str) -> int:
    return int(local.adapter.metrics(name, window_s=60, timeout=10).restarts)


def inside(local: Any, name: str) -> Any:
    """What the gateway says of itself and its replicas."""
    return local.adapter._deployments.gateway(name).peek()


def gateway_pid(local: Any, name: str) -> int:
    """The process of the gateway, as it says itself."""
    return int(inside(local, name)["gateway"]["pid"])


def test_hang_on_predict(new_local: Any, name: str, acting: Model) -> None:
    """A prediction that takes longer than it may is ended with a 504; the endpoint answers again and goes cleanly."""
    local = new_local(deadline_s=1)
    local.deploy(acting, name)
    assert 504 == local.ask(name, [["sleep", "2"]]).status_code
    until(lambda: local.ask(name, [["say", "hi"]]).status_code == 200)
    assert "ready" == local.status(name).state


def test_hung_model_is_removed(new_local: Any, name: str, acting: Model, left_over: Callable[[str], list[str]]) -> None:
    """A model that never comes back keeps no delete waiting, and nothing of it is left."""
    local = new_local(deadline_s=1, drain_s=1, stop_s=1)
    local.deploy(acting, name)
    assert 504 == local.ask(name, [["sleep", "600"]]).status_code
    local.delete(name)
    assert [] == left_over(name)
