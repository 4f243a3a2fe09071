"""What a model answers to its example decides its outputs; what the server could not send is refused when it is packed.

Each answer is compared with that of the server's own code for the same bundle.
"""

from __future__ import annotations

import asyncio
import sys
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import NearestNeighbors
from sklearn.tree import DecisionTreeClassifier

from sdk.errors import ConfigError
from sdk.packaging.model import model as make_model
from sdk.serving import parts
from tests.packaging.inside import served

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.packaging.model import Model

ROWS = np.random.default_rng(0).normal(size=(30, 3))
TWO = np.c_[ROWS[:, 0] > 0, ROWS[:, 1] > 0].astype(int)
RAGGED = np.c_[TWO[:, 0], np.digitize(ROWS[:, 1], [-0.5, 0.5])]


def pack(obj: Any, example: Any = ROWS[:3], **wishes: Any) -> Model:
    return make_model(obj, name="answers", example=example, **wishes)


def outputs(model: Model) -> list[tuple[str, tuple[int, ...]]]:
    assert model.signature is not None
    return [(one.name, one.shape) for one in model.signature.outputs]


def by_row(names: tuple[str, ...], arrays: Any) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in zip(*(one.tolist() for one in arrays), strict=True)]


# --- several outputs


@pytest.mark.parametrize(
    ("fitted", "widths"),
    [
        (MultiOutputClassifier(DecisionTreeClassifier(random_state=0)).fit(ROWS, TWO), (2, 2)),
        (RandomForestClassifier(3, random_state=0).fit(ROWS, TWO), (2, 2)),
        (RandomForestClassifier(3, random_state=0).fit(ROWS, RAGGED), (2, 3)),
        (DecisionTreeClassifier(random_state=0).fit(ROWS, np.c_[RAGGED, TWO]), (2, 3, 2, 2)),
    ],
    ids=["multi-output", "forest", "ragged", "tree"],
)
@pytest.mark.parametrize("shown", [1, 2, 3, 5])
def test_probabilities_of_several_outputs_have_names(fitted: Any, widths: tuple[int, ...], shown: int) -> None:
    """A list of arrays becomes one object per row, however many rows the example or the request has."""
    model = pack(fitted, ROWS[:shown], method="predict_proba")
    names = tuple(f"output_{place}" for place in range(len(widths)))
    assert [(name, (-1, width)) for name, width in zip(names, widths, strict=True)] == outputs(model)
    assert model.signature is not None
    assert model.signature.rowwise
    assert model.manifest is not None
    assert "skops" == model.manifest.format
    for rows in (ROWS[:1], ROWS[:2], ROWS[:5]):
        assert by_row(names, fitted.predict_proba(rows)) == served(model, rows)


def test_probabilities_without_an_example() -> None:
    """The server takes a list of arrays of an estimator apart by itself."""
    fitted = RandomForestClassifier(3, random_state=0).fit(ROWS, RAGGED)
    model = make_model(fitted, name="answers", method="predict_proba")
    assert by_row(("output_0", "output_1"), fitted.predict_proba(ROWS[:2])) == served(model, ROWS[:2])


def test_one_array_in_a_list_is_one_output() -> None:
    """A multi-output classifier of one column answers as a classifier of this column does."""
    fitted = MultiOutputClassifier(DecisionTreeClassifier(random_state=0)).fit(ROWS, TWO[:, :1])
    model = pack(fitted, method="predict_proba")
    assert [("predict_proba", (-1, 2))] == outputs(model)
    assert fitted.predict_proba(ROWS[:4])[0].tolist() == served(model, ROWS[:4])


def test_method_that_gives_a_tuple() -> None:
    """Distances and places of the neighbours of each row."""
    model = pack(NearestNeighbors(n_neighbors=2).fit(ROWS), method="kneighbors")
    distances, places = NearestNeighbors(n_neighbors=2).fit(ROWS).kneighbors(ROWS[:4])
    assert by_row(("output_0", "output_1"), (distances, places)) == served(model, ROWS[:4])


def test_answer_that_is_not_one_value_per_row_is_not_rowwise() -> None:
    """An estimator works row by row, unless its method does not; the user is not blamed for what was never said."""
    fitted = RandomForestClassifier(3, random_state=0).fit(ROWS, TWO[:, 0])
    assert pack(fitted).signature.rowwise  # type: ignore[union-attr]  # it has one
    model = pack(fitted, method="decision_path")
    assert model.signature is not None
    assert not model.signature.rowwise
    with pytest.raises(ConfigError, match=r"rowwise=True, but the model answers 3 rows with .* 4 values in 'output_1'"):
        pack(fitted, method="decision_path", rowwise=True)


