"""Matrix products: A·δB, δA·B and δA·δB, by one matrix product over all lanes wherever the lanes allow it."""

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._elementwise import elementwise
from gradsweep._differences._reductions import add_up
from gradsweep._differences._slab import Pattern, Slab
from gradsweep._differences._varying import Operand, Varying, base_of, lanes_of, real, varying
from gradsweep._types import Array

# Up to so many terms a product for each lane is computed term by term, and of stacks of matrices.
_FEW_TERMS, _FEW_OF_STACKS = 64, 16


def matmul(first: Operand, second: Operand) -> Varying:
    """``first @ second`` for any number of axes, as NumPy defines it.

    Parameters
    ----------
    first, second : Varying or array
        At least one varies.

    Returns
    -------
    Varying
        The product.
    """
    lanes = lanes_of((first, second))
    if first.ndim == second.ndim == 1 and isinstance(first, Varying) and isinstance(second, Varying):
        product = elementwise(np.multiply, (first, second))
        assert isinstance(product, Varying)
        return add_up(product)
    return varying(np.matmul(base_of(first), base_of(second)), matmul_change(first, second), lanes)


def matmul_change(first: Operand, second: Operand) -> "Array | Slab":
    """Change of ``first @ second``, which are not both vectors that change."""
    # A vector is a matrix of one row or one column, whose axis the product does not have.
    left, right = _with_axis(first, 0), _with_axis(second, 1)
    change = _product_change(left, right)
    if base_of(first).ndim == 1:
        change = drop_axis(change, -2)
    if base_of(second).ndim == 1:
        change = drop_axis(change, -1)
    return change


def _with_axis(operand: Operand, position: int) -> Operand:
    """A vector as a matrix: of one row (0) or of one column (1)."""
    if operand.ndim != 1:
        return operand
    if not isinstance(operand, Varying):
        return np.expand_dims(operand, position)
    base = np.expand_dims(operand.base, position)
    if isinstance(operand.change, Slab):
        # The vector's own axis, if it is fixed, stays so; the new one is free.
        axes = (1 - position,) if operand.change.pattern.axes else ()
        pattern = Pattern(axes, operand.change.pattern.index)
        place = 0 if axes else position
        return Varying(base, Slab(base.shape, pattern, np.expand_dims(operand.change.values, place)), operand.lanes)
    return Varying(base, np.expand_dims(operand.change, position), operand.lanes)


def drop_axis(change: "Array | Slab", axis: int) -> "Array | Slab":
    """A change without an axis of length 1; `axis` counts from the end, lanes apart."""
    if not isinstance(change, Slab):
        return np.squeeze(change, axis - 1)
    axis += len(change.shape)
    shape = change.shape[:axis] + change.shape[axis + 1 :]
    fixed = change.pattern.axes
    pattern = change.pattern.without(axis) if axis in fixed else change.pattern
    moved = Pattern(tuple(a - (a > axis) for a in pattern.axes), pattern.index)
    values = change.values
    if axis not in fixed:
        values = np.squeeze(values, sum(free < axis for free in change.pattern.free(len(change.shape))))
    return Slab(shape, moved, values)


def _product_change(first: Operand, second: Operand) -> "Array | Slab":
    """(A + δA)(B + δB) − AB = δA·B + (A + δA)·δB."""
    if not isinstance(first, Varying):
        assert isinstance(second, Varying)
        return _right_changes(real(first), second)
    if not isinstance(second, Varying):
        return _left_changes(first, real(second))
    if first.ndim == second.ndim == 2:
        # The product with a slab takes the other factor as it is after its own change; that of both is in it then.
        if isinstance(second.change, Slab) and 0 in second.change.pattern.axes:
            return _sum(_left_changes(first, real(second.base)), _slab_product(real(first.base), second.change, first.dense))
        if isinstance(first.change, Slab) and 1 in first.change.pattern.axes:
            flipped = np.swapaxes(second.dense, 0, 1)
            left = _slab_product(real(second.base).T, _transposed(first.change), flipped)
            left = _transposed(left) if isinstance(left, Slab) else np.swapaxes(left, 0, 1)
            return _sum(left, _right_changes(real(first.base), second))
    total = _dense(_left_changes(first, real(second.base))) + _dense(_right_changes(real(first.base), second))
    # A lane that perturbs one entry of a network changes the one or the other, in the layer that it is part of.
    both = _changing(first) & _changing(second)
    return total + _second_order(first, second) if both.any() else total


