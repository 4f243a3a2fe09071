"""The same for what only a platform with jobs, metrics and logs can get wrong: bugs planted in the `local` adapter."""

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdk.adapter.metrics import MetricsReport
from sdk.adapter.types import JobState, JobStatus, LogLine
from sdk_contract import suites
from sdk_local import LocalAdapter

LocalRig: Any = runpy.run_path(str(Path(__file__).parents[2] / "contract_tests" / "test_local.py"))["LocalRig"]


class PlantedRig(LocalRig):  # type: ignore[misc]  # it is read from the file of its tests
    """This machine, with less patience, and without what a bug leaves running."""

    patience = 15.0

    def __init__(self, folder: Path, adapter: type[LocalAdapter]) -> None:
        super().__init__(folder)
        self.adapter = adapter

    def stop(self) -> None:
        for path in (self.state_dir("here") / "jobs").glob("*"):
            LocalAdapter(self.options(), self.context()).stop_job(path.name, timeout=30)


class StopThatDoesNothing(LocalAdapter):
    def stop_job(self, name: str, *, timeout: float) -> None:
        """Nothing."""


class SwallowedExitCode(LocalAdapter):
    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        found = super().job_status(name, timeout=timeout)
        return replace(found, state=JobState.SUCCEEDED) if found and found.state is JobState.FAILED else found


class LostOutput(LocalAdapter):
    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Nothing."""


class SwallowedLogs(LocalAdapter):
    def logs(self, name: str, **which: Any) -> Iterator[LogLine]:
        super().logs(name, **which)
        return iter(())


class MixedLogs(LocalAdapter):
    def logs(self, name: str, *, deployment: str | None = None, **which: Any) -> Iterator[LogLine]:
        return super().logs(name, **which)


class BlindBeforeTraffic(LocalAdapter):
    def logs(self, name: str, *, deployment: str | None = None, **which: Any) -> Iterator[LogLine]:
        lines = super().logs(name, deployment=deployment, **which)
        status = self.status(name, self.observe(name, timeout=30))
        serving = {one.id for one in (status.deployments if status else ()) if one.traffic}
        return (line for line in lines if line.deployment in serving)


class AddedPercentiles(LocalAdapter):
    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        found = super().metrics(name, window_s=window_s, timeout=timeout)
        doubled = [replace(one, p99=one.p99 and 4 * one.p99, p95=one.p95 and 4 * one.p95) for one in found.latency]
        return replace(found, latency=tuple(doubled))


class CountedTwice(LocalAdapter):
    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        found = super().metrics(name, window_s=window_s, timeout=timeout)
        return replace(found, requests={key: 2 * count for key, count in found.requests.items()})


BUGS: dict[type[LocalAdapter], tuple[type, str]] = {
    StopThatDoesNothing: (suites.TrainSuite, "test_a_job_can_be_stopped"),
    SwallowedExitCode: (suites.TrainSuite, "test_a_script_that_fails"),
    LostOutput: (suites.TrainSuite, "test_a_job"),
    SwallowedLogs: (suites.LogsSuite, "test_what_the_model_prints"),
    MixedLogs: (suites.LogsSuite, "test_one_deployment"),
    BlindBeforeTraffic: (suites.ErrorsSuite, "test_a_model_that_fails_its_smoke_test"),
    AddedPercentiles: (suites.MonitorSuite, "test_quantiles_are_measured"),
    CountedTwice: (suites.MonitorSuite, "test_every_request_is_counted_once"),
}
