"""What a request may carry: every wrong input is a 400 that names the field, never a 500."""

from __future__ import annotations

import io
import struct
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from sdk.serving import npy
from sdk.serving.codecs import decode_instances
from sdk.serving.failures import RequestError
from sdk.serving.flavours import Predictor
from sdk.serving.settings import ServerLimits
from sdk.serving.signature import ServedSignature

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

JSON = {"content-type": "application/json"}

WRONG_BODIES: dict[str, tuple[str | bytes, str, str]] = {
    "empty body": ("", "bad_json", "body"),
    "not JSON": ("{", "bad_json", "body"),
    "invalid UTF-8": (b'{"instances": [["\xff"]]}', "bad_json", "body"),
    "an empty array": ("[]", "empty", "instances"),
    "a value": ("7", "bad_request", "body"),
    "no instances": ("{}", "bad_request", "instances"),
    "another key": ('{"rows": [[1,2,3]]}', "bad_request", "rows"),
    "two forms": ('{"inputs": [[1,2,3]], "instances": [[1,2,3]]}', "bad_request", "inputs"),
    "instances no array": ('{"instances": {"a": 1}}', "bad_request", "instances"),
    "no rows": ('{"instances": []}', "empty", "instances"),
    "empty row": ('{"instances": [[]]}', "empty", "instances"),
    "too few columns": ('{"instances": [[1,2]]}', "bad_shape", "instances"),
    "too many columns": ('{"instances": [[1,2,3,4]]}', "bad_shape", "instances"),
    "one dimension": ('{"instances": [1,2,3]}', "bad_shape", "instances"),
    "three dimensions": ('{"instances": [[[1,2,3]]]}', "bad_shape", "instances"),
    "ragged": ('{"instances": [[1,2,3],[1,2]]}', "ragged", "instances[1]"),
    "a row and a value": ('{"instances": [[1,2,3],7]}', "ragged", "instances[1]"),
    "null": ('{"instances": [[1,2,3],[1,null,3]]}', "not_finite", "instances[1][1]"),
    "text": ('{"instances": [[1,2,"x"]]}', "bad_type", "instances[0][2]"),
    "only text": ('{"instances": [["a","b","c"]]}', "bad_type", "instances[0][0]"),
    "object": ('{"instances": [[1,2,{}]]}', "bad_type", "instances[0][2]"),
    "row objects": ('{"instances": [{"a": 1}]}', "bad_type", "instances[0]"),
    "NaN literal": ('{"instances": [[1,2,NaN]]}', "bad_json", "body"),
    "infinite number": ('{"instances": [[1,2,1e999]]}', "bad_request", "instances[0][2]"),
    "huge integer": ('{"instances": [[1,2,1' + "0" * 400 + "]]}", "bad_value", "instances[0][2]"),
    "parameters": ('{"instances": [[1,2,3]], "parameters": {"a": 1}}', "unknown_parameters", "parameters"),
    "deep": ('{"instances": ' + "[" * 100_000 + "]" * 100_000 + "}", "bad_json", "body"),
    "quite deep": ('{"instances": ' + "[" * 70 + "1" + "]" * 70 + "}", "ragged", "instances"),
}


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_wrong_json_is_a_400_that_names_the_field(client: httpx.Client, name: str) -> None:
    """Each kind of wrong JSON input gives its own code and field."""
    body, code, field = WRONG_BODIES[name]
    answer = client.post("/invocations", content=body, headers=JSON)
    error = answer.json()["error"]
    assert (400, code, field) == (answer.status_code, error["code"], error["field"])
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=latin-1"],
)
def test_other_content_types_are_refused(client: httpx.Client, content_type: str) -> None:
    """415 for whatever a browser sends without asking, and for other charsets."""
    answer = client.post("/invocations", content=b'{"instances": [[1,2,3]]}', headers={"content-type": content_type})
    assert 415 == answer.status_code
    assert "content-type" == answer.json()["error"]["field"]


def test_missing_content_type_is_refused(client: httpx.Client) -> None:
    """A body without content type is what a cross-site page can send: 415."""
    request = client.build_request("POST", "/invocations", content=b'{"instances": [[1,2,3]]}')
    request.headers.pop("content-type", None)
    assert 415 == client.send(request).status_code


