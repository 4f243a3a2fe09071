"""The members of AWS's operations, from botocore's models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk_contract.clouds.members import steps
from sdk_contract.clouds.sagemaker.shapes import pattern_of, service_model
from tests.fidelity.models import Member

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = (
    "x", "4K", "s3://mlport-data/data/train/", "arn:aws:iam::123456789012:role/mlport", "/opt/ml/checkpoints", "1.0",
    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/x", "vpc-12345678", "fs-12345678", "text/csv", "0.5", "True",
    "arn:aws:sns:us-east-1:123456789012:topic", "arn:aws:lambda:us-east-1:123456789012:function:f", "ab",
    "arn:aws:sagemaker:us-east-1:aws:hub-content/hub/Model/name/1.0.0", "ml.m5.large", "/metrics", "12345678", "https://x",
    "arn:aws:sagemaker:us-east-1:123456789012:training-plan/x", "arn:aws:sagemaker:us-east-1:123456789012:hub/x",
    "arn:aws:sagemaker:us-east-1:123456789012:ml-reservation/x", "arn:aws:sagemaker:us-east-1:123456789012:dataset/x",
    "arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/app-ABCDEFGHIJKL", "us-east-1a",
    "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/x",
    "arn:aws:sagemaker:us-east-1:123456789012:model-package/x", "mig-1g.5gb",
    "arn:aws:sagemaker:us-east-1:aws:hub-content/hub/DataSet/name/1.0.0", "i-12345678901234567",
)  # fmt: skip
"""Strings that fit the patterns of the models."""


def shape_of(service: str, operation: str) -> Any:
    """The shape of an operation's input."""
    return service_model(service).operation_model(operation).input_shape


def members_of(service: str, operation: str) -> list[Member]:
    """Every member of an operation's input, at every depth."""
    return list(_members(shape_of(service, operation), ""))


def shape_at(shape: Any, path: str) -> Any:
    """The shape of a member; ``None`` when the model has no such member."""
    for step in steps(path):
        if shape is None:
            return None
        if step == "[]":
            shape = shape.member
        elif step == "{}":
            shape = shape.value
        else:
            shape = shape.members.get(step) if shape.type_name == "structure" else None
    return shape


def _members(shape: Any, where: str) -> Iterator[Member]:
    for name, member in shape.members.items() if shape is not None else ():
        path = f"{where}.{name}" if where else name
        inner, item = member, path
        while inner.type_name in {"list", "map"}:
            nested = inner.type_name == "list"
            inner, item = (inner.member, f"{item}[]") if nested else (inner.value, f"{item}{{}}")
        yield Member(path, inner.type_name == "structure", tuple(inner.metadata.get("enum", ())))
        if inner.type_name == "structure":
            yield from _members(inner, item)


def minimal(shape: Any) -> Any:
    """The smallest valid value of a shape."""
    kind = shape.type_name
    if kind == "structure":
        return {name: minimal(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [minimal(shape.member) for _ in range(max(1, shape.metadata.get("min", 1)))]
    if kind == "map":
        return {minimal(shape.key): minimal(shape.value)}
    if kind == "string":
        return _text(shape)
    return {"boolean": True, "timestamp": 1_700_000_000, "blob": "eA=="}.get(kind, max(1, shape.metadata.get("min", 1)))


def _text(shape: Any) -> str:
    about = shape.metadata
    if about.get("enum"):
        return str(about["enum"][0])
    least, most = about.get("min", 0), about.get("max", 10**6)
    pattern = pattern_of(about.get("pattern", ".*"))
    for text in (*SAMPLES, "x" * least):
        if least <= len(text) <= most and pattern.fullmatch(text):
            return text
    raise LookupError(f"no sample fits {about}")


def put(shape: Any, base: Any, path: list[str], value: Any) -> Any:
    """A copy of a request with one member set, and with what that member needs beside it."""
    if not path:
        return value
    step, *rest = path
    if step == "[]":
        items = list(base or minimal(shape))
        return [put(shape.member, items[0], rest, value), *items[1:]]
    if step == "{}":
        return {"k": put(shape.value, None, rest, value)}
    held = dict(base if base is not None else minimal(shape))
    return {**held, step: put(shape.members[step], held.get(step), rest, value)}


def answer_of(service: str, operation: str) -> Any:
    """The shape of an operation's answer."""
    return service_model(service).operation_model(operation).output_shape


def header_members(service: str, operation: str) -> list[tuple[str, str, str]]:
    """The members of an operation that are sent as headers: member, header and a valid value."""
    found: list[tuple[str, str, str]] = []
    for name, member in shape_of(service, operation).members.items():
        if member.serialization.get("location") == "header" and name != "ContentType":
            value = "base" if name == "TargetVariant" else _text(member)
            found.append((name, member.serialization["name"], value))
    return found


def invalid_values(shape: Any) -> Iterator[Any]:
    """Values just outside of what the model allows."""
    about, kind = shape.metadata, shape.type_name
    least, most = about.get("min"), about.get("max")
    if kind in {"integer", "long", "float"}:
        yield from [least - 1] if least is not None else []
        yield from [most + 1] if most is not None else []
    elif kind == "string" and about.get("enum"):
        yield "no-such-choice"
    elif kind == "string":
        yield from ["x" * (most + 1)] if most is not None and most < 10**6 else []
        yield from ["x" * (least - 1)] if least else []
    elif kind == "list":
        yield from [[minimal(shape.member)] * (most + 1)] if most is not None and most <= 1000 else []
        yield from [[]] if least else []
