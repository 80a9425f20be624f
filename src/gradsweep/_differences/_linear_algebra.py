"""Linear algebra and Fourier transforms of values that change.

What solves an equation has a change that solves another one: of X = A⁻¹B, (A + δA)·δX = δB − δA·X. Determinants change by the
factor det(I + A⁻¹·δA), of whose elimination the pivots are kept less one. What is a composition of other rules is written as one.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _reductions, _structure
from gradsweep._differences._arguments import (
    as_operand,
    as_varying,
    axis_of,
    elements,
    flat,
    joined,
    linear,
    moved_axis,
    product,
    reshaped,
    taken,
    total,
)
from gradsweep._differences._departure import Departure
from gradsweep._differences._elementwise import compare
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._varying import Operand, Varying, base_of, lanes_of, varying

#: Pivots of I + A⁻¹·δA that are off 1 by more than this belong to changes that may as well be computed by subtraction.
_LARGEST_PIVOT = 0.5


# ---- norms ---------------------------------------------------------------------------------------------------------------


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Operand:
    a = as_varying(x)
    if axis is None and (ord is None or (ord in ("fro", "f") and a.ndim == 2) or (ord == 2 and a.ndim == 1)):
        return _root_of_squares(a, None, keepdims=keepdims)
    if axis is None:
        axis = tuple(range(a.ndim))
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if len(axes) == 1:
        return _vector_norm(a, 2 if ord is None else ord, axes, keepdims=keepdims)
    if len(axes) != 2:
        raise ValueError("a norm is one of a vector or of a matrix")
    return _matrix_norm(a, ord, axes, keepdims=keepdims)


def _norm_of_vectors(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Operand:
    a = as_varying(x)
    axes = tuple(range(a.ndim)) if axis is None else tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    return _vector_norm(a, ord, axes, keepdims=keepdims)


def _norm_of_matrices(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Operand:
    return _matrix_norm(as_varying(x), ord, (-2, -1), keepdims=keepdims)


def _root_of_squares(a: Varying, axes: tuple[int, ...] | None, *, keepdims: bool) -> Operand:
    size = elements(np.absolute, a) if a.base.dtype.kind == "c" else a
    return elements(np.sqrt, total(elements(np.square, size), axes, keepdims=keepdims))


def _vector_norm(a: Varying, order: Any, axes: tuple[int, ...], *, keepdims: bool) -> Operand:
    if order == 2:
        return _root_of_squares(a, axes, keepdims=keepdims)
    if isinstance(order, str):
        raise ValueError(f"a vector has no norm of order {order!r}")
    if order == 0:
        return np.asarray(np.sum(compare(np.not_equal, (a, np.zeros(()))), axis=axes, keepdims=keepdims), dtype=np.float64)
    size = elements(np.absolute, a)
    if np.isinf(order):
        assert isinstance(size, Varying)
        return (_reductions.largest if order > 0 else _reductions.smallest)(size, axes, keepdims=keepdims)
    if order == 1:
        return total(size, axes, keepdims=keepdims)
    return elements(np.power, total(elements(np.power, size, float(order)), axes, keepdims=keepdims), 1.0 / order)


def _matrix_norm(a: Varying, order: Any, axes: tuple[int, ...], *, keepdims: bool) -> Operand:
    if order in (None, "fro", "f"):
        return _root_of_squares(a, axes, keepdims=keepdims)
    if order not in (1, -1, np.inf, -np.inf):
        raise Departure(f"np.linalg.norm(…, {order!r}) of a matrix has no difference form", "the Frobenius norm has one")
    rows, columns = (axis_of(axis, a.ndim) for axis in axes)
    added, compared = (rows, columns) if abs(order) == 1 else (columns, rows)
    sums = total(elements(np.absolute, a), added, keepdims=True)
    assert isinstance(sums, Varying)
    result = (_reductions.largest if order > 0 else _reductions.smallest)(sums, compared, keepdims=True)
    if keepdims:
        return result
    return reshaped(result, tuple(size for axis, size in enumerate(a.shape) if axis not in (rows, columns)))


# ---- equations -----------------------------------------------------------------------------------------------------------


def _in_front(change: NDArray[Any]) -> NDArray[Any]:
    """Lanes as the first axis, so that each lane has its matrices."""
    return np.ascontiguousarray(np.moveaxis(change, -1, 0))


def _perturbed(a: Varying) -> NDArray[Any]:
    """All lanes' matrices: array of shape (lanes, …, n, n)."""
    matrices: NDArray[Any] = a.base + _in_front(a.dense)
    return matrices


