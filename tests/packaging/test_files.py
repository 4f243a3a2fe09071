"""Models from files: recognised by what they are, never loaded here, pickles only with the user's word."""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import zipfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sdk.errors import ConfigError
from sdk.packaging import files, pickles
from sdk.packaging.manifest import Tensor
from sdk.packaging.model import Model
from sdk.packaging.model import model as make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = np.random.default_rng(1).normal(size=(40, 4))
LABELS = (ROWS[:, 0] > 0).astype(int)


def fitted() -> Any:
    return LogisticRegression().fit(ROWS, LABELS)


# --- gadgets: files that run code when they are loaded


class Gadget:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def gadgets(proof: Path) -> dict[str, bytes]:
    """Twenty pickles; each would write ``proof`` if it were ever loaded."""
    command = f"touch {proof}"
    code = f"open({str(proof)!r}, 'w').close()"
    calls: dict[str, Gadget] = {
        "os.system": Gadget(os.system, command),
        "exec": Gadget(exec, code),
        "eval": Gadget(eval, f"__import__('os').system({command!r})"),
        "open": Gadget(open, str(proof), "w"),
        "subprocess.call": Gadget(subprocess.call, command, -1, None, None, None, None, None, True, True),
        "subprocess.getoutput": Gadget(subprocess.getoutput, command),
        "os.mkdir": Gadget(os.mkdir, str(proof)),
        "os.spawnlp": Gadget(os.spawnlp, os.P_WAIT, "touch", "touch", str(proof)),
        "os.symlink": Gadget(os.symlink, "/", str(proof)),
        "shutil.copy": Gadget(import_module("shutil").copy, "/etc/hostname", str(proof)),
    }
    found: dict[str, bytes] = {}
    for name, gadget in calls.items():
        found[f"{name}, protocol 0"] = pickle.dumps(gadget, protocol=0)
        found[f"{name}, protocol 5"] = pickle.dumps([1, {"inner": gadget}], protocol=5)
    return found


# Loads each gadget, to be sure that it does what it should.
HARMFUL = """
import os, pathlib, pickle, shutil, sys
folder = pathlib.Path(sys.argv[1])
proof = folder / "proof"
for path in folder.glob("*.gadget"):
    pickle.loads(path.read_bytes())
    assert proof.exists(), path
    shutil.rmtree(proof) if proof.is_dir() and not proof.is_symlink() else proof.unlink()
"""


def as_keras(data: bytes) -> bytes:
    """A Keras archive whose configuration holds a Lambda layer, with a gadget beside it."""
    config = {"class_name": "Lambda", "config": {"function": ["bm90IGNvZGU=", None, None]}}
    return zipped({"config.json": json.dumps(config).encode(), "model.weights.h5": data, "metadata.json": b"{}"})


def as_torch(data: bytes, *, script: bool) -> bytes:
    return zipped({"archive/data.pkl": data, **({"archive/constants.pkl": data} if script else {})})


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_no_gadget_is_ever_run(tmp_path: Path) -> None:
    """Twenty pickles that would run a command are refused, packed with trust, saved and loaded: none is ever run."""
    proof = tmp_path / "proof"
    hostile = gadgets(proof)
    assert 20 == len(hostile)
    for number, data in enumerate(hostile.values()):
        (tmp_path / f"{number}.gadget").write_bytes(data)
    subprocess.run([sys.executable, "-c", HARMFUL, tmp_path], check=True)
    for data in hostile.values():
        path = tmp_path / "model.pkl"
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"is a pickle, and loading one runs code.*trust"):
            Model.from_path(path, name="gadget")
        model = Model.from_path(path, name="gadget", trust="pickle", requirements=["idna"])
        assert model.manifest is not None
        assert "pickle" == model.manifest.trust
        assert model.path is not None
        assert model == Model.load(model.path)
        assert data == (model.path / model.manifest.entry).read_bytes()
    for suffix, wrapped in ((".keras", as_keras(data)), (".pt", as_torch(data, script=True))):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(wrapped)
        Model.from_path(path, name="gadget")
    assert not proof.exists()


def tops(path: Path) -> set[str]:
    with pickles.opened(path) as data:
        return {name.partition(".")[0] for name in pickles.modules(data)}


