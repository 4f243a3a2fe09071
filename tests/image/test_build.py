"""The verb `build`, from Python and from a shell: bases, files, registries, engines, and what it tells meanwhile."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

import sdk
from sdk.errors import ConfigError, NotFoundError, PackagingError
from sdk.executor import Event
from sdk.packaging.image import BlobStore, Image, open_store, published, push_image
from sdk.packaging.image.archives import load, write
from sdk.packaging.image.engine import Engine
from sdk.packaging.model import Model
from tests.warm import commands

Build = Callable[..., sdk.BuiltImage]


@pytest.fixture
def base(bundles: ModuleType, registry_host: str, tmp_path: Path) -> str:
    """A company's base in the registry."""
    store = BlobStore(tmp_path / "base")
    return push_image(bundles.base(store), f"{registry_host}/company/base:v1", store=store)


@pytest.fixture
def model(bundles: ModuleType, tmp_path: Path) -> Model:
    found: Model = bundles.model(tmp_path / "model", code={"util.py": b"x = 1\n"})
    return found


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def build(events: list[Event]) -> Build:
    """The verb of a client that writes down its progress."""
    return sdk.Client({}, env={}, progress=events.append).build


def test_image_is_pushed_and_written(
    build: Build, events: list[Event], base: str, model: Model, registry_host: str, tmp_path: Path
) -> None:
    """One call brings the same image to a registry and to a file, and tells its stages in their order."""
    built = build(model, base=base, push=f"{registry_host}/build/churn:v1", archive=tmp_path / "churn.tar")
    found = published(f"{registry_host}/build/churn:v1")
    assert found is not None
    assert (built.reference, built.digest) == (found.reference, found.digest)
    assert built.archive is not None
    assert built.id == load(built.archive, BlobStore(tmp_path / "other")).id
    stages = list(dict.fromkeys(event.stage for event in events))
    assert [f"base {base}", "dependencies", "runtime", "model", "write", "push"] == [
        stage for stage in stages if stage != "pull"
    ]
    assert "100 %" == events[-1].detail


def test_progress_of_a_push_fits_a_log(
    build: Build, events: list[Event], base: str, bundles: ModuleType, registry_host: str, tmp_path: Path
) -> None:
    """However many blocks are sent, a push tells at most twenty times how far it is, and never goes back."""
    model = bundles.model(tmp_path / "big", data=os.urandom(40 << 20))
    build(model, base=base, push=f"{registry_host}/build/big:v1")
    told = [int(event.detail.split()[0]) for event in events if event.stage == "push" and event.detail]
    assert sorted(told) == told
    assert 2 < len(told) <= 20


def test_each_image_adds_to_the_one_below(
    build: Build, base: str, bundles: ModuleType, registry_host: str, tmp_path: Path
) -> None:
    """Company base, pipeline image, specialised model, each built on what the last step pushed."""
    pipeline = build(bundles.model(tmp_path / "a"), base=base, push=f"{registry_host}/team/pipeline:v1")
    special = bundles.model(tmp_path / "b", data=b"special")
    built = build(special, base=f"{registry_host}/team/pipeline:v1", push=f"{registry_host}/team/special:v1")
    assert len(pipeline.image.layers) + 1 == len(built.image.layers)
    assert built.image.extends(pipeline.image)
    labels = built.image.labels
    assert (pipeline.id, pipeline.digest) == (
        labels["dev.mlport.parent"],
        labels["org.opencontainers.image.base.digest"],
    )
    assert built.id == build(special, base=built.reference and f"{registry_host}/team/pipeline:v1").id


def test_base_may_be_a_file_or_a_built_image(build: Build, base: str, bundles: ModuleType, tmp_path: Path) -> None:
    """Without a registry in common the pipeline's image travels as a file; the special one is the same."""
    pipeline = build(bundles.model(tmp_path / "a"), base=base, archive=tmp_path / "pipeline.tar")
    special = bundles.model(tmp_path / "b", data=b"special")
    ways: list[Any] = [pipeline, pipeline.image, pipeline.archive, str(pipeline.archive)]
    layers = [[layer.diff_id for layer in build(special, base=way).image.layers] for way in ways]
    assert 4 == len(layers)
    assert all(one == layers[0] for one in layers)
    assert [layer.diff_id for layer in pipeline.image.layers] == layers[0][:-1]


