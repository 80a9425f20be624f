"""Comparison of two gradients, entry by entry, in one pass.

The rule is that of the verdict: entries differ if |g − ĝ| > tolerance·(|g| + |ĝ|) + noise. As separate NumPy expressions it is a
dozen passes over temporaries, which took longer than the sweep of a narrow network.
"""

import math

from ._compile import Array, kernel

#: Places of `totals`: sums of squares of g, ĝ, g − ĝ and noise, then counts of entries.
ANALYTIC = 0
NUMERIC = 1
GAP = 2
NOISE = 3
DIFFERING = 4
VACUOUS = 5
TOTALS = 6


# Only sums of squares are reordered here, all of one sign; nothing else in this kernel could be.
@kernel("A2 A2 A2 A2 d M2 M1", reorder_sums=True)
def compare(analytic: Array, below: Array, above: Array, noise: Array, tolerance: float, score: Array, totals: Array) -> None:
    """Compare entries, and add up what formula 3 needs.

    Parameters
    ----------
    analytic : array of shape (rows, columns)
        The tested gradient g.
    below, above : arrays of shape (rows, columns)
        The numeric gradient ĝ, in both; where they differ, ĝ is the value between them that is nearest to g.
    noise : array of shape (rows, columns)
        Rounding that the two may carry.
    tolerance : float
        Relative.
    score : array of shape (rows, columns)
        Receives how far each entry is from acceptance: above 1 it differs, and infinite is what a NaN is.
    totals : array of shape (TOTALS,)
        Sums and counts are added to it.
    """
    analytic_sum = numeric_sum = gap_sum = noise_sum = 0.0
    differing = vacuous = 0.0
    for row in range(analytic.shape[0]):
        for column in range(analytic.shape[1]):
            tested = analytic[row, column]
            slack = noise[row, column]
            numeric = tested
            if not tested >= below[row, column]:
                numeric = below[row, column]
            elif tested > above[row, column]:
                numeric = above[row, column]
            gap = abs(tested - numeric)
            allowed = tolerance * (abs(tested) + abs(numeric)) + slack
            # What is infinite would be allowed an infinite gap, and infinite minus infinite is no number: neither is accepted.
            finite = gap < math.inf
            accepted = finite and gap <= allowed
            score[row, column] = (gap / allowed if gap > 0.0 else 0.0) if finite else math.inf
            differing += 0.0 if accepted else 1.0
            vacuous += 1.0 if abs(tested) <= slack and abs(numeric) <= slack else 0.0
            analytic_sum += tested * tested
            numeric_sum += numeric * numeric
            gap_sum += gap * gap
            noise_sum += slack * slack
    totals[ANALYTIC] += analytic_sum
    totals[NUMERIC] += numeric_sum
    totals[GAP] += gap_sum
    totals[NOISE] += noise_sum
    totals[DIFFERING] += differing
    totals[VACUOUS] += vacuous
