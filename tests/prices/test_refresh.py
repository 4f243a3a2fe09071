"""Fresh prices from each of the three services, in their recorded shapes, and the guards that keep a table whole."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.prices import PriceRow, read_prices, refreshed_table
from sdk.client import Client
from sdk.client.price_refresh import GROUP, Get, merge, refresh, source_of, to_csv
from sdk.errors import ConfigError, UnavailableError
from sdk_azureml._price_source import AzurePrices
from sdk_sagemaker._price_source import SagemakerPrices, query
from sdk_vertex._price_source import VertexPrices
from tests.prices.recorded import PriceServer, aws, azure, google, item, product, sku, term

if TYPE_CHECKING:
    from collections.abc import Iterator


ADAPTERS = Path(__file__).resolve().parents[2] / "adapters"


class Patient:
    """A clock that notes how long it was asked to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock() -> Patient:
    return Patient()


@pytest.fixture
def get(clock: Patient) -> Iterator[Get]:
    one = Get(clock)
    yield one
    one.close()


def _row(name: str, price: float | None, region: str = "us-east-1", **more: Any) -> PriceRow:
    given: dict[str, Any] = {
        "platform": "sagemaker", "region": region, "usage": "inference", "instance_type": name, "vcpu": 4,
        "memory_gib": 16, "gpu": "", "gpu_count": 0, "price": price, "source": "old", "as_of": "2026-01-01",
        "status": "unverified-derived",
    }  # fmt: skip
    return PriceRow(**{**given, **more})


# --- the three sources ------------------------------------------------------------------------------------------

OFFER = {
    "A": (product("ml.m5.xlarge", "Hosting"), term("0.2300000000")),
    "B": (product("ml.m5.xlarge", "Training"), term("0.2300000000")),
    "C": (product("ml.m5.xlarge", "Processing"), term("0.2300000000")),
    "D": (product("ml.g5.xlarge", "Hosting", physicalGpu="1", gpu="A10G", memory="16 GiB"), term("1.4080000000")),
    "E": (product("ml.m5.xlarge-Debugger", "Hosting"), term("0.0000000000")),
    "F": ({"productFamily": "ML Serverless", "attributes": {"regionCode": "us-east-1"}}, term("0.00006", "seconds")),
}


def test_aws_bulk_files(get: Get) -> None:
    """Hosting and training, without credentials; free rows and other components are left out."""
    with PriceServer(aws(OFFER)) as server:
        found = list(SagemakerPrices(server.url).fetch(get, ["us-east-1"], []))
    assert [
        ("ml.m5.xlarge", "inference", 0.23),
        ("ml.m5.xlarge", "training", 0.23),
        ("ml.g5.xlarge", "inference", 1.408),
    ] == [(row.instance_type, row.usage, row.price) for row in found]
    assert (4, 16, "A10G", 1) == (found[2].vcpu, found[2].memory_gib, found[2].gpu, found[2].gpu_count)
    assert {("2026-10-01", "quoted", "us-east-1")} == {(row.as_of, row.status, row.region) for row in found}


def test_aws_query_api() -> None:
    """The same from GetProducts, whose items are JSON in strings, page by page."""

    class Pricing:
        def get_products(self, **asked: Any) -> dict[str, Any]:
            assert {"ServiceCode": "AmazonSageMaker", "MaxResults": 100} == {
                key: asked[key] for key in ("ServiceCode", "MaxResults")
            }
            keys = ["A", "B"] if "NextToken" not in asked else ["D"]
            items = [
                json.dumps(
                    {"product": OFFER[key][0], "terms": {"OnDemand": OFFER[key][1]}, "publicationDate": "2026-10-01T0"}
                )
                for key in keys
            ]
            return {"PriceList": items, **({"NextToken": "t"} if len(keys) > 1 else {})}

    found = [(row.instance_type, row.usage, row.price) for row in query(Pricing(), "us-east-1")]
    assert [
        ("ml.m5.xlarge", "inference", 0.23),
        ("ml.m5.xlarge", "training", 0.23),
        ("ml.g5.xlarge", "inference", 1.408),
    ] == found


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({**term("0.23"), "y": term("0.25")["x.JRTCKXETXF"]}, "gives ml.m5.xlarge 2 prices"),
        ({}, "gives ml.m5.xlarge 0 prices"),
        (term("0.23", "seconds"), "by 'seconds', not by hours"),
    ],
)
def test_aws_is_not_guessed_from(get: Get, terms: dict[str, Any], message: str) -> None:
    """Two prices, none, or another unit."""
    with PriceServer(aws({"A": (product("ml.m5.xlarge", "Hosting"), terms)})) as server:
        with pytest.raises(ConfigError, match=message):
            list(SagemakerPrices(server.url).fetch(get, ["us-east-1"], []))
        with pytest.raises(ConfigError, match="no SageMaker prices for region 'mars-1'"):
            list(SagemakerPrices(server.url).fetch(get, ["mars-1"], []))


