"""NumPy's ufuncs and their methods, on values that change."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _kinks, _products, _reductions, _structure
from gradsweep._differences._departure import Departure
from gradsweep._differences._elementwise import elementwise
from gradsweep._differences._structure import choose
from gradsweep._differences._varying import Operand, Varying, apply, base_of, varying

#: Those of which numbers may be combined in any order, so that it can be done for many at once. None of them has a kink.
_ASSOCIATIVE = (np.add, np.multiply, np.logaddexp, np.logaddexp2, np.hypot)


def call_ufunc(ufunc: np.ufunc, method: str, operands: Sequence[Operand], options: Mapping[str, Any]) -> Any:
    """Call a ufunc, or one of its methods.

    Parameters
    ----------
    ufunc : ufunc
        Which.
    method : str
        ``"__call__"``, ``"reduce"``, ``"accumulate"``, ``"outer"`` or ``"reduceat"``.
    operands : sequence of Varying or array
        Arguments.
    options : mapping
        Keyword arguments, without ``out``.

    Returns
    -------
    Varying, array or tuple of them
        The result.

    Raises
    ------
    Departure
        It has no difference form.
    """
    if not any(isinstance(operand, Varying) for operand in operands):
        return getattr(ufunc, method)(*operands, **options)
    if method == "reduce":
        (array,) = operands
        return _reduce(ufunc, array, **options)
    if method == "accumulate":
        axis = options.get("axis", operands[1] if len(operands) > 1 else 0)
        return _reductions.accumulate(ufunc, _varying(operands[0]), axis, associative=ufunc in _ASSOCIATIVE)
    if method == "outer":
        first, second = operands
        return _call(ufunc, (_with_axes(first, second.ndim), second), options)
    if method == "reduceat":
        return _reduce_at(ufunc, _varying(operands[0]), base_of(operands[1]), options.get("axis", 0))
    if method != "__call__":
        raise Departure(f"np.{ufunc.__name__}.{method} has no difference form")
    return _call(ufunc, operands, options)


def _call(ufunc: np.ufunc, operands: Sequence[Operand], options: Mapping[str, Any]) -> Any:
    if options:
        _check_options(ufunc, options)
    if ufunc.signature is not None:
        return _contract(ufunc, operands, options)
    if ufunc.__name__ == "clip":  # behind `ndarray.clip`; it has no public name
        x, low, high = operands
        return elementwise(np.minimum, (_as_operand(elementwise(np.maximum, (x, low))), high))
    if ufunc.nout != 1:
        return _several(ufunc, operands)
    if ufunc in (np.remainder, np.fmod):
        return _remainder(ufunc, *operands)
    if ufunc is np.copysign:
        return _with_sign(*operands)
    if ufunc is np.ldexp:
        first, second = operands
        if isinstance(second, Varying):
            raise Departure("np.ldexp with an exponent that changes has no difference form", "write x * 2.0**n")
        return elementwise(np.multiply, (first, np.ldexp(1.0, second)))
    return elementwise(ufunc, operands)


def _check_options(ufunc: np.ufunc, options: Mapping[str, Any]) -> None:
    """Raise a departure for options by which the result would be another one."""
    known = {"where", "dtype", "casting", "order", "subok"} | ({"axis"} if ufunc.__name__ == "vecdot" else set())
    unknown = [name for name, value in options.items() if name not in known and value not in (None, False)]
    if unknown:
        raise Departure(f"np.{ufunc.__name__}(…, {unknown[0]}=…) has no difference form")
    if options.get("where", True) is not True:
        raise Departure(
            f"np.{ufunc.__name__}(…, where=…) leaves entries undefined", "give it out=…, or write np.where(condition, …, …)"
        )


def _contract(ufunc: np.ufunc, operands: Sequence[Operand], options: Mapping[str, Any]) -> Operand:
    """Ufuncs with core dimensions: matmul, vecdot, matvec, vecmat."""
    first, second = operands
    if ufunc is np.matmul:
        return _products.matmul(first, second)
    if ufunc.__name__ not in ("vecdot", "matvec", "vecmat"):
        raise Departure(f"np.{ufunc.__name__} has no difference form")
    if ufunc.__name__ == "vecdot":
        axis = options.get("axis", -1)
        # Counted from the end of either operand, which may have fewer axes than the other.
        first, second = (_last_axis(each, axis) for each in (first, second))
    if ufunc.__name__ != "matvec" and base_of(first).dtype.kind == "c":
        first = _as_operand(elementwise(np.conjugate, (first,))) if isinstance(first, Varying) else np.conjugate(first)
    # A vector is a matrix of one row or one column.
    row, column = ufunc.__name__ != "matvec", ufunc.__name__ != "vecmat"
    if row:
        first = _taken(first, (..., np.newaxis, slice(None)))
    if column:
        second = _taken(second, (..., np.newaxis))
    index = {"vecdot": (..., 0, 0), "matvec": (..., 0), "vecmat": (..., 0, slice(None))}[ufunc.__name__]
    return _structure.take(_products.matmul(first, second), index)


def _taken(operand: Operand, index: Any) -> Operand:
    return _structure.take(operand, index) if isinstance(operand, Varying) else operand[index]


def _last_axis(operand: Operand, axis: int) -> Operand:
    if axis == -1:
        return operand
    order = list(range(operand.ndim))
    order.append(order.pop(axis))
    return _structure.transpose(operand, order) if isinstance(operand, Varying) else operand.transpose(order)


def _with_sign(first: Operand, second: Operand) -> Operand:
    """|a| with the sign of b."""
    size = _as_operand(elementwise(np.absolute, (first,))) if isinstance(first, Varying) else np.abs(first)
    if not isinstance(second, Varying):
        return _as_operand(elementwise(np.multiply, (size, np.copysign(1.0, second))))
    negative = np.asarray(elementwise(np.signbit, (second,)))
    if not isinstance(size, Varying):
        return varying(np.where(negative, -size, size), np.zeros((1,) * negative.ndim + (1,)), second.lanes)
    return _as_operand(elementwise(np.multiply, (size, np.where(negative, -1.0, 1.0))))


def _remainder(ufunc: np.ufunc, first: Operand, second: Operand) -> Operand:
    """What the whole quotient, which jumps, leaves of the number that is divided."""
    value = ufunc(base_of(first), base_of(second))
    whole = np.floor_divide if ufunc is np.remainder else _truncated_quotient
    quotient = apply(_kinks.steps(whole), whole(base_of(first), base_of(second)), (first, second))
    rest = elementwise(np.subtract, (first, _as_operand(elementwise(np.multiply, (quotient, second)))))
    assert isinstance(rest, Varying)
    return replace(rest, base=quotient.lanes.blur(np.asarray(value)))


def _truncated_quotient(first: Any, second: Any) -> Any:
    """The quotient that belongs to `np.fmod`, which rounds to zero."""
    return np.rint((first - np.fmod(first, second)) / second)


def _several(ufunc: np.ufunc, operands: Sequence[Operand]) -> tuple[Operand, ...]:
    if ufunc is np.divmod:
        first, second = operands
        return _as_operand(elementwise(np.floor_divide, operands)), _remainder(np.remainder, first, second)
    if ufunc is np.modf:
        whole = _as_operand(elementwise(np.trunc, operands))
        return _as_operand(elementwise(np.subtract, (operands[0], whole))), whole
    raise Departure(f"np.{ufunc.__name__} has no difference form")


def _reduce(
    ufunc: np.ufunc,
    array: Operand,
    axis: Any = 0,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    del dtype  # all is computed in float64
    axis = tuple(axis) if isinstance(axis, list) else axis
    first = None if initial is None or initial is np._NoValue else _as_operand(initial)
    if ufunc in (np.logical_and, np.logical_or, np.logical_xor):
        truth: Any = ufunc
        return truth.reduce(base_of(elementwise(np.not_equal, (array, np.zeros(())))), axis=axis, keepdims=keepdims, where=where)
    x = _varying(array)
    if where is not True:
        x = choose(np.asarray(where), x, _neutral(ufunc, first))
    if first is None:
        return _reduced(ufunc, x, axis, keepdims=keepdims)
    if ufunc in (*_ASSOCIATIVE, np.maximum, np.minimum, np.fmax, np.fmin):
        return elementwise(ufunc, (first, _reduced(ufunc, x, axis, keepdims=keepdims)))
    # The first number is that from which the others are taken off, or by which they divide.
    (along,) = _reductions.axes_of(axis, x.ndim)
    shape = tuple(1 if place == along else size for place, size in enumerate(x.shape))
    front = np.broadcast_to(base_of(first), shape)
    if isinstance(first, Varying):
        raise Departure(f"np.{ufunc.__name__}.reduce(…, initial=…) of a value that changes has no difference form")
    return _reduced(ufunc, _structure.join(np.concatenate, (front, x), along), along, keepdims=keepdims)


def _neutral(ufunc: np.ufunc, first: Operand | None) -> Operand:
    """What takes the place of entries that do not take part."""
    if ufunc.identity is not None:
        return np.asarray(float(ufunc.identity))
    if first is None:
        raise Departure(f"np.{ufunc.__name__}.reduce(…, where=…) needs initial=…")
    return first


def _reduced(ufunc: np.ufunc, x: Varying, axis: Any, *, keepdims: bool) -> Varying:
    if ufunc is np.add:
        return _reductions.add_up(x, axis, keepdims=keepdims)
    if ufunc in (np.fmax, np.fmin) and np.isnan(x.base).any():
        least = np.asarray(-np.inf if ufunc is np.fmax else np.inf)
        void = np.isnan(x.base)
        best = _reduced(ufunc, choose(void, least, x), axis, keepdims=keepdims)
        return choose(void.all(axis=axis, keepdims=keepdims), np.asarray(np.nan), best)
    if ufunc in (np.maximum, np.fmax):
        return _reductions.largest(x, axis, keepdims=keepdims)
    if ufunc in (np.minimum, np.fmin):
        return _reductions.smallest(x, axis, keepdims=keepdims)
    return _reductions.fold(ufunc, x, axis, keepdims=keepdims, associative=ufunc in _ASSOCIATIVE)


def _reduce_at(ufunc: np.ufunc, x: Varying, places: NDArray[Any], axis: int) -> Varying:
    """``ufunc.reduceat``: from each place to the next, or the entry itself where the next does not lie behind."""
    axis = int(np.lib.array_utils.normalize_axis_index(axis, x.ndim))
    if ufunc is np.add:
        return varying(np.add.reduceat(x.base, places, axis=axis), np.add.reduceat(x.dense, places, axis=axis), x.lanes)
    parts: list[Operand] = []
    for start, stop in zip(places, (*places[1:], x.shape[axis]), strict=True):
        part = _structure.take(x, (*(slice(None),) * axis, slice(start, max(start + 1, stop))))
        parts.append(_reduced(ufunc, part, axis, keepdims=True))
    return _structure.join(np.concatenate, parts, axis)


def _with_axes(operand: Operand, count: int) -> Operand:
    """The operand with further axes of length 1 at its end."""
    if not isinstance(operand, Varying):
        return operand.reshape(operand.shape + (1,) * count)
    base = operand.base.reshape(operand.shape + (1,) * count)
    return Varying(base, operand.dense.reshape(*base.shape, operand.lanes.count), operand.lanes)


def _varying(operand: Operand) -> Varying:
    if not isinstance(operand, Varying):
        raise Departure("a plain array is reduced along an axis that changes")
    return operand


def _as_operand(result: Any) -> Operand:
    return result if isinstance(result, Varying) else np.asarray(result)
