"""Run by the SageMaker Python SDK 3.x in an environment of its own: train, deploy, invoke, update, delete."""

import json
import sys

from sagemaker.core.resources import Endpoint, EndpointConfig, Model, TrainingJob
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    Channel,
    ContainerDefinition,
    DataSource,
    OutputDataConfig,
    ProductionVariant,
    ResourceConfig,
    S3DataSource,
    StoppingCondition,
)

image, green, role, bucket = sys.argv[1:]


def deployable(name: str, image: str, **container: str) -> str:
    """A model and a configuration that serves it, both of this name."""
    Model.create(
        model_name=name, execution_role_arn=role, primary_container=ContainerDefinition(image=image, **container)
    )
    variant = ProductionVariant(
        variant_name="all", model_name=name, initial_instance_count=1, instance_type="ml.m5.large"
    )
    EndpointConfig.create(endpoint_config_name=name, production_variants=[variant])
    return name


def ask(endpoint: Endpoint) -> dict[str, object]:
    """What answers."""
    answer = endpoint.invoke(body=json.dumps({"x": 1}), content_type="application/json")
    seen: dict[str, object] = json.loads(answer.body.read())
    return seen


source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/data/train/")
job = TrainingJob.create(
    training_job_name="v3-job",
    role_arn=role,
    algorithm_specification=AlgorithmSpecification(training_image=image, training_input_mode="File"),
    input_data_config=[Channel(channel_name="train", data_source=DataSource(s3_data_source=source))],
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/v3"),
    resource_config=ResourceConfig(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=5),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=600),
    hyper_parameters={"C": "0.5"},
)
job.wait(poll=1, logs=False)
artifact = TrainingJob.get("v3-job").model_artifacts.s3_model_artifacts
endpoint = Endpoint.create(
    endpoint_name="v3-endpoint", endpoint_config_name=deployable("v3-blue", image, model_data_url=artifact)
)
endpoint.wait_for_status("InService", poll=1)
first = ask(endpoint)
endpoint.endpoint_config_name = deployable("v3-green", green)
endpoint.update()
endpoint.wait_for_status("InService", poll=1)
second = ask(endpoint)
endpoint.delete()
endpoint.wait_for_delete(poll=1)
for name in ("v3-blue", "v3-green"):
    EndpointConfig.get(name).delete()
    Model.get(name).delete()
print("\n" + json.dumps([first["who"], first["model"], second["who"]]))
