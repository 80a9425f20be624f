"""The difference forms of elementary functions against 50 digits, on every road that a form can take."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from numpy.typing import NDArray

from gradsweep._differences import _elementary, _series
from gradsweep._differences._elementary import BINARY, UNARY

Array = NDArray[np.float64]
Real = Any  # mpf
Bases = tuple[float, ...]
Changes = tuple[float | None, ...]

#: What is asserted of the change, or of the larger of two terms that oppose each other by nature (see `SCALES`). The largest
#: error measured is 6e-16; NumPy's own functions may be somewhat less exact elsewhere.
RELATIVE = 2e-15
LEAST_NORMAL = 2.2250738585072014e-308
LARGEST = 1.7976931348623157e308
DIGITS = 50

#: Where the number of terms changes, and where the series ends; one more number on either side.
RADII = [float(np.nextafter(radius, side)) for radius in _series._RADII for side in (0.0, 1.0)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The caller of a form sees to warnings."""
    with np.errstate(all="ignore"):
        yield


# ---- the functions, to any number of digits ------------------------------------------------------------------------------


def _cbrt(x: Real) -> Real:
    return mpmath.sign(x) * mpmath.cbrt(abs(x))


def _log_sum(a: Real, b: Real) -> Real:
    return mpmath.log(mpmath.exp(a) + mpmath.exp(b))


EXACT: dict[np.ufunc, Callable[..., Real]] = {
    np.exp: mpmath.exp,
    np.exp2: lambda x: mpmath.mpf(2) ** x,
    np.expm1: mpmath.expm1,
    np.log: mpmath.log,
    np.log2: lambda x: mpmath.log(x) / mpmath.log(2),
    np.log10: mpmath.log10,
    np.log1p: mpmath.log1p,
    np.sqrt: mpmath.sqrt,
    np.cbrt: _cbrt,
    np.square: lambda x: x * x,
    np.reciprocal: lambda x: 1 / x,
    np.sin: mpmath.sin,
    np.cos: mpmath.cos,
    np.tan: mpmath.tan,
    np.arcsin: mpmath.asin,
    np.arccos: mpmath.acos,
    np.arctan: mpmath.atan,
    np.sinh: mpmath.sinh,
    np.cosh: mpmath.cosh,
    np.tanh: mpmath.tanh,
    np.arcsinh: mpmath.asinh,
    np.arccosh: mpmath.acosh,
    np.arctanh: mpmath.atanh,
    np.negative: lambda x: -x,
    np.positive: lambda x: x,
    np.conjugate: lambda x: x,
    np.deg2rad: mpmath.radians,
    np.radians: mpmath.radians,
    np.rad2deg: mpmath.degrees,
    np.degrees: mpmath.degrees,
    np.add: lambda a, b: a + b,
    np.subtract: lambda a, b: a - b,
    np.multiply: lambda a, b: a * b,
    np.divide: lambda a, b: a / b,
    np.power: mpmath.power,
    np.float_power: mpmath.power,
    np.logaddexp: _log_sum,
    np.logaddexp2: lambda a, b: _log_sum(a * mpmath.log(2), b * mpmath.log(2)) / mpmath.log(2),
    np.hypot: lambda a, b: mpmath.sqrt(a * a + b * b),
    np.arctan2: mpmath.atan2,
}


@functools.cache
def exact_value(ufunc: np.ufunc, digits: int, bases: Bases) -> Real:
    """Value of floats to so many digits; None where it is not a finite number."""
    return _exact_value(ufunc, *map(mpmath.mpf, bases))


def _exact_value(ufunc: np.ufunc, *bases: Real) -> Real:
    try:
        value = EXACT[ufunc](*bases)
    except (ZeroDivisionError, ValueError):
        return None
    if not isinstance(value, mpmath.mpf) or not mpmath.isfinite(value) or abs(value) > LARGEST:
        return None
    return value


