"""Perturbations on their way: kinks and ties, rounding, slabs, arrays made on the way, departures, and runs beside each other."""

import contextlib
import functools
import itertools
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradsweep._differences import _creation
from gradsweep._differences._array import DifferenceArray
from gradsweep._differences._creation import intercepted
from gradsweep._differences._departure import Departure
from gradsweep._differences._lanes import Lanes, Ties
from gradsweep._differences._products import matmul_change
from gradsweep._differences._propagation import Propagated, perturbed, perturbed_entry, propagate
from gradsweep._differences._slab import Pattern, Slab
from gradsweep._differences._varying import Varying
from gradsweep._types import Array

Program = Callable[[Any], Any]

thorough = settings(deadline=None, derandomize=True, max_examples=200)


def run(program: Program, values: Any, steps: Any, *, fills: bool = False, **options: Any) -> Propagated:
    steps = np.asarray(steps, dtype=np.float64)
    lanes = Lanes(steps.shape[-1], **options)
    return propagate(program, perturbed(values, steps, lanes), lanes, fills=fills)


def crossings(program: Program, values: Any, steps: Any) -> list[int]:
    steps = np.asarray(steps, dtype=np.float64)
    lanes = Lanes(steps.shape[-1])
    propagate(program, perturbed(values, steps, lanes), lanes, fills=False)
    return [int(count) for count in lanes.crossings]


# ---- kinks ---------------------------------------------------------------------------------------------------------------


def masked(z: Any) -> Any:
    z = z * 1.0
    z[z < 0.0] = 0.0
    return z


def by_branch(z: Any) -> Any:
    return sum((each if each > 0.0 else 0.0 * each for each in z), start=0.0)


#: Functions of an array that are a sum over its entries; slopes on the left and on the right of 0.
KINKS: dict[str, tuple[Program, float, float]] = {
    "maximum(0, z)": (lambda z: np.sum(np.maximum(0.0, z)), 0.0, 1.0),
    "maximum(z, 0)": (lambda z: np.sum(np.maximum(z, 0.0)), 0.0, 1.0),
    "minimum(z, 0)": (lambda z: np.sum(np.minimum(z, 0.0)), 1.0, 0.0),
    "fmax(z, 0.1 z)": (lambda z: np.sum(np.fmax(z, 0.1 * z)), 0.1, 1.0),
    "z * (z > 0)": (lambda z: np.sum(z * (z > 0.0)), 0.0, 1.0),
    "z * (z >= 0)": (lambda z: np.sum(z * (z >= 0.0)), 0.0, 1.0),
    "where(z > 0, z, 0)": (lambda z: np.sum(np.where(z > 0.0, z, 0.0)), 0.0, 1.0),
    "where(z < 0, 0.2 z, z)": (lambda z: np.sum(np.where(z < 0.0, 0.2 * z, z)), 0.2, 1.0),
    "z[z < 0] = 0": (lambda z: np.sum(masked(z)), 0.0, 1.0),
    "a branch": (by_branch, 0.0, 1.0),
    "abs(z)": (lambda z: np.sum(np.abs(z)), -1.0, 1.0),
    "fabs(z)": (lambda z: np.sum(np.fabs(z)), -1.0, 1.0),
    "max of ties": (lambda z: np.sum(np.max(np.stack([z, 0.3 * z]), axis=0)), 0.3, 1.0),
    "max of ties with a constant": (lambda z: np.sum(np.max(np.stack([np.zeros(z.shape), z]), axis=0)), 0.0, 1.0),
    "min of ties": (lambda z: np.sum(np.min(np.stack([z, 0.3 * z]), axis=0)), 1.0, 0.3),
    "clip(z, 0, 1)": (lambda z: np.sum(np.clip(z, 0.0, 1.0)), 0.0, 1.0),
    "clip(z, -1, 0)": (lambda z: np.sum(np.clip(z, -1.0, 0.0)), 1.0, 0.0),
}  # fmt: skip

#: Whose decisions are made by comparing, which has no mean.
COMPARING = ["z * (z > 0)", "z * (z >= 0)", "where(z > 0, z, 0)", "where(z < 0, 0.2 z, z)", "z[z < 0] = 0", "a branch"]


