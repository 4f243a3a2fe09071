"""Training jobs: the user's script, with the same meaning of data, parameters and output everywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Capability
from sdk.adapter.types import JobState
from sdk.errors import NotFoundError, TimedOut, TrainFailed

from .samples import BAD_SCRIPT, GOOD_SCRIPT, LONG_SCRIPT, write_script

if TYPE_CHECKING:
    from pathlib import Path

    from .rig import Rig


class TrainSuite:
    """train() runs a script to its end and returns its output."""

    def test_a_job(self, rig: Rig, tmp_path: Path) -> None:
        """Data and parameters reach the script; its lines, metrics and output come back; then nothing still runs."""
        rig.need(Capability.TRAIN)
        before, client, name = rig.left(), rig.client(), rig.name("job")
        (tmp_path / "rows.csv").write_text("1,2\n3,4\n5,6\n")
        script = write_script(tmp_path, GOOD_SCRIPT)
        job = client.train(script, name=name, data={"train": rig.upload(tmp_path / "rows.csv")}, params={"C": 0.5})
        status = job.wait().status
        assert (JobState.SUCCEEDED, 0) == (status.state, status.exit_code or 0)
        assert status.created_at is not None
        assert any("contract: 3 rows, C=0.5" in line.text for line in job.logs())
        assert 0.25 == job.metrics["loss"]
        found = list(job.output(tmp_path / "out").rglob("seen.json"))
        assert [{"rows": 3, "C": 0.5}] == [json.loads(path.read_text()) for path in found]
        assert [] == rig.eventually(lambda: self.processes(rig, before), lambda left: not left)

    def test_a_script_that_fails(self, rig: Rig, tmp_path: Path) -> None:
        """A non-zero exit is TrainFailed with the code and the last lines the script wrote."""
        rig.need(Capability.TRAIN)
        with pytest.raises(TrainFailed) as failed:
            rig.client().train(write_script(tmp_path, BAD_SCRIPT), name=rig.name("job")).wait()
        assert "3" in str(failed.value.reason)
        assert any("contract: about to fail" in line for line in failed.value.logs)
        assert rig.adapter.provider == failed.value.provider

    def test_a_job_can_be_stopped(self, rig: Rig, tmp_path: Path) -> None:
        """stop() ends a running job: it is stopped, and no process of it runs any longer."""
        rig.need(Capability.TRAIN, Capability.STOP_JOB)
        before, client = rig.left(), rig.client()
        job = client.train(write_script(tmp_path, LONG_SCRIPT), name=rig.name("job"), wait=False)
        for line in job.logs(follow=True):
            if "contract: started" in line.text:
                break
        job.stop()
        give_up = rig.clock.monotonic() + rig.patience
        while not rig.client(machine="elsewhere").job(job.name).refresh().state.finished:
            assert rig.clock.monotonic() < give_up
            rig.clock.sleep(0.2)
        assert JobState.STOPPED == client.job(job.name).refresh().state
        assert [] == rig.eventually(lambda: self.processes(rig, before), lambda left: not left)

    def test_a_job_has_a_time_limit(self, rig: Rig, tmp_path: Path) -> None:
        """A job that exceeds its time limit is ended and fails with that reason."""
        rig.need(Capability.TRAIN)
        if rig.live:
            pytest.skip("platforms round time limits up to minutes")
        before = rig.left()
        script = write_script(tmp_path, LONG_SCRIPT)
        with pytest.raises((TrainFailed, TimedOut)):
            rig.client().train(script, name=rig.name("job"), timeout="2s").wait()
        assert [] == rig.eventually(lambda: self.processes(rig, before), lambda left: not left)

    def test_nobodys_job(self, rig: Rig, tmp_path: Path) -> None:
        """A missing job is a NotFoundError; without the capability, training is refused before any call."""
        if not rig.can(Capability.TRAIN):
            script = write_script(tmp_path, GOOD_SCRIPT)
            rig.refuses(Capability.TRAIN, lambda client: client.train(script, name="contract-no"))
            return
        with pytest.raises(NotFoundError):
            rig.client().job("contract-nobody").refresh()

    @staticmethod
    def processes(rig: Rig, before: list[str]) -> list[str]:
        """Return what runs that did not run before; a process that reported a job's end may need a moment to exit."""
        return [item for item in rig.left() if "process" in item and item not in before]