def exact_change(ufunc: np.ufunc, bases: Bases, changes: Changes) -> tuple[Real, Real]:
    """f(z+δ) − f(z) by subtraction, to 50 digits, and its scale; None where one of the values is not a finite number."""
    change = scale = None
    for digits in (80, 150, 300, 700, 1500):
        with mpmath.workdps(digits):
            moved = [mpmath.mpf(base) + mpmath.mpf(part or 0.0) for base, part in zip(bases, changes, strict=True)]
            if not all(
                new - base == (part or 0.0) and new - (part or 0.0) == base
                for new, base, part in zip(moved, bases, changes, strict=True)
            ):
                continue  # the sum itself takes more digits
            there, here = _exact_value(ufunc, *moved), exact_value(ufunc, digits, bases)
            if there is None or here is None:
                return None, None
            change = there - here
            numbers = [mpmath.mpf(number or 0.0) for number in (*bases, *changes)]
            scale = SCALES[ufunc](change, *numbers) if ufunc in SCALES else abs(change)
            if abs(change) > max(1, abs(there), abs(here)) * mpmath.mpf(10) ** (DIGITS + 10 - digits):
                break
    return change, scale


# ---- the size of terms that oppose each other by nature ------------------------------------------------------------------


def _scale_of_sin(change: Real, z: Real, d: Real) -> Real:
    return 2 * abs(mpmath.sin(d / 2)) * max(abs(mpmath.cos(z) * mpmath.cos(d / 2)), abs(mpmath.sin(z) * mpmath.sin(d / 2)))


def _scale_of_cos(change: Real, z: Real, d: Real) -> Real:
    return 2 * abs(mpmath.sin(d / 2)) * max(abs(mpmath.sin(z) * mpmath.cos(d / 2)), abs(mpmath.cos(z) * mpmath.sin(d / 2)))


def _scale_of_tan(change: Real, z: Real, d: Real) -> Real:
    """Near a pole cos(z+δ) is a difference."""
    return abs(change / mpmath.cos(z + d)) * max(abs(mpmath.cos(z) * mpmath.cos(d)), abs(mpmath.sin(z) * mpmath.sin(d)))


def _scale_of_cosh(change: Real, z: Real, d: Real) -> Real:
    """Only the series has two terms: cosh has a minimum."""
    return max(abs(change), abs(mpmath.sinh(z) * d), abs(mpmath.cosh(z) * d * d / 2)) if abs(d) < 1e-3 else abs(change)


def _scale_of_product(change: Real, a: Real, b: Real, da: Real, db: Real) -> Real:
    return max(abs(b * da), abs(a * db), abs(da * db))


def _scale_of_quotient(change: Real, a: Real, b: Real, da: Real, db: Real) -> Real:
    return max(abs(da), abs(a / b * db)) / abs(b + db)


def _scale_of_power(change: Real, a: Real, b: Real, da: Real, db: Real) -> Real:
    """The change, if one of the two is perturbed; of both, also of the two terms of the exponent."""
    if da == 0 or db == 0 or a <= 0 or a + da <= 0:
        return abs(change)
    terms = max(abs((b + db) * mpmath.log1p(da / a)), abs(db * mpmath.log(a)))
    return max(abs(change), abs(mpmath.power(a, b)) * min(terms, 1))


def _scale_of_log_sum(change: Real, a: Real, b: Real, da: Real, db: Real) -> Real:
    """The change, if one of the two is perturbed; of both, also what each of them would do by itself."""
    if da == 0 or db == 0:
        return abs(change)
    here = _log_sum(a, b)
    return max(abs(change), abs(_log_sum(a + da, b) - here), abs(_log_sum(a, b + db) - here))


def _scale_of_log_sum_2(change: Real, *numbers: Real) -> Real:
    rate = mpmath.log(2)
    return _scale_of_log_sum(change * rate, *(number * rate for number in numbers)) / rate


def _scale_of_hypot(change: Real, a: Real, b: Real, da: Real, db: Real) -> Real:
    larger = max(abs(da * (2 * a + da)), abs(db * (2 * b + db)))
    return larger / (mpmath.hypot(a, b) + mpmath.hypot(a + da, b + db)) if larger else larger


