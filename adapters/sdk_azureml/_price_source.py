"""Microsoft's published prices of virtual machines; Azure ML charges nothing on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.adapter.prices import PriceRow
from sdk.errors import ConfigError
from sdk.util import bounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdk.client.price_refresh import Get

_URL = "https://prices.azure.com/api/retail/prices"
_VERSION = "2023-01-01-preview"
_MOST_PAGES = 500


class AzurePrices:
    """A reader of the Retail Prices API, which needs no account."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self._url = url or _URL
        self._key = key  # not needed

    def fetch(self, get: Get, regions: Sequence[str], known: Sequence[PriceRow]) -> Iterator[PriceRow]:
        """Yield prices in some regions of the types in ``known``, since the API does not return a machine's size."""
        sizes = {row.instance_type: row for row in known}
        for region in regions:
            for item in self._items(get, region):
                size = sizes.get(item["armSkuName"])
                if size is not None and ordinary(item):
                    yield from (_row(item, size, region, usage) for usage in ("inference", "training"))

    def _items(self, get: Get, region: str) -> Iterator[Mapping[str, Any]]:
        wanted = f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}' and priceType eq 'Consumption'"
        first = {"api-version": _VERSION, "currencyCode": "USD", "meterRegion": "'primary'", "$filter": wanted}
        page = get(self._url, first)
        for fetching in bounded.turns(f"the price list of {region}", _MOST_PAGES):
            yield from page["Items"]
            following = page.get("NextPageLink")
            if not following:
                return
            with fetching:
                page = get(following)


def ordinary(item: Mapping[str, Any]) -> bool:
    """Check for the on-demand price of a Linux machine: not Windows, spot, low priority or a dedicated host."""
    product, sku = item["productName"], item["skuName"]
    if product.endswith((" Windows", " Win")) or "Dedicated Host" in product or "Cloud Services" in product:
        return False
    if any(word in text for text in (sku, item["meterName"]) for word in (" Spot", " Low Priority")):
        return False
    return bool(item["type"] == "Consumption" and item["unitOfMeasure"] == "1 Hour" and not item["tierMinimumUnits"])


def _row(item: Mapping[str, Any], size: PriceRow, region: str, usage: str) -> PriceRow:
    if item["currencyCode"] != "USD":
        raise ConfigError(f"Azure gives {size.instance_type} a price in {item['currencyCode']}, not in USD")
    return PriceRow(
        platform="azureml",
        region=region,
        usage=usage,
        instance_type=size.instance_type,
        vcpu=size.vcpu,
        memory_gib=size.memory_gib,
        gpu=size.gpu,
        gpu_count=size.gpu_count,
        price=float(item["retailPrice"]),
        source="Azure Retail Prices API; Azure ML adds no surcharge",
        as_of=item["effectiveStartDate"][:10],
        status="quoted",
    )
