"""The state folder holds tokens and secrets: one that is open is closed, one that others control is refused."""

from __future__ import annotations

import os
import stat
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
