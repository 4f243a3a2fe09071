"""The examples in the documentation of the verbs and handles are true on `local`."""

from __future__ import annotations

import doctest
import platform
from typing import TYPE_CHECKING, Any

import pytest

import sdk
from sdk.client import Client, default_client
from sdk.client.build import BuildVerbs
from sdk.client.deploy import ChangeVerbs
from sdk.client.endpoint import Endpoint
from sdk.client.gc import GcVerbs
from sdk.client.job import Job
from sdk.client.read import ReadVerbs
from sdk.client.train import TrainVerbs
from sdk.packaging.image import Image, open_store
from sdk.packaging.image.layers import Entry, with_parents
from sdk.packaging.image.manifests import ImageConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--C", type=float)
C = parser.parse_known_args()[0].C
rows = len(pathlib.Path(os.environ["MLPORT_DATA_TRAIN"]).read_text().split())
print(json.dumps({"mlport_metric": {"rows": rows, "C": C}}), flush=True)
(pathlib.Path(os.environ["MLPORT_OUTPUT_DIR"]) / "rows.txt").write_text(str(rows))
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the examples take for granted: a model, an endpoint `churn`, and a training script beside its data."""
    folder: Path = tmp_path_factory.mktemp("examples")
    (folder / "train.py").write_text(SCRIPT)
    (folder / "train.csv").write_text("1,2\n3,4\n")

    def add(rows: Any) -> list[float]:
        return [float(row[0]) + float(row[1]) for row in rows]

    def fit(params: Any) -> Any:
        return lambda rows: [params["by"] * add([row])[0] for row in rows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPORT_STATE_DIR", str(folder / "state"))
        patch.delenv("MLPORT_TARGET", raising=False)
        patch.chdir(folder)
        default_client.cache_clear()
        model = sdk.model(add, name="churn", example=[[1.0, 2.0]])
        sdk.deploy(model)
        yield {"sdk": sdk, "model": model, "Client": Client, "fit": fit, "pipeline": _pipeline()}
        for status in sdk.list():
            sdk.delete(status.name)
        default_client().close()
        default_client.cache_clear()


def _pipeline() -> Image:
    """An image to build upon, of one small layer, in the user's store."""
    store = open_store()
    layer = store.layer("pipeline", lambda: with_parents([Entry("etc/pipeline", b"")]), created_by="pipeline")
    image = Image(ImageConfig(env={"PYTHON_VERSION": platform.python_version()}).document([layer]), (layer,))
    store.put(image.config)
    return image


@pytest.mark.parametrize("documented", [ReadVerbs, ChangeVerbs, GcVerbs, TrainVerbs, BuildVerbs, Endpoint, Job])
def test_examples_run(documented: type[Any], names: dict[str, Any]) -> None:
    """Each example of the class gives what it shows."""
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder().find(documented, globs=names):
        runner.run(example)
    assert (True, 0) == (runner.tries > 0, runner.failures)