def _solve_change(a: Operand, b: Operand, x: NDArray[Any], lanes: Lanes) -> NDArray[Any]:
    """(A + δA)⁻¹(δB − δA·X) for matrices B and X."""
    residual = elements(np.subtract, b, product(a, x)) if isinstance(a, Varying) else b
    assert isinstance(residual, Varying)
    if isinstance(a, Varying):
        right = residual.dense
        stacked = _in_front(right).reshape(lanes.count, *(1,) * (a.ndim - right.ndim + 1), *right.shape[:-1])
        matrices = _perturbed(a)
        matrices = matrices.reshape(lanes.count, *(1,) * (stacked.ndim - matrices.ndim), *matrices.shape[1:])
        solved: NDArray[Any] = np.linalg.solve(matrices, stacked)
        return np.moveaxis(solved, 0, -1)
    # All columns of all lanes at once.
    columns = residual.dense.shape[-2]
    change: NDArray[Any] = np.linalg.solve(a, residual.dense.reshape(*residual.shape[:-1], columns * lanes.count))
    return change.reshape(*change.shape[:-1], columns, lanes.count)


def _solve(a: Any, b: Any) -> Varying:
    first, second = as_operand(a), as_operand(b)
    lanes = lanes_of((first, second))
    # Rounding does to the solution what it would do to matrix and right side.
    matrix = lanes.blur(base_of(first))
    if second.ndim == 1:
        x = np.linalg.solve(matrix, base_of(second))
        change = _solve_change(first, reshaped(second, (-1, 1)), x[..., np.newaxis], lanes)
        return varying(x, change[..., 0, :], lanes)
    x = np.linalg.solve(matrix, base_of(second))
    return varying(x, _solve_change(first, second, x, lanes), lanes)


def _inverse(a: Any) -> Varying:
    x = as_varying(a)
    inverse = np.linalg.inv(x.lanes.blur(x.base))
    return varying(inverse, _solve_change(x, np.eye(x.shape[-1]), inverse, x.lanes), x.lanes)


