"""Requirement lists and files are read as pip reads them; what cannot be locked is named with its line and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdk.errors import ConfigError
from sdk.packaging import wheels
from sdk.packaging.manifest import Sources
from sdk.packaging.pack import lock_for
from sdk.packaging.requirements import read_requirements

SECRET = "hunter2-canary"
NO_SOURCES = Sources()


def written(folder: Path, text: str | bytes, name: str = "requirements.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--index-url https://evil.example", "option '--index-url' is not supported; give the index in index_url="),
        (f"-i https://u:{SECRET}@host.example/simple", "option '-i' is not supported; .*netrc"),
        (f"--extra-index-url=https://u:{SECRET}@host.example", "option '--extra-index-url' is not supported"),
        ("-e ./lib", "option '-e' is not supported; write the path of the folder without it"),
        ("--editable=./lib", "option '--editable' is not supported; write the path"),
        ("--find-links wheels", "'--find-links' is not supported; give the folder of wheels in find_links="),
        ("--no-binary annoy", "'--no-binary' is not supported; name the package in build_from_source="),
        ("--pre", "'--pre' is not supported; require the version itself"),
        ("--hash-everything", "option '--hash-everything' is not supported"),
        ("numpy==${VER}", r"\$\{VER\} is not replaced here"),
        ("lib @ https://host.example/lib-1.0.whl", "'lib' is a link"),
        (f"git+https://user:{SECRET}@host.example/lib", "'git.https://…' is a link"),
        ("-r https://host.example/r.txt", "does not name a file of this machine"),
        ("-r other.txt", "there is no file .*other.txt"),
        ("-r base.txt ; python_version > '3'", "a marker cannot stand here"),
        ("numpy === !", "is not a requirement"),
        ("two words", "is not a requirement"),
        ("./lib[extra]", "a folder or wheel cannot have a marker or extras"),
        ("numpy==1.0\x07", "is not a requirement"),
    ],
)
def test_bad_line_is_named(line: str, said: str, tmp_path: Path) -> None:
    """The message has the file, the line and what to do, and never a password."""
    path = written(tmp_path, f"# our own\nidna\n{line}\n")
    with pytest.raises(ConfigError, match=rf"requirements: .*requirements\.txt:3: .*{said}") as refused:
        read_requirements(path)
    assert SECRET not in str(refused.value)
    with pytest.raises(ConfigError, match=f"requirements: .*{said}"):
        read_requirements([line])


@pytest.mark.parametrize("line", ["./no-such-folder", "no-such.whl", "no/such/folder"])
def test_package_of_this_machine_that_is_not_there(line: str, tmp_path: Path) -> None:
    """A path is looked for when it is collected."""
    with pytest.raises(ConfigError, match=r"requirements: .*does not exist"):
        wheels.collect(read_requirements([line]).lines, tmp_path / "wheels")


def test_a_list_holds_texts_and_paths() -> None:
    """Anything else is a mistake."""
    with pytest.raises(ConfigError, match="requirements: None is not text or a path"):
        read_requirements([None])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="is not a file"):
        read_requirements("nowhere.txt")


def test_file_is_read_as_pip_reads_it(tmp_path: Path) -> None:
    """Comments, empty and continued lines, tabs, markers, extras and hashes; paths count from the file's folder."""
    path = written(
        tmp_path,
        "# all\n\nnumpy>=2  # arrays\nscipy ; python_version > '3'\n./lib.whl\nsub/tool\n"
        "idna \\\n  ==3.10 \\\n\t--hash=sha256:0a\nrich \\\n# a comment ends it\n"
        "uvloop[dev]>=0.2,<1;sys_platform!='win32'\\",
    )
    expected = [
        "numpy>=2",
        "scipy ; python_version > '3'",
        str(tmp_path / "lib.whl"),
        str(tmp_path / "sub" / "tool"),
        "idna   ==3.10  --hash=sha256:0a",
        "rich",
        "uvloop[dev]>=0.2,<1;sys_platform!='win32'",
    ]
    assert expected == read_requirements(path).lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_file_of_any_editor(encoding: str, ends: str, tmp_path: Path) -> None:
    """UTF-8 with and without a mark, and UTF-16 as PowerShell writes it, with the line ends of any system."""
    text = ends.join(["# für alle", "numpy>=2", "scipy \\", "  >=1", ""])
    data = b"\xfe\xff" + text.encode("utf-16-be") if encoding.endswith("-mark") else text.encode(encoding)
    assert ["numpy>=2", "scipy   >=1"] == read_requirements(written(tmp_path, data)).lines


