"""Which rights a target needs, by who works with it: what ``mlport policy`` prints and ``mlport doctor`` tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, get_args, runtime_checkable

from .types import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .errors import SdkError

R = TypeVar("R")

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


CHECKED: tuple[PolicyRole, ...] = ("caller", "ci", "deployer")
"""The roles that ``doctor`` asks about, for the identity that runs it."""
READS_ENDPOINTS = "predict status list logs monitor deploy traffic finalize delete gc"
TAKES_LEASES = "deploy traffic finalize delete gc train"
LISTS_OWN = "list delete gc"
"""Verbs that do so on every platform, for the tables of adapters; ``LISTS_OWN`` list what mlport made."""


@dataclass(frozen=True, slots=True)
class Row(Generic[R]):
    """What one call needs, in the table of an adapter: the verbs that make it, and rights of the adapter's own type."""

    verbs: frozenset[str]
    rights: tuple[R, ...]


def row(verbs: str, *rights: R, also: str = "") -> Row[R]:
    """One row of a table.

    Args:
        verbs: Separated by spaces.
        rights: What the call needs.
        also: A verb whose name has a space, such as :data:`FIRST_DEPLOY`.

    Example:
        >>> sorted(row("list gc", "models.list").verbs)
        ['gc', 'list']
    """
    return Row(frozenset((*verbs.split(), *([also] if also else []))), rights)


def rights_check(role: PolicyRole, missing: str, target: str, prints: str, *, granted: str = "granted") -> Check:
    """The finding of ``doctor`` about one role; what a deployer lacks is a warning, as others may do that part.

    Args:
        role: The role.
        missing: The missing rights in the platform's words; empty when there are none.
        target: Name of the target.
        prints: What ``mlport policy`` prints there, for the hint.
        granted: What to say when nothing is missing.
    """
    if not missing:
        return Check(f"rights {role}", True, granted)
    hint = f"mlport policy --for {role} --target {target} prints {prints}"
    return Check(f"rights {role}", role == "deployer", f"missing: {missing}", hint)


def rights_unknown(error: SdkError, name: str = "rights") -> Check:
    """The finding where the platform does not say which rights there are."""
    return Check(name, True, f"unknown: {error.message}", error.hint)


@dataclass(frozen=True, slots=True)
class CallRights:
    """One call of a platform's protocol: which verbs make it, and the rights that it needs, in the platform's words."""

    call: str
    verbs: frozenset[str]
    rights: tuple[str, ...]


def neutral(table: Mapping[str, Row[R]], name: Callable[[R], str]) -> list[CallRights]:
    """The table of an adapter in neutral words; ``name`` gives the platform's word for a right."""
    return [
        CallRights(call, one.verbs, tuple(dict.fromkeys(name(right) for right in one.rights)))
        for call, one in table.items()
    ]


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
