"""Every command that the documents and the help texts print is one that mlport takes; the README's are run in order."""

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from sdk.cli.app import build
from sdk.cli.output import Output
from sdk.cli.verbs import VERBS, Verb
from sdk_contract.docker_rig import require_engine

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SPAN = re.compile(r"`(mlport [^`]+)`")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)

# Commands of the README that go on until a signal, or need more than this machine's Python; how they are run.
UNTIL = {
    "mlport monitor iris --watch": "iris on local",
    "mlport mock up sagemaker": "AWS_ENDPOINT_URL",
    "mlport compare flowers:iris -t local -t docker": "warm",
}
WITH_REGISTRY = "mlport build flowers:iris --push localhost:5000/iris"
WITH_TARGET = "mlport policy --for ci -t aws"


def _commands(text: str) -> Iterator[str]:
    """What is printed as a command: lines of console blocks, and spans in sentences and tables."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for found in re.findall(r"\bmlport (?:(?!\)\"|#|\s\s).)+", line.removeprefix("$ ")):
                if not line.startswith("$ pip"):
                    yield found.strip()
    yield from (span.strip() for span in SPAN.findall(BLOCK.sub("", text)))


def _helps(verbs: tuple[Verb, ...]) -> Iterator[str]:
    for verb in verbs:
        yield " ".join([verb.help, verb.more, *(param.help for param in verb.params)])
        yield from _helps(verb.group)


TEXTS = {path.name: path.read_text("utf-8") for path in DOCUMENTS}
HELPS = {command for text in _helps(VERBS) for command in SPAN.findall(text)}
PRINTED = sorted({(name, command) for name, text in TEXTS.items() for command in _commands(text)}
                 | {("help", command) for command in HELPS})  # fmt: skip


def test_documents_print_commands() -> None:
    """The search finds them: a document that is written otherwise would be left out unseen."""
    documents = {"README.md", "compare.md", "images.md", "mock-clouds.md", "azureml.md", "vertex.md", "help"}
    assert documents <= {where for where, _ in PRINTED}


@pytest.mark.parametrize(("where", "command"), PRINTED, ids=[f"{where}: {command}" for where, command in PRINTED])
def test_printed_command_is_one_that_mlport_takes(
    where: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its verb, options and the form of their values pass the parser of the command line; nothing is carried out.

    A sentence may name a verb, or an option of it, without the arguments that the verb needs.
    """
    (tmp_path / "requests.json").write_text("[[[0.5]]]")
    (tmp_path / "rows.csv").write_text("a\n0.5\n")
    monkeypatch.chdir(tmp_path)
    found: click.Command = build()
    words = shlex.split(command)[1:]
    while isinstance(found, click.Group) and words:
        found = found.commands[words.pop(0)]
    whole = command in _table() or any(command in _commands(block[0]) for block in BLOCK.finditer(TEXTS.get(where, "")))
    found.make_context(command, list(words), obj=Output(environ={}), resilient_parsing=not whole)
    known = {option for param in found.params for option in (*param.opts, *param.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1} <= known


def _rows() -> list[list[str]]:
    """The README's table of commands: what one wants, Python, shell."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "`mlport " in line]
    return [row for row in rows if len(row) == 3]


def _table() -> list[str]:
    """The commands of the README's table, in its order."""
    return [command for row in _rows() for command in SPAN.findall(row[2])]


def _flowers(folder: Path) -> None:
    """Write the file that the README asks for."""
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", TEXTS["README.md"], re.DOTALL) if "iris" in block]
    (folder / "flowers.py").write_text(text)


# The command line leaves its connections to the end of its process, which does not come here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_commands_of_the_readme_run(call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each works exactly as it stands, one after the other; those that end by a signal have tests of their own."""
    _flowers(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    waiting, run = {*UNTIL, WITH_REGISTRY, WITH_TARGET}, 0
    assert waiting <= set(_table())
    try:
        for command in _table():
            if command not in waiting:
                done = call(*shlex.split(command)[1:])
                assert 0 == done.returncode, (command, done.stderr)
                run += 1
    finally:
        call("delete", "iris", "--yes")
    assert run + len(waiting) == len(_table()) > 10


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=[pytest.mark.full] if "docker" in one else []) for one in UNTIL]
)
def test_commands_that_end_by_a_signal_run(run: Run, state: Path, tmp_path: Path, command: str) -> None:
    """Each works exactly as it stands until it shows what it is for; Ctrl-C ends it then."""
    _flowers(tmp_path)
    if "docker" in command:
        require_engine().close()
    if "monitor" in command:
        assert 0 == run("deploy", "flowers:iris", PYTHONPATH=str(tmp_path)).returncode
    env = {key: value for key, value in os.environ.items() if key == "MLPORT_CACHE_DIR" or "MLPORT_" not in key}
    env |= {"MLPORT_STATE_DIR": str(state), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "sdk", *shlex.split(command)[1:]]
    with subprocess.Popen(
        words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        shown = next((line for line in process.stdout if UNTIL[command] in line), None)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert (True, 130) == (shown is not None, process.wait()), rest
    if "monitor" in command:
        assert 0 == run("delete", "iris", "--yes").returncode
    assert "[]" == run("list", "-o", "json").stdout.strip()


def test_command_for_a_target_of_a_cloud_runs(call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works exactly as it stands, with a target of this name."""
    (tmp_path / "mlport.toml").write_text(
        '[target.aws]\nprovider = "sagemaker"\nregion = "eu-west-1"\nrole = "arn:aws:iam::123456789012:role/own"\n'
        'bucket = "models-of-ours"\nrepository = "models"\n'
    )
    monkeypatch.setenv("MLPORT_TRUST", hashlib.sha256((tmp_path / "mlport.toml").read_bytes()).hexdigest())
    done = call(*shlex.split(WITH_TARGET)[1:])
    assert 0 == done.returncode, done.stderr
    assert "arn:aws:s3:::models-of-ours" in done.stdout


@pytest.mark.full
def test_command_that_pushes_runs(run: Run, tmp_path: Path) -> None:
    """It works exactly as it stands, with a registry on its port."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    _flowers(tmp_path)
    (tmp_path / "config.yml").write_text(
        "version: 0.1\nlog: {level: error}\nhttp: {addr: '127.0.0.1:5000'}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
    )
    with subprocess.Popen([program, "serve", tmp_path / "config.yml"], stderr=subprocess.DEVNULL) as registry:
        try:
            done = run(*shlex.split(WITH_REGISTRY)[1:])
        finally:
            registry.kill()
    assert 0 == done.returncode, done.stderr
    assert "localhost:5000/iris@sha256:" in done.stdout


@pytest.mark.full
def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    """The Python beside the commands does the same, in its order; what needs a registry or minutes is left out."""
    _flowers(tmp_path)
    cells = [code for row in _rows() for code in re.findall(r"`([^`]+)`", row[1])]
    lines = [code for code in cells if not code.startswith(("with ", "sdk.compare", "sdk.build", "sdk.policy"))]
    assert len(cells) == len(lines) + 4
    (tmp_path / "readme.py").write_text("\n".join(["from flowers import *", *lines]))
    env = os.environ | {"MLPORT_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
