"""A repository that is shared with others: what they put there is neither listed nor removed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Labels, Materials, Ref, Resource
from sdk.errors import ConflictError
from sdk.packaging.image import BlobStore, Registries, push_image
from sdk_contract.clouds.stub import stub_image
from sdk_vertex._plan import IMAGE, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.vertex.conftest import Place

OURS, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@pytest.fixture
def push(place: Place, adapter: Any, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Push an image to the target's repository under some tags; its digest."""
    labels = Labels("shared", "me", "t1")
    begun = adapter.create(Resource(REPOSITORY, "mlport", {}, labels), Materials(), timeout=10.0).operation
    assert adapter.operation(begun, timeout=10.0).done
    store, number = BlobStore(tmp_path / "store"), itertools.count()
    registries = Registries(lambda _: ("oauth2accesstoken", place.cloud.identity.token))

    def pushed(package: str, *tags: str) -> str:
        image = stub_image(store, name=f"stub-{next(number)}")
        host = place.cloud.url.partition("//")[2]
        for tag in tags:
            push_image(image, f"{host}/mini-project/mlport/{package}:{tag}", store=store, registries=registries)
        return image.digest

    yield pushed
    for path in place.cloud.artifacts.registry.repositories():
        place.cloud.artifacts.registry.remove(path)
    place.cloud.world.tables["repositories"].clear()


def test_only_our_images_are_listed(adapter: Any, push: Callable[..., str]) -> None:
    """Neither another package of the repository nor a tag that somebody chose."""
    ours = push("model", OURS)
    push("model", "v1", "latest")
    push("web-shop", OTHER)
    assert [(OURS, ours)] == [(one.id, one.raw) for one in adapter._images.every(timeout=10.0)]


def test_an_image_that_somebody_else_uses_stays(place: Place, adapter: Any, push: Callable[..., str]) -> None:
    """Only our tag goes; an image of ours alone goes whole."""
    shared, own = push("model", OURS, "prod"), push("model", OTHER)
    for tag in (OURS, OTHER):
        adapter.delete(adapter.read(Ref(IMAGE, tag), timeout=10.0), timeout=10.0)
    place.cloud.world.advance()
    left = place.cloud.artifacts.registry.repositories()["mini-project/mlport/model"]
    assert {shared: ["prod"]} == left
    assert own not in left
    assert [] == list(adapter._images.every(timeout=10.0))


def test_a_repository_with_images_of_others_stays(adapter: Any, push: Callable[..., str]) -> None:
    push("model", OURS)
    push("web-shop", "v1")
    live = adapter.read(Ref(REPOSITORY, "mlport"), timeout=10.0)
    with pytest.raises(ConflictError, match="mlport did not make") as refused:
        adapter.delete(live, timeout=10.0)
    assert not refused.value.retryable
    assert 2 == len(list(adapter._images._listed(10.0)))
