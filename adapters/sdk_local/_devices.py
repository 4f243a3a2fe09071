"""The GPUs of this machine and their reservations.

::

        /tmp/mlport-UID/gpus/      one folder for all state folders of a user, since they share the devices
          gpu-ID.lock              locked by every process that uses the device; its content names the holder

A device is reserved while a process holds its lock, or while the record of a deployment names it: a replica that was
killed gets the same device when it is restarted. A device therefore becomes free when the deployment and its last
process are gone, however they ended. A removed state folder keeps no reservations.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError, QuotaError, UnreadableError
from sdk.packaging import disk
from sdk.util import foreign, kept, scratch

from ._errors import PROVIDER, translate
from ._folder import held
from ._processes import VISIBLE_GPUS, is_free

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from .options import LocalOptions

_LARGEST = 1 << 16
_LARGEST_RECORD = 16 << 20
_QUERY = ("--query-gpu=index,uuid", "--format=csv,noheader")
_QUERY_S = 20.0
_ROW = re.compile(r"(\d+), *(\S+)")


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a device: a name for display, and the record that reserves the device (empty for a job)."""

    name: str
    record: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """A request for GPUs: ``count`` for each of ``names``, which are the replicas of a deployment, or one job."""

    names: tuple[str, ...]
    count: int
    record: Path | None = None

    @property
    def total(self) -> int:
        """The number of devices requested in total."""
        return len(self.names) * self.count


class Devices:
    """The GPUs that a target may use.

    Args:
        options: The target's settings.
        state_dir: The state folder that holds the records of the target's deployments.
    """

    def __init__(self, options: LocalOptions, state_dir: Path) -> None:
        self._chosen = options.gpus
        self._state = state_dir
        self._found: tuple[str, ...] | None = None

    def known(self) -> tuple[str, ...]:
        """Return the ids of the devices: those of the setting ``gpus``, else all that nvidia-smi lists."""
        if self._found is None:
            by_index = _listed()
            if self._chosen is None:
                self._found = tuple(by_index.values())
            else:
                self._found = tuple(dict.fromkeys(by_index.get(one, one) for one in self._chosen))
        return self._found

    def check(self, needs: Sequence[Need]) -> None:
        """Refuse requests for more devices than are free now; this reserves and writes nothing.

        Raises:
            QuotaError: Too few are free; the message lists how many, and the holders of the others.
        """
        needs = [need for need in needs if need.record is None or not need.record.exists()]
        wanted = sum(need.total for need in needs)
        if wanted:
            self._pick(wanted, self._holders(), needs[0].names[0])

    @contextmanager
    def reserved(self, need: Need) -> Generator[dict[str, list[str]]]:
        """Reserve devices for each name; the record that reserves them must be written before the block ends.

        Raises:
            QuotaError: Too few devices are free.
        """
        if not need.total:
            yield {name: [] for name in need.names}
            return
        with translate("ReserveGPU", need.names[0]), _alone():
            chosen = iter(self._pick(need.total, self._holders(), need.names[0]))
            taken = {name: [next(chosen) for _ in range(need.count)] for name in need.names}
            for name, devices in taken.items():
                for device in devices:
                    _note(device, Holder(name, str(need.record or "")))
            yield taken

    @contextmanager
    def held(self, need: Need) -> Generator[tuple[list[str], list[int]]]:
        """Reserve devices for a job; yield their ids and the descriptors of their locks, for the job's process."""
        with contextlib.ExitStack() as stack:
            with self.reserved(need) as taken:
                devices = taken[need.names[0]]
                descriptors = [_locked(device, stack) for device in devices]
            yield devices, descriptors

    def _holders(self) -> dict[str, Holder]:
        """Return the holder of each device that is not free."""
        records = [*(self._state.resolve() / "endpoints").glob("*/records/d-*.json")]
        found: dict[str, Holder] = {}
        for device in self.known():
            noted = _noted(device)
            if not is_free(lock_of(device)) or _names(noted.record, device):
                found[device] = noted
            elif owner := next((path for path in records if _names(str(path), device)), None):
                found[device] = Holder(f"{owner.parents[1].name}.{owner.stem.removeprefix('d-')}", str(owner))
        return found

    def _pick(self, wanted: int, holders: Mapping[str, Holder], name: str) -> list[str]:
        """Return the first ``wanted`` free devices."""
        free = [device for device in self.known() if device not in holders]
        if len(free) >= wanted:
            return free[:wanted]
        raise QuotaError(
            f"resources.gpu: {name.partition('.')[0]} needs {wanted} {_gpus(wanted)}, and {len(free)} of the "
            f"{len(self.known())} of this machine are free{_said(holders)}",
            provider=PROVIDER,
            operation="ReserveGPU",
            resource=name,
            hint=self._hint(name.partition(".")[0], holders),
        )

    def _hint(self, endpoint: str, holders: Mapping[str, Holder]) -> str:
        if not self.known() and self._chosen is None:
            return "nvidia-smi lists none; install the driver, or name devices with gpus in the target"
        if any(holder.name.partition(".")[0] == endpoint for holder in holders.values()):
            return (
                "an update starts the new version beside the live one, on devices of its own: "
                f"`mlport finalize {endpoint}` ends a version kept for a rollback, `mlport delete {endpoint}` all"
            )
        return "ask for fewer, or delete what holds them"


