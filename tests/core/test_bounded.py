"""What other machines send is read within a number of bytes and a time, whichever client reads it."""

from __future__ import annotations

import ast
import asyncio
import gzip
import importlib.util
import random
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import AdapterContext, Invoker, Limits
from sdk.adapter.identities import Identities
from sdk.client.price_refresh import Get
from sdk.dataplane.invoke import Caller, EndpointFacts
from sdk.errors import SdkError, UnreadableError
from sdk.packaging.image import Registries
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_address import Address
from sdk.packaging.image.references import Reference
from sdk.util import bounded
from sdk.util.bounded import Bound, Patience
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock, TokenBucket
from sdk_azureml import _arm
from sdk_azureml.options import AzureMLOptions
from sdk_sagemaker._aws import Aws
from sdk_sagemaker._storage import Storage
from sdk_sagemaker.options import SagemakerOptions
from sdk_vertex._access import Access
from sdk_vertex._control import Control
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SHORT_S = 0.15
MOST = 100 << 20  # bytes that any of these readers may take, with what the buffers on the way hold
_SPEC = importlib.util.spec_from_file_location("core_tests_hostile", Path(__file__).with_name("hostile.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
hostile = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = hostile
_SPEC.loader.exec_module(hostile)


class Impatient(SystemClock):
    """Does not wait between tries."""

    def sleep(self, seconds: float) -> None:
        """Nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    """Starts hostile servers."""
    made: list[Any] = []

    def build(answer: Any) -> Any:
        made.append(hostile.Hostile(answer))
        return made[-1]

    yield build
    for one in made:
        one.close()


# --- every reader -------------------------------------------------------------------------------------------------


def caller(address: str, seconds: float) -> Caller:
    """Predictions."""
    return Caller(
        Invoker(
            f"http://{address}/predict",
            Limits(1_000, seconds, 16 << 20),
            fault=lambda _: None,
            error=lambda response: SdkError(f"refused with {response.status_code}"),
        ),
        EndpointFacts("churn", "local"),
        clock=SystemClock(),
        redact=str,
        bucket=TokenBucket(),
        random=random.Random(0),
    )


def predict(address: str, seconds: float, _: Path) -> Any:
    """By our own connection."""
    return caller(address, seconds).predict([[1]])


def apredict(address: str, seconds: float, _: Path) -> Any:
    """In an event loop."""

    async def ask() -> Any:
        one = caller(address, seconds)
        try:
            return await one.apredict([[1]])
        finally:
            await one.aclose()

    return asyncio.run(ask())


def engine(address: str, seconds: float, _: Path) -> Any:
    """A call of the Docker Engine."""
    with Engine(Address(f"tcp://{address}")) as made:
        vars(made)["version"] = "1.41"
        return made.call("GET", "/info", timeout_s=seconds)


def engine_lines(address: str, seconds: float, _: Path) -> Any:
    """An answer of the engine that comes in pieces."""
    bound = Bound(bounded.ANSWER.most, seconds, large=True)
    with Engine(Address(f"tcp://{address}")) as made:
        vars(made)["version"] = "1.41"
        with made.stream("GET", "/build", bound=bound) as pieces:
            return b"".join(pieces)


def vertex(address: str, seconds: float, _: Path) -> Any:
    """Services of Google without a library."""
    access = Access(VertexOptions(project="acme-ml", region="europe-west4"), lambda: 0.0)
    return access.send("GET", f"http://{address}/x", "GetX", timeout=seconds)


def vertex_library(address: str, seconds: float, _: Path) -> Any:
    """Google's own library."""
    control = Control(Access(VertexOptions(project="acme-ml", region="europe-west4"), lambda: 0.0))
    control.access.mock = f"http://{address}"
    return control.call("endpoints", "get_endpoint", {"name": "projects/p/locations/l/endpoints/e"}, timeout=seconds)


def azure(address: str, seconds: float, folder: Path) -> Any:
    """Azure's resource manager, and the token for it."""
    options = AzureMLOptions(subscription="s", resource_group="g", workspace="wsp", endpoint=f"http://{address}")
    arm = _arm.Arm(options, AdapterContext("a", "me", folder, SystemClock(), Redactor()))
    vars(arm.tokens)["_known"] = dict.fromkeys([f"http://{address}/.default"], _Token())
    return arm.find("/x", "read x", timeout=seconds)


class _Token:
    token = "t"
    expires_on = 1 << 40


def aws(address: str, seconds: float, _: Path) -> Any:
    """A service of AWS."""
    with sagemaker(address, seconds) as made:
        return made.call("sagemaker", "describe_model", "m", ModelName="m")


def s3(address: str, seconds: float, folder: Path) -> Any:
    """A small object of S3."""
    with sagemaker(address, seconds) as made:
        return Storage(made, Identities(folder, "sagemaker")).find("locks/x")


def sagemaker(address: str, seconds: float) -> Any:
    """The way to AWS with short time-outs."""
    from contextlib import closing

    made = Aws(SagemakerOptions(region="us-east-1", role="arn:aws:iam::123456789012:role/r"), SystemClock())
    made.mock = f"http://{address}"
    build = made._new_client
    vars(made)["_new_client"] = lambda service, patience, use: build(service, min(patience, seconds), use)
    return closing(made)


READERS = {
    one.__name__: one for one in (predict, apredict, engine, engine_lines, vertex, vertex_library, azure, aws, s3)
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are worth nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("MLPORT_MOCK_VERTEX_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MLPORT_MOCK_VERTEX_TOKEN", "t")


@pytest.mark.parametrize("answer", hostile.LARGE)
@pytest.mark.parametrize("reader", READERS)
def test_a_body_without_end_is_not_read_to_its_end(
    serve: Callable[[Any], Any], tmp_path: Path, reader: str, answer: str
) -> None:
    if (reader, answer) == ("s3", "bomb"):
        pytest.skip("objects of S3 are taken as they were sent")
    server = serve(hostile.LARGE[answer])
    with pytest.raises(SdkError):
        READERS[reader](server.address, 20.0, tmp_path)
    assert server.sent < MOST


@pytest.mark.parametrize("answer", hostile.SLOW)
@pytest.mark.parametrize("reader", READERS)
def test_a_server_that_sends_byte_by_byte_is_given_up(
    serve: Callable[[Any], Any], tmp_path: Path, reader: str, answer: str
) -> None:
    """Each byte comes in time, all of them never do."""
    server = serve(hostile.SLOW[answer])
    with pytest.raises(SdkError):
        READERS[reader](server.address, SHORT_S, tmp_path)
    assert server.sent < 500


@pytest.mark.parametrize("answer", hostile.LARGE)
@pytest.mark.parametrize("what", ["manifest", "blob"])
def test_a_registry_without_end(serve: Callable[[Any], Any], tmp_path: Path, what: str, answer: str) -> None:
    """The manifest that took 8.5 GB takes 4 MiB, a blob takes the bytes that it has, tried again or not."""
    from sdk.packaging.image import BlobStore

    server = serve(hostile.LARGE[answer])
    registry = Registries(lambda _: None, clock=Impatient()).open(Reference.parse(f"{server.address}/team/base:1"))
    ask: dict[str, Callable[[], Any]] = {
        "manifest": lambda: registry.manifest("1"),
        "blob": lambda: registry.pull_blob("sha256:" + "0" * 64, 5_000, BlobStore(tmp_path)),
    }
    with registry, pytest.raises(SdkError):
        ask[what]()
    assert server.sent < 24 << 20


@pytest.mark.parametrize("answer", hostile.LARGE)
def test_a_price_list_without_end(serve: Callable[[Any], Any], answer: str) -> None:
    """Four tries at most, each within the bound."""
    server = serve(hostile.LARGE[answer])
    get = Get(Impatient())
    get._client.event_hooks["request"].insert(0, lambda request: request.extensions.update(Bound(1 << 20).extensions))
    with pytest.raises(SdkError):
        get(f"http://{server.address}/offers")
    get.close()
    assert server.sent < 24 << 20


# --- the pieces ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_bodies_are_counted_after_decompression(seed: int) -> None:
    """Whatever the pieces are, exactly ``most`` bytes pass and one more does not."""
    chance = random.Random(seed)
    content = chance.randbytes(chance.randrange(1, 3_000)) * chance.randrange(1, 200)
    encoding = chance.choice(["gzip", "deflate", "identity"])
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}
    packed = packers[encoding](content)
    cuts = sorted(chance.randrange(len(packed) + 1) for _ in range(chance.randrange(20)))
    pieces = [packed[a:b] for a, b in zip([0, *cuts], [*cuts, len(packed)], strict=True)]

    def read(most: int) -> bytes:
        body = bounded.BodyCounter({"content-encoding": encoding}, Bound(most), "the answer")
        return b"".join(part for piece in pieces for part in body.take(piece)) + b"".join(body.end())

    assert content == read(len(content))
    with pytest.raises(UnreadableError, match="has more than"):
        read(len(content) - 1)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("br", b"x"),
        ("gzip, gzip", b"x"),
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(b"xyz", mtime=0)[:-9]),
        ("gzip", gzip.compress(b"x", mtime=0) * 2),
    ],
)
def test_an_encoding_that_cannot_be_read_is_an_error(encoding: str, data: bytes) -> None:
    def read() -> list[bytes]:
        body = bounded.BodyCounter({"content-encoding": encoding}, bounded.ANSWER, "the answer")
        return [*body.take(data), *body.end()]

    with pytest.raises(UnreadableError):
        read()


