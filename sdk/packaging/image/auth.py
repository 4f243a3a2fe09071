"""Authenticate at a registry: not at all, with Basic, or with a bearer token fetched per scope."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import httpx

from sdk.errors import AuthError, UnavailableError
from sdk.util import foreign
from sdk.util.hosts import on_this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Credentials = tuple[str, str]  # user name, password
_Origin = tuple[str, str, int | None]  # scheme, host, port

IDENTITY_TOKEN = "<token>"  # noqa: S105  the user name under which Docker's helpers give a refresh token
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"]*)"')


class RegistryAuth(httpx.Auth):
    """Authentication by a registry's challenge: Basic directly, Bearer by fetching a token for the scopes of the call.

    Args:
        credentials: Returns user name and password, or ``None``, when needed; an adapter passes its cloud's own.
        scopes: The scopes to request, such as ``repository:churn:pull,push``; each token has all of them, because a
            registry refuses a mount whose token lacks the source.
        http: The client that fetches tokens; it never transfers blobs.
        plain_host: A host that may get our credentials without TLS. For a registry on this machine, the same applies to
            a token service on this machine.
    """

    requires_response_body = True

    def __init__(
        self,
        credentials: Callable[[], Credentials | None],
        scopes: Iterable[str],
        http: httpx.Client,
        *,
        plain_host: str | None = None,
    ) -> None:
        self._credentials = credentials
        self._plain_host = plain_host
        self._scopes = tuple(scopes)
        self._http = http
        self._header: str | None = None
        self._registry: _Origin | None = None

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the last successful credentials; on 401, answer the challenge once.

        Only the registry itself gets credentials, which is the host of the first request: not a host of a redirect, nor
        a host that the registry names for an upload.
        """
        origin = _origin(request.url)
        self._registry = self._registry or origin
        own = origin == self._registry
        if self._header and own:
            request.headers["authorization"] = self._header
        response = yield request
        if response.status_code != 401 or not own or _origin(response.url) != origin:
            return
        response.read()
        self._header = self._answer(response.headers.get("www-authenticate", ""))
        request.headers["authorization"] = self._header
        yield request

    def _answer(self, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return _basic(*self._required())
        if scheme.lower() != "bearer":
            raise AuthError(f"the registry asks for {scheme or 'nothing'!r}, which is not known here", status=401)
        parameters = dict(_PARAMETER.findall(rest))
        return f"Bearer {self._token(parameters)}"

    def _required(self) -> Credentials:
        found = self._credentials()
        if found is None:
            raise AuthError("the registry wants a user name and password", status=401, hint="log in to it first")
        return found

    def _token(self, parameters: dict[str, str]) -> str:
        try:
            realm = httpx.URL(parameters.get("realm", ""))
        except httpx.InvalidURL as error:
            raise AuthError(f"the registry names no token service: {error}", operation="token", status=401) from error
        here = self._registry is not None and on_this_machine(self._registry[1]) and on_this_machine(realm.host)
        if realm.scheme != "https" and realm.host != self._plain_host and not here:
            raise AuthError(f"the token service {realm} is not reached by https", operation="token", status=401)
        user, secret = self._credentials() or ("", "")
        response = self._ask(realm, parameters.get("service", ""), user, secret)
        if response.status_code != 200:
            raise AuthError(
                f"the registry's token service answered {response.status_code}",
                operation="token",
                status=response.status_code,
                hint="check the credentials and the right to pull and push",
            )
        answer = foreign.table(response.content, "the answer of the token service")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise AuthError("the registry's token service sent no token", operation="token", status=200)
        return token

    def _ask(self, realm: httpx.URL, service: str, user: str, secret: str) -> httpx.Response:
        try:
            if user == IDENTITY_TOKEN:
                form = {"grant_type": "refresh_token", "refresh_token": secret, "service": service}
                return self._http.post(realm, data={**form, "scope": " ".join(self._scopes), "client_id": "mlport"})
            auth = httpx.BasicAuth(user, secret) if user else None
            query = httpx.QueryParams({"service": service, "scope": self._scopes})
            return self._http.get(realm.copy_merge_params(query), auth=auth)
        except httpx.HTTPError as error:
            raise UnavailableError(f"lost the connection to {realm.host}: {error}", operation="token") from error


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _origin(url: httpx.URL) -> _Origin:
    return url.scheme, url.host, url.port
