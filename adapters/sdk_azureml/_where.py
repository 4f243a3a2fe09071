"""The Azure to use, the public cloud or a mini cloud on this machine, and its tokens."""

from __future__ import annotations

import logging
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from sdk.adapter import ServiceHost
from sdk.adapter.registry import extra_of
from sdk.adapter.shared import mini_clouds
from sdk.errors import AuthError, ConfigError, SecurityError, UnavailableError
from sdk.util import bounded, foreign
from sdk.util.certificates import authorities
from sdk.util.hosts import is_at, is_here, on_this_machine

from ._errors import PROVIDER, from_answer, from_transport

if TYPE_CHECKING:
    from sdk.adapter import Clock

    from .options import AzureMLOptions

MOCK_URL = "MLPORT_MOCK_AZUREML_URL"
_PUBLIC = "https://management.azure.com"
_IN_EARNEST = re.compile(r"(?i)authentication failed|certificate|AADSTS|proxy")
_STORAGE = "core.windows.net"
MANAGEMENT, HISTORY, SCORING = "management.azure.com", "azureml.ms", "ml.azure.com"
OLD_HISTORY = "azureml.net"  # for workspaces of older regions
STORAGE_SCOPE = "https://storage.azure.com/.default"
ML_SCOPE = "https://ml.azure.com/.default"
_EARLY_S = 300.0  # a token is renewed this long before it expires


@dataclass(frozen=True, slots=True)
class Place:
    """The address of an Azure: the public cloud, or a mini cloud.

    Args:
        arm: Address of the resource manager, without a trailing slash.
        storage: Domain of storage accounts.
        ca: File of the certificate authority to trust; ``None`` for the system's.
        region: The workspace's region in the settings; a mini cloud creates the workspace there.
    """

    arm: str
    storage: str = _STORAGE
    ca: str | None = None
    region: str | None = None

    @property
    def mini(self) -> bool:
        """Whether it is a mini cloud on this machine."""
        return on_this_machine(httpx.URL(self.arm).host)

    @property
    def identity_header(self) -> str:
        """The header for a mini cloud's identity endpoint, from the environment or a file next to its authority's.

        Raises:
            AuthError: The header is in neither place.
        """
        if os.environ.get("IDENTITY_ENDPOINT", "").startswith(f"{self.arm}/"):
            return os.environ.get("IDENTITY_HEADER", "")
        beside = Path(self.ca).with_name("identity-header") if self.ca else None
        try:
            return beside.read_text("utf-8") if beside else ""
        except OSError as error:
            raise AuthError(
                f"no credential for the mini cloud at {self.arm}: {beside}: {error.strerror}",
                provider=PROVIDER,
                operation="token",
                hint='eval "$(mlport mock env azureml)"',
            ) from error

    @property
    def service_host(self) -> ServiceHost:
        """The host of the resource manager, which is official only at Azure's own address."""
        official = self.arm == _PUBLIC
        return ServiceHost(httpx.URL(self.arm).netloc.decode(), official=official, billed=official)

    def check(self, what: str, url: str, *domains: str) -> str:
        """Return an address from Azure if it is in one of these domains; for a mini cloud, if it is on this machine.

        Raises:
            SecurityError: The address is elsewhere, so nothing may be sent there.
        """
        if is_here(url) if self.mini else is_at(url, *domains):
            return url
        raise SecurityError(
            f"{what} is reported to be at {url!r}, which is not one of Azure's addresses; nothing was sent there",
            provider=PROVIDER,
            operation="verify",
            resource=what,
            hint="find out who changed the workspace, or answers in Azure's name: az ml workspace show",
        )

    def client(self, transport: httpx.BaseTransport | None) -> httpx.Client:
        """Return a connection pool for this Azure; for a mini cloud, without the proxy of the environment."""
        import ssl

        verify = ssl.create_default_context(cafile=self.ca) if self.ca else authorities()
        headers = {"x-mlport-region": self.region} if self.mini and self.region else None
        return bounded.client(verify=verify, transport=transport, trust_env=not self.mini, headers=headers)


