"""The handlers: one function per verb that calls the client and prints the result. A non-zero exit code is returned."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..adapter import Capability
from ..adapter.types import JobState
from ..client import Client
from ..client.callers import signature_served
from ..client.endpoint import Endpoint
from ..client.job import Job
from ..errors import ConfigError, NotFoundError, SdkError, UnsupportedError
from ..util.logtext import readable
from ..util.suggest import did_you_mean
from . import models, parse
from .output import age, usd
from .template import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ..adapter import Support
    from ..adapter.types import Check, EndpointStatus, JobStatus, LogLine, Replicas
    from ..executor import Plan
    from .output import Output

REFUSED, ALARM, LEFT_OVER = 2, 7, 8  # exit codes


def _client(out: Output, target: str | None = None) -> Client:
    client = Client(target=target, progress=out.progress)
    out.redactor = client.redactor
    out.show_packing()
    return client


def _arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Convert command line values to the keyword arguments of the Python verb."""
    sizes = {key: values.pop(key) for key in ("cpu", "memory_gib", "gpu") if key in values}
    if sizes:
        values["resources"] = sizes
    if "replicas" in values:
        values["replicas"] = parse.replicas(values["replicas"])
    if "secrets" in values:
        values["secrets"] = parse.secrets(values["secrets"])
    return values


# --- configuration ----------------------------------------------------------------------------------------------


def do_init(out: Output, *, force: bool = False) -> None:
    """Run ``mlport init``."""
    path = Path("mlport.toml")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(f"{path} exists already", hint="give --force to overwrite it") from None
    out.data({"written": str(path)}, f"wrote {path}")
    out.say("next: mlport doctor")


def do_config_show(out: Output) -> None:
    """Run ``mlport config show``."""
    rows = _client(out).settings.explain()
    if out.json_wanted:
        out.data([{"key": row.key, "value": row.value, "source": str(row.source)} for row in rows], "")
    else:
        out.table(
            ("key", "value", "from"),
            [(row.key, row.value, row.source) for row in rows],
            empty="nothing is set",
        )


def do_config_trust(out: Output) -> None:
    """Run ``mlport config trust``."""
    from ..config import trust_project_file

    trusted = trust_project_file()
    out.data(
        {"trusted": str(trusted.path), "sha256": trusted.digest},
        f"trusted {trusted.path} as it is now (MLPORT_TRUST={trusted.digest} in CI)",
    )


def do_doctor(out: Output, *, target: str | None = None) -> int:
    """Run ``mlport doctor``."""
    found = [(name, check) for name, checks in _client(out).doctor(target=target).items() for check in checks]
    if out.json_wanted:
        out.data([{"target": name, **check.to_dict()} for name, check in found], "")
    else:
        rows = [(name, _verdict(c), c.name, c.detail, c.hint) for name, c in found]
        out.table(("target", "", "check", "found", "what to do"), rows, empty="no target is configured")
    return 0 if all(check.ok for _, check in found) else 1


def do_policy(out: Output, *, role: str, target: str | None = None, form: str = "json", secrets: Any = ()) -> None:
    """Run ``mlport policy``."""
    out.line(_client(out).policy(role, form=form, secrets=secrets, target=target))


def _verdict(check: Check) -> str:
    """Return the word for a check; a check that is ok but has a hint is a warning."""
    if not check.ok:
        return "FAILED"
    return "warning" if check.hint else "ok"


def do_capabilities(out: Output, *, target: str | None = None) -> None:
    """Run ``mlport capabilities``."""
    table = _client(out).capabilities(target=target)
    if out.json_wanted:
        out.data({name: {str(key): asdict(item) for key, item in row.items()} for name, row in table.items()}, "")
        return
    rows = [[str(key), *(_support(row[key]) for row in table.values())] for key in Capability]
    out.table(("capability", *table), rows, empty="no target is configured")


def _support(item: Support) -> str:
    return "yes" if item.ok else f"no ({item.reason}: {item.text})"


def do_prices_show(out: Output, *, target: str | None = None, instance: str | None = None) -> None:
    """Run ``mlport prices show``."""
    rows = _client(out).prices(target=target, instance=instance)
    if out.json_wanted:
        out.data([asdict(row) for row in rows], "")
        return
    cells = [
        (r.instance_type, r.region, r.usage, r.vcpu, r.memory_gib, usd(r.usd_per_hour), r.as_of, r.status) for r in rows
    ]
    columns = ("instance", "region", "usage", "vCPU", "GiB", "price", "as of", "status")
    out.table(columns, cells, empty="this target has no prices: what it runs on is yours")


