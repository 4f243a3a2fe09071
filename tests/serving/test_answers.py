"""Answers with missing values, moments and durations: every form of an answer says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sdk.serving import codecs, media, v2
from sdk.serving.failures import RequestError
from sdk.serving.outputs import normalise
from sdk.serving.signature import ServedSignature

ANSWERS: dict[str, tuple[Any, str]] = {
    "moments": (np.array(["2024-01-31", "NaT"], dtype="datetime64[D]"), '["2024-01-31",null]'),
    "a column of moments": (pd.Series(np.array(["2024-01-31", "NaT"], dtype="M8[s]")), '["2024-01-31T00:00:00",null]'),
    "nanoseconds": (np.array([90_000_000_000, "NaT"], dtype="timedelta64[ns]"), '["P0DT90S",null]'),
    "steps of days": (np.array([2, -1], dtype="timedelta64[7D]"), '["P14DT0S","-P7DT0S"]'),
    "large whole numbers": (pd.Series(pd.array([2**60 + 1, None], dtype="Int64")), "[1152921504606846977,null]"),
    "numbers of numpy": (np.array([np.int64(2**60 + 1), None], dtype=object), "[1152921504606846977,null]"),
    "masked floats": (np.ma.masked_array([1.5, 2.5], mask=[False, True]), "[1.5,null]"),
    "masked whole numbers": (np.ma.masked_array([7, 8], mask=[False, True]), "[7,null]"),
    "a table of one column": (pd.DataFrame({"t": pd.Series(["a", None], dtype=object)}), '["a",null]'),
    "outputs": ({"t": ["a", None], "n": np.ones(2)}, '[{"t":"a","n":1.0},{"t":null,"n":1.0}]'),
    "nullable outputs": ({"b": pd.array([True, None], dtype="boolean"), "n": [1, 2]},
                         '[{"b":true,"n":1},{"b":null,"n":2}]'),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_missing_values_and_durations_in_answers(name: str) -> None:
    """A missing value is null and changes neither the answer's form nor other values; durations are ISO 8601."""
    value, wanted = ANSWERS[name]
    outputs = normalise(value, ServedSignature(), "predict", 2)
    assert f'{{"predictions":{wanted}}}' == codecs.encode(media.JSON, outputs).body.decode()
    lines = codecs.encode(media.CSV, outputs).body.decode().splitlines()
    assert 2 == len(lines) - (len(outputs.arrays) > 1)


def test_missing_text_has_no_tensor_form() -> None:
    """Neither .npy nor the Open Inference Protocol can say that a text is missing."""
    outputs = normalise(["a", None], ServedSignature(), "predict", 2)
    with pytest.raises(RequestError, match="no single array"):
        codecs.encode(media.NPY, outputs)
    with pytest.raises(RequestError, match="no tensor form"):
        v2.encode(v2.InferenceRequest(inputs=[]), outputs, "m", "1")


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_moments_among_objects_do_not_become_numbers(unit: Any) -> None:
    """A moment or duration of numpy in nanoseconds would be the count of them."""
    moment, long = np.datetime64("2024-01-31T00:00:00", unit), np.timedelta64(90, "s").astype(f"timedelta64[{unit}]")
    for value in (np.array([moment, long, None], dtype=object), [{"t": moment, "d": [long], "n": np.array([moment])}]):
        written = codecs.encode(media.JSON, normalise(value, ServedSignature(), "predict", 2)).body
        assert b"2024-01-31T00:00:00" in written
        assert b"P0DT90S" in written
    gap = normalise([{"t": np.datetime64("NaT", unit)}], ServedSignature(), "predict", 1)
    assert b'[{"t":null}]' in codecs.encode(media.JSON, gap).body
