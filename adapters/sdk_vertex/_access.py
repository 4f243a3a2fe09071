"""Addresses of Google's services and the credentials for them, in the cloud or in a mini cloud on this machine."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx

from sdk.adapter import ServiceHost
from sdk.adapter.registry import extra_of
from sdk.errors import ConfigError, SecurityError
from sdk.util import bounded, foreign
from sdk.util.bounded_http import limit_requests
from sdk.util.hosts import in_domain, is_at, is_here, on_this_machine
from sdk.util.waiting import seconds_ahead

from ._errors import PROVIDER, border, from_auth, from_httpx, from_response

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from .options import VertexOptions

MOCK_URL, MOCK_TOKEN = "MLPORT_MOCK_VERTEX_URL", "MLPORT_MOCK_VERTEX_TOKEN"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LIBRARIES = ("google.auth", "google.api_core.exceptions", "requests")
_DOMAIN, _DEDICATED = "googleapis.com", "prediction.vertexai.goog"
_REGISTRIES = ("pkg.dev", "gcr.io")


class Access(httpx.Auth):
    """The access to all of Google's services.

    It is also the :class:`httpx.Auth` of predictions: one token for all services, fetched on first use.

    Args:
        options: Project and region.
        now: The clock of this machine, in Unix seconds.
        transport: Replaces the network, in tests.
    """

    def __init__(
        self, options: VertexOptions, now: Callable[[], float], transport: httpx.BaseTransport | None = None
    ) -> None:
        with extra_of("vertex"):
            for module in _LIBRARIES:
                import_module(module)
        self.options = options
        self.mock = mock_url()
        self._now = now
        self._transport = transport
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._client: httpx.Client | None = None
        self._skew: float | None = None

    # --- addresses --------------------------------------------------------------------------------------------------

    def url(self, service: str) -> str:
        """Return the address of a service such as ``storage``; Vertex AI's own name is ``aiplatform``."""
        if self.mock:
            return self.mock
        regional = f"{self.options.region}-" if service == "aiplatform" else ""
        return f"https://{regional}{service}.googleapis.com"

    @property
    def service_host(self) -> ServiceHost:
        """The host of Vertex AI's calls; official only if it is in Google's domain."""
        url = httpx.URL(self.url("aiplatform"))
        official = in_domain(url.host, _DOMAIN)
        return ServiceHost(url.netloc.decode(), official=official, billed=official)

    @property
    def registry(self) -> str:
        """The host of the image registry, which must be in the region of everything else."""
        return httpx.URL(self.mock).netloc.decode() if self.mock else f"{self.options.region}-docker.pkg.dev"

    # --- credentials ------------------------------------------------------------------------------------------------

    @property
    def credentials(self) -> Any:
        """The Google credentials: the mini cloud's if one is used, else the default credentials of this machine.

        Raises:
            AuthError: No credentials were found.
        """
        with self._lock:
            if self._credentials is None:
                self._credentials = self._find()
            return self._credentials

    def _find(self) -> Any:
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        if self.mock:  # real credentials never go to a mini cloud
            from google.oauth2.credentials import Credentials

            made = Credentials(token=os.environ.get(MOCK_TOKEN) or "none")  # type: ignore[no-untyped-call]
            return with_quota_project(made, self.options.project)
        try:
            library: Any = google.auth
            found = library.default(scopes=[SCOPE], request=_token_request())[0]
            return with_quota_project(found, self.options.project)
        except GoogleAuthError as error:
            raise from_auth(error, "credentials") from error

    def token(self) -> str:
        """Return a token that is valid now.

        Raises:
            AuthError: No token could be fetched.
        """
        credentials = self.credentials
        with self._lock:
            if not credentials.valid:
                self._refresh(credentials)
            return str(credentials.token)

    @staticmethod
    def _refresh(credentials: Any) -> None:
        with border("RefreshToken"):
            credentials.refresh(_token_request())

    def login(self, host: str) -> tuple[str, str] | None:
        """Return user name and password for the image registry; for other registries those of ``docker login``."""
        if host == self.registry or in_domain(host.removesuffix(":443"), *_REGISTRIES):
            return "oauth2accesstoken", self.token()
        from sdk.packaging.image.logins import docker_login

        return docker_login(host)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorize one request; after a 401 repeat it once, with a new token.

        Raises:
            SecurityError: The host of the request, which came from an answer, is not one of Google's.
        """
        self._check_host(str(request.url))
        token = self.token()
        self._sign(request, token)
        response = yield request
        if response.status_code == 401 and not self.mock and self._renew(token):
            self._sign(request, self.token())
            yield request

    def _check_host(self, url: str) -> None:
        """Refuse hosts that are not Google's: answers also name hosts, to call an endpoint or to continue an upload."""
        if is_here(url) if self.mock else is_at(url, _DOMAIN, _DEDICATED):
            return
        raise SecurityError(
            f"{url} is not an address of Google Cloud, so it gets no token",
            provider=PROVIDER,
            operation="verify",
            resource=httpx.URL(url).host,
            hint="find out who answers in Google's name: a proxy, or the name service",
        )

    def _sign(self, request: httpx.Request, token: str) -> None:
        """Add a token to a request, and the project that is billed for the calls of a user."""
        request.headers["authorization"] = f"Bearer {token}"
        if self.credentials.quota_project_id:
            request.headers["x-goog-user-project"] = str(self.credentials.quota_project_id)

    def _renew(self, old: str) -> bool:
        credentials = self.credentials
        with self._lock:
            if credentials.token == old:
                self._refresh(credentials)
            return bool(credentials.token != old)

    # --- requests ---------------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        url: str,
        operation: str,
        *,
        timeout: float,
        resource: str = "",
        ok: tuple[int, ...] = (200,),
        **rest: Any,
    ) -> httpx.Response:
        """Send one request to a service that is called without a client library.

        Args:
            method: The HTTP method, in capitals.
            url: The full URL.
            operation: The name of the call in errors.
            timeout: The timeout in seconds.
            resource: The resource that errors name.
            ok: Statuses that are answers rather than failures.
            **rest: Further arguments of :meth:`httpx.Client.request`.

        Raises:
            PlatformError: The request was refused or not answered.
        """
        try:
            response = self._http().request(method, url, timeout=max(timeout, 0.001), **rest)
        except httpx.HTTPError as error:
            raise from_httpx(error, operation, resource) from error
        self.saw(response.headers)
        if response.status_code not in ok:
            raise from_response(response, operation, resource)
        if response.headers.get("content-type", "").startswith("application/json") and response.content:
            foreign.of_response(response, f"the answer to {operation} {resource}")  # callers can rely on it
        return response

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                trust = not self.mock
                self._client = bounded.client(auth=self, transport=self._transport, trust_env=trust)
            return self._client

    def saw(self, headers: Mapping[str, str]) -> None:
        """Read the platform's clock from the headers of an answer."""
        ahead = seconds_ahead(headers.get("date"), self._now())
        self._skew = self._skew if ahead is None else ahead

    def server_time(self) -> float:
        """Return Unix seconds by the platform's clock, as last seen."""
        return self._now() + (self._skew or 0.0)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def __repr__(self) -> str:
        return f"<Access {PROVIDER} {self.options.project} {self.options.region}>"


