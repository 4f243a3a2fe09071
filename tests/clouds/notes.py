"""A small cloud of two services, to show what the framework does for all of them."""

from sdk_contract.clouds.app import Dropped, Match, Request, Response, Routes
from sdk_contract.clouds.faults import Fault


def refuse(request: Request, match: Match, fault: Fault) -> Response:
    status = fault.status or {"throttle": 429, "unavailable": 503, "denied": 403}[fault.kind]
    return Response.of_json({"code": fault.kind, "operation": match.operation}, status)


class Notes:
    """Keeps notes; the handlers show every way to answer."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.routes = Routes("notes", refuse, prefix="/v1")
        self.routes.add("PUT", "/notes/{note}", "PutNote")(self.put)
        self.routes.add("GET", "/notes/{note}", "GetNote")(self.get)
        self.routes.add("POST", "/notes/{note}:read", "ReadNote", changing=False)(self.read)
        self.routes.add("GET", "/files/{name:path}", "GetFile")(self.file)
        self.routes.add("GET", "/stream", "Stream")(self.stream)
        self.routes.add("GET", "/drop", "Drop")(self.drop)

    def put(self, request: Request) -> Response:
        state = "failed" if request.hit_by("fail") else "done"
        self.kept[request.params["note"]] = request.body
        return Response.of_json({"state": state, "bytes": len(request.body)}, 201)

    def get(self, request: Request) -> Response:
        return Response(200, self.kept[request.params["note"]], {"Content-Type": "text/plain"})

    async def read(self, request: Request) -> Response:
        return Response.of_json({"note": request.params["note"], **request.query, "sent": request.json()})

    def file(self, request: Request) -> Response:
        return Response.of_json({"name": request.params["name"], "target": request.target})

    def stream(self, request: Request) -> Response:
        return Response(200, iter([b"one ", b"two ", b"three"]))

    def drop(self, request: Request) -> Response:
        raise Dropped
