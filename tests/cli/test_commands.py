"""The commands, run as a user runs them, on the `local` target."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_init_writes_a_configuration_that_is_valid(run: Run, tmp_path: Path) -> None:
    """`init` writes once, and what it wrote is read back by `config show`."""
    assert run("init").returncode == 0
    assert tomllib.loads((tmp_path / "mlport.toml").read_text())["default"] == "laptop"
    again = run("init")
    assert (again.returncode, again.stdout) == (3, "")
    assert "--force" in again.stderr
    shown = json.loads(run("config", "show", "-o", "json").stdout)
    row = next(row for row in shown if row["key"] == "default")
    assert row["value"] == "laptop"
    assert str(tmp_path) in row["source"]


def test_commented_lines_of_the_template_are_valid(run: Run, tmp_path: Path) -> None:
    """Taking the comment signs away gives TOML that parses."""
    run("init")
    lines = (tmp_path / "mlport.toml").read_text().splitlines()
    code = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in lines]
    assert set(tomllib.loads("\n".join(code))["target"]) == {"laptop", "box", "aws", "gcp", "azure"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("depoly",), 2, "deploy"),
        (("status", "nobody"), 5, "mlport list"),
        (("status", "Bad Name"), 3, "bad-name"),
        (("status", "x" * 24), 3, "3 to 23 characters"),
        (("list", "-t", "locl"), 3, "local"),
        (("deploy", "nothing-here"), 3, "is not a model; give a file"),
        (("deploy", "models:nothing", "-n", "m"), 3, "cannot import"),
        (("deploy", "models:double", "--env", "A"), 2, "KEY=VALUE"),
        (("deploy", "models:double", "--env", "A=1", "--env", "A=2"), 2, "twice"),
        (("deploy", "models:double", "--replicas", "many"), 2, "MIN:MAX"),
        (("deploy", "models:double", "--ttl", "soon"), 2, "30m"),
        (("deploy", "models:double", "--traffic", "101"), 3, "0 to 100"),
        (("predict", "nobody", "[1"), 2, "the text cannot be read: it is no JSON"),
        (("predict", "nobody", "@absent.json"), 2, "absent.json"),
        (("traffic", "nobody", "half"), 2, "percent"),
    ],
)
def test_bad_input_names_the_fix(call: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    """Wrong usage, configuration and names end with their exit code; nothing is on standard output."""
    done = call(*arguments)
    assert (code, "") == (done.returncode, done.stdout)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_error_as_json_is_one_object(call: Run) -> None:
    """With `-o json` programs get the error's fields on standard error."""
    done = call("status", "nobody", "-o", "json")
    error = json.loads(done.stderr)
    assert (error["error"], error["resource"], error["retryable"]) == ("NotFoundError", "nobody", False)


def test_delete_asks_and_takes_silence_for_no(call: Run) -> None:
    """Without a terminal and without `--yes` nothing is deleted."""
    done = call("delete", "nobody")
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_delete_says_when_there_was_nothing(call: Run) -> None:
    """A misspelled name is a success that deletes nothing, and no reason to believe that the endpoint is gone."""
    done = call("delete", "nobody", "--yes")
    assert (0, "there was nothing called nobody: none is known here\n") == (done.returncode, done.stdout)
    assert {"deleted": None} == json.loads(call("delete", "nobody", "--yes", "-o", "json").stdout)