def _scale_of_angle(change: Real, a: Real, b: Real, da: Real, db: Real) -> Real:
    length = mpmath.hypot(a, b) * mpmath.hypot(a + da, b + db)
    return max(abs(change), abs(b * da) / length, abs(a * db) / length) if length else abs(change)


#: Where this is not the change itself.
SCALES: dict[np.ufunc, Callable[..., Real]] = {
    np.sin: _scale_of_sin,
    np.cos: _scale_of_cos,
    np.tan: _scale_of_tan,
    np.cosh: _scale_of_cosh,
    np.multiply: _scale_of_product,
    np.divide: _scale_of_quotient,
    np.power: _scale_of_power,
    np.float_power: _scale_of_power,
    np.logaddexp: _scale_of_log_sum,
    np.logaddexp2: _scale_of_log_sum_2,
    np.hypot: _scale_of_hypot,
    np.arctan2: _scale_of_angle,
}


# ---- where they are asked ------------------------------------------------------------------------------------------------

ANYWHERE = [0.0, 5e-324, 1e-300, 1e-8, 0.3, 1.0, 1.7, 6.0, 1e5, 1e20, 1e150, 1.7e308]
INSIDE = [0.0, 1e-310, 1e-8, 0.3, 0.5, 0.7, 0.99, 1.0 - 1e-8, 1.0 - 2.0**-53, 1.0]
ANGLES = [0.0, 1e-300, 1e-8, 0.3, 0.785, 1.5, math.pi / 2, 3.0, math.pi, 7.0, 11.0 * math.pi / 2, 1e6, 1e22, 1e300]
EXPONENTS = [0.0, 1e-300, 1e-8, 0.3, 1.0, 3.0, 30.0, 400.0, 709.0, 745.0, 800.0]

#: |z| of each function.
DOMAINS: dict[np.ufunc, list[float]] = {
    **dict.fromkeys([np.exp, np.expm1, np.exp2, np.sinh, np.cosh, np.tanh], EXPONENTS),
    **dict.fromkeys([np.sin, np.cos, np.tan], ANGLES),
    **dict.fromkeys([np.arcsin, np.arccos, np.arctanh], INSIDE),
    np.arccosh: [1.0, 1.0 + 2.0**-52, 1.0 + 1e-9, 1.001, 1.5, 3.0, 1e5, 1e20, 1e200, 1.7e308],
    np.log1p: [*ANYWHERE, 1.0 - 2.0**-53, 0.999, 0.7],
}


def sizes_of_change(z: float) -> list[float]:
    """|δ|: tiny to huge, at the limits of the series in units of several scales, and to places that are special."""
    generator = np.random.default_rng(abs(hash(z)) % 2**32)
    special = [1.0, 2.0, 0.5, 1.0 - 1e-9, 1.0 + 1e-9, 2.0 + 1e-9, 0.999999 * RADII[-1], 1e-3, 0.1, 30.0]
    sizes = [
        *[1e-300, 1e-150, 1e-30, 1e-15, 1e-10, 1e-7, 3e-7, 1e-5, 1e-3, 0.03, 0.45, 0.7, 1.0, 1.6, 30.0, 390.0, 1e3, 1e200],
        *(10.0 ** generator.uniform(-12.0, 1.0, 10)),
        *RADII,
        *(abs(z) * factor for factor in special),
        *(abs(1.0 - abs(z)) * factor for factor in (1.0, 0.5, RADII[-1], 1e-7)),
        *((abs(z - math.pi / 2), abs(math.pi - 2.0 * z)) if abs(z) < 100.0 else ()),
    ]
    return sorted({float(size) for size in sizes if 1e-300 <= size < math.inf})


class Grid(NamedTuple):
    """Places, one row each, with as many changes, and what is right there."""

    bases: tuple[Array, ...]
    """Of shape (places, 1) each."""
    changes: tuple[Array | None, ...]
    """Of shape (places, lanes) each."""
    exact: NDArray[np.longdouble]
    """NaN where one of the two values is not a finite number."""
    scale: Array
    """What the error is relative to."""


