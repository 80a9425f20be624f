"""How the entries that are perturbed are cut into chunks: the same chunks for any number of workers."""

import itertools
from collections.abc import Sequence

import numpy as np

from gradsweep._costs._numerics import Indices

# Numbers in the largest array of changes: 2 MB, of which a processor's caches hold a few. And how many lanes there are at least
# and at most: fewer are mostly overhead, more gain nothing.
ENTRIES, _FEWEST, _MOST = 2**18, 64, 4096

# What a first chunk may be longer than was meant, if nothing is left then.
_STRETCHED = 1.25


class Cut:
    """A cut of entries into chunks.

    Chunks are of one block where it has enough entries: what comes before it in the function does not change for any of them,
    and zeros are left out. Entries of small blocks go together.

    Parameters
    ----------
    indices : array of int of shape (n,)
        Which parameters, or directions.
    starts : sequence of int, optional
        Where the blocks begin. None if entries of all blocks may go together, in their order.
    steps : int
        Lanes that an entry takes.
    together : int
        How many entries of several blocks go together; 1 if each goes alone, be it of one block.

    Attributes
    ----------
    first : list of array of int
        Places in `indices` of the beginnings of large blocks. The largest change that they meet shows how many of the others go
        together.
    mixed : list of array of int
        Places of the entries of all other blocks.
    """

    def __init__(self, indices: Indices, starts: Sequence[int] | None, steps: int, together: int) -> None:
        self._steps = steps
        # Seconds that an entry takes, as far as is known; pieces that are done; what is done, and all there is, in these seconds.
        self._seconds = np.full(len(indices), np.nan)
        self._finished: list[Indices] = []
        self._done, self._whole = 0.0, 0.0
        self.first: list[Indices] = []
        self._left: dict[int, Indices] = {}
        everything = np.arange(len(indices))
        if starts is None or together == 1:
            self.mixed = _pieces(everything, together)
            return
        blocks = np.searchsorted(np.asarray(starts), indices, side="right")
        edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(indices)]
        few, small = max(_FEWEST // steps, 1), [everything[:0]]
        for begin, end in itertools.pairwise(edges):
            if end - begin <= 2 * few:
                small.append(everything[begin:end])
            else:
                length = end - begin if end - begin <= _STRETCHED * together else together
                self.first.append(everything[begin : begin + length])
                self._left[begin] = everything[begin + length : end]
        self.mixed = _pieces(np.concatenate(small), together)

    def after(self, first: Indices, largest: int, seconds: float) -> list[Indices]:
        """The rest of a block, if the largest change of its beginning, which took so long, has so many numbers in each lane."""
        left = self._left.pop(int(first[0]))
        self._seconds[first] = self._seconds[left] = seconds / len(first)
        return _pieces(left, entries_together(largest, self._steps))

    def share(self, piece: Indices) -> float:
        """How much of the work is done with a piece: as long as the first entries go, nothing that is known of."""
        self._finished.append(piece)
        if self._left:
            return 0.0
        if not self._whole:
            known = self._seconds[np.isfinite(self._seconds)]
            self._seconds[np.isnan(self._seconds)] = known.mean() if len(known) else 1.0
            self._whole = float(self._seconds.sum())
        self._done += sum(float(self._seconds[each].sum()) for each in self._finished)
        self._finished = []
        return self._done / self._whole if self._whole else 0.0


def entries_together(largest: int, steps: int) -> int:
    """How many entries go together if the largest change has so many numbers in each lane, and each entry takes so many lanes."""
    return max(min(max(ENTRIES // max(largest, 1), _FEWEST), _MOST) // steps, 1)


def _pieces(places: Indices, length: int) -> list[Indices]:
    """Places in pieces of nearly equal lengths, up to a length."""
    return np.array_split(places, -(-len(places) // length)) if len(places) else []
