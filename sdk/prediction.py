"""The answer of a model: plain values, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered to one ``predict``.

    Args:
        values: Plain Python values, one for each row of the input where the model works row by row.
        deployment: Which deployment answered; ``None`` when the platform does not say, or several did.
        request_id: The id under which the server logged the request (the first one, of a request cut into chunks).
        latency_ms: Milliseconds from the first byte sent to the last one received, retries included.
        model: Hex digest of the model behind the deployment, where it is known.

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

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data, as ``-o json`` prints it."""
        return {
            "values": self.values,
            "deployment": self.deployment,
            "request_id": self.request_id,
            "latency_ms": self.latency_ms,
            "model": self.model,
        }

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, row: int) -> Any:
        return self.values[row]
