"""Counts, durations and lists of names in words."""

from collections.abc import Sequence

from gradsweep._escaping import escape
from gradsweep._presenting._cells import cell_width, shorten

# Columns below which a name that has lost its middle says nothing.
_LEAST = len("blocks[…].W")


def format_size(count: int, noun: str) -> str:
    """``1 entry``, ``61,481 entries``: a count with its noun."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def format_seconds(seconds: float) -> str:
    """Duration with three digits and a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def shown(name: str, room: int) -> str:
    """A name that somebody gave, made harmless, in so many columns."""
    return shorten(escape(name), room)


def list_names(names: Sequence[str], room: int, noun: str = "block") -> str:
    """Names with commas between them, as many as there is room for; the middle of a long one is left out before all are.

    Where there is no room for a single one they are counted, and called by the noun; one alone is a block.

    Examples
    --------
    >>> list_names(["W1", "b1", "W2", "b2"], 20)
    'W1, b1, W2 and b2'
    >>> list_names(["W1", "b1", "W2", "b2"], 14)
    'W1 and 3 more'
    """
    names = [escape(name) for name in names]
    for count in range(len(names), 0, -1):
        listed = names if count == len(names) else [*names[:count], f"{len(names) - count} more"]
        text = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
        if cell_width(text) <= room:
            return text
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    if room - len(more) < _LEAST:
        return format_size(len(names), noun if len(names) > 1 else "block")
    return shorten(names[0], room - len(more)) + more


def split_advice(reason: str) -> tuple[str, str]:
    """What the code did and where, and the advice that stands behind the place in parentheses, if there is one.

    Examples
    --------
    >>> split_advice("np.f has no difference form (cost.py, line 3, in cost: return np.f(x)); write np.g(x)")
    ('np.f has no difference form (cost.py, line 3, in cost: return np.f(x))', 'write np.g(x)')
    """
    what, found, advice = reason.rpartition("); ")
    # The place shows a line of code, in which there may be two statements.
    if not found or advice.count("(") != advice.count(")"):
        return reason, ""
    return f"{what})", advice