def _long(x: Real) -> np.longdouble:
    high = float(x)
    with mpmath.workdps(DIGITS):
        return np.longdouble(high) + np.longdouble(float(x - high)) if math.isfinite(high) else np.longdouble(high)


def grid_of(ufunc: np.ufunc, rows: Sequence[tuple[Bases, Sequence[Changes]]]) -> Grid:
    """Exact changes of places; rows are filled up to one length with their last change."""
    lanes = max(len(changes) for _, changes in rows)
    shape = len(rows), lanes
    exact, scale = np.full(shape, np.nan, np.longdouble), np.zeros(shape)
    filled = [(bases, [*changes, *[changes[-1]] * (lanes - len(changes))]) for bases, changes in rows]
    for row, (bases, all_changes) in enumerate(filled):
        for lane, changes in enumerate(all_changes[: len(rows[row][1])]):
            if not all(math.isfinite(base + (part or 0.0)) for base, part in zip(bases, changes, strict=True)):
                continue
            change, size = exact_change(ufunc, bases, changes)
            if change is not None:
                exact[row, lane], scale[row, lane] = _long(change), float(size)
        exact[row, len(rows[row][1]) :] = exact[row, len(rows[row][1]) - 1]
        scale[row, len(rows[row][1]) :] = scale[row, len(rows[row][1]) - 1]
    count = len(rows[0][0])
    columns = [[[changes[index] for changes in row] for _, row in filled] for index in range(count)]
    return Grid(
        tuple(np.array([[bases[index]] for bases, _ in rows]) for index in range(count)),
        tuple(None if column[0][0] is None else np.array(column, dtype=np.float64) for column in columns),
        exact,
        scale,
    )


@functools.cache
def unary_grid(ufunc: np.ufunc) -> Grid:
    """Both signs of z and of δ."""
    domain = DOMAINS.get(ufunc, ANYWHERE)
    points = [z for size in domain for z in (size, -size) if math.isfinite(float(ufunc(z)))]
    return grid_of(ufunc, [((z,), [(s * size,) for size in sizes_of_change(z) for s in (1.0, -1.0)]) for z in points])


PAIRS: dict[np.ufunc, tuple[list[float], list[float]]] = {
    **dict.fromkeys(
        [np.power, np.float_power],
        (
            [0.0, 1e-300, 1e-25, 1e-5, 0.3, 1.0, 1.7, 10.0, 1e5, -0.5, -3.0],
            [-12.0, -3.0, -2.0, -1.5, -1.0, 0.0, 0.5, 1.0, 1.3, 2.0, 3.0, 4.0, 5.0, 40.5],
        ),
    ),
    **dict.fromkeys([np.logaddexp, np.logaddexp2], ([-800.0, -30.0, -0.1, 0.0, 1.0, 5.0, 40.0, 800.0, 1e5],) * 2),
}
COORDINATES = [0.0, 1e-300, 1e-8, 0.3, 1.0, -2.5, 1e5, -1e100]

#: Changes of both, of the first, of the second.
KINDS = ((True, True), (True, False), (False, True))


@functools.cache
def binary_grid(ufunc: np.ufunc, kind: tuple[bool, bool]) -> Grid:
    """Pairs of bases, each with changes of very different sizes."""
    if ufunc is np.float_power:
        return binary_grid(np.power, kind)
    generator = np.random.default_rng(5)
    rows: list[tuple[Bases, list[Changes]]] = []
    for a, b in itertools.product(*PAIRS.get(ufunc, (COORDINATES, COORDINATES))):
        if not math.isfinite(float(ufunc(a, b))):
            continue
        changes: list[Changes] = []
        for size in [1e-300, 1e-12, 1e-9, 1e-7, 1e-5, *RADII[-2:], 1e-2, 0.3, 1.0, 2.0, 50.0]:
            scales = [size * (abs(base) if base and generator.random() < 0.7 else 1.0) for base in (a, b)]
            parts = [
                float(scale * generator.choice([-1.0, 1.0]) * generator.choice([1.0, generator.random()])) for scale in scales
            ]
            if generator.random() < 0.1:
                parts[0] = 0.0
            changes.append((parts[0] if kind[0] else None, parts[1] if kind[1] else None))
        rows.append(((a, b), changes))
    return grid_of(ufunc, rows)


