"""Long-running operations, as clients poll them: under ``/v1/`` and, by the REST clients, under ``/ui/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .api import Api
from .errors import Refusal
from .values import integer

if TYPE_CHECKING:
    from ..app import Request
    from .values import Json
    from .world import Operation, World

_PLACE = "/projects/{project}/locations/{location}"


class Operations:
    """The operations of one region of one project.

    Attributes:
        most: How many operations one page of their list examines; pages may hold fewer, or none.
    """

    most = 50

    def __init__(self, world: World) -> None:
        self.world = world
        self.api = self._routes()

    def _routes(self) -> Api:
        api = Api(self.world, "aiplatform")
        for front in ("/v1", "/ui"):
            for holder in ("", "/{table}/{holder}"):
                every = f"{front}{_PLACE}{holder}/operations"
                api.on("GET", every, "ListOperations")(self.every)
                api.on("GET", f"{every}/{{operation}}", "GetOperation")(self.get)
                api.on("POST", f"{every}/{{operation}}:wait", "WaitOperation", changing=False)(self.get)
                api.on("POST", f"{every}/{{operation}}:cancel", "CancelOperation")(self.cancel)
                api.on("DELETE", f"{every}/{{operation}}", "DeleteOperation")(self.forget)
        return api

    def _find(self, request: Request) -> Operation:
        number = request.params["operation"]
        for name, operation in self.world.operations.items():
            if name.rpartition("/")[2] == number:
                return operation
        raise Refusal("NOT_FOUND", f"Operation {number} is not found.")

    def get(self, request: Request) -> Json:
        """Return one operation."""
        operation = self._find(request)
        operation.line.show()
        return operation.shown()

    def every(self, request: Request) -> Json:
        """List the operations of one resource, or all operations."""
        params = request.params
        holder = f"{params['table']}/{params['holder']}/" if "holder" in params else ""
        start = f"{self.world.parent}/{holder}"
        found = [one.shown() for name, one in self.world.operations.items() if name.startswith(start)]
        first = integer(request.query, "pageToken")
        end = first + min(self.most, integer(request.query, "pageSize", self.most))
        page = found[first:end]
        if request.query.get("filter", "").replace(" ", "") == "done=false":
            page = [one for one in page if not one.get("done")]
        return {"operations": page, **({"nextPageToken": str(end)} if end < len(found) else {})}

    def cancel(self, request: Request) -> Json:
        """Do nothing: the platform does not promise to cancel, and neither does this cloud."""
        self._find(request)
        return {}

    def forget(self, request: Request) -> Json:
        """Delete the record of an operation that is over."""
        operation = self._find(request)
        if not operation.done:
            raise Refusal("FAILED_PRECONDITION", f"Operation {operation.name} is not done.")
        del self.world.operations[operation.name]
        return {}
