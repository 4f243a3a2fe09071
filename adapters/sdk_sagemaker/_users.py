"""What endpoints need that mlport did not make.

AWS deletes a configuration, a model or an image that an endpoint uses, and then no longer patches the endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.adapter import Ref

from ._plan import CONFIG, ENDPOINT, MODEL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ._aws import Aws
    from ._images import Images


class Users:
    """All endpoints of the account and region, whoever made them.

    Args:
        aws: The way to AWS.
        images: The images that models are made of.
    """

    def __init__(self, aws: Aws, images: Images) -> None:
        self._aws = aws
        self._images = images

    def find(self, known: Collection[Ref]) -> Iterator[tuple[Ref, frozenset[Ref]]]:
        """Each endpoint that is not known yet, and the configurations, models and images that it needs."""
        tags: dict[str, set[Ref]] = {}
        for live in self._images.every():
            for name in (live.id, live.raw):
                tags.setdefault(name, set()).add(live.ref)
        for page in self._aws.pages("sagemaker", "list_endpoints", "list"):
            for item in page["Endpoints"]:
                ref = Ref(ENDPOINT, str(item["EndpointName"]))
                if ref not in known:
                    yield ref, frozenset(self._needs(ref.id, tags))

    def _needs(self, endpoint: str, tags: Mapping[str, set[Ref]]) -> Iterator[Ref]:
        about = self._aws.find("sagemaker", "describe_endpoint", endpoint, EndpointName=endpoint) or {}
        pending: dict[str, Any] = about.get("PendingDeploymentSummary") or {}
        for config in dict.fromkeys([about.get("EndpointConfigName"), pending.get("EndpointConfigName")]):
            if config:
                yield Ref(CONFIG, str(config))
                yield from self._of_config(str(config), tags)

    def _of_config(self, config: str, tags: Mapping[str, set[Ref]]) -> Iterator[Ref]:
        about = self._aws.find("sagemaker", "describe_endpoint_config", config, EndpointConfigName=config) or {}
        for kind in ("ProductionVariants", "ShadowProductionVariants"):
            for variant in about.get(kind) or ():
                if variant.get("ModelName"):
                    yield Ref(MODEL, str(variant["ModelName"]))
                    yield from self._of_model(str(variant["ModelName"]), tags)

    def _of_model(self, model: str, tags: Mapping[str, set[Ref]]) -> Iterator[Ref]:
        about = self._aws.find("sagemaker", "describe_model", model, ModelName=model) or {}
        containers: list[dict[str, Any]] = [about.get("PrimaryContainer") or {}, *(about.get("Containers") or ())]
        for container in containers:
            yield from tags.get(version_of(str(container.get("Image") or "")), ())


def version_of(image: str) -> str:
    """The digest or tag at the end of an image's address.

    Example:
        >>> version_of("host:5000/mlport@sha256:1a"), version_of("host:5000/mlport:v1"), version_of("host:5000/mlport")
        ('sha256:1a', 'v1', '')
    """
    name, _, digest = image.partition("@")
    return digest or name.rpartition("/")[2].partition(":")[2]
