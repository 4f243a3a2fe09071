"""What ``code=`` packs: importable as on the user's machine, without keys, caches, ignored files and large data."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConfigError
from sdk.packaging import code
from sdk.packaging.model import model as make_model
from sdk.packaging.training import job_bundle
from tests.packaging.inside import served

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIVATE = b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n"


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def packed(given: Any, folder: Path) -> list[str]:
    code.copy_code(given, folder / "code")
    return sorted(path.relative_to(folder / "code").as_posix() for path in folder.rglob("code/**/*") if path.is_file())


def test_dot_is_the_content_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules beside the script are imported by their own names, however the folder is written."""
    work = write(tmp_path / "my project", {"util.py": "A = 1", "pkg/__init__.py": "", "pkg/deep/table.csv": "1"})
    monkeypatch.chdir(work)
    expected = ["pkg/__init__.py", "pkg/deep/table.csv", "util.py"]
    for number, given in enumerate((".", "./", Path(), [work], str(work), ["../my project"])):
        assert expected == packed(given, tmp_path / str(number)), given
    assert {"util", "pkg"} == code.collect(".").modules


def test_folder_is_importable_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package, and a folder without ``__init__.py``; the content of a folder that Python looks into."""
    write(tmp_path, {"pkg/__init__.py": "", "pkg/a.py": "", "plain/b.py": "", "src/lib/__init__.py": ""})
    assert ["pkg/__init__.py", "pkg/a.py", "plain/b.py"] == packed(
        [tmp_path / "pkg", tmp_path / "plain"], tmp_path / "1"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    monkeypatch.syspath_prepend(str(tmp_path / "pkg"))
    assert ["lib/__init__.py"] == packed(tmp_path / "src", tmp_path / "2")
    assert ["pkg/__init__.py", "pkg/a.py"] == packed(tmp_path / "pkg", tmp_path / "3")


def test_link_keeps_the_name_that_is_imported(tmp_path: Path) -> None:
    """``code="pkg"`` may be a link to a folder of another name."""
    write(tmp_path, {"pkg-1.0/__init__.py": ""})
    (tmp_path / "pkg").symlink_to("pkg-1.0")
    assert ["pkg/__init__.py"] == packed(tmp_path / "pkg", tmp_path / "out")


LEFT_OUT: dict[str, tuple[str | bytes, str]] = {
    ".env": ("A=1", code.KEY),
    ".env.local": ("A=1", code.KEY),
    "prod.env": ("A=1", code.KEY),
    "id_rsa": ("x", code.KEY),
    "id_ed25519_sk": ("x", code.KEY),
    "server.PEM": ("x", code.KEY),
    "server.key": ("x", code.KEY),
    "credentials": ("x", code.KEY),
    "google_credentials.json": ("{}", code.KEY),
    "service-account-7.json": ("{}", code.KEY),
    "client_secret_1.json": ("{}", code.KEY),
    "secrets.toml": ("x", code.KEY),
    ".netrc": ("x", code.KEY),
    "unsuspicious.txt": (PRIVATE, code.KEY),
    "gcp.json": (b'{"private_key": "-----BEGIN PRIVATE KEY-----"}', code.KEY),
    "ignored-key.pem": ("x", code.KEY),
    ".coverage": ("x", code.HIDDEN),
    ".git/config": ("x", code.HIDDEN),
    ".mypy_cache/a.json": ("x", code.HIDDEN),
    "__pycache__/util.cpython-311.pyc": ("x", code.CACHE),
    "old.pyc": ("x", code.CACHE),
    "util.py~": ("x", code.CACHE),
    "node_modules/a.js": ("x", code.CACHE),
    "lib.egg-info/PKG-INFO": ("x", code.CACHE),
    "env/pyvenv.cfg": ("x", code.ENVIRONMENT),
    "conda/conda-meta/history": ("x", code.ENVIRONMENT),
    "ignored.txt": ("x", code.IGNORED),
    "sub/also-ignored.txt": ("x", code.IGNORED),
    "big.bin": (b"\0" * (code.LARGEST_DATA + 1), code.LARGE),
}
KEPT: dict[str, str | bytes] = {
    "__init__.py": "",
    "secrets.py": "",
    "env.py": "KEY = '-----BEGIN PRIVATE KEY-----'",
    "credentials.py": "",
    "id_rsa.pub": "x",
    "cacert.pem": "# roots\n-----BEGIN CERTIFICATE-----\n",
    "big.so": b"\0" * (code.LARGEST_DATA + 1),
    "table.csv": "1,2",
    "sub/kept.txt": "x",
    "tokenizer.json": "{}",
}


def test_keys_caches_ignored_files_and_large_data_stay_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The summary says what was packed and what was left out and why; the list is there at level debug."""
    caplog.set_level(logging.DEBUG, "sdk.packaging.code")
    left_out = {name: content for name, (content, _) in LEFT_OUT.items()}
    pkg = write(tmp_path / "pkg", {**KEPT, **left_out, ".gitignore": "ignored*\n", "sub/.gitignore": "*\n!kept.txt\n"})
    assert sorted(f"pkg/{name}" for name in KEPT) == packed(pkg, tmp_path)
    found = code.collect(pkg).left_out
    whole = {"pkg/.git/": ".git/config", "pkg/env/": "env/pyvenv.cfg"}
    for name, (_, why) in LEFT_OUT.items():
        shown = next((part for part in (f"pkg/{name}", f"pkg/{name.partition('/')[0]}/") if part in found), "")
        assert why == found.get(shown), name
    assert whole.keys() <= found.keys()
    said = caplog.text
    assert f"code: packed {len(KEPT)} files (10.0 MiB), left out " in said
    assert "2 (virtual environment)" in said
    assert "code: left out pkg/id_rsa (key or credentials)" in said
    assert "code: packed pkg/table.csv" in said


