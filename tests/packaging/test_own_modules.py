"""Model files that refer to modules of the user: they are packed with `code=`, or the file is refused."""

from __future__ import annotations

import io
import pickle
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConfigError
from sdk.packaging.model import Model

if TYPE_CHECKING:
    from pathlib import Path


class Half:
    """A model of a module that is not installed."""

    def predict(self, rows: Any) -> Any:
        return rows / 2


def test_file_of_a_module_that_is_not_packed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle has the name of a class, not its code: the module travels by `code=`, or in a requirement."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "halves.py").write_text("class Half:\n    def predict(self, rows):\n        return rows / 2\n")
    own = import_module("halves").Half()
    for name, dump in (("own.pkl", pickle.dumps), ("own.joblib", joblib_bytes)):
        (tmp_path / name).write_bytes(dump(own))
        with pytest.raises(ConfigError, match=f"path: {name} refers to halves, and this module of yours") as caught:
            Model.from_path(tmp_path / name, trust="pickle")
        assert f"code= as well: '{tmp_path / 'halves.py'}'" in str(caught.value.hint)
        packed = Model.from_path(tmp_path / name, trust="pickle", code=tmp_path / "halves.py", requirements=["numpy"])
        assert "class" == packed.flavour


@pytest.mark.parametrize("program", ["__main__", "__mp_main__"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_file_of_a_program_is_refused(
    program: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a program defines itself is found by nothing but this program."""
    monkeypatch.setattr(Half, "__module__", program)
    monkeypatch.setitem(sys.modules, program, sys.modules[__name__])
    (tmp_path / "main.pkl").write_bytes(pickle.dumps([Half(), 1], protocol))
    with pytest.raises(
        ConfigError, match=rf"path: main\.pkl refers to objects of {program}, the program that wrote it"
    ):
        Model.from_path(tmp_path / "main.pkl", trust="pickle", requirements=["numpy"])


def joblib_bytes(obj: Any) -> bytes:
    file = io.BytesIO()
    import_module("joblib").dump(obj, file)
    return file.getvalue()
