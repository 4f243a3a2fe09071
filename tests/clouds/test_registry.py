"""The registry of mini clouds takes what real clients push: ours, skopeo's, the engine's."""

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest

from sdk.errors import AuthError, PlatformError
from sdk.packaging.image import BlobStore, Image, Registries, push_image
from sdk.packaging.image.layers import Entry, with_parents
from sdk.packaging.image.manifests import MANIFEST_TYPE, OCI_MANIFEST_TYPE, ImageConfig, Platform
from sdk_contract.clouds.app import App, Request, Response
from sdk_contract.clouds.registry import Registry, refusal
from sdk_contract.clouds.server import Server
from sdk_contract.clouds.stub import stub_image


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


class Place:
    """A registry that wants a password and refuses OCI when told to."""

    def __init__(self, folder: Path) -> None:
        self.password = ""
        self.oci = True
        self.stored: list[tuple[str, str | None]] = []
        self.registry = Registry(
            folder,
            authorize=self.authorize,
            accepts=lambda _, kind: None if self.oci or kind != OCI_MANIFEST_TYPE else refusal("UNSUPPORTED"),
            stored=lambda name, digest, tag, kind: self.stored.append((name, tag)),
        )
        self.app = App([self.registry])

    def authorize(self, request: Request, repository: str, action: str) -> Response | None:
        given = httpx.BasicAuth("user", self.password)._auth_header if self.password else None
        if given is None or request.headers.get("authorization") == given:
            return None
        return refusal("DENIED", status=401, www_authenticate='Basic realm="mini"')


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "registry")
    yield made
    made.app.close()


@pytest.fixture
def host(place: Place) -> Iterator[str]:
    with Server(place.app) as server:
        yield server.url.removeprefix("http://")


def ways(user: str = "user", password: str = "") -> Registries:
    return Registries(lambda _: (user, password) if password else None)


def test_our_client_pushes_once(host: str, place: Place, store: BlobStore) -> None:
    """Blobs and manifest arrive whole; a second push sends no blob; another repository mounts them."""
    image = stub_image(store)
    at = push_image(image, f"{host}/team/stub:v1", store=store, registries=ways())
    assert f"{host}/team/stub@{image.digest}" == at
    with place.app.calls.since() as again:
        push_image(image, f"{host}/team/stub:v1", store=store, registries=ways())
        push_image(image, f"{host}/other:v2", mount_from=("team/stub",), store=store, registries=ways())
    assert 0 == len(again.of("FinishUpload", "UploadChunk"))
    assert {"team/stub": {image.digest: ["v1"]}, "other": {image.digest: ["v2"]}} == place.registry.repositories()
    found = place.registry.image("team/stub", "v1")
    assert found is not None
    assert (image.id, [layer.diff_id for layer in image.layers]) == (found.id, [one.diff_id for one in found.layers])
    assert [("team/stub", "v1"), ("team/stub", "v1"), ("other", "v2")] == place.stored


def test_who_may_not_and_what_is_not_taken(host: str, place: Place, store: BlobStore) -> None:
    """A wrong password is refused and nothing is stored; a refused media type comes back as such."""
    place.password, place.oci = "right", False
    with pytest.raises(AuthError):
        push_image(stub_image(store), f"{host}/stub:v1", store=store, registries=ways(password="wrong"))
    assert {} == place.registry.repositories()
    oci = stub_image(store, format="oci")
    with pytest.raises(PlatformError) as refused:
        push_image(oci, f"{host}/stub:v1", store=store, registries=ways(password="right"))
    assert 415 == refused.value.status
    push_image(stub_image(store), f"{host}/stub:v1", store=store, registries=ways(password="right"))
    assert [("stub", "v1")] == place.stored


def skopeo() -> str:
    found = shutil.which("skopeo")
    if found is None:
        pytest.skip("skopeo is not installed")
    return found


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_skopeo_copies_in_and_out(host: str, place: Place, store: BlobStore, tmp_path: Path, form: str) -> None:
    """An independent client pushes in chunks, in both forms, and gets the same bytes back."""
    image = stub_image(store)
    push_image(image, f"{host}/a:v1", store=store, registries=ways())
    tool = [skopeo(), "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*tool, f"docker://{host}/a:v1", f"dir:{tmp_path}/out"], check=True, capture_output=True)
    subprocess.run(
        [*tool, "--format", form, f"dir:{tmp_path}/out", f"docker://{host}/b:v1"], check=True, capture_output=True
    )
    kind = place.registry.media_type("b", "v1")
    assert {"v2s2": MANIFEST_TYPE, "oci": OCI_MANIFEST_TYPE}[form] == kind
    found = place.registry.image("b", "v1")
    assert found is not None
    assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in found.layers]