def test_what_may_be_missed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a log, too: what is ignored or large may be needed. What is always left out is no news."""
    write(
        tmp_path,
        {"a/x.py": "", "a/.git": "", "b/x.py": "", "b/.gitignore": "*.csv", "b/t.csv": "", "b/\x1b[31m.csv": ""},
    )
    packed(tmp_path / "a", tmp_path / "1")
    assert "" == capsys.readouterr().err
    packed(tmp_path / "b", tmp_path / "2")
    said = capsys.readouterr().err
    assert "mlport: code: left out b/" in said
    assert "b/t.csv (ignored by .gitignore); name a file itself in code= to pack it" in said
    assert "\x1b" not in said


def test_a_file_named_itself_is_packed(tmp_path: Path) -> None:
    """At its place in the folder that left it out, whatever its size; a key never is."""
    files: dict[str, str | bytes] = {
        "pkg/__init__.py": "",
        "pkg/big.bin": b"\0" * (code.LARGEST_DATA + 1),
        "pkg/.hidden": "",
        "pkg/.gitignore": "*.csv",
    }
    write(tmp_path, {**files, "pkg/deep/t.csv": "", "k.pem": "x", "alone.txt": ""})
    given = [tmp_path / name for name in ("pkg", "pkg/big.bin", "pkg/.hidden", "pkg/deep/t.csv", "alone.txt")]
    expected = ["alone.txt", "pkg/.hidden", "pkg/__init__.py", "pkg/big.bin", "pkg/deep/t.csv"]
    assert expected == packed(given, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"code: .*k\.pem looks like a key or credentials.*; give it as secrets="):
        packed([tmp_path / "k.pem"], tmp_path / "out")


class Reads:
    def load(self, folder: str) -> None:
        self.names = sorted(str(one.relative_to(folder)) for one in Path(folder).rglob("*"))

    def predict(self, rows: Any) -> Any:
        return [self.names for _ in rows]


def test_keys_stay_out_of_artifacts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the rules of `code=`; everything else that the model may read travels, hidden and ignored files as well."""
    files = tmp_path / "files"
    (files / "deep" / "__pycache__").mkdir(parents=True)
    for name in ("weights.bin", ".gitattributes", "env.sh", "deep/id_rsa", "deep/vocab.txt", "deep/__pycache__/x.pyc"):
        (files / name).write_text("x")
    (files / "deep" / "notes.txt").write_text("-----BEGIN PRIVATE KEY-----")
    (files / ".gitignore").write_text("*.bin")
    model = make_model(Reads, name="reads", example=[[1]], artifacts=files)
    assert [[".gitattributes", ".gitignore", "deep", "deep/vocab.txt", "weights.bin"]] == served(model, [[1]])
    assert "artifacts: left out deep/id_rsa, deep/notes.txt, env.sh (key or credentials)" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"artifacts: .*env.sh looks like a key or credentials"):
        make_model(Reads, name="reads", example=[[1]], artifacts=files / "env.sh")


