"""Rights of the `vertex` target: the roles it gives are enough for every verb, and no larger than they must be."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, ClassVar

from sdk.adapter import Kind
from sdk_contract.clouds.vertex.rig import VertexMiniRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_rights import RightsSuite, lived
from sdk_vertex import VertexAdapter, _plan

__all__ = ["lived"]

_BASE = "the base is in a public registry"


class Quick(VertexAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class Mini(VertexMiniRig):
    """Every test on one project, whose models and jobs run as an account of it."""

    adapter = Quick

    def settings(self) -> Mapping[str, str]:
        return {**super().settings(), "service_account": "runner@mini-project.iam.gserviceaccount.com"}


rig = rig_fixture(Mini)


class TestRights(RightsSuite):
    """See the suite."""

    rare: ClassVar[Mapping[str, str]] = {
        "aiplatform:DeleteCustomJob": "records of jobs are kept",
        "artifactregistry:DeleteTag": "for images that somebody else has tagged too",
        "artifactregistry:DeleteRepository": "for repositories that nothing uses",
        "artifactregistry:GetOperation": "making a repository may end at once",
        "prediction:Predict": "for targets with predict = json",
        "registry:GetBlob": _BASE,
        "registry:GetManifest": _BASE,
        "registry:HeadManifest": _BASE,
        "registry:UploadChunk": "layers go in one piece",
        "secretmanager:AccessSecretVersion": "the target has no secrets",
    }
    untested = frozenset(
        {
            "aiplatform.customJobs.delete",
            "artifactregistry.repositories.delete",
            "artifactregistry.tags.delete",
        }
    )
    sampled = ("aiplatform.models.upload",)

    sampled_of_containers = "storage.objects.create"

    def without(self, policy: Any) -> Iterator[tuple[str, Any]]:
        for at, role in enumerate(policy["roles"]):
            for permission in role["includedPermissions"]:
                rest = deepcopy(policy)
                rest["roles"][at]["includedPermissions"].remove(permission)
                yield permission, rest
