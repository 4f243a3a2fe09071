"""The handler of ``mlport test``."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..adapter.registry import extra_of
from ..client import default_client
from ..errors import ConfigError, PlatformError
from .models import resolve
from .parse import CsvTable

if TYPE_CHECKING:
    from .output import Output


def do_test(
    out: Output,
    *,
    model: str,
    targets: tuple[str, ...] = (),
    rows: Any = None,
    objective_ms: float | None = None,
    runner: str = "process",
    junit: str | None = None,
    trust: str | None = None,
) -> int:
    """Run ``mlport test``."""
    client = default_client()
    unknown = [name for name in targets if name not in {*client.targets(), "local", "docker"}]
    if unknown:
        raise ConfigError(f"no target {unknown[0]!r}", hint=f"there are: {', '.join(client.targets())}")
    if out.json_wanted:
        raise ConfigError("test has no JSON output", hint="use --junit FILE")
    with extra_of("pytest", subject="mlport test", extra="contract,mock"):
        import pytest

        model_run: Any = import_module("sdk_contract.model_run")  # no import statement: the core must not depend on it
        runners: Any = import_module("sdk_contract.model_fixtures").RUNNERS
    if runner not in runners:
        raise ConfigError(f"no runner {runner!r}", hint=f"there are: {', '.join(runners)}")
    contract = model_run.TestModel
    contract.model = resolve(model, client.job, trust=trust)
    if isinstance(rows, CsvTable):
        rows = rows.rows(contract.model.signature)
    contract.cases = [] if rows is None else [rows]
    contract.objective_ms = objective_ms
    options = [f"--mlport-target={name}" for name in targets or client.targets()]
    options += [f"--mlport-runner={runner}", *([f"--junit-xml={junit}"] if junit else [])]
    alone = ["-c", os.devnull, "--rootdir", str(Path.cwd()), "-p", "no:cacheprovider", "--no-header", "-v"]
    alone += ["--tb=short", "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # this command has already imported them
    code = pytest.main([*alone, *options, str(Path(model_run.__file__))])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise PlatformError(f"pytest ended with {pytest.ExitCode(code).name.lower()}; what it printed says why")
    return int(code)
