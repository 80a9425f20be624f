"""Entries of a block that show most of it, where not all can be looked at."""

import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Places of entries within a block, in C order.
Places: TypeAlias = NDArray[np.intp]

# Entries of which a sample has its corners, one row, one column and pairs, each a quarter at most.
_PARTS = 4


def sample_places(shape: Sequence[int], count: int = 128, seed: int = 0) -> Places:
    """Entries that show most of a failing block.

    Parameters
    ----------
    shape : sequence of int
        Shape of the block.
    count : int, default: 128
        How many entries, at most.
    seed : int, default: 0
        Of the random choice.

    Returns
    -------
    array of int of shape (n,)
        C-order indices, ascending, each once: corners, one row and one column or parts of them, pairs (i, j) and (j, i) of a
        square matrix, and entries at random. All of a block of no more than `count` entries.

    Examples
    --------
    >>> sample_places((2, 3)).tolist()
    [0, 1, 2, 3, 4, 5]
    >>> len(sample_places((1000, 1000)))
    128
    """
    shape = tuple(shape)
    size = math.prod(shape)
    if size <= count:
        return np.arange(size)
    generator = np.random.default_rng(seed)
    chosen = _regular_places(shape, count, generator)
    while len(chosen) < count:
        chosen = np.union1d(chosen, generator.integers(size, size=count - len(chosen)))
    return chosen


def _regular_places(shape: tuple[int, ...], count: int, generator: np.random.Generator) -> Places:
    """Corners, one row, one column, and pairs on both sides of the diagonal."""
    part = max(count // _PARTS, 1)
    corners = itertools.islice(itertools.product(*({0, extent - 1} for extent in shape)), part)
    found = [np.array([np.ravel_multi_index(corner, shape) for corner in corners], dtype=np.intp)]
    long = [axis for axis, extent in enumerate(shape) if extent > 1]
    if len(long) > 1:
        middle = [int(generator.integers(extent)) for extent in shape]
        for axis in (long[0], long[-1]):
            index: list[int | Places] = list(middle)
            index[axis] = np.unique(np.linspace(0, shape[axis] - 1, min(part, shape[axis])).astype(np.intp))
            found.append(np.atleast_1d(np.ravel_multi_index(tuple(np.broadcast_arrays(*index)), shape)))
    if len(shape) == 2 and shape[0] == shape[1]:
        rows, columns = generator.integers(shape[0], size=(2, part // 2))
        found += [rows * shape[0] + columns, columns * shape[0] + rows]
    return np.unique(np.concatenate(found))[:count].astype(np.intp)
