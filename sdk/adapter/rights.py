"""The rights that each role needs on a target; ``mlport policy`` prints them and ``mlport doctor`` tests them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, get_args, runtime_checkable

from .types import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..errors import SdkError

R = TypeVar("R")

PolicyRole = Literal["deployer", "caller", "runtime", "ci"]
PolicyForm = Literal["json", "tf", "bicep"]
ROLES: tuple[PolicyRole, ...] = get_args(PolicyRole)
FORMS: tuple[PolicyForm, ...] = get_args(PolicyForm)

FIRST_DEPLOY = "first deploy"
"""What the first deploy or job creates once for all later ones, such as a bucket."""
_LOOKS = ("predict", "stream", "status", "list", "logs", "monitor")
_CHANGES = ("deploy", "traffic", "finalize", "delete", "gc")
_CI = frozenset((*_LOOKS, *_CHANGES, "doctor"))
VERBS: Mapping[PolicyRole, frozenset[str]] = {
    "deployer": _CI | {FIRST_DEPLOY, "gc --shared", "train", "stop"},
    "caller": frozenset({"predict", "stream"}),
    "runtime": frozenset({"runtime"}),
    "ci": _CI,
}
"""The verbs that each role uses; ``traffic`` also stands for promote and rollback."""


CHECKED: tuple[PolicyRole, ...] = ("caller", "ci", "deployer")
"""The roles that ``doctor`` checks for the identity that runs it."""
READS_ENDPOINTS = "predict stream status list logs monitor deploy traffic finalize delete gc"
TAKES_LEASES = "deploy traffic finalize delete gc train"
LISTS_OWN = "list delete gc"
"""Verbs that read endpoints, take leases or list what mlport made, on every platform; used in adapters' tables."""


@dataclass(frozen=True, slots=True)
class RightsRow(Generic[R]):
    """One row of an adapter's table: the verbs that make a call, and its rights in the adapter's own type."""

    verbs: frozenset[str]
    rights: tuple[R, ...]


def row(verbs: str, *rights: R, also: str = "") -> RightsRow[R]:
    """Make one row of a table.

    Args:
        verbs: The verbs that make the call, separated by spaces.
        rights: The rights that the call needs.
        also: A verb whose name contains a space, such as :data:`FIRST_DEPLOY`.

    Example:
        >>> sorted(row("list gc", "models.list").verbs)
        ['gc', 'list']
    """
    return RightsRow(frozenset((*verbs.split(), *([also] if also else []))), rights)


def rights_check(role: PolicyRole, missing: str, target: str, prints: str, *, granted: str = "granted") -> Check:
    """Return the finding of ``doctor`` about one role. Missing rights of a deployer are only a warning.

    Other users may do the deployer's part.

    Args:
        role: The role.
        missing: The missing rights in the platform's words; empty if there are none.
        target: Name of the target.
        prints: What ``mlport policy`` prints for this platform, for the hint.
        granted: The text if nothing is missing.
    """
    if not missing:
        return Check(f"rights {role}", True, granted)
    hint = f"mlport policy --for {role} --target {target} prints {prints}"
    return Check(f"rights {role}", role == "deployer", f"missing: {missing}", hint)


def rights_unknown(error: SdkError, name: str = "rights") -> Check:
    """Return the finding for a platform that does not report which rights the caller has."""
    return Check(name, True, f"unknown: {error.message}", error.hint)


@dataclass(frozen=True, slots=True)
class CallRights:
    """One call of a platform's protocol, the verbs that make it, and the rights it needs in the platform's words."""

    call: str
    verbs: frozenset[str]
    rights: tuple[str, ...]


def neutral(table: Mapping[str, RightsRow[R]], name: Callable[[R], str]) -> list[CallRights]:
    """Convert the table of an adapter; ``name`` returns the platform's word for a right."""
    return [
        CallRights(call, one.verbs, tuple(dict.fromkeys(name(right) for right in one.rights)))
        for call, one in table.items()
    ]


@runtime_checkable
class KnowsRights(Protocol):
    """An adapter that knows which rights its calls need; optional."""

    @classmethod
    def call_rights(cls) -> Sequence[CallRights]:
        """Return every call of the adapter, with the verbs that make it and the rights that it needs."""
        ...

    def policy(self, role: PolicyRole, form: PolicyForm, secrets: Sequence[str]) -> str:
        """Return the smallest policy of a role for this target; no call is made.

        Args:
            role: The role that the policy is for.
            form: ``"json"`` in the platform's own form, ``"tf"`` for Terraform, ``"bicep"`` where the platform has it.
            secrets: Names of the platform's secrets that deploys may read (``cloud:NAME``).

        Raises:
            UnsupportedError: The platform has no policies in this form.
        """
        ...
