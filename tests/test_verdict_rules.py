"""Rules of the verdict, by gradients that are made up: what differs, what is counted, what is shown, and which reason wins."""

import math
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import numpy as np
import pytest
import reports
from numpy.typing import NDArray

from gradsweep import _verdict
from gradsweep._matrices import BlockMatrix, Matrix
from gradsweep._sensitivity import Sensitivity
from gradsweep._verdict import (
    Block,
    Entry,
    Sides,
    Status,
    Tally,
    block_status,
    compare,
    interrupted,
    norm,
    overall,
    ratio,
)

Array = NDArray[np.float64]

TOLERANCE = 1e-7

#: Entries of a gradient that are converted, or compared with intervals, at once.
AT_ONCE = 2**17


def dense(values: Any) -> BlockMatrix:
    """A numeric gradient, or noise, that is given as it is."""
    array = np.array(values, dtype=np.float64, ndmin=2)
    return BlockMatrix(Matrix(dense=array), 0, array.shape[1])


def compared(analytic: Any, numeric: Any, noise: Any = 0.0, tolerance: float = TOLERANCE) -> Tally:
    """The comparison of small arrays; noise may be one number for all."""
    analytic = np.array(analytic, ndmin=2)
    return compare(Sides("W", analytic, dense(numeric), dense(np.broadcast_to(noise, analytic.shape))), tolerance)


def after(value: float) -> float:
    return float(np.nextafter(value, np.inf))


# ---- one entry -----------------------------------------------------------------------------------------------------------


class TestDiffers:
    """|g − ĝ| > tolerance·(|g| + |ĝ|) + noise, written so that what is no finite number differs."""

    @pytest.mark.parametrize(
        ("analytic", "numeric", "noise", "tolerance", "differs"),
        [
            (3.0, 1.0, 0.0, 0.5, False),
            (after(3.0), 1.0, 0.0, 0.5, True),
            (-3.0, -1.0, 0.0, 0.5, False),
            (-after(3.0), -1.0, 0.0, 0.5, True),
            (1.0, 3.0, 0.0, 0.5, False),
            (1.0, -1.0, 0.0, 0.5, True),
            (1.0, -1.0, 0.0, 1.0, False),
            (1.5, 1.0, 0.5, 0.0, False),
            (after(1.5), 1.0, 0.5, 0.0, True),
            (3.5, 1.0, 0.25, 0.5, False),
            (3.5, 1.0, 0.2499, 0.5, True),
            (0.0, 0.0, 0.0, 0.0, False),
            (0.0, 5e-324, 0.0, TOLERANCE, True),
            (5e-324, 0.0, 0.0, TOLERANCE, True),
            (1.0, 2.0, math.inf, TOLERANCE, False),
        ],
    )
    def test_to_the_last_bit(self, analytic: float, numeric: float, noise: float, tolerance: float, differs: bool) -> None:
        """At the boundary the two agree, and a rounding beyond it they do not: in a block, and of an entry on its own."""
        tally = compared(analytic, numeric, noise, tolerance)
        assert tally.differing == differs
        (entry,) = tally.candidates
        assert (entry.analytic, entry.numeric, entry.noise) == (analytic, numeric, noise)
        assert entry.differs(tolerance) is differs
        assert (entry.score > 1.0) is differs

    @pytest.mark.parametrize("tolerance", [0.0, TOLERANCE, 1.0, math.inf])
    @pytest.mark.parametrize("noise", [0.0, math.inf])
    @pytest.mark.parametrize(
        ("analytic", "numeric"),
        [
            (math.nan, 1.0),
            (1.0, math.nan),
            (math.nan, math.nan),
            (math.inf, 1.0),
            (1.0, -math.inf),
            (math.inf, math.inf),
            (-math.inf, math.inf),
            (1.7e308, -1.7e308),
        ],
    )
    def test_what_is_not_finite(self, analytic: float, numeric: float, noise: float, tolerance: float) -> None:
        """Nothing that is allowed makes it agree, and it is as far from acceptance as can be."""
        tally = compared([[1.0, analytic]], [[1.0, numeric]], noise, tolerance)
        assert tally.differing == 1
        worst = tally.candidates[0]
        assert worst.index == (0, 1)
        assert worst.differs(tolerance)
        assert worst.score == math.inf
        assert block_status(tally, 2, TOLERANCE, confirmed=False) is not Status.AGREES

    def test_a_tolerance_that_is_no_number(self) -> None:
        assert compared(1.0, 1.0, tolerance=math.nan).differing == 1
        assert Entry("W", (0, 0), 1.0, 1.0, 0.0, kink=False, score=0.0).differs(math.nan)


