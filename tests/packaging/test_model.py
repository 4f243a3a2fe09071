"""Models: what is recorded, that it is the same every time, and what is said about what cannot be packed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sdk.errors import ConfigError, InvalidNameError, LockMismatchError, PackagingError
from sdk.packaging import examples
from sdk.packaging.manifest import Tensor
from sdk.packaging.model import Model
from sdk.packaging.model import model as make_model
from sdk.util import scratch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = np.arange(12.0).reshape(4, 3)


def total(rows: Any) -> Any:
    return rows.sum(axis=1)


def pack(obj: Any = total, name: str = "total", **wishes: Any) -> Model:
    return make_model(obj, name=name, **wishes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def models_in(state: Path) -> list[str]:
    """What is in the store, leftovers of unfinished writing included; locks are not content."""
    folder = state / "models"
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.exists() else []


# --- what is recorded


def test_record_says_everything() -> None:
    """Name, digest, versions, signature and the hash of every file are in the manifest; the digest is its hash."""
    import hashlib

    model = pack(example=ROWS)
    assert model.path is not None
    assert model.manifest is not None
    assert model.signature is not None
    assert model.digest == hashlib.sha256((model.path / "mlport.json").read_bytes()).hexdigest()
    record = json.loads((model.path / "mlport.json").read_bytes())
    assert {"mlport.json", *record["files"]} == contents(model.path).keys()
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == record["python"]
    assert (Tensor("input", "float64", (-1, 3)),) == model.signature.inputs
    assert (Tensor("predict", "float64", (-1,)),) == model.signature.outputs
    assert ROWS.tolist() == model.example
    assert f"<Model total {model.digest[:12]} function/cloudpickle>" == repr(model)


def test_table_is_recorded_by_column() -> None:
    """A DataFrame gives one input per column with its own type, and rows as objects in the example."""
    pandas: Any = import_module("pandas")
    table = pandas.DataFrame(
        {"age": [1, 2], "town": ["a", "b"], "kind": pandas.Categorical(["x", "y"]), "ok": [True, False]}
    )
    model = pack(lambda rows: rows["age"] * 2, example=table)
    assert model.signature is not None
    assert ("age", "town", "kind", "ok") == model.signature.columns
    assert ["int64", "string", "string", "bool"] == [one.dtype for one in model.signature.inputs]
    assert [
        {"age": 1, "town": "a", "kind": "x", "ok": True},
        {"age": 2, "town": "b", "kind": "y", "ok": False},
    ] == model.example
    assert model.manifest is not None
    assert "pandas" in model.manifest.libraries


def test_table_is_tried_as_the_server_makes_it() -> None:
    """The model is asked for its example with the types and the index that come out of a request."""
    pandas: Any = import_module("pandas")
    table = pandas.DataFrame({"kind": pandas.Categorical(["x", "y"])}, index=[7, 9])

    def told(rows: Any) -> Any:
        return [f"{rows['kind'].dtype} {list(rows.index)}"] * len(rows)

    signature = pack(told, example=table).signature
    assert signature is not None
    assert "string" == signature.outputs[0].dtype
    model_input = examples.prepare(table)
    assert "category [0, 1]" == told(model_input)[0]
    assert table["kind"].dtype == model_input["kind"].dtype


def test_large_example_is_cut() -> None:
    """Not more than 64 KiB of the user's rows travel with the model."""
    model = pack(example=np.zeros((100_000, 3)))
    assert model.path is not None
    assert model.example
    assert (model.path / "example.json").stat().st_size <= 64 * 1024


def test_missing_numbers_travel_as_null() -> None:
    """NaN in an example is no obstacle; JSON has null for it."""
    model = pack(example=np.array([[1.0, np.nan, 3.0]]), allow_nan=True)
    assert [[1.0, None, 3.0]] == model.example


def test_without_example_a_fitted_width_is_known() -> None:
    """An estimator tells its width itself; a function without example takes anything."""
    fitted = LogisticRegression().fit(ROWS, [0, 1, 0, 1])
    signature = pack(fitted).signature
    assert signature is not None
    assert (Tensor("input", "float64", (-1, 3)),) == signature.inputs
    assert signature.rowwise
    free = pack().signature
    assert free is not None
    assert () == free.inputs
    assert not free.rowwise


# --- the same every time

