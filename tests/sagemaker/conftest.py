"""One mini cloud for a test file, with a role and a base image, and a client of it."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sdk.client import Client
from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.bases import push_base
from sdk_contract.samples import Samples
from tests.aws import core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk.adapter import Clock
    from sdk.executor.context import Event
    from sdk_contract.clouds.cloud import Cloud

ROLE = "arn:aws:iam::123456789012:role/mlport"
PRINCIPAL = {"Service": "sagemaker.amazonaws.com"}
TRUST = {"Statement": [{"Effect": "Allow", "Principal": PRINCIPAL, "Action": "sts:AssumeRole"}]}


class Place:
    """A mini cloud and how to reach it."""

    def __init__(self, cloud: Cloud, base: str, folder: Path) -> None:
        self.cloud, self.base, self.folder = cloud, base, folder
        self.samples = Samples()
        self._made: list[Client] = []

    def client(
        self,
        *,
        clock: Clock | None = None,
        progress: Callable[[Event], None] | None = None,
        state: Path | None = None,
        **settings: Any,
    ) -> Client:
        """A client with one `sagemaker` target."""
        target = {"provider": "sagemaker", "region": "us-east-1", "role": ROLE, "base": self.base, **settings}
        config = {
            "default": "aws",
            "owner": "me",
            "state_dir": str(state or self.folder / "client"),
            "target": {"aws": target},
        }
        self._made.append(Client(config, clock=clock, progress=progress))
        return self._made[-1]

    def close(self) -> None:
        for client in self._made:
            client.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    with (
        pytest.MonkeyPatch.context() as patch,
        mini_cloud("sagemaker", runner="fork", folder=folder / "cloud") as cloud,
    ):
        for name, value in {"MLPORT_STATE_DIR": str(folder / "state"), **os.environ, **cloud.env}.items():
            patch.setenv(name, value)
        boto3.setup_default_session(botocore_session=core())  # not with the keys of a mini cloud that was here before
        boto3.client("iam").create_role(RoleName="mlport", AssumeRolePolicyDocument=json.dumps(TRUST))
        ecr = boto3.client("ecr")
        ecr.create_repository(repositoryName="base")
        about = ecr.get_authorization_token()["authorizationData"][0]
        user, password = base64.b64decode(about["authorizationToken"]).decode().split(":")
        host = about["proxyEndpoint"].removeprefix("http://")
        made = Place(cloud, push_base(f"{host}/base:1", lambda _: (user, password)), folder)
        yield made
        made.close()
