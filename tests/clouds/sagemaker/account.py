"""An account on a mini cloud, seen by unmodified boto3."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.config import Config

from sdk.packaging.image import BlobStore, Registries, push_image
from sdk_contract.clouds.stub import stub_image
from tests.aws import session

if TYPE_CHECKING:
    from pathlib import Path

    from sdk_contract.clouds.sagemaker import SagemakerCloud

ROLE = "arn:aws:iam::123456789012:role/mlport"
BUCKET = "mlport-data"


@dataclass
class Account:
    """Clients, a bucket, a repository with the stub image, and short ways to make things."""

    cloud: SagemakerCloud
    folder: Path
    clients: dict[str, Any] = field(default_factory=dict[str, Any])

    def client(self, service: str, **settings: Any) -> Any:
        """A client with nothing special but its address; once by default, so that faults are seen as they are."""
        key = f"{service}{settings}"
        if key not in self.clients:
            config = {"retries": {"total_max_attempts": 1}, "read_timeout": 20, **settings}
            made = session(*self.cloud.keys.of("123456789012"))
            self.clients[key] = made.client(service, endpoint_url=self.cloud.url, config=Config(**config))
        return self.clients[key]

    @property
    def sm(self) -> Any:
        return self.client("sagemaker")

    @property
    def runtime(self) -> Any:
        return self.client("sagemaker-runtime")

    def prepare(self) -> None:
        """A bucket with data, and a repository."""
        self.client("s3", s3={"addressing_style": "path"}).create_bucket(Bucket=BUCKET)
        self.s3.put_object(Bucket=BUCKET, Key="data/train/rows.csv", Body=b"1,2\n3,4\n")
        self.client("ecr").create_repository(repositoryName="stub")

    @property
    def s3(self) -> Any:
        return self.client("s3", s3={"addressing_style": "path"})

    def push(self, name: str = "stub", tag: str = "v1", **settings: Any) -> str:
        """Pushes the stub image as ECR says; its address by digest."""
        about = self.client("ecr").get_authorization_token()["authorizationData"][0]
        user, password = base64.b64decode(about["authorizationToken"]).decode().split(":")
        store = BlobStore(self.folder / "store")
        host = urlsplit(about["proxyEndpoint"]).netloc
        image = stub_image(store, name=name, **settings)
        return push_image(image, f"{host}/stub:{tag}", store=store, registries=Registries(lambda _: (user, password)))

    def model(self, name: str, image: str, **container: Any) -> None:
        self.sm.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": image, **container},
            Tags=[{"Key": "mlport", "Value": name}],
        )  # fmt: skip

    def config(self, name: str, *models: str, weights: tuple[float, ...] = (), **more: Any) -> None:
        variants = [
            {
                "VariantName": model,
                "ModelName": model,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": weights[number] if weights else 1.0,
            }
            for number, model in enumerate(models)
        ]
        self.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **more)

    def wait(self, name: str) -> dict[str, Any]:
        """Describes until it is not busy; what it is then. Its states on the way are in ``seen``."""
        end, self.seen = time.monotonic() + 60, list[str]()
        while time.monotonic() < end:
            about: dict[str, Any] = self.sm.describe_endpoint(EndpointName=name)
            self.seen.append(about["EndpointStatus"])
            if about["EndpointStatus"] in {"InService", "Failed"}:
                return about
            time.sleep(0.02)
        raise AssertionError(self.seen)

    def wait_gone(self, name: str) -> None:
        """Describes until it is not there any more."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if name not in [one["EndpointName"] for one in self.sm.list_endpoints()["Endpoints"]]:
                return
            time.sleep(0.02)
        raise AssertionError(f"{name} is still there")

    def serve(self, name: str, *models: str, weights: tuple[float, ...] = (), **more: Any) -> dict[str, Any]:
        """An endpoint, with a model and image for each name, in service."""
        for model in models:
            self.model(model, self.push(model))
        self.config(f"{name}-1", *models, weights=weights, **more)
        self.sm.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-1")
        return self.wait(name)

    def job(self, name: str, image: str, *, params: dict[str, str] | None = None, **more: Any) -> None:
        """A training job on the data of the bucket."""
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/train/"}
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "AlgorithmSpecification": {
                "TrainingImage": image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": r"^loss=([0-9.]+);"}],
            },
            "RoleArn": ROLE,
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "HyperParameters": params or {},
            **more,
        }
        self.sm.create_training_job(**request)

    def wait_job(self, name: str) -> dict[str, Any]:
        """Describes until it is over."""
        end, self.seen = time.monotonic() + 60, list[str]()
        while time.monotonic() < end:
            about: dict[str, Any] = self.sm.describe_training_job(TrainingJobName=name)
            self.seen.append(about["SecondaryStatus"])
            if about["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}:
                return about
            time.sleep(0.02)
        raise AssertionError(self.seen)
