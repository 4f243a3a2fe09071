"""All services but SageMaker, by moto: S3, ECR, IAM, STS, Logs, CloudWatch, tagging, autoscaling, secrets.

Moto keeps its state per process; all of it belongs to the mini cloud, which clears it when it is closed.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sdk.errors import ConfigError

from ..app import Match, Request, Response
from .errors import AwsError, render, trouble
from .keys import Credential, Spot, partition_of
from .shapes import check, knows, object_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..faults import Fault
    from .locked import Locked
    from .sigv4 import Signature

ACCOUNT = "123456789012"
REGION = "us-east-1"
_HOSTS = {
    "ecr": "api.ecr.{region}.amazonaws.com",
    "iam": "iam.amazonaws.com",
    "s3": "s3.{region}.amazonaws.com",
    "cloudwatch": "monitoring.{region}.amazonaws.com",
}
_READS = ("Get", "List", "Describe", "Head", "Batch", "Filter", "Start", "Assume", "Search")
_CHANGES = ("BatchDelete", "StartUpload")
_S3 = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject", "HEAD": "HeadObject", "POST": "PostObject"}
_S3_SUBRESOURCES = (
    "tagging", "acl", "policy", "versioning", "location", "lifecycle", "uploads", "encryption", "publicAccessBlock",
)  # fmt: skip

_SCOPE = re.compile(r"/([a-z0-9-]+)/aws4_request")

_owner = threading.Lock()


class Moto:
    """The services that moto emulates, and their state.

    Attributes:
        lock: Held by the thread that changes moto's state.

    Raises:
        ConfigError: Another mini cloud of this process uses moto.
    """

    def __init__(self) -> None:
        stubber = import_module("moto.core.botocore_stubber")
        if not _owner.acquire(blocking=False):
            raise ConfigError("a mini cloud of AWS runs in this process already", hint="close it first")
        self._stubber = stubber.BotocoreStubber()
        self.lock = threading.RLock()
        self.reset()

    def close(self) -> None:
        """Clear moto's state, and allow another mini cloud to use it."""
        self.reset()
        _owner.release()

    def reset(self) -> None:
        """Clear moto's state."""
        for name in _BACKENDS:
            _all(name).reset()

    def backend(self, service: str, spot: Spot) -> Any:
        """Return moto's state of a service in one account and region."""
        return _all(service)[spot.account][partition_of(spot.region) if service in _GLOBAL else spot.region]

    def backends(self, service: str) -> dict[Spot, Any]:
        """Return moto's state of a service in all accounts and regions that were used."""
        accounts = list(_all(service).items())
        return {Spot(account, region): one for account, found in accounts for region, one in list(found.items())}

    def call(self, request: Request, service: str, spot: Spot) -> Response:
        """Return moto's reply to a request."""
        region = spot.region
        host = _HOSTS.get(service, "{service}.{region}.amazonaws.com").format(service=service, region=region)
        query = f"?{request.query_string}" if request.query_string else ""
        headers = import_module("botocore.compat").HTTPHeaders()
        own = {"host": host, _ACCOUNT_HEADER: spot.account}  # these replace what a client may have sent
        for name, value in {**request.headers, **own}.items():
            headers[name] = value
        url = f"https://{host}{request.target}{query}"
        kind = import_module("botocore.awsrequest").AWSPreparedRequest
        made = kind(request.method, url, headers, request.body, stream_output=False)
        with self.lock:
            answer: Any = self._processed(made, service, operation_of(request, service))
        if answer is None:
            return render(AwsError("UnknownOperationException", f"no service at {host}", 404), service)
        status, said, body = answer
        data = body if isinstance(body, bytes) else str(body or "").encode()
        told = {str(name).lower(): str(value) for name, value in dict(said or {}).items()}
        if request.method != "HEAD":
            told.pop("content-length", None)
        told.pop("transfer-encoding", None)
        return Response(int(status), data, told)

    def _processed(self, made: Any, service: str, operation: str) -> Any:
        try:
            return self._stubber.process_request(made)
        except NotImplementedError:
            message = f"This mini cloud does not play {service}:{operation}."
        except Exception as error:  # noqa: BLE001  # moto assumes values that its users never omit
            message = f"This mini cloud does not play {service}:{operation} with these values ({type(error).__name__}: "
            message = f"{message}{error})."
        raise AwsError("NotImplemented" if service == "s3" else "UnknownOperationException", message)

    # --- what our own services need of moto ---------------------------------------------------------------------

    def find_key(self, access_key: str) -> Credential | None:
        """Return the credential of a key that STS or IAM issued, in any account."""
        with self.lock:
            for spot, sts in self.backends("sts").items():
                role = sts.get_assumed_role_from_access_key(access_key)
                if role is not None:
                    until = role.expiration.replace(tzinfo=UTC).timestamp()
                    return Credential(spot.account, str(role.secret_access_key), str(role.session_token), until)
            for spot, iam in self.backends("iam").items():
                for key in (one for user in iam.users.values() for one in user.access_keys):
                    if key.access_key_id == access_key and key.status == "Active":
                        return Credential(spot.account, str(key.secret_access_key))
        return None

    def account_of_bucket(self, bucket: str) -> str | None:
        """Return the account that owns a bucket; ``None`` when the bucket does not exist."""
        with self.lock:
            found = (spot.account for spot, one in self.backends("s3").items() if bucket in one.buckets)
            return next(found, None)

    def region_of_bucket(self, bucket: str) -> str | None:
        """Return the region of a bucket; ``None`` when the bucket does not exist."""
        with self.lock:
            found = (one.buckets[bucket] for one in self.backends("s3").values() if bucket in one.buckets)
            return next((str(one.region_name) for one in found), None)

    def _holder(self, bucket: str) -> Any:
        """Return moto's state of S3 in the account that owns a bucket: bucket names are shared by all accounts.

        Raises:
            KeyError: The bucket does not exist.
        """
        for one in self.backends("s3").values():
            if bucket in one.buckets:
                return one
        raise KeyError(bucket)

    def objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Yield the keys and contents of the objects in a bucket under a prefix.

        Raises:
            KeyError: The bucket does not exist.
        """
        with self.lock:
            s3 = self._holder(bucket)
            keys = sorted(name for name in s3.buckets[bucket].keys if str(name).startswith(prefix))
        for key in keys:
            yield key, s3.get_object(bucket, key).value

    def put_object(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object.

        Raises:
            KeyError: The bucket does not exist.
        """
        with self.lock:
            self._holder(bucket).put_object(bucket, key, data)

    def age_object(self, bucket: str, key: str, seconds: float) -> None:
        """Move the modification time of an object back.

        Raises:
            KeyError: The bucket does not exist.
        """
        with self.lock:
            found = self._holder(bucket).get_object(bucket, key)
            found.last_modified -= timedelta(seconds=seconds)

    def log(self, spot: Spot, group: str, stream: str, lines: list[tuple[float, str]]) -> None:
        """Write lines into a log stream, creating it when needed."""
        logs = self.backend("logs", spot)
        with self.lock:
            if group not in logs.groups:
                logs.create_log_group(group, {})
            if stream not in logs.groups[group].streams:
                logs.create_log_stream(group, stream)
            events = [{"timestamp": int(at * 1000), "message": text or " "} for at, text in lines]
            logs.groups[group].put_log_events(stream, events)


