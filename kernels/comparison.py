"""Comparison of two gradients, entry by entry, in one pass.

The rule is that of the verdict: entries differ if |g − ĝ| > tolerance·(|g| + |ĝ|) + noise. The numeric side and the noise may be
products of small factors, as where the change of each pre-activation is multiplied with the layer's inputs: they are formed a
stretch of a row at a time, which stays in L1, so that no second gradient of full size is ever held.
"""

import math

import numpy as np

from ._compile import Array, Integers, Place, kernel, part, point
from ._memory import matrix_at
from .activations import any_larger

#: Rows of the table of matrices, each with the columns address, rows, columns. The numeric side is `NUMERIC` + `LEFT` @ `RIGHT` +
#: `DECAY`·`WEIGHTS`, up to `ABOVE` where that is given; the noise is `NOISE` + `NOISE_LEFT` @ `NOISE_RIGHT` +
#: `DECAY_NOISE`·|`WEIGHTS`|. What is absent has no rows.
NUMERIC, LEFT, RIGHT, ABOVE, NOISE, NOISE_LEFT, NOISE_RIGHT, WEIGHTS = range(8)
MATRICES = 8

#: Places of `rule`.
TOLERANCE, DECAY, SHIFT, DECAY_NOISE, LEAST_NOISE = range(5)
RULE = 5

#: Rows of `room`.
BELOW_ROW, NEAREST_ROW, NOISE_ROW, SCORE_ROW = range(4)
ROOM = 4

#: Places of `totals`: sums of squares of g, ĝ, g − ĝ and noise, then counts of entries.
ANALYTIC = 0
NUMERIC_SQUARES = 1
GAP = 2
NOISE_SQUARES = 3
DIFFERING = 4
VACUOUS = 5
KINKS = 6
TOTALS = 7

# Entries at once: four rows of these are 32 KB.
_STRETCH = 1024


@point
def _add_4(
    left: Array, row: int, term: int, right: Array, first: Place, stride: Place, lanes: Place, out: Array, to: Place
) -> None:
    a, b, c, d = left[row, term], left[row, term + 1], left[row, term + 2], left[row, term + 3]
    from_b = first + stride
    from_c = from_b + stride
    from_d = from_c + stride
    for lane in range(lanes):
        total = a * right[first + lane] + b * right[from_b + lane]
        out[to + lane] += total + c * right[from_c + lane] + d * right[from_d + lane]


@point
def _add_multiple(factor: float, values: Array, first: Place, lanes: Place, out: Array, to: Place) -> None:
    for lane in range(lanes):
        out[to + lane] += factor * values[first + lane]


@point
def _add_size(factor: float, values: Array, first: Place, lanes: Place, out: Array, to: Place) -> None:
    for lane in range(lanes):
        out[to + lane] += factor * abs(values[first + lane])


@part
def _form(
    dense: Array, left: Array, right: Array, row: int, column: int, lanes: Place, start: float, out: Array, to: Place
) -> None:
    """Out = start + dense + left @ right for a stretch of a row, from a column on; dense and left may have no rows."""
    for lane in range(lanes):
        out[to + lane] = start
    if dense.shape[0]:
        _add_multiple(1.0, dense.reshape(-1), np.uint64(row * dense.shape[1] + column), lanes, out, to)
    terms, stride = right.shape[0], np.uint64(right.shape[1])
    whole = terms - terms % 4
    flat = right.reshape(-1)
    for term in range(0, whole, 4):
        _add_4(left, row, term, flat, np.uint64(term) * stride + np.uint64(column), stride, lanes, out, to)
    for term in range(whole, terms):
        _add_multiple(left[row, term], flat, np.uint64(term) * stride + np.uint64(column), lanes, out, to)


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


# Only sums of squares are reordered here, all of one sign; `_form` is compiled as part of this function, and its sums are of
# terms whose order means nothing.
@kernel("A2 I2 i i A1 M2 M2 M1", reorder_sums=True)
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
        Overwritten; holds ĝ, the noise and the scores of the last row afterwards. A score is how far an entry is from acceptance:
        above 1 it differs, and infinite is what a NaN is.
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
        source = first_row + row
        analytic_sum = numeric_sum = gap_sum = noise_sum = 0.0
        differing = vacuous = kinks = 0.0
        worst[row, 0] = 0.0
        worst[row, 1] = 0.0
        for begin in range(0, columns, _STRETCH):
            lanes = np.uint64(min(columns - begin, _STRETCH))
            column = first_column + begin
            to = np.uint64(BELOW_ROW) * row_length + np.uint64(begin)
            to_noise = np.uint64(NOISE_ROW) * row_length + np.uint64(begin)
            to_upper = np.uint64(NEAREST_ROW) * row_length + np.uint64(begin)
            to_nearest = to_upper if above.shape[0] else to
            to_score = np.uint64(SCORE_ROW) * row_length + np.uint64(begin)
            from_tests = np.uint64(row * columns + begin)
            _form(dense, left, right, source, column, lanes, rule[SHIFT], out, to)
            _form(noise, noise_left, noise_right, source, column, lanes, rule[LEAST_NOISE], out, to_noise)
            if weights.shape[0]:
                from_weights = np.uint64(source * weights.shape[1] + begin)
                _add_multiple(rule[DECAY], weights.reshape(-1), from_weights, lanes, out, to)
                _add_size(rule[DECAY_NOISE], weights.reshape(-1), from_weights, lanes, out, to_noise)
            if above.shape[0]:
                for lane in range(lanes):
                    out[to_upper + lane] = 0.0
                from_above = np.uint64(source * above.shape[1] + column)
                _add_multiple(1.0, above.reshape(-1), from_above, lanes, out, to_upper)
            # A loop for each purpose: all in one, it is not vectorised (9 ns an entry instead of 1).
            if above.shape[0]:
                for lane in range(lanes):
                    kinks += 1.0 if out[to + lane] < out[to_upper + lane] else 0.0
                _take_nearest(tests, from_tests, lanes, out, to, to_upper)
            _score(tests, from_tests, lanes, tolerance, out, to_nearest, to_noise, to_score)
            for lane in range(lanes):
                tested, numeric, slack = tests[from_tests + lane], out[to_nearest + lane], out[to_noise + lane]
                gap = abs(tested - numeric)
                accepted = gap <= tolerance * (abs(tested) + abs(numeric)) + slack and gap < math.inf
                differing += 0.0 if accepted else 1.0
                vacuous += 1.0 if abs(tested) <= slack and abs(numeric) <= slack else 0.0
            for lane in range(lanes):
                tested, numeric, slack = tests[from_tests + lane], out[to_nearest + lane], out[to_noise + lane]
                gap = tested - numeric
                analytic_sum += tested * tested
                numeric_sum += numeric * numeric
                gap_sum += gap * gap
                noise_sum += slack * slack
            # A search for the largest does not vectorise; whether there is a larger one does, and mostly there is none.
            if any_larger(out, to_score, lanes, max(worst[row, 0], min(largest, 1.0))):
                for lane in range(lanes):
                    if out[to_score + lane] > worst[row, 0]:
                        worst[row, 0] = out[to_score + lane]
                        worst[row, 1] = begin + int(lane)
                largest = max(largest, worst[row, 0])
        totals[ANALYTIC] += analytic_sum
        totals[NUMERIC_SQUARES] += numeric_sum
        totals[GAP] += gap_sum
        totals[NOISE_SQUARES] += noise_sum
        totals[DIFFERING] += differing
        totals[VACUOUS] += vacuous
        totals[KINKS] += kinks