def test_azure_retail_prices(get: Get) -> None:
    """Every page; Windows, spot, low priority, hosts and reservations are left out, unknown types too."""
    size = _row("Standard_DS3_v2", 0.3, "eastus", platform="azureml", memory_gib=14)
    ds3 = "Standard_DS3_v2"
    pages = [
        [item(ds3, 0.55, productName="Virtual Machines DSv2 Series Windows"), item(ds3, 0.03, skuName="DS3 v2 Spot")],
        [item(ds3, 0.06, meterName="DS3 v2 Low Priority"), item(ds3, 0.293), item("Standard_X", 1.0)],
        [item(ds3, 0.2, type="Reservation"), item(ds3, 9.0, productName="DSv2 Dedicated Host")],
    ]
    url = [""]
    with PriceServer(azure(pages, url)) as server:
        url[0] = server.url
        found = list(AzurePrices(server.url).fetch(get, ["eastus"], [size]))
    assert [("inference", 0.293), ("training", 0.293)] == [(row.usage, row.price) for row in found]
    assert (4, 14, "2026-06-01", "azureml") == (found[0].vcpu, found[0].memory_gib, found[0].as_of, found[0].platform)
    assert 3 == len(server.asked)
    assert "armRegionName eq 'eastus' and priceType eq 'Consumption'" in server.asked[0][1]["$filter"]
    assert "2023-01-01-preview" == server.asked[0][1]["api-version"]
    assert "'primary'" == server.asked[0][1]["meterRegion"], "with its quotes, as the documents have it"


METERS = [
    sku("Vertex AI: Online/Batch Prediction N1 Predefined Instance Core running in Americas", 0.0363527),
    sku("Vertex AI: Online/Batch Prediction N1 Predefined Instance Ram running in Americas", 0.0048725),
    sku("Vertex AI: Online/Batch Prediction N1 Predefined Instance Core running in Americas", 0.01, "Preemptible"),
    sku("Vertex AI: Online/Batch Prediction N2 Predefined Instance Core running in Americas", 0.036),
    sku("Vertex AI: Online/Batch Prediction management fee on N1 Predefined Instance Core running in Americas", 0.005),
    sku("Vertex AI: Online/Batch Prediction Nvidia Tesla T4 GPU running in Americas", 0.4025),
    sku("Vertex AI: Online/Batch Prediction N1 Predefined Instance Ram running in EMEA", 0.0053, regions=("eu",)),
]
N1 = _row("n1-standard-4", 0.2, "us-central1", platform="vertex", memory_gib=15)


def test_google_catalog(get: Get) -> None:
    """Cores, memory and GPUs add up; both names of the product are understood."""
    gpu = _row("n1-standard-4-t4", 0.6, "us-central1", platform="vertex", memory_gib=15, gpu="T4", gpu_count=1)
    renamed = [
        {**one, "description": one["description"].replace("Vertex AI", "Gemini Enterprise Agent Platform")}
        for one in METERS
    ]
    for skus, name in ((METERS, "Vertex AI"), (renamed, "Gemini Enterprise Agent Platform")):
        with PriceServer(google(skus, name)) as server:
            found = list(VertexPrices(server.url, "k1").fetch(get, ["us-central1"], [N1, gpu]))
        assert [0.2184983, 0.6209983] == [row.price for row in found]
        assert {("2026-10-07", "quoted")} == {(row.as_of, row.status) for row in found}


