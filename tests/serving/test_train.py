"""The training entry: inputs, parameters, output, metrics, signals and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdk.serving import train

if TYPE_CHECKING:
    from pathlib import Path

REPORT = """
import json, os, sys
import helper
out = os.environ["MLPORT_OUTPUT_DIR"]
own = {k: v for k, v in os.environ.items() if k.startswith("MLPORT_")}
report = {"argv": sys.argv[1:], "env": own, "helper": helper.NAME, "cwd": os.getcwd()}
json.dump(report, open(out + "/report.json", "w"))
print("epoch 1"); print(json.dumps({"mlport_metric": {"loss": 0.5, "epoch": 1}}))
print(json.dumps({"mlport_metric": {"loss": 0.25}}))
print('{"mlport_metric": broken'); print("an error line", file=sys.stderr)
"""


class Runner:
    """Runs `train` as a process."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.repository = repository
        self.output = folder / "out"

    def start(self, script: str, *argv: str, **env: str) -> subprocess.Popen[str]:
        code = self.folder / "code"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(script)
        (self.folder / "lib").mkdir(exist_ok=True)
        (self.folder / "lib/helper.py").write_text("NAME = 'helper'")
        settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.repository),
            "MLPORT_TRAIN_SCRIPT": str(code / "train.py"),
            "MLPORT_OUTPUT_DIR": str(self.output),
            "MLPORT_CODE_DIR": str(self.folder / "lib"),
            **env,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "sdk.serving", "train", *argv],
            env={name: value for name, value in settings.items() if value},
            cwd=self.repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, *argv: str, **env: str) -> tuple[int, str]:
        process = self.start(script, *argv, **env)
        text, _ = process.communicate(timeout=60)
        return process.returncode, text


@pytest.fixture
def runner(tmp_path: Path, tools: Any) -> Runner:
    return Runner(tmp_path, tools.REPOSITORY)


def test_a_script_finds_inputs_parameters_and_output(runner: Runner, tmp_path: Path) -> None:
    """Variables and arguments carry the same; log lines pass through; the last value of each metric is kept."""
    (tmp_path / "train.csv").touch()
    params = {"C": 0.5, "name": "a b", "deep": [1, 2], "learning-rate": True}
    code, text = runner.run(
        REPORT, "--", "--extra", "1", MLPORT_DATA_TRAIN=str(tmp_path / "train.csv"), MLPORT_PARAMS=json.dumps(params)
    )
    assert 0 == code, text
    assert ["epoch 1", "an error line"] == [line for line in text.splitlines() if not line.startswith("{")]
    report = json.loads((runner.output / "report.json").read_text())
    data = str(tmp_path / "train.csv")
    expected = ["--train", data, "--C", "0.5", "--name", "a b", "--deep", "[1, 2]", "--learning-rate", "true"]
    assert [*expected, "--output", str(runner.output), "--extra", "1"] == report["argv"]
    assert data == report["env"]["MLPORT_DATA_TRAIN"]
    assert ("0.5", "true") == (report["env"]["MLPORT_PARAM_C"], report["env"]["MLPORT_PARAM_LEARNING_RATE"])
    assert params == json.loads(report["env"]["MLPORT_PARAMS"])
    assert {"epoch": 1, "loss": 0.25} == json.loads((runner.output / "metrics.json").read_text())
    assert str(tmp_path / "code") == report["cwd"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("import sys; sys.exit(7)", 7),
        ("raise ValueError('no data')", 1),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("pass", 65),
    ],
)
def test_exit_codes_tell_what_happened(runner: Runner, script: str, code: int) -> None:
    """The script's own code, 128 + signal, or 65 when there is no output."""
    actual, text = runner.run(script)
    assert code == actual, text
    if code == 1:
        assert "ValueError: no data" in text
    killed = "train: the script was killed by SIGKILL, as the system does when memory runs out"
    assert (code == 137) == text.endswith(f"{killed}\n")
    if code == 65:
        assert f"left {runner.output} empty" in text


