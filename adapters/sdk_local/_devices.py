"""The GPUs of this machine, and who has them.

::

    /tmp/mlport-UID/gpus/      one folder for all state folders of a user, as a device is one for all of them
      gpu-ID.lock              held by every process that uses the device; its content says for whom it was taken

A device is taken while a process holds its lock, or while the record of a deployment names it: a replica that was
killed gets the same one when it is started again. So it is free when the deployment and its last process are gone,
whatever ended them. A state folder that was removed keeps nothing taken.
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

from sdk import foreign, scratch
from sdk.errors import ConfigError, QuotaError, UnreadableError
from sdk.packaging import disk

from ._errors import PROVIDER, translate
from ._folder import held
from ._processes import VISIBLE_GPUS, is_free

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from .options import LocalOptions

_LARGEST = 1 << 16
_QUERY = ("--query-gpu=index,uuid", "--format=csv,noheader")
_QUERY_S = 20.0
_ROW = re.compile(r"(\d+), *(\S+)")


@dataclass(frozen=True, slots=True)
class Holder:
    """For whom a device was taken: a name for people, and the record that keeps it taken (none for a job)."""

    name: str
    record: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """One who needs GPUs: ``count`` for each of ``names``, which are replicas of a deployment, or a job."""

    names: tuple[str, ...]
    count: int
    record: Path | None = None

    @property
    def total(self) -> int:
        """How many devices that makes."""
        return len(self.names) * self.count


class Devices:
    """The GPUs that a target may use.

    Args:
        options: The target's settings.
        state_dir: Where the records of its deployments are.
    """

    def __init__(self, options: LocalOptions, state_dir: Path) -> None:
        self._chosen = options.gpus
        self._state = state_dir
        self._found: tuple[str, ...] | None = None

    def known(self) -> tuple[str, ...]:
        """Their ids: those of the setting ``gpus``, else all that nvidia-smi lists."""
        if self._found is None:
            by_index = _listed()
            if self._chosen is None:
                self._found = tuple(by_index.values())
            else:
                self._found = tuple(dict.fromkeys(by_index.get(one, one) for one in self._chosen))
        return self._found

    def check(self, needs: Sequence[Need]) -> None:
        """Refuse what needs more devices than are free now; takes and writes nothing.

        Raises:
            QuotaError: Says how many are free, and who holds the others.
        """
        needs = [need for need in needs if need.record is None or not need.record.exists()]
        wanted = sum(need.total for need in needs)
        if wanted:
            self._pick(wanted, self._holders(), needs[0].names[0])

    @contextmanager
    def reserved(self, need: Need) -> Generator[dict[str, list[str]]]:
        """Take devices for each name; the record that keeps them must be written before the block ends.

        Raises:
            QuotaError: Too few are free.
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
        """Take devices for a job: their ids, and the descriptors of their locks for the process that uses them."""
        with contextlib.ExitStack() as stack:
            with self.reserved(need) as taken:
                devices = taken[need.names[0]]
                descriptors = [_locked(device, stack) for device in devices]
            yield devices, descriptors

    def _holders(self) -> dict[str, Holder]:
        """Who has each device that is not free."""
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
        """The first devices that are free."""
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
    """The lock of a device."""
    return scratch.short_path() / "gpus" / f"gpu-{re.sub('[^A-Za-z0-9.-]', '_', device)}.lock"


def need(endpoint: str, spec: Mapping[str, Any], record: Path) -> Need:
    """What a deployment needs.

    Args:
        endpoint: Its endpoint.
        spec: The spec of its resource.
        record: Its record.

    Raises:
        ConfigError: The user chooses the devices as well.
    """
    names = tuple(f"{endpoint}.{spec['deployment']}-{number}" for number in range(spec["replicas"]))
    return Need(names, _count(spec), record)


def job_need(name: str, spec: Mapping[str, Any]) -> Need:
    """What a job needs.

    Raises:
        ConfigError: The user chooses the devices as well.
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
    """Hold the lock of all devices, for the moment in which some are chosen and written down."""
    return held(disk.subfolder(scratch.short_folder() / "gpus"))


def _locked(device: str, stack: contextlib.ExitStack) -> int:
    descriptor = os.open(lock_of(device), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # it is free, but another client may be testing that
    return descriptor


def _note(device: str, holder: Holder) -> None:
    """Write down for whom a device is taken; the file stays the same one, as a lock belongs to it."""
    with lock_of(device).open("a+", encoding="utf-8") as file:
        file.truncate(0)
        file.write(json.dumps({"name": holder.name, "record": holder.record}))


def _noted(device: str) -> Holder:
    """For whom a device was taken last; a note that cannot be read says nothing."""
    with contextlib.suppress(ValueError, OSError, UnreadableError):
        values = foreign.table(disk.read_regular(lock_of(device), _LARGEST) or b"{}", "gpu")
        return Holder(str(values.get("name", "")), str(values.get("record", "")))
    return Holder("")


def _names(record: str, device: str) -> bool:
    """Whether the record of a deployment is there and names the lock of this device."""
    with contextlib.suppress(OSError, ValueError):
        return bool(record) and json.dumps(str(lock_of(device))).encode() in Path(record).read_bytes()
    return False


def _listed() -> dict[str, str]:
    """The unique id of each device by its number, from NVIDIA's own program; none without it."""
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
