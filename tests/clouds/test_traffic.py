"""Counting requests, percentiles, and bringing logs to where a cloud keeps them."""

import statistics
import time
from collections import defaultdict

import pytest

from sdk_contract.clouds.runners import Running
from sdk_contract.clouds.traffic import Collector, Sample, Traffic, percentile, statistic


def test_samples_by_deployment_and_time() -> None:
    """A window takes its beginning and not its end; what is forgotten is gone."""
    traffic = Traffic()
    for at in (10.0, 20.0, 30.0):
        traffic.add(("churn", "blue"), Sample(at, 200, at / 100))
    traffic.add(("churn", "green"), Sample(15.0, 500, 1.0))
    assert [0.1, 0.2] == [one.model_s for one in traffic.between(("churn", "blue"), 10, 30)]
    assert {("churn", "blue"), ("churn", "green")} == set(traffic.deployments())
    traffic.forget(("churn", "blue"))
    assert [] == traffic.between(("churn", "blue"), 0, 100)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_percentiles_are_those_of_the_standard_library(count: int) -> None:
    """The same as `statistics.quantiles` by its inclusive method, which is linear interpolation."""
    values = [float((i * 37) % 101) for i in range(count)]
    if count > 1:
        expected = statistics.quantiles(values, n=100, method="inclusive")
        found = [percentile(values, percent) for percent in range(1, 100)]
        assert expected == pytest.approx(found)
    assert (min(values), max(values)) == (percentile(values, 0), percentile(values, 100))
    assert (count, sum(values)) == (statistic(values, "count"), statistic(values, "sum"))
    assert statistics.fmean(values) == pytest.approx(statistic(values, "average"))
    assert (min(values), max(values)) == (statistic(values, "minimum"), statistic(values, "maximum"))


class Talker(Running):
    """Something that speaks when told to."""

    def __init__(self) -> None:
        self.name, self.said = "talker", list[tuple[float, str]]()
        self.code: int | None = None

    def logs(self) -> list[tuple[float, str]]:
        return list(self.said)

    @property
    def exit_code(self) -> int | None:
        return self.code

    def stop(self, grace_s: float = 30.0) -> None:
        self.code = 0

    def usage(self) -> tuple[float, int]:
        return 0.0, 0


def test_each_line_is_brought_once_and_the_last_ones_too() -> None:
    """In the background and on demand; after its end a source is read once more and then left."""
    kept: dict[str, list[str]] = defaultdict(list)
    collector = Collector(lambda key, lines: kept[key].extend(text for _, text in lines), every_s=0.01)
    talker = Talker()
    collector.watch("a", talker)
    talker.said.append((1.0, "one"))
    end = time.monotonic() + 10
    while not kept["a"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    talker.said += [(2.0, "two"), (3.0, "three")]
    talker.stop()
    collector.collect()
    talker.said.append((4.0, "never"))
    collector.collect()
    collector.close()
    assert ["one", "two", "three"] == kept["a"]
