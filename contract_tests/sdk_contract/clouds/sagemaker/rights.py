"""Which IAM actions each call needs, and the refusal of a caller who lacks one.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

from ..app import Match, Request, Response
from ..guard import Guard, Need, fits
from ..registry import refusal as registry_refusal
from .errors import AwsError, render, request_id, trouble
from .keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..faults import Fault
    from .keys import Spot

Policy = dict[str, Any]

_KINDS = (  # member of a request, and the resource that it names
    ("EndpointName", "endpoint"),
    ("EndpointConfigName", "endpoint-config"),
    ("ModelName", "model"),
    ("TrainingJobName", "training-job"),
)
_BUCKET_ACTIONS = {
    "HeadBucket": "ListBucket", "ListObjects": "ListBucket", "GetBucketUploads": "ListBucketMultipartUploads",
    "CreateBucket": "CreateBucket", "PutBucketTagging": "PutBucketTagging", "DeleteBucket": "DeleteBucket",
}  # fmt: skip
_OBJECT_ACTIONS = {
    "HeadObject": "GetObject", "PostObject": "PutObject", "PostObjectUploads": "PutObject",
    "DeleteObjects": "DeleteObject",
}  # fmt: skip
_REGISTRY = {
    "HeadBlob": ("BatchCheckLayerAvailability", "GetDownloadUrlForLayer"),
    "GetBlob": ("GetDownloadUrlForLayer",),
    "GetManifest": ("BatchGetImage",),
    "HeadManifest": ("BatchGetImage",),
    "StartUpload": ("InitiateLayerUpload",),
    "UploadChunk": ("UploadLayerPart",),
    "FinishUpload": ("UploadLayerPart", "CompleteLayerUpload"),
    "PutManifest": ("PutImage",),
    "DeleteManifest": ("BatchDeleteImage",),
}
_ALARMS = {
    "PutScalingPolicy": "PutMetricAlarm",
    "DeleteScalingPolicy": "DeleteAlarms",
    "DescribeScalingPolicies": "DescribeAlarms",
}
_LINKED_ROLE = (
    "role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
_WITHOUT = {("sts", "GetCallerIdentity")}
_PREFIXES = {"sagemaker-runtime": "sagemaker", "tagging": "tag"}


class Rights(Guard[Policy]):
    """The policies of the calling identity.

    Args:
        spot_of: Returns the account and region in which a request is made; ``None`` for one without valid credentials.
    """

    def __init__(self, spot_of: Callable[[Request, Match], Spot | None]) -> None:
        super().__init__()
        self._spot_of = spot_of

    def needs_of(self, request: Request, match: Match) -> Sequence[Need]:
        """Return the actions that a call needs, according to the service authorization reference."""
        spot = self._spot_of(request, match)
        if spot is None or (match.service, match.operation) in _WITHOUT:
            return ()
        place = _Place(spot, request, match)
        services: dict[str, Callable[[], Iterator[Need]]] = {
            "sagemaker": place.sagemaker,
            "sagemaker-runtime": place.invocation,
            "registry": place.registry,
            "s3": place.s3,
            "ecr": place.ecr,
            "logs": place.logs,
            "application-autoscaling": place.scaling,
            "iam": place.iam,
            "secretsmanager": place.secrets,
        }
        return list(services.get(match.service, place.other)())

    def allows(self, policy: Policy, need: Need) -> bool:
        """Return whether a statement allows the action and none denies it."""
        effects = [one["Effect"] for one in policy["Statement"] if _applies(one, need)]
        return "Allow" in effects and "Deny" not in effects

    def refusal(self, request: Request, match: Match, need: Need) -> Response:
        """Return the service's refusal."""
        spot = self._spot_of(request, match)
        account = spot.account if spot else ""
        text = (
            f"User: arn:aws:iam::{account}:user/mlport is not authorized to perform: {need.action} on resource: "
            f"{need.resource} because no identity-based policy allows the {need.action} action"
        )
        if match.service == "registry":
            return registry_refusal("DENIED", text, status=403)
        plain = match.service in {"s3", "iam", "sts"}
        code = "AccessDenied" if plain else "AccessDeniedException"
        return render(
            AwsError(code, text, 403 if plain or match.service == "sagemaker-runtime" else 400), match.service
        )


def _applies(statement: Mapping[str, Any], need: Need) -> bool:
    context = dict(need.context)
    wanted: dict[str, str] = statement.get("Condition", {}).get("StringEquals", {})
    return (
        any(fits(one.lower(), need.action.lower()) for one in _listed(statement["Action"]))
        and any(fits(one, need.resource) for one in _listed(statement["Resource"]))
        and all(context.get(key) == value for key, value in wanted.items())
    )


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else cast("list[str]", value)


