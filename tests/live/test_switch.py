"""A live run never begins by accident."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sdk_contract.plugin import refusal

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((True, None, 5.0), "explicit target"),
        ((True, "aws", None), "needs a budget"),
        ((True, "aws", 0.0), "not above 0"),
        ((True, "aws", float("nan")), "not above 0"),
        ((False, "aws", None), "are for --live"),
        ((False, None, 5.0), "are for --live"),
    ],
)
def test_it_says_where_and_for_how_much(given: tuple[bool, str | None, float | None], named: str) -> None:
    """A missing or senseless option is a reason not to begin; with all of them, in one process, there is none."""
    assert named in str(refusal(*given))
    assert "one process" in str(refusal(True, "aws", 5.0, workers=2))
    assert refusal(True, "aws", 5.0) is None
    assert refusal(False, None, None) is None


def test_a_refusal_shows_the_whole_command() -> None:
    """It is a usage error of pytest, before anything is collected."""
    code, text = run("contract_tests/test_live.py", "--live", "-t", "aws")
    assert pytest.ExitCode.USAGE_ERROR == code
    assert "needs a budget in US dollars: pytest contract_tests --live -t TARGET --budget-usd 5" in text


def test_without_the_switch_it_is_skipped() -> None:
    """The reason shows how it would run."""
    code, text = run("contract_tests/test_live.py", "-rs")
    assert 0 == code
    assert "1 skipped" in text
    assert "runs on a real account" in text


def test_an_unknown_target_does_not_start() -> None:
    """With the switch nothing else of the contract runs, and an error of the configuration ends it."""
    code, text = run(
        "contract_tests/test_live.py", "contract_tests/test_fake.py", "--live", "-t", "nowhere", "--budget-usd", "5"
    )
    assert pytest.ExitCode.USAGE_ERROR == code
    assert "does not start" in text
    assert "nowhere" in text
    assert "passed" not in text
