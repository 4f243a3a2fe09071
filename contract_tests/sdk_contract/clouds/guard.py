"""Rights of callers: a mini cloud that enforces a policy refuses each call whose right the policy does not give."""

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
        action: Action or permission, in the cloud's own words.
        resource: What it is needed on.
        context: Further facts that conditions of a policy may ask for, as pairs.
    """

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


class Guard(ABC, Generic[P]):
    """Which calls a cloud lets through: all of them, unless a policy is enforced.

    Attributes:
        policy: The policy that is enforced, if any.
        needs: Each right that was asked for under a policy, with the call that needed it.
        denied: Those that the policy did not give.
        runtime: The policy of the identity that containers run as, if it is enforced.
        acted: Each right that the cloud needed of that identity, with what it did.
    """

    def __init__(self) -> None:
        self.policy: P | None = None
        self.needs: dict[Need, str] = {}
        self.denied: dict[Need, str] = {}
        self.runtime: P | None = None
        self.acted: dict[Need, str] = {}

    @contextmanager
    def enforced(self, policy: P | None, *, runtime: P | None = None) -> Generator[None]:
        """Inside the block every call needs its rights by this policy.

        Args:
            policy: That of who calls; ``None`` for all rights.
            runtime: That of the identity which containers run as; ``None`` for all rights.
        """
        self.needs, self.denied, self.acted = {}, {}, {}
        self.policy, self.runtime = policy, runtime
        try:
            yield
        finally:
            self.policy = self.runtime = None

    def lacking(self, what: str, needs: Iterable[Need]) -> Need | None:
        """The first right that the containers' identity lacks for what the cloud does with it."""
        runtime = self.runtime
        if runtime is None:
            return None
        for need in needs:
            self.acted[need] = what
            if not self.allows(runtime, need):
                return need
        return None

    def __call__(self, request: Request, match: Match) -> Response | None:
        """The refusal of a call without its rights."""
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
        """The rights that a call needs; none for a call without credentials, which is refused for that."""

    @abstractmethod
    def allows(self, policy: P, need: Need) -> bool:
        """Whether a policy gives a right."""

    @abstractmethod
    def refusal(self, request: Request, match: Match, need: Need) -> Response:
        """The answer of the real cloud to a call without this right."""


class Lacking(Protocol):
    """Says which right the identity of containers lacks for what the cloud does with it, if any."""

    def __call__(self, what: str, needs: Iterable[Need], /) -> Need | None:
        """The first right that it lacks."""
        ...


def nothing_lacking(what: str, needs: Iterable[Need], /) -> Need | None:
    """The answer of a cloud that enforces no policy on containers."""
    del what, needs
    return None


def fits(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern in which ``*`` stands for any text and ``?`` for one character.

    Example:
        >>> fits("arn:aws:s3:::data/*", "arn:aws:s3:::data/a/b"), fits("s3:Get?", "s3:Get")
        (True, False)
    """
    return _compiled(pattern).fullmatch(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.compile("".join(parts), re.DOTALL)
