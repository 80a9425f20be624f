"""Which entries are looked at, where not all of them are."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from gradsweep._costs._numerics import Indices
from gradsweep._errors import InputError
from gradsweep._lazy_blocks import LazyBlocks
from gradsweep._trees import Leaf
from gradsweep._types import Array

#: Names of blocks, or a number of entries of each block.
Selection: TypeAlias = tuple[str, ...] | int

# Names that are shown in an error.
_LISTED = 12


def read_selection(select: Any) -> Selection | None:
    """The argument `select` of :func:`gradsweep.check`; InputError if it is none."""
    if select is None:
        return None
    if isinstance(select, str):
        return (select,)
    if isinstance(select, int | np.integer) and not isinstance(select, bool) and select > 0:
        return int(select)
    if isinstance(select, Sequence | set | frozenset) and select and all(isinstance(name, str) for name in select):
        # The order of a set is another one in each process, and a checkpoint is known by what was selected.
        return tuple(sorted(select) if isinstance(select, set | frozenset) else dict.fromkeys(select))
    raise InputError(f"select must be names of blocks, or a number of entries of each block, of at least 1, not {select!r}")


def chosen_entries(selection: Selection | None, leaves: Sequence[Leaf], seed: int) -> list[Indices]:
    """Entries of each block that are looked at.

    Parameters
    ----------
    selection : tuple of str, int or None
        Names of blocks, a number of entries of each block, or all.
    leaves : sequence of Leaf
        The blocks.
    seed : int
        Draws entries.

    Returns
    -------
    list of array of int
        For each block ascending indices in the flat vector; none of those that are not selected.

    Raises
    ------
    InputError
        There is no block of a name.
    """
    if isinstance(selection, int):
        generator = np.random.default_rng(seed)
        return [sampled_entries(leaf, selection, generator) for leaf in leaves]
    unknown = [name for name in selection or () if name not in {leaf.name for leaf in leaves}]
    if unknown:
        names = ", ".join(leaf.name for leaf in leaves[:_LISTED]) + (", …" if len(leaves) > _LISTED else "")
        raise InputError(f"select: there is no block {unknown[0]!r}; the blocks are {names}")
    stops = [leaf.stop if is_selected(selection, leaf.name) else leaf.start for leaf in leaves]
    return [np.arange(leaf.start, stop, dtype=np.intp) for leaf, stop in zip(leaves, stops, strict=True)]


def describe_unselected(selection: Selection | None, leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """What a report says of blocks that are not in it, a sentence if there are any."""
    left = [leaf.name for leaf in leaves if not is_selected(selection, leaf.name)]
    if not left:
        return ()
    names = ", ".join(left[:_LISTED]) + (f" and {len(left) - _LISTED} more" if len(left) > _LISTED else "")
    return (f"not selected, and so not looked at: {names}",)


def is_selected(selection: Selection | None, name: str) -> bool:
    """Whether something of a block is looked at."""
    return not isinstance(selection, tuple) or name in selection


def sampled_entries(leaf: Leaf, count: int, generator: np.random.Generator) -> Indices:
    """So many entries of a block, the first and the last among them, or all if there are no more."""
    if leaf.size <= count:
        return np.arange(leaf.start, leaf.stop, dtype=np.intp)
    if count < 2:
        return generator.integers(leaf.start, leaf.stop, count).astype(np.intp)
    # Not of a list of all entries, of which there may be very many.
    inner = leaf.start + 1 + generator.choice(leaf.size - 2, count - 2, replace=False)
    return np.sort(np.concatenate([[leaf.start, leaf.stop - 1], inner])).astype(np.intp)


class ScatteredGradient(LazyBlocks):
    """Some entries of a gradient, by the names of the parameters: NaN at all others. Arrays are formed when they are asked for.

    Parameters
    ----------
    leaves : sequence of Leaf
        The blocks.
    indices : sequence of array of int
        Which entries of each block are known, in the flat vector.
    values : sequence of array
        Their values.
    """

    def __init__(self, leaves: Sequence[Leaf], indices: Sequence[Indices], values: Sequence[Array]) -> None:
        super().__init__([leaf.name for leaf in leaves])
        self._known = {leaf.name: each for leaf, *each in zip(leaves, indices, values, strict=True)}
        self._leaves = {leaf.name: leaf for leaf in leaves}

    def __getitem__(self, name: str) -> Array:
        """A block, read-only."""
        leaf, (indices, values) = self._leaves[name], self._known[name]
        block = np.full(leaf.size, np.nan)
        block[indices - leaf.start] = values
        block.flags.writeable = False
        return block.reshape(leaf.shape)
