"""The values that identify the account of a live run, and must not appear in a report."""

from __future__ import annotations

import getpass
import os
import platform
from typing import TYPE_CHECKING, Any, cast

from sdk.util.redact import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .life import Life

_HARMLESS = frozenset({"provider", "region", "instance", "resources", "replicas", "ttl"})
_CREDENTIALS = ("AWS_", "AZURE_", "GOOGLE_", "IDENTITY_", "MLPORT_MOCK_", "CLOUDSDK_")
_SHORTEST = 4


def identifying(life: Life, environ: Mapping[str, str] = os.environ) -> set[str]:
    """Return settings, account, names, hosts, and the values of credential variables in the environment."""
    session = life.session
    settings: dict[str, Any] = session.options.model_dump(exclude_defaults=True)
    tables = (*_telling(settings), *_telling(session.adapter.where()))
    given = [value for part in tables for value in _texts(part)]
    variables = [value for name, value in environ.items() if name.startswith(_CREDENTIALS) or is_secret_name(name)]
    own = [life.endpoint, life.job, session.owner, session.target, str(session.state_dir), *_user()]
    found = {*given, *variables, *own, session.adapter.service_host().address}
    public = {life.instance, *_regions(life)}
    # A target called azure would hide a part of azureml, which says nothing about the account.
    return {value for value in found - public if len(value) >= _SHORTEST and value not in session.provider}


def _telling(table: Mapping[str, Any]) -> list[Any]:
    return [value for key, value in table.items() if key not in _HARMLESS]


def _regions(life: Life) -> Iterator[str]:
    yield from _texts({"region": life.session.adapter.where().get("region", "")})


def _user() -> Iterator[str]:
    yield platform.node()
    try:
        yield getpass.getuser()
    except (KeyError, OSError):
        return


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in cast("Any", value).items() for part in pair for text in _texts(part))
    elif isinstance(value, list | tuple):
        yield from (text for inner in cast("Any", value) for text in _texts(inner))
