"""Price tables: the cost of instances, and the choice of the cheapest one that fits.

A table is a CSV file that an adapter ships, with one row per platform, region, usage and instance type. Each row has
the source of its price, the date it was seen and its reliability. An unknown price is ``None``, never 0.
"""

from __future__ import annotations

import csv
import functools
import io
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from ..util import kept
from ..util.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from importlib.resources.abc import Traversable
    from pathlib import Path
    from typing import Literal

    from .types import Resources

    Usage = Literal["inference", "training"]

COLUMNS = (
    "platform", "region", "usage", "instance_type", "vcpu", "memory_gib", "gpu", "gpu_count", "usd_per_hour", "source",
    "as_of", "status",
)  # fmt: skip
_NEAREST = 3
_LARGEST = 64 << 20  # bytes of a refreshed table
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PriceRow:
    """The price of one instance of a type in one region.

    Args:
        platform: The provider's name.
        region: The platform's own name of the region.
        usage: ``"inference"`` or ``"training"``.
        instance_type: The platform's own name of the type.
        vcpu: Virtual processors (hyperthreads on x86).
        memory_gib: Memory in GiB (2**30 bytes).
        gpu: Model of the accelerator; empty for none.
        gpu_count: The number of accelerators.
        price: Price of one ``unit`` in ``currency``; ``None`` if unknown.
        source: The source of the price.
        as_of: The date at which it was seen there, ``YYYY-MM[-DD]``.
        status: Its reliability, such as ``"quoted"`` or ``"unverified-derived"``.
        unit: The unit that is priced; ``"hour"`` is one hour of a running instance.
        currency: ISO 4217 code.
    """

    platform: str
    region: str
    usage: str
    instance_type: str
    vcpu: float
    memory_gib: float
    gpu: str
    gpu_count: int
    price: float | None
    source: str
    as_of: str
    status: str
    unit: str = "hour"
    currency: str = "USD"

    @property
    def usd_per_hour(self) -> float | None:
        """The price in US dollars per hour; ``None`` if it has another unit or currency, or is unknown."""
        return self.price if (self.unit, self.currency) == ("hour", "USD") else None

    @property
    def size(self) -> tuple[int, float, float]:
        """GPUs, processors and memory; sorts instances from small to large."""
        return self.gpu_count, self.vcpu, self.memory_gib

    def __str__(self) -> str:
        price = "price unknown" if self.usd_per_hour is None else f"${self.usd_per_hour:.4g}/h"
        gpu = f", {self.gpu_count} x {self.gpu}" if self.gpu_count else ""
        return f"{self.instance_type} ({self.vcpu:g} vCPU, {self.memory_gib:g} GiB{gpu}, {price})"


def refreshed_table(state_dir: Path, provider: str) -> Path:
    """Return the file in which `mlport prices refresh` stores the newer table of a provider."""
    return state_dir / "prices" / f"{provider}.csv"


def read_prices(file: Path | Traversable, refreshed: Path | None = None) -> tuple[PriceRow, ...]:
    """Return the rows of a price table, read once for each version of the file.

    Columns ``unit`` and ``currency`` may be left out for hours and US dollars.

    Args:
        file: The CSV file that ships, such as ``importlib.resources.files("sdk_sagemaker") / "prices.csv"``.
        refreshed: The newer table, see :func:`refreshed_table`, which is used instead if it exists. It can be fetched
            again, so a damaged one is set aside and blocks nothing.

    Raises:
        ConfigError: A column is missing, a number is malformed, a price is not above 0 (an unknown one must be empty),
            or two rows price the same item; the error names file, line and column.
    """
    try:
        newer = None if refreshed is None else _newer(refreshed, refreshed.lstat().st_mtime_ns)
    except OSError:
        newer = None
    return _shipped(cast("Hashable", file)) if newer is None else newer


@functools.lru_cache(maxsize=64)
def _shipped(file: Any) -> tuple[PriceRow, ...]:
    return _parse(file.read_text(encoding="utf-8"), str(file))


@functools.lru_cache(maxsize=64)
def _newer(path: Path, _changed: int) -> tuple[PriceRow, ...] | None:
    try:
        data = kept.read_regular(path, _LARGEST)
        return None if data is None else _parse(data.decode("utf-8"), str(path))
    except (ConfigError, ValueError) as error:
        aside = kept.set_aside(path)
        if aside is not None:
            _log.warning("%s is damaged (%s); it was set aside as %s", path, error, aside.name)
        return None


def _parse(text: str, where: str) -> tuple[PriceRow, ...]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"{where}: the column {missing[0]!r} is missing")
        rows = tuple(_row(line, f"{where}:{reader.line_num}") for line in reader)
    except csv.Error as error:
        raise ConfigError(f"{where}:{reader.line_num}: {error}") from error
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        key = (row.platform, row.region, row.usage, row.instance_type, row.unit)
        if key in seen:
            raise ConfigError(f"{where}: two prices for {' '.join(key)}")
        seen.add(key)
    return rows


