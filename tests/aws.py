"""Sessions of unmodified boto3 that parse the library's descriptions of the services once per process."""

from __future__ import annotations

import functools
from typing import Any

import boto3
import botocore.loaders
import botocore.session


@functools.cache
def _descriptions() -> Any:
    """The loader that sessions share: each session of its own would parse megabytes again."""
    return botocore.loaders.create_loader()


def core() -> Any:
    """A new botocore session."""
    made = botocore.session.Session()
    made.register_component("data_loader", _descriptions())
    return made


def session(*keys: str, region: str = "us-east-1") -> Any:
    """A new session with these keys: identity, secret and token."""
    return boto3.session.Session(*keys, region_name=region, botocore_session=core())
