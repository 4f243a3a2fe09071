"""All workspaces of the mini cloud: each is created when a request first names it, in any subscription and group."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING

from ..app import Match
from .answers import ArmRoutes, answer, failure, table, trouble, unauthorized
from .names import Names, same
from .site import Site
from .world import SIZES, Place, family_of, principal_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..app import Request, Response
    from ..faults import Fault
    from .online import Endpoint
    from .site import Shared

_NAME = r"[A-Za-z0-9._()-]+"
_WORKSPACE = re.compile(
    rf"(?:/history/v1\.0)?/subscriptions/({_NAME})/resourceGroups/({_NAME})"
    rf"/providers/Microsoft\.MachineLearningServices/workspaces/({_NAME})(?:/.*)?",
    re.IGNORECASE,
)
_OPERATION = re.compile(rf"/subscriptions/({_NAME})/.*/mfeOperationsStatus/(.+)", re.IGNORECASE)
_REGION = re.compile(r"[a-z]+[a-z0-9]*")
REGION_HEADER = "x-mlport-region"
_LOG = re.compile(r"/logs/([^/]+)/([^/]+)/.*")


class Sites:
    """The workspaces; one of the services of the cloud.

    Args:
        shared: What all workspaces have in common.
        first: The workspace that exists from the start.
        has_registry: Whether the first one has a container registry from the start.
    """

    def __init__(self, shared: Shared, first: Place, *, has_registry: bool) -> None:
        self._shared, self._region = shared, first.region
        self._lock = threading.RLock()
        self._all: Names[Site] = Names()
        self.first = self._all[first.path] = Site(shared, first, "", self, has_registry=has_registry)
        self._usages = ArmRoutes("arm", shared.valid)
        path = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{region}/usages"
        self._usages.add("GET", path, "ListUsages")(self._quota)
        one = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity"
        self._usages.add("GET", f"{one}/userAssignedIdentities/{{identity}}", "GetIdentity")(_identity)
        self._makes = ArmRoutes("arm", shared.valid)
        groups = "/subscriptions/{subscription}/resourceGroups/{group}/providers"
        one = f"{groups}/Microsoft.MachineLearningServices/workspaces/{{workspace}}"
        self._makes.add("PUT", one, "PutWorkspace")(self._put)

    def all(self) -> list[Site]:
        """Return every workspace."""
        with self._lock:
            return list(self._all.values())

    def at(self, subscription: str, group: str, workspace: str, region: str = "") -> Site:
        """Return a workspace, creating it if needed: in a region, or in that of the first one."""
        place = Place(subscription, group, workspace, region or self._region)
        with self._lock:
            if place.path not in self._all:
                key = hashlib.sha256(place.path.lower().encode()).hexdigest()[:8]
                self._all[place.path] = Site(self._shared, place, key, self, has_registry=True)
            return self._all[place.path]

    def endpoint(self, name: str, region: str = "") -> Endpoint | None:
        """Return an endpoint of any workspace of a region, in which its name is unique."""
        sites = (site for site in self.all() if site.world.place.region == (region or self._region))
        return next((found for site in sites if (found := site.endpoints.all.get(name)) is not None), None)

    # --- as a service

    def find(self, request: Request) -> Match | None:
        """Match a request in the workspace that it names, or that has the resource it names."""
        makes, named = self._makes.find(request), _WORKSPACE.fullmatch(request.path)
        if makes:
            return makes
        if named and not self._shared.admits(request):  # a caller without a token creates nothing
            return Match("arm", "Unauthorized", lambda _: unauthorized())
        if named:
            return self.at(named[1], named[2], named[3], self._wanted(request)).find(request)
        usages = self._usages.find(request)
        if usages:
            return usages
        found = ((site, site.find(request)) for site in self._likely(request.path))
        return next((match for _, match in found if match is not None), None)

    def _likely(self, path: str) -> list[Site]:
        """Sort the workspaces for a path that names none: the one that has its operation or log comes first."""
        log, operation = _LOG.fullmatch(path), _OPERATION.fullmatch(path)

        def knows(site: Site) -> bool:
            if log:
                return log[1] in site.jobs.all and site.jobs.all[log[1]].key == log[2]
            return operation is not None and operation[2] in site.world.operations

        return sorted(self.all(), key=lambda site: not knows(site))

    def _wanted(self, request: Request) -> str:
        """Return the region that a target of mlport names; clients of Azure create a workspace in a region with PUT."""
        wanted = request.headers.get(REGION_HEADER, "")
        return wanted if _REGION.fullmatch(wanted) else ""

    def _put(self, request: Request) -> Response:
        """Create a workspace in a region, as `az ml workspace create` does."""
        params, region = request.params, str(table(request.json()).get("location", "")).lower().replace(" ", "")
        if not _REGION.fullmatch(region):
            return failure(400, "LocationRequired", "The location property is required for this definition.")
        made = self.at(params["subscription"], params["group"], params["workspace"], region)
        if made.world.place.region != region:
            return failure(
                409,
                "InvalidResourceLocation",
                f"The resource '{params['workspace']}' already exists in location '{made.world.place.region}'. A "
                f"resource with the same name cannot be created in location '{region}'.",
            )
        return answer(made.workspace.shown())

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in Azure's format."""
        return trouble(request, match, fault)

    # --- quota, which the workspaces of a subscription share

    def of_subscription(self, subscription: str, region: str) -> Iterator[Site]:
        """Return the workspaces of a subscription in a region."""
        places = ((site, site.world.place) for site in self.all())
        return (site for site, place in places if same(place.subscription, subscription) and place.region == region)

    def used(self, subscription: str, region: str) -> dict[str, int]:
        """Return the cores in use, by family of machines."""
        found: dict[str, int] = {}
        for site in self.of_subscription(subscription, region):
            for family, cores in site.endpoints.used().items():
                found[family] = found.get(family, 0) + cores
        return found

    def _quota(self, request: Request) -> Response:
        region = request.params["region"].lower().replace(" ", "")
        if not _REGION.fullmatch(region):
            return failure(400, "LocationNotAvailableForResourceType", "There is nothing in this region.")
        used = self.used(request.params["subscription"], region)
        rows = [
            {
                "id": f"{request.path}/{family}",
                "type": "Microsoft.MachineLearningServices/usages",
                "unit": "Count",
                "currentValue": used.get(family, 0),
                "limit": self._shared.cores,
                "name": {"value": family, "localizedValue": family},
            }
            for family in sorted({family_of(size) for size in SIZES})
        ]
        return answer({"value": rows})


def _identity(request: Request) -> Response:
    """Return a user-assigned managed identity; every name has one."""
    told = {"principalId": principal_of(request.path), "clientId": principal_of(f"{request.path}/client")}
    return answer({"id": request.path, "name": request.params["identity"], "properties": told})
