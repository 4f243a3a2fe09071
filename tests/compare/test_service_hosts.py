"""Which host an adapter's calls go to, and whether it is the platform's own: judged by the address that is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import AdapterContext, ServiceHost
from sdk.adapter.registry import adapters
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

AWS = {"region": "eu-central-1", "role": "arn:aws:iam::123456789012:role/mlport", "instance": "ml.m5.large"}
CHINA = {**AWS, "region": "cn-north-1", "role": "arn:aws-cn:iam::123456789012:role/mlport"}
GOOGLE = {"project": "acme-ml", "region": "europe-west4", "instance": "n1-standard-2"}
AZURE = {"subscription": "s", "resource_group": "rg", "workspace": "work", "instance": "Standard_DS2_v2"}
REDIRECTIONS = (
    "MLPORT_MOCK_SAGEMAKER_URL", "MLPORT_MOCK_VERTEX_URL", "MLPORT_MOCK_AZUREML_URL", "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SAGEMAKER", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "AWS_PROFILE",
)  # fmt: skip


def _host(provider: str, settings: dict[str, Any], folder: Path) -> ServiceHost:
    adapter = adapters.load(provider)
    made = adapter(
        adapter.Options.model_validate(settings), AdapterContext("t", "me", folder, SystemClock(), Redactor())
    )
    try:
        return made.service_host()
    finally:
        made.close()


@pytest.fixture(autouse=True)
def no_redirection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in REDIRECTIONS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))


@pytest.mark.parametrize(
    ("provider", "settings", "address"),
    [
        ("sagemaker", AWS, "api.sagemaker.eu-central-1.amazonaws.com"),
        ("sagemaker", CHINA, "api.sagemaker.cn-north-1.amazonaws.com.cn"),
        ("vertex", GOOGLE, "europe-west4-aiplatform.googleapis.com"),
        ("azureml", AZURE, "management.azure.com"),
    ],
)
def test_the_platforms_own_host(provider: str, settings: dict[str, Any], address: str, tmp_path: Path) -> None:
    """It is official, and charges."""
    assert ServiceHost(address, official=True, billed=True) == _host(provider, settings, tmp_path)


@pytest.mark.parametrize(
    ("provider", "settings", "variable"),
    [
        ("sagemaker", AWS, "MLPORT_MOCK_SAGEMAKER_URL"),
        ("sagemaker", AWS, "AWS_ENDPOINT_URL"),
        ("sagemaker", AWS, "AWS_ENDPOINT_URL_SAGEMAKER"),
        ("sagemaker", AWS, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"),
        ("vertex", GOOGLE, "MLPORT_MOCK_VERTEX_URL"),
        ("azureml", AZURE, "MLPORT_MOCK_AZUREML_URL"),
    ],
)
def test_a_redirected_target(
    provider: str, settings: dict[str, Any], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever sends the calls elsewhere, ours or the vendor's own variable: not official, nothing billed."""
    monkeypatch.setenv(variable, "http://127.0.0.1:4566")
    assert ServiceHost("127.0.0.1:4566", official=False, billed=False) == _host(provider, settings, tmp_path)


def test_an_emulator_elsewhere_is_not_official_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine of the company's network, a name that only looks like Amazon's, and a private link of AWS."""
    for address, official in (
        ("localstack.corp.example:4566", False),
        ("api.sagemaker.notamazonaws.com", False),
        ("vpce-1-x.api.sagemaker.eu-central-1.vpce.amazonaws.com", True),
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{address}")
        assert ServiceHost(address, official=official, billed=official) == _host("sagemaker", AWS, tmp_path)


def test_a_profile_may_redirect_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LocalStack tells its users to write it."""
    config = tmp_path / "config"
    config.write_text("[profile localstack]\nendpoint_url = http://localhost:4566\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert not _host("sagemaker", {**AWS, "profile": "localstack"}, tmp_path).official


@pytest.mark.parametrize("provider", ["local", "docker"])
def test_your_own_hardware(provider: str, tmp_path: Path) -> None:
    """It is what it says it is, and nobody sends a bill."""
    found = _host(provider, {}, tmp_path)
    assert (True, False) == (found.official, found.billed)


def test_a_substitute_cannot_be_billed() -> None:
    """The two never go together."""
    with pytest.raises(ValueError, match="nothing is billed there"):
        ServiceHost("127.0.0.1:1", official=False, billed=True)
