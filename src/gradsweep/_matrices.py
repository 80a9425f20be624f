"""Matrices that are given by small factors, and formed some rows at a time; and memory that begins at a cache line."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradsweep._types import Array

#: Doubles in a cache line: rows that begin at multiples of it are read and written in whole lines.
LINE = 8


def aligned(size: int) -> Array:
    """So many doubles, uninitialised, the first at the beginning of a cache line."""
    memory = np.empty(size + LINE)
    offset = -memory.ctypes.data // memory.itemsize % LINE
    return memory[offset : offset + size]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Dense values, or left @ right: one for each layer, its weights with the bias as last column.

    Attributes
    ----------
    dense : array of shape (rows, columns), optional
        All values, C-contiguous.
    left, right : arrays of shape (rows, terms) and (terms, columns), optional
        Factors, C-contiguous, in the place of `dense`.
    """

    dense: Array | None = None
    left: Array | None = None
    right: Array | None = None

    def rows(self, rows: slice, columns: slice) -> Array:
        """Some rows and columns as an array of their own."""
        if self.dense is not None:
            return self.dense[rows, columns].copy()
        assert self.left is not None
        assert self.right is not None
        # np.dot, since matmul takes five times as long where there is a single term.
        product: Array = np.dot(self.left[rows], self.right[:, columns])
        return product


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """A block's columns of a layer's matrix, with a multiple of the weights and a constant added.

    Attributes
    ----------
    matrix : Matrix
        Of the layer.
    first_column, columns : int
        The block's columns in it.
    weights : array of shape (rows, columns), optional
        Weights of the layer, C-contiguous.
    slope : float
        What they count.
    absolute : bool
        Whether it is their absolute values that count.
    constant : float
        Added to all.
    """

    matrix: Matrix
    first_column: int
    columns: int
    weights: Array | None = None
    slope: float = 0.0
    absolute: bool = False
    constant: float = 0.0

    def rows(self, rows: slice) -> Array:
        """Some rows as an array of their own."""
        values = self.matrix.rows(rows, slice(self.first_column, self.first_column + self.columns))
        if self.weights is not None:
            values += self.slope * (np.abs(self.weights[rows]) if self.absolute else self.weights[rows])
        values += self.constant
        return values

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        """Some entries, by rows and columns: array of the shape of either."""
        own = self.first_column + columns
        if self.matrix.dense is not None:
            values = self.matrix.dense[rows, own]
        else:
            assert self.matrix.left is not None
            assert self.matrix.right is not None
            values = np.einsum("nt,tn->n", self.matrix.left[rows], self.matrix.right[:, own])
        if self.weights is not None:
            weights = self.weights[rows, columns]
            values = values + self.slope * (np.abs(weights) if self.absolute else weights)
        result: Array = values + self.constant
        return result
