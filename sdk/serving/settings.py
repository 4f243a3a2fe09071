"""The settings of the server from the environment: where to listen, which model to serve, which limits to apply.

Every variable is listed in docs/server.md. An invalid value raises a `StartError` that names the variable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from .failures import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["live", "ready", "predict"]
_N = TypeVar("_N", int, float)

_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,256}")
_ROUTE = re.compile(r"/[\x21-\x7e]*")
_BIND = re.compile(r"tcp:(?P<host>.+):(?P<port>\d{1,5})|unix:(?P<path>.+)|fd:(?P<fd>\d+)")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """All limits of the server; times are in seconds unless the name states another unit, sizes in bytes."""

    max_body: int = 25 * 1024 * 1024
    max_queue: int = 256
    max_connections: int = 2000
    max_header_bytes: int = 16 * 1024
    max_headers: int = 100
    max_pipelined: int = 16
    max_url: int = 8 * 1024
    max_json_containers: int = 500_000
    header_s: float = 10.0
    body_s: float = 30.0
    body_grace_s: float = 5.0
    body_min_rate: float = 1000.0
    write_s: float = 30.0
    linger_s: float = 2.0
    keep_alive_s: float = 75.0
    deadline_s: float = 60.0
    stuck_s: float = 120.0
    drain_s: float = 5.0
    grace_s: float = 20.0
    concurrency: int = 1
    max_batch: int = 1024
    p95_ms: float = 0.0
    log_requests: int = 100


@dataclass(frozen=True, slots=True)
class Bind:
    """The address to listen on: a TCP address, a unix socket path or an inherited descriptor."""

    host: str = "0.0.0.0"  # noqa: S104 - in a container the platform's network limits access
    port: int = 8080
    path: str | None = None
    fd: int | None = None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All settings that `serve` takes from its environment."""

    bind: Bind
    model_dirs: tuple[Path, ...]
    model_digest: str | None = None
    deployment: str = ""
    endpoint: str = ""
    log_level: str = "info"
    threads: int | None = None
    run_as: int | None = None
    routes: tuple[tuple[Kind, str], ...] = ()
    limits: ServerLimits = field(default_factory=ServerLimits)


# Limits that an operator may set by variable; the others are fixed parts of the contract.
_WHOLE = frozenset(
    {"max_body", "max_queue", "max_connections", "max_json_containers", "concurrency", "max_batch", "log_requests"}
)
_TIMES = frozenset(
    {"p95_ms", "deadline_s", "stuck_s", "drain_s", "grace_s", "header_s", "body_s", "keep_alive_s", "write_s"}
)
_MAY_BE_ZERO = frozenset({"drain_s", "max_queue", "p95_ms", "log_requests"})


def from_environment(env: Mapping[str, str]) -> ServerSettings:
    """Read the settings from the environment.

    Raises:
        StartError: a variable has an invalid value; the message names the variable.
    """
    level = env.get("MLPORT_LOG_LEVEL", "info").lower()
    if level not in {"debug", "info", "warning", "error"}:
        raise StartError(f"MLPORT_LOG_LEVEL={level!r} is not one of debug, info, warning, error")
    return ServerSettings(
        bind=_bind(env),
        model_dirs=_model_dirs(env),
        model_digest=env.get("MLPORT_MODEL_DIGEST") or None,
        deployment=_header_value(env, "MLPORT_DEPLOYMENT"),
        endpoint=_header_value(env, "MLPORT_ENDPOINT"),
        log_level=level,
        threads=_number(env, "MLPORT_THREADS", int) if env.get("MLPORT_THREADS") else None,
        run_as=_number(env, "MLPORT_RUN_AS", int, zero=True) if env.get("MLPORT_RUN_AS") else None,
        routes=_routes(env),
        limits=_limits(env),
    )


def _limits(env: Mapping[str, str]) -> ServerLimits:
    given: dict[str, int | float] = {}
    for name in sorted(_WHOLE | _TIMES):
        variable = f"MLPORT_{name.upper()}"
        if env.get(variable):
            zero = name in _MAY_BE_ZERO
            given[name] = (
                _number(env, variable, int, zero=zero) if name in _WHOLE else _number(env, variable, float, zero=zero)
            )
    return ServerLimits(**given)  # type: ignore[arg-type]  # _WHOLE lists the fields that are whole numbers


def _number(env: Mapping[str, str], variable: str, kind: type[_N], *, zero: bool = False) -> _N:
    text = env[variable]
    try:
        value = kind(text)
    except ValueError:
        raise StartError(f"{variable}={text!r} is not a number") from None
    if not 0 <= value <= 1e12 or (value == 0 and not zero):
        raise StartError(f"{variable}={text!r} must be {'at least' if zero else 'above'} 0")
    return value


def _header_value(env: Mapping[str, str], variable: str) -> str:
    text = env.get(variable, "")
    if text and not _HEADER_VALUE.fullmatch(text):
        raise StartError(f"{variable}={text!r} must be 1-256 printable ASCII characters without spaces")
    return text


def _bind(env: Mapping[str, str]) -> Bind:
    text = env.get("MLPORT_BIND", "")
    if not text:
        variable = next((name for name in ("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT") if env.get(name)), "")
        return Bind(port=_port(env[variable], variable)) if variable else Bind()
    found = _BIND.fullmatch(text)
    if found is None:
        raise StartError(f"MLPORT_BIND={text!r} is not tcp:HOST:PORT, unix:PATH or fd:NUMBER")
    if found["path"]:
        return Bind(path=found["path"])
    if found["fd"]:
        return Bind(fd=int(found["fd"]))
    return Bind(host=found["host"].strip("[]"), port=_port(found["port"], "MLPORT_BIND"))


def _port(text: str, variable: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise StartError(f"{variable}={text!r} does not hold a port number (0-65535)")
    return int(text)


def _model_dirs(env: Mapping[str, str]) -> tuple[Path, ...]:
    own = env.get("MLPORT_MODEL_DIR")
    if own:
        return (Path(own),)  # an explicit folder has no fallback: a typo must not serve another model
    azure = env.get("AZUREML_MODEL_DIR")
    root = Path(env.get("MLPORT_ROOT") or "/")
    return (*([Path(azure)] if azure else []), root / "opt/ml/model", root / "opt/mlport/model")


def _routes(env: Mapping[str, str]) -> tuple[tuple[Kind, str], ...]:
    routes: list[tuple[Kind, str]] = []
    if env.get("AIP_HEALTH_ROUTE"):
        routes.append(("ready", env["AIP_HEALTH_ROUTE"]))
    if env.get("AIP_PREDICT_ROUTE"):
        routes.append(("predict", env["AIP_PREDICT_ROUTE"]))
    for item in filter(None, env.get("MLPORT_ROUTES", "").split(",")):
        kind, _, path = item.strip().partition("=")
        if kind not in {"live", "ready", "predict"}:
            raise StartError(f"MLPORT_ROUTES: {item!r} is not live=/PATH, ready=/PATH or predict=/PATH")
        routes.append((cast("Kind", kind), path))
    for _, path in routes:
        if not _ROUTE.fullmatch(path) or "?" in path or "%" in path:
            raise StartError(
                f"AIP_*_ROUTE or MLPORT_ROUTES: {path!r} must start with / and be plain ASCII without ? and %"
            )
    return tuple(routes)
