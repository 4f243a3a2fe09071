"""Answers as tables of pandas."""

from __future__ import annotations

import pickle
from typing import Any

import pandas as pd
import pytest

from sdk.dataplane.payload import index_of
from sdk.dataplane.prediction import Prediction


def frame(values: Any, index: Any = None) -> Any:
    return Prediction(values, index=index).frame


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.5, None], pd.Series([1.5, None], index=["x", "y"])),
        (["a", "b"], pd.Series(["a", "b"], index=["x", "y"])),
        ([[1, 2], [3, 4]], pd.DataFrame([[1, 2], [3, 4]], index=["x", "y"])),
        ([{"p": 1, "q": [1, 2]}, {"p": 2, "q": [3]}], pd.DataFrame({"p": [1, 2], "q": [[1, 2], [3]]}, ["x", "y"])),
        ([[1], [2, 3]], pd.Series([[1], [2, 3]], index=["x", "y"])),
        ([[[1]], [[2]]], pd.Series([[[1]], [[2]]], index=["x", "y"])),
    ],
)
def test_frame_keeps_the_index(values: Any, wanted: Any) -> None:
    """Objects and equally long lists make a table, everything else a series; each row keeps its name."""
    table = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    found = frame(values, index_of(table))
    assert type(wanted) is type(found)
    assert wanted.equals(found)


def test_frame_without_an_index() -> None:
    """Rows are counted where no table was sent, or the answer has another number of rows."""
    assert [0, 1] == list(frame([1, 2]).index)
    assert [0] == list(frame([1], pd.Index(["x", "y"])).index)
    assert [] == frame([]).tolist()
    assert {"mean": 2, "rows": [1, 3]} == frame({"mean": 2, "rows": [1, 3]}).to_dict()


def test_index_is_no_part_of_the_answer() -> None:
    """Two answers are equal by their values; an answer with an index can be pickled."""
    index = index_of(pd.Series([1], index=["x"]))
    assert Prediction([1]) == Prediction([1], index=index)
    assert ["x"] == list(pickle.loads(pickle.dumps(Prediction([1], index=index))).frame.index)
    assert "index" not in Prediction([1], index=index).to_dict()
    assert index_of([1, 2]) is None
