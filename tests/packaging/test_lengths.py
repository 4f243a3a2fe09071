"""Networks that state no axes are asked which lengths they take."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sdk.packaging import examples
from sdk.packaging.lengths import Network, opened
from sdk.packaging.manifest import Tensor
from sdk.packaging.missing import MOST_CALLS, SECONDS
from sdk.packaging.model import Model
from sdk.packaging.model import model as make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Answer = dict[str, Any]
IDS = np.arange(12).reshape(2, 6)
IMAGES = np.ones((2, 3, 8, 8))


def dense(x: Any) -> Answer:
    return {"y": x @ np.ones((6, 2))}


def mean_over_sequence(x: Any) -> Answer:
    return {"y": x.mean(axis=1)}


def per_token(x: Any) -> Answer:
    return {"y": np.stack([x, x], axis=-1)}


def convolved(x: Any) -> Answer:
    return {"y": np.einsum("nchw,cd->ndhw", x, np.ones((3, 2)))[:, :, 1:-1, 1:-1]}


def pooled_and_flat(x: Any) -> Answer:
    """Halves a length, rounded down, and wants what is left to be four."""
    kept = x[:, :, : x.shape[2] // 2 * 2 : 2, : x.shape[3] // 2 * 2 : 2]
    return {"y": kept.reshape(len(x), -1) @ np.ones((48, 2))}


def folds_into_rows(x: Any) -> Answer:
    return {"y": x.reshape(-1, 3).sum(axis=1)}


def masked(given: Any) -> Answer:
    return {"y": given["ids"] * given["mask"], "kind": given["kind"] @ np.ones((4, 1))}


def square(x: Any) -> Answer:
    return {"y": np.linalg.det(x)}


def limited(x: Any) -> Answer:
    """Positions up to ten, as embeddings have them."""
    return {"y": np.take(np.arange(10), np.arange(x.shape[1]))[None] * np.ones((len(x), 1))}


SEVERAL = {"ids": IDS, "mask": np.ones((2, 6)), "kind": np.ones((2, 4))}
CASES: dict[Callable[[Any], Answer], tuple[Any, set[Any], set[Any]]] = {
    dense: (IDS, set(), set()),
    mean_over_sequence: (IDS, {("input", 1)}, set()),
    per_token: (IDS, {("input", 1)}, {("y", 1)}),
    convolved: (IMAGES, {("input", 2), ("input", 3)}, {("y", 2), ("y", 3)}),
    pooled_and_flat: (IMAGES, set(), set()),
    folds_into_rows: (IDS[:, :3], set(), set()),
    masked: (SEVERAL, {("ids", 1), ("mask", 1)}, {("y", 1)}),
    square: (np.stack([np.eye(3)] * 2), {("input", 1), ("input", 2)}, set()),
    limited: (IDS, {("input", 1)}, {("y", 1)}),
}


@pytest.mark.parametrize("answer", CASES, ids=lambda one: one.__name__)
def test_free_axes_are_those_that_the_network_takes(answer: Callable[[Any], Answer]) -> None:
    """One more, and twice or half, in one axis or in those of one length; the outputs that follow are noted."""
    example, free, varied = CASES[answer]
    network = Network(answer, examples.prepare(example))
    assert (free, varied) == (set(network.free()), network.varied)


def test_the_axis_of_the_rows_and_values_of_the_whole_request_are_not_asked() -> None:
    """Each call has one row; a value without rows stays what it is."""
    seen: list[tuple[Any, Any]] = []

    def answer(given: Any) -> Answer:
        seen.append((given["x"].shape, given["k"].shape))
        return {"y": given["x"].sum(axis=1)}

    network = Network(answer, examples.prepare({"x": IDS, "k": np.array(2.0)}))
    assert {("x", 1)} == network.free()
    assert [((1, length), ()) for length in (6, 7, 13)] == seen


def test_slow_and_wide_networks_are_asked_within_limits() -> None:
    """What was not asked is fixed."""
    calls = itertools.count()

    def answer(x: Any) -> Answer:
        next(calls)
        return {"y": x.sum(axis=tuple(range(1, x.ndim)))}

    slow = itertools.count(0, SECONDS / 2)
    assert not Network(answer, examples.prepare(IDS), clock=lambda: float(next(slow))).free()
    assert next(calls) <= 2
    wide = {f"x{place}": np.ones((1, 2, 3)) for place in range(20)}
    found = Network(lambda given: {"y": next(calls) * given["x0"][:, 0, 0]}, examples.prepare(wide)).free()
    assert next(calls) <= MOST_CALLS + 4
    assert 0 < len(found) < 40


def test_free_axes_of_tensors() -> None:
    """The signature has -1 there."""
    one = Tensor("x", "float32", (-1, 3, 8))
    assert (Tensor("x", "float32", (-1, 3, -1)),) == opened([one], [("x", 2), ("other", 1)])


# --- PyTorch itself


def attention(torch: Any) -> Any:
    class Attention(torch.nn.Module):  # type: ignore[misc]  # its types are not installed everywhere
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(20, 4)
            self.head = torch.nn.Linear(4, 3)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            kept = self.words(input_ids) * attention_mask.unsqueeze(-1)
            return self.head(kept.sum(1) / attention_mask.sum(1, keepdim=True))

    return Attention()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript itself
def test_networks_of_pytorch_are_served_in_other_sizes(serve: Callable[..., Any]) -> None:
    """Sequences and images of other lengths are answered as by the network; channels are checked."""
    torch = pytest.importorskip("torch")
    words = attention(torch)
    example = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
    packed: Any = make_model(words, name="words", example=example)
    assert [(-1, -1), (-1, -1)] == [one.shape for one in packed.signature.inputs]
    assert [(-1, 3)] == [one.shape for one in packed.signature.outputs]
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU())
    scripted = torch.jit.trace(layers, torch.ones(1, 3, 8, 8))
    packs: list[Any] = [make_model(one, name="images", example=IMAGES.astype("float32")) for one in (layers, scripted)]
    for images in packs:
        assert [(-1, 3, -1, -1)] == [found.shape for found in images.signature.inputs]
        assert [(-1, 2, -1, -1)] == [found.shape for found in images.signature.outputs]
    with serve(packs[-1]) as client:
        large = np.ones((1, 3, 12, 9), "float32")
        answer = client.post("/invocations", json={"instances": large.tolist()}).json()["predictions"]
        np.testing.assert_allclose(layers(torch.from_numpy(large)).detach().numpy(), answer, rtol=1e-5)
        refused = client.post("/invocations", json={"instances": np.ones((1, 4, 8, 8)).tolist()})
        assert 400 == refused.status_code
        assert "must have shape [rows, 3, any, any]" in refused.text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript itself
def test_files_of_torchscript_are_asked_where_their_author_is_trusted(tmp_path: Path) -> None:
    """To load one runs it, so without that word the example's lengths stay."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    torch.jit.script(torch.nn.Conv1d(3, 2, 3)).save(str(path))
    rows = np.ones((1, 3, 8), "float32")
    trusted: Any = Model.from_path(path, name="signal", example=rows, trust="pickle")
    assert (-1, 3, -1) == trusted.signature.inputs[0].shape
    unread: Any = Model.from_path(path, name="signal", example=rows)
    assert (-1, 3, 8) == unread.signature.inputs[0].shape
