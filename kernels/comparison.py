"""Comparison of two gradients, entry by entry, in one pass.

The rule is that of the verdict: entries differ if |g − ĝ| > tolerance·(|g| + |ĝ|) + noise. The numeric side and the noise may be
products of small factors, as where the change of each pre-activation is multiplied with the layer's inputs: they are formed a
stretch of a row at a time, which stays in L1, so that no second gradient of full size is ever held.
"""

import math

import numpy as np

from ._compile import Array, Integers, Place, kernel, part, point, reducing_point
from ._memory import matrix_at
from .activations import any_larger
from .products import add_multiple, add_product_to_4_rows, add_product_to_row

#: Rows of the table of matrices, each with the columns address, rows, columns. The numeric side is `NUMERIC` + `LEFT` @ `RIGHT` +
#: `DECAY`·`WEIGHTS`, up to `ABOVE` where that is given; the noise is `NOISE` + `NOISE_LEFT` @ `NOISE_RIGHT` +
#: `DECAY_NOISE`·|`WEIGHTS`|. What is absent has no rows.
NUMERIC, LEFT, RIGHT, ABOVE, NOISE, NOISE_LEFT, NOISE_RIGHT, WEIGHTS = range(8)
MATRICES = 8

#: Places of `rule`.
TOLERANCE, DECAY, SHIFT, DECAY_NOISE, LEAST_NOISE = range(5)
RULE = 5

#: Rows that are formed at once.
BLOCK = 4

#: Rows of `room`: of a block the lower bounds, which are ĝ itself unless there is a kink, and the noise; of a row ĝ at kinks, and
#: the scores.
BELOW_ROW, NOISE_ROW, NEAREST_ROW, SCORE_ROW = 0, BLOCK, 2 * BLOCK, 2 * BLOCK + 1
ROOM = 2 * BLOCK + 2

#: Places of `totals`: sums of squares of g, ĝ, g − ĝ and noise, then counts of entries.
ANALYTIC = 0
NUMERIC_SQUARES = 1
GAP = 2
NOISE_SQUARES = 3
DIFFERING = 4
VACUOUS = 5
KINKS = 6
TOTALS = 7

# Entries of a row at once: those of a block and its noise are 32 KB.
_STRETCH = 512


@point
def _add_size(factor: float, values: Array, first: Place, lanes: Place, out: Array, to: Place) -> None:
    for lane in range(lanes):
        out[to + lane] += factor * abs(values[first + lane])


@part
def _form(
    dense: Array,
    left: Array,
    right: Array,
    row: int,
    rows: int,
    column: int,
    lanes: Place,
    start: float,
    out: Array,
    to: Place,
    out_stride: Place,
) -> None:
    """Out = start + dense + left @ right for a stretch of some rows, from a column on; dense and left may have no rows."""
    for other in range(rows):
        to_other = to + np.uint64(other) * out_stride
        for lane in range(lanes):
            out[to_other + lane] = start
        if dense.shape[0]:
            from_dense = np.uint64((row + other) * dense.shape[1] + column)
            add_multiple(1.0, dense.reshape(-1), from_dense, out, to_other, lanes)
    flat, first, stride = right.reshape(-1), np.uint64(column), np.uint64(right.shape[1])
    if left.shape[0] and rows == BLOCK:
        add_product_to_4_rows(left, row, flat, first, stride, out, to, out_stride, lanes)
    elif left.shape[0]:
        for other in range(rows):
            add_product_to_row(left, row + other, flat, first, stride, out, to + np.uint64(other) * out_stride, lanes)


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


