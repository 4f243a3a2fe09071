"""Pack PyTorch modules, live or as TorchScript."""

from __future__ import annotations

import types
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sdk.errors import ConfigError
from sdk.packaging import examples, pickling
from sdk.packaging.flavours.base import Saved, Traits, descends

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sdk.packaging.flavours.base import RoundTrip


class PyTorch:
    """``torch.nn.Module``: weights as PyTorch stores them, and the code of the user's own classes with cloudpickle."""

    name = "pytorch"

    def matches(self, obj: Any) -> bool:
        """Match any module."""
        return descends(obj, "torch.nn", "Module")

    def traits(self, _obj: Any, /) -> Traits:
        """Return empty traits: a module declares nothing about its inputs."""
        return Traits()

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the answer in evaluation mode, without gradients, on the device of the weights."""
        return evaluate(obj, method, data)

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write ``model.pt`` with :func:`torch.save`."""
        torch: Any = import_module("torch")

        def write(pickler: Any) -> None:
            module = types.SimpleNamespace(__name__="cloudpickle", Pickler=pickler)
            with (folder / "model.pt").open("wb") as file:
                torch.save(obj, file, pickle_module=cast("Any", module))

        with _evaluating(obj), pickling.by_value(trial.shipped), pickling.refusals(obj):
            _, needs = pickling.written(write)
        return Saved("torch", "model.pt", frozenset(needs.modules | {"torch", "cloudpickle"}), needs=needs)


class TorchScript:
    """Compiled modules, which include their own code."""

    name = "torchscript"

    def matches(self, obj: Any) -> bool:
        """Match any scripted or traced module."""
        return descends(obj, "torch.jit", "ScriptModule")

    def traits(self, _obj: Any, /) -> Traits:
        """Return empty traits: a module declares nothing about its inputs."""
        return Traits()

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the answer in evaluation mode, without gradients."""
        return evaluate(obj, method, data)

    def save(self, obj: Any, folder: Path, _trial: RoundTrip, /) -> Saved:
        """Write ``model.pt`` as TorchScript."""
        with _evaluating(obj):
            obj.save(str(folder / "model.pt"))
        return Saved("torchscript", "model.pt", frozenset({"torch"}))


@contextmanager
def _evaluating(module: Any) -> Generator[None]:
    """Set evaluation mode inside the block, as on the server, and restore the user's module afterwards."""
    training = [one for one in module.modules() if one.training]
    module.eval()
    try:
        yield
    finally:
        for one in training:
            one.training = True


def evaluate(module: Any, method: str, data: Any) -> Any:
    """Call a module with arrays, as the server will, and return arrays.

    Raises:
        ConfigError: The data is a table.
    """
    torch: Any = import_module("torch")
    examples.check_no_table(data, "PyTorch")
    weight = next(module.parameters(), None)

    def tensor(array: Any) -> Any:
        one = torch.from_numpy(array.copy())
        if weight is None:
            return one
        return one.to(weight.device, weight.dtype if one.is_floating_point() else one.dtype)

    with _evaluating(module), torch.no_grad():
        function = module if method in {"forward", "predict"} else getattr(module, method)
        try:
            answer = (
                function(**{name: tensor(array) for name, array in data.items()})
                if examples.is_named(data)
                else function(tensor(data))
            )
        except RuntimeError as error:
            raise _explained(error, weight, data) from error
    return _arrays(answer)


def _explained(error: RuntimeError, weight: Any, data: Any) -> Exception:
    """Return an error with advice if whole numbers met weights of another type; else return the error itself."""
    arrays = data.values() if examples.is_named(data) else [data]
    if weight is None or not weight.is_floating_point() or all(array.dtype.kind not in "iu" for array in arrays):
        return error
    if "dtype" not in str(error) and "scalar type" not in str(error):
        return error
    return ConfigError(
        f"example has whole numbers, and the network has weights of type {weight.dtype}: {error}",
        hint="give floats: [[1.0, 2.0]]",
    )


def _arrays(answer: Any) -> Any:
    if examples.is_named(answer):
        return {name: _arrays(value) for name, value in answer.items()}
    return examples.of_tensor(answer) if hasattr(answer, "detach") else answer
