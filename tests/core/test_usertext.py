"""Every place that reads a text file of a user takes what Windows writes, and names the file that is not text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest

from sdk.cli.parse import INPUT
from sdk.compare.comparison import Comparison
from sdk.config.files import read_file
from sdk.config.secrets import SecretSource
from sdk.errors import ConfigError
from sdk.util import usertext
from sdk.util.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def config(path: Path) -> object:
    file = read_file(path)
    assert file is not None
    return file.data


def pyproject(path: Path) -> object:
    shared = path.with_name("pyproject.toml")
    path.rename(shared)
    return config(shared)


def rows(path: Path) -> object:
    return INPUT.convert(f"@{path}", None, None)


def table(path: Path) -> object:
    named = path.with_suffix(".csv")
    path.rename(named)
    found: Any = rows(named)
    return found.rows(None)


def lines(path: Path) -> object:
    named = path.with_suffix(".jsonl")
    path.rename(named)
    return rows(named)


def secret(path: Path) -> object:
    return SecretSource({}, Redactor())(f"file:{path}")


READERS: dict[str, tuple[Callable[[Path], object], str, object]] = {
    "config": (config, '# für\r\nlog = "info"\r\n', {"log": "info"}),
    "pyproject": (pyproject, '[tool.mlport]\r\nlog = "info"\r\n', {"log": "info"}),
    "rows": (rows, '[["ü"],\r\n[1]]\r\n', [["ü"], [1]]),
    "csv": (table, 'a,"b, ü"\r\n1.5,007\r\n,x\r\n', [{"a": 1.5, "b, ü": "007"}, {"a": None, "b, ü": "x"}]),
    "csv without names": (table, "1,2\r\n3,4\r\n", [[1, 2], [3, 4]]),
    "lines": (lines, '{"a": "ü"}\r\n\r\n[1]\r\n', [{"a": "ü"}, [1]]),
    "secret": (secret, "pässwörd\r\n", "pässwörd"),
    "plain": (usertext.read, "a\r\n", "a\r\n"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("kind", READERS)
def test_file_of_any_editor_is_read(kind: str, encoding: str, tmp_path: Path) -> None:
    """A byte order mark is not content."""
    read, text, expected = READERS[kind]
    path = tmp_path / "mlport.toml"
    path.write_bytes(text.encode(encoding))
    assert expected == read(path)


@pytest.mark.parametrize("kind", [*READERS, "comparison"])
@pytest.mark.parametrize("content", [b'log = "\xe9"\n[tool.mlport]', b'log = "\0mlport"'])
def test_file_that_is_not_text_is_named(kind: str, content: bytes, tmp_path: Path) -> None:
    """The message has the file, the line, the byte and the fix, and nothing of the content."""
    read: Callable[[Any], object] = READERS[kind][0] if kind in READERS else Comparison.load
    path = tmp_path / "mlport.toml"
    path.write_bytes(content)
    with pytest.raises((ConfigError, click.UsageError)) as refused:
        read(path)
    said = getattr(refused.value, "message", str(refused.value))
    assert ":1: not text in UTF-8 or UTF-16: " in said
    assert "at byte 7; save it as UTF-8" in str(refused.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A folder, a missing file, a large one and a name with a zero byte."""
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "no", "No such file"), ("a\0b", "null byte")):
        with pytest.raises(ConfigError, match=f"rows: .* cannot be read: .*{why}"):
            usertext.read(path, what="rows")
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(ConfigError, match="large is larger than 4 bytes"):
        usertext.read(tmp_path / "large", most=4)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.csv", "a,b\n1,2\n3\n", r"r\.csv:3: 1 cells, the first line has 2"),
        ("r.csv", 'a,b\n1,"2\n', r"r\.csv:2: not CSV: unexpected end of data"),
        ("r.jsonl", "[1]\n[2\n", r"r\.jsonl:2 cannot be read: it is no JSON"),
        ("r.json", "[1", "it is no JSON"),
    ],
)
def test_wrong_rows_are_named(name: str, text: str, said: str, tmp_path: Path) -> None:
    """With the file and the line."""
    (tmp_path / name).write_text(text)
    with pytest.raises(click.UsageError, match=said):
        rows(tmp_path / name)