# ---- a block -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """A way in which a numeric gradient and its noise are given, and the same as arrays.

    Attributes
    ----------
    numeric, noise : BlockMatrix
        As given.
    low, high, slack : array of shape (rows, columns)
        What is accepted, and the noise, without any of the forms.
    interval : callable, optional
        As of `Sides`.
    """

    numeric: BlockMatrix
    noise: BlockMatrix
    low: Array
    high: Array
    slack: Array
    interval: Callable[[slice], tuple[Array, Array]] | None = None


FORMS = ("dense", "later columns", "product", "constant", "decay", "dense and decay", "kinks", "kinks and decay")


def formed(kind: str, shape: tuple[int, int], seed: int = 0) -> Form:
    """A numeric gradient of some form; its noise is about 1e-10 of it."""
    generator = np.random.default_rng(seed)
    rows, columns = shape
    if kind in ("dense", "later columns", "dense and decay", "kinks"):
        first = 3 if kind == "later columns" else 0
        values = generator.choice([-1.0, 1.0], (rows, columns + first)) * generator.uniform(0.5, 2.0, (rows, columns + first))
        slack = 1e-10 * generator.uniform(0.5, 2.0, values.shape)
        matrix, noise, given = Matrix(dense=values), Matrix(dense=slack), values[:, first:]
        allowed = slack[:, first:]
    else:
        first, left, right = 0, generator.standard_normal((rows, 3)), generator.standard_normal((3, columns))
        matrix, noise = Matrix(left=left, right=right), Matrix(left=1e-10 * np.abs(left), right=np.abs(right))
        given = np.sum([np.outer(left[:, term], right[term]) for term in range(3)], axis=0)
        allowed = 1e-10 * np.sum([np.outer(np.abs(left[:, term]), np.abs(right[term])) for term in range(3)], axis=0)
    numeric = BlockMatrix(matrix, first, columns)
    rounding = BlockMatrix(noise, first, columns, constant=2e-10)
    allowed = allowed + 2e-10
    if "decay" in kind:
        weights = generator.standard_normal(shape)
        rounding = replace(rounding, weights=weights, slope=3e-10, absolute=True)
        allowed = allowed + 3e-10 * np.abs(weights)
        if kind != "dense and decay":
            numeric = replace(numeric, weights=weights, slope=0.25, constant=0.125)
            given = given + 0.25 * weights + 0.125
    if kind == "constant":
        numeric = replace(numeric, constant=0.125)
        given = given + 0.125
    if "kinks" not in kind:
        return Form(numeric, rounding, given, given, allowed)
    width = np.where(generator.random(shape) < 0.3, generator.uniform(0.1, 1.0, shape), 0.0)
    low, high = given - width, given + width
    return Form(numeric, rounding, low, high, allowed, lambda rows: (low[rows].copy(), high[rows].copy()))


def planted(form: Form, count: int, seed: int = 0) -> tuple[Array, list[tuple[int, int]]]:
    """A gradient that is right but for some entries, and where these are: the first is furthest off."""
    generator = np.random.default_rng(seed)
    analytic = generator.uniform(form.low, form.high) * (1.0 + 1e-9 * generator.standard_normal(form.low.shape))
    places = [tuple(map(int, np.divmod(place, analytic.shape[1]))) for place in generator.permutation(analytic.size)[:count]]
    for number, place in enumerate(places):
        # From 4e-2 down, by a third each: that is how far they are from acceptance, too, where there is hardly any noise.
        error = 4e-2 * 1.5**-number
        edge = form.high[place] if form.high[place] > 0.0 else form.low[place]
        analytic[place] = edge * (1.0 + error) if abs(edge) > 0.1 else edge + math.copysign(error, edge)
    return analytic, [(row, column) for row, column in places]


def by_hand(form: Form, analytic: Array) -> dict[str, Any]:
    """What the comparison has to find, by the definitions."""
    nearest = np.clip(analytic, form.low, form.high)
    gap = np.abs(analytic - nearest)
    allowed = TOLERANCE * (np.abs(analytic) + np.abs(nearest)) + form.slack
    score = gap / allowed
    place = np.unravel_index(np.argmax(np.abs(analytic)), analytic.shape)
    return {
        "analytic": math.sqrt(math.fsum(analytic.ravel() ** 2)),
        "numeric": math.sqrt(math.fsum(nearest.ravel() ** 2)),
        "gap": math.sqrt(math.fsum(gap.ravel() ** 2)),
        "noise": math.sqrt(math.fsum(form.slack.ravel() ** 2)),
        "differing": int((score > 1.0).sum()),
        "vacuous": int(((np.abs(analytic) <= form.slack) & (np.abs(nearest) <= form.slack)).sum()),
        "kinks": int((form.low < form.high).sum()),
        "largest": float(np.abs(analytic[place])),
        "noise_at_largest": float(form.slack[place]),
        "largest_noise": float(form.slack.max()),
        "worst": [tuple(map(int, np.unravel_index(each, score.shape))) for each in np.argsort(-score, axis=None)],
        "nearest": nearest,
        "score": score,
    }


def assert_as_by_hand(tally: Tally, form: Form, analytic: Array) -> None:
    """All sums and counts, and all that is said of the entries that are shown."""
    found = by_hand(form, analytic)
    for name in ("differing", "vacuous", "kinks"):
        assert getattr(tally, name) == found[name], name
    for name in ("analytic", "numeric", "gap", "noise", "largest", "noise_at_largest", "largest_noise"):
        assert getattr(tally, name) == pytest.approx(found[name], rel=1e-6 if name == "gap" else 1e-12), name
    shown = min(found["differing"], 10) or 1
    assert [entry.index for entry in tally.candidates[:shown]] == found["worst"][:shown]
    assert len(tally.candidates) <= 10
    for entry in tally.candidates:
        assert entry.block == "W"
        assert entry.analytic == analytic[entry.index]
        assert entry.numeric == pytest.approx(found["nearest"][entry.index], rel=1e-12)
        assert entry.noise == pytest.approx(form.slack[entry.index], rel=1e-12)
        assert entry.kink is bool(form.low[entry.index] < form.high[entry.index])
        assert entry.score == pytest.approx(found["score"][entry.index], rel=1e-5, abs=1e-6)


class TestBlock:
    @pytest.mark.parametrize("count", [0, 1, 4, 30])
    @pytest.mark.parametrize("shape", [(1, 40), (40, 1), (6, 9), (9, 530)])
    @pytest.mark.parametrize("kind", FORMS)
    def test_every_form(self, kind: str, shape: tuple[int, int], count: int) -> None:
        """However the numeric side is given, it is compared as what it stands for, and the worst entries are found."""
        form = formed(kind, shape)
        analytic, places = planted(form, count)
        tally = compare(Sides("W", analytic, form.numeric, form.noise, form.interval), TOLERANCE)
        assert_as_by_hand(tally, form, analytic)
        assert tally.differing == count
        if 0 < count <= 10:
            assert {entry.index for entry in tally.candidates[:count]} == set(places)

    @pytest.mark.parametrize("places", [[(4, 3)], [(0, 0), (9, 39)], [(3, 7), (2, 8), (6, 9), (5, 1), (0, 5), (8, 2)]])
    @pytest.mark.parametrize("kind", FORMS)
    def test_in_parts(self, monkeypatch: pytest.MonkeyPatch, kind: str, places: list[tuple[int, int]]) -> None:
        """A gradient that is converted, or compared with intervals, some rows at a time: as if it were one."""
        monkeypatch.setattr(_verdict, "_ENTRIES", 130)
        form = formed(kind, (10, 40))
        analytic = np.asfortranarray(np.clip(1.0, form.low, form.high))
        for number, place in enumerate(places):
            analytic[place] = form.high[place] + 0.5**number
        tally = compare(Sides("W", analytic, form.numeric, form.noise, form.interval), TOLERANCE)
        assert_as_by_hand(tally, form, analytic)
        assert tally.differing == len(places)

    def test_counts_of_parts_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of whatever there is in several parts; and of the largest entries, if they are equal, it is the first one's noise."""
        monkeypatch.setattr(_verdict, "_ENTRIES", 10)
        low = np.ones((9, 4))
        low[[0, 1, 5, 8], 2] = 0.0
        high = low.copy()
        high[[1, 4, 5], 0] = 2.0
        noise = np.full((9, 4), 1e-10)
        analytic = low.copy()
        analytic[[3, 8], 1] = -3.0
        noise[3, 1], noise[8, 1], noise[6, 3] = 2e-10, 3e-10, 5e-10
        tally = compare(Sides("W", analytic, dense(low), dense(noise), lambda rows: (low[rows], high[rows])), TOLERANCE)
        assert (tally.differing, tally.vacuous, tally.kinks) == (2, 4, 3)
        assert (tally.largest, tally.noise_at_largest, tally.largest_noise) == (3.0, 2e-10, 5e-10)

    @pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float16, np.longdouble])
    def test_types(self, dtype: Any) -> None:
        """Compared as what float64 makes of it."""
        form = formed("dense", (5, 7))
        analytic = (3.0 * form.low).astype(dtype)
        assert_as_by_hand(compare(Sides("W", analytic, form.numeric, form.noise), TOLERANCE), form, analytic.astype(np.float64))

    def test_more_than_ten_in_one_row(self) -> None:
        """The ten worst, whether they share a row or not; the worst first."""
        numeric = np.ones((30, 20))
        analytic = numeric.copy()
        analytic[7] += 1e-3 * np.arange(1, 21)
        analytic[21, 4], analytic[2, 6] = 1.5, 1.0145
        tally = compared(analytic, numeric)
        assert tally.differing == 22
        expected = [(21, 4), *((7, column) for column in range(19, 13, -1)), (2, 6), (7, 13), (7, 12)]
        assert [entry.index for entry in tally.candidates] == expected

    def test_where_nothing_differs_one_is_shown(self) -> None:
        """The worst; the first, if several are as far off."""
        numeric = np.ones((4, 5))
        assert [entry.index for entry in compared(numeric, numeric).candidates] == [(0, 0)]
        analytic = numeric.copy()
        analytic[1, 3] += 1e-8
        analytic[2, 2] += 1e-8
        analytic[2, 4] += 1e-9
        tally = compared(analytic, numeric)
        assert [entry.index for entry in tally.candidates] == [(1, 3)]
        assert tally.candidates[0].score == pytest.approx(0.05)

    def test_not_finite_before_all_else(self) -> None:
        """A NaN is no further from acceptance than an infinity, and both further than what is merely wrong."""
        analytic = np.ones((3, 4))
        analytic[0] = 1e300
        analytic[1, 2], analytic[2, 3] = math.nan, -math.inf
        tally = compared(analytic, np.ones((3, 4)))
        assert tally.differing == 6
        assert {entry.index for entry in tally.candidates[:2]} == {(1, 2), (2, 3)}
        assert math.isnan(tally.analytic)
        assert math.isnan(tally.difference)

    @pytest.mark.parametrize("noise", [1e-3, after(1e-3)])
    def test_vacuous(self, noise: float) -> None:
        """Below the noise, or just at it, on both sides; larger on one side is something that can be told."""
        low = 1e-3
        analytic = [[low, -low, low, 0.0, after(low), 0.0, -2e-3]]
        numeric = [[low, low, 0.0, -low, 0.0, after(low), -2e-3]]
        tally = compared(analytic, numeric, noise)
        assert tally.vacuous == (4 if noise == low else 6)

    def test_nearest_of_what_is_accepted(self) -> None:
        """At a kink: the value between the slopes that is nearest, and the slopes themselves are accepted to the bit."""
        low, high = np.full((1, 6), -1.0), np.full((1, 6), 2.0)
        low[0, 5] = high[0, 5] = 1.0
        analytic = np.array([[-1.0, 2.0, 0.5, -1.5, 2.5, 1.0]])
        tally = compare(Sides("W", analytic, dense(low), dense(np.zeros((1, 6))), lambda rows: (low[rows], high[rows])), 0.0)
        assert (tally.kinks, tally.differing) == (5, 2)
        assert tally.gap == pytest.approx(math.hypot(0.5, 0.5))
        shown = {entry.index[1]: (entry.numeric, entry.kink) for entry in tally.candidates}
        expected = {0: (-1.0, True), 1: (2.0, True), 2: (0.5, True), 3: (-1.0, True), 4: (2.0, True), 5: (1.0, False)}
        assert shown == expected
        assert {entry.index[1] for entry in tally.candidates[:2]} == {3, 4}

    def test_slopes_that_are_no_numbers(self) -> None:
        """They accept nothing, and are no kink."""
        low, high = np.array([[1.0, math.nan, 1.0]]), np.array([[1.0, math.nan, 2.0]])
        sides = Sides("W", np.ones((1, 3)), dense(low), dense(np.zeros((1, 3))), lambda rows: (low[rows], high[rows]))
        tally = compare(sides, TOLERANCE)
        assert (tally.differing, tally.kinks) == (1, 1)
        worst = tally.candidates[0]
        assert (worst.index, worst.kink) == ((0, 1), False)
        assert math.isnan(worst.numeric)