SCRIPT = """
import sys
import numpy as np
from sklearn.ensemble import RandomForestClassifier
import sdk
rows = np.arange(60.0).reshape(20, 3)
fitted = RandomForestClassifier(3, random_state=1).fit(rows, rows[:, 0] > 30)
limit = {"a", "b", "c"}
class Own:
    def predict(self, rows):
        return rows[:, 0] * len(limit)
kinds = {"x", "y", "z"}
def function(rows):
    if "name" in {"one", "two", "three"}:
        return kinds
    return rows.sum(axis=1)
for obj in (fitted, Own, Own(), function):
    print(sdk.model(obj, name="same", example=rows[:3]).digest)
"""


def test_same_script_gives_the_same_digests(tmp_path: Path) -> None:
    """Run twice, with different hash seeds, a script packs byte for byte the same models: nothing is deployed anew."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    found: list[list[str]] = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": ""}
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=env)
        found.append(done.stdout.split())
    assert 4 == len(set(found[0]))
    assert found[0] == found[1]


def test_function_typed_into_an_interpreter_is_packed(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A function of a REPL or notebook, which is in no file, travels with the globals it uses."""
    text = textwrap.dedent("""
        import sdk
        factor = 3
        def helper(x): return x * factor
        def triple(rows): return helper(rows)
        print(sdk.model(triple, name="triple", example=[[1.0], [2.0]]).path)
    """)
    done = subprocess.run([sys.executable], input=text, capture_output=True, text=True, check=True, cwd=tmp_path)
    with serve(Model.load(done.stdout.strip())) as client:
        answer = client.post("/invocations", json={"instances": [[5.0]]}).json()
    assert {"predictions": [[15.0]]} == answer


def test_own_modules_are_written_into_the_model(serve: Callable[..., Any], tmp_path: Path) -> None:
    """What a function uses of the user's modules goes along by value; with code= they go along as files."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "helpers.py").write_text("OFFSET = 100\ndef shift(rows):\n    return rows + OFFSET\n")
    script = tmp_path / "mine" / "main.py"
    script.write_text(
        "import sys, helpers, sdk\n"
        "def predict(rows):\n    return helpers.shift(rows)\n"
        "for code in ((), sys.argv[1]):\n"
        "    print(sdk.model(predict, name='mine', example=[[1.0]], code=code).path)\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "mine" / "helpers.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    for folder, files in zip(done.stdout.split(), ([], ["helpers.py"]), strict=True):
        model = Model.load(folder)
        assert model.path is not None
        assert files == [path.name for path in model.path.glob("code/*")]
        with serve(model) as client:
            assert {"predictions": [[101.0]]} == client.post("/invocations", json={"instances": [[1.0]]}).json()


# --- saved, loaded, damaged


@pytest.mark.parametrize("target", ["copy", "copy.tar.gz"])
def test_saved_model_is_loaded_again(target: str, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved model, as folder or archive, is the same model on a machine with another store."""
    model = pack(example=ROWS)
    saved = model.save(tmp_path / target)
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path / "other"))
    again = Model.load(saved)
    assert model == again
    assert again.path == tmp_path / "other" / "models" / model.digest
    with pytest.raises(ConfigError, match="exists"):
        model.save(tmp_path / target)


def test_saved_archive_is_the_same_every_time(tmp_path: Path) -> None:
    """Two archives of one model are equal byte for byte."""
    model = pack()
    assert model.save(tmp_path / "a.tar.gz").read_bytes() == model.save(tmp_path / "b.tar.gz").read_bytes()


def damage(folder: Path, kind: str) -> None:
    """Spoil a bundle in one way."""
    victim = folder / "model" / "model.pkl"
    folder.chmod(0o755)
    if kind == "changed":
        victim.chmod(0o644)
        victim.write_bytes(victim.read_bytes()[::-1])
    elif kind == "missing":
        victim.unlink()
    elif kind == "added":
        (folder / "model" / "extra.pkl").write_bytes(b"x")
    elif kind == "link":
        victim.rename(folder.parent / "elsewhere")
        victim.symlink_to(folder.parent / "elsewhere")
    elif kind == "folder link":
        (folder / "model").rename(folder.parent / "elsewhere")
        (folder / "model").symlink_to(folder.parent / "elsewhere")
    else:
        manifest = folder / "mlport.json"
        manifest.chmod(0o644)
        manifest.write_bytes({"manifest": b"{}", "spaces": manifest.read_bytes().replace(b",", b", ")}[kind])


