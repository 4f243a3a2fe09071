"""A mini cloud whose containers start nothing: they answer every ping and repeat the headers of every request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk_contract.clouds.app import App, Match, Request, Response, Routes
from sdk_contract.clouds.runners.base import Launch, Runner, Running
from sdk_contract.clouds.server import Server

if TYPE_CHECKING:
    from sdk_contract.clouds.faults import Fault


class Idle(Running):
    """What stands for a container: one that serves goes on, one that works has done its work at once."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address, self._code = name, address, None if address else 0

    def logs(self) -> list[tuple[float, str]]:
        """Nothing."""
        return []

    @property
    def exit_code(self) -> int | None:
        """0 for a job."""
        return self._code

    def stop(self, grace_s: float = 30.0) -> None:
        """End at once."""
        self._code = 0

    def usage(self) -> tuple[float, int]:
        """Nothing."""
        return 0.0, 0


class IdleRunner(Runner):
    """Starts such containers, all behind one server.

    Attributes:
        launches: Everything that was to be run.
        found: The files below ``/opt/ml`` of the last one, when it began.
        leaves: What each leaves below ``/opt/ml``: content by path.
    """

    name = "idle"

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.found: dict[str, bytes] = {}
        self.leaves: dict[str, bytes] = {}
        routes = Routes("container", _refuse)
        routes.add("GET", "/{path:path}", "Ping")(lambda _: Response.of_json({}))
        routes.add("POST", "/{path:path}", "Invoke")(lambda request: Response.of_json(dict(request.headers)))
        self._app = App([routes])
        self._server = Server(self._app).start()

    def start(self, launch: Launch) -> Running:
        """Note what was to be run."""
        self.launches.append(launch)
        if folder := launch.mounts.get("/opt/ml"):
            self.found = {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
            for path, data in self.leaves.items():
                (folder / path).write_bytes(data)
        return Idle(launch.name, self._server.url if launch.port else "")

    def close(self) -> None:
        """End the server."""
        self._server.close()
        self._app.close()

    def alive(self) -> list[str]:
        """Nothing runs."""
        return []


def _refuse(request: Request, match: Match, fault: Fault) -> Response:
    return Response(503)