def test_artifacts_of_which_nothing_is_left_are_refused(tmp_path: Path) -> None:
    """A model that loads its files would find none on the server; the error says what was left out."""
    write(tmp_path, {"keys/id_rsa": "x", "keys/deep/token.pem": "x", "keys/__pycache__/a.pyc": "x"})
    (tmp_path / "bare" / "folder").mkdir(parents=True)
    for name, said in (("keys", "left out deep/token.pem, id_rsa"), ("bare", "give a folder with files")):
        with pytest.raises(ConfigError, match=f"artifacts: nothing in .*{name} is to be packed; {said}"):
            make_model(Reads, name="reads", example=[[1]], artifacts=tmp_path / name)


def test_links(tmp_path: Path) -> None:
    """A link inside is followed; one that leads out, in a circle, to nothing or to a hidden file stays here."""
    write(tmp_path, {"pkg/__init__.py": "", "pkg/data/t.csv": "1", "pkg/.env": "A=1", "outside/secret.txt": "x"})
    links = {"again": "data", "out": "../outside", "file": "../outside/secret.txt", "up": "..", "loop": ".", "no": "no"}
    for name, target in {**links, "config": ".env", "data/back": ".."}.items():
        (tmp_path / "pkg" / name).symlink_to(target)
    assert ["pkg/__init__.py", "pkg/again/t.csv", "pkg/data/t.csv"] == packed(tmp_path / "pkg", tmp_path / "out1")
    found = code.collect(tmp_path / "pkg").left_out
    expected = dict.fromkeys(("pkg/out/", "pkg/file", "pkg/up/", "pkg/loop/", "pkg/data/back/"), code.LINK)
    expected |= {"pkg/no": code.NOTHING, "pkg/config": code.HIDDEN}
    assert expected == {name: found.get(name) for name in expected}