@pytest.mark.parametrize(
    ("skus", "message"),
    [
        (METERS[1:], "0 meters match"),
        ([METERS[0], *METERS], "2 meters match"),
    ],
)
def test_google_descriptions_are_not_guessed_from(get: Get, skus: list[Any], message: str) -> None:
    """None or two for one meter."""
    with PriceServer(google(skus)) as server, pytest.raises(ConfigError, match=message):
        list(VertexPrices(server.url, "k1").fetch(get, ["us-central1"], [N1]))


def test_google_needs_a_key(get: Get) -> None:
    """Without one nothing is asked; with a wrong one the refusal does not show it."""
    with PriceServer(google(METERS)) as server:
        with pytest.raises(ConfigError, match="MLPORT_PRICES_VERTEX_KEY") as missing:
            list(VertexPrices(server.url).fetch(get, ["us-central1"], [N1]))
        assert [] == server.asked
        with pytest.raises(ConfigError, match="status 403") as refused:
            list(VertexPrices(server.url, "wrong-key").fetch(get, ["us-central1"], [N1]))
    assert "wrong-key" not in str(refused.value) + str(missing.value)


# --- asking -----------------------------------------------------------------------------------------------------


def test_busy_services_are_asked_again(clock: Patient, get: Get) -> None:
    """429 and 503, with longer and longer pauses; then it is given up."""
    answers = iter([(429, {}), (503, {}), (200, {"ok": 1})])
    with PriceServer(lambda _path, _query: next(answers)) as server:
        assert {"ok": 1} == get(server.url)
    assert [2.0, 4.0] == clock.slept
    with PriceServer(lambda _path, _query: (503, {})) as server, pytest.raises(UnavailableError, match="status 503"):
        get(server.url)
    assert 4 == len(server.asked)


@pytest.mark.parametrize(("body", "message"), [(b"<html>", "no JSON$"), ([1], "no JSON object")])
def test_answers_that_are_no_object(get: Get, body: Any, message: str) -> None:
    """A login page of a hotel is not a price list."""
    with PriceServer(lambda _path, _query: (200, body)) as server, pytest.raises(ConfigError, match=message):
        get(server.url)


# --- the guards -------------------------------------------------------------------------------------------------

OLD = [_row("a", 1.0), _row("b", 2.0), _row("c", 3.0), _row("d", None), _row("a", 1.1, "eu-west-1")]


def _fresh(**prices: float | None) -> list[PriceRow]:
    return [_row(name, price, source="new", status="quoted") for name, price in prices.items()]


def test_fresh_prices_replace_the_old_ones_of_their_region() -> None:
    """Changed, added, unknown before; other regions stay."""
    found = merge(OLD, _fresh(a=1.2, b=2.0, c=3.0, d=4.0, e=5.0), ["us-east-1"])
    assert [("a", 1.0, 1.2), ("d", None, 4.0)] == [(o.instance_type, o.price, n.price) for o, n in found.changed]
    assert ["e"] == [row.instance_type for row in found.added]
    assert 1.1 == next(row.price for row in found.rows if row.region == "eu-west-1")
    assert 6 == len(found.rows)


@pytest.mark.parametrize(
    ("fresh", "message"),
    [
        ([], "0 prices for us-east-1, the table has 4"),
        (_fresh(a=1.0, b=2.0), "2 prices for us-east-1"),
        (_fresh(a=0.0, b=2.0, c=3.0), "the price 0"),
        (_fresh(a=-1.0, b=2.0, c=3.0), "the price -1"),
        (_fresh(a=None, b=2.0, c=3.0), "the price None"),
        ([*_fresh(a=1.0, b=2.0, c=3.0), *_fresh(a=1.5)], "two prices, 1 and 1.5"),
    ],
)
def test_what_is_refused(tmp_path: Path, fresh: list[PriceRow], message: str) -> None:
    """Too little, nothing, less than nothing, a contradiction: the table stays as it is, byte by byte."""

    class Source:
        def fetch(self, *_: Any) -> list[PriceRow]:
            return fresh

    written: list[bytes] = []
    with pytest.raises(ConfigError, match=message) as caught:
        refresh(Source(), None, OLD, ["us-east-1"], write=written.append)  # type: ignore[arg-type]
    assert [] == written
    assert "the old table stays" in str(caught.value)


