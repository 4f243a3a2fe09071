"""Default names of the bucket and the repository, for settings that name none.

The managed policy AmazonSageMakerFullAccess lets its holders write only to buckets and repositories with ``sagemaker``
in their names. Earlier versions used other names. An account that has a bucket or repository of an earlier version
keeps it in use, since it holds what older deployments, jobs and leases refer to.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sdk.errors import AuthError, NotFoundError

from ._errors import translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._aws import Aws

REPOSITORY, OLD_REPOSITORY = "sagemaker-mlport", "mlport"


class Defaults:
    """The default names of one account and region; each is looked up once, with a single call.

    Args:
        aws: The connection to AWS.

    Attributes:
        unseen: Names of earlier versions that this identity may not look at, or that belong to another account.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._lock = threading.RLock()
        self._bucket: str | None = None
        self._repository: str | None = None
        self.unseen: list[str] = []

    @property
    def bucket(self) -> str:
        """The name of the bucket: that of an earlier version if it exists."""
        with self._lock:
            if self._bucket is None:
                old = self.old_bucket
                self._bucket = old if self._is_there(old, self._look_at_bucket) else self.new_bucket
            return self._bucket

    @property
    def repository(self) -> str:
        """The name of the repository: that of an earlier version if it exists."""
        with self._lock:
            if self._repository is None:
                found = self._is_there(OLD_REPOSITORY, self._look_at_repository)
                self._repository = OLD_REPOSITORY if found else REPOSITORY
            return self._repository

    @property
    def old_bucket(self) -> str:
        """The name of the bucket in earlier versions."""
        return f"mlport-{self._aws.account}-{self._aws.region}"

    @property
    def new_bucket(self) -> str:
        """The name of the bucket that is created if none exists."""
        return f"sagemaker-mlport-{self._aws.account}-{self._aws.region}"

    def make_new_bucket(self) -> None:
        """Use the new name from now on: no bucket exists, so one is about to be created."""
        with self._lock:
            self._bucket = self.new_bucket

    def make_new_repository(self) -> None:
        """Use the new name from now on: no repository exists, so one is about to be created."""
        with self._lock:
            self._repository = REPOSITORY

    def _is_there(self, name: str, look: Callable[[str], bool]) -> bool:
        try:
            return look(name)
        except NotFoundError:
            return False
        except AuthError:
            self.unseen.append(name)
            return False

    def _look_at_bucket(self, name: str) -> bool:
        with translate("HeadBucket", name):
            self._aws.client("s3").head_bucket(Bucket=name)
        return True

    def _look_at_repository(self, name: str) -> bool:
        found = self._aws.call("ecr", "describe_repositories", name, repositoryNames=[name])
        return any(str(one.get("registryId")) == self._aws.account for one in found["repositories"])