def test_whole_story(run: Run) -> None:
    """plan, deploy, list, status, predict, canary, promote, rollback, finalize, monitor, logs, delete, gc."""
    plan = json.loads(run("plan", "models:double", "-n", "story", "-o", "json").stdout)
    assert plan["verb"] == "deploy"
    assert json.loads(run("list", "-o", "json").stdout) == []

    deployed = run("deploy", "models:double", "-n", "story", "--ttl", "1h", "-o", "json")
    assert deployed.returncode == 0, deployed.stderr
    try:
        first = json.loads(deployed.stdout)["deployments"][0]["id"]
        answer = json.loads(run("predict", "story", "[[1, 2]]", "-o", "json").stdout)
        assert answer["values"] == [[2, 4]]
        assert run("predict", "story", "-", stdin="[[5]]").stdout == "[10]\n"
        assert run("predict", "story", "-", stdin="5\n6\n").stdout == "[10]\n[12]\n"
        assert run("predict", "story", "-", stdin="[5]\n[6]\n").stdout == "[10]\n[12]\n"
        assert "127.0.0.1" in run("predict", "story", "[[1]]", "--curl").stdout

        canary = json.loads(run("deploy", "models:triple", "-n", "story", "--traffic", "20", "-o", "json").stdout)
        shares = {item["id"]: item["traffic"] for item in canary["deployments"]}
        second = next(name for name in shares if name != first)
        assert shares == {first: 80, second: 20}
        again = run("deploy", "models:double", "-n", "story", "--traffic", "50", "--env", "X=1")
        assert (again.returncode, "canary" in again.stderr) == (1, True)
        for verb, kept in (("rollback", first), ("promote", second)):
            after = json.loads(run(verb, "story", "-o", "json").stdout)
            assert {item["id"] for item in after["deployments"] if item["traffic"] == 100} == {kept}
        assert run("predict", "story", "[[5]]").stdout == "[15]\n"
        assert run("predict", "story", "[[5]]", "--deployment", first).stdout == "[10]\n"
        assert len(json.loads(run("finalize", "story", "-o", "json").stdout)["deployments"]) == 1

        seen = json.loads(run("monitor", "story", "--window", "5m", "-o", "json").stdout)
        assert seen["ok"] is True
        lines = run("logs", "story", "-o", "json", "--tail", "3").stdout.splitlines()
        assert [set(json.loads(line)) >= {"time", "text", "deployment"} for line in lines] == [True] * len(lines)
        assert lines
    finally:
        assert run("delete", "story", "--yes").returncode == 0
    assert run("status", "story").returncode == 5
    report = run("gc", "--check", "-o", "json")
    assert (report.returncode, json.loads(report.stdout)["orphans"]) == (0, [])


def test_progress_is_plain_without_a_terminal(run: Run) -> None:
    """Stages come as lines on standard error, without colours or moving parts; the result alone on standard output."""
    done = run("deploy", "models:double", "-n", "plain", FORCE_COLOR="", NO_COLOR="1")
    try:
        assert done.returncode == 0, done.stderr
        assert "create Gateway" in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert done.stdout.startswith("plain on local: ready")
    finally:
        run("delete", "plain", "--yes")


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_deploy_leaves_nothing(run: Run, state: Path, home: Path, signal_: signal.Signals, code: int) -> None:
    """A signal in the middle of a deploy undoes it, says so, and ends with its own code."""
    env = os.environ | {"MLPORT_STATE_DIR": str(state), "PYTHONPATH": str(home)}
    command = [sys.executable, "-m", "sdk", "deploy", "models:Slow", "-n", "stopped"]
    process = subprocess.Popen(command, cwd=home, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "create Process" in line:
            process.send_signal(signal_)
            break
    said = process.communicate(timeout=120)[1]
    assert code == process.returncode, said
    assert run("status", "stopped").returncode == 5
    report = json.loads(run("gc", "-o", "json").stdout)
    assert report["orphans"] == []


def test_training_from_the_command_line(run: Run, tmp_path: Path) -> None:
    """The job's lines come on standard error while it runs, its state is the result."""
    (tmp_path / "train.py").write_text(
        "import os, pathlib\nprint('hello from the job')\n"
        "pathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'out.txt').write_text('done')\n"
    )
    done = run("train", "train.py", "-n", "job-one", "--param", "C=0.5", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "succeeded"
    assert "hello from the job" in done.stderr


def test_what_a_job_made_is_a_model(run: Run) -> None:
    """`job:NAME` is the model that a job left, and a stored model goes by the beginning of its digest."""
    trained = run("train", "models:fit", "-n", "job-fit", "--param", "factor=3")
    assert (0, "job-fit on local: succeeded\n") == (trained.returncode, trained.stdout), trained.stderr
    assert trained.stderr.endswith("next: mlport deploy job:job-fit -t local\n")
    digest = json.loads(run("build", "job:job-fit", "--pack-only", "-o", "json").stdout)["digest"]
    for model in ("job:job-fit", digest[:12], digest):
        planned = run("plan", model)
        assert planned.returncode == 0, planned.stderr
        assert f"create Model {digest[:32]}" in planned.stdout
    assert "job:job-fit -t local\n" in run("status", "job-fit").stderr
    assert "no model on this machine has the digest" in run("plan", "0" * 12, "-n", "from-job").stderr
    assert run("plan", "job:job-none", "-n", "from-job").returncode == 5


def test_a_model_file_gets_its_example_on_the_command_line(run: Run, tmp_path: Path) -> None:
    """Only a model with an example has a smoke test in its plan; one that is packed already is not packed again."""
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 3.0]})
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(LinearRegression().fit(table, [1.0, 2.0])))
    (tmp_path / "rows.csv").write_text("b,a\n0,1\n")
    plain = run("plan", "m.pkl", "--trust", "pickle", "-n", "rows")
    assert "smoke test" not in plain.stdout
    assert "pack it with example=, or give --example" in plain.stdout
    asked = run("plan", "m.pkl", "--trust", "pickle", "-n", "rows", "--example", "@rows.csv")
    assert "must answer a smoke test" in asked.stdout, asked.stderr
    args = ("build", "m.pkl", "--trust", "pickle", "--pack-only", "-o", "json", "--example")
    folder = json.loads(run(*args, "@rows.csv").stdout)["path"]
    assert {"instances": [{"a": 1, "b": 0}]} == json.loads((Path(folder) / "example.json").read_text())
    refused = run("plan", folder, "--example", "[[1, 2]]")
    assert (3, True) == (refused.returncode, "is packed already" in refused.stderr)


