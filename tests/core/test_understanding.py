"""The border at which surprises about the form of an answer become our error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.adapter.registry import adapters
from sdk.client.price_refresh import refresh
from sdk.errors import NotFoundError, UnreadableError
from sdk.executor.calls import _proves
from sdk.util.foreign import _OPERATIONS, understanding

if TYPE_CHECKING:
    from collections.abc import Iterator


@understanding
class Strange:
    """An adapter of a platform that answers as it likes."""

    provider: ClassVar[str] = "strange"

    def observe(self, name: str) -> Any:
        return {"a": 1}["properties"]  # what a field that is missing looks like

    def list(self) -> Iterator[int]:
        yield 1
        yield len(None)  # type: ignore[arg-type]  # what null looks like

    def read(self) -> Any:
        raise NotFoundError("ours")

    def resources(self) -> Any:
        return dict[str, int]()["x"]


def test_the_error_names_platform_operation_and_field() -> None:
    expected = r"what strange answered to observe churn cannot be read.*'properties'"
    with pytest.raises(UnreadableError, match=expected) as caught:
        Strange().observe("churn")
    assert isinstance(caught.value.__cause__, KeyError)
    found = Strange().list()
    assert next(found) == 1
    with pytest.raises(UnreadableError, match=r"what strange answered to list .*NoneType"):
        next(found)


def test_our_errors_and_our_mistakes_stay_what_they_are() -> None:
    """Planning reads nothing from a platform."""
    with pytest.raises(NotFoundError):
        Strange().read()
    with pytest.raises(KeyError):
        Strange().resources()


@pytest.mark.parametrize("name", sorted(adapters.names()))
def test_every_adapter_has_the_border(name: str) -> None:
    kind = adapters.load(name)
    mine = [one for one in _OPERATIONS if one in vars(kind)]
    assert {"observe", "list", "read", "create", "delete"} <= set(mine)
    assert [] == [one for one in mine if not hasattr(vars(kind)[one], "__wrapped__")]


def test_a_change_whose_answer_cannot_be_read_may_have_happened() -> None:
    """Nothing is concluded from it, so that what was made is looked for."""
    assert "unknown" == _proves(UnreadableError("x"))


@pytest.mark.parametrize("page", [{}, {"Items": 7}, {"Items": [None]}, {"regions": []}, {"services": [1]}])
@pytest.mark.parametrize("provider", ["azureml", "sagemaker", "vertex"])
def test_price_lists_of_another_shape(provider: str, page: dict[str, Any]) -> None:
    """The old table stays."""
    from sdk.client.price_refresh import source_of
    from sdk.errors import SdkError

    written: list[bytes] = []
    source = source_of(provider)(None, "key")
    get: Any = lambda *_: page  # noqa: E731
    with pytest.raises(SdkError):
        refresh(source, get, [], ["westeurope"], write=written.append)
    assert [] == written
