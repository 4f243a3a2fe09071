"""Bases from registries: indexes, OCI, tags, damage, and what happens without a network."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from sdk.errors import ConfigError, PackagingError, ThrottledError, UnavailableError
from sdk.packaging.image import BlobStore, Image, Registries, build_image, pull_image, push_image
from sdk.packaging.image.manifests import (
    LIST_TYPE,
    MANIFEST_TYPE,
    OCI_INDEX_TYPE,
    OCI_MANIFEST_TYPE,
    Format,
    canonical,
    digest_of,
)


class _Network(httpx.HTTPTransport):
    """The real network with a list of what was asked, cut when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.cut = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        if self.cut:
            raise httpx.ConnectError("no network")
        return super().handle_request(request)


def _put(place: str, name: str, document: bytes, media_type: str) -> None:
    host, _, repository = place.partition("/")
    url = f"http://{host}/v2/{repository}/manifests/{name}"
    assert 201 == httpx.put(url, content=document, headers={"content-type": media_type}).status_code


@pytest.fixture
def index(registry_host: str, bundles: ModuleType, tmp_path: Path) -> Callable[[str, Format], str]:
    """Push a base for two processors under one tag, with an attestation as BuildKit adds; gives the reference."""

    def push(repository: str, form: Format) -> str:
        store, place, items = BlobStore(tmp_path / "pushed"), f"{registry_host}/{repository}", []
        media_type = OCI_MANIFEST_TYPE if form == "oci" else MANIFEST_TYPE
        for architecture in ("amd64", "arm64"):
            made = bundles.base(store, text=architecture.encode(), architecture=architecture)
            image = Image(made.config, made.layers, form)
            push_image(image, place, store=store)
            described = {"architecture": architecture, "os": "linux"}
            items.append(
                {"mediaType": media_type, "digest": image.digest, "size": len(image.manifest), "platform": described}
            )
        unknown = {**items[0], "platform": {"architecture": "unknown", "os": "unknown"}}
        kind = OCI_INDEX_TYPE if form == "oci" else LIST_TYPE
        document = {"schemaVersion": 2, "mediaType": kind, "manifests": [unknown, *items]}
        _put(place, "v1", canonical(document), kind)
        return f"{place}:v1"

    return push


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_index_is_resolved_by_platform(
    index: Callable[[str, str], str], tmp_path: Path, form: str, platform: str
) -> None:
    """The image for the wanted processor is taken and becomes Docker's own format, its id unchanged."""
    image = pull_image(index(f"bases/{form}", form), platform=platform, store=BlobStore(tmp_path / "mine"))
    assert platform == str(image.platform)
    assert MANIFEST_TYPE == json.loads(image.manifest)["mediaType"]


def test_platform_that_the_index_lacks(index: Callable[[str, str], str], tmp_path: Path) -> None:
    """The error lists what there is."""
    with pytest.raises(PackagingError, match="it has linux/amd64, linux/arm64, unknown/unknown"):
        pull_image(index("bases/lacks", "oci"), platform="linux/riscv64", store=BlobStore(tmp_path / "mine"))


def test_known_base_needs_no_network(index: Callable[[str, str], str], bundles: ModuleType, tmp_path: Path) -> None:
    """Once pulled, a base is built upon without a request; a digest always, a tag for a day or while cut off."""
    network, store = _Network(), BlobStore(tmp_path / "mine")
    registries = Registries(lambda _: None, transport=network)
    base, model = index("bases/kept", "docker"), bundles.model(tmp_path / "a")
    first = build_image(model, base=base, store=store, registries=registries)
    asked = len(network.requests)
    assert first == build_image(model, base=base, store=store, registries=registries)
    assert asked == len(network.requests)
    assert base == first.labels["org.opencontainers.image.base.name"]
    pinned = f"{base}@{first.labels['org.opencontainers.image.base.digest']}"
    network.cut = True
    assert (
        first.layers[0].diff_id == build_image(model, base=pinned, store=store, registries=registries).layers[0].diff_id
    )


