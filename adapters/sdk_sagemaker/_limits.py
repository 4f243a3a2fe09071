"""Pure checks that refuse what SageMaker would reject for its form alone, before an image is built.

The limits come from the API's own description; `tests/sagemaker/test_limits.py` compares them with the library's.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError

from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import JobSpec
    from sdk.adapter.prices import Usage
    from sdk.adapter.types import Replicas

ENV_VALUE = {
    "inference": 1024,
    "training": 512,
}  # bytes; SageMaker counts characters for a job, never more than bytes
ENV_COUNT = 90  # of 100; mlport uses the rest
ENV_BYTES = 31 << 10  # of 32 KiB for all names and values of a model; mlport uses the rest
TAGS = 38  # of 50; mlport uses the rest
TAG_KEY, TAG_VALUE = 128, 256
PARAMS, PARAM_NAME, PARAM_VALUE = 100, 256, 2500
CHANNELS, CHANNEL_NAME = 20, 64
RUN_S = 28 * 86_400  # from the description of MaxRuntimeInSeconds
_TAG_SIGNS = frozenset("_.:/=+-@")
_LOCAL_DISKS = re.compile(r"ml\.([a-z]+\d+[a-z]*d[a-z]*|i\d\w*|g5|g[67]e?|gr6|p[56][\w-]*|trn\w+)\.")


def check_variables(variables: Mapping[str, str], usage: Usage, *, field: str = "env") -> None:
    """Refuse a container's variables if a name or value is too long, if they are too many, or too large together.

    Error messages never show values: they may be secrets.

    Raises:
        ConfigError: Names the variable, or states the number or total size of all variables.
    """
    most, total = ENV_VALUE[usage], 0
    for name, value in variables.items():
        size = len(value.encode("utf-8", "surrogatepass"))
        total += len(name) + size
        if "\0" in value:
            _refuse(f"{field}: the value of {name} holds a null character, which no variable can", _BIG_VALUE[usage])
        if size > most:
            _refuse(f"{field}: the value of {name} has {size} bytes, SageMaker takes {most}", _BIG_VALUE[usage])
        if len(name) > most:
            _refuse(f"{field}: the name {name[:40]}… has {len(name)} characters, SageMaker takes {most}", "shorten it")
    if len(variables) > ENV_COUNT:
        _refuse(f"env and secrets are more than {ENV_COUNT} variables: {len(variables)}", "join some of them")
    if usage == "inference" and total > ENV_BYTES:
        hint = "put large values into a file of the model, or let the model fetch them at its start"
        _refuse(f"env and secrets are {total} bytes together, SageMaker takes {ENV_BYTES} beside its own", hint)


_BIG_VALUE = {"inference": "put it into a file of the model, or let the model fetch it at its start",
              "training": "pass it as data"}  # fmt: skip


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that AWS would reject.

    Raises:
        ConfigError: Names the tag.
    """
    if len(tags) > TAGS:
        _refuse(f"tags: {len(tags)} are too many: AWS takes 50, and mlport needs {50 - TAGS}", f"keep at most {TAGS}")
    for key, value in tags.items():
        if not 0 < len(key) <= TAG_KEY or len(value) > TAG_VALUE or key.lower().startswith("aws:"):
            _refuse(f"tags: {key!r} = {value!r} is no tag of AWS", "keys of 1-128, values of up to 256 characters")
        if not all(sign in _TAG_SIGNS or unicodedata.category(sign)[0] in "LZN" for sign in key + value):
            _refuse(f"tags: {key!r} = {value!r} has a character that AWS does not take",
                    "use letters, digits, spaces and _ . : / = + - @")  # fmt: skip


def check_job(spec: JobSpec, params: Mapping[str, str]) -> None:
    """Refuse a job with too many or too long parameters, or too many inputs.

    Args:
        spec: The job.
        params: Its parameters in the form in which they are sent.

    Raises:
        ConfigError: Names the setting.
    """
    check_variables({**spec.env, **dict.fromkeys(spec.secrets, "")}, "training")
    check_tags(spec.tags)
    if spec.timeout_s > RUN_S:
        text = f"timeout = {spec.timeout_s:g} s is more than the {RUN_S} s (28 days) that SageMaker lets a job run"
        _refuse(text, "set a shorter time limit, and let the script continue from a checkpoint")
    if len(params) > PARAMS:
        _refuse(f"params: {len(params)} are more than the {PARAMS} that SageMaker takes", "pass them as data")
    for name, value in params.items():
        if len(name) > PARAM_NAME or len(value) > PARAM_VALUE:
            text = f"params: {name[:40]!r} = {value[:20]}… has {len(value)} characters as JSON"
            _refuse(f"{text}, SageMaker takes {PARAM_VALUE}, and {PARAM_NAME} of a name", "pass it as data")
    if len(spec.data) > CHANNELS:
        _refuse(f"data: {len(spec.data)} inputs are more than the {CHANNELS} that SageMaker takes", "join some of them")
    for name in spec.data:
        if len(name) > CHANNEL_NAME:
            _refuse(f"data: the name {name!r} is longer than {CHANNEL_NAME} characters", "shorten it")


def check_scaling(instance: Any, replicas: Replicas) -> None:
    """Refuse autoscaling for burstable instance types.

    Source: https://github.com/aws/aws-cdk/pull/22886, which quotes the developer guide.

    Raises:
        ConfigError: The instance type is burstable and the number of replicas is not fixed.
    """
    if replicas.max > replicas.min and str(instance).startswith("ml.t"):
        hint = "use a fixed number of replicas, or another type, such as ml.m5.large"
        _refuse(f"replicas: {instance} is burstable, and SageMaker does not scale burstable types", hint)


def has_local_disk(instance: str) -> bool:
    """Check whether an instance type has its own disk, which its hardware encrypts: no key can be named for that disk.

    Source: the description of VolumeKmsKeyId; the types as in ``instance_supports_kms`` of the SageMaker Python SDK.

    Example:
        >>> [has_local_disk(f"ml.{one}.xlarge") for one in ("m5", "m5d", "g4dn", "g5", "p4d", "trn1", "c7gd", "inf2")]
        [False, True, True, True, True, True, True, False]
    """
    return _LOCAL_DISKS.match(instance) is not None


def _refuse(text: str, hint: str) -> None:
    raise ConfigError(text, hint=hint, provider=PROVIDER)
