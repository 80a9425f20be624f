"""The gradient under test, as a report hands it out: the caller's own arrays, which may have been changed since the check."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import InputError
from gradsweep._lazy_blocks import LazyBlocks
from gradsweep._verdict import Entry

# Two sums over the same numbers, in whatever order, differ by less.
_SAME = 1e-9


@dataclass(frozen=True)
class Seal:
    """By what it is seen that a block is still what was checked.

    Attributes
    ----------
    norm : float
        Its Euclidean norm.
    entries : tuple of Entry
        Some of its entries.
    """

    norm: float
    entries: tuple[Entry, ...]

    def holds(self, block: NDArray[Any]) -> bool:
        """Whether it is, as far as norm and these entries tell."""
        for entry in self.entries:
            with np.errstate(over="ignore"):
                value = float(block[entry.index])
            if not np.array_equal(value, entry.analytic, equal_nan=True):
                return False
        with np.errstate(all="ignore"):
            norm = float(np.linalg.norm(np.asarray(block, dtype=np.float64).reshape(-1)))
        # Where squares overflow or vanish, or an entry is NaN, the norm tells nothing, and the entries must do.
        return not (0.0 < norm < np.inf) or not np.isfinite(self.norm) or abs(norm - self.norm) <= _SAME * self.norm


class AnalyticGradient(LazyBlocks):
    """The gradient under test by the names of the parameters: read-only arrays, not copied, since they may be large.

    Parameters
    ----------
    blocks : mapping of str to array
        As it was given.
    seals : mapping of str to Seal
        Of each block, from the check.
    """

    def __init__(self, blocks: Mapping[str, NDArray[Any]], seals: Mapping[str, Seal]) -> None:
        super().__init__(blocks)
        self._blocks, self._seals = dict(blocks), dict(seals)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A block; InputError if it has been changed after the check."""
        block = self._blocks[name].view()
        if not self._seals[name].holds(block):
            raise InputError(
                f"the gradient of {name} has been changed since the check: it was given as an array, which is not copied"
            )
        block.flags.writeable = False
        return block
