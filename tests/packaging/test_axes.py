"""A model file states its own axes: what is dynamic in it stays dynamic, and an example only has to agree."""

from __future__ import annotations

import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from sdk.errors import ConfigError
from sdk.packaging import axes, training
from sdk.packaging.files import FileOptions, pack_file, recognise
from sdk.packaging.files import _signature as signature_of
from sdk.packaging.manifest import Tensor
from sdk.serving.codecs import decode_instances
from sdk.serving.columns import whole_inputs
from sdk.serving.failures import RequestError
from sdk.serving.settings import ServerLimits
from sdk.serving.signature import ServedSignature
from sdk.serving.signature import ServedTensor as Stated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FLOAT, UINT8, INT32, INT64, STRING = 1, 2, 6, 7, 8


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def part(number: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def value(name: str, kind: int, shape: Sequence[int | str | None] | None) -> bytes:
    sizes = b"".join(
        part(1, varint(8) + varint(size) if isinstance(size, int) else part(2, size) if size else b"")
        for size in shape or ()
    )
    known = b"" if shape is None else part(2, sizes)
    return part(1, name) + part(2, part(1, varint(8) + varint(kind) + known))


def onnx(path: Path, inputs: dict[str, tuple[int, Sequence[int | str | None] | None]], *constants: str) -> Path:
    """A file as ONNX writes it, as far as its inputs go."""
    graph = part(2, "graph") + b"".join(part(5, part(8, name) + part(9, struct.pack("<f", 1))) for name in constants)
    graph += b"".join(part(11, value(name, *about)) for name, about in inputs.items())
    path.write_bytes(varint(8) + varint(8) + part(2, "producer") + part(7, graph) + part(8, varint(16) + varint(13)))
    return path


def packed(path: Path, example: Any) -> tuple[Any, ...]:
    from sdk.packaging import examples

    found = recognise(path, None)
    whole = whole_inputs(found.inputs)
    arranged = examples.arranged(example, python=False, whole=whole)
    prepared = None if example is None else examples.prepare(arranged, whole)
    return tuple(signature_of(FileOptions(None, example, "predict", False, False), prepared, found).inputs)


def test_dynamic_axes_stay_dynamic(tmp_path: Path) -> None:
    """The example's own sizes are no rule; its type is, as the server converts to the file's."""
    path = onnx(tmp_path / "m.onnx", {"x": (FLOAT, ["n", "h", None])})
    assert (Tensor("input", "float64", (-1, -1, -1)),) == packed(path, np.ones((2, 8, 8)))
    assert (Tensor("x", "float32", (-1, -1, -1)),) == packed(path, None)


@pytest.mark.parametrize(
    ("stated", "example", "wanted"),
    [
        (FLOAT, [[1, 2]], "float32"),
        (FLOAT, [[1.5, 2.5]], "float64"),
        (INT32, [[1, 2]], "int32"),
        (UINT8, [[1, 2]], "uint8"),
        (INT64, [[1.0, 2.0]], "int64"),
        (INT64, np.array([[1, 2]], np.int8), "int64"),
        (STRING, [["a", "b"]], "string"),
    ],
)
def test_the_type_of_the_file_wins(stated: int, example: Any, wanted: str, tmp_path: Path) -> None:
    """A list of whole numbers is no sign that a file takes no fractions, nor how wide its whole numbers are."""
    (found,) = packed(onnx(tmp_path / "m.onnx", {"x": (stated, ["n", 2])}), example)
    assert (wanted, (-1, 2)) == (found.dtype, found.shape)


@pytest.mark.parametrize(("stated", "example"), [(FLOAT, [["a"]]), (STRING, [[1.0]])])
def test_text_is_no_example_of_numbers(stated: int, example: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"example: input 'input' has the type .* and the file takes"):
        packed(onnx(tmp_path / "m.onnx", {"x": (stated, ["n", 1])}), example)


def test_fixed_axes_are_checked(tmp_path: Path) -> None:
    """A width that the file fixes is that of the signature; another one in the example is refused."""
    path = onnx(tmp_path / "m.onnx", {"x": (FLOAT, ["n", 3, "w"])})
    assert (Tensor("input", "float64", (-1, 3, -1)),) == packed(path, np.ones((2, 3, 9)))
    with pytest.raises(ConfigError, match=r"example: input 'input' has the shape \[-1, 4, 9\].*takes \[any, 3, any\]"):
        packed(path, np.ones((2, 4, 9)))
    fixed = onnx(tmp_path / "f.onnx", {"x": (FLOAT, [1, 3])})
    assert (Tensor("input", "float64", (1, 3)),) == packed(fixed, np.ones((1, 3)))
    with pytest.raises(ConfigError, match="has 2 rows, and the file fixes 1; give 1, or export"):
        packed(fixed, np.ones((2, 3)))


def test_several_inputs_are_matched_by_name(tmp_path: Path) -> None:
    """Constants that are listed among the inputs, as old files have them, are none."""
    inputs: Any = {"a": (FLOAT, ["n", "t"]), "w": (FLOAT, [3, 3]), "b": (INT64, ["n"])}
    path = onnx(tmp_path / "m.onnx", inputs, "w")
    expected = (Tensor("a", "float64", (-1, -1)), Tensor("b", "int64", (-1,)))
    assert expected == packed(path, {"a": np.ones((2, 5)), "b": np.arange(2)})
    assert (Tensor("a", "float32", (-1, -1)), Tensor("b", "int64", (-1,))) == packed(path, None)
    with pytest.raises(ConfigError, match="the file has the inputs a, b, and 'b' is not in both"):
        packed(path, {"a": np.ones((2, 5)), "c": np.arange(2)})


@pytest.mark.parametrize("about", [(FLOAT, None), (99, ["n"])])
def test_inputs_of_unknown_rank_or_type_state_nothing(about: Any, tmp_path: Path) -> None:
    """Then nothing is checked, as before."""
    assert () == packed(onnx(tmp_path / "m.onnx", {"x": (FLOAT, ["n"]), "k": about}), None)


def test_an_input_without_axes_is_one_value_for_all_rows(tmp_path: Path) -> None:
    """Once beside columns, or the same in every row, in requests and in examples."""
    path = onnx(tmp_path / "m.onnx", {"k": (FLOAT, []), "x": (FLOAT, ["n"])})
    signature = ServedSignature(inputs=[Stated(one.name, one.dtype, one.shape) for one in packed(path, None)])
    assert [(), (-1,)] == [one.shape for one in signature.inputs]
    for body in (
        {"instances": {"k": 2, "x": [1, 3]}},
        {"instances": [{"k": 2, "x": 1}, {"k": 2, "x": 3}]},
        {"inputs": {"k": 2, "x": [1, 3]}},
    ):
        given = decode_instances(json.dumps(body).encode(), signature, ServerLimits())
        assert (2, (), 2.0) == (given.rows, given.tensors["k"].shape, given.tensors["k"].item())
        assert [1, 3] == given.tensors["x"].tolist()
    with pytest.raises(RequestError, match="'k' is one value for the whole request, and row 1 has another"):
        decode_instances(b'{"instances": [{"k": 2, "x": 1}, {"k": 3, "x": 3}]}', signature, ServerLimits())
    examples: list[Any] = [{"k": 2.0, "x": [1.0, 3.0]}, [{"k": 2.0, "x": 1.0}, {"k": 2.0, "x": 3.0}]]
    for example in examples:
        assert {("k", ()), ("x", (-1,))} == {(one.name, one.shape) for one in packed(path, example)}
    with pytest.raises(ConfigError, match="'k' is one value for the whole request, and the rows have different"):
        packed(path, [{"k": 2, "x": 1}, {"k": 3, "x": 3}])
    with pytest.raises(ConfigError, match=r"input 'x' has the shape \[\], and the file takes \[any\]"):
        packed(path, {"k": 2, "x": 1})


@pytest.mark.parametrize("example", [3.0, np.float32(3), np.asarray(3), {"k": 3.0}])
def test_an_input_without_axes_may_be_the_only_one(example: Any, tmp_path: Path) -> None:
    """Its example is a single value; a list of rows is refused."""
    path = onnx(tmp_path / "m.onnx", {"k": (FLOAT, [])})
    assert [()] == [one.shape for one in packed(path, example)]
    with pytest.raises(ConfigError, match=r"has the shape \[-1\], and the file takes \[\]"):
        packed(path, [3.0])


def test_an_input_with_a_fixed_first_axis_is_one_value_for_all_rows(tmp_path: Path) -> None:
    """Such as the state of a recurrent network, where the rows are another axis; requests are not cut then."""
    path = onnx(tmp_path / "m.onnx", {"state": (FLOAT, [2, None]), "x": (FLOAT, ["n", 2])})
    signature = ServedSignature(inputs=[Stated(one.name, one.dtype, one.shape) for one in packed(path, None)])
    state, rows = [[0.5, 1, 2], [3, 4, 5]], [[1, 2], [3, 4], [5, 6]]
    for body in (
        {"instances": {"state": state, "x": rows}},
        {"instances": [{"state": state, "x": row} for row in rows]},
        {"inputs": {"x": rows, "state": state}},
    ):
        given = decode_instances(json.dumps(body).encode(), signature, ServerLimits())
        assert (3, state, rows) == (given.rows, given.tensors["state"].tolist(), given.tensors["x"].tolist())
    two = [{"state": state, "x": rows[0]}, {"state": state[::-1], "x": rows[1]}]
    with pytest.raises(RequestError, match="'state' is one value for the whole request, and row 1 has another"):
        decode_instances(json.dumps({"instances": two}).encode(), signature, ServerLimits())
    with pytest.raises(RequestError, match=r"state must have shape \[2, any\], got \[1, 3\]"):
        decode_instances(json.dumps({"instances": {"state": state[:1], "x": rows}}).encode(), signature, ServerLimits())
    examples: list[Any] = [{"state": state, "x": rows}, [{"state": state, "x": row} for row in rows]]
    for example in examples:
        assert {("state", (2, -1)), ("x", (-1, 2))} == {(one.name, one.shape) for one in packed(path, example)}
    with pytest.raises(ConfigError, match=r"'state' has the shape \[1, 3\], and the file takes \[2, any\]"):
        packed(path, {"state": state[:1], "x": rows})
    with pytest.raises(ConfigError, match="rowwise=True, but input 'state' is one value for the whole request"):
        signature_of(FileOptions(None, None, "predict", True, False), None, recognise(path, None))
    assert not signature_of(FileOptions(None, None, "predict", None, False), None, recognise(path, None)).rowwise


def test_an_example_of_another_rank_is_refused(tmp_path: Path) -> None:
    """A column may lack the second axis that the server adds; nothing else may be left out."""
    column = onnx(tmp_path / "c.onnx", {"x": (FLOAT, ["n", 1])})
    assert (Tensor("input", "float64", (-1,)),) == packed(column, [1.0, 2.0])
    images = onnx(tmp_path / "i.onnx", {"x": (FLOAT, ["n", 3, "h", "w"])})
    with pytest.raises(ConfigError, match=r"has the shape \[-1, 8, 8\], and the file takes \[any, 3, any, any\]"):
        packed(images, np.ones((3, 8, 8)))


def test_files_that_a_job_leaves_state_their_axes(tmp_path: Path) -> None:
    """As files do that are given by their path, with an example and without."""
    script = tmp_path / "train.py"
    script.write_text("import json\n")
    program = training.job_bundle(script)
    output = tmp_path / "out"
    output.mkdir()
    onnx(output / "model.onnx", {"x": (FLOAT, ["n", "t"]), "k": (FLOAT, [])})
    for example in (None, {"x": np.ones((2, 5)), "k": 2.0}):
        manifest, _ = training.result(program, output, name="left", example=example)
        assert [("x", (-1, -1)), ("k", ())] == [(one.name, one.shape) for one in manifest.signature.inputs]
        assert not manifest.signature.rowwise
    with pytest.raises(ConfigError, match=r"has the shape \[-1, 5, 1\]"):
        training.result(program, output, name="left", example={"x": np.ones((2, 5, 1)), "k": 2.0})


def test_tables_are_no_example_of_a_network_of_pytorch(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/constants.pkl", b"")
    with pytest.raises(ConfigError, match=r"example is a DataFrame.*table.to_numpy"):
        pack_file(path, "net", FileOptions(None, pd.DataFrame({"a": [1.0]}), "predict", None, False), {})


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_damaged_files_are_refused(cut: int, tmp_path: Path) -> None:
    """A file that was cut off ends in an error about the file, at every place."""
    path = onnx(tmp_path / "m.onnx", {"x": (FLOAT, ["n", 3])})
    whole = path.read_bytes()
    path.write_bytes(whole[: -min(cut, len(whole) - 2)])
    try:
        found = recognise(path, None)
    except ConfigError as error:
        assert "m.onnx is damaged" in str(error)  # noqa: PT017  a file cut between two fields is whole for protobuf
    else:
        assert all(one.dtype == "float32" for one in found.inputs)


def test_keras_states_its_inputs(tmp_path: Path) -> None:
    """The input layers of the configuration, of a sequential or functional network."""
    layers = [
        {"class_name": "InputLayer", "config": {"name": "ids", "dtype": "int32", "batch_shape": [None, None]}},
        {"class_name": "Dense", "config": {"name": "d", "units": 1}},
        {"class_name": "InputLayer", "config": {"name": "x", "dtype": "float32", "batch_shape": [None, 4]}},
    ]
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": layers}}))
    assert (Tensor("ids", "int32", (-1, -1)), Tensor("x", "float64", (-1, 4))) == packed(
        path, {"ids": np.ones((2, 7), np.int64), "x": np.ones((2, 4))}
    )
    stranges: list[Any] = [None, [], {"config": []}, {"config": {"layers": [3, {"class_name": "InputLayer"}]}}]
    for strange in stranges:
        assert () == axes.keras_inputs(strange)