def do_prices_refresh(out: Output, *, target: str | None = None, **values: Any) -> None:
    """Run ``mlport prices refresh``."""
    with out.working("fetching prices"):
        found = _client(out, target).refresh_prices(**values)
    for text in found.refused:
        out.say(f"not taken: {text}; --accept takes it")
    if out.json_wanted:
        rows = [{"before": asdict(old), "after": asdict(new)} for old, new in found.changed]
        out.data({"rows": len(found.rows), "changed": rows, "added": len(found.added), "refused": found.refused}, "")
        return
    cells = [(o.instance_type, o.region, o.usage, usd(o.usd_per_hour), usd(n.usd_per_hour), n.as_of)
             for o, n in found.changed]  # fmt: skip
    columns = ("instance", "region", "usage", "before", "now", "as of")
    out.table(columns, cells, empty="no price has changed")
    out.say(f"{len(found.rows)} prices, {len(found.changed)} changed, {len(found.added)} new")


# --- build, train, deploy ---------------------------------------------------------------------------------------


def do_build(
    out: Output,
    *,
    model: str,
    name: str | None = None,
    trust: str | None = None,
    example: Any = None,
    pack_only: bool = False,
    **values: Any,
) -> None:
    """Run ``mlport build``."""
    with out.working("packing the model"):
        folder = models.with_dockerfile(model)
        found = folder or models.resolve(model, _client(out).job, name=name, trust=trust, example=example)
    if pack_only:
        if isinstance(found, Path):
            raise ConfigError(f"{model} has a Dockerfile, there is nothing to pack", hint="leave --pack-only out")
        out.data({"name": found.name, "digest": found.digest, "path": str(found.path)}, f"{found.name} {found.digest}")
        return
    with out.working("building the image"):
        built = _client(out).build(found, **values)
    out.data(built.to_dict(), str(built))


def do_plan(
    out: Output, *, model: str, target: str | None = None, trust: str | None = None, example: Any = None, **values: Any
) -> None:
    """Run ``mlport plan``."""
    arguments = _arguments(values)
    with out.working("planning"):
        client = _client(out, target)
        found = models.resolve(model, client.job, name=arguments.get("name"), trust=trust, example=example)
        plan = client.plan(found, **arguments)
    _show_plan(out, plan)


def do_deploy(
    out: Output, *, model: str, target: str | None = None, trust: str | None = None, example: Any = None, **values: Any
) -> None:
    """Run ``mlport deploy``."""
    arguments, client = _arguments(values), _client(out, target)
    with out.working("packing the model"):
        found = models.resolve(model, client.job, name=arguments.get("name"), trust=trust, example=example)
    _change(out, f"deploying {arguments.get('name', found.name)}", client.deploy, found, **arguments)


def do_train(out: Output, *, script: str, target: str | None = None, wait: bool = True, **values: Any) -> None:
    """Run ``mlport train``: logs stream to standard error, the job's state is the result."""
    arguments = _arguments(values)
    if "params" in arguments:
        arguments["params"] = {key: parse.typed(text) for key, text in arguments["params"].items()}
    client, code = _client(out, target), models.script(script)
    with out.working("submitting the job"):
        train: Callable[..., Any] = client.train
        job = train(code, wait=False, **arguments)
    if not isinstance(job, Job):
        _show_plan(out, job)
        return
    if wait:
        with _runs_on(client, job):
            for line in job.logs(follow=True):
                out.say(line.text)
            job.wait()
    _show_job(out, client, job.refresh())


