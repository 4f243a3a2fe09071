"""The default answer: given instead of a late one or a refusal, marked, and checked when the model is packed."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sdk.errors import ConfigError
from sdk.packaging.model import model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNATURE = {
    "inputs": [{"name": "input", "dtype": "float64", "shape": [-1, 1]}],
    "outputs": [{"name": "score", "dtype": "float64", "shape": [-1]}],
    "columns": None,
    "rowwise": True,
    "allow_nan": False,
}


def sleeping(rows: Any) -> Any:
    import time

    if rows[0][0] < 0:
        raise ValueError("negative")
    time.sleep(float(rows[0][0]))
    return [float(row[0]) for row in rows]


@pytest.fixture
def served(bundles: Any, start: Callable[..., Any]) -> Iterator[Callable[..., tuple[Any, httpx.Client]]]:
    clients: list[httpx.Client] = []

    def run(*, options: dict[str, Any], **env: str) -> tuple[Any, httpx.Client]:
        server = start(bundles.function(sleeping, signature=SIGNATURE, options=options), **env).ready()
        clients.append(httpx.Client(base_url=server.url, trust_env=False, timeout=30))
        return server, clients[-1]

    yield run
    for one in clients:
        one.close()


def ask(client: httpx.Client, *rows: float, **headers: str) -> httpx.Response:
    return client.post("/invocations", json={"instances": [[row] for row in rows]}, headers=headers)


def test_a_late_answer_is_replaced(served: Any, tools: Any) -> None:
    """One default for each row, marked in header, body, log and metrics; answers in time are the model's own."""
    server, client = served(options={"p95_ms": 250, "default": -1})
    own = ask(client, 0.0, 0.0)
    assert own.json() == {"predictions": [0.0, 0.0]}
    assert "x-mlport-default" not in own.headers
    late = ask(client, 2.0, 0.0)
    assert late.json() == {"predictions": [-1, -1], "default": True}
    assert late.headers["x-mlport-default"] == "1"
    tools.eventually(lambda: [one for one in server.events("request") if one.get("default") and one["status"] == 200])
    assert "mlport_defaults_total 1" in client.get("/metrics").text


def test_the_forms_of_a_default_answer(served: Any) -> None:
    """Arrays, lines, events and the Open Inference Protocol have it too."""
    _, client = served(options={"p95_ms": 150, "default": 7})
    npy = ask(client, 1.0, accept="application/x-npy")
    assert np.load(io.BytesIO(npy.content)).tolist() == [7]
    assert npy.headers["x-mlport-default"] == "1"
    tensor = {"name": "input", "datatype": "FP64", "shape": [1, 1], "data": [1.0]}
    v2 = client.post("/v2/models/churn/infer", json={"inputs": [tensor]})
    assert v2.json()["outputs"][0]["data"] == [7]
    assert v2.headers["x-mlport-default"] == "1"
    events = ask(client, 1.0, accept="text/event-stream")
    assert events.text.startswith("data: 7\n\n")


def test_a_default_that_is_no_array_is_json_for_a_request_that_is_one(bundles: Any, start: Callable[..., Any]) -> None:
    """The form of a request binds the default answer no more than the model's own."""
    options = {"p95_ms": 100, "default": {"mean": 0.5, "note": None}}
    server = start(bundles.function(sleeping, options=options)).ready()
    body = io.BytesIO()
    np.save(body, np.array([[1.0]]))
    headers = {"content-type": "application/x-npy"}
    answer = httpx.post(f"{server.url}/invocations", content=body.getvalue(), headers=headers, trust_env=False)
    assert answer.json() == {"predictions": {"mean": 0.5, "note": None}, "default": True}


def test_an_overloaded_server_gives_it_at_once(served: Any) -> None:
    """Requests that find the queue full do not wait, and none of them is an error."""
    _, client = served(options={"p95_ms": 1500, "default": -1}, MLPORT_MAX_QUEUE="0", MLPORT_MAX_BATCH="1")
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(ask(client, 0.5).json())) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found.count({"predictions": [0.5]}) >= 1
    assert {"predictions": [-1], "default": True} in found
    assert len([one for one in found if "predictions" in one]) == 6


def test_what_it_does_not_replace(served: Any) -> None:
    """The model's errors, wrong input, and the client's own shorter deadline."""
    _, client = served(options={"p95_ms": 1000, "default": -1})
    assert ask(client, -1.0).status_code == 500
    assert client.post("/invocations", json={"instances": [["x"]]}).status_code == 400
    assert ask(client, 2.0, **{"x-mlport-deadline-ms": "100"}).status_code == 504


def test_without_an_objective_there_is_none(served: Any) -> None:
    """The operator's objective replaces that of the model."""
    _, client = served(options={"default": -1})
    assert ask(client, 0.3).json() == {"predictions": [0.3]}
    _, client = served(options={"default": -1}, MLPORT_P95_MS="100")
    assert ask(client, 1.0).json()["default"]


ROWS = np.eye(3)
FITTED = LogisticRegression().fit(ROWS, ["a", "b", "c"])


def several(rows: Any) -> Any:
    return {"label": ["x"] * len(rows), "score": rows}


def whole(rows: Any) -> Any:
    return {"mean": float(rows.mean())}


def yielding(rows: Any) -> Any:
    yield from rows.tolist()


@pytest.mark.parametrize(
    ("obj", "default", "more"),
    [
        (FITTED, "b", {}),
        (FITTED, np.array([0.2, 0.3, 0.5]), {"method": "predict_proba"}),
        (several, {"label": "x", "score": [0, 0, 0]}, {"rowwise": True}),
        (whole, {"mean": 0.5}, {}),
    ],
)
def test_a_default_that_fits(obj: Any, default: Any, more: dict[str, Any]) -> None:
    """Labels, rows of a matrix, objects of several outputs, whole answers."""
    packed = model(obj, name="with", example=ROWS, p95_ms=50, default=default, **more)
    assert packed.manifest is not None
    assert packed.manifest.options["default"] == (default.tolist() if hasattr(default, "tolist") else default)


@pytest.mark.parametrize(
    ("obj", "default", "said", "more"),
    [
        (FITTED, 0, "default: output 'predict' has the type int64, the model's string", {}),
        (FITTED, [0.5, 0.5], r"has shape \[2\] in each row, the model's \[3\]", {"method": "predict_proba"}),
        (several, {"label": "x"}, "it has the outputs label, the model label, score", {"rowwise": True}),
        (FITTED, object(), "default: the model's output has no JSON form", {}),
        (yielding, 0.0, "the model yields its answer, which has no default", {}),
    ],
)
def test_a_default_that_the_model_could_not_give(obj: Any, default: Any, said: str, more: dict[str, Any]) -> None:
    """It is refused when the model is packed, not when an answer is late."""
    with pytest.raises(ConfigError, match=said):
        model(obj, name="with", example=ROWS, p95_ms=50, default=default, **more)


def test_a_default_for_each_row_needs_independent_rows() -> None:
    """Else one value would be the answer to any number of rows."""

    def each(rows: Any) -> Any:
        return [float(row[0]) for row in rows]

    with pytest.raises(ConfigError, match="one value per row") as refused:
        model(each, name="with", example=ROWS, p95_ms=50, default=-1.0)
    assert "rowwise=True" in str(refused.value.hint)
    model(each, name="with", example=ROWS, p95_ms=50, default=-1.0, rowwise=True)


def test_a_default_needs_an_objective() -> None:
    """Without one there is no moment at which it is given; None is a default like any other value."""
    with pytest.raises(ConfigError, match="default needs p95_ms"):
        model(whole, name="with", example=ROWS, default=None)
