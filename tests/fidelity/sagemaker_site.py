"""An account on a SageMaker mini cloud that starts no container, and valid requests for every operation."""

from __future__ import annotations

import io
import json
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sdk_contract.clouds.app import Request, Response
from sdk_contract.clouds.sagemaker import SagemakerCloud
from tests.clouds.sagemaker.account import BUCKET, ROLE, Account
from tests.fidelity.idle import IdleRunner

TARGETS = {"sagemaker": "SageMaker", "servicequotas": "ServiceQuotasV20190624"}


READY = {"DeleteEndpoint": "InService", "DeleteTrainingJob": "Completed"}
"""The states in which things may be deleted."""


class IdleCloud(SagemakerCloud):
    """A mini cloud that starts no container."""

    def make_runner(self) -> IdleRunner:
        """One that starts nothing."""
        self.idle = IdleRunner()
        return self.idle


class Site:
    """An account on such a cloud; requests are handled in this process."""

    def __init__(self, account: Account) -> None:
        self.account, self.image = account, account.push()
        account.model("base", self.image)
        account.config("base", "base")
        account.sm.create_endpoint(EndpointName="base", EndpointConfigName="base")
        account.wait("base")
        self.arn = account.sm.describe_model(ModelName="base")["ModelArn"]

    def signed(self, path: str, body: bytes, headers: dict[str, str], service: str = "sagemaker") -> dict[str, str]:
        """The headers of a signed request, in small letters."""
        cloud = self.account.cloud
        made = AWSRequest("POST", f"{cloud.url}{path}", data=body, headers=headers)
        SigV4Auth(Credentials(*cloud.keys.of("123456789012")), service, "us-east-1").add_auth(made)
        sent = {str(name).lower(): str(value) for name, value in made.prepare().headers.items()}
        return {**sent, "host": cloud.url.removeprefix("http://")}

    def ask(self, operation: str, body: dict[str, Any], service: str = "sagemaker") -> tuple[int, dict[str, Any]]:
        """Let the cloud handle one request of the JSON protocol; status and answer."""
        cloud, data = self.account.cloud, json.dumps(body).encode()
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"{TARGETS[service]}.{operation}"}
        headers = self.signed("/", data, headers, service)
        request = Request("POST", "/", "/", headers=headers, content=io.BytesIO(data), base_url=cloud.url)
        match = next(found for one in cloud.app.services if (found := one.find(request)))
        request.params = match.params
        answer = match.handler(request)
        assert isinstance(answer, Response)
        assert isinstance(answer.body, bytes)
        return answer.status, json.loads(answer.body)

    def reset(self) -> None:
        """Take away what a request has made, and wait for what it has changed."""
        shelves = self.account.cloud.control
        for job in list(shelves.jobs.shelf.all()):
            job.finished.wait(20)
            shelves.jobs.shelf.drop(job)
        for shelf in (shelves.models.shelf, shelves.configs.shelf, shelves.endpoints.shelf):
            for record in list(shelf.all()):
                if record.name != "base":
                    shelf.drop(record)  # type: ignore[arg-type]
        while self.ask("DescribeEndpoint", {"EndpointName": "base"})[1]["EndpointStatus"] != "InService":
            pass

    def bases(self, operation: str) -> dict[str, dict[str, Any]]:
        """Valid requests of an operation, by the members for which each is the base; ``""`` for all others."""
        variant = {"VariantName": "v", "ModelName": "base", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        less = {
            "VariantName": "v",
            "ModelName": "base",
            "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 2},
        }
        arn = {"ResourceArn": self.arn}
        found: dict[str, dict[str, dict[str, Any]]] = {
            "CreateModel": {
                "Containers": {"ModelName": "m", "ExecutionRoleArn": ROLE, "Containers": [{"Image": self.image}]},
                "": {"ModelName": "m", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": self.image}},
            },
            "CreateEndpointConfig": {
                "ProductionVariants[].ServerlessConfig": {"EndpointConfigName": "c", "ProductionVariants": [less]},
                "ShadowProductionVariants": {
                    "EndpointConfigName": "c",
                    "ProductionVariants": [variant],
                    "ShadowProductionVariants": [{**variant, "VariantName": "s"}],
                },
                "": {"EndpointConfigName": "c", "ProductionVariants": [variant]},
            },
            "CreateEndpoint": {"": {"EndpointName": "e", "EndpointConfigName": "base"}},
            "UpdateEndpoint": {"": {"EndpointName": "base", "EndpointConfigName": "base"}},
            "UpdateEndpointWeightsAndCapacities": {
                "": {"EndpointName": "base", "DesiredWeightsAndCapacities": [{"VariantName": "base"}]}
            },
            "CreateTrainingJob": {"": self._job()},
            "AddTags": {"": {**arn, "Tags": [{"Key": "a", "Value": "b"}]}},
            "ListTags": {"": arn},
            "DeleteTags": {"": {**arn, "TagKeys": ["none"]}},
        }
        if operation in found:
            return found[operation]
        kind = operation.removeprefix("Describe").removeprefix("Delete").removeprefix("Stop")
        return {"": {} if operation.startswith("List") else self._made(kind, operation)}

    def _made(self, kind: str, operation: str) -> dict[str, Any]:
        """The name of a new resource."""
        self.ask(f"Create{kind}", self.bases(f"Create{kind}")[""])
        name = {f"{kind}Name": {"Model": "m", "EndpointConfig": "c", "Endpoint": "e", "TrainingJob": "j"}[kind]}
        ready = {
            "DeleteEndpoint": ("EndpointStatus", "InService"),
            "DeleteTrainingJob": ("TrainingJobStatus", "Completed"),
        }
        if operation in ready:
            state, wanted = ready[operation]
            while self.ask(f"Describe{kind}", name)[1][state] != wanted:
                pass
        return name

    def _job(self) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/train/"}
        return {
            "TrainingJobName": "j",
            "AlgorithmSpecification": {"TrainingImage": self.image, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
        }

    def base(self, operation: str, path: str) -> dict[str, Any]:
        """The base for a member."""
        return next(body for prefix, body in self.bases(operation).items() if path.startswith(prefix))
