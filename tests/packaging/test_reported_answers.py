"""What users of other serving tools report about inputs and answers: served, or refused when the model is packed.

Each row names the report, and what the same model gives here.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import enum
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import ClassifierChain
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from sdk.errors import ConfigError
from sdk.packaging.model import model as make_model
from tests.packaging.inside import served

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = np.arange(12.0).reshape(4, 3)
LABELS = np.array([[0, 1], [1, 0], [0, 0], [1, 1]])
BOTH = {"input_ids": [[1, 2, 3], [4, 5, 6]], "attention_mask": [[1, 1, 0], [1, 1, 1]]}


class Case(NamedTuple):
    """A model, its example, what it is asked, and what it answers; a text is the reason of a refusal."""

    obj: Any
    example: Any
    asked: Any
    wanted: Any
    method: str | None = None


def each(value: Callable[[], Any]) -> Callable[[Any], Any]:
    """A function that answers each row by the same value."""
    return lambda rows: [value() for _ in rows]


class Colour(enum.Enum):
    RED = "red"


class Looks:
    """Asks another service for each row, with what `load` has opened."""

    async def load(self, folder: str) -> None:
        self.store: asyncio.Queue[int] = asyncio.Queue()
        await self.store.put(2)

    async def predict(self, rows: Any) -> Any:
        async def one(row: Any) -> float:
            factor = await self.store.get()
            await self.store.put(factor)
            return float(row[0]) * factor

        return await asyncio.gather(*map(one, rows))


class Messages:
    def predict(self, rows: Any) -> Any:
        return [{"role": "assistant", "content": row["messages"][-1]["content"]} for row in rows]


NEAR = KNeighborsClassifier(1).fit(ROWS, LABELS)
PRIOR = DummyClassifier(strategy="prior").fit(ROWS, LABELS)
CHAIN = ClassifierChain(LogisticRegression()).fit(ROWS, LABELS)

CASES: dict[str, Case] = {
    "SeldonIO/MLServer#656: numpy scalars in the answer of a pipeline": Case(
        each(lambda: {"score": np.float32(0.5), "n": np.int64(3), "ok": np.bool_(True)}),
        [{"text": "a"}],
        [{"text": "b"}],
        [{"score": 0.5, "n": 3, "ok": True}],
    ),
    "SeldonIO/MLServer#692: arrays in dicts": Case(
        each(lambda: {"a": np.array([1.5, 2])}), ROWS, ROWS[:1], [{"a": [1.5, 2.0]}]
    ),
    "aws/sagemaker-huggingface-inference-toolkit#84: a list of single tensors": Case(
        each(lambda: np.array(42.0)), ROWS, ROWS[:2], [42.0, 42.0]
    ),
    "mlflow/mlflow#7394: a table whose cells are arrays": Case(
        lambda rows: pd.DataFrame({"e": [np.ones(2) for _ in rows], "s": 1.0}),
        ROWS,
        ROWS[:1],
        [{"e": [1.0, 1.0], "s": 1.0}],
    ),
    "mlflow/mlflow#4367: arrays of objects that are text": Case(
        lambda rows: np.array(["1234" for _ in rows], dtype=object), ROWS, ROWS[:1], ["1234"]
    ),
    "SeldonIO/MLServer#2212: lists in dicts, in and out": Case(
        lambda rows: [{"output": [2 * one for one in row["input"]]} for row in rows],
        [{"input": [1.0, 2.0]}, {"input": [3.0]}],
        {"input": [2.5]},
        [{"output": [5.0]}],
    ),
    "mlflow/mlflow#10192: a list of dicts of text": Case(
        lambda rows: [row["query"].upper() for row in rows],
        [{"query": "sentence_1"}, {"query": "sentence_2"}],
        [{"query": "a"}, {"query": "b"}],
        ["A", "B"],
    ),
    "mlflow/mlflow#10192: a dict of a list of text": Case(
        lambda texts: [text.upper() for text in texts], {"query": ["s1", "s2"]}, {"query": ["a", "b"]}, ["A", "B"]
    ),
    "kserve/kserve#4097: a label and its probability": Case(
        lambda rows: (np.array(["a"] * len(rows)), np.full(len(rows), 0.5)),
        ROWS[:2],
        ROWS[:1],
        [{"output_0": "a", "output_1": 0.5}],
    ),
    "oracle/graphpipe-py#7: predict and predict_proba in one answer": Case(
        lambda rows: (NEAR.predict(rows)[:, 0], PRIOR.predict_proba(rows)[0]),
        ROWS,
        ROWS[:1],
        [{"output_0": 0, "output_1": [0.5, 0.5]}],
    ),
    "scikit-learn/scikit-learn#8093: probabilities of several labels": Case(
        NEAR, ROWS[:2], ROWS[1:2], [{"output_0": [0.0, 1.0], "output_1": [1.0, 0.0]}], "predict_proba"
    ),
    "scikit-learn/scikit-learn#30013: one array for several labels": Case(
        CHAIN, ROWS[:2], ROWS[:1], CHAIN.predict_proba(ROWS[:1]).tolist(), "predict_proba"
    ),
    "huggingface/setfit#466: as many labels as rows": Case(
        PRIOR, ROWS[:2], ROWS[:1], [{"output_0": [0.5, 0.5], "output_1": [0.5, 0.5]}], "predict_proba"
    ),
    "kserve/kserve#5973: several inputs": Case(
        lambda given: given["input_ids"].sum(axis=1) + given["attention_mask"].sum(axis=1),
        BOTH,
        {name: np.array(value) for name, value in BOTH.items()},
        [8, 18],
    ),
    "PAIR-code/what-if-tool#151: several inputs as one record": Case(
        lambda given: given["input_ids"].sum(axis=1), BOTH, {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1]}, [6]
    ),
    "SeldonIO/MLServer#304: text beside an image": Case(
        lambda given: [f"{text}{image.shape}" for text, image in zip(given["text"], given["image"], strict=True)],
        {"text": ["a", "bc"], "image": np.zeros((2, 4, 4, 3), np.uint8)},
        {"text": ["abc"], "image": np.zeros((1, 4, 4, 3), np.uint8)},
        ["abc(4, 4, 3)"],
    ),
    "mlflow/mlflow#13931: dicts of tensors, and an ordered dict back": Case(
        lambda rows: OrderedDict(logits=rows, label=rows[:, 0] > 0),
        ROWS,
        ROWS[:1],
        [{"logits": [0.0, 1.0, 2.0], "label": False}],
    ),
    "bentoml/BentoML#1684 and #5174: look up features and initialise without blocking": Case(
        Looks, ROWS, ROWS[:2], [0.0, 6.0]
    ),
    "Lightning-AI/LitServe#66: answer bit by bit": Case(
        lambda rows: ({"token": row[0]} for row in rows), ROWS, ROWS[:2], [{"token": 0.0}, {"token": 3.0}]
    ),
    "vllm and other chats: messages": Case(
        Messages,
        [{"messages": [{"role": "user", "content": "hi"}]}],
        [{"messages": [{"role": "user", "content": "yo"}]}],
        [{"role": "assistant", "content": "yo"}],
    ),
    "markean/aimz#298: an object that no serializer knows": Case(
        each(Looks), ROWS, "an object of the type Looks cannot be sent; return numbers, text, lists", None
    ),
    "mlflow/mlflow#3713: text that looks like a date": Case(
        lambda table: [f"{type(one).__name__} {one}" for one in table["day"]],
        pd.DataFrame({"day": ["2026-01-02", "2026-02-03"]}),
        [{"day": "2026-01-02"}],
        ["str 2026-01-02"],
    ),
    "deeppavlov/DeepPavlov#1147: a tuple of probabilities and labels": Case(
        lambda rows: (np.full((len(rows), 2), 0.5, "float32"), ["some label"] * len(rows)),
        ROWS,
        ROWS[:1],
        [{"output_0": [0.5, 0.5], "output_1": "some label"}],
    ),
    "kamalkraj/BERT-NER-TF#13: pairs of a word and a float32": Case(
        each(lambda: {"output": [("Oslo", np.float32(0.5))]}), ROWS, ROWS[:1], [{"output": [["Oslo", 0.5]]}]
    ),
    "amirziai/sklearnflask#5: a list of numpy integers": Case(
        lambda rows: list(np.arange(len(rows))), ROWS, ROWS[:3], [0, 1, 2]
    ),
    "aws/sagemaker-python-sdk#131: one feature": Case(
        KNeighborsRegressor(1).fit([[1.0], [4.0]], [2.0, 8.0]), [[1.0], [2.0]], [[4.0]], [8.0]
    ),
    "mlflow/mlflow#12990: a list of texts for code that wants one": Case(
        lambda rows: [f"{type(one).__name__} {one}" for one in rows], ["hey", "you"], ["a"], ["str a"]
    ),
    "SeldonIO/seldon-core#461: text and numbers in one array of objects": Case(
        each(float), np.array([["a", 1.0]], dtype=object), "one type for each column of a DataFrame", None
    ),
    "rows of different lengths": Case(each(float), [["a", "b"], ["c"]], "or give records", None),
    "rows that can be read once": Case(each(float), (one for one in ROWS), "is generator.* give list", None),
    "a sparse matrix": Case(lambda rows: rows.sum(axis=1), csr_array(ROWS), csr_array(ROWS[:1]), [3.0]),
    "pandas in a list: moments and missing values": Case(
        each(lambda: {"t": pd.Timestamp("2026-01-02"), "x": pd.NA, "never": pd.NaT, "s": pd.Series([1, 2])}),
        ROWS,
        ROWS[:1],
        [{"t": "2026-01-02T00:00:00", "x": None, "never": None, "s": [1, 2]}],
    ),
    "Python's own types in a list": Case(
        each(lambda: {"c": Colour.RED, "u": uuid.UUID(int=1), "d": decimal.Decimal("1.5"), "t": dt.date(2026, 1, 2)}),
        ROWS,
        ROWS[:1],
        [{"c": "red", "u": "00000000-0000-0000-0000-000000000001", "d": "1.5", "t": "2026-01-02"}],
    ),
    "a structured array": Case(
        lambda rows: np.ones(len(rows), dtype=[("a", "f8"), ("b", "i4")]), ROWS, ROWS[:1], [{"a": 1.0, "b": 1}]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reported_case(name: str) -> None:
    """The answer is the one in the table, or packing says why there can be none."""
    case = CASES[name]
    if isinstance(case.asked, str):
        with pytest.raises(ConfigError, match=case.asked):
            make_model(case.obj, name="reported", example=case.example, method=case.method)
        return
    model = make_model(case.obj, name="reported", example=case.example, method=case.method)
    assert case.wanted == served(model, case.asked)
