"""Lists all SageMaker resources with mlport's tag, including very recent ones.

The tagging service may lag by hours (https://github.com/boto/boto3/issues/3341). The image and data of a resource that
it does not list yet would seem unused. Recent resources are therefore read from SageMaker itself.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels, Live
from sdk.errors import AuthError

from ._bodies import from_tags
from ._plan import CONFIG, ENDPOINT, JOB, MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._aws import Aws

YOUNG_S = 24 * 3600.0  # after this time the tagging service knows the tags
_KINDS = {"endpoint": ENDPOINT, "endpoint-config": CONFIG, "model": MODEL, "training-job": JOB}
_LISTS = {
    "model": ("list_models", "Models", "ModelName"),
    "endpoint-config": ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
    "endpoint": ("list_endpoints", "Endpoints", "EndpointName"),
    "training-job": ("list_training_jobs", "TrainingJobSummaries", "TrainingJobName"),
}


def every(aws: Aws) -> Iterator[Live]:
    """Yield all tagged resources, each once."""
    names = {kind: name for name, kind in _KINDS.items()}
    known: set[tuple[str, str]] = set()
    for live in indexed(aws):
        known.add((names[live.kind], live.id.lower()))
        yield live
    for kind in _LISTS:
        with contextlib.suppress(AuthError):  # verbs also work for users who may not list everything
            yield from _young(aws, kind, known)


def indexed(aws: Aws) -> Iterator[Live]:
    """Yield the resources that AWS's tagging service knows."""
    query = {
        "TagFilters": [{"Key": "mlport", "Values": ["1"]}],
        "ResourceTypeFilters": [f"sagemaker:{kind}" for kind in _KINDS],
    }
    for page in aws.pages("resourcegroupstaggingapi", "get_resources", "list", **query):
        for item in page["ResourceTagMappingList"]:
            kind, _, name = str(item["ResourceARN"]).rpartition(":")[2].partition("/")
            if kind in _KINDS:
                yield _live(kind, name, from_tags(item["Tags"]))


def _young(aws: Aws, kind: str, known: set[tuple[str, str]]) -> Iterator[Live]:
    operation, key, name_key = _LISTS[kind]
    after = datetime.fromtimestamp(aws.server_time() - YOUNG_S, UTC)
    for page in aws.pages("sagemaker", operation, "list", CreationTimeAfter=after):
        for item in page[key]:
            name = str(item[name_key])
            if (kind, name.lower()) in known:
                continue
            about = aws.find("sagemaker", "list_tags", name, ResourceArn=aws.arn(kind, name))
            if about is not None and from_tags(about["Tags"]).get("mlport") == "1":
                yield _live(kind, name, from_tags(about["Tags"]))


def _live(kind: str, name: str, tags: Mapping[str, Any]) -> Live:
    return Live(_KINDS[kind], name, "ready", labels=Labels.from_tags(tags), usd_per_hour=None)
