"""Networks of companies: everything goes through a proxy whose certificates only an authority of its own signs."""

from __future__ import annotations

import gc
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sdk.adapter import Labels, Resource
from sdk.adapter.types import EndpointState, EndpointStatus
from sdk.client import Client
from sdk.dataplane.invoke import Caller, EndpointFacts
from sdk.errors import AuthError, SdkError
from sdk.packaging.image.references import Reference
from sdk.packaging.image.registry_client import RegistryClient
from sdk.util.waiting import Deadline, Retry, SystemClock, TokenBucket
from sdk_azureml import _submission
from tests.live.inspecting import InspectingProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TENANT = "11111111-2222-3333-4444-555555555555"
TARGETS: dict[str, dict[str, Any]] = {
    "sagemaker": {"region": "eu-west-1", "role": "arn:aws:iam::123456789012:role/mlport", "instance": "ml.m5.large"},
    "vertex": {"project": "acme-project", "region": "europe-west4", "instance": "n1-standard-2"},
    "azureml": {
        "subscription": TENANT, "resource_group": "acme", "workspace": "models", "instance": "Standard_DS2_v2",
    },
}  # fmt: skip
HOSTS = {
    "sagemaker": "tagging.eu-west-1.amazonaws.com",
    "vertex": "europe-west4-aiplatform.googleapis.com",
    "azureml": "management.azure.com",
}
PREDICTS = {
    "sagemaker": "runtime.sagemaker.eu-west-1.amazonaws.com",
    "vertex": "europe-west4-aiplatform.googleapis.com",
    "azureml": "churn.westeurope.inference.ml.azure.com",
}
_PREDICTION = {"predictions": [3.0]}
ANSWERS: dict[str, Any] = {
    "/token": {"access_token": "planted", "expires_in": 3600, "token_type": "Bearer"},
    "/listKeys": {"primaryKey": "planted", "secondaryKey": "planted"},
    **dict.fromkeys(("/invocations", ":rawPredict", "/score:rawPredict"), _PREDICTION),
}
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")