def test_modules_of_a_pickle_are_read_without_loading_it(tmp_path: Path) -> None:
    """The libraries of a trusted pickle are found by reading its opcodes, those after an array of joblib as well."""
    path = tmp_path / "model.pkl"
    one = make_pipeline(StandardScaler().fit(ROWS), fitted(), FunctionTransformer(softmax))
    for protocol in (0, 2, 3, 4, 5):
        path.write_bytes(pickle.dumps(one, protocol=protocol))
        assert {"sklearn", "numpy"} <= tops(path)
        for compress in (0, 3, ("xz", 1)):
            import_module("joblib").dump(one, path, compress=compress, protocol=protocol)
            assert {"sklearn", "numpy", "scipy", "joblib"} <= tops(path), compress


def test_a_large_pickle_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the most opcodes only the classes are searched; what merely looks like one is none."""
    path = tmp_path / "model.pkl"
    monkeypatch.setattr(pickles, "MOST_STEPS", 1000)
    path.write_bytes(pickle.dumps([list(range(5000)), softmax, "cnot_here\nat_all\n", "\x8c\x02no", fitted()]))
    with pickles.opened(path) as data:
        assert 900 < len(list(pickles.steps(data, 0))) < 1001
    assert {"scipy", "sklearn"} <= tops(path)
    assert not tops(path) & {"not_here", "no"}


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "xz"])
def test_damaged_compressed_files_are_named(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut off is said to be damaged; and of a file that grows without end only the beginning is read."""
    path = tmp_path / "model.joblib"
    import_module("joblib").dump(fitted(), path, compress=(method, 3))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ConfigError, match=r"path: model\.joblib is damaged"):
        Model.from_path(path, name="damaged", trust="pickle")
    import_module("joblib").dump(np.zeros(4_000_000), path, compress=(method, 3))
    monkeypatch.setattr(pickles, "MOST_BYTES", 1 << 20)
    with pickles.opened(path) as data:
        assert len(data) < 4 << 20


@pytest.mark.parametrize(("name", "compress"), [("model.pkl", 0), ("model.pkl", 3), ("model.joblib", ("xz", 2))])
def test_files_of_joblib_are_served_whatever_they_are_called(
    name: str, compress: Any, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """Many call a file of joblib `model.pkl`, which Python's own pickle cannot read."""
    table = pd.DataFrame(ROWS, columns=list("abcd"))
    one = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, LABELS)
    import_module("joblib").dump(one, tmp_path / name, compress=compress)
    model: Any = Model.from_path(tmp_path / name, name="named", trust="pickle")
    assert ("sklearn", "joblib", tuple(table.columns)) == (
        model.manifest.flavour, model.manifest.format, model.signature.columns,
    )  # fmt: skip
    with serve(model) as client:
        answer = client.post("/invocations", json={"instances": table[:5].to_dict("records")}).json()
    assert one.predict(table[:5]).tolist() == answer["predictions"]


def test_skops_file_with_strange_types_is_refused(tmp_path: Path) -> None:
    """A skops file that would make objects of unknown types needs the user's word as well."""
    path = tmp_path / "model.skops"
    node = {"__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode", "__id__": 1, "content": None}
    path.write_bytes(zipped({"schema.json": json.dumps({**node, "protocol": 2, "_skops_version": "0.13"}).encode()}))
    with pytest.raises(ConfigError, match=r"makes objects of the type subprocess\.Popen"):
        Model.from_path(path, name="strange")


# --- honest files


