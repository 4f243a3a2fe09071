"""Values of secrets: ``cloud:NAME`` is read from Secret Manager, with the user's own credentials.

Vertex AI has no references to secrets, so the value is stored in the environment of the model or job.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sdk.adapter.shared.checks import check_variables
from sdk.config.secrets import CLOUD
from sdk.errors import ConfigError

from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import Materials
    from sdk.util.redact import Redactor

    from ._access import Access

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}(/[A-Za-z0-9_-]{1,63})?")


def check_secrets(names: Mapping[str, str]) -> None:
    """Refuse names that Secret Manager cannot have; only the text is checked.

    Raises:
        ConfigError: Names the secret.
    """
    for name in names.values():
        if name.startswith(CLOUD) and not _NAME.fullmatch(name.removeprefix(CLOUD)):
            raise ConfigError(
                f"secrets: {name} is no name of Secret Manager",
                hint=f"write {CLOUD}NAME, or {CLOUD}NAME/VERSION, of a secret of the target's project",
                provider=PROVIDER,
            )


class Secrets:
    """The secrets of one project.

    Args:
        access: The access to Google's services.
        redactor: Keeps the values from being shown.
    """

    def __init__(self, access: Access, redactor: Redactor) -> None:
        self._access, self._redactor = access, redactor

    def values(self, names: Mapping[str, str], materials: Materials, *, timeout: float) -> dict[str, str]:
        """Return the values of secrets by variable.

        Raises:
            ConfigError: A secret is not available, or is not text.
            NotFoundError: Secret Manager has no secret of this name.
        """
        stored = {variable: name.removeprefix(CLOUD) for variable, name in names.items() if name.startswith(CLOUD)}
        own = {variable: name for variable, name in names.items() if variable not in stored}
        found = {**materials.resolve(own), **{one: self._stored(name, timeout) for one, name in stored.items()}}
        check_variables(found, PROVIDER)  # the values from Secret Manager were not known before
        return found

    def _stored(self, name: str, timeout: float) -> str:
        secret, _, version = name.partition("/")
        project = self._access.options.project
        place = f"projects/{project}/secrets/{quote(secret)}/versions/{quote(version or 'latest')}"
        url = f"{self._access.url('secretmanager')}/v1/{place}:access"
        told: Any = self._access.send("GET", url, "AccessSecretVersion", timeout=timeout, resource=name).json()
        try:
            value = base64.b64decode(told["payload"]["data"]).decode()
        except ValueError:
            raise ConfigError(
                f"secrets: {CLOUD}{name} holds no text", hint="store it as UTF-8", provider=PROVIDER
            ) from None
        self._redactor.add(value)
        return value
