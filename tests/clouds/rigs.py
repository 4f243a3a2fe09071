"""The rigs of the three mini clouds, each with the adapter of its platform."""

from __future__ import annotations

from sdk_azureml import AzureMLAdapter
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.clouds.sagemaker.rig import SagemakerRig
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_sagemaker import SagemakerAdapter
from sdk_vertex import VertexAdapter


class Sagemaker(SagemakerRig):
    adapter = SagemakerAdapter


class Vertex(VertexMiniRig):
    adapter = VertexAdapter


class AzureML(AzureMLRig):
    adapter = AzureMLAdapter