@pytest.mark.parametrize("kind", ["changed", "missing", "added", "link", "folder link", "manifest", "spaces"])
def test_tampered_model_is_refused(kind: str, tmp_path: Path, state: Path) -> None:
    """A saved model that differs in anything from its record is not taken, and leaves nothing in the store."""
    saved = pack().save(tmp_path / "saved")
    before = models_in(state)
    damage(saved, kind)
    with pytest.raises(LockMismatchError):
        Model.load(saved)
    assert before == models_in(state)


@pytest.mark.parametrize("kind", ["changed", "missing", "added", "manifest"])
def test_damaged_store_is_mended(kind: str, state: Path) -> None:
    """Packing again puts a damaged bundle of the store right."""
    model = pack()
    assert model.path is not None
    sound = contents(model.path)
    damage(model.path, kind)
    assert model == pack()
    assert sound == contents(model.path)
    assert [model.digest] == models_in(state)


def test_two_writers_of_one_model(state: Path) -> None:
    """Several threads that pack the same thing at once all succeed, and there is one bundle."""
    found: list[Model] = []
    threads = [threading.Thread(target=lambda: found.append(pack())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4 == len(found)
    assert 1 == len(set(found))
    assert [found[0].digest] == models_in(state)


def test_leftovers_of_killed_writers_are_swept(state: Path) -> None:
    """What a killed process left half-made is removed; what is being made now stays."""
    (state / "models" / ".new-old" / "bundle").mkdir(parents=True)
    with scratch.folder(state / "models") as now:
        model = pack()
        assert [now.name, model.digest] == models_in(state)


def test_full_disk_is_said_and_nothing_stays(state: Path) -> None:
    """When the disk is full the error says what to do, and the store is as before."""
    script = (
        "import resource, signal, sdk\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "blob = bytes(range(256)) * 8000\n"
        "def predict(rows): return len(blob)\n"
        "sdk.model(predict, name='warm-up')\n"
        "blob += b'x'\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "sdk.model(predict, name='big')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "PackagingError: no space left while writing" in done.stderr
    assert "MLPORT_STATE_DIR" in done.stderr
    assert 1 == len(models_in(state))


def test_unwritable_state_directory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory that cannot be made is named, with the variable that moves it."""
    monkeypatch.setenv("MLPORT_STATE_DIR", "/proc/mlport")
    with pytest.raises(PackagingError, match="MLPORT_STATE_DIR"):
        pack()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_state_directory_is_said(state: Path) -> None:
    """A read-only state directory is named, with the variable that moves it."""
    state.chmod(0o500)
    try:
        with pytest.raises(PackagingError, match="MLPORT_STATE_DIR"):
            pack()
    finally:
        state.chmod(0o700)


# --- what cannot be packed


def test_columns_must_be_those_of_the_fit() -> None:
    """What was fitted on a table is not packed with an array, or with a table that lacks a column."""
    pandas: Any = import_module("pandas")
    table = pandas.DataFrame(ROWS, columns=["a", "b", "c"])
    fitted = LogisticRegression().fit(table, [0, 1, 0, 1])
    with pytest.raises(ConfigError, match="example is no table"):
        pack(fitted, example=ROWS)
    with pytest.raises(ConfigError, match="example lacks the columns b, c"):
        pack(fitted, example=table[["a"]])
    with pytest.raises(ConfigError, match="two columns of one name"):
        pack(example=table.rename(columns={"b": "a"}))


def test_answers_that_are_no_arrays_are_not_described() -> None:
    """A function may return any JSON value; nothing at all is an error."""
    signature = pack(lambda rows: [{"label": "x"} for _ in rows], example=ROWS, rowwise=True).signature
    assert signature is not None
    assert () == signature.outputs
    with pytest.raises(ConfigError, match="the model returned None"):
        pack(lambda rows: None, example=ROWS)


def test_unfitted_estimator_is_refused() -> None:
    """An estimator that was not fitted is refused before anything is written."""
    with pytest.raises(PackagingError, match=r"LogisticRegression is not fitted; call its fit\(\) first"):
        pack(LogisticRegression())


def test_what_cannot_be_pickled_is_named(state: Path) -> None:
    """A function that refers to a lock is refused with the name of both."""
    lock = threading.Lock()

    def guarded(rows: Any) -> Any:
        with lock:
            return rows

    with pytest.raises(PackagingError, match=r"guarded cannot be packed: .*lock"):
        pack(guarded)
    assert [] == models_in(state)


@pytest.mark.parametrize("name", ["A", "Churn", "x", "churn\n", "a--b", "-ab", "way-too-long-for-any-platform", ""])
def test_wrong_name_is_refused(name: str) -> None:
    """A name that some platform would refuse is an error before anything else."""
    with pytest.raises(InvalidNameError, match="model name"):
        pack(name=name)


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({"text": "hi"}, r"example is a dict of single values; put it into a list if it is one row"),
        ("text", "example is str"),
        (b"bytes", "example is bytes"),
        ({1, 2}, "example is set"),
        ([], "example has no rows"),
        ([[1, 2], [3]], "make all rows equally long"),
        ({}, "empty dict"),
        ({"a": 5}, r"example is a dict of single values"),
        ({1: [5]}, "has the key 1"),
        ([object()], "use numbers, booleans or text"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "use numbers, booleans or text"),
        (np.array([1 + 2j]), "use numbers, booleans or text"),
    ],
)
def test_wrong_example_is_refused(example: Any, said: str) -> None:
    """An example that no request can carry is refused with what to give instead."""
    with pytest.raises(ConfigError, match=said):
        pack(example=example)


def test_example_that_the_model_refuses_is_said() -> None:
    """A model that fails on its own example is not packed; its own words are in the error."""
    fitted = LogisticRegression().fit(ROWS, [0, 1, 0, 1])
    with pytest.raises(PackagingError, match=r"fails on its own example: ValueError: .* expecting 3 features"):
        pack(fitted, example=[[1.0, 2.0]])


def two(rows: Any, more: Any) -> Any:
    return rows


class Needy:
    def __init__(self, size: int) -> None:
        self.size = size

    def predict(self, rows: Any) -> Any:
        return rows


@pytest.mark.parametrize(
    ("obj", "wishes", "said"),
    [
        (5, {}, "a int cannot be made a model"),
        ("model.pkl", {}, "files go to Model.from_path"),
        (two, {}, "function two cannot be called with one argument"),
        (Needy, {}, r"Needy\(\) needs arguments.*give an object"),
        (total, {"method": "predict_proba"}, "method: "),
        (total, {"code": "no/such/file.py"}, "code: .*file.py does not exist"),
        (total, {"artifacts": "x"}, "artifacts: a function model loads no files"),
        (total, {"find_links": ["no/such/folder"]}, "find_links: .*folder is no folder"),
        (total, {"requirments": ["x"]}, "unknown argument 'requirments'"),
        (total, {"rowwise": True, "example": [[1.0], [2.0]], "obj": None}, "model"),
    ],
)
def test_wrong_argument_is_named(obj: Any, wishes: dict[str, Any], said: str) -> None:
    """Each argument that cannot be used is named with the fix."""
    if "obj" in wishes:
        obj, wishes = (lambda rows: rows.sum()), {key: value for key, value in wishes.items() if key != "obj"}
        said = "rowwise=True, but the model answers 2 rows with one value in 'predict'"
    with pytest.raises(ConfigError, match=said):
        pack(obj, **wishes)


# --- images


def test_image_is_pinned_by_digest() -> None:
    """A ready-made image is a model without bundle; a tag is not enough."""
    digest = "ab" * 32
    model = Model.from_image(f"registry.example:5000/team/churn@sha256:{digest}")
    assert ("churn", digest, None, None) == (model.name, model.digest, model.path, model.signature)
    with pytest.raises(ConfigError, match="is not named by digest"):
        Model.from_image("team/churn:latest")
    with pytest.raises(ConfigError, match="has no files to save"):
        model.save("anywhere")


def test_packing_loads_nothing_early() -> None:
    """The module of models loads neither numpy nor anything else that packing needs."""
    script = (
        "import sdk.packaging.model, sys; print({'numpy', 'cloudpickle', 'click', 'rich', 'uv'} & set(sys.modules))"
    )
    assert "set()" == subprocess.check_output([sys.executable, "-c", script], text=True).strip()
