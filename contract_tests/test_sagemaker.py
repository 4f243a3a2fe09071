"""The contract of the `sagemaker` target, on the mini cloud: the real images run behind it, as processes."""

import base64
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import boto3
import pytest

from sdk.adapter import Kind
from sdk_contract import suites
from sdk_contract.clouds import faults
from sdk_contract.clouds.bases import push_base
from sdk_contract.clouds.sagemaker import SagemakerCloud
from sdk_contract.rig import Rig, rig_fixture
from sdk_sagemaker import SagemakerAdapter, _plan

ROLE = "arn:aws:iam::123456789012:role/mlport"
PRINCIPAL = {"Service": "sagemaker.amazonaws.com"}
TRUST = {"Statement": [{"Effect": "Allow", "Principal": PRINCIPAL, "Action": "sts:AssumeRole"}]}
FAULTS: dict[str, faults.Kind] = {"throttled": "throttle", "unavailable": "unavailable", "denied": "denied"}
KEPT = ("bucket ", "image ", "log-group ", "object ", "repository ", "training-job ")


class Quick(SagemakerAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class SagemakerRig(Rig):
    """A mini cloud in this process; its containers are forked from a warm one."""

    adapter, price, peak, split_tolerance = Quick, 0.1152, 3, 15

    def start(self) -> None:
        self.cloud = SagemakerCloud(self.folder / "cloud", "fork")
        os.environ.update(self.cloud.start())
        boto3.client("iam").create_role(RoleName="mlport", AssumeRolePolicyDocument=json.dumps(TRUST))
        aws = boto3.client("ecr")
        aws.create_repository(repositoryName="base")
        told = aws.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, password = base64.b64decode(told).decode().split(":")
        self.base = push_base(f"{self.cloud.ecr.host}/base:1", lambda host: (user, password))

    def stop(self) -> None:
        for name in self.cloud.env:
            os.environ.pop(name, None)
        self.cloud.close()

    def settings(self) -> dict[str, Any]:
        return {"region": "us-east-1", "role": ROLE, "instance": "ml.m5.large", "base": self.base}

    def unpriced(self) -> dict[str, Any]:
        return {**self.settings(), "instance": "ml.t2.medium"}

    def left(self) -> list[str]:
        return [item for item in self.cloud.inventory() if not item.startswith(KEPT)]

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        kind, _, once = failure.partition(" ")
        if kind not in FAULTS:
            pytest.skip(f"a mini cloud is never {kind}")
        self.cloud.faults.add("*", FAULTS[kind], times=1 if once else 99)
        yield
        self.cloud.faults.clear()


rig = rig_fixture(SagemakerRig)


class TestCapabilities(suites.CapabilitiesSuite): ...


class TestOperations(suites.OperationsSuite): ...


class TestDeploy(suites.DeploySuite): ...


class TestTraffic(suites.TrafficSuite): ...


class TestPredict(suites.PredictSuite): ...


class TestTrain(suites.TrainSuite): ...


class TestMonitor(suites.MonitorSuite): ...


class TestLogs(suites.LogsSuite): ...


class TestErrors(suites.ErrorsSuite): ...


class TestPrices(suites.PricesSuite): ...


class TestCrash(suites.CrashSuite): ...
