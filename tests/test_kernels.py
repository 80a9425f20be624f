"""The kernels' values and difference forms against exact numbers, sign by sign, and at the ends of the number range."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]
import naive
import numpy as np
import pytest
from numpy.typing import NDArray

from gradsweep._schemes import CENTRAL, FORWARD
from gradsweep.kernels import activations, forms, losses, products

Array = NDArray[np.float64]

NAMES = ["identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus"]

#: What is promised wherever the exact result is a normal number; below, it is one smallest normal number.
RELATIVE = 1e-15
LEAST_NORMAL = 2.2250738585072014e-308

SMALL = activations.SMALL
SIGNS = list(itertools.product([1.0, -1.0], repeat=2))
HARD_LABELS = [0.0, 1.0]
SOFT_LABELS = [0.3, 0.5, 0.9, 1e-300, 2.0**-60, 1.0 - 2.0**-53]

Rows = list[tuple[float, list[float]]]


# ---- what the kernels say ------------------------------------------------------------------------------------------------


def value_of(name: str, z: Sequence[float]) -> Array:
    """Activation of some numbers, by the kernel."""
    activation, base = np.empty((1, len(z))), np.empty((1, len(z), activations.BASE))
    activations.evaluate(activations.CODES[name], np.array([z]), activation, base)
    return activation.reshape(-1)


def changes_of(name: str, z: float, deltas: Sequence[float]) -> tuple[Array, Array]:
    """Changes of an activation in one row of lanes, and crossings of each lane."""
    activation, base = np.empty((1, 1)), np.empty((1, 1, activations.BASE))
    code = activations.CODES[name]
    activations.evaluate(code, np.array([[z]]), activation, base)
    lanes = np.array(deltas, dtype=np.float64).reshape(1, 1, -1)
    crossings = np.zeros((1, lanes.shape[2]))
    forms.change_all(code, base, lanes, crossings)
    return lanes[0, 0], crossings[0]


def loss_of(z: float, label: float) -> float:
    """Loss of one logit, by the kernel."""
    total, base = np.empty(1), np.empty((1, 1, activations.BASE))
    losses.evaluate(0, np.array([[z]]), np.array([[label]]), total, base)
    return float(total[0])


def loss_changes_of(label: float, z: float, deltas: Sequence[float]) -> Array:
    """Changes of the loss of one logit in one row of lanes."""
    labels, total, base = np.array([[label]]), np.empty(1), np.empty((1, 1, activations.BASE))
    losses.evaluate(0, np.array([[z]]), labels, total, base)
    lanes = np.array(deltas, dtype=np.float64).reshape(1, 1, -1)
    quotient = np.zeros(lanes.shape[2])
    forms.add_change(0, base, labels, lanes, np.ones(1), np.empty(products.STRETCH), quotient)
    return quotient


# ---- where they are asked ------------------------------------------------------------------------------------------------


def sizes_of_z() -> list[float]:
    """|z| up to 350: the kink, its neighbourhood, the bend, saturation."""
    generator = np.random.default_rng(2)
    return [
        0.0,
        5e-324,
        *10.0 ** np.arange(-300.0, -20.0, 70.0),
        *np.logspace(-18, -3, 9),
        *np.logspace(-2, np.log10(40.0), 18),
        *generator.uniform(0.1, 5.0, 8),
        *generator.uniform(5.0, 350.0, 10),
        18.7,  # tanh rounds to 1 from about here on
        36.8,  # and σ from here
        349.9,
        350.0,
    ]


def sizes_of_delta(z: float, seed: int) -> list[float]:
    """|δ| from 1e-300 to 10, dense about the boundary of the small forms; steps just to the kink and to the mirror image."""
    generator = np.random.default_rng(seed)
    sizes = [
        *10.0 ** np.linspace(-300.0, -20.0, 6),
        *np.logspace(-17, 1, 14),
        *10.0 ** generator.uniform(-300.0, -12.0, 2),
        *10.0 ** generator.uniform(-12.0, np.log10(SMALL), 6),
        *generator.uniform(SMALL / 4, SMALL, 2),
        *generator.uniform(SMALL, 1.0, 4),
        *generator.uniform(1.0, 10.0, 4),
        *(np.nextafter(SMALL, side) for side in (0.0, 1.0)),
        SMALL,
        abs(z),
        2.0 * abs(z),
        *(np.nextafter(abs(z), side) for side in (0.0, np.inf)),
    ]
    return sorted({float(size) for size in sizes if 1e-300 <= size <= 10.0})


@functools.cache
def grid(sign_z: float, sign_delta: float) -> Rows:
    """Points z, each with a row of δ."""
    rows: Rows = []
    for seed, size in enumerate(sizes_of_z()):
        z = sign_z * float(size)
        rows.append((z, [sign_delta * delta for delta in sizes_of_delta(z, seed)]))
    return rows


def small_rows(rows: Rows) -> Rows:
    """Rows without a large |δ|: the short polynomials."""
    return [(z, [delta for delta in deltas if abs(delta) <= SMALL]) for z, deltas in rows]


def mixed_rows(rows: Rows) -> Rows:
    """Rows with small and large |δ|: all of them through the full form."""
    assert all(max(map(abs, deltas)) > SMALL > min(map(abs, deltas)) for _, deltas in rows)
    return rows


def single_lanes(rows: Rows) -> Rows:
    """Each δ on its own, so that each goes through the form that is meant for it, as the rest of a packed loop."""
    return [(z, [delta]) for z, deltas in rows for delta in deltas]


FORMS: dict[str, Callable[[Rows], Rows]] = {"small": small_rows, "mixed": mixed_rows, "single": single_lanes}


def test_there_are_thousands_of_points() -> None:
    counts = {form: sum(len(deltas) for signs in SIGNS for _, deltas in make(grid(*signs))) for form, make in FORMS.items()}
    assert min(counts.values()) > 4_000
    for _, deltas in mixed_rows(grid(1.0, 1.0)):
        # On either side of the boundary, as near as can be.
        assert {SMALL, float(np.nextafter(SMALL, 0.0)), float(np.nextafter(SMALL, 1.0))} <= set(deltas)


def require_close(got: float, exact: Any, where: str, scale: Any = None) -> None:
    """Fail unless a result is right to `RELATIVE` (of `scale`, if given), or to `LEAST_NORMAL` below the normal numbers."""
    with mpmath.workdps(naive.DIGITS):
        error = abs(mpmath.mpf(got) - exact)
        scale = abs(exact if scale is None else scale)
        if scale >= LEAST_NORMAL:
            assert error <= RELATIVE * scale, f"{where}: {got!r}, but {float(exact)!r} is right: {float(error / scale)} off"
        else:
            assert error <= LEAST_NORMAL, f"{where}: {got!r}, but {float(exact)!r} is right"


# ---- activations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_values(name: str) -> None:
    sizes = [*sizes_of_z(), *np.random.default_rng(3).uniform(0.0, 350.0, 500), 400.0, 700.0, 740.0]
    points = [sign * float(size) for size in sizes for sign in (1.0, -1.0)]
    for z, got in zip(points, value_of(name, points), strict=True):
        with mpmath.workdps(400):  # tanh 1e-300 as a quotient of sums
            require_close(got, naive.exact_value(name, z), f"{name}({z!r})")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("signs", SIGNS, ids=["z+δ+", "z+δ-", "z-δ+", "z-δ-"])
@pytest.mark.parametrize("name", NAMES)
def test_difference_forms(name: str, signs: tuple[float, float], form: str) -> None:
    for z, deltas in FORMS[form](grid(*signs)):
        for delta, got in zip(deltas, changes_of(name, z, deltas)[0], strict=True):
            require_close(got, naive.exact_change(name, z, delta), f"{name}({z!r} + {delta!r}) − {name}({z!r})")


@pytest.mark.parametrize("name", NAMES)
def test_no_change_is_exactly_none(name: str) -> None:
    for z in (-350.0, -1.0, -1e-300, 0.0, 1e-300, 1.0, 350.0):
        for deltas in ([0.0] * 5, [0.0, 1.0, -0.0]):  # both forms
            changes, crossings = changes_of(name, z, deltas)
            for delta, change, crossing in zip(deltas, changes, crossings, strict=True):
                assert delta != 0.0 or (change == 0.0 and crossing == 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_beyond_reason(name: str) -> None:
    """Far out e^z has fewer digits, since z + δ has fewer behind the point; the result stays a sane number."""
    sizes = [0.0, 1e-300, 1.0, 40.0, 351.0, 500.0, 599.9, 600.1, 700.0, 706.0, 709.9, 720.0, 745.0, 750.0, 1e4, 1e300]
    steps = [1e-300, 1e-9, SMALL, 0.1, 9.0, 20.0, 31.0, 299.0, 301.0, 599.0, 601.0, 720.0, 1e3, 1e4, 1e300]
    for sign_z, sign_delta in SIGNS:
        for z in [sign_z * size for size in sizes]:
            deltas = [sign_delta * step for step in steps]
            rows = [[delta] for delta in deltas] + [deltas]
            for row in rows:
                for delta, got in zip(row, changes_of(name, z, row)[0], strict=True):
                    exact = float(naive.exact_change(name, z, delta))
                    assert math.isclose(got, exact, rel_tol=1e-12, abs_tol=LEAST_NORMAL), (z, delta, got, exact)


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_nan_and_stays_where_it_is(name: str) -> None:
    assert np.isnan(value_of(name, [math.nan])).all()
    if name != "identity":  # its change is δ wherever it stands; the NaN is still in the value
        for deltas in ([1e-9] * 7, [1.0] * 7):
            assert np.isnan(changes_of(name, math.nan, deltas)[0]).all()
    for z in (-3.0, 0.0, 3.0):
        for step in (1e-7, 4.0):
            for place in range(9):
                deltas = [step] * 9
                clean = changes_of(name, z, deltas)[0]
                deltas[place] = math.nan
                dirty = changes_of(name, z, deltas)[0]
                assert np.isnan(dirty[place])
                others = np.arange(9) != place
                np.testing.assert_array_equal(dirty[others], clean[others])


@pytest.mark.parametrize("name", NAMES)
def test_each_row_is_its_own(name: str) -> None:
    """Several units and examples at once give the very bits of one row at a time, at any number of lanes."""
    generator = np.random.default_rng(4)
    code = activations.CODES[name]
    for lanes in (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 130):
        z = generator.uniform(-3.0, 3.0, (3, 2))
        deltas = generator.uniform(-1.0, 1.0, (2, 3, lanes)) * 1e-4
        deltas[1, 2] *= 1e4  # one row through the full form
        activation, base = np.full((3, 4), 8.0), np.empty((3, 2, activations.BASE))
        activations.evaluate(code, z, activation, base)
        assert (activation[:, 2:] == 8.0).all()  # further columns are left alone
        changes, crossings = deltas.copy(), np.full((3, lanes), 5.0)
        forms.change_all(code, base, changes, crossings)
        expected = np.full((3, lanes), 5.0)
        for unit, example in np.ndindex(2, 3):
            row, crossed = changes_of(name, float(z[example, unit]), deltas[unit, example].tolist())
            np.testing.assert_array_equal(changes[unit, example], row)
            expected[example] += crossed
        np.testing.assert_array_equal(crossings, expected)


def test_the_full_form_is_used_for_a_row_with_one_large_step() -> None:
    """What the rows above rest on: a large δ as the last of many is noticed, too."""
    for lanes in (1, 4, 8, 9, 33):
        for place in range(lanes):
            deltas = np.full(lanes, 1e-5)
            deltas[place] = 5.0
            changes = changes_of("tanh", 0.0, deltas.tolist())[0]
            assert changes[place] == pytest.approx(math.tanh(5.0), rel=1e-15)


# ---- activations with a gate ---------------------------------------------------------------------------------------------


def steepness(name: str, z: float) -> float:
    """By what the rounding of z is magnified in the tail of a gate."""
    return {"silu": 1.0, "gelu": 1.0 + abs(z), "gelu_tanh": 1.0 + 1.6 * (abs(z) + 0.045 * abs(z) ** 3)}[name]


@pytest.mark.parametrize("signs", SIGNS, ids=["z+δ+", "z+δ-", "z-δ+", "z-δ-"])
@pytest.mark.parametrize("name", naive.GATES)
def test_gates(name: str, signs: tuple[float, float]) -> None:
    """Small, full and mixed rows; right to rounding of the larger term, which is all but near the minimum the result."""
    largest = 350.0 if name == "silu" else 12.0
    for z in [signs[0] * size for size in (0.0, 1e-300, 1e-9, 0.3, 0.7517, 1.0, 1.2784645, 2.5, 6.0, 9.5, largest)]:
        limit = SMALL / max(1.0, abs(z), steepness(name, z))
        steps = [1e-300, 1e-30, 1e-9, 1e-7, 1e-5, 0.3 * limit, 0.999 * limit, 1.001 * limit, 0.01, 0.3, 1.0, 2.0, 7.0, 10.0]
        deltas = [signs[1] * step for step in steps]
        for row in [*([delta] for delta in deltas), deltas]:
            for delta, got in zip(row, changes_of(name, z, row)[0], strict=True):
                first, second = naive.exact_gate_change(name, z, delta)
                scale = 2.0 * max(abs(first), abs(second)) * steepness(name, abs(z) + abs(delta))
                require_close(got, first + second, f"{name}({z!r} + {delta!r}) − {name}({z!r})", scale)


@pytest.mark.parametrize("name", naive.GATES)
def test_values_with_gates(name: str) -> None:
    points = [sign * size for size in (0.0, 1e-300, 0.1, 1.0, 3.0, 6.0, 30.0) for sign in (1.0, -1.0)]
    for z, got in zip(points, value_of(name, points), strict=True):
        with mpmath.workdps(100):
            exact = naive.exact_value(name, z)
            require_close(got, exact, f"{name}({z!r})", 4.0 * abs(exact) * (1.0 + z * z) * steepness(name, z))


@pytest.mark.parametrize("name", naive.GATES)
def test_gates_far_out_and_not_a_number(name: str) -> None:
    for z, delta in itertools.product(
        [-1e300, -1e4, -60.0, 0.0, 60.0, 1e4, 1e100], [-1e300, -1e4, -40.0, 1e-9, 40.0, 1e4, 1e300]
    ):
        moved = z + delta
        expected = delta if z > 0.0 and moved > 0.0 else max(moved, 0.0) - max(z, 0.0)
        got = float(changes_of(name, z, [delta])[0][0])
        assert math.isclose(got, expected, rel_tol=1e-9, abs_tol=max(1e-9 * abs(delta), 0.2)), (z, delta, got)
    for z, delta in ((math.nan, 1.0), (math.nan, 1e-9), (1.0, math.nan)):
        assert math.isnan(changes_of(name, z, [delta])[0][0])


# ---- kinks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signs", SIGNS, ids=["z+δ+", "z+δ-", "z-δ+", "z-δ-"])
def test_crossings_of_relu_are_counted_exactly(signs: tuple[float, float]) -> None:
    counted = 0
    for z, deltas in grid(*signs):
        for delta, crossed in zip(deltas, changes_of("relu", z, deltas)[1], strict=True):
            after = Fraction(z) + Fraction(delta)
            if after == 0 and z != 0.0:
                continue  # landing on the kink: the function was straight on the way, and either answer is right
            expected = z == 0.0 or (z > 0.0) != (after > 0)
            assert crossed == expected, (z, delta)
            counted += int(crossed)
    same_sign = signs[0] == signs[1]
    # Both steps away from 0 cross nothing but the kink at 0 itself.
    assert counted == len(grid(*signs)[0][1]) if same_sign else counted > 200


@pytest.mark.parametrize("z", [0.0, -0.0])
def test_at_the_kink_a_step_to_either_side_counts(z: float) -> None:
    deltas = [1.0, -1.0, 1e-300, -1e-300, 5e-324, -5e-324, 0.0, -0.0]
    changes, crossings = changes_of("relu", z, deltas)
    assert crossings.tolist() == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert changes.tolist() == [1.0, 0.0, 1e-300, 0.0, 5e-324, 0.0, 0.0, 0.0]


def test_a_step_across_the_kink_is_the_piecewise_change() -> None:
    assert changes_of("relu", 1.0, [-0.5, -1.5, -3.0])[0].tolist() == [-0.5, -1.0, -1.0]
    assert changes_of("relu", -1.0, [0.5, 1.5, 3.0, -1.0])[0].tolist() == [0.0, 0.5, 2.0, 0.0]
    # As near as can be: the last digit decides.
    above, below = math.nextafter(1.0, 2.0), math.nextafter(1.0, 0.0)
    changes, crossings = changes_of("relu", 1.0, [-above, -below])
    assert changes.tolist() == [-1.0, -below]
    assert crossings.tolist() == [1.0, 0.0]
    changes, crossings = changes_of("relu", -1.0, [above, below])
    assert changes.tolist() == [above - 1.0, 0.0]
    assert crossings.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["identity", "tanh", "sigmoid"])
def test_smooth_activations_have_no_crossings(name: str) -> None:
    for z in (-1.0, 0.0, 1e-9):
        for deltas in ([-1e-3, 0.0, 1e-3], [-5.0, 1e-9, 5.0]):
            assert changes_of(name, z, deltas)[1].tolist() == [0.0, 0.0, 0.0]


# ---- losses --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [*HARD_LABELS, *SOFT_LABELS])
def test_values_of_the_loss(label: float) -> None:
    for size in [*sizes_of_z(), *np.random.default_rng(5).uniform(0.0, 350.0, 300), 700.0, 1e4, 1e300]:
        for z in (float(size), -float(size)):
            with mpmath.workdps(350):
                y = mpmath.mpf(label)
                exact = (1 - y) * naive.exact_value("softplus", z) + y * naive.exact_value("softplus", -z)
            require_close(loss_of(z, label), exact, f"loss({z!r}, {label})")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("signs", SIGNS, ids=["z+δ+", "z+δ-", "z-δ+", "z-δ-"])
@pytest.mark.parametrize("label", HARD_LABELS)
def test_difference_form_of_the_loss(label: float, signs: tuple[float, float], form: str) -> None:
    side = -1.0 if label else 1.0
    for z, deltas in FORMS[form](grid(*signs)):
        for delta, got in zip(deltas, loss_changes_of(label, z, deltas), strict=True):
            exact = naive.exact_change("softplus", side * z, side * delta)
            require_close(got, exact, f"loss({z!r} + {delta!r}, {label}) − loss({z!r}, {label})")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("signs", SIGNS, ids=["z+δ+", "z+δ-", "z-δ+", "z-δ-"])
@pytest.mark.parametrize("label", SOFT_LABELS)
def test_difference_form_of_the_loss_between_labels(label: float, signs: tuple[float, float], form: str) -> None:
    """The two terms oppose each other, so the result is as exact as the larger of them."""
    for z, deltas in FORMS[form](grid(*signs)):
        for delta, got in zip(deltas, loss_changes_of(label, z, deltas), strict=True):
            with mpmath.workdps(700):
                y = mpmath.mpf(label)
                rising = (1 - y) * naive.exact_change("softplus", z, delta)
                falling = y * naive.exact_change("softplus", -z, -delta)
                exact, scale = rising + falling, max(abs(rising), abs(falling))
            require_close(got, exact, f"loss({z!r} + {delta!r}, {label}) − loss({z!r}, {label})", scale)


@pytest.mark.parametrize("size", [0.0, 1.0, 40.0, 351.0, 700.0, 709.9, 745.0, 750.0, 1e4, 1e6, 1e12, 1e300])
@pytest.mark.parametrize("label", [0.0, 1.0, 0.25])
def test_numbers_beyond_reason_in_the_loss(label: float, size: float) -> None:
    """Where the loss is a straight line, a step of any length changes it by that length, however far out."""
    steps = [1e-300, 1e-9, SMALL, 0.1, 9.1, 29.3, 31.1, 301.7, 709.3, 720.9, 1000.1, 1e4, 1e300]
    for sign_z, sign_delta in SIGNS:
        z, deltas = sign_z * size, [sign_delta * step for step in steps]
        for row in [*([delta] for delta in deltas), deltas]:
            for delta, got in zip(row, loss_changes_of(label, z, row), strict=True):
                with mpmath.workdps(700):
                    rising = (1 - mpmath.mpf(label)) * naive.exact_change("softplus", z, delta)
                    falling = label * naive.exact_change("softplus", -z, -delta)
                    exact, scale = float(rising + falling), float(max(abs(rising), abs(falling)))
                assert abs(got - exact) <= max(1e-12 * scale, LEAST_NORMAL), (z, delta, float(got), exact)


@pytest.mark.parametrize("label", [0.0, 1.0, 0.25])
def test_nan_stays_nan_in_the_loss(label: float) -> None:
    assert math.isnan(loss_of(math.nan, label))
    for step in (1e-7, 4.0, 40.0):
        assert np.isnan(loss_changes_of(label, math.nan, [step] * 5)).all()
        for z in (-3.0, 3.0):
            for place in range(9):
                deltas = [step] * 9
                deltas[place] = math.nan
                assert np.flatnonzero(np.isnan(loss_changes_of(label, z, deltas))).tolist() == [place]


def test_the_loss_adds_up_over_outputs_examples_and_steps() -> None:
    generator = np.random.default_rng(6)
    examples, outputs, parameters = 3, 2, 5
    z, labels = generator.standard_normal((examples, outputs)), generator.random((examples, outputs))
    labels[0] = [0.0, 1.0]
    total, base = np.empty(examples), np.empty((examples, outputs, activations.BASE))
    losses.evaluate(0, z, labels, total, base)
    for example in range(examples):
        parts = [loss_of(z[example, output], labels[example, output]) for output in range(outputs)]
        assert total[example] == pytest.approx(sum(parts), rel=1e-15)
    coefficients = np.array([2.0, -0.5])
    deltas = 1e-3 * generator.standard_normal((outputs, examples, 2 * parameters))
    quotient = np.full(parameters, 7.0)
    expected = quotient.copy()
    for output, example, step in np.ndindex(outputs, examples, 2):
        row = deltas[output, example].reshape(2, parameters)[step]
        expected += coefficients[step] * loss_changes_of(float(labels[example, output]), float(z[example, output]), row.tolist())
    forms.add_change(0, base, labels, deltas, coefficients, np.empty(products.STRETCH), quotient)
    np.testing.assert_allclose(quotient, expected, rtol=1e-14)


# ---- the post's worked example ------------------------------------------------------------------------------------------


def test_the_square() -> None:
    generator = np.random.default_rng(7)
    for _ in range(2_000):
        x = float(generator.choice([-1.0, 1.0]) * 10.0 ** generator.uniform(-100.0, 100.0))
        delta = float(generator.choice([-1.0, 1.0]) * 10.0 ** generator.uniform(-100.0, 100.0))
        with mpmath.workdps(500):
            exact = (mpmath.mpf(x) + delta) ** 2 - mpmath.mpf(x) ** 2
        require_close(losses.square_change(x, delta), exact, f"({x!r} + {delta!r})² − ({x!r})²")


def test_worked_example_of_the_post() -> None:
    """f(x) = x² at 3, ε = 1e-2: the post's digits by subtraction, the true ones by the difference form."""

    def plain(delta: float) -> float:
        return (3 + delta) ** 2 - 3**2

    def form(delta: float) -> float:
        return losses.square_change(3.0, delta)

    assert CENTRAL.quotient(plain, 1e-2) == 5.999999999999872
    assert FORWARD.quotient(plain, 1e-2) == 6.009999999999849
    assert CENTRAL.quotient(form, 1e-2) == 6.0
    assert FORWARD.quotient(form, 1e-2) == 6.01
