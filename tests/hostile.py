"""Sound HDF5 files, and what becomes of them when bytes are changed: for tests of the readers."""

import io
import pathlib
import random
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

import gradsweep
from gradsweep import datasets, problems
from gradsweep._errors import InputError

LAYERS = [4, 3, 1]

# Values at which programs go wrong.
_BYTES = (0, 1, 2, 4, 8, 16, 32, 64, 0x7F, 0x80, 0xFE, 0xFF)


def write_problem(file: h5py.File, **options: Any) -> None:
    """Put a problem into an open file, its larger arrays with options of `create_dataset`."""
    network = gradsweep.Network(LAYERS, hidden="relu")
    params = network.initialize(0)
    X, Y = np.random.default_rng(0).random((4, 6)), np.array([[0.0, 1.0, 1.0, 0.0, 1.0, 0.0]])
    gradient = network.gradient(params, X, Y)
    arrays = {"X": X, "Y": Y, **{f"parameters/{name}": value for name, value in params.items()}}
    arrays |= {f"gradients/{name}": value for name, value in gradient.items()}
    for name, value in arrays.items():
        # Some filters take eight numbers at least.
        file.create_dataset(name, data=value, **(options if value.size >= 8 else {}))
    file.attrs["hidden"] = "relu"
    file.attrs["output"] = np.bytes_(b"sigmoid")
    file.attrs["l2"] = 0.0
    file.attrs["layout"] = "columns"


def write_images(file: h5py.File) -> None:
    """Put labelled images into an open file."""
    file.create_dataset("train_set_x", data=np.arange(48, dtype=np.uint8).reshape(6, 4, 2), chunks=(1, 4, 2), compression="gzip")
    file["train_set_y"] = np.array([0, 1, 1, 0, 1, 0])


def write_links(file: h5py.File) -> None:
    """A problem behind soft links."""
    write_problem(file)
    file.move("X", "Y1")
    file.move("Y", "Y2")
    file["X"], file["Y"] = h5py.SoftLink("/Y1"), h5py.SoftLink("Y2")


def made(write: Callable[..., None], version: str = "earliest", **options: Any) -> bytes:
    """Bytes of a file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=version) as file:
        write(file, **options)
    return buffer.getvalue()


def seeds() -> list[bytes]:
    """Sound files in the oldest and the newest format, with all filters that HDF5 and h5py bring."""
    found = []
    for version in ("earliest", "latest"):
        found += [made(write, version) for write in (write_problem, write_links, write_images)]
        packings: list[dict[str, Any]] = [
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
            {"compression": "lzf", "chunks": True},
            {"scaleoffset": 3},
            {"maxshape": (None, None)},
        ]
        if h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
            packings.append({"compression": "szip", "compression_opts": ("nn", 8), "chunks": True})
        found += [made(write_problem, version, **packing) for packing in packings]
    return found


def mutated(content: bytes, generator: random.Random) -> bytes:
    """The file with some bytes changed, and mostly with right checksums of its headers: else these are all that is tested."""
    changed = bytearray(content)
    places = [place for place, byte in enumerate(content) if byte]  # most of a small file is empty
    for _ in range(generator.choice((1, 1, 1, 2, 3, 5, 8))):
        place = min(generator.choice(places) if generator.random() < 0.8 else generator.randrange(len(content)), len(content) - 9)
        _change(changed, place, generator)
    if generator.random() < 0.03:
        del changed[generator.randrange(len(changed)) :]
    return repaired(changed) if generator.random() < 0.9 else bytes(changed)


def _change(changed: bytearray, place: int, generator: random.Random) -> None:
    kind = generator.randrange(6)
    if kind == 0:
        changed[place] = generator.choice(_BYTES)
    elif kind == 1:
        changed[place] ^= 1 << generator.randrange(8)
    elif kind == 2:
        changed[place] = generator.randrange(256)
    elif kind == 3:
        width = generator.choice((2, 4, 8))
        values = (2 ** (8 * width) - 1, 0, len(changed) % 2**16, 2 ** (8 * width - 1) - 1, generator.randrange(2 ** (8 * width)))
        changed[place : place + width] = generator.choice(values).to_bytes(width, "little")
    elif kind == 4:
        width, other = generator.choice((2, 4, 8)), generator.randrange(len(changed) - 8)
        changed[place : place + width] = changed[other : other + width]
    else:
        changed[place] = (changed[place] + generator.choice((-1, 1))) % 256


def repaired(content: bytes | bytearray) -> bytes:
    """The file with right checksums of its superblock and of its objects' headers, as newer formats have them."""
    changed = bytearray(content)
    if len(changed) >= 48 and changed[8] in (2, 3):
        changed[44:48] = struct.pack("<I", lookup3(bytes(changed[:44])))
    place = changed.find(b"OHDR")
    while 0 <= place < len(changed) - 6:
        flags = changed[place + 5]
        start = place + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        end = start + width + int.from_bytes(changed[start : start + width], "little")
        if end + 4 <= len(changed):
            changed[end : end + 4] = struct.pack("<I", lookup3(bytes(changed[place:end])))
        place = changed.find(b"OHDR", place + 1)
    place = changed.find(b"OCHK")  # where a header goes on, of a length that stands beside its address
    while place >= 0:
        address = changed.find(place.to_bytes(8, "little"))
        end = place + int.from_bytes(changed[address + 8 : address + 16], "little") - 4
        if address >= 0 and place < end <= len(changed) - 4:
            changed[end : end + 4] = struct.pack("<I", lookup3(bytes(changed[place:end])))
        place = changed.find(b"OCHK", place + 1)
    return bytes(changed)


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash `lookup3`, by which HDF5 checks its own structures."""
    mask = 2**32 - 1
    a = b = c = (0xDEADBEEF + len(data)) & mask
    whole = max(len(data) - 1, 0) // 12 * 12
    for start in range(0, whole, 12):
        x, y, z = struct.unpack_from("<III", data, start)
        a, b, c = _mix((a + x) & mask, (b + y) & mask, (c + z) & mask)
    if not data:
        return c
    x, y, z = struct.unpack("<III", data[whole:].ljust(12, b"\0"))
    return _last((a + x) & mask, (b + y) & mask, (c + z) & mask)


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> 32 - by) & 2**32 - 1


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a, c = (a - c) & 2**32 - 1 ^ _rotated(c, by), (c + b) & 2**32 - 1
        a, b, c = b, c, a
    return a, b, c


def _last(a: int, b: int, c: int) -> int:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - _rotated(b, by) & 2**32 - 1
        a, b, c = b, c, a
    return b


def read(path: pathlib.Path) -> list[str]:
    """Have a file read by all readers; their complaints, each of them one printable line that begins with the path.

    Anything but such a complaint, or none, is raised.
    """
    complaints = []
    for reader in (problems.load, datasets.load, datasets.count):
        try:
            reader(path)
        except InputError as error:
            complaint = str(error)
            if not (complaint.isprintable() and (complaint.startswith((f"{path}: ", "rows: ")))):
                raise AssertionError(f"no line that names the file: {complaint!r}") from error
            complaints.append(complaint)
    return complaints