def test_trusted_joblib_file_is_served(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A joblib file that the user vouches for answers like the object in it."""
    joblib: Any = import_module("joblib")
    joblib.dump(fitted(), tmp_path / "old.joblib")
    model = Model.from_path(tmp_path / "old.joblib", name="old", trust="pickle", example=ROWS[:2])
    assert model.manifest is not None
    assert ("sklearn", "joblib", "pickle") == (model.manifest.flavour, model.manifest.format, model.manifest.trust)
    with serve(model) as client:
        answer = client.post("/invocations", json={"instances": ROWS[:5].tolist()}).json()
    assert fitted().predict(ROWS[:5]).tolist() == answer["predictions"]


def test_skops_file_is_packed_like_the_object(tmp_path: Path) -> None:
    """A skops file names its own libraries; known types need no word of trust."""
    skops: Any = import_module("skops.io")
    skops.dump(fitted(), tmp_path / "model.skops")
    model = Model.from_path(tmp_path / "model.skops", name="file")
    live = make_model(fitted(), name="file")
    assert model.manifest is not None
    assert live.manifest is not None
    assert live.manifest.libraries == model.manifest.libraries
    assert ("skops", None) == (model.manifest.format, model.manifest.trust)


@pytest.mark.parametrize(
    ("flavour", "known"), [("lightgbm", True), ("xgboost", True), ("sklearn", True), ("onnx", False), ("class", False)]
)
@pytest.mark.parametrize("said", [None, True, False])
def test_rows_of_estimators_are_independent(flavour: str, known: bool, said: bool | None) -> None:
    """Trees are known to answer each row alone, whatever a network does; what the user says counts more."""
    found = files.FileKind(flavour, "any", frozenset(), {})
    about = files.FileOptions(None, None, "predict", said, allow_nan=False)
    assert (known if said is None else said) is files.is_rowwise(found, about, ())


def xgboost_file(folder: Path) -> tuple[Path, Any, dict[str, Any]]:
    xgboost: Any = import_module("xgboost")
    booster = xgboost.train({}, xgboost.DMatrix(ROWS, LABELS), num_boost_round=3)
    booster.save_model(folder / "model.ubj")
    return folder / "model.ubj", booster.predict(xgboost.DMatrix(ROWS[:3])), {}


def xgboost_json(folder: Path) -> tuple[Path, Any, dict[str, Any]]:
    xgboost: Any = import_module("xgboost")
    booster = xgboost.train({}, xgboost.DMatrix(ROWS, LABELS), num_boost_round=3)
    booster.save_model(folder / "model.json")
    return folder / "model.json", booster.predict(xgboost.DMatrix(ROWS[:3])), {}


def lightgbm_file(folder: Path) -> tuple[Path, Any, dict[str, Any]]:
    lightgbm: Any = import_module("lightgbm")
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(ROWS, LABELS), num_boost_round=3)
    booster.save_model(folder / "model.txt")
    return folder / "model.txt", booster.predict(ROWS[:3]), {}


def onnx_file(folder: Path) -> tuple[Path, Any, dict[str, Any]]:
    convert: Any = import_module("skl2onnx").to_onnx
    one = convert(fitted(), ROWS[:1].astype("float32"), options={"zipmap": False})
    (folder / "model.onnx").write_bytes(one.SerializeToString())
    return folder / "model.onnx", fitted().predict(ROWS[:3]), {"output": "label"}


def keras_file(folder: Path) -> tuple[Path, Any, dict[str, Any]]:
    keras: Any = import_module("keras")
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    network.save(folder / "model.keras")
    answer = network.predict(ROWS[:3].astype("float32"), verbose=0)
    return folder / "model.keras", answer, {}


def torchscript_file(folder: Path) -> tuple[Path, Any, dict[str, Any]]:
    torch: Any = import_module("torch")
    layer = torch.nn.Linear(4, 1).eval()
    torch.jit.script(layer).save(str(folder / "model.pt"))
    answer = layer(torch.from_numpy(ROWS[:3].astype("float32"))).detach().numpy()
    return folder / "model.pt", answer, {}


FILES: dict[Callable[[Path], tuple[Path, Any, dict[str, Any]]], str] = {
    xgboost_file: "xgboost",
    xgboost_json: "xgboost",
    lightgbm_file: "lightgbm",
    onnx_file: "skl2onnx",
    keras_file: "keras",
    torchscript_file: "torch",
}


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras and PyTorch of their own making
@pytest.mark.parametrize("case", FILES, ids=lambda case: case.__name__)
def test_native_file_is_served(
    case: Callable[[Path], Any], serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in a library's own format answers like the object it was written from."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    check_file(case, serve, tmp_path)


def check_file(case: Callable[[Path], Any], serve: Callable[..., Any], tmp_path: Path) -> None:
    if not importlib.util.find_spec(FILES[case]):
        pytest.skip(f"{FILES[case]} is not installed: uv pip install --group flavours")
    path, answer, wishes = case(tmp_path)
    output = wishes.pop("output", None)
    model = Model.from_path(path, name="native", example=ROWS[:1].astype("float32"), **wishes)
    with serve(model) as client:
        rows = client.post("/invocations", json={"instances": ROWS[:3].tolist()}).json()["predictions"]
    given = [row[output] for row in rows] if output else rows
    np.testing.assert_allclose(np.ravel(answer), np.ravel(given), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.pkl", b"\x80\x05N.", "is a pickle"),
        ("model.joblib", b"\x80\x05N.", "is a pickle"),
        ("model.bin", b"x", "is of no known kind"),
        ("model.h5", b"\x89HDF", "is of no known kind"),
        ("model.onnx", b"PK\x03\x04", "is not an ONNX model"),
        ("model.pt", b"\x80\x02}", "is not a TorchScript archive"),
        ("model.pt", as_torch(b"", script=False), "holds pickled weights, not TorchScript"),
        ("model.ubj", b"nothing", "is not an XGBoost model"),
        ("model.json", b'{"a": 1}', "is not an XGBoost model"),
        ("model.txt", b"hello", "is not a LightGBM model"),
        ("model.keras", b"\x89HDF", "is not a Keras archive"),
        ("model.keras", zipped({"a": b""}), "is not a Keras archive"),
        ("model.keras", b"PK\x03\x04broken", "is damaged"),
        ("model.skops", b"PK\x03\x04broken", "is damaged"),
        ("model.skops", zipped({"schema.json": b"{"}), "is damaged"),
    ],
    ids=itertools.count(),
)
def test_wrong_file_is_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    """A file that is not what its suffix says is refused by name."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"path: {name} .*{said}|path: {name} {said}"):
        Model.from_path(tmp_path / name, name="wrong")


def test_missing_file_and_unknown_trust_are_refused(tmp_path: Path) -> None:
    """A path that does not exist, a folder, and a word of trust that nobody knows are errors."""
    with pytest.raises(ConfigError, match="is no file"):
        Model.from_path(tmp_path / "nothing.onnx", name="wrong")
    with pytest.raises(ConfigError, match=r"is no file.*from_mlflow"):
        Model.from_path(tmp_path, name="wrong")
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(ConfigError, match="trust: 'yes' is unknown"):
        Model.from_path(tmp_path / "model.pkl", name="wrong", trust="yes")  # type: ignore[arg-type]  # what is tested


def test_pickle_that_names_nothing_needs_requirements(tmp_path: Path) -> None:
    """A pickle of plain values shows no libraries, so they must be named."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ConfigError, match="name its libraries with requirements="):
        Model.from_path(tmp_path / "model.pkl", name="blind", trust="pickle")


# --- MLflow

MLMODEL = """
flavors:
  python_function:
    loader_module: mlflow.sklearn
    model_path: model.skops
    python_version: {python}
  sklearn: {{pickled_model: model.skops}}
signature:
  inputs: '[{{"type": "double", "name": "age"}}, {{"type": "string", "name": "town"}}]'
  outputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "int64", "shape": [-1]}}}}]'
