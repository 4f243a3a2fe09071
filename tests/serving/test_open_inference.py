"""The Open Inference Protocol: its schemas, its own client, its binary extension, and wrong requests."""

from __future__ import annotations

import importlib
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import yaml

if TYPE_CHECKING:
    import httpx

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"
INFER = "/v2/models/churn/infer"


def _tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "input", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6.5], **changes}


@pytest.mark.parametrize(
    ("path", "schema"),
    [("/v2", "server_metadata"), ("/v2/", "server_metadata"), ("/v2/models/churn", "model_metadata")],
)
def test_metadata_follows_the_schemas(client: httpx.Client, path: str, schema: str) -> None:
    """Metadata answers are valid under the protocol's schemas."""
    _validate(client.get(path).json(), schema)


def test_answers_and_errors_follow_the_schemas(client: httpx.Client) -> None:
    """Inference answers and errors are valid; the id comes back; data may be flat or nested."""
    for data in ([1, 2, 3, 4, 5, 6.5], [[1, 2, 3], [4, 5, 6.5]]):
        request = {"id": "42", "inputs": [_tensor(data=data)], "outputs": [{"name": "predict"}]}
        answer = client.post(INFER, json=request).json()
        _validate(answer, "inference_response")
        assert ("42", "churn") == (answer["id"], answer["model_name"])
        assert [{"name": "predict", "shape": [2], "datatype": "FP64", "data": [6.0, 15.5]}] == answer["outputs"]
    refused = client.post(INFER, json={"inputs": []})
    assert 400 == refused.status_code
    _validate(refused.json(), "v2_error")


def _jsonschema() -> Any:
    """Import the library where it is used: its checkers of formats take seconds, and every worker imports this file."""
    return importlib.import_module("jsonschema")


def _validate(value: Any, schema: str) -> None:
    document = yaml.safe_load(DOCUMENT.read_text())
    _jsonschema().validate(value, {**document, "$ref": f"#/components/schemas/{schema}"})