@pytest.mark.parametrize(("form", "kind"), [("docker", "docker-archive"), ("oci", "oci-archive")])
def test_skopeo_reads_the_file(build: Build, base: str, model: Model, tmp_path: Path, form: str, kind: str) -> None:
    """An independent tool sees the same configuration and layers in the file, and so do we."""
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed")
    built = build(model, base=base, format=form, archive=tmp_path / "image.tar")
    command = [skopeo, "inspect", "--config", "--raw", f"{kind}:{tmp_path / 'image.tar'}"]
    assert built.image.config == subprocess.run(command, capture_output=True, check=True).stdout
    assert built.id == load(tmp_path / "image.tar", BlobStore(tmp_path / "other")).id
    if form == "oci":
        command = [skopeo, "inspect", f"{kind}:{tmp_path / 'image.tar'}"]
        seen = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert (built.digest, [layer.digest for layer in built.image.layers]) == (seen["Digest"], seen["Layers"])


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"push": "registry.example/a@sha256:" + "ab" * 32}, "push: .* names a digest"),
        ({"push": "churn"}, "no image reference"),
        ({"format": "zip"}, "format: 'zip' is neither docker nor oci"),
        ({"archive": "there.tar"}, r"archive: .*there\.tar exists"),
        ({"platform": "amd64"}, "use linux/amd64 or linux/arm64"),
        ({"ca": "nothing.pem", "push": "registry.example/a:v1"}, "ca: nothing.pem holds no certificate"),
    ],
)
def test_wrong_orders_are_refused(
    build: Build,
    base: str,
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
    match: str,
) -> None:
    """Each names what is wrong, and nothing was sent or written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.tar").write_text("mine")
    with pytest.raises(ConfigError, match=match):
        build(model, **{"base": base, **wrong})
    assert "mine" == (tmp_path / "there.tar").read_text()


def test_file_that_is_no_image_is_refused(build: Build, model: Model, tmp_path: Path) -> None:
    """A tar archive of something else is not a base."""
    with tarfile.open(tmp_path / "other.tar", "w") as archive:
        archive.add(__file__, "test.py")
    with pytest.raises(ConfigError, match=r"other\.tar holds no image"):
        build(model, base=tmp_path / "other.tar")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_truncated_file_is_found_out(build: Build, base: str, bundles: ModuleType, tmp_path: Path, cut: float) -> None:
    """A file that ends too early is an error, and no part of it becomes an image."""
    built = build(bundles.model(tmp_path / "a", data=os.urandom(200_000)), base=base)
    path = write(built.image, open_store(), tmp_path / "whole.tar", "localhost/a:b")
    (tmp_path / "cut.tar").write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises((ConfigError, PackagingError), match=r"cut\.tar"):
        load(tmp_path / "cut.tar", BlobStore(tmp_path / "other"))


def test_damaged_layer_is_not_written(build: Build, base: str, model: Model, tmp_path: Path) -> None:
    """A layer that went bad on this disk is told before a file is made of it; the next build mends it."""
    image = build(model, base=base).image
    store = BlobStore(tmp_path / "mine")
    for layer in image.layers:
        shutil.copyfile(open_store().path(layer.digest), store.path(layer.digest))
    store.path(image.layers[-1].digest).write_bytes(b"rotten")
    with pytest.raises(PackagingError, match="damaged on this disk; build the image again"):
        write(image, store, tmp_path / "image.tar", "localhost/a:b")
    assert not (tmp_path / "image.tar").exists()


def _command(*arguments: object, state: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MLPORT_STATE_DIR": str(state / "state"), "NO_COLOR": "1"}
    return commands().run(tuple(map(str, arguments)), where=state, env=env)


def test_command_builds_and_pushes(base: str, model: Model, build: Build, registry_host: str, tmp_path: Path) -> None:
    """`mlport build` says as JSON what Python says, and its stages on standard error."""
    place = f"{registry_host}/build/command:v1"
    done = _command(
        "build", model.path, "--base", base, "--push", place, "--label", "a=b", "-o", "json", state=tmp_path
    )
    assert 0 == done.returncode, done.stderr
    made = json.loads(done.stdout)
    expected = build(model, base=base, labels={"a": "b"})
    assert {**expected.to_dict(), "reference": f"{registry_host}/build/command@{expected.digest}"} == made
    found = published(place)
    assert found is not None
    assert made["reference"] == found.reference
    assert "dependencies" in done.stderr
    assert "push 100 %" in done.stderr


def test_command_says_what_is_wrong(base: str, model: Model, tmp_path: Path) -> None:
    """A registry that is not there ends the command with an error and its code; packing alone needs none."""
    done = _command("build", model.path, "--base", base, "--push", "127.0.0.1:9/a/b:v1", state=tmp_path)
    assert (1, "") == (done.returncode, done.stdout)
    assert "cannot reach registry 127.0.0.1:9" in done.stderr
    packed = _command("build", model.path, "--pack-only", "-o", "json", state=tmp_path)
    assert model.digest == json.loads(packed.stdout)["digest"]


# --- engine -----------------------------------------------------------------------------------------------------


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    """A folder with a Dockerfile that needs no base."""
    folder = tmp_path / "company"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY hello.txt /hello.txt\nENV PYTHON_VERSION=3.11.2 MARK=yes\n")
    (folder / "hello.txt").write_text(f"hello {tmp_path}")
    return folder


@pytest.fixture
def forget(engine: Engine) -> Any:
    """Takes images out of the engine at the end."""
    images: list[str] = []
    yield images.append
    for image in images:
        with suppress(NotFoundError):
            engine.call("DELETE", f"/images/{image}", params={"force": "1"})


@pytest.mark.docker
def test_dockerfile_is_a_base(
    build: Build, dockerfile: Path, model: Model, engine: Engine, forget: Callable[[str], None]
) -> None:
    """A user's Dockerfile below, our layers above, and the engine has the whole under our id."""
    built = build(model, base=dockerfile, load=True)
    forget(built.id)
    assert str(engine.platform) == str(built.image.platform)
    about = engine.call("GET", f"/images/{built.loaded}/json")
    assert [layer.diff_id for layer in built.image.layers] == about["RootFS"]["Layers"]
    assert {"MARK=yes", f"MLPORT_MODEL_DIGEST={model.digest}"} <= set(about["Config"]["Env"])
    assert built.image.layers[0].diff_id == build(model, base=dockerfile / "Dockerfile").image.layers[0].diff_id
    forget(build(dockerfile).id)


