"""Cells of a terminal: how wide a text is there, and and texts cut and padded by that."""

import unicodedata
from collections.abc import Iterator

# Jamo that join the syllable before them.
_JOINING = ("\u1160", "\u11ff"), ("\ud7b0", "\ud7ff")

# What makes a picture of the symbol before it, and what gives the picture before it a colour of skin.
_PICTURE, _SKIN = "\ufe0f", ("\U0001f3fb", "\U0001f3ff")


def cell_width(text: str) -> int:
    """Columns that a terminal takes for a text, which holds nothing that cannot be printed.

    Examples
    --------
    >>> cell_width("weights"), cell_width("重み"), cell_width("e\u0301")
    (7, 4, 1)
    """
    return len(text) if text.isascii() else sum(width for _, width in _cells(text))


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text with blanks behind it, or before it where it is to stand at the right, until it is so many columns wide."""
    blanks = " " * (width - cell_width(text))
    return blanks + text if right else text + blanks


def split(text: str, room: int) -> tuple[str, str]:
    """As much of a text as there is room for, at least a character, and the rest."""
    used = 0
    for place, (_, width) in enumerate(_cells(text)):
        used += width
        if used > room and place:
            return text[:place], text[place:]
    return text, ""


def shorten(text: str, room: int) -> str:
    """The text, without its middle if it is wider than there is room for, which is at least a column.

    Examples
    --------
    >>> shorten("encoder.layers[12].attention.Wq", 21)
    'encoder.la…tention.Wq'
    """
    if cell_width(text) <= room:
        return text
    front = split(text, room // 2)[0]
    if cell_width(front) > room // 2:  # not even one character fits
        front = ""
    left = room - cell_width(front) - 1
    widths = [width for _, width in _cells(text)]
    start, used = len(text), 0
    while start and used + widths[start - 1] <= left:
        start -= 1
        used += widths[start]
    while start < len(text) and not widths[start]:  # no accent without its letter
        start += 1
    return f"{front}…{text[start:]}"


def _cells(text: str) -> Iterator[tuple[str, int]]:
    """Each character with the columns by which it makes the text wider."""
    before = ""
    for each in text:
        width = _width(each, before)
        yield each, width
        if width and each != _PICTURE:
            before = each


def _width(each: str, before: str) -> int:
    """Columns of a character behind another one."""
    if each == _PICTURE:
        return int(bool(before) and not before.isalpha() and _width(before, "") == 1)
    if _SKIN[0] <= each <= _SKIN[1] and before and _width(before, "") == 2:
        return 0
    if unicodedata.category(each).startswith("M") or any(first <= each <= last for first, last in _JOINING):
        return 0
    return 2 if unicodedata.east_asian_width(each) in "WF" else 1
