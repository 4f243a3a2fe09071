"""Keys and networks of the customer: what is sent for them, what is refused for its form, and what cannot change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Labels, Materials, Resource
from sdk.errors import ConfigError, ConflictError
from sdk_contract.samples import ANSWER, GOOD_SCRIPT, write_script
from sdk_vertex._errors import refusal
from tests.vertex.conftest import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vertex.conftest import Place

KEY = f"projects/acme-keys/locations/{SETTINGS['region']}/keyRings/ml/cryptoKeys/models"
NETWORK = "projects/123456789/global/networks/closed"


def key_of(resource: dict[str, Any]) -> str | None:
    """The key that a resource of the cloud was made with."""
    found: str | None = resource.get("encryptionSpec", {}).get("kmsKeyName")
    return found


def test_an_endpoint_keeps_its_key(place: Place, adapter: Any) -> None:
    """One without a key gets none later; the refusal names the setting."""
    made: Any = place.client(kms_key=KEY).session().adapter
    labels = Labels("plain", "me", "t1")
    plain = Resource("Endpoint", "plain", {"dedicated": False, "kms_key": None, "expires_at": 0, "tags": {}}, labels)
    adapter.create(plain, Materials(), timeout=30.0)
    before = adapter.read(plain.ref, timeout=30.0)
    assert plain.spec == before.spec
    keyed = replace(plain, spec={**before.spec, "kms_key": KEY})
    with pytest.raises(ConflictError, match="encrypted with no key") as refused:
        made.update(keyed, before, timeout=30.0)
    assert "`kms_key`" in str(refused.value.hint)
    adapter.delete(before, timeout=30.0)
    made.create(keyed, Materials(), timeout=30.0)
    found = made.read(keyed.ref, timeout=30.0)
    assert (KEY, KEY) == (key_of(place.cloud.world.tables["endpoints"]["plain"]), found.spec["kms_key"])
    made.delete(found, timeout=30.0)


@pytest.mark.full
def test_everything_is_made_with_the_key(place: Place, tmp_path: Path) -> None:
    """Model, endpoint, job, bucket and repository; an endpoint keeps its key, and jobs are in the network."""
    client, world = place.client(kms_key=KEY, network=NETWORK, bucket=None, repository="locked"), place.cloud.world
    (tmp_path / "rows.csv").write_text("1,2\n")
    endpoint = client.deploy(place.samples.model(1), name="locked")
    assert [3.0] == list(endpoint.predict([[ANSWER, 2.0]]).values)
    job = client.train(
        write_script(tmp_path, GOOD_SCRIPT), name="job", data={"train": str(tmp_path / "rows.csv")}, params={"C": 1.0}
    )
    assert "succeeded" == job.refresh().state
    (made,) = world.tables["customJobs"].values()
    (model,) = (one for entry in place.cloud.spots.first.models.entries.values() for one in entry.versions.values())
    assert [KEY] * 3 == [key_of(one) for one in (world.tables["endpoints"]["locked"], model, made)]
    assert KEY == world.tables["repositories"]["locked"]["kmsKeyName"]
    (bucket,) = place.cloud.storage.buckets.values()
    assert {"defaultKmsKeyName": KEY} == bucket["encryption"]
    assert NETWORK == made["jobSpec"]["network"]
    with pytest.raises(ConflictError, match="encrypted with projects/acme-keys") as refused:
        place.client(repository="locked").deploy(place.samples.model(2), name="locked")
    assert "`kms_key`" in str(refused.value.hint)
    assert 1 == len(client.status("locked").deployments)
    for name in ("locked", "job"):
        client.delete(name)
    assert [] == place.running()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kms_key": "projects/p/locations/us-central1/keyRings/ml/cryptoKeys/models"}, "us-central1"),
        ({"kms_key": "arn:aws:kms:eu-west-1:123456789012:key/0"}, "kms_key"),
        ({"kms_key": f"{KEY}/cryptoKeyVersions/1"}, "kms_key"),
        ({"network": "projects/my-project/global/networks/closed"}, "network"),
        ({"network": "closed"}, "network"),
        ({"public": False}, "VPC Service Controls"),
    ],
)
def test_what_is_refused_for_its_form(place: Place, settings: dict[str, Any], named: str) -> None:
    """Before any call: a key of another region or cloud, or of one version; a network without its project's number."""
    with place.cloud.calls.since() as calls, pytest.raises(ConfigError, match=named):
        place.client(**settings).plan(place.samples.model(1), name="never")
    assert [] == list(calls)


def test_an_organisation_that_demands_keys() -> None:
    """The text of a reported refusal: it is final, and the hint names the setting; other policies have no such hint."""
    said = (
        "The request has violated one or more Org Policies: violations { type: "
        '"constraints/gcp.restrictNonCmekServices" description: Constraint violated for projects/p attempting to '
        "create a resource without specifying a KMS CryptoKey. }"
    )
    demanded = refusal("FAILED_PRECONDITION", said, status=400)
    assert "kms_key" in str(demanded.hint)
    assert not demanded.retryable
    other = refusal("FAILED_PRECONDITION", said.replace("restrictNonCmekServices", "restrictTLSVersion"), status=400)
    assert "kms_key" not in str(other.hint)
    assert "administrator" in str(other.hint)
