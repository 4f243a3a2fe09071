"""Where Amazon publishes the prices of SageMaker: bulk offer files without credentials, or the query API with them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdk import bounded, foreign
from sdk.errors import ConfigError
from sdk.prices import PriceRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sdk.price_refresh import Get

_URL = "https://pricing.us-east-1.amazonaws.com"
_INDEX = "/offers/v1.0/aws/AmazonSageMaker/current/region_index.json"
_USAGES = {"Hosting": "inference", "Training": "training"}
_NUMBER = re.compile(r"[\d.,]+")
_PAGE = 100


class SagemakerPrices:
    """Reads the offer files of the regions; the documented shape is in tests/prices."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self._url = (url or _URL).rstrip("/")
        self._key = key  # the bulk files need none

    def fetch(self, get: Get, regions: Sequence[str], known: Sequence[PriceRow]) -> Iterator[PriceRow]:
        """All hosting and training instances of some regions."""
        gpus = {row.instance_type: row.gpu for row in known}  # the offer file counts them, but has no name for them
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
    """The same by the query API, for who may not reach the bulk files.

    Args:
        client: ``boto3.client("pricing", region_name="us-east-1")``; the service lives in three regions only.
        region: The region whose prices are wanted.
    """
    filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
    token: dict[str, str] = {}
    for _ in bounded.turns("the price list"):
        page = client.get_products(ServiceCode="AmazonSageMaker", Filters=filters, MaxResults=_PAGE, **token)
        for text in page["PriceList"]:
            item = foreign.parse(text, "the price list")
            flat = {"product": item["product"], "terms": item["terms"].get("OnDemand", {})}
            yield from rows([flat], region, item["publicationDate"][:10], "AWS price list query API")
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def rows(items: Iterable[Mapping[str, Any]], region: str, as_of: str, source: str) -> Iterator[PriceRow]:
    """The rows of some products: instances for hosting and training; what costs nothing or is no instance is left."""
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
    """The one price of an instance-hour: anything but exactly one is not guessed from."""
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
