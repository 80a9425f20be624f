"""Comparison of two gradients, entry by entry, in one pass.

The rule is that of the verdict: entries differ if |g − ĝ| > tolerance·(|g| + |ĝ|) + noise. The numeric side and the noise may be
products of small factors, as where the change of each pre-activation is multiplied with the layer's inputs: they are formed a
stretch of a row at a time, which stays in L1, so that no second gradient of full size is ever held.
"""

import math

import numpy as np

from ._compile import Array, Integers, Place, kernel, point, reducing_point
from ._memory import matrix_at, vector_at
from .activations import any_larger
from .products import add_multiple, add_product_to_4_rows, add_product_to_row

#: Rows of the table of matrices, each with the columns address, rows, columns. The numeric side is `NUMERIC` + `LEFT` @ `RIGHT` +
#: `DECAY`·`WEIGHTS`, up to `ABOVE` where that is given; the noise is `NOISE` + `NOISE_LEFT` @ `NOISE_RIGHT` +
#: `DECAY_NOISE`·|`WEIGHTS|`; `TESTED` is the gradient under test. What is absent has no rows.
NUMERIC, LEFT, RIGHT, ABOVE, NOISE, NOISE_LEFT, NOISE_RIGHT, WEIGHTS, TESTED = range(9)
MATRICES = 9
ADDRESS, ROWS, COLUMNS = range(3)

#: Places of `rule`.
TOLERANCE, DECAY, SHIFT, DECAY_NOISE, LEAST_NOISE = range(5)
RULE = 5

#: Rows that are formed at once.
BLOCK = 4

#: Rows of `room`: of a block the lower bounds, which are ĝ itself unless there is a kink, and the noise; of a row ĝ at kinks, and
#: the scores.
BELOW_ROW, NOISE_ROW, NEAREST_ROW, SCORE_ROW = 0, BLOCK, 2 * BLOCK, 2 * BLOCK + 1
ROOM = 2 * BLOCK + 2

#: Places of `totals`: sums of squares of g, ĝ, g − ĝ and noise, then counts of entries; the largest |g| and the noise at it, and
#: the largest noise.
ANALYTIC = 0
NUMERIC_SQUARES = 1
GAP = 2
NOISE_SQUARES = 3
DIFFERING = 4
VACUOUS = 5
KINKS = 6
LARGEST, NOISE_AT_LARGEST, LARGEST_NOISE = 7, 8, 9
TOTALS = 10

# Entries of a row at once: those of a block and its noise are 32 KB.
_STRETCH = 512


@point
def _add_size(factor: float, values: Array, first: Place, lanes: Place, out: Array, to: Place) -> None:
    for lane in range(lanes):
        out[to + lane] += factor * abs(values[first + lane])


@kernel("I2 i i i i i i u d M1 u u")
def _form(
    matrices: Integers,
    dense: int,
    left: int,
    right: int,
    row: int,
    rows: int,
    column: int,
    lanes: Place,
    start: float,
    out: Array,
    to: Place,
    out_stride: Place,
) -> None:
    """Out = start + dense + left @ right for a stretch of some rows, from a column on.

    `dense`, `left` and `right` are rows of the table of matrices, and may be absent.
    """
    values = vector_at(matrices[dense, ADDRESS], matrices[dense, ROWS] * matrices[dense, COLUMNS])
    for other in range(rows):
        to_other = to + np.uint64(other) * out_stride
        for lane in range(lanes):
            out[to_other + lane] = start
        if matrices[dense, ROWS]:
            from_dense = np.uint64((row + other) * matrices[dense, COLUMNS] + column)
            add_multiple(1.0, values, from_dense, out, to_other, lanes)
    if matrices[left, ROWS]:
        factors = matrix_at(matrices[left, ADDRESS], matrices[left, ROWS], matrices[left, COLUMNS])
        others = vector_at(matrices[right, ADDRESS], matrices[right, ROWS] * matrices[right, COLUMNS])
        first, stride = np.uint64(column), np.uint64(matrices[right, COLUMNS])
        if rows == BLOCK:
            add_product_to_4_rows(factors, row, others, first, stride, out, to, out_stride, lanes)
        else:
            for other in range(rows):
                add_product_to_row(factors, row + other, others, first, stride, out, to + np.uint64(other) * out_stride, lanes)


