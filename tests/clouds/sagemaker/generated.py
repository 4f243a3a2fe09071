"""Requests made from Amazon's own models of its services: some members missing, odd or of a wrong type."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ParamValidationError
from botocore.serialize import create_serializer
from botocore.session import get_session

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from sdk_contract.clouds.sagemaker import SagemakerCloud

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63, 1e308, 1.5, "", "x", "äöü", "../..", "a" * 300, [], {}, [None], {"a": 1},
    "ml.m5.large", "s3://b/k", "2020-01-01", "NaN",
)  # fmt: skip
BROKEN = (b"[", b"[]", b"null", b"{" * 5000, b"[" * 50_000, b"\xff", b'{"a": 1', b"1e999")
NAMES = ("fz-a", "fz-b", "fz-c")
SIGNED = {
    "sagemaker": "sagemaker", "sagemaker-runtime": "sagemaker", "ecr": "ecr", "logs": "logs", "s3": "s3", "iam": "iam",
    "application-autoscaling": "application-autoscaling", "resourcegroupstaggingapi": "tagging", "sts": "sts",
    "service-quotas": "servicequotas", "secretsmanager": "secretsmanager", "cloudwatch": "monitoring",
}  # fmt: skip
"""Services that the mini cloud answers for, and the name that each is signed with."""


@dataclass(frozen=True)
class Wire:
    """One request as it is sent."""

    service: str
    operation: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Maker:
    """Makes requests.

    Args:
        chance: Decides everything.
        played: Operations of SageMaker that come more often than others.
    """

    def __init__(self, chance: random.Random, played: list[str]) -> None:
        self._chance = chance
        self._played = played
        self._models = {name: get_session().get_service_model(name) for name in SIGNED}

    def requests(self, count: int) -> Iterator[Wire]:
        """So many requests, of all services."""
        made = 0
        while made < count:
            wire = self._one()
            if wire is not None:
                made += 1
                yield wire

    def _one(self) -> Wire | None:
        service = self._chance.choice(["sagemaker"] * 4 + list(SIGNED))
        model = self._models[service]
        often = service == "sagemaker" and self._chance.random() < 0.8
        operation = model.operation_model(self._chance.choice(self._played if often else model.operation_names))
        values = self._value(operation.input_shape, 0, "") if operation.input_shape else {}
        if "targetPrefix" in model.metadata:
            broken = self._chance.random() < 0.03
            body = self._chance.choice(BROKEN) if broken else json.dumps(values).encode()
            target = f"{model.metadata['targetPrefix']}.{operation.name}"
            headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
            return Wire(service, operation.name, "POST", "/", headers, body)
        return _serialized(service, model, operation, values)

    def _value(self, shape: Any, depth: int, name: str) -> Any:
        if self._chance.random() < 0.04:
            return self._chance.choice(ODD)
        makers = {"structure": self._structure, "list": self._list, "map": self._map, "string": self._string}
        if shape.type_name in makers:
            return makers[shape.type_name](shape, depth, name)
        numbers = [0, 1, 2, shape.metadata.get("min", 1), shape.metadata.get("max", 3)]
        return {
            "boolean": self._chance.random() < 0.5,
            "timestamp": self._chance.choice([1_700_000_000, 0, -1, 1e15]),
            "blob": "eA==",
        }.get(shape.type_name, self._chance.choice(numbers))

    def _structure(self, shape: Any, depth: int, _name: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, member in shape.members.items():
            chance = 0.97 if name in shape.required_members else 0.25 / (depth + 1)
            if depth < 7 and self._chance.random() < chance:
                made[name] = self._value(member, depth + 1, name)
        if self._chance.random() < 0.02:
            made["NotAMember"] = self._chance.choice(ODD)
        return made

    def _list(self, shape: Any, depth: int, name: str) -> list[Any]:
        least = min(3, shape.metadata.get("min", 0))
        return [self._value(shape.member, depth + 1, name) for _ in range(max(least, self._chance.randint(0, 2)))]

    def _map(self, shape: Any, depth: int, name: str) -> dict[str, Any]:
        return {self._chance.choice(NAMES): self._value(shape.value, depth + 1, name) for _ in range(2)}

    def _string(self, shape: Any, _depth: int, name: str) -> str:
        if shape.enum:
            return str(self._chance.choice(shape.enum))
        if name.endswith(("Name", "Id")):
            return self._chance.choice(NAMES)
        if name.endswith("Arn"):
            made = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/fz-a"
            return self._chance.choice(["arn:aws:iam::123456789012:role/mlport", made])
        return self._chance.choice(["x", "fz-a", "s3://b/k", "1", "a" * 70])


def _serialized(service: str, model: Any, operation: Any, values: Any) -> Wire | None:
    """The request as botocore writes it; ``None`` where it cannot write such values."""
    protocol = model.metadata["protocol"]
    serializer = create_serializer("query" if protocol.startswith("smithy") else protocol, include_validation=False)
    try:
        made = serializer.serialize_to_request(values if isinstance(values, dict) else {}, operation)
    except (ParamValidationError, AttributeError, TypeError, ValueError, KeyError, OverflowError):
        return None
    body, query = made["body"], made.get("query_string") or {}
    if isinstance(body, dict):
        body = urlencode(body)
    data = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b""
    target = quote(made["url_path"], safe="/?=&%") + (f"?{urlencode(query)}" if query else "")
    headers = {name: str(value) for name, value in (made.get("headers") or {}).items()}
    if any("\n" in value or not value.isascii() for value in headers.values()):
        return None
    return Wire(service, operation.name, made["method"], target, headers, data)


def send(cloud: SagemakerCloud, wire: Wire) -> tuple[int, bytes]:
    """Sign a request with the mini cloud's credentials and send it."""
    keys = Credentials(cloud.env["AWS_ACCESS_KEY_ID"], cloud.env["AWS_SECRET_ACCESS_KEY"])
    signed = AWSRequest(wire.method, f"{cloud.url}{wire.target}", data=wire.body, headers=wire.headers)
    SigV4Auth(keys, SIGNED[wire.service], "us-east-1").add_auth(signed)
    address = urlsplit(cloud.url)
    link = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
    try:
        link.request(wire.method, wire.target, wire.body, dict(signed.prepare().headers))
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()
