"""Fixtures for tests of a team's own models: ``mini_clouds`` and ``mlport_target``.

    @pytest.mark.mlport(targets=["local", "aws"])
    def test_answers(mlport_target):
        endpoint = mlport_target.client.deploy("model.joblib", name="churn")
        assert endpoint.predict([[1.0, 2.0]]).values == [3.0]
        mlport_target.client.delete("churn")

`mlport_target` runs a test once for each target of ``mlport.toml``, those of a cloud on its mini cloud. A real account
is never reached.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sdk.client import Client
    from sdk.config import Settings
    from sdk.packaging.model import Model

    from .clouds.cloud import Cloud
    from .model_contract import Deployed, ModelContract

RUNNERS = ("process", "docker")


class MiniClouds:
    """The mini clouds of one test process: each is started when it is first requested, and closed with the run.

    From then on mlport and the cloud's own clients in this process reach it: its variables are set in the environment,
    and the earlier values are restored at the end. Under pytest-xdist each worker has its own mini clouds.

    Args:
        runner: How models and jobs run: ``"process"`` or ``"docker"``.

    Example:
        >>> def test_upload(mini_clouds):  # doctest: +SKIP
        ...     cloud = mini_clouds["sagemaker"]
        ...     boto3.client("s3").create_bucket(Bucket="data")
        ...     assert cloud.calls.changing
    """

    def __init__(self, runner: str = "process") -> None:
        self._runner = runner
        self._running: dict[str, Cloud] = {}
        self._stack = contextlib.ExitStack()

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the names of the installed mini clouds."""
        from sdk.adapter.shared import mini_clouds

        return mini_clouds.names()

    def __getitem__(self, name: str) -> Cloud:
        """Return the mini cloud of this name, running.

        Raises:
            ConfigError: No such mini cloud is installed.
            MissingExtraError: A package that it needs is not installed.
        """
        from .clouds import mini_cloud

        if name not in self._running:
            cloud = self._running[name] = self._stack.enter_context(mini_cloud(name, runner=self._runner))
            for variable, value in cloud.env.items():
                self._stack.callback(_set, variable, os.environ.get(variable))
                os.environ[variable] = value
        return self._running[name]

    def close(self) -> None:
        """Close all mini clouds, with everything that runs behind them, and restore the environment."""
        self._running.clear()
        self._stack.close()


def _set(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


@dataclass(frozen=True, slots=True)
class MlportTarget:
    """One target of the configuration, ready for use.

    Args:
        name: Its name in ``mlport.toml``.
        provider: Such as ``"sagemaker"``.
        client: A client with this target. Its state folder belongs to the run, so that it is not mixed up with
            endpoints that you have created.
        cloud: The mini cloud in place of the real one; ``None`` for ``local`` and ``docker``.
    """

    name: str
    provider: str
    client: Client
    cloud: Cloud | None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose where and how models run."""
    group = parser.getgroup("mlport models")
    group.addoption(
        "--mlport-runner",
        choices=RUNNERS,
        default="process",
        help="how models run behind mini clouds: process (default), or docker, which runs their image",
    )
    group.addoption(
        "--mlport-target", action="append", metavar="NAME", help="run tests that take mlport_target on this target only"
    )
    parser.addini("mlport_config", "mlport's project file, for tests; default: the one that mlport finds")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "mlport(targets): the targets of mlport.toml that this test runs on")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with `mlport_target` once for each target; a target that is not configured ends the collection."""
    if "mlport_target" not in metafunc.fixturenames:
        return
    known = list(_settings(metafunc.config).targets) or ["local"]
    marker = metafunc.definition.get_closest_marker("mlport")
    marked = _names(marker) if marker is not None else known
    asked: list[str] = metafunc.config.getoption("--mlport-target") or marked
    for name in [*marked, *asked]:
        if name not in {*known, "local", "docker"}:
            where = metafunc.definition.nodeid
            pytest.fail(f"{where}: no target {name!r} is configured; there are: {', '.join(known)}", pytrace=False)
    names = [name for name in asked if marker is None or name in marked]
    metafunc.parametrize("mlport_target", names, indirect=True, scope="class")


def _names(marker: pytest.Mark) -> list[str]:
    """Return the targets of a marker: `mlport("aws")` or `mlport(targets=["local", "aws"])`."""
    given: Any = marker.kwargs.get("targets", marker.args)
    return [given] if isinstance(given, str) else [str(name) for name in given]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """End the run when a fixture was stopped by Ctrl-C."""
    with _stop_ends_the_run():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """End the run when a test was stopped by Ctrl-C."""
    with _stop_ends_the_run():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """End the run when the removal of an endpoint was stopped by Ctrl-C."""
    with _stop_ends_the_run():
        yield


@contextlib.contextmanager
def _stop_ends_the_run() -> Generator[None]:
    """Raise the exception that ends a run of pytest: `Interrupted` would fail one test, and the run would continue."""
    from sdk.errors import Interrupted

    try:
        yield
    except Interrupted as error:
        raise KeyboardInterrupt(str(error)) from error


@pytest.fixture(scope="session")
def mini_clouds(request: pytest.FixtureRequest) -> Generator[MiniClouds]:
    """Provide the mini clouds of the run, see `MiniClouds`."""
    clouds = MiniClouds(str(request.config.getoption("--mlport-runner")))
    try:
        yield clouds
    finally:
        clouds.close()


@pytest.fixture(scope="session")
def _mlport_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlport-state")


@pytest.fixture(scope="class")
def mlport_target(
    request: pytest.FixtureRequest, mini_clouds: MiniClouds, _mlport_state: Path
) -> Generator[MlportTarget]:
    """Provide one target of ``mlport.toml`` after the other, see `MlportTarget`."""
    from sdk.client import Client

    settings = _settings(request.config, state=_mlport_state)
    provider = settings.target(request.param).provider
    cloud = mini_clouds[provider] if provider in mini_clouds.names() else None
    with Client(settings, target=request.param) as client:
        yield MlportTarget(request.param, provider, client, cloud)


@pytest.fixture(scope="class")
def mlport_model(request: pytest.FixtureRequest) -> Model:
    """Provide the packed model of a `ModelContract`."""
    from .model_contract import packed

    return packed(cast("type[ModelContract]", request.cls))  # pyright: ignore[reportUnknownMemberType]


@pytest.fixture(scope="class")
def mlport_deployed(mlport_model: Model, mlport_target: MlportTarget) -> Generator[Deployed]:
    """Provide the model of a `ModelContract` on a target, and delete its endpoint afterwards."""
    from .model_contract import Deployed

    about = Deployed(mlport_model, mlport_target, f"contract-{mlport_model.name}"[:30].rstrip("-"))
    try:
        yield about
    finally:
        about.delete()


def _settings(config: pytest.Config, state: Path | None = None) -> Settings:
    from sdk.config import load

    given = config.getini("mlport_config")
    env = {**os.environ, **({} if state is None else {"MLPORT_STATE_DIR": str(state)})}
    return load(config=config.rootpath / given if given else None, env=env, directory=config.rootpath)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Report how models run, if that was chosen."""
    runner: Any = config.getoption("--mlport-runner")
    return None if runner == "process" else f"mlport: models run behind mini clouds by the {runner} runner"