@pytest.mark.parametrize("name", KINKS)
def test_the_change_across_a_kink_is_piecewise_and_counted(name: str) -> None:
    program, left, right = KINKS[name]
    base = np.array([-0.5, -1e-3, 1e-3, 0.5, 0.0])
    steps = np.zeros((5, 9))
    for lane, (entry, step) in enumerate(
        [(0, 0.1), (1, 2e-3), (2, -2e-3), (3, -0.1), (4, 1e-3), (4, -1e-3), (1, 0.5e-3), (2, -0.5e-3), (4, 0.0)]
    ):
        steps[entry, lane] = step
    lanes = Lanes(9)
    found = propagate(program, perturbed(base, steps, lanes), lanes, fills=False)
    assert lanes.crossings.astype(bool).tolist() == [False, True, True, False, True, True, False, False, False]
    if name not in COMPARING:
        plain = np.where(base < 0.0, left, right) * base
        moved = base[:, np.newaxis] + steps
        expected = np.sum(np.where(moved < 0.0, left, right) * moved - plain[:, np.newaxis], axis=0)
        np.testing.assert_allclose(found.changes, expected, rtol=1e-14, atol=1e-18)


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize(("z", "step"), [(0.0, 1e-7), (0.0, -1e-7), (1e-9, -1e-7), (-1e-9, 1e-7), (0.3, 1e-7), (-0.3, 1e-7)])
def test_a_lane_that_decides_takes_the_side_that_it_is_on(name: str, z: float, step: float) -> None:
    program, left, right = KINKS[name]
    found = run(program, [z], [[step]], decide=True)
    moved = (z + step) * (left if z + step < 0.0 else right)
    assert found.base + found.changes[0] == pytest.approx(moved, rel=1e-14, abs=1e-22)
    if z == 0.0:
        assert found.base == 0.0
        assert found.changes[0] == pytest.approx(moved, rel=1e-15)


@pytest.mark.parametrize("name", KINKS)
def test_ties_give_the_slopes_of_both_sides(name: str) -> None:
    program, left, right = KINKS[name]
    slopes = {}
    for ties in ("first", "second", "mean"):
        lanes = Lanes(2, ties=ties)
        found = propagate(program, perturbed(np.zeros(1), np.array([[1e-7, -1e-7]]), lanes), lanes, fills=False)
        assert found.changes[0] == -found.changes[1]
        assert not lanes.crossings.any()
        slopes[ties] = found.changes[0] / 1e-7
    assert sorted([slopes["first"], slopes["second"]]) == pytest.approx(sorted([left, right]), abs=1e-14)
    if name not in COMPARING:
        assert slopes["mean"] == pytest.approx((left + right) / 2.0, abs=1e-14)


@pytest.mark.parametrize("ties", ["first", "second", "mean"])
@pytest.mark.parametrize("name", KINKS)
def test_ties_away_from_a_kink_change_nothing(name: str, ties: Ties) -> None:
    program, left, right = KINKS[name]
    found = run(program, [0.5, -0.5], [[1e-3, 0.0], [0.0, 1e-3]], ties=ties)
    np.testing.assert_allclose(found.changes, [right * 1e-3, left * 1e-3], rtol=1e-13)


