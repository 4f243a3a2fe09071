"""Rights of the `azureml` target: the roles it gives are enough for every verb, and no larger than they must be."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, ClassVar

from sdk.adapter import Kind
from sdk_azureml import AzureMLAdapter, _plan
from sdk_contract.clouds.azureml.rig import AzureMLRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_rights import RightsSuite, lived

__all__ = ["lived"]


class Quick(AzureMLAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class Mini(AzureMLRig):
    """Every test on one workspace."""

    adapter = Quick

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "identity": self.runner_id, "job_identity": self.runner_id}

    @property
    def runner_id(self) -> str:
        """The identity that endpoints and jobs run as."""
        group = self.cloud.world.place.group
        return f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/runner"


rig = rig_fixture(Mini)

_API = "Microsoft.MachineLearningServices/workspaces"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


class TestRights(RightsSuite):
    """See the suite."""

    rare: ClassVar[Mapping[str, str]] = {
        "assets:ListEnvironmentVersions": "lists of environments name the latest version",
        "blob:ListBlobs": "for other data",
        "blob:PutBlock": "for larger data",
        "blob:PutBlockList": "for larger data",
        "endpoints:GetEndpointToken": "for targets with auth = token",
        "jobs:GetCompute": "for jobs on a cluster",
        "registry:DeleteManifest": "for images that nothing uses",
        "registry:GetBlob": "the base may have been read before",
        "registry:GetManifest": "the base may have been read before",
        "registry:HeadManifest": "for other bases",
        "registry:UploadChunk": "layers go in one piece",
    }
    untested = frozenset(
        {
            f"{_API}/computes/read",
            "Microsoft.ContainerRegistry/registries/artifacts/delete",
            f"{_BLOBS}/read",  # the mini cloud's datastore gives signatures, which need no role
            f"{_BLOBS}/write",
            f"{_BLOBS}/delete",
        }
    )
    sampled = (f"{_API}/onlineEndpoints/deployments/write",)

    untested_of_containers: ClassVar[Mapping[str, str]] = {
        f"{_BLOBS}/delete": "for outputs that are written again",
    }
    sampled_of_containers = f"{_BLOBS}/write"

    def without(self, policy: Any) -> Iterator[tuple[str, Any]]:
        for at, role in enumerate(policy["roles"]):
            for kind in ("Actions", "DataActions"):
                for action in role[kind]:
                    rest = deepcopy(policy)
                    rest["roles"][at][kind].remove(action)
                    yield action, rest
