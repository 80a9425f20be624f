"""A user's NumPy code on difference arrays: what NumPy does is done, its change is exact, or there is a departure.

Each program below is ordinary NumPy code. Run once on plain arrays, once for every perturbation, it says itself what is right.
"""

import contextlib
import copy
import itertools
import math
import operator
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradsweep._differences._array import DifferenceArray
from gradsweep._differences._departure import Departure
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._propagation import Propagated, perturbed, propagate
from gradsweep._types import Array

Program = Callable[[Any], Any]

LANES = 6
W = np.random.default_rng(1).normal(size=(4, 3))
X = np.random.default_rng(2).normal(size=(5, 4))
V = np.random.default_rng(3).normal(size=(3, 2))
M = np.random.default_rng(4).normal(size=(6, 5))
# Far from linear, and yet all decisions stay what they are.
STEPS = np.random.default_rng(5).uniform(-1e-2, 1e-2, size=(*W.shape, LANES))

PROGRAMS: dict[str, list[Any]] = {"always": [], "filling": [], "never": [], "noted": []}


def always(program: Program) -> Program:
    """A program that can be followed as it is."""
    PROGRAMS["always"].append(pytest.param(program, id=program.__name__))
    return program


def filling(program: Program) -> Program:
    """A program that fills arrays of its own."""
    PROGRAMS["filling"].append(pytest.param(program, id=program.__name__))
    return program


def never(program: Program) -> Program:
    """A program that cannot be followed, and must not seem to be."""
    PROGRAMS["never"].append(pytest.param(program, id=program.__name__))
    return program


def noted(program: Program) -> Program:
    """A program that makes a plain number on the way, which may be harmless or not: at least it is known."""
    PROGRAMS["noted"].append(pytest.param(program, id=program.__name__))
    return program


def run(program: Program, *, fills: bool, values: Any = W, steps: Array = STEPS, **options: Any) -> Propagated:
    lanes = Lanes(steps.shape[-1], **options)
    return propagate(program, perturbed(values, steps, lanes), lanes, fills=fills)


def number(result: Any) -> float:
    return float(np.asarray(result).reshape(()))


def compare(program: Program, *, fills: bool) -> None:
    original, steps = W.copy(), STEPS.copy()
    lanes = Lanes(LANES)
    found = propagate(program, perturbed(original, steps, lanes), lanes, fills=fills)
    assert not lanes.crossings.any()
    assert np.array_equal(original, W)
    assert np.array_equal(steps, STEPS)
    plain = number(program(W.copy()))
    assert found.base == pytest.approx(plain, rel=1e-13, abs=1e-13)
    changes = [number(program(W + STEPS[..., lane])) - plain for lane in range(LANES)]
    assert found.changes.shape == (LANES,)
    np.testing.assert_allclose(found.changes, changes, rtol=1e-10, atol=1e-12 * (1.0 + abs(plain)))


# ---- indexing ------------------------------------------------------------------------------------------------------------

INDICES: list[Any] = [
    0, -1, (1, 2), (slice(None), 1), slice(1, 3), slice(None, None, -1), slice(None, None, 2), (Ellipsis, 0), (0, Ellipsis),
    Ellipsis, (), None, (None, Ellipsis), (slice(None), None, 1), (1, None), [0, 2], [0, 0, -1], np.array([[0, 1], [2, 3]]),
    (np.array([0, 2]), np.array([1, 1])), (np.array([0, 2]), slice(None)), (slice(None), [0, 2]), (slice(1, 3), np.array([2, 0])),
    (np.array([0, 2]), 1), (None, [1, 2], slice(None)), ([0, 1], None, [1, 2]), W > 0.0, (W > 0.0)[:, 0],
    (slice(None), np.array([True, False, True])), (np.array([[0], [3]]), np.array([0, 2])), (Ellipsis, [1]), np.int64(2),
    (slice(None), slice(None, None, -2)), slice(2, 2), ([],), (0, 0, None), (0, 0, Ellipsis),
]  # fmt: skip


def weighted(values: Any) -> Any:
    """A sum in which no entry can be mistaken for another."""
    weights = np.cos(np.arange(1.0, np.size(values) + 1.0)).reshape(np.shape(values))
    return np.sum(weights * values)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_an_index_takes_what_it_takes_of_plain_arrays(index: Any) -> None:
    compare(lambda w: weighted(np.tanh(w)[index]) + np.sum(w), fills=False)
    # Of memory that has been written to.
    compare(lambda w: weighted(_squared_in_place(w)[index]) + np.sum(w), fills=False)


def _squared_in_place(w: Any) -> Any:
    w *= w
    return w


