"""Images as a resource of an adapter: named without a call, published, copied and read in real registries."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from sdk.adapter.specs import Materials
from sdk.errors import ConfigError, NotFoundError, UnavailableError
from sdk.packaging import runtime
from sdk.packaging.image import (
    BlobStore,
    PublishedImage,
    Registries,
    build_image,
    content_of,
    image_id,
    open_store,
    publish,
    published,
    push_image,
)
from sdk.packaging.image.manifests import MANIFEST_TYPE, OCI_INDEX_TYPE, Image, canonical
from sdk.packaging.image.publish import _seconds
from sdk.packaging.model import Model
from sdk.util.waiting import SystemClock


class _Wire(httpx.HTTPTransport):
    """The real network with a list of what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        return super().handle_request(request)

    def sent(self) -> list[str]:
        """What was changed in a registry."""
        return [call for call in self.asked if not call.startswith(("GET", "HEAD"))]


@pytest.fixture
def base(bundles: ModuleType, registry_host: str, tmp_path: Path) -> str:
    """A base in the registry."""
    store = BlobStore(tmp_path / "base")
    return push_image(bundles.base(store), f"{registry_host}/bases/publish:v1", store=store)


@pytest.fixture
def model(bundles: ModuleType, tmp_path: Path) -> Model:
    found: Model = bundles.model(tmp_path / "model")
    return found


def test_planning_loads_nothing_heavy() -> None:
    """The id of an image is found without the builder, HTTP or any model library."""
    script = "import sys; from sdk.packaging.image import image_id; image_id('ab' * 32); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    loaded = set(done.stdout.split())
    assert set() == loaded & {"httpx", "pydantic", "numpy", "sdk.packaging.image.build", "tarfile", "ssl"}


def test_id_depends_on_all_that_decides_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another base, platform or model server is another image; a ready-made one is named after its digest alone."""
    digest = "ab" * 32
    ids = [
        image_id(digest),
        image_id("cd" * 32),
        image_id(digest, "debian-packages"),
        image_id(digest, platform="linux/arm64"),
        image_id(digest, "debian-packages", "linux/arm64"),
    ]
    ready = image_id(digest, ready="example.com/model@sha256:" + digest)
    assert ready == digest[:32]
    monkeypatch.setattr(runtime, "digest", lambda: "another mlport")
    ids += [ready, image_id(digest), image_id(digest, "debian-packages")]
    assert ready == image_id(digest, "debian-packages", ready="example.com/model@sha256:" + digest)
    assert len(ids) == len({name for name in ids if len(name) == 32 and int(name, 16)})


def test_model_is_published_and_read(registry_host: str, base: str, model: Model) -> None:
    """What was published is found under its tag with its labels and size; again nothing is sent but the manifest."""
    place, wire = f"{registry_host}/publish/model:{image_id(model.digest, base)}", _Wire()
    assert published(place) is None
    where = publish(model, place, base=base, labels={"mlport": "1"})
    found = published(place)
    assert found is not None
    assert (where, where.partition("@")[2]) == (found.reference, found.digest)
    assert (model.digest, "1") == (found.labels["dev.mlport.model.sha256"], found.labels["mlport"])
    assert found.created is None
    assert found == published(where)
    assert where == publish(model, place, base=base, labels={"mlport": "1"}, transport=wire)
    assert [f"PUT /v2/publish/model/manifests/{image_id(model.digest, base)}"] == wire.sent()


def test_size_is_that_of_the_blobs(registry_host: str, base: str, model: Model) -> None:
    """The size is what has to be pulled: every compressed layer and the configuration."""
    where = publish(model, f"{registry_host}/publish/size:v1", base=base)
    found = published(where)
    assert found is not None
    document = json.loads(_document(registry_host, "publish/size", found.digest))
    blobs = [document["config"], *document["layers"]]
    assert found.size == sum(_length(registry_host, "publish/size", blob["digest"]) for blob in blobs)


def test_own_authority_is_trusted_when_named(tls_registry: Any, base: str, model: Model) -> None:
    """A registry with a certificate of its own is reached with its authority, and refused without."""
    place = f"{tls_registry.host}/secure/model:v1"
    with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        published(place, insecure=False, clock=_Hasty())
    assert (False, "name the registry's authority with ca=") == (caught.value.sent, caught.value.hint)
    store = open_store()
    image = build_image(model, base=base, store=store)
    where = push_image(image, place, store=store, registries=Registries(ca=tls_registry.ca))
    found = published(place, ca=tls_registry.ca)
    assert found is not None
    assert where == found.reference


def test_authority_that_is_none_is_refused(tls_registry: Any, tmp_path: Path) -> None:
    """A file without a certificate is named."""
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"ca\.pem holds no certificate"):
        published(f"{tls_registry.host}/secure/model:v1", ca=tmp_path / "ca.pem")


def test_plain_http_to_another_machine_only_when_asked() -> None:
    """Without `insecure` nothing leaves this machine in the clear; with it, it does."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url.copy_with(path="/")))
        return httpx.Response(404, json={"errors": [{"code": "MANIFEST_UNKNOWN"}]})

    for insecure in (None, True):
        assert published("registry.example/a:v1", transport=httpx.MockTransport(answer), insecure=insecure) is None
    assert ["https://registry.example/", "http://registry.example/"] == asked


