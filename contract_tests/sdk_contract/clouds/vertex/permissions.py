"""Enforcement of custom roles and bindings, and the calls that return which permissions a caller has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from ..guard import Guard, Need
from ..registry import refusal as registry_refusal
from .api import Api, body_of, refused
from .errors import Refusal
from .rights import PERMISSIONS
from .values import many

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..app import Match, Request, Response
    from .spots import Spots
    from .storage import Storage
    from .values import Json

Policy = dict[str, Any]
_NAME = re.compile(r'resource\.name(?: == "([^"]*)"|\.startsWith\("([^"]*)"\))')
_PULL, _PUSH = (f"artifactregistry.repositories.{one}Artifacts" for one in ("download", "upload"))
_REGISTRY = {
    **dict.fromkeys(("HeadBlob", "GetBlob", "HeadManifest", "GetManifest"), _PULL),
    **dict.fromkeys(("StartUpload", "UploadChunk", "FinishUpload", "PutManifest"), _PUSH),
}
_OF_BUCKETS = {"CreateBucket", "InsertBucket", "ListBuckets"}
_FREE = {"TestIamPermissions", "TestBucketPermissions", "ExchangeToken", "ExchangeAssertion"}
_OF_IMAGES = {
    "GetRepository", "DeleteRepository", "GetTag", "ListDockerImages", "GetDockerImage", "DeleteTag", "DeleteVersion",
}  # fmt: skip


def needed_for_objects(address: str, *verbs: str) -> list[Need]:
    """Return what a service account needs for some verbs, such as ``get``, on objects under ``gs://…``."""
    bucket, _, name = address.removeprefix("gs://").partition("/")
    place = f"//storage.googleapis.com/projects/_/buckets/{bucket}"
    return [Need(f"storage.objects.{verb}", f"{place}/objects/{name}" if name else place) for verb in verbs]


def needed_for_logs(project: str) -> list[Need]:
    """Return what a service account needs so that the output of its containers is stored."""
    return [Need("logging.logEntries.create", f"//cloudresourcemanager.googleapis.com/projects/{project}")]