def test_named_base_that_cannot_be_reached_is_an_error(bundles: ModuleType, tmp_path: Path) -> None:
    """A base that was asked for is never silently replaced."""
    network = _Network()
    network.cut = True
    with pytest.raises(UnavailableError, match=r"cannot reach registry registry\.example: no network"):
        build_image(
            bundles.model(tmp_path / "a"),
            base="registry.example/team/base:v1",
            store=BlobStore(tmp_path / "mine"),
            registries=Registries(lambda _: None, transport=network),
        )


class _Limited(httpx.HTTPTransport):
    """Docker Hub refuses everybody for now; Amazon's public registry is the one of this machine."""

    def __init__(self, registry: str) -> None:
        super().__init__()
        self.registry = registry
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.host)
        if "docker" in request.url.host:
            told = {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}]}
            return httpx.Response(429, json=told)
        host, _, port = self.registry.partition(":")
        url = request.url.copy_with(scheme="http", host=host, port=int(port))
        return super().handle_request(httpx.Request(request.method, url, headers=request.headers))


def test_the_default_base_has_a_second_home(
    index: Callable[[str, str], str], registry_host: str, bundles: ModuleType, tmp_path: Path
) -> None:
    """Where Docker Hub limits anonymous pulls; a base that is named is taken from nowhere else."""
    pushed = index("docker/library/python", "docker").partition(":v1")[0]
    document = httpx.get(f"http://{registry_host}/v2/docker/library/python/manifests/v1", headers={"accept": LIST_TYPE})
    _put(pushed, "3.11-slim-bookworm", document.content, LIST_TYPE)
    network = _Limited(registry_host)
    registries = Registries(lambda _: None, transport=network)
    build_image(bundles.model(tmp_path / "a"), store=BlobStore(tmp_path / "mine"), registries=registries)
    assert "public.ecr.aws" in network.asked
    named = "docker.io/library/python:3.11-slim-bookworm"
    with pytest.raises(ThrottledError):
        build_image(bundles.model(tmp_path / "a"), base=named, store=BlobStore(tmp_path / "new"), registries=registries)


def test_default_base_follows_the_python_version(bundles: ModuleType, tmp_path: Path) -> None:
    """Left out, the base is the public image of the model's Python, asked for at its registry."""
    network = _Network()
    network.cut = True
    base = "linux/arm64"  # for which no Debian packages can stand in
    with pytest.raises(UnavailableError):
        build_image(
            bundles.model(tmp_path / "a"),
            platform=base,
            store=BlobStore(tmp_path / "mine"),
            registries=Registries(lambda _: None, transport=network),
        )
    assert {"GET /v2/library/python/manifests/3.11-slim-bookworm"} == set(network.requests)


def test_layers_that_not_everybody_reads_are_refused(registry_host: str, bundles: ModuleType, tmp_path: Path) -> None:
    """A zstd layer is an error that says what to do, before anything is fetched."""
    store, place = BlobStore(tmp_path / "pushed"), f"{registry_host}/bases/zstd"
    image = bundles.base(store)
    push_image(image, place, store=store)
    document: dict[str, Any] = json.loads(image.manifest) | {"mediaType": OCI_MANIFEST_TYPE}
    document["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
    _put(place, "v1", canonical(document), OCI_MANIFEST_TYPE)
    with pytest.raises(PackagingError, match="push it again with gzip layers"):
        pull_image(f"{place}:v1", store=BlobStore(tmp_path / "mine"))


@pytest.mark.parametrize("text", ["python:3.11", "registry.example/UPPER:v1", "registry.example/a@sha256:12", ""])
def test_reference_without_registry_or_malformed_is_refused(text: str, tmp_path: Path) -> None:
    """A name that is no full reference says how to write one."""
    with pytest.raises(ConfigError, match="write HOST/REPOSITORY"):
        pull_image(text, store=BlobStore(tmp_path))


def test_registry_that_lies_is_found_out(bundles: ModuleType, tmp_path: Path) -> None:
    """A manifest whose bytes are not those of its digest is refused."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b'{"layers": []}')

    wanted = digest_of(b"something else")
    with pytest.raises(Exception, match="the registry sent sha256:"):
        pull_image(
            f"registry.example/team/base@{wanted}",
            store=BlobStore(tmp_path),
            registries=Registries(lambda _: None, transport=httpx.MockTransport(answer)),
        )
