"""The default answer, which a request gets instead of a late one, if the model was packed with one.

The idea is Clipper's (https://www.usenix.org/conference/nsdi17/technical-sessions/presentation/crankshaw): an
application that must react in time is better served by a plain answer in time than by the right one too late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from .failures import RequestError
from .media import JSON
from .outputs import Outputs, normalise

if TYPE_CHECKING:
    from .codecs import Answer
    from .signature import ServedSignature

HEADER = (b"x-mlport-default", b"1")
_INSTEAD = frozenset({"overloaded", "deadline_exceeded"})  # the errors that a default answer replaces
_TEXT = "OUST"


class DefaultAnswer:
    """The default answer of a model.

    Args:
        value: The prediction for one row, or the whole answer if the model does not answer row by row.
        signature: The signature of the model.
        method: The method that is called.
        seconds: The time after which a request gets it.
    """

    def __init__(self, value: Any, signature: ServedSignature, method: str, seconds: float) -> None:
        self.seconds = seconds
        self._value = value
        self._signature = signature
        self._method = method

    def outputs(self, rows: int) -> Outputs:
        """Return the default answer for a number of rows.

        Raises:
            RequestError: 500; the value has no JSON form.
        """
        value, signature = self._value, self._signature
        if not signature.rowwise:
            return normalise(value, signature, self._method, rows)
        if isinstance(value, dict) and len(signature.outputs) > 1:
            named = cast("dict[str, Any]", value)
            return normalise({name: [one] * rows for name, one in named.items()}, signature, self._method, rows)
        return normalise([value] * rows, signature, self._method, rows)

    def fault(self) -> str | None:
        """Return why the model could not answer this, or None."""
        declared = {one.name: one for one in self._signature.outputs}
        try:
            found = self.outputs(2).arrays
        except RequestError as error:
            return error.message
        if not declared:
            return None
        if found.keys() != declared.keys():
            return f"it has the outputs {', '.join(found) or 'of no form'}, the model {', '.join(declared)}"
        for name, array in found.items():
            shape, wanted = list(array.shape[1:]), list(declared[name].shape[1:])
            if len(shape) != len(wanted) or any(b not in {a, -1} for a, b in zip(shape, wanted, strict=True)):
                return f"output {name!r} has shape {shape} in each row, the model's {wanted}"
            if (array.dtype.kind in _TEXT) != (declared[name].dtype in {"string", "object"}):
                return f"output {name!r} has the type {array.dtype.name}, the model's {declared[name].dtype}"
        return None


def as_default(answer: Answer, form: bytes) -> Answer:
    """Mark a response as the default answer: by a header, and in JSON by a field, as some platforms drop headers."""
    body = answer.body
    if form == JSON:
        body = body[:-1] + b',"default":true}'
    return msgspec.structs.replace(answer, body=body, headers=(*answer.headers, HEADER))


def replaces(error: RequestError) -> bool:
    """Return whether a default answer is given instead of this error."""
    return error.code in _INSTEAD