class Permissions(Guard[Policy]):
    """The rights of callers according to the enforced policy.

    Args:
        spots: All projects and regions.
        storage: The buckets.
        region: The region of the repositories, whose images are all pushed to one host here.
    """

    def __init__(self, spots: Spots, storage: Storage, region: str) -> None:
        super().__init__()
        self._spots, self._storage, self._region = spots, storage, region
        self.api = Api(spots, "cloudresourcemanager")
        self.api.on("POST", "/v1/projects/{project}:testIamPermissions", "TestIamPermissions", changing=False)(
            self._of_project
        )
        self.repositories = Api(spots, "artifactregistry")
        self.repositories.on(
            "POST", "/v1/projects/{project}/locations/{location}/repositories/{repository}:testIamPermissions",
            "TestIamPermissions", changing=False,
        )(self._of_repository)  # fmt: skip
        self.buckets = Api(spots, "storage")
        self.buckets.on("GET", "/storage/v1/b/{bucket}/iam/testPermissions", "TestBucketPermissions")(self._of_bucket)

    # --- which permissions calls need

    def needs_of(self, request: Request, match: Match) -> Sequence[Need]:
        """Return the permissions that a call needs, according to the permissions reference of Google Cloud."""
        if match.operation in _FREE or match.service == "oauth2":
            return ()
        found = [*self._permissions(request, match)]
        if self._spots.common.identity.personal and match.service not in {"storage", "registry"}:
            found.append(Need("serviceusage.services.use", self._project(match.params.get("project", ""))))
        return found

    def _permissions(self, request: Request, match: Match) -> Iterator[Need]:
        place, params = self._place(request, match), match.params
        if match.service == "registry":
            if match.operation in _REGISTRY:
                yield Need(_REGISTRY[match.operation], place)
        elif match.operation in {"GetOperation", "ListOperations", "WaitOperation"}:
            if "/models/" in request.path:
                yield Need("aiplatform.models.get", place)
            elif match.service == "aiplatform":
                yield Need("aiplatform.endpoints.get", place)
        elif match.operation in PERMISSIONS:
            yield Need(PERMISSIONS[match.operation], place)
        if match.operation == "InsertObject" and request.query.get("ifGenerationMatch") != "0":
            yield Need("storage.objects.delete", place)
        account = self._account(request, match)
        if account:
            project = f"//iam.googleapis.com/projects/{params.get('project', '')}"
            yield Need("iam.serviceAccounts.actAs", f"{project}/serviceAccounts/{account}")

    @staticmethod
    def _account(request: Request, match: Match) -> str:
        """Return the service account that a model or job is to run as."""
        if match.operation not in {"DeployModel", "CreateCustomJob"}:
            return ""
        body = body_of(request)
        model: dict[str, Any] = body.get("deployedModel") or {}
        job: dict[str, Any] = body.get("jobSpec") or {}
        return str(model.get("serviceAccount") or job.get("serviceAccount") or "")

    def _place(self, request: Request, match: Match) -> str:
        """Return the full name of the resource that a call is about, as far as a binding may name it."""
        params = match.params
        if match.service == "storage" and match.operation not in _OF_BUCKETS:
            bucket = f"//storage.googleapis.com/projects/_/buckets/{params.get('bucket', '')}"
            name = params.get("object") or request.query.get("name") or ""
            return f"{bucket}/objects/{name}" if name else bucket
        if match.service == "registry":
            project, _, rest = (params.get("name") or "").partition("/")
            return self._repository(project, self._region, rest.partition("/")[0])
        if match.operation in _OF_IMAGES:
            return self._repository(params["project"], params["location"], params["repository"])
        if match.service == "secretmanager":
            return f"//secretmanager.googleapis.com/projects/{params['project']}/secrets/{params.get('secret', '')}"
        return self._project(params.get("project", ""))

    @staticmethod
    def _repository(project: str, location: str, name: str) -> str:
        return f"//artifactregistry.googleapis.com/projects/{project}/locations/{location}/repositories/{name}"

    @staticmethod
    def _project(name: str) -> str:
        return f"//cloudresourcemanager.googleapis.com/projects/{name}"

    # --- what a policy grants

    def allows(self, policy: Policy, need: Need) -> bool:
        """Return whether a role with the permission is bound on the resource, or on the project above it."""
        roles = {role["name"]: role["includedPermissions"] for role in policy["roles"]}
        return any(need.action in roles[one["role"]] and _covers(one, need) for one in policy["bindings"])

    def refusal(self, request: Request, match: Match, need: Need) -> Response:
        """Return Google's answer, with the permission and the resource in the details."""
        text = f"Permission '{need.action}' denied on resource '{need.resource}' (or it may not exist)."
        if match.service == "registry":
            return registry_refusal("DENIED", text, status=403)
        about = {"permission": need.action, "resource": need.resource}
        return refused(Refusal("PERMISSION_DENIED", text, reason="IAM_PERMISSION_DENIED", metadata=about))

    # --- the calls that return permissions

    def _granted(self, permissions: Sequence[str], resource: str) -> Json:
        missing = self._spots.common.identity.missing
        policy = self.policy
        found = [
            one
            for one in permissions
            if one not in missing and (policy is None or self.allows(policy, Need(one, resource)))
        ]
        return {"permissions": found} if found else {}

    def _of_project(self, request: Request) -> Json:
        return self._granted(many(body_of(request), "permissions"), self._project(request.params["project"]))

    def _of_repository(self, request: Request) -> Json:
        params = request.params
        if params["repository"] not in {path.rpartition("/")[2] for path in self._spots.repositories()}:
            raise Refusal("NOT_FOUND", f"Repository {params['repository']} not found.")
        place = self._repository(params["project"], params["location"], params["repository"])
        return self._granted(many(body_of(request), "permissions"), place)

    def _of_bucket(self, request: Request) -> Json:
        name = request.params["bucket"]
        if name not in self._storage.buckets:
            raise Refusal("NOT_FOUND", "The specified bucket does not exist.")
        wanted = parse_qs(request.query_string).get("permissions", [])
        found = self._granted(wanted, f"//storage.googleapis.com/projects/_/buckets/{name}")
        return {"kind": "storage#testIamPermissionsResponse", **found}


def _covers(binding: Policy, need: Need) -> bool:
    """Return whether a binding is on the resource or above it, and its condition holds."""
    resource = str(binding["resource"])
    above = resource.startswith("//cloudresourcemanager.googleapis.com/")
    if not (above or need.resource == resource or need.resource.startswith(f"{resource}/")):
        return False
    expression = str(binding.get("condition", {}).get("expression", ""))
    name = need.resource.removeprefix("//").partition("/")[2]
    clauses = _NAME.findall(expression)
    return not expression or any(name == equal if equal else name.startswith(start) for equal, start in clauses)
