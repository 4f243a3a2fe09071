"""Which members of Vertex AI's requests this mini cloud supports, and how; it refuses all others by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..members import Members, Played, acts, output, shown, under
from .enums import STRATEGIES

if TYPE_CHECKING:
    from ..members import Table

_NAMED = acts("names the resource")
_WORDS = shown("shown by Get and List")
_KEY = shown("shown by Get; disks of this machine are not encrypted with it")
_ACCOUNT = shown("shown by Get; containers have no credentials of an account")
_LABELS = acts("found by a filter")
_PAGE: Table = {"pageSize": acts("the size of a page"), "pageToken": acts("the next page")}
_LIST: Table = {"parent": _NAMED, "filter": acts("chooses from the list"), **_PAGE, "orderBy": acts("the order")}
_SPLIT = acts("the shares of the requests; they sum to 100")

_CONTAINER: Table = {
    "imageUri": acts("the image that runs; it has to be in Artifact Registry"),
    "command": acts("the program of the container"),
    "args": acts("its arguments"),
    "env[].name": acts("a variable of the container"),
    "env[].value": acts("its value"),
}
_SERVED: Table = {
    **_CONTAINER,
    "ports[].containerPort": acts("AIP_HTTP_PORT, where the container listens; the first one counts"),
    "predictRoute": acts("where requests go"),
    "healthRoute": acts("where the container is asked whether it is ready"),
    "deploymentTimeout": acts("how long a container may take to get ready"),
}
_MODEL_OUTPUT = output(
    "name", "versionId", "createTime", "updateTime", "versionCreateTime", "versionUpdateTime", "etag",
    "deployedModels",
    "supportedExportFormats", "trainingPipeline", "supportedDeploymentResourcesTypes", "supportedInputStorageFormats",
    "supportedOutputStorageFormats", "originalModelInfo", "metadataArtifact", "modelSourceInfo", "satisfiesPzs",
    "satisfiesPzi",
)  # fmt: skip
_MODEL: Table = {
    "displayName": acts("found by a filter"),
    "description": _WORDS,
    "versionDescription": _WORDS,
    "versionAliases": acts("names of the version"),
    "labels{}": _LABELS,
    "metadata.*": _WORDS,
    "metadataSchemaUri": _WORDS,
    "predictSchemata.instanceSchemaUri": shown("shown by Get; requests are not checked against it"),
    "predictSchemata.parametersSchemaUri": shown("shown by Get; requests are not checked against it"),
    "predictSchemata.predictionSchemaUri": shown("shown by Get; answers are not checked against it"),
    "encryptionSpec.kmsKeyName": _KEY,
    **under("containerSpec", _SERVED),
    **_MODEL_OUTPUT,
}
_MASKED = {"*": Played("not changed, as update_mask may not name it", acts=False, output=True)}
_CHANGED: Table = {
    "displayName": acts("changed, if update_mask names it"),
    "description": acts("changed, if update_mask names it"),
    "labels{}": acts("changed, if update_mask names it"),
    "name": _NAMED,
}

_ENDPOINT_OUTPUT = output(
    "name", "createTime", "updateTime", "deployedModels", "modelDeploymentMonitoringJob", "dedicatedEndpointDns",
    "satisfiesPzs", "satisfiesPzi",
)  # fmt: skip
_ENDPOINT: Table = {
    "displayName": acts("found by a filter"),
    "description": _WORDS,
    "labels{}": _LABELS,
    "encryptionSpec.kmsKeyName": _KEY,
    "dedicatedEndpointEnabled": acts("a host of its own, with larger bodies and longer time-outs"),
    "clientConnectionConfig.inferenceTimeout": acts("how long a request may take"),
    **_ENDPOINT_OUTPUT,
    **output("etag"),
}
_CHANGED_ENDPOINT: Table = {**_CHANGED, "trafficSplit{}": _SPLIT, "etag": acts("refused, if it is not the last one")}

_REPLICAS: Table = {
    "minReplicaCount": acts("counted against the quota"),
    "maxReplicaCount": acts("counted against the quota; one container stands for all"),
    "autoscalingMetricSpecs[].metricName": shown("shown by Get; replicas do not grow"),
    "autoscalingMetricSpecs[].target": shown("shown by Get; replicas do not grow"),
}
_MACHINE: Table = {
    "machineType": acts("one that the platform takes for this use"),
    "acceleratorType": acts("one that fits to the machine; AIP_ACCELERATOR_TYPE"),
    "acceleratorCount": acts("goes with acceleratorType"),
}
_DEPLOYED: Table = {
    "id": _NAMED,
    "model": acts("the model that runs; it has to be there"),
    "displayName": _WORDS,
    **under("dedicatedResources", {**under("machineSpec", _MACHINE), **_REPLICAS}),
    "dedicatedResources.spot": shown("shown by Get; spot capacity is always there"),
    "serviceAccount": _ACCOUNT,
    **output("modelVersionId", "createTime", "status", "privateEndpoints"),
}
_POOL: Table = {
    **under("containerSpec", _CONTAINER),
    **under("machineSpec", _MACHINE),
    "replicaCount": acts("one container", 1, "1"),
    "diskSpec.bootDiskType": shown("shown by Get; disks have no limit"),
    "diskSpec.bootDiskSizeGb": shown("shown by Get; disks have no limit"),
}
_JOB_SPEC: Table = {
    **under("workerPoolSpecs[]", _POOL),
    "scheduling.timeout": acts("ends the job"),
    "scheduling.strategy": shown("shown by Get; capacity is always there", *STRATEGIES.values()),
    "scheduling.disableRetries": shown("shown by Get; machines are not taken away"),
    "scheduling.restartJobOnWorkerRestart": shown("shown by Get; workers do not restart", False),
    "scheduling.maxWaitDuration": shown("shown by Get; capacity is always there"),
    "network": shown("shown by Get; a job reaches what this machine reaches"),
    "serviceAccount": _ACCOUNT,
    "baseOutputDirectory.outputUriPrefix": acts("AIP_MODEL_DIR and its kin"),
}
_JOB: Table = {
    "displayName": acts("found by a filter"),
    "labels{}": _LABELS,
    "encryptionSpec.kmsKeyName": _KEY,
    **under("jobSpec", _JOB_SPEC),
    **output(
        "name", "state", "createTime", "startTime", "endTime", "updateTime", "error", "webAccessUris",
        "satisfiesPzs",
        "satisfiesPzi",
    ),
}  # fmt: skip
_MASK: Table = {"updateMask": acts("which members are changed")}

BODIES = {
    "CreateEndpoint": "endpoint",
    "UpdateEndpoint": "endpoint",
    "UpdateModel": "model",
    "CreateCustomJob": "customJob",
}
"""The member that the body of a request represents; for all other operations the body is the whole request."""

MEMBERS: dict[str, Members] = {
    operation: Members(table)
    for operation, table in {
        "UploadModel": {
            "parent": _NAMED,
            "parentModel": acts("the model that gets another version"),
            "modelId": _NAMED,
            **under("model", _MODEL),
        },
        "ListModels": _LIST,
        "GetModel": {"name": _NAMED},
        "UpdateModel": {
            **under("model", {**_MASKED, **_CHANGED, "versionDescription": _CHANGED["description"]}),
            **_MASK,
        },
        "DeleteModel": {"name": _NAMED},
        "ListModelVersions": {"name": _NAMED, "filter": acts("chooses from the list"), **_PAGE},
        "DeleteModelVersion": {"name": _NAMED},
        "MergeVersionAliases": {"name": _NAMED, "versionAliases": acts("names that come, or go after a dash")},
        "CreateEndpoint": {"parent": _NAMED, "endpointId": _NAMED, **under("endpoint", _ENDPOINT)},
        "ListEndpoints": _LIST,
        "GetEndpoint": {"name": _NAMED},
        "UpdateEndpoint": {**under("endpoint", {**_MASKED, **_CHANGED_ENDPOINT}), **_MASK},
        "UpdateEndpointLongRunning": under("endpoint", {**_CHANGED_ENDPOINT, **_ENDPOINT_OUTPUT, "name": _NAMED}),
        "DeleteEndpoint": {"name": _NAMED},
        "DeployModel": {"endpoint": _NAMED, **under("deployedModel", _DEPLOYED), "trafficSplit{}": _SPLIT},
        "UndeployModel": {"endpoint": _NAMED, "deployedModelId": acts("what ends"), "trafficSplit{}": _SPLIT},
        "MutateDeployedModel": {
            "endpoint": _NAMED,
            **under("deployedModel", {**_MASKED, "id": _NAMED, **under("dedicatedResources", _REPLICAS)}),
            **_MASK,
        },
        "CreateCustomJob": {"parent": _NAMED, **under("customJob", _JOB)},
        "ListCustomJobs": {name: how for name, how in _LIST.items() if name != "orderBy"},
        "GetCustomJob": {"name": _NAMED},
        "CancelCustomJob": {"name": _NAMED},
        "DeleteCustomJob": {"name": _NAMED},
        "Predict": {
            "endpoint": _NAMED,
            "instances.*": acts("reach the container as they are"),
            "parameters.*": acts("reach the container as they are"),
        },
    }.items()
}  # fmt: skip
"""The operations of Vertex AI whose requests have members; raw requests reach the container unchanged."""
