"""Records of all kinds of resources by account and region, and what they have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import AwsError, invalid
from .keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..faults import Fault
    from .keys import Spot

_LONGEST_TOKEN = 9
_PAGE = 100
_WORDS = {"endpoint-config": "endpoint configuration", "training-job": "training job"}


@dataclass
class Record:
    """One created resource.

    Attributes:
        kind: As in its ARN, such as ``endpoint-config``.
        name: Its name.
        spot: Its account and region.
        body: The request that made it.
        tags: Its tags.
        created, modified: Unix seconds.
        hidden_until: Monotonic time before which reads do not see it.
        hidden_reads: How many more reads do not see it.
    """

    kind: str
    name: str
    spot: Spot
    body: Mapping[str, Any]
    tags: dict[str, str] = field(default_factory=dict[str, str])
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)
    hidden_until: float = 0.0
    hidden_reads: int = 0

    @property
    def arn(self) -> str:
        """The ARN, which is in lower case as SageMaker's are."""
        return arn_of(self.spot, self.kind, self.name)

    def hide(self, fault: Fault | None) -> None:
        """Hide the record from reads for a while, if a ``late`` fault is planned."""
        if fault is not None and fault.kind == "late":
            self.hidden_until = time.monotonic() + fault.seconds
            self.hidden_reads = 0 if fault.seconds else 1

    def visible(self) -> bool:
        """Return whether this read sees the record."""
        if self.hidden_reads:
            self.hidden_reads -= 1
            return False
        return time.monotonic() >= self.hidden_until


def arn_of(spot: Spot, kind: str, name: str) -> str:
    """Return the ARN of a SageMaker resource."""
    return f"arn:{partition_of(spot.region)}:sagemaker:{spot.region}:{spot.account}:{kind}/{name}".lower()


R = TypeVar("R", bound=Record)


class Shelf(Generic[R]):
    """All records of one kind.

    Args:
        kind: As in the ARN.
        refresh: Called with a record before it is read; may remove it.
    """

    def __init__(self, kind: str, refresh: Callable[[R], None] | None = None) -> None:
        self.kind = kind
        self._records: dict[tuple[Spot, str], R] = {}
        self._refresh = refresh

    def add(self, record: R) -> None:
        """Add a record.

        Raises:
            AwsError: The name is taken.
        """
        taken = self.peek(record.spot, record.name)
        if taken is not None:
            if self.kind == "training-job":
                text = "Training job names must be unique within an AWS account and region, and a training job with "
                raise AwsError("ResourceInUse", f"{text}this name already exists ({taken.arn})")
            raise invalid(f'Cannot create already existing {self._word} "{taken.arn}".')
        self._records[record.spot, record.name] = record

    def peek(self, spot: Spot, name: str) -> R | None:
        """Return a record, even a hidden one."""
        found = self._records.get((spot, name))
        if found is not None and self._refresh is not None:
            self._refresh(found)
        return self._records.get((spot, name))

    def get(self, spot: Spot, name: str) -> R:
        """Return a record for a reader or another operation.

        Raises:
            AwsError: The record does not exist, or is not visible yet.
        """
        found = self.peek(spot, name)
        if found is None or not found.visible():
            if self.kind == "training-job":
                raise invalid("Requested resource not found.")
            raise invalid(f'Could not find {self._word} "{arn_of(spot, self.kind, name)}".')
        return found

    def drop(self, record: R) -> None:
        """Remove a record."""
        self._records.pop((record.spot, record.name), None)

    def all(self, spot: Spot | None = None) -> Iterator[R]:
        """Yield all records, or those of one account and region, without hidden ones."""
        for key in sorted(self._records):
            found = self.peek(*key) if spot in {None, key[0]} else None
            if found is not None and time.monotonic() >= found.hidden_until and not found.hidden_reads:
                yield found

    @property
    def _word(self) -> str:
        return _WORDS.get(self.kind, self.kind)


def start_of(request: Mapping[str, Any]) -> int:
    """Return where a page begins.

    Raises:
        AwsError: The token was not issued by an earlier page.
    """
    token = str(request.get("NextToken") or "0")
    if not (token.isascii() and token.isdigit() and len(token) <= _LONGEST_TOKEN):
        raise invalid(f"Invalid NextToken: {token}")
    return int(token)


def piece(request: Mapping[str, Any], items: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return one page of a list.

    Args:
        request: With ``MaxResults`` and ``NextToken``.
        items: The whole list, in order.
        key: Name of the list in the reply.
    """
    start = start_of(request)
    end = start + int(request.get("MaxResults") or _PAGE)
    return {key: items[start:end], **({"NextToken": str(end)} if end < len(items) else {})}


def page(
    request: Mapping[str, Any], records: list[R], show: Callable[[R], dict[str, Any]], key: str, name: str
) -> dict[str, Any]:
    """Return one page of a list, filtered and sorted as all of SageMaker's lists are.

    Args:
        request: With ``NameContains``, ``StatusEquals``, ``CreationTimeAfter``/``Before``,
            ``LastModifiedTimeAfter``/``Before``, ``SortBy``, ``SortOrder``, ``MaxResults`` and ``NextToken``.
        records: All records of the list.
        show: Makes the summary of a record.
        key: Name of the list in the reply.
        name: The member of a summary that holds the name.
    """
    chosen = [record for record in records if _wanted(request, record)]
    chosen.sort(key=lambda one: one.created)
    shown = [show(record) for record in chosen]
    status = request.get("StatusEquals")
    if status:
        shown = [one for one in shown if status == _status(one)]
    if request.get("SortBy") in {"Name", "Status"}:
        shown.sort(key=lambda one: _status(one) if request["SortBy"] == "Status" else str(one[name]))
    if request.get("SortOrder", "Descending") == "Descending":
        shown.reverse()
    return piece(request, shown, key)


def _status(summary: Mapping[str, Any]) -> str:
    """Return the state in a summary of an endpoint or a training job; empty for other kinds."""
    return str(summary.get("EndpointStatus") or summary.get("TrainingJobStatus") or "")


def _wanted(request: Mapping[str, Any], record: Record) -> bool:
    times = {"CreationTime": record.created, "LastModifiedTime": record.modified}
    return str(request.get("NameContains") or "").lower() in record.name.lower() and all(
        _between(at, request.get(f"{what}After"), request.get(f"{what}Before")) for what, at in times.items()
    )


def _between(at: float, after: float | None, before: float | None) -> bool:
    return (after is None or at >= float(after)) and (before is None or at <= float(before))


def tags_of(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a request."""
    return {item["Key"]: item.get("Value", "") for item in request.get("Tags") or ()}
