"""Checks that refuse a deployment or job that the platform does not support."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...errors import ConfigError, UnsupportedError
from ..interface import Capability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..interface import DeploymentSpec, JobSpec, Support
    from ..types import Json


def check_deployment(spec: DeploymentSpec, able: Mapping[Capability, Support], provider: str) -> None:
    """Refuse a deployment that needs a capability which the platform lacks.

    The client has checked this before; the check here is for callers that plan without the client.

    Args:
        spec: The deployment in its desired state.
        able: The capabilities of the platform.
        provider: The platform's name, for the error.

    Raises:
        UnsupportedError: The platform lacks a capability; the error has the platform's own reason.
    """
    _refuse(
        able,
        provider,
        (
            (Capability.AUTOSCALE, spec.replicas.max > spec.replicas.min, "replicas.max above replicas.min"),
            (Capability.GPU, bool(spec.resources and spec.resources.gpu), "resources.gpu"),
            (Capability.INSTANCES, spec.instance is not None, "instance"),
            (Capability.IMAGES, spec.image is not None, "a model that is an image"),
        ),
    )


def check_job(spec: JobSpec, able: Mapping[Capability, Support], provider: str) -> None:
    """Refuse a job that needs a capability which the platform lacks.

    Raises:
        UnsupportedError: The platform lacks a capability; the error has the platform's own reason.
        ConfigError: The parameters are too long.
    """
    _refuse(
        able,
        provider,
        (
            (Capability.GPU, bool(spec.resources and spec.resources.gpu), "resources.gpu"),
            (Capability.INSTANCES, spec.instance is not None, "instance"),
        ),
    )
    check_params(spec.params, provider)


def check_variables(variables: Mapping[str, str], provider: str) -> None:
    """Refuse variables that prevent Linux from starting a process, in a container or not; values are never shown.

    Source: https://man7.org/linux/man-pages/man2/execve.2.html (limits on the size of arguments and environment)

    Args:
        variables: Values by variable, secrets included.
        provider: The name of the platform, for the error.

    Raises:
        ConfigError: A variable is too long or holds a null character, or all variables together are too long.
    """
    total = 0
    for name, value in variables.items():
        size = len(f"{name}={value}".encode("utf-8", "surrogatepass")) + 1
        total += size + _POINTER
        if "\0" in name or "\0" in value:
            raise ConfigError(
                f"env and secrets: {name!r} holds a null character, which no variable can",
                hint=_FILE,
                provider=provider,
            )
        if size > VARIABLE_BYTES:
            text = f"env and secrets: {name[:40]} has {size:,} bytes, Linux takes {VARIABLE_BYTES:,} of one variable"
            raise ConfigError(text, hint=_FILE, provider=provider)
    if total > VARIABLES_BYTES:
        text = f"env and secrets are {total:,} bytes together, Linux takes {VARIABLES_BYTES:,} beside what else is set"
        raise ConfigError(text, hint=_FILE, provider=provider)


def check_params(params: Mapping[str, Json], provider: str) -> None:
    """Refuse parameters that are too long for the one variable in which a job gets them.

    Raises:
        ConfigError: They are too long together.
    """
    size = len(f"MLPORT_PARAMS={json.dumps(dict(params))}") + 1  # ASCII only
    if size > VARIABLE_BYTES:
        text = f"params have {size:,} bytes together as JSON, Linux takes {VARIABLE_BYTES:,} of one variable"
        raise ConfigError(text, hint="pass large values as data", provider=provider)


VARIABLE_BYTES = 128 << 10  # name, =, value and the null byte at the end
VARIABLES_BYTES = (2 << 20) - (64 << 10)  # a quarter of the usual stack, minus space for the platform and mlport
_POINTER = 8
_FILE = "put it into a file of the model or the training code"


def _refuse(able: Mapping[Capability, Support], provider: str, needs: Iterable[tuple[Capability, bool, str]]) -> None:
    for capability, wanted, what in needs:
        support = able[capability]
        if wanted and not support.ok:
            raise unsupported(provider, capability, f"{what}: {support.text}", reason=support.reason)


def unsupported(provider: str, capability: str, message: str, *, reason: str = "not_implemented") -> UnsupportedError:
    """Return the error for an unsupported feature, for needs that only a call's arguments show."""
    return UnsupportedError(message, capability=capability, reason=reason, provider=provider)