def test_uploads_in_chunks_must_join(host: str) -> None:
    """A chunk that does not begin where the last ended is refused with what is there; a wrong digest too."""
    base = f"http://{host}"
    location = base + httpx.post(f"{base}/v2/r/blobs/uploads/").headers["location"]
    first = httpx.patch(location, content=b"abc", headers={"content-range": "0-2"})
    assert (202, "0-2") == (first.status_code, first.headers["range"])
    gap = httpx.patch(location, content=b"xyz", headers={"content-range": "7-9"})
    assert (416, "0-2") == (gap.status_code, gap.headers["range"])
    wrong = httpx.put(location, params={"digest": f"sha256:{'0' * 64}"}, content=b"def")
    assert (400, "DIGEST_INVALID") == (wrong.status_code, wrong.json()["errors"][0]["code"])
    assert 404 == httpx.patch(location, content=b"x").status_code


def test_manifests_need_their_blobs_and_can_be_deleted(host: str, place: Place, store: BlobStore) -> None:
    """A manifest whose blobs were never sent is refused; a deleted one is gone with its tags."""
    image: Image = stub_image(store)
    url, kind = f"http://{host}/v2/r/manifests", {"content-type": MANIFEST_TYPE}
    early = httpx.put(f"{url}/v1", content=image.manifest, headers=kind)
    assert (404, "MANIFEST_BLOB_UNKNOWN") == (early.status_code, early.json()["errors"][0]["code"])
    push_image(image, f"{host}/r:v1", store=store, registries=ways())
    head = httpx.head(f"{url}/{image.digest}")
    assert (200, image.digest, str(len(image.manifest))) == (
        head.status_code,
        head.headers["docker-content-digest"],
        head.headers["content-length"],
    )
    assert {"name": "r", "tags": ["v1"]} == httpx.get(f"http://{host}/v2/r/tags/list").json()
    assert json.loads(image.manifest) == httpx.get(f"{url}/v1").json()
    assert 202 == httpx.delete(f"{url}/{image.digest}").status_code
    assert [404, 404] == [httpx.get(f"{url}/{name}").status_code for name in ("v1", image.digest)]


@pytest.mark.parametrize("behind", ["itself", "store", "store by GET"])
def test_blobs_behind_a_redirect_are_not_sent_again(
    host: str, place: Place, store: BlobStore, behind: Literal["itself", "store", "store by GET"]
) -> None:
    """Registries send us on to the store behind them, which may take no HEAD; what is there is seen all the same."""
    image, target = stub_image(store), f"{host}/team/model:v1"
    push_image(image, target, store=store, registries=ways())
    place.registry.behind = behind
    with place.app.calls.since() as again:
        push_image(image, target, store=store, registries=ways())
    assert 0 == len(again.of("StartUpload", "FinishUpload"))
    with place.app.calls.since() as elsewhere:
        push_image(image, f"{host}/team/other:v1", store=store, registries=ways())
    assert len(image.layers) + 1 == len(elsewhere.of("FinishUpload"))


def test_a_large_blob_behind_a_redirect_is_not_read(host: str, place: Place, store: BlobStore) -> None:
    """To see that it is there, not a byte of it is needed, though the store may begin to send the whole."""
    entry = Entry("large", random.Random(1).randbytes(6 << 20))
    layer = store.layer("large", lambda: with_parents([entry]), created_by="test")
    image = Image(ImageConfig(Platform()).document((layer,)), (layer,))
    push_image(image, f"{host}/team/large:v1", store=store, registries=ways())
    place.registry.behind = "store by GET"
    with place.app.calls.since() as again:
        push_image(image, f"{host}/team/large:v1", store=store, registries=ways())
    assert 0 == len(again.of("StartUpload"))