def test_jumps_need_to_be_accepted() -> None:
    """More than 60 % up or down is more likely a mistake than a price."""
    fresh = _fresh(a=1.61, b=0.79, c=4.8)
    found = merge(OLD, fresh, ["us-east-1"])
    assert 2 == len(found.refused)
    assert "us-east-1 inference a: $1 to $1.61 is more than 60%" in found.refused
    assert [1.0, 2.0, 4.8] == [row.price for row in found.rows if row.region == "us-east-1"][:3]
    taken = merge(OLD, fresh, ["us-east-1"], accept=True)
    assert (1.61, ()) == (taken.rows[1].price, taken.refused)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    """What is written is read back the same; unknown stays empty, never 0."""
    file = tmp_path / "prices.csv"
    file.write_bytes(to_csv(OLD))
    assert OLD == list(read_prices(file))
    assert "" == next(
        line["usd_per_hour"] for line in csv.DictReader(io.StringIO(file.read_text())) if line["instance_type"] == "d"
    )


def test_the_shipped_tables_survive_a_refresh() -> None:
    """Each adapter's own table can be written and read, and keeps its rows when the same prices come back."""
    for name in ("sagemaker", "azureml", "vertex"):
        table = ADAPTERS / f"sdk_{name}" / "prices.csv"
        if not table.is_file():
            continue
        rows = [row for row in read_prices(table) if row.price is not None]
        regions = sorted({row.region for row in rows})
        found = merge(rows, rows, regions)
        assert ((), (), ()) == (found.changed, found.added, found.refused)
        assert len(rows) == len(found.rows)


def test_sources_are_found_by_provider() -> None:
    """Through the same door as anyone else's."""
    assert SagemakerPrices is source_of("sagemaker")
    assert AzurePrices is source_of("azureml")
    assert VertexPrices is source_of("vertex")
    with pytest.raises(ConfigError, match="did you mean 'sagemaker'"):
        source_of("sagemakr")
    assert "mlport.prices" == GROUP


def test_a_refreshed_table_is_used_from_then_on(tmp_path: Path) -> None:
    """Through the client: fetched once, kept in the state folder, read by the adapter; a refused one is not kept."""
    shipped = [row for row in read_prices(ADAPTERS / "sdk_sagemaker" / "prices.csv") if row.region == "us-east-1"]
    products = {
        f"S{place}": (
            product(row.instance_type, {"inference": "Hosting", "training": "Training"}[row.usage]),
            term(f"{(row.price or 1.0) * 1.1:.10f}"),
        )
        for place, row in enumerate(shipped)
    }
    config = {"default": "aws", "target": {"aws": {"provider": "sdk_sagemaker:SagemakerAdapter", "region": "us-east-1",
                                                   "role": "arn:aws:iam::123456789012:role/x"}}}  # fmt: skip
    with PriceServer(aws(products)) as server:
        env = {"MLPORT_STATE_DIR": str(tmp_path), "MLPORT_PRICES_SAGEMAKER_URL": server.url, "HOME": str(tmp_path)}
        with Client(config, env=env) as client:
            before = client.prices(instance="ml.m5.xlarge")
            found = client.refresh_prices()
        with Client(config, env=env) as client:
            after = client.prices(instance="ml.m5.xlarge")
    assert len(shipped) == len(found.changed)
    assert [0.23, 0.253] == [
        next(row.price for row in rows if (row.region, row.usage) == ("us-east-1", "inference"))
        for rows in (before, after)
    ]
    kept = refreshed_table(tmp_path, "sagemaker").read_bytes()
    with (
        PriceServer(aws({"S0": products["S0"]})) as server,
        Client(config, env={**env, "MLPORT_PRICES_SAGEMAKER_URL": server.url}) as client,
        pytest.raises(ConfigError, match="the old table stays"),
    ):
        client.refresh_prices()
    assert kept == refreshed_table(tmp_path, "sagemaker").read_bytes()