def test_npy_in_gives_npy_out_unless_asked_otherwise(client: httpx.Client) -> None:
    """.npy of any numeric dtype and memory order is the same input; Accept chooses the answer."""
    for array in (
        np.array([[1.5, 2, 3], [4, 5, 6]]),
        np.array([[1.5, 2, 3], [4, 5, 6]], dtype=">f4"),
        np.asfortranarray([[1.5, 2, 3], [4, 5, 6]]),
    ):
        answer = client.post("/invocations", content=_npy(array), headers={"content-type": "application/x-npy"})
        assert "application/x-npy" == answer.headers["content-type"]
        assert [6.5, 15.0] == np.load(io.BytesIO(answer.content)).tolist()
    headers = {"content-type": "application/x-npy", "accept": "application/json"}
    assert {"predictions": [6.5, 15.0]} == client.post("/invocations", content=_npy(array), headers=headers).json()
    back = client.post("/invocations", json={"instances": [[1, 2, 3]]}, headers={"accept": "application/x-npy"})
    assert [6.0] == np.load(io.BytesIO(back.content)).tolist()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _header(text: str, version: int = 1, data: bytes = b"") -> bytes:
    head = text.encode()
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + data


WRONG_NPY = {
    "empty": b"",
    "only magic": b"\x93NUMPY",
    "no magic": b"\x00" * 200,
    "unknown version": b"\x93NUMPY\x09\x00\x10\x00" + b"x" * 100,
    "truncated header": b"\x93NUMPY\x01\x00\xff\xff{}",
    "huge header": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{}",
    "727 terabytes": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }\n"),
    "overflowing shape": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 16), }\n"),
    "too little data": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }\n", data=b"\0" * 23),
    "too much data": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }\n", data=b"\0" * 25),
    "objects": _header("{'descr': '|O8', 'fortran_order': False, 'shape': (1, 3), }\n", data=b"\0" * 24),
    "records": _header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }\n", data=b"\0" * 24),
    "code in the header": _header("{'descr': __import__('os').system('true'), 'shape': (1,)}\n"),
    "negative shape": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }\n", data=b"\0" * 24),
    "no such dtype": _header("{'descr': '<f3', 'fortran_order': False, 'shape': (1, 3), }\n", data=b"\0" * 9),
    "text of width 0": _header("{'descr': '<U0', 'fortran_order': False, 'shape': (1, 3), }\n"),
    "33 dimensions": _header(
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'1, ' * 33}), }}\n", data=b"\0" * 8
    ),
    "no characters": _header("{'descr': '<U1', 'fortran_order': False, 'shape': (1, 1), }\n", data=b"\xff" * 4),
    "bad boolean": _header("{'descr': '|b1', 'fortran_order': False, 'shape': (1, 3), }\n", data=b"\x07" * 3),
    "no rows": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3), }\n"),
    "other shape": _npy(np.zeros((2, 2))),
    "text": _npy(np.array([["a", "b", "c"]])),
    "not finite": _npy(np.array([[1, np.inf, 3]])),
}


@pytest.mark.parametrize("name", WRONG_NPY)
def test_wrong_npy_is_a_400(client: httpx.Client, name: str) -> None:
    """No .npy body makes the server allocate, execute or fail."""
    answer = client.post("/invocations", content=WRONG_NPY[name], headers={"content-type": "application/x-npy"})
    assert 400 == answer.status_code, answer.text


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64", "<U3"])
@pytest.mark.parametrize("shape", [(1,), (2, 3), (2, 1, 4)])
def test_npy_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    """What `encode` writes, `decode` reads, in every dtype with a wire form."""
    array = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(dtype)
    assert array.tolist() == npy.decode(npy.encode(array)).tolist()


def _signature(**fields: Any) -> ServedSignature:
    return msgspec.convert(fields, ServedSignature)


def _decode(signature: ServedSignature, instances: Any) -> dict[str, Any]:
    body = msgspec.json.encode({"instances": instances})
    return {name: array.tolist() for name, array in decode_instances(body, signature, ServerLimits()).tensors.items()}


MIXED = _signature(
    inputs=[
        {"name": "age", "dtype": "int64", "shape": [-1]},
        {"name": "city", "dtype": "string", "shape": [-1]},
        {"name": "score", "dtype": "float64", "shape": [-1]},
        {"name": "member", "dtype": "bool", "shape": [-1]},
    ],
    columns=["age", "city", "score", "member"],
)


