"""Run by the SageMaker Python SDK 2.x in an environment of its own: train, deploy, predict, update, delete."""

import json
import sys

import boto3
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer
from sagemaker.session import Session

image, green, role, bucket = sys.argv[1:]
session = Session(boto3.session.Session(), default_bucket=bucket)
estimator = Estimator(
    image, role, instance_count=1, instance_type="ml.m5.large", output_path=f"s3://{bucket}/v2",
    hyperparameters={"C": "0.5"}, sagemaker_session=session, base_job_name="v2",
)  # fmt: skip
estimator.fit({"train": TrainingInput(f"s3://{bucket}/data/train/")}, job_name="v2-job", logs="None")
predictor = estimator.deploy(
    1, "ml.m5.large", endpoint_name="v2-endpoint", serializer=JSONSerializer(), deserializer=JSONDeserializer()
)
first = predictor.predict({"x": 1})
model = Model(green, role=role, name="v2-green", sagemaker_session=session)
model.create(instance_type="ml.m5.large")
predictor.update_endpoint(initial_instance_count=1, instance_type="ml.m5.large", model_name="v2-green")
second = Predictor("v2-endpoint", session, JSONSerializer(), JSONDeserializer()).predict({"x": 2})
predictor.delete_endpoint(delete_endpoint_config=True)
print("\n" + json.dumps([first["who"], first["model"], second["who"]]))
