"""The pytest plugin of the contract: readable assertions, the ``full`` marker, and runs on a real account.

``--live -t NAME --budget-usd N`` runs only tests marked ``live``; without ``--live`` these are skipped.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest_plugins = ["sdk_contract.model_fixtures"]
_SUBJECTS = [
    "capabilities", "crash", "deploy", "errors", "logs", "monitor", "predict", "prices", "stream", "traffic", "train",
]  # fmt: skip
_HOW = "pytest contract_tests --live -t TARGET --budget-usd 5"

# Without this a failed assertion of a suite would only show "AssertionError". The package itself has already been
# imported, so its modules are named one by one.
pytest.register_assert_rewrite(
    "sdk_contract.rig", "sdk_contract.model_contract", *(f"sdk_contract.suite_{subject}" for subject in _SUBJECTS)
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a run on a real account, and of one with the least rights."""
    group = parser.getgroup("mlport contract")
    group.addoption("--live", action="store_true", help="run the live suite on a real account; this costs money")
    # Plugins get short options in capitals only; pytest's own plugins and xdist add theirs this way.
    add = getattr(group, "_addoption")  # noqa: B009
    add("-t", "--target", dest="live_target", metavar="NAME", help="target of mlport.toml that --live runs on")
    group.addoption("--budget-usd", type=float, metavar="USD", help="what --live may cost; it stops there")
    group.addoption(
        "--under-policy",
        action="store_true",
        help="enforce on mini clouds the policy that the adapter gives a deployer",
    )
    group.addoption(
        "--live-report", type=Path, default=Path("live-report"), metavar="DIR", help="folder for the report of --live"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and refuse a live run without a target or a budget.

    Raises:
        pytest.UsageError: An option is missing or wrong.
    """
    config.addinivalue_line("markers", "full: part of the whole matrices")
    config.addinivalue_line("markers", "live: runs on a real account, with --live only")
    workers = config.getoption("numprocesses", None)
    live, target, budget = map(config.getoption, ("--live", "live_target", "--budget-usd"))
    if reason := refusal(bool(live), target, budget, workers=workers):
        raise pytest.UsageError(f"{reason}: {_HOW}")


def refusal(live: bool, target: str | None, budget_usd: float | None, *, workers: object = None) -> str | None:
    """Return why pytest must not start with these options; ``None`` if it may.

    Example:
        >>> refusal(True, "aws", None)
        '--live needs a budget in US dollars'
    """
    if not live:
        return None if target is None and budget_usd is None else "-t and --budget-usd are for --live"
    if not target:
        return "--live needs an explicit target"
    if budget_usd is None:
        return "--live needs a budget in US dollars"
    if not (math.isfinite(budget_usd) and budget_usd > 0):
        return f"--budget-usd {budget_usd:g} is not above 0"
    return "--live runs in one process, where Ctrl-C reaches it, so leave -n out" if workers else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked ``live`` without ``--live``; with it, run nothing else."""
    live = [item for item in items if item.get_closest_marker("live")]
    if not config.getoption("--live"):
        for item in live:
            item.add_marker(pytest.mark.skip(reason=f"runs on a real account: {_HOW}"))
        return
    config.hook.pytest_deselected(items=[item for item in items if item not in live])
    items[:] = live