class TestParts:
    """How much is converted, or formed, at once."""

    @pytest.mark.parametrize(("shape", "count"), [((3, 5), 1), ((300, 1000), 3), ((1, AT_ONCE + 5), 1), ((3, AT_ONCE + 5), 3)])
    def test_intervals(self, shape: tuple[int, int], count: int) -> None:
        """Every row is asked for once, in order, and never more than a million bytes of them, unless a row is longer."""
        values = np.ones(shape)
        asked: list[slice] = []

        def interval(rows: slice) -> tuple[Array, Array]:
            asked.append(rows)
            return values[rows], values[rows]

        tally = compare(Sides("W", values, dense(values), dense(np.zeros(shape)), interval), TOLERANCE)
        assert tally.analytic == pytest.approx(math.sqrt(values.size))
        assert [row for rows in asked for row in range(shape[0])[rows]] == list(range(shape[0]))
        assert len(asked) == count
        assert all((rows.stop - rows.start) * shape[1] <= AT_ONCE or rows.stop - rows.start == 1 for rows in asked)

    def test_in_one_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A gradient that can be compared as it lies there needs no parts, which take 40 % longer."""
        compared_rows: list[slice] = []

        def compare_rows(tally: Tally, sides: Sides, rows: slice, tolerance: float) -> None:
            compared_rows.append(rows)
            whole(tally, sides, rows, tolerance)

        whole = _verdict._compare_rows
        monkeypatch.setattr(_verdict, "_compare_rows", compare_rows)
        values, nothing = np.ones((3, AT_ONCE)), zeros((3, AT_ONCE))
        swapped = np.dtype(np.float64).newbyteorder()
        for analytic in (values, values.astype(np.float32), values.astype(swapped), np.asfortranarray(values)):
            compare(Sides("W", analytic, nothing, nothing), TOLERANCE)
        assert compared_rows == [slice(0, 3), *(3 * [slice(0, 1), slice(1, 2), slice(2, 3)])]

    @pytest.mark.parametrize("given", ["float64", "float32", "Fortran"])
    def test_memory(self, given: str) -> None:
        """A gradient that can be compared as it lies there is not copied, and of others there is never more than a part."""
        shape = 512, 4096
        values = np.ones(shape, dtype=np.float32 if given == "float32" else np.float64, order="F" if given == "Fortran" else "C")
        sides = Sides("W", values, BlockMatrix(Matrix(left=np.ones((512, 1)), right=np.ones((1, 4096))), 0, 4096), zeros(shape))
        compare(replace(sides, analytic=values[:1]), TOLERANCE)
        tracemalloc.start()
        try:
            tally = compare(sides, TOLERANCE)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert tally.differing == 0
        assert tally.analytic == pytest.approx(math.sqrt(values.size))
        # Beside a part, the kernel's rows, ten of them, and the scores.
        assert peak < (0 if given == "float64" else 8 * AT_ONCE) + 8 * 16 * 4096

    def test_ordinary_numbers_take_one_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Norms are not formed once more, row by row, where squares do: nor that of a gap that is none."""

        def again(*arguments: object) -> float:
            raise AssertionError(arguments)

        monkeypatch.setattr(_verdict._Comparer, "norm", again)
        values = np.random.default_rng(0).standard_normal((5, 6))
        assert compared(values, values, noise=1e-12).gap == 0.0
        assert compared(1e120 * values, 1e-120 * values, noise=1e-12).gap > 0.0

    @pytest.mark.parametrize(("differing", "looks"), [(0, 1), (1, 10), (30, 10)])
    def test_rows_that_are_looked_at_again(self, monkeypatch: pytest.MonkeyPatch, differing: int, looks: int) -> None:
        """For the entries that are shown, of which there are ten at most: however many differ."""
        rows: list[int] = []

        def entries(comparer: Any, analytic: Array, start: int, row: int, count: int) -> list[Entry]:
            rows.append(row)
            found: list[Entry] = plain(comparer, analytic, start, row, count)
            return found

        plain = _verdict._Comparer.entries
        monkeypatch.setattr(_verdict._Comparer, "entries", entries)
        analytic = np.ones((40, 3))
        analytic[:differing, 1] = 2.0
        assert compared(analytic, np.ones((40, 3))).differing == differing
        assert len(rows) == len(set(rows)) == looks

    def test_rows_of_the_tested_gradient(self) -> None:
        """The caller's own memory where that will do, and C-contiguous float64 in any case."""
        own = np.arange(12.0).reshape(4, 3)
        nothing = zeros((4, 3))
        rows = Sides("W", own, nothing, nothing).tested(slice(1, 3))
        assert np.shares_memory(rows, own)
        assert rows.tolist() == own[1:3].tolist()
        for other in (own.astype(np.float32), own.astype(np.int16), np.asfortranarray(own), own[:, ::-1]):
            rows = Sides("W", other, nothing, nothing).tested(slice(1, 3))
            assert rows.dtype == np.float64
            assert rows.flags.c_contiguous
            assert rows.tolist() == other[1:3].tolist()

    @pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(np.float64).max, reason="long double is float64 here")
    def test_beyond_float64(self) -> None:
        """Infinite, without a warning on the side."""
        huge = np.array([["1e4000", "-1e4000", "2"]], dtype=np.longdouble)
        assert Sides("W", huge, zeros((1, 3)), zeros((1, 3))).tested(slice(None)).tolist() == [[math.inf, -math.inf, 2.0]]


