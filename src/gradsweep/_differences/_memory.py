"""Memory that several difference arrays are views of, and who else holds a plain array that is written to."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._lanes import Lanes
from gradsweep._differences._varying import Varying
from gradsweep._types import Array


class Memory:
    """Values that may be written to, and their changes from the first time on that they are.

    Parameters
    ----------
    base : array
        The values, which are owned from here on; arrays are views of it.
    lanes : Lanes
        The perturbations.
    first : Varying, optional
        What it holds until it is written to; None if that is plain.
    kind : dtype, optional
        The type of the array that it stands for, if that is less precise than float64: what is written is rounded to it.

    Attributes
    ----------
    change : array of shape (extent, lanes), or None
        The changes, laid out as `base` is in memory, each with its lanes behind it; None until something is written.
    first : Varying, optional
        As given, until then.
    """

    __slots__ = ("_start", "base", "change", "first", "kind", "lanes")

    def __init__(self, base: NDArray[Any], lanes: Lanes, first: Varying | None = None, kind: np.dtype[Any] | None = None) -> None:
        self.base, self.lanes, self.first, self.kind = base, lanes, first, kind
        self.change: Array | None = None
        self._start = np.lib.array_utils.byte_bounds(base)[0]

    def touch(self) -> None:
        """Have changes, which are at first what they were."""
        if self.change is not None:
            return
        start, end = np.lib.array_utils.byte_bounds(self.base)
        kind = np.complex128 if self.base.dtype.kind == "c" else np.float64
        self.change = np.zeros(((end - start) // self.base.itemsize, self.lanes.count), dtype=kind)
        if self.first is not None:
            self.view(self.base)[...] = self.first.dense
            self.first = None

    def view(self, base: NDArray[Any]) -> Array:
        """The changes of a view of the values, written through to them."""
        assert self.change is not None
        if not base.size:
            return np.zeros((*base.shape, self.lanes.count))
        size = self.change.itemsize * self.lanes.count
        offset = self.offset(base) * size
        strides = (*(stride // self.base.itemsize * size for stride in base.strides), self.change.itemsize)
        return np.ndarray((*base.shape, self.lanes.count), self.change.dtype, self.change, offset, strides)

    def offset(self, base: NDArray[Any]) -> int:
        """Place of the first entry of a view among the numbers of this memory."""
        return (_address(base) - self._start) // self.base.itemsize

    def renew(self, lanes: Lanes) -> None:
        """Hold plain values in another run, in which what changed in the last one is what it was at its end."""
        self.lanes, self.change, self.first = lanes, None, None


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


# ---- plain arrays that are written to ------------------------------------------------------------------------------------


class _Probe:
    """Counts references to the left operand of ``a += probe``, where nobody but the caller's variable holds it."""

    count = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        _Probe.count = _references(options.pop("out"))
        return inputs[0]


def _references(outputs: tuple[Any, ...]) -> int:
    return sys.getrefcount(outputs[0])


def _probe() -> int:
    array = np.zeros(1)
    array += _Probe()  # type: ignore[call-overload]
    return _Probe.count


_UNSHARED = _probe()


def is_shared(outputs: tuple[Any, ...]) -> bool:
    """Whether anybody else may see what an operator such as ``+=`` writes into its left operand, which is a plain array.

    To be called where NumPy calls ``__array_ufunc__``, with the tuple that it gives. Other names of the array, lists that hold it
    and views of it all refer to it.
    """
    if _references(outputs) > _UNSHARED:
        return True
    # A view is the only one who knows of its memory, or else others see it, too.
    return outputs[0].base is not None and sys.getrefcount(outputs[0].base) > 2
