"""One SageMaker mini cloud for a test file, with an account on it."""

from collections.abc import Iterator

import pytest

from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.sagemaker import SagemakerCloud
from tests.clouds.sagemaker.account import Account


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with mini_cloud("sagemaker", quotas={"ml.c5.large": 1}) as cloud:
        assert isinstance(cloud, SagemakerCloud)
        made = Account(cloud, tmp_path_factory.mktemp("account"))
        made.prepare()
        yield made
        for client in made.clients.values():
            client.close()
    assert [] == cloud.app.errors
