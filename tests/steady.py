"""Clients that ask a hundred times a second and keep every answer, to show that a change loses none."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

PAUSE_S = 0.02  # two clients: a hundred requests a second


class Load(threading.Thread):
    """A client that keeps asking, on one connection or on a new one each time."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        fresh: bool,
        row: tuple[float, ...] = (1.0,),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.tls = tls
        self.address = urlsplit(url)
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self.fresh = fresh
        self.row = row
        self.enough = threading.Event()
        self.answers: list[tuple[int, Any]] = []
        self.broken: list[str] = []

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        due = time.monotonic()
        while not self.enough.wait(max(0.0, due - time.monotonic())):
            due += PAUSE_S
            connection = connection or self._connect()
            try:
                connection.request("POST", self.address.path, json.dumps({"instances": [self.row]}), self.headers)
                response = connection.getresponse()
                told = json.loads(response.read())
                self.answers.append((response.status, told.get("predictions", told)))
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(repr(error))
                connection.close()
                connection = None
            if self.fresh and connection is not None:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        where = str(self.address.hostname), self.address.port
        return http.client.HTTPSConnection(*where, context=self.tls) if self.tls else http.client.HTTPConnection(*where)


def answered(clients: list[Load], more: int = 10) -> None:
    """Wait until every client has had so many more answers (or broken connections)."""
    wanted = [len(client.answers) + len(client.broken) + more for client in clients]
    while any(len(one.answers) + len(one.broken) < count for one, count in zip(clients, wanted, strict=True)):
        time.sleep(PAUSE_S)