def _changing(x: Varying) -> NDArray[np.bool_]:
    """In which lanes there is a change: array of shape (lanes,)."""
    values = x.change.values if isinstance(x.change, Slab) else x.change
    return np.asarray(values.reshape(-1, x.lanes.count).any(axis=0))


def _sum(first: "Array | Slab", second: "Array | Slab") -> "Array | Slab":
    """Their sum; they are new, so that one may be written to."""
    if isinstance(first, Slab):
        if isinstance(second, Slab):
            if first.pattern.same(second.pattern):
                return Slab(first.shape, first.pattern, first.values + second.values)
            return second.added_to(first.dense)
        return first.added_to(second)
    return second.added_to(first) if isinstance(second, Slab) else first + second


def _dense(change: "Array | Slab") -> Array:
    return change.dense if isinstance(change, Slab) else change


def _right_changes(first: Array, second: Varying) -> "Array | Slab":
    """A·δB."""
    change = second.change
    if isinstance(change, Slab) and first.ndim >= 2 and second.ndim == 2:
        # All matrices of a stack have the same B, so that they are one of all their rows.
        rows = first.reshape(math.prod(first.shape[:-1]), first.shape[-1])
        return _restacked(_slab_product(rows, change), first.shape[:-1])
    # All columns of all lanes at once.
    columns, lanes = second.dense.shape[-2:]
    product: Array = np.matmul(first, second.dense.reshape(*second.dense.shape[:-2], columns * lanes))
    return product.reshape(*product.shape[:-1], columns, lanes)


def _restacked(change: "Array | Slab", stack: tuple[int, ...]) -> "Array | Slab":
    """A change of a matrix of all rows as one of a stack of matrices."""
    if not isinstance(change, Slab):
        return change.reshape(*stack, *change.shape[1:])
    pattern = change.pattern.shifted(len(stack) - 1)
    return Slab((*stack, change.shape[1]), pattern, change.values.reshape(*stack, *change.values.shape[1:]))


def _left_changes(first: Varying, second: Array) -> "Array | Slab":
    """δA·B: its transpose is Bᵀ·δAᵀ, row by row of δA, the lanes as columns."""
    if isinstance(first.change, Slab) and second.ndim == 2:
        return _product_of_slab(first.change, second)
    dense = first.dense
    if second.ndim > 2:
        # A matrix of its own for each: one more axis for the rows of δA.
        second = second[..., np.newaxis, :, :]
    product_of_rows: Array = np.matmul(np.swapaxes(second, -1, -2), dense)
    return product_of_rows


def _product_of_slab(change: Slab, second: Array) -> "Array | Slab":
    """δA·B where δA is a slab of a stack of matrices, or of one, and B is one matrix."""
    last, pattern = len(change.shape) - 1, change.pattern
    if last in pattern.axes:
        # Column k of A takes part by row k of B.
        values = change.values[..., np.newaxis, :] * np.take(second.T, pattern.of(last), axis=1)
        pattern = pattern.without(last)
    else:
        values = np.matmul(second.T, change.values)
    return Slab((*change.shape[:-1], second.shape[1]), pattern, values) if pattern.axes else values


