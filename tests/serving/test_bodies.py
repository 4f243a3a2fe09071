"""Bodies as clients of other servers send them mean the same as `{"instances": …}`, within the same limits."""

from __future__ import annotations

import math
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from sdk.serving import codecs, media, npy
from sdk.serving.failures import RequestError
from sdk.serving.outputs import Outputs
from sdk.serving.settings import ServerLimits
from sdk.serving.signature import ServedSignature, ServedTensor
from sdk.serving.tensors import ServedLevels

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
LINES, NDJSON = "application/jsonlines", "application/x-ndjson"
LIMITS = ServerLimits()
TABLE = ServedSignature(
    inputs=[
        ServedTensor("a", "float64", (-1,)),
        ServedTensor("n", "int64", (-1,)),
        ServedTensor("t", "str", (-1,)),
        ServedTensor("b", "bool", (-1,)),
    ],
    columns=["a", "n", "t", "b"],
    rowwise=True,
)
MATRIX = ServedSignature(inputs=[ServedTensor("input", "float64", (-1, 3))])
VECTOR = ServedSignature(inputs=[ServedTensor("input", "str", (-1,))])
COLUMNS = ServedSignature(inputs=[ServedTensor("input", "float64", (-1, 2))], columns=["x", "y"])
NAMED = ServedSignature(inputs=[ServedTensor("u", "float64", (-1,)), ServedTensor("v", "int64", (-1, 2))])
NAN = ServedSignature(inputs=TABLE.inputs, columns=TABLE.columns, allow_nan=True)
FREE = ServedSignature()
RECORDS = ServedSignature(records=True)
FREE_COLUMNS = ServedSignature(columns=["x", "y"])

ROWS = [{"a": 1.5, "n": 2, "t": 'ä,\n"x"', "b": True}, {"a": -3.0, "n": 9007199254740993, "t": "", "b": False}]


def read(kind: str, body: str | bytes, signature: ServedSignature, limits: ServerLimits = LIMITS) -> Any:
    """What the model is given."""
    header = kind.encode()
    sent = codecs.media_type([(b"content-type", header)], b"content-type")
    given = codecs.decode(sent, header, body if isinstance(body, bytes) else body.encode(), signature, limits)
    if given.free is not None:
        return given.free
    return {name: array.tolist() for name, array in given.tensors.items()}


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def native(rows: list[Any], signature: ServedSignature) -> Any:
    return read("application/json", as_json({"instances": rows}), signature)


def split(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows], **more}


def csv_of(rows: list[dict[str, Any]], **options: Any) -> str:
    return str(pd.DataFrame(rows).to_csv(index=False, **options))


def reordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict(reversed(row.items())) for row in rows]


