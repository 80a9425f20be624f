"""Maps of a block: how much its two gradients differ, entry by entry, on few enough cells to be drawn.

An entry's colour is its relative difference |g − ĝ| / (|g| + |ĝ|). What lies above the tolerance by no more than the noise of the
block is drawn as the tolerance, so that no entry stands out that the verdict lets pass: noise is known of a block as a whole, and
is at least that of each of its entries. An entry whose two values are both within that noise is drawn apart, as one of which
nothing can be said.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import InputError
from gradsweep._types import Array
from gradsweep._verdict import Block, Status, norm

Places = NDArray[np.intp]

#: Cells of a map, along each of its sides, at most; and where there are more than `MANY` maps.
CELLS, FEWER_CELLS = 64, 32

#: Maps from which on each has fewer cells.
MANY = 8

#: Maps that are drawn, at most.
MOST = 24

# Entries whose differences are formed at once: 1 MB an array.
_ENTRIES = 2**17

# How bad a cell is of which no entry was compared, as in a sample or a check that was interrupted; one whose entries are all
# below the noise; and one that has an entry that is not finite.
_NOT_COMPARED, _BELOW_NOISE, _NOT_FINITE = -2.0, -1.0, math.inf

#: What is shown first: the reading of a block's status, the worst before the best.
SEVERITY = (
    Status.WRONG,
    Status.NOT_FINITE,
    Status.UNRESOLVED,
    Status.AT_KINKS,
    Status.STEP_TOO_LARGE,
    Status.NOISY,
    Status.UNFINISHED,
    Status.VACUOUS,
    Status.AGREES,
)


@runtime_checkable
class ByRows(Protocol):
    """A side whose blocks need not be formed as a whole."""

    def by_rows(self, name: str) -> Callable[[slice], Array]:
        """What forms some rows of a block, a matrix."""


class Report(Protocol):
    """What is mapped of a report."""

    @property
    def tolerance(self) -> float: ...
    @property
    def blocks(self) -> tuple[Block, ...]: ...
    @property
    def analytic(self) -> Mapping[str, Array]: ...
    @property
    def numeric(self) -> Mapping[str, Array]: ...


# eq=False: arrays do not compare to a single truth value.
@dataclass(frozen=True, eq=False)
class Map:
    """A block on a grid of cells, each of which stands for some entries and shows the worst of them.

    Attributes
    ----------
    block : Block
        The block, folded to a matrix: the first axis goes down, all others go across, in C order. A vector, and a single column,
        goes across.
    rows, columns : arrays of int of shape (m + 1,) and (n + 1,)
        Where each line of cells begins in that matrix, and behind the last one where the matrix ends.
    difference : array of shape (m, n)
        Relative difference of the worst entry of each cell, between 0 and 1; NaN where a value is not finite.
    shown : array of shape (m, n)
        The same, less the noise where it is above the tolerance: what is to be drawn.
    below_noise, compared : arrays of bool of shape (m, n)
        Where all entries of a cell are below the noise of the block, on both sides; and where any of them was compared at all.
    place : array of int of shape (m, n)
        C-order index of that entry in the block.
    analytic, numeric : arrays of shape (m, n)
        Its two values.
    """

    block: Block
    rows: Places
    columns: Places
    difference: Array
    shown: Array
    below_noise: NDArray[np.bool_]
    compared: NDArray[np.bool_]
    place: Places
    analytic: Array
    numeric: Array

    def index(self, row: int, column: int) -> tuple[int, ...]:
        """Index, in the block, of the entry that a cell shows."""
        return tuple(int(i) for i in np.unravel_index(int(self.place[row, column]), self.block.shape))

    def cell(self, index: Sequence[int]) -> tuple[int, int]:
        """Row and column of the cell that an entry lies in."""
        flat = int(np.ravel_multi_index(tuple(index), self.block.shape)) if self.block.shape else 0
        row, column = divmod(flat, int(self.columns[-1]))
        return int(np.searchsorted(self.rows, row, "right")) - 1, int(np.searchsorted(self.columns, column, "right")) - 1

    @property
    def whole(self) -> bool:
        """Whether each cell is one entry."""
        return self.difference.size == int(self.rows[-1]) * int(self.columns[-1])


def folded(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the matrix that a block is drawn as.

    Examples
    --------
    >>> folded(()), folded((5,)), folded((5, 1)), folded((8, 3, 5, 5))
    ((1, 1), (1, 5), (1, 5), (8, 75))
    """
    size = math.prod(shape)
    if len(shape) < 2 or size == shape[0]:
        return 1, size
    return shape[0], math.prod(shape[1:])


def most_telling(blocks: Sequence[Block]) -> list[Block]:
    """Blocks with what is wrong first, and else in their own order."""
    return sorted(blocks, key=lambda block: SEVERITY.index(block.status))


@dataclass(frozen=True)
class Drawn:
    """Maps of a report.

    Attributes
    ----------
    maps : list of Map
        Those of blocks first that are wrong.
    lost : list of str
        Why a block has none that should have one, a sentence each.
    left_out : int
        Blocks for which there was no room.
    """

    maps: list[Map]
    lost: list[str]
    left_out: int


