"""Models of every listed library answer requests that share a call as they answer each of them alone."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from sdk.serving import codecs
from sdk.serving.batches import Batches
from sdk.serving.bundle import read
from sdk.serving.flavours import load
from sdk.serving.parts import PYTHON
from sdk.serving.settings import ServerLimits
from tests.frameworks.listed import FRAMEWORKS

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sdk.packaging.model import Model
    from tests.frameworks.listed import Framework

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # the libraries warn while they load and save


class Compared(Exception):
    """The model was compared; what the listed test does with an endpoint is not wanted."""


def compare(model: Model) -> None:
    """Load the model in this process and ask it for its rows together and apart."""
    assert model.path is not None
    bundle = read(model.path)
    signature = bundle.manifest.signature
    library = bundle.manifest.flavour not in PYTHON
    batches = Batches(signature, most=1000, p95_ms=0, clock=time.monotonic, library=library)
    if not batches.joins:
        pytest.skip("its signature does not say that rows are independent, so nothing is joined")
    predict = load(bundle)
    bodies = [msgspec.json.encode({"instances": [row]}) for row in model.example or () for _ in range(2)]
    requests = [codecs.decode_instances(body, signature, ServerLimits()) for body in bodies]
    (key,) = {batches.key(one) for one in requests}
    if key is None:
        pytest.skip("an input has one value for the whole request")
    cut = batches.cut(predict(batches.join(requests)), [one.rows for one in requests])
    assert cut is not None, "the answer has not the type that the signature declares"
    for request, together in zip(requests, cut, strict=True):
        for name, expected in predict(request).arrays.items():
            found = together.arrays[name]
            assert expected.dtype.kind == found.dtype.kind
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
            else:
                assert expected.tolist() == found.tolist()


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda one: one.id)
def test_joined_requests_are_answered_alike(
    framework: Framework, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")

    @contextmanager
    def serve(model: Model) -> Generator[Any]:
        compare(model)
        raise Compared
        yield

    with pytest.raises(Compared):
        framework.run(serve, tmp_path)