def _transposed(slab: Slab) -> Slab:
    """The transpose of a change of a matrix."""
    axes = slab.pattern.axes
    if len(axes) == 2:
        pattern = Pattern(axes, slab.pattern.index[::-1])
    else:
        pattern = Pattern(tuple(1 - axis for axis in axes), slab.pattern.index)
    values = np.swapaxes(slab.values, 0, 1) if not axes else slab.values
    return Slab(slab.shape[::-1], pattern, values)


def _slab_product(first: Array, slab: Slab, change: Array | None = None) -> "Array | Slab":
    """A·δB where δB is a matrix of which a row, a column or an entry changes; A after its own change, if that is given.

    That is possible where a row of B is fixed.
    """
    shape = (first.shape[0], slab.shape[1])
    axes = slab.pattern.axes
    if not axes:
        inner, columns, lanes = slab.values.shape
        return (first @ slab.values.reshape(inner, columns * lanes)).reshape(*shape, lanes)
    if axes == (1,):
        return Slab(shape, slab.pattern, first @ slab.values)
    # Row k of B takes part by column k of A.
    rows = slab.pattern.of(0)
    taken = np.take(first, rows, axis=1)
    if change is not None:
        taken += change[:, rows, np.arange(len(rows))]
    if axes == (0, 1):
        return Slab(shape, slab.pattern.without(0), taken * slab.values)
    product: Array = taken[:, np.newaxis] * slab.values
    return product


def _second_order(first: Varying, second: Varying) -> Array:
    """δA·δB, a product for each lane."""
    terms = first.shape[-1]
    if 1 <= terms <= (_FEW_TERMS if first.ndim == second.ndim == 2 else _FEW_OF_STACKS):
        # Lanes are the last axis, and stay so: no copies with lanes in front.
        left, right = first.dense, second.dense
        total = left[..., :, 0, np.newaxis, :] * right[..., np.newaxis, 0, :, :]
        term = np.empty_like(total)
        for k in range(1, terms):
            np.multiply(left[..., :, k, np.newaxis, :], right[..., np.newaxis, k, :, :], out=term)
            total += term
        return total
    left, right = (np.ascontiguousarray(np.moveaxis(operand.dense, -1, 0)) for operand in (first, second))
    # Lanes lead, and then as many axes as the longer of the two has, so that stacks broadcast as they do without lanes.
    stacks = max(left.ndim, right.ndim)
    left, right = (side.reshape(side.shape[0], *((1,) * (stacks - side.ndim)), *side.shape[1:]) for side in (left, right))
    return np.moveaxis(np.matmul(left, right), 0, -1)


def einsum(subscripts: str, operands: Sequence[Operand]) -> Varying:
    """``np.einsum`` with explicit subscripts, without an ellipsis.

    Changes of several operands are taken one after the other: those before stand at their perturbed, those after at their base
    values, which is the exact change of the product.

    Parameters
    ----------
    subscripts : str
        As ``"ij,jk->ik"``.
    operands : sequence of Varying or array
        At least one varies.

    Returns
    -------
    Varying
        The sum of products.
    """
    lanes = lanes_of(operands)
    value = np.einsum(subscripts, *(base_of(operand) for operand in operands))
    terms, result = subscripts.split("->")
    names = terms.split(",")
    lane = next(letter for letter in string.ascii_letters if letter not in subscripts)
    total: Array | float = 0.0
    shifted: list[tuple[str, NDArray[Any]]] = []  # operands that have been dealt with, perturbed if they vary
    for place, (name, operand) in enumerate(zip(names, operands, strict=True)):
        if isinstance(operand, Varying):
            later = [(names[k], base_of(operands[k])) for k in range(place + 1, len(operands))]
            parts = [*shifted, (name + lane, operand.dense), *later]
            equation = ",".join(part for part, _ in parts) + "->" + result + lane
            total = total + np.einsum(equation, *(array for _, array in parts), optimize=True)
            shifted.append((name + lane, operand.base[..., np.newaxis] + operand.dense))
        else:
            shifted.append((name, operand))
    assert isinstance(total, np.ndarray)
    return varying(value, total, lanes)