WRONG = {
    "no body": (b"", "body"),
    "no inputs": ({}, "inputs"),
    "empty inputs": ({"inputs": []}, "inputs"),
    "inputs no array": ({"inputs": 3}, "inputs"),
    "id a number": ({"id": 3, "inputs": [_tensor()]}, "id"),
    "unknown input": ({"inputs": [_tensor(name="other")]}, "inputs.input"),
    "two inputs": ({"inputs": [_tensor(), _tensor(name="other")]}, "inputs.other"),
    "one input twice": ({"inputs": [_tensor(), _tensor()]}, "inputs[1].name"),
    "unknown output": ({"inputs": [_tensor()], "outputs": [{"name": "x"}]}, "outputs[0].name"),
    "unknown datatype": ({"inputs": [_tensor(datatype="FP128")]}, "inputs[0].datatype"),
    "no data": ({"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64"}]}, "inputs[0].data"),
    "too few values": ({"inputs": [_tensor(data=[1, 2])]}, "inputs[0].data"),
    "nested otherwise": ({"inputs": [_tensor(data=[[1, 2], [3, 4], [5, 6]])]}, "inputs[0].data"),
    "ragged data": ({"inputs": [_tensor(data=[[1, 2], [3]])]}, "inputs[0].data[1]"),
    "null": ({"inputs": [_tensor(data=[1, 2, 3, 4, 5, None])]}, "input[1][2]"),
    "text for numbers": ({"inputs": [_tensor(data=["a"] * 6)]}, "input[0][0]"),
    "text tensor": ({"inputs": [_tensor(datatype="BYTES", data=["a"] * 6)]}, "input[0][0]"),
    "numbers for text": ({"inputs": [_tensor(datatype="BYTES")]}, "inputs[0].data"),
    "no shape": ({"inputs": [_tensor(shape=[])]}, "inputs[0].data"),
    "negative shape": ({"inputs": [_tensor(shape=[-1, 3])]}, "inputs[0].shape"),
    "zero rows": ({"inputs": [_tensor(shape=[0, 3], data=[])]}, "inputs[0].shape"),
    "fractional shape": ({"inputs": [_tensor(shape=[2.5, 3])]}, "inputs[0].shape[0]"),
    "overflowing shape": ({"inputs": [_tensor(shape=[2**62, 2**62])]}, "inputs[0].data"),
    "other shape": ({"inputs": [_tensor(shape=[3, 2])]}, "input"),
    "33 dimensions": ({"inputs": [_tensor(shape=[1] * 33, data=[1])]}, "inputs[0].shape"),
    "binary size without binary": (
        {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64", "parameters": {"binary_data_size": 24}}]},
        "inputs[0].parameters.binary_data_size",
    ),
    "negative binary size": (
        {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64", "parameters": {"binary_data_size": -1}}]},
        "inputs[0].parameters.binary_data_size",
    ),
    "data and binary": ({"inputs": [_tensor(parameters={"binary_data_size": 48})]}, "inputs[0].data"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_are_400_and_name_the_field(client: httpx.Client, name: str) -> None:
    """The protocol's error string, plus our code and field."""
    body, field = WRONG[name]
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    answer = client.post(INFER, content=content, headers={"content-type": "application/json"})
    error = answer.json()
    assert (400, field) == (answer.status_code, error["field"])
    assert isinstance(error["error"], str)


def _binary(tensor: dict[str, Any], tail: bytes, **request: Any) -> tuple[bytes, dict[str, str]]:
    head = msgspec.json.encode({"inputs": [tensor], **request})
    return head + tail, {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }


def _binary_tensor(size: int, **changes: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": "input", "shape": [1, 3], "datatype": "FP64", "parameters": parameters, **changes}


def test_binary_tensors_in_and_out(client: httpx.Client) -> None:
    """Little-endian bytes behind the JSON head, in the request and on demand in the answer."""
    tail = np.array([1.5, 2, 3], "<f4").tobytes()
    content, headers = _binary(
        _binary_tensor(12, datatype="FP32"), tail, outputs=[{"name": "predict", "parameters": {"binary_data": True}}]
    )
    answer = client.post(INFER, content=content, headers=headers)
    size = int(answer.headers["inference-header-content-length"])
    head = msgspec.json.decode(answer.content[:size])
    assert [{"name": "predict", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}] == head[
        "outputs"
    ]
    assert [6.5] == np.frombuffer(answer.content[size:], "<f8").tolist()


@pytest.mark.parametrize(
    ("tensor", "tail", "length"),
    [
        (_binary_tensor(24), b"\0" * 23, None),
        (_binary_tensor(24), b"\0" * 25, None),
        (_binary_tensor(23), b"\0" * 23, None),
        (_binary_tensor(24, shape=[2, 3]), b"\0" * 24, None),
        (_binary_tensor(2**63), b"\0" * 24, None),
        (_binary_tensor(24, datatype="BYTES"), b"\xff" * 24, None),
        (_binary_tensor(3, datatype="BOOL"), b"\x02" * 3, None),
        (_binary_tensor(24), struct.pack("<3d", 1, float("nan"), 2), None),
        (_binary_tensor(24), b"\0" * 24, "0"),
        (_binary_tensor(24), b"\0" * 24, "-5"),
        (_binary_tensor(24), b"\0" * 24, "1000000"),
        (_binary_tensor(24), b"\0" * 24, "9" * 30),
        (_binary_tensor(24), b"\0" * 24, "10"),
    ],
)
def test_wrong_binary_requests_are_400(client: httpx.Client, tensor: Any, tail: bytes, length: str | None) -> None:
    """Sizes must agree with each other, the shape and the body; nothing is read past its end."""
    content, headers = _binary(tensor, tail)
    if length is not None:
        headers["inference-header-content-length"] = length
    assert 400 == client.post(INFER, content=content, headers=headers).status_code


@pytest.fixture
def triton(tensor_server: Any) -> str:
    return f"""
import numpy as np, tritonclient.http as http
client = http.InferenceServerClient("127.0.0.1:{tensor_server.port}")
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("churn")
assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
metadata = client.get_model_metadata("churn")
assert client.is_model_ready("churn", metadata["versions"][0])
array = np.array([[1.0, 2, 3], [4, 5, 6.5]])
for binary_in in (True, False):
    for outputs in (None, [http.InferRequestedOutput("predict", binary_data=False)]):
        one = http.InferInput("input", array.shape, "FP64")
        one.set_data_from_numpy(array, binary_data=binary_in)
        result = client.infer("churn", [one], outputs=outputs, request_id="7", timeout=1000)
        assert result.as_numpy("predict").tolist() == [6.0, 15.5]
        assert result.get_response()["id"] == "7"
try:
    one = http.InferInput("other", array.shape, "FP64")
    one.set_data_from_numpy(array)
    client.infer("churn", [one])
except http.InferenceServerException as error:
    print(error.status(), error.message())
"""


def test_the_protocols_own_client_works(triton: str) -> None:
    """tritonclient[http] infers with JSON and binary tensors both ways and understands our errors."""
    pytest.importorskip("tritonclient")
    # A process of its own: the client brings gevent, which warns when it is imported after ssl.
    done = subprocess.run([sys.executable, "-c", triton], capture_output=True, text=True, timeout=60, check=False)
    assert ("400 input 'input' is missing; expected input (inputs.input)\n", 0) == (
        done.stdout,
        done.returncode,
    ), done.stderr


def _schemathesis(document: Path, url: str, examples: int, seed: int, folder: Path) -> str:
    program = Path(sys.executable).with_name("st")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    options = [
        "--phases",
        "fuzzing",
        "--mode",
        "all",
        "--suppress-health-check",
        "all",
        "--checks",
        checks,
        "--no-color",
    ]
    done = subprocess.run(
        [program, "run", document, "--url", url, "--max-examples", str(examples), "--seed", str(seed), *options],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("examples", [5, pytest.param(1000, marks=pytest.mark.full)])
def test_generated_requests_get_documented_answers(tensor_server: Any, examples: int, tmp_path: Path) -> None:
    """Requests generated from docs/openapi.yaml, valid and not, get answers as documented and never a 5xx."""
    output = _schemathesis(DOCUMENT, tensor_server.url, examples, seed=1, folder=tmp_path)
    assert int(re.findall(r"(\d+) generated", output)[-1]) >= 5 * examples
    assert tensor_server.process.poll() is None
    assert [] == [line for line in tensor_server.log if line["level"] == "error"]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The data plane's OpenAPI document as MLServer, the protocol's reference server, publishes it."""
    folder = tmp_path_factory.mktemp("mlserver")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", folder, "mlserver==1.7.1"], check=True)
    return json.loads((folder / "mlserver" / "rest" / "openapi" / "dataplane.json").read_bytes())


def _conform(published: Any, schema: Any, value: Any) -> None:
    """Validate a value; bytes, which the document has as a type of its own, do not come in JSON."""
    library = _jsonschema()
    standard = library.Draft202012Validator
    types = standard.TYPE_CHECKER.redefine("bytes", lambda _, value: False)
    library.validators.extend(standard, type_checker=types)({**published, **schema}).validate(value)


def _follow(published: Any, path: str, method: str, status: int, value: Any) -> None:
    """Validates an answer against what the published document says of it."""
    said = published["paths"][path][method]["responses"]
    assert str(status) in said
    content = said[str(status)].get("content")
    if content is not None:
        schema = content["application/json"]["schema"]
        _conform(published, schema, value)


@pytest.mark.full
@pytest.mark.parametrize("model", ["/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"])
def test_answers_follow_the_published_document(client: httpx.Client, published: Any, model: str) -> None:
    """Every route of the protocol, with and without a version, answers as a document that is not ours says."""
    version = client.get("/v2/models/churn").json()["versions"][0]
    real = model.format(model_name="churn", model_version=version)
    for path in ("/v2/health/live", "/v2/health/ready", "/v2"):
        answer = client.get(path)
        _follow(published, path, "get", answer.status_code, answer.json())
    for route in ("", "/ready"):
        answer = client.get(real + route)
        assert 200 == answer.status_code
        _follow(published, model + route, "get", 200, answer.json())
    request = {"id": "42", "inputs": [_tensor()], "outputs": [{"name": "predict"}]}
    wanted = published["paths"][f"{model}/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    _conform(published, wanted, request)
    for body, status in ((request, 200), ({"inputs": []}, 400)):
        answer = client.post(f"{real}/infer", json=body)
        assert status == answer.status_code
        _follow(published, f"{model}/infer", "post", status, answer.json())
