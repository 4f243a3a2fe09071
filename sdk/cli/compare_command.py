"""``mlport compare``: asks before it spends, shows progress per target, saves and judges the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..client import Client
from ..errors import ConfigError
from . import models, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..client.candidates import Outlook
    from ..client.endpoint import Endpoint
    from ..compare.comparison import Comparison
    from ..executor import Event
    from ..packaging.model import Model
    from .output import Output

REFUSED = 2


def do_compare(
    out: Output,
    *,
    model: str | None = None,
    endpoint: tuple[str, ...] = (),
    read: str | None = None,
    fail_if: str | None = None,
    baseline: str | None = None,
    save: str | None = None,
    html: str | None = None,
    markdown: str | None = None,
    junit: str | None = None,
    trust: str | None = None,
    yes: bool = False,
    **values: Any,
) -> int:
    """Run ``mlport compare``."""
    if fail_if is not None:
        _readable(fail_if)  # before measuring, which costs money
    if baseline is not None:
        _load(baseline)
    if sum(map(bool, (model, endpoint, read))) != 1:
        raise ConfigError("compare needs one of MODEL, --endpoint and --from")
    if read is not None:
        found = _kept(read, values)
    else:
        client = Client(progress=Board(out))
        out.redactor = client.redactor
        subject = _endpoints(client, endpoint) if model is None else models.resolve(model, client.job, trust=trust)
        dry_run = bool(values.pop("dry_run", False))
        measured = _measured(out, client, subject, _arguments(values), yes=yes, dry_run=dry_run)
        if measured is None:
            return 0 if dry_run else REFUSED
        found = measured
    old = None if baseline is None else _load(baseline)
    _written(found, save, html)
    if markdown is not None:
        found.to_markdown(markdown, fail_if=fail_if, baseline=old)
    if junit is not None:
        found.to_junit(junit, fail_if=fail_if, baseline=old)
    _shown(out, found, old)
    if fail_if is not None:
        found.check(fail_if, old)
    return 0


def _readable(condition: str) -> None:
    from ..compare.gate import Condition

    Condition(condition)


def _load(path: str) -> Comparison:
    from ..compare.comparison import Comparison

    return Comparison.load(path)


def _kept(path: str, values: Mapping[str, Any]) -> Comparison:
    """Load a saved comparison, recomputed for another traffic if one is given."""
    found = _load(path)
    traffic = values.get("traffic_per_month")
    return found if traffic is None else found.at(traffic, values.get("profile", "flat"))


def _endpoints(client: Client, texts: tuple[str, ...]) -> dict[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    for text in texts:
        name, _, target = text.partition("@")
        found[text] = client.endpoint(name, target=target or None)
    return found


def _arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Convert command line values to the keyword arguments of the Python verb."""
    for field in ("instances", "regions"):
        if field in values:
            values[field] = {name: text.split(",") for name, text in values[field].items()}
    if "workload" in values:
        values["workload"] = {name: parse.typed(text) for name, text in values["workload"].items()}
    if "hardware" in values:
        values["hardware"] = {name: _dollars(name, text) for name, text in values["hardware"].items()}
    if isinstance(values.get("payloads"), parse.CsvTable):
        values["payloads"] = [[row] for row in values["payloads"].rows(None)]  # one request per line
    return values


def _dollars(target: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--hardware {target}={text} is no number of US dollars per hour") from None


def _measured(
    out: Output,
    client: Client,
    subject: Model | Mapping[str, Endpoint],
    values: dict[str, Any],
    *,
    yes: bool,
    dry_run: bool,
) -> Comparison | None:
    """Measure and return the comparison; ``None`` for a dry run, or if the user declined."""
    compare: Callable[..., Any] = client.compare
    with out.working("looking at prices"):
        look: Outlook = compare(subject, dry_run=True, **values)
    if dry_run:
        out.data(look.to_dict(), str(look))
        return None
    if look.usd != 0.0 and not yes:
        out.say(str(look))
        if not out.confirm("go on?"):
            return None
    with out.working("comparing"):
        found: Comparison = compare(subject, **values)
    return found


def _written(found: Comparison, save: str | None, html: str | None) -> None:
    if save is not None:
        found.to_json(save)
    if html is not None:
        found.to_html(html)


def _shown(out: Output, found: Comparison, old: Comparison | None) -> None:
    if out.json_wanted:
        out.data(found.to_dict(), "")
        return
    for line in str(found).splitlines():
        out.line(line)
    if old is None:
        return
    from ..compare.baseline import since

    out.line("")
    out.line(f"since the baseline of {old.created}")
    for key, text in since(found, old):
        out.line(f"- {key}: {text}")


class Board:
    """Progress on each target, side by side on the one moving line; one line per event without a moving line."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._now: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take an event: its stage names the subject, its detail the current step."""
        self._now[event.stage] = event.detail
        together = "  |  ".join(f"{key}: {text}" for key, text in self._now.items())
        self._out.progress(event, together)
