"""The console blocks of the documents, run by a shell exactly as they stand, with the targets that their page shows.

Mini clouds play the clouds. What installs packages or signs in to Azure does nothing here; the host `registry.example`,
which belongs to no one, is a registry on this machine.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from sdk_contract.docker_rig import require_engine
from tests.cli.test_documents import BLOCK, ROOT
from tests.compare.rows import comparison, row

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

SETTINGS = re.compile(r"```toml\n(\[target\..*?)```", re.DOTALL)
OUTSIDE = "set -eu\npip() { :; }\naz() { :; }\n"
CLOUDS = {"sagemaker": "aws", "vertex": "gcp", "azureml": "azure"}
SIGNED_IN = "".join(f'eval "$(mlport mock env {cloud})"\n' for cloud in CLOUDS)


class Shell:
    """A folder of a user's project, and a shell in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bare = {key: value for key, value in os.environ.items() if "MLPORT_" not in key or key == "MLPORT_CACHE_DIR"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.env = bare | {"MLPORT_STATE_DIR": str(folder / "state"), "PATH": path, "PYTHONUNBUFFERED": "1"}

    def start(self, script: str) -> subprocess.Popen[str]:
        """Begin a script; a signal reaches all that it runs."""
        return subprocess.Popen(
            ["bash", "-c", OUTSIDE + script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str) -> str:
        """Run a script to its end, which must be a good one; what it printed."""
        with self.start(script) as process:
            printed, _ = process.communicate(timeout=600)
        assert 0 == process.returncode, (script, printed)
        return printed

    def interrupt(self, script: str, shows: str) -> str:
        """Run a script until it shows a text, then send the signal of Ctrl-C; what it printed."""
        with self.start(script) as process:
            assert process.stdout is not None
            before = ""
            for line in process.stdout:
                before += line
                if shows in line:
                    os.killpg(process.pid, signal.SIGINT)
                    break
            printed = before + process.stdout.read()
        assert 130 == process.wait(), (script, printed)
        return printed


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A project with a model as a file and as a function, and with the targets that the pages of the clouds show."""
    folder = tmp_path_factory.mktemp("documents")
    estimator = LogisticRegression().fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], [0, 1, 1, 0])
    joblib.dump(estimator, folder / "model.joblib")
    (folder / "models.py").write_text(
        "import sdk\n\n\ndef first(rows):\n    return [row[0] for row in rows]\n\n\n"
        "churn = sdk.model(first, name='churn', example=[[1.0, 2.0]])\n"
    )
    (folder / "train_and_deploy.py").write_text(
        "import sdk\nfrom models import churn\n\nwith sdk.temporary(churn, name='churn') as endpoint:\n"
        "    print(endpoint.predict([[1.0, 2.0]]).values)\n"
    )
    pages = [(ROOT / "docs" / f"{cloud}.md").read_text("utf-8") for cloud in (*CLOUDS, "docker")]
    settings = "\n".join(SETTINGS.findall(page)[0] for page in pages)
    (folder / "mlport.toml").write_text(f'{settings}base = "debian-packages"\n')  # the default comes from a registry
    made = Shell(folder)
    made.run("mlport config trust")
    yield made
    made.run("mlport mock down")


@pytest.fixture
def clouds(shell: Shell) -> Iterator[Shell]:
    """The same with all mini clouds running, trusted with the settings of the project."""
    shell.run("".join(f"mlport mock up {cloud} --detach\n" for cloud in CLOUDS))
    yield shell
    shell.run("mlport mock down")


def blocks(page: str) -> list[str]:
    """The console blocks of a page, without the prompts."""
    found = BLOCK.findall((ROOT / "docs" / page).read_text("utf-8"))
    return [re.sub(r"^\$ ", "", block, flags=re.MULTILINE) for block in found]


def lines(block: str) -> list[str]:
    """The commands of a block."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_page_with_commands_is_run_here() -> None:
    """A new block of a page needs a test of its own."""
    found = {page.name: len(blocks(page.name)) for page in (ROOT / "docs").glob("*.md")}
    expected = {"azureml": 2, "compare": 2, "docker": 1, "images": 1, "mock-clouds": 1, "sagemaker": 1, "vertex": 2}
    assert {f"{name}.md": count for name, count in expected.items()} == {k: v for k, v in found.items() if v}


def test_mock_clouds(shell: Shell) -> None:
    """Up, signed in, a deploy, down."""
    (block,) = blocks("mock-clouds.md")
    assert "model" in shell.run(block)
    assert re.search(r"sagemaker +no", shell.run("mlport mock list"))


def test_azure(shell: Shell) -> None:
    """The demo of this project, on Azure's mini cloud."""
    shutil.copytree(ROOT / "examples", shell.folder / "examples", dirs_exist_ok=True)
    install, demo = blocks("azureml.md")
    shell.run(install + demo + "mlport mock down azureml\n")


def test_vertex(shell: Shell) -> None:
    """Installed, up and signed in; then the target answers."""
    install, up = blocks("vertex.md")
    shell.run(install + up + "mlport list --target gcp\nmlport mock down vertex\n")


def test_sagemaker(clouds: Shell) -> None:
    """Doctor on the mini cloud."""
    (block,) = blocks("sagemaker.md")
    assert "role" in clouds.run(SIGNED_IN + block)


@pytest.mark.docker
def test_docker(shell: Shell) -> None:
    """A script of a user on the engine."""
    require_engine().close()
    (block,) = blocks("docker.md")
    assert "1.0" in shell.run(block)


@pytest.mark.docker
def test_images(shell: Shell) -> None:
    """With a registry here in the place of the one in the text."""
    require_engine().close()
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"localhost:{probe.getsockname()[1]}"
    (shell.folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{host}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {shell.folder}/data}}}}\n"
    )
    skops.io.dump(joblib.load(shell.folder / "model.joblib"), shell.folder / "model.skops")
    base = f"mlport build models:churn --base debian-packages --push {host}/team/pipeline:v7\n"
    with subprocess.Popen([program, "serve", shell.folder / "config.yml"], stderr=subprocess.DEVNULL) as registry:
        try:
            shell.run(base + blocks("images.md")[0].replace("registry.example", host))
        finally:
            registry.kill()
    assert (shell.folder / "churn.tar").exists()


def test_compare(clouds: Shell) -> None:
    """Each line; those that would measure for minutes end by Ctrl-C while they do, and leave nothing."""
    measured, gate = blocks("compare.md")
    first, second, third = lines(measured)
    comparison(row("churn")).to_json(clouds.folder / "old.json")
    (clouds.folder / "requests.json").write_text("[[[0.5, 1.0]], [[1.0, 0.0]]]")
    clouds.run(third)
    assert (clouds.folder / "again.html").exists()
    for target in ("aws", "gcp"):
        clouds.run(f"{SIGNED_IN}mlport deploy models:churn --name churn --target {target}")
    for command in (first, second, *lines(gate)):
        clouds.interrupt(SIGNED_IN + command, "warm")
    for target in ("aws", "gcp"):
        left = clouds.run(f"{SIGNED_IN}mlport delete churn --target {target} --yes\nmlport list -t {target} -o json")
        assert left.rstrip().endswith("[]"), left
