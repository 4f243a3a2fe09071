"""The libraries whose models are packed, deployed and asked by the tests; `docs/frameworks.md` is made from this list.

Each test makes a small model, packs it, deploys it and compares its answers with those of the live object. Nothing
is downloaded: networks have random weights, tokenizers have a vocabulary of a few words.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.frameworks import networks, texts, trees
from tests.packaging import test_files as files
from tests.packaging import test_flavours as flavours
from tests.packaging import test_onnx as onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Check = Callable[[Callable[..., Any], Path], None]


class Framework(NamedTuple):
    """One way to bring a library's model.

    Args:
        library: Name of the library, as the page has it.
        given: What a user gives to mlport.
        small: The model that the test makes.
        modules: What must be importable for the test to run.
        check: The test: gets what serves a model, and a folder for files.
        image: Whether the test was run in an image as well; all are on a `local` target.
    """

    library: str
    given: str
    small: str
    modules: tuple[str, ...]
    check: Check
    image: bool = True

    @property
    def id(self) -> str:
        """Short name of the test."""
        return f"{self.library}: {self.given}".replace("`", "")

    def run(self, serve: Callable[..., Any], folder: Path) -> None:
        """Run the test, or skip it where the library is not installed."""
        for module in self.modules:
            if not importlib.util.find_spec(module):
                pytest.skip(f"{module} is not installed: see docs/frameworks.md")
        self.check(serve, folder)


class NotTried(NamedTuple):
    """A library or a form of it that no test has run, with the reason."""

    library: str
    reason: str


def _object(case: Callable[[Path], flavours.Case]) -> Check:
    return lambda serve, folder: flavours.check(case(folder), serve)


def _file(case: Callable[[Path], Any]) -> Check:
    return lambda serve, folder: files.check_file(case, serve, folder)


PACKAGES = ("catboost", "safetensors", "sentence-transformers", "spacy", "statsmodels", "tensorflow-cpu")
"""What the tests need beside `make test-full`."""

_OBJECT, _FILE, _CLASS = "`sdk.model(OBJECT)`", '`Model.from_path("{}")`', '`sdk.model(CLASS, artifacts="{}")`'

FRAMEWORKS = (
    Framework("function", _OBJECT, "product with a vector", ("scipy",), _object(flavours.function)),
    Framework("scikit-learn", _OBJECT, "random forest", ("sklearn", "skops"), _object(flavours.forest)),
    Framework("XGBoost", _OBJECT, "`XGBClassifier`, 5 trees", ("xgboost",), _object(flavours.xgboost_wrapper)),
    Framework("XGBoost", "`sdk.model(BOOSTER)`", "`Booster`, 5 trees", ("xgboost",), _object(flavours.xgboost_booster)),
    Framework("XGBoost", _FILE.format("model.ubj"), "`Booster`, 3 trees", ("xgboost",), _file(files.xgboost_file)),
    Framework("LightGBM", _OBJECT, "`LGBMClassifier`, 5 trees", ("lightgbm",), _object(flavours.lightgbm_wrapper)),
    Framework(
        "LightGBM", "`sdk.model(BOOSTER)`", "`Booster`, 5 trees", ("lightgbm",), _object(flavours.lightgbm_booster)
    ),
    Framework("LightGBM", _FILE.format("model.txt"), "`Booster`, 3 trees", ("lightgbm",), _file(files.lightgbm_file)),
    Framework("CatBoost", _OBJECT, "`CatBoostClassifier`, 5 trees", ("catboost",), _object(trees.catboost)),
    Framework(
        "CatBoost", _CLASS.format("model.cbm"), "`CatBoostRegressor`, 5 trees", ("catboost",),
        _object(trees.catboost_file),
    ),
    Framework("statsmodels", _OBJECT, "results of `OLS`", ("statsmodels",), _object(trees.least_squares)),
    Framework(
        "statsmodels", "`sdk.model(OBJECT)`, formula", "results of `logit`", ("statsmodels", "pandas"),
        _object(trees.formula),
    ),
    Framework("PyTorch", _OBJECT, "linear layer, ReLU and dropout", ("torch",), _object(flavours.torch_network)),
    Framework("TorchScript", _OBJECT, "linear layer", ("torch",), _object(flavours.torchscript)),
    Framework("TorchScript", _FILE.format("model.pt"), "linear layer", ("torch",), _file(files.torchscript_file)),
    Framework(
        "safetensors", _CLASS.format("model.safetensors"), "linear layer of PyTorch", ("torch", "safetensors"),
        _object(networks.safetensors),
    ),
    Framework("Keras on PyTorch", _OBJECT, "two dense layers", ("keras", "torch"), _object(flavours.keras_network)),
    Framework(
        "Keras on PyTorch", _FILE.format("model.keras"), "dense layer", ("keras", "torch"), _file(files.keras_file)
    ),
    Framework(
        "TensorFlow SavedModel", _CLASS.format("FOLDER"), "`tf.Module` with one matrix", ("tensorflow",),
        _object(networks.saved_model),
    ),
    Framework("ONNX", _FILE.format("model.onnx"), "logistic regression", ("skl2onnx",), _file(files.onnx_file)),
    Framework(
        "ONNX", '`sdk.model(OBJECT, engine="onnx")`', "random forest of scikit-learn", ("skl2onnx",),
        lambda serve, folder: onnx.check(onnx.forest, serve),
    ),
    Framework(
        "MLflow", "`Model.from_mlflow(FOLDER)`", "scikit-learn's flavour", ("mlflow",), files.check_mlflow
    ),
    Framework(
        "MLflow pyfunc", '`Model.from_mlflow(FOLDER, trust="pickle")`', "own `PythonModel`", ("mlflow",),
        networks.check_pyfunc,
    ),
    Framework(
        "spaCy", _CLASS.format("FOLDER"), "blank English with a text categorizer", ("spacy",), _object(texts.spacy)
    ),
    Framework(
        "sentence-transformers", _CLASS.format("FOLDER"), "BERT of one layer, mean pooling",
        ("sentence_transformers",), _object(texts.sentence_transformer), image=False,
    ),
    Framework(
        "Hugging Face pipeline", '`sdk.model(CLASS, artifacts="FOLDER", requirements=["torch"])`',
        "text classification, BERT of one layer",
        ("transformers", "torch"), _object(texts.pipeline),
    ),
)  # fmt: skip

NOT_TRIED = (
    NotTried("trained models of Hugging Face, sentence-transformers and spaCy", "the tests reach no model hub"),
    NotTried("builds for GPUs of any library", "the tests run without a GPU, with builds for CPUs"),
    NotTried("Keras on TensorFlow or JAX", "the tests run it on PyTorch"),
)
