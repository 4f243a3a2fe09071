"""Code that comes from outside never runs on the client: hostile locks, indexes, settings and requirement files."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from sdk.errors import ConfigError, LockMismatchError, PackagingError
from sdk.packaging import bundle, uvrun, venv, wheels
from sdk.packaging.image import dependencies
from sdk.packaging.image.manifests import Platform
from sdk.packaging.image.store import BlobStore
from sdk.packaging.lock import Lock
from sdk.packaging.manifest import Sources
from sdk.packaging.model import Model
from sdk.packaging.model import model as make_model
from tests.packaging import hostile

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sdk.packaging.packing import Packing

SHA = "a" * 64
GOOD = f"numpy==2.1.0 --hash=sha256:{SHA}"

# Each is the whole lock of a bundle whose hashes are all right.
LOCKS = {
    "option": f"--no-binary evil\n{GOOD}\n",
    "option after a pin": f"{GOOD} --no-binary evil\n",
    "option before a hash": f"numpy==2.1.0 --no-binary evil --hash=sha256:{SHA}\n",
    "option in a continuation": f"{GOOD} \\\n    --no-binary evil\n",
    "option in a marker": f"numpy==2.1.0 ; python_version > '3' --no-binary evil --hash=sha256:{SHA}\n",
    "config setting": f"{GOOD} --config-settings x=y\n",
    "index": f"--index-url http://evil.example/simple\n{GOOD}\n",
    "links": f"-f http://evil.example\n{GOOD}\n",
    "another file": f"-r /etc/passwd\n{GOOD}\n",
    "constraint": f"-c /etc/passwd\n{GOOD}\n",
    "editable": f"-e /tmp/evil\n{GOOD}\n",
    "url": f"evil @ http://evil.example/evil-1.0.tar.gz --hash=sha256:{SHA}\n",
    "bare url": f"http://evil.example/evil-1.0.tar.gz --hash=sha256:{SHA}\n",
    "git": f"evil @ git+https://evil.example/evil --hash=sha256:{SHA}\n",
    "path": f"./evil --hash=sha256:{SHA}\n",
    "absolute path": f"/tmp/evil --hash=sha256:{SHA}\n",
    "file url": f"evil @ file:///tmp/evil --hash=sha256:{SHA}\n",
    "variable": f"${{EVIL}}==1.0 --hash=sha256:{SHA}\n",
    "extra": f"numpy[evil]==2.1.0 --hash=sha256:{SHA}\n",
    "range": f"numpy>=2.1.0 --hash=sha256:{SHA}\n",
    "wildcard": f"numpy==2.* --hash=sha256:{SHA}\n",
    "two clauses": f"numpy==2.1.0,!=2.2 --hash=sha256:{SHA}\n",
    "arbitrary equality": f"numpy===2.1.0 --hash=sha256:{SHA}\n",
    "no hash": "numpy==2.1.0\n",
    "weak hash": f"numpy==2.1.0 --hash=md5:{'a' * 32}\n",
    "short hash": f"numpy==2.1.0 --hash=sha256:{'a' * 63}\n",
    "capital hash": f"numpy==2.1.0 --hash=sha256:{'A' * 64}\n",
    "hash and more": f"numpy==2.1.0 --hash=sha256:{SHA}x\n",
    "comment": f"# numpy\n{GOOD}\n",
    "comment after a pin": f"{GOOD} # --no-binary evil\n",
    "continued option": f"--no-\\\nbinary evil\n{GOOD}\n",
    "tab": f"numpy==2.1.0\t--hash=sha256:{SHA}\n",
    "carriage return": f"{GOOD}\r--no-binary evil\r\n",
    "form feed": f"{GOOD}\f--no-binary evil\n",
    "next line": f"{GOOD}\x85--no-binary evil\n",
    "line separator": f"{GOOD}\u2028--no-binary evil\n",
    "zero": f"{GOOD}\0\n",
    "byte order mark": f"\ufeff{GOOD}\n",
    "no end": GOOD,
    "empty line": f"\n{GOOD}\n",
    "indented": f" {GOOD}\n",
    "twice": f"{GOOD}\nNumPy==2.2.0 --hash=sha256:{SHA}\n",
    "name with a dash first": f"-numpy==2.1.0 --hash=sha256:{SHA}\n",
    "long name": f"{'n' * 200}==2.1.0 --hash=sha256:{SHA}\n",
    "deep marker": f"numpy==2.1.0 ; {'(' * 99}os_name == 'x'{')' * 99} --hash=sha256:{SHA}\n",
    "open marker": f"numpy==2.1.0 ; (os_name == 'x' --hash=sha256:{SHA}\n",
    "marker without variable": f"numpy==2.1.0 ; 'x' == 'x' --hash=sha256:{SHA}\n",
    "marker of extras": f"numpy==2.1.0 ; extra == 'evil' --hash=sha256:{SHA}\n",
    "marker with a quote inside": f"numpy==2.1.0 ; os_name == 'a\\'b' --hash=sha256:{SHA}\n",
    "many pins": "".join(f"n{number}==1.0 --hash=sha256:{SHA}\n" for number in range(5_001)),
    "many hashes": f"numpy==2.1.0{f' --hash=sha256:{SHA}' * 2_001}\n",
}


@pytest.fixture
def index(tmp_path: Path) -> Generator[hostile.Index]:
    """A package index with the source archive of ``evil``."""
    with hostile.index(tmp_path / "index") as served:
        yield served


@pytest.mark.parametrize("case", LOCKS)
def test_a_lock_that_is_more_than_data_is_refused_when_loaded(tmp_path: Path, state: Path, case: str) -> None:
    """The bundle does not get into the store, and the error names the lock."""
    source = hostile.bundle(tmp_path / "bundle", lock=LOCKS[case].encode())
    with pytest.raises(LockMismatchError, match=r"requirements\.lock .* is no list of exact versions with hashes"):
        Model.load(source)
    assert [] == [path for path in (state / "models").iterdir() if path.is_dir()]


@pytest.mark.parametrize("case", LOCKS)
def test_a_lock_that_is_more_than_data_is_refused_before_use(case: str) -> None:
    """Also one that did not come through a bundle; nothing of its text reaches an installer."""
    with pytest.raises(PackagingError, match="the lock is no list of exact versions with hashes"):
        _ = Lock(LOCKS[case], "3.11").installable


@pytest.mark.parametrize("lock_sha256", ["", SHA])
def test_the_lock_is_the_one_that_the_manifest_names(tmp_path: Path, lock_sha256: str) -> None:
    """An image is recognised by that hash: another lock behind it would be installed unseen."""
    source = hostile.bundle(tmp_path / "bundle", lock=f"{GOOD}\n".encode(), lock_sha256=lock_sha256)
    with pytest.raises(LockMismatchError, match=r"lock"):
        Model.load(source)


def test_locks_of_earlier_versions_are_read() -> None:
    """uv's own form, a continuation before each hash, gives the same pins and goes to installers in today's form."""
    folded = (
        f"numpy==2.1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:{SHA} \\\n    --hash=sha256:{'b' * 64}\n"
    )
    wanted = f"numpy==2.1.0 ; python_full_version < '3.12' --hash=sha256:{SHA} --hash=sha256:{'b' * 64}\n"
    assert wanted == Lock(folded, "3.11").installable


def test_a_locked_source_archive_is_not_built(index: hostile.Index, tmp_path: Path) -> None:
    """A lock may name the hash of a source archive; neither an environment nor an image is made of it."""
    lock = Lock(f"evil==1.0 --hash=sha256:{index.sha256}\n", "3.11", Sources(index=index.url))
    with pytest.raises(PackagingError, match="evil"):
        venv.environment(lock)
    with pytest.raises(PackagingError, match="evil"):
        dependencies.layer(lock, tmp_path / "none", Platform("amd64"), BlobStore(tmp_path / "store"), fresh=False)
    assert not index.mark.exists()


@pytest.mark.parametrize(
    "text", ['[pip]\nno-binary = ["evil"]\n', 'no-binary-package = ["evil"]\n', '[pip]\nno-binary = [":all:"]\n']
)
def test_settings_of_uv_do_not_make_it_build(
    index: hostile.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A user who builds some packages elsewhere does not build those of a stranger's model; other settings stay."""
    config = tmp_path / "config" / "uv" / "uv.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'{text}\n[[index]]\nname = "own"\nurl = "{index.url}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("UV_NO_BINARY_PACKAGE", "evil")
    with pytest.raises(PackagingError, match=r"evil(?s:.*)building\s+from\s+source\s+is\s+disabled"):
        venv.environment(Lock(f"evil==1.0 --hash=sha256:{index.sha256}\n", "3.11"))
    assert not index.mark.exists()