def place_of(options: AzureMLOptions) -> Place:
    """Return the Azure that the settings and the environment select; the use of a mini cloud is reported once.

    Raises:
        ConfigError: The address is neither Azure's nor on this machine.
    """
    url = (options.endpoint or os.environ.get(MOCK_URL) or _PUBLIC).rstrip("/")
    place = Place(url, ca=options.ca or os.environ.get("SSL_CERT_FILE"), region=options.region)
    if url == _PUBLIC:
        return Place(url, ca=options.ca)
    if not place.mini:
        raise ConfigError(
            f"endpoint = {url!r} is no mini cloud of this machine", hint="leave endpoint out to reach Azure itself"
        )
    if options.endpoint is None:
        mini_clouds.tell("azureml", url, MOCK_URL)
    return place


class Credential(Protocol):
    """The interface of a credential of ``azure-identity``."""

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        """Return a token with ``token`` and ``expires_on``."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the Unix time at which it expires."""

    token: str
    expires_on: int


class MiniCredential:
    """The managed identity of every machine in a mini cloud, requested in the same way as on a virtual machine."""

    def __init__(self, place: Place, http: httpx.Client) -> None:
        self._place, self._http = place, http

    def get_token(self, *scopes: str, **_: Any) -> Token:
        """Return a token for the first scope."""
        resource = scopes[0].removesuffix("/.default")
        url, header = f"{self._place.arm}/msi/token", {"X-IDENTITY-HEADER": self._place.identity_header}
        try:
            response = self._http.get(url, params={"resource": resource}, headers=header, timeout=30)
        except httpx.TransportError as error:
            raise from_transport(error, "token") from error
        if not response.is_success:
            raise from_answer(response, "token", resource)
        with foreign.understood("the token"):
            found = foreign.of_response(response, "the token")
            return Token(found["access_token"], int(found["expires_on"]))


class Tokens:
    """Tokens by scope, cached until shortly before they expire; shared by all threads.

    Args:
        place: The Azure to use.
        http: The connections to it.
        clock: Source of time.
    """

    def __init__(self, place: Place, http: httpx.Client, clock: Clock) -> None:
        self._place, self._http, self._clock = place, http, clock
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._known: dict[str, Token] = {}

    @property
    def arm(self) -> str:
        """The token for the resource manager."""
        return self.get(f"{self._place.arm}/.default")

    def get(self, scope: str, *, fresh: bool = False) -> str:
        """Return a token for a scope; ``fresh`` if the last one was refused.

        Raises:
            AuthError: No identity is signed in.
        """
        with self._lock:
            known = self._known.get(scope)
            if fresh or known is None or known.expires_on - _EARLY_S <= self._clock.time():
                known = self._known[scope] = self._ask(scope)
            return known.token

    def close(self) -> None:
        """Close the connections of the credential; the next token opens new ones."""
        with self._lock:
            if self._credential is not None:
                self._credential.close()
                self._credential = None

    def _ask(self, scope: str) -> Token:
        if self._place.mini:
            return MiniCredential(self._place, self._http).get_token(scope)
        self._credential = self._credential or _own_credential()
        return _from_azure(self._credential, scope)


def _own_credential() -> Credential:
    """Return the credential chain of Azure's tools: environment, workload, managed identity, command line.

    Raises:
        MissingExtraError: The library ``azure-identity`` is not installed.
    """
    with extra_of(PROVIDER):
        from azure.identity import DefaultAzureCredential

    logging.getLogger("azure.identity").addHandler(logging.NullHandler())  # our error has the reason; no log on stderr
    return DefaultAzureCredential()


def _from_azure(credential: Credential, scope: str) -> Token:
    from azure.core.exceptions import AzureError, ClientAuthenticationError

    try:
        found = credential.get_token(scope)
    except ClientAuthenticationError as error:
        raise AuthError(
            f"no token for {scope}: {_reason(error.message)}",
            provider=PROVIDER,
            operation="token",
            hint="sign in with `az login`",
        ) from error
    except AzureError as error:  # the directory could not be reached
        raise UnavailableError(
            f"no token for {scope}: {_reason(error.message)}", sent=False, provider=PROVIDER, operation="token"
        ) from error
    return Token(found.token, int(found.expires_on))


def _reason(message: str) -> str:
    r"""Return the first line and the messages of credentials that really failed; the others are not set up here.

    Example:
        >>> _reason("All failed.\nA: not found on path\nB: Authentication failed: certificate verify failed")
        'All failed. B: Authentication failed: certificate verify failed'
    """
    first, *tried = [line.strip() for line in message.splitlines() if line.strip()] or [""]
    return " ".join([first, *(line for line in tried if _IN_EARNEST.search(line))])