@contextmanager
def _runs_on(client: Client, job: Job) -> Generator[None]:
    """Add to an interrupt in the block that the job continues, what it costs and how to stop it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        price = usd(client.hourly_usd(job)).replace("unknown", "price unknown")
        said = (
            f"stopped waiting; job {job.name} runs on ({price}), stop it with: mlport stop {job.name} -t {job.target}"
        )
        stop.args = (said,)
        raise


def do_stop(out: Output, *, name: str, target: str | None = None) -> None:
    """Run ``mlport stop``."""
    _client(out, target).stop_job(name)
    out.data({"stopping": name}, f"asked {name} to end")


def _change(out: Output, doing: str, verb: Callable[..., Any], *subject: Any, **values: Any) -> None:
    """Run a verb that changes an endpoint; show the endpoint afterwards, or the plan of a dry run."""
    with out.working(doing):
        result = verb(*subject, **values)
    if isinstance(result, Endpoint):
        show_endpoint(out, result.refresh())
    else:
        _show_plan(out, result)


def _show_plan(out: Output, plan: Plan) -> None:
    out.data(plan.to_dict(), str(plan))


# --- read -------------------------------------------------------------------------------------------------------


def do_predict(out: Output, *, name: str, inputs: Any, target: str | None = None, **values: Any) -> None:
    """Run ``mlport predict``."""
    client = _client(out, target)
    endpoint = client.endpoint(name)
    if isinstance(inputs, parse.CsvTable):
        inputs = inputs.rows(signature_served(client.session(), client.status(name)))
    if values.pop("curl", False):
        out.data(endpoint.curl(inputs), endpoint.curl(inputs))
        return
    if values.pop("stream", False):
        with endpoint.stream(inputs, **values) as items:
            out.each(items, out.row if out.json_wanted else lambda item: out.line(str(item)))
        return
    answer = endpoint.predict(inputs, **values)
    if out.json_wanted:
        out.data(answer.to_dict(), "")
        return
    is_list = isinstance(answer.values, list)
    for value in answer.values if is_list else [answer.values]:
        out.line(str(value))
    if answer.default:
        out.say("the model's own answer would have come too late: this is its default answer", style="yellow")
    out.say(f"{answer.deployment} answered in {answer.latency_ms:.1f} ms", style="dim")


def do_status(out: Output, *, name: str, target: str | None = None, wait: bool = False) -> None:
    """Run ``mlport status``."""
    client = _client(out, target)
    try:
        with out.working(f"finishing {name}" if wait else f"looking at {name}"):
            found = client.endpoint(name).wait().status if wait else client.status(name)
        show_endpoint(out, found)
    except NotFoundError as no_endpoint:
        try:
            with out.working(f"waiting for {name}"):
                job = _waited(client, client.job(name)) if wait else client.job_status(name)
            _show_job(out, client, job)
        except (NotFoundError, UnsupportedError):
            raise no_endpoint from None


def _waited(client: Client, job: Job) -> JobStatus:
    with _runs_on(client, job):
        return job.wait().status


def show_endpoint(out: Output, status: EndpointStatus) -> None:
    """Print an endpoint and its deployments."""
    if out.json_wanted:
        out.data(status.to_dict(), "")
        return
    now = time.time()
    out.line(f"{status.name} on {status.target}: {status.state} ({status.raw})  {usd(status.usd_per_hour)}")
    for label, value in (("url", status.url), ("reason", status.reason), ("age", _since(status.created_at, now))):
        if value:
            out.line(f"  {label:<7} {value}")
    own = [None if d.reason == status.reason else d.reason for d in status.deployments]  # shown once above
    rows = [
        (d.id, f"{d.traffic} %", d.state, d.model[:12], d.instance, _count(d.replicas), usd(d.usd_per_hour), reason)
        for d, reason in zip(status.deployments, own, strict=True)
    ]
    out.table(
        ("deployment", "traffic", "state", "model", "instance", "replicas", "price", ""), rows, empty="no deployment"
    )


def _count(replicas: Replicas) -> str:
    """Format the range of the number of replicas.

    Example:
        >>> from sdk.adapter.types import Replicas
        >>> _count(Replicas(1, 3)), _count(Replicas(2, 2))
        ('1-3', '2')
    """
    return f"{replicas.min}" if replicas.min == replicas.max else f"{replicas.min}-{replicas.max}"


def _show_job(out: Output, client: Client, status: JobStatus) -> None:
    """Show a job and, if it has succeeded, the next step."""
    if out.json_wanted:
        out.data(status.to_dict(), "")
        return
    reason = f": {status.reason}" if status.reason else ""
    raw = f" ({status.raw})" if status.raw not in {None, str(status.state)} else ""
    out.line(f"{status.name} on {status.target}: {status.state}{raw}{reason}")
    if status.state is JobState.SUCCEEDED:
        may_be_pickle = client.ran_script(status.name, target=status.target)
        trust = " --trust pickle  # needed for a .pkl or .joblib file of your script" if may_be_pickle else ""
        out.say(f"next: mlport deploy job:{status.name} -t {status.target}{trust}")


def _since(moment: float | None, now: float) -> str | None:
    return None if moment is None else age(now - moment)


def do_list(out: Output, *, target: str | None = None) -> None:
    """Run ``mlport list``."""
    found = _client(out, target).list()
    if out.json_wanted:
        out.data([status.to_dict() for status in found], "")
        return
    now = time.time()
    rows = [
        (s.name, s.target, s.state, len(s.deployments), _since(s.created_at, now), age(s.idle_s), usd(s.usd_per_hour),
         s.owner, _until(s.expires_at, now))
        for s in found
    ]  # fmt: skip
    columns = ("name", "target", "state", "deployments", "age", "idle", "price", "owner", "expires in")
    out.table(columns, rows, empty="no endpoints")


def _until(moment: float | None, now: float) -> str | None:
    if moment is None:
        return None
    return age(moment - now) if moment > now else "expired"


def do_logs(out: Output, *, name: str, target: str | None = None, **values: Any) -> None:
    """Run ``mlport logs``."""
    client = _client(out, target)
    try:
        lines = client.logs(name, **values)
    except NotFoundError as no_endpoint:
        lines = _job_logs(client, name, no_endpoint, values)
    if out.json_wanted:
        out.each(lines, lambda line: out.row(line.to_dict()))
    else:
        out.each(lines, lambda line: out.line(_log_line(line)))


def _log_line(line: LogLine) -> str:
    return f"{time.strftime('%H:%M:%S', time.gmtime(line.time))} {line.deployment or ''} {readable(line.text)}"


def _job_logs(client: Client, name: str, no_endpoint: NotFoundError, values: dict[str, Any]) -> Iterator[LogLine]:
    try:
        client.job_status(name)
    except (NotFoundError, UnsupportedError):
        raise no_endpoint from None
    return client.job_logs(name, follow=values.get("follow", False), tail=values.get("tail"))


def do_monitor(
    out: Output, *, name: str, target: str | None = None, watch: bool = False, interval: float = 2.0, **values: Any
) -> int:
    """Run ``mlport monitor``."""
    client = _client(out, target)
    if watch:
        from .live import watch_endpoint

        watch_endpoint(out, lambda: client.monitor(name, **values), interval)
        return 0
    seen = client.monitor(name, **values)
    out.data(seen.to_dict(), str(seen))
    return 0 if seen.ok else ALARM


# --- change -----------------------------------------------------------------------------------------------------


def do_traffic(out: Output, *, name: str, percent: tuple[str, ...], target: str | None = None, **values: Any) -> None:
    """Run ``mlport traffic``."""
    _change(
        out, f"shifting the traffic of {name}", _client(out, target).traffic, name, parse.traffic(percent), **values
    )


def do_promote(out: Output, *, name: str, target: str | None = None, **values: Any) -> None:
    """Run ``mlport promote``."""
    _change(out, f"promoting {name}", _client(out, target).promote, name, **values)


def do_rollback(out: Output, *, name: str, target: str | None = None, **values: Any) -> None:
    """Run ``mlport rollback``."""
    _change(out, f"rolling back {name}", _client(out, target).rollback, name, **values)


def do_finalize(out: Output, *, name: str, target: str | None = None, **values: Any) -> None:
    """Run ``mlport finalize``."""
    _change(out, f"finalizing {name}", _client(out, target).finalize, name, **values)


def do_delete(out: Output, *, name: str, target: str | None = None, yes: bool = False, **values: Any) -> int:
    """Run ``mlport delete``."""
    client = _client(out, target)
    if values.get("dry_run"):
        _change(out, f"planning to delete {name}", client.delete, name, **values)
        return 0
    if not yes and not out.confirm(f"delete {name} and everything that belongs to it?"):
        return REFUSED
    with out.working(f"deleting {name}"):
        there = _has_parts(client, name, values)
        client.delete(name, **values)
    if there:
        out.data({"deleted": name}, f"deleted {name}")
    else:
        known = [one.name for one in client.list()]
        out.data({"deleted": None}, f"there was nothing called {name}: {did_you_mean(name, known)}")
    return 0


def _has_parts(client: Client, name: str, values: dict[str, Any]) -> bool:
    """Check whether a delete would find anything; true if that is unknown, as the delete then reports the reason."""
    delete: Any = client.delete
    with suppress(SdkError):
        return bool(delete(name, **{**values, "dry_run": True}).changes)
    return True


def do_unlock(out: Output, *, name: str, txn: str, target: str | None = None) -> None:
    """Run ``mlport unlock``."""
    _client(out, target).unlock(name, txn)
    out.data({"unlocked": name}, f"unlocked {name}")


def do_gc(out: Output, *, check: bool = False, target: str | None = None, **values: Any) -> int:
    """Run ``mlport gc``."""
    with out.working("looking for what was left behind"):
        report = _client(out, target).gc(**values)
    if out.json_wanted:
        out.data(report.to_dict(), "")
    else:
        rows = [
            (what, item.kind, item.id, usd(item.usd_per_hour), item.reason)
            for what, items in (("left", report.orphans), ("removed", report.removed), ("young", report.young))
            for item in items
        ]
        out.table(("", "kind", "id", "price", "why"), rows, empty="nothing is left behind")
        if report.orphans and not values.get("apply"):
            out.say("remove it with: mlport gc --apply")
    return LEFT_OVER if check and report.orphans else 0
