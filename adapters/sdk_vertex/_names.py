"""Conversion between mlport's names and the platform's, and labels that two resources share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdk.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .options import VertexOptions

_DEPLOYMENT = re.compile(r"d[0-9a-f]{8}")
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
MOST_TAGS = 32  # of the 64 labels that a resource may have (certain); mlport uses the others
_OURS = "mlport"
_TRAFFIC = "mlport-traffic"
_KEPT = "mlport-traffic-kept-"  # followed by a deployment that stays without traffic
HASH = "mlport-deployment"  # on a Model: the hash of the deployment that it belongs to


def encryption(key: str | None) -> dict[str, dict[str, str]]:
    """Return the field of a model, endpoint or job that names the customer's key; none for Google's own.

    Example:
        >>> encryption("projects/p/locations/r/keyRings/a/cryptoKeys/b")
        {'encryption_spec': {'kms_key_name': 'projects/p/locations/r/keyRings/a/cryptoKeys/b'}}
    """
    return {"encryption_spec": {"kms_key_name": key}} if key else {}


def parent(options: VertexOptions) -> str:
    """Return the location that contains all resources of a target."""
    return f"projects/{options.project}/locations/{options.region}"


def number_of(deployment: str) -> str:
    """Return a deployment's ID in the platform's form: up to ten digits, and none that the platform reserves.

    Example:
        >>> number_of("d0000000f"), deployment_of("16")
        ('16', 'd0000000f')
    """
    return str(int(deployment[1:], 16) + 1)


def deployment_of(number: str) -> str | None:
    """Return the deployment of a number, or ``None`` if mlport did not choose the number."""
    value = int(number) - 1 if number.isascii() and number.isdigit() else -1
    return f"d{value:08x}" if 0 <= value < 16**8 and number == str(value + 1) else None


def join(endpoint: str, deployment: str) -> str:
    """Return the ID of the resources of one deployment."""
    return f"{endpoint}-{deployment}"


def split(name: str) -> tuple[str, str] | None:
    """Return endpoint and deployment of such an ID, or ``None`` if the text has another form.

    Example:
        >>> split("my-churn-d0000000f"), split("churn")
        (('my-churn', 'd0000000f'), None)
    """
    endpoint, _, deployment = name.rpartition("-")
    return (endpoint, deployment) if endpoint and _DEPLOYMENT.fullmatch(deployment) else None


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that cannot be labels of the platform.

    Raises:
        ConfigError: Names the tag.
    """
    if len(tags) > MOST_TAGS:
        raise ConfigError(
            f"tags: {len(tags)} are more than the {MOST_TAGS} that fit beside mlport's own labels",
            hint="Google Cloud takes 64 labels on a resource; give fewer tags",
        )
    for key, value in tags.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or key.startswith(_OURS):
            raise ConfigError(
                f"tags: {key} = {value!r} cannot be a label of Google Cloud",
                hint="use lower-case letters, digits, _ and -, at most 63 of them, a letter first in the key",
            )


def traffic_labels(tags: Mapping[str, str], weights: Mapping[str, int]) -> dict[str, str]:
    """Return the labels for an endpoint's traffic, which are stored beside those of the endpoint itself.

    The platform has no resource for traffic. It does not promise to remember a share of 0, so deployments that are kept
    for a rollback are stored in labels too.

    Example:
        >>> traffic_labels({"mlport": "1", "mlport-txn": "t1"}, {"d00000001": 100, "d00000002": 0})
        {'mlport-traffic': '1', 'mlport-traffic-txn': 't1', 'mlport-traffic-kept-d00000002': '1'}
    """
    own = {key.replace(_OURS, _TRAFFIC, 1): value for key, value in tags.items()}
    return {**own, **{f"{_KEPT}{name}": "1" for name, share in weights.items() if not share}}


def kept_by(labels: Mapping[str, str]) -> list[str]:
    """Return the deployments that are kept without traffic."""
    return [key.removeprefix(_KEPT) for key in labels if key.startswith(_KEPT)]


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return those labels of an endpoint that are about the endpoint itself."""
    return {key: value for key, value in labels.items() if not key.startswith(_TRAFFIC)}


def labels_of_traffic(labels: Mapping[str, str]) -> dict[str, str]:
    """Return those labels of an endpoint that are about its traffic, named as if it were a resource of its own."""
    return {key.replace(_TRAFFIC, _OURS, 1): value for key, value in labels.items() if key.startswith(_TRAFFIC)}


def user_tags(labels: Mapping[str, str]) -> dict[str, str]:
    """Return those labels that the user gave."""
    return {key: value for key, value in labels.items() if not key.startswith(_OURS)}
