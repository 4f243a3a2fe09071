"""Rights of callers: a mini cloud that enforces a policy refuses each call whose right the policy does not grant."""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from .app import Match, Request, Response

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Need:
    """One right that a call needs.

    Attributes:
        action: Action or permission, as the cloud names it.
        resource: The resource on which it is needed.
        context: Further facts that conditions of a policy may use, as pairs.
    """

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


class Guard(ABC, Generic[P]):
    """The check of callers' rights: allows every call, unless a policy is enforced.

    Attributes:
        policy: The policy that is enforced, if any.
        needs: Each right that was checked under a policy, with the call that needed it.
        denied: The rights that the policy did not grant, with the call that needed them.
        runtime: The policy of the identity that containers run as, if it is enforced.
        acted: Each right of that identity that the cloud needed, with what it was needed for.
    """

    def __init__(self) -> None:
        self.policy: P | None = None
        self.needs: dict[Need, str] = {}
        self.denied: dict[Need, str] = {}
        self.runtime: P | None = None
        self.acted: dict[Need, str] = {}

    @contextmanager
    def enforced(self, policy: P | None, *, runtime: P | None = None) -> Generator[None]:
        """Enforce a policy on every call inside the ``with`` block.

        Args:
            policy: The policy of the caller; ``None`` for all rights.
            runtime: The policy of the identity that containers run as; ``None`` for all rights.
        """
        self.needs, self.denied, self.acted = {}, {}, {}
        self.policy, self.runtime = policy, runtime
        try:
            yield
        finally:
            self.policy = self.runtime = None

    def lacking(self, what: str, needs: Iterable[Need]) -> Need | None:
        """Return the first right that the containers' identity lacks for something the cloud does with it."""
        runtime = self.runtime
        if runtime is None:
            return None
        for need in needs:
            self.acted[need] = what
            if not self.allows(runtime, need):
                return need
        return None

    def __call__(self, request: Request, match: Match) -> Response | None:
        """Return the refusal of a call that lacks a right, or ``None``."""
        policy = self.policy
        if policy is None:
            return None
        call = f"{match.service}:{match.operation}"
        for need in self.needs_of(request, match):
            self.needs[need] = call
            if not self.allows(policy, need):
                self.denied[need] = call
                return self.refusal(request, match, need)
        return None

    @abstractmethod
    def needs_of(self, request: Request, match: Match) -> Sequence[Need]:
        """Return the rights that a call needs; none for a call without credentials, which is refused anyway."""

    @abstractmethod
    def allows(self, policy: P, need: Need) -> bool:
        """Return whether a policy grants a right."""

    @abstractmethod
    def refusal(self, request: Request, match: Match, need: Need) -> Response:
        """Return the answer of the real cloud to a call without this right."""


class Lacking(Protocol):
    """A function that returns which right the containers' identity lacks for what the cloud does with it, if any."""

    def __call__(self, what: str, needs: Iterable[Need], /) -> Need | None:
        """Return the first right that it lacks."""
        ...


def nothing_lacking(what: str, needs: Iterable[Need], /) -> Need | None:
    """Return ``None``: a cloud that enforces no policy on containers finds no right lacking."""
    del what, needs
    return None


def fits(pattern: str, text: str) -> bool:
    """Return whether a text fits a pattern in which ``*`` stands for any text and ``?`` for one character.

    Example:
        >>> fits("arn:aws:s3:::data/*", "arn:aws:s3:::data/a/b"), fits("s3:Get?", "s3:Get")
        (True, False)
    """
    return _compiled(pattern).fullmatch(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.compile("".join(parts), re.DOTALL)
