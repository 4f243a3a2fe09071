"""The state folder holds tokens and secrets: one that is open is closed, one that others control is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdk.client import Client
from sdk.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def use(folder: Path) -> None:
    with Client({"default": "local", "state_dir": str(folder)}, env={"MLPORT_OWNER": "me"}) as client:
        client.list()


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o770, 0o701])
def test_an_open_folder_is_closed(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    use(folder)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert [] == [path for path in folder.rglob("*") if path.is_dir() and path.stat().st_mode & 0o077]


def test_a_parent_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / "open"
    (parent / "state").mkdir(parents=True)
    parent.chmod(0o777)
    with pytest.raises(ConfigError, match="every user may put another folder in its place"):
        use(parent / "state")
    parent.chmod(0o1777)  # as /tmp is: only the owner may rename what lies in it
    use(parent / "state")


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to another user"):
        use(folder)


def test_no_folder_below_is_open_whatever_the_umask(tmp_path: Path) -> None:
    """Environments, programs, the runtime, journals and locks, made by a process whose umask closes nothing.

    The folder of all models is closed; a model in it keeps its modes, as containers read it under another user.
    """
    script = (
        "import os, sys\nfrom pathlib import Path\nos.umask(0)\n"
        "from sdk.client import Client\nfrom sdk.packaging import training, venv\nfrom sdk.packaging.lock import Lock\n"
        "import own, sdk\n"
        "training.job_bundle(Path(sys.argv[1]))\nvenv.runtime()\n"
        "model = sdk.model(own.predict, name='mine', example=[[1.0]])\n"
        "venv.environment(Lock.of(model.path, model.manifest))\n"
        "with Client({'default': 'local'}) as client:\n    client.list()\n    client.gc()\n"
    )
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "own.py").write_text("def predict(rows):\n    return rows\n")
    above = tmp_path / "above"
    folders = {"MLPORT_STATE_DIR": str(above / "state"), "MLPORT_CACHE_DIR": str(above / "cache")}
    env = {**os.environ, **folders, "MLPORT_OWNER": "me", "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script, tmp_path / "train.py"], env=env, cwd=tmp_path, check=True)
    made = [path for path in above.rglob("*") if path.is_dir()]
    assert {"programs", "executor", "models", "envs", "site-packages"} <= {path.name for path in made}
    open_ones = [path for path in made if path.stat().st_mode & 0o077]
    assert {above / "state" / "models"} == {
        next(one for one in path.parents if one.name == "models") for path in open_ones
    }