FORMS: dict[str, tuple[str, Any]] = {
    "records": ("application/json", {"dataframe_records": ROWS}),
    "split": ("application/json", {"dataframe_split": split(ROWS, index=[7, 8])}),
    "split reordered": ("application/json", {"dataframe_split": split(reordered(ROWS))}),
    "split without names": ("application/json", {"dataframe_split": {"data": split(ROWS)["data"]}}),
    "Azure": ("application/json", {"input_data": split(ROWS, index=[0, 1])}),
    "Azure rows": ("application/json", {"input_data": ROWS}),
    "inputs by row": ("application/json", {"inputs": ROWS}),
    "inputs by column": ("application/json", {"inputs": {name: [row[name] for row in ROWS] for name in ROWS[0]}}),
    "with empty parameters": ("application/json; charset=utf-8", {"dataframe_records": ROWS, "params": {}}),
    "a bare list": ("application/json", ROWS),
    "a bare list of lists": ("application/json", split(ROWS)["data"]),
    "lines": ("application/jsonlines", "\n".join(map(as_json, ROWS))),
    "lines, Windows": ("application/x-ndjson", "\ufeff" + "\r\n\r\n".join(map(as_json, ROWS)) + "\r\n\n"),
    "csv": ("text/csv", csv_of(ROWS)),
    "csv reordered": ("text/csv", csv_of(reordered(ROWS))),
    "csv without header": ("text/csv", csv_of(ROWS, header=False)),
    "csv that says so": ("text/csv; charset=utf-8; header=present", csv_of(ROWS)),
    "csv that says there is none": ('text/csv;header="absent"', csv_of(ROWS, header=False)),
    "csv, Windows": ("text/csv", "\ufeff" + csv_of(ROWS, lineterminator="\r\n")),
    "csv, quoted": ("text/csv", csv_of(ROWS, quoting=1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_means_the_same(form: str) -> None:
    """Large integers, booleans, text with commas, quotes and line feeds keep their meaning."""
    kind, body = FORMS[form]
    assert native(ROWS, TABLE) == read(kind, body if isinstance(body, str) else as_json(body), TABLE)


@pytest.mark.parametrize(
    ("signature", "kind", "body", "rows"),
    [
        (MATRIX, "text/csv", "1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        (MATRIX, "text/csv", "first,second,third\n4,5,6\n", [[4, 5, 6]]),
        (MATRIX, "application/json", '{"inputs": [[1,2,3]]}', [[1, 2, 3]]),
        (MATRIX, "application/json", '{"inputs": {"input": [[1,2,3]]}}', [[1, 2, 3]]),
        (MATRIX, "application/json", '{"dataframe_split": {"columns": ["x","y","z"], "data": [[1,2,3]]}}', [[1, 2, 3]]),
        (MATRIX, "application/jsonlines", "[1,2,3]\n[4,5,6]", [[1, 2, 3], [4, 5, 6]]),
        (VECTOR, "text/csv", 'plain\n"with, comma"\n', ["plain", "with, comma"]),
        (VECTOR, "application/jsonlines", '"a"\n"b"\n', ["a", "b"]),
        (VECTOR, "application/json", '{"inputs": "one text"}', ["one text"]),
        (COLUMNS, "text/csv", "y,x\n1,2\n", [{"x": 2, "y": 1}]),
        (COLUMNS, "text/csv", "1,2\n", [[1, 2]]),
        (COLUMNS, "application/json", '{"inputs": {"y": [1], "x": [2]}}', [{"x": 2, "y": 1}]),
        (NAMED, "application/json", '{"inputs": {"v": [[1,2]], "u": [3]}}', [{"u": 3, "v": [1, 2]}]),
        (NAMED, "application/json", '{"inputs": [{"v": [1,2], "u": 3}]}', [{"u": 3, "v": [1, 2]}]),
        (FREE, "application/json", '{"inputs": {"q": "?"}}', [{"q": "?"}]),
        (FREE, "application/json", '["x", {"y": [1]}]', ["x", {"y": [1]}]),
        (FREE, "text/csv", "1,x\n2.5,\n007,-0\n", [[1, "x"], [2.5, None], ["007", 0]]),
        (RECORDS, "text/csv", "p,q\n1,x\n2,y\n", [{"p": 1, "q": "x"}, {"p": 2, "q": "y"}]),
        (RECORDS, "text/csv", "text\ngood\n", [{"text": "good"}]),
        (FREE, "text/csv; header=present", "p,q\n1,x\n", [{"p": 1, "q": "x"}]),
        (FREE_COLUMNS, "text/csv", "x,y\n1,z\n", [{"x": 1, "y": "z"}]),
        (NAN, "text/csv", "a,n,t,b\nNaN,1,,true\n,2,x,FALSE\n", [[None, 1, None, True], [None, 2, "x", False]]),
    ],
)  # fmt: skip
def test_forms_of_other_signatures(signature: ServedSignature, kind: str, body: str, rows: list[Any]) -> None:
    """Matrices, single values, several inputs, models without types, and missing values."""
    assert repr(native(rows, signature)) == repr(read(kind, body, signature))


TYPED = ServedSignature(
    inputs=[
        ServedTensor("money", "decimal", (-1,), "object"),
        ServedTensor("at", "datetime64[ns]", (-1,), "datetime64[ns]"),
        ServedTensor("long", "timedelta64[ns]", (-1,), "timedelta64[ns]"),
        ServedTensor("kind", "int64", (-1,), "category", levels=ServedLevels([1, 2], "int64")),
    ],
    columns=["money", "at", "long", "kind"],
)
MONEY = "0.1000000000000000000000001"
TYPED_ROW = {"money": MONEY, "at": "2024-01-31T12:00:00", "long": "PT90.5S", "kind": 2}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", csv_of([TYPED_ROW])),
        ("application/jsonlines", as_json(TYPED_ROW).replace(f'"{MONEY}"', MONEY)),
        ("application/json", as_json([TYPED_ROW]).replace(f'"{MONEY}"', MONEY)),
    ],
)  # fmt: skip
def test_columns_of_other_types(kind: str, body: str) -> None:
    """Decimals keep their digits; moments, durations and categories are read as in JSON."""
    assert repr(native([TYPED_ROW], TYPED)) == repr(read(kind, body, TYPED))


WRONG: dict[str, tuple[str, str | bytes, ServedSignature, str, str]] = {
    "no row": ("text/csv", "a,n,t,b\n", TABLE, "empty", "body"),
    "nothing": ("text/csv", "", TABLE, "empty", "body"),
    "not UTF-8": ("text/csv", b"a,n,t,b\n1,1,\xff,true", TABLE, "bad_csv", "body"),
    "UTF-16": ("text/csv", "a,n,t,b\n".encode("utf-16"), TABLE, "bad_csv", "body"),
    "open quote": ("text/csv", 'a,n,t,b\n1,1,"x,true\n', TABLE, "bad_csv", "body"),
    "long field": ("text/csv", "a,n,t,b\n1,1," + "x" * 200_000 + ",true\n", TABLE, "bad_csv", "body"),
    "a field too few": ("text/csv", "a,n,t,b\n1,1,x,true\n1,1,x\n", TABLE, "ragged", "body[1]"),
    "another width": ("text/csv", "1,2\n", TABLE, "bad_shape", "body"),
    "text for a number": ("text/csv", "a,n,t,b\nx,1,x,true\n", TABLE, "bad_type", "instances[0].a"),
    "a fraction": ("text/csv", "a,n,t,b\n1,1.5,x,true\n", TABLE, "bad_value", "instances[0].n"),
    "a missing column": ("text/csv", "a,n,t\n1,1,x\n", TABLE, "missing_column", "instances[0].b"),
    "an unknown column": ("text/csv", "a,n,t,b,z\n1,1,x,true,5\n", TABLE, "unknown_input", "instances[0].z"),
    "an index": ("text/csv", ",a,n,t,b\n0,1,1,x,true\n", TABLE, "unknown_input", "body"),
    "a column twice": ("text/csv", "a,n,t,b,b\n1,1,x,true,true\n", TABLE, "bad_request", "body"),
    "missing where none may be": ("text/csv", "a,n,t,b\n,1,x,true\n", TABLE, "not_finite", "instances[0].a"),
    "underscores": ("text/csv", "1_000,2,3\n", MATRIX, "bad_type", "instances[0][0]"),
    "a strange header": ("text/csv; header=maybe", "1,2,3\n", MATRIX, "unsupported_media_type", "content-type"),
    "a line of damage": ("application/jsonlines", "[1,2,3]\n\n[4,", MATRIX, "bad_json", "body"),
    "no line": ("application/jsonlines", "\n\n", MATRIX, "empty", "instances"),
    "plain text": ("text/plain", "1,2,3", MATRIX, "unsupported_media_type", "content-type"),
}  # fmt: skip


WRONG_JSON: list[tuple[Any, ServedSignature, str, str]] = [
    ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, COLUMNS, "ragged", "dataframe_split.data[0]"),
    ({"dataframe_split": {"columns": []}}, MATRIX, "bad_request", "dataframe_split"),
    ({"dataframe_split": {"data": [[1]], "dtypes": []}}, MATRIX, "bad_request", "dataframe_split.dtypes"),
    ({"dataframe_split": {"data": [[1]], "columns": [1]}}, MATRIX, "bad_request", "dataframe_split.columns"),
    ({"dataframe_records": {"a": 1}}, MATRIX, "bad_request", "dataframe_records"),
    ({"dataframe_records": [{"a": 1}, {"b": 1}]}, MATRIX, "bad_request", "instances[1]"),
    ({"inputs": {"x": [1], "y": [1, 2]}}, COLUMNS, "bad_shape", "instances"),
    ({"inputs": {"u": [1], "v": 3}}, NAMED, "bad_shape", "instances"),
    ({"inputs": [[1, 2, 3]], "params": {"a": 1}}, MATRIX, "unknown_parameters", "params"),
]
WRONG.update(
    {as_json(body): (JSON, as_json(body), signature, code, field) for body, signature, code, field in WRONG_JSON}
)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_bodies_name_the_field(name: str) -> None:
    """Each kind of wrong input gives its own code and field."""
    kind, body, signature, code, field = WRONG[name]
    with pytest.raises(RequestError) as refused:
        read(kind, body, signature)
    assert (code, field) == (refused.value.code, refused.value.field)


def test_messages_name_the_place() -> None:
    """The line of a damaged body, and the fix for an index."""
    for kind, body, said in (
        ("application/jsonlines", "[1,2,3]\n\n[4,", "line 3: "),
        ("text/csv", 'a,n,t,b\n1,1,"x,true\n', "line 2 is no valid CSV: unexpected end of data"),
        ("text/csv", b"1,2\n\xff", "not UTF-8: invalid start byte at byte 4"),
        ("text/csv", ",a,n,t,b\n0,1,1,x,true\n", "write the CSV without an index"),
        ("text/csv", "a,n,t,b1,1,x,true", "with curl use --data-binary"),
        ("text/csv", "a;n;t;b\n1;1;x;true\n", "4 fields, separated by commas: a, n, t, b"),
        ("text/csv", "a,n,t,c\n1,1,x,true\n", "row 0 lacks 'b', but has 'c', which the model does not know"),
        (JSON, '{"a": 1, "n": 2}', 'send rows as {"instances": '),
        (JSON, '{"a": 1}\n{"a": 2}\n', "JSON lines with content-type application/jsonlines"),
        (JSON, '{"instances": [], "more": 1}', "Object contains unknown field `more`$"),
        ("text/plain", "x", "expected application/json, application/x-npy, text/csv, application/jsonlines"),
    ):
        with pytest.raises(RequestError, match=said):
            read(kind, body, TABLE)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", b"\n" * 20_000),
        ("text/csv", b"\r" * 20_000),
        ("text/csv", b"," * 200_000),
        ("application/jsonlines", b"1\n" * 20_000),
        ("application/jsonlines", b"[]" * 20_000),
    ],
)
def test_hostile_bodies_stay_within_the_limits(kind: str, body: bytes) -> None:
    """Lines and fields are counted before anything is made of them."""
    tracemalloc.start()
    try:
        with pytest.raises(RequestError) as refused:
            read(kind, body, FREE, ServerLimits(max_json_containers=10_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "too_complex" == refused.value.code
    assert peak < 3 * len(body) + 100_000


# What the answer looks like

JSON, CSV, NPY, LINES, NDJSON = (
    "application/json",
    "text/csv",
    "application/x-npy",
    "application/jsonlines",
    "application/x-ndjson",
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        (JSON, JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("application/*", JSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("application/json, text/plain, */*", JSON),
        ("text/csv;q=0.5, application/jsonlines;q=0.9", LINES),
        ("application/x-ndjson", NDJSON),
        ("text/csv, application/json", JSON),
        ("application/json;q=0.1, text/csv", CSV),
        ("application/json;q=0, */*", NPY),
        ("*/*;q=0.1, text/csv;q=0.2", CSV),
        ("text/csv;q=1.000;header=present", CSV),
        ("text/csv;q=nonsense, application/json;q=0.001", JSON),
        (",,;;,text/csv", CSV),
    ],
)
def test_accept_chooses_the_form(accept: str | None, expected: str) -> None:
    """By quality, the more precise range first; among equals the form that is the default."""
    assert expected == media.wanted(None if accept is None else accept.encode(), media.JSON).decode()


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*", "*/*;q=0", "q=1", "text/csv;q=-1"])
def test_nothing_acceptable_is_a_406_that_lists_the_forms(accept: str) -> None:
    """The message names what there is."""
    with pytest.raises(
        RequestError, match=r"ask for application/json, application/x-npy, text/csv, application/js"
    ) as told:
        media.wanted(accept.encode(), media.JSON)
    assert (406, "accept") == (told.value.status, told.value.field)


@pytest.mark.parametrize(
    ("arrays", "text", "lines"),
    [
        ({"p": [1, 2]}, "1\n2\n", "1\n2\n"),
        ({"p": [0.1, math.nan]}, '0.1\n""\n', "0.1\nnull\n"),
        ({"p": [True, False]}, "true\nfalse\n", "true\nfalse\n"),
        ({"p": ["a,b", 'say "ü"']}, '"a,b"\n"say ""ü"""\n', '"a,b"\n"say \\"ü\\""\n'),
        ({"p": [[0.25, 0.75]]}, "0.25,0.75\n", "[0.25,0.75]\n"),
        ({"p": 0.5}, "0.5\n", "0.5\n"),
        ({"p": [1], "q": [[2, 3]]}, "p,q_0,q_1\n1,2,3\n", '{"p":1,"q":[2,3]}\n'),
    ],
)
def test_forms_of_the_answer(arrays: dict[str, Any], text: str, lines: str) -> None:
    """One line for each row, or for the one value; several outputs have a header in CSV and names in JSON lines."""
    outputs = Outputs({name: np.asarray(array) for name, array in arrays.items()})
    assert text == codecs.encode(media.CSV, outputs).body.decode()
    assert lines == codecs.encode(media.LINES[0], outputs).body.decode()
    assert "text/csv; charset=utf-8" == codecs.encode(media.CSV, outputs).content_type.decode()


@pytest.mark.parametrize(
    "outputs",
    [Outputs(free={"a": 1}), Outputs({"p": np.zeros((1, 2, 2))}), Outputs({"p": np.zeros(1), "q": np.zeros(2)}),
     Outputs({"p": np.asarray(1.0), "q": np.zeros(2)})],
)  # fmt: skip
def test_an_answer_that_is_no_table_has_no_csv(outputs: Outputs) -> None:
    """It is a 406, never half an answer."""
    with pytest.raises(RequestError) as refused:
        codecs.encode(media.CSV, outputs)
    assert (406, "not_acceptable") == (refused.value.status, refused.value.code)


def test_over_http(client: httpx.Client) -> None:
    """Both headers count on every prediction route; what is refused never reaches the model."""
    rows = b"1,2,3\n4,5,6\n"
    expected = client.post("/invocations", json={"instances": [[1, 2, 3], [4, 5, 6]]}).json()["predictions"]
    for path in ("/invocations", "/score"):
        answer = client.post(path, content=rows, headers={"content-type": CSV, "accept": "text/csv"})
        assert (200, "text/csv; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
        assert "".join(f"{one}\n" for one in expected) == answer.text
        assert {"predictions": expected} == client.post(path, content=rows, headers={"content-type": CSV}).json()
    answer = client.post("/invocations", content="[1,2,3]\n[4,5,6]", headers={"content-type": LINES, "accept": NDJSON})
    assert (NDJSON, expected) == (answer.headers["content-type"], [float(line) for line in answer.text.splitlines()])
    binary = client.post("/invocations", content=rows, headers={"content-type": CSV, "accept": NPY})
    assert expected == npy.decode(binary.content).tolist()
    refused = client.post("/invocations", content=rows, headers={"content-type": CSV, "accept": "text/html"})
    assert (406, "not_acceptable") == (refused.status_code, refused.json()["error"]["code"])
    refused = client.post("/invocations", content=rows, headers={"content-type": "application/xml"})
    assert 415 == refused.status_code
    assert "application/vnd.apache.arrow.stream" in refused.json()["error"]["message"]


# Arrow and Parquet


def arrow(table: Any, **options: Any) -> bytes:
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def parquet(table: Any, **options: Any) -> bytes:
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    pytest.importorskip("pyarrow.parquet").write_table(table, sink, **options)
    return bytes(sink.getvalue())


WRITERS: dict[str, Callable[..., bytes]] = {
    "application/vnd.apache.arrow.stream": arrow,
    "application/x-parquet": parquet,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_columnar_bodies(kind: str) -> None:
    """Tables of any column order, dictionaries and pandas' index; a matrix by the order of its columns."""
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame(reordered(ROWS), index=["p", "q"])
    assert native(ROWS, TABLE) == read(kind, WRITERS[kind](pa.Table.from_pandas(frame)), TABLE)
    coded = pa.Table.from_pandas(frame.assign(t=frame["t"].astype("category")))
    assert native(ROWS, TABLE) == read(kind, WRITERS[kind](coded), TABLE)
    assert native([[1, 2, 3]], MATRIX) == read(
        kind, WRITERS[kind](pa.table({"z": [1.0], "y": [2.0], "x": [3.0]})), MATRIX
    )
    lists = pa.table({"input": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float64(), 3))})
    assert native([[1, 2, 3]], MATRIX) == read(kind, WRITERS[kind](lists), MATRIX)


@pytest.mark.parametrize("kind", WRITERS)
def test_columnar_bodies_of_other_types(kind: str) -> None:
    """Moments, durations, decimals and categories of Arrow."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({
        "money": pa.array([Decimal(MONEY)], pa.decimal128(38, 25)),
        "at": pa.array([pd.Timestamp(TYPED_ROW["at"])], pa.timestamp("us")),
        "long": pa.array([pd.Timedelta("90.5s")], pa.duration("ms")),
        "kind": pa.array([2], pa.int8()),
    })  # fmt: skip
    assert repr(native([TYPED_ROW], TYPED)) == repr(read(kind, WRITERS[kind](table), TYPED))


@pytest.mark.parametrize("unit", ["ns", "us", "ms", "s"])
@pytest.mark.parametrize("kind", WRITERS)
def test_columnar_categories_of_durations(kind: str, unit: str) -> None:
    """Parquet has the levels as bare numbers; missing ones stay missing."""
    pa = pytest.importorskip("pyarrow")
    long = pd.Series(pd.to_timedelta([3, -90, None, 3], unit="s").as_unit(unit))
    plain = ServedSignature(
        inputs=[ServedTensor("long", f"timedelta64[{unit}]", (-1,))], columns=["long"], allow_nan=True
    )
    frames = [pd.DataFrame({"long": long}), pd.DataFrame({"long": long.astype("category")})]
    one, other = (read(kind, WRITERS[kind](pa.Table.from_pandas(frame)), plain) for frame in frames)
    assert repr(long.to_numpy().tolist()) == repr(one["long"]) == repr(other["long"])


@pytest.mark.parametrize("kind", WRITERS)
def test_wrong_columnar_bodies(kind: str) -> None:
    """Damage, compressed buffers, too many rows, types without a JSON form and no rows are 400s."""
    pa = pytest.importorskip("pyarrow")
    write = WRITERS[kind]
    good = write(pa.table({"x": [1.0], "y": [2.0]}))
    small = ServerLimits(max_json_containers=10)
    cases: list[tuple[bytes, ServerLimits, str]] = [
        (b"PAR1", LIMITS, "bad_columnar"),
        (good[:-20], LIMITS, "bad_columnar"),
        (write(pa.table({"x": [b"1"], "y": [b"2"]})), LIMITS, "bad_type"),
        (write(pa.table({"x": pa.array([], pa.float64()), "y": pa.array([], pa.float64())})), LIMITS, "empty"),
        (write(pa.table({"x": [1.0] * 11, "y": [2.0] * 11})), small, "too_complex"),
    ]
    if kind.endswith("stream"):
        packed = pa.table({"x": [1.0] * 1000, "y": [2.0] * 1000})
        cases.append((write(packed, compression="zstd"), LIMITS, "bad_columnar"))
        cases.append((write(packed, compression="lz4"), LIMITS, "bad_columnar"))
    for body, limits, code in cases:
        with pytest.raises(RequestError) as refused:
            read(kind, body, COLUMNS, limits)
        assert code == refused.value.code, (body[:20], refused.value.message)


@pytest.mark.parametrize("kind", [*WRITERS, "application/vnd.apache.parquet"])
def test_without_pyarrow_the_error_names_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the library says what to pack."""
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(__import__("sys").modules, "pyarrow", raising=False)
    with pytest.raises(RequestError, match="needs pyarrow, which is not in this model's lock") as refused:
        read(kind, b"", TABLE)
    assert 415 == refused.value.status


SOME = ServedSignature(
    inputs=[
        ServedTensor("t", "str", (-1,), required=True),
        ServedTensor("x", "float64", (-1,)),
        ServedTensor("s", "str", (-1,)),
    ],
    columns=["t", "x", "s"],
    allow_nan=True,
)


def test_an_empty_csv_cell_is_missing_only_where_the_column_may_be() -> None:
    """Where a model takes no missing text it is empty text, as it is in JSON."""
    assert str(native([["", None, None]], SOME)) == str(read(CSV, "t,x,s\n,,\n", SOME))
    moment = ServedSignature(inputs=[ServedTensor("t", "datetime64[s]", (-1,)), *SOME.inputs[1:]], columns=SOME.columns)
    with pytest.raises(RequestError, match="column 't' is missing; this model takes none"):
        read(CSV, "t,x,s\n,1,a\n", moment)


def test_nan_in_json_is_refused_with_what_to_send() -> None:
    """Python's own `json` writes NaN, which is no JSON."""
    for kind, body in ((JSON, '{"instances": [["a", NaN, "b"]]}'), (LINES, '["a",-Infinity,"b"]')):
        with pytest.raises(RequestError, match="send null for a missing number") as refused:
            read(kind, body, SOME)
        assert "bad_json" == refused.value.code
    with pytest.raises(RequestError) as refused:
        read(JSON, '{"instances": [["NaN"]', SOME)
    assert "null" not in refused.value.message


def test_a_csv_header_in_other_letters_is_no_row() -> None:
    """Among columns of text nothing else would tell it from one."""
    with pytest.raises(RequestError, match="row 0 lacks 't', but has 'T'"):
        read(CSV, "T,X,S\na,1,b\n", SOME)