def test_time_begins_when_the_request_was_sent_and_grows_for_files_only() -> None:
    """By a clock of our own."""
    at = 0.0
    strict, large = (Patience(10.0, large=large, now=lambda: at) for large in (False, True))
    assert (10.0, 10.0) == (strict.left, large.left)
    at = 9.0
    for one in (strict, large):
        one.took(1 << 20)
    assert (1.0, 10.0) == (strict.left, large.left)  # never more than one time-out for one read
    at = 11.0
    with pytest.raises(TimeoutError, match=r"not whole after 10 s \(1,048,576 bytes"):
        _ = strict.left
    at = 43.0
    with pytest.raises(TimeoutError, match="not whole after 42 s"):
        _ = large.left
    strict.restart()
    assert strict.left == 10.0


def test_redirects_and_their_bodies_have_an_end() -> None:
    """A server that sends elsewhere for ever is left after five times."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": "/again"}, content=b"x" * 100)

    with (
        bounded.client(transport=httpx.MockTransport(answer), follow_redirects=True) as client,
        pytest.raises(httpx.TooManyRedirects),
    ):
        client.get("http://127.0.0.1:1/")
    assert len(asked) == 6


def test_pages_have_an_end() -> None:
    seen: list[int] = []
    with pytest.raises(UnreadableError, match="the list cannot be read: it has more than 3 pages"):
        seen.extend(number for number, _ in enumerate(bounded.turns("the list", 3)))
    assert [0, 1, 2] == seen
    with pytest.raises(UnreadableError, match="more than 10,000 pages"):
        for _ in bounded.turns("the list"):
            pass


def test_all_pages_together_have_a_time() -> None:
    """Each page comes in time; the time in which the pages are used does not count."""
    clock, pages = [0.0], 0

    def read() -> None:
        nonlocal pages
        for fetching in bounded.turns("the list", now=lambda: clock[0]):
            with fetching:
                clock[0] += 50
            clock[0] += 10_000
            pages += 1

    with pytest.raises(UnreadableError, match=r"the list cannot be read: fetching 73 pages took 3,650 s, and"):
        read()
    assert 73 == pages


# --- no other way -------------------------------------------------------------------------------------------------

MAKES_CLIENTS = {
    "httpx": {
        "Client",
        "AsyncClient",
        "HTTPTransport",
        "AsyncHTTPTransport",
        "get",
        "post",
        "put",
        "request",
        "stream",
    },
    "urllib.request": {"urlopen", "urlretrieve", "build_opener"},
    "http.client": {"HTTPConnection", "HTTPSConnection", "HTTPResponse"},
    "requests": {"Session", "get", "post", "put", "request"},
    "urllib3": {"PoolManager", "request"},
    "socket": {"socket", "create_connection", "socketpair"},
    "asyncio": {"open_connection", "open_unix_connection"},
    "boto3": {"client", "resource"},
}
ALLOWED = {
    "sdk/util/bounded.py": "makes the clients",
    "sdk/util/bounded_http.py": "makes answers of the standard library, bounded",
    "sdk/dataplane/health_checks.py": "its connections have the bounded answer for their class",
    "sdk/dataplane/connections.py": "its connections have the bounded answer for their class",
    "sdk/packaging/image/engine_address.py": "a way for a bounded client; probes whether a socket is there",
    "sdk/compare/load/worker.py": "opens connections and reads nothing from them",
    "sdk/serving/serve.py": "listens",
    "sdk/serving/gateway/claim.py": "listens",
    "sdk/serving/gateway/start.py": "listens",
    "sdk/serving/gateway/client.py": "the gateway of this machine and user, over a socket that others cannot open",
    "sdk/serving/gateway/pipe.py": "runs beside the gateway and passes on",
    "sdk/serving/gateway/runner.py": "starts processes and hands their sockets over",
    "adapters/sdk_local/_doctor.py": "looks whether a port is free",
    "adapters/sdk_vertex/_access.py": "a session that is bounded in the next line",
    "examples/adapter_template/src/mlport_shelf/platform.py": "a toy platform, not a client",
}


def _made_in(path: Path) -> set[str]:
    """The calls in a file that make a client or a connection."""
    names: dict[str, str] = {}
    found: set[str] = set()
    text = path.read_text()
    if not any(module in text for module in MAKES_CLIENTS):
        return found
    nodes = list(ast.walk(ast.parse(text)))
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in MAKES_CLIENTS:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in nodes:
        called = [node.func] if isinstance(node, ast.Call) else node.bases if isinstance(node, ast.ClassDef) else []
        for one in called:
            head, _, last = ast.unparse(one).rpartition(".")
            module, _, name = names[last].rpartition(".") if not head and last in names else (names.get(head), "", last)
            if module in MAKES_CLIENTS and name in MAKES_CLIENTS[module]:
                found.add(f"{module}.{name}")
    return found


def test_no_client_is_made_elsewhere() -> None:
    """A new way to another machine goes through :mod:`sdk.util.bounded`, or says here why it need not."""
    folders = ("sdk", "adapters", "examples/adapter_template/src")
    found = {
        path.relative_to(ROOT).as_posix(): made
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (made := _made_in(path))
    }
    assert set(ALLOWED) == set(found)


def test_the_search_for_clients_finds_them(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "import httpx\nimport http.client\nfrom urllib.request import urlopen as get\nimport requests\n"
        "httpx.Client()\nclass C(http.client.HTTPSConnection): ...\nget('x')\nrequests.get('x')\nhttpx.URL('x')\n"
    )
    expected = {"httpx.Client", "http.client.HTTPSConnection", "urllib.request.urlopen", "requests.get"}
    assert expected == _made_in(tmp_path / "x.py")


def test_a_refusal_may_be_longer_than_the_body_that_was_asked_for() -> None:
    """A file of four bytes that cannot be read now: the error says why."""
    body = b'{"error": {"message": "not now"}}'
    transport = httpx.MockTransport(lambda _request: httpx.Response(503, content=body))
    with bounded.client(transport=transport) as http:
        answer = http.get("https://example.com/file", extensions=bounded.of_size(4).extensions)
    assert (503, body) == (answer.status_code, answer.content)