@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("kind", ["changing", "plain", "number", "in place"])
def test_an_index_is_assigned_what_is_assigned_to_plain_arrays(index: Any, kind: str) -> None:
    def program(w: Any) -> Any:
        x = w * 2.0
        part = np.ones(np.shape(W[index]))
        if kind == "changing":
            x[index] = part * np.sin(w[0, 0]) if part.ndim else np.sin(w[0, 0])
        elif kind == "plain":
            x[index] = part * 3.0 if part.ndim else 3.0
        elif kind == "number":
            x[index] = w[1, 1]
        else:
            x[index] += np.exp(w[2, 0])
        return weighted(x)

    compare(program, fills=False)

    def into_buffer(w: Any) -> Any:
        x = np.zeros((4, 3))
        x[...] = 0.5
        x[index] = w[1, 1]
        x[index] *= 2.0
        return weighted(x)

    compare(into_buffer, fills=True)


# ---- views, and writing in place -----------------------------------------------------------------------------------------


@always
def row_in_place_of_a_computed_array(w: Any) -> Any:
    x = np.exp(w)
    row = x[0]
    row -= 1.0
    return weighted(x)


@always
def views_before_and_after_the_first_assignment(w: Any) -> Any:
    x = w * 1.0
    before = x[1:3]
    x[1, 1] = 5.0
    after = x[:2]
    after[1, 2] = w[0, 0] * 3.0
    before[0, 0] *= 2.0
    return weighted(x) + weighted(before) * 0.3 + weighted(after) * 0.7


@always
def overlapping_parts(w: Any) -> Any:
    x = w * 1.0
    x[1:] += x[:-1]
    x[:-1] = x[1:]
    return weighted(x)


@always
def overlapping_views_see_each_other(w: Any) -> Any:
    x = w * 1.0
    first, second = x[:3], x[1:]
    first[1] = 2.0 * w[3]
    second[0] += 1.0
    return weighted(second) + weighted(first)


@always
def transposed_view(w: Any) -> Any:
    x = w * 1.0
    y = x.T
    y[0] *= w[0, 0]
    x[0] += 2.0 * w[1]
    return weighted(x) + weighted(y)


@always
def reshaped_views(w: Any) -> Any:
    x = w * 1.0
    flat, cube = x.reshape(-1), np.reshape(x, (2, 2, 3))
    flat[3:7] = w[0, 1]
    cube[1, 0, 2] += 4.0 * w[2, 2]
    x.ravel()[0] = 7.0
    return weighted(x) + weighted(flat) + weighted(cube)


@always
def views_in_the_order_of_memory(w: Any) -> Any:
    x, column = w * 1.0, w[0, 0] * np.arange(4.0)[:, None]
    views = (
        np.ravel(x.T, order="F"), x.T.ravel("A"), x.ravel("K"), np.ravel(x, order="A"), np.ravel(column, order="F"),
        x.T.reshape((2, 6), order="F"), np.reshape(x.T, (6, 2), order="A"),
    )  # fmt: skip
    copies = np.ravel(x, order="F"), x.T.ravel(), x.ravel("F"), np.reshape(x.T, (6, 2), order="C")
    x *= 2.0
    x[..., 0] += w[1, 1]
    column *= w[2, 0]
    return sum(weighted(each) for each in (x, *views, *copies))


@always
def a_copy_that_reshape_makes(w: Any) -> Any:
    x = w * 1.0
    flat = x.T.reshape(-1)
    flat[:] = 0.0
    x.flatten()[:] = 1.0
    return weighted(x) + weighted(flat)


@always
def negative_strides(w: Any) -> Any:
    x = w * 1.0
    back = x[::-1, ::-1]
    back[0] = w[0]
    back[1:3, ::2] *= 3.0
    np.flip(x, axis=0)[0, 0] = w[1, 1]
    return weighted(x) + weighted(back)


@always
def views_by_functions(w: Any) -> Any:
    x = w * 1.0
    np.squeeze(x[:, None])[0] = 3.0 * w[1]
    np.expand_dims(x, 0)[0, 1] *= 2.0
    np.swapaxes(x, 0, 1)[2, 3] = w[0, 0]
    np.moveaxis(x, 0, 1)[1, 2] -= w[0, 1]
    np.atleast_3d(x)[2, 0] = 1.0
    left, right = np.split(x, 2)
    left += 1.0
    right *= w[0, 2]
    return weighted(x)


@always
def a_diagonal_that_is_a_view(w: Any) -> Any:
    x = w * 1.0
    diagonal = x.diagonal()
    x[0, 0] = 5.0 * w[1, 1]
    return weighted(diagonal)


