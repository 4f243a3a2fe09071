"""The HTTP client of the generator; only this file depends on the library it uses (docs/adr/0010-compare.md).

pyreqwest runs its connections in its own threads outside the interpreter, so an answer costs the loop that follows the
schedule only one wake-up. Redirects, cookies, decompression and retries are off, and so is HTTP/2, which would put all
requests of one target on one connection.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

if TYPE_CHECKING:
    from .messages import Aim, Shot

_IDLE = timedelta(minutes=5)
_CONNECT = timedelta(seconds=10)


class HttpWire:
    """A client that sends requests to one subject over connections that stay open."""

    def __init__(self, aim: Aim) -> None:
        self._url = aim.url
        self._client = _client(aim)

    async def send(self, shot: Shot) -> int:
        """Send one request and read its answer to the end; return the status, 0 when there was no answer."""
        request = self._client.post(self._url).headers(shot.headers).body_bytes(shot.body).build()
        try:
            answer = await request.send()
            await answer.bytes()
        except PyreqwestError:
            return 0
        return answer.status

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _client(aim: Aim) -> Client:
    builder = (
        ClientBuilder()
        .http1_only()
        .tcp_nodelay(enabled=True)
        .timeout(timedelta(seconds=aim.timeout_s))
        .connect_timeout(_CONNECT)
        .pool_idle_timeout(_IDLE)
        .pool_max_idle_per_host(100_000)
        .gzip(enable=False)
        .follow_redirects(enable=False)
    )
    if aim.direct:
        builder = builder.no_proxy()
    if isinstance(aim.verify, str):
        builder = builder.add_root_certificate_pem(aim.verify.encode())
    return builder.build()
