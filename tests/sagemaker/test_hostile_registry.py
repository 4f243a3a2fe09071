"""A server that answers in the name of ECR: whatever its token says, no image and no password go to another host."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import AdapterContext, Labels, Materials, Resource
from sdk.errors import SdkError, SecurityError
from sdk.packaging.model import Model
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_sagemaker import SagemakerAdapter
from sdk_sagemaker.options import SagemakerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCOUNT = "123456789012"
OWN = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
TOKEN = base64.b64encode(b"AWS:password").decode()
DIGEST = "sha256:" + "ab" * 32


class Host(ThreadingHTTPServer):
    """Answers each operation of ECR as it is told to; remembers the paths of everything else that arrives."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.at = f"127.0.0.1:{self.server_port}"
        self.answers: dict[str, Any] = {}
        self.others: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Host

    def do_POST(self) -> None:
        operation = self.headers.get("x-amz-target", "").rpartition(".")[2]
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if operation not in self.server.answers:
            self.server.others.append(self.path)
        data = json.dumps(self.server.answers.get(operation, {})).encode()
        self.send_response(200 if operation in self.server.answers else 404)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def push(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Push an image to the repository of the target, with this answer to the question for a token."""
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("MLPORT_MOCK_SAGEMAKER_URL", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://{host.at}")
    keys = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "x", "DOCKER_CONFIG": str(tmp_path)}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)

    def run(about: Any) -> None:
        host.answers = {
            "DescribeRepositories": {"repositories": [{"registryId": ACCOUNT, "repositoryName": "mlport"}]},
            "GetAuthorizationToken": about,
        }
        role = f"arn:aws:iam::{ACCOUNT}:role/mlport"
        options = SagemakerOptions(region="us-east-1", instance="ml.m5.large", role=role)
        model = Model.from_image(f"{OWN}/mlport@{DIGEST}", name="mine")
        wanted = Resource("Image", "ab" * 16, {"base": None, "image": model.image}, Labels("shared", "me", "t"))
        context = AdapterContext("aws", "me", tmp_path, SystemClock(), Redactor())
        with closing(SagemakerAdapter(options, context)) as adapter:
            adapter.create(wanted, Materials(model=model), timeout=5)

    return run


def told(proxy: Any, token: Any = TOKEN, expires: Any = 4_000_000_000.0) -> dict[str, Any]:
    return {"authorizationData": [{"authorizationToken": token, "proxyEndpoint": proxy, "expiresAt": expires}]}


@pytest.mark.parametrize(
    "proxy",
    [
        "http://{at}",
        "https://{at}",
        "https://{own}@{at}",
        "https://{own}:443@{at}",
        "https://{own}:{port}",
        "https://{own}.{at}",
        "https://{at}/{own}",
        "https://{at}#{own}",
        "https://{at}?{own}",
        "https://{at}\\@{own}",
        "{own}",
        "//{at}",
        "",
        "https://210987654321.dkr.ecr.us-east-1.amazonaws.com",
        "https://{own}%2f@{at}",
        "https://{own}\u2044@{at}",
    ],
)
def test_no_image_goes_to_a_host_that_a_token_names(host: Host, push: Callable[..., None], proxy: str) -> None:
    named = proxy.format(at=host.at, own=OWN, port=host.server_port)
    with pytest.raises(SecurityError, match=r"nothing was sent there|is in account"):
        push(told(named))
    assert [] == host.others


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"authorizationData": []},
        {"authorizationData": {}},
        {"authorizationData": [{}]},
        {"authorizationData": [None]},
        told(None),
        told([f"https://{OWN}"]),
        told(f"https://{OWN}", None),
        told(f"https://{OWN}", "no base 64"),
        told(f"https://{OWN}", base64.b64encode(b"\xff\xfe:x").decode()),
        told(f"https://{OWN}", expires="soon"),
        told(f"https://{OWN}", expires={}),
        told(f"https://{OWN}", expires=None),
        told(f"https://{OWN}", expires=1e300),
    ],
)
def test_an_odd_token_ends_in_an_error_of_ours(host: Host, push: Callable[..., None], about: Any) -> None:
    with pytest.raises(SdkError):
        push(about)
    assert [] == host.others


@pytest.mark.parametrize(
    "where", ["evil.example", "127.0.0.1@evil.example", "evil.example/127.0.0.1", "127.0.0.2.evil"]
)
def test_a_mini_cloud_names_a_registry_on_this_machine(place: Any, tmp_path: Path, where: str) -> None:
    options = SagemakerOptions(region="us-east-1", role=f"arn:aws:iam::{ACCOUNT}:role/mlport")
    context = AdapterContext("aws", "me", tmp_path, SystemClock(), Redactor())
    own, place.cloud.ecr.host = place.cloud.ecr.host, where
    try:
        with (
            closing(SagemakerAdapter(options, context)) as adapter,
            pytest.raises(SecurityError, match="mini cloud is"),
        ):
            adapter._images.login("ghcr.io")
    finally:
        place.cloud.ecr.host = own
    with closing(SagemakerAdapter(options, context)) as adapter:
        assert adapter._images.login(own)
