"""Everything of SageMaker's that carries our tag, also what was made just now.

The service that finds things by their tags may be hours behind (https://github.com/boto/boto3/issues/3341), and what it
does not name would look as if nothing used its image and data. What is young is therefore asked of SageMaker itself.
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

YOUNG_S = 24 * 3600.0  # by then the tags are known
_KINDS = {"endpoint": ENDPOINT, "endpoint-config": CONFIG, "model": MODEL, "training-job": JOB}
_LISTS = {
    "model": ("list_models", "Models", "ModelName"),
    "endpoint-config": ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
    "endpoint": ("list_endpoints", "Endpoints", "EndpointName"),
    "training-job": ("list_training_jobs", "TrainingJobSummaries", "TrainingJobName"),
}


def every(aws: Aws) -> Iterator[Live]:
    """All of them, each once."""
    names = {kind: name for name, kind in _KINDS.items()}
    known: set[tuple[str, str]] = set()
    for live in indexed(aws):
        known.add((names[live.kind], live.id.lower()))
        yield live
    for kind in _LISTS:
        with contextlib.suppress(AuthError):  # verbs also work for those who may not list everything
            yield from _young(aws, kind, known)


def indexed(aws: Aws) -> Iterator[Live]:
    """Those that the service knows which finds things by their tags."""
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
