"""Arrow-backed pandas columns such as `int64[pyarrow]`; pandas cannot create all of these types from their names."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .convert import Array

ARROW = "[pyarrow]"
_MOMENT = re.compile(r"timestamp\[(?P<unit>\w+)(?:, tz=(?P<zone>.+))?\]")
_DECIMAL = re.compile(r"decimal(?P<bits>128|256)\((?P<digits>\d+), (?P<scale>-?\d+)\)")
_DATES = {"date32[day]": "date32", "date64[ms]": "date64"}


def column(kind: str, values: Array) -> Any:
    """Return a pandas column of an Arrow type.

    Args:
        kind: The name of the type in pandas.
        values: Checked values; a missing one is ``None``, NaN or NaT.
    """
    pandas: Any = importlib.import_module("pandas")
    pyarrow: Any = importlib.import_module("pyarrow")
    wanted = _type(pyarrow, kind.removesuffix(ARROW))
    if values.dtype.kind in "mM":
        counts = values.view("int64")
        made = pyarrow.array(counts, mask=counts == -(2**63)).cast(wanted)
    else:
        made = pyarrow.array(values, type=wanted, from_pandas=True)
    return pandas.Series(pandas.arrays.ArrowExtensionArray(made))


def _type(pyarrow: Any, name: str) -> Any:
    if found := _MOMENT.fullmatch(name):
        return pyarrow.timestamp(found["unit"], tz=found["zone"])
    if found := _DECIMAL.fullmatch(name):
        return getattr(pyarrow, f"decimal{found['bits']}")(int(found["digits"]), int(found["scale"]))
    if name in _DATES:
        return getattr(pyarrow, _DATES[name])()
    return pyarrow.type_for_alias(name)