def test_special_files_and_our_own_state(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket and a pipe have no content; the state folder inside the code would pack all models again."""
    work = write(tmp_path / "work", {"util.py": ""})
    monkeypatch.setenv("MLPORT_STATE_DIR", str(work / "state"))
    write(work, {"state/models/x.bin": "x"})
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(work)
        server.bind("socket")
        assert ["util.py"] == packed(".", tmp_path / "out")
        left_out = {"pipe": code.SPECIAL, "socket": code.SPECIAL, "state/": code.STATE}
        assert left_out == code.collect(".").left_out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-pkg/a.py", "cannot import a module called 'my-pkg'"),
        ("código con espacio/a.py", "cannot import a module called 'código con espacio'"),
        ("1st.py", "cannot import a module called '1st'"),
        ("my-mod.py", "cannot import a module called 'my-mod'; rename it"),
        ("class.py", "'class' is a keyword"),
        ("lambda/a.py", "'lambda' is a keyword"),
        ("time.py", "'time' is built into Python"),
    ],
)
def test_name_that_cannot_be_imported_is_refused(name: str, said: str, tmp_path: Path) -> None:
    """At pack, with the reason; a folder's content can be packed from inside it."""
    write(tmp_path, {name: ""})
    with pytest.raises(ConfigError, match=rf"code: .*{said}"):
        packed(tmp_path / name.partition("/")[0], tmp_path / "out")


@pytest.mark.parametrize("name", ["mód.py", "fast.cpython-311-x86_64-linux-gnu.so", "weird name.csv", "pkg"])
def test_name_that_can_be_imported_is_taken(name: str, tmp_path: Path) -> None:
    """Letters of any script, extension modules, and files that are not imported."""
    write(tmp_path, {name if "." in name else f"{name}/a.py": ""})
    assert 1 == len(packed(tmp_path / name, tmp_path / "out"))


def test_wrong_paths_are_named(tmp_path: Path) -> None:
    """A missing path, something that is not a path, two of one name, and a folder of which nothing is left."""
    write(tmp_path, {"a/x.py": "1", "b/x.py": "2", "empty/.git/config": ""})
    for given, said in (
        (["nope.py"], "nope.py does not exist"),
        ([3], "3 is not a path"),
        ([tmp_path / "a" / "x.py", tmp_path / "b" / "x.py"], "two of the paths are called x.py"),
        (tmp_path / "empty", r"nothing in .*empty is to be packed; empty/.git/ \(hidden\)"),
    ):
        with pytest.raises(ConfigError, match=f"code: .*{said}"):
            packed(given, tmp_path / "out")
    assert ["x.py"] == packed([tmp_path / "a" / "x.py", tmp_path / "a" / "x.py"], tmp_path / "same")


def test_a_folder_within_another_is_packed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In either order; and the reasons of an empty one are its own, not those of the other folder."""
    write(tmp_path / "here", {"pkg/__init__.py": "", "pkg/a.py": "", "notes.key": "x", "keys/id_rsa": "x"})
    monkeypatch.chdir(tmp_path / "here")
    for number, given in enumerate(([".", "pkg"], ["pkg", "."])):
        assert ["pkg/__init__.py", "pkg/a.py"] == packed(given, tmp_path / f"out{number}")
    with pytest.raises(ConfigError, match=r"nothing in .*keys is to be packed; keys/id_rsa \(key or credentials\)$"):
        packed([".", "keys"], tmp_path / "out")


def test_total_size_is_limited(tmp_path: Path) -> None:
    """The largest files are named; sparse files cost no disk."""
    write(tmp_path, {"pkg/__init__.py": ""})
    for name, size in (("one.so", 150), ("two.so", 100), ("three.py", 1)):
        with (tmp_path / "pkg" / name).open("wb") as file:
            file.truncate(size << 20)
    said = (
        r"the folders have 251\.0 MiB, more than 200\.0 MiB; .* pkg/one\.so \(150\.0 MiB\), pkg/two\.so \(100\.0 MiB\)"
    )
    with pytest.raises(ConfigError, match=said):
        packed(tmp_path / "pkg", tmp_path / "out")


def test_script_and_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages beside a training script keep their names even when Python looks into them; ``.`` may repeat it."""
    work = write(tmp_path / "work", {"train.py": "import pkg.a", "pkg/a.py": "import idna", "pkg/.env": "A=1"})
    monkeypatch.chdir(work / "pkg")
    program = job_bundle(work / "train.py")
    expected = ["code/pkg/a.py", "code/train.py"]
    assert expected == sorted(name for name in program.manifest.files if name.startswith("code/"))
    monkeypatch.chdir(work)
    assert program.code_sha256 == job_bundle("train.py", {"code": "."}).code_sha256


def test_command_line_says_what_was_packed(tmp_path: Path) -> None:
    """The summary, and each name with ``-v``."""
    files = {"train.py": "import pkg.a", "pkg/a.py": "", "pkg/t.csv": "", "pkg/.gitignore": "*.csv"}
    work = write(tmp_path / "work", files)
    command = [sys.executable, "-m", "sdk", "train", "train.py", "-t", "local", "--dry-run", "-v"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
    assert "code: packed 1 file (0.0 KiB), left out 1 (hidden), 1 (ignored by .gitignore)" in done.stderr
    assert "code: left out pkg/t.csv (ignored by .gitignore); name a file itself" in done.stderr
    assert "code: packed pkg/a.py" in done.stderr
