"""What a data set may ask of the HDF5 library, which believes what a file says of itself.

Memory and time are bounded by the bytes that are really there, before any number is read. Up to 1 GiB an array may be anything:
all alike, or never written. What is larger must be stored, at no more than 1032 bytes of numbers for each byte. That is the limit
of deflate, the compressor that every writer has: not even a file of nothing but zeros is beyond it if it has been written with
gzip. Better compressors reach more with constants alone, and nobody trains a network of more than 1 GiB of constants.

The rest is about chunks. The library reads behind the end of one that is shorter than its shape says, and before the beginning of
one that is shorter than its checksum; a filter may fill any amount of memory. So the chunks that are about to be read are looked
at first, and those of deflate are unpacked once more by zlib, never further than they may reach.
"""

import math
import os
import zlib
from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradsweep._errors import DataError
from gradsweep._escaping import one_line
from gradsweep._memory import available_memory

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped, unused-ignore]

#: Bytes that any file may ask for, however little it stores.
FREE = 2**30

# Bytes that deflate makes of one, at most.
_EXPANSION = 1032

# Chunks that any file may have: one that was never written takes 25 µs.
_FREE_CHUNKS = 2**16

# Bytes that the index has for each chunk, at least.
_INDEXED = 8

_CHECKSUM = 4

# Filters by their numbers, which are registered.
_DEFLATE, _SHUFFLE, _FLETCHER32, _SZIP, _NBIT, _SCALEOFFSET, _LZF = 1, 2, 3, 4, 5, 6, 32000

# Of the parameters of szip: numbers in a block, and in a scanline, at most.
_SZIP_BLOCK, _SZIP_SCANLINE = 32, 4096

# Of the parameters of nbit: a type that has no parts.
_ATOMIC = 1


def require_layout(data_set: "h5py.Dataset", name: str, place: str) -> None:
    """Raise DataError unless a data set stores as much as its shape says, or is cut into chunks of a bearable size.

    Parameters
    ----------
    data_set : h5py.Dataset
        Data set, which has a shape.
    name : str
        Its name, for messages.
    place : str
        Path of the file, for messages.
    """
    import h5py

    width = data_set.id.get_type().get_size()
    chunks, stored = data_set.chunks, data_set.id.get_storage_size()
    if chunks is not None:
        # HDF5 allocates a whole chunk even for one row.
        if math.prod(chunks) * width > FREE:
            raise DataError(f"{place}: {name} has chunks of {math.prod(chunks)} numbers, more than {FREE // width}")
        return
    declared = math.prod(data_set.shape) * width
    if stored != declared and not (stored == 0 and data_set.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS):
        raise DataError(f"{place}: {name} has {declared} bytes by its shape, but {stored} by its layout")


def require_stored(declared: int, stored: int, file_size: int, message: str) -> None:
    """Raise DataError if there are many more bytes by a shape than could be stored.

    Parameters
    ----------
    declared : int
        Bytes by the shape.
    stored : int
        Bytes that the file says to store, which may lie in one place.
    file_size : int
        Bytes that it has.
    message : str
        What to say.
    """
    if declared > max(FREE, _EXPANSION * min(stored, file_size)):
        raise DataError(message)