def zeros(shape: tuple[int, int]) -> BlockMatrix:
    """Nothing, in little memory."""
    return BlockMatrix(Matrix(left=np.zeros((shape[0], 1)), right=np.zeros((1, shape[1]))), 0, shape[1])


# ---- norms ---------------------------------------------------------------------------------------------------------------

EXTREMES = (1e-320, 1e-300, 1e-170, 1e-141, 1e-139, 1.0, 1e139, 1e141, 1e170, 1e300)


class TestNorms:
    """Norms near the ends of the number range, where squares overflow or vanish."""

    @pytest.mark.parametrize("size", EXTREMES)
    @pytest.mark.parametrize("name", ["analytic", "numeric", "gap", "noise"])
    @pytest.mark.parametrize("converted", [False, True])
    def test_each_on_its_own(self, monkeypatch: pytest.MonkeyPatch, name: str, size: float, converted: bool) -> None:
        """Only one of the four norms is extreme, and the others are what they were; also of what is compared in parts."""
        monkeypatch.setattr(_verdict, "_ENTRIES", 10)
        shape = 7, 4
        sides = dict.fromkeys(("analytic", "numeric", "noise"), 0.0) | {"analytic": 3.0, "numeric": 2.0, "noise": 0.5}
        arrays = {side: np.full(shape, value) for side, value in sides.items()}
        if name == "gap":  # of two entries, which are all that differs
            arrays["analytic"][...] = 2.0
            for row, column in ((0, 0), (-1, 2)):
                arrays["analytic"][row, column], arrays["numeric"][row, column] = 3.0 * size, 2.0 * size
        else:
            arrays[name][...] = size
        analytic = np.asfortranarray(arrays["analytic"]) if converted else arrays["analytic"]
        tally = compare(Sides("W", analytic, dense(arrays["numeric"]), dense(arrays["noise"])), TOLERANCE)
        root = math.sqrt(analytic.size)
        # Numbers that are not normal have but a few digits.
        precise = 1e-2 if size < 1e-307 else 1e-12
        if name == "gap":
            assert tally.gap == pytest.approx(math.sqrt(2.0) * size, rel=precise, abs=0.0)
            return
        for side in ("analytic", "numeric", "noise"):
            assert getattr(tally, side) == pytest.approx(root * arrays[side][0, 0], rel=precise, abs=0.0)
        gap = abs(arrays["analytic"][0, 0] - arrays["numeric"][0, 0])
        assert tally.gap == pytest.approx(root * gap, rel=1e-12, abs=0.0)

    @pytest.mark.parametrize("size", [1e-300, 1e-150, 1e150, 1e300])
    def test_at_kinks(self, size: float) -> None:
        """The norm of what is accepted, not of either bound."""
        low, high = np.full((3, 4), size), np.full((3, 4), 3.0 * size)
        analytic = np.full((3, 4), 2.0 * size)
        analytic[1] = 4.0 * size
        sides = Sides("W", analytic, dense(low), dense(np.zeros((3, 4))), lambda rows: (low[rows], high[rows]))
        tally = compare(sides, TOLERANCE)
        assert tally.analytic == pytest.approx(math.sqrt(8 * 4.0 + 4 * 16.0) * size, rel=1e-12, abs=0.0)
        assert tally.numeric == pytest.approx(math.sqrt(8 * 4.0 + 4 * 9.0) * size, rel=1e-12, abs=0.0)
        assert tally.gap == pytest.approx(2.0 * size, rel=1e-12, abs=0.0)

    def test_small_rows_beside_large_ones(self) -> None:
        analytic = np.array([[3e-200], [4e-200], [0.0]])
        assert compared(analytic, 2.0 * analytic).gap == pytest.approx(5e-200, rel=1e-12, abs=0.0)
        analytic[2] = 1e200
        assert compared(analytic, 2.0 * analytic).gap == pytest.approx(1e200, rel=1e-12)

    def test_equal_sides_have_no_gap(self) -> None:
        values = np.random.default_rng(0).standard_normal((5, 6))
        for size in EXTREMES:
            tally = compared(size * values, size * values)
            assert (tally.gap, tally.difference) == (0.0, 0.0)

    @pytest.mark.parametrize("value", [math.inf, -math.inf])
    def test_infinities(self, value: float) -> None:
        """No difference is given for them, without a warning on the side."""
        tally = compared([[1.0, value], [2.0, 3.0]], [[1.0, 2.0], [2.0, 3.0]])
        assert (tally.analytic, tally.gap) == (math.inf, math.inf)
        assert math.isnan(tally.difference)
        assert math.isnan(compared([[1.0, value]], [[1.0, value]]).gap)
        assert math.isnan(compared([[1.0, value], [1e200, 0.0]], [[2e200, 2.0], [value, math.nan]]).difference)

    @pytest.mark.parametrize("size", [*EXTREMES, 1.7e307, -1e300])
    def test_of_an_array(self, size: float) -> None:
        precise = 1e-2 if abs(size) < 1e-307 else 1e-15
        assert norm(size * np.array([3.0, -4.0])) == pytest.approx(5.0 * abs(size), rel=precise, abs=0.0)
        assert norm(size * np.array([[3.0, 0.0], [0.0, 4.0]])) == pytest.approx(5.0 * abs(size), rel=precise, abs=0.0)

    def test_of_nothing_and_of_what_is_not_finite(self) -> None:
        assert norm(np.empty(0)) == norm(np.zeros(3)) == 0.0
        assert norm(np.array([1.0, -math.inf])) == math.inf
        assert math.isnan(norm(np.array([1.0, math.nan])))
        assert math.isnan(norm(np.array([math.inf, math.nan])))


