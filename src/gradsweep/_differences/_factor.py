"""Products ``x.dot(w)`` of a plain array and one that changes: the method is compiled, and asks nobody."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._departure import Departure, describe, users_frame
from gradsweep._differences._functions import FUNCTIONS
from gradsweep._differences._memory import is_shared
from gradsweep._differences._varying import Varying, base_of
from gradsweep._types import Array

# The largest matrix that is given to `ndarray.dot` together with an identity of its height, by which the other factor comes back.
_LARGEST = 2048

# Relative error of a product, far above that of rounding and far below what any other numbers have.
_ROUNDING = 1e-6

_ADVICE = "write np.dot(x, w) or x @ w"

# Bound here, since NumPy's own name may be stood in for while a function runs.
_dot = FUNCTIONS[np.dot]

# All that is not asked of the product.
_OWN = {"_half", "_parent", "_product", "resolve"} | {
    f"__array_{name}__" for name in ("finalize", "function", "priority", "ufunc", "wrap")
}


class _Half:
    """A factor that a product is known to have."""

    def __init__(self, right: Varying, wrap: Callable[[Any], Any]) -> None:
        self.right, self.wrap = right, wrap
        self.factor: Factor | None = None
        self.taken = self.resolved = False
        self.where = describe(users_frame())


class Factor(np.ndarray[Any, np.dtype[np.float64]]):
    """What ``x.dot(w)`` gets for a w that changes, where x is a plain array; and what it returns.

    The method is given w with an identity matrix beside it, so that its result holds x·w and, with it, x itself. From these the
    product is formed once more, with its change, when anything is asked of the result. Compiled code asks nothing and sees the
    memory; so that what it makes of it is not mistaken for a result, the first half becomes NaN as soon as the product is formed,
    and a product that is never formed ends in a departure.
    """

    __array_priority__ = 2000.0

    @classmethod
    def of(cls, right: Varying, wrap: Callable[[Any], Any]) -> "Factor":
        """The factor w with the identity beside it; `wrap` makes a difference array of the product."""
        height = right.shape[0]
        if height > _LARGEST:
            raise Departure(f"x.dot(w) with {height} rows of w, which change", _ADVICE)
        last: _Half | None = right.lanes.halves[-1] if right.lanes.halves else None
        if last is not None and last.right.base is right.base and not last.taken and last.factor is not None:
            # NumPy asks twice: the first time, for the type alone.
            return last.factor
        whole = np.hstack([right.base.reshape(height, -1), np.eye(height)])
        factor: Factor = np.ndarray.view(whole, cls)
        factor._half = _Half(right, wrap)
        factor._half.factor = factor
        right.lanes.halves.append(factor._half)
        return factor

    def __array_finalize__(self, given: Any) -> None:
        self._half: _Half | None = None
        self._parent: Factor | None = None
        if type(given) is Factor and given._half is not None:
            self._half, self._parent = given._half, given
            given._half.taken, given._half.factor = True, None
        self._product: Any = None

    def resolve(self) -> Any:
        """The product, as a difference array."""
        if self._product is None:
            half, whole = self._half, np.ndarray.view(self, np.ndarray)
            assert half is not None
            half.resolved = True
            height = half.right.shape[0]
            width = half.right.base.size // max(height, 1)
            head, left = whole[..., :width], np.ascontiguousarray(whole[..., width:])
            if whole.shape[-1] != width + height or not np.isfinite(left).all() or _is_outdated(self._parent):
                raise Departure("x.dot(...) of a product that is not what it looks like to compiled code", _ADVICE)
            product = _dot(left, half.right)
            if isinstance(product, Varying) and product.lanes.recording is not None:
                product.lanes.recording.note(np.dot, _dot, (left, half.right), {}, product)
            if isinstance(product, Varying) and product.lanes.watch is not None:
                product = product.lanes.watch("dot", (left, half.right), product, lambda two: _dot(*two), of_ufunc=False)
            if not (_agree(head, left, half.right) or np.isnan(head).all()):
                raise Departure("x.dot(...) of a product that is not what it looks like to compiled code", _ADVICE)
            head[...] = np.nan
            self._product = half.wrap(product)
        return self._product

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN:
            return super().__getattribute__(name)
        return getattr(self.resolve(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            super().__setattr__(name, value)
        else:
            setattr(self.resolve(), name, value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        shared = type(options.get("out", (None,))[0]) is np.ndarray and is_shared(options["out"])
        resolved = [each.resolve() if type(each) is Factor else each for each in inputs]
        return self.resolve().answer(ufunc, method, resolved, options, shared=shared)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.resolve().__array_function__(function, types, args, kwargs)


def _is_outdated(parent: Factor | None) -> bool:
    """Whether the product that another one was made from has been written to since."""
    return parent is not None and parent._product is not None and parent._product.is_written


def _agree(head: NDArray[Any], left: NDArray[Any], right: Varying) -> bool:
    """Whether the first half of a product is what the second half times w is."""
    matrix: Array = base_of(right).reshape(right.shape[0], -1)
    error, size = np.abs(head - left @ matrix), np.abs(left) @ np.abs(matrix)
    return bool((error <= _ROUNDING * size).all())


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: Factor, *args: Any) -> Any:
        return getattr(self.resolve(), name)(*args)

    return method


# Python looks these up in the class alone.
for _name in (
    "getitem setitem len iter contains bool float int complex index round floor ceil trunc format repr str copy deepcopy "
    "reduce reduce_ex"
).split():
    setattr(Factor, f"__{_name}__", _forwarded(f"__{_name}__"))
