"""The first commands of a new user work as they are printed, and what is missing is said with the way to get it."""

import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import sdk
from sdk.cli.template import TEMPLATE
from sdk.errors import ConfigError, InvalidNameError
from sdk.packaging.plain import PlainArray

Run = Callable[..., subprocess.CompletedProcess[str]]
BARE = {key: value for key, value in os.environ.items() if "MLPORT_" not in key or key == "MLPORT_CACHE_DIR"}
HIDE = "import sys; sys.modules.update(dict.fromkeys({names!r})); "


@pytest.fixture(scope="module")
def fitted() -> LogisticRegression:
    return LogisticRegression().fit([[0.0], [1.0]], [0, 1])


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"), [("model.pkl", "model"), ("Churn_Model v2.pkl", "churn-model-v2"), ("1.pkl", "model-1")]
)
def test_file_needs_no_name(call: Run, tmp_path: Path, fitted: LogisticRegression, file: str, name: str) -> None:
    """The model is called after its file, in letters that every platform takes."""
    (tmp_path / file).write_bytes(pickle.dumps(fitted))
    done = call("plan", file, "--trust", "pickle", "-o", "json")
    assert (0, name) == (done.returncode, json.loads(done.stdout)["name"]), done.stderr


def test_name_that_cannot_be_made_is_asked_for(call: Run, tmp_path: Path, fitted: LogisticRegression) -> None:
    """A file name without a usable character says how to give a name."""
    (tmp_path / "模型.pkl").write_bytes(pickle.dumps(fitted))
    done = call("plan", "模型.pkl", "--trust", "pickle")
    assert (3, "") == (done.returncode, done.stdout)
    assert "--name" in done.stderr
    with pytest.raises(InvalidNameError, match="name="):
        sdk.Model.from_path(tmp_path / "模型.pkl", trust="pickle")


def test_pickle_without_trust_is_no_stack_trace(call: Run, tmp_path: Path, fitted: LogisticRegression) -> None:
    """The usual joblib file says what is to be said."""
    (tmp_path / "model.joblib").write_bytes(pickle.dumps(fitted))
    done = call("plan", "model.joblib")
    assert (3, False) == (done.returncode, "Traceback" in done.stderr)
    assert "--trust pickle" in done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "MODEL is empty"),
        (".", "the folder '.' holds no model"),
        ("/", "the folder '/' holds no model"),
        ("https://example.com/model.onnx", "download it"),
        ("models", "models:NAME"),
        ("models.py", "models:NAME"),
        ("model.onnx", "there is no file 'model.onnx' in "),
        ("churn", "'churn' is not a model"),
    ],
)
def test_what_is_not_a_model_is_refused_with_the_next_step(call: Run, tmp_path: Path, given: str, words: str) -> None:
    (tmp_path / "models.py").write_text("def double(rows): return rows\n")
    done = call("plan", given)
    assert (3, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines())), done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("saved", ["saved.mlport", "saved.tar.gz", "saved.tgz", "saved"])
def test_saved_model_is_a_model(call: Run, tmp_path: Path, home: Path, saved: str) -> None:
    """What `Model.save` writes, folder or archive, is taken by every verb that takes a model."""
    packed = json.loads(call("build", "models:double", "--pack-only", "-o", "json").stdout)
    sdk.Model.load(packed["path"]).save(tmp_path / saved)
    again = json.loads(call("build", saved, "--pack-only", "-o", "json").stdout)
    assert (packed["digest"], "double") == (again["digest"], again["name"])


def test_archive_that_is_not_written_is_refused(call: Run, tmp_path: Path) -> None:
    """`save` never makes a folder that is called like an archive."""
    packed = json.loads(call("build", "models:double", "--pack-only", "-o", "json").stdout)
    with pytest.raises(ConfigError, match=r"\.tar\.gz"):
        sdk.Model.load(packed["path"]).save(tmp_path / "x.zip")


def test_compare_takes_a_file_without_a_name(call: Run, tmp_path: Path, fitted: LogisticRegression) -> None:
    """The outlook of a comparison is made for a bare model file."""
    (tmp_path / "churn.pkl").write_bytes(pickle.dumps(fitted))
    done = call("compare", "churn.pkl", "-t", "local", "--trust", "pickle", "--dry-run")
    assert (0, "local") == (done.returncode, "local" if "local" in done.stdout else done.stderr)


# --- deploy of what is not packed -----------------------------------------------------------------------------------