"""


def mlflow_folder(folder: Path, file: str = "model.skops", text: str = MLMODEL) -> Path:
    saved = folder / "saved"
    saved.mkdir()
    (saved / "MLmodel").write_text(text.format(python="3.11.7"))
    (saved / "requirements.txt").write_text("idna==3.10\nsix\n")
    (saved / file).write_bytes(b"content")
    return saved


def test_mlflow_model_keeps_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signature, Python version and requirements are those that MLflow wrote down; given ones replace them."""
    model = Model.from_mlflow(mlflow_folder(tmp_path), name="tracked", requirements=["six==1.16.0", "mlflow-skinny"])
    assert model.manifest is not None
    assert model.path is not None
    assert ("mlflow", "mlflow", "model/mlflow", "3.11") == (
        model.manifest.flavour,
        model.manifest.format,
        model.manifest.entry,
        model.manifest.python,
    )
    assert model.manifest.signature.columns == ("age", "town")
    assert model.manifest.signature.outputs == (Tensor("predict", "int64", (-1,)),)
    assert {"idna": "3.10", "six": "1.16.0"}.items() <= model.manifest.libraries.items()
    assert "mlflow-skinny" in model.manifest.libraries
    assert b"content" == (model.path / "model" / "mlflow" / "model.skops").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"file": "model.pkl"}, "model.pkl is a pickle"),
        ({"file": "python_model.PKL"}, "python_model.PKL is a pickle"),
        ({"text": "flavors: {{sklearn: {{}}}}"}, "has no python_function flavour"),
        ({"text": "- a list"}, "holds no settings"),
        ({"text": "a: ["}, "is no YAML"),
        ({"text": "a: !!python/object/apply:os.system ['true']"}, "is no YAML"),
    ],
)
def test_wrong_mlflow_folder_is_refused(change: dict[str, str], said: str, tmp_path: Path) -> None:
    """A folder that cannot be served, or holds pickles nobody vouched for, is refused by name."""
    with pytest.raises(ConfigError, match=said):
        Model.from_mlflow(mlflow_folder(tmp_path, **change), name="wrong")


