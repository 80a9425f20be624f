"""Fits of one block, or of two, in which right numbers stand in wrong places."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradsweep._diagnosis._evidence import Claim, Evidence, Mask, certainty, number, positions
from gradsweep._samples import Places
from gradsweep._types import Array
from gradsweep._verdict import norm

# Entries by which an order is tried before it is compared in all.
_TRIED = 256

# Axes of which all orders are tried, and groups of an axis of which all orders are tried; of more, exchanges of two.
_AXES, _GROUPS, _MOST_GROUPS = 5, 4, 8

# Entries from which on an order may be found beside a term in proportion to the parameter.
_WITH_TERM = 6

# Entries of a block up to which single ones are looked up among each other.
_LOOKED_UP = 2**22

# Up to which misfit, relative to it, a gradient is another block's.
_OF_ANOTHER = 1e-4

# Rows of a sample that are looked for, and by how much of their size they may be off where they are found.
_FOUND, _FOUND_WITHIN = 32, 1e-6

# By how much closer than by chance two numbers must be that are looked up among many.
_NEARER_THAN_CHANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Order:
    """Another order of a block.

    Attributes
    ----------
    kind : str
        ``"transposed"`` or ``"permuted"``.
    what : str
        In words, of the gradient.
    cause : str
        What it is consistent with.
    source : array of int of shape (n,)
        For each entry of the numerical gradient, where it stands in the gradient under test.
    """

    kind: str
    what: str
    cause: str
    source: Places


def fit_order(block: Evidence) -> Claim | None:
    """The gradient is the numerical one with its axes, or groups of its rows or columns, in another order.

    Parameters
    ----------
    block : Evidence
        The block.

    Returns
    -------
    Claim or None
        None if no order that is tried explains it.
    """
    wrong = np.flatnonzero(block.differs)
    if len(wrong) < 2:
        return None
    tried = wrong[np.linspace(0, len(wrong) - 1, min(_TRIED, len(wrong))).astype(np.intp)]
    fitting = {place for place, order in enumerate(_orders(block.shape, block.places[tried])) if _fits(block, order, tried)}
    if not fitting:
        return None
    everything = np.arange(len(block.places))
    for place, order in enumerate(_orders(block.shape, block.places)):
        if place in fitting and _fits(block, order, everything):
            return _claim(block, order)
    return None


def _fits(block: Evidence, order: Order, on: Places) -> bool:
    return _misfit(block, order, on)[0] <= block.may_be_left(on)


def _misfit(block: Evidence, order: Order, on: Places) -> tuple[float, float]:
    """What an order leaves of the gap; if not all is explained, beside a penalty that is in the right order: and its λ.

    Of g = P(d) + λ·θ, where d + λ·θ is right, P undone is d + λ·P⁻¹(θ): off by λ·(P⁻¹(θ) − θ).
    """
    left = block.tested(order.source) - block.numeric[on]
    misfit = block.misfit(left, on)
    if misfit <= block.may_be_left(on) or len(on) < _WITH_TERM:
        return misfit, 0.0
    moved = block.parameter_at(order.source) - block.parameter[on]
    size = norm(moved)
    if not size or not math.isfinite(size):
        return misfit, 0.0
    slope = float(left @ (moved / size))
    return block.misfit(left - slope * (moved / size), on), slope / size * block.scale


def _claim(block: Evidence, order: Order) -> Claim:
    misfit, slope = _misfit(block, order, np.arange(len(block.places)))
    entries = int(np.count_nonzero(block.differs))
    but = f", but for {number(slope)} times the parameter" if slope else ""
    return Claim(
        kind=order.kind,
        blocks=(block.name,),
        what=f"{order.what}{but}{block.looked_at()}",
        cause=order.cause,
        advice="Look at the order of axes, of groups and of names where this gradient is put together.",
        confidence=certainty(misfit, entries, 1 if slope else 0),
        key=(order.kind, order.what),
        misfit=misfit,
        entries=entries,
        evidence={"order": order.what},
    )


def _orders(shape: tuple[int, ...], places: Places) -> Iterator[Order]:
    """Orders that are tried, the simplest first."""
    index = np.unravel_index(places, shape)
    yield from _axes_in_other_orders(shape, places, index)
    yield from _flipped(shape, index)
    for axis in range(len(shape)):
        for words, cause, along in _along_axis(shape[axis], index[axis]):
            source = np.ravel_multi_index((*index[:axis], along, *index[axis + 1 :]), shape)
            yield Order("permuted", f"the gradient is the numerical one with {words}{_of_axis(shape, axis)}", cause, source)


def _of_axis(shape: tuple[int, ...], axis: int) -> str:
    if len([extent for extent in shape if extent > 1]) < 2:
        return ""
    if len(shape) == 2:
        return (" of its rows", " of its columns")[axis]
    return f" of axis {axis}"


def _axes_in_other_orders(shape: tuple[int, ...], places: Places, index: Sequence[Places]) -> Iterator[Order]:
    """Transposes, as such where extents allow, else reshaped: the numbers in another order of axes, read as if in this one."""
    axes = [axis for axis, extent in enumerate(shape) if extent > 1]
    if not 2 <= len(axes) <= _AXES:
        return
    for order in itertools.permutations(axes):
        if list(order) == axes:
            continue
        extents = tuple(shape[axis] for axis in order)
        same = extents == tuple(shape[axis] for axis in axes)
        if len(axes) == 2:
            what = "the gradient is the transpose of the numerical one" if same else _RESHAPED
        else:
            what = f"the gradient is the numerical one with its axes in the order {order}" + ("" if same else ", then reshaped")
        cause = "a transpose that is missing, or one too many" if same else "a reshape where a transpose was meant, or before it"
        yield Order("transposed", what, cause, np.ravel_multi_index(tuple(index[axis] for axis in order), extents))
        if not same:
            back = np.unravel_index(places, extents)
            moved = [np.zeros_like(places)] * len(shape)
            for axis, along in zip(order, back, strict=True):
                moved[axis] = along
            yield Order("transposed", what, cause, np.ravel_multi_index(tuple(moved), shape))


_RESHAPED = "the gradient has the numbers of the numerical one in the order of its transpose, reshaped"


def _flipped(shape: tuple[int, ...], index: Sequence[Places]) -> Iterator[Order]:
    """Axes turned round."""
    axes = [axis for axis, extent in enumerate(shape) if extent > 1]
    if len(axes) > _AXES:
        return
    for count in range(1, len(axes) + 1):
        for chosen in itertools.combinations(axes, count):
            source = np.ravel_multi_index([shape[a] - 1 - i if a in chosen else i for a, i in enumerate(index)], shape)
            words = positions("axis", chosen).replace("axiss", "axes") if len(shape) > 1 else "its entries"
            what = f"the gradient is the numerical one with {words} turned round"
            yield Order("permuted", what, "a kernel, or a sequence, that is turned round once too often or not at all", source)


def _along_axis(extent: int, along: Places) -> Iterator[tuple[str, str, Places]]:
    """Groups of rows in other orders, rows that are shifted, and rows counted with the wrong extent first."""
    for count in range(2, min(_MOST_GROUPS, extent) + 1):
        if extent % count:
            continue
        length = extent // count
        for order in _group_orders(count):
            words = f"its {count} groups of {length} in the order {order},"
            yield (
                words,
                "groups, as of gates or heads, that are put together in the wrong order",
                _regrouped(along, order, length),
            )
    for shift in (1, -1, 2, -2):
        where = "later" if shift > 0 else "earlier"
        yield f"every one {abs(shift)} {where}", "an index that is off by some", (along + shift) % extent
    for inner in range(2, extent // 2 + 1):
        if extent % inner == 0:
            outer = extent // inner
            words = f"{outer} by {inner} read as {inner} by {outer} along the {extent}"
            yield (
                words,
                "a reshape that takes the two parts of an axis in the wrong order",
                along % inner * outer + along // inner,
            )


def _group_orders(count: int) -> Iterator[tuple[int, ...]]:
    """All orders of a few groups, and of more the exchanges of two."""
    if count <= _GROUPS:
        yield from itertools.permutations(range(count))
        return
    for one, other in itertools.combinations(range(count), 2):
        order = list(range(count))
        order[one], order[other] = other, one
        yield tuple(order)


def _regrouped(along: Places, order: tuple[int, ...], length: int) -> Places:
    """Where each row stands if group g holds what belongs to group order[g]."""
    standing = np.empty(len(order), dtype=np.intp)
    standing[list(order)] = np.arange(len(order))
    return np.asarray(standing[along // length] * length + along % length)


def fit_lookup(block: Evidence) -> Claim | None:
    """Rows, columns or single entries of the gradient are those of the numerical one in an order of no simple rule.

    Parameters
    ----------
    block : Evidence
        The block.

    Returns
    -------
    Claim or None
        None if they are not, or too many to be compared, or if a sample shows too little of them.
    """
    if block.seen.places is not None:
        return _fit_sampled_lookup(block)
    analytic, numeric = block.seen.analytic, block.seen.numeric.reshape(block.shape)
    wrong = block.all_differ.reshape(block.shape)
    for axis in () if block.is_vector else range(len(block.shape)):
        others = tuple(other for other in range(len(block.shape)) if other != axis)
        found = _looked_up(np.moveaxis(analytic, axis, 0), np.moveaxis(numeric, axis, 0), np.any(wrong, axis=others))
        if found is not None:
            return _claim_of_lookup(block, axis, *found)
    if block.size > _LOOKED_UP:
        return None
    found = _looked_up(analytic.reshape(-1, 1), numeric.reshape(-1, 1), block.all_differ)
    return None if found is None else _claim_of_lookup(block, None, *found)


def _fit_sampled_lookup(block: Evidence) -> Claim | None:
    """Rows or columns of which two entries or more are known, each found elsewhere in the gradient under test."""
    for axis in () if len(block.shape) != 2 or block.size > _LOOKED_UP else (0, 1):
        index, across = block.along(axis), block.along(1 - axis)
        tested = np.moveaxis(block.seen.analytic, axis, 0)
        wrong, counts = np.unique(index[block.differs], return_counts=True)
        chosen = wrong[counts > 1][:_FOUND]
        stand = [place for row in chosen if (place := _stands_at(tested, block, index == row, across)) is not None]
        if len(chosen) > 1 and len(stand) == len(chosen):
            return _claim_of_lookup(block, axis, chosen, np.array(stand), _FOUND_WITHIN)
    return None


def _stands_at(tested: Array, block: Evidence, known: Mask, across: Places) -> int | None:
    """The row of the gradient under test that has the known entries of a row of the numerical one; None if none has."""
    wanted = block.numeric[known]
    off = np.max(np.abs(tested[:, across[known]] / block.scale - wanted), axis=1)
    row = int(np.argmin(off))
    return row if off[row] <= _FOUND_WITHIN * np.max(np.abs(wanted)) else None


def _looked_up(analytic: Array, numeric: Array, wrong: Mask) -> tuple[Places, Places, float] | None:
    """Rows that are wrong, where each one stands in the gradient under test, and the misfit; None if they stand nowhere."""
    chosen = np.flatnonzero(wrong)
    count = len(chosen)
    if count < 3:
        return None
    direction = np.random.default_rng(0).standard_normal(analytic.shape[1:])
    projected = [np.tensordot(rows, direction, direction.ndim)[chosen] for rows in (analytic, numeric)]
    order = [np.argsort(each, kind="stable") for each in projected]
    # One to one, so that ranks of projections are the same but for rows that are equal; most are told so without copies of rows.
    if norm(projected[0][order[0]] - projected[1][order[1]]) > _NEARER_THAN_CHANCE * norm(projected[0] - projected[1]):
        return None
    left = norm(analytic[chosen[order[0]]] - numeric[chosen[order[1]]])
    misfit = left / norm(analytic[chosen] - numeric[chosen])
    if not misfit * count <= _NEARER_THAN_CHANCE:
        return None
    source = np.empty(count, dtype=np.intp)
    source[order[1]] = order[0]
    return chosen, chosen[source], float(misfit)


def _claim_of_lookup(block: Evidence, axis: int | None, chosen: Places, stand: Places, misfit: float) -> Claim:
    """What is said of rows, columns or entries in another order; of entries, whether that is the transpose of a matrix."""
    one, many = _nouns(block, axis)
    part = _transposed_part(chosen, stand) if axis is None else None
    cause = "an index, or a sort, that is undone the wrong way"
    if part:
        cause = f"a matrix of {part[0]} by {part[1]} that is flattened by columns where rows were meant, or the reverse"
    example = f"{one} {int(stand[0])} being {int(chosen[0])}{block.looked_at()}"
    return Claim(
        kind="transposed" if part else "permuted",
        blocks=(block.name,),
        what=f"{len(chosen):,} {many} of the gradient are those of the numerical one in another order, {example}",
        cause=cause,
        advice="Look at the order in which this gradient is put together.",
        confidence=0.97 * certainty(misfit, len(chosen), 0),
        key=(axis, part),
        misfit=misfit,
        entries=len(chosen),
        evidence={"moved": len(chosen), "stand_at": tuple(stand[:5].tolist()), "belong_at": tuple(chosen[:5].tolist())},
    )


def _nouns(block: Evidence, axis: int | None) -> tuple[str, str]:
    """What an index along an axis picks, and more than one of it."""
    if axis is None:
        return "entry", "entries"
    if len(block.shape) == 2:
        return (("row", "rows"), ("column", "columns"))[axis]
    return f"slice (axis {axis})", f"slices (axis {axis})"


def _transposed_part(chosen: Places, stand: Places) -> tuple[int, int] | None:
    """Extents of the matrix that lies transposed in a flat vector, if that is what an order of its entries is."""
    begin, end = int(chosen[0]) - 1, int(chosen[-1]) + 1  # the first and the last of a matrix do not move
    size = end - begin + 1
    place = np.arange(size)
    rows = int(stand[0]) - begin
    standing = place.copy()
    standing[chosen - begin] = stand - begin
    columns = size // rows
    return (rows, columns) if np.array_equal(standing, place % columns * rows + place // columns) else None


def fit_other_block(block: Evidence, others: Sequence[Evidence]) -> Evidence | None:
    """The block whose numerical gradient is given as this one's, if there is one.

    Parameters
    ----------
    block : Evidence
        The block.
    others : sequence of Evidence
        Blocks of the same shape.

    Returns
    -------
    Evidence or None
        That block.
    """
    for other in others:
        for some in (slice(_TRIED), slice(None)):  # most are another's by none of the first entries
            wanted = other.numeric[some] * (other.scale / block.scale)
            size = norm(wanted)
            off = norm(block.tested(other.places[some]) - wanted)
            if not off <= min(other.may_be_left(), _OF_ANOTHER) * size:
                break
        else:
            if wanted.size and np.ptp(wanted) > 0.0:
                return other
    return None
