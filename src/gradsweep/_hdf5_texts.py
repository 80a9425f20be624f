"""Attributes that are texts of any length, which the HDF5 library reads without care.

An attribute has a length, and says where in a global heap its text lies. The library sets as many bytes to zero as the length
says, four gigabytes if it is damaged, before it looks at the heap; and a heap in which an object has no size it reads for ever.
Neither can be asked for, so both are looked for in the bytes of the file: attributes by their names, heaps by their mark.
"""

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from gradsweep._errors import DataError

#: Bytes of a text.
LONGEST = 2**16

# What each heap begins with: its mark and its version.
_HEAP = b"GCOL\x01"

# Bytes that are searched at once.
_BLOCK = 2**24

# Of an object in a heap: its number, references to it and reserved bytes come before its size.
_BEFORE_SIZE = 8


def require_sound_texts(place: str, counts: Mapping[str, int], sizes: tuple[int, int]) -> None:
    """Raise DataError unless the library would read certain attributes in little memory, and come to an end.

    Parameters
    ----------
    place : str
        Path of the file.
    counts : mapping of str to int
        How many texts each of the attributes has.
    sizes : (int, int)
        Bytes in which the file writes an address, and those of a length.
    """
    names = {name.encode() + b"\0": name for name in counts}
    found = set()
    with open(place, "rb") as stream:
        size = stream.seek(0, 2)
        left = size // _BEFORE_SIZE  # objects, of heaps that do not overlap
        for mark, start in _find(stream, [_HEAP, *names]):
            if mark == _HEAP:
                left = _walk(stream, start, sizes[1], left)
                if left < 0:
                    raise DataError(f"{place}: texts in it cannot be read: a global heap is damaged")
                continue
            length = _longest(stream, start, mark, counts[names[mark]], sizes[0])
            if length > LONGEST:
                raise DataError(f"{place}: attribute {names[mark]!r} has a text of {length} bytes, more than {LONGEST}")
            found |= {mark} if length >= 0 else set()
    for mark, name in names.items():
        if mark not in found:
            raise DataError(f"{place}: attribute {name!r} is stored in a way that cannot be looked through")


def _find(stream: BinaryIO, marks: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """What there is of some marks in a file, and where."""
    start, tail, overlap = 0, b"", max(map(len, marks)) - 1
    while True:
        stream.seek(start)
        block = stream.read(_BLOCK)
        if not block:
            return
        searched = tail + block
        for mark in marks:
            # What lies in the tail alone has been found before.
            found = searched.find(mark, max(len(tail) - len(mark) + 1, 0))
            while found >= 0:
                yield mark, start - len(tail) + found
                found = searched.find(mark, found + 1)
        start, tail = start + len(block), searched[-overlap:]


def _longest(stream: BinaryIO, start: int, name: bytes, count: int, width: int) -> int:
    """Length of the longest text of the attribute whose name stands here; negative if it is not the name of one."""
    for version, before in ((1, 8), (2, 8), (3, 9)):
        if start < before:
            continue
        stream.seek(start - before)
        head = stream.read(before)
        # Lengths of the name, of what describes the type, and of what describes the shape. Up to version 1 each is filled up.
        lengths = [int.from_bytes(head[at : at + 2], "little") for at in (2, 4, 6)]
        if head[0] != version or lengths[0] != len(name):
            continue
        stream.seek(start + sum(map(_aligned, lengths) if version == 1 else lengths))
        data = stream.read(count * (width + 8))
        return max((int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), width + 8)), default=0)
    return -1


def _walk(stream: BinaryIO, start: int, width: int, left: int) -> int:
    """How many objects are left after those of a heap; negative if one of these would not let the library go on."""
    before = _aligned(_BEFORE_SIZE + width)  # of the heap as of each object
    stream.seek(start + _BEFORE_SIZE)
    length = int.from_bytes(stream.read(width), "little")
    if length > stream.seek(0, 2) - start:
        return left  # the library sees that by itself
    place = before
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