Pair = namedtuple("Pair", ["low", "high"])  # noqa: PYI024 - one without types is what people write


@dataclass
class Both:
    low: Any
    high: Any


def pair(rows: Any) -> Any:
    return Pair(rows.min(axis=1), rows.max(axis=1))


FORMS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "tuple": (lambda rows: (rows.min(axis=1), rows.max(axis=1)), ("output_0", "output_1")),
    "list of arrays": (lambda rows: [rows.min(axis=1), rows.max(axis=1)], ("output_0", "output_1")),
    "tuple of lists": (lambda rows: (rows.min(axis=1).tolist(), rows.max(axis=1).tolist()), ("output_0", "output_1")),
    "named tuple": (pair, ("low", "high")),
    "dataclass": (lambda rows: Both(rows.min(axis=1), rows.max(axis=1)), ("low", "high")),
    "dict": (lambda rows: {"low": rows.min(axis=1), "high": rows.max(axis=1)}, ("low", "high")),
    "table": (
        lambda rows: import_module("pandas").DataFrame({"low": rows.min(axis=1), "high": rows.max(axis=1)}),
        ("low", "high"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shown", [1, 2, 3])
def test_function_with_several_outputs(form: str, shown: int) -> None:
    """Whatever holds the outputs; an example of as many rows as there are outputs decides nothing by chance."""
    function, names = FORMS[form]
    if (form, shown) == ("list of arrays", 1):
        pytest.skip("one row alone does not tell a list of outputs from a list for one row")
    model = pack(function, ROWS[:shown])
    assert [(name, (-1,)) for name in names] == outputs(model)
    for rows in (ROWS[:1], ROWS[:2], ROWS[:3]):
        assert by_row(names, (rows.min(axis=1), rows.max(axis=1))) == served(model, rows)


@pytest.mark.parametrize("shown", [1, 2, 3])
def test_list_of_one_array_per_row_stays_one_of_rows(shown: int) -> None:
    """A function may answer each row by an array: those are no outputs, not even where their number fits."""
    model = pack(lambda rows: [row[:2] * 2 for row in rows], ROWS[:shown])
    assert [("predict", (-1, 2))] == outputs(model)
    for rows in (ROWS[:1], ROWS[:2], ROWS[:3]):
        assert (rows[:, :2] * 2).tolist() == served(model, rows)


def test_outputs_of_any_shape_are_one_object_per_row() -> None:
    """Text, images and numbers side by side."""

    def many(rows: Any) -> Any:
        return np.array(["ä"] * len(rows)), rows.reshape(len(rows), 1, 3), rows > 0

    model = pack(many)
    assert [("output_0", (-1,)), ("output_1", (-1, 1, 3)), ("output_2", (-1, 3))] == outputs(model)
    assert by_row(("output_0", "output_1", "output_2"), many(ROWS[:2])) == served(model, ROWS[:2])


# --- what cannot be sent


class Thing:
    """Something that has no JSON form."""


class Streams:
    def predict(self, rows: Any) -> Any:
        yield from (float(row[0]) for row in rows)


class Streamer(DummyClassifier):  # type: ignore[misc]  # scikit-learn has no types
    def predict(self, rows: Any) -> Any:
        yield from rows


class StreamsSlowly:
    async def predict(self, rows: Any) -> Any:
        for row in rows:
            yield float(row[0])


REFUSED: dict[str, tuple[Any, str]] = {
    "complex": (lambda rows: rows[:, 0] + 1j, r"a complex number cannot be sent; .*\[value.real, value.imag\]"),
    "complex in a dict": (lambda rows: [{"z": 1j} for _ in rows], "a complex number cannot be sent"),
    "object": (lambda rows: [Thing() for _ in rows], "an object of the type Thing cannot be sent"),
    "array of objects": (lambda rows: np.array([Thing() for _ in rows]), "the type Thing cannot be sent"),
    "range": (lambda rows: range(len(rows)), "the type range cannot be sent"),
    "keys": (lambda rows: [{(1, 2): 3} for _ in rows], "no JSON form"),
    "lone surrogate": (lambda rows: ["\ud800" for _ in rows], "no JSON form"),
    "item of a stream": (lambda rows: iter([1, Thing()]), "the type Thing cannot be sent"),
    "streaming estimator": (
        Streamer().fit(ROWS, TWO[:, 0]),
        r"an iterator \(generator\); only functions and classes can stream",
    ),
    "set": (
        lambda rows: set(rows[:, 0].tolist()),
        "the model returned a set, which has no order; return a list with one",
    ),
    "frozen set": (lambda rows: frozenset(range(len(rows))), "the model returned a set, which has no order"),
    "array in a list": (lambda rows: [rows[:, 0]], "values of 3 rows as one array in a list; return the array without"),
    "None": (lambda rows: None, "the model returned None; return one value per row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_answer_that_the_server_cannot_send_is_refused(case: str) -> None:
    """The reason and the fix are known before anything is deployed."""
    obj, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said):
        pack(obj)


STREAMS: dict[str, Any] = {
    "map": lambda rows: map(float, [row[0] for row in rows]),
    "generator": lambda rows: (float(row[0]) for row in rows),
    "class": Streams,
    "object": Streams(),
    "asynchronous": StreamsSlowly,
}


@pytest.mark.parametrize("case", STREAMS)
@pytest.mark.parametrize("example", [ROWS[:3], ROWS[:1], None])
def test_an_answer_that_is_yielded(case: str, example: Any) -> None:
    """It has no declared outputs; as a whole answer its items are a list."""
    model = make_model(STREAMS[case], name="answers", example=example)
    assert model.signature is not None
    assert ((), False) == (model.signature.outputs, model.signature.rowwise)
    assert served(model, ROWS[:2]) == ROWS[:2, 0].tolist()


def test_rows_of_a_stream_are_not_independent() -> None:
    """Requests cannot share a call that yields."""
    with pytest.raises(ConfigError, match="rowwise=True, but the model yields its answer item by item"):
        pack(Streams, rowwise=True)


def test_a_stream_without_end_is_packed() -> None:
    """Only its beginning is looked at, and it is closed after that."""
    seen: list[int] = []

    def endless(rows: Any) -> Any:
        try:
            while True:
                seen.append(len(rows))
                yield 1
        finally:
            seen.append(-1)

    pack(endless)
    assert 0 < len(seen) < 10_000
    assert seen[-1] == -1


def test_answers_that_need_no_numpy() -> None:
    """An installation without numpy refuses the same."""
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "import sdk, sdk.errors\n"
        "for answer in ('1j', 'None', '(row for row in rows)', '[sum(row) for row in rows]'):\n"
        "    try: print(sdk.model(eval(f'lambda rows: {answer}'), name='plain', example=[[1.0]]).signature.outputs)\n"
        "    except sdk.errors.ConfigError as error: print(error)\n"
    )
    done = import_module("subprocess").run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert ["a complex number cannot be sent" in said[0], "None" in said[1], said[2] == "()"] == [True] * 3
    assert "shape=(-1,)" in said[3]


def test_lists_that_look_like_one_of_an_array_are_packed() -> None:
    """The one value of a function that sums up all rows, though there are as many columns; sets within rows."""
    model = pack(lambda rows: [rows.sum(axis=0)])
    assert [ROWS[:2].sum(axis=0).tolist()] == served(model, ROWS[:2])
    assert [[1], [1]] == served(pack(lambda rows: [{1} for _ in rows]), ROWS[:2])


# --- async


async def doubled(rows: Any) -> Any:
    await asyncio.sleep(0)
    return rows * 2


class Waits:
    async def load(self, folder: str) -> None:
        self.lock = asyncio.Lock()
        async with self.lock:
            self.factor = 2

    async def predict(self, rows: Any) -> Any:
        async with self.lock:  # of the loop that `load` ran on
            return rows * self.factor


class Called:
    async def __call__(self, rows: Any) -> Any:
        return rows * 2


@pytest.mark.parametrize(
    "obj", [doubled, Waits, Called(), partial(doubled)], ids=["function", "class", "object", "partial"]
)
def test_async_models_are_awaited(obj: Any) -> None:
    """Functions, methods, `load` and callable objects; also where a loop runs already, as in a notebook."""

    async def notebook() -> Model:
        return pack(obj)

    model = asyncio.run(notebook())
    assert [("predict", (-1, 3))] == outputs(model)
    assert (ROWS[:2] * 2).tolist() == served(model, ROWS[:2])


async def leaves(rows: Any) -> Any:
    sys.exit("no weights")


def test_async_model_that_fails_is_an_error_with_its_reason() -> None:
    """SystemExit in it does not end what awaits the next ones."""
    for _ in range(2):
        with pytest.raises(Exception, match="the model fails on its own example: SystemExit: no weights"):
            pack(leaves)
    assert 1 == len(served(pack(doubled), ROWS[:1]))


class Detects:
    async def predict(self, rows: Any) -> Any:
        return rows.sum(axis=1), rows[:, :2] > 0


def test_several_outputs_in_the_real_server(serve: Callable[..., Any]) -> None:
    """One object per row in our JSON, one tensor per output in the Open Inference Protocol."""
    with serve(pack(Detects)) as client:
        answer = client.post("/invocations", json={"instances": ROWS[:2].tolist()}).json()
        tensor = {"name": "input", "shape": [2, 3], "datatype": "FP64", "data": ROWS[:2].ravel().tolist()}
        inferred = client.post("/v2/models/answers/infer", json={"inputs": [tensor]}).json()
    assert by_row(("output_0", "output_1"), (ROWS[:2].sum(axis=1), ROWS[:2, :2] > 0)) == answer["predictions"]
    shapes = [(one["name"], one["shape"], one["datatype"]) for one in inferred["outputs"]]
    assert [("output_0", [2], "FP64"), ("output_1", [2, 2], "BOOL")] == shapes


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # Keras and its backends warn while they are imported and save
@pytest.mark.parametrize("shown", [1, 2, 3])
def test_outputs_of_a_network_have_its_names(shown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras gives a list; packed and from a file, with and without an example, its rows are objects."""
    keras = _keras(monkeypatch)
    given = keras.Input((3,))
    network = keras.Model(given, [keras.layers.Dense(1, name="p")(given), keras.layers.Dense(2, name="q")(given)])
    model = pack(network, ROWS[:shown].astype("float32"))
    assert [("p", (-1, 1)), ("q", (-1, 2))] == outputs(model)
    for one in (model, make_model(network, name="answers")):
        answer = served(one, ROWS[:2].astype("float32"))
        for name, wanted in zip(("p", "q"), network.predict(ROWS[:2], verbose=0), strict=True):
            np.testing.assert_allclose(wanted, [row[name] for row in answer], rtol=1e-5)


def _keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    backend = next((name for name in ("torch", "jax", "tensorflow") if find_spec(name)), None)
    if backend is None or not find_spec("keras"):
        pytest.skip("Keras or its backend is not installed: uv pip install --group flavours")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    return import_module("keras")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # Keras and its backends warn while they are imported and save
def test_axes_of_a_keras_network_stay_dynamic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network for sequences takes those of any length, whatever the example's is."""
    keras = _keras(monkeypatch)
    given = keras.Input((None, 3))
    network = keras.Model(given, keras.layers.GlobalAveragePooling1D()(given))
    model = pack(network, np.ones((2, 4, 3)))
    assert model.signature is not None
    assert [(-1, -1, 3)] == [one.shape for one in model.signature.inputs]
    whole = pack(network, [[[1, 2, 3]]])
    assert whole.signature is not None
    assert [((-1, -1, 3), "float32")] == [(one.shape, one.dtype) for one in whole.signature.inputs]
    assert [[1.0, 1.0, 1.0]] == served(model, np.ones((1, 9, 3)).tolist())


def test_nested_outputs_come_one_after_the_other() -> None:
    """A recurrent network gives its output and a pair of states."""
    one, two, three = np.zeros((4, 2)), np.zeros((1, 4, 3)), np.ones((1, 4, 3))
    nested = (one, (two, [three]))
    found = parts.outputs_in(nested, (), "predict", 4, lists=True)
    assert [("output_0", id(one)), ("output_1", id(two)), ("output_2", id(three))] == [
        (name, id(value)) for name, value in found.items()
    ]
    assert ["out", "h", "c"] == list(parts.outputs_in(nested, ("out", "h", "c"), "predict", 4, lists=True))
    ragged = (one, (two, 3))
    assert parts.outputs_in(ragged, (), "predict", 4, lists=True)["predict"] is ragged
