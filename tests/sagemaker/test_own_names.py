"""A target of another account and region: its role is taken there, and nothing of it is seen from elsewhere."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import AuthError, NotFoundError
from sdk_contract.clouds.bases import push_base
from sdk_contract.samples import ANSWER, SAY
from tests.aws import session
from tests.sagemaker.conftest import ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.client import Client
    from tests.sagemaker.conftest import Place

ACCOUNT, REGION = "999988887777", "eu-west-1"
THERE: dict[str, Any] = {"role": f"arn:aws:iam::{ACCOUNT}:role/mlport", "region": REGION}


@pytest.fixture(scope="module")
def far(place: Place) -> Iterator[Client]:
    """A client of a target in another account and region, with an endpoint there."""
    cloud: Any = place.cloud
    ecr = session(*cloud.keys.of(ACCOUNT), region=REGION).client("ecr", endpoint_url=cloud.url)
    address = ecr.create_repository(repositoryName="base")["repository"]["repositoryUri"]
    told = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(told).decode().partition(":")
    client = place.client(**THERE, base=push_base(f"{address}:1", lambda _: (user, password)))
    client.deploy(place.samples.model(1), name="twin")
    yield client
    client.delete("twin")


def test_the_endpoint_is_in_the_account_of_the_role(far: Client, place: Place) -> None:
    """With keys of another account in the environment; models, logs, metrics and leases are there as well."""
    assert [3.0] == list(far.predict("twin", [[ANSWER, 2.0]]).values)
    assert f"{place.cloud.url}/endpoints/twin/invocations" == far.status("twin").url
    far.predict("twin", [[SAY, 17.0]])
    assert ["contract: told to say 17"] == [line.text for line in far.logs("twin") if "told to say" in line.text]
    assert far.session().monitors().metrics("twin", window_s=600, timeout=60).total >= 2
    control = place.cloud.control  # type: ignore[attr-defined]  # it is this cloud
    assert {(ACCOUNT, REGION)} == {tuple(record.spot) for record in control.records() if record.name.startswith("twin")}


def test_nothing_of_it_is_seen_from_elsewhere(far: Client, place: Place) -> None:
    """Neither in the first account, nor in another region of its own."""
    assert ["twin"] == [one.name for one in far.list()]
    for other in (place.client(role=ROLE), place.client(**{**THERE, "region": "us-east-1"})):
        assert [] == other.list()
        with pytest.raises(NotFoundError):
            other.status("twin")


def test_without_keys_the_error_says_where_they_are(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys are made up."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AuthError, match="mlport mock env sagemaker"):
        place.client().list()
