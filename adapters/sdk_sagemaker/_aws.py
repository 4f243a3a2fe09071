"""The AWS session, clients and account of a target, created on first use; all AWS calls are made here.

If ``MLPORT_MOCK_SAGEMAKER_URL`` is set, all calls go to the mini cloud at that URL, never with real credentials.
"""

from __future__ import annotations

import base64
import functools
import importlib
import importlib.util
import math
import os
import re
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sdk.adapter import ServiceHost
from sdk.adapter.registry import missing_extra
from sdk.adapter.shared import mini_clouds
from sdk.errors import AuthError, ConfigError, NotFoundError
from sdk.util import bounded
from sdk.util.hosts import in_domain
from sdk.util.waiting import seconds_ahead

from ._bounded import limit
from ._defaults import Defaults
from ._errors import PROVIDER, translate
from ._owners import expect_owner, foreign_bucket
from ._sessions import keep_sessions
from .options import MOCK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from sdk.adapter import Clock

    from ._sign import Credentials
    from .options import SagemakerOptions

MOCK_REGION = "us-east-1"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SESSION_S = 12 * 3600
_CONNECT_S = 5
_ATTEMPTS = (
    5  # attempts per request of a file transfer; the core retries all other calls, with one policy for all targets
)
_READ_S = (60, 40, 20, 10, 5, 2, 1)  # a client's read timeout is fixed: there is a client for each of these
Use = Literal["calls", "files", "data"]
_ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role/.+")


