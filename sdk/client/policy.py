"""The verb that reports which rights a target needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..adapter.rights import FORMS, ROLES, KnowsRights
from ..errors import ConfigError, UnsupportedError
from ..util.suggest import did_you_mean
from .apply_change import redacting_errors
from .base import ClientBase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..adapter.rights import PolicyForm, PolicyRole
    from .session import Session


class RightsVerbs(ClientBase):
    """The verb ``policy``."""

    def policy(self, role: str, *, form: str = "json", secrets: Sequence[str] = (), target: str | None = None) -> str:
        """Return the smallest policy for working with a target in a role, as text; changes nothing.

        Args:
            role: ``"deployer"`` for all verbs; ``"ci"`` for a pipeline, without jobs, ``gc --shared`` and the resources
                that only the first deploy creates; ``"caller"`` for ``predict`` and ``stream``; ``"runtime"`` for the
                identity of the platform's containers.
            form: ``"json"`` for the platform's own format, ``"tf"`` for Terraform, ``"bicep"`` for Azure.
            secrets: Names of the platform's secrets that deploys may read (the ``NAME`` of ``cloud:NAME``).
            target: The target in the configuration.

        Raises:
            ConfigError: The role or form is unknown.
            UnsupportedError: The target's adapter defines no rights, or no policies in this form.

        Example:
            >>> sdk.policy("caller", target="aws")  # doctest: +SKIP
        """
        _check("role", role, ROLES)
        _check("form", form, FORMS)
        session = self.session(target, sweeps=False)
        with redacting_errors(session):
            adapter = session.adapter
            if not isinstance(adapter, KnowsRights):
                raise _no_rights(session)
            return adapter.policy(cast("PolicyRole", role), cast("PolicyForm", form), tuple(secrets))


def _check(field: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{field} = {value!r} is not known", hint=did_you_mean(value, known))


def _no_rights(session: Session) -> UnsupportedError:
    """Return the error for a target whose adapter has no policies."""
    return UnsupportedError(
        f"target {session.target!r} has no policies: its provider {session.provider!r} names no rights",
        reason="not_implemented",
        provider=session.provider,
        hint="local and docker work with the rights of your own user; ask other adapters' authors for KnowsRights",
    )
