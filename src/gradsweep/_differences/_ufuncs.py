"""NumPy's ufuncs and their methods, on values that change."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradsweep._differences import _products, _reductions
from gradsweep._differences._departure import Departure
from gradsweep._differences._elementwise import elementwise
from gradsweep._differences._structure import choose
from gradsweep._differences._varying import Operand, Varying, base_of

#: Ufuncs with core dimensions, as contractions.
_CONTRACTIONS = {"vecdot": "{0}k,{0}k->{0}", "matvec": "{0}jk,{0}k->{0}j", "vecmat": "{0}k,{0}kj->{0}j"}


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
        return _reductions.accumulate(ufunc, _varying(operands[0]), options.get("axis", operands[1] if len(operands) > 1 else 0))
    if method == "outer":
        first, second = operands
        return elementwise(ufunc, (_with_axes(first, second.ndim), second))
    if method == "reduceat" and ufunc is np.add:
        x, places = _varying(operands[0]), base_of(operands[1])
        axis = np.lib.array_utils.normalize_axis_index(options.get("axis", 0), x.ndim)
        return Varying(np.add.reduceat(x.base, places, axis=axis), np.add.reduceat(x.dense, places, axis=axis), x.lanes)
    if method != "__call__":
        raise Departure(f"np.{ufunc.__name__}.{method} has no difference form")
    return _call(ufunc, operands, options)


def _call(ufunc: np.ufunc, operands: Sequence[Operand], options: Mapping[str, Any]) -> Any:
    unknown = options.keys() - {"where", "dtype", "casting", "order", "subok"}
    if unknown:
        raise Departure(f"np.{ufunc.__name__}(…, {min(unknown)}=…) has no difference form")
    condition = options.get("where", True)
    if condition is not True:
        raise Departure(f"np.{ufunc.__name__}(…, where=…) leaves entries undefined", "write np.where(condition, …, …)")
    if ufunc is np.matmul:
        return _products.matmul(*operands)
    if ufunc.__name__ in _CONTRACTIONS:
        letters = "abcdefgh"[: max(operand.ndim for operand in operands) - (2 if ufunc.__name__ != "vecdot" else 1)]
        return _products.einsum(_CONTRACTIONS[ufunc.__name__].format(letters), operands)
    if ufunc.signature is not None:
        raise Departure(f"np.{ufunc.__name__} has no difference form")
    if ufunc is np.clip:
        x, low, high = operands
        return elementwise(np.minimum, (_as_operand(elementwise(np.maximum, (x, low))), high))
    if ufunc.nout != 1:
        return _several(ufunc, operands)
    if ufunc in (np.remainder, np.fmod, np.floor_divide):
        return _divided(ufunc, *operands)
    return elementwise(ufunc, operands)


def _divided(ufunc: np.ufunc, first: Operand, second: Operand) -> Operand:
    """Quotient and rest: the whole quotient jumps, and the rest is what it leaves."""
    whole = np.trunc if ufunc is np.fmod else np.floor
    quotient = _as_operand(elementwise(whole, (_as_operand(elementwise(np.divide, (first, second))),)))
    if ufunc is np.floor_divide:
        return quotient
    return _as_operand(elementwise(np.subtract, (first, _as_operand(elementwise(np.multiply, (quotient, second))))))


def _several(ufunc: np.ufunc, operands: Sequence[Operand]) -> tuple[Operand, ...]:
    if ufunc is np.divmod:
        first, second = operands
        return _divided(np.floor_divide, first, second), _divided(np.remainder, first, second)
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
    x = _varying(array)
    if where is not True:
        if ufunc is not np.add:
            raise Departure(f"np.{ufunc.__name__}.reduce(…, where=…) has no difference form", "select the entries first")
        x = choose(np.asarray(where), x, np.zeros(()))
    axis = tuple(axis) if isinstance(axis, list) else axis
    if ufunc is np.add:
        result: Any = _reductions.add_up(x, axis, keepdims=keepdims)
    elif ufunc in (np.maximum, np.fmax):
        result = _reductions.largest(x, axis, keepdims=keepdims)
    elif ufunc in (np.minimum, np.fmin):
        result = _reductions.smallest(x, axis, keepdims=keepdims)
    elif ufunc in (np.logical_and, np.logical_or):
        truth: Any = ufunc
        return truth.reduce(base_of(elementwise(np.not_equal, (x, np.zeros(())))), axis=axis, keepdims=keepdims)
    else:
        result = _reductions.fold(ufunc, x, axis, keepdims=keepdims)
    if initial is None or initial is np._NoValue:
        return result
    return elementwise(ufunc, (result, np.asarray(initial)))


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
