"""Training jobs as real processes: inputs, outcome, every way to fail, and what a job leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sdk.adapter import Ref
from sdk.adapter.types import JobState, Resources
from sdk.errors import ConfigError, ConflictError, LockMismatchError, NotFoundError, PackagingError, UnsupportedError
from sdk.packaging import bundle, training
from sdk.packaging.model import Model
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = """
import argparse, json, os, pathlib
import helper
parser = argparse.ArgumentParser()
parser.add_argument("--rows")
parser.add_argument("--scale", type=float)
parser.add_argument("--output")
given = parser.parse_args()
assert given.rows == os.environ["MLPORT_DATA_ROWS"]
print("factor", helper.FACTOR)
print(json.dumps({"mlport_metric": {"loss": given.scale / 2}}))
text = pathlib.Path(given.rows).read_text()
pathlib.Path("scratch").write_text("beside the script")
pathlib.Path(given.output, "sum.txt").write_text(str(given.scale * sum(map(float, text.split(",")))))
"""
LONG = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a training script, with a module beside it."""
    (tmp_path / "helper.py").write_text("FACTOR = 3\n")

    def write(text: str) -> Path:
        path = tmp_path / "train.py"
        path.write_text(text)
        return path

    return write


def test_good_job(local: Any, name: str, script: Callable[[str], Path], tmp_path: Path, state: Path) -> None:
    """A script gets data, parameters and its own modules; its lines, metrics and output come back."""
    (tmp_path / "rows.csv").write_text("1,2,3")
    program = local.submit(script(GOOD), name, data={"rows": str(tmp_path / "rows.csv")}, params={"scale": 0.5})
    status = local.finished(name)
    assert (JobState.SUCCEEDED, 0, None) == (status.state, status.exit_code, status.reason)
    assert status.created_at <= status.started_at <= status.ended_at
    lines = [line.text for line in local.adapter.job_logs(name)]
    assert ["factor 3", '{"mlport_metric": {"loss": 0.25}}'] == lines
    assert lines[-1:] == [line.text for line in local.adapter.job_logs(name, tail=1)]
    assert {"loss": 0.25} == json.loads((state / "jobs" / name / "metrics.json").read_bytes())
    local.adapter.job_output(name, tmp_path / "out", timeout=5)
    assert {"sum.txt": "3.0"} == {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert program == training.load(program.digest[:32])
    live = local.adapter.read(Ref("Job", name), timeout=5)
    assert ("ready", "succeeded", 0.0) == (live.state, live.raw, live.usd_per_hour)


@pytest.mark.parametrize(
    "case",
    [
        ("import sys\nprint('bad luck')\nsys.exit(3)", {}, "exit code 3"),
        ("print('nothing')", {}, "left nothing in its output folder"),
        ("import time\nprint('slow', flush=True)\ntime.sleep(60)", {"timeout_s": 1.0}, "timed out after 1 s"),
        (
            "import time\nprint('eating', flush=True)\nx = b'x' * 2**29\ntime.sleep(60)",
            {"resources": Resources(memory_gib=0.25)},
            "out of memory",
        ),
        ("import os, signal\nprint('bye', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)", {}, "killed by SIGKILL"),
        ("import os, signal\nprint('bye', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)", {}, "killed by SIGSEGV"),
        ("import no_such_module_anywhere", {}, "exit code 1"),
    ],
)
def test_failed_job(local: Any, name: str, script: Callable[[str], Path], case: tuple[str, Any, str]) -> None:
    """Each way to fail has its reason, and the last lines are there."""
    text, spec, reason = case
    local.submit(script(text), name, **spec)
    status = local.finished(name)
    assert JobState.FAILED == status.state
    assert reason in status.reason
    assert list(local.adapter.job_logs(name, tail=5))


def test_stop(local: Any, name: str, script: Callable[[str], Path]) -> None:
    """A stopped job and all it started are gone; stopping it again does nothing."""
    local.submit(script(LONG), name)
    follow = local.adapter.job_logs(name, follow=True)
    assert "started" == next(follow).text
    running = local.adapter.read(Ref("Job", name), timeout=5)
    assert ("ready", "running") == (running.state, running.raw)
    local.adapter.stop_job(name, timeout=5)
    status = local.finished(name)
    assert (JobState.STOPPED, "stopped on request") == (status.state, status.reason)
    assert [] == processes_of(name)
    local.adapter.stop_job(name, timeout=5)
    assert JobState.STOPPED == local.finished(name).state


def test_killed_runner(local: Any, name: str, script: Callable[[str], Path]) -> None:
    """A job whose runner is killed with -9 has failed, says so, and leaves no process."""
    local.submit(script(LONG), name)
    assert "started" == next(local.adapter.job_logs(name, follow=True)).text
    for runner in [one for one in processes_of(name) if "_runner.py" in " ".join(one.cmdline())]:
        runner.kill()
    until(lambda: local.adapter.job_status(name, timeout=5).state != JobState.RUNNING)
    status = local.adapter.job_status(name, timeout=5)
    assert JobState.FAILED == status.state
    assert "killed" in status.reason
    assert [] == processes_of(name)


def test_running_job_is_deleted(local: Any, name: str, script: Callable[[str], Path], state: Path) -> None:
    """Deleting a running job ends it first."""
    local.submit(script(LONG), name)
    local.delete(name)
    assert not (state / "jobs" / name).exists()
    assert [] == processes_of(name)


def test_outlives_the_submitter(
    local: Any, name: str, script: Callable[[str], Path], state: Path, tmp_path: Path
) -> None:
    """A job goes on when whoever submitted it is gone."""
    text = (
        "import os, pathlib, time\ntime.sleep(1)\npathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'x').write_text('done')"
    )
    program = training.job_bundle(script(text))
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from sdk.adapter import AdapterContext, JobSpec, Labels, Materials\n"
        "from sdk.packaging import training\n"
        "from sdk.util.redact import Redactor\n"
        "from sdk.util.waiting import SystemClock\n"
        "from sdk_local import LocalAdapter, LocalOptions\n"
        "state, name, program = Path(sys.argv[1]), sys.argv[2], training.load(sys.argv[3])\n"
        "adapter = LocalAdapter(LocalOptions(), AdapterContext('local', 'me', state, SystemClock(), Redactor()))\n"
        "spec = JobSpec(name, Labels(name, 'me', 't1'), program.path, program.digest, timeout_s=60)\n"
        "for resource in adapter.job_resources(spec):\n"
        "    adapter.create(resource, Materials(job=spec), timeout=60)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(state), name, program.digest]
    assert -9 == subprocess.run(command, check=False, timeout=60).returncode
    assert JobState.SUCCEEDED == local.finished(name).state


def test_name_taken(local: Any, name: str, script: Callable[[str], Path]) -> None:
    """A second job of the same name is refused and the first one is left alone."""
    local.submit(script("import time\ntime.sleep(60)"), name)
    with pytest.raises(ConflictError):
        local.submit(script("print('another')"), name)
    assert JobState.RUNNING == local.adapter.job_status(name, timeout=5).state


def test_environment(local: Any, name: str, script: Callable[[str], Path], monkeypatch: Any, state: Path) -> None:
    """A job sees what it was given and no cloud key of ours; its secrets are on no disk."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    secret = "s3cr3t-of-a-job"
    text = (
        "import os, pathlib\n"
        "seen = {one for one in os.environ if one.startswith(('AWS_', 'GOOGLE_', 'AZURE_', 'SSH_'))}\n"
        "print(sorted(seen), os.environ['GREETING'], os.environ['OMP_NUM_THREADS'], len(os.environ['TOKEN']))\n"
        "pathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'x').touch()\n"
    )
    local.submit(
        script(text),
        name,
        env={"GREETING": "hello"},
        secrets={"TOKEN": "t"},
        secret=lambda _: secret,
        resources=Resources(cpu=1),
    )
    local.finished(name)
    assert [f"[] hello 1 {len(secret)}"] == [line.text for line in local.adapter.job_logs(name)]
    assert [] == [path for path in state.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "case",
    [
        ({"rows": "s3://bucket/rows.csv"}, UnsupportedError, "s3"),
        ({"rows": "https://example.com/rows.csv"}, UnsupportedError, "https"),
        ({"rows": "/no/such/file.csv"}, ConfigError, "data.rows"),
        ({"my rows": "/etc"}, ConfigError, "my rows"),
    ],
)
def test_wrong_data(local: Any, name: str, script: Callable[[str], Path], case: tuple[Any, Any, str]) -> None:
    """Data that is not on this machine is refused, naming the input."""
    data, error, text = case
    with pytest.raises(error, match=text):
        local.submit(script("print(1)"), name, data=data)
    assert local.adapter.job_status(name, timeout=5) is None


def test_function_becomes_an_endpoint(local: Any, name: str, tmp_path: Path) -> None:
    """What a function returns is deployed with the lock and the code it was trained with, which is checked."""

    def train(data: dict[str, str], params: dict[str, float]) -> Any:
        from pathlib import Path

        weight = float(Path(data["weight"]).read_text()) * params["scale"]

        class Scaled:
            def predict(self, rows: Any) -> Any:
                return rows * weight

        return Scaled()

    (tmp_path / "weight.txt").write_text("4")
    program = local.submit(train, name, data={"weight": f"file://{tmp_path}/weight.txt"}, params={"scale": 0.5})
    assert JobState.SUCCEEDED == local.finished(name).state
    local.adapter.job_output(name, tmp_path / "out", timeout=5)
    manifest, folder = training.result(program, tmp_path / "out", name="scaled", example=[[1.0]])
    assert program == training.load(program.digest)
    assert program.manifest.lock_sha256 == manifest.lock_sha256
    assert {"program": program.digest, "code_sha256": program.code_sha256} == manifest.options["trained_by"]
    local.delete(name)
    local.deploy(Model(manifest.name, manifest.digest, folder, manifest), name)
    assert [[6.0]] == local.predict(name, [[3.0]])


@pytest.mark.full  # fetches and unpacks scikit-learn into an environment of its own
def test_estimator_becomes_an_endpoint(local: Any, name: str, tmp_path: Path) -> None:
    """An estimator that a function returns is written in a safe format inside the job, with what it says of itself."""
    pytest.importorskip("sklearn")

    def train(params: dict[str, float]) -> Any:
        import numpy as np
        from sklearn.linear_model import LinearRegression

        return LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 1.0 + params["slope"]]))

    program = local.submit(train, name, params={"slope": 2.0})
    assert JobState.SUCCEEDED == local.finished(name).state, list(local.adapter.job_logs(name))
    local.adapter.job_output(name, tmp_path / "out", timeout=5)
    manifest, folder = training.result(program, tmp_path / "out", name="line")
    assert ("sklearn", "skops", None) == (manifest.flavour, manifest.format, manifest.trust)
    assert manifest.signature.rowwise
    assert [(-1, 1)] == [one.shape for one in manifest.signature.inputs]
    local.delete(name)
    local.deploy(Model(manifest.name, manifest.digest, folder, manifest), name)
    assert [pytest.approx(7.0)] == local.predict(name, [[3.0]])


def test_another_pipeline_is_refused(script: Callable[[str], Path], times: Callable[[float], Model]) -> None:
    """A model that has another lock or other code than the program that is said to have made it is refused."""
    program = training.job_bundle(script("import cloudpickle, helper"))
    made = times(2)
    assert made.path is not None
    assert made.manifest is not None
    with pytest.raises(LockMismatchError, match=r"another (lock|code)"):
        training.check_pipeline(program, made.manifest)
    with pytest.raises(LockMismatchError):
        training.result(program, made.path, name="other")


def test_output_without_a_model(script: Callable[[str], Path], tmp_path: Path) -> None:
    """An output folder with no model file, or with two, is refused and its files are named."""
    program = training.job_bundle(script("import helper"))
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.md").write_text("x")
    with pytest.raises(PackagingError, match=r"notes\.md"):
        training.result(program, out, name="none")
    for name in ("a.onnx", "b.onnx"):
        (out / name).write_bytes(b"x")
    with pytest.raises(PackagingError, match="2 model files"):
        training.result(program, out, name="two")


def test_program_is_sealed(script: Callable[[str], Path]) -> None:
    """The same script is the same program; a changed file of it is found, and it is not run."""
    first = training.job_bundle(script("import helper\nprint(1)"))
    assert first.digest == training.job_bundle(script("import helper\nprint(1)")).digest
    assert first.digest != training.job_bundle(script("import helper\nprint(2)")).digest
    target = first.path / "code" / "helper.py"
    target.chmod(0o600)
    target.write_text("FACTOR = 4\n")
    with pytest.raises(LockMismatchError, match=r"helper\.py"):
        training.load(first.digest)
    assert first.digest == training.job_bundle(script("import helper\nprint(1)")).digest
    bundle.verify(first.path)


@pytest.mark.parametrize(
    ("entry", "text"), [("nowhere.py", "nowhere.py"), ("/etc/hostname", "hostname"), (42, "int cannot train")]
)
def test_wrong_entry(state: Path, entry: Any, text: str) -> None:
    """What cannot be a training program is refused, naming it."""
    with pytest.raises(ConfigError, match=text):
        training.job_bundle(entry)


def test_syntax_error(script: Callable[[str], Path]) -> None:
    """A script that Python cannot read is refused with the line, before anything is made."""
    with pytest.raises(ConfigError, match="line 2"):
        training.job_bundle(script("x = 1\ny = = 2\n"))


def test_no_such_job(local: Any) -> None:
    """A job that is not there has no status; everything else is a NotFoundError."""
    assert local.adapter.job_status("nobody", timeout=5) is None
    with pytest.raises(NotFoundError):
        local.adapter.stop_job("nobody", timeout=5)
    with pytest.raises(NotFoundError):
        next(local.adapter.job_logs("nobody"))


def processes_of(name: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("MLPORT_OUTPUT_DIR", "")]
        except (psutil.Error, OSError):
            continue
        if any(f"/jobs/{name}" in word for word in words):
            found.append(process)
    return found
