"""Bills of materials are what the CycloneDX schema wants, and hold what is in the image."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdk.errors import PackagingError
from sdk.packaging.image import BlobStore, build_image
from sdk.packaging.image.dependencies import SBOM, SITE, installed_in, without_litter
from sdk.packaging.image.layers import tree
from sdk.packaging.image.sbom import of_debs, of_packages
from sdk.packaging.lock import Lock
from sdk.packaging.venv import is_sound

LOCK = f"""numpy==2.4.6 ; python_full_version >= '3.11' \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
Scikit_Learn==1.7.2+local --hash=sha256:{"c" * 64}
absent==1.0 --hash=sha256:{"d" * 64}
"""


def _check(bill: bytes) -> dict[str, Any]:
    """The bill, once the official schema has nothing against it."""
    # Imported here: the checker of formats takes five seconds, and every worker imports every test file.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode())
    assert problem is None, problem
    found: dict[str, Any] = json.loads(bill)
    return found


def test_bill_of_the_lock_is_valid() -> None:
    """Each installed package with its version and every hash that the lock allows; others are left out."""
    bill = _check(of_packages(Lock(LOCK, "3.11"), {"numpy": "2.4.6", "scikit-learn": "1.7.2+local"}))
    assert [("numpy", "2.4.6"), ("Scikit_Learn", "1.7.2+local")] == [
        (item["name"], item["version"]) for item in bill["components"]
    ]
    assert [["a" * 64, "b" * 64], ["c" * 64]] == [
        [one["content"] for one in item["hashes"]] for item in bill["components"]
    ]
    assert ["pkg:pypi/numpy@2.4.6", "pkg:pypi/scikit-learn@1.7.2%2Blocal"] == [
        item["purl"] for item in bill["components"]
    ]


MARKED = f"""numpy==1.26.4 ; python_full_version < '3.12' --hash=sha256:{"a" * 64}
numpy==2.4.6 ; python_full_version >= '3.12' --hash=sha256:{"b" * 64}
"""


@pytest.mark.parametrize(("version", "sha256"), [("1.26.4", "a" * 64), ("2.4.6", "b" * 64)])
def test_bill_has_the_version_that_was_installed(version: str, sha256: str) -> None:
    """A lock may hold two of a name, told apart by markers; one of them is in the image."""
    (item,) = _check(of_packages(Lock(MARKED, "3.11"), {"numpy": version}))["components"]
    assert (version, sha256) == (item["version"], item["hashes"][0]["content"])


@pytest.mark.parametrize("installed", [{"numpy": "2.0.0"}, {"scipy": "1.0"}])
def test_bill_of_something_else_is_refused(installed: dict[str, str]) -> None:
    """What is in an image and not in its lock came from elsewhere."""
    with pytest.raises(PackagingError, match="was installed and is not in the lock"):
        of_packages(Lock(MARKED, "3.11"), installed)


def test_a_version_of_another_spelling_is_the_same(tmp_path: Path) -> None:
    """Packages write their version as they like: 2023.07.22 is locked as 2023.7.22."""
    info = tmp_path / "Some_Lib-2023.07.22.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Lib\nVersion: 2023.07.22\n")
    lock = Lock(f"some-lib==2023.7.22 --hash=sha256:{'a' * 64}\n", "3.11")
    (item,) = _check(of_packages(lock, installed_in(tmp_path)))["components"]
    assert "2023.7.22" == item["version"]


SOUND = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"


@pytest.mark.parametrize(
    ("folder", "text", "why"),
    [
        ("numpy-9.9.dist-info/METADATA", SOUND.format("NumPy", "9.9"), "second version of numpy"),
        ("numpy-9.9.egg-info/PKG-INFO", SOUND.format("numpy", "9.9"), "second version of numpy"),
        ("x-1.dist-info/other", "", "does not say which"),
        ("x-1.dist-info/METADATA", "Name: x\n", "does not say which"),
        ("x-1.dist-info/METADATA", "Version: 1\n", "does not say which"),
        ("x-1.dist-info/METADATA", b"\xff\xfe\n", "does not say which"),
    ],
)
def test_what_a_wheel_brings_along_is_refused(tmp_path: Path, folder: str, text: str | bytes, why: str) -> None:
    """A wheel may hold metadata of other packages; the bill showed one of two, and the rest ended in a TypeError."""
    own = {"numpy-2.1.0.dist-info/METADATA": SOUND.format("numpy", "2.1.0")}
    for name, content in {**own, folder: text}.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PackagingError, match=why):
        installed_in(tmp_path)


@pytest.mark.parametrize("record", [b"\xff\n", b"x" * 200_000 + b",,\n"])
def test_a_list_of_files_that_cannot_be_read_is_no_crash(tmp_path: Path, record: bytes) -> None:
    """Neither in an image nor in an environment."""
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "x-1.dist-info").mkdir(parents=True)
    (packages / "x-1.dist-info" / "RECORD").write_bytes(record)
    (tmp_path / "mlport-env.json").write_text("{}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("")
    assert not is_sound(tmp_path)
    with pytest.raises(PackagingError, match="cannot be read"):
        list(without_litter(tree(packages, SITE)))


def test_bill_of_debian_packages_is_valid() -> None:
    """Epochs and signs of Debian's versions are written as their package URLs want."""
    debs = [("libacl1_2.3.1-3_amd64.deb", "e" * 64), ("netbase_1%3a6.4+b1_all.deb", "f" * 64)]
    bill = _check(of_debs(debs))
    assert ["2.3.1-3", "1:6.4+b1"] == [item["version"] for item in bill["components"]]
    assert "pkg:deb/debian/netbase@1%3A6.4%2Bb1?arch=all" == bill["components"][1]["purl"]


def test_bill_in_the_image_is_valid(bundles: ModuleType, tmp_path: Path) -> None:
    """What a build puts into the layer of packages passes too."""
    store = BlobStore(tmp_path / "store")
    image = build_image(bundles.model(tmp_path / "a"), base=bundles.base(store), store=store)
    inside = bundles.files(store, image.layers[1])
    for name, data in inside.items():
        if name.startswith(f"{SITE}/"):
            path = tmp_path / "site" / name.removeprefix(f"{SITE}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    billed = {item["name"]: item["version"] for item in _check(inside[SBOM])["components"]}
    assert {"tiny": "1.0"} == billed == installed_in(tmp_path / "site")


def test_validator_can_fail() -> None:
    """The schema is really looked at."""
    with pytest.raises(AssertionError):
        _check(of_debs([("libacl1_2.3.1-3_amd64.deb", "not a hash")]))