def test_login_is_asked_for_the_host(model: Model) -> None:
    """The adapter's login gets the host of each registry, and its password is what is sent."""
    seen: list[str] = []

    def login(host: str) -> tuple[str, str]:
        seen.append(host)
        return "AWS", "secret"

    def answer(request: httpx.Request) -> httpx.Response:
        if "authorization" not in request.headers:
            return httpx.Response(401, headers={"www-authenticate": 'Basic realm="x"'})
        assert httpx.BasicAuth("AWS", "secret")._auth_header == request.headers["authorization"]
        return httpx.Response(404)

    assert published("registry.example/a:v1", login=login, transport=httpx.MockTransport(answer)) is None
    assert ["registry.example"] == seen


def _ready(registry_host: str, repository: str, tmp_path: Path, bundles: ModuleType) -> tuple[Model, bytes]:
    """A ready-made image pushed by somebody whose JSON is not ours."""
    store = BlobStore(tmp_path / "theirs")
    made = bundles.base(store, text=repository.encode())
    image = Image(made.config, made.layers, original=json.dumps(json.loads(made.manifest), indent=3).encode())
    place = push_image(image, f"{registry_host}/{repository}", store=store)
    return Model.from_image(place, name="ready"), image.manifest


def test_ready_made_image_is_copied_as_it_is(
    registry_host: str, own_registry: Any, bundles: ModuleType, tmp_path: Path
) -> None:
    """From one registry to another it keeps its digest, byte for byte; a second time no blob is sent or fetched."""
    model, document = _ready(registry_host, "theirs/far", tmp_path, bundles)
    place, wire = f"{own_registry.host}/mine/far:v1", _Wire()
    where = publish(model, place, transport=wire)
    assert f"{own_registry.host}/mine/far@sha256:{model.digest}" == where
    assert any(call.startswith("GET /v2/theirs/far/blobs/") for call in wire.asked)
    found = published(place)
    assert isinstance(found, PublishedImage)
    assert where == found.reference
    assert document == _document(own_registry.host, "mine/far", "v1")
    again = _Wire()
    assert where == publish(model, place, transport=again)
    assert ["PUT /v2/mine/far/manifests/v1"] == again.sent()
    assert [] == [call for call in again.asked if call.startswith("GET") and "/blobs/" in call]


def test_copy_within_a_registry_mounts(registry_host: str, bundles: ModuleType, tmp_path: Path) -> None:
    """In the same registry no byte of a layer moves through this machine."""
    model, document = _ready(registry_host, "theirs/near", tmp_path, bundles)
    wire = _Wire()
    where = publish(model, f"{registry_host}/mine/near:v1", transport=wire)
    assert f"{registry_host}/mine/near@sha256:{model.digest}" == where
    layer = json.loads(document)["layers"][0]["digest"]
    assert [] == [call for call in wire.asked if call.startswith(("GET", "PATCH")) and layer in call]
    assert document == _document(registry_host, "mine/near", "v1")


def test_ready_made_image_in_place_gets_its_tag(registry_host: str, bundles: ModuleType, tmp_path: Path) -> None:
    """An image that is in the right repository already is only given its name."""
    model, _ = _ready(registry_host, "theirs/here", tmp_path, bundles)
    wire = _Wire()
    assert model.image == publish(model, f"{registry_host}/theirs/here:named", transport=wire)
    assert ["PUT /v2/theirs/here/manifests/named"] == wire.sent()


