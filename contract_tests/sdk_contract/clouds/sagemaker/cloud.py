"""The SageMaker mini cloud: one port for all services that an endpoint or job needs."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from ..app import App, Response
from ..cloud import Cloud
from ..runners import make_runner
from ..server import Server
from .aws import ACCOUNT, REGION, Moto, Passed
from .control import Control
from .ecr import Ecr
from .errors import AwsError, render
from .keys import Keys
from .locked import Locked
from .metrics import Metrics
from .owners import Owners
from .quotas import Quotas
from .rights import Rights, Simulation
from .runtime import LIMIT, Runtime
from .scaling import Scaling
from .sigv4 import read, verify
from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..app import Match, Request
    from ..runners import Runner
    from .keys import Credential, Spot
    from .sigv4 import Signature

_TAG_KINDS = {"endpoint", "endpoint-config", "model", "training-job"}


class SagemakerCloud(Cloud):
    """The SageMaker mini cloud. Every account exists, in every region; its key is derived from this cloud's secret.

    Args:
        folder: As for every :class:`~sdk_contract.clouds.cloud.Cloud`, like ``runner``, ``pace`` and ``seed``.
        quotas: Instances per type; for types not named, 20, or 0 with a GPU.
        oci: Whether ECR accepts OCI manifests, which SageMaker then refuses.
        payload: Largest body of an invocation in bytes.
        startup_s: How long a container may take to become ready, in real seconds.
    """

    name: ClassVar[str] = "sagemaker"

    def __init__(
        self,
        folder: Path,
        runner: str = "process",
        *,
        pace: float = 0.0,
        seed: int = 0,
        quotas: Mapping[str, int] | None = None,
        oci: bool = False,
        payload: int = LIMIT,
        startup_s: float = 120.0,
    ) -> None:
        super().__init__(folder, runner, pace=pace, seed=seed)
        self._quotas, self._oci, self._payload, self._startup_s = dict(quotas or {}), oci, payload, startup_s
        self.owners = Owners()
        self.locked = Locked()
        self.rights = Rights(self._spot_of)
        self.tagging_late_s = 0.0  # the delay of the tagging service
        self._world: World | None = None
        self._moto: Moto | None = None

    @cached_property
    def keys(self) -> Keys:
        """The access keys of all accounts."""
        return Keys(self.secret)

    def open(self) -> Server:
        """Create the server, and everything behind it."""
        self._moto = Moto()
        self.ecr = Ecr(self._moto, self.keys, self.folder / "registry", oci=self._oci)
        self._world = World(
            self.folder,
            self._moto,
            self.ecr,
            self.make_runner(),
            self.pace,
            self.random,
            self._quotas,
            self._startup_s,
            lacking=self.rights.lacking,
        )
        self.control = Control(self._world, self._signature)
        self.metrics = Metrics(self._world, self.control.endpoints)
        self.scaling = Scaling(self._moto, self.control.endpoints)
        self.quotas = Quotas(self._world, self._signature)
        runtime = Runtime(self._world, self.control.endpoints, self._signature, limit=self._payload)
        passed = Passed(self._moto, self._signature, before=self._before, after=self._after, locked=self.locked)
        self.app = App(
            [self.ecr, runtime, self.control, self.quotas, Simulation(self.rights, self._signature), passed],
            calls=self.calls,
            faults=self.faults,
            missing=_unsigned,
            broken=_broken,
        )
        self.app.at_end.append(runtime.close)
        self.app.guard = self.rights
        server = Server(self.app)
        self.ecr.host = server.url.removeprefix("http://")
        return server

    def make_runner(self) -> Runner:
        """Create the runner behind endpoints and jobs."""
        return make_runner(self.runner_name, self.folder / "runner")

    def variables(self) -> Mapping[str, str]:
        """Return the variables that point AWS clients here, with the key of the first account."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            **self.account_variables(self.secret, ACCOUNT),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "MLPORT_MOCK_SAGEMAKER_URL": self.url,
        }

    @staticmethod
    def account_variables(secret: bytes, account: str) -> dict[str, str]:
        """Return the variables with the key of an account.

        Args:
            secret: The secret of the mini cloud.
            account: Its number.

        Raises:
            ValueError: The account number does not have twelve digits.
        """
        identity, key = Keys(secret).of(account)
        return {"AWS_ACCESS_KEY_ID": identity, "AWS_SECRET_ACCESS_KEY": key}

    def inventory(self) -> list[str]:
        """List everything that exists now: records, images, objects, scaling, alarms, log groups, and processes."""
        world = self._need()
        with world.lock:
            found = [f"{record.kind} {record.name}" for record in self.control.records() if record.kind in _STILL]
            found += [
                f"training-job {job.name} {self.control.jobs.status(job)}" for job in self.control.jobs.shelf.all()
            ]
        found += [
            f"image {name}@{digest}" for name, images in self.ecr.registry.repositories().items() for digest in images
        ]
        found += [f"process {name}" for name in world.runner.alive()]
        return sorted([*found, *self._others(world.moto)])

    def _others(self, moto: Moto) -> Iterator[str]:
        for ecr in moto.backends("ecr").values():
            yield from (f"repository {name}" for name in ecr.repositories)
        for s3 in moto.backends("s3").values():
            for name, bucket in s3.buckets.items():
                yield f"bucket {name}"
                yield from (f"object s3://{name}/{key}" for key in bucket.keys)
        for scaling in moto.backends("applicationautoscaling").values():
            for service, targets in scaling.targets.items():
                yield from (f"scalable-target {service} {name}" for name, one in targets.items() if one)
            yield from (f"scaling-policy {policy.policy_name}" for policy in scaling.policies.values())
        for watch in moto.backends("cloudwatch").values():
            yield from (f"alarm {name}" for name in watch.alarms)
        for logs in moto.backends("logs").values():
            yield from (f"log-group {name}" for name in logs.groups)

    def release(self) -> None:
        """Stop all containers and clear the state."""
        if self._world is not None:
            self._world.close()
            self.app.close()
        if self._moto is not None:
            self._moto.close()
            self._moto = None

    # --- between our own services and moto --------------------------------------------------------------------------

    def _need(self) -> World:
        if self._world is None:
            raise RuntimeError("the mini cloud was not started")
        return self._world

    def _signature(self, request: Request) -> Signature | None:
        signature = read(request)
        return None if signature is None else verify(request, signature, self._find_key)

    def _spot_of(self, request: Request, match: Match) -> Spot | None:
        """Return the account and region in which a request with valid credentials is made."""
        if match.service == "registry":
            return self.ecr.spot(request)
        with suppress(AwsError):
            signature = self._signature(request)
            return signature.spot if signature else None
        return None

    def _find_key(self, identity: str) -> Credential | None:
        return self.keys.find(identity) or self._need().moto.find_key(identity)

    def _before(self, service: str, operation: str, spot: Spot, request: Request) -> None:
        world = self._need()
        if service == "s3":
            self.owners.before(operation, request, world.moto.account_of_bucket)
        elif service == "application-autoscaling":
            self.scaling.before(operation, spot, request.json())
        elif service == "logs":
            world.logs.collect()
        elif service == "cloudwatch":
            self.metrics.join(spot)
        elif service == "tagging":
            self._join_tagging(spot)

    def _after(self, service: str, operation: str, spot: Spot, request: Request, answer: Response) -> Response:
        if service == "application-autoscaling":
            self.scaling.after(spot)
        if operation == "GetCallerIdentity" and isinstance(answer.body, bytes):  # moto's name of users is not STS's
            answer.body = answer.body.replace(
                f":sts::{spot.account}:user/".encode(), f":iam::{spot.account}:user/".encode()
            )
        if service != "ecr":
            return answer
        if operation == "GetAuthorizationToken":
            return self.ecr.token(spot)
        return self.ecr.after(operation, answer)

    def _join_tagging(self, spot: Spot) -> None:
        """Let ``GetResources`` find the resources of our own services."""
        tagged = import_module("moto.core.resource_tagging").TaggedResource
        models = import_module("moto.resourcegroupstaggingapi.models")
        backend = self._need().moto.backend("resourcegroupstaggingapi", spot)
        if "_get_resources_generator" in vars(backend):
            return
        theirs = backend._get_resources_generator  # noqa: SLF001  # moto has no public hook

        def ours(
            tag_filters: list[dict[str, Any]] | None = None,
            resource_type_filters: list[str] | None = None,
            resource_arn_list: list[str] | None = None,
        ) -> Iterator[Any]:
            yield from theirs(tag_filters, resource_type_filters, resource_arn_list)
            matches = models.make_tag_matcher(tag_filters)
            for record in self.control.records(spot):
                kind = f"sagemaker:{record.kind}"
                if (
                    record.tags
                    and time.time() - record.created >= self.tagging_late_s
                    and models.match_resource_type(kind, resource_type_filters)
                    and matches(record.tags)
                    and (not resource_arn_list or record.arn in resource_arn_list)
                ):
                    yield tagged(record.arn, dict(record.tags), kind)

        backend._get_resources_generator = ours  # noqa: SLF001  # as above


_STILL = {"model", "endpoint-config", "endpoint"}


def _unsigned(request: Request) -> Response:
    message = f"Missing Authentication Token ({request.method} {request.path})"
    return render(AwsError("MissingAuthenticationTokenException", message, 403), "sagemaker")


def _broken(request: Request, error: BaseException) -> Response:
    return render(AwsError("InternalFailure", f"the mini cloud broke: {error!r}", 500), "sagemaker")