class Aws:
    """One AWS account and region, as named by the target's settings.

    Args:
        options: The target's settings.
        clock: Source of time, used until an answer of AWS shows the server's time.
    """

    def __init__(self, options: SagemakerOptions, clock: Clock) -> None:
        if importlib.util.find_spec("boto3") is None:
            raise missing_extra(PROVIDER, "boto3")
        self.options = options
        self.mock = os.environ.get(MOCK) or None
        self._clock = clock
        self._ahead = 0.0  # seconds by which the AWS clock is ahead of the local clock
        self._clients: dict[tuple[str, int, Use], Any] = {}
        self._session: Any = None
        self._addresses: dict[str, str] = {}
        self._lock = threading.RLock()
        self._ends = threading.local()
        self.defaults = Defaults(self)
        if self.mock is not None:
            mini_clouds.tell("sagemaker", self.mock, MOCK)

    # --- settings and addresses

    @property
    def region(self) -> str:
        """The AWS region, from the target's settings, the environment or the AWS profile.

        Raises:
            ConfigError: No region is set.
        """
        found = self.options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not found and self.mock:
            return MOCK_REGION
        if not found:
            with translate("ReadProfile", self.options.profile or "default"):
                found = self._core.get_config_variable("region")
        if not found:
            hint = 'set region = "us-east-1", AWS_REGION, or the region of the profile'
            raise ConfigError("region is not set", hint=hint, provider=PROVIDER)
        return str(found)

    @property
    def role(self) -> str:
        """The role that SageMaker assumes.

        Raises:
            ConfigError: No role is set.
        """
        if self.options.role is None and self.mock:
            return f"arn:aws:iam::{account_of(os.environ.get(_KEYS[0], '')) or '0' * 12}:role/mlport"
        if self.options.role is None:
            raise ConfigError(
                "role is not set", hint='set role = "arn:aws:iam::ACCOUNT:role/NAME" of the target', provider=PROVIDER
            )
        return self.options.role

    @property
    def account(self) -> str:
        """The AWS account that the role belongs to."""
        return self._role_part("account")

    @property
    def bucket(self) -> str:
        """The bucket for data, results and leases."""
        return self.options.bucket or self.defaults.bucket

    @property
    def repository(self) -> str:
        """The repository of images."""
        return self.options.repository or self.defaults.repository

    @property
    def bucket_owner(self) -> str:
        """The account that must own the bucket."""
        return self.options.bucket_owner or self.account

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a SageMaker resource."""
        return f"arn:{self._role_part('partition')}:sagemaker:{self.region}:{self.account}:{kind}/{name}".lower()

    def url(self, endpoint: str) -> str:
        """Return the URL for predictions of an endpoint: on the mini cloud if one is used, otherwise on AWS."""
        return f"{self.mock or self._address('sagemaker-runtime')}/endpoints/{endpoint}/invocations"

    def _address(self, service: str) -> str:
        """Return the address of a service as the AWS library resolves it: partitions, FIPS, overrides."""
        if service not in self._addresses:
            with translate("CreateClient", service):
                self._addresses[service] = str(self.client(service).meta.endpoint_url).rstrip("/")
        return self._addresses[service]

    @property
    def service_host(self) -> ServiceHost:
        """The host of SageMaker's calls; official only if it and the prediction host are in a domain of AWS."""
        if self.mock:  # known without the credentials that a client needs
            return ServiceHost(urlsplit(self.mock).netloc, official=False, billed=False)
        urls = [urlsplit(self._address(service)) for service in ("sagemaker", "sagemaker-runtime")]
        other = next((url for url in urls if not in_domain(url.hostname, *domains())), None)
        return ServiceHost((other or urls[0]).netloc, official=other is None, billed=other is None)

    def _role_part(self, part: str) -> str:
        match = _ROLE.fullmatch(self.role)
        if match is None:
            raise ConfigError(f"role = {self.role!r} is no ARN of a role", provider=PROVIDER)
        return match[part]

    # --- calls

    def call(self, service: str, operation: str, about: str, **params: Any) -> dict[str, Any]:
        """Make one AWS call; ``about`` is the subject that an error names.

        Raises:
            SdkError: AWS refused the call, or the connection to it failed.
        """
        with self.translated(service, _camel(operation), about):
            answer: dict[str, Any] = getattr(self.client(service), operation)(**params)
        self._see_date(answer)
        return answer

    def find(self, service: str, operation: str, about: str, **params: Any) -> dict[str, Any] | None:
        """Make one AWS call; return ``None`` when AWS reports that the resource does not exist."""
        try:
            return self.call(service, operation, about, **params)
        except NotFoundError:
            return None

    def pages(self, service: str, operation: str, about: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Yield all pages of a list call."""
        with self.translated(service, _camel(operation), about):
            pages = iter(self.client(service).get_paginator(operation).paginate(**params))
            for fetching in bounded.turns(f"the list of {_camel(operation)}"):
                with fetching:
                    page = next(pages, None)
                if page is None:
                    return
                self._see_date(page)
                yield page

    @contextmanager
    def translated(self, service: str, operation: str, about: str) -> Generator[None]:
        """Convert errors of AWS calls to mlport errors.

        S3 gives the same answer for a bucket of another account and for a missing permission.

        Raises:
            SecurityError: S3 denied access, so the bucket may not belong to its expected owner.
        """
        try:
            with translate(operation, about):
                yield
        except AuthError as error:
            if service == "s3" and re.search(r"\b(AccessDenied|403)\b", error.message):
                raise foreign_bucket(self.bucket, self.bucket_owner, error) from error
            raise

    @contextmanager
    def within(self, seconds: float) -> Generator[None]:
        """Limit how long calls of this thread inside the ``with`` block wait for an answer."""
        before = getattr(self._ends, "at", math.inf)
        self._ends.at = min(before, self._clock.monotonic() + seconds)
        try:
            yield
        finally:
            self._ends.at = before

    def client(self, service: str, use: Use = "calls") -> Any:
        """Return the client of a service, created on first use.

        Threads can share a botocore client, but creating one is not thread-safe.

        Args:
            service: The library's name of the service.
            use: ``"calls"`` for single calls, which the core retries; ``"files"`` for whole files, whose failed parts
                the library retries; ``"data"`` to look at buckets of user data, which may belong to any account.
        """
        left = getattr(self._ends, "at", math.inf) - self._clock.monotonic()
        patience = next((seconds for seconds in _READ_S if seconds <= left), _READ_S[-1])
        with self._lock:
            key = (service, patience, use)
            if key not in self._clients:
                self._clients[key] = self._new_client(service, patience, use)
            return self._clients[key]

    def elsewhere(self, service: str, region: str) -> Any:
        """Return the client of a service in another region."""
        with self._lock:
            key: tuple[str, int, Use] = (f"{service} {region}", _READ_S[0], "calls")
            if key not in self._clients:
                self._clients[key] = self._new_client(service, _READ_S[0], "calls", region)
            return self._clients[key]

    def _new_client(self, service: str, patience: int, use: Use, region: str | None = None) -> Any:
        config = importlib.import_module("botocore.config").Config(
            connect_timeout=min(_CONNECT_S, patience),
            read_timeout=patience,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS if use == "files" else 1},
            s3={"addressing_style": "path"} if self.mock else None,
            user_agent_extra="mlport",
        )
        client = self.session.client(service, region_name=region or self.region, endpoint_url=self.mock, config=config)
        limit(client, files=service == "s3")
        if service == "s3" and use != "data":
            expect_owner(client, lambda: self.bucket_owner)
        return client

    @property
    def session(self) -> Any:
        """The user's own AWS session; for a mini cloud, a session with the mini cloud's keys for the target's account.

        Raises:
            AuthError: The environment has no keys for the mini cloud.
        """
        with self._lock:
            if self._session is None:
                keys = () if self.mock is None else self._mock_keys(self.mock)
                boto3 = importlib.import_module("boto3")
                self._session = boto3.Session(*keys, region_name=self.region, botocore_session=self._core)
            return self._session

    @functools.cached_property
    def _core(self) -> Any:
        """The botocore session, which reads the AWS configuration files."""
        core = _core_session(self._profile)
        if self.mock is None:
            keep_sessions(core)
        return core

    def _mock_keys(self, url: str) -> tuple[str | None, ...]:
        """Return the mini cloud's keys from the environment.

        Long-term keys of another account are used to assume the target's role.
        """
        given = tuple(os.environ.get(name) or None for name in _KEYS)
        if not all(given[:2]):
            raise AuthError(
                "there are no keys for the mini cloud in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                hint='eval "$(mlport mock env sagemaker)"',
                provider=PROVIDER,
            )
        if given[2] or account_of(str(given[0])) in {None, self.account}:
            return given
        boto3 = importlib.import_module("boto3")
        session = boto3.Session(*given, region_name=self.region, botocore_session=_core_session(None))
        with translate("AssumeRole", self.role), closing(session.client("sts", endpoint_url=url)) as sts:
            told = sts.assume_role(RoleArn=self.role, RoleSessionName="mlport", DurationSeconds=_SESSION_S)
        return tuple(told["Credentials"][name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))

    @staticmethod
    def instance_types(shape: str) -> frozenset[str]:
        """Return the values of a SageMaker enumeration from the library's service description, without a call."""
        model: dict[str, Any] = _descriptions().load_service_model("sagemaker", "service-2")
        return frozenset(model["shapes"][shape]["enum"])

    @property
    def _profile(self) -> str | None:
        return None if self.mock else self.options.profile

    def credentials(self) -> Credentials:
        """Return the keys to sign with, refreshed if they have expired.

        Raises:
            AuthError: No credentials were found.
        """
        with translate("GetCredentials", self.options.profile or "default"):
            found = self.session.get_credentials()
            if found is None:
                raise importlib.import_module("botocore.exceptions").NoCredentialsError
            keys = found.get_frozen_credentials()
        return keys.access_key, keys.secret_key, keys.token

    def server_time(self) -> float:
        """Return Unix seconds by the AWS clock, estimated from the ``Date`` headers of its answers."""
        return self._clock.time() + self._ahead

    def _see_date(self, answer: dict[str, Any]) -> None:
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        ahead = seconds_ahead(date, self._clock.time())
        self._ahead = self._ahead if ahead is None else ahead

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def account_of(access_key: str) -> str | None:
    """Return the account encoded in an access key ID, or ``None`` if it encodes none.

    Source: https://medium.com/@TalBeerySec/a-short-note-on-aws-key-id-f88cc4317489

    Example:
        >>> account_of("ASIAQNZGKIQY56JQ7WML")
        '029608264753'
    """
    try:
        raw = base64.b32decode(access_key[4:].encode("ascii"))
    except ValueError:
        return None
    number = (int.from_bytes(raw[:6]) & 0x7FFFFFFFFF80) >> 7
    return f"{number:012d}" if len(raw) == 10 and raw[0] & 0x80 and number < 10**12 else None


@functools.cache
def _descriptions() -> Any:
    """Return the loader of the library's service descriptions; they are large and slow to parse, so it is shared."""
    return importlib.import_module("botocore.loaders").create_loader()


def _core_session(profile: str | None) -> Any:
    core = importlib.import_module("botocore.session").Session(profile=profile)
    core.register_component("data_loader", _descriptions())
    return core


@functools.cache
def domains() -> frozenset[str]:
    """Return the domains of AWS in all partitions, from the library's own data."""
    partitions = _descriptions().load_data("partitions")["partitions"]
    return frozenset(one["outputs"][key] for one in partitions for key in ("dnsSuffix", "dualStackDnsSuffix"))


def _camel(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))