def test_tables_take_rows_as_lists_and_as_objects() -> None:
    """Rows by position or by column name, in any order, give the same typed columns."""
    expected = {"age": [31, 40], "city": ["Oslo", "Rome"], "score": [0.5, 1.0], "member": [True, False]}
    assert expected == _decode(MIXED, [[31, "Oslo", 0.5, True], [40.0, "Rome", 1, False]])
    rows = [
        {"member": True, "city": "Oslo", "score": 0.5, "age": 31},
        {"age": 40, "city": "Rome", "score": 1, "member": False},
    ]
    assert expected == _decode(MIXED, rows)


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ([31, "Oslo", 0.5], "bad_shape", "instances[1]"),
        ({"age": 31, "city": "Oslo", "score": 0.5}, "bad_shape", "instances[1]"),
        ([31.5, "Oslo", 0.5, True], "bad_value", "instances[1].age"),
        (["31", "Oslo", 0.5, True], "bad_type", "instances[1].age"),
        ([31, 7, 0.5, True], "bad_type", "instances[1].city"),
        ([31, None, 0.5, True], "not_finite", "instances[1].city"),
        ([31, "Oslo", None, True], "not_finite", "instances[1].score"),
        ([31, "Oslo", "0.5", True], "bad_type", "instances[1].score"),
        ([31, "Oslo", 0.5, 1], "bad_type", "member"),
        ([2**63, "Oslo", 0.5, True], "bad_value", "instances[1].age"),
    ],
)
def test_wrong_cells_of_tables_are_named_by_row_and_column(row: Any, code: str, field: str) -> None:
    """The error names exactly the cell."""
    with pytest.raises(RequestError) as caught:
        _decode(MIXED, [[31, "Oslo", 0.5, True], row])
    assert (400, code, field) == (caught.value.status, caught.value.code, caught.value.field)


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"age": 1, "city": "a", "score": 1}, "missing_column", "instances[0].member"),
        ({"age": 1, "city": "a", "score": 1, "member": True, "x": 1}, "unknown_input", "instances[0].x"),
    ],
)
def test_missing_and_unknown_columns_are_named(row: Any, code: str, field: str) -> None:
    """A row object must have exactly the columns of the model."""
    with pytest.raises(RequestError) as caught:
        _decode(MIXED, [row])
    assert (code, field) == (caught.value.code, caught.value.field)


@pytest.mark.parametrize(
    ("dtype", "value", "fits"),
    [
        ("int8", 127, True),
        ("int8", 128, False),
        ("uint8", -1, False),
        ("uint64", 2**64 - 1, True),
        ("uint64", 2**64, False),
        ("uint64", -1, False),
        ("int64", 2**63 - 1, True),
        ("int64", 2**63, False),
        ("int64", 2.0, True),
        ("int64", 2.5, False),
        ("int64", 9223372036854775808.0, False),
        ("float32", 1e38, True),
        ("float32", 1e39, False),
        ("float64", 2**70, True),
        ("bool", 1, False),
        ("float64", True, True),
        ("int8", False, True),
    ],
)
def test_numbers_are_converted_only_without_loss(dtype: str, value: Any, fits: bool) -> None:
    """Integers at and beyond the edge of their type, and fractions, are told apart."""
    signature = _signature(inputs=[{"name": "x", "dtype": dtype, "shape": [-1, 1]}])
    if fits:
        assert value == pytest.approx(_decode(signature, [[value]])["x"][0][0])
    else:
        with pytest.raises(RequestError) as caught:
            _decode(signature, [[value]])
        assert 400 == caught.value.status


def test_missing_values_pass_where_the_model_takes_them() -> None:
    """`allow_nan` turns null into NaN."""
    signature = _signature(inputs=[{"name": "x", "dtype": "float64", "shape": [-1, 2]}], allow_nan=True)
    assert np.isnan(_decode(signature, [[None, 1]])["x"][0][0])


def test_named_inputs_come_as_objects() -> None:
    """A model with several inputs takes one object for each row."""
    signature = _signature(
        inputs=[{"name": "a", "dtype": "float32", "shape": [-1, 2]}, {"name": "b", "dtype": "int64", "shape": [-1]}]
    )
    assert {"a": [[1, 2], [3, 4]], "b": [5, 6]} == _decode(signature, [{"a": [1, 2], "b": 5}, {"b": 6, "a": [3, 4]}])
    with pytest.raises(RequestError) as caught:
        _decode(signature, [{"a": [1, 2]}])
    assert "instances[0].b" == caught.value.field