def _row(line: dict[Any, Any], where: str) -> PriceRow:
    if None in line:  # how the reader marks surplus cells
        raise ConfigError(f"{where}: it has more cells than the first line")
    if lacking := [column for column in COLUMNS if line[column] is None]:
        raise ConfigError(f"{where}: {lacking[0]} is missing")
    price = _number(line, "usd_per_hour", where) if line["usd_per_hour"] else None
    if price is not None and price <= 0:
        raise ConfigError(f"{where}: usd_per_hour = {price:g} is not above 0", hint="leave an unknown price empty")
    return PriceRow(
        platform=line["platform"],
        region=line["region"],
        usage=line["usage"],
        instance_type=line["instance_type"],
        vcpu=_number(line, "vcpu", where),
        memory_gib=_number(line, "memory_gib", where),
        gpu=line["gpu"],
        gpu_count=int(_number(line, "gpu_count", where)),
        price=price,
        source=line["source"],
        as_of=line["as_of"],
        status=line["status"],
        unit=line.get("unit") or "hour",
        currency=line.get("currency") or "USD",
    )


def _number(line: dict[Any, Any], column: str, where: str) -> float:
    try:
        number = float(line[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{where}: {column} = {line[column]!r} is not a number")
    return number


def find_price(rows: Iterable[PriceRow], instance: str, *, region: str, usage: Usage = "inference") -> PriceRow | None:
    """Return the row of an instance type; ``None`` if its price is unknown."""
    wanted = (region, usage, instance)
    return next((row for row in rows if (row.region, row.usage, row.instance_type) == wanted), None)


@dataclass(frozen=True, slots=True)
class Choice:
    """The instance chosen for some resources, and the reason."""

    row: PriceRow
    reason: str

    @property
    def instance(self) -> str:
        """The platform's name of the instance type."""
        return self.row.instance_type


def cheapest(rows: Iterable[PriceRow], resources: Resources, *, region: str, usage: Usage = "inference") -> Choice:
    """Choose the cheapest instance type that has at least these resources.

    Types without a known price are chosen only if no other type fits, the smallest first.

    Args:
        rows: The price table.
        resources: The needs of one replica or job; a ``None`` field is ignored.
        region: The platform's own name of the region.
        usage: The use of the instance: a type may have another price, or not exist, for another use.

    Raises:
        ConfigError: No resource is given, the region is not in the table, or nothing fits (then it names the nearest).
    """
    need = _need(resources)
    table = list(rows)
    offered = [row for row in table if (row.region, row.usage) == (region, usage)]
    if not offered:
        hint = f"{did_you_mean(region, {row.region for row in table})}; or name an instance"
        raise ConfigError(f"no price is known for {usage} in region {region!r}", hint=hint)
    fitting = [row for row in offered if _short(row, resources) == 0]
    if not fitting:
        nearest = sorted(offered, key=lambda row: (_short(row, resources), row.size, row.instance_type))[:_NEAREST]
        hint = f"the nearest are: {'; '.join(map(str, nearest))}"
        raise ConfigError(f"no {usage} instance in {region} has {need}", hint=hint)
    ranked = sorted(fitting, key=_rank)
    return Choice(ranked[0], _reason(ranked, f"{usage} instances in {region} with {need}"))


def _rank(row: PriceRow) -> tuple[bool, float, tuple[int, float, float], str]:
    price = row.usd_per_hour
    return price is None, price or 0.0, row.size, row.instance_type


def _reason(ranked: Sequence[PriceRow], among: str) -> str:
    best = ranked[0]
    priced = [row for row in ranked if row.usd_per_hour is not None]
    if not priced:
        return f"{best.instance_type} is the smallest of {len(ranked)} {among}; no price is known"
    unknown = f"; {len(ranked) - len(priced)} more have no known price" if len(ranked) > len(priced) else ""
    runner_up = f"; next is {priced[1]}" if len(priced) > 1 else ""
    return (
        f"{best} is the cheapest of {len(priced)} {among} ({best.status} price, seen {best.as_of}){runner_up}{unknown}"
    )


def _need(resources: Resources) -> str:
    parts = [
        f"{resources.cpu:g} vCPU" if resources.cpu else "",
        f"{resources.memory_gib:g} GiB" if resources.memory_gib else "",
        f"{resources.gpu} GPU" if resources.gpu else "",
    ]
    if not any(parts):
        raise ConfigError("resources asks for nothing", hint="give cpu, memory_gib or gpu")
    return " and ".join(filter(None, parts))


def _short(row: PriceRow, resources: Resources) -> float:
    """Return how much an instance lacks: the sum of the missing shares, 0 if it fits."""
    pairs = ((row.vcpu, resources.cpu), (row.memory_gib, resources.memory_gib), (row.gpu_count, resources.gpu))
    return sum(1 - min(1.0, have / need) for have, need in pairs if need)