def answer(host: str, path: str) -> tuple[int, Any]:
    """Tokens, keys and predictions, and a denial in the form of each cloud for everything else."""
    login = f"https://login.microsoftonline.com/{TENANT}"
    if path.startswith("/common/discovery"):
        return 200, {"tenant_discovery_endpoint": f"{login}/v2.0/.well-known/openid-configuration", "metadata": []}
    if "openid-configuration" in path:
        names = ("authorization_endpoint", "token_endpoint", "issuer", "device_authorization_endpoint")
        return 200, dict.fromkeys(names, f"{login}/oauth2/v2.0/token") | {"issuer": f"{login}/v2.0"}
    for ending, value in ANSWERS.items():
        if path.partition("?")[0].endswith(ending):
            return 200, value
    if "amazonaws" in host:
        return 400, {"__type": "AccessDeniedException", "message": "denied by the company's test"}
    return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "denied by the company's test"}}


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InspectingProxy]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account", "project_id": "acme-project", "private_key": pem, "private_key_id": "1",
        "client_email": "x@acme-project.iam.gserviceaccount.com", "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }  # fmt: skip
    (tmp_path / "account.json").write_text(json.dumps(account))
    with InspectingProxy(tmp_path, answer) as made:
        mini = [name for name in os.environ if name.startswith(("MLPORT_MOCK_", "AWS_", "IDENTITY_"))]
        for name in ("NO_PROXY", "no_proxy", "https_proxy", *CA_VARIABLES, *mini):
            monkeypatch.delenv(name, raising=False)
        for name, value in {
            "HTTPS_PROXY": made.url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "planted",
            "AWS_EC2_METADATA_DISABLED": "true",
            "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "account.json"),
            "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": TENANT, "AZURE_CLIENT_SECRET": "planted",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield made
        gc.collect()  # a connection that is still open is reported here, not in some later test


def client_of(provider: str, folder: Path) -> Client:
    """A client of a target of the cloud itself."""
    config = {
        "default": "t",
        "state_dir": str(folder / "state"),
        "target": {"t": {"provider": provider, **TARGETS[provider]}},
    }
    return Client(config)


@pytest.fixture
def trusted(proxy: InspectingProxy, monkeypatch: pytest.MonkeyPatch) -> InspectingProxy:
    """The proxy, whose authority the three variables name."""
    for name in CA_VARIABLES:
        monkeypatch.setenv(name, str(proxy.ca_file))
    return proxy


def listed(provider: str, folder: Path) -> SdkError:
    """The error of a list, which goes to the cloud's own host."""
    with client_of(provider, folder) as client, pytest.raises(SdkError) as refused:
        next(iter(client.session().adapter.list(timeout=20.0)), None)
    return refused.value


@pytest.mark.parametrize("provider", sorted(TARGETS))
@pytest.mark.parametrize("login", ["", "worker:p4ssword"])
def test_through_a_proxy_with_its_own_authority(
    provider: str, login: str, trusted: InspectingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `HTTPS_PROXY` and the variables of the authority the cloud's own answer arrives, tokens included."""
    trusted.login = login
    monkeypatch.setenv("HTTPS_PROXY", trusted.url)
    error = listed(provider, tmp_path)
    assert isinstance(error, AuthError), error
    assert "denied by the company's test" in error.message
    assert HOSTS[provider] in {host for host, _ in trusted.seen}
    assert [] == trusted.refused


@pytest.mark.parametrize("provider", sorted(TARGETS))
def test_predictions_go_through_the_proxy(provider: str, trusted: InspectingProxy, tmp_path: Path) -> None:
    """Signed or with a token or key that was asked for through it as well; without the authority nothing is sent."""
    host = PREDICTS[provider]
    status = EndpointStatus("churn", "t", provider, EndpointState.READY, "", f"https://{host}/score:rawPredict")
    with client_of(provider, tmp_path) as client:
        invoker = client.session().adapter.invoker(status)
        caller = Caller(invoker, EndpointFacts("churn", provider), clock=SystemClock(), redact=str)
        assert [3.0] == caller.predict([[1.0, 2.0]]).values
        caller.close()
    assert host in {seen for seen, _ in trusted.seen}


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", ""])
def test_images_are_pushed_through_the_proxy(
    name: str, proxy: InspectingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its authority is trusted by the variable; without it the error names the certificate."""
    if name:
        monkeypatch.setenv(name, str(proxy.ca_file))
    reference = Reference.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com/models:1")
    deadline, retry = Deadline(SystemClock(), 20.0), Retry(SystemClock(), TokenBucket(), attempts=1)
    with RegistryClient(reference, retry=retry, deadline=deadline) as registry, pytest.raises(SdkError) as refused:
        registry.manifest("1")
    assert ("answered 400" if name else "certificate") in str(refused.value).lower()
    assert bool(name) == bool(proxy.seen)


@pytest.mark.full
def test_a_job_of_azures_own_client_goes_through_the_proxy(trusted: InspectingProxy, tmp_path: Path) -> None:
    """It runs in a process of its own, which gets the proxy and the authority."""
    with client_of("azureml", tmp_path) as client:
        adapter: Any = client.session().adapter
        labels = Labels("job", "me", "t1")
        spec: dict[str, Any] = {
            "data": {}, "local": {}, "params": {}, "env": {}, "secrets": {},
            "image": "a" * 32, "instance": "Standard_DS2_v2", "compute": None, "tier": "Standard", "identity": None,
            "timeout_s": 60.0,
        }  # fmt: skip
        job = Resource("Job", "job", spec, labels)
        with pytest.raises(SdkError, match="denied by the company's test"):
            _submission.send(adapter._arm, adapter.options, _submission.order(job, {}), 120.0)
    assert "management.azure.com" in {host for host, _ in trusted.seen}


@pytest.mark.parametrize("provider", sorted(TARGETS))
def test_an_unknown_authority_is_not_trusted(provider: str, proxy: InspectingProxy, tmp_path: Path) -> None:
    """Without them nothing is sent to whoever is in between, and the error says that it is the certificate."""
    error = listed(provider, tmp_path)
    assert [] == proxy.seen
    assert "certificate" in error.message.lower(), error.message
