"""Bearer tokens of an engine's gateways: each is in its gateway's volume and is read when the gateway starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.adapter.shared import tokens
from sdk.errors import PlatformError

from ._containers import NOBODY, RUN
from ._engine import pack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._engine import Host


class Tokens:
    """The tokens that clients must send to each gateway.

    Args:
        host: The engine.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, str] = {}

    def of(self, gateway: Mapping[str, Any]) -> str:
        """Return the token of a gateway's container; empty if the token is damaged.

        Raises:
            NotFoundError: The container has no token, as when it is not complete yet or is being removed.
        """
        container = str(gateway["Id"])
        if container not in self._known:
            token = tokens.sound(self._host.file(container, f"{RUN}/token"))
            if not token:
                return ""
            self._known[container] = token
        return self._known[container]

    def mend(self, gateway: Mapping[str, Any], timeout: float) -> bool:
        """Replace a damaged token and restart the gateway, so that it reads the new one.

        Returns:
            Whether a token was replaced. A container that cannot be read or written is left as it is.
        """
        try:
            if self.of(gateway):
                return False
            self._host.put(gateway["Id"], RUN, pack({"token": tokens.new_token()}, NOBODY), timeout)
            self._host.restart(gateway["Id"], timeout)
        except PlatformError:
            return False
        return True
