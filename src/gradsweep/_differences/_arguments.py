"""What rules are made of: arguments as NumPy takes them, and operations on operands of which any, or all, may be plain."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _products, _reductions, _structure
from gradsweep._differences._elementwise import elementwise
from gradsweep._differences._slab import Slab
from gradsweep._differences._varying import Operand, Varying, varying

# ---- arguments -----------------------------------------------------------------------------------------------------------


def given(value: Any, default: Any) -> Any:
    """A keyword's value, or the default in the place of NumPy's sign for none."""
    return default if value is np._NoValue else value


def varies(value: Any) -> bool:
    """Whether an argument, or anything in a list of arguments, varies."""
    return isinstance(value, Varying) or (isinstance(value, list | tuple) and any(varies(each) for each in value))


def as_operand(value: Any) -> Operand:
    """An argument of which NumPy would make an array: lists of arrays are stacked."""
    if isinstance(value, Varying):
        return value
    if isinstance(value, list | tuple) and varies(value):
        return _structure.join(np.stack, [as_operand(each) for each in value], 0)
    return np.asarray(value)


def as_varying(value: Any) -> Varying:
    """An argument that varies, or a list in which something does."""
    x = as_operand(value)
    assert isinstance(x, Varying)
    return x


def axis_of(axis: Any, ndim: int) -> int:
    """An axis, counted from the front."""
    return int(np.lib.array_utils.normalize_axis_index(int(axis), ndim))


# ---- operations ----------------------------------------------------------------------------------------------------------


def elements(ufunc: np.ufunc, *operands: Any) -> Operand:
    """A function of elements."""
    taken = [as_operand(each) for each in operands]
    if not varies(taken):
        return np.asarray(ufunc(*taken))
    result = elementwise(ufunc, taken)
    return result if isinstance(result, Varying) else np.asarray(result)


def total(x: Operand, axis: Any = None, *, keepdims: bool = False) -> Operand:
    """``np.sum``."""
    if isinstance(x, Varying):
        return _reductions.add_up(x, axis, keepdims=keepdims)
    return np.asarray(np.sum(x, axis=axis, keepdims=keepdims))


def flat(x: Operand) -> Operand:
    """All entries in one axis."""
    return reshaped(x, -1)


def reshaped(x: Operand, shape: Any) -> Operand:
    """``np.reshape``."""
    return _structure.reshape(x, shape) if isinstance(x, Varying) else x.reshape(shape)


def transposed(x: Operand, axes: Sequence[int] | None = None) -> Operand:
    """``np.transpose``."""
    return _structure.transpose(x, axes) if isinstance(x, Varying) else x.transpose(axes)


def moved_axis(x: Operand, source: int, target: int) -> Operand:
    """``np.moveaxis`` of one axis."""
    order = list(range(x.ndim))
    order.insert(axis_of(target, x.ndim), order.pop(axis_of(source, x.ndim)))
    return transposed(x, order)


def taken(x: Operand, index: Any) -> Operand:
    """``x[index]``."""
    return _structure.take(x, index) if isinstance(x, Varying) else np.asarray(x[index])


def along(x: Operand, axis: int, part: Any) -> Operand:
    """``x[:, …, part]``, with `part` on an axis that is counted from the front."""
    return taken(x, (*(slice(None),) * axis, part))


def joined(operands: Sequence[Operand], axis: int = 0) -> Operand:
    """``np.concatenate``, along an axis that is counted from the front."""
    return _structure.join(np.concatenate, operands, axis) if varies(list(operands)) else np.concatenate(operands, axis=axis)  # type: ignore[arg-type]


def chosen(condition: NDArray[Any], first: Any, second: Any) -> Operand:
    """``np.where(condition, first, second)``."""
    one, other = as_operand(first), as_operand(second)
    return _structure.choose(condition, one, other) if varies([one, other]) else np.where(condition, one, other)  # type: ignore[arg-type]


def broadcast(x: Operand, shape: tuple[int, ...]) -> Operand:
    """``np.broadcast_to``."""
    if not isinstance(x, Varying):
        return np.broadcast_to(x, shape)
    base = np.broadcast_to(x.base, shape)
    if isinstance(x.change, Slab):
        slab = x.change.broadcast(base.shape)
        if slab.pattern.axes:
            return Varying(base, slab, x.lanes, x.exponential)
    # Axes that are added come before those of the change, of which the lanes are the last.
    return Varying(base, np.broadcast_to(x.dense, (*base.shape, x.lanes.count)), x.lanes, x.exponential)


def product(first: Operand, second: Operand) -> Operand:
    """``first @ second``."""
    return _products.matmul(first, second) if varies([first, second]) else np.asarray(np.matmul(first, second))  # type: ignore[arg-type]


def linear(x: Varying, value: Any, change: Any) -> Varying:
    """The result of a linear function that was applied to value and change alike."""
    return varying(value, change, x.lanes)
