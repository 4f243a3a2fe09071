"""What machines cost: by the table that ships until a newer one was fetched."""

from pathlib import Path

from sdk.adapter.prices import refreshed_table
from sdk_vertex._prices import Prices

HEAD = "platform,region,usage,instance_type,vcpu,memory_gib,gpu,gpu_count,usd_per_hour,source,as_of,status\n"
ROW = "vertex,europe-west4,inference,n1-standard-2,3,7.5,,0,0.5,test,2026-11-01,test\n"


def test_a_newer_table_is_used_when_there_is_one(tmp_path: Path) -> None:
    """The price of each replica."""
    shipped = Prices("europe-west4", tmp_path)
    assert 2 * 0.120272 == shipped.of("n1-standard-2", 2, spot=False)
    newer = refreshed_table(tmp_path, "vertex")
    newer.parent.mkdir()
    newer.write_text(HEAD + ROW)
    prices = Prices("europe-west4", tmp_path)
    assert 1.0 == prices.of("n1-standard-2", 2, spot=False)


def test_what_is_not_known_has_no_price(tmp_path: Path) -> None:
    """Neither spare capacity, whose price changes by the day, nor machines and regions that are not in the table."""
    prices = Prices("europe-west4", tmp_path)
    assert prices.of("n1-standard-2", spot=True) is None
    assert prices.of("n1-megamem-96", spot=False) is None
    assert Prices("mars-north1", tmp_path).of("n1-standard-2", spot=False) is None