def test_resolving_builds_nothing(index: hostile.Index) -> None:
    """A package without wheel is an error that says how to allow its build."""
    with pytest.raises(PackagingError, match=r'say build_from_source=\["evil"\]'):
        make_model(len, name="source", requirements=["evil"], extra_index_urls=[index.url])
    assert not index.mark.exists()


CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-1",
    "AWS_SESSION_TOKEN": "canary-2",
    "GOOGLE_APPLICATION_CREDENTIALS": "/canary-3",
    "AZURE_CLIENT_SECRET": "canary-4",
    "DOCKER_AUTH_CONFIG": "canary-5",
    "GITHUB_TOKEN": "canary-6",
    "HF_TOKEN": "canary-7",
    "SSH_AUTH_SOCK": "/canary-8",
    "SOME_NEW_SERVICE_KEY": "canary-9",
    "UV_PUBLISH_TOKEN": "canary-10",
    "UV_NO_BINARY": "canary-11",
    "PYTHONPATH": "/canary-12",
    "PYTHONSTARTUP": "/canary-13",
    "LD_PRELOAD": "",
}


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of clouds and services in our environment."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("canaries")
def test_a_build_that_was_allowed_sees_no_credentials(
    index: hostile.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel is built once, is the only file that passes for its name, and installs without the source."""
    monkeypatch.setenv("UV_INDEX", f"http://robot:canary-20@{index.url.removeprefix('http://')}")
    monkeypatch.setenv("UV_INDEX_OWN_PASSWORD", "canary-21")
    source = Lock(f"evil==1.0 --hash=sha256:{index.sha256}\n", "3.11")
    made = wheels.build_locked(source, {"evil"}, tmp_path / "wheels")
    seen = json.loads(index.mark.read_text())
    assert [] == [name for name, value in seen.items() if "canary" in value]
    assert "HOME" in seen
    assert [] == [value for pin in made.pins for value in pin.hashes if value == index.sha256]
    index.mark.unlink()
    index.archive.unlink()
    assert made == wheels.build_locked(source, {"evil"}, tmp_path / "again")
    python = venv.environment(made, wheels=tmp_path / "wheels")
    assert b"7" == subprocess.check_output([python, "-c", "import evil; print(evil.VALUE)"]).strip()
    assert not index.mark.exists()


@pytest.mark.full
def test_a_wheel_built_from_source_travels_with_the_model(index: hostile.Index) -> None:
    """The same model packed again has the same digest, also when the source is gone."""
    wishes: Packing = {"extra_index_urls": [index.url], "requirements": ["evil"], "build_from_source": ["Evil"]}
    made = make_model(len, name="source", **wishes)
    assert made.path is not None
    assert ["evil-1.0-py3-none-any.whl"] == [path.name for path in (made.path / "wheels").iterdir()]
    index.archive.unlink()
    assert made.digest == make_model(len, name="source", **wishes).digest


@pytest.mark.parametrize(("locked", "where"), [("", "nowhere"), ("two", "at two versions")])
def test_what_is_built_is_locked_once(tmp_path: Path, locked: str, where: str) -> None:
    """A name that nothing needs is an error, and one with two versions as well."""
    markers = [" ; python_version < '3'", " ; python_version >= '3'"] if locked else []
    text = "".join(f"evil==1.{number}{marker} --hash=sha256:{SHA}\n" for number, marker in enumerate(markers))
    with pytest.raises(ConfigError, match=f"build_from_source: 'evil' is locked {where}; require one exact version"):
        wheels.build_locked(Lock(text, "3.11"), {"evil"}, tmp_path)


@pytest.mark.parametrize("names", ["evil", [":all:"], [""], ["../x"], ["-x"], [7]])
def test_only_names_can_be_built_from_source(names: Any) -> None:
    """Not everything at once, and nothing that an installer reads as an option."""
    with pytest.raises(ConfigError, match=r"build_from_source: .* is no list of package names"):
        make_model(len, name="source", build_from_source=names)


@pytest.mark.usefixtures("canaries")
def test_what_works_on_a_bundle_gets_an_environment_of_listed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """uv and interpreters see no key, but where the home, the proxy, the certificates and the indexes are."""
    wanted = {
        "HTTPS_PROXY": "http://proxy",
        "SSL_CERT_FILE": "/ca",
        "UV_INDEX": "http://i",
        "UV_INDEX_OWN_USERNAME": "u",
    }
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    seen = uvrun.allowed_environment()
    assert [] == sorted(seen.keys() & CANARIES.keys())
    assert wanted == {name: seen.get(name) for name in wanted}


def test_the_index_answers(index: hostile.Index) -> None:
    """The attack works where nothing stands in its way, so that the other tests mean something."""
    lock = f"evil==1.0 --hash=sha256:{index.sha256}\n--no-binary evil\n--index-url {index.url}\n"
    listing = index.archive.parent / "requirements.txt"
    listing.write_text(lock)
    target = index.archive.parent / "target"
    uvrun.run(
        [
            "pip",
            "install",
            "--target",
            target,
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--no-cache",
            "-r",
            listing,
        ],
        what="attack",
    )
    assert index.mark.exists()


FILE = {"sha256": SHA, "size": 1}

# Each is a manifest whose hashes are all right, with this value in it.
MANIFESTS: dict[str, dict[str, Any]] = {
    "name: leads out": {"name": "../x"},
    "name: absolute": {"name": "/tmp/x"},
    "name: option": {"name": "--privileged"},
    "name: with a new line": {"name": "churn\n"},
    "name: of a program": {"name": "../x", "flavour": "train", "format": "script"},
    "flavour: unknown": {"flavour": "evil"},
    "flavour: empty": {"flavour": ""},
    "format: unknown": {"format": "shell"},
    "format: of a program": {"flavour": "train", "format": "skops"},
    "format: only of programs": {"format": "script"},
    "entry: leads out": {"entry": "../../etc/passwd"},
    "entry: absolute": {"entry": "/etc/passwd"},
    "entry: empty": {"entry": ""},
    "entry: second spelling": {"entry": "model//model.pkl"},
    "entry: backslashes": {"entry": "..\\..\\x"},
    "python: command": {"python": "3.11; rm -rf /"},
    "python: path": {"python": "/tmp/evil/python"},
    "python: option": {"python": "--help"},
    "python: range": {"python": ">=3"},
    "python: implementation": {"python": "pypy3.11"},
    "python: other digits": {"python": "3.\u0661\u0661"},
    "lock_sha256: short": {"lock_sha256": "abc"},
    "method: of every object": {"method": "__class__"},
    "method: reduce": {"method": "__reduce_ex__"},
    "method: dotted": {"method": "predict.__globals__"},
    "method: call": {"method": "predict()"},
    "method: empty": {"method": ""},
    "libraries: option": {"libraries": {"--index-url": "http://evil.example"}},
    "libraries: version": {"libraries": {"numpy": "1; rm -rf /"}},
    "libraries: address": {"libraries": {"numpy @ http://evil.example": "1"}},
    "sources: file": {"sources": {"index": "file:///etc"}},
    "sources: credentials": {"sources": {"index": "https://user:secret-word@evil.example/simple"}},
    "sources: user": {"sources": {"extra_indexes": ["https://user@evil.example/simple"]}},
    "sources: query": {"sources": {"index": "https://evil.example/simple?token=secret-word"}},
    "sources: two in one": {"sources": {"index": "https://a.example https://b.example"}},
    "sources: option": {"sources": {"index": "--find-links"}},
    "sources: many": {"sources": {"extra_indexes": ["https://evil.example/simple"] * 21}},
    "sources.torch_backend: option": {"sources": {"torch_backend": "--index-url=http://evil.example"}},
    "files: leads out": {"files": {"../x": FILE}},
    "files: absolute": {"files": {"/tmp/x": FILE}},
    "files: hidden way out": {"files": {"model/../../x": FILE}},
    "files: backslash": {"files": {"a\\b": FILE}},
    "files: zero": {"files": {"a\0b": FILE}},
    "files: long": {"files": {"x" * 2_000: FILE}},
    "files: hash": {"files": {"x": {"sha256": "../x", "size": 1}}},
    "files: size": {"files": {"x": {"sha256": SHA, "size": -1}}},
    "signature: type": {"signature": {"inputs": [{"name": "x", "dtype": "__import__('os')", "shape": [-1]}]}},
    "signature: shape": {"signature": {"inputs": [{"name": "x", "dtype": "float64", "shape": [-2]}]}},
    "signature: axes": {"signature": {"inputs": [{"name": "x", "dtype": "float64", "shape": [1] * 99}]}},
    "signature: name": {"signature": {"inputs": [{"name": "x" * 2_000, "dtype": "float64", "shape": [-1]}]}},
    "signature: column": {"signature": {"columns": ["x" * 2_000]}},
    "options: unknown": {"options": {"command": "x"}},
    "options.class: private": {"options": {"class": "_evil"}},
    "options.class: dotted": {"options": {"class": "core.os"}},
    "options.path: leads out": {"options": {"path": "../.."}},
    "options.path: absolute": {"options": {"path": "/etc"}},
    "options.backend: module": {"options": {"backend": "evil"}},
    "options.trusted: no list": {"options": {"trusted": "os.system"}},
    "options.trusted: no type": {"options": {"trusted": ["os; system"]}},
    "options.load: text": {"options": {"load": "yes"}},
    "options.trained_by: path": {"options": {"trained_by": {"program": "../x", "code_sha256": SHA}}},
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_value_that_no_packing_gives_is_refused_when_loaded(tmp_path: Path, state: Path, case: str) -> None:
    """The error names the field, repeats no secret, and the bundle does not get into the store."""
    source = hostile.bundle(tmp_path / "bundle", **MANIFESTS[case])
    field = case.partition(":")[0]
    with pytest.raises(LockMismatchError, match=rf"mlport\.json cannot be used: {re.escape(field)}") as caught:
        Model.load(source)
    assert "secret-word" not in str(caught.value)
    assert [] == [path for path in (state / "models").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    "text", ['{"a":' * 100_000, "[" * 100_000, '{"options":' + '{"x":' * 100_000, "null", "", "{}"]
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """Nested without end, of another kind, or empty."""
    source = hostile.bundle(tmp_path / "bundle")
    (source / "mlport.json").write_text(text)
    with pytest.raises(LockMismatchError, match=r"mlport\.json cannot be used"):
        Model.load(source)


def test_a_manifest_without_end_is_not_read_whole(tmp_path: Path) -> None:
    """Its size is limited while reading."""
    source = hostile.bundle(tmp_path / "bundle")
    with (source / "mlport.json").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(LockMismatchError, match=r"it has more than 33,554,432 bytes"):
        Model.load(source)


@pytest.mark.parametrize("method", ["__class__", "a b", "predict()", ""])
def test_a_method_that_is_none_is_not_packed(tmp_path: Path, method: str) -> None:
    """The rule for reading holds for writing, so that whatever is packed can be loaded."""
    manifest = msgspec.structs.replace(bundle.read(hostile.bundle(tmp_path / "bundle")), method=method)
    (tmp_path / "new").mkdir()
    with pytest.raises(ConfigError, match=r"the model cannot be packed: method .* is not the name of a method"):
        bundle.seal(tmp_path / "new", manifest)


def test_ordinary_values_are_accepted(tmp_path: Path) -> None:
    """What packing writes, with every field in use."""
    source = hostile.bundle(
        tmp_path / "bundle",
        lock=f"{GOOD}\n".encode(),
        libraries={"scikit-learn": "1.7.2", "torch": "2.13.0+cpu", "x": "1!2.0.post1"},
        sources={
            "index": "http://127.0.0.1:8080/simple",
            "extra_indexes": ["https://a.example/x/"],
            "torch_backend": "cu126",
        },
        signature={
            "inputs": [{"name": "größe in m²", "dtype": "datetime64[ns]", "shape": [-1]}],
            "columns": ["größe in m²"],
        },
        options={
            "trusted": ["numpy.dtype", "sklearn.linear_model._logistic.LogisticRegression"],
            "exact": True,
            "class": "XGBClassifier",
            "backend": "jax",
            "load": True,
            "path": "model/artifacts",
            "output": "probabilities",
            "trained_by": {"program": SHA, "code_sha256": SHA},
        },
    )
    assert "churn" == Model.load(source).name
