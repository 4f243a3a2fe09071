"""Bills of materials are what the CycloneDX schema wants, and hold what is in the image."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdk.packaging.image import Store, build_image
from sdk.packaging.image.dependencies import SBOM
from sdk.packaging.image.sbom import of_debs, of_packages
from sdk.packaging.lock import Lock

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
    bill = _check(of_packages(Lock(LOCK, "3.11"), {"numpy", "scikit-learn"}))
    assert [("numpy", "2.4.6"), ("Scikit_Learn", "1.7.2+local")] == [
        (item["name"], item["version"]) for item in bill["components"]
    ]
    assert [["a" * 64, "b" * 64], ["c" * 64]] == [
        [one["content"] for one in item["hashes"]] for item in bill["components"]
    ]
    assert ["pkg:pypi/numpy@2.4.6", "pkg:pypi/scikit-learn@1.7.2%2Blocal"] == [
        item["purl"] for item in bill["components"]
    ]


def test_bill_of_debian_packages_is_valid() -> None:
    """Epochs and signs of Debian's versions are written as their package URLs want."""
    debs = [("libacl1_2.3.1-3_amd64.deb", "e" * 64), ("netbase_1%3a6.4+b1_all.deb", "f" * 64)]
    bill = _check(of_debs(debs))
    assert ["2.3.1-3", "1:6.4+b1"] == [item["version"] for item in bill["components"]]
    assert "pkg:deb/debian/netbase@1%3A6.4%2Bb1?arch=all" == bill["components"][1]["purl"]


def test_bill_in_the_image_is_valid(bundles: ModuleType, tmp_path: Path) -> None:
    """What a build puts into the layer of packages passes too."""
    store = Store(tmp_path / "store")
    image = build_image(bundles.model(tmp_path / "a"), base=bundles.base(store), store=store)
    assert ["tiny"] == [item["name"] for item in _check(bundles.files(store, image.layers[1])[SBOM])["components"]]


def test_validator_can_fail() -> None:
    """The schema is really looked at."""
    with pytest.raises(AssertionError):
        _check(of_debs([("libacl1_2.3.1-3_amd64.deb", "not a hash")]))
