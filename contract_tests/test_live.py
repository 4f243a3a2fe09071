"""The life of an endpoint and a job on a target of your own `mlport.toml`: see docs/live.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(name="say")
def saying(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Show a line at once, whatever pytest captures."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)  # noqa: T201  # it has to be seen while the test runs

    return say


@pytest.mark.live
@pytest.mark.filterwarnings("default")  # what a cloud's library deprecates must not stop a deploy
def test_life(request: pytest.FixtureRequest, tmp_path: Path, say: Callable[[str], None]) -> None:
    """Deploy, predict, change, roll back, read logs and metrics, train and delete within the budget."""
    from sdk.client import Client
    from sdk.errors import SdkError
    from sdk_contract.live.identity import identifying
    from sdk_contract.live.run import LiveRun

    config = request.config
    try:
        run = LiveRun(
            lambda clock, progress: Client(target=config.getoption("live_target"), clock=clock, progress=progress),
            config.getoption("--budget-usd"),
            tmp_path,
            say=say,
        )
        report = run.run()
    except SdkError as error:
        pytest.exit(f"the live run does not start: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
    files = report.write(config.getoption("--live-report"), identifying(run.life))
    say(report.summary)
    say(f"report: {files[0]} and {files[1]}; it names no account, but read it before you send it")
    if report.outcome == "stopped":
        raise KeyboardInterrupt
    assert report.ok, f"{report.summary}: {files[1]}"
