"""Secrets by name: a deployment records where to find a value, and only the platform receives the value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ..errors import ConfigError
from ..util import usertext
from ..util.paths import expand
from ..util.redact import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..util.redact import Redactor

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = "file:"
CLOUD = "cloud:"  # prefix of a name in the secret store of the target's platform, which the adapter reads


def secret_names(secrets: Mapping[str, str] | Iterable[str] | None) -> dict[str, str]:
    """Return a mapping from variables of the model's process to the names of their secrets.

    Args:
        secrets: ``{"DB_PASSWORD": "PROD_DB_PASSWORD"}``, or variables that have the same name on both sides, or texts
            like ``"DB_PASSWORD=PROD_DB_PASSWORD"``. A name is a variable of the user's environment,
            ``file:PATH`` for a file that holds the value, or ``cloud:NAME`` for the platform's own secret store.

    Raises:
        ConfigError: A variable's name is not possible in an environment.

    Example:
        >>> secret_names(["DB_PASSWORD", "API_KEY=file:~/.keys/api"])
        {'DB_PASSWORD': 'DB_PASSWORD', 'API_KEY': 'file:~/.keys/api'}
    """
    if not secrets:
        return {}
    if isinstance(secrets, str):
        secrets = [secrets]
    named = cast("Mapping[str, str]", secrets) if isinstance(secrets, Mapping) else dict(map(_pair, secrets))
    found = {variable: name or variable for variable, name in named.items()}
    for variable in found:
        check_variable(variable, field="secrets")
    return found


def _pair(text: str) -> tuple[str, str]:
    variable, _, name = text.partition("=")
    return variable, name


def check_variable(variable: str, *, field: str) -> None:
    """Refuse a text that cannot be the name of an environment variable.

    Raises:
        ConfigError: The name is not valid; the error names the variable and never shows its value.
    """
    if not _VARIABLE.fullmatch(variable):
        raise ConfigError(f"{field}: {variable!r} is not the name of a variable", hint="use letters, digits and _")
    if variable.startswith("MLPORT_"):
        raise ConfigError(f"{field}: {variable} belongs to the server", hint="choose a name without MLPORT_")


def check_env(env: Mapping[str, str] | None) -> dict[str, str]:
    """Check and return the plain variables of a model's process.

    Raises:
        ConfigError: A variable's name is not possible, a value is not a text, or a variable should be a secret.
    """
    for variable, value in (env or {}).items():
        check_variable(variable, field="env")
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise ConfigError(f"env: the value of {variable} is no text", hint="write it as a string")
        if is_secret_name(variable):
            raise ConfigError(
                f"env: {variable} looks like a secret, and env is stored and shown",
                hint=f"pass secrets=[{variable!r}] and set the value in your environment",
            )
    return dict(env or {})


class SecretSource:
    """A source of the values of the user's secrets that registers each value for redaction.

    Args:
        environ: The user's environment.
        redactor: Receives every value that is found.
    """

    def __init__(self, environ: Mapping[str, str], redactor: Redactor) -> None:
        self._environ = environ
        self._redactor = redactor

    def __call__(self, name: str) -> str:
        """Return the value of a secret.

        Raises:
            ConfigError: The secret is not set; the error names the variable or file.
        """
        if name.startswith(CLOUD):
            raise ConfigError(f"secret {name!r}: this target has no secret store", hint="name a variable or a file")
        value = self._from_file(name) if name.startswith(_FILE) else self._environ.get(name)
        if not value:
            what = "is not set in your environment" if value is None else "is empty"
            raise ConfigError(f"secret {name!r} {what}", hint=f"set {name}, or name a file with {_FILE}PATH")
        self._redactor.add(value)
        return value

    def check(self, names: Mapping[str, str]) -> None:
        """Look up all secrets that the user keeps, so that a missing one stops the verb before anything is created."""
        for name in names.values():
            if not name.startswith(CLOUD):
                self(name)

    def _from_file(self, name: str) -> str:
        path = expand(name.removeprefix(_FILE), field="secrets")
        return usertext.read(path, what=f"secret {name!r}").removesuffix("\n").removesuffix("\r")

    def __repr__(self) -> str:
        return "SecretSource()"
