"""Tables of a report: its blocks, and the worst entries of a wrong gradient."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from gradsweep._escaping import escape
from gradsweep._parameters import format_entry
from gradsweep._presenting._cells import cell_width, shorten
from gradsweep._presenting._layout import Column, Line, Piece, Role, tabulate, wrap
from gradsweep._presenting._words import format_size, shown
from gradsweep._verdict import Block, Entry, Status

# From more blocks than this on, some are folded: of those of which there is something to be said so many are shown, of the others
# the first few. Of each status there are some, for one block that is noisy says more than a twentieth one that is wrong.
_FOLDED, _NOTEWORTHY, _FIRST, _OF_EACH = 24, 16, 8, 2

# Columns of names for whose sake words, noise, interval and shape are given up, one after the other.
_ENOUGH = (32, 32, 16, 12, 0)

_MOST_ENTRIES = 5

# Digits behind the point: all that a number of 17 digits has, and as many as show a difference, and two digits of it.
_ALL, _FEWEST, _BEYOND = 16, 4, 2

# Columns of an entry's label below which its ratio is given up, and up to which digits are.
_LABEL, _LONG_LABEL = 13, 30

# A ratio this close to 1 is told by its distance from it.
_CLOSE = 1e-3


def role_of(status: Status) -> Role:
    """What a status is, to the eye."""
    return {Status.AGREES: Role.AGREES, Status.WRONG: Role.WRONG}.get(status, Role.UNCLEAR)


def block_table(blocks: Sequence[Block], width: int, whole: str, difference: float | None = None) -> list[Line]:
    """A line for each block, and one for all of them.

    Parameters
    ----------
    blocks : sequence of Block
        The blocks.
    width : int
        Columns of a line.
    whole : str
        Where all of them are, for the case that some are folded of which there is something to be said.
    difference : float, optional
        Formula 3 over all of them; None: there is no such line.

    Returns
    -------
    list of Line
        Head, blocks, how many are folded, and all of them.
    """
    kept = _kept(blocks)
    folded = [block for number, block in enumerate(blocks) if number not in kept]
    table = _fitting([blocks[number] for number in sorted(kept)], width, blocks, difference)
    fold = _fold(folded, width, whole) if folded else []
    return [*table, *fold] if difference is None else [*table[:-1], *fold, table[-1]]


def entry_table(blocks: Iterable[Block], width: int) -> list[Line]:
    """Those entries of some blocks that are furthest from acceptance, on both sides; nothing if none is known."""
    differing = [entry for block in blocks for entry in block.worst if entry.score > 1.0]
    entries = sorted(differing, key=lambda entry: entry.score, reverse=True)[:_MOST_ENTRIES]
    if not entries:
        return []
    ratios = [format_ratio(entry) for entry in entries]
    fewest = max(_digits(entry) for entry in entries)
    wanted = max(_LABEL, *(min(cell_width(_label(entry, width)), _LONG_LABEL) for entry in entries))
    for digits in range(_ALL, fewest - 1, -1):
        columns = [*_numbers(entries, digits), _column("ratio", ratios)]
        room = _room(columns, width)
        if room >= wanted:
            break
    if room < _LABEL:
        columns = _numbers(entries, digits)
        room = _room(columns, width)
    labels = [(Piece(_label(entry, room)),) for entry in entries]
    return tabulate([Column("worst entries" if room >= _LABEL else "worst", labels), *columns])


def _kept(blocks: Sequence[Block]) -> set[int]:
    """Which blocks are shown: all, or those of which there is something to be said, and the first of the others."""
    if len(blocks) <= _FOLDED:
        return set(range(len(blocks)))
    seen: Counter[Status] = Counter()
    noteworthy, plain = [], []
    for number, block in enumerate(blocks):
        if block.status is Status.AGREES and not block.vacuous and not block.kinks:
            plain.append(number)
            continue
        seen[block.status] += 1
        agrees = block.status is Status.AGREES
        noteworthy.append((agrees or seen[block.status] > _OF_EACH, agrees, block.status is not Status.WRONG, number))
    return {number for *_, number in sorted(noteworthy)[:_NOTEWORTHY]} | set(plain[:_FIRST])


def _fold(blocks: Sequence[Block], width: int, whole: str) -> list[Line]:
    """How many more there are, and what is known of them."""
    counts = Counter(block.status for block in blocks)
    more = f"and {len(blocks):,} more {'block' if len(blocks) == 1 else 'blocks'}"
    largest = max((block.difference for block in blocks if block.status is Status.AGREES), default=0.0)
    agree = "agrees" if counts[Status.AGREES] == 1 else "agree"
    if len(counts) == 1 and Status.AGREES in counts:
        return wrap([Piece(f"{more} that {agree}, with differences up to {largest:.1e}", Role.FAINT)], width, "  ", "    ")
    parts = [f"{counts.pop(Status.AGREES):,} {agree}"] if Status.AGREES in counts else []
    parts += [f"{count:,} {status.value}" if parts or len(counts) > 1 else status.value for status, count in counts.items()]
    return wrap([Piece(f"{more}: {', '.join(parts)} ({whole} has all of them)", Role.STRONG)], width, "  ", "    ")


def _fitting(shown_blocks: Sequence[Block], width: int, blocks: Sequence[Block], difference: float | None) -> list[Line]:
    """The table with as many of its columns, and words, as there is room for beside the names."""
    total = [] if difference is None else ["all"]
    names = [escape(block.name) for block in shown_blocks] + total
    longest = max(cell_width(name) for name in ["block", *names])
    for layout, enough in zip(_layouts(shown_blocks, blocks, difference), _ENOUGH, strict=True):
        room = _room(layout, width)
        if room >= min(longest, enough):
            break
    cut = [(Piece(shorten(name, room)),) for name in names]
    return tabulate([Column("block", cut), *layout])


def _layouts(blocks: Sequence[Block], everything: Sequence[Block], difference: float | None) -> list[list[Column]]:
    """The columns behind the names, in ever less room."""
    last = [] if difference is None else [f"{sum(block.size for block in everything):,}"]
    shape = _column("shape", [_format_shape(block.shape) for block in blocks] + last)
    differences: list[Line] = [(Piece(f"{block.difference:.1e}", _stress(block)),) for block in blocks]
    differences += [] if difference is None else [(Piece(f"{difference:.1e}"),)]
    empty = [""] * len(last)
    interval = [_column("95 % interval", [format_interval(block) for block in blocks] + empty)]
    if all(block.interval is None for block in blocks):  # the differences are known, not estimated
        interval = []
    noise = _column("noise", [f"{block.noise:.1e}" for block in blocks] + empty)
    full, brief = (
        Column("verdict", [*((Piece(say(block), role_of(block.status)),) for block in blocks), *[()] * len(last)])
        for say in (describe, _describe_briefly)
    )
    formula = Column("difference", differences, right=True)
    return [
        [shape, formula, *interval, noise, full],
        [shape, formula, *interval, noise, brief],
        [shape, formula, *interval, brief],
        [shape, formula, brief],
        [formula, brief],
    ]


def _column(head: str, cells: Sequence[str]) -> Column:
    """A column of numbers."""
    return Column(head, [(Piece(cell),) for cell in cells], right=True)


def _stress(block: Block) -> Role:
    return Role.WRONG if block.status is Status.WRONG else Role.TEXT


def _room(columns: Sequence[Column], width: int) -> int:
    """Columns that are left before others: each of them, and the one before, has two blanks before it."""
    return width - sum(column.width + 2 for column in columns) - 2


def _format_shape(shape: tuple[int, ...]) -> str:
    return shorten(" x ".join(str(size) for size in shape), 24) if shape else "number"


def format_interval(block: Block) -> str:
    """The interval of a difference that is an estimate; nothing if it is none."""
    if block.interval is None:
        return ""
    return "exact" if block.size == 1 else "{:.0e} to {:.0e}".format(*block.interval)


def describe(block: Block) -> str:
    """What is known of a block, and of how many entries."""
    entries = format_size(block.size, "entry")
    if block.status is Status.WRONG and _looked_at(block) is None:
        return f"WRONG: {block.differing:,} of {entries}"
    if block.status is Status.UNFINISHED and block.looked_at is None:
        return f"{_describe_briefly(block)} entries"
    if block.status is Status.VACUOUS:
        return "vacuous: all entries are below the noise"
    if block.status is Status.AGREES and block.vacuous:
        return f"agrees; {block.vacuous:,} of {entries} vacuous"
    if block.status is Status.AGREES and block.size < math.prod(block.shape):
        return f"agrees; {block.size:,} of {format_size(math.prod(block.shape), 'entry')} looked at"
    return _describe_briefly(block)


def _describe_briefly(block: Block) -> str:
    if block.status is Status.WRONG:
        looked_at = _looked_at(block)
        seen = f"{block.size:,}" if looked_at is None else f"{looked_at:,} looked at"
        return f"WRONG: {block.differing:,} of {seen}"
    if block.status is Status.UNFINISHED and block.looked_at is not None:  # of a screen
        return f"{block.status.value}: entries undecided" if block.size else "not looked at"
    if block.status is Status.UNFINISHED:
        return f"{block.status.value}: {block.size:,} of {math.prod(block.shape):,}"
    if block.status is Status.AGREES and block.vacuous:
        return f"agrees; {block.vacuous:,} vacuous"
    return str(block.status.value)


def _looked_at(block: Block) -> int | None:
    """Entries that were looked at, if these are not all: those of a screen, or of a sample."""
    return block.size if block.looked_at is None and block.size < math.prod(block.shape) else block.looked_at


def _label(entry: Entry, room: int) -> str:
    """Name of an entry; of a long one the index is shown as a whole."""
    index = format_entry("", entry.index)
    return shorten(shown(entry.block, max(room - len(index), len("W…1"))) + index, room)


def format_ratio(entry: Entry) -> str:
    """How many times the numeric value the analytic one is."""
    if not entry.numeric:
        return "-"
    # A quotient of -0 is one of 0.
    ratio = entry.analytic / entry.numeric + 0.0
    return f"1{ratio - 1.0:+.1e}" if 0.0 < abs(ratio - 1.0) < _CLOSE else f"{ratio:.4g}"


def _digits(entry: Entry) -> int:
    """Digits behind the point that show the difference of the two numbers."""
    larger = max(abs(entry.analytic), abs(entry.numeric))
    gap = abs(entry.analytic - entry.numeric)
    if not (0.0 < gap < math.inf):
        return _FEWEST
    needed = math.ceil(math.log10(larger) - math.log10(gap)) + _BEYOND
    return min(max(needed, _FEWEST), _ALL)


def _numbers(entries: Sequence[Entry], digits: int) -> list[Column]:
    """Both sides, with so many digits."""
    written = [(f"{entry.analytic:.{digits}e}", f"{entry.numeric:.{digits}e}") for entry in entries]
    return [
        Column("analytic", [_compared(analytic, numeric) for analytic, numeric in written], right=True),
        _column("numeric", [numeric for _, numeric in written]),
    ]


def _compared(analytic: str, numeric: str) -> Line:
    """A number, with all digits from the first on that the other one does not share as those that are wrong."""
    (digits, _, power), (others, _, other) = analytic.partition("e"), numeric.partition("e")
    same = 0
    if power == other:
        while same < len(digits) and same < len(others) and digits[same] == others[same]:
            same += 1
    end = len(digits) if power == other else len(analytic)
    pieces = Piece(analytic[:same]), Piece(analytic[same:end], Role.DIGITS), Piece(analytic[end:])
    return tuple(piece for piece in pieces if piece.text)
