"""Requirements are locked with hashes once, from where the user says, and secrets are written nowhere."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

import pytest

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import lock, pack, venv, wheels
from sdk.packaging.manifest import Sources
from sdk.packaging.model import model as make_model

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sdk.packaging.packing import Packing

pytestmark = pytest.mark.usefixtures("own_cache")

PYTHON = "3.11"
HERE = importlib.metadata.version("idna")
SECRET = "hunter2-canary"


def build_wheel(folder: Path, name: str = "secretlib", version: str = "1.0", code: str = "VALUE = 7\n") -> Path:
    """A pure wheel, written by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return path


class Index(NamedTuple):
    """A private package index on loopback, and the requests it got."""

    url: str
    port: int
    wheel: Path
    requests: list[tuple[str, bool]]


@pytest.fixture
def index(tmp_path: Path) -> Generator[Index]:
    """A simple index with one package that only answers with the right password."""
    wheel = build_wheel(tmp_path / "index")
    requests: list[tuple[str, bool]] = []
    wanted = "Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == wanted
            requests.append((self.path, allowed))
            if not allowed:
                self.send_error(401)
            elif self.path == "/simple/secretlib/":
                sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
                self.answer(f'<a href="/files/{wheel.name}#sha256={sha256}">{wheel.name}</a>'.encode(), "text/html")
            elif self.path == f"/files/{wheel.name}":
                self.answer(wheel.read_bytes(), "application/octet-stream")
            else:
                self.send_error(404)

        do_HEAD = do_GET  # noqa: N815  the name that http.server looks for

        def answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Index(f"http://127.0.0.1:{server.server_port}/simple", server.server_port, wheel, requests)
        server.shutdown()
        thread.join()


def texts_below(folder: Path) -> Generator[bytes]:
    for path in folder.rglob("*"):
        if path.is_file() and "envs" not in path.relative_to(folder).parts:
            yield path.read_bytes()


def test_lock_holds_exact_versions_with_hashes() -> None:
    """Every line is an exact version with hashes, and what the server needs is always among them."""
    made = lock.compile_lock(["idna"], python=PYTHON, pins={"idna": "3.10"})
    assert {"idna", "uvicorn", "uvloop", "httptools", "msgspec", "numpy"} <= made.versions.keys()
    assert made.versions["idna"] == "3.10"
    assert [] == [line for line in made.text.splitlines() if "--hash=sha256:" not in line]


def test_lock_is_kept_and_needs_no_network_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question is answered from the state directory, even without network and without uv's cache."""
    first = lock.compile_lock(["idna"], python=PYTHON)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("MLPORT_OFFLINE", "1")
    assert first == lock.compile_lock(["idna"], python=PYTHON)


def test_damaged_kept_lock_is_made_again(state: Path) -> None:
    """A kept lock whose bytes went bad is not believed."""
    first = lock.compile_lock(["idna"], python=PYTHON)
    (kept,) = (state / "locks").glob("*.json")
    kept.write_text(kept.read_text().replace("idna", "evil"))
    assert first == lock.compile_lock(["idna"], python=PYTHON)
    record = json.loads(kept.read_text())
    assert first.text == record["text"]


def test_no_network_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network and without a kept answer the error says that the index cannot be reached."""
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("MLPORT_OFFLINE", "1")
    with pytest.raises(PackagingError, match="the package index cannot be reached") as caught:
        lock.compile_lock(["six"], python=PYTHON)
    assert caught.value.retryable


def test_impossible_versions_are_said() -> None:
    """Versions that contradict each other are a conflict, not a network problem."""
    with pytest.raises(PackagingError, match=r"relax or correct requirements=") as caught:
        lock.compile_lock(["msgspec==0.1"], python=PYTHON)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "url", [f"https://robot:{SECRET}@host.example/simple", f"https://host.example/simple?token={SECRET}"]
)
def test_index_with_credentials_is_refused(url: str) -> None:
    """Credentials in an argument would be passed on with the model; the error does not repeat them."""
    with pytest.raises(ConfigError, match=r"index_url for host host\.example holds credentials") as caught:
        make_model(len, name="secret", index_url=url)
    assert SECRET not in str(caught.value)


def test_private_index_with_netrc(index: Index, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private index is read with the user's netrc; the password is in no file, the model says where to look."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login robot password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("UV_NO_CACHE", "1")
    model = make_model(len, name="private", requirements=["secretlib"], extra_index_urls=[index.url])
    assert model.manifest is not None
    assert model.lock is not None
    assert {"cloudpickle", "secretlib"} == model.manifest.libraries.keys()
    assert Sources(extra_indexes=(index.url,)) == model.manifest.sources
    assert any(allowed for _, allowed in index.requests)
    assert [] == [text for text in texts_below(state) if SECRET.encode() in text]


def test_wrong_password_is_said(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused log-in names the place for credentials and repeats none."""
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_INDEX", f"http://robot:wrong-{SECRET}@127.0.0.1:{index.port}/simple")
    with pytest.raises(PackagingError, match=r"credentials of the package index into ~/\.netrc") as caught:
        lock.compile_lock(["secretlib"], python=PYTHON)
    assert SECRET not in str(caught.value)