@kernel("A2 I2 i i A1 M2 M2 M1")
def compare(
    analytic: Array, matrices: Integers, first_row: int, first_column: int, rule: Array, room: Array, worst: Array, totals: Array
) -> None:
    """Compare entries, and add up what formula 3 needs.

    Parameters
    ----------
    analytic : array of shape (rows, columns)
        The tested gradient g.
    matrices : array of int of shape (MATRICES, 3)
        The numeric gradient ĝ and the noise, as named above. Where `ABOVE` is given, ĝ is the value between the two that is
        nearest to g.
    first_row, first_column : int
        Where g lies in those matrices; `WEIGHTS` begins at its own first column.
    rule : array of shape (RULE,)
        Relative tolerance, factors of the weights, and what is added to ĝ and to the noise.
    room : array of shape (ROOM, >= columns)
        Overwritten; if there is one row only, it holds ĝ, its noise and its scores afterwards. A score is how far an entry is
        from acceptance: above 1 it differs, and infinite is what a NaN is.
    worst : array of shape (rows, 2)
        Receives the largest score of a row and its column, if it is above 1, or the largest so far.
    totals : array of shape (TOTALS,)
        Sums and counts are added to it.
    """
    columns = analytic.shape[1]
    dense = matrix_at(matrices[NUMERIC, 0], matrices[NUMERIC, 1], matrices[NUMERIC, 2])
    left = matrix_at(matrices[LEFT, 0], matrices[LEFT, 1], matrices[LEFT, 2])
    right = matrix_at(matrices[RIGHT, 0], matrices[RIGHT, 1], matrices[RIGHT, 2])
    above = matrix_at(matrices[ABOVE, 0], matrices[ABOVE, 1], matrices[ABOVE, 2])
    noise = matrix_at(matrices[NOISE, 0], matrices[NOISE, 1], matrices[NOISE, 2])
    noise_left = matrix_at(matrices[NOISE_LEFT, 0], matrices[NOISE_LEFT, 1], matrices[NOISE_LEFT, 2])
    noise_right = matrix_at(matrices[NOISE_RIGHT, 0], matrices[NOISE_RIGHT, 1], matrices[NOISE_RIGHT, 2])
    weights = matrix_at(matrices[WEIGHTS, 0], matrices[WEIGHTS, 1], matrices[WEIGHTS, 2])
    tolerance = rule[TOLERANCE]
    tests, out = analytic.reshape(-1), room.reshape(-1)
    row_length = np.uint64(room.shape[1])
    largest = 0.0
    for row in range(analytic.shape[0]):
        worst[row, 0] = 0.0
        worst[row, 1] = 0.0
    for block in range(0, analytic.shape[0], BLOCK):
        rows = min(BLOCK, analytic.shape[0] - block)
        source = first_row + block
        for begin in range(0, columns, _STRETCH):
            lanes = np.uint64(min(columns - begin, _STRETCH))
            column, place = first_column + begin, np.uint64(begin)
            of_below, of_noise = place, np.uint64(NOISE_ROW) * row_length + place
            to_upper = np.uint64(NEAREST_ROW) * row_length + place
            to_score = np.uint64(SCORE_ROW) * row_length + place
            _form(dense, left, right, source, rows, column, lanes, rule[SHIFT], out, of_below, row_length)
            _form(noise, noise_left, noise_right, source, rows, column, lanes, rule[LEAST_NOISE], out, of_noise, row_length)
            for other in range(rows):
                row = block + other
                to = of_below + np.uint64(other) * row_length
                to_noise = of_noise + np.uint64(other) * row_length
                from_tests = np.uint64(row * columns + begin)
                if weights.shape[0]:
                    from_weights = np.uint64((source + other) * weights.shape[1] + begin)
                    add_multiple(rule[DECAY], weights.reshape(-1), from_weights, out, to, lanes)
                    _add_size(rule[DECAY_NOISE], weights.reshape(-1), from_weights, lanes, out, to_noise)
                to_nearest = to
                # A loop for each purpose, compiled on its own: all in one, they are not vectorised (9 ns an entry instead of 1).
                if above.shape[0]:
                    to_nearest = to_upper
                    from_above = np.uint64((source + other) * above.shape[1] + column)
                    for lane in range(lanes):
                        out[to_upper + lane] = 0.0
                    add_multiple(1.0, above.reshape(-1), from_above, out, to_upper, lanes)
                    _add_kinks(lanes, out, to, to_upper, totals)
                    _take_nearest(tests, from_tests, lanes, out, to, to_upper)
                _score(tests, from_tests, lanes, tolerance, out, to_nearest, to_noise, to_score)
                _add_counts(tests, from_tests, lanes, tolerance, out, to_nearest, to_noise, totals)
                _add_squares(tests, from_tests, lanes, out, to_nearest, to_noise, totals)
                # A search for the largest does not vectorise; whether there is a larger one does, and mostly there is none.
                if any_larger(out, to_score, lanes, max(worst[row, 0], min(largest, 1.0))):
                    for lane in range(lanes):
                        if out[to_score + lane] > worst[row, 0]:
                            worst[row, 0] = out[to_score + lane]
                            worst[row, 1] = begin + int(lane)
                    largest = max(largest, worst[row, 0])