def test_failed_training_shows_the_last_lines(run: Run, tmp_path: Path) -> None:
    """A script that raises ends the command with 1 and shows what it said last."""
    (tmp_path / "bad.py").write_text("raise SystemExit('no data today')\n")
    begin = time.monotonic()
    done = run("train", "bad.py", "-n", "job-bad")
    assert done.returncode == 1, f"after {time.monotonic() - begin:.0f} s"
    assert "no data today" in done.stderr


def test_what_was_not_waited_for_is_continued(run: Run, tmp_path: Path) -> None:
    """`status --wait` goes on with a deploy and with a job that were begun with `--no-wait`."""
    begun = run("deploy", "models:double", "-n", "later", "--no-wait", "-o", "json")
    try:
        assert begun.returncode == 0, begun.stderr
        done = run("status", "later", "--wait", "-o", "json")
        assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "ready"), done.stderr
        assert run("predict", "later", "[[2]]").stdout == "[4]\n"
        again = run("deploy", "models:double", "-n", "later", "--ttl", "8h")
        assert "its ttl stays as it is: none" in again.stderr
        assert run("unlock", "later", "--id", "t1").returncode == 5
    finally:
        run("delete", "later", "--yes")
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, time\ntime.sleep(1)\npathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'x').write_text('x')\n"
    )
    (tmp_path / "bad.py").write_text("raise SystemExit('no data today')\n")
    for script, job in (("slow.py", "job-slow"), ("bad.py", "job-worse")):
        assert run("train", script, "-n", job, "--no-wait").returncode == 0
    done = run("status", "job-slow", "--wait", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "succeeded"), done.stderr
    worse = run("status", "job-worse", "--wait")
    assert (worse.returncode, "no data today" in worse.stderr) == (1, True)


@pytest.mark.parametrize("verb", ["build", "plan", "deploy", "compare"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys\nsys.exit(0)", "SystemExit: 0 (early.py, line 2"),
        ("import sdk, sys\ndef f(rows): sys.exit(0)\nm = sdk.model(f, name='early', example=[[1]])", "line 2, in f"),
    ],
)
def test_a_module_that_ends_the_program_is_a_failure(
    call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, source: str, words: str
) -> None:
    """`sys.exit(0)` while a model is imported or packed is told with its line; the exit code is not 0."""
    monkeypatch.delitem(sys.modules, "early", raising=False)
    (tmp_path / "early.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    done = call(verb, "early:m")
    assert done.returncode in {1, 3}
    assert "" == done.stdout
    assert words in done.stderr
