"""Resources of mlport that are used by endpoints which mlport did not create.

AWS allows deleting a configuration, model or image that an endpoint uses, and then no longer patches the endpoint.
"""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sdk.adapter import Ref
from sdk.errors import AuthError

from ._plan import CONFIG, ENDPOINT, MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from sdk.adapter import Live

    from ._aws import Aws
    from ._images import Images


class Users:
    """All endpoints of the account and region, whether mlport made them or not.

    Args:
        aws: The connection to AWS.
        images: The images that models are made of.
        tagged: Lists the resources that carry the tags of mlport.
    """

    def __init__(self, aws: Aws, images: Images, tagged: Callable[[], Iterable[Live]]) -> None:
        self._aws = aws
        self._images = images
        self._tagged = tagged

    def find(self, known: Collection[Ref]) -> Iterator[tuple[Ref, frozenset[Ref]]]:
        """Yield each endpoint that is neither known nor tagged by mlport, and its resources.

        These are its configurations, models and images. If mlport made all endpoints of an account, this costs one call
        for each hundred of them, and one more for their tags if some are not known.
        """
        pages = self._aws.pages("sagemaker", "list_endpoints", "list")
        every = [Ref(ENDPOINT, str(item["EndpointName"])) for page in pages for item in page["Endpoints"]]
        unknown = [ref for ref in every if ref not in known]
        ours = self._made_by_mlport() if unknown else set[Ref]()
        for ref in unknown:
            if ref not in ours:
                yield ref, frozenset(self._needs(ref.id))

    def _made_by_mlport(self) -> set[Ref]:
        """Return the endpoints that mlport has tagged.

        Tags may be late, or may not be readable: an endpoint without tags is inspected like one of another tool.
        """
        with contextlib.suppress(AuthError):
            return {live.ref for live in self._tagged()}
        return set()

    @cached_property
    def _images_by_version(self) -> dict[str, set[Ref]]:
        found: dict[str, set[Ref]] = {}
        for live in self._images.every():
            for name in (live.id, live.raw):
                found.setdefault(name, set()).add(live.ref)
        return found

    def _needs(self, endpoint: str) -> Iterator[Ref]:
        about = self._aws.find("sagemaker", "describe_endpoint", endpoint, EndpointName=endpoint) or {}
        pending: dict[str, Any] = about.get("PendingDeploymentSummary") or {}
        for config in dict.fromkeys([about.get("EndpointConfigName"), pending.get("EndpointConfigName")]):
            if config:
                yield Ref(CONFIG, str(config))
                yield from self._of_config(str(config))

    def _of_config(self, config: str) -> Iterator[Ref]:
        about = self._aws.find("sagemaker", "describe_endpoint_config", config, EndpointConfigName=config) or {}
        for kind in ("ProductionVariants", "ShadowProductionVariants"):
            for variant in about.get(kind) or ():
                if variant.get("ModelName"):
                    yield Ref(MODEL, str(variant["ModelName"]))
                    yield from self._of_model(str(variant["ModelName"]))

    def _of_model(self, model: str) -> Iterator[Ref]:
        about = self._aws.find("sagemaker", "describe_model", model, ModelName=model) or {}
        containers: list[dict[str, Any]] = [about.get("PrimaryContainer") or {}, *(about.get("Containers") or ())]
        for container in containers:
            yield from self._images_by_version.get(version_of(str(container.get("Image") or "")), ())


def version_of(image: str) -> str:
    """Return the digest or tag at the end of an image's address.

    Example:
        >>> version_of("host:5000/mlport@sha256:1a"), version_of("host:5000/mlport:v1"), version_of("host:5000/mlport")
        ('sha256:1a', 'v1', '')
    """
    name, _, digest = image.partition("@")
    return digest or name.rpartition("/")[2].partition(":")[2]
