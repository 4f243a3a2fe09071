"""What a model needs travels with it: sub-modules are imported where it is read, everything else is reported."""

from __future__ import annotations

import curses.ascii
import email.mime.text
import html.parser
import multiprocessing.dummy
import sys
import unittest.mock
import wsgiref.headers
import xml.dom.minidom
import xmlrpc.client
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConfigError, PackagingError
from sdk.packaging.model import model as make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXAMPLE = [[1.0], [2.0]]


def client_of(package: Any) -> Any:
    return package.client.Fault(1, "x").faultCode


class Uses:
    """Each way to a sub-module that only the packing process has imported."""

    mocks = unittest

    def __init__(self) -> None:
        self.pools = multiprocessing

    def predict(self, rows: Any) -> Any:
        import curses as screen

        def nested() -> Any:
            return list(map(lambda key: wsgiref.headers.Headers([("a", "b")])[key], "a"))  # noqa: C417 - the point

        found = [
            [xml.dom.minidom.Document().nodeName for _ in range(1)],
            max("x", key=lambda text: email.mime.text.MIMEText(text).get_content_type()),
            nested(),
            getattr(html, "parser").HTMLParser().rawdata,  # noqa: B009 - the point
            client_of(xmlrpc),
            screen.ascii.isalpha("a"),
            self.mocks.mock.DEFAULT.name,
            self.pools.dummy.DummyProcess.__name__,
        ]
        return [found for _ in rows]


WANTED = [["#document"], "x", ["b"], "", 1, True, "DEFAULT", "DummyProcess"]


def test_sub_modules_are_imported_where_the_model_is_read(serve: Callable[..., Any]) -> None:
    """Comprehensions, lambdas, nested functions, methods, arguments and attributes, in the real server's process."""
    assert curses.ascii.isalpha("a")
    model = make_model(Uses(), name="uses", example=EXAMPLE)
    with serve(model) as client:
        answer = client.post("/invocations", json={"instances": EXAMPLE})
        assert {"predictions": [WANTED, WANTED]} == answer.json()
    assert model.digest == make_model(Uses(), name="uses", example=EXAMPLE).digest


def test_library_that_is_imported_by_name_is_locked() -> None:
    """`import_module` with a text counts as an import."""

    def table(rows: Any) -> Any:
        return [import_module("pandas").DataFrame(rows).shape[0] for _ in rows]

    import_module("pandas")
    manifest = make_model(table, name="named", example=EXAMPLE).manifest
    assert manifest is not None
    assert "pandas" in manifest.libraries


# --- the user's own modules

