"""The state of one workspace, and the rules of the region around it."""

from __future__ import annotations

import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..guard import nothing_lacking
from .answers import system_data
from .blobs import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..guard import Lacking
    from ..timing import Line, Pace
    from .names import Names

_GRACE_S = 0.5
NAME = re.compile(r"[a-zA-Z](?:[-a-zA-Z0-9]{1,30})[a-zA-Z0-9]")
# Source: https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-reserved-resource-name
_RESERVED = frozenset(
    [
        "access",
        "azure",
        "bing",
        "cortana",
        "dynamics",
        "exchange",
        "office",
        "onedrive",
        "outlook",
        "sharepoint",
        "skype",
        "visio",
        "visualstudio",
    ]
)
_RESERVED_PARTS = ("microsoft", "windows")
_RESERVED_BEGINNINGS = ("login", "xbox")

# Cores and memory (GiB) of some virtual machines. Source: https://learn.microsoft.com/azure/virtual-machines/sizes
SIZES: dict[str, tuple[int, float]] = {
    "Standard_DS1_v2": (1, 3.5),
    "Standard_DS2_v2": (2, 7),
    "Standard_DS3_v2": (4, 14),
    "Standard_DS4_v2": (8, 28),
    "Standard_D2s_v3": (2, 8),
    "Standard_D2as_v4": (2, 8),
    "Standard_D4as_v4": (4, 16),
    "Standard_D8as_v4": (8, 32),
    "Standard_E2s_v3": (2, 16),
    "Standard_E4s_v3": (4, 32),
    "Standard_F2s_v2": (2, 4),
    "Standard_F4s_v2": (4, 8),
    "Standard_F8s_v2": (8, 16),
    "Standard_NC4as_T4_v3": (4, 28),
}
_SPELLED = {size.lower(): size for size in SIZES}
_FAMILY = re.compile(r"Standard_([A-Z]+)\d+([a-z]*)(?:_[A-Z]\d+)?(?:_v(\d))?")


def size_of(name: object) -> str | None:
    """Return the size of a virtual machine as Azure spells it, whatever the case; ``None`` for one that is not offered.

    Example:
        >>> size_of("STANDARD_DS3_V2")
        'Standard_DS3_v2'
    """
    return _SPELLED.get(str(name).lower())


def family_of(size: str) -> str:
    """Return the family whose cores are counted together."""
    found = _FAMILY.fullmatch(size_of(size) or size)
    return f"standard{found[1]}{found[2].upper()}v{found[3]}Family" if found else "standardFamily"


def reserved(name: str) -> bool:
    """Return whether Azure reserves a name."""
    low = name.lower()
    return low in _RESERVED or low.startswith(_RESERVED_BEGINNINGS) or any(part in low for part in _RESERVED_PARTS)


def principal_of(identity: str) -> str:
    """Return the id under which roles are assigned to a managed identity."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, identity.lower()))


@dataclass
class Place:
    """The place of a workspace: subscription, group, name and region.

    Args:
        subscription: Id of the subscription.
        resource_group: Its group.
        workspace: Its name.
        region: Its region.
    """

    subscription: str
    resource_group: str
    workspace: str
    region: str

    @property
    def group(self) -> str:
        """The resource id of the group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"

    @property
    def path(self) -> str:
        """The resource id of the workspace."""
        return f"{self.group}/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"

    @property
    def operations(self) -> str:
        """The path of the states of operations."""
        return (
            f"/subscriptions/{self.subscription}/providers/Microsoft.MachineLearningServices"
            f"/locations/{self.region}/mfeOperationsStatus"
        )


@dataclass
class Operation:
    """A long-running operation: done when its resource is, unless it is stuck."""

    id: str
    line: Line
    error: Callable[[], dict[str, Any] | None] = lambda: None
    stuck_until: float = 0.0


@dataclass
class Asset:
    """A version of a model, environment, code or data asset."""

    name: str
    version: str
    properties: dict[str, Any]
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)


@dataclass
class Late:
    """When reads may first see a new resource."""

    visible_at: float = 0.0
    hidden_reads: int = 0

    def hides(self) -> bool:
        """Return whether a read does not see the resource yet; counts the read."""
        if self.hidden_reads > 0:
            self.hidden_reads -= 1
            return True
        return time.monotonic() < self.visible_at


class World:
    """The state of the workspace; guarded by one lock.

    Args:
        place: The workspace's place: subscription, group, name and region.
        folder: Where files are stored.
        pace: How fast time passes.
        cores: Quota of each family of machines.
        taken: Names of endpoints that belong to other customers of the region.
        key: Distinguishes its storage and registry from those of other workspaces.
    """

    def __init__(
        self, place: Place, folder: Path, pace: Pace, *, cores: int, taken: frozenset[str], key: str = ""
    ) -> None:
        self.place, self.folder, self.pace = place, folder, pace
        self.cores, self.taken = cores, frozenset(name.lower() for name in taken)
        self.container = f"{DEFAULT}-{key}" if key else DEFAULT
        self.registry_path = f"{place.group}/providers/Microsoft.ContainerRegistry/registries/mini{key}"
        self.lock = threading.RLock()
        self.used: Callable[[], dict[str, int]] = dict  # cores in use in the subscription, by family of machines
        self.operations: dict[str, Operation] = {}
        self.assets: dict[str, Names[Asset]] = {}
        self.network: dict[str, Any] = {}  # properties of the workspace about its network; it is public without them
        self.no_pull: set[str] = set()  # principals without a role on the registry
        self.archived: dict[str, set[str]] = {}  # names of assets that lists omit, by kind
        self.connections: dict[str, dict[str, str]] = {}  # connections of the workspace: the secrets of each, by key
        self.lacking: Lacking = nothing_lacking  # finds rights that identities of containers lack
        self.url, self.suffix = "", ""  # the suffix distinguishes endpoint names from those of other regions

    @property
    def grace_s(self) -> float:
        """The time between SIGTERM and SIGKILL, when no request to the container is in progress."""
        return max(_GRACE_S, 30.0 * self.pace.factor)

    def begun(self, kind: str, line: Line, error: Callable[[], dict[str, Any] | None] = lambda: None) -> Operation:
        """Record a new operation."""
        operation = Operation(f"{kind}:{uuid.uuid4()}:{uuid.uuid4()}", line, error)
        self.operations[operation.id] = operation
        return operation

    def headers(self, operation: Operation) -> dict[str, str]:
        """Return the headers by which a client follows an operation; the wait is 30 seconds times the pace."""
        wait = max(20, round(30_000 * self.pace.factor))
        return {
            "azure_asyncoperation": f"{self.url}{self.place.operations}/{operation.id}?api-version=2024-10-01",
            "x_ms_retry_after_ms": str(wait),
            "x_ms_async_operation_timeout": "PT1H",
        }

    def shown(self, kind: str, asset: Asset) -> dict[str, Any]:
        """Return an asset as the resource manager shows it."""
        return {
            "id": f"{self.place.path}/{kind}/{asset.name}/versions/{asset.version}",
            "name": asset.version,
            "type": f"Microsoft.MachineLearningServices/workspaces/{kind}/versions",
            "properties": asset.properties,
            "systemData": system_data(asset.created, asset.modified),
        }