@always
def layouts_of_all_kinds(w: Any) -> Any:
    x = np.exp(w.T) + w.T
    x[1] = w[:, 0]
    y = np.sin(np.stack([w, w]).transpose(2, 0, 1))
    y[0, 1, 2:] += w[0, 0]
    part = y[..., ::-1][1]
    part[0] = 0.0
    return weighted(x) + weighted(y)


@always
def copies_do_not_follow(w: Any) -> Any:
    x = w * 1.0
    kept = [x.copy(), copy.copy(x), copy.deepcopy(x), x[[0, 1]], x[x > -9.0], x.astype(float), np.copy(x), x.flatten()]
    x[:] = 0.0
    late = [x.copy(), np.copy(x)]
    x[0] = w[0]
    late += [x.copy(), x.astype(np.float64), +x, x[[0, 1, 2]]]
    number = x[0, 0]
    x[0, 0] = 4.0 * w[1, 1]
    return sum(weighted(each) for each in kept) + sum((k + 2.0) * weighted(each) for k, each in enumerate(late)) + number


@always
def rows_by_an_index_array_are_copies(w: Any) -> Any:
    x = w * 1.0
    rows = x[[0, 1]]
    rows -= 5.0 * w[0, 0]
    x[[0, 1]] *= 2.0
    return weighted(x) + weighted(rows)


@always
def in_place_on_an_alias(w: Any) -> Any:
    x = w * 1.0
    a = b = x
    a *= 2.0
    b += w
    c = {"x": x}
    c["x"] -= 0.5
    return weighted(x) + weighted(b) + weighted(a)


@always
def numbers_are_not_written_to(w: Any) -> Any:
    best = total = np.sum(w * w)
    total += 1.0
    total *= w[0, 0]
    first = w[0]
    entry = kept = first[1]
    entry -= 3.0
    entry /= w[1, 1]
    return best * 10.0 + total + weighted(first) + entry * 2.0 + kept


@always
def an_array_without_axes_is_written_to(w: Any) -> Any:
    x = np.reshape(w[0, 0] * 1.0, ())
    total = np.sum(w[:1, :1] ** 2, keepdims=True).reshape(())
    alias = total
    total += w[1, 1]
    total[...] *= 2.0
    return alias * 3.0 + x


@always
def a_plain_operand_on_the_left(w: Any) -> Any:
    total = 0.0
    total += np.sum(w)
    array = np.zeros(3)
    array += w[0]
    array *= 2.0
    empty = np.zeros(())
    empty += w[1, 1]
    scalar = np.float64(3.0)
    scalar *= w[2, 2]
    whole = 3
    whole -= w[0, 1]
    held = {"a": np.ones(3)}
    held["a"] += w[1]
    return total + weighted(array) + empty + scalar + whole + weighted(held["a"])


@filling
def a_plain_operand_on_the_left_that_others_see(w: Any) -> Any:
    array = np.zeros(3)
    seen = [array]
    array += w[0]
    return weighted(seen[0])


@filling
def a_plain_operand_on_the_left_of_two_names(w: Any) -> Any:
    a = b = np.zeros(3)
    a += w[0]
    return weighted(b)


@filling
def a_row_of_a_plain_array_on_the_left(w: Any) -> Any:
    buffer = np.zeros((2, 3))
    row = buffer[0]
    row += w[0]
    buffer[1] += w[1]
    return weighted(buffer)


@filling
def plain_arrays_of_a_list_on_the_left(w: Any) -> Any:
    arrays = [np.zeros(3), np.ones(3)]
    for each in arrays:
        each += w[0]
    return weighted(arrays[0]) + 2.0 * weighted(arrays[1])


class Counted:
    def __init__(self) -> None:
        self.total = np.zeros(3)

    def add(self, x: Any) -> None:
        self.total += x


@always
def an_attribute_on_the_left(w: Any) -> Any:
    counted = Counted()
    for row in w:
        counted.add(row)
    return weighted(counted.total)


@never
def plain_memory_of_others_on_the_left(w: Any) -> Any:
    array = X[:1, :3] * 1.0
    seen = [array]
    array += w[0]
    return weighted(seen[0])


@filling
def a_ufunc_writes_into_a_buffer(w: Any) -> Any:
    out = np.zeros((4, 3))
    np.add(w, 1.0, out=out)
    np.multiply(out, w, out=out)
    np.add.at(out, [0, 0, 1], w[3])
    np.subtract.at(out, (np.array([1]), np.array([2])), 5.0)
    np.sum(w, axis=0, out=out[0])
    np.dot(w.T, w, out=out[1:])
    return weighted(out)


@always
def a_ufunc_writes_where_it_may(w: Any) -> Any:
    out = np.zeros_like(w)
    np.divide(X[:4, :3], X[1:, :3], out=out, where=X[1:, :3] > 0.0)
    np.multiply(w, w, out=out, where=W > 0.3)
    return weighted(out) + np.sum(w)