def map_blocks(report: Report) -> Drawn:
    """Maps of the blocks of a report.

    Parameters
    ----------
    report : Report
        The report; of a screen, which has no numeric gradient, there are none.

    Returns
    -------
    Drawn
        At most `MOST` maps. Of what has been changed since the check, so that a side can no longer be had, there is none.
    """
    names = set(report.numeric)  # whether a name is in it is answered by forming the block
    known = [block for block in most_telling(report.blocks) if block.name in names and 0 not in block.shape]
    chosen = known[:MOST]
    cells = CELLS if len(chosen) <= MANY else FEWER_CELLS
    maps, lost = [], []
    for block in chosen:
        try:
            maps.append(draw_map(report, block, cells))
        except InputError as error:
            lost.append(str(error))
    return Drawn(maps, lost, len(known) - len(chosen))


def draw_map(report: Report, block: Block, cells: int = CELLS) -> Map:
    """The map of one block.

    Parameters
    ----------
    report : Report
        The report.
    block : Block
        One of its blocks, with a numeric gradient.
    cells : int, optional
        How many there may be, down and across.

    Returns
    -------
    Map
        Of any block no more is in memory than `_ENTRIES` differences, beside what the report holds.
    """
    sides = _Sides(_reader(report.analytic, block), _reader(report.numeric, block), *folded(block.shape))
    total = sum(sides.norms())
    sampled = block.size < math.prod(block.shape)
    noise = block.noise * total if math.isfinite(block.noise * total) else 0.0
    rows, columns = _edges(sides.rows, cells), _edges(sides.columns, cells)
    grid = _Grid((len(rows) - 1, len(columns) - 1), noise, report.tolerance, sampled)
    for line in range(len(rows) - 1):
        for part in sides.parts(slice(int(rows[line]), int(rows[line + 1])), columns):
            grid.take(line, part)
    lost = grid.bad == _NOT_FINITE
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        difference = np.where(lost, math.nan, _relative(grid.analytic, grid.numeric))
    shown = np.where(lost, math.nan, np.maximum(grid.bad, 0.0))
    below_noise, compared = grid.bad == _BELOW_NOISE, grid.bad != _NOT_COMPARED
    return Map(block, rows, columns, difference, shown, below_noise, compared, grid.place, grid.analytic, grid.numeric)


def _edges(size: int, cells: int) -> Places:
    """Where each of some cells, as equal as can be, begins; and the size."""
    count = min(size, cells)
    return np.arange(count + 1) * size // count


def _reader(side: Mapping[str, Array], block: Block) -> Callable[[slice], Array]:
    """Forms some rows of one side of a block."""
    if isinstance(side, ByRows) and folded(block.shape) == block.shape:
        return side.by_rows(block.name)
    matrix = np.asarray(side[block.name]).reshape(folded(block.shape))
    return lambda rows: matrix[rows]


def _relative(analytic: Array, numeric: Array) -> Array:
    """Relative differences, of halves, which do not overflow; 0 where both are zero."""
    total = 0.5 * np.abs(analytic) + 0.5 * np.abs(numeric)
    quotient: Array = np.abs(0.5 * analytic - 0.5 * numeric) / total
    quotient[total == 0.0] = 0.0
    return quotient