@pytest.mark.parametrize(
    ("data", "line", "byte"),
    [
        (b"idna\n# caf\xe9\nnumpy\n", 2, 10),
        (b"\xff\xfen", 1, 2),
        (b"\xef\xbb\xbfnumpy\xff", 1, 8),
        (b"\x89PNG\r\n\x1a\n\x00\x00", 1, 0),
        ("idna\n".encode("utf-16-le"), 1, 1),
    ],
)
def test_file_that_is_not_text(data: bytes, line: int, byte: int, tmp_path: Path) -> None:
    """The message names the file, the line, the byte and the fix; nested files are named themselves."""
    written(tmp_path, data, "r.txt")
    said = rf"r\.txt:{line}: not text in UTF-8 or UTF-16: .* at byte {byte}; save it as UTF-8"
    with pytest.raises(ConfigError, match=said):
        read_requirements(tmp_path / "r.txt")
    with pytest.raises(ConfigError, match=said):
        read_requirements([f"-r{tmp_path / 'r.txt'}"])


def test_files_name_further_files(tmp_path: Path) -> None:
    """``-r`` counts from the file it stands in, in every spelling pip knows; a file may be named by two others."""
    path = written(tmp_path, "-r base/all.txt\n--requirement='with space.txt'\n-rbase/common.txt\n")
    written(tmp_path, "--requirement=common.txt\n../lib\n", "base/all.txt")
    written(tmp_path, "\ufeffidna\r\n", "base/common.txt")
    written(tmp_path, "numpy\n-c limits.txt\n", "with space.txt")
    written(tmp_path, "-r more.txt\nscipy<2\n", "limits.txt")
    written(tmp_path, "idna==3.10\n", "more.txt")
    wishes = read_requirements(path)
    assert ["idna", str(tmp_path / "base" / ".." / "lib").replace("base/../", ""), "numpy", "idna"] == wishes.lines
    assert ["idna==3.10", "scipy<2"] == wishes.constraints
    assert wishes == read_requirements([f"-r {path}"])


def test_files_in_a_circle_are_refused(tmp_path: Path) -> None:
    """The message shows the circle."""
    written(tmp_path, "-r sub/b.txt\n", "a.txt")
    written(tmp_path, "idna\n-c ../a.txt\n", "sub/b.txt")
    with pytest.raises(ConfigError, match=r"b\.txt:2: the files name each other in a circle: a\.txt → b\.txt → a\.txt"):
        read_requirements(tmp_path / "a.txt")


@pytest.mark.parametrize("line", ["numpy[extra]==1", "./folder", "lib @ https://host.example/x"])
def test_bad_constraint_is_named(line: str, tmp_path: Path) -> None:
    """A constraint is a name with versions."""
    written(tmp_path, f"{line}\n", "c.txt")
    with pytest.raises(ConfigError, match=r"c\.txt:1: .* is not a constraint"):
        read_requirements([f"-c {tmp_path / 'c.txt'}"])


def test_constraint_counts_for_what_is_found_and_adds_nothing(tmp_path: Path) -> None:
    """A constraint wins over the version that is installed here; what nothing needs is not locked."""
    limits = written(tmp_path, "idna==3.9\ncolorama==0.4.6\n", "limits.txt")
    lock, libraries = lock_for(
        {"idna"}, {"requirements": [f"-c {limits}"]}, tmp_path / "w", sources=NO_SOURCES, needs=(), python="3.11"
    )
    assert "3.9" == lock.versions["idna"]
    assert {"idna": "3.9"} == libraries
    assert "colorama" not in lock.versions


@pytest.mark.parametrize("name", ["plain", "with space", "pkgé"])
def test_relative_path_is_a_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``Path`` always names a folder or wheel, and works as the text does, whatever characters it has."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "", f"reqs/{name}/pyproject.toml")
    whole = [str(tmp_path / "reqs" / name)]
    assert whole == read_requirements([Path("reqs") / name]).lines
    assert whole == read_requirements([f"./reqs/{name}"]).lines == read_requirements([f"reqs/{name}"]).lines
    monkeypatch.chdir(tmp_path / "reqs")
    assert whole == read_requirements([Path(name)]).lines


@pytest.mark.parametrize("line", ["./package", "/tmp/package", "package-1.0-py3-none-any.whl", "~/package", "a/b"])
def test_a_foreign_file_names_no_folder(tmp_path: Path, line: str) -> None:
    """MLflow models come with one; a folder in it would be built, which runs its code."""
    written(tmp_path, "idna\n-r more.txt\n")
    written(tmp_path, f"{line}\n", "more.txt")
    with pytest.raises(ConfigError, match="a folder is built by running its code"):
        read_requirements(tmp_path / "requirements.txt", foreign=True)


@pytest.mark.parametrize("name", ["../outside.txt", "~/outside.txt", "link.txt"])
def test_a_foreign_file_names_no_file_outside(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of a file elsewhere on this machine would be shown in messages."""
    monkeypatch.setenv("HOME", str(tmp_path))
    outside = written(tmp_path, "secret line\n", "outside.txt")
    path = written(tmp_path, f"-c limits.txt\n-r {name}\n", "model/requirements.txt")
    written(tmp_path, "idna<4\n", "model/limits.txt")
    (path.parent / "link.txt").symlink_to(outside)
    with pytest.raises(ConfigError, match="lies outside of") as refused:
        read_requirements(path, foreign=True)
    assert "secret line" not in str(refused.value)
