"""The price services as local servers, answering in the shapes that the real ones were recorded with."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = tuple[int, Any]


class PriceServer:
    """Answers GETs by a function of path and query; keeps what was asked."""

    def __init__(self, answer: Callable[[str, dict[str, str]], Answer]) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        asked = self.asked

        class Handling(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                asked.append((parts.path, query))
                status, body = answer(parts.path, query)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handling)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


# --- AWS --------------------------------------------------------------------------------------------------------


def product(name: str, component: str, region: str = "us-east-1", **more: str) -> dict[str, Any]:
    facts = {"instanceName": name, "component": component, "regionCode": region, "vCpu": "4", "memory": "16 GiB"}
    return {"productFamily": "ML Instance", "attributes": {**facts, "physicalGpu": "N/A", **more}}


def term(usd: str, unit: str = "Hrs") -> dict[str, Any]:
    return {"x.JRTCKXETXF": {"priceDimensions": {"x.JRTCKXETXF.6YS6EN2CT7": {
        "unit": unit, "description": f"${usd} per Hosting hour", "pricePerUnit": {"USD": usd},
    }}}}  # fmt: skip


def aws(products: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> Callable[[str, dict[str, str]], Answer]:
    """The bulk offer files of one region."""
    base = "/offers/v1.0/aws/AmazonSageMaker"
    place = f"{base}/20261001000000/us-east-1/index.json"
    index = {"publicationDate": "2026-10-01T00:00:00Z", "regions": {
        "us-east-1": {"regionCode": "us-east-1", "currentVersionUrl": place},
    }}  # fmt: skip
    offer = {
        "publicationDate": "2026-10-01T00:00:00Z",
        "products": {sku: {"sku": sku, **one} for sku, (one, _) in products.items()},
        "terms": {"OnDemand": {sku: terms for sku, (_, terms) in products.items()}},
    }
    files = {f"{base}/current/region_index.json": index, place: offer}
    return lambda path, _query: (200, files[path]) if path in files else (404, {})


# --- Azure ------------------------------------------------------------------------------------------------------


def item(sku: str, usd: float, **more: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD", "tierMinimumUnits": 0.0, "retailPrice": usd, "unitPrice": usd, "armRegionName": "eastus",
        "location": "US East", "effectiveStartDate": "2026-06-01T00:00:00Z", "meterName": sku, "skuName": sku,
        "productName": "Virtual Machines DSv2 Series", "serviceName": "Virtual Machines", "unitOfMeasure": "1 Hour",
        "type": "Consumption", "isPrimaryMeterRegion": True, "armSkuName": sku, **more,
    }  # fmt: skip


def azure(pages: list[list[dict[str, Any]]], url: list[str]) -> Callable[[str, dict[str, str]], Answer]:
    """Pages that name the next one; ``url`` gets the address of the server when it is known."""

    def answer(_path: str, query: dict[str, str]) -> Answer:
        place = int(query.get("$skip", "0"))
        following = f"{url[0]}/?$skip={place + 1}" if place + 1 < len(pages) else None
        return 200, {"BillingCurrency": "USD", "Items": pages[place], "NextPageLink": following, "Count": 1}

    return answer


# --- Google -----------------------------------------------------------------------------------------------------


def sku(description: str, usd: float, usage: str = "OnDemand", regions: tuple[str, ...] = ("us-central1",)) -> Any:
    units, nanos = divmod(round(usd * 1e9), 1_000_000_000)
    return {
        "name": "services/C7E2/skus/1", "skuId": "1", "description": description,
        "category": {"serviceDisplayName": "Vertex AI", "resourceFamily": "Compute", "usageType": usage},
        "serviceRegions": list(regions),
        "pricingInfo": [{"effectiveTime": "2026-10-07T00:00:00Z", "pricingExpression": {
            "usageUnit": "h", "tieredRates": [
                {"startUsageAmount": 0, "unitPrice": {"currencyCode": "USD", "units": str(units), "nanos": nanos}},
            ],
        }}],
    }  # fmt: skip


def google(skus: list[Any], name: str = "Vertex AI") -> Callable[[str, dict[str, str]], Answer]:
    """The catalog, in pages of three."""

    def answer(path: str, query: dict[str, str]) -> Answer:
        if query.get("key") != "k1":
            return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}
        if path == "/v1/services":
            listed = [{"name": "services/6F81", "displayName": "Compute Engine"}]
            return 200, {"services": [*listed, {"name": "services/C7E2", "displayName": name}]}
        place = int(query.get("pageToken") or 0)
        following = str(place + 3) if place + 3 < len(skus) else ""
        return 200, {"skus": skus[place : place + 3], "nextPageToken": following}

    return answer
