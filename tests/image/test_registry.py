"""Push and pull against a real registry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdk.errors import NotFoundError, PackagingError, UnavailableError
from sdk.packaging.image import publish, published
from sdk.packaging.image.bases import pull
from sdk.packaging.image.layers import Entry, with_parents
from sdk.packaging.image.manifests import Image, ImageConfig, Platform
from sdk.packaging.image.references import Reference
from sdk.packaging.image.registry_client import RegistryClient
from sdk.packaging.image.store import BlobStore
from sdk.packaging.model import Model
from sdk.util.waiting import Deadline, Retry, SystemClock, TokenBucket


class _Counting(httpx.HTTPTransport):
    """The real network, with every request written down, and failures where the test wants them."""

    def __init__(self, fail: Callable[[httpx.Request, int], bool] = lambda _request, _number: False) -> None:
        super().__init__()
        self.requests: list[str] = []
        self._fail = fail

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path.rsplit('/', 2)[-2]}")
        if self._fail(request, len(self.requests)):
            raise httpx.ReadError("cut")
        return super().handle_request(request)


def _registry(host: str, name: str, transport: httpx.BaseTransport, *mount_from: str) -> RegistryClient:
    clock = SystemClock()
    return RegistryClient(
        Reference.parse(f"{host}/{name}"),
        retry=Retry(clock, TokenBucket(), base_s=0.0),
        deadline=Deadline(clock, 60),
        mount_from=mount_from,
        transport=transport,
    )


def _image(store: BlobStore, text: bytes) -> Image:
    layers = tuple(
        store.layer(f"{text!r}{number}", lambda data=data: with_parents([Entry("a", data)]), created_by="test")  # type: ignore[misc]  # bound now on purpose
        for number, data in enumerate((b"base", text))
    )
    return Image(ImageConfig(Platform()).document(layers), layers)


def test_push_then_pull_gives_the_same_image(registry_host: str, tmp_path: Path) -> None:
    """What is pulled into an empty store is what was pushed; a second push sends no blob."""
    store = BlobStore(tmp_path / "one")
    image = _image(store, b"model")
    transport = _Counting()
    with _registry(registry_host, "roundtrip:v1", transport) as registry:
        assert image.digest == registry.push(image, store)
        first = len(transport.requests)
        registry.push(image, store)
        assert [name for name in transport.requests[first:] if name.startswith(("POST", "PATCH"))] == []
    reference = Reference.parse(f"{registry_host}/roundtrip:v1")
    pulled, digest = pull(
        reference,
        Platform(),
        BlobStore(tmp_path / "two"),
        lambda: _registry(registry_host, "roundtrip:v1", _Counting()),
    )
    assert [layer.digest for layer in image.layers] == [layer.digest for layer in pulled.layers]
    assert (image.digest, image.id) == (digest, pulled.id)


def test_blobs_are_mounted_from_another_repository(registry_host: str, tmp_path: Path) -> None:
    """Known blobs are mounted, so that nothing but the manifest is sent."""
    store = BlobStore(tmp_path)
    image = _image(store, b"mounted")
    with _registry(registry_host, "source:v1", _Counting()) as registry:
        registry.push(image, store)
    transport = _Counting()
    with _registry(registry_host, "copy:v1", transport, "source") as registry:
        registry.push(image, store)
    assert [name for name in transport.requests if name.startswith("PUT")] == ["PUT manifests"]


def test_cut_upload_is_sent_again(registry_host: str, tmp_path: Path) -> None:
    """A connection that breaks during an upload costs one more try, and the image is whole."""
    broken: list[int] = []

    def fail(request: httpx.Request, number: int) -> bool:
        if request.method == "PUT" and not broken:
            broken.append(number)
            return True
        return False

    store = BlobStore(tmp_path)
    image = _image(store, b"cut")
    with _registry(registry_host, "cut:v1", _Counting(fail)) as registry:
        assert image.digest == registry.push(image, store)
        assert image.manifest == registry.manifest("v1")
    assert len(broken) == 1


def test_push_that_cannot_go_on_publishes_nothing(registry_host: str, tmp_path: Path) -> None:
    """When blobs cannot be sent there is no manifest under the tag."""
    store = BlobStore(tmp_path)
    image = _image(store, b"never")
    with (
        _registry(registry_host, "never:v1", _Counting(lambda request, _: request.method == "PUT")) as registry,
        pytest.raises(UnavailableError, match="lost the connection"),
    ):
        registry.push(image, store)
    with _registry(registry_host, "never:v1", _Counting()) as registry, pytest.raises(NotFoundError):
        registry.manifest("v1")


def test_damaged_blob_is_not_kept(registry_host: str, tmp_path: Path) -> None:
    """A blob whose bytes are not those of its digest never enters the store."""
    store = BlobStore(tmp_path)
    image = _image(store, b"size")
    other = BlobStore(tmp_path / "other")
    with _registry(registry_host, "damaged:v1", _Counting()) as registry:
        registry.push(image, store)
        with pytest.raises(UnavailableError, match="arrived damaged"):
            registry.pull_blob(image.layers[0].digest, image.layers[0].size - 1, other)
    assert not other.path(image.layers[0].digest).exists()


def test_layer_damaged_on_this_disk_is_told_and_mended(registry_host: str, tmp_path: Path) -> None:
    """A blob that went bad in the store is not published; it is removed, and the next build makes it again."""
    store = BlobStore(tmp_path)
    image = _image(store, b"rotten")
    path = store.path(image.layers[1].digest)
    path.write_bytes(b"x" * path.stat().st_size)
    with _registry(registry_host, "rotten:v1", _Counting()) as registry:
        with pytest.raises(PackagingError, match="damaged on this disk; build the image again"):
            registry.push(image, store)
        with pytest.raises(NotFoundError):
            registry.manifest("v1")
        assert image.digest == registry.push(_image(store, b"rotten"), store)


def test_push_goes_on_after_a_failing_server(registry_host: str, tmp_path: Path) -> None:
    """A 502 and a 401 in the middle of an upload cost one more try each."""
    spent: list[int] = []

    class Failing(_Counting):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT" and "uploads" in request.url.path and not spent:
                spent.append(502)
                return httpx.Response(502, request=request)
            return super().handle_request(request)

    store = BlobStore(tmp_path)
    image = _image(store, b"gateway")
    with _registry(registry_host, "gateway:v1", Failing()) as registry:
        assert image.digest == registry.push(image, store)
        assert image.manifest == registry.manifest("v1")
    assert [502] == spent


def test_registry_that_dies_half_way_publishes_nothing(tmp_path: Path, own_registry: Any) -> None:
    """The process is killed after the first blob: the error says so, and after a restart there is no image."""
    store = BlobStore(tmp_path)
    image = _image(store, b"killed")

    class Killing(_Counting):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.method == "PUT":
                own_registry.kill()
            return response

    with (
        _registry(own_registry.host, "killed:v1", Killing()) as registry,
        pytest.raises(UnavailableError, match=r"(lost the connection to|cannot reach) registry"),
    ):
        registry.push(image, store)
    own_registry.start()
    with _registry(own_registry.host, "killed:v1", _Counting()) as registry:
        with pytest.raises(NotFoundError):
            registry.manifest("v1")
        assert image.digest == registry.push(image, store), "the next push goes on with what arrived"


def test_record_of_a_blob_that_a_crash_left_empty_is_mended(tmp_path: Path, own_registry: Any) -> None:
    """The registry answers 500 to the question whether it has that blob; the push sends it again."""
    store = BlobStore(tmp_path)
    image = _image(store, b"half recorded")
    with _registry(own_registry.host, "half:v1", _Counting()) as registry:
        registry.push(image, store)
        own_registry.record("half", image.layers[0].digest).write_text("")
        assert image.digest == registry.push(image, store)
    assert image.layers[0].digest == own_registry.record("half", image.layers[0].digest).read_text()


def test_progress_tells_the_bytes(registry_host: str, tmp_path: Path) -> None:
    """What is told ends with all bytes of all blobs."""
    store = BlobStore(tmp_path)
    image = _image(store, b"progress")
    told: dict[str, tuple[int, int | None]] = {}
    with _registry(registry_host, "progress:v1", _Counting()) as registry:
        registry.push(image, store, progress=lambda what, done, total: told.update({what: (done, total)}))
    whole = sum(layer.size for layer in image.layers) + len(image.config)
    assert {"push": (whole, whole)} == told


@pytest.mark.parametrize("damage", ["flipped", "truncated", "longer"])
def test_blob_damaged_in_the_registry_is_found_out(tmp_path: Path, own_registry: Any, damage: str) -> None:
    """A registry whose disk went bad gives an error that names the blob, and nothing of it enters the store."""
    store, fresh = BlobStore(tmp_path / "mine"), BlobStore(tmp_path / "fresh")
    image = _image(store, b"sound" * 1000)
    with _registry(own_registry.host, "bad:v1", _Counting()) as registry:
        registry.push(image, store)
    path = own_registry.blob(image.layers[1].digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flipped": bytes(data), "truncated": bytes(data[:-40]), "longer": bytes(data) + b"x"}[damage])
    reference = Reference.parse(f"{own_registry.host}/bad:v1")
    with pytest.raises(UnavailableError, match=image.layers[1].digest):
        pull(reference, Platform(), fresh, lambda: _registry(own_registry.host, "bad:v1", _Counting()))
    assert not fresh.path(image.layers[1].digest).exists()
    assert [] == list(fresh.folder.rglob(".new-*"))


def test_copy_from_a_registry_that_dies_publishes_nothing(
    tmp_path: Path, own_registry: Any, registry_host: str
) -> None:
    """The source is killed while its blobs are copied: the error names it, and the destination has no image."""
    store = BlobStore(tmp_path / "theirs")
    image = _image(store, b"copied")
    with _registry(own_registry.host, "theirs:v1", _Counting()) as registry:
        registry.push(image, store)

    class Killing(_Counting):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "GET" and request.url.path.endswith(image.layers[1].digest):
                own_registry.kill()
            return super().handle_request(request)

    model = Model.from_image(f"{own_registry.host}/theirs@{image.digest}")
    with pytest.raises(UnavailableError, match=own_registry.host):
        publish(model, f"{registry_host}/dead:v1", transport=Killing())
    assert published(f"{registry_host}/dead:v1") is None
