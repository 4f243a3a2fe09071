"""What a manifest records of the types and missing values of an example."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec
import numpy as np
import pytest

from sdk.errors import ConfigError
from sdk.model import model
from sdk.packaging import examples
from sdk.packaging.manifest import Tensor


def pack(obj: Any, **wishes: Any) -> Any:
    return model(obj, name="types", **wishes)


def test_types_and_missing_values_of_a_table_are_recorded() -> None:
    """The manifest says how the server has to make each column; a model that answers missing values takes them."""
    pandas: Any = import_module("pandas")
    table = pandas.DataFrame({
        "n": pandas.array([1, None], dtype="Int64"),
        "s": pandas.Series(["a", None], dtype=object),
        "x": [1.0, 2.0],
    })  # fmt: skip
    signature = pack(lambda rows: rows["x"], example=table).signature
    assert signature is not None
    assert signature.allow_nan
    expected = [("int64", "Int64", None), ("string", "object", "None"), ("float64", None, None)]
    assert expected == [(one.dtype, one.column_type, one.missing) for one in signature.inputs]
    with pytest.raises(ConfigError, match="allow_nan=False, but the example has missing values"):
        pack(lambda rows: rows["x"], example=table, allow_nan=False)


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ([["a", 1.0]], "text and float side by side"),
        (np.array([[1.0, np.inf]]), "infinite"),
        (np.array(["a", None, np.nan], dtype=object), "both None and NaN"),
        (np.ones(2, dtype=np.longdouble), "which is what a request carries"),
    ],
)
def test_examples_that_no_request_can_carry_are_refused(example: Any, words: str) -> None:
    """What would reach the model as something else is told when the model is packed."""
    with pytest.raises(ConfigError, match=words):
        examples.inputs(examples.prepare(example))


def test_manifests_without_column_types_keep_their_digest() -> None:
    """What earlier versions wrote is still in canonical form: the new facts are left out where there are none."""
    assert b'{"dtype":"string","name":"s","shape":[-1]}' == msgspec.json.encode(
        Tensor("s", "string", (-1,)), order="sorted"
    )