@filling
def the_usual_division_where_the_divisor_is_not_zero(w: Any) -> Any:
    divisor = np.where(X > 0.0, X, 0.0)
    quotient = np.divide(X, divisor, out=np.zeros_like(X), where=divisor != 0.0)
    buffer = np.zeros(3)
    buffer[0] = w[0, 0]
    return weighted(quotient) * w[0, 0] + weighted(buffer)


@always
def assignment_by_functions(w: Any) -> Any:
    x = w * 1.0
    np.copyto(x[0], w[1])
    np.copyto(x, 0.5, where=W < -0.8)
    square = x[:3] * 1.0
    np.fill_diagonal(square, w[0, 0] * 2.0)
    x.fill(w[3, 2])
    y = np.zeros_like(w)
    y.fill(2.0)
    return weighted(square) + weighted(x) + weighted(y)


@always
def results_with_names(w: Any) -> Any:
    square = w[:3].T @ w[:3] + np.eye(3)
    sign, logarithm = np.linalg.slogdet(square)
    return sign * logarithm + 2.0 * np.linalg.slogdet(square).logabsdet


@always
def flat_entries(w: Any) -> Any:
    x = w.T * 1.0
    x.flat[3] = 2.0 * w[0, 0]
    x.flat[[0, 5]] = w[1, :2]
    x.flat[::4] = 1.5
    taken = x.flat[2:9:3]
    taken[0] = 100.0
    y = w * 1.0
    y.flat = w[0, 1]
    return weighted(x) + sum(each * each for each in x.flat) + weighted(taken) + len(x.flat) * x.flat[7] + weighted(y)


