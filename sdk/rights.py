"""Which rights a target needs, by who works with it: what ``mlport policy`` prints and ``mlport doctor`` tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PolicyRole = Literal["deployer", "caller", "runtime", "ci"]
PolicyForm = Literal["json", "tf", "bicep"]
ROLES: tuple[PolicyRole, ...] = get_args(PolicyRole)
FORMS: tuple[PolicyForm, ...] = get_args(PolicyForm)

FIRST_DEPLOY = "first deploy"
"""What the first deploy or job makes once for all that follow, such as a bucket."""
_LOOKS = ("predict", "status", "list", "logs", "monitor")
_CHANGES = ("deploy", "traffic", "finalize", "delete", "gc")
_CI = frozenset((*_LOOKS, *_CHANGES, "doctor"))
VERBS: Mapping[PolicyRole, frozenset[str]] = {
    "deployer": _CI | {FIRST_DEPLOY, "gc --shared", "train", "stop"},
    "caller": frozenset({"predict"}),
    "runtime": frozenset({"runtime"}),
    "ci": _CI,
}
"""The verbs that each role works with; ``traffic`` also stands for promote and rollback."""


@dataclass(frozen=True, slots=True)
class CallRights:
    """One call of a platform's protocol: which verbs make it, and the rights that it needs, in the platform's words."""

    call: str
    verbs: frozenset[str]
    rights: tuple[str, ...]


@runtime_checkable
class KnowsRights(Protocol):
    """An adapter that knows which rights its calls need; optional."""

    @classmethod
    def call_rights(cls) -> Sequence[CallRights]:
        """Every call that the adapter makes, with the verbs that make it and the rights that it needs."""
        ...

    def policy(self, role: PolicyRole, form: PolicyForm, secrets: Sequence[str]) -> str:
        """Return the smallest policy of a role for this target; no call is made.

        Args:
            role: Who it is for.
            form: ``"json"`` in the platform's own form, ``"tf"`` for Terraform, ``"bicep"`` where the platform has it.
            secrets: Names of the platform's secrets that deploys may read (``cloud:NAME``).

        Raises:
            UnsupportedError: The platform has no policies in this form.
        """
        ...