def test_json_with_too_many_containers_is_refused_before_decoding() -> None:
    """A small body of empty arrays would cost a hundred times its size; the limit is counted on the bytes."""
    with pytest.raises(RequestError) as caught:
        decode_instances(b'{"instances":[' + b"[]," * 1000 + b"[]]}", MIXED, ServerLimits(max_json_containers=1000))
    assert "too_complex" == caught.value.code


def kinds(frame: Any) -> list[str]:
    return [f"{frame[name].dtype.kind}:{frame[name].tolist()}" for name in frame.columns]


def test_models_fitted_on_a_table_get_a_dataframe(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """A signature with columns gives the model a DataFrame with those names and types, over JSON, V2 and .npy."""
    server = start(bundles.function(kinds, signature=msgspec.to_builtins(MIXED))).ready()
    with tools.httpx.Client(base_url=server.url, trust_env=False) as client:
        answer = client.post("/invocations", json={"instances": [[31, "Oslo", 0.5, True]]})
        assert ["i:[31]", "O:['Oslo']", "f:[0.5]", "b:[True]"] == [
            one.replace("T:", "O:") for one in answer.json()["predictions"]
        ]
        inputs = [
            {"name": "age", "shape": [1], "datatype": "INT64", "data": [31]},
            {"name": "city", "shape": [1, 1], "datatype": "BYTES", "data": ["Oslo"]},
            {"name": "score", "shape": [1], "datatype": "FP64", "data": [0.5]},
            {"name": "member", "shape": [1], "datatype": "BOOL", "data": [True]},
        ]
        tensors = client.post("/v2/models/churn/infer", json={"inputs": inputs}).json()
        assert answer.json()["predictions"] == tensors["outputs"][0]["data"]
        refused = client.post("/v2/models/churn/infer", json={"inputs": inputs[1:]})
        assert (400, "inputs.age") == (refused.status_code, refused.json()["field"])


def mean_of_columns(frame: Any) -> Any:
    assert isinstance(frame, pd.DataFrame)
    return frame["b"] - frame["a"]


def test_tables_of_unknown_types_take_any_row_with_the_columns(
    bundles: Any, start: Callable[..., Any], tools: Any
) -> None:
    """A model whose columns are known and types are not gets a DataFrame; missing columns are still a 400."""
    signature = {**tools.FREE, "columns": ["a", "b"], "rowwise": True}
    server = start(bundles.function(mean_of_columns, signature=signature)).ready()
    with tools.httpx.Client(base_url=server.url, trust_env=False) as client:
        for rows in ([[1, 3], [2, 2.5]], [{"b": 3, "a": 1}, {"a": 2, "b": 2.5}]):
            assert {"predictions": [2.0, 0.5]} == client.post("/invocations", json={"instances": rows}).json()
        body = _npy(np.array([[1.0, 3], [2, 2.5]]))
        answer = client.post("/invocations", content=body, headers={"content-type": "application/x-npy"})
        assert [2.0, 0.5] == np.load(io.BytesIO(answer.content)).tolist()
        for wrong in ([{"a": 1}], [[1, 2, 3]]):
            assert 400 == client.post("/invocations", json={"instances": wrong}).status_code


def test_rows_with_names_for_a_model_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model file of which nothing is known may lack pandas: the answer is a 400 that says what to send."""
    monkeypatch.setitem(sys.modules, "pandas", None)  # as where it is not installed
    model = Predictor(lambda rows: rows, ServedSignature(), "predict", takes_json=False)
    given = decode_instances(b'{"instances": [{"a": 1.0}, {"a": 2.0}]}', ServedSignature(), ServerLimits())
    with pytest.raises(RequestError, match="requirements of this model lack; send each row as a list") as refused:
        model(given)
    assert (400, "no_pandas", "instances[0]") == (refused.value.status, refused.value.code, refused.value.field)
    listed = model(decode_instances(b'{"instances": [[1.0], [2.0]]}', ServedSignature(), ServerLimits()))
    assert [[1.0], [2.0]] == listed.arrays["predict"].tolist()
