"""Replicas and jobs without `resources` have limits all the same, and the plan says which; no engine is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import DeploymentSpec, EndpointSpec, JobSpec, Labels
from sdk.adapter.types import JobState, Resources
from sdk.serving.train import KILLED
from sdk_docker import _defaults, _plan
from sdk_docker._containers import limits_of, replica_body
from sdk_docker._train import outcome
from sdk_docker.options import DockerOptions

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30
DIGEST = "ab" * 32


def planned(state: Path, given: Resources | None) -> Any:
    one = DeploymentSpec("d1", "churn", DIGEST, 1, resources=given)
    spec = EndpointSpec("churn", (one,), {"d1": 100}, Labels("churn", "me", "t1"))
    found = _plan.resources(spec, DockerOptions(), state)
    return next(resource for resource in found if resource.kind == _plan.CONTAINER)


@pytest.mark.parametrize(
    ("given", "model_bytes", "cpu", "memory"),
    [
        (None, 0, 1.0, 2 * GIB),
        (None, GIB // 2, 1.0, 2 * GIB),
        (None, GIB, 1.0, 4 * GIB),
        (Resources(cpu=0.5), GIB, 0.5, 4 * GIB),
        (Resources(memory_gib=0.25), GIB, 1.0, GIB // 4),
        (Resources(cpu=3, memory_gib=8), 0, 3.0, 8 * GIB),
    ],
)
def test_limits_of_a_replica(
    tmp_path: Path, given: Resources | None, model_bytes: int, cpu: float, memory: int
) -> None:
    folder = tmp_path / "models" / DIGEST
    folder.mkdir(parents=True)
    with (folder / "model.bin").open("wb") as file:
        file.truncate(model_bytes)  # a hole: it takes no space
    resource = planned(tmp_path, given)
    host = replica_body(resource, {}, DockerOptions())["HostConfig"]
    assert (int(cpu * 1e9), memory, memory) == (host["NanoCpus"], host["Memory"], host["MemorySwap"])
    assert f"at most {cpu:g} CPU and {memory / GIB:g} GiB of memory" in resource.summary


def test_limits_of_a_job(tmp_path: Path) -> None:
    data = tmp_path / "data.bin"
    with data.open("wb") as file:
        file.truncate(2 * GIB)
    for where, memory in ((str(data), 8), (data.as_uri(), 8), (str(tmp_path), 8), (str(tmp_path / "none"), 4)):
        spec = JobSpec("fit", Labels("fit", "me", "t1"), tmp_path, DIGEST, data={"train": where})
        job = _plan.job_resources(spec, DockerOptions())[-1]
        host = limits_of(job.spec or {})
        assert (10**9, memory * GIB) == (host["NanoCpus"], host["Memory"])
        assert f"{memory} GiB of memory" in job.summary


def test_what_was_killed_for_its_memory_names_limit_and_setting() -> None:
    state = {"Running": False, "Status": "exited", "ExitCode": 137, "OOMKilled": True}
    _, reason = outcome({"State": state, "HostConfig": {"Memory": 3 * GIB}}, young=False)
    assert "more than its 3 GiB of memory" in str(reason)
    assert "memory_gib" in str(reason)


def test_a_job_that_a_signal_ended_was_stopped_only_if_nothing_else_sent_it() -> None:
    """The training entry says so in its last line; it cannot when it is killed itself."""
    said = f"{KILLED}SIGKILL, as the system does when memory runs out"
    for code in (130, 137, 143):
        about = {"State": {"Running": False, "Status": "exited", "ExitCode": code}}
        assert (JobState.STOPPED, None) == outcome(about, young=False, last=lambda: ["epoch 1"])
        state, reason = outcome(about, young=False, last=lambda: ["epoch 1", said])
        assert (JobState.FAILED, said.removeprefix("train: ")) == (state, reason)
    crashed = {"State": {"Running": False, "Status": "exited", "ExitCode": 139}}
    assert (JobState.FAILED, "was killed by SIGSEGV") == outcome(crashed, young=False)


def test_a_link_to_itself_has_a_size(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    (tmp_path / "b").write_bytes(b"123")
    assert 3 == _defaults.size_of(tmp_path)
