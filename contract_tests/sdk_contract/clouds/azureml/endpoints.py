"""Managed online endpoints: states, names, traffic, keys and tokens."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from ..timing import Step
from .answers import ArmRoutes, answer, empty, failure, not_found, system_data, table
from .names import Names
from .online import BUSY, Begun, Endpoint, accept, accepted, hide
from .traffic import check_traffic
from .world import NAME, SIZES, family_of, reserved, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request, Response
    from .world import World

_ENDPOINT_S, _DELETE_S = 60.0, 60.0
_TOKEN_S = 3600


class Endpoints:
    """The endpoints of the workspace.

    Args:
        world: The workspace.
        valid: Checks whether a token is one of this cloud.
        elsewhere: Finds an endpoint of this name in any workspace.
    """

    def __init__(
        self, world: World, valid: Callable[[str], bool], elsewhere: Callable[[str], object | None] = lambda _: None
    ) -> None:
        self.world, self._elsewhere = world, elsewhere
        self.all: Names[Endpoint] = Names()
        self.routes = ArmRoutes("endpoints", valid)
        path = f"{world.place.path}/onlineEndpoints"
        one, add = f"{path}/{{endpoint}}", self.routes.add
        add("GET", path, "ListEndpoints")(self._list)
        add("GET", one, "GetEndpoint")(self._get)
        add("PUT", one, "PutEndpoint")(self._put)
        add("DELETE", one, "DeleteEndpoint")(self._delete)
        add("POST", f"{one}/listKeys", "ListKeys", changing=False)(self._list_keys)
        add("POST", f"{one}/regenerateKeys", "RegenerateKeys")(self._regenerate)
        add("POST", f"{one}/token", "GetEndpointToken", changing=False)(self._token)

    # --- for the cloud

    def used(self) -> dict[str, int]:
        """Return the cores in use, by family of machines; a failed deployment keeps its cores."""
        found: dict[str, int] = {}
        with self.world.lock:
            for endpoint in self.all.values():
                for one in endpoint.deployments.values():
                    size = size_of(one.body["properties"]["instanceType"]) or ""
                    found[family_of(size)] = found.get(family_of(size), 0) + SIZES[size][0] * one.capacity
        return found

    def sweep(self) -> None:
        """Remove the records of deleted resources whose deletion has finished."""
        with self.world.lock:
            for endpoint in list(self.all.values()):
                for one in list(endpoint.deployments.values()):
                    if one.line.final == "Deleted" and one.line.now() == "Deleted":
                        del endpoint.deployments[one.name]
                if endpoint.line.final == "Deleted" and endpoint.line.now() == "Deleted":
                    del self.all[endpoint.name]

    def found(self, request: Request) -> Endpoint | None:
        """Return the endpoint that a request names, unless it is still hidden."""
        self.sweep()
        found = self.all.get(request.params["endpoint"])
        return None if found is None or found.late.hides() else found

    # --- endpoints

    def shown(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return an endpoint as the resource manager shows it."""
        path = f"{self.world.place.path}/onlineEndpoints/{endpoint.name}"
        told = endpoint.body["properties"]
        return {
            **endpoint.body,
            "id": path,
            "name": endpoint.name,
            "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
            "location": self.world.place.region,
            "kind": "Managed",
            "systemData": system_data(endpoint.created, endpoint.modified),
            "properties": {
                "properties": {},
                "mirrorTraffic": {},
                "publicNetworkAccess": "Enabled",
                **told,
                "scoringUri": f"{self.world.url}/score/{endpoint.key}{self._route(endpoint)}",
                "swaggerUri": f"{self.world.url}/score/{endpoint.key}/swagger.json",
                "provisioningState": endpoint.line.show(),
            },
        }

    @staticmethod
    def _route(endpoint: Endpoint) -> str:
        newest = max(endpoint.deployments.values(), key=lambda one: one.created, default=None)
        return str(newest.fleet.routes["scoringRoute"]["path"]) if newest else "/score"

    def _list(self, request: Request) -> Response:
        with self.world.lock:
            self.sweep()
            return answer({"value": [self.shown(one) for one in self.all.values() if not one.late.hides()]})

    def _get(self, request: Request) -> Response:
        with self.world.lock:
            found = self.found(request)
            return answer(self.shown(found)) if found else not_found(request.params["endpoint"])

    def _put(self, request: Request) -> Response:
        body = request.json()
        with self.world.lock:
            self.sweep()
            name = self.all.spelled(request.params["endpoint"])
            known = self.all.get(name)
            refusal = self._refused_endpoint(name, body, known)
            if refusal:
                return refusal
            if known is None:
                return self._created(name, body, request)
            known.body, known.modified = body, time.time()
            final = "Failed" if request.hit_by("fail") else "Succeeded"
            known.line.turn(Step("Updating", _ENDPOINT_S / 4), final=final)
            return accepted(self.world, Begun("oe", known.line, 200, self.shown(known)), request)

    def _refused_endpoint(self, name: str, body: dict[str, Any], known: Endpoint | None) -> Response | None:
        if not NAME.fullmatch(name):
            return failure(
                400, "BadArgument", f"The endpoint name '{name}' is not valid: 3-32 letters, digits and hyphens."
            )
        if reserved(name):
            return failure(400, "ReservedResourceName", f"The resource name '{name}' is a trademark or reserved word.")
        if known is None and (name.lower() in self.world.taken or self._elsewhere(name)):
            return failure(
                409, "NameUnavailable", f"An endpoint with name '{name}' already exists in the region; use another."
            )
        told = table(body.get("properties"))
        if told.get("authMode") not in {"Key", "AMLToken", "AADToken"}:
            return failure(400, "BadArgument", "properties.authMode is not one of Key, AMLToken, AADToken.")
        deployments = known.deployments if known else ()
        return _refused_change(known, body) or check_traffic(
            table(told.get("traffic")), table(told.get("mirrorTraffic")), [*deployments]
        )

    def _created(self, name: str, body: dict[str, Any], request: Request) -> Response:
        final = "Failed" if request.hit_by("fail") else "Succeeded"
        line = self.world.pace.line(Step("Creating", _ENDPOINT_S), final=final)
        made = self.all[name] = Endpoint(name, body, line, suffix=self.world.suffix)
        wanted = table(table(body["properties"]).get("properties")).get("enforce_access_to_default_secret_stores")
        made.reads_connections = wanted == "enabled" or bool(identities(body))
        hide(made.late, request)
        return accepted(self.world, Begun("oe", line, 201, self.shown(made)), request)

    def _delete(self, request: Request) -> Response:
        with self.world.lock:
            self.sweep()
            found = self.all.get(request.params["endpoint"])
            if found is None:
                return empty(204)
            if found.line.now() in BUSY:
                return failure(
                    409, "Conflict", f"The endpoint is {found.line.now()}; another operation is in progress."
                )
            behind = list(found.deployments.values())
            for one in behind:
                one.stop(self.world.grace_s)
            found.line.turn(Step("Deleting", _DELETE_S, lambda: all(one.ended() for one in behind)), final="Deleted")
            return accepted(self.world, Begun("oe", found.line, 202), request)

    # --- keys

    def _list_keys(self, request: Request) -> Response:
        with self.world.lock:
            found = self.found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            if found.body["properties"]["authMode"] != "Key":
                return failure(400, "BadArgument", "The endpoint does not use keys.")
            return answer({"primaryKey": found.keys[0], "secondaryKey": found.keys[1]})

    def _regenerate(self, request: Request) -> Response:
        with self.world.lock:
            found = self.found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            which = 0 if request.json().get("keyType") == "Primary" else 1
            found.keys[which] = secrets.token_urlsafe(24)
            return accept({})

    def _token(self, request: Request) -> Response:
        with self.world.lock:
            found = self.found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            if found.body["properties"]["authMode"] != "AMLToken":
                return failure(400, "BadArgument", "The endpoint does not use tokens.")
            until, token = int(time.time()) + _TOKEN_S, secrets.token_urlsafe(32)
            found.tokens[token] = until
            told = {
                "accessToken": token,
                "expiryTimeUtc": until,
                "refreshAfterTimeUtc": until - 600,
                "tokenType": "Bearer",
            }
            return answer(told)


def identities(body: dict[str, Any]) -> frozenset[str]:
    """Return the user-assigned identities of an endpoint; without any it gets a system-assigned one."""
    return frozenset(str(name).lower() for name in table(table(body.get("identity")).get("userAssignedIdentities")))


def _refused_change(known: Endpoint | None, body: dict[str, Any]) -> Response | None:
    if known is not None and known.line.now() in BUSY:
        return failure(409, "Conflict", f"The endpoint is {known.line.now()}; another operation is in progress.")
    if known is not None and identities(known.body) != identities(body):
        return failure(400, "BadArgument", "identity: that of an endpoint cannot be changed once it is made.")
    return None