class TestRatio:
    """Formula 3 is no number where it would be meaningless, and 0 where nothing is compared with nothing."""

    @pytest.mark.parametrize(
        ("gap", "size", "expected"), [(1.0, 2.0, 0.5), (0.0, 0.0, 0.0), (0.0, 2.0, 0.0), (1e-300, 0.0, math.inf), (2.0, 1.0, 2.0)]
    )
    def test_numbers(self, gap: float, size: float, expected: float) -> None:
        assert ratio(gap, size) == expected

    @pytest.mark.parametrize(
        ("gap", "size"), [(math.nan, 1.0), (0.0, math.nan), (1.0, math.inf), (0.0, math.inf), (math.nan, 0.0)]
    )
    def test_no_number(self, gap: float, size: float) -> None:
        assert not ratio(gap, size) <= 1.0

    def test_of_a_block(self) -> None:
        tally = Tally(analytic=3.0, numeric=5.0, gap=2.0, noise=0.5)
        assert tally.difference == 0.25
        assert tally.relative_noise == 0.0625

    def test_of_several_blocks(self) -> None:
        """The norms of one long vector, of any number of blocks."""
        first = Tally(analytic=3.0, numeric=6.0, gap=5.0, noise=8.0)
        second = Tally(analytic=4.0, numeric=8.0, gap=12.0, noise=15.0)
        total = Tally.of_all(iter([first, second]))
        assert (total.analytic, total.numeric, total.gap, total.noise) == (5.0, 10.0, 13.0, 17.0)
        assert total.difference == pytest.approx(13.0 / 15.0)
        assert first == Tally(analytic=3.0, numeric=6.0, gap=5.0, noise=8.0)
        assert Tally.of_all([]).difference == 0.0

    def test_a_block_that_is_not_finite_makes_the_whole_no_number(self) -> None:
        spoilt = compared([[1.0, math.nan]], [[1.0, 1.0]])
        fine = compared([[1.0]], [[1.0]])
        for order in ([spoilt, fine], [fine, spoilt]):
            assert math.isnan(Tally.of_all(order).difference)


