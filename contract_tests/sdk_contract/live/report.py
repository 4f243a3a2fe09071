"""The fidelity report of a live run: a user can send it without revealing an identity."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, cast

from sdk.errors import SdkError
from sdk.util.redact import Redactor

from .shapes import differences, recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SCHEMA = "mlport-live/1"
Outcome = Literal["ok", "failed", "budget used up", "stopped", "skipped"]
_MOST = 400  # differences in the Markdown


@dataclass
class Step:
    """One step of the life and its outcome; ``error`` has the class and the numbers of an error, but not its text."""

    name: str
    outcome: Outcome = "ok"
    seconds: float = 0.0
    usd: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    error: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """Return the step as plain values."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "seconds": round(self.seconds, 1),
            "usd": round(self.usd, 4),
            "facts": self.facts,
            "error": self.error,
        }


@dataclass
class Report:
    """What a live run did, saw and cost.

    Args:
        provider: The provider's name.
        instance: Instance type of the endpoint.
        billed: Whether the platform charges for what runs on the host that was called.
        budget_usd: Dollars that the run was allowed to cost.
        outcome: How it ended.
        usd: Its cost by the price list.
        steps: The steps in order.
        made: Kinds of resources that the plans created, with their numbers.
        left: Kinds of the resources that still exist and should not; empty once that is proved.
        proved: Whether the check of what is left was carried out successfully.
        kept: Kinds of shared resources that stay on purpose, with their numbers.
        answers: The form of the platform's answers by operation.
    """

    provider: str
    instance: str | None
    billed: bool
    budget_usd: float
    outcome: Outcome = "ok"
    usd: float = 0.0
    steps: list[Step] = field(default_factory=list[Step])
    made: Counter[str] = field(default_factory=Counter[str])
    left: list[str] = field(default_factory=list[str])
    proved: bool = False
    kept: Counter[str] = field(default_factory=Counter[str])
    answers: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def ok(self) -> bool:
        """Whether every step succeeded and nothing is left."""
        return self.outcome == "ok" and self.proved and not self.left

    @property
    def summary(self) -> str:
        """The run in one line."""
        left = "nothing is left" if self.proved and not self.left else f"LEFT: {', '.join(self.left) or 'not proved'}"
        return f"{self.outcome}; ${self.usd:.4f} of ${self.budget_usd:.2f}; made {_counts(self.made)}; {left}"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        mini = recorded(self.provider)
        return {
            "schema": SCHEMA,
            "mlport": version("mlport"),
            "provider": self.provider,
            "instance": self.instance,
            "billed": self.billed,
            "outcome": self.outcome,
            "budget_usd": self.budget_usd,
            "estimated_usd": round(self.usd, 4),
            "steps": [step.to_dict() for step in self.steps],
            "made": dict(self.made),
            "left": self.left,
            "nothing_left_is_proved": self.proved and not self.left,
            "kept_on_purpose": dict(self.kept),
            "differences": None if mini is None else [one.to_dict() for one in differences(self.answers, mini)],
            "answers": self.answers,
        }

    def write(self, folder: Path, identifying: Iterable[str]) -> tuple[Path, Path]:
        """Write ``live-report.json`` and ``live-report.md`` into a folder, without these values.

        Args:
            folder: Created if needed.
            identifying: Names, ids and addresses of the account, which are replaced wherever they occur.
        """
        safe = anonymous(self.to_dict(), identifying)
        folder.mkdir(parents=True, exist_ok=True)
        data, text = folder / "live-report.json", folder / "live-report.md"
        data.write_text(json.dumps(safe, indent=1, sort_keys=True) + "\n", "utf-8")
        text.write_text(markdown(safe), "utf-8")
        return data, text


def told(error: BaseException) -> dict[str, Any]:
    """Return class, operation and status of an error for a report; never its text, which names resources."""
    facts: dict[str, Any] = {"class": type(error).__name__}
    if isinstance(error, SdkError):
        facts |= {"operation": error.operation, "status": error.status, "retryable": error.retryable}
    return {key: value for key, value in facts.items() if value is not None}


def anonymous(value: Any, identifying: Iterable[str]) -> Any:
    """Return a copy of plain data in which no string holds one of these values, or looks like a credential."""
    return _hidden(value, Redactor(identifying))


def _hidden(value: Any, redactor: Redactor) -> Any:
    """Return the copy; keys are our own except for the names of operations."""
    if isinstance(value, str):
        return redactor(value)
    if isinstance(value, dict):
        items = cast("Any", value).items()
        return {redactor(key) if " " in key else key: _hidden(inner, redactor) for key, inner in items}
    if isinstance(value, list | tuple):
        return [_hidden(inner, redactor) for inner in cast("Any", value)]
    return value


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    paid = "estimated by the price list" if report["billed"] else "by the price list; not charged on this host"
    cost = f"${report['estimated_usd']:.4f} of ${report['budget_usd']:.2f}"
    lines = [
        f"# Live run on {report['provider']}",
        "",
        f"mlport {report['mlport']}, instance {report['instance']}: **{report['outcome']}**, {cost} ({paid}).",
        "",
        _left(report),
        f"Made: {_counts(report['made'])}. Kept on purpose: {_counts(report['kept_on_purpose'])}.",
        "",
        "| step | outcome | seconds | USD | facts |",
        "| --- | --- | ---: | ---: | --- |",
        *(_row(step) for step in report["steps"]),
        "",
        "## What differs from the mini cloud",
        "",
        *_differing(report["differences"]),
        "",
        "## Answers",
        "",
        "| operation | count | statuses | median s | longest s |",
        "| --- | ---: | --- | ---: | ---: |",
        *(
            f"| `{name}` | {one['count']} | {', '.join(map(str, one['statuses']))} "
            f"| {one.get('median_s', '')} | {one.get('longest_s', '')} |"
            for name, one in report["answers"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _left(report: Mapping[str, Any]) -> str:
    if report["nothing_left_is_proved"]:
        return "Nothing is left: proved."
    return f"**Left, or not proved gone:** {', '.join(report['left']) or 'not proved'}."


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(counts.items())) or "nothing"


def _row(step: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{key}: {value}" for key, value in {**step["facts"], **step["error"]}.items())
    return f"| {step['name']} | {step['outcome']} | {step['seconds']} | {step['usd']:.4f} | {facts} |"


def _differing(found: list[Mapping[str, str]] | None) -> list[str]:
    if found is None:
        return ["No mini cloud was recorded for this provider."]
    seen = [one for one in found if "not seen" not in one["kind"]]
    lines = [f"- `{one['operation']}`: {one['kind']} `{one['what']}`".replace(" ``", "") for one in seen[:_MOST]]
    if len(seen) > _MOST:
        lines.append(f"- {len(seen) - _MOST} more are in the JSON")
    unseen = len(found) - len(seen)
    return [*(lines or ["Nothing."]), *([f"- {unseen} things the mini cloud shows were not seen"] if unseen else [])]