@point
def _take_nearest(tests: Array, from_tests: Place, lanes: Place, out: Array, to: Place, to_upper: Place) -> None:
    """Replace the upper bounds by what lies nearest to the tested values, between the bounds."""
    for lane in range(lanes):
        tested = tests[from_tests + lane]
        nearest = tested if tested <= out[to_upper + lane] else out[to_upper + lane]
        out[to_upper + lane] = nearest if tested >= out[to + lane] else out[to + lane]


@point
def _score(
    tests: Array,
    from_tests: Place,
    lanes: Place,
    tolerance: float,
    out: Array,
    to_nearest: Place,
    to_noise: Place,
    to_score: Place,
) -> None:
    """How far entries are from acceptance."""
    for lane in range(lanes):
        tested, numeric = tests[from_tests + lane], out[to_nearest + lane]
        gap = abs(tested - numeric)
        allowed = tolerance * (abs(tested) + abs(numeric)) + out[to_noise + lane]
        # What is infinite would be allowed an infinite gap, and infinite minus infinite is no number: neither is accepted.
        score = gap / allowed if gap > 0.0 else 0.0
        out[to_score + lane] = score if gap < math.inf else math.inf


@reducing_point
def _add_counts(
    tests: Array, from_tests: Place, lanes: Place, tolerance: float, out: Array, to_nearest: Place, to_noise: Place, totals: Array
) -> None:
    differing = vacuous = 0.0
    for lane in range(lanes):
        tested, numeric, slack = tests[from_tests + lane], out[to_nearest + lane], out[to_noise + lane]
        gap = abs(tested - numeric)
        accepted = gap <= tolerance * (abs(tested) + abs(numeric)) + slack and gap < math.inf
        differing += 0.0 if accepted else 1.0
        vacuous += 1.0 if abs(tested) <= slack and abs(numeric) <= slack else 0.0
    totals[DIFFERING] += differing
    totals[VACUOUS] += vacuous


@reducing_point
def _add_kinks(lanes: Place, out: Array, to: Place, to_upper: Place, totals: Array) -> None:
    kinks = 0.0
    for lane in range(lanes):
        kinks += 1.0 if out[to + lane] < out[to_upper + lane] else 0.0
    totals[KINKS] += kinks


@reducing_point
def _add_squares(
    tests: Array, from_tests: Place, lanes: Place, out: Array, to_nearest: Place, to_noise: Place, totals: Array
) -> None:
    analytic = numeric = gap = noise = 0.0
    for lane in range(lanes):
        own, other, slack = tests[from_tests + lane], out[to_nearest + lane], out[to_noise + lane]
        between = own - other
        analytic += own * own
        numeric += other * other
        gap += between * between
        noise += slack * slack
    totals[ANALYTIC] += analytic
    totals[NUMERIC_SQUARES] += numeric
    totals[GAP] += gap
    totals[NOISE_SQUARES] += noise


@point
def _note_largest(tests: Array, from_tests: Place, lanes: Place, out: Array, to_noise: Place, totals: Array) -> None:
    """Largest entry and largest noise so far. Searches do not vectorise, but whether there is a larger one does."""
    if any_larger(tests, from_tests, lanes, totals[LARGEST]):
        for lane in range(lanes):
            if abs(tests[from_tests + lane]) > totals[LARGEST]:
                totals[LARGEST] = abs(tests[from_tests + lane])
                totals[NOISE_AT_LARGEST] = out[to_noise + lane]
    if any_larger(out, to_noise, lanes, totals[LARGEST_NOISE]):
        for lane in range(lanes):
            totals[LARGEST_NOISE] = max(totals[LARGEST_NOISE], out[to_noise + lane])