def _badness(analytic: Array, numeric: Array, noise: float, tolerance: float) -> Array:
    """How bad entries are: their relative difference as it is drawn, or one of the two special values."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        bad = _relative(analytic, numeric)
        total = 0.5 * np.abs(analytic) + 0.5 * np.abs(numeric)
        # At most the tolerance for what differs by tolerance and noise.
        np.minimum(bad, np.maximum(bad - 0.5 * noise / total, tolerance), out=bad)
    bad[total <= 0.5 * noise] = _BELOW_NOISE
    bad[~(np.isfinite(analytic) & np.isfinite(numeric))] = _NOT_FINITE
    return bad


@dataclass(frozen=True, eq=False)
class _Part:
    """Some rows, and those columns that some cells of one line have.

    Attributes
    ----------
    analytic, numeric : arrays of shape (r, c)
        Both sides.
    corner : int
        C-order index of the first entry.
    width : int
        Columns of the whole matrix.
    cells : slice
        The cells.
    starts : array of int
        Where each of them begins, counted from the first column of the part.
    """

    analytic: Array
    numeric: Array
    corner: int
    width: int
    cells: slice
    starts: Places


class _Grid:
    """The worst entry of each cell, so far.

    Parameters
    ----------
    shape : tuple of int
        Cells down and across.
    noise : float
        Of the block, absolute.
    tolerance : float
        Relative.
    sampled : bool
        Whether a numeric value that is NaN is one that was not computed.
    """

    def __init__(self, shape: tuple[int, int], noise: float, tolerance: float, sampled: bool) -> None:
        self._noise, self._tolerance, self._sampled = noise, tolerance, sampled
        self.bad = np.full(shape, -math.inf)
        self.place = np.zeros(shape, dtype=np.intp)
        self.analytic, self.numeric = np.zeros(shape), np.zeros(shape)

    def take(self, line: int, part: _Part) -> None:
        """Take into a line of cells what is worse than what it has."""
        found = _badness(part.analytic, part.numeric, self._noise, self._tolerance)
        if self._sampled:
            found[np.isnan(part.numeric)] = _NOT_COMPARED
        most = np.maximum.reduceat(found, part.starts, axis=1)
        rows = most.argmax(axis=0)
        worst = most[rows, np.arange(len(rows))]
        ends = [*part.starts[1:].tolist(), found.shape[1]]
        for number in np.flatnonzero(worst > self.bad[line, part.cells]).tolist():
            start, row = int(part.starts[number]), int(rows[number])
            column = start + int(found[row, start : ends[number]].argmax())
            cell = line, part.cells.start + number
            self.bad[cell] = worst[number]
            self.place[cell] = part.corner + row * part.width + column
            self.analytic[cell], self.numeric[cell] = part.analytic[row, column], part.numeric[row, column]


@dataclass(frozen=True, eq=False)
class _Sides:
    """Both sides of a block, as matrices that are read some rows at a time.

    Attributes
    ----------
    analytic, numeric : callable
        Form some rows.
    rows, columns : int
        Of the matrix.
    """

    analytic: Callable[[slice], Array]
    numeric: Callable[[slice], Array]
    rows: int
    columns: int

    def norms(self) -> tuple[float, float]:
        """Norms of both sides; an entry that is not finite on either is left out."""
        analytic = numeric = 0.0
        for rows in self._some(slice(0, self.rows)):
            left, right = self.analytic(rows), self.numeric(rows)
            for first in range(0, self.columns, _ENTRIES):
                some = slice(first, first + _ENTRIES)
                finite = np.isfinite(left[:, some]) & np.isfinite(right[:, some])
                analytic = math.hypot(analytic, _norm_of(left[:, some], finite))
                numeric = math.hypot(numeric, _norm_of(right[:, some], finite))
        return analytic, numeric

    def parts(self, rows: slice, edges: Places) -> Iterator[_Part]:
        """One line of cells, in parts; a part has whole cells."""
        for some in self._some(rows):
            left, right = self.analytic(some), self.numeric(some)
            for cells in _grouped(edges, max(1, _ENTRIES // max(1, some.stop - some.start))):
                first, last = int(edges[cells.start]), int(edges[cells.stop])
                starts = edges[cells.start : cells.stop] - first
                own = slice(first, last)
                a, n = (np.asarray(side[:, own], dtype=np.float64) for side in (left, right))
                yield _Part(a, n, some.start * self.columns + first, self.columns, cells, starts)

    def _some(self, rows: slice) -> Iterator[slice]:
        """As many rows at a time as are formed at once."""
        length = max(1, _ENTRIES // self.columns)
        for start in range(rows.start, rows.stop, length):
            yield slice(start, min(start + length, rows.stop))


def _grouped(edges: Places, width: int) -> Iterator[slice]:
    """Neighbouring cells of at most some columns together, or single ones that are wider."""
    first = 0
    while first < len(edges) - 1:
        last = int(np.searchsorted(edges, edges[first] + width, "right")) - 1
        last = max(last, first + 1)
        yield slice(first, last)
        first = last


def _norm_of(values: Array, chosen: NDArray[np.bool_]) -> float:
    return norm(np.asarray(values if chosen.all() else values[chosen], dtype=np.float64))


#: Colours of a relative difference: of none at all and just within the tolerance; just above it, halfway to 1, and of 1.
AGREEING, DIFFERING = ("#d6e6f2", "#79aed2"), ("#fdc086", "#d7301f", "#5a0010")

#: Colours of a cell that is below the noise, and of one that is not finite.
SILENT_COLOUR, NOT_FINITE_COLOUR = "#b4b4b4", "#8b2fc9"


@dataclass(frozen=True)
class Scale:
    """A logarithmic scale of relative differences.

    Attributes
    ----------
    low, hinge : float
        Decimal logarithms of the smallest difference that is told from 0, and of the tolerance. The scale ends at 0.
    """

    low: float
    hinge: float

    @classmethod
    def of(cls, tolerance: float) -> "Scale":
        """The scale of a report: three decades below its tolerance, which may be anything."""
        hinge = min(math.log10(max(tolerance, 1e-15)), -0.5)
        return cls(math.floor(hinge) - 3.0, hinge)

    def colours(self) -> list[tuple[float, str]]:
        """Places on the scale, from 0 to 1, and their colours; two at the tolerance."""
        at = 1.0 - self.hinge / self.low
        first, last = AGREEING
        steps = len(DIFFERING) - 1
        above = [(at + (1.0 - at) * step / steps, colour) for step, colour in enumerate(DIFFERING)]
        return [(0.0, first), (at, last), *above]
