"""AWS's event streams: the container's bytes in them, however they are cut, and failures after some of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import ModelError, SdkError, UnavailableError, UnreadableError
from sdk_contract.clouds.sagemaker.runtime import event, failure
from sdk_sagemaker._predict import decoder


def decoded(data: bytes, cuts: set[int]) -> tuple[bytes, SdkError | None]:
    """Return the container's bytes, and the error at their end."""
    decode, found = decoder(), b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for begin, end in zip(edges, [*edges[1:], edges[-1]], strict=True):
            found += decode(data[begin:end])
        found += decode(b"")
    except SdkError as error:
        return found, error
    return found, None


@given(st.lists(st.binary(max_size=40), max_size=5), st.sets(st.integers(0, 10_000), max_size=8))
def test_parts_may_be_cut_anywhere(parts: list[bytes], cuts: set[int]) -> None:
    """Neither the pieces from the network nor the parts of the stream are lines of the container."""
    assert decoded(b"".join(map(event, parts)), cuts) == (b"".join(parts), None)


@pytest.mark.parametrize("cuts", [set(), {150}, set(range(0, 1000, 7))])
@pytest.mark.parametrize(
    ("last", "kind", "said"),
    [
        (failure("StreamBroken", "it broke"), ModelError, "the model's stream failed: it broke"),
        (failure("StreamBroken", "it broke").replace(b"broke", b"brake"), UnreadableError, "the event stream cannot"),
    ],
)
def test_a_failure_does_not_take_the_bytes_before_it(last: bytes, kind: Any, said: str, cuts: set[int]) -> None:
    """Bytes and failure may come in one piece; a frame with a wrong checksum is reported as such."""
    found, error = decoded(event(b"one") + event(b"two") + last, cuts)
    assert found == b"onetwo"
    assert type(error) is kind
    assert said in str(error)


def test_the_platforms_own_failure() -> None:
    """It is not the model's."""
    from sdk_sagemaker._predict import _payload

    headers = {":message-type": "exception", ":exception-type": "InternalStreamFailure"}
    with pytest.raises(UnavailableError, match="SageMaker ended the stream: InternalStreamFailure"):
        _payload(headers, b"{}")
    assert _payload({":message-type": "event", ":event-type": "Later"}, b"x") == b""