def require_memory(needed: int, place: str, purpose: str) -> None:
    """Raise DataError if something needs more memory than there is.

    Parameters
    ----------
    needed : int
        Bytes.
    place : str
        Path of the file, for messages.
    purpose : str
        What it is that needs them.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise DataError(f"{place}: {purpose} takes {_size(needed)} of memory, of which {_size(available)} are available")


def require_chunks(data_set: "h5py.Dataset", name: str, place: str, rows: Container[int] | None = None, count: int = 0) -> None:
    """Raise DataError unless the chunks that are about to be read are safe to read.

    Parameters
    ----------
    data_set : h5py.Dataset
        Data set whose numbers are to be read.
    name : str
        Its name, for messages.
    place : str
        Path of the file, for messages.
    rows : container of int, optional
        Which chunks, by their number along the first axis; all by default.
    count : int, default: 0
        How many numbers along the first axis these are.
    """
    if data_set.chunks is None:
        return
    across = [-(-length // side) for length, side in zip(data_set.shape, data_set.chunks, strict=True)]
    touched = (across[0] if rows is None else count) * math.prod(across[1:])
    file_size = os.stat(place).st_size
    if touched > max(_FREE_CHUNKS, file_size // _INDEXED):
        raise DataError(f"{place}: {name} is cut into {touched} chunks, more than a file of {file_size} bytes can store")
    chunk = _Chunk.of(data_set, name, place)
    for info in _stored_chunks(data_set.id):
        if rows is not None and info.chunk_offset[0] // data_set.chunks[0] not in rows:
            continue
        if info.byte_offset + info.size > file_size:
            raise DataError(f"{place}: {name} has a chunk that lies behind the end of the file")
        # Of nothing, lzf tries for ever to make something.
        size = chunk.unpacked_size(info) if info.size else 0
        if size != chunk.size:
            raise DataError(f"{place}: {name} has a chunk of {size} bytes, but {chunk.size} are needed")


def _stored_chunks(identifier: Any) -> list[Any]:
    """Where each chunk is stored that has been written."""
    if not hasattr(identifier, "chunk_iter"):  # built on an HDF5 of before 2023
        return [identifier.get_chunk_info(number) for number in range(identifier.get_num_chunks())]
    found: list[Any] = []
    identifier.chunk_iter(found.append)
    return found


@dataclass(frozen=True)
class _Chunk:
    """How the chunks of a data set are packed.

    Attributes
    ----------
    data_set : h5py.Dataset
        The data set.
    name, place : str
        Its name, and the path of its file, for messages.
    size : int
        Bytes that each has when it is unpacked.
    filters : tuple of (int, tuple of int)
        Number and parameters of each filter, in the order in which they were applied.
    """

    data_set: "h5py.Dataset"
    name: str
    place: str
    size: int
    filters: tuple[tuple[int, tuple[int, ...]], ...]

    @classmethod
    def of(cls, data_set: "h5py.Dataset", name: str, place: str) -> "_Chunk":
        """Look at the filters of a data set; DataError if one is not installed, or asks for another size than the chunks have."""
        import h5py

        size = math.prod(data_set.chunks) * data_set.id.get_type().get_size()
        listed = data_set.id.get_create_plist()
        filters = []
        for number in range(listed.get_nfilters()):
            code, _, values, title = listed.get_filter(number)
            if not h5py.h5z.filter_avail(code):
                label = one_line(title.decode("utf-8", "replace"), 60)
                raise DataError(f"{place}: {name} is packed by filter {code} ({label}), which is not installed")
            filters.append((int(code), tuple(map(int, values))))
        chunk = cls(data_set, name, place, size, tuple(filters))
        for code, values in filters:
            if not _fits(code, values, size, data_set.id.get_type().get_size()):
                raise chunk._error("has a filter whose parameters are not those of its chunks")
        return chunk

    def unpacked_size(self, info: Any) -> int:
        """Bytes of a chunk when it is unpacked; DataError if that cannot be told, or is not to be done.

        Parameters
        ----------
        info : h5py.h5d.StoreInfo
            Where the chunk is stored.

        Returns
        -------
        int
            Bytes that there will be. It takes the word of filters other than deflate, which were held to it.
        """
        size, packed = int(info.size), None
        applied = [each for number, each in enumerate(self.filters) if not info.filter_mask >> number & 1]
        most = 2 * self.size + 1024  # no filter makes as much more of a chunk
        while applied:
            code, values = applied.pop()
            if size > most:
                raise self._error(f"has a chunk of {size} bytes, but {self.size} are needed")
            if code == _FLETCHER32:
                if size <= _CHECKSUM:
                    raise self._error(f"has a chunk of {size} bytes, of which {_CHECKSUM} are its checksum")
                size -= _CHECKSUM
                packed = None if packed is None else packed[:size]
            elif code == _DEFLATE:
                packed = self._inflated(self._stored(info)[:size] if packed is None else packed, most)
                size = len(packed)
            elif code == _SHUFFLE:
                if any(inner == _DEFLATE for inner, _ in applied):
                    packed = _unshuffled(self._stored(info)[:size] if packed is None else packed, values)
            else:
                if any(inner not in (_SHUFFLE, _NBIT, _SCALEOFFSET) for inner, _ in applied):
                    # These depend on what this one makes, which is not seen.
                    raise self._error("has filters in an order that cannot be looked through")
                # Szip begins with the size of what it makes.
                head = (self._stored(info) if packed is None else packed)[:4] if code == _SZIP else b""
                size = int.from_bytes(head, "little") if head else self.size
        return size

    def _stored(self, info: Any) -> bytes:
        """Bytes of a chunk as they are stored."""
        stored: bytes = self.data_set.id.read_direct_chunk(info.chunk_offset)[1]
        return stored

    def _inflated(self, packed: bytes, most: int) -> bytes:
        """What zlib makes of a chunk, of which no more than one byte beyond the most is made."""
        unpacking = zlib.decompressobj()
        try:
            made = unpacking.decompress(packed, most + 1)
        except zlib.error as error:
            raise self._error(f"cannot be read: a chunk cannot be unpacked: {error}") from error
        if len(made) <= most and not unpacking.eof:
            raise self._error("cannot be read: a chunk that is packed ends too early")
        return made

    def _error(self, message: str) -> DataError:
        return DataError(f"{self.place}: {self.name} {message}")


def _fits(code: int, values: tuple[int, ...], size: int, width: int) -> bool:
    """Whether the parameters of a filter are those for chunks of so many bytes, with numbers of so many; true of filters without.

    By these nbit, scaleoffset and lzf allocate what they fill. Szip writes behind the end of its memory where blocks have an odd
    number of numbers.
    """
    if code in (_NBIT, _SCALEOFFSET):
        return len(values) > 4 and values[2] * values[4] == size and (code == _SCALEOFFSET or values[3] == _ATOMIC)
    if code == _LZF:
        return values[2:3] == (size,)
    if code == _SZIP and len(values) == 4:
        _, block, bits, scanline = values
        return block % 2 == 0 and 0 < block <= min(scanline, _SZIP_BLOCK) and scanline <= _SZIP_SCANLINE and bits == 8 * width
    return code != _SZIP


def _unshuffled(packed: bytes, values: tuple[int, ...]) -> bytes:
    """Bytes as they were before the first ones of all numbers were put together, then the second ones, and so on."""
    width = values[0] if values else 1
    whole = len(packed) // width * width if width > 1 else 0
    if not whole:
        return packed
    count = whole // width
    return b"".join(packed[start:whole:count] for start in range(count)) + packed[whole:]


def _size(count: int) -> str:
    """A number of bytes with a unit that suits it."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