def _pivots(a: Varying) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pivots of I + A⁻¹·δA, less one, and whether they are to be used.

    Of a matrix that differs from the identity by M, the elimination of its first column leaves one that differs from it by
    M₂₂ − m₂₁·m₁₂/(1 + m₁₁), and its first pivot is off by m₁₁: nothing is ever added to one.

    Returns
    -------
    pivots : array of shape (n, …, lanes)
    usable : array of bool of shape (…, lanes)
        Whether none of them is so far off that the change is better computed from the values.
    """
    lanes, size = a.lanes.count, a.shape[-1]
    try:
        rest = np.linalg.solve(a.base, a.dense.reshape(*a.shape[:-1], size * lanes)).reshape(*a.shape, lanes)
    except np.linalg.LinAlgError:
        shape = (*a.shape[:-2], lanes)
        return np.zeros((size, *shape)), np.zeros(shape, dtype=bool)
    pivots = []
    for _ in range(size):
        pivot = rest[..., 0, 0, :]
        pivots.append(pivot)
        rest = rest[..., 1:, 1:, :] - rest[..., 1:, :1, :] * (
            rest[..., :1, 1:, :] / (1.0 + pivot[..., np.newaxis, np.newaxis, :])
        )
    found = np.array(pivots).reshape(size, *a.shape[:-2], lanes)
    usable = np.isfinite(found).all(axis=0) & (np.abs(found).max(axis=0, initial=0.0) <= _LARGEST_PIVOT)
    return found, usable


def _determinant(a: Any) -> Varying:
    x = as_varying(a)
    value = np.asarray(np.linalg.det(x.lanes.blur(x.base)))
    pivots, usable = _pivots(x)
    factor = np.zeros(pivots.shape[1:])
    for pivot in pivots:
        factor = factor + pivot + factor * pivot
    change = value[..., np.newaxis] * factor
    if not usable.all():
        plain = np.moveaxis(np.linalg.det(_perturbed(x)), 0, -1) - np.linalg.det(x.base)[..., np.newaxis]
        change = np.where(usable, change, plain + x.lanes.rounding(np.broadcast_to(np.abs(value)[..., np.newaxis], plain.shape)))
    return varying(value, change, x.lanes)


_SignAndLog = type(np.linalg.slogdet(np.eye(1)))


def _logarithm_of_determinant(a: Any) -> Any:
    x = as_varying(a)
    sign, value = (np.asarray(part) for part in np.linalg.slogdet(x.lanes.blur(x.base)))
    if x.base.dtype.kind == "c":
        raise Departure("np.linalg.slogdet of complex matrices has no difference form")
    pivots, usable = _pivots(x)
    change = np.log1p(np.where(usable, pivots, 0.0)).sum(axis=0)
    if not usable.all():
        signs, values = (np.moveaxis(part, 0, -1) for part in np.linalg.slogdet(_perturbed(x)))
        x.lanes.cross(signs != sign[..., np.newaxis])
        plain = values - value[..., np.newaxis]
        change = np.where(usable, change, plain + x.lanes.rounding(np.broadcast_to(np.abs(value)[..., np.newaxis], plain.shape)))
        if x.lanes.decide:
            sign = signs[..., 0]
    return _SignAndLog(sign, varying(value, change, x.lanes))


def _cholesky(a: Any, /, *, upper: bool = False) -> Operand:
    """Column by column: the first is that of the matrix over the root of its first entry, and is taken off the rest."""
    rest: Operand = as_varying(a)
    if upper:
        rest = _adjoint(rest)
    size, columns = rest.shape[-1], []
    np.linalg.cholesky(base_of(rest))  # an error if the matrix is not positive definite
    for place in range(size):
        column = taken(rest, (..., slice(None), 0))
        root = elements(np.sqrt, taken(column, (..., slice(0, 1))))
        column = joined((root, elements(np.divide, taken(column, (..., slice(1, None))), root)), column.ndim - 1)
        columns.append(joined((np.zeros((*column.shape[:-1], place)), column), column.ndim - 1))
        below = taken(column, (..., slice(1, None)))
        outer = elements(np.multiply, taken(below, (..., slice(None), None)), _conjugate(taken(below, (..., None, slice(None)))))
        rest = elements(np.subtract, taken(rest, (..., slice(1, None), slice(1, None))), outer)
    if not columns:
        return as_varying(a)
    lower = _structure.join(np.stack, columns, columns[0].ndim)
    return _adjoint(lower) if upper else lower


def _conjugate(x: Operand) -> Operand:
    return elements(np.conjugate, x) if base_of(x).dtype.kind == "c" else x


def _adjoint(x: Operand) -> Operand:
    return _conjugate(moved_axis(x, -1, -2))


# ---- products ------------------------------------------------------------------------------------------------------------


def _multi_dot(arrays: Sequence[Any], *, out: None = None) -> Operand:
    operands = [as_operand(each) for each in arrays]
    # In the order that takes the fewest multiplications where it is plain: the vector first that stands at either end.
    if operands[-1].ndim == 1:
        return functools.reduce(lambda right, left: product(left, right), reversed(operands))
    return functools.reduce(product, operands)


def _matrix_power(a: Any, n: int) -> Operand:
    x: Operand = as_varying(a)
    if n == 0:
        return np.broadcast_to(np.eye(x.shape[-1]), x.shape).copy()
    if n < 0:
        x, n = _inverse(x), -n
    result: Operand | None = None
    while n:
        if n & 1:
            result = x if result is None else product(result, x)
        n >>= 1
        if n:
            x = product(x, x)
    assert result is not None
    return result


def _kronecker(a: Any, b: Any) -> Operand:
    first, second = as_operand(a), as_operand(b)
    axes = max(first.ndim, second.ndim)
    left, right = ((1,) * (axes - each.ndim) + each.shape for each in (first, second))
    # The axes of the two alternate, and each pair becomes one.
    first = reshaped(first, tuple(size for pair in zip(left, (1,) * axes, strict=True) for size in pair))
    second = reshaped(second, tuple(size for pair in zip((1,) * axes, right, strict=True) for size in pair))
    return reshaped(elements(np.multiply, first, second), tuple(one * other for one, other in zip(left, right, strict=True)))


def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Operand:
    if axis is not None:
        axisa = axisb = axisc = axis
    first, second = moved_axis(as_operand(a), axisa, -1), moved_axis(as_operand(b), axisb, -1)
    if first.shape[-1] != 3 or second.shape[-1] != 3:
        raise Departure("np.cross of vectors of two entries has no difference form", "write a[0] * b[1] - a[1] * b[0]")

    def part(i: int, j: int) -> Operand:
        one = elements(np.multiply, taken(first, (..., [i])), taken(second, (..., [j])))
        return elements(np.subtract, one, elements(np.multiply, taken(first, (..., [j])), taken(second, (..., [i]))))

    parts = [part(1, 2), part(2, 0), part(0, 1)]
    return moved_axis(joined(parts, parts[0].ndim - 1), -1, axisc)


def _cross_of_standard(x1: Any, x2: Any, /, *, axis: int = -1) -> Operand:
    return _cross(x1, x2, axis=axis)


def _slide(longer: Operand, shorter: Operand, mode: Any) -> Operand:
    """Σₖ longer[i + k]·shorter[k], with zeros beyond the ends of the longer one."""
    size = shorter.shape[0]
    mode = {0: "valid", 1: "same", 2: "full"}.get(mode, mode)
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"mode must be valid, same or full, not {mode!r}")
    before = {"valid": 0, "same": size // 2, "full": size - 1}[mode]
    after = {"valid": 0, "same": size - size // 2 - 1, "full": size - 1}[mode]
    padded = joined((np.zeros(before), longer, np.zeros(after)))
    places = np.arange(padded.shape[0] - size + 1)[:, np.newaxis] + np.arange(size)
    return product(taken(padded, places), shorter)


def _convolve(a: Any, v: Any, mode: Any = "full") -> Operand:
    longer, shorter = flat(as_operand(a)), flat(as_operand(v))
    if shorter.shape[0] > longer.shape[0]:
        longer, shorter = shorter, longer
    return _slide(longer, taken(shorter, slice(None, None, -1)), mode)


def _correlate(a: Any, v: Any, mode: Any = "valid") -> Operand:
    first, second = flat(as_operand(a)), _conjugate(flat(as_operand(v)))
    if second.shape[0] > first.shape[0]:
        return taken(_slide(second, first, mode), slice(None, None, -1))
    return _slide(first, second, mode)


def _vector_product(x1: Any, x2: Any, /, *, axis: int = -1) -> Operand:
    first, second = (moved_axis(as_operand(each), axis, -1) for each in (x1, x2))
    return total(elements(np.multiply, _conjugate(first), second), -1)


def _trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Operand:
    return total(_diagonal(x, offset=offset), -1)


def _diagonal(x: Any, /, *, offset: int = 0) -> Operand:
    return _structure.rearrange(as_varying(x), lambda places: np.diagonal(places, offset, -2, -1))


def _matrix_product(x1: Any, x2: Any, /) -> Operand:
    return product(as_operand(x1), as_operand(x2))


def _outer(x1: Any, x2: Any, /) -> Operand:
    return elements(np.multiply, reshaped(as_operand(x1), (-1, 1)), as_operand(x2))


# ---- linear functions ----------------------------------------------------------------------------------------------------


def _transform(function: Callable[..., Any]) -> Callable[..., Any]:
    """A Fourier transform along one axis."""

    def rule(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: None = None) -> Varying:
        x = as_varying(a)
        place = axis_of(axis, x.ndim)
        return linear(x, function(x.base, n, place, norm), function(x.dense, n, place, norm))

    return rule


def _transforms(function: Callable[..., Any], last: int | None) -> Callable[..., Any]:
    """A Fourier transform along several axes: of the last two, or of all of them."""

    def rule(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: None = None) -> Varying:
        x = as_varying(a)
        if axes is None:
            count = last or (x.ndim if s is None else len(s))
            axes = range(x.ndim - count, x.ndim)
        places = tuple(axis_of(axis, x.ndim) for axis in axes)
        return linear(x, function(x.base, s, places, norm), function(x.dense, s, places, norm))

    return rule


def _shift(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(x: Any, axes: Any = None) -> Varying:
        return _structure.rearrange(as_varying(x), lambda places: function(places, axes))

    return rule


# ---- what has none -------------------------------------------------------------------------------------------------------


def _departing(name: str, advice: str = "") -> Callable[..., Any]:
    def rule(*args: Any, **options: Any) -> Any:
        raise Departure(f"np.linalg.{name} has no difference form", advice)

    return rule


_NONE = {
    "svd": "",
    "svdvals": "",
    "eig": "",
    "eigh": "",
    "eigvals": "",
    "eigvalsh": "",
    "qr": "",
    "cond": "",
    "matrix_rank": "",
    "tensorinv": "",
    "tensorsolve": "",
    "lstsq": "write np.linalg.solve(a.T @ a, a.T @ b), if the columns of a are independent",
    "pinv": "write np.linalg.solve(a.T @ a, a.T), if the columns of a are independent",
}

#: Rules for `numpy.linalg`, `numpy.fft`, and the products that are not matrix products.
RULES: dict[Any, Callable[..., Any]] = {
    np.linalg.norm: _norm,
    np.linalg.vector_norm: _norm_of_vectors,
    np.linalg.matrix_norm: _norm_of_matrices,
    np.linalg.solve: _solve,
    np.linalg.inv: _inverse,
    np.linalg.det: _determinant,
    np.linalg.slogdet: _logarithm_of_determinant,
    np.linalg.cholesky: _cholesky,
    np.linalg.multi_dot: _multi_dot,
    np.linalg.matrix_power: _matrix_power,
    np.linalg.cross: _cross_of_standard,
    np.linalg.vecdot: _vector_product,
    np.linalg.trace: _trace,
    np.linalg.diagonal: _diagonal,
    np.linalg.matmul: _matrix_product,
    np.linalg.outer: _outer,
    np.linalg.matrix_transpose: lambda x, /: moved_axis(as_operand(x), -1, -2),
    np.kron: _kronecker,
    np.cross: _cross,
    np.convolve: _convolve,
    np.correlate: _correlate,
    **{function: _transform(function) for function in (
        np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft
    )},
    **{function: _transforms(function, 2) for function in (np.fft.fft2, np.fft.ifft2, np.fft.rfft2, np.fft.irfft2)},
    **{function: _transforms(function, None) for function in (np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn)},
    np.fft.fftshift: _shift(np.fft.fftshift),
    np.fft.ifftshift: _shift(np.fft.ifftshift),
    **{getattr(np.linalg, name): _departing(name, advice) for name, advice in _NONE.items()},
}  # fmt: skip
