"""Which files of this machine are the input of a job: all that a program would find here, and none in silence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Labels
from sdk.adapter.shared.uploads import Inputs, files_of
from sdk.errors import ConfigError
from sdk_azureml._shelf import UNFIT_NAMES

if TYPE_CHECKING:
    from pathlib import Path

LABELS = Labels("job", "me", "t1")


@pytest.fixture
def inputs() -> Inputs:
    return Inputs("me", "acme", "the shelf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "rows"
    (found / "deep" / "deeper").mkdir(parents=True)
    (found / "deep" / "deeper" / "empty.csv").touch()
    (found / "rows.csv").write_text("1,2\n")
    return found


def names(folder: Path) -> list[str]:
    return [name for name, _ in files_of(folder)]


def test_files_behind_links_belong_to_the_input(folder: Path, tmp_path: Path) -> None:
    """As for a program on this machine; two ways to one folder are two folders."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.csv").write_text("3,4\n")
    for link in ("one", "two"):
        (folder / link).symlink_to(tmp_path / "elsewhere")
    (folder / "alias.csv").symlink_to(folder / "rows.csv")
    assert ["alias.csv", "deep/deeper/empty.csv", "one/more.csv", "rows.csv", "two/more.csv"] == names(folder)


@pytest.mark.parametrize("target", [".", "deep"])
def test_a_folder_that_contains_itself_is_refused(folder: Path, target: str) -> None:
    (folder / "deep" / "loop").symlink_to((folder / target).resolve())
    with pytest.raises(ConfigError, match=r"loop.*contains it"):
        names(folder)


def test_a_link_that_leads_nowhere_is_refused(folder: Path) -> None:
    (folder / "deep" / "lost.csv").symlink_to(folder / "gone.csv")
    with pytest.raises(ConfigError, match=r"lost\.csv.*leads nowhere"):
        names(folder)


def test_a_folder_that_cannot_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files would be missing without a word."""
    scan = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("deeper"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ConfigError, match=r"deeper.*Permission denied"):
        names(folder)


def test_a_folder_without_files_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    """A storage of objects has no empty folders, so the job would find none."""
    (tmp_path / "rows" / "deep").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"data\.train: there is no file in .*rows") as refused:
        inputs.plan("train", tmp_path / "rows", LABELS)
    assert refused.value.hint


@pytest.mark.parametrize("name", ["Icon\r", "a\nb.csv", "bell\x07", "\x7f", "mark\ufffe"])
def test_names_that_no_storage_keeps(inputs: Inputs, folder: Path, name: str) -> None:
    """Such as the file that a Mac puts into folders with a picture of their own."""
    (folder / name).touch()
    with pytest.raises(ConfigError, match=r"data\.train: the file name .* has .*, which the shelf does not keep"):
        inputs.plan("train", folder, LABELS)


@pytest.mark.parametrize("name", ["back\\slash.csv", "dot.", "folder./rows.csv"])
def test_names_that_azure_changes(inputs: Inputs, folder: Path, name: str) -> None:
    """They would be missing under their own names; other storages keep them."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    assert {"files": 3}.items() <= (inputs.plan("train", folder, LABELS).spec or {}).items()
    azure = Inputs("me", "azureml", "the workspace's storage", unfit=UNFIT_NAMES)
    with pytest.raises(ConfigError, match="does not keep"):
        azure.plan("train", folder, LABELS)


@pytest.mark.parametrize("name", ["ünï code.csv", "a+b&c=d;e#f?.csv", "100%.csv", " lead", ".hidden", "a..b", "'\"`$"])
def test_odd_names_that_every_storage_keeps(folder: Path, name: str) -> None:
    (folder / name).touch()
    azure = Inputs("me", "azureml", "the workspace's storage", unfit=UNFIT_NAMES)
    assert {"files": 3}.items() <= (azure.plan("train", folder, LABELS).spec or {}).items()
