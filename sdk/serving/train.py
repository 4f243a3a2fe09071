"""The role `train`: runs the user's training script or function with the same contract on every target.

The caller sets:

| variable | meaning |
| --- | --- |
| `MLPORT_TRAIN_SCRIPT` | path of the script, run as `python -u SCRIPT …` in its own folder |
| `MLPORT_TRAIN_FUNCTION` | or path of a cloudpickled function; it gets those of `data`, `params`, `output` it names |
| `MLPORT_DATA_<NAME>` | path of the input called NAME (letters, digits and underscores) |
| `MLPORT_PARAMS` | the parameters as a JSON object |
| `MLPORT_OUTPUT_DIR` | folder for the results; everything in it is kept |
| `MLPORT_METRICS_FILE` | where the metrics are written; default `metrics.json` in the output folder |
| `MLPORT_CODE_DIR` | folder of further modules, put on the import path |

The script gets: all of these, `MLPORT_PARAM_<KEY>` for each parameter (upper case, dots and dashes as `_`), and
on its command line `--<name> PATH` for each input, `--<key> VALUE` for each parameter (text as it is, everything else
as JSON) and `--output PATH`; arguments after `train --` follow. A value that a function returns is stored in the output
folder: a model in the format that mlport would pack it in, if the folder `lib` with the modules for that is beside the
function; everything else as `model.pkl` (cloudpickle).

A metric is one line on standard output: `{"mlport_metric": {"accuracy": 0.93}}`. The last value of each name is
written to the metrics file. All lines are passed through unchanged.

SIGTERM and SIGINT are passed on. The exit code is the script's; 128 + N if signal N ended it, which the last line
reports if the signal was not passed on; 2 if the settings are invalid; 65 if the script succeeded but left the output
folder empty.

If SageMaker's folder layout is present, its channels, hyperparameters and model folder replace settings that are
missing, and the reason of a failure is written to `output/failure`. On Vertex AI, `AIP_MODEL_DIR` (`gs://…`) names the
output folder, which is written through the `/gcs` mount.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .failures import EXIT_CONFIG, StartError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

EXIT_NO_OUTPUT = 65
KILLED = "train: the script was killed by "
"""The beginning of the last line if a signal ended the script that was not sent to stop the job."""

_LAST_LINES = 50
_METRIC = b'{"mlport_metric"'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training run as described by its settings."""

    command: list[str]
    folder: Path
    data: dict[str, str]
    params: dict[str, Any]
    output: Path
    metrics: Path
    code: str = ""
    arguments: list[str] = field(default_factory=list[str])


def main(argv: list[str], env: Mapping[str, str] | None = None, root: Path | None = None) -> int:
    """Run one training job and return its exit code; `root` is the folder of SageMaker's layout, if any."""
    env = os.environ if env is None else env
    root = Path(env.get("MLPORT_ROOT") or "/", "opt/ml") if root is None else root
    try:
        job = plan(argv, env, root)
    except StartError as error:
        sys.stderr.write(f"train: {error.message}\n")
        return EXIT_CONFIG
    job.output.mkdir(parents=True, exist_ok=True)
    last: deque[str] = deque(maxlen=_LAST_LINES)
    code = _run(job, dict(env), last)
    if code == 0 and not any(job.output.iterdir()):
        _say(f"train: the script ended well but left {job.output} empty; write the model there", last)
        code = EXIT_NO_OUTPUT
    if code and (root / "output").is_dir():
        (root / "output" / "failure").write_text("\n".join([f"exit code {code}", *last]), "utf-8")
    return code


def plan(argv: list[str], env: Mapping[str, str], root: Path) -> TrainingRun:
    """Read the job from the settings.

    Raises:
        StartError: a setting is missing or invalid; the message names it.
    """
    command, folder = _command(env)
    output = _output(env, root)
    return TrainingRun(
        command=command,
        folder=folder,
        data=_data(env, root),
        params=_params(env, root),
        output=output,
        metrics=Path(env.get("MLPORT_METRICS_FILE") or output / "metrics.json"),
        code=env.get("MLPORT_CODE_DIR", ""),
        arguments=argv[1:] if argv[:1] == ["--"] else argv,
    )


def _command(env: Mapping[str, str]) -> tuple[list[str], Path]:
    given = [name for name in ("MLPORT_TRAIN_SCRIPT", "MLPORT_TRAIN_FUNCTION") if env.get(name)]
    if len(given) != 1:
        raise StartError("set exactly one of MLPORT_TRAIN_SCRIPT and MLPORT_TRAIN_FUNCTION")
    path = Path(env[given[0]]).absolute()
    if not path.is_file():
        raise StartError(f"{given[0]}={path} is no file")
    if given == ["MLPORT_TRAIN_SCRIPT"]:
        return [sys.executable, "-u", str(path)], path.parent
    # -P keeps the modules next to the child off the import path, where they would shadow the user's.
    return [sys.executable, "-u", "-P", str(Path(__file__).with_name("train_function.py"))], Path.cwd()


