"""The answer of a model: plain values, and their origin."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of a model to one ``predict``.

    Args:
        values: Plain Python values, one per input row if the model works row by row.
        deployment: The deployment that answered; ``None`` if the platform does not report it, or if several answered.
        request_id: The id under which the server logged the request (the first id, for a request split into chunks).
        latency_ms: Milliseconds from the first byte sent to the last one received, retries included.
        model: Hex digest of the deployment's model, if known.
        index: The index of the pandas table that was sent, if any.
        default: Whether the values, or some of them, are the model's default answer, given because its own would have
            come too late.

    Example:
        >>> answer = Prediction(values=[1, 0], deployment="d1", request_id="r1", latency_ms=2.5)
        >>> len(answer), answer[0], list(answer)
        (2, 1, [1, 0])
    """

    values: Any
    deployment: str | None = None
    request_id: str | None = None
    latency_ms: float = 0.0
    model: str | None = None
    index: Any = field(default=None, repr=False, compare=False)
    default: bool = False

    @property
    def array(self) -> Any:
        """The values as a numpy array.

        Raises:
            MissingExtraError: numpy is not installed.
        """
        try:
            import numpy as np
        except ImportError as error:
            raise MissingExtraError("the answer as an array needs numpy", hint="pip install numpy") from error
        return np.asarray(self.values)

    @property
    def frame(self) -> Any:
        """The values as a pandas object, with the index of the table that was sent.

        It is a DataFrame if each row is an object (its keys are the columns) or a list; otherwise a Series.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            pd: Any = import_module("pandas")
        except ImportError as error:
            raise MissingExtraError("the answer as a table needs pandas", hint="pip install pandas") from error
        listed: list[Any] = self.values
        if not isinstance(self.values, list):
            return pd.Series(self.values)
        index = self.index if self.index is not None and len(self.index) == len(listed) else None
        return (pd.DataFrame if _is_table(listed) else pd.Series)(listed, index=index)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, as ``-o json`` prints it."""
        return {
            "values": self.values,
            "deployment": self.deployment,
            "request_id": self.request_id,
            "latency_ms": self.latency_ms,
            "model": self.model,
            **({"default": True} if self.default else {}),
        }

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, row: int) -> Any:
        return self.values[row]


def _is_table(rows: list[Any]) -> bool:
    """Check whether all rows are objects, or lists of single values with equal lengths."""
    if rows and all(isinstance(row, dict) for row in rows):
        return True
    lists: list[list[Any]] = [row for row in rows if isinstance(row, list)]
    flat = len(lists) == len(rows) and not any(isinstance(cell, list) for row in lists for cell in row)
    return flat and len({len(row) for row in lists}) == 1
