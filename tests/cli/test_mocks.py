"""Mini clouds are started, found, and stopped with all that runs behind them."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

CLOUD = """
import http.server, threading

class Toy:
    @staticmethod
    def account_variables(secret, account):
        if len(account) != 3:
            raise ValueError(f"account {account!r} does not have three digits")
        return {"TOY_KEY": f"{secret.decode()}-{account}"}

    def __init__(self, folder, runner):
        self.folder, self.runner = folder, runner

    def start(self):
        if self.runner == "broken":
            raise RuntimeError("no such runner")
        (self.folder / "secret").write_text("toy-secret")
        self.server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_port}"
        return {"MLPORT_MOCK_TOY_URL": url, "TOY_RUNNER": self.runner}

    def close(self):
        (self.folder / "closed").write_text("in order")
"""


@pytest.fixture
def toy(tmp_path: Path, state: Path) -> Path:
    """A folder that, on the path, is an installed distribution with one mini cloud."""
    folder = tmp_path / "site"
    info = folder / "toycloud-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "toycloud.py").write_text(CLOUD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toycloud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mlport.clouds]\ntoy = toycloud:Toy\n")
    return folder


def test_a_wrong_name_is_said(run: Run) -> None:
    """With the names that there are."""
    wrong = run("mock", "env", "toys")
    assert (wrong.returncode, "there is no mini cloud 'toys'" in wrong.stderr) == (3, True)
    assert {"sagemaker": False}.items() <= json.loads(run("mock", "list", "-o", "json").stdout).items()


def test_a_project_file_that_is_not_trusted_does_not_matter(run: Run, tmp_path: Path) -> None:
    """Unless it names another state folder, which is where mini clouds are found."""
    (tmp_path / "mlport.toml").write_text('[target.box]\nprovider = "docker"\nbase = "debian-packages"\n')
    assert (0, "none was running\n") == ((done := run("mock", "down")).returncode, done.stdout), done.stderr
    (tmp_path / "mlport.toml").write_text('state_dir = "elsewhere"\n')
    refused = run("mock", "down")
    assert (3, True) == (refused.returncode, "state_dir" in refused.stderr)


def test_life_of_a_mini_cloud(run: Run, toy: Path, state: Path) -> None:
    """up gives the variables, a second up the same ones, env prints them, down ends it in order."""
    path = {"PYTHONPATH": str(toy)}
    first = run("mock", "up", "toy", "--detach", "-o", "json", **path)
    try:
        assert first.returncode == 0, first.stderr
        variables = json.loads(first.stdout)
        assert set(variables) == {"MLPORT_MOCK_TOY_URL", "TOY_RUNNER"}
        assert json.loads(run("mock", "up", "toy", "--detach", "-o", "json", **path).stdout) == variables
        url = variables["MLPORT_MOCK_TOY_URL"]
        assert (
            run("mock", "env", "toy", **path).stdout == f"export MLPORT_MOCK_TOY_URL={url}\nexport TOY_RUNNER=process\n"
        )
        assert run("mock", "env", **path).stdout == run("mock", "env", "toy", **path).stdout
        assert json.loads(run("mock", "list", "-o", "json", **path).stdout)["toy"] is True
    finally:
        assert run("mock", "down", **path).stdout == "stopped toy\n"
    assert (state / "mocks" / "toy" / "closed").read_text() == "in order"
    assert run("mock", "env", "toy", **path).returncode == 3
    idle = run("mock", "env", **path)
    assert (idle.returncode, idle.stdout, "mlport mock up" in idle.stderr) == (3, "", True)
    assert run("mock", "down", **path).stdout == "none was running\n"


def test_mini_cloud_that_cannot_start_says_why(run: Run, toy: Path) -> None:
    """What it said before it ended is in the error."""
    done = run("mock", "up", "toy", "--runner", "broken", PYTHONPATH=str(toy))
    assert done.returncode == 1
    assert "no such runner" in done.stderr


@pytest.fixture
def running(run: Run, toy: Path) -> Iterator[dict[str, str]]:
    """The toy is up; what its commands need."""
    path = {"PYTHONPATH": str(toy)}
    assert run("mock", "up", "toy", "--detach", **path).returncode == 0
    yield path
    run("mock", "down", "toy", **path)


def test_credentials_of_an_account(run: Run, running: dict[str, str]) -> None:
    """--account adds those of one account, and says what is wrong with what is none."""
    found = json.loads(run("mock", "env", "toy", "--account", "123", "-o", "json", **running).stdout)
    assert found["TOY_KEY"] == "toy-secret-123"
    assert "TOY_KEY" not in run("mock", "env", "toy", **running).stdout
    wrong = run("mock", "env", "toy", "--account", "12", **running)
    assert (wrong.returncode, "--account: account '12' does not have three digits" in wrong.stderr) == (3, True)


def test_credentials_are_for_their_owner_only(run: Run, running: dict[str, str], state: Path) -> None:
    """Folders have mode 0700, also those that were open before, and what the variables stand in has 0600."""
    folder = state / "mocks" / "toy"
    modes = [path.stat().st_mode & 0o777 for path in (state / "mocks", folder, folder / "env.json", folder / "log")]
    assert [0o700, 0o700, 0o600, 0o600] == modes
    folder.chmod(0o755)
    assert run("mock", "env", "toy", **running).returncode == 0
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"A": ', '{"A": 3}', "[" * 2000, None])
def test_damaged_variables_say_how_to_get_them_back(
    run: Run, running: dict[str, str], state: Path, text: str | None
) -> None:
    path = state / "mocks" / "toy" / "env.json"
    whole = path.read_text()
    path.unlink() if text is None else path.write_text(text)
    for command in (["mock", "env"], ["mock", "env", "toy"], ["mock", "up", "toy", "--detach"]):
        failed = run(*command, **running)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert f"{path}" in failed.stderr
        assert "mlport mock down toy && mlport mock up toy" in failed.stderr
    path.write_text(whole)
    assert run("mock", "env", "toy", **running).returncode == 0


def test_a_damaged_number_of_a_process_is_said(run: Run, running: dict[str, str], state: Path) -> None:
    """It is stopped by its lock then, which only the user can look up."""
    lock = state / "mocks" / "toy" / "lock"
    number = lock.read_text()
    lock.write_text("no number")
    failed = run("mock", "down", "toy", **running)
    assert (failed.returncode, f"fuser {lock}" in failed.stderr) == (1, True)
    lock.write_text(number)


def test_no_credential_is_an_argument(run: Run, running: dict[str, str], state: Path) -> None:
    """What every user of the machine can read of the process is its name, its folder and its runner."""
    folder = state / "mocks" / "toy"
    argv = Path(f"/proc/{(folder / 'lock').read_text()}/cmdline").read_bytes().split(b"\0")[1:]
    assert [b"-m", b"sdk.adapter.shared.mini_clouds", b"toy", str(folder).encode(), b"process", b""] == argv
