"""Maps as a page has them: what a script draws, a table of the same, and links to places in them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._diagnosis._evidence import Finding
from gradsweep._parameters import format_entry, format_index
from gradsweep._presenting import _page_words as words
from gradsweep._presenting._maps import Map, Scale
from gradsweep._verdict import Block, Status

# Cells that the table beside a map has, the worst first.
_LISTED = 20

# Links of a finding, at most.
_LINKS = 6

# Ticks along an axis, at most.
_TICKS = 8

#: Where, above the scale and below it, cells are drawn that are not on it.
_NOT_FINITE = 1.0
_BELOW_NOISE = -1.0


@dataclass(frozen=True)
class Link:
    """A link to a map, or to a place in it.

    Attributes
    ----------
    href, words : str
        Where to, and its text.
    mark : str
        Corners of the place, as JSON: columns from and to, rows from and to; empty for none.
    """

    href: str
    words: str
    mark: str = ""


@dataclass(frozen=True)
class Cell:
    """A line of the table beside a map.

    Attributes
    ----------
    link : Link
        Its entry.
    analytic, numeric, difference : str
        What the map shows there.
    """

    link: Link
    analytic: str
    numeric: str
    difference: str


# eq=False: maps do not compare.
@dataclass(frozen=True, eq=False)
class MapView:
    """A map, ready to be drawn.

    Attributes
    ----------
    number : int
        Its place on the page.
    map : Map
        The map.
    data : dict
        What the script draws.
    cells : list of Cell
        The worst of its cells.
    """

    number: int
    map: Map
    data: dict[str, Any]
    cells: list[Cell]

    @property
    def link(self) -> Link:
        """To the whole map."""
        return Link(f"#map-{self.number}", self.map.block.name)

    def link_to(self, index: Sequence[int]) -> Link:
        """To an entry."""
        return _link_to(self.number, self.map, index)

    @property
    def width(self) -> int:
        """Pixels that it may have across."""
        return 190 + (len(self.map.columns) - 1) * 26

    @property
    def height(self) -> int:
        """Pixels that it has down: fewer where there is little to be seen."""
        most = 180 if self.map.block.status is Status.AGREES else 460
        return 56 + min(max((len(self.map.rows) - 1) * 16, 36), most)

    @property
    def listed_whole(self) -> bool:
        """Whether the table beside it has all of its cells."""
        return len(self.cells) == self.map.difference.size

    @property
    def cell_words(self) -> str:
        """What a cell stands for."""
        if self.map.whole:
            return "Each cell is one entry."
        down, across = (_span(edges) for edges in (self.map.rows, self.map.columns))
        return f"Each cell is the worst of {down} × {across} entries."

    @property
    def fold_words(self) -> str:
        """How a block of more than two axes was folded, or nothing."""
        shape = self.map.block.shape
        if len(shape) < 3:
            return ""
        return f"The first axis goes down, the other {len(shape) - 1} across, the last one fastest."


def view_map(number: int, drawn: Map, scale: Scale) -> MapView:
    """A map as a page has it.

    Parameters
    ----------
    number : int
        Its place on the page.
    drawn : Map
        The map.
    scale : Scale
        Its colours.

    Returns
    -------
    MapView
        All texts in it are of digits: no name of the caller's is drawn by a script.
    """
    m, n = drawn.difference.shape
    every = [(row, column) for row in range(m) for column in range(n)]
    text = {cell: (words.readable(drawn.analytic[cell]), words.readable(drawn.numeric[cell])) for cell in every}
    index = {cell: format_index(drawn.index(*cell)) for cell in every}
    data = {
        "x": (drawn.columns - 0.5).tolist(),
        "y": (drawn.rows - 0.5).tolist(),
        "tick": [_tick(int(edges[-1])) for edges in (drawn.columns, drawn.rows)],
        "axis": _axes(drawn),
        "z": _heights(drawn, scale),
        "at": [[index[row, column] for column in range(n)] for row in range(m)],
        "analytic": [[text[row, column][0] for column in range(n)] for row in range(m)],
        "numeric": [[text[row, column][1] for column in range(n)] for row in range(m)],
        "difference": [[words.short(drawn.difference[row, column]) for column in range(n)] for row in range(m)],
    }
    bad = np.where(np.isnan(drawn.shown), math.inf, np.where(drawn.below_noise, -1.0, drawn.shown))
    bad[~drawn.compared] = -math.inf
    worst = np.argsort(-bad, axis=None, kind="stable")[: min(_LISTED, np.count_nonzero(drawn.compared))]
    cells = []
    for place in worst.tolist():
        cell = divmod(place, n)
        link = _link_to(number, drawn, drawn.index(*cell))
        cells.append(Cell(link, *text[cell], words.short(drawn.difference[cell])))
    return MapView(number, drawn, data, cells)


def _heights(drawn: Map, scale: Scale) -> list[list[float | None]]:
    """Of each cell the decimal logarithm of what it shows; beyond the ends of the scale what is not on it, or None."""
    with np.errstate(divide="ignore"):
        height = np.clip(np.log10(drawn.shown), scale.low, 0.0)
    height[np.isnan(drawn.shown)] = _NOT_FINITE
    height[drawn.below_noise] = scale.low + _BELOW_NOISE
    lines = zip(np.round(height, 2).tolist(), drawn.compared.tolist(), strict=True)
    return [[value if compared else None for value, compared in zip(*line, strict=True)] for line in lines]


def _tick(size: int) -> int:
    """Entries from tick to tick: 1, 2 or 5 times a power of ten."""
    least = size / _TICKS
    power: int = 10 ** math.floor(math.log10(max(least, 1.0)))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= least)


def _axes(drawn: Map) -> list[str]:
    """Titles of the axes across and down."""
    shape = drawn.block.shape
    if int(drawn.rows[-1]) > 1:
        return ["column", "row"] if len(shape) == 2 else ["all other axes", "first axis"]
    if drawn.block.size == 1:
        return ["", ""]
    return [{1: "index", 2: "row" if shape[-1] == 1 else "column"}.get(len(shape), "index in C order"), ""]


def _span(edges: Any) -> str:
    """How many lines of the matrix a line of cells has."""
    sizes = np.diff(edges)
    least, most = int(sizes.min()), int(sizes.max())
    return f"{least:,}" if least == most else f"{least:,} or {most:,}"


def _link_to(number: int, drawn: Map, index: Sequence[int]) -> Link:
    row, column = drawn.cell(index)
    name = format_entry(drawn.block.name, tuple(index))
    return Link(f"#map-{number}", name, _mark(drawn, (row, row + 1), (column, column + 1)))


def _mark(drawn: Map, rows: tuple[int, int], columns: tuple[int, int]) -> str:
    """Corners of some cells."""
    ends = [edges[at] - 0.5 for edges, pair in ((drawn.columns, columns), (drawn.rows, rows)) for at in pair]
    return json.dumps([float(end) for end in ends])


def links_of(finding: Finding, maps: Sequence[MapView], blocks: Sequence[Block]) -> list[Link]:
    """Places that a finding is about.

    Parameters
    ----------
    finding : Finding
        The finding.
    maps : sequence of MapView
        Maps of the page.
    blocks : sequence of Block
        All blocks.

    Returns
    -------
    list of Link
        To the rows, columns or entries that it names, else to the worst entry of each of its blocks. A block that has no map is
        shown in the table of blocks.
    """
    by_name = {each.map.block.name: each for each in maps}
    numbers = {block.name: number for number, block in enumerate(blocks)}
    links = []
    for name in finding.blocks:
        if name in by_name:
            links += _links_within(finding, by_name[name])
        elif name in numbers:
            links.append(Link(f"#block-{numbers[name]}", name))
    return links[:_LINKS]


def _links_within(finding: Finding, view: MapView) -> list[Link]:
    """Places in one block."""
    drawn, shape = view.map, view.map.block.shape
    places: list[Link] = []
    if len(shape) >= 2:
        places += [_row(view, row) for row in _numbers(finding, "rows") if row < shape[0]]
    if len(shape) == 2:
        places += [_column(view, column) for column in _numbers(finding, "columns") if column < shape[1]]
    indices = finding.evidence.get("indices", ())
    for index in indices if isinstance(indices, tuple) else ():
        whole = _whole(index, shape)
        if len(whole) == len(shape) and all(0 <= i < size for i, size in zip(whole, shape, strict=True)):
            places.append(view.link_to(whole))
    if not places and drawn.block.worst:
        places.append(view.link_to(drawn.block.worst[0].index))
    return places[:_LINKS]


def _whole(index: object, shape: Sequence[int]) -> tuple[int, ...]:
    """An index as a finding names it: of a vector, and of a single column, it may be a number."""
    if isinstance(index, tuple):
        return index
    return tuple(int(i) for i in np.unravel_index(int(index), shape)) if isinstance(index, int) else ()


def _numbers(finding: Finding, key: str) -> list[int]:
    value = finding.evidence.get(key, ())
    return [each for each in value if isinstance(each, int)] if isinstance(value, tuple) else []


def _row(view: MapView, number: int) -> Link:
    """To what has an index along the first axis."""
    drawn, rest = view.map, (0,) * (len(view.map.block.shape) - 1)
    row, column = drawn.cell((number, *rest))
    alone = int(drawn.rows[-1]) == 1
    columns = (column, column + 1) if alone else (0, len(drawn.columns) - 1)
    return Link(f"#map-{view.number}", f"{drawn.block.name}, row {number}", _mark(drawn, (row, row + 1), columns))


def _column(view: MapView, number: int) -> Link:
    """To a column of a matrix."""
    drawn = view.map
    _, column = drawn.cell((0, number))
    mark = _mark(drawn, (0, len(drawn.rows) - 1), (column, column + 1))
    return Link(f"#map-{view.number}", f"{drawn.block.name}, column {number}", mark)