HELPER = """
import pathlib
HERE = pathlib.Path(__file__).parent
LATER = []
def shift(rows): return rows + 1
def unused():
    import mlport_other
    return HERE, mlport_other, __file__
def reads(rows): return rows + len((HERE / "vocab.txt").read_text())
def reads_now(rows): return rows + len(pathlib.Path(__file__).with_name("vocab.txt").read_text())
def logs(rows):
    LATER.append(__file__)
    return rows
def imports(rows):
    import mlport_other
    return rows + mlport_other.ONE
def optional(rows):
    try:
        import mlport_not_installed
    except ImportError:
        return rows
class Loads:
    def load(self, folder): self.words = (HERE / "vocab.txt").read_text()
    def predict(self, rows): return rows + len(self.words)
class Waits:
    def predict(self, rows):
        import time, os, json
        return rows
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's, with another one and a file beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mlport_helper.py").write_text(HELPER)
    (folder / "mlport_other.py").write_text("ONE = 1\n")
    (folder / "vocab.txt").write_text("abc")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    yield import_module("mlport_helper")
    for name in ("mlport_helper", "mlport_other"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["reads", "reads_now", "Loads"])
def test_file_beside_a_module_is_reported(helper: Any, name: str) -> None:
    """A module that is written into the model has no file on the server, and nothing beside it."""
    with pytest.raises(PackagingError, match=r"the model reads .*vocab.txt .*will not have this file.*artifacts="):
        make_model(getattr(helper, name), name="reads", example=EXAMPLE)


def test_file_in_the_current_folder_is_reported(helper: Any) -> None:
    """The server runs in another folder."""

    def relative(rows: Any) -> Any:
        from pathlib import Path

        return rows + len(Path("vocab.txt").read_text())

    with pytest.raises(PackagingError, match=r"the model reads .*vocab.txt"):
        make_model(relative, name="reads", example=EXAMPLE)


def test_source_file_that_is_read_as_data_is_reported(helper: Any) -> None:
    """A file of rules in Python that `exec` gets is no module, though its name looks like one."""

    def relative(rows: Any) -> Any:
        from pathlib import Path

        return rows + len(Path("rules.py").read_text())

    import_module("pathlib").Path("rules.py").write_text("x = 1")
    with pytest.raises(PackagingError, match=r"the model reads .*rules.py"):
        make_model(relative, name="reads", example=EXAMPLE)


@pytest.mark.parametrize("name", ["shift", "logs", "optional", "Waits"])
def test_modules_that_travel_well_are_packed(helper: Any, name: str) -> None:
    """A function that only says `__file__`, or tries an optional library, needs nothing of this machine."""
    make_model(getattr(helper, name), name="well", example=EXAMPLE)


def test_functions_that_are_not_used_are_not_reported(helper: Any) -> None:
    """A module is written whole; what nobody calls may import what it likes."""

    def shifted(rows: Any) -> Any:
        return helper.shift(rows)

    make_model(shifted, name="whole", example=EXAMPLE)
    make_model(shifted, name="whole")


def test_own_module_that_a_function_imports_is_reported(helper: Any, tmp_path: Path) -> None:
    """With the argument that makes it travel, which then works."""
    with pytest.raises(ConfigError, match=r"imports imports mlport_other .*code= .*mlport_other.py', or"):
        make_model(helper.imports, name="imports", example=EXAMPLE)
    make_model(helper.imports, name="imports", example=EXAMPLE, code=[tmp_path / "project" / "mlport_other.py"])


def test_shipped_module_that_imports_this_library_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script that packs a model is in the project, too; the server has no packing library."""
    (tmp_path / "mlport_script.py").write_text("import sdk\ndef double(rows): return rows * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    script = import_module("mlport_script")
    said = r"mlport_script imports sdk, which the server does not have; .* a module that does not import sdk"
    try:
        with pytest.raises(ConfigError, match=said):
            make_model(script.double, name="script", example=EXAMPLE, code=tmp_path)
    finally:
        del sys.modules["mlport_script"]


def test_module_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """Other rows would not help a function whose module is not there."""

    def predict(rows: Any) -> Any:
        return [import_module("mlport_absent").answer(row) for row in rows]

    with pytest.raises(PackagingError, match="install what has the module mlport_absent for ") as refused:
        make_model(predict, name="absent", example=EXAMPLE)
    assert "example= rows" not in str(refused.value)


def test_module_that_shipped_code_imports_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in `code=` brings nothing from outside; what it may do without is left alone."""
    package = tmp_path / "project" / "mlport_pkg"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "unused.py").write_text("import mlport_plots\n")
    (package / "parts" / "__init__.py").write_text("from ..deep import two\n")
    (package / "deep.py").write_text(
        "import mlport_beside\ntry:\n    import mlport_plots\nexcept ImportError:\n    pass\n"
        "def two(rows): return rows * mlport_beside.TWO\n"
    )
    for name in ("mlport_beside", "mlport_plots"):
        (tmp_path / "project" / f"{name}.py").write_text("TWO = 2\n")
    monkeypatch.syspath_prepend(tmp_path / "project")
    import_module("mlport_pkg.unused")
    parts = import_module("mlport_pkg.parts")
    try:
        with pytest.raises(ConfigError, match=r"code: mlport_pkg.deep imports mlport_beside, .*mlport_beside.py'"):
            make_model(parts.two, name="shipped", example=EXAMPLE, code=[package])
        make_model(parts.two, name="shipped", example=EXAMPLE, code=[package, tmp_path / "project/mlport_beside.py"])
    finally:
        for name in [name for name in sys.modules if name.startswith(("mlport_pkg", "mlport_beside", "mlport_plots"))]:
            del sys.modules[name]


def test_use_of_a_file_is_reported_without_an_example(helper: Any) -> None:
    """Nothing is called then, so the word alone counts."""
    with pytest.raises(ConfigError, match=r"logs uses __file__.*give example= to have it tried"):
        make_model(helper.logs, name="reads")


def test_files_of_artifacts_and_elsewhere_are_read(helper: Any, tmp_path: Path) -> None:
    """What `load` gets travels; a log that is written, or a file that the user names in full, is up to the user."""
    (tmp_path / "weights.txt").write_text("abc")
    elsewhere = str(tmp_path / "weights.txt")

    class Loads:
        def load(self, folder: str) -> None:
            from pathlib import Path

            self.words = (Path(folder) / "weights.txt").read_text() + Path(elsewhere).read_text()

        def predict(self, rows: Any) -> Any:
            with open("calls.log", "a") as log:  # noqa: PTH123 - as people write it
                log.write("called")
            return rows + len(self.words)

    make_model(Loads, name="loads", example=EXAMPLE, artifacts=elsewhere)
