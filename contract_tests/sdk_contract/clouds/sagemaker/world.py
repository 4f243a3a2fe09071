"""The state that all parts of the SageMaker mini cloud share: runner, moto, logs, traffic, quotas."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..guard import nothing_lacking
from ..runners import StartFailed
from ..traffic import Collector, Traffic
from .ecr import place_of
from .errors import AwsError, invalid
from .keys import Spot
from .rights import needed_for_image, needed_for_logs, needed_for_objects

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ..guard import Lacking, Need
    from ..runners import Runner, Running
    from ..timing import Pace
    from .aws import Moto
    from .ecr import Ecr

_PARALLEL = 16
_UNLISTED = 20
_NO_GPU = ("ml.p", "ml.g", "ml.inf", "ml.trn")


@dataclass
class World:
    """The state that all parts share.

    Attributes:
        folder: For model data, jobs and images.
        moto: The other services.
        ecr: Has the images.
        runner: Runs the images.
        pace: How fast time passes.
        random: The source of everything that is random.
        quotas: Instances per type, for hosting and for training each; for types not listed, 20, or 0 with a GPU.
        startup_s: How long a container may take until its first good ping, in real seconds.
        lacking: Finds the rights that the role of containers lacks.
    """

    folder: Path
    moto: Moto
    ecr: Ecr
    runner: Runner
    pace: Pace
    random: random.Random
    quotas: Mapping[str, int] = field(default_factory=dict[str, int])
    startup_s: float = 120.0
    lacking: Lacking = nothing_lacking
    lock: threading.RLock = field(default_factory=threading.RLock)
    traffic: Traffic = field(default_factory=Traffic)
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_PARALLEL, thread_name_prefix="mini-sagemaker")
    )
    logs: Collector = field(init=False)

    def __post_init__(self) -> None:
        self.logs = Collector(self._deliver)

    def watch(self, spot: Spot, group: str, stream: str, running: Running) -> None:
        """Copy a container's output to CloudWatch Logs."""
        self.logs.watch(f"{spot.account}|{spot.region}|{group}|{stream}", running)

    def act(self, what: str, needs: Iterable[Need]) -> None:
        """Check that the role of a container may do something.

        Raises:
            StartFailed: The role lacks a right.
        """
        lacking = self.lacking(what, needs)
        if lacking is not None:
            raise StartFailed(
                f"ClientError: {what} failed: the execution role is not authorized to perform: {lacking.action} on "
                f"resource: {lacking.resource}"
            )

    def image(self, uri: str, spot: Spot) -> tuple[str, str]:
        """Return repository and reference of an image that SageMaker can run.

        Raises:
            AwsError: It is not in ECR, or is not an image in Docker's own format.
        """
        place = self.ecr.place(uri, spot)
        if place is None:
            raise invalid(f"Requested image {uri} not found.")
        media_type = self.ecr.registry.media_type(*place)
        if media_type is None:
            raise invalid(f"Requested image {uri} not found.")
        if "docker.distribution.manifest.v2" not in media_type:
            raise invalid(f"Unsupported manifest media type {media_type} for image {uri}.")
        return place

    def image_digest(self, uri: str, spot: Spot) -> tuple[str, str]:
        """Return repository and digest of an image, which may have been deleted since."""
        place = self.ecr.place(uri, spot) or ("", "")
        self.act("pulling the image", needed_for_image(*place_of(place[0])))
        return place[0], self.ecr.registry.digest(*place) or place[1]

    def data(self, uri: str, what: str) -> list[tuple[str, bytes]]:
        """Return the objects in S3 under an address: keys relative to it, and contents.

        Raises:
            AwsError: There are none.
        """
        from .aws import split_uri

        bucket, prefix = split_uri(uri)
        try:
            found = list(self.moto.objects(bucket, prefix))
        except KeyError:
            found = []
        if not found:
            raise invalid(f"Could not access {what} at {uri}. Please ensure that the object exists.")
        return [(key.removeprefix(prefix).lstrip("/") or key.rpartition("/")[2], value) for key, value in found]

    def source(self, source: Mapping[str, Any], what: str, spot: Spot) -> list[tuple[str, bytes]]:
        """Return the content of an input of a job: a manifest names its objects, any other address is a prefix.

        Raises:
            AwsError: The input is empty.
        """
        uri = str(source["S3Uri"])
        self.act("Data download", needed_for_objects(spot, uri, "GetObject"))
        if source.get("S3DataType") != "ManifestFile":
            return self.data(uri, what)
        (_, text), *_ = self.data(uri, "the manifest")
        head, *names = json.loads(text)
        addresses = {name: f"{head['prefix']}{name}" for name in names}
        for address in addresses.values():
            self.act("Data download", needed_for_objects(spot, address, "GetObject"))
        return [(name, self.data(address, what)[0][1]) for name, address in addresses.items()]

    def check_source(self, source: Mapping[str, Any], spot: Spot, role: str) -> None:
        """Refuse an input that is empty or in another region, as CreateTrainingJob does.

        Source of the wording: https://github.com/aws/amazon-sagemaker-examples/issues/2267 (and 2269, 2489).

        Raises:
            AwsError: The input is refused.
        """
        from .aws import split_uri

        uri = str(source["S3Uri"])
        bucket, prefix = split_uri(uri)
        region = self.moto.region_of_bucket(bucket)
        if region != spot.region or not any(self.moto.objects(bucket, prefix)):
            raise invalid(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
                f"exists in the selected region ({spot.region}), that objects exist under that S3 prefix, and that the "
                f'role "{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
            )

    def quota(self, instance: str) -> int:
        """Return how many instances of a type the account may have, for each kind of use."""
        return self.quotas.get(instance, 0 if instance.startswith(_NO_GPU) else _UNLISTED)

    def check_quota(self, kind: str, instance: str, used: int, wanted: int) -> None:
        """Refuse more instances than the account may have.

        Args:
            kind: ``endpoint`` or ``training job``.
            instance: Instance type.
            used: How many are running.
            wanted: How many more are requested.

        Raises:
            AwsError: The total exceeds the quota.
        """
        limit = self.quota(instance)
        if used + wanted > limit:
            raise AwsError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{instance} for {kind} usage' is {limit} Instances, with current "
                f"utilization of {used} Instances and a request delta of {wanted} Instances. Please use AWS Service "
                "Quotas to request an increase for this quota.",
            )

    def close(self) -> None:
        """Stop everything that runs."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.logs.close()
        self.runner.close()

    def _deliver(self, key: str, lines: list[tuple[float, str]]) -> None:
        account, region, group, stream = key.split("|")
        spot = Spot(account, region)
        if self.lacking("writing logs", needed_for_logs(spot, group, stream)) is None:
            self.moto.log(spot, group, stream, lines)


def without_nothing(reply: dict[str, Any]) -> dict[str, Any]:
    """Return a reply without members that have no value, as AWS sends it."""
    return {name: value for name, value in reply.items() if value is not None and value not in ({}, [], "")}
