"""Arrow and Parquet bodies that are small and would become large, or keep the server busy."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sdk.serving import columnar
from sdk.serving.failures import RequestError
from sdk.serving.settings import ServerLimits


def written(kind: str, table: Any, **options: Any) -> bytes:
    """Return a table as an Arrow IPC stream or a Parquet file."""
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, sink, **options)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize("text", ["string", "large_string"])
def test_repeated_texts_are_counted_for_each_row(kind: str, text: str) -> None:
    """A file of 1 kB can hold gigabytes of them, which must not be unpacked."""
    pa = pytest.importorskip("pyarrow")
    small = ServerLimits(max_body=10_000_000)
    texts = pa.array(["x" * 1_000_000, "y"], getattr(pa, text)())
    column = pa.DictionaryArray.from_arrays(pa.array([0, None, 1] * 200, pa.int32()), texts)
    plain = pa.array(["x" * 1_000_000] * 200, getattr(pa, text)())
    bodies = [written(kind, pa.table({"x": column}))]
    if kind == "parquet":
        bodies.append(written("parquet", pa.table({"x": plain}), compression="zstd"))
        few = written("parquet", pa.table({"x": pa.array(["é", None, "é"], getattr(pa, text)())}))
        assert columnar.from_parquet(few, small) == {"x": ["é", None, "é"]}
    for body in bodies:
        assert len(body) < 2_500_000
        with pytest.raises(RequestError, match="the texts are too long unpacked") as refused:
            (columnar.from_parquet if kind == "parquet" else columnar.from_arrow)(body, small)
        assert refused.value.status == 400


def test_many_columns_are_looked_at_once() -> None:
    """The time must not grow with the square of their number: 8,000 columns kept a server busy for a minute."""
    pa = pytest.importorskip("pyarrow")
    seen: list[int] = []

    class Table:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        @property
        def column_names(self) -> Any:
            seen.append(1)
            return self._inner.column_names

    table = pa.table({f"c{number}": [0] for number in range(300)})
    note = {b"ARROW:schema": base64.b64encode(table.schema.serialize().to_pybytes())}
    columnar._with_durations(pa, Table(table), note)
    assert len(seen) == 1