@pytest.mark.parametrize("name", KINKS)
def test_kinks_of_single_entries_are_those_of_whole_arrays(name: str) -> None:
    program, _, _ = KINKS[name]
    rng = np.random.default_rng(7)
    weights, data = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    # One pre-activation lies at its kink exactly, another one next to it.
    weights[0] -= data[:, 0] * (weights[0] @ data[:, 0]) / (data[:, 0] @ data[:, 0])
    weights[1] -= data[:, 1] * (weights[1] @ data[:, 1] - 1e-9) / (data[:, 1] @ data[:, 1])
    entries, steps = np.repeat(np.arange(12), 2), np.tile([1e-7, -1e-7], 12)

    def cost(w: Any) -> Any:
        return program(np.ravel(w @ data)) if name == "a branch" else program(w @ data)

    for options in ({}, {"ties": "first"}, {"ties": "second"}, {"ties": "mean"}):
        single, whole = Lanes(24, **options), Lanes(24, **options)  # type: ignore[arg-type]
        dense = np.zeros((12, 24))
        dense[entries, np.arange(24)] = steps
        one = propagate(cost, perturbed_entry(weights, entries, steps, single), single, fills=False)
        other = propagate(cost, perturbed(weights, dense.reshape(3, 4, 24), whole), whole, fills=False)
        np.testing.assert_allclose(one.changes, other.changes, rtol=1e-12, atol=1e-20)
        assert single.crossings.tolist() == whole.crossings.tolist()
        if not options:
            assert (
                single.crossings.astype(bool).tolist() == [True] * 8 + [lane % 2 == 1 for lane in range(8)] + [False] * 8
                or (single.crossings[16:] == 0).all()
            )


@pytest.mark.parametrize(
    ("program", "counts"),
    [
        (lambda z: np.sum(z * (z == 1.0)), [1, 1, 0]),
        (lambda z: np.sum(z * (z != 0.5)), [0, 0, 0]),
        (lambda z: np.sum(z) * (2.0 if z[0] == z[0] else 1.0), [0, 0, 0]),
        (lambda z: np.sum(np.maximum(z, z)), [0, 0, 0]),
        (lambda z: np.sum(np.floor(z + 0.5) * z), [0, 0, 0]),
        (lambda z: np.sum(np.floor(z) * z), [0, 1, 0]),
        (lambda z: np.sum(z * int(z[0] + 0.5)), [0, 0, 0]),
        (lambda z: np.sum(z) * round(z[0] - 0.45), [0, 0, 0]),
        (lambda z: np.sum(z) * np.argmax(z), [0, 0, 0]),
        (lambda z: np.sum(z) * np.isfinite(z).all(), [0, 0, 0]),
    ],
)
def test_only_decisions_that_change_are_counted(program: Program, counts: list[int]) -> None:
    assert crossings(program, [1.0, 2.5], [[1e-3, -1e-3, 0.0], [0.0, 0.0, 0.0]]) == counts


# ---- rounding ------------------------------------------------------------------------------------------------------------


def two_layers(w1: Any, w2: Any, data: Any) -> Any:
    return np.mean(np.square(np.tanh(w2 @ np.tanh(w1 @ data)) - 0.5), dtype=data.dtype)


def backward(w1: Any, w2: Any, data: Any) -> Any:
    hidden = np.tanh(w1 @ data)
    out = np.tanh(w2 @ hidden)
    delta = 2.0 * (out - 0.5) / out.dtype.type(out.size) * (1.0 - out * out)
    return (w2.T @ delta * (1.0 - hidden * hidden)) @ data.T


def scatter(program: Program, values: Any, *, seeds: int = 8, step: float = 1e-6) -> Array:
    """Spread of quotients, over the jitter: array of shape (entries,)."""
    size = np.size(values)
    quotients = []
    for seed in range(seeds):
        lanes = Lanes(size, jitter=2.0**-40, seed=seed)
        argument = perturbed_entry(values, np.arange(size), np.full(size, step), lanes)
        quotients.append(propagate(program, argument, lanes, fills=False).changes / step)
    spread: Array = np.std(quotients, axis=0) / 2.0**-40
    return spread


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_jitter_scatters_as_rounding_does(scale: float) -> None:
    rng = np.random.default_rng(11)
    w1, w2, data = (rng.normal(size=size) * scale for size in ((5, 8), (3, 5), (8, 6)))
    spread = scatter(lambda w: two_layers(w, w2, data), w1) * np.finfo(np.float32).eps
    single = [array.astype(np.float32) for array in (w1, w2, data)]
    # Parameters that are numbers of both precisions, so that rounding on the way is all that differs.
    error = backward(*single).astype(np.float64) - backward(*(array.astype(np.float64) for array in single))
    ratio = float(np.linalg.norm(spread) / np.linalg.norm(error))
    assert 1.0 / 30.0 < ratio < 30.0