LINEAR = {np.negative, np.positive, np.conjugate, np.deg2rad, np.radians, np.rad2deg, np.degrees}


# ---- the roads of a form -------------------------------------------------------------------------------------------------


def change_of(ufunc: np.ufunc, bases: Sequence[Array], changes: Sequence[Array | None]) -> Array:
    """Change by the form of the tables."""
    return change_with(ufunc, bases, ufunc(*bases), changes)


def change_with(ufunc: np.ufunc, bases: Sequence[Array], value: Array, changes: Sequence[Array | None]) -> Array:
    if ufunc in UNARY:
        return UNARY[ufunc](bases[0], value, require(changes[0]))
    return BINARY[ufunc](bases[0], bases[1], value, changes[0], changes[1])


def grids_of(ufunc: np.ufunc) -> list[Grid]:
    return [unary_grid(ufunc)] if ufunc in UNARY else [binary_grid(ufunc, kind) for kind in KINDS]


def name_of(ufunc: np.ufunc) -> str:
    return ufunc.__name__


def require(array: Array | None) -> Array:
    assert array is not None
    return array


def by_lane(ufunc: np.ufunc, grid: Grid) -> Array:
    """Each number by itself, so that each goes through the form that is meant for it."""
    got = np.empty(grid.exact.shape)
    for row, lane in np.ndindex(got.shape):
        bases = [base[row : row + 1] for base in grid.bases]
        changes = [None if part is None else part[row : row + 1, lane : lane + 1] for part in grid.changes]
        got[row, lane] = change_of(ufunc, bases, changes)[0, 0]
    return got


def by_column(ufunc: np.ufunc, grid: Grid) -> Array:
    """All bases at once, in each lane changes of about one size."""
    columns = [
        change_of(ufunc, grid.bases, [None if part is None else part[:, lane : lane + 1] for part in grid.changes])
        for lane in range(grid.exact.shape[1])
    ]
    return np.concatenate(columns, axis=1)


def by_row(ufunc: np.ufunc, grid: Grid) -> Array:
    """All lanes of a base at once, of all sizes."""
    rows = [
        change_of(
            ufunc,
            [base[row : row + 1] for base in grid.bases],
            [None if part is None else part[row : row + 1] for part in grid.changes],
        )
        for row in range(grid.exact.shape[0])
    ]
    return np.concatenate(rows)


def at_once(ufunc: np.ufunc, grid: Grid) -> Array:
    """Everything in one call."""
    return change_of(ufunc, grid.bases, grid.changes)


def own_bases(ufunc: np.ufunc, grid: Grid) -> Array:
    """A base for each lane."""
    return change_of(ufunc, [np.repeat(base, grid.exact.shape[1], axis=1) for base in grid.bases], grid.changes)


ROADS = {road.__name__: road for road in (by_lane, by_column, by_row, at_once, own_bases)}


def describe(ufunc: np.ufunc, grid: Grid, got: Array, wrong: NDArray[np.bool_]) -> str:
    """The worst of the places that are wrong."""
    error = np.abs(got - grid.exact) / np.maximum(grid.scale, LEAST_NORMAL)
    row, lane = np.unravel_index(int(np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0))), wrong.shape)
    bases = [float(base[row, 0]) for base in grid.bases]
    changes = [None if part is None else float(part[row, lane]) for part in grid.changes]
    right, scale = float(grid.exact[row, lane]), float(grid.scale[row, lane])
    return f"{ufunc.__name__} at {bases} by {changes}: {float(got[row, lane])!r}, but {right!r} is right, of {scale!r}"


