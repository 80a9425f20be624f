"""Sums of squared weights times squared errors, without an array of squared weights.

All terms are of one sign, so their order means nothing but speed.
"""

import numpy as np

from ._compile import Array, kernel


@kernel("A2 A2 M2", reorder_sums=True)
def add(weights: Array, squares: Array, sums: Array) -> None:
    """Add Σ W[i, k]²·s[e, k] over k to each sum [e, i].

    Parameters
    ----------
    weights : array of shape (rows, columns)
        W.
    squares : array of shape (examples, columns)
        s.
    sums : array of shape (examples, rows)
        Added to.
    """
    factors, values = weights.reshape(-1), squares.reshape(-1)
    columns = np.uint64(weights.shape[1])
    for row in range(weights.shape[0]):
        first = np.uint64(row) * columns
        for example in range(squares.shape[0]):
            own = np.uint64(example) * columns
            total = 0.0
            for column in range(columns):
                weight = factors[first + column]
                total += weight * weight * values[own + column]
            sums[example, row] += total


@kernel("A2 A2 M2", reorder_sums=True)
def add_transposed(weights: Array, squares: Array, sums: Array) -> None:
    """Add Σ W[i, k]²·s[e, i] over i to each sum [e, k].

    Parameters
    ----------
    weights : array of shape (rows, columns)
        W.
    squares : array of shape (examples, rows)
        s.
    sums : array of shape (examples, columns)
        Added to.
    """
    factors, out = weights.reshape(-1), sums.reshape(-1)
    columns = np.uint64(weights.shape[1])
    for row in range(weights.shape[0]):
        first = np.uint64(row) * columns
        for example in range(squares.shape[0]):
            own, square = np.uint64(example) * columns, squares[example, row]
            for column in range(columns):
                weight = factors[first + column]
                out[own + column] += weight * weight * square