def test_estimator_is_deployed_as_it_is(
    state: Path, fitted: LogisticRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`deploy` and its relatives pack what `sdk.model` takes, with its arguments."""
    monkeypatch.setenv("MLPORT_STATE_DIR", str(state))
    with sdk.Client(target="local") as client:
        plan = client.plan(fitted, name="churn", example=np.ones((2, 1)))
        packed = sdk.model(fitted, name="churn", example=np.ones((2, 1)))
        assert packed.digest[:32] == plan.steps[0].ref.id
        with client.temporary(lambda rows: rows, name="echo") as endpoint:
            assert [[1]] == endpoint.predict([[1]]).values


@pytest.mark.parametrize(
    ("model", "arguments", "fix"),
    [
        (len, {}, "name="),
        ("churn.onnx", {"name": "churn"}, "from_path"),
        (Path("saved"), {}, "Model.load"),
        (len, {"name": "churn", "exampel": [[1]]}, "example"),
    ],
)
def test_what_cannot_be_deployed_says_the_fix(model: Any, arguments: dict[str, Any], fix: str) -> None:
    """A wrong first argument is told with the call that is right."""
    with pytest.raises(ConfigError, match=fix):
        sdk.Client(env={}).plan(model, target="local", **arguments)


def test_packed_model_takes_no_example(tmp_path: Path) -> None:
    """What would be ignored is refused."""
    image = sdk.Model.from_image("registry.example/churn@sha256:" + "ab" * 32)
    with pytest.raises(ConfigError, match="packed already"):
        sdk.Client(env={}).plan(image, target="local", example=[[1]])


# --- what `init` writes ---------------------------------------------------------------------------------------------


def test_every_block_of_init_is_accepted(call: Run, tmp_path: Path) -> None:
    """Each commented block, taken as it is, passes mlport's own checks of its provider."""
    lines = [line.removeprefix("# ") if re.match(r"# (\[|\w+ = )", line) else line for line in TEMPLATE.splitlines()]
    (tmp_path / "mlport.toml").write_text("\n".join(lines))
    shown = json.loads(call("config", "show", "-o", "json").stdout)
    targets = tomllib.loads("\n".join(lines))["target"]
    assert {f"target.{name}.provider" for name in targets} <= {row["key"] for row in shown}
    for name in targets:
        done = call("capabilities", "-t", name)
        assert 0 == done.returncode, done.stderr


# --- what is not installed ------------------------------------------------------------------------------------------

TARGETS = """
[target.aws]
provider = "sagemaker"
region = "eu-west-1"
[target.gcp]
provider = "vertex"
project = "acme-ml"
region = "europe-west4"
[target.azure]
provider = "azureml"
subscription = "00000000-0000-0000-0000-000000000000"
resource_group = "rg"
workspace = "mlport"
"""
MISSING = [
    (["boto3"], "list -t aws", "mlport[sagemaker]"),
    (["google", "google.auth"], "list -t gcp", "mlport[vertex]"),
    (["azure", "azure.identity"], "list -t azure", "mlport[azureml]"),
    (["uvicorn"], "mock up vertex --detach", "mlport[mock]"),
    (["scipy"], "compare models:double -t local", "mlport[compare]"),
]


@pytest.mark.parametrize(("names", "command", "extra"), MISSING, ids=str)
def test_missing_extra_is_named(tmp_path: Path, home: Path, names: list[str], command: str, extra: str) -> None:
    """Without the packages of an extra a command ends with the line that installs it, and no stack trace."""
    (tmp_path / "mlport.toml").write_text(TARGETS)
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(names=names))
    env = BARE | {"PYTHONPATH": f"{tmp_path}:{home}", "MLPORT_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-m", "sdk", *command.split()],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (3, "") == (done.returncode, done.stdout)
    assert done.stderr.rstrip().endswith(f'pip install "{extra}"')
    assert 1 == len(done.stderr.splitlines()), done.stderr


# --- without numpy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [[[1, 2], [3, 4]], [1, 2.5], [True, False], ["a", "b"], [[True, 1]], [[[1.5]]], [float("nan"), 1]]
)
def test_plain_arrays_are_like_numpys(value: list[Any]) -> None:
    """Shape, type and values are those that numpy finds."""
    ours, numpys = PlainArray(value), np.asarray(value)
    assert (numpys.shape, numpys.dtype.kind) == (ours.shape, ours.dtype.kind)
    assert str(numpys.tolist()) == str(ours.tolist()) or numpys.dtype.kind == "i"


@pytest.mark.parametrize("value", [[[1], [1, 2]], [1, None], [1, "a"], [2**70]])
def test_plain_arrays_refuse_what_has_no_type(value: list[Any]) -> None:
    """Ragged rows, missing values and mixed types are not guessed."""
    with pytest.raises(ValueError, match=r"rows|values|numbers"):
        PlainArray(value)


def test_function_is_packed_without_numpy(state: Path, home: Path) -> None:
    """A base installation packs a plain function with its example, as one with numpy does."""
    script = (
        "import sdk, models; m = sdk.model(models.double, name='plain-double', example=[[1, 2], [3, 4]]); "
        "print(m.signature, m.example, 'numpy' in [n for n, v in __import__('sys').modules.items() if v])"
    )
    env = BARE | {"PYTHONPATH": str(home), "MLPORT_STATE_DIR": str(state)}
    hidden = HIDE.format(names=["numpy"])
    done = [
        subprocess.check_output([sys.executable, "-c", code], env=env, text=True, cwd=home)
        for code in (hidden + script, script)
    ]
    assert done[0].replace("False\n", "True\n") == done[1]
    assert done[0].endswith("False\n")
