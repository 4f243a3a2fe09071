"""Source of Google's Vertex AI prices: billing meters of cores, memory and GPUs, found by their descriptions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sdk.adapter.prices import PriceRow
from sdk.errors import ConfigError
from sdk.util import bounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdk.client.price_refresh import Get

_URL = "https://cloudbilling.googleapis.com"
_SERVICE = "Vertex AI"
_PRODUCT = r"(?:Vertex AI|Gemini Enterprise Agent Platform)"  # renamed in 2026; both names are in use
_USES = {"inference": r"Online/Batch Prediction", "training": r"(?:Custom )?Training(?:/Pipelines)?"}
_GPUS = {
    "T4": r"Nvidia Tesla T4 GPU",
    "L4": r"Nvidia L4 GPU",
    "A100-40GB": r"Nvidia Tesla A100 GPU",
    "A100-80GB": r"Nvidia Tesla A100 80GB GPU",
    "H100-80GB": r"Nvidia H100 80GB GPU",
}
_FAMILIES = ("a2", "a3", "c2", "c3", "e2", "g2", "n1", "n2", "n2d")
_PAGE = "5000"


class VertexPrices:
    """A reader of the Cloud Billing Catalog; it needs only an API key."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self._url = (url or _URL).rstrip("/")
        self._key = key

    def fetch(self, get: Get, regions: Sequence[str], known: Sequence[PriceRow]) -> Iterator[PriceRow]:
        """Yield the prices of the machine types of ``known`` in some regions, each as the sum of its meters."""
        if not self._key:
            raise ConfigError("the Cloud Billing Catalog needs an API key", hint="set MLPORT_PRICES_VERTEX_KEY")
        meters = [sku for sku in self._skus(get) if sku["category"]["usageType"] == "OnDemand"]
        types = {(row.usage, row.instance_type): row for row in known}
        for region in regions:
            here = [sku for sku in meters if region in sku["serviceRegions"]]
            for usage, name in sorted(types):
                yield _machine(here, types[usage, name], region)

    def _skus(self, get: Get) -> Iterator[Mapping[str, Any]]:
        service = self._service(get)
        token = ""
        for fetching in bounded.turns("the price list"):
            params = {"key": self._key or "", "currencyCode": "USD", "pageSize": _PAGE, "pageToken": token}
            with fetching:
                page = get(f"{self._url}/v1/{service}/skus", params)
            yield from page.get("skus", [])
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _service(self, get: Get) -> str:
        """Return the resource name of the service, which is only documented in the list of services."""
        token = ""
        for fetching in bounded.turns("the list of services"):
            with fetching:
                page = get(f"{self._url}/v1/services", {"key": self._key or "", "pageSize": _PAGE, "pageToken": token})
            for one in page.get("services", []):
                if re.search(rf"^{_PRODUCT}\b|\({_SERVICE}\)", one["displayName"]):
                    return str(one["name"])
            token = page.get("nextPageToken", "")
            if not token:
                break
        raise ConfigError(f"Google lists no service {_SERVICE!r}", hint="the old table stays")


def _machine(skus: Sequence[Mapping[str, Any]], size: PriceRow, region: str) -> PriceRow:
    """Return the price of one machine type: cores, memory and GPUs, each by its own meter."""
    family = size.instance_type.partition("-")[0]
    if family not in _FAMILIES:
        raise ConfigError(f"the meters of the family {family!r} are not known", hint="the old table stays")
    kind = rf"{_PRODUCT}: {_USES[size.usage]} (?:on )?{family.upper()} Predefined Instance"
    core, core_seen = _meter(skus, rf"^{kind} Core running in", region)
    ram, ram_seen = _meter(skus, rf"^{kind} Ram running in", region)
    price, seen = size.vcpu * core + size.memory_gib * ram, min(core_seen, ram_seen)
    if size.gpu_count:
        each, gpu_seen = _meter(skus, rf"^{_PRODUCT}: {_USES[size.usage]} (?:on )?{_gpu(size)} running in", region)
        price, seen = price + size.gpu_count * each, min(seen, gpu_seen)
    return PriceRow(
        platform="vertex",
        region=region,
        usage=size.usage,
        instance_type=size.instance_type,
        vcpu=size.vcpu,
        memory_gib=size.memory_gib,
        gpu=size.gpu,
        gpu_count=size.gpu_count,
        price=round(price, 7),
        source="Google Cloud Billing Catalog: the sum of the meters for cores, memory and GPUs",
        as_of=seen,
        status="quoted",
    )


def _gpu(size: PriceRow) -> str:
    if size.gpu not in _GPUS:
        raise ConfigError(f"the meter of the GPU {size.gpu!r} is not known", hint="the old table stays")
    return _GPUS[size.gpu]


def _meter(skus: Sequence[Mapping[str, Any]], pattern: str, region: str) -> tuple[float, str]:
    """Return price and date of the only meter whose description matches; refuse to guess from none or several."""
    found = [sku for sku in skus if re.search(pattern, sku["description"])]
    if len(found) != 1:
        what = f"{len(found)} meters match {pattern!r} in {region}"
        raise ConfigError(f"Google Cloud Billing Catalog: {what}, not one", hint="the old table stays")
    info = found[0]["pricingInfo"][-1]
    rate = info["pricingExpression"]["tieredRates"][-1]["unitPrice"]
    return int(rate["units"]) + rate["nanos"] / 1e9, info["effectiveTime"][:10]
