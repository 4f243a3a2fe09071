"""The way to AWS as its own tools go it: profiles, hosts of all partitions, registries of other accounts."""

from __future__ import annotations

import base64
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import AuthError, ConfigError, SecurityError
from sdk.util.waiting import SystemClock
from sdk_sagemaker._aws import Aws
from sdk_sagemaker._images import Images
from sdk_sagemaker._sessions import FOLDER
from sdk_sagemaker.options import SagemakerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk_sagemaker._aws import Use

CONFIG = """
[default]
region = eu-north-1
[profile far]
region = ap-south-1
[profile plain]
output = json
[profile second-factor]
role_arn = arn:aws:iam::123456789012:role/mlport
mfa_serial = arn:aws:iam::123456789012:mfa/me
source_profile = keys
region = us-east-1
[profile keys]
aws_access_key_id = {key}
aws_secret_access_key = {secret}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with configuration files of AWS, and nothing of AWS in the environment."""
    import os

    for name in [name for name in os.environ if name.startswith(("AWS_", "MLPORT_MOCK_SAGEMAKER"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(CONFIG.format(key="AKIA", secret="x"))
    return tmp_path


def way(partition: str = "aws", **settings: Any) -> Any:
    role = f"arn:{partition}:iam::123456789012:role/mlport"
    return closing(Aws(SagemakerOptions(role=role, **settings), SystemClock()))


@pytest.mark.parametrize(
    ("settings", "variable", "region"),
    [
        ({}, {}, "eu-north-1"),
        ({"profile": "far"}, {}, "ap-south-1"),
        ({}, {"AWS_PROFILE": "far"}, "ap-south-1"),
        ({"profile": "far"}, {"AWS_REGION": "us-west-2"}, "us-west-2"),
        ({"profile": "far", "region": "sa-east-1"}, {"AWS_REGION": "us-west-2"}, "sa-east-1"),
    ],
)
def test_the_region_of_the_profile(
    settings: dict[str, Any], variable: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the target's own setting and the environment, as the AWS CLI finds it."""
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    with way(**settings) as aws:
        assert region == aws.region


def test_no_region_and_no_profile() -> None:
    """Each error names what to do."""
    with way(profile="plain") as aws, pytest.raises(ConfigError, match="region is not set") as caught:
        _ = aws.region
    assert "region of the profile" in str(caught.value.hint)
    with way(profile="none") as aws, pytest.raises(AuthError, match="none"):
        _ = aws.region


@pytest.mark.parametrize(
    ("partition", "region", "variable", "host"),
    [
        ("aws", "us-east-1", {}, "https://runtime.sagemaker.us-east-1.amazonaws.com"),
        ("aws-cn", "cn-north-1", {}, "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn"),
        ("aws-eusc", "eusc-de-east-1", {}, "https://runtime.sagemaker.eusc-de-east-1.amazonaws.eu"),
        ("aws-iso", "us-iso-east-1", {}, "https://runtime.sagemaker.us-iso-east-1.c2s.ic.gov"),
        ("aws", "us-east-1", {"AWS_USE_FIPS_ENDPOINT": "true"},
         "https://runtime-fips.sagemaker.us-east-1.amazonaws.com"),
        ("aws", "us-east-1", {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": "https://vpce-1.example.com/"},
         "https://vpce-1.example.com"),
    ],
)  # fmt: skip
def test_where_predictions_go(
    partition: str, region: str, variable: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the AWS library would send them: partitions, FIPS, private links."""
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    with way(partition, region=region) as aws:
        assert f"{host}/endpoints/churn/invocations" == aws.url("churn")


class Registry(Aws):
    """A way to AWS whose clients of ECR answer with a token that names their region."""

    def _new_client(self, service: str, patience: int, use: Use, region: str | None = None) -> Any:
        return Tokens(region or self.region)


class Tokens:
    host = "123456789012.dkr.ecr.{}.amazonaws.com"

    def __init__(self, region: str) -> None:
        self.region = region

    def get_authorization_token(self) -> dict[str, Any]:
        from datetime import UTC, datetime

        token = base64.b64encode(f"AWS:{self.region}".encode()).decode()
        host = self.host.format(self.region)
        about = {"authorizationToken": token, "proxyEndpoint": f"https://{host}", "expiresAt": datetime.now(UTC)}
        return {"authorizationData": [about]}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", ("AWS", "us-east-1")),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com", ("AWS", "us-east-1")),
        ("763104351884.dkr.ecr.eu-west-1.amazonaws.com", ("AWS", "eu-west-1")),
        ("763104351884.dkr-ecr.eu-west-1.on.aws", ("AWS", "eu-west-1")),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.evil.example", None),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com.evil.example", None),
        ("ghcr.io", None),
    ],
)
def test_registries_of_other_accounts(host: str, found: tuple[str, str] | None) -> None:
    """A token of ECR is good for all registries of its region; no other host ever gets one."""
    options = SagemakerOptions(region="us-east-1", role="arn:aws:iam::123456789012:role/mlport")
    with closing(Registry(options, SystemClock())) as aws:
        assert found == Images(aws, "me", SystemClock()).login(host)


@pytest.mark.parametrize(
    "host",
    ["123456789012.evil.example", "123456789012.dkr.ecr.us-east-1.amazonaws.com@evil.example",
     "210987654321.dkr.ecr.us-east-1.amazonaws.com", "123456789012.dkr.ecr.us-east-1.amazonaws.com:8443"],
)  # fmt: skip
def test_a_registry_that_is_not_ours_gets_no_image(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that has the token names the registry too."""
    monkeypatch.setattr(Tokens, "host", host)
    options = SagemakerOptions(region="us-east-1", role="arn:aws:iam::123456789012:role/mlport")
    with closing(Registry(options, SystemClock())) as aws, pytest.raises(SecurityError):
        Images(aws, "me", SystemClock()).login(host)


@pytest.fixture
def sts(tmp_path_factory: pytest.TempPathFactory, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A mini cloud that gives out sessions of roles, with keys of an account in the profile ``keys``."""
    from sdk_contract.clouds import mini_cloud

    with mini_cloud("sagemaker", folder=tmp_path_factory.mktemp("sts")) as cloud:
        made: Any = cloud
        key, secret, *_ = made.keys.of("123456789012")
        (home / ".aws" / "config").write_text(CONFIG.format(key=key, secret=secret))
        monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
        yield cloud


COMMAND = """
from contextlib import closing
from sdk.util.waiting import SystemClock
from sdk_sagemaker._aws import Aws
from sdk_sagemaker.options import SagemakerOptions
role = "arn:aws:iam::123456789012:role/mlport"
with closing(Aws(SagemakerOptions(role=role, profile="second-factor"), SystemClock())) as aws:
    print(len(aws.credentials()[0]))
"""


def test_a_second_factor_is_asked_for_once(sts: Any, home: Path) -> None:
    """The session is kept where the AWS CLI keeps it, for its owner only: the next command finds it there."""

    def run(typed: str) -> str:
        command = [sys.executable, "-c", COMMAND]
        done = subprocess.run(command, check=False, input=typed, capture_output=True, text=True, start_new_session=True)
        return done.stdout.strip() or done.stderr[-400:]

    assert "EOF" in run(""), "the code is asked for"
    assert "20" in run("123456\n")
    assert "20" == run("")
    (kept,) = home.joinpath(*FOLDER).iterdir()
    assert 0o600 == kept.stat().st_mode & 0o777
