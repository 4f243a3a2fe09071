"""Pack Keras models in Keras' own archive, which is read in its safe mode."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdk.errors import PackagingError
from sdk.packaging.flavours.base import Saved, Traits, call, descends
from sdk.packaging.flavours.canonical import canonical_keras
from sdk.packaging.manifest import Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import RoundTrip


class Keras:
    """``keras.Model`` on any backend; the backend is stored in ``options.backend``."""

    name = "keras"

    def matches(self, obj: Any) -> bool:
        """Match any Keras 3 model."""
        return descends(obj, "keras", "Model")

    def traits(self, obj: Any, /) -> Traits:
        """Return the inputs of a built model."""
        if not obj.built:
            raise PackagingError(
                f"Keras model {obj.name!r} is not built", operation="pack", hint="call it on data, or fit it, first"
            )
        return Traits(inputs=tuple(_tensor(one) for one in getattr(obj, "inputs", None) or ()))

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the answer, without a progress bar."""
        if method != "predict":
            return call(obj, method, data)
        parts: Any = import_module("sdk.serving.parts")
        return parts.by_name(obj.predict(data, verbose=0), getattr(obj, "output_names", None))

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write ``model.keras``, and check that a copy read back answers alike."""
        keras: Any = import_module("keras")

        path = folder / "model.keras"
        try:
            obj.save(path)
            canonical_keras(path)
            copy = keras.saving.load_model(path, compile=False, safe_mode=True)
            sound = trial.passes(self, copy)
        except Exception as error:
            raise self._lost(obj, str(error).splitlines()[0]) from error
        if not sound:
            raise self._lost(obj, "the copy answers differently")
        backend = keras.backend.backend()
        return Saved("keras", path.name, frozenset({"keras", backend}), {"backend": backend})

    def _lost(self, obj: Any, why: str) -> PackagingError:
        hint = "own layers need @keras.saving.register_keras_serializable() and their module in code="
        return PackagingError(f"Keras model {obj.name!r} cannot be read back: {why}", operation="pack", hint=hint)


def _tensor(one: Any) -> Tensor:
    return Tensor(str(one.name), str(one.dtype), tuple(-1 if size is None else int(size) for size in one.shape))