_BACKENDS: tuple[Any, ...] = (
    "s3", "ecr", "iam", "sts", "logs", "cloudwatch", "applicationautoscaling", "resourcegroupstaggingapi",
    "secretsmanager", "kms",
)  # fmt: skip
_ACCOUNT_HEADER = "x-moto-account-id"
_GLOBAL = {"s3", "iam", "sts"}
_NAMES = {"monitoring": "cloudwatch", "tagging": "tagging"}
_MODELS = {"tagging": "resourcegroupstaggingapi", "autoscaling": "application-autoscaling"}


def _all(service: str) -> Any:
    """Return moto's state of a service, by account and region."""
    return import_module("moto.backends").get_backend(service)


def operation_of(request: Request, service: str) -> str:
    """Return the name of an operation of a service that moto emulates."""
    target = request.headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2]
    if service == "s3":
        return _s3_operation(request)
    form = parse_qs(request.body.decode("latin-1")) if request.method == "POST" else {}
    return (form.get("Action") or [request.query.get("Action", "Unknown")])[0]


def _s3_operation(request: Request) -> str:
    bucket, _, key = request.path.strip("/").partition("/")
    if key and request.method == "DELETE" and "uploadId" in request.query:
        return "AbortMultipartUpload"
    for name in _S3_SUBRESOURCES:
        if name in request.query or name in request.query_string.split("&"):
            what = name[:1].upper() + name[1:]
            return f"{request.method.title()}{'Object' if key else 'Bucket'}{what}"
    if key:
        return _S3[request.method]
    if not bucket:
        return "ListBuckets"
    names = {"GET": "ListObjects", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}
    return names.get(request.method, "DeleteObjects")


