"""GPUs of this machine are reserved for replicas and jobs; the devices of these tests have names and do not exist."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import stat
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sdk.adapter.types import Replicas, Resources
from sdk.errors import ConfigError, DeployFailed, QuotaError
from sdk.executor import lifecycle
from sdk.packaging.model import Model, model
from sdk_local import LocalOptions, _devices
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = Resources(gpu=1)


@pytest.fixture
def gpus() -> Iterator[list[str]]:
    """Two devices that no other test has."""
    names = [f"fake-{secrets.token_hex(4)}-{number}" for number in range(2)]
    yield names
    for name in names:
        _devices.lock_of(name).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def shows(state: Path) -> Model:
    """A model that answers which devices its process sees, and its number."""

    def show(rows: Any) -> Any:
        return [[os.environ.get("CUDA_VISIBLE_DEVICES", "unset"), os.getpid()] for _ in rows]

    return model(show, name="shows", example=[[1.0]], rowwise=True)


@pytest.fixture
def client(local: Any, gpus: list[str]) -> Any:
    return type(local)(local.state, gpus=gpus)


def seen(client: Any, name: str, deployment: str | None = None) -> set[str]:
    """The devices of all replicas that answer."""
    return {client.predict(name, [[1.0]], deployment)[0][0] for _ in range(12)}


def processes(client: Any, name: str) -> list[psutil.Process]:
    """The gateway, its keeper and the replicas of an endpoint."""
    mark = client.adapter._endpoints.folder(name).read().extra["run"]
    return [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get("MLPORT_RUN") == mark]


def free(client: Any) -> list[str]:
    """The devices that nobody has."""
    devices = client.adapter._devices
    return [one for one in devices.known() if one not in devices._holders()]


def test_each_replica_has_a_device_of_its_own(client: Any, name: str, shows: Model, gpus: list[str]) -> None:
    """One that is killed comes back on the same; the same deploy again needs no more devices."""
    client.deploy(shows, name, replicas=Replicas(2, 2), resources=ONE)
    assert set(gpus) == seen(client, name)
    before = {one.pid for one in processes(client, name)}
    client.deploy(shows, name, replicas=Replicas(2, 2), resources=ONE)
    assert before == {one.pid for one in processes(client, name)}
    (_, pid), *_ = client.predict(name, [[1.0]])
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: set(gpus) == seen(client, name))
    assert pid not in {one.pid for one in processes(client, name)}


def test_what_asks_for_no_device_sees_none(client: Any, name: str, shows: Model) -> None:
    """As in a container; the variable can be given where somebody shares devices on purpose."""
    client.deploy(shows, name)
    assert {""} == seen(client, name)
    client.deploy(shows, name, env={"CUDA_VISIBLE_DEVICES": "7"})
    assert {"7"} == seen(client, name)


def test_clients_with_different_state_folders_have_different_devices(
    client: Any, name: str, shows: Model, gpus: list[str], tmp_path: Path
) -> None:
    """A third endpoint is refused when it is planned, by either of them.

    A state folder that is removed keeps no device, but the processes that still run keep theirs to their end.
    """
    shutil.copytree(client.state / "models", tmp_path / "state" / "models")
    other = type(client)(tmp_path / "state", "somebody", gpus=gpus)
    client.deploy(shows, name, resources=ONE)
    with pytest.raises(
        QuotaError, match=rf"big needs 2 GPUs, and 1 of the 2 of this machine are free \({name}"
    ) as said:
        client.deploy(shows, "big", resources=Resources(gpu=2))
    assert "ask for fewer, or delete what holds them" == said.value.hint
    other.deploy(shows, "other", resources=ONE)
    assert [{gpus[0]}, {gpus[1]}] == [seen(client, name), seen(other, "other")]
    for third in (client, other):
        with pytest.raises(QuotaError, match=rf"1 GPU, and 0 of the 2 .* \(other.* has 1, {name}.* has 1\)"):
            third.deploy(shows, "third", resources=ONE)
        assert third.status("third") is None
    running = processes(other, "other")
    shutil.rmtree(tmp_path / "state" / "endpoints")
    assert [] == free(client)
    for process in running:
        process.kill()
    psutil.wait_procs(running, timeout=10)
    assert [gpus[1]] == free(client)


def test_an_update_needs_devices_beside_those_of_the_live_version(
    client: Any, name: str, shows: Model, gpus: list[str]
) -> None:
    """It says so when there are none, and leaves what is live as it is; with them it is a rolling one."""
    client.deploy(shows, name, resources=ONE)
    with pytest.raises(QuotaError, match=f"needs 2 GPUs, and 1 of the 2 .*{name}.* has 1") as said:
        client.deploy(shows, name, resources=Resources(gpu=2))
    assert f"`mlport finalize {name}`" in str(said.value.hint)
    client.deploy(shows, name, resources=Resources(gpu=1, cpu=1))
    assert {gpus[1]} == seen(client, name)
    with pytest.raises(QuotaError, match="0 of the 2"):
        client.deploy(shows, name, resources=Resources(gpu=1, cpu=2))
    client.verb(lifecycle.rollback, name)
    assert {gpus[0]} == seen(client, name)
    client.verb(lifecycle.finalize, name)
    assert [gpus[1]] == free(client)


def test_killed_processes_leave_no_device_behind(client: Any, name: str, shows: Model, gpus: list[str]) -> None:
    """An endpoint whose processes were all killed has its devices until it is deleted, as it starts again."""
    client.deploy(shows, name, resources=Resources(gpu=2))
    for _ in range(2):
        running = processes(client, name)
        for process in running:
            process.kill()
        psutil.wait_procs(running, timeout=10)
        assert [] == free(client)
        assert {",".join(gpus)} == seen(client, name)
    for process in processes(client, name):
        process.kill()
    client.delete(name)
    assert gpus == free(client)


class Broken:
    """A model that cannot be loaded."""

    def load(self, folder: str) -> None:
        raise RuntimeError("no weights")

    def predict(self, rows: Any) -> Any:
        return rows


def test_a_failed_deploy_lets_go_of_its_devices(client: Any, name: str, gpus: list[str]) -> None:
    with pytest.raises(DeployFailed):
        client.deploy(model(Broken, name="broken"), name, resources=Resources(gpu=2))
    assert gpus == free(client)


def test_a_job_holds_its_device_to_its_end(
    client: Any, name: str, shows: Model, gpus: list[str], tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"

    def wait(params: dict[str, str]) -> Any:
        import os
        import sys
        import time
        from pathlib import Path

        while not Path(params["go_on"]).exists():
            time.sleep(0.05)
        sys.stdout.write(f"devices {os.environ['CUDA_VISIBLE_DEVICES']}\n")
        return lambda rows: rows

    client.submit(wait, name, params={"go_on": str(go_on)}, resources=Resources(gpu=2))
    with pytest.raises(QuotaError, match=rf"0 of the 2 .* \(job {name} has 2\)"):
        client.deploy(shows, "next", resources=ONE)
    with pytest.raises(QuotaError, match=rf"0 of the 2 .* \(job {name} has 2\)"):
        client.submit(wait, "second", params={"go_on": str(go_on)}, resources=ONE)
    go_on.touch()
    client.finished(name)
    assert f"devices {','.join(gpus)}" in [line.text for line in client.adapter.job_logs(name)]
    assert gpus == free(client)


# --- which devices there are


def test_devices_are_those_that_nvidia_smi_lists(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their unique ids, as numbers differ between programs; a number in the setting is that of nvidia-smi."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=index,uuid ] && printf "0, GPU-aa\\n1, GPU-bb\\n"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert ("GPU-aa", "GPU-bb") == _devices.Devices(LocalOptions(), local.state).known()
    chosen = LocalOptions.model_validate({"gpus": [1, "MIG-cc"]})
    assert ("GPU-bb", "MIG-cc") == _devices.Devices(chosen, local.state).known()
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' \nexit 9\n")
    assert () == _devices.Devices(LocalOptions(), local.state).known()


def test_a_machine_without_devices_says_so(local: Any, shows: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(QuotaError, match="needs 1 GPU, and 0 of the 0") as said:
        local.deploy(shows, "none", resources=ONE)
    assert "nvidia-smi lists none" in str(said.value.hint)


@pytest.mark.parametrize("value", ["0,1", [0, 1], ["0", "1"], "0, 1 ,"])
def test_forms_of_the_setting(value: Any) -> None:
    assert ("0", "1") == LocalOptions.model_validate({"gpus": value}).gpus


@pytest.mark.parametrize("value", [["0", "0"], ["a b"], [True], 2, [1.5]])
def test_wrong_settings_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="gpus"):
        LocalOptions.model_validate({"gpus": value})


def test_devices_cannot_be_chosen_twice(client: Any, shows: Model) -> None:
    with pytest.raises(ConfigError, match=r"env\.CUDA_VISIBLE_DEVICES: mlport sets it"):
        client.deploy(shows, "twice", resources=ONE, env={"CUDA_VISIBLE_DEVICES": "0"})
