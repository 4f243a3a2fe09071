"""What a build makes of a model, and which layers change with what."""

import json
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import sdk
from sdk.errors import ConfigError, PackagingError
from sdk.packaging.image import BlobStore, Image, build_image
from sdk.packaging.image.dependencies import SBOM, SITE

ELF_X86 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00"


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def _names(image: Image) -> list[str]:
    return [layer.created_by for layer in image.layers]


def _changed(one: Image, two: Image) -> set[str]:
    return {a.created_by for a, b in zip(one.layers, two.layers, strict=True) if a.diff_id != b.diff_id}


def test_two_clean_caches_give_one_image(bundles: ModuleType, tmp_path: Path) -> None:
    """The image id depends on nothing but what goes in: not on the cache, times, or modes of the files."""
    first, second = (tmp_path / name for name in ("one", "two"))
    code = {"b.py": b"y = 2\n", "a.py": b"x = 1\n"}
    model = bundles.model(first, code=code)
    bundles.model(second, code=dict(reversed(code.items())))
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() else 0o600)
    images = []
    for number, folder in enumerate((first, second)):
        store = BlobStore(tmp_path / f"store{number}", level=1 + number)  # another compressor, the same image
        copy = type(model)(model.name, model.digest, folder, model.manifest)
        images.append(build_image(copy, base=bundles.base(store), store=store))
    assert images[0].config == images[1].config
    assert images[0].digest != images[1].digest