@kernel("I2 i i A1 M1 M2 M1")
def compare(matrices: Integers, first_row: int, first_column: int, rule: Array, room: Array, worst: Array, totals: Array) -> None:
    """Compare entries, and add up what formula 3 needs.

    Parameters
    ----------
    matrices : array of int of shape (MATRICES, 3)
        The gradient g under test, the numeric gradient ĝ and the noise, as named above. Where `ABOVE` is given, ĝ is the value
        between the two that is nearest to g.
    first_row, first_column : int
        Where g lies in those matrices; `WEIGHTS` begins at its own first column.
    rule : array of shape (RULE,)
        Relative tolerance, factors of the weights, and what is added to ĝ and to the noise.
    room : array of shape (ROOM * n,), n >= columns
        Overwritten; if there is one row only, it holds ĝ, its noise and its scores afterwards. A score is how far an entry is
        from acceptance: above 1 it differs, and infinite is what a NaN is.
    worst : array of shape (rows, 2)
        Receives the largest score of a row and its column, if it is above 1, or the largest so far.
    totals : array of shape (TOTALS,)
        Sums and counts are added to it, and what is larger replaces the largest.
    """
    all_rows, columns = matrices[TESTED, ROWS], matrices[TESTED, COLUMNS]
    tests = vector_at(matrices[TESTED, ADDRESS], all_rows * columns)
    above = vector_at(matrices[ABOVE, ADDRESS], matrices[ABOVE, ROWS] * matrices[ABOVE, COLUMNS])
    weights = vector_at(matrices[WEIGHTS, ADDRESS], matrices[WEIGHTS, ROWS] * matrices[WEIGHTS, COLUMNS])
    row_length = np.uint64(room.shape[0] // ROOM)
    largest = 0.0
    for row in range(all_rows):
        worst[row, 0] = 0.0
        worst[row, 1] = 0.0
    for block in range(0, all_rows, BLOCK):
        rows = min(BLOCK, all_rows - block)
        source = first_row + block
        for begin in range(0, columns, _STRETCH):
            lanes = np.uint64(min(columns - begin, _STRETCH))
            column, place = first_column + begin, np.uint64(begin)
            of_below, of_noise = place, np.uint64(NOISE_ROW) * row_length + place
            to_upper = np.uint64(NEAREST_ROW) * row_length + place
            to_score = np.uint64(SCORE_ROW) * row_length + place
            _form(matrices, NUMERIC, LEFT, RIGHT, source, rows, column, lanes, rule[SHIFT], room, of_below, row_length)
            _form(
                matrices, NOISE, NOISE_LEFT, NOISE_RIGHT, source, rows, column, lanes, rule[LEAST_NOISE], room, of_noise,
                row_length,
            )  # fmt: skip
            for other in range(rows):
                row = block + other
                to = of_below + np.uint64(other) * row_length
                to_noise = of_noise + np.uint64(other) * row_length
                from_tests = np.uint64(row * columns + begin)
                if matrices[WEIGHTS, ROWS]:
                    from_weights = np.uint64((source + other) * matrices[WEIGHTS, COLUMNS] + begin)
                    add_multiple(rule[DECAY], weights, from_weights, room, to, lanes)
                    _add_size(rule[DECAY_NOISE], weights, from_weights, lanes, room, to_noise)
                to_nearest = to
                # A loop for each purpose, compiled on its own: all in one, they are not vectorised (9 ns an entry, not 1).
                if matrices[ABOVE, ROWS]:
                    to_nearest = to_upper
                    from_above = np.uint64((source + other) * matrices[ABOVE, COLUMNS] + column)
                    for lane in range(lanes):
                        room[to_upper + lane] = above[from_above + lane]
                    _add_kinks(lanes, room, to, to_upper, totals)
                    _take_nearest(tests, from_tests, lanes, room, to, to_upper)
                _score(tests, from_tests, lanes, rule[TOLERANCE], room, to_nearest, to_noise, to_score)
                _add_counts(tests, from_tests, lanes, rule[TOLERANCE], room, to_nearest, to_noise, totals)
                _add_squares(tests, from_tests, lanes, room, to_nearest, to_noise, totals)
                _note_largest(tests, from_tests, lanes, room, to_noise, totals)
                # A search for the largest does not vectorise; whether there is a larger one does, and mostly there is none.
                if any_larger(room, to_score, lanes, max(worst[row, 0], min(largest, 1.0))):
                    for lane in range(lanes):
                        if room[to_score + lane] > worst[row, 0]:
                            worst[row, 0] = room[to_score + lane]
                            worst[row, 1] = begin + int(lane)
                    largest = max(largest, worst[row, 0])
