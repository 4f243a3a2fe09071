"""A user's own modules and files of rows: read as the model's server reads them, and errors that say what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import sdk
from sdk.cli.parse import INPUT, CsvTable
from sdk.client.callers import signature_served
from sdk.errors import InvalidInputError
from sdk.packaging.disk import state_dir

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from sdk.packaging.manifest import Signature

    Run = Callable[..., subprocess.CompletedProcess[str]]


def signature(*numbers: int) -> Signature | None:
    """What an endpoint takes that serves models whose column `n` differs by its axes."""
    models = [
        sdk.model(
            lambda columns: columns["zip"],
            name="parcels",
            example={"zip": np.array(["007"]), "ok": np.array([True]), "n": np.ones((1,) * number)},
        )
        for number in numbers
    ]
    serving = [SimpleNamespace(traffic=50, model=model.digest) for model in models]
    status: Any = SimpleNamespace(deployments=[*serving, SimpleNamespace(traffic=0, model="0" * 64)])
    session: Any = SimpleNamespace(state_dir=state_dir())
    return signature_served(session, status)


def rows_of(path: Path, content: str) -> CsvTable:
    path.write_text(content)
    table = INPUT.convert(f"@{path}", None, None)
    assert isinstance(table, CsvTable)
    return table


@pytest.mark.parametrize(("name", "sign"), [("rows.csv", ","), ("rows.tsv", "\t")])
def test_csv_has_the_types_of_the_model(tmp_path: Path, name: str, sign: str) -> None:
    """Digits stay text where the model has text, and pandas' `True` is a boolean, as in a `text/csv` body."""
    table = rows_of(tmp_path / name, "ok,zip,n\nTrue,007,1.5\nFalse,42,2\n".replace(",", sign))
    assert table.rows(signature(1)) == [{"ok": True, "zip": "007", "n": 1.5}, {"ok": False, "zip": "42", "n": 2.0}]


def test_csv_for_a_model_that_is_not_known_is_guessed(tmp_path: Path) -> None:
    """Nothing is known where several models serve that differ."""
    table = rows_of(tmp_path / "rows.csv", "zip,ok\n007,True\n42,False\n")
    assert signature(1, 2) is None
    assert table.rows(None) == [{"zip": "007", "ok": "True"}, {"zip": 42, "ok": "False"}]


def test_csv_that_does_not_fit_the_model_names_the_file(tmp_path: Path) -> None:
    """The server's own message, after the name of the file."""
    table = rows_of(tmp_path / "rows.csv", ",ok,zip,n\n0,True,1,1.5\n")
    with pytest.raises(InvalidInputError, match=r"rows\.csv: a column has no name; write the CSV without an index"):
        table.rows(signature(1))


@pytest.mark.parametrize("key", ["instances", "dataframe_records"])
def test_the_body_of_a_request_is_its_rows(key: str) -> None:
    """The same file works with curl and on the command line; other objects stay columns or a record."""
    assert INPUT.convert(f'{{"{key}": [[1, 2]]}}', None, None) == [[1, 2]]
    for other in ('{"inputs": [1]}', '{"instances": [1], "more": [2]}'):
        assert isinstance(INPUT.convert(other, None, None), dict)


def test_file_without_its_sign_is_recognised(call: Run, tmp_path: Path) -> None:
    """The name of a file where rows are wanted."""
    (tmp_path / "rows.csv").write_text("1,2\n")
    done = call("predict", "nobody", "rows.csv")
    assert (2, "") == (done.returncode, done.stdout)
    assert "for the rows of the file write @rows.csv" in done.stderr


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (
            "mine1",
            "import absent_module",
            "No module named 'absent_module' (mine1.py, line 2); install what has the",
        ),
        (
            "mine2",
            "import numpy; numpy.linalg.inv(numpy.zeros((2, 2)))",
            "Singular matrix (mine2.py, line 2); -v",
        ),
        ("mine3", "import json; json.absent", "has no attribute 'absent' (mine3.py, line 2); -v"),
        ("mine4", "", "module 'mine4' has no attribute 'model'; write module:object"),
    ],
)
def test_error_of_a_module_names_the_users_line(call: Run, tmp_path: Path, module: str, line: str, said: str) -> None:
    """What a user's module raises is not mistaken for a wrong name, and a library's lines are left out."""
    (tmp_path / f"{module}.py").write_text(f"# mine\n{line}\n")
    done = call("plan", f"{module}:model")
    assert (3, "") == (done.returncode, done.stdout)
    assert said in done.stderr
