"""Refresh of price tables: fetched on request only, checked against the old table, and replaced as a whole.

Each provider has a source behind an entry point of the group ``mlport.prices``. A source needs neither the provider's
library nor an account. Its prices are refused, and the old table stays, if they are too few, shrink the table or
contradict themselves. A price that moves by an implausible amount is not taken; its old value stays.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from ..adapter.prices import COLUMNS, PriceRow
from ..errors import ConfigError, UnavailableError
from ..util import bounded, foreign
from ..util.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..adapter import Clock

GROUP = "mlport.prices"
FEWEST = 3  # minimum of rows per region, or the number of rows in the old table if that is less
SHRINK = 0.8  # minimum share of a region's old number of rows
JUMP = 0.6  # largest share by which a price may move
_TRIES, _PAUSE_S, _TIMEOUT_S = 4, 2.0, 60.0
_BUSY = {429, 500, 502, 503, 504}


class PriceSource(Protocol):
    """The place where a provider publishes its prices.

    Args:
        url: The base of all addresses, for tests and mirrors; the provider's own if left out.
        key: An API key, if the source needs one.
    """

    def __init__(self, url: str | None = None, key: str | None = None) -> None: ...

    def fetch(self, get: Get, regions: Sequence[str], known: Sequence[PriceRow]) -> Iterable[PriceRow]:
        """Return the prices of these regions; ``known`` holds the instance types and their sizes."""
        ...


class Get:
    """A client that fetches JSON, and repeats a request later if the server is busy.

    Args:
        clock: The source of time.
        transport: Replaces the network in tests.
    """

    def __init__(self, clock: Clock, transport: httpx.BaseTransport | None = None) -> None:
        self._clock = clock
        self._client = bounded.client(bounded.PRICES, transport=transport, timeout=_TIMEOUT_S, follow_redirects=True)

    def __call__(self, url: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object at an address.

        Raises:
            UnavailableError: The server does not answer after several tries.
            ConfigError: The server refuses the request.
        """
        reason = ""
        for turn in range(_TRIES):
            try:
                answer = self._client.get(url, params=dict(params) if params else None)  # {} would remove the query
            except httpx.TransportError as error:
                reason = str(error)
            else:
                if answer.status_code == 200:
                    return _object(answer)
                reason = f"status {answer.status_code}"
                if answer.status_code not in _BUSY:
                    raise ConfigError(f"{_plain(url)} refuses: {reason}", hint="is the API key right?")
            if turn < _TRIES - 1:
                self._clock.sleep(_PAUSE_S * 2**turn)
        raise UnavailableError(f"{_plain(url)} does not answer: {reason}", operation="prices refresh")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found: Any = foreign.of_response(answer)
    except ValueError as error:
        raise ConfigError(f"{_plain(str(answer.url))} answers with something that is no JSON") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{_plain(str(answer.url))} answers with something that is no JSON object")
    return {**found}


def _plain(url: str) -> str:
    """Remove the query from an address, because it may contain the key."""
    return url.partition("?")[0]


def source_of(provider: str) -> type[PriceSource]:
    """Return the price source of a provider.

    Raises:
        ConfigError: The provider has no price source.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if provider not in points:
        raise ConfigError(f"{provider!r} has no price source", hint=did_you_mean(provider, points))
    found: type[PriceSource] = points[provider].load()
    return found


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A new table, and its differences from the old one.

    ``refused`` says why a new price was not taken: the old one stays in ``rows``.
    """

    rows: tuple[PriceRow, ...]
    changed: tuple[tuple[PriceRow, PriceRow], ...] = ()
    added: tuple[PriceRow, ...] = ()
    refused: tuple[str, ...] = field(default=())


def merge(
    old: Sequence[PriceRow], fresh: Iterable[PriceRow], regions: Sequence[str], *, accept: bool = False
) -> Refreshed:
    """Merge the fresh prices of some regions into the old table, after checking them.

    Args:
        old: The table so far.
        fresh: The prices from the source.
        regions: The regions that were requested.
        accept: Whether to take large price changes, too.

    Raises:
        ConfigError: A price is not above 0, an item has two prices, or there are too few rows: the old table must stay.
    """
    new = _by_key(fresh)
    before = {_key(row): row for row in old}
    for region in regions:
        _check_count(region, old, new.values())
    refused: list[str] = []
    for key, row in list(new.items()):
        was = before.get(key)
        if was is not None and not accept and _jumps(was, row):
            refused.append(f"{' '.join(key[1:4])}: ${was.price:g} to ${row.price:g} is more than {JUMP:.0%}")
            new[key] = was
    merged = {**before, **new}
    return Refreshed(
        tuple(merged[key] for key in sorted(merged)),
        tuple((before[key], row) for key, row in new.items() if key in before and before[key].price != row.price),
        tuple(row for key, row in new.items() if key not in before),
        tuple(refused),
    )


def _key(row: PriceRow) -> tuple[str, ...]:
    return row.platform, row.region, row.usage, row.instance_type, row.unit


def _by_key(rows: Iterable[PriceRow]) -> dict[tuple[str, ...], PriceRow]:
    found: dict[tuple[str, ...], PriceRow] = {}
    for row in rows:
        key = _key(row)
        if row.price is None or row.price <= 0:
            raise ConfigError(
                f"the source gives {' '.join(key[1:4])} the price {row.price}", hint="the old table stays"
            )
        if key in found and found[key].price != row.price:
            raise ConfigError(
                f"the source gives {' '.join(key[1:4])} two prices, {found[key].price:g} and {row.price:g}",
                hint="the old table stays",
            )
        found[key] = row
    return found


def _check_count(region: str, old: Sequence[PriceRow], new: Iterable[PriceRow]) -> None:
    had = sum(row.region == region for row in old)
    came = sum(row.region == region for row in new)
    least = max(1, min(FEWEST, had), int(SHRINK * had))
    if came < least:
        raise ConfigError(
            f"the source gives {came} prices for {region}, the table has {had}", hint="the old table stays"
        )


def _jumps(old: PriceRow, new: PriceRow) -> bool:
    if old.price is None or new.price is None:
        return False
    return abs(new.price - old.price) > JUMP * old.price


def to_csv(rows: Iterable[PriceRow]) -> bytes:
    """Return a table in the form that :func:`sdk.adapter.prices.read_prices` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "unit", "currency"])
    for row in rows:
        writer.writerow([
            row.platform, row.region, row.usage, row.instance_type, f"{row.vcpu:g}", f"{row.memory_gib:g}", row.gpu,
            row.gpu_count, "" if row.price is None else repr(row.price), row.source, row.as_of, row.status, row.unit,
            row.currency,
        ])  # fmt: skip
    return text.getvalue().encode()


def refresh(
    source: PriceSource,
    get: Get,
    old: Sequence[PriceRow],
    regions: Sequence[str],
    *,
    accept: bool = False,
    write: Callable[[bytes], None],
) -> Refreshed:
    """Fetch and check prices, and write the new table; write nothing if a check fails."""
    with foreign.understood("the price list"):
        fresh = list(source.fetch(get, regions, old))
    found = merge(old, fresh, regions, accept=accept)
    write(to_csv(found.rows))
    return found
