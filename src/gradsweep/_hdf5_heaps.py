"""Where HDF5 keeps texts of any length: global heaps, which the library reads for ever if one has an object without a size."""

from collections.abc import Iterator
from typing import BinaryIO

from gradsweep._errors import DataError

# What each collection begins with: its mark and its version.
_MARK = b"GCOL\x01"

# Bytes that are searched at once.
_BLOCK = 2**24

# Of an object: its number, references to it and reserved bytes come before its size.
_BEFORE_SIZE = 8


def require_sound_heaps(place: str, width: int) -> None:
    """Raise DataError if any global heap of a file has an object at which the HDF5 library would not come to an end.

    Where an attribute's text lies is known to the library alone, so all heaps are looked at: the file is searched for them.

    Parameters
    ----------
    place : str
        Path of the file.
    width : int
        Bytes in which the file writes a size.
    """
    with open(place, "rb") as stream:
        size = stream.seek(0, 2)
        left = size // _BEFORE_SIZE  # objects, of collections that do not overlap
        for start in _find_marks(stream):
            left = _walk(stream, start, width, min(left, size))
            if left < 0:
                raise DataError(f"{place}: the texts in it cannot be read: a global heap is damaged")


def _find_marks(stream: BinaryIO) -> Iterator[int]:
    """Where the collections of a file begin."""
    start, tail = 0, b""
    while True:
        stream.seek(start)
        block = stream.read(_BLOCK)
        if not block:
            return
        searched = tail + block
        found = searched.find(_MARK)
        while found >= 0:
            yield start - len(tail) + found
            found = searched.find(_MARK, found + 1)
        start, tail = start + len(block), searched[1 - len(_MARK) :]


def _walk(stream: BinaryIO, start: int, width: int, left: int) -> int:
    """How many objects are left after those of a collection; negative if one of these would not let the library go on."""
    header, before = _aligned(_BEFORE_SIZE + width), _aligned(_BEFORE_SIZE + width)
    stream.seek(start + _BEFORE_SIZE)
    length = int.from_bytes(stream.read(width), "little")
    if length > stream.seek(0, 2) - start:
        return left  # the library sees that by itself
    place = header
    while place + before <= length and left >= 0:
        stream.seek(start + place)
        described = stream.read(_BEFORE_SIZE + width)
        number, size = int.from_bytes(described[:2], "little"), int.from_bytes(described[_BEFORE_SIZE:], "little")
        # What is free counts its own header.
        step = before + _aligned(size) if number else size
        if step < before or place + step > length:
            return -1
        place, left = place + step, left - 1
    return left


def _aligned(size: int) -> int:
    return -(-size // 8) * 8