def test_jitter_knows_that_one_minus_a_square_has_no_digits_left() -> None:
    z = np.array([4.0, 8.0, 9.0, -8.5])
    spread = scatter(lambda x: np.sum(np.tanh(x)), z) * np.finfo(np.float32).eps
    t = np.tanh(z.astype(np.float32))
    error = np.abs((1.0 - t * t).astype(np.float64) - 1.0 / np.cosh(z) ** 2)
    assert (spread > error / 30.0).all()
    assert (spread < 30.0 * np.finfo(np.float32).eps).all()


@pytest.mark.parametrize("z", [40.0, -40.0, 12.0, -12.0])
def test_jitter_knows_that_a_saturated_sigmoid_has_no_digits_left(z: float) -> None:
    def sigmoid(x: Any) -> Any:
        return 1.0 / (1.0 + np.exp(-x))

    spread = scatter(lambda x: np.sum(sigmoid(x)), np.array([z]))[0] * np.finfo(np.float32).eps
    s = sigmoid(np.float32(z))
    exact = np.exp(-abs(z)) / (1.0 + np.exp(-abs(z))) ** 2
    error = abs(float(s * (np.float32(1.0) - s)) - exact)
    assert spread > error / 30.0
    assert spread < 30.0 * max(np.finfo(np.float32).eps * float(s), error)


def test_jitter_is_repeatable_and_absent_by_default() -> None:
    values, steps = np.array([0.3, 0.4]), np.array([[1e-3, 0.0], [0.0, 1e-3]])

    def program(x: Any) -> Any:
        return np.sum(np.tanh(x) ** 2)

    same = [run(program, values, steps, jitter=2.0**-40, seed=3).changes.tolist() for _ in range(2)]
    assert same[0] == same[1]
    assert run(program, values, steps, jitter=2.0**-40, seed=4).changes.tolist() != same[0]
    exact = run(program, values, steps).changes
    assert run(program, values, steps).changes.tolist() == exact.tolist()
    np.testing.assert_allclose(same[0], exact, rtol=1e-10)


# ---- slabs ---------------------------------------------------------------------------------------------------------------

_RNG = np.random.default_rng(12)
_FACTORS = {size: _RNG.normal(size=(size, size)) for size in range(1, 7)}

#: Operations on an array of two axes, each on one of two axes again.
OPERATIONS: dict[str, Program] = {
    "tanh": lambda x: np.tanh(x),
    "square": lambda x: x * x,
    "shifted": lambda x: 1.0 + x - 0.5 * x,
    "transposed": lambda x: x.T,
    "reshaped": lambda x: x.reshape(x.shape[1], x.shape[0]),
    "folded": lambda x: x.reshape(-1, 1) if x.size < 7 else x.reshape(1, -1)[:, :6],
    "reversed": lambda x: x[::-1],
    "cut": lambda x: x[:, : max(1, x.shape[1] - 1)],
    "row": lambda x: x[:1],
    "new axis": lambda x: x[:, None, :][..., 0, :],
    "from the left": lambda x: _FACTORS[x.shape[0]] @ x,
    "from the right": lambda x: x @ _FACTORS[x.shape[1]],
    "by the method": lambda x: _FACTORS[x.shape[0]].dot(x),
    "vector": lambda x: (x @ _FACTORS[x.shape[1]][0])[:, None] + x,
    "vector on the left": lambda x: _FACTORS[x.shape[0]][0] @ x * x,
    "stack of matrices": lambda x: (np.stack([_FACTORS[x.shape[0]], _FACTORS[x.shape[0]].T]) @ x)[1],
    "sum of columns": lambda x: x + np.sum(x, axis=0),
    "sum of rows": lambda x: x * np.sum(x, axis=1, keepdims=True),
    "mean": lambda x: x - np.mean(x),
    "softmax": lambda x: np.exp(x - 1.0) / np.sum(np.exp(x - 1.0), axis=1, keepdims=True),
    "where": lambda x: np.where(x > 0.05, x, 0.1 * x),
    "where plain": lambda x: np.where(np.arange(x.shape[1]) % 2 == 0, x, 0.0),
    "where broadcast": lambda x: np.where(np.ones((x.shape[0], 1)) > 0.0, x, x[:1]),
    "plain column": lambda x: x * np.arange(1.0, x.shape[0] + 1.0)[:, None],
    "plain row": lambda x: np.arange(1.0, x.shape[1] + 1.0) / (x * x + 1.0),
    "outer": lambda x: np.multiply.outer(x[0], x[:, 0]),
    "swapped": lambda x: np.swapaxes(x[None], 1, 2)[0],
    "maximum": lambda x: np.maximum(x, 0.02),
    "absolute": lambda x: np.abs(x),
    "concatenated": lambda x: np.concatenate([x, x[:1]])[: x.shape[0]],
    "squeezed": lambda x: np.squeeze(x[..., None], -1),
    "selected": lambda x: x[[0, -1]],
    "with itself": lambda x: x @ x.T,
    "written to": lambda x: _written(x),
}  # fmt: skip


