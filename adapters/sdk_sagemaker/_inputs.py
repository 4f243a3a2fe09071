"""Job inputs that are already in S3: each is one folder or one object.

SageMaker reads all keys that begin with the address of an input, so ``s3://b/train`` would also read
``train-old/rows.csv``. A folder is therefore passed with a trailing slash, and an object by a manifest that names it.
Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdk.errors import AuthError, ConfigError, NotFoundError

from ._errors import PROVIDER, translate

if TYPE_CHECKING:
    from ._aws import Aws


@dataclass(frozen=True, slots=True)
class Source:
    """An input in S3.

    Args:
        uri: Its address; that of a folder ends with a slash.
        file: The name of the object; ``None`` for a folder.
    """

    uri: str
    file: str | None = None


def locate(aws: Aws, channel: str, uri: str) -> Source:
    """Find out whether an address is a folder or an object, as far as the user's own rights allow.

    Args:
        aws: The connection to AWS.
        channel: The name of the input.
        uri: Its address, ``s3://BUCKET/KEY``.

    Raises:
        ConfigError: Nothing is at the address, or both an object and a folder, or the bucket is in another region.
        AuthError: The user may not look at the address, and its form leaves open which of the two it is.
    """
    bucket, key = split(channel, uri)
    _check_region(aws, f"data.{channel} = {uri!r}", bucket)
    try:
        first = _first(aws, bucket, key)
        if not key or key.endswith("/"):
            found = Source(uri if key else f"s3://{bucket}/")
            there = first is not None
        else:
            folder = _first(aws, bucket, f"{key}/") is not None
            _refuse_both(channel, uri, both=folder and first == key)
            found = Source(f"{uri}/") if folder else Source(uri, key.rpartition("/")[2])
            there = folder or first == key
    except AuthError as error:
        return _unseen(aws, channel, uri, error)
    if not there:
        near = f"; only {first} begins like it" if first else ""
        raise ConfigError(
            f"data.{channel} = {uri!r}: there is nothing{near}", hint="give a folder or an object", provider=PROVIDER
        )
    return found


def split(channel: str, uri: str) -> tuple[str, str]:
    """Split an address into bucket and key; the key is taken literally, since it may contain ``?`` and ``#``.

    Raises:
        ConfigError: The address names no bucket.

    Example:
        >>> split("train", "s3://b/rows#1.csv")
        ('b', 'rows#1.csv')
    """
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket:
        raise ConfigError(f"data.{channel} = {uri!r} names no bucket", hint="write s3://BUCKET/KEY", provider=PROVIDER)
    return bucket, key


def manifest(uri: str) -> bytes:
    """Return the manifest that names one object.

    Example:
        >>> manifest("s3://b/data/train.csv").decode()
        '[{"prefix": "s3://b/data/"}, "train.csv"]'
    """
    prefix, _, name = uri.rpartition("/")
    return json.dumps([{"prefix": f"{prefix}/"}, name], ensure_ascii=False).encode()


def check_bucket(aws: Aws) -> None:
    """Refuse a target's bucket that is in another region than the target.

    Raises:
        ConfigError: The bucket is in another region.
    """
    about = aws.find("s3", "head_bucket", aws.bucket, Bucket=aws.bucket)
    if about is not None:
        _compare(region_of(about), aws.region, f"bucket = {aws.bucket!r}")


def region_of(about: dict[str, Any]) -> str | None:
    """Return the region of a bucket, from the answer of HeadBucket."""
    headers: dict[str, str] = about.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return about.get("BucketRegion") or headers.get("x-amz-bucket-region")


def _check_region(aws: Aws, what: str, bucket: str) -> None:
    try:
        with translate("HeadBucket", bucket):
            about = aws.client("s3", "data").head_bucket(Bucket=bucket)
    except NotFoundError as error:
        raise ConfigError(f"{what}: there is no bucket {bucket}", hint="check its name", provider=PROVIDER) from error
    except AuthError:
        return  # the role may see more than the user
    _compare(region_of(about), aws.region, what)


def _compare(found: str | None, wanted: str, what: str) -> None:
    if found not in {None, wanted}:
        raise ConfigError(
            f"{what} is in {found}, the target in {wanted}: SageMaker's jobs use buckets of their own region only",
            hint=f"copy it to a bucket in {wanted}, or use a target in {found}",
            provider=PROVIDER,
        )


def _first(aws: Aws, bucket: str, prefix: str) -> str | None:
    """Return the first key with a prefix; it is the prefix itself if an object has that key."""
    with translate("ListObjectsV2", bucket):
        page: dict[str, Any] = aws.client("s3", "data").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    return next((str(item["Key"]) for item in page.get("Contents") or ()), None)


def _refuse_both(channel: str, uri: str, *, both: bool) -> None:
    if both:
        raise ConfigError(
            f"data.{channel} = {uri!r} is an object, and there is a folder of the same name",
            hint=f"write {uri}/ for the folder, or give the object another name",
            provider=PROVIDER,
        )


def _unseen(aws: Aws, channel: str, uri: str, error: AuthError) -> Source:
    """Return an input that the user may not list: a folder if it ends in a slash, an object if the user may read it."""
    bucket, key = split(channel, uri)
    if not key or key.endswith("/"):
        return Source(uri if key else f"s3://{bucket}/")
    try:
        with translate("HeadObject", bucket):
            aws.client("s3", "data").head_object(Bucket=bucket, Key=key)
    except (AuthError, NotFoundError):
        raise AuthError(
            f"data.{channel} = {uri!r}: you may not see whether it is a folder or an object",
            hint=f"write {uri}/ if it is a folder, or ask for s3:ListBucket on {bucket}",
            provider=PROVIDER,
            operation="ListObjectsV2",
            resource=bucket,
            status=error.status,
            request_id=error.request_id,
        ) from error
    return Source(uri, key.rpartition("/")[2])
