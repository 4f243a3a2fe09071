"""PyTorch modules, live or as TorchScript."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, cast

from sdk.packaging import pickling
from sdk.packaging.flavours.base import Saved, Traits, descends

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import Trial


class PyTorch:
    """``torch.nn.Module``: weights as PyTorch stores them, the code of the user's own classes with cloudpickle."""

    name = "pytorch"

    def matches(self, obj: Any) -> bool:
        """Any module."""
        return descends(obj, "torch.nn", "Module")

    def traits(self, obj: Any) -> Traits:
        """A module says nothing about its inputs."""
        return Traits()

    def predict(self, obj: Any, method: str, data: Any) -> Any:
        """The answer in evaluation mode, without gradients, on the device of the weights."""
        return evaluate(obj, method, data)

    def save(self, obj: Any, folder: Path, trial: Trial) -> Saved:
        """Write ``model.pt`` with :func:`torch.save`."""
        import torch  # noqa: PLC0415  there if the object is

        modules: set[str] = set()
        pickler = types.SimpleNamespace(__name__="cloudpickle", Pickler=pickling.recorder(modules))
        with _evaluating(obj), pickling.by_value(trial.shipped), pickling.refusals(obj), (folder / "model.pt").open("wb") as file:
            torch.save(obj, file, pickle_module=cast("Any", pickler))
        return Saved("torch", "model.pt", frozenset(modules | {"torch", "cloudpickle"}))


class TorchScript:
    """Compiled modules, which bring their own code."""

    name = "torchscript"

    def matches(self, obj: Any) -> bool:
        """Any scripted or traced module."""
        return descends(obj, "torch.jit", "ScriptModule")

    def traits(self, obj: Any) -> Traits:
        """A module says nothing about its inputs."""
        return Traits()

    def predict(self, obj: Any, method: str, data: Any) -> Any:
        """The answer in evaluation mode, without gradients."""
        return evaluate(obj, method, data)

    def save(self, obj: Any, folder: Path, trial: Trial) -> Saved:
        """Write ``model.pt`` as TorchScript."""
        with _evaluating(obj):
            obj.save(str(folder / "model.pt"))
        return Saved("torchscript", "model.pt", frozenset({"torch"}))


class _evaluating:  # noqa: N801  used like a function
    """Evaluation mode for a while: what is saved is what will serve; the user's module is left as it was."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._training = [one for one in module.modules() if one.training]

    def __enter__(self) -> None:
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        for one in self._training:
            one.training = True


def evaluate(module: Any, method: str, data: Any) -> Any:
    """Call a module with arrays, as the server will, and give arrays back."""
    import torch  # noqa: PLC0415  there if the object is

    weight = next(module.parameters(), None)
    device = weight.device if weight is not None else "cpu"

    def tensor(array: Any) -> Any:
        return torch.from_numpy(array.copy()).to(device)

    with _evaluating(module), torch.no_grad():
        function = module if method in {"forward", "predict"} else getattr(module, method)
        answer = function(**{name: tensor(array) for name, array in data.items()}) if isinstance(data, dict) else function(tensor(data))
    return _arrays(answer)


def _arrays(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: _arrays(value) for name, value in cast("dict[str, Any]", answer).items()}
    return answer.cpu().numpy() if hasattr(answer, "cpu") else answer