def _written(x: Any) -> Any:
    x = x * 1.0
    x[0] *= 2.0
    x[:, -1] = x[:, 0] + 1.0
    return x


@thorough
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    names=st.lists(st.sampled_from(sorted(OPERATIONS)), max_size=6),
    seed=st.integers(0, 2**31),
)
@example(shape=(3, 4), names=["from the right", "tanh", "sum of rows"], seed=0)
@example(shape=(3, 4), names=["from the left", "tanh", "where", "vector"], seed=0)
@example(shape=(1, 1), names=["transposed", "outer", "mean"], seed=0)
def test_slabs_give_what_dense_changes_give(shape: tuple[int, int], names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, size = rng.normal(size=shape), shape[0] * shape[1]
    entries, steps = rng.integers(0, size, size=2 * size), rng.uniform(-1e-5, 1e-5, size=2 * size)
    dense = np.zeros((size, 2 * size))
    dense[entries, np.arange(2 * size)] = steps

    def program(x: Any) -> Any:
        for name in names:
            x = OPERATIONS[name](x)
            if max(x.shape) > 6:
                x = x[:6, :6]
        return np.sum(np.cos(np.arange(float(x.size))).reshape(x.shape) * x)

    single, whole = Lanes(2 * size), Lanes(2 * size)
    one = propagate(program, perturbed_entry(values, entries, steps, single), single, fills=False)
    other = propagate(program, perturbed(values, dense.reshape(*shape, -1), whole), whole, fills=False)
    assert one.base == other.base
    np.testing.assert_allclose(one.changes, other.changes, rtol=1e-9, atol=1e-13 * np.abs(other.changes).max(initial=1e-300))
    assert single.crossings.tolist() == whole.crossings.tolist()


def test_a_perturbed_weight_stays_a_slab_until_the_second_product() -> None:
    rng = np.random.default_rng(13)
    w, data = rng.normal(size=(6, 5)), rng.normal(size=(5, 7))
    lanes = Lanes(30)
    argument = perturbed_entry(w, np.arange(30), np.full(30, 1e-7), lanes)

    def kind(x: Any) -> Any:
        return type(x.operand.change)

    z = argument @ data
    bias = rng.normal(size=(6, 1))
    for each in (
        z, z + bias, np.tanh(z + bias), np.maximum(z, 0.0), z * (z > 0.0), np.where(z > 0.0, z, 0.01 * z),
        1.0 / (1.0 + np.exp(-z)),
        np.dot(argument, data), argument.dot(data), z[:, :3], z.T, z[None], z / np.float64(3.0), np.sum(z, axis=1),
        z - np.mean(z, axis=1, keepdims=True), data.T @ argument.T, data.T.dot(argument.T), np.clip(z, -1.0, 1.0), abs(z),
        np.sqrt(z * z + 1.0),
    ):  # fmt: skip
        assert kind(each) is Slab
    assert kind(rng.normal(size=(2, 6)) @ np.tanh(z)) is not Slab


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("axes", [axes for count in range(4) for axes in itertools.combinations(range(3), count)])
@pytest.mark.parametrize("stack", [(), (3,), (2, 3), (0, 2)])
def test_products_of_stacks_with_slabs(stack: tuple[int, ...], axes: tuple[int, ...], side: str) -> None:
    """Whatever axes of it are fixed, and of whichever of the two: what NumPy gives of the whole change, lane by lane."""
    rng, lanes = np.random.default_rng(len(axes)), 5
    first, second = rng.normal(size=(*stack, 4, 6)), rng.normal(size=(6, 5))
    varies = first if side == "left" else second
    fixed = tuple(axis for axis in axes if axis < varies.ndim and varies.shape[axis])
    pattern = Pattern(fixed, tuple(rng.integers(0, varies.shape[axis], lanes) for axis in fixed))
    slab = Slab(varies.shape, pattern, rng.normal(size=(*(varies.shape[axis] for axis in pattern.free(varies.ndim)), lanes)))
    given = Varying(varies, slab, Lanes(lanes))
    change = matmul_change(given, second) if side == "left" else matmul_change(first, given)
    dense = change.dense if isinstance(change, Slab) else change
    each = [slab.dense[..., lane] @ second if side == "left" else first @ slab.dense[..., lane] for lane in range(lanes)]
    assert dense.shape == (*stack, 4, 5, lanes)
    np.testing.assert_allclose(dense, np.stack(each, axis=-1), rtol=1e-12, atol=1e-14)


def test_a_single_weight_of_all_matrices_of_a_stack_stays_a_slab() -> None:
    """As in attention, or behind it: a slope of one column is not that of all."""
    rng, lanes = np.random.default_rng(0), Lanes(8)
    w, data = rng.normal(size=(6, 5)), rng.normal(size=(3, 4, 6))
    argument = perturbed_entry(w, np.arange(8), np.full(8, 1e-7), lanes)
    z: Any = data @ argument
    for each in (z, np.tanh(z + rng.normal(size=5)), z[:, 1:], np.sum(z, axis=1), np.swapaxes(z, 0, 1)):
        assert type(each.operand.change) is Slab
    assert type((np.tanh(z) @ rng.normal(size=(5, 2))).operand.change) is not Slab


# ---- arrays that are made on the way -------------------------------------------------------------------------------------

STOOD_IN_FOR = ("zeros", "ones", "empty", "full", "array", "asarray", "copy", "sum", "stack", "eye")


def test_the_names_of_numpy_are_restored() -> None:
    before = {name: getattr(np, name) for name in dir(np)}

    def check() -> None:
        assert all(getattr(np, name) is value for name, value in before.items())

    def fail(x: Any) -> Any:
        assert np.zeros is not before["zeros"]
        raise ZeroDivisionError

    def interrupt(x: Any) -> Any:
        raise KeyboardInterrupt

    def nested(x: Any) -> Any:
        assert run(lambda y: np.sum(y), [1.0], [[0.5]], fills=True).changes[0] == 0.5
        assert np.zeros is not before["zeros"]
        buffer = np.zeros(2)
        buffer[0] = x[0]
        return np.sum(buffer)

    run(lambda x: np.sum(x), [1.0], [[0.5]], fills=True)
    check()
    with pytest.raises(Departure):
        run(fail, [1.0], [[0.5]], fills=True)
    check()
    with pytest.raises(KeyboardInterrupt):
        run(interrupt, [1.0], [[0.5]], fills=True)
    check()
    assert run(nested, [1.0], [[0.5]], fills=True).changes[0] == 0.5
    check()


def test_runs_of_several_threads_do_not_meet() -> None:
    before = np.zeros
    barrier = threading.Barrier(4)
    found: dict[float, Any] = {}

    def program(x: Any) -> Any:
        total = 0.0
        for _ in range(20):
            buffer = np.zeros(3)
            buffer[1] = x[0]
            time.sleep(0.001)
            total = total + np.sum(buffer * buffer)
        return total

    def work(step: float) -> None:
        barrier.wait()
        found[step] = run(program, [1.0], [[step]], fills=True).changes[0]

    threads = [threading.Thread(target=work, args=(step,)) for step in (0.5, 1.0, 2.0)]
    for thread in threads:
        thread.start()
    barrier.wait()
    time.sleep(0.005)
    # This thread makes what it always makes.
    made = np.zeros(3), np.array([1.0]), np.sum([1.0, 2.0])
    for thread in threads:
        thread.join()
    assert [type(each) for each in made] == [np.ndarray, np.ndarray, np.float64]
    assert found == {step: pytest.approx(20.0 * (2.0 * step + step**2)) for step in (0.5, 1.0, 2.0)}
    assert np.zeros is before


def test_stand_ins_look_and_act_as_what_they_stand_for() -> None:
    with intercepted(Lanes(1)):
        assert getattr(np.zeros, "__name__", "") == "zeros"
        assert np.zeros.__doc__
        assert type(np.zeros(3, dtype=int)) is np.ndarray
        assert type(np.array([1, 2])) is np.ndarray
        assert type(np.array(["a"])) is np.ndarray
        with pytest.raises(TypeError):
            np.zeros()  # type: ignore[call-overload]
        made: Any = np.zeros((2, 3), order="F")
        assert isinstance(made, np.ndarray)
        assert made.flags.f_contiguous
        made[0] = 2.0
        assert np.linalg.norm(made) == pytest.approx(12.0**0.5)


def test_a_function_imported_by_name_departs_with_advice() -> None:
    from numpy import zeros

    def program(x: Any) -> Any:
        buffer = zeros(2)
        buffer[0] = x[0]
        return buffer.sum()

    with pytest.raises(Departure, match="under these names") as caught:
        run(program, [1.0], [[0.5]], fills=True)
    assert "in test_a_function_imported_by_name_departs_with_advice" not in str(caught.value)
    assert "in program: buffer[0] = x[0]" in str(caught.value)


def test_a_large_array_that_is_never_assigned_costs_no_memory() -> None:
    def program(x: Any) -> Any:
        reserve = np.zeros((1000, 20_000))
        assert reserve.nbytes == 160_000_000
        part = reserve[5]
        part[3] = 2.0
        return np.sum(x) * part[3]

    tracemalloc.start()
    try:
        assert run(program, [1.0], np.full((1, 512), 0.5), fills=True).changes[7] == 1.0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The array itself is reserved, and no change of it.
    assert peak < 170_000_000


# ---- departures ----------------------------------------------------------------------------------------------------------


class Model:
    def forward(self, x: Any) -> Any:
        return x.tobytes()


def outer(x: Any) -> Any:
    def inner(y: Any) -> Any:
        return y.tobytes()

    return inner(x)


def where(program: Program) -> str:
    with pytest.raises(Departure) as caught:
        run(program, [1.0, 2.0], np.ones((2, 3)))
    assert str(caught.value).startswith(f"{caught.value.what} ({caught.value.where})")
    return caught.value.where


def test_a_departure_says_where_it_was() -> None:
    line = Model.forward.__code__.co_firstlineno + 1
    assert where(Model().forward) == f"test_difference_lanes.py, line {line}, in Model.forward: return x.tobytes()"
    assert "in inner: return y.tobytes()" in where(outer)
    assert "in <lambda>: assert" in where(lambda x: x.tobytes()) or "in <lambda>" in where(lambda x: x.tobytes())
    assert "in Model.forward" in where(functools.partial(Model.forward, Model()))
    names: dict[str, Any] = {}
    exec("def written(x):\n    y = x + 1.0\n    return y.tobytes()\n", names)
    assert where(names["written"]) == "<string>, line 3, in written"
    # NumPy's own code is not where the user was.
    assert "in program: return np.vectorize(abs)(x)" in where(_vectorized())
    assert "in fails: raise ValueError" in where(_failing())


def _vectorized() -> Program:
    def program(x: Any) -> Any:
        return np.vectorize(abs)(x)

    return program


def _failing() -> Program:
    def fails(x: Any) -> Any:
        raise ValueError("bad luck")

    return lambda x: fails(x)


def test_an_error_of_the_user_is_named() -> None:
    with pytest.raises(Departure, match="raises ValueError on difference arrays: bad luck") as caught:
        run(_failing(), [1.0], [[0.5]])
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_first_departure_is_the_one_that_is_raised() -> None:
    def program(x: Any) -> Any:
        with contextlib.suppress(Exception):
            x.tobytes()
        return x.tofile("nowhere")

    with pytest.raises(Departure, match="tobytes"):
        run(program, [1.0], [[0.5]])


def test_departures_of_an_earlier_run_are_forgotten() -> None:
    with pytest.raises(Departure):
        run(lambda x: x.tobytes(), [1.0], [[0.5]])
    with contextlib.suppress(Departure):
        raise Departure("outside of any run")
    assert run(lambda x: np.sum(x), [1.0], [[0.5]]).changes[0] == 0.5


# ---- what stays after a run ----------------------------------------------------------------------------------------------


class Layer:
    """Keeps what it computed, and a running mean that nobody reads."""

    def __init__(self) -> None:
        self.mean = np.zeros(2)
        self.total: Any = 0.0
        self.last: Any = None

    def __call__(self, x: Any) -> Any:
        self.mean *= 0.9
        self.mean = self.mean + 0.1 * np.mean(x)
        self.mean += 0.0 * x[0]
        self.total += np.sum(x)
        previous, self.last = self.last, x * 2.0
        constant = 0.0 if previous is None else np.sum(previous) + np.sum(self.mean) + self.total
        return np.sum(self.last**2) + 0.0 * constant + (0.0 if previous is None else np.sum(previous * self.last))


def test_arrays_that_are_kept_are_plain_in_the_next_run() -> None:
    layer, plain = Layer(), Layer()
    values = np.array([1.0, 2.0])
    for fills, count in ((False, 1), (False, 1), (True, 3), (False, 2)):
        steps = np.full((2, count), 0.5)
        found = run(layer, values, steps, fills=fills)
        base = plain(values)
        assert found.base == pytest.approx(base)
        # Of the value that was kept, 2·x, nothing changes: (2(x + d))² − (2x)² + 2x·2d.
        kept = 0.0 if count == 1 and not fills and found.base == 20.0 else np.sum(2.0 * values * 1.0)
        assert found.changes == pytest.approx(np.full(count, np.sum(4.0 * 0.5 * (2.0 * values + 0.5)) + kept))
    assert float(layer(values)) == pytest.approx(plain(values))
    assert type(np.tanh(layer.last)) is np.ndarray
    assert np.array_equal(np.asarray(layer.mean), plain.mean)


def test_nothing_that_was_given_is_written_to() -> None:
    values, steps = np.array([[1.0, 2.0], [3.0, 4.0]]), np.full((2, 2, 3), 0.5)
    before = values.copy(), steps.copy()

    def program(x: Any) -> Any:
        x *= 2.0
        x[0] = 7.0
        y = x[1] if isinstance(x, np.ndarray) else x
        y += x[0]
        return np.sum(x)

    run(program, values, steps)
    run(program, values, steps, fills=True)
    entries = np.arange(4)
    lanes = Lanes(4)
    propagate(program, perturbed_entry(values, entries, np.full(4, 0.5), lanes), lanes, fills=False)
    assert np.array_equal(values, before[0])
    assert np.array_equal(steps, before[1])
    assert np.array_equal(entries, np.arange(4))


def test_a_base_value_is_never_changed_by_what_is_computed_with_it() -> None:
    lanes = Lanes(3)
    x = perturbed(np.array([0.5, 1.5, 2.5]), np.full((3, 3), 0.1), lanes)
    base, change = x.plain.copy(), x.change.copy()
    with np.errstate(all="ignore"):
        for ufunc in (np.exp, np.tanh, np.log, np.sqrt, np.sin, np.square, np.abs, np.negative, np.reciprocal, np.floor):
            ufunc(x)
        for pair in (np.add, np.multiply, np.divide, np.power, np.maximum, np.hypot, np.logaddexp, np.arctan2):
            pair(x, x), pair(x, 2.0), pair(2.0, x)
    for function in (np.sum, np.max, np.mean, np.var, np.cumsum, np.prod, np.sort, np.diff):
        with contextlib.suppress(Departure):
            function(x)
    assert np.array_equal(x.plain, base)
    assert np.array_equal(x.change, change)
    assert isinstance(x, DifferenceArray)
    assert not _creation._standing.runs
