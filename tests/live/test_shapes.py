"""The report names what differs from the mini cloud, and nobody's account."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import QuotaError
from sdk.util.exchanges import ControlExchange
from sdk_contract.live.identity import identifying
from sdk_contract.live.report import Report, Step, anonymous, told
from sdk_contract.live.shapes import Shapes, differences, operation_of

if TYPE_CHECKING:
    from pathlib import Path

PLANTED = {
    "account": "123456789012",
    "project": "acme-secret-project",
    "subscription": "0f1e2d3c-1111-2222-3333-444455556666",
    "bucket": "acme-models-eu",
    "host": "acme.internal.example",
    "endpoint": "live-planted0",
    "token": "ya29.plantedplantedplanted",
    "tag": "cost centre of Jane",
}


def answer(body: Any, **facts: Any) -> ControlExchange:
    given = {"method": "POST", "url": "", "status": 200, "operation": "sagemaker DescribeEndpoint", **facts}
    return ControlExchange(body=json.dumps(body).encode(), **given)


def shapes(*exchanges: ControlExchange) -> dict[str, Any]:
    made = Shapes()
    for exchange in exchanges:
        made.add(exchange)
    return made.to_dict()


def test_differences_are_named() -> None:
    """A new field, state, status and operation, and what never came."""
    mini = shapes(answer({"EndpointName": "e", "EndpointStatus": "InService", "Reason": "r"}))
    real = shapes(
        answer({"EndpointName": "e", "EndpointStatus": "Resting", "Zone": {"Id": 3}}),
        answer({"__type": "com.amazon#ThrottlingException", "message": "m"}, status=400),
        answer({}, operation="sagemaker ListMonitors"),
    )
    found = [(one.kind, one.what) for one in differences(real, mini)]
    assert [
        ("new status", "400"),
        ("new field", "Zone.Id:number"),
        ("new field", "__type:string"),
        ("new field", "message:string"),
        ("new word", "EndpointStatus=Resting"),
        ("new word", "__type=ThrottlingException"),
        ("field not seen", "Reason:string"),
        ("new operation", ""),
    ] == found


@pytest.mark.parametrize(
    ("url", "operation"),
    [
        ("h/v1/projects/{project}/locations/eu/models/7:copy", "/v1/projects/{}/locations/{}/models/{}:copy"),
        ("h/storage/v1/b/{bucket}/o/locks%2F{endpoint}?alt=media", "/storage/v1/b/{}/o/{}"),
        (
            "h/subscriptions/{subscription}/resourceGroups/{project}/providers/Microsoft.Insights/metrics",
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Insights/metrics",
        ),
        ("{host}/{bucket}/{endpoint}/x?sig=1", "/{}"),
    ],
)  # fmt: skip
def test_addresses_lose_their_names(url: str, operation: str) -> None:
    """Only the words of the interface stay."""
    exchange = ControlExchange("POST", f"https://{url.format(**PLANTED)}", 200)
    assert f"POST {operation}" == operation_of(exchange)


def test_planted_values_are_in_no_report(tmp_path: Path) -> None:
    """Values, keys of maps, states that are no words, errors and fields with the name of an account stay behind."""
    arn = f"arn:aws:sagemaker:eu-west-1:{PLANTED['account']}:endpoint/{PLANTED['endpoint']}"
    body = {
        "arn": arn,
        "state": PLANTED["project"],
        "status": arn,
        "tags": {PLANTED["tag"]: PLANTED["tag"], "owner": "x"},
        "Tags": [{"Key": PLANTED["tag"], "Value": PLANTED["token"]}],
        "environmentVariables": {"ACMESECRET": PLANTED["token"]},
        "trafficSplit": {PLANTED["account"]: 100},
        PLANTED["bucket"]: 1,
        "acme": {"deep": PLANTED["host"]},
        "accessToken": PLANTED["token"],
    }
    exchange = ControlExchange(
        "GET", f"https://{PLANTED['host']}/v1/projects/{PLANTED['project']}/models/acme", 200, json.dumps(body).encode()
    )
    error = QuotaError(f"no capacity for {arn}", operation="CreateEndpoint", resource=PLANTED["endpoint"], status=400)
    report = Report("sagemaker", "ml.m5.large", billed=True, budget_usd=5.0)
    report.steps.append(Step("deploy", "failed", error=told(error)))
    report.answers = shapes(exchange)
    texts = [path.read_text() for path in report.write(tmp_path, {*PLANTED.values(), "acmesecret"})]
    for text in texts:
        for value in (*PLANTED.values(), "ACMESECRET", "Jane"):
            assert value not in text, value
    shown = json.loads(texts[0])
    assert {"class": "QuotaError", "operation": "CreateEndpoint", "status": 400, "retryable": False} == shown["steps"][
        0
    ]["error"]
    assert "state=?" in shown["answers"]["GET /v1/projects/{}/models/{}"]["words"]
    assert "tags.*:string" in shown["answers"]["GET /v1/projects/{}/models/{}"]["fields"]


def test_xml_has_names_and_codes() -> None:
    """Of XML only names of elements and the code of an error are taken."""
    body = f"<Error><Code>NoSuchBucket</Code><BucketName>{PLANTED['bucket']}</BucketName></Error>".encode()
    seen = shapes(ControlExchange("GET", "https://h/x", 404, body))["GET /{}"]
    assert ["<BucketName>", "<Code>", "<Error>"] == seen["fields"]
    assert ["<Code>=NoSuchBucket"] == seen["words"]


@pytest.mark.parametrize("target", ["azure", "ml", "azureml"])
def test_the_provider_stays_whatever_the_target_is_called(target: str) -> None:
    """A target that is called as a part of its provider says nothing about the account; its owner does."""
    adapter = SimpleNamespace(where=dict, service_host=lambda: SimpleNamespace(address="https://closed.example"))
    session = SimpleNamespace(
        options=SimpleNamespace(model_dump=lambda **_: {"workspace": "hidden-ws", "provider": "azureml"}),
        adapter=adapter, owner="somebody", target=target, state_dir="/hidden/state", provider="azureml",
    )  # fmt: skip
    life: Any = SimpleNamespace(session=session, endpoint="live-1", job="livejob-1", instance="Standard_DS2_v2")
    shown = anonymous({"what": f"azureml {target} somebody hidden-ws Standard_DS2_v2"}, identifying(life, {}))
    assert shown["what"].startswith("azureml ")
    assert shown["what"].endswith(" Standard_DS2_v2")
    assert not {"somebody", "hidden-ws"} & set(shown["what"].split())
