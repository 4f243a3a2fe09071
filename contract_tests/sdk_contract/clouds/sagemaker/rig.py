"""The rig by which the contract suites reach a mini SageMaker; for an adapter to extend."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ...rig import Rig, ShortLived
from ..bases import push_base
from .aws import ACCOUNT, REGION
from .cloud import SagemakerCloud

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from ..faults import Kind

ROLE = f"arn:aws:iam::{ACCOUNT}:role/mlport"
#: Shared resources that are kept on purpose, and records that cost nothing.
KEPT = ("bucket ", "image ", "log-group ", "object ", "repository ", "training-job ")
_TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
_FAULTS: Mapping[str, Kind] = {"throttled": "throttle", "unavailable": "unavailable", "denied": "denied"}


class SagemakerRig(Rig):
    """A mini cloud in this process, whose containers are forked from a warm interpreter.

    Attributes:
        runner: How models and jobs run.
        cloud: The mini cloud.
    """

    price, peak, split_tolerance = 0.1152, 3, 15
    official = False
    executor = ShortLived
    runner: ClassVar[str] = "fork"
    cloud: SagemakerCloud

    def start(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.cloud = SagemakerCloud(self.folder / "cloud", self.runner)
        for name, value in self.cloud.start().items():
            self.patch.setenv(name, value)
        boto3 = import_module("boto3")
        boto3.setup_default_session()  # discards the keys of an earlier mini cloud
        boto3.client("iam").create_role(RoleName="mlport", AssumeRolePolicyDocument=json.dumps(_TRUST))
        ecr = boto3.client("ecr")
        ecr.create_repository(repositoryName="base")
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        ecr.close()
        self.base = push_base(f"{self.cloud.ecr.host}/base:1", lambda _: (user, password))

    def forget_shared(self) -> None:
        """Delete all repositories and buckets, so that the next deploy creates them and pushes its image."""
        boto3, config = import_module("boto3"), import_module("botocore.config").Config
        ecr = boto3.client("ecr")
        s3 = boto3.resource("s3", config=config(s3={"addressing_style": "path"}))
        for one in ecr.describe_repositories()["repositories"]:
            if one["repositoryName"] != "base":
                ecr.delete_repository(repositoryName=one["repositoryName"], force=True)
        for bucket in s3.buckets.all():
            bucket.objects.all().delete()
            bucket.delete()
        ecr.close()
        s3.meta.client.close()

    def stop(self) -> None:
        self.cloud.close()
        self.patch.undo()
        assert [] == self.cloud.app.errors

    def settings(self) -> Mapping[str, Any]:
        return {"region": REGION, "role": ROLE, "instance": "ml.m5.large", "base": self.base}

    def unpriced(self) -> Mapping[str, Any]:
        return {**self.settings(), "instance": "ml.t2.medium"}

    def left(self) -> list[str]:
        return [item for item in self.cloud.inventory() if not item.startswith(KEPT)]

    def plant_foreign(self) -> Callable[[], bool]:
        """Create a model as if by hand, and return a check that it is untouched."""
        client, tags = import_module("boto3").client("sagemaker"), [{"Key": "team", "Value": "other"}]
        made = client.create_model(
            ModelName="by-hand", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": self.base}, Tags=tags
        )

        def untouched() -> bool:
            found = client.list_tags(ResourceArn=made["ModelArn"])["Tags"]
            client.delete_model(ModelName="by-hand")
            client.close()
            return bool(tags == found)

        return untouched

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        kind, _, once = failure.partition(" ")
        if kind not in _FAULTS:
            pytest.skip(f"a mini cloud is never {kind}")
        self.cloud.faults.add("*", _FAULTS[kind], times=1 if once else 99)
        try:
            yield
        finally:
            self.cloud.faults.clear()
