"""The control plane of SageMaker: dispatches each request by its target header to one of the parts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ..app import Match, Request, Response
from .endpoints import Endpoints
from .errors import AwsError, answered, invalid, trouble
from .jobs import Jobs
from .members import CONTROL
from .models import Configs, Models
from .shapes import check, check_played, knows, object_of
from .state import Record, piece, tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..faults import Fault
    from .keys import Spot
    from .sigv4 import Signature
    from .world import World

_TARGET = "SageMaker."
_MOST_TAGS = 50
_NAMES = (
    "EndpointName", "EndpointConfigName", "ModelName", "TrainingJobName", "ResourceArn",
)  # fmt: skip


class Control:
    """The control plane of SageMaker.

    Args:
        world: Shared state.
        signature: Reads and checks the signature of a request.
    """

    def __init__(self, world: World, signature: Callable[[Request], Signature | None]) -> None:
        self._world, self._signature = world, signature
        self.models = Models(world)
        self.configs = Configs(self.models)
        self.endpoints = Endpoints(world, self.models, self.configs)
        self.jobs = Jobs(world)
        self._changes: dict[str, Callable[[Spot, Mapping[str, Any], Fault | None], dict[str, Any]]] = {
            "CreateModel": self.models.create,
            "CreateEndpointConfig": self.configs.create,
            "CreateEndpoint": self.endpoints.create,
            "UpdateEndpoint": self.endpoints.update,
            "UpdateEndpointWeightsAndCapacities": self.endpoints.reweight,
            "DeleteEndpoint": self.endpoints.delete,
            "CreateTrainingJob": self.jobs.create,
        }
        self._others: dict[str, Callable[[Spot, Mapping[str, Any]], dict[str, Any]]] = {
            "DescribeModel": self.models.describe,
            "ListModels": self.models.list,
            "DeleteModel": self.models.delete,
            "DescribeEndpointConfig": self.configs.describe,
            "ListEndpointConfigs": self.configs.list,
            "DeleteEndpointConfig": self.configs.delete,
            "DescribeEndpoint": self.endpoints.describe,
            "ListEndpoints": self.endpoints.list,
            "DescribeTrainingJob": self.jobs.describe,
            "ListTrainingJobs": self.jobs.list,
            "StopTrainingJob": self.jobs.stop,
            "DeleteTrainingJob": self.jobs.delete,
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }

    @property
    def played(self) -> list[str]:
        """The operations that are answered rather than refused by name."""
        return sorted({*self._changes, *self._others})

    # --- as a service -------------------------------------------------------------------------------------------

    def find(self, request: Request) -> Match | None:
        """Match a request for SageMaker's control plane."""
        target = request.headers.get("x-amz-target", "")
        if not target.startswith(_TARGET):
            return None
        operation = target.removeprefix(_TARGET)
        name = ""
        with contextlib.suppress(AwsError):  # the handler reports the same error
            body = object_of(request)
            name = next((str(body[key]) for key in _NAMES if body.get(key)), "")
        changing = not operation.startswith(("Describe", "List", "Search"))
        return Match("sagemaker", operation, self._handle, name, changing, {"operation": operation})

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in the format of JSON 1.1."""
        return trouble(request, match, fault)

    def _handle(self, request: Request) -> Response:
        return answered("sagemaker", self._answer, request)

    def _answer(self, request: Request) -> dict[str, Any]:
        signature = self._signature(request)
        if signature is None:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 400)
        operation = request.params["operation"]
        body = object_of(request)
        if not knows("sagemaker", operation):
            raise AwsError("UnknownOperationException", f"SageMaker has no operation {operation}.", 404)
        if operation not in self._changes and operation not in self._others:
            raise AwsError("UnknownOperationException", f"This mini cloud does not play {operation}.", 404)
        check("sagemaker", operation, body)
        check_played(operation, CONTROL[operation], body)
        with self._world.lock:
            if operation in self._changes:
                return self._changes[operation](signature.spot, body, request.fault)
            return self._others[operation](signature.spot, body)

    # --- tags -----------------------------------------------------------------------------------------------------

    def records(self, spot: Spot | None = None) -> Iterator[Record]:
        """Yield all records, or those of one account and region."""
        yield from self.models.shelf.all(spot)
        yield from self.configs.shelf.all(spot)
        yield from self.endpoints.shelf.all(spot)
        yield from self.jobs.shelf.all(spot)

    def _tagged(self, spot: Spot, arn: str) -> Record:
        for record in self.records(spot):
            if record.arn == arn.lower():
                return record
        raise invalid(f'Could not find resource "{arn}".')

    def _add_tags(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        record = self._tagged(spot, body["ResourceArn"])
        tags = {**record.tags, **tags_of(body)}
        if len(tags) > _MOST_TAGS:
            raise AwsError("ResourceLimitExceeded", f"A resource may have at most {_MOST_TAGS} tags.")
        record.tags = tags
        return {"Tags": _shown(tags)}

    def _list_tags(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        return piece(body, _shown(self._tagged(spot, body["ResourceArn"]).tags), "Tags")

    def _delete_tags(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        record = self._tagged(spot, body["ResourceArn"])
        record.tags = {name: value for name, value in record.tags.items() if name not in body["TagKeys"]}
        return {}


def _shown(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]