@always
def a_new_shape_in_place(w: Any) -> Any:
    x = w * 1.0
    y = x[:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2.5
        x.shape = (6, 2)
    x[5] = w[0, :2]
    return weighted(x) + weighted(y) + x.shape[0]


@always
def the_argument_itself_in_place(w: Any) -> Any:
    w *= 2.0
    w[0] += 1.0
    w.T[2] -= w[:, 1]
    return weighted(w)


@always
def swapped_rows(w: Any) -> Any:
    x = w * 1.0
    x[0], x[1] = x[1].copy(), x[0].copy()
    x[[2, 3]] = x[[3, 2]]
    a, b = x[0, 0], x[0, 1]
    a, b = b, a
    return weighted(x) + 3.0 * a - b


@always
def plain_values_over_changing_ones(w: Any) -> Any:
    x = w * w
    x[1:3] = 1.0
    x[:, 0] = X[0]
    x[x > 0.9] = 0.25
    return weighted(x)


# ---- numbers, Python's own functions -------------------------------------------------------------------------------------


@always
def builtins(w: Any) -> Any:
    a, b = w[0, 0], w[0, 1]
    largest = max(a, b) + 2.0 * min(a, b, 0.1) + max(list(w[1]))
    rounded = round(a * 8.0) + round(b) + math.floor(a * 5.0) + math.ceil(b * 5.0) + math.trunc(a * 7.0) + int(b * 9.0)
    return largest + rounded * a + sum(w[2]) + sum([a, b], start=w[3, 0]) + abs(w[1, 1]) + pow(a, 2) + pow(a * a + 1.0, b)


@always
def operators(w: Any) -> Any:
    a = w[0]
    quotient, rest = divmod(w[1], 0.37)
    return weighted(
        np.float64(3.0) * a + [1.0, 2.0, 3.0] * a - (1, 2, 3) + a / 2 + 2.0 / (a + 5.0) + (-a) + (+a) + 3 - a
        + a**2 + a**-1 + 2.0**a + (a * a + 1.0) ** a + a % 0.3 + a // 0.2 + quotient + rest + np.int64(2) * a + True * a
    ) + np.array([1.0, 2.0, 3.0]) @ a + a @ [1.0, 2.0, 4.0] + np.arange(12).reshape(3, 4)[:, 0] @ a  # fmt: skip


@always
def decisions(w: Any) -> Any:
    total = w[0, 0] * 0.0
    for row in w:
        for x in row:
            if x > 0.5:
                total = total + x
            elif -0.5 < x < 0.2:
                total = total - 2.0 * x
            elif not x >= 0:
                total += x * x
            else:
                total = total * 1.1
    count = 0
    x = w[0, 0] ** 2 + 0.01
    while x < 10.0:
        x, count = x * 2.0, count + 1
    if w[0, 1]:
        total += count * x
    return total + (w[0, 0] in [1.0, w[0, 0]]) + (5.0 in w) + bool(w[1, 1]) + (x == None) + (x != "a")  # noqa: E711


@always
def lengths_and_kinds(w: Any) -> Any:
    assert isinstance(w, np.ndarray)
    assert isinstance(w[0], np.ndarray)
    assert isinstance(w[0, 0], float)
    assert isinstance(w[0, 0], np.floating)
    assert not isinstance(w[0, 0], np.ndarray)
    assert isinstance(w[0, 0, ...], np.ndarray)
    assert isinstance(np.sum(w), np.float64)
    assert np.isscalar(np.sum(w))
    assert w.dtype == np.float64
    assert np.issubdtype(w.dtype, np.floating)
    assert (len(w), w.ndim, w.size, w.shape, w.nbytes) == (4, 2, 12, (4, 3), 96)
    assert w.strides == (24, 8)
    assert np.zeros_like(w, dtype=int).dtype.kind == "i"
    assert w.base is None
    with pytest.raises(TypeError):
        len(w[0, 0])
    with pytest.raises(TypeError):
        iter(np.sum(w))
    with pytest.raises(IndexError):
        w[7]
    with pytest.raises(ValueError, match="ambiguous"):
        bool(w > 0.0)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(w)
    with pytest.raises(TypeError):
        w[0, 0][...] = 1.0
    with pytest.raises(AttributeError):
        w.no_such_thing  # noqa: B018
    return np.sum(w)


@always
def lists_of_numbers(w: Any) -> Any:
    nested = w.tolist()
    return nested[0][1] * nested[3][2] + w.item(0) + w.item(2, 1) + w[0, :1].item() + w.item((1, 1)) + w[0, 0].tolist()


@always
def iteration(w: Any) -> Any:
    total = 0.0
    for k, (a, b, c) in enumerate(w):
        total += (k + 1.0) * a * b - c
    for row, x in zip(w, reversed(list(w)), strict=True):
        total += row @ x
    (a, *rest) = w[0]
    return total + a * rest[0] + sum(itertools.starmap(operator.mul, zip(w[0], w[1], strict=True)))


@always
def texts(w: Any) -> Any:
    x = np.sum(w)
    plain = float(np.sum(W))
    text = f"{x:.1f} {x} {w[0]}" + "%.2f" % x + f"{x:8.3e}" + str(w) + repr(w)  # noqa: UP031
    return x * (1.0 if len(text) > 10 and f"{x:.0f}" in (f"{plain + d:.0f}" for d in (-1, 0, 1)) else 2.0)


@always
def double_precision_by_request(w: Any) -> Any:
    return np.sum(w.astype(np.float64) * w.astype("f8", copy=False)) + np.sum(w.astype(np.longdouble))


@always
def masks_and_whole_numbers(w: Any) -> Any:
    mask = (w > 0.0).astype(float)
    steps = (w * 4.0).astype(int)
    return weighted(w * mask) + weighted(steps * w) + weighted((w > 0.0) * w**2) + np.sum(w[w.astype(bool)])


@always
def sorted_in_place_by_a_loop(w: Any) -> Any:
    x = w[0] * 1.0
    for i in range(len(x)):
        for j in range(len(x) - 1 - i):
            if x[j] > x[j + 1]:
                x[j], x[j + 1] = x[j + 1], x[j]
    return weighted(x)


@always
def returned_as_a_float(w: Any) -> Any:
    return float(np.sum(w * w))


@always
def returned_as_a_float_that_was_kept(w: Any) -> Any:
    loss = np.sum(w * w)
    history = [float(loss)]
    return loss if len(history) == 1 else 0.0


@always
def returned_by_item(w: Any) -> Any:
    return np.sum(w * w).item()


@always
def returned_with_an_axis(w: Any) -> Any:
    return np.sum(w * w, keepdims=True)


@always
def returned_of_one_entry(w: Any) -> Any:
    return w[0, :1] * 2.0


@always
def returned_squeezed(w: Any) -> Any:
    return np.squeeze(np.sum(w * w, keepdims=True))


@always
def returned_as_a_whole_number(w: Any) -> Any:
    return int(np.sum(w * w))


@always
def returned_plain(w: Any) -> Any:
    return 1.5 if w[0, 0] > -9.0 else 2.0


@always
def returned_as_the_argument(w: Any) -> Any:
    return w[1, 1]


@noted
def a_float_in_the_middle(w: Any) -> Any:
    return float(w[0, 0]) * np.sum(w)


@noted
def a_float_of_a_float(w: Any) -> Any:
    scale = float(w[0, 0])
    return float(scale * np.sum(w))


@never
def the_math_module(w: Any) -> Any:
    return math.sqrt(np.sum(w * w))


@noted
def the_math_module_in_the_middle(w: Any) -> Any:
    return math.exp(w[0, 0]) + np.sum(w)


@never
def a_text_that_is_read_again(w: Any) -> Any:
    return float(w[0, 0].hex()) + np.sum(w)


@never
def a_complex_number(w: Any) -> Any:
    return abs(complex(w[0, 0])) + np.sum(w)


@never
def a_pickled_array(w: Any) -> Any:
    return np.sum(pickle.loads(pickle.dumps(w)))


@never
def a_buffer_of_bytes(w: Any) -> Any:
    return np.sum(np.frombuffer(w.tobytes())) + np.sum(w)


@never
def the_memory_itself(w: Any) -> Any:
    return float(np.asarray(w.data)[0, 0]) + np.sum(w)


@never
def a_caught_departure(w: Any) -> Any:
    try:
        return np.sum(np.frombuffer(w.tobytes()))
    except Exception:
        return np.sum(w) * 0.0


@never
def a_departure_caught_bare(w: Any) -> Any:
    with contextlib.suppress(BaseException):
        return X.take(w)
    return np.sum(w)


@never
def a_matrix_of_another_class(w: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.sum(w @ np.asmatrix(V) * np.asmatrix(V).T)


@never
def masked_values(w: Any) -> Any:
    return np.sum(w * np.ma.masked_less(W, 0.0))


@never
def several_values(w: Any) -> Any:
    return w[0]


@never
def nothing(w: Any) -> Any:
    return None if isinstance(w, DifferenceArray) else 0.0


@never
def a_cost_and_more(w: Any) -> Any:
    return (np.sum(w), {"cache": w}) if isinstance(w, DifferenceArray) else 0.0


@never
def a_function_of_scalars(w: Any) -> Any:
    return np.sum(np.vectorize(math.sin)(w))


@never
def an_unknown_option(w: Any) -> Any:
    return np.sum(np.matmul(w[None], V, axes=[(-2, -1), (-2, -1), (-1, -2)])[0])


# ---- products by the method of a plain array -----------------------------------------------------------------------------


@always
def products_by_the_method(w: Any) -> Any:
    return weighted(X.dot(w)) + weighted(X[0].dot(w)) + weighted(X.dot(w[:, 0])) + X[1].dot(w[:, 1]) + weighted(
        np.stack([X, 2.0 * X]).dot(w)
    )  # fmt: skip


@always
def products_of_other_kinds_of_arrays(w: Any) -> Any:
    whole, single = np.arange(20).reshape(5, 4), np.arange(20, dtype=np.float32).reshape(5, 4)
    total = weighted(whole.dot(w)) + weighted(single.dot(w)) + weighted(np.asfortranarray(X).dot(w))
    total += weighted(M[::2, ::-1][:, 1:].dot(w)) + weighted(M.T[:4].T.dot(w)) + weighted((X > 0.0).dot(w))
    return total + weighted(np.array(2.0).dot(w)) + weighted(np.array(2.0).dot(w[:, 0]))


@always
def chains_of_products(w: Any) -> Any:
    return weighted(X.dot(w).dot(V)) + weighted(V.T.dot(w.T)) + weighted(M.dot(X.dot(w))) + weighted(
        np.tanh(X.dot(np.sin(w)) + 1.0).dot(V)
    ) + weighted(X.dot(w.dot(V))) + weighted(M.dot(X.dot(w[:, 0])))  # fmt: skip


@always
def products_used_in_every_way(w: Any) -> Any:
    z = X.dot(w)
    assert isinstance(z, np.ndarray)
    assert z.shape == (5, 3)
    assert (len(z), z.ndim, z.size, z.dtype) == (5, 2, 15, np.float64)
    again = z
    z += 1.0
    z[0] = 2.0 * w[0]
    total = weighted(again) + weighted(z.T) + z.sum() + np.sum(z, axis=0)[1] + z[1, 2] + z[:, 1].mean() + weighted(z.reshape(-1))
    total += weighted(np.where(z > 0.0, z, 0.0)) + weighted(np.maximum(0.0, z)) + (z @ V).sum() + weighted(np.concatenate([z, z]))
    total += sum(row[0] for row in z) + float(z.shape[1]) + weighted(z.copy()) + np.max(z) + (1.0 if z[2, 2] > 5.0 else 2.0)
    total += weighted(-z) + weighted(z**2) + weighted(2.0 - z) + weighted(abs(z)) + (z == 0.0).sum()
    number = X[0].dot(w[:, 0])
    kept = number
    number += 1.0
    number *= 2.0
    if number > 0.0:
        total += number
    return total + kept + abs(kept) + weighted(np.zeros(3) + number) + (f"{kept:.1f}" == "x")


@always
def a_product_on_the_right_of_a_plain_array(w: Any) -> Any:
    total = np.zeros((5, 3))
    total += X.dot(w)
    return weighted(total)


@always
def a_product_that_is_returned(w: Any) -> Any:
    return X[0].dot(w[:, 0])


@always
def a_product_with_a_view_that_is_written_to(w: Any) -> Any:
    z = X.dot(w)
    view = z[1:]
    view *= 2.0
    return weighted(z) + weighted(z.dot(V))


@filling
def products_fill_an_array(w: Any) -> Any:
    z = np.zeros((5, 3))
    for i in range(5):
        z[i] = X[i].dot(w)
    numbers = np.empty(5)
    for i in range(5):
        numbers[i] = X[i].dot(w[:, 0])
    return weighted(z) + weighted(numbers)


@never
def a_product_seen_by_compiled_code(w: Any) -> Any:
    return np.sum(np.frombuffer(X.dot(w)))


@never
def a_product_of_a_list(w: Any) -> Any:
    return np.sum(X[:, :2].dot([w[0], w[1]]))


@never
def a_product_whose_first_factor_is_not_finite(w: Any) -> Any:
    return np.sum(np.where(np.isnan(X), 1.0, np.nan).dot(w))


@never
def a_product_that_was_written_to_in_a_compiled_product(w: Any) -> Any:
    z = X.dot(w)
    again = z
    z += 1.0
    return np.sum(M.dot(again))


@never
def another_compiled_method(w: Any) -> Any:
    return np.sum(np.sort(X[0]).searchsorted(w[0])) + np.sum(w)


@never
def a_method_called_without_its_name(w: Any) -> Any:
    product = X.dot
    return np.sum(product(w))


@never
def a_compiled_method_on_a_product(w: Any) -> Any:
    return np.sum(np.arange(9.0).take(np.abs(X.dot(w)).astype(int) % 9)) + np.sum(X.searchsorted(w))


def test_a_number_is_not_taken_for_the_array_that_stands_for_it() -> None:
    # x·w of two vectors is given to compiled code as a vector; here a matrix fits it by chance.
    square = np.arange(25.0).reshape(5, 5)

    def program(w: Any) -> Any:
        return np.sum(square.dot(X[0].dot(w[:, 0])))

    with pytest.raises(Departure):
        run(program, fills=False)


def test_a_product_is_not_followed_where_the_interpreter_does_not_know_places() -> None:
    program = (
        "import numpy as np\n"
        "from gradsweep._differences._departure import Departure\n"
        "from gradsweep._differences._lanes import Lanes\n"
        "from gradsweep._differences._propagation import perturbed, propagate\n"
        "lanes = Lanes(2)\n"
        "try:\n"
        "    argument = perturbed(np.ones(3), np.ones((3, 2)), lanes)\n"
        "    propagate(lambda w: np.ones((2, 3)).dot(w).sum(), argument, lanes, fills=False)\n"
        "except Departure as departure:\n"
        "    print('departure', departure)\n"
    )
    done = subprocess.run([sys.executable, "-X", "no_debug_ranges", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("departure")


# ---- arrays that are made and filled -------------------------------------------------------------------------------------


@filling
def buffers(w: Any) -> Any:
    total = 0.0
    for make in (np.zeros, np.empty, np.ones):
        x = make((4, 3))
        x[...] = 2.0
        x[0] = w[0]
        x[1, 1] = w[1, 1]
        x[2] += w[2]
        row = x[3]
        row[:] = w[3] ** 2
        total = total + weighted(x)
    full, single, fortran = np.full((3,), 0.5), np.zeros(3, dtype=np.float32), np.zeros((4, 3), order="F")
    full[1], single[0], fortran[1:3, 0] = w[0, 1], 3.0, w[0, :2]
    column = fortran[:, 2]
    column[:] = w[:, 2]
    return total + weighted(full) + weighted(single) + weighted(fortran) + weighted(fortran.T)


@filling
def arrays_of_numbers(w: Any) -> Any:
    a, b = w[0, 0], w[1, 1]
    rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    rows = np.array([w[0], 2.0 * w[1]])
    mixed = np.asarray([a, 1.0, b, 2])
    mixed[1] = w[0, 1]
    deep = np.array([[[a, b], [1.0, 2.0]], [[3.0, a], [b, b]]])
    return weighted(rotation @ [a, b]) + weighted(rows) + weighted(mixed) + weighted(deep) + np.array(a) * np.array(3.0)


@filling
def arrays_of_arrays(w: Any) -> Any:
    copied, same = np.array(w), np.asarray(w)
    copied[0] = 0.0
    x = w * 1.0
    also = np.asanyarray(x)
    also[1] *= 2.0
    matrix = np.array(w[0], ndmin=2)
    assert matrix.shape == (1, 3)
    plain = np.array(V)
    plain[0, 0] = w[0, 0]
    identity = np.eye(3)
    identity[0, 1] = w[2, 2]
    filled = np.full((2, 2), w[1, 2])
    assert np.asarray(V) is V
    zero = np.array(w[0, 0])
    zero += 1.0
    return weighted(copied) + weighted(same) + weighted(x) + weighted(matrix) + weighted(plain) + weighted(identity @ w.T) + (
        weighted(filled) + zero + weighted(np.ascontiguousarray(w.T)) + weighted(np.full_like(w, w[0, 0]))
    )  # fmt: skip


@filling
def functions_of_lists_of_numbers(w: Any) -> Any:
    numbers = [w[0, 0], w[1, 1], 0.3]
    return (
        np.sum(numbers) + np.mean(numbers) + np.max(numbers) + np.stack([numbers, numbers])[1, 1] + np.hstack([[1.0], numbers])[2]
    )


@filling
def buffers_that_stay_plain(w: Any) -> Any:
    places, mask, weights = np.zeros(2, dtype=int), np.zeros(3), np.ones(5)
    places[1], mask[2], weights[0] = 2, 1.0, 3.0
    assert type(places) is np.ndarray
    filled = np.zeros(2)
    filled[0] = w[0, 0]
    return (
        weighted(w[places]) + weighted(w[:, mask == 1.0]) + weighted(w[0][mask.astype(bool)]) + weighted(weights.dot(X).dot(w))
        + weighted(np.interp([0.5, 1.5], np.arange(5.0), weights) * filled) + np.linalg.norm(weights) * w[0, 0]
        + weighted(np.bincount(mask.astype(int))) + float(weights[0]) * w[0, 1] + weights[1] * w[0, 2] + math.sqrt(weights[0])
        + weighted(X[:, places]) + np.sum(np.sort(weights)) + mask.sum() + mask.astype(int)[2]
    )  # fmt: skip


@filling
def a_view_of_a_buffer_that_is_plain_as_yet(w: Any) -> Any:
    x = np.zeros((2, 3))
    flat, turned, squeezed, parts = x.ravel(), x.T, np.squeeze(x), np.split(x, 2)
    same, reshaped = np.asarray(x), np.reshape(x, (3, 2))
    x[0] = w[0]
    flat[4] = w[1, 1]
    return weighted(flat) + weighted(turned) + weighted(squeezed) + weighted(parts[1]) + weighted(same) + weighted(reshaped)


@filling
def a_recurrent_network(w: Any) -> Any:
    hidden = np.zeros((6, 3))
    for t in range(1, 6):
        hidden[t] = np.tanh(X[t - 1] @ w + hidden[t - 1] @ w[:3])
    return np.sum(hidden[1:] ** 2) + hidden[-1, 0]


@filling
def a_convolution_by_loops(w: Any) -> Any:
    kernel = w[:2, :2]
    out = np.zeros((4, 3))
    for i in range(4):
        for j in range(3):
            out[i, j] = np.sum(X[i : i + 2, j : j + 2] * kernel)
    return weighted(np.maximum(out, 0.0))


@never
def an_array_that_was_made_elsewhere(w: Any) -> Any:
    x = np.arange(3.0)
    x[0] = w[0, 0]
    return np.sum(x)


@always
def an_array_of_whole_numbers(w: Any) -> Any:
    x = np.zeros(3, dtype=int)
    x[0] = w[0, 0] * 10.0
    return np.sum(x) + np.sum(w)


# ---- all of them ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fills", [False, True], ids=["plain", "filling"])
@pytest.mark.parametrize("program", PROGRAMS["always"])
def test_a_program_is_followed(program: Program, fills: bool) -> None:
    compare(program, fills=fills)


@pytest.mark.parametrize("program", PROGRAMS["filling"])
def test_a_program_that_fills_arrays_is_followed(program: Program) -> None:
    with pytest.raises(Departure):
        run(program, fills=False)
    compare(program, fills=True)


@pytest.mark.parametrize("fills", [False, True], ids=["plain", "filling"])
@pytest.mark.parametrize("program", PROGRAMS["never"])
def test_a_program_that_cannot_be_followed_departs(program: Program, fills: bool) -> None:
    with pytest.raises(Departure):
        run(program, fills=fills)


@pytest.mark.parametrize("fills", [False, True], ids=["plain", "filling"])
@pytest.mark.parametrize("program", PROGRAMS["noted"])
def test_a_number_that_is_made_on_the_way_is_known(program: Program, fills: bool) -> None:
    lanes = Lanes(LANES)
    propagate(program, perturbed(W, STEPS, lanes), lanes, fills=fills)
    assert f"in {program.__name__}: " in lanes.numbers[0].where
