"""Which members of SageMaker's requests this mini cloud supports, and how; it refuses all others by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..members import Members, Played, acts, shown, under

if TYPE_CHECKING:
    from ..members import Table

_NAMED = acts("names the resource")
_TAGS = under("Tags[]", {"Key": acts("listed by ListTags, found by GetResources"), "Value": acts("as Key")})
_NETWORK = shown("shown by Describe*; containers keep the network of this machine")
_VPC = under("VpcConfig", {"SecurityGroupIds": _NETWORK, "Subnets": _NETWORK})
_KEY = shown("shown by Describe*; disks of this machine are not encrypted with it")
_ROLE = shown("shown by Describe*; roles are not looked up")

_CONTAINER: Table = {
    "ContainerHostname": shown("shown by DescribeModel; a model has one container here"),
    "Image": acts("the image that runs behind an endpoint; it has to be in ECR"),
    "ImageConfig.RepositoryAccessMode": shown("shown by DescribeModel", "Platform"),
    "Mode": shown("shown by DescribeModel", "SingleModel"),
    "ModelDataUrl": acts("unpacked to /opt/ml/model; it has to be in S3"),
    "Environment{}": acts("variables of the container"),
}
_INSTANCES: Table = {
    "VariantName": acts("names the variant"),
    "ModelName": acts("the model that runs; it has to be there"),
    "InitialInstanceCount": acts("counted against the quota; one container stands for all"),
    "InstanceType": acts("counted against the quota of its type; decides about scaling and disks"),
    "InitialVariantWeight": acts("its share of the requests"),
    "VolumeSizeInGB": shown("shown by DescribeEndpointConfig; disks have no limit"),
    "ModelDataDownloadTimeoutInSeconds": shown("shown by DescribeEndpointConfig; copies on one disk do not time out"),
    "ContainerStartupHealthCheckTimeoutInSeconds": shown(
        "shown by DescribeEndpointConfig; containers have the time that the mini cloud was started with"
    ),
    "RoutingConfig.RoutingStrategy": shown(
        "shown by DescribeEndpointConfig; one container stands for all", "RANDOM", "LEAST_OUTSTANDING_REQUESTS"
    ),
}  # fmt: skip
_VARIANT: Table = {
    **_INSTANCES,
    "ServerlessConfig.MemorySizeInMB": acts("one of the sizes that AWS offers"),
    "ServerlessConfig.MaxConcurrency": acts("more requests at a time are throttled"),
    "ServerlessConfig.ProvisionedConcurrency": acts("must not exceed MaxConcurrency"),
}
_ALL_AT_ONCE: Table = {
    "BlueGreenUpdatePolicy.TrafficRoutingConfiguration.Type": acts("the new fleet takes over at once", "ALL_AT_ONCE"),
    "BlueGreenUpdatePolicy.TrafficRoutingConfiguration.WaitIntervalInSeconds": shown(
        "shown by DescribeEndpoint; the old fleet ends at once, as no alarm is watched"
    ),
    "BlueGreenUpdatePolicy.TerminationWaitInSeconds": shown("shown by DescribeEndpoint; the old fleet ends at once"),
    "BlueGreenUpdatePolicy.MaximumExecutionTimeoutInSeconds": shown(
        "shown by DescribeEndpoint; an update ends with the start of its containers"
    ),
}
_CHANNEL: Table = {
    "ChannelName": acts("its folder below /opt/ml/input/data"),
    "DataSource.S3DataSource.S3DataType": acts("what S3Uri is", "S3Prefix", "ManifestFile"),
    "DataSource.S3DataSource.S3Uri": acts("what is copied; it has to be there, in this region"),
    "DataSource.S3DataSource.S3DataDistributionType": acts("in inputdataconfig.json", "FullyReplicated"),
    "ContentType": acts("in inputdataconfig.json"),
    "CompressionType": shown("shown by DescribeTrainingJob", "None"),
    "RecordWrapperType": acts("in inputdataconfig.json", "None"),
    "InputMode": acts("in inputdataconfig.json", "File"),
}
_JOB_DISK = shown("shown by DescribeTrainingJob; disks have no limit")
_DEBUG = shown("shown by DescribeTrainingJob; SDK 2 always sends it, and the debugger does not run here")
_JOB: Table = {
    "TrainingJobName": _NAMED,
    "HyperParameters{}": acts("in hyperparameters.json"),
    "AlgorithmSpecification.TrainingImage": acts("the image that runs; it has to be in ECR"),
    "AlgorithmSpecification.TrainingInputMode": acts("in inputdataconfig.json", "File"),
    "AlgorithmSpecification.MetricDefinitions[].Name": acts("names a value of FinalMetricDataList"),
    "AlgorithmSpecification.MetricDefinitions[].Regex": acts("finds a metric in the output"),
    "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries": shown(
        "shown by DescribeTrainingJob; no series is kept", False
    ),
    "AlgorithmSpecification.ContainerEntrypoint": acts("the program of the container"),
    "AlgorithmSpecification.ContainerArguments": acts("its arguments"),
    "AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAccessMode": shown(
        "shown by DescribeTrainingJob", "Platform"
    ),
    "RoleArn": _ROLE,
    **under("InputDataConfig[]", _CHANNEL),
    "OutputDataConfig.KmsKeyId": _KEY,
    "OutputDataConfig.S3OutputPath": acts("where model.tar.gz and output.tar.gz go"),
    "OutputDataConfig.CompressionType": acts("results are packed", "GZIP"),
    "ResourceConfig.InstanceType": acts("counted against the quota of its type; in resourceconfig.json"),
    "ResourceConfig.InstanceCount": acts("counted against the quota", 1),
    "ResourceConfig.VolumeSizeInGB": _JOB_DISK,
    "ResourceConfig.VolumeKmsKeyId": _KEY,
    **_VPC,
    "StoppingCondition.MaxRuntimeInSeconds": acts("ends the job"),
    "StoppingCondition.MaxWaitTimeInSeconds": acts("at least MaxRuntimeInSeconds; spot capacity is always there"),
    **_TAGS,
    "EnableNetworkIsolation": _NETWORK,
    "EnableInterContainerTrafficEncryption": shown("shown by DescribeTrainingJob; a job has one container here"),
    "EnableManagedSpotTraining": shown("shown by DescribeTrainingJob; spot capacity is always there"),
    "CheckpointConfig.S3Uri": acts("copied to /opt/ml/checkpoints before the job, and back after it"),
    "CheckpointConfig.LocalPath": acts("the folder of checkpoints", "/opt/ml/checkpoints", "/opt/ml/checkpoints/"),
    "DebugHookConfig.S3OutputPath": _DEBUG,
    "DebugHookConfig.LocalPath": _DEBUG,
    "ProfilerConfig.S3OutputPath": shown("shown by DescribeTrainingJob; jobs are not profiled"),
    "ProfilerConfig.ProfilingIntervalInMilliseconds": shown("as S3OutputPath"),
    "ProfilerConfig.DisableProfiler": shown("as S3OutputPath"),
    "Environment{}": acts("variables of the container"),
}  # fmt: skip


def _list(*sorts: str) -> dict[str, Played]:
    names = ("NameContains", "CreationTimeAfter", "CreationTimeBefore")
    paging = {"NextToken": acts("the next page"), "MaxResults": acts("the size of a page")}
    order = {"SortBy": acts("the order", *sorts), "SortOrder": acts("the direction")}
    return {**{name: acts("chooses from the list") for name in names}, **paging, **order}


def _also() -> dict[str, Played]:
    names = ("LastModifiedTimeAfter", "LastModifiedTimeBefore", "StatusEquals")
    return {name: acts("chooses from the list") for name in names}


_CREATED = ("Name", "CreationTime")
_STATE = (*_CREATED, "Status")
_CAPACITY: Table = {
    "VariantName": acts("the variant that is changed"),
    "DesiredWeight": acts("its share of the requests"),
    "DesiredInstanceCount": acts("counted against the quota; one container stands for all"),
}
_ARN = acts("the resource that has the tags")

CONTROL: dict[str, Members] = {
    operation: Members(table)
    for operation, table in {
        "CreateModel": {
            "ModelName": _NAMED,
            **under("PrimaryContainer", _CONTAINER),
            **under("Containers[]", _CONTAINER),
            "ExecutionRoleArn": _ROLE,
            **_TAGS,
            **_VPC,
            "EnableNetworkIsolation": _NETWORK,
        },
        "CreateEndpointConfig": {
            "EndpointConfigName": _NAMED,
            **under("ProductionVariants[]", _VARIANT),
            **under("ShadowProductionVariants[]", _INSTANCES),
            **_TAGS,
            "KmsKeyId": _KEY,
        },
        "CreateEndpoint": {
            "EndpointName": _NAMED,
            "EndpointConfigName": acts("what runs; it has to be there"),
            **_TAGS,
        },
        "UpdateEndpoint": {
            "EndpointName": _NAMED,
            "EndpointConfigName": acts("what shall run; it has to be there"),
            "RetainAllVariantProperties": acts("weights and counts stay"),
            "ExcludeRetainedVariantProperties[].VariantPropertyType": acts(
                "these do not stay", "DesiredInstanceCount", "DesiredWeight"
            ),
            **under("DeploymentConfig", _ALL_AT_ONCE),
            "RetainDeploymentConfig": acts("each update says its own", False),
        },
        "UpdateEndpointWeightsAndCapacities": {
            "EndpointName": _NAMED,
            **under("DesiredWeightsAndCapacities[]", _CAPACITY),
        },
        "CreateTrainingJob": _JOB,
        "ListModels": _list(*_CREATED),
        "ListEndpointConfigs": _list(*_CREATED),
        "ListEndpoints": {**_list(*_STATE), **_also()},
        "ListTrainingJobs": {**_list(*_STATE), **_also()},
        **{
            f"{verb}{kind}": {f"{kind}Name": _NAMED}
            for kind in ("Model", "EndpointConfig", "Endpoint", "TrainingJob")
            for verb in ("Describe", "Delete")
        },
        "StopTrainingJob": {"TrainingJobName": _NAMED},
        "AddTags": {"ResourceArn": _ARN, **_TAGS},
        "ListTags": {"ResourceArn": _ARN, "NextToken": acts("the next page"), "MaxResults": acts("the size of a page")},
        "DeleteTags": {"ResourceArn": _ARN, "TagKeys": acts("the tags that go")},
    }.items()
}  # fmt: skip
"""The members of the operations of SageMaker."""

_INVOKED: Table = {
    "EndpointName": _NAMED,
    "Body": acts("reaches the container as it is"),
    "ContentType": acts("a header of the container's request"),
    "Accept": acts("a header of the container's request"),
    "CustomAttributes": acts("a header of the container's request"),
    "TargetVariant": acts("the variant that answers"),
    "InferenceId": acts("a header of the container's request; no data are captured"),
    "SessionId": acts("a header of the container's request; the container opens and closes sessions"),
}
RUNTIME: dict[str, Members] = {
    operation: Members(_INVOKED) for operation in ("InvokeEndpoint", "InvokeEndpointWithResponseStream")
}
"""The members of the operations of its runtime."""

_QUOTAS: Table = {
    "ServiceCode": acts("the service; there is none but sagemaker"),
    "NextToken": acts("the next page"),
    "MaxResults": acts("the size of a page"),
}
QUOTAS: dict[str, Members] = {
    operation: Members(_QUOTAS) for operation in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas")
}
"""The members of the operations of Service Quotas."""