class TestSensitivity:
    def test_by_hand(self) -> None:
        """By the worst score, the largest entry with its noise, and the largest noise: each where it belongs."""
        worst = [reports.entry("W", score=0.5), reports.entry("W", score=0.25)]
        tally = Tally(largest=2.0, noise_at_largest=1e-9, largest_noise=3e-9, candidates=worst)
        found = tally.sensitivity(TOLERANCE)
        assert found.scale == pytest.approx(1.5 * (2e-7 + 4.0 * 1e-9 / 2.0))
        assert found.entry == pytest.approx(1.5 * (4e-7 + 4.0 * 3e-9))
        assert found.largest == 2.0

    def test_without_noise(self) -> None:
        found = Tally(largest=2.0).sensitivity(TOLERANCE)
        assert found.scale == pytest.approx(2e-7)
        assert found.entry == pytest.approx(4e-7)

    def test_of_zeros(self) -> None:
        """No factor shows, and an entry that is not zero does if it is above the noise."""
        found = compared(np.zeros((2, 3)), np.zeros((2, 3)), noise=1e-12).sensitivity(TOLERANCE)
        assert (found.scale, found.largest) == (math.inf, 0.0)
        assert found.entry == pytest.approx(4e-12)
        assert Tally().sensitivity(TOLERANCE) == Sensitivity(math.inf, 0.0, 0.0)

    @pytest.mark.parametrize("kind", FORMS)
    def test_what_it_promises(self, kind: str) -> None:
        """An error above it, of the whole or of any entry, differs in a gradient that had none."""
        form = formed(kind, (12, 25))
        analytic, _ = planted(form, 0)
        sides = Sides("W", analytic, form.numeric, form.noise, form.interval)
        found = compare(sides, TOLERANCE).sensitivity(TOLERANCE)
        outside = form.high if form.interval else form.low
        for row, column in ((0, 0), (5, 7), (11, 24)):
            spoilt = np.where(form.low < form.high, outside, analytic)
            spoilt[row, column] += 1.001 * found.entry
            assert compare(replace(sides, analytic=spoilt), TOLERANCE).differing == 1
        if form.interval is None:
            assert compare(replace(sides, analytic=analytic * (1.0 + 1.001 * found.scale)), TOLERANCE).differing > 0


