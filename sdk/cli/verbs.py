"""The table of verbs, from which the command line, its help and its reference page are made.

A test compares it with the methods of :class:`sdk.Client`, so that a verb is the same in Python and in a shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["text", "int", "float", "flag", "switch", "pairs", "texts", "duration", "input"]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a verb.

    ``type`` determines its syntax: ``flag`` is ``--x``, ``switch`` is ``--x/--no-x``, ``pairs`` is repeated
    ``--x KEY=VALUE``, ``texts`` is repeated, ``duration`` takes ``90``, ``30s`` or ``5m``, ``input`` takes JSON,
    ``@file`` or ``-`` for standard input. ``option`` is the long option if it differs from the name (one ``--tag`` per
    tag). Parameters with ``cli_only`` have no counterpart in Python.
    """

    name: str
    help: str
    type: Type = "text"
    positional: bool = False
    required: bool = False
    many: bool = False
    short: str | None = None
    metavar: str | None = None
    cli_only: bool = False
    option: str | None = None

    @property
    def flag(self) -> str:
        """The long option."""
        return "--" + (self.option or self.name).replace("_", "-")


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: ``help`` is its first line, ``more`` is what a user must know beyond that."""

    name: str
    help: str
    params: tuple[Param, ...] = ()
    more: str = ""
    mutates: bool = False
    group: tuple[Verb, ...] = ()


NAME = Param("name", "name of the endpoint", positional=True, required=True)
TARGET = Param("target", "target of the configuration (default: MLPORT_TARGET, then `default`)", short="-t")
TIMEOUT = Param("timeout", "give up after this time, such as 10m", "duration")
WAIT = Param("wait", "wait until it is done", "switch")
DRY_RUN = Param("dry_run", "print the plan and change nothing", "flag")
TTL = Param("ttl", "age at which `mlport gc --expired` may remove it, such as 8h", "duration")
MODEL = Param(
    "model",
    "model file, folder, module:object, job:NAME, stored digest or image@sha256:…",
    positional=True,
    required=True,
)
CHANGES = (TARGET, WAIT, TIMEOUT, DRY_RUN)

SIZE = (
    Param("instance", "instance type, in the platform's own words"),
    Param("cpu", "cores of one replica or job", "float", cli_only=True),
    Param("memory_gib", "memory of one replica or job, GiB", "float", cli_only=True),
    Param("gpu", "GPUs of one replica or job", "int", cli_only=True),
)
EXAMPLE = Param(
    "example",
    "rows that the model is packed with and must answer before it gets traffic: JSON, @FILE (also .csv, .jsonl), or -",
    "input",
    cli_only=True,
)
SHAPE = (
    Param("name", "name of the endpoint (default: the model's)", short="-n"),
    Param("traffic", "percent of the traffic for the new deployment (default 100)", "int"),
    *SIZE,
    Param("replicas", "copies: N, or MIN:MAX", metavar="N"),
    Param("env", "variable for the model's process, KEY=VALUE", "pairs"),
    Param("secrets", "secret for the model's process, VARIABLE or VARIABLE=NAME", "texts", option="secret"),
    Param("tags", "your own tag, KEY=VALUE", "pairs", option="tag"),
    TTL,
    Param("adopt", "take over an endpoint that somebody else owns", "flag"),
    Param("trust", "what a model file may do: `pickle` runs its code", cli_only=True),
    EXAMPLE,
)

VERBS: tuple[Verb, ...] = (
    Verb("init", "Write a commented mlport.toml into this folder", (
        Param("force", "overwrite an existing file", "flag", cli_only=True),
    )),
    Verb("doctor", "Make one real read call per target and say what is missing", (
        Param("target", "only this target", short="-t"),
    ), more="Exits with 1 when something is missing."),
    Verb("policy", "Print the smallest policy that lets somebody work with a target", (
        Param("role", "deployer (all verbs), ci (a pipeline), caller (predict) or runtime (the containers)",
              required=True, option="for", metavar="ROLE"),
        Param("form", "json in the platform's own form, tf for Terraform, bicep for Azure (default json)",
              short="-o", option="output", metavar="FORM"),
        Param("secrets", "secret of the platform that deploys may read, the NAME of cloud:NAME", "texts",
              option="secret"),
        TARGET,
    ), more="Nothing is changed: attach what is printed yourself. `mlport doctor` says which rights are missing."),
    Verb("config", "Show the configuration and where each value came from", group=(
        Verb("show", "Print each value and where it came from"),
        Verb("trust", "Trust the project file of this folder as it is now", more=(
            "A project file that is not trusted may set default, objective, monitor, and for a target its provider, "
            "region, project, account, subscription, resource_group, workspace, role, instance, resources, replicas, "
            "ttl and tags. All else in it counts only after this, and until the file changes. In CI set "
            "MLPORT_TRUST to the SHA-256 of the file.")),
    )),
    Verb("build", "Build the image of a model, without a daemon; write, load or push it", (
        MODEL,
        Param("base", "what to build on: HOST/REPOSITORY:TAG or @sha256:…, an image file, a Dockerfile or its folder, "
                      "or debian-packages (default: the public Python image)"),
        Param("push", "push it to HOST/REPOSITORY:TAG"),
        Param("platform", "linux/amd64 or linux/arm64"),
        Param("format", "docker, which every cloud takes, or oci"),
        Param("archive", "write it to this new file, as `docker save` does", metavar="FILE"),
        Param("load", "bring it into the Docker Engine", "flag"),
        Param("labels", "more labels, KEY=VALUE", "pairs", option="label"),
        Param("insecure", "reach registries by plain HTTP (this machine's own always are)", "flag"),
        Param("ca", "file with a certificate authority to trust too", metavar="FILE"),
        TIMEOUT,
        Param("name", "name of the model", short="-n", cli_only=True),
        Param("trust", "what a model file may do: `pickle` runs its code", cli_only=True),
        EXAMPLE,
        Param("pack_only", "only pack the model with its locked dependencies", "flag", cli_only=True),
    ), more=(
        "MODEL may also be a folder with a Dockerfile, which the Docker Engine builds as it is. A deploy builds by "
        "itself; build to look at an image, keep it, push it, or build upon it.")),
    Verb("train", "Run a training script on a target", (
        Param("script", "path of the script, or module:function", positional=True, required=True),
        Param("name", "name of the job (default: the script's, with a suffix)", short="-n"),
        Param("data", "input, NAME=PATH or NAME=URI", "pairs"),
        Param("params", "parameter, KEY=VALUE (JSON values keep their type)", "pairs", option="param"),
        Param("requirements", "package, folder or wheel, or -rFILE or -cFILE", "texts", option="requirement"),
        Param("build_from_source", "package without a wheel whose build scripts may run here", "texts"),
        *SIZE,
        Param("env", "variable for the job, KEY=VALUE", "pairs"),
        Param("secrets", "secret for the job, VARIABLE or VARIABLE=NAME", "texts", option="secret"),
        Param("tags", "your own tag, KEY=VALUE", "pairs", option="tag"),
        *CHANGES,
    ), more=(
        "Waits for the job and shows what it writes. Ctrl-C ends the waiting only, on every target alike: the job runs "
        "on until it ends, its time-out comes, or `mlport stop` ends it."), mutates=True),
    Verb("plan", "Show the calls, resources and prices of a deploy, and change nothing", (MODEL, *SHAPE, TARGET)),
    Verb("deploy", "Deploy a model: create the endpoint, or update it without losing a request", (
        MODEL, *SHAPE, *CHANGES,
    ), mutates=True),
    Verb("predict", "Call an endpoint", (
        NAME,
        Param("inputs", "JSON rows, @FILE (also .csv, .jsonl), or -", "input", positional=True, required=True),
        Param("deployment", "make this deployment answer"),
        Param("curl", "print the request as a shell line instead of sending it", "flag", cli_only=True),
        Param("stream", "show the items of the answer as they arrive, one on each line", "flag", cli_only=True),
        TARGET,
        TIMEOUT,
    )),
    Verb("status", "Show an endpoint or job; with --wait, go on with it until it is done", (
        NAME,
        Param("wait", "go on with an unfinished change of it, or wait for the job to end", "flag", cli_only=True),
        TARGET,
    )),
    Verb("stop", "Ask a training job to end; `mlport status NAME` tells when it has", (
        Param("name", "name of the job", positional=True, required=True),
        TARGET,
    )),
    Verb("list", "List endpoints with age, idle time and price", (TARGET,)),
    Verb("logs", "Show what the containers of an endpoint or job wrote", (
        NAME,
        Param("tail", "only the last N lines", "int"),
        Param("follow", "go on with new lines until Ctrl-C", "flag", short="-f"),
        Param("deployment", "only this deployment"),
        Param("request_id", "only lines of this request"),
        TARGET,
    )),
    Verb("monitor", "Show rate, errors, latency, cost and alarms of an endpoint", (
        NAME,
        Param("window", "how far back, such as 15m (default 1h)", "duration"),
        Param("watch", "live view until Ctrl-C", "flag", cli_only=True),
        Param("interval", "seconds between two looks of --watch (default 2)", "float", cli_only=True),
        TARGET,
    ), more="Exits with 7 when an alarm of the configuration holds."),
    Verb("traffic", "Share the traffic between the deployments of an endpoint", (
        NAME,
        Param("percent", "percent for the newest deployment, or DEPLOYMENT=PERCENT for each",
              positional=True, required=True, many=True),
        *CHANGES,
    ), mutates=True),
    Verb("promote", "Give the newest deployment all traffic", (NAME, *CHANGES), mutates=True),
    Verb("rollback", "Give the previous deployment all traffic", (NAME, *CHANGES), mutates=True),
    Verb("finalize", "Remove the deployments that get no traffic", (NAME, *CHANGES), mutates=True),
    Verb("compare", "Measure what a model costs and how fast it answers on several targets", (
        Param("model", "what to deploy on each (as for deploy); left out with --endpoint or --from", positional=True),
        Param("endpoint", "measure an endpoint that exists, NAME or NAME@TARGET", "texts", cli_only=True),
        Param("read", "show a kept comparison instead of measuring", cli_only=True, metavar="FILE", option="from"),
        Param("targets", "a target to measure", "texts", short="-t", option="target"),
        Param("instances", "instance types to try there, TARGET=TYPE[,TYPE]", "pairs", option="instance"),
        Param("regions", "regions to try there, TARGET=REGION[,REGION]", "pairs", option="region"),
        Param("workload", "how to measure: preset=quick or thorough, or a field such as runs=5", "pairs"),
        Param("payloads", "JSON list of the inputs of requests (default: the model's example), @FILE or -", "input"),
        Param("labels", "JSON list of what the model should answer, one per row", "input"),
        Param("confidence", "report the share of rows answered with at least this probability, such as 0.9", "float"),
        Param("p95_ms", "latency objective in milliseconds", "float"),
        Param("traffic_per_month", "your own requests a month: costs are told for them first", "float"),
        Param("profile", "when they come: flat, day or office"),
        Param("headroom", "share of the highest rate that a replica is planned with (default 0.7)", "float"),
        Param("hardware", "US dollars per hour of your own machines, TARGET=USD", "pairs"),
        Param("train_hours", "also tell what so many hours of training cost there", "float"),
        Param("budget_usd", "what it may cost at most, US dollars (default 10)", "float"),
        Param("time_budget", "how long measuring may take, such as 10m (default 5m)", "duration"),
        Param("allow_unknown_price", "go on although a price is unknown", "flag"),
        Param("ttl", "age at which `mlport gc --expired` removes what was made (default 3h)", "duration"),
        Param("keep", "leave the endpoints as they are", "flag"),
        Param("fail_if", "exit with 7 if this holds for any row, such as 'p95_ms > 100 or usd_per_1k > 0.02'",
              cli_only=True),
        Param("baseline", "a kept comparison: tell which differences to it the statistics support", cli_only=True,
              metavar="FILE"),
        Param("save", "keep the result, as JSON", cli_only=True, metavar="FILE"),
        Param("html", "write the report as one page", cli_only=True, metavar="FILE"),
        Param("markdown", "write the report as Markdown, for a pull request: gate and differences first", cli_only=True,
              metavar="FILE"),
        Param("junit", "write a JUnit report for CI: a test case per row, failed where --fail-if holds", cli_only=True,
              metavar="FILE"),
        Param("trust", "what a model file may do: `pickle` runs its code", cli_only=True),
        Param("yes", "do not ask", "flag", short="-y", cli_only=True),
        TIMEOUT,
        DRY_RUN,
    ), more='Needs pip install "mlport[compare]". Asks before it spends money. Exits with 7 when --fail-if holds.',
       mutates=True),
    Verb("prices", "Show what instances cost on a target, or fetch it anew", group=(
        Verb("show", "Print the price table of a target; nothing is fetched", (
            Param("instance", "only this instance type"),
            TARGET,
        )),
        Verb("refresh", "Fetch the price table of a target's provider anew", (
            Param("regions", "a region to fetch (default: the target's own, else all of the table)", "texts",
                  option="region"),
            Param("accept", "take prices that move by more than 60 %, too", "flag"),
            TARGET,
        ), more="Replaces the table whole or not at all; says what changed and what it refused."),
    )),
    Verb("delete", "Delete an endpoint and everything that belongs to it", (
        NAME,
        Param("yes", "do not ask", "flag", short="-y", cli_only=True),
        *CHANGES,
    ), mutates=True),
    Verb("gc", "Find what was left behind; with --apply, remove it", (
        Param("apply", "remove it", "flag"),
        Param("expired", "also what is past its ttl", "flag"),
        Param("shared", "also shared resources that nothing uses", "flag"),
        Param("check", "exit with 8 when something is left", "flag", cli_only=True),
        TARGET,
        TIMEOUT,
    ), mutates=True),
    Verb("unlock", "Release an endpoint whose lock a machine that is gone has left behind", (
        NAME,
        Param("txn", "transaction that holds it, as the error said", required=True, metavar="TXN", option="id"),
        TARGET,
    ), more="Only for a machine that is gone for good: two changes at once are what the lock is there to prevent."),
    Verb("test", "Test a model on every target, those of clouds on their mini clouds", (
        MODEL,
        Param("targets", "only this target (default: all of the configuration)", "texts", option="target", short="-t"),
        Param("rows", "rows to ask it for: JSON, @FILE (also .csv, .jsonl), or - (default: its example)", "input"),
        Param("objective_ms", "95 % of 50 calls must be answered within so many milliseconds", "float"),
        Param("runner", "how models run behind mini clouds: process (default), or docker, which runs their image"),
        Param("junit", "write the results to this file, as JUnit XML", metavar="FILE"),
        Param("trust", "what a model file may do: `pickle` runs its code"),
    ), more=(
        "It must answer as it does in this process, refuse bad rows with the field, be updated and rolled back without "
        "a lost request, and leave nothing. No real account is reached. Exits with 1 when a test fails.")),
    Verb("mock", "Run mini clouds: local servers that speak a cloud's own wire", group=(
        Verb("list", "List the mini clouds that are installed, and which run"),
        Verb("up", "Start mini clouds (all that are installed, if none is named)", (
            Param("names", "which ones", positional=True, many=True),
            Param("runner", "how models run behind them: process (default) or docker"),
            Param("detach", "come back at once; `mlport mock down` stops them", "flag"),
        )),
        Verb("env", "Print the shell lines that point clients to mini clouds (all that run, if none is named)", (
            Param("names", "which ones", positional=True, many=True),
            Param("account", "with the keys of this account (sagemaker); 123456789012 when left out", metavar="ID"),
        )),
        Verb("down", "Stop mini clouds with all that runs behind them", (
            Param("names", "which ones", positional=True, many=True),
        )),
    )),
    Verb("capabilities", "Show what each target can do, and why not", (TARGET,)),
)  # fmt: skip

EXIT_CODES: tuple[tuple[int, str], ...] = (
    (0, "done"),
    (1, "the operation failed"),
    (2, "wrong usage, or the target cannot do it"),
    (3, "wrong configuration or argument"),
    (4, "not signed in, or not allowed"),
    (5, "not found"),
    (6, "quota or capacity"),
    (7, "a condition does not hold (alarm, --fail-if)"),
    (8, "something is left over"),
    (124, "time-out"),
    (129, "stopped because its terminal was closed"),
    (130, "stopped by Ctrl-C"),
    (143, "stopped by SIGTERM"),
)