def with_inputs(folder: Path, *inputs: str) -> Path:
    """A folder whose signature has these inputs."""
    known = MLMODEL[MLMODEL.index("'[{{") : MLMODEL.index("  outputs")]
    return mlflow_folder(folder, text=MLMODEL.replace(known, f"'[{', '.join(inputs)}]'\n"))


MOMENT = '{{"type": "datetime", "name": "since", "required": true}}'
TAGS = '{{"type": "array", "items": {{"type": "string"}}, "name": "tags"}}'
IMAGE = '{{"type": "binary", "name": "image"}}'


@pytest.mark.parametrize(
    ("inputs", "tensors"),
    [((MOMENT,), [Tensor("since", "datetime64[ns]", (-1,))]), ((MOMENT, TAGS), [])],
    ids=["moment", "nested"],
)
def test_types_of_mlflow_are_translated(inputs: tuple[str, ...], tensors: list[Tensor], tmp_path: Path) -> None:
    """Moments have a type; where a column is JSON of any form the names are known, and the types are not."""
    model = Model.from_mlflow(with_inputs(tmp_path, *inputs), name="tracked", requirements=["mlflow-skinny"])
    assert model.signature is not None
    assert (("since", "tags")[: len(inputs)], tensors) == (model.signature.columns, list(model.signature.inputs))


def test_a_type_of_mlflow_that_no_request_can_carry_is_refused(tmp_path: Path) -> None:
    """It is never dropped in silence."""
    with pytest.raises(ConfigError, match="the input 'image' has MLflow's type binary, which a request cannot carry"):
        Model.from_mlflow(with_inputs(tmp_path, MOMENT, IMAGE), name="wrong")


def test_an_example_has_more_types_than_mlflow(tmp_path: Path) -> None:
    """Its categories and time zones are those of the model; it must have the columns that MLflow recorded."""
    pandas: Any = import_module("pandas")
    table = pandas.DataFrame({"age": [1.5, 2.5], "town": pandas.Categorical(["Oslo", None])})
    folder = mlflow_folder(tmp_path)
    model = Model.from_mlflow(folder, name="tracked", requirements=["mlflow-skinny"], example=table)
    assert model.signature is not None
    assert [None, "category"] == [one.column_type for one in model.signature.inputs]
    assert model.signature.allow_nan
    assert [{"age": 1.5, "town": "Oslo"}, {"age": 2.5, "town": None}] == model.example
    with pytest.raises(ConfigError, match="example lacks the columns town"):
        Model.from_mlflow(folder, name="tracked", example=table[["age"]])


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_model_is_served(serve: Callable[..., Any], tmp_path: Path) -> None:
    """What MLflow saved answers like the object that it saved."""
    check_mlflow(serve, tmp_path)


def check_mlflow(serve: Callable[..., Any], tmp_path: Path) -> None:
    if not importlib.util.find_spec("mlflow"):
        pytest.skip("mlflow is not installed: uv pip install --group flavours")
    save: Any = import_module("mlflow.sklearn").save_model
    signature: Any = import_module("mlflow.models").infer_signature(ROWS, LABELS)
    packages = ["mlflow-skinny", "pandas", "scikit-learn", "skops"]
    save(fitted(), tmp_path / "saved", signature=signature, pip_requirements=packages)
    model = Model.from_mlflow(tmp_path / "saved", name="tracked", requirements=packages)
    with serve(model) as client:
        answer = client.post("/invocations", json={"instances": ROWS[:5].tolist()}).json()
    assert fitted().predict(ROWS[:5]).tolist() == answer["predictions"]


def test_folder_without_mlmodel_is_refused(tmp_path: Path) -> None:
    """A folder that MLflow did not write is refused."""
    with pytest.raises(ConfigError, match="has no file MLmodel"):
        Model.from_mlflow(tmp_path, name="wrong")
