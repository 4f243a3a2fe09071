"""What the Vertex AI mini cloud serves, for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk_contract.clouds.vertex.members import MEMBERS
from tests.fidelity.proto_models import members_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk_contract.clouds.members import Members
    from tests.fidelity.models import Member

SOURCE = "the proto types of `google-cloud-aiplatform` (`aiplatform_v1`), by their names in JSON"
NOTES = """Members may have the names of the proto files too. Raw requests (`RawPredict`, `StreamRawPredict`, `Invoke`)
reach the container as they are. Other operations have no path here: 404. The figures leave out long-running operations,
Artifact Registry, Cloud Storage, Monitoring, Logging, Secret Manager and Service Usage.
"""


def operations() -> Iterator[tuple[str, list[Member], Members]]:
    """Each operation with the members of its input and how they are played."""
    for operation in sorted(MEMBERS):
        yield operation, members_of(operation), MEMBERS[operation]
