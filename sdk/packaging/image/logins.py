"""Read the user's credentials for a registry where Docker stores them: ``config.json`` and its credential helpers.

Source: https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.errors import AuthError
from sdk.util import foreign

from .auth import IDENTITY_TOKEN

if TYPE_CHECKING:
    from .auth import Credentials

_HELPER = re.compile(r"[A-Za-z0-9_.-]+")
_HUB = "https://index.docker.io/v1/"


def docker_login(host: str) -> Credentials | None:
    """Return the credentials that ``docker login`` stored for a registry; ``None`` if it stored none.

    Raises:
        AuthError: The configured credential helper fails.
    """
    config = _config()
    name = _HUB if host == "docker.io" else host
    helpers: dict[str, str] = config.get("credHelpers") or {}
    helper = helpers.get(host) or config.get("credsStore")
    if helper:
        found = _ask(str(helper), name)
        if found is not None:
            return found
    auths: dict[str, dict[str, str]] = config.get("auths") or {}
    entry = auths.get(name) or auths.get(f"https://{host}") or {}
    if entry.get("identitytoken"):
        return IDENTITY_TOKEN, entry["identitytoken"]
    if not entry.get("auth"):
        return None
    user, sign, password = base64.b64decode(entry["auth"]).decode().partition(":")
    return (user, password) if sign else None


def _config() -> dict[str, Any]:
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        value: dict[str, Any] = foreign.table((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return value


def _ask(helper: str, name: str) -> Credentials | None:
    program = shutil.which(f"docker-credential-{helper}") if _HELPER.fullmatch(helper) else None
    if program is None:
        raise AuthError(
            f"the credential helper {helper!r} is not installed",
            operation="login",
            resource=name,
            hint="install it, or correct credsStore and credHelpers in Docker's config.json",
        )
    done = subprocess.run([program, "get"], input=name, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  the helper that Docker's own configuration names
    if done.returncode:
        if "credentials not found" in done.stdout:
            return None
        said = done.stdout.strip()[:200]
        raise AuthError(f"credential helper {helper!r} failed: {said}", operation="login", resource=name)
    with foreign.understood(f"the answer of the credential helper {helper!r}"):
        answer = json.loads(done.stdout)
        return str(answer["Username"]), str(answer["Secret"])