def require_right(ufunc: np.ufunc, grid: Grid, got: Array) -> None:
    """Fail unless all changes are right, and none is finite where a value is not."""
    exact = np.isfinite(grid.exact)
    error = np.abs(np.where(exact, got - grid.exact, 0.0)).astype(np.float64)
    wrong = ~(error <= np.maximum(RELATIVE * grid.scale, LEAST_NORMAL))
    assert not wrong.any(), describe(ufunc, grid, got, wrong)
    # What is rounded to the end of a domain is taken for it, as NumPy does; a change is not looked at for the last binade.
    moved = [base if part is None else base + part for base, part in zip(grid.bases, grid.changes, strict=True)]
    beyond = ~np.isfinite(ufunc(*moved)) & np.isfinite(ufunc(*grid.bases) + got) & (ufunc not in LINEAR)
    wrong = ~exact & np.isfinite(got) & beyond
    assert not wrong.any(), describe(ufunc, grid, got, wrong)


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("ufunc", UNARY, ids=name_of)
def test_functions_of_one_number(ufunc: np.ufunc, road: str) -> None:
    grid = unary_grid(ufunc)
    require_right(ufunc, grid, ROADS[road](ufunc, grid))


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("kind", KINDS, ids=["both", "first", "second"])
@pytest.mark.parametrize("ufunc", BINARY, ids=name_of)
def test_functions_of_two_numbers(ufunc: np.ufunc, kind: tuple[bool, bool], road: str) -> None:
    grid = binary_grid(ufunc, kind)
    require_right(ufunc, grid, ROADS[road](ufunc, grid))


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_full_forms_are_right_for_small_changes_too(ufunc: np.ufunc, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a series, form and series are the same number because both of them are right."""
    monkeypatch.setattr(_series, "_RADII", ())
    for grid in grids_of(ufunc):
        require_right(ufunc, grid, at_once(ufunc, grid))


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_by_pieces(ufunc: np.ufunc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of three axes and of many pieces, of which a row of lanes may itself be several."""
    for grid, piece in itertools.product(grids_of(ufunc), (60, 1000)):
        monkeypatch.setattr(_series, "PIECE", piece)
        require_right(ufunc, grid, own_bases(ufunc, grid))
        bases = [np.stack([base, base]) for base in grid.bases]
        changes = [None if part is None else np.stack([part, part]) for part in grid.changes]
        for stacked in change_of(ufunc, bases, changes):
            require_right(ufunc, grid, stacked)


@pytest.mark.parametrize("shape", [(9,), (1, 9), (9, 1), (3, 4), (2, 3, 5), (2, 1, 1, 7), (4, 1, 3, 2)])
@pytest.mark.parametrize("piece", [1, 2, 4, 5, 8])
def test_pieces_cover_everything_once(shape: tuple[int, ...], piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry is worked on once, in pieces that are as small as asked for, with its own part of each array."""
    monkeypatch.setattr(_series, "PIECE", piece)
    generator = np.random.default_rng(6)
    first, second, third = generator.random(shape), generator.random(shape[-1:]), generator.random((*shape[:-1], 1))
    sizes: list[int] = []

    def form(a: Array, nothing: None, b: Array, c: Array) -> Array:
        total: Array = a + 2.0 * b + 4.0 * c
        sizes.append(total.size)
        return total

    np.testing.assert_array_equal(_series.by_pieces(form, first, None, second, third), first + 2.0 * second + 4.0 * third)
    assert sum(sizes) == first.size
    assert max(sizes) <= piece


def test_every_limit_of_a_series_is_reached() -> None:
    """What the tests above rest on: each number of terms is asked for, at its limit, and the full form just beyond."""
    assert [_series.terms_for(radius) for radius in RADII] == [2, 3, 3, 4, 4, 5, 5, 0]
    assert all(radius**terms <= 2.0**-53.9 for terms, radius in enumerate(_series._RADII, start=2))
    assert _series.terms_for(math.nan) == 0
    assert _series.terms_for(0.0) == 2
    for ufunc in UNARY:
        assert set(RADII) <= set(np.abs(require(unary_grid(ufunc).changes[0])).ravel())


def test_tiny_changes_take_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests of small changes would be tests of full forms."""
    called: list[int] = []

    def counted(*arguments: Any) -> Array:
        called.append(1)
        return original(*arguments)

    original = _series.sum_series
    monkeypatch.setattr(_series, "sum_series", counted)
    monkeypatch.setattr(_elementary, "sum_series", counted)
    direct = {np.square, np.reciprocal, *LINEAR}
    for ufunc in UNARY:
        called.clear()
        z = np.array([[1.3 if ufunc is np.arccosh else 0.3], [1.7 if ufunc is np.arccosh else 0.7]])
        change_of(ufunc, [z], [np.full((2, 5), 1e-7)])
        assert bool(called) == (ufunc not in direct)
    for ufunc in (np.power, np.logaddexp, np.logaddexp2, np.hypot, np.arctan2):
        for da, db in ((True, True), (True, False), (False, True)):
            called.clear()
            parts = [np.full((1, 5), 1e-7) if part else None for part in (da, db)]
            change_of(ufunc, [np.array([[0.3]]), np.array([[1.7]])], parts)
            assert called, ufunc


# ---- arrays --------------------------------------------------------------------------------------------------------------

STEPS = [1e-9, 1e-4, 0.2]


def sample(ufunc: np.ufunc, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Numbers in the domain of any function, with room for changes."""
    return np.random.default_rng(seed).uniform(0.3, 0.7, shape) + (1.0 if ufunc is np.arccosh else 0.0)


def arguments_of(ufunc: np.ufunc, width: int, step: float, kind: tuple[bool, bool]) -> tuple[list[Array], list[Array | None]]:
    """Bases with one or all lanes, and changes."""
    count = ufunc.nin
    generator = np.random.default_rng(1)
    bases = [sample(ufunc, (3, 4, width), seed) for seed in range(count)]
    changes = [generator.uniform(-step, step, (3, 4, 6)) if kind[index] else None for index in range(count)]
    return bases, changes


def all_kinds(ufunc: np.ufunc) -> Sequence[tuple[bool, bool]]:
    return KINDS if ufunc in BINARY else KINDS[1:2]


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_nothing_given_is_modified_or_returned(ufunc: np.ufunc) -> None:
    for kind, width, step in itertools.product(all_kinds(ufunc), (1, 6), STEPS):
        bases, changes = arguments_of(ufunc, width, step, kind)
        given = [*bases, ufunc(*bases), *(part for part in changes if part is not None)]
        before = [array.copy() for array in given]
        for array in given:
            array.flags.writeable = False
        got = change_with(ufunc, bases, given[len(bases)], changes)
        assert got.shape == (3, 4, 6)
        assert got.dtype == np.float64
        assert got.flags.writeable
        for array, copy in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, copy)
            assert not np.shares_memory(got, array)


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_broadcasting(ufunc: np.ufunc) -> None:
    """Changes that several bases share, bases of fewer axes, arrays that are not contiguous: the numbers of whole arrays."""
    for kind, step in itertools.product(all_kinds(ufunc), STEPS):
        bases, changes = arguments_of(ufunc, 1, step, kind)
        shared = [None if part is None else part[:1, 1:2] for part in changes]
        whole = [None if part is None else np.broadcast_to(part, (3, 4, 6)).copy() for part in shared]
        expected = change_of(ufunc, bases, whole)
        np.testing.assert_allclose(change_of(ufunc, bases, shared), expected, rtol=2e-15)
        np.testing.assert_allclose(change_of(ufunc, bases, [None if p is None else p[0] for p in shared]), expected, rtol=2e-15)
        loose = [np.asfortranarray(np.repeat(base, 2, axis=0))[::2] for base in bases]
        backward = [None if part is None else part[..., ::-1] for part in whole]
        np.testing.assert_allclose(change_of(ufunc, loose, backward), expected[..., ::-1], rtol=2e-15)
        if ufunc in BINARY:
            for few in ([bases[0], bases[1][:1, :1]], [bases[0][0, :1], bases[1]]):
                many = [np.broadcast_to(base, (3, 4, 1)) for base in few]
                np.testing.assert_allclose(change_of(ufunc, few, whole), change_of(ufunc, many, whole), rtol=2e-15)


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_empty(ufunc: np.ufunc) -> None:
    for kind, (base_shape, shape) in itertools.product(
        all_kinds(ufunc), [((0, 1), (0, 5)), ((3, 1), (3, 0)), ((3, 0), (3, 0)), ((0, 2, 1), (0, 2, 0))]
    ):
        bases = [np.ones(base_shape)] * ufunc.nin
        changes = [np.zeros(shape) if kind[index] else None for index in range(ufunc.nin)]
        assert change_of(ufunc, bases, changes).shape == shape


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_no_change_is_exactly_none(ufunc: np.ufunc) -> None:
    """Also at an end of the domain, and among lanes that are changed."""
    points = [-2.0, -1.0, 0.0, 1.0, 2.0, 300.0]
    for kind, others in itertools.product(all_kinds(ufunc), (0.0, 1e-8, 3.0)):
        for bases in itertools.product(points, repeat=ufunc.nin):
            if math.isfinite(float(ufunc(*bases))):
                arrays = [np.array([[base]]) for base in bases]
                changes = [np.array([[0.0, others, 0.0, -0.0]]) if kind[index] else None for index in range(ufunc.nin)]
                got = change_of(ufunc, arrays, changes)
                np.testing.assert_array_equal(got[0, [0, 2, 3]], 0.0, err_msg=f"{ufunc.__name__} at {bases}")


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_nan_stays_nan_and_stays_where_it_is(ufunc: np.ufunc) -> None:
    for kind, width, step in itertools.product(all_kinds(ufunc), (1, 6), STEPS):
        bases, changes = arguments_of(ufunc, width, step, kind)
        clean = change_of(ufunc, bases, changes)
        for array in [*bases, *(part for part in changes if part is not None)]:
            kept = array[1, 2, 0]
            array[1, 2, 0] = math.nan
            got = change_of(ufunc, bases, changes)
            array[1, 2, 0] = kept
            hit = np.zeros(got.shape, dtype=np.bool_)
            hit[1, 2, 0 if array.shape[2] > 1 else slice(None)] = True
            np.testing.assert_array_equal(np.isnan(got), hit)
            np.testing.assert_allclose(got[~hit], clean[~hit], rtol=RELATIVE, atol=RELATIVE * step)


INFINITE = [-math.inf, math.inf]


@pytest.mark.parametrize("ufunc", [*UNARY, *BINARY], ids=name_of)
def test_infinity(ufunc: np.ufunc) -> None:
    """A base or change that is infinite gives what the values give: a finite change only where they are finite."""
    numbers = [-1.5, 0.4, 1.5, *INFINITE]
    for kind in all_kinds(ufunc):
        for bases in itertools.product(numbers, repeat=ufunc.nin):
            parts = [(-1e-9, 0.3, *INFINITE) if given else (0.0,) for given in kind[: ufunc.nin]]
            for changes in itertools.product(*parts):
                if not any(map(math.isinf, (*bases, *changes))):
                    continue
                arrays = [np.array([[base]]) for base in bases]
                got = change_of(ufunc, arrays, [np.array([[part]]) if kind[i] else None for i, part in enumerate(changes)])[0, 0]
                moved = [base + part for base, part in zip(bases, changes, strict=True)]
                there, here = float(ufunc(*moved)), float(ufunc(*bases))
                if math.isfinite(there) and math.isfinite(here):
                    assert math.isclose(got, there - here, rel_tol=1e-12, abs_tol=1e-9), (bases, changes, got, there - here)
                else:
                    assert not math.isfinite(got), (bases, changes, got)


def test_the_tables_are_complete() -> None:
    names = "exp exp2 expm1 log log2 log10 log1p sqrt cbrt square reciprocal sin cos tan arcsin arccos arctan sinh cosh tanh"
    names += " arcsinh arccosh arctanh negative positive deg2rad rad2deg degrees radians conjugate"
    assert {getattr(np, name) for name in names.split()} == set(UNARY)
    names = "add subtract multiply divide true_divide power float_power logaddexp logaddexp2 hypot arctan2"
    assert {getattr(np, name) for name in names.split()} == set(BINARY)
    assert set(EXACT) == {*UNARY, *BINARY}