def test_sigterm_reaches_the_script(runner: Runner) -> None:
    """A script that handles SIGTERM can save its work; its exit code is passed on."""
    process = runner.start(
        "import os, signal, sys, time\n"
        "def save(*_):\n"
        "    open(os.environ['MLPORT_OUTPUT_DIR'] + '/saved', 'w').close(); sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert 5 == process.wait(20)
    process.stdout.close()
    assert (runner.output / "saved").exists()


def fit(data: dict[str, str], params: dict[str, Any], output: str) -> Any:
    from pathlib import Path

    Path(output, "seen.txt").write_text(f"{sorted(data)} {params}")
    return {"weights": [params["C"]]}


def test_a_function_gets_what_it_names_and_its_result_is_stored(runner: Runner, tmp_path: Path, tools: Any) -> None:
    """data, params and output arrive as values; what it returns becomes model.pkl."""
    import cloudpickle  # type: ignore[import-untyped]  # it ships no types

    (tmp_path / "fit.pkl").write_bytes(tools.by_value(fit))
    code, text = runner.run(
        "",
        MLPORT_TRAIN_SCRIPT="",
        MLPORT_TRAIN_FUNCTION=str(tmp_path / "fit.pkl"),
        MLPORT_DATA_A=str(tmp_path),
        MLPORT_PARAMS='{"C": 2}',
    )
    assert 0 == code, text
    assert "['a'] {'C': 2}" == (runner.output / "seen.txt").read_text()
    assert {"weights": [2]} == cloudpickle.loads((runner.output / "model.pkl").read_bytes())


def test_sagemakers_layout_fills_what_is_not_set(tmp_path: Path, tools: Any) -> None:
    """Channels, hyperparameters (all text there) and the model folder come from /opt/ml; so does `output/failure`."""
    for folder in ("input/data/training", "input/config", "output", "model"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "input/config/hyperparameters.json").write_text('{"C": "0.5", "name": "forest", "deep": "[1]"}')
    script = tmp_path / "train.py"
    script.write_text("print('last words'); raise SystemExit(9)")
    env = {"MLPORT_TRAIN_SCRIPT": str(script)}
    job = train.plan([], env, tmp_path)
    assert {"training": str(tmp_path / "input/data/training")} == job.data
    assert {"C": 0.5, "name": "forest", "deep": [1]} == job.params
    assert tmp_path / "model" == job.output
    program = (
        f"import pathlib; from sdk.serving import train; exit(train.main([], None, pathlib.Path({str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, **env}, cwd=tools.REPOSITORY, check=False)
    assert 9 == done.returncode
    assert ["exit code 9", "last words"] == (tmp_path / "output/failure").read_text().splitlines()


def test_vertex_and_azure_output_folders(tmp_path: Path) -> None:
    """AIP_MODEL_DIR is reached through the /gcs mount; MLPORT_OUTPUT_DIR comes before everything."""
    script = tmp_path / "train.py"
    script.touch()
    env = {"MLPORT_TRAIN_SCRIPT": str(script), "AIP_MODEL_DIR": "gs://bucket/run/model"}
    nowhere = tmp_path / "none"
    assert "/gcs/bucket/run/model" == str(train.plan([], env, nowhere).output)
    assert str(tmp_path / "o") == str(train.plan([], {**env, "MLPORT_OUTPUT_DIR": str(tmp_path / "o")}, nowhere).output)


@pytest.mark.parametrize(
    ("env", "word"),
    [
        ({}, "exactly one of"),
        ({"MLPORT_TRAIN_SCRIPT": "/none.py", "MLPORT_OUTPUT_DIR": "/tmp/x"}, "is no file"),
        ({"MLPORT_TRAIN_SCRIPT": __file__}, "MLPORT_OUTPUT_DIR"),
        ({"MLPORT_TRAIN_SCRIPT": __file__, "MLPORT_OUTPUT_DIR": "/tmp/x", "MLPORT_PARAMS": "{"}, "no valid JSON"),
        ({"MLPORT_TRAIN_SCRIPT": __file__, "MLPORT_OUTPUT_DIR": "/tmp/x", "MLPORT_PARAMS": "[1]"}, "JSON object"),
        ({"MLPORT_TRAIN_SCRIPT": __file__, "MLPORT_OUTPUT_DIR": "/tmp/x", "MLPORT_PARAMS": '{"a b": 1}'}, "'a b'"),
        (
            {"MLPORT_TRAIN_SCRIPT": __file__, "MLPORT_OUTPUT_DIR": "/tmp/x", "MLPORT_DATA_T": "/none"},
            "'t' is not there",
        ),
    ],
)
def test_wrong_settings_are_a_sentence(
    env: dict[str, str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 before anything runs, naming the setting."""
    assert 2 == train.main([], env, tmp_path / "none")
    assert word in capsys.readouterr().err