@pytest.mark.docker
def test_dockerfile_alone_is_built_as_it_is(
    build: Build, dockerfile: Path, engine: Engine, registry_host: str, forget: Callable[[str], None]
) -> None:
    """A folder with a Dockerfile is pushed as what it is; the result can be deployed as a ready-made image."""
    built = build(dockerfile, push=f"{registry_host}/build/custom:v1")
    forget(built.id)
    assert built.reference is not None
    ready = Model.from_image(built.reference)
    assert (built.digest, "company") == (f"sha256:{ready.digest}", built.name)
    config = httpx.get(f"http://{registry_host}/v2/build/custom/blobs/{built.id}").json()
    assert "MARK=yes" in config["config"]["Env"]


@pytest.mark.docker
def test_engine_loads_the_file(
    build: Build, base: str, model: Model, engine: Engine, forget: Callable[[str], None], tmp_path: Path
) -> None:
    """`docker load` of the file gives the image id that the builder says."""
    built = build(model, base=base, archive=tmp_path / "image.tar")
    forget(built.id)
    with engine.stream("POST", "/images/load", content=[(tmp_path / "image.tar").read_bytes()]) as pieces:
        said = b"".join(pieces)
    assert built.id == engine.call("GET", f"/images/{built.id}/json")["Id"], said
    assert isinstance(built.image, Image)