def test_what_a_report_holds_is_not_changed() -> None:
    """Neither an entry nor a block can be made to look right after the fact."""
    with pytest.raises(FrozenInstanceError):
        reports.entry("W").numeric = 2.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        reports.block("W").status = Status.AGREES  # type: ignore[misc]


# ---- statuses ------------------------------------------------------------------------------------------------------------

AGREEING = Tally(analytic=1.0, numeric=1.0, gap=1e-12)


class TestBlockStatus:
    @pytest.mark.parametrize("at_kinks", [False, True])
    @pytest.mark.parametrize("vacuous", [0, 6])
    @pytest.mark.parametrize("gap", [0.0, 1.0, math.nan])
    def test_what_is_confirmed_is_wrong(self, gap: float, vacuous: int, at_kinks: bool) -> None:
        """Whatever else could be said of the block: one entry among many hides in no norm."""
        tally = replace(AGREEING, gap=gap, differing=1, vacuous=vacuous)
        assert block_status(tally, 6, TOLERANCE, confirmed=True, at_kinks=at_kinks) is Status.WRONG

    @pytest.mark.parametrize("vacuous", [0, 6])
    @pytest.mark.parametrize("gap", [0.0, 1.0, math.nan])
    def test_doubt_at_kinks_comes_next(self, gap: float, vacuous: int) -> None:
        tally = replace(AGREEING, gap=gap, differing=1, vacuous=vacuous)
        assert block_status(tally, 6, TOLERANCE, confirmed=False, at_kinks=True) is Status.AT_KINKS

    @pytest.mark.parametrize("gap", [0.0, 1e-12, 2.0])
    def test_vacuous_as_a_whole(self, gap: float) -> None:
        """All entries below the noise are no agreement, however small the gap; one that is above makes it one."""
        tally = replace(AGREEING, gap=gap, vacuous=6)
        assert block_status(tally, 6, TOLERANCE, confirmed=False) is Status.VACUOUS
        assert block_status(tally, 7, TOLERANCE, confirmed=False) is not Status.VACUOUS

    def test_one_entry_above_the_noise(self) -> None:
        """From the comparison on: of a block that is below the noise otherwise, it is what can be verified."""
        values = np.full((30, 40), 1e-10)
        assert block_status(compared(values, -values, noise=1e-9), 1200, TOLERANCE, confirmed=False) is Status.VACUOUS
        values[29, 39] = 1e-3
        assert block_status(compared(values, values, noise=1e-9), 1200, TOLERANCE, confirmed=False) is Status.AGREES

    def test_zeros_against_what_vanishes_with_the_step(self) -> None:
        """It differed at this step and not at a smaller one, so that there is nothing but zeros on both sides."""
        tally = Tally(analytic=0.0, numeric=1e-9, gap=1e-9, differing=2)
        assert block_status(tally, 6, TOLERANCE, confirmed=False) is Status.VACUOUS
        assert block_status(replace(tally, differing=0), 6, TOLERANCE, confirmed=False) is Status.NOISY
        assert block_status(replace(tally, analytic=1e-30), 6, TOLERANCE, confirmed=False) is Status.STEP_TOO_LARGE

    def test_the_boundary(self) -> None:
        """A difference of just the tolerance agrees, and the least bit more is inconclusive."""
        tally = Tally(analytic=3.0, numeric=1.0, gap=2.0)
        assert block_status(tally, 6, 0.5, confirmed=False) is Status.AGREES
        beyond = replace(tally, gap=after(2.0))
        assert block_status(beyond, 6, 0.5, confirmed=False) is Status.NOISY
        assert block_status(replace(beyond, differing=1), 6, 0.5, confirmed=False) is Status.STEP_TOO_LARGE

    def test_within_the_tolerance_as_a_whole(self) -> None:
        """Entries that differ at this step and agree at a smaller one do not count if the block does not show them."""
        assert block_status(replace(AGREEING, differing=1), 6, TOLERANCE, confirmed=False) is Status.AGREES

    def test_no_number_never_agrees(self) -> None:
        for tally in (Tally(1.0, 1.0, math.nan), Tally(math.nan, 1.0, 0.0), Tally(1.0, math.inf, 0.0)):
            assert block_status(tally, 6, TOLERANCE, confirmed=False) is Status.NOISY