def test_project_file_cannot_name_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uv.toml in the current folder, as a cloned project may bring, is not read."""
    (tmp_path / "uv.toml").write_text('index-url = "http://127.0.0.1:9/simple"\n')
    monkeypatch.chdir(tmp_path)
    assert "idna" in lock.compile_lock(["idna<3.10"], python=PYTHON).versions


def test_local_package_travels_with_the_model(tmp_path: Path, state: Path) -> None:
    """A folder with pyproject.toml is built into the bundle and its wheel is the only one that the lock accepts."""
    package = tmp_path / "mylib"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "mylib"\nversion = "0.3"\n'
    )
    (package / "mylib.py").write_text("VALUE = 42\n")
    first = make_model(len, name="local", requirements=[package])
    assert first.path is not None
    assert first.lock is not None
    assert first.manifest is not None
    (wheel,) = (first.path / "wheels").iterdir()
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert f"mylib==0.3 --hash=sha256:{sha256}\n" in first.lock.text
    assert first.manifest.libraries["mylib"] == "0.3"
    again = make_model(len, name="local", requirements=[str(package)])
    assert first.digest == again.digest


def test_given_name_is_locked_at_the_installed_version() -> None:
    """A requirement without version means the version that is installed now; one with a version means that."""
    installed = importlib.metadata.version("idna")
    model = make_model(len, name="named", requirements=["idna", "certifi<2024"])
    assert model.manifest is not None
    assert installed == model.manifest.libraries["idna"]
    assert model.manifest.libraries["certifi"] < "2024"


MARKED: dict[str, tuple[list[str], dict[str, str]]] = {
    "another Python": (["idna==3.4 ; python_version < '3.9'"], {"idna": HERE}),
    "another system": (["idna==3.4 ; sys_platform == 'win32'"], {"sys_platform == 'win32'": "3.4", "else": HERE}),
    "one of two": (["idna==3.4 ; os_name == 'nt' or python_version < '3.9'"], {"os_name == 'nt'": "3.4", "else": HERE}),
    "this Python": (["idna==3.4 ; python_version >= '3.9'"], {"idna": "3.4"}),
    "brackets": (["idna==3.4 ; (python_version >= '3.9')"], {"idna": "3.4"}),
    "no marker": (["idna==3.4"], {"idna": "3.4"}),
}


@pytest.mark.parametrize("case", MARKED)
def test_a_requirement_counts_where_its_marker_holds(case: str, tmp_path: Path) -> None:
    """Elsewhere the version that is installed here is locked, as if the line were not there."""
    lines, wanted = MARKED[case]
    packing: Packing = {"requirements": lines}
    made, libraries = pack.lock_for(
        {"idna"}, packing, tmp_path, sources=Sources(), needs=(), python=pack.python_minor()
    )
    found = {pin.version for pin in made.pins if pin.name == "idna"}
    assert set(wanted.values()) == found
    assert (HERE if HERE in found else "3.4") == libraries["idna"]


def test_versions_that_a_record_states_win_over_those_installed_here(tmp_path: Path) -> None:
    """A model of MLflow brings versions of what a library named by the user needs as well."""
    packing: Packing = {"requirements": ["requests"]}
    made, libraries = pack.lock_for(set(), packing, tmp_path, sources=Sources(), needs=["idna==3.4"], python="3.11")
    assert ("3.4", "3.4") == (made.versions["idna"], libraries["idna"])
    assert importlib.metadata.version("requests") == made.versions["requests"]


def test_another_python_may_have_other_versions(tmp_path: Path) -> None:
    """What is installed here is only preferred when the model is for another Python, which it may not support."""
    made, libraries = pack.lock_for({"pandas"}, {}, tmp_path, sources=Sources(), needs=(), python="3.10")
    assert importlib.metadata.version("pandas") > made.versions["pandas"] == libraries["pandas"]
    assert importlib.metadata.version("click") == made.versions["click"]
    assert importlib.metadata.version("six") == made.versions["six"]


def test_special_build_travels_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that is on no index (``+cpu``) is taken from find_links=, and installs later without that folder."""
    links = tmp_path / "links"
    build_wheel(links, "torchish", "2.1+cpu")
    model = make_model(len, name="special", requirements=["torchish==2.1+cpu"], find_links=[links])
    assert model.lock is not None
    assert model.path is not None
    assert "2.1+cpu" == model.lock.versions["torchish"]
    (links / "torchish-2.1+cpu-py3-none-any.whl").unlink()
    python = venv.environment(model.lock, wheels=model.path / "wheels")
    said = subprocess.run([python, "-c", "import torchish; print(torchish.VALUE)"], capture_output=True, check=True)
    assert b"7" == said.stdout.strip()


