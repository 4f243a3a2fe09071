"""The thin path for real: pack, deploy, call, count, update, delete, with processes of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk.errors import InvalidInputError, ModelError
from sdk.packaging.model import model

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPORT_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        with Client(env={}, config={"state_dir": str(tmp_path_factory.mktemp("state")), "default": "local"}) as made:
            yield made


def fragile(bias: float) -> Any:
    def predict(rows: Any) -> list[float]:
        if float(rows[0][0]) < 0:
            raise RuntimeError("told to fail")
        return [float(row[0]) + bias for row in rows]

    return predict


def test_counts_are_exact_and_smoke_tests_are_no_traffic(client: Client) -> None:
    """After 200 good, 10 wrong and 5 failing requests the monitor shows exactly these, and the update lost none."""
    first = model(fragile(0.0), name="counted", example=[[1.0, 2.0]], rowwise=True)
    endpoint = client.deploy(first)
    try:
        for turn in range(200):
            assert [float(turn)] == endpoint.predict([[turn, 0.0]]).values
        for _ in range(10):
            with pytest.raises(InvalidInputError):
                endpoint.predict([[1.0]])
        for _ in range(5):
            with pytest.raises(ModelError):
                endpoint.predict([[-1.0, 0.0]])
        watch = endpoint.monitor(window="10m")
        assert {"2xx": 200, "4xx": 10, "5xx": 5} == {key: count for key, count in watch.requests.items() if count}
        assert ("gateway", 215) == (watch.latency[0].scope, watch.latency[0].count)
        assert watch.ok
        client.deploy(model(fragile(100.0), name="counted", example=[[1.0, 2.0]], rowwise=True))
        assert [101.0] == endpoint.predict([[1.0, 0.0]]).values
        assert [1.0] == endpoint.rollback().predict([[1.0, 0.0]]).values
        rows = [[float(place), 0.5] for place in range(60_000)]
        assert [row[0] for row in rows] == endpoint.predict(rows).values
    finally:
        endpoint.delete()
    assert ([], []) == (client.list(), client.gc().orphans)