INCONCLUSIVE = (
    Status.NOISY,
    Status.STEP_TOO_LARGE,
    Status.AT_KINKS,
    Status.NOT_FINITE,
    Status.UNRESOLVED,
    Status.UNFINISHED,
)


def blocks(*statuses: Status) -> list[Block]:
    return [reports.block(f"W{number}", status) for number, status in enumerate(statuses, start=1)]


class TestOverall:
    def test_every_status_is_named_here(self) -> None:
        assert set(Status) == {Status.AGREES, Status.VACUOUS, Status.WRONG, *INCONCLUSIVE}

    @pytest.mark.parametrize(
        ("statuses", "verdict"),
        [
            ([Status.AGREES], "pass"),
            ([Status.AGREES, Status.AGREES], "pass"),
            ([Status.AGREES, Status.VACUOUS], "pass"),
            ([Status.VACUOUS], "inconclusive"),
            ([Status.VACUOUS, Status.VACUOUS], "inconclusive"),
            ([Status.WRONG], "fail"),
            ([Status.AGREES, Status.WRONG, Status.AGREES], "fail"),
            ([Status.VACUOUS, Status.WRONG], "fail"),
        ],
    )
    def test_of_several(self, statuses: Sequence[Status], verdict: str) -> None:
        """All must agree for a pass; a vacuous block is none on its own, and does not take one away."""
        assert overall(blocks(*statuses)) == verdict
        assert overall(blocks(*reversed(statuses))) == verdict

    def test_of_nothing(self) -> None:
        """Where nothing was compared nothing passes."""
        assert overall([]) == "inconclusive"

    @pytest.mark.parametrize("status", INCONCLUSIVE)
    def test_one_that_is_not_known(self, status: Status) -> None:
        """Agreement elsewhere does not make up for it, and it does not excuse what is wrong elsewhere."""
        assert overall(blocks(status)) == "inconclusive"
        assert overall(blocks(Status.AGREES, status, Status.VACUOUS)) == "inconclusive"
        assert overall(blocks(Status.VACUOUS, status)) == "inconclusive"
        assert overall(blocks(status, Status.WRONG)) == "fail"


class TestInterrupted:
    @pytest.mark.parametrize("status", Status)
    @pytest.mark.parametrize("shape", [(3, 4), (30, 40), (500,), ()])
    def test_whole_blocks(self, status: Status, shape: tuple[int, ...]) -> None:
        """What was known of the whole block remains known; and what was unclear might have been cleared up."""
        before = reports.block("W", status, shape)
        known = status in (Status.AGREES, Status.VACUOUS, Status.WRONG)
        assert interrupted([before]) == (before if known else replace(before, status=Status.UNFINISHED),)

    @pytest.mark.parametrize("status", Status)
    @pytest.mark.parametrize("size", [0, 1, 11])
    def test_parts_of_blocks(self, status: Status, size: int) -> None:
        """Of a part only a mistake is known for certain."""
        before = replace(blocks(status)[0], size=size)
        assert interrupted([before])[0].status is (Status.WRONG if status is Status.WRONG else Status.UNFINISHED)

    def test_each_on_its_own(self) -> None:
        whole, part, wrong = blocks(Status.AGREES, Status.AGREES, Status.WRONG)
        part, wrong = replace(part, size=3), replace(wrong, size=1)
        assert interrupted([whole, part, wrong]) == (whole, replace(part, status=Status.UNFINISHED), wrong)
        assert overall(interrupted([whole, part])) == "inconclusive"