def test_build_of_pytorch_is_part_of_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which builds of PyTorch are wanted is recorded, and a lock for others does not do."""
    for name in (
        "PIP_FIND_LINKS",
        "UV_FIND_LINKS",
        "PIP_EXTRA_INDEX_URL",
        "PIP_INDEX_URL",
        "UV_INDEX",
        "UV_DEFAULT_INDEX",
    ):
        monkeypatch.delenv(name, raising=False)
    installed = {"torch": "2.13.0+cu126"}
    assert "cu126" == pack.with_backend(Sources(), installed, {}).torch_backend
    assert "cpu" == pack.with_backend(Sources(torch_backend="cpu"), installed, {}).torch_backend
    assert pack.with_backend(Sources(), {"torch": "2.13.0"}, {}).torch_backend is None
    assert pack.with_backend(Sources(), installed, {"find_links": ["wheels"]}).torch_backend is None
    monkeypatch.setenv("MLPORT_OFFLINE", "1")
    lock.compile_lock([], python=PYTHON)
    with pytest.raises(PackagingError, match="cannot be reached"):
        lock.compile_lock(["torch"], python=PYTHON, sources=Sources(torch_backend="cpu"))


def test_index_cannot_replace_a_local_package(tmp_path: Path) -> None:
    """Whatever an index offers under the same name and version, only the local wheel's hash is locked."""
    mine = build_wheel(tmp_path / "mine", code="VALUE = 'mine'\n")
    build_wheel(tmp_path / "theirs", code="VALUE = 'theirs'\n")
    lines = wheels.collect([str(mine)], tmp_path / "wheels")
    made = lock.compile_lock(lines, python=PYTHON, wheels=tmp_path / "wheels", find_links=[tmp_path / "theirs"])
    hashes = [pin.hashes for pin in made.pins if pin.name == "secretlib"]
    assert [(hashlib.sha256(mine.read_bytes()).hexdigest(),)] == hashes


def test_environment_is_made_once_and_mended(tmp_path: Path) -> None:
    """An environment is made from the lock, used again, and made again when half of it is missing or changed."""
    wheel = build_wheel(tmp_path / "links")
    made = lock.compile_lock(["secretlib"], python=PYTHON, find_links=[wheel.parent])
    python = venv.environment(made, find_links=[wheel.parent])
    folder = python.parents[1]
    module = next(folder.glob("lib/python*/site-packages/uvicorn/main.py"))
    marker = folder / "mlport-env.json"
    first = marker.stat().st_mtime_ns
    assert python == venv.environment(made, find_links=[wheel.parent])
    assert first == marker.stat().st_mtime_ns
    module.unlink()
    assert not venv.is_sound(folder)
    venv.environment(made, find_links=[wheel.parent])
    assert module.is_file()
    marker.unlink()
    venv.environment(made, find_links=[wheel.parent])
    assert venv.is_sound(folder)


def test_wheel_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that was exchanged after locking does not get into an environment; nothing half-made stays."""
    monkeypatch.setenv("UV_NO_CACHE", "1")  # else uv may install the right wheel, which it has kept under its hash
    wheel = build_wheel(tmp_path / "links")
    made = lock.compile_lock(["secretlib"], python=PYTHON, find_links=[wheel.parent])
    build_wheel(tmp_path / "links", code="VALUE = 'evil'\n")
    with pytest.raises(PackagingError, match=r"(?i)hash mismatch"):
        venv.environment(made, find_links=[wheel.parent])
    assert [] == [path for path in (tmp_path / "state" / "envs").iterdir() if path.is_dir()]


def test_two_threads_make_one_environment(tmp_path: Path) -> None:
    """Two who want the same environment at the same time get one, complete."""
    made = lock.compile_lock([], python=PYTHON)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(venv.environment(made))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == len(found)
    assert 1 == len(set(found))
    assert venv.is_sound(found[0].parents[1])


def test_missing_python_is_said() -> None:
    """A Python that is not on this machine is named."""
    with pytest.raises(PackagingError, match=r"find Python 3\.99"):
        venv.interpreter("3.99")


def test_runtime_is_a_copy_that_is_mended(tmp_path: Path) -> None:
    """The runtime folder holds the server under its own name, compiled; a damaged copy is replaced."""
    folder = venv.runtime()
    module = folder / "mlport_serving" / "__main__.py"
    original = module.read_bytes()
    assert any(module.parent.glob("__pycache__/__main__.*.pyc"))
    module.write_bytes(b"broken")
    assert folder == venv.runtime()
    assert original == module.read_bytes()


def test_offline_of_the_project_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`offline = true` in a trusted mlport.toml keeps packing off the network, like the variable."""
    (tmp_path / "mlport.toml").write_text("offline = true\n")
    monkeypatch.setenv("MLPORT_TRUST", hashlib.sha256(b"offline = true\n").hexdigest())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLPORT_OFFLINE", raising=False)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(PackagingError, match="the package index cannot be reached"):
        lock.compile_lock(["six"], python=PYTHON)
