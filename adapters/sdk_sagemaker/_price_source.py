"""Sources of Amazon's SageMaker prices: bulk offer files without credentials, or the query API with credentials."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdk.adapter.prices import PriceRow
from sdk.errors import ConfigError
from sdk.util import bounded, foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sdk.client.price_refresh import Get

_URL = "https://pricing.us-east-1.amazonaws.com"
_INDEX = "/offers/v1.0/aws/AmazonSageMaker/current/region_index.json"
_USAGES = {"Hosting": "inference", "Training": "training"}
_NUMBER = re.compile(r"[\d.,]+")
_PAGE = 100


class SagemakerPrices:
    """A reader of the regions' offer files; tests/prices documents their form."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self._url = (url or _URL).rstrip("/")
        self._key = key  # not needed for the bulk files

    def fetch(self, get: Get, regions: Sequence[str], known: Sequence[PriceRow]) -> Iterator[PriceRow]:
        """Yield the prices of all hosting and training instances of some regions."""
        gpus = {row.instance_type: row.gpu for row in known}  # the offer file has the GPU count but no name
        index = get(self._url + _INDEX)
        for region in regions:
            entry = index["regions"].get(region)
            if entry is None:
                raise ConfigError(f"AWS has no SageMaker prices for region {region!r}")
            offer = get(self._url + entry["currentVersionUrl"])
            terms: dict[str, Any] = offer["terms"]["OnDemand"]
            items = ({"product": one, "terms": terms.get(sku, {})} for sku, one in offer["products"].items())
            for row in rows(items, region, offer["publicationDate"][:10], self._url + entry["currentVersionUrl"]):
                yield replace(row, gpu=gpus.get(row.instance_type, row.gpu) if row.gpu_count else "")


def query(client: Any, region: str) -> Iterator[PriceRow]:
    """Yield the same prices from the query API, for users who cannot reach the bulk files.

    Args:
        client: ``boto3.client("pricing", region_name="us-east-1")``; the service exists in three regions only.
        region: The region whose prices are wanted.
    """
    filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
    token: dict[str, str] = {}
    for fetching in bounded.turns("the price list"):
        with fetching:
            page = client.get_products(ServiceCode="AmazonSageMaker", Filters=filters, MaxResults=_PAGE, **token)
        for text in page["PriceList"]:
            item = foreign.parse(text, "the price list")
            flat = {"product": item["product"], "terms": item["terms"].get("OnDemand", {})}
            yield from rows([flat], region, item["publicationDate"][:10], "AWS price list query API")
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def rows(items: Iterable[Mapping[str, Any]], region: str, as_of: str, source: str) -> Iterator[PriceRow]:
    """Yield the price rows of hosting and training instances; skip products that cost nothing or are not instances."""
    for item in items:
        facts = item["product"]["attributes"]
        usage = _USAGES.get(facts.get("component", ""))
        name = facts.get("instanceName", "")
        if usage is None or not name.startswith("ml.") or facts.get("regionCode", region) != region:
            continue
        price = _price(name, item["terms"])
        if price == 0:
            continue
        gpus = int(_number(facts.get("physicalGpu", "0")))
        yield PriceRow(
            platform="sagemaker",
            region=region,
            usage=usage,
            instance_type=name,
            vcpu=_number(facts.get("vCpu", "0")),
            memory_gib=_number(facts.get("memory", "0")),
            gpu=facts.get("gpu", "GPU") if gpus else "",
            gpu_count=gpus,
            price=price,
            source=source,
            as_of=as_of,
            status="quoted",
        )


def _price(name: str, terms: Mapping[str, Any]) -> float:
    """Return the price of an instance-hour; refuse to guess unless there is exactly one."""
    found = [
        dimension
        for term in terms.values()
        for dimension in term["priceDimensions"].values()
        if "USD" in dimension["pricePerUnit"]
    ]
    if len(found) != 1:
        raise ConfigError(f"AWS gives {name} {len(found)} prices", hint="the old table stays")
    if found[0]["unit"].lower() not in {"hrs", "hours"}:
        raise ConfigError(f"AWS prices {name} by {found[0]['unit']!r}, not by hours", hint="the old table stays")
    return float(found[0]["pricePerUnit"]["USD"])


def _number(text: str) -> float:
    match = _NUMBER.search(text)
    return float(match[0].replace(",", "")) if match else 0.0