def test_ready_made_index_becomes_one_image(registry_host: str, bundles: ModuleType, tmp_path: Path) -> None:
    """Of an index the image of the platform is taken; reading the index itself also finds that one."""
    store, items = BlobStore(tmp_path / "theirs"), []
    for architecture in ("amd64", "arm64"):
        image = bundles.base(store, text=architecture.encode(), architecture=architecture)
        push_image(image, f"{registry_host}/theirs/index", store=store)
        described = {"architecture": architecture, "os": "linux"}
        items.append({"digest": image.digest, "size": len(image.manifest), "mediaType": MANIFEST_TYPE})
        items[-1]["platform"] = described
    document = canonical({"schemaVersion": 2, "mediaType": OCI_INDEX_TYPE, "manifests": items})
    url = f"http://{registry_host}/v2/theirs/index/manifests/all"
    answer = httpx.put(url, content=document, headers={"content-type": OCI_INDEX_TYPE})
    model = Model.from_image(f"{registry_host}/theirs/index@{answer.headers['docker-content-digest']}", name="ready")
    where = publish(model, f"{registry_host}/mine/index:v1", platform="linux/arm64")
    assert str(items[1]["digest"]) == where.partition("@")[2]
    found = published(f"{registry_host}/theirs/index:all", platform="linux/arm64")
    assert found is not None
    assert items[1]["digest"] == found.digest


def test_copy_of_what_is_gone_is_an_error(registry_host: str) -> None:
    """An image that its registry does not have is said to be missing, and nothing is published."""
    model = Model.from_image(f"{registry_host}/theirs/gone@sha256:{'ab' * 32}", name="ready")
    with pytest.raises(NotFoundError):
        publish(model, f"{registry_host}/mine/gone:v1")
    assert published(f"{registry_host}/mine/gone:v1") is None


def test_tag_that_never_changes_may_hold_it_already(bundles: ModuleType, tmp_path: Path) -> None:
    """A registry that refuses to write a tag again is content when the tag has this very image, and only then."""
    store = BlobStore(tmp_path)
    image = bundles.base(store)
    held = {"v1": image.manifest, "v2": b"{}"}

    def answer(request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        if request.method == "PUT":
            return httpx.Response(400, json={"errors": [{"code": "TAG_INVALID", "message": "tag is immutable"}]})
        return httpx.Response(200, content=held.get(name, b""))

    def push(tag: str) -> str:
        return push_image(
            image,
            f"registry.example/a:{tag}",
            store=store,
            registries=Registries(lambda _: None, transport=httpx.MockTransport(answer)),
        )

    assert f"registry.example/a@{image.digest}" == push("v1")
    with pytest.raises(Exception, match="tag is immutable"):
        push("v2")


def test_reading_asks_for_the_right_to_read_only() -> None:
    """A token for `published` and pulls needs no right to push."""
    scopes: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            scopes.extend(request.url.params.get_list("scope"))
            return httpx.Response(200, json={"token": "T"})
        if "authorization" not in request.headers:
            return httpx.Response(401, headers={"www-authenticate": 'Bearer realm="https://registry.example/token"'})
        return httpx.Response(404)

    assert published("registry.example/a:v1", login=lambda _: None, transport=httpx.MockTransport(answer)) is None
    assert ["repository:a:pull"] == scopes


def test_content_is_the_model_or_the_program(model: Model) -> None:
    """A deployment's materials give its model, without one the error says what to do."""
    assert content_of(Materials(model=model)) is model
    with pytest.raises(ConfigError, match="deploy it again"):
        content_of(Materials())


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2026-01-02T03:04:05.123456789Z", 1767323045.123456),
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        (None, None),
    ],
)
def test_time_of_making_is_read(said: str | None, seconds: float | None) -> None:
    """Engines write nanoseconds; reproducible images write a time that says nothing."""
    assert seconds == _seconds(said)


class _Hasty(SystemClock):
    """Waits for nothing."""

    def sleep(self, seconds: float) -> None:
        pass


def _document(host: str, repository: str, name: str) -> bytes:
    return httpx.get(f"http://{host}/v2/{repository}/manifests/{name}", headers={"accept": MANIFEST_TYPE}).content


def _length(host: str, repository: str, digest: str) -> int:
    return int(httpx.head(f"http://{host}/v2/{repository}/blobs/{digest}").headers["content-length"])
