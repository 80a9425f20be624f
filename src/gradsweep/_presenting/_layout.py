"""Lines of a report as pieces of text, each with what it is: what plain text and a terminal have in common.

A line is laid out once, for a number of columns. Plain text joins its pieces, a terminal gives each the style of its role. Both
say the same, line by line: neither knows of anything but pieces.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from gradsweep._escaping import escape
from gradsweep._presenting._cells import cell_width, pad, split

# A line of code as sentences name it: train.py, line 12, in cost.
_PLACE = re.compile(r"[^\s()]+, line \d+(?:, in [\w.<>]+)?")


class Role(Enum):
    """What a piece of text is."""

    TEXT = auto()
    STRONG = auto()
    FAINT = auto()
    PASS = auto()
    FAIL = auto()
    INCONCLUSIVE = auto()
    AGREES = auto()
    WRONG = auto()
    UNCLEAR = auto()
    DIGITS = auto()
    LABEL = auto()
    HELP = auto()
    PLACE = auto()


class Piece(NamedTuple):
    """A piece of a line."""

    text: str
    role: Role = Role.TEXT


Line = tuple[Piece, ...]


def join(line: Line) -> str:
    """A line as plain text."""
    return "".join(piece.text for piece in line)


def sentence(text: str) -> list[Piece]:
    """A sentence, in which lines of the user's code stand out."""
    pieces, end = [], 0
    for found in _PLACE.finditer(text):
        pieces += [Piece(text[end : found.start()]), Piece(found[0], Role.PLACE)]
        end = found.end()
    return [*pieces, Piece(text[end:])]


def wrap(pieces: Iterable[Piece], width: int, first: str = "", rest: str = "", *, whole: bool = False) -> list[Line]:
    """Text as lines.

    Parameters
    ----------
    pieces : iterable of Piece
        The text. What cannot be printed is escaped.
    width : int
        Columns of a line, at most.
    first, rest : str
        What the first line begins with, and what each of the others does.
    whole : bool, default: False
        Leave words whole that are longer than a line, as paths that somebody may copy.

    Returns
    -------
    list of Line
        At least one.
    """
    lines: list[list[Piece]] = [[Piece(first)]]
    used = cell_width(first)
    room = width - cell_width(rest)
    blank = False
    for word in _words(pieces):
        size = sum(cell_width(piece.text) for piece in word)
        if blank and used + 1 + size > width:
            lines.append([Piece(rest)])
            used, blank = width - room, False
        if blank:
            lines[-1].append(Piece(" ", word[0].role if lines[-1][-1].role is word[0].role else Role.TEXT))
            used += 1
        for piece in word:
            text = piece.text
            while not whole and used + cell_width(text) > width:
                start, left = split(text, width - used)
                if cell_width(start) <= width - used or used == width - room:  # else not even one character fits
                    lines[-1].append(Piece(start, piece.role))
                    text = left
                lines.append([Piece(rest)])
                used = width - room
            lines[-1].append(Piece(text, piece.role))
            used += cell_width(text)
        blank = True
    return [merge(line) for line in lines]


def merge(pieces: Iterable[Piece]) -> Line:
    """A line of as few pieces as will do, without blanks at its end."""
    merged: list[Piece] = []
    for text, role in pieces:
        if merged and (merged[-1].role is role or not text.strip(" ")):
            merged[-1] = Piece(merged[-1].text + text, merged[-1].role)
        elif text:
            merged.append(Piece(text, role))
    while merged and not merged[-1].text.rstrip(" "):
        merged.pop()
    if merged:
        merged[-1] = Piece(merged[-1].text.rstrip(" "), merged[-1].role)
    return tuple(merged)


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    head : str
        What stands above it.
    cells : sequence of Line
        One for each row.
    right : bool
        Whether the cells stand at its right side.
    """

    head: str
    cells: Sequence[Line]
    right: bool = False

    @property
    def width(self) -> int:
        """That of the widest cell."""
        return max(cell_width(self.head), *(line_width(cell) for cell in self.cells))


def line_width(line: Line) -> int:
    """Columns of a line."""
    return sum(cell_width(piece.text) for piece in line)


def tabulate(columns: Sequence[Column]) -> list[Line]:
    """Columns side by side, each with two blanks before it, and their heads above them."""
    head = [Piece("  " + pad(column.head, column.width, right=column.right), Role.FAINT) for column in columns]
    rows = zip(*(column.cells for column in columns), strict=True)
    return [merge(head), *(merge(_row(columns, cells)) for cells in rows)]


def _row(columns: Sequence[Column], cells: Sequence[Line]) -> Iterator[Piece]:
    for column, cell in zip(columns, cells, strict=True):
        blanks = " " * (column.width - line_width(cell))
        yield Piece("  " + (blanks if column.right else ""))
        yield from cell
        yield Piece("" if column.right else blanks)


def _words(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """What stands between blanks, in one role or several."""
    word: list[Piece] = []
    for text, role in pieces:
        for number, part in enumerate(escape(text).split(" ")):
            if number and word:
                yield word
                word = []
            if part:
                word.append(Piece(part, role))
    if word:
        yield word
