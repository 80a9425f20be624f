"""Random directions in parts of a block, from a counter: any piece of one is drawn when it is needed, and none is kept whole.

Entries are independent, of mean 0 and variance 1, so that the square of a direction's product with an error is, on average, the
square of the error's norm. Those of even directions are ±1. Among these, two errors of equal size cancel in half of the cases,
as those of two entries that were swapped do; so entries of odd directions have sizes between ½ and 1½ of each other, too.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._types import Array

# Entries for which a step of the generator's counter is good: 256 bits of it, 16 for each.
_TOGETHER = 16

# Of these 16 bits the first is the sign, and the others say the size.
_SIGN, _SIZES = np.uint16(1 << 15), 1 << 15

# Sizes are spread evenly from ½ to 1½: their root mean square is that of 1 + 1/12.
_SPREAD = math.sqrt(1.0 + 1.0 / 12.0)

# Entries that are drawn at a time: some pages of memory, which stay in a core's own cache.
_DRAWN = 2**15


@dataclass(frozen=True)
class Region:
    """A rectangle of a block that is seen as a matrix.

    The first axis has the rows, all others together the columns; an array of one axis has a single column.

    Attributes
    ----------
    block : int
        Number of the block.
    rows, columns : tuple of int
        The first one, and the first that is not included.
    """

    block: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.rows[1] - self.rows[0]

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.columns[1] - self.columns[0]

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.height * self.width

    def halves(self, *, by_columns: bool = False) -> tuple["Region", ...]:
        """Two halves, by rows as long as there are several, then by columns, or the other way round; one entry is in one part."""
        if self.size == 1:
            return (self,)
        by_columns = self.height == 1 or (by_columns and self.width > 1)
        first, last = self.columns if by_columns else self.rows
        middle = (first + last) // 2
        parts = (first, middle), (middle, last)
        if by_columns:
            return tuple(Region(self.block, self.rows, part) for part in parts)
        return tuple(Region(self.block, part, self.columns) for part in parts)


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a block of this shape.

    Examples
    --------
    >>> matrix_shape((3, 4, 5)), matrix_shape((7,)), matrix_shape(())
    ((3, 20), (7, 1), (1, 1))
    """
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


@dataclass(frozen=True)
class Direction:
    """A direction of unit norm in a region: the same numbers wherever, and in whatever pieces, they are drawn.

    Attributes
    ----------
    region : Region
        Where it is not 0.
    columns : int
        Columns of the whole block.
    number : int
        Which one: those of other numbers are independent of it.
    seed : int
        The caller's.
    """

    region: Region
    columns: int
    number: int
    seed: int

    def parts(self) -> Iterator[tuple[slice, Array]]:
        """Some rows after the other, of the region's columns, not yet of unit norm.

        Yields
        ------
        rows : slice
            Rows of the block.
        values : array of shape (rows, columns of the region)
            Of variance 1.
        """
        first, last = self.region.rows
        # Of a single row the region's part alone, else whole rows, of which the part is taken.
        narrow = self.region.columns if self.region.height == 1 else (0, self.columns)
        width = narrow[1] - narrow[0]
        length = max(_DRAWN // width, 1)
        for row in range(first, last, length):
            end = min(row + length, last)
            start = row * self.columns + narrow[0]
            values = self._draw(start, start + (end - row) * width).reshape(end - row, width)
            kept = slice(self.region.columns[0] - narrow[0], self.region.columns[1] - narrow[0])
            yield slice(row, end), values[:, kept]

    @functools.cached_property
    def norm(self) -> float:
        """Norm of what `parts` has: what divides it."""
        if self.number % 2 == 0:
            return math.sqrt(self.region.size)
        return math.sqrt(math.fsum(float(np.vdot(values, values)) for _, values in self.parts()))

    def whole(self, shape: tuple[int, int]) -> Array:
        """All of it in the whole block, a matrix of this shape, zeros elsewhere; of unit norm."""
        result = np.zeros(shape)
        columns = slice(*self.region.columns)
        for rows, values in self.parts():
            result[rows, columns] = values / self.norm
        return result

    def _draw(self, start: int, stop: int) -> Array:
        """Entries from one place on in the block, in C order, up to another."""
        first, last = start // _TOGETHER, -(-stop // _TOGETHER)
        raw = np.random.Philox(key=self._key, counter=first).random_raw(4 * (last - first))
        drawn = raw.astype("<u8", copy=False).view("<u2")[start - first * _TOGETHER : stop - first * _TOGETHER]
        values: Array
        if self.number % 2 == 0:
            values = (drawn >> np.uint16(15)).astype(np.float64)
            values *= -2.0
            values += 1.0
            return values
        values = (drawn & ~_SIGN).astype(np.float64)
        values *= 1.0 / (_SIZES * _SPREAD)
        values += 0.5 / _SPREAD
        np.copysign(values, drawn.view("<i2"), out=values)
        return values

    @functools.cached_property
    def _key(self) -> NDArray[np.uint64]:
        source = np.random.SeedSequence([self.seed, self.region.block, self.number])
        return source.generate_state(2, np.uint64).astype(np.uint64)


def product(direction: Direction, block: NDArray[Any]) -> tuple[float, float]:
    """Product of a direction with a block, and the norm of the block where the direction is not 0.

    Parameters
    ----------
    direction : Direction
        Of unit norm.
    block : array of shape (rows, columns)
        Any real type.

    Returns
    -------
    product, norm : float
        NaN or infinite where the block is.
    """
    columns = slice(*direction.region.columns)
    sums, squares = [], []
    with np.errstate(all="ignore"):
        for rows, values in direction.parts():
            part = np.asarray(block[rows, columns], dtype=np.float64)
            sums.append(float(np.vdot(values, part)))
            squares.append(float(np.linalg.norm(part)))
    return float(np.sum(sums)) / direction.norm, math.hypot(*squares)
