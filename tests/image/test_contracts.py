"""One image on every platform: the same requests get the same bytes, on each route, as each user, and on `local`."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

import sdk

pytestmark = pytest.mark.docker

ROWS = np.array([[1.0, 2.0, 3.5], [0.1, -2.5, 1e-9]])
MODEL_DIR = "/var/azureml-app/azureml-models/double/1"
VERTEX = "/v1/endpoints/4711/deployedModels/42"
HARDENED: dict[str, Any] = {
    "ReadonlyRootfs": True,
    "Tmpfs": {"/tmp": "rw,noexec,nosuid,size=64m"},
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "PidsLimit": 100,
}


class Contract(NamedTuple):
    """How a platform starts the image, where it asks for predictions, and where for its health."""

    health: str
    routes: tuple[str, ...]
    env: tuple[str, ...] = ()
    command: list[str] | None = None
    port: int = 8080
    mount: str | None = None


CONTRACTS = {
    "sagemaker": Contract(
        "/ping",
        ("/invocations",),
        ("AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "SAGEMAKER_SAFE_PORT_RANGE=21000-21255"),
        ["serve"],
    ),
    "sagemaker-model-data": Contract("/ping", ("/invocations",), (), ["serve"], mount="/opt/ml/model"),
    "vertex": Contract(
        VERTEX,
        (f"{VERTEX}:predict",),
        (
            "AIP_HTTP_PORT=7080", f"AIP_HEALTH_ROUTE={VERTEX}", f"AIP_PREDICT_ROUTE={VERTEX}:predict",
            "AIP_STORAGE_URI=", "AIP_MODE=PREDICTION", "AIP_MODE_VERSION=1.0.0", "AIP_FRAMEWORK=CUSTOM_CONTAINER",
            "AIP_ENDPOINT_ID=4711", "AIP_DEPLOYED_MODEL_ID=42", "AIP_MODEL_NAME=4711", "AIP_VERSION_NAME=42",
            "AIP_PROJECT_NUMBER=1", "AIP_MACHINE_TYPE=n1-standard-2",
        ),
        port=7080,
    ),
    "azure": Contract(
        "/v2/health/ready",
        ("/score", "/invocations", "/v2/models/double/infer"),
        (f"AZUREML_MODEL_DIR={MODEL_DIR}",),
        mount=f"{MODEL_DIR}/double",
    ),
    "v2": Contract("/v2/health/ready", ("/v2/models/double/infer",)),
}  # fmt: skip
USERS = {
    "root": ("", {}),
    "hardened": ("65532:65532", HARDENED),
    "hardened-root": ("0", HARDENED),
    "other": ("1001", {}),
}
SAMPLE = {
    ("sagemaker", "root"),
    ("vertex", "root"),
    ("azure", "other"),
    ("v2", "hardened"),
}


def _cells() -> Iterator[Any]:
    for contract in CONTRACTS:
        for user in USERS:
            marks = () if (contract, user) in SAMPLE else (pytest.mark.full,)
            yield pytest.param(contract, user, marks=marks, id=f"{contract}-{user}")


class Answer(NamedTuple):
    """All of an answer that a caller could rely on."""

    status: int
    content_type: str
    body: bytes


def _npy(rows: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, rows, allow_pickle=False)
    return file.getvalue()


_TENSOR = {"name": "input", "shape": [2, 3], "datatype": "FP64", "data": ROWS.ravel().tolist()}
JSON, NPY = "application/json", "application/x-npy"
BODIES: dict[str, tuple[str, bytes]] = {
    "instances": (JSON, json.dumps({"instances": ROWS.tolist()}).encode()),
    "bare rows": (JSON, json.dumps(ROWS.tolist()).encode()),
    "csv": ("text/csv", "\n".join(",".join(map(str, row)) for row in ROWS.tolist()).encode()),
    "npy": (NPY, _npy(ROWS)),
    "wrong field": (JSON, b'{"instance": [[1, 2, 3]]}'),
    "wrong shape": (JSON, b'{"instances": [[1, 2]]}'),
    "not json": (JSON, b"{"),
}
TENSORS: dict[str, tuple[str, bytes]] = {
    "tensor": (JSON, json.dumps({"id": "1", "inputs": [_TENSOR]}).encode()),
    "wrong tensor": (JSON, json.dumps({"id": "1", "inputs": [{**_TENSOR, "shape": [3, 3]}]}).encode()),
}


def _ask(url: str, route: str, headers: dict[str, str]) -> dict[str, Answer]:
    """The answers of one route by the name of the request."""
    found: dict[str, Answer] = {}
    for name, (kind, body) in (TENSORS if route.endswith("/infer") else BODIES).items():
        given = {**headers, "content-type": kind, "accept": kind, "x-request-id": "fixed"}
        reply = httpx.post(f"{url}{route}", content=body, headers=given)
        found[name] = Answer(reply.status_code, reply.headers["content-type"], reply.content)
    return found


@pytest.fixture(scope="module")
def on_local(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Answer]]:
    """What a deployment of the same model on `local` answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPORT_STATE_DIR", str(tmp_path_factory.mktemp("local-state")))
        with sdk.Client({"default": "local"}) as client:
            client.deploy(world.model)
            request = client.request("double", ROWS.tolist())
            url = str(request.url.copy_with(path="")).rstrip("/")
            headers = {"authorization": request.headers["authorization"]}
            try:
                yield {**_ask(url, "/invocations", headers), **_ask(url, "/v2/models/double/infer", headers)}
            finally:
                client.delete("double")


@pytest.mark.parametrize(("contract", "user"), list(_cells()))
def test_same_bytes_everywhere(
    world: Any, start: Callable[..., Any], on_local: dict[str, Answer], contract: str, user: str
) -> None:
    """Predictions, tensors, arrays and refusals are what `local` answers, byte for byte, on each route."""
    way, (name, host) = CONTRACTS[contract], USERS[user]
    binds = [f"{world.model.path}:{way.mount}:ro"] if way.mount else []
    options = {"Cmd": way.command} if way.command else {}
    container = start(
        world.image.id, port=way.port, Env=list(way.env), User=name, host={**host, "Binds": binds}, **options
    )
    url = container.address(way.port)
    assert 200 == httpx.get(f"{url}{way.health}").status_code
    for route in way.routes:
        expected = {key: on_local[key] for key in (TENSORS if route.endswith("/infer") else BODIES)}
        assert expected == _ask(url, route, {}), route
        assert 415 == httpx.post(f"{url}{route}", content="1,2", headers={"content-type": "image/png"}).status_code
    assert world.image.id == container.inspect()["Image"]


def test_answers_are_those_of_the_model(on_local: dict[str, Answer]) -> None:
    """What is compared above is right, and each wrong request was refused by its own status."""
    assert {"predictions": (ROWS * 2).tolist()} == json.loads(on_local["instances"].body)
    assert (ROWS * 2).ravel().tolist() == json.loads(on_local["tensor"].body)["outputs"][0]["data"]
    assert np.array_equal(ROWS * 2, np.load(io.BytesIO(on_local["npy"].body)))
    statuses = {name: answer.status for name, answer in on_local.items() if answer.status != 200}
    assert json.loads(on_local["instances"].body) == json.loads(on_local["bare rows"].body)
    assert {"wrong field": 400, "wrong shape": 400, "not json": 400, "wrong tensor": 400} == statuses
