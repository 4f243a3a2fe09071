"""Find out, by calling a network, which of its axes accept other lengths than the example's.

Neither a PyTorch module nor a TorchScript file declares its axes. So the network is called with the first row of the
example, with one more value in one axis at a time. An axis is free if the network answers, and fixed if it fails.
Rounding, as in pooling, may hide that a length is fixed, so a free axis must also accept about twice or half of the
length. Axes of equal length that fail separately are tried together: tokens and their mask grow alike.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import examples
from sdk.packaging.missing import MOST_CALLS, SECONDS
from sdk.packaging.usercode import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sdk.packaging.manifest import Tensor

ASKED = frozenset({"pytorch", "torchscript"})
"""The flavours whose models declare no axes and may be called: calling a network has no side effects."""

Axis = tuple[str, int]  # the name of an input or output, and the place of the axis
Shapes = dict[str, tuple[int, ...]]


@dataclass(slots=True)
class Network:
    """A network and the way to call it.

    Args:
        outputs: Returns the outputs by name for an argument of the network.
        example: The prepared example.
        clock: Returns seconds; calls to a slow network stop soon after ``SECONDS``.
    """

    outputs: Callable[[Any], Mapping[str, Any]]
    example: Any
    clock: Callable[[], float] = time.monotonic
    varied: set[Axis] = field(default_factory=set[Axis])
    _calls: int = 0
    _end: float = 0.0

    def free(self) -> frozenset[Axis]:
        """Return the input axes that accept other lengths; ``varied`` then has the output axes that vary with them."""
        row = examples.first_rows(self.example, 1)
        whole = examples.whole_in(row)
        given = {name: array for name, array in examples.arrays(row).items() if name not in whole}
        lengths = {(name, axis): array.shape[axis] for name, array in given.items() for axis in range(1, array.ndim)}
        self._calls, self._end = 0, self.clock() + SECONDS
        normal = self._shapes(row, {}) if lengths else None
        if normal is None:
            return frozenset()
        free = {axis for axis, length in lengths.items() if self._takes(row, normal, [axis], length)}
        alike: dict[int, list[Axis]] = {}
        for axis in sorted(lengths.keys() - free):
            alike.setdefault(lengths[axis], []).append(axis)
        for length, together in alike.items():
            if len(together) > 1 and self._takes(row, normal, together, length):
                free.update(together)
        return frozenset(free)

    def _takes(self, row: Any, normal: Shapes, together: Sequence[Axis], length: int) -> bool:
        """Check whether these axes accept one more, and about twice or half of their length."""
        found = [self._shapes(row, dict.fromkeys(together, length + 1))]
        if not _alike(found[0], normal):
            return False
        for other in (2 * length + 1, length // 2):
            if other and _alike(shapes := self._shapes(row, dict.fromkeys(together, other)), normal):
                self.varied |= _changed([*found, shapes], normal)
                return True
        return False

    def _shapes(self, row: Any, wanted: Mapping[Axis, int]) -> Shapes | None:
        """Return the shapes of the answer; ``None`` if the network fails or the limit of calls or time is reached."""
        if self._calls >= MOST_CALLS or self.clock() > self._end:
            return None
        self._calls += 1
        try:
            with warnings.catch_warnings(), running("the network takes no other length", operation="predict"):
                warnings.simplefilter("ignore")
                found = self.outputs(examples.argument(_stretched(row, wanted)))
                return {name: tuple(examples.as_array(value).shape) for name, value in found.items()}
        except (ConfigError, PackagingError):
            return None


def opened(tensors: Iterable[Tensor], free: Iterable[Axis]) -> tuple[Tensor, ...]:
    """Return the tensors with their free axes set to any length."""
    known = frozenset(free)

    def shape(one: Tensor) -> tuple[int, ...]:
        return tuple(-1 if (one.name, axis) in known else size for axis, size in enumerate(one.shape))

    return tuple(msgspec.structs.replace(one, shape=shape(one)) for one in tensors)


def _stretched(row: Any, wanted: Mapping[Axis, int]) -> Any:
    """Copy a row with other lengths; its last values are repeated, as those are known to be valid."""
    import numpy as np

    changed = dict(examples.arrays(row))
    for (name, axis), length in wanted.items():
        places = np.minimum(np.arange(length), changed[name].shape[axis] - 1)
        changed[name] = np.take(changed[name], places, axis=axis)
    return examples.Named(changed, examples.whole_in(row)) if examples.is_named(row) else changed["input"]


def _alike(found: Shapes | None, normal: Shapes) -> bool:
    """Check whether an answer has the same outputs, axes and rows as the normal one."""
    return found is not None and {name: (len(shape), shape[:1]) for name, shape in found.items()} == {
        name: (len(shape), shape[:1]) for name, shape in normal.items()
    }


def _changed(found: Iterable[Shapes | None], normal: Shapes) -> set[Axis]:
    return {
        (name, axis)
        for shapes in found
        for name, shape in (shapes or {}).items()
        for axis, size in enumerate(shape)
        if size != normal[name][axis]
    }
