"""Small networks, and models of MLflow's own kind."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.packaging.model import Model
from tests.packaging.test_flavours import ROWS, Case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def safetensors(folder: Path) -> Case:
    torch: Any = importlib.import_module("torch")

    class FromWeights:
        def load(self, files: str) -> None:
            from pathlib import Path

            import torch
            from safetensors.torch import load_file

            self.layer = torch.nn.Linear(4, 2).eval()
            self.layer.load_state_dict(load_file(Path(files) / "model.safetensors"))

        def predict(self, rows: Any) -> Any:
            import torch

            with torch.no_grad():
                return self.layer(torch.from_numpy(rows)).numpy()

    layer = torch.nn.Linear(4, 2)
    importlib.import_module("safetensors.torch").save_file(layer.state_dict(), folder / "model.safetensors")
    rows = ROWS[:5].astype("float32")
    answer = layer(torch.from_numpy(rows)).detach().numpy()
    return Case(FromWeights, rows, answer, "class/cloudpickle", {"artifacts": folder / "model.safetensors"})


def saved_model(folder: Path) -> Case:
    tensorflow: Any = importlib.import_module("tensorflow")

    class FromSavedModel:
        def load(self, files: str) -> None:
            import tensorflow as tf

            self.served = tf.saved_model.load(files).signatures["serving_default"]

        def predict(self, rows: Any) -> Any:
            import tensorflow as tf

            return self.served(rows=tf.constant(rows))["scores"].numpy()

    module = tensorflow.Module()
    module.weights = tensorflow.Variable(np.arange(8.0, dtype="float32").reshape(4, 2))
    form = tensorflow.TensorSpec([None, 4], tensorflow.float32, name="rows")
    scored = tensorflow.function(lambda rows: {"scores": rows @ module.weights}, input_signature=[form])
    tensorflow.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": scored})
    rows = ROWS[:5].astype("float32")
    answer = scored(tensorflow.constant(rows))["scores"].numpy()
    return Case(FromSavedModel, rows, answer, "class/cloudpickle", {"artifacts": folder / "saved"})


def check_pyfunc(serve: Callable[..., Any], folder: Path) -> None:
    """MLflow's own class for models of any kind, which it stores as a pickle."""
    pyfunc: Any = importlib.import_module("mlflow.pyfunc")

    class Threshold(pyfunc.PythonModel):  # type: ignore[misc]  # not installed everywhere
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return (model_input.sum(axis=1) > 0.5).astype("int64")

    table: Any = importlib.import_module("pandas").DataFrame(ROWS, columns=list("abcd"))
    answer = Threshold().predict(None, table[:5])
    signature: Any = importlib.import_module("mlflow.models").infer_signature(table, answer)
    packages = ["mlflow-skinny", "pandas", "cloudpickle"]
    where = folder / "saved"
    pyfunc.save_model(where, python_model=Threshold(), signature=signature, pip_requirements=packages)
    model = Model.from_mlflow(where, name="threshold", trust="pickle", requirements=packages)
    with serve(model) as client:
        response = client.post("/invocations", json={"instances": table[:5].to_dict("records")})
    assert 200 == response.status_code, response.text
    assert answer.tolist() == response.json()["predictions"]