def lock_of(device: str) -> Path:
    """Return the path of a device's lock file."""
    return scratch.short_path() / "gpus" / f"gpu-{re.sub('[^A-Za-z0-9.-]', '_', device)}.lock"


def need(endpoint: str, spec: Mapping[str, Any], record: Path) -> Need:
    """Return the GPUs that a deployment requests.

    Args:
        endpoint: Name of the deployment's endpoint.
        spec: The spec of the deployment's resource.
        record: Path of the deployment's record.

    Raises:
        ConfigError: The user also sets the variable that selects the devices.
    """
    names = tuple(f"{endpoint}.{spec['deployment']}-{number}" for number in range(spec["replicas"]))
    return Need(names, _count(spec), record)


def job_need(name: str, spec: Mapping[str, Any]) -> Need:
    """Return the GPUs that a job requests.

    Raises:
        ConfigError: The user also sets the variable that selects the devices.
    """
    return Need((f"job {name}",), _count(spec))


def _count(spec: Mapping[str, Any]) -> int:
    count = int(spec.get("gpu") or 0)
    for place in ("env", "secrets"):
        if count and VISIBLE_GPUS in spec[place]:
            raise ConfigError(
                f"{place}.{VISIBLE_GPUS}: mlport sets it to the devices of each replica or job",
                hint=f"leave {VISIBLE_GPUS} out, or leave resources.gpu at 0",
            )
    return count


def _gpus(count: int) -> str:
    return "GPU" if count == 1 else "GPUs"


def _said(holders: Mapping[str, Holder]) -> str:
    counts = Counter(holder.name or "another process" for holder in holders.values())
    listed = ", ".join(f"{name} has {count}" for name, count in sorted(counts.items()))
    return f" ({listed})" if listed else ""


def _alone() -> AbstractContextManager[None]:
    """Hold the lock of all devices while some are chosen and noted."""
    return held(disk.subfolder(scratch.short_folder() / "gpus"))


def _locked(device: str, stack: contextlib.ExitStack) -> int:
    descriptor = os.open(lock_of(device), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # it is free, but another client may be testing the lock
    return descriptor


def _note(device: str, holder: Holder) -> None:
    """Note the holder of a device; the file is rewritten in place, since the lock belongs to the file."""
    with lock_of(device).open("a+", encoding="utf-8") as file:
        file.truncate(0)
        file.write(json.dumps({"name": holder.name, "record": holder.record}))


def _noted(device: str) -> Holder:
    """Return the last noted holder of a device; an empty one if the note cannot be read."""
    with contextlib.suppress(ValueError, OSError, UnreadableError):
        values = foreign.table(kept.read_regular(lock_of(device), _LARGEST) or b"{}", "gpu")
        return Holder(str(values.get("name", "")), str(values.get("record", "")))
    return Holder("")


def _names(record: str, device: str) -> bool:
    """Check whether the record of a deployment exists and names the lock of this device."""
    content = kept.recall(Path(record), _LARGEST_RECORD) if record else None
    return json.dumps(str(lock_of(device))).encode() in (content or b"")


def _listed() -> dict[str, str]:
    """Return the unique id of each device by its number, as nvidia-smi lists them; empty without nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    try:
        done = subprocess.run(  # noqa: S603  found by its name, as a shell would
            [program, *_QUERY], capture_output=True, text=True, timeout=_QUERY_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(_rows(done.stdout)) if done.returncode == 0 else {}


def _rows(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if match := _ROW.fullmatch(line.strip()):
            yield match[1], match[2]