def changes(operation: str) -> bool:
    """Return whether an operation can change anything."""
    return operation.startswith(_CHANGES) or not operation.startswith(_READS)


class Passed:
    """The services whose requests are passed to moto.

    Args:
        moto: Answers the requests.
        signature: Reads and checks the signature of a request.
        before: Called with service, operation, spot and request, before moto is called; may raise an AwsError.
        after: Called with service, operation, spot, request and moto's reply; returns the reply to send.
        locked: The S3 objects that cannot be deleted.
    """

    def __init__(
        self,
        moto: Moto,
        signature: Callable[[Request], Signature | None],
        *,
        before: Callable[[str, str, Spot, Request], None],
        after: Callable[[str, str, Spot, Request, Response], Response],
        locked: Locked,
    ) -> None:
        self._moto, self._signature, self._locked = moto, signature, locked
        self._before, self._after = before, after

    def find(self, request: Request) -> Match | None:
        """Match every signed request that no other service has claimed."""
        try:
            signature = self._signature(request)
        except AwsError as error:
            return _refused(request, error)
        if signature is None:
            return None
        service = _NAMES.get(signature.service, signature.service)
        operation = operation_of(request, service)
        resource = request.path.strip("/") if service == "s3" else ""

        def handle(request: Request) -> Response:
            try:
                _check_values(request, service, operation)
                self._before(service, operation, signature.spot, request)
                passed, held = self._locked.without(operation, request) if service == "s3" else (request, [])
                answer = self._locked.named(self._moto.call(passed, service, signature.spot), held)
            except AwsError as error:
                return render(error, service)
            return self._after(service, operation, signature.spot, request, answer)

        return Match(service, operation, handle, resource, changes(operation))

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in AWS's format."""
        return trouble(request, match, fault)


def _check_values(request: Request, service: str, operation: str) -> None:
    """Refuse what the model of a service with a JSON protocol does not allow; moto checks few values.

    Raises:
        AwsError: The operation does not exist, or a member has another form.
    """
    if "x-amz-target" not in request.headers:
        return
    model = _MODELS.get(service, service)
    if not knows(model, operation):
        raise AwsError("UnknownOperationException", f"{service} has no operation {operation}.", 404)
    check(model, operation, object_of(request))


def _refused(request: Request, error: AwsError) -> Match:
    """Return a match whose reply refuses a bad signature, in the format of the intended service."""
    found = _SCOPE.search(request.headers.get("authorization", "") or request.query.get("X-Amz-Credential", ""))
    service = found[1] if found else "s3"
    return Match(service, operation_of(request, service), lambda _: render(error, service))


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of an ``s3://`` address."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")
