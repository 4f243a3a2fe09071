"""Code that comes from outside never runs on the client: hostile locks, indexes, settings and requirement files."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConfigError, LockMismatchError, PackagingError
from sdk.model import Model
from sdk.model import model as make_model
from sdk.packaging import pack, uvrun, venv, wheels
from sdk.packaging.image import dependencies
from sdk.packaging.image.manifests import Platform
from sdk.packaging.image.store import Store
from sdk.packaging.lock import Lock, read_requirements
from sdk.packaging.manifest import Sources
from tests.packaging import hostile

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

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
        dependencies.layer(lock, tmp_path / "none", Platform("amd64"), Store(tmp_path / "store"), fresh=False)
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
    with pytest.raises(PackagingError, match=r"evil(?s:.*)building from source is disabled"):
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
    wishes: pack.Packing = {"extra_index_urls": [index.url], "requirements": ["evil"], "build_from_source": ["Evil"]}
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


@pytest.mark.parametrize("line", ["./package", "/tmp/package", "package-1.0-py3-none-any.whl", "~/package"])
def test_a_foreign_requirements_file_names_no_folder(tmp_path: Path, line: str) -> None:
    """MLflow models come with one; a folder in it would be built, which runs its code."""
    (tmp_path / "requirements.txt").write_text(f"idna\n{line}\n")
    with pytest.raises(ConfigError, match="a folder is built by running its code"):
        read_requirements(tmp_path / "requirements.txt", foreign=True)


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