def test_each_change_rewrites_its_own_layers(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """Model, code, dependencies and base are layers of their own; the record of the bundle lies with the model."""
    code = {"util.py": b"x = 1\n"}
    base = bundles.base(store)
    first = build_image(bundles.model(tmp_path / "a", code=code), base=base, store=store)
    layers = ["test", "mlport dependencies", "mlport runtime", "mlport code", "mlport model"]
    assert layers == _names(first)
    other = build_image(bundles.model(tmp_path / "b", code=code, data=b"better"), base=base, store=store)
    assert {"mlport model"} == _changed(first, other)
    other = build_image(bundles.model(tmp_path / "c", code={"util.py": b"x = 2\n"}), base=base, store=store)
    assert {"mlport code", "mlport model"} == _changed(first, other)
    newer = bundles.model(tmp_path / "d", code=code, version="2.0")
    other = build_image(newer, base=base, store=store)
    assert {"mlport dependencies", "mlport code", "mlport model"} == _changed(first, other)  # its wheel travels with it
    other = build_image(bundles.model(tmp_path / "e", code=code), base=bundles.base(store, text=b"new"), store=store)
    assert {"test"} == _changed(first, other)


def test_second_build_packs_nothing(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """The same model again changes no file of the store."""
    model, base = bundles.model(tmp_path / "a"), bundles.base(store)
    first = build_image(model, base=base, store=store)
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*") if path.is_file()}
    assert first == build_image(model, base=base, store=store)
    assert before == {path: path.stat().st_mtime_ns for path in store.folder.rglob("*") if path.is_file()}


def test_special_model_costs_one_layer(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """Company base, pipeline image, specialised model: each begins with the layers of the one before."""
    company = bundles.base(store)
    pipeline = build_image(bundles.model(tmp_path / "a", code={"util.py": b"x = 1\n"}), base=company, store=store)
    special = build_image(bundles.model(tmp_path / "b", data=b"special"), base=pipeline, store=store)
    assert pipeline.extends(company)
    assert special.extends(pipeline)
    assert len(pipeline.layers) + 1 == len(special.layers)
    files = bundles.files(store, special.layers[-1])
    assert "opt/mlport/model/.wh..wh..opq" in files, "the model below would show through"
    assert b"special" == files["opt/mlport/model/model/model.pkl"]
    assert pipeline.id == special.labels["dev.mlport.parent"]


def test_other_dependencies_hide_those_below(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """A child with another lock brings all its packages and none of the parent's remains visible."""
    parent = build_image(bundles.model(tmp_path / "a"), base=bundles.base(store), store=store)
    child = build_image(bundles.model(tmp_path / "b", version="2.0"), base=parent, store=store)
    added = child.layers[len(parent.layers) :]
    assert ["mlport dependencies", "mlport model"] == [layer.created_by for layer in added]
    assert f"{SITE}/.wh..wh..opq" in bundles.files(store, added[0])


def test_dependencies_are_compiled_and_listed(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """The layer of packages holds byte code and its bill of materials, whose hash is on the image."""
    import hashlib

    model = bundles.model(tmp_path / "a")
    image = build_image(model, base=bundles.base(store), store=store)
    files = bundles.files(store, image.layers[1])
    assert {f"{SITE}/tiny.py", f"{SITE}/__pycache__/tiny.cpython-311.pyc"} <= files.keys()
    bill = json.loads(files[SBOM])
    assert [("tiny", "1.0")] == [(item["name"], item["version"]) for item in bill["components"]]
    assert (
        model.manifest.files["wheels/tiny-1.0-py3-none-any.whl"].sha256 == bill["components"][0]["hashes"][0]["content"]
    )
    assert hashlib.sha256(files[SBOM]).hexdigest() == image.labels["dev.mlport.sbom.sha256"]


def test_image_says_where_it_comes_from(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """Labels name model, lock and base; one's own labels are added and cannot replace those."""
    model, base = bundles.model(tmp_path / "a"), bundles.base(store)
    own = {"org.opencontainers.image.revision": "abc", "dev.mlport.model.sha256": "forged"}
    labels = build_image(model, base=base, store=store, labels=own).labels
    assert (model.digest, model.manifest.lock_sha256) == (
        labels["dev.mlport.model.sha256"],
        labels["dev.mlport.lock.sha256"],
    )
    assert ("abc", base.digest) == (
        labels["org.opencontainers.image.revision"],
        labels["org.opencontainers.image.base.digest"],
    )


def test_wheel_missing_for_the_platform_is_named(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """A package without a wheel for the wanted processor is an error that names it."""
    model = bundles.model(tmp_path / "a", tag=bundles.X86)
    with pytest.raises(PackagingError, match="package tiny has no wheel for linux/arm64"):
        build_image(model, base=bundles.base(store, architecture="arm64"), platform="linux/arm64", store=store)


def test_binaries_of_another_processor_are_refused(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """A wheel that says it is for arm64 but holds x86 code does not get into an image."""
    model = bundles.model(tmp_path / "a", tag=bundles.ARM, package={"tiny/fast.so": ELF_X86})
    base = bundles.base(store, architecture="arm64")
    with pytest.raises(PackagingError, match=r"tiny/fast\.so is built for amd64, not for linux/arm64"):
        build_image(model, base=base, platform="linux/arm64", store=store)


def test_arm_image_is_built_on_any_host(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """The wheel for arm64 is taken although this machine may have another processor."""
    arm = ELF_X86[:18] + b"\xb7\x00"
    model = bundles.model(tmp_path / "a", tag=bundles.ARM, package={"tiny/fast.so": arm})
    base = bundles.base(store, architecture="arm64")
    image = build_image(model, base=base, platform="linux/arm64", store=store)
    assert "linux/arm64" == str(image.platform)
    assert arm == bundles.files(store, image.layers[1])[f"{SITE}/tiny/fast.so"]


@pytest.mark.full
def test_real_wheels_for_another_processor(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """Every library of a real model's packages is for the wanted processor, whatever this machine has."""
    model = sdk.model(_double, name="double", example=np.ones((2, 3)))
    for architecture, machine in (("arm64", 183), ("amd64", 62)):
        base = bundles.base(store, architecture=architecture, python=platform.python_version())
        image = build_image(model, base=base, platform=f"linux/{architecture}", store=store)
        files = bundles.files(store, image.layers[1])
        libraries = {name: data for name, data in files.items() if data[:4] == b"\x7fELF"}
        assert any("numpy/_core/_multiarray_umath" in name for name in libraries)
        assert {machine} == {int.from_bytes(data[18:20], "little") for data in libraries.values()}
        assert architecture == json.loads(image.config)["architecture"]


def _double(rows: Any) -> Any:
    return np.asarray(rows) * 2


@pytest.mark.parametrize(
    ("wanted", "match"),
    [({"python": "3.12.1"}, "has Python 3.12.1"), ({"architecture": "arm64"}, "is for linux/arm64, not linux/amd64")],
)
def test_unsuitable_base_is_refused(
    bundles: ModuleType, store: BlobStore, tmp_path: Path, wanted: dict[str, str], match: str
) -> None:
    """Another Python or processor than the model was packed for is found before anything is built."""
    with pytest.raises(ConfigError, match=match):
        build_image(bundles.model(tmp_path / "a"), base=bundles.base(store, **wanted), store=store)


def test_wrong_platform_says_what_to_write(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """A platform in another form is an error that shows the right one."""
    with pytest.raises(ConfigError, match="use linux/amd64 or linux/arm64"):
        build_image(bundles.model(tmp_path / "a"), base=bundles.base(store), platform="amd64", store=store)


def test_training_image_and_model_image_share_all_below(bundles: ModuleType, store: BlobStore, tmp_path: Path) -> None:
    """A model built on the image that trained it adds one layer; the image still trains, and now serves."""
    program = bundles.model(tmp_path / "p", flavour="train", code={"train.py": b""})
    trains = build_image(program, base=bundles.base(store), store=store)
    serves = build_image(bundles.model(tmp_path / "m", data=b"trained"), base=trains, store=store)
    assert ["train"] == json.loads(trains.config)["config"]["Cmd"]
    assert ["serve"] == json.loads(serves.config)["config"]["Cmd"]
    assert serves.extends(trains)
    assert "MLPORT_TRAIN_FUNCTION=/opt/mlport/program/model/model.pkl" in json.loads(serves.config)["config"]["Env"]


def test_full_disk_leaves_nothing_half_done(bundles: ModuleType, tmp_path: Path) -> None:
    """A file that cannot grow is one clear error, and no partial blob stays; with space the build goes on."""
    bundles.model(tmp_path / "a", data=os.urandom(200_000))
    script = textwrap.dedent(f"""
        import resource, signal, sys
        from pathlib import Path
        from sdk.errors import PackagingError
        from sdk.packaging.image.layers import tree, with_parents
        from sdk.packaging.image.store import BlobStore
        store = BlobStore(Path({str(tmp_path / "small")!r}))
        entries = lambda: with_parents(tree(Path({str(tmp_path / "a")!r}), "opt"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            store.layer("key", entries, created_by="test")
        except PackagingError as error:
            print(error)
        print([path for path in store.folder.rglob("*") if path.is_file()])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(store.verified(store.layer("key", entries, created_by="test").digest))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said[0].startswith("no space left while writing")
    assert ["[]", "True"] == said[1:]