def with_quota_project(credentials: Any, project: str) -> Any:
    """Return credentials whose calls are billed to the target's project, unless the user has named another project.

    Without a project Google bills the project of gcloud itself, and most services refuse that. Service accounts belong
    to a project of their own and stay as they are. Source (certain):
    https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds
    """
    from google.auth.external_account_authorized_user import Credentials as Federated
    from google.oauth2.credentials import Credentials

    personal = isinstance(credentials, (Credentials, Federated))
    if personal and not credentials.quota_project_id:
        of_a_user: Any = credentials
        return of_a_user.with_quota_project(project)
    return credentials


def _token_request() -> Any:
    """Return the transport with which Google's library fetches tokens, with limits for its answers."""
    import requests
    from google.auth.transport.requests import Request

    session = requests.Session()
    limit_requests(session, bounded.TOKEN)
    return Request(session)


def mock_url() -> str:
    """Return the URL of the mini cloud to use instead of Google Cloud; empty for none.

    Raises:
        ConfigError: The URL is not on this machine.
    """
    text = os.environ.get(MOCK_URL, "").rstrip("/")
    if text and not on_this_machine(httpx.URL(text).host):
        raise ConfigError(
            f"{MOCK_URL} = {text!r} is not on this machine", hint="unset it, or use what `mlport mock env` prints"
        )
    return text


def unix(moment: Any) -> float | None:
    """Convert a time of Google's libraries, or a time in Google's JSON, to Unix seconds."""
    if not moment:
        return None
    if isinstance(moment, str):
        from datetime import datetime

        return datetime.fromisoformat(moment).timestamp()
    return float(moment.timestamp())


__all__ = ["MOCK_TOKEN", "MOCK_URL", "Access", "mock_url", "unix", "with_quota_project"]
