"""Every command that the documents and the help texts print is one that mlport takes; the README's are run in order."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from sdk.cli.app import build
from sdk.cli.output import Output
from sdk.cli.verbs import VERBS, Verb

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SPAN = re.compile(r"`(mlport [^`]+)`")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)

# Commands of the README that the test below does not run as they stand, and why.
NOT_RUN = {
    "mlport monitor NAME --watch": "ends by Ctrl-C only; test_watch.py runs it in a terminal",
    "mlport compare MODEL -t local -t box": "measures for minutes and needs an engine; run with --dry-run and -t local",
    "mlport build MODEL --push localhost:5000/churn": "needs a registry; tests/image/test_publish.py pushes to one",
    "mlport mock up sagemaker": "ends by a signal only; test_mocks.py and test_stopping.py run it",
}


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
def test_printed_command_is_one_that_mlport_takes(where: str, command: str) -> None:
    """Its verb, options and the form of their values pass the parser of the command line; nothing is carried out.

    A sentence may name a verb, or an option of it, without the arguments that the verb needs.
    """
    found: click.Command = build()
    words = shlex.split(command)[1:]
    while isinstance(found, click.Group) and words:
        found = found.commands[words.pop(0)]
    whole = command in _table() or any(command in _commands(block[0]) for block in BLOCK.finditer(TEXTS.get(where, "")))
    found.make_context(command, list(words), obj=Output(environ={}), resilient_parsing=not whole)
    known = {option for param in found.params for option in (*param.opts, *param.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1} <= known


def _table() -> list[str]:
    """The commands of the README's table, in its order."""
    rows = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    return [command for row in rows for command in SPAN.findall(row.rpartition(" | ")[2])]


# The command line leaves its connections to the end of its process, which does not come here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_commands_of_the_readme_run(call: Run, tmp_path: Path) -> None:
    """Row by row, on `local`, with MODEL and NAME filled in; what is left out has its reason above."""
    (tmp_path / "data.csv").write_text("x\n1\n")
    (tmp_path / "train.py").write_text(
        "import os, pathlib, pickle\npathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'model.pkl').write_bytes(b'x')\n"
    )
    trained = call("train", "models:fit", "-n", "job-readme", "--param", "factor=3")
    assert 0 == trained.returncode, trained.stderr
    run = 0
    models = iter(["models:double", "models:double", "models:triple"])
    try:
        for command in _table():
            if command in NOT_RUN:
                continue
            words = shlex.split(command)[1:]
            filled = [next(models) if word == "MODEL" else word.replace("NAME", "readme") for word in words]
            if "job:readme" in filled:
                filled = ["deploy", "job:job-readme", "--name", "readme"]
            elif filled[0] in {"plan", "deploy"}:
                filled += ["--name", "readme"]
            done = call(*filled)
            assert 0 == done.returncode, (command, done.stderr)
            run += 1
            if "--traffic" in filled:
                assert 0 == call("promote", "readme").returncode
        assert run + len(NOT_RUN) == len(_table())
    finally:
        call("delete", "readme", "--yes")
    assert set(NOT_RUN) <= set(_table())
