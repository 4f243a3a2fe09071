"""What a platform refuses to plan, in the words in which it declares what it cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..adapter import Capability
from ..errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..adapter import DeploymentSpec, JobSpec, Support


def check_deployment(spec: DeploymentSpec, able: Mapping[Capability, Support], provider: str) -> None:
    """Refuse a deployment that needs what the platform lacks.

    The client has asked before; this holds for whoever plans without it.

    Args:
        spec: The deployment as it should be.
        able: What the platform can do.
        provider: Its name, for the error.

    Raises:
        UnsupportedError: With the platform's own reason.
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
    """Refuse a job that needs what the platform lacks.

    Raises:
        UnsupportedError: With the platform's own reason.
    """
    _refuse(
        able,
        provider,
        (
            (Capability.GPU, bool(spec.resources and spec.resources.gpu), "resources.gpu"),
            (Capability.INSTANCES, spec.instance is not None, "instance"),
        ),
    )


def _refuse(able: Mapping[Capability, Support], provider: str, needs: Iterable[tuple[Capability, bool, str]]) -> None:
    for capability, wanted, what in needs:
        support = able[capability]
        if wanted and not support.ok:
            raise unsupported(provider, capability, f"{what}: {support.text}", reason=support.reason)


def unsupported(provider: str, capability: str, message: str, *, reason: str = "not_implemented") -> UnsupportedError:
    """The error for what a platform does not do, to be raised where only a call's arguments show the need."""
    return UnsupportedError(message, capability=capability, reason=reason, provider=provider)