def needed_for_image(spot: Spot, repository: str) -> list[Need]:
    """Return what a role needs so that its containers can pull their image."""
    arn = f"arn:{partition_of(spot.region)}:ecr:{spot.region}:{spot.account}:repository/{repository}"
    images = ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
    return [Need("ecr:GetAuthorizationToken", "*"), *(Need(f"ecr:{one}", arn) for one in images)]


def needed_for_objects(spot: Spot, uri: str, action: str) -> list[Need]:
    """Return what a role needs to read (``GetObject``) or write (``PutObject``) objects under an address in S3."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    arn = f"arn:{partition_of(spot.region)}:s3:::{bucket}"
    listed = [Need("s3:ListBucket", arn)] if action == "GetObject" else []
    return [*listed, Need(f"s3:{action}", f"{arn}/{key}")]


def needed_for_logs(spot: Spot, group: str, stream: str) -> list[Need]:
    """Return what a role needs so that the output of its containers is stored."""
    arn = f"arn:{partition_of(spot.region)}:logs:{spot.region}:{spot.account}:log-group:{group}:log-stream:{stream}"
    actions = ("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents")
    return [Need(f"logs:{one}", arn) for one in actions]


class _Place:
    """The rights of one request in an account and region."""

    def __init__(self, spot: Spot, request: Request, match: Match) -> None:
        self.spot, self.request, self.match = spot, request, match
        prefix = _PREFIXES.get(match.service, match.service)
        self.action = f"{prefix}:{match.operation}"

    def _arn(self, service: str, rest: str) -> str:
        region, account = ("", self.spot.account) if service == "iam" else (self.spot.region, self.spot.account)
        return f"arn:{partition_of(self.spot.region)}:{service}:{region}:{account}:{rest}"

    def _body(self) -> dict[str, Any]:
        try:
            found = self.request.json()
        except ValueError:
            return {}
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def other(self) -> Iterator[Need]:
        """Yield the action of a service without resources."""
        yield Need(self.action, "*")

    def sagemaker(self) -> Iterator[Need]:
        """Yield the actions on resources named in the request; tags and roles need actions of their own."""
        body = self._body()
        named = [self._arn("sagemaker", f"{kind}/{body[key]}") for key, kind in _KINDS if body.get(key)]
        arns = [str(body["ResourceArn"])] if "ResourceArn" in body else named
        listed = self.match.operation.startswith("List") and self.match.operation != "ListTags"
        for arn in ["*"] if listed else arns:
            yield Need(self.action, arn)
        if body.get("Tags") and self.match.operation != "AddTags":
            yield Need("sagemaker:AddTags", arns[0])
        for key in ("ExecutionRoleArn", "RoleArn"):
            if body.get(key):
                yield Need("iam:PassRole", str(body[key]), (("iam:PassedToService", "sagemaker.amazonaws.com"),))
        if body.get("KmsKeyId"):
            yield Need("kms:CreateGrant", str(body["KmsKeyId"]))
            yield Need("kms:DescribeKey", str(body["KmsKeyId"]))

    def invocation(self) -> Iterator[Need]:
        """Yield the action of a prediction."""
        yield Need(f"sagemaker:{self.match.operation}", self._arn("sagemaker", f"endpoint/{self.match.params['name']}"))

    def registry(self) -> Iterator[Need]:
        """Yield the ECR actions that a request to the registry stands for."""
        name = self.match.params.get("name") or ""
        for action in _REGISTRY.get(self.match.operation, ()):
            yield Need(f"ecr:{action}", self._arn("ecr", f"repository/{name}"))

    def ecr(self) -> Iterator[Need]:
        """Yield the actions of a call of ECR itself."""
        body = self._body()
        names = [body["repositoryName"]] if body.get("repositoryName") else body.get("repositoryNames") or []
        for arn in [self._arn("ecr", f"repository/{name}") for name in names] or ["*"]:
            yield Need(self.action, arn)
            if body.get("tags"):
                yield Need("ecr:TagResource", arn)

    def s3(self) -> Iterator[Need]:
        """Yield the actions of an S3 request, whose names differ from those of the operations."""
        bucket, _, key = self.request.path.strip("/").partition("/")
        operation, arn = self.match.operation, f"arn:{partition_of(self.spot.region)}:s3:::{bucket}"
        if operation in _BUCKET_ACTIONS:
            yield Need(f"s3:{_BUCKET_ACTIONS[operation]}", arn)
        elif operation == "DeleteObjects":
            text = self.request.body.decode("utf-8", "replace")
            for part in text.split("<Key>")[1:]:
                yield Need("s3:DeleteObject", f"{arn}/{part.partition('</Key>')[0]}")
        else:
            yield Need(f"s3:{_OBJECT_ACTIONS.get(operation, operation)}", f"{arn}/{key}" if key else arn)

    def logs(self) -> Iterator[Need]:
        """Yield the action of a request to CloudWatch Logs."""
        body = self._body()
        name = body.get("logGroupName", "")
        yield Need(self.action, self._arn("logs", f"log-group:{name}:log-stream:{body.get('logStreamName', '')}"))

    def scaling(self) -> Iterator[Need]:
        """Yield the actions of a scaling call, which makes alarms as the caller, and its role once per account."""
        body, operation = self._body(), self.match.operation
        name = str(body.get("ResourceId", ""))
        reads = operation.startswith("Describe")
        yield Need(self.action, "*" if reads else self._arn("application-autoscaling", f"scalable-target/{name}"))
        if operation in _ALARMS:
            alarm = self._arn("cloudwatch", f"alarm:TargetTracking-{name}-AlarmHigh")
            yield Need(f"cloudwatch:{_ALARMS[operation]}", "*" if reads else alarm)
        if operation == "RegisterScalableTarget":
            yield Need("iam:CreateServiceLinkedRole", self._arn("iam", _LINKED_ROLE))

    def iam(self) -> Iterator[Need]:
        """Yield the action of a call on roles and policies."""
        form = _form(self.request)
        name = form.get("PolicySourceArn") or self._arn("iam", f"role/{form.get('RoleName', '')}")
        yield Need(self.action, name)

    def secrets(self) -> Iterator[Need]:
        """Yield the action of a call on a secret, whose ARN has a random suffix."""
        yield Need(self.action, self._arn("secretsmanager", f"secret:{self._body().get('SecretId', '')}-a1B2c3"))


def _form(request: Request) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(request.body.decode("latin-1")).items()}


class Simulation:
    """``SimulatePrincipalPolicy``, which returns what an identity may do; moto does not support this call.

    Args:
        rights: The policies of all callers and of the containers' role.
        admits: Checks the signature of a request.
    """

    def __init__(self, rights: Rights, admits: Callable[[Request], object]) -> None:
        self._rights, self._admits = rights, admits

    def find(self, request: Request) -> Match | None:
        """Match a request of this call."""
        about = request.headers.get("authorization", "") + request.headers.get("content-type", "")
        if "/iam/aws4_request" not in about or _form(request).get("Action") != "SimulatePrincipalPolicy":
            return None
        return Match("iam", "SimulatePrincipalPolicy", self._handle)

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault, as for other calls of IAM."""
        return trouble(request, match, fault)

    def _handle(self, request: Request) -> Response:
        try:
            self._admits(request)
        except AwsError as error:
            return render(error, "iam")
        form = _form(request)
        actions, resources = _members(form, "ActionNames"), _members(form, "ResourceArns") or ["*"]
        context = self._context(form)
        role = ":role/" in form.get("PolicySourceArn", "")  # that of the containers; callers are users here
        policy = self._rights.runtime if role else self._rights.policy
        found = "".join(self._result(policy, action, one, context) for action in actions for one in resources)
        body = f"<EvaluationResults>{found}</EvaluationResults><IsTruncated>false</IsTruncated>"
        text = (
            '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
            f"<SimulatePrincipalPolicyResult>{body}</SimulatePrincipalPolicyResult>"
            f"<ResponseMetadata><RequestId>{request_id()}</RequestId></ResponseMetadata>"
            "</SimulatePrincipalPolicyResponse>"
        )
        return Response(200, text.encode(), {"content-type": "text/xml"})

    @staticmethod
    def _context(form: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        prefix = "ContextEntries.member."
        names = {key.split(".")[2]: value for key, value in form.items() if key.endswith(".ContextKeyName")}
        return tuple(
            (name, form.get(f"{prefix}{number}.ContextKeyValues.member.1", "")) for number, name in names.items()
        )

    def _result(self, policy: Any, action: str, resource: str, context: tuple[tuple[str, str], ...]) -> str:
        allowed = policy is None or self._rights.allows(policy, Need(action, resource, context))
        decision = "allowed" if allowed else "implicitDeny"
        return (
            f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}</EvalResourceName>"
            f"<EvalDecision>{decision}</EvalDecision></member>"
        )


def _members(form: Mapping[str, str], name: str) -> list[str]:
    found = [(int(key.rpartition(".")[2]), value) for key, value in form.items() if key.startswith(f"{name}.member.")]
    return [value for _, value in sorted(found)]