def _output(env: Mapping[str, str], root: Path) -> Path:
    if env.get("MLPORT_OUTPUT_DIR"):
        return Path(env["MLPORT_OUTPUT_DIR"]).absolute()
    vertex = env.get("AIP_MODEL_DIR", "")
    if vertex:
        return Path(re.sub(r"^gs://", "/gcs/", vertex))
    if root.is_dir():
        return root / "model"
    raise StartError("set MLPORT_OUTPUT_DIR to the folder that keeps the results")


def _data(env: Mapping[str, str], root: Path) -> dict[str, str]:
    channels = root / "input" / "data"
    data = {one.name: str(one) for one in sorted(channels.iterdir()) if one.is_dir()} if channels.is_dir() else {}
    for name, path in env.items():
        if name.startswith("MLPORT_DATA_"):
            data[name.removeprefix("MLPORT_DATA_").lower()] = path
    for name, path in data.items():
        if not Path(path).exists():
            raise StartError(f"the input {name!r} is not there: {path}")
    return data


def _params(env: Mapping[str, str], root: Path) -> dict[str, Any]:
    sagemaker = root / "input" / "config" / "hyperparameters.json"
    params: dict[str, Any] = {}
    if sagemaker.is_file():
        params = {key: _unquoted(value) for key, value in _object(sagemaker.read_text("utf-8"), str(sagemaker)).items()}
    if env.get("MLPORT_PARAMS"):
        params |= _object(env["MLPORT_PARAMS"], "MLPORT_PARAMS")
    for key in params:
        if not _NAME.fullmatch(key):
            raise StartError(f"parameter {key!r} must be letters, digits, underscores, dots and dashes")
    return params


def _object(text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StartError(f"{source} is no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise StartError(f"{source} must be a JSON object")
    return cast("dict[str, Any]", value)


def _unquoted(value: Any) -> Any:
    """Parse a hyperparameter as JSON if possible, since SageMaker passes all of them as text."""
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return value


def environment(job: TrainingRun, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the script."""
    made = {f"MLPORT_DATA_{_upper(name)}": path for name, path in job.data.items()}
    made |= {f"MLPORT_PARAM_{_upper(key)}": _text(value) for key, value in job.params.items()}
    made |= {
        "MLPORT_PARAMS": json.dumps(job.params),
        "MLPORT_OUTPUT_DIR": str(job.output),
        "MLPORT_METRICS_FILE": str(job.metrics),
    }
    if job.code:
        made["PYTHONPATH"] = os.pathsep.join(filter(None, [job.code, env.get("PYTHONPATH", "")]))
    return {"PYTHONFAULTHANDLER": "1", **env, **made}  # a crash of the interpreter prints the script's lines


def arguments(job: TrainingRun) -> list[str]:
    """Return the command-line arguments of the script."""
    pairs = [
        *job.data.items(),
        *((key, _text(value)) for key, value in job.params.items()),
        ("output", str(job.output)),
    ]
    return [*(part for name, value in pairs for part in (f"--{name}", value)), *job.arguments]


def _upper(name: str) -> str:
    return re.sub(r"[.-]", "_", name).upper()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _run(job: TrainingRun, env: dict[str, str], last: deque[str]) -> int:
    process = subprocess.Popen(  # noqa: S603 - running the user's script is the purpose
        [*job.command, *arguments(job)],
        cwd=job.folder,
        env=environment(job, env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    passed: list[int] = []

    def pass_on(received: int, _frame: FrameType | None) -> None:
        passed.append(received)
        process.send_signal(received)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    assert process.stdout is not None  # noqa: S101 - PIPE was set above
    metrics: dict[str, Any] = {}
    with process.stdout as lines:
        for line in lines:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            last.append(line.decode("utf-8", "replace").rstrip("\n"))
            if line.startswith(_METRIC):
                metrics |= _metric(line)
    code = process.wait()
    if metrics:
        _store_metrics(job.metrics, metrics)
    if code < 0 and not passed:
        _say(f"{KILLED}{killed_by(-code)}", last)
    return code if code >= 0 else 128 - code


def _say(text: str, last: deque[str]) -> None:
    last.append(text)
    sys.stderr.write(f"{text}\n")


def killed_by(number: int) -> str:
    """Return the name of the signal that ended a process, with its usual cause.

    Example:
        >>> killed_by(9)
        'SIGKILL, as the system does when memory runs out'
    """
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}, as the system does when memory runs out" if number == signal.SIGKILL else name


def _metric(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)["mlport_metric"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON object


def _store_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write the metrics; keep those that the script itself wrote to the file, unless it printed them too."""
    own: dict[str, Any] = {}
    if path.is_file():
        own = _object(path.read_text("utf-8"), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**own, **metrics}, sort_keys=True, indent=1) + "\n", "utf-8")
