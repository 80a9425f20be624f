"""Files that lie, that are damaged, or that were made to do harm: each is refused by one line, or read rightly."""

import io
import itertools
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import hostile
import numpy as np
import pytest

import gradsweep
from gradsweep import _cli, _hdf5_limits, _memory, datasets, problems
from gradsweep._errors import DataError
from gradsweep._escaping import one_line

Change = Callable[[h5py.File], None]

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "problem.h5"


def write(path: pathlib.Path, change: Change, **options: Any) -> pathlib.Path:
    """A sound problem, and what is changed of it."""
    with h5py.File(path, "w", libver="earliest") as file:
        hostile.write_problem(file, **options)
        change(file)
    return path


def refusal(path: pathlib.Path) -> str:
    """What a reader says of a problem: one printable line that begins with the path."""
    with pytest.raises(DataError) as caught:
        problems.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Exit status of the command line."""
    monkeypatch.setattr(sys, "argv", ["gradsweep", *arguments])
    with pytest.raises(SystemExit) as caught:
        _cli.main()
    return caught.value.code


def replace(name: str, **options: Any) -> Change:
    """Another data set in the place of one."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def low_level(name: str, kind: h5py.h5t.TypeID, shape: tuple[int, ...] = (4, 6)) -> Change:
    """A data set of a type that NumPy lacks, and without numbers."""

    def change(file: h5py.File) -> None:
        del file[name]
        h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape))

    return change


def opaque(tag: bytes) -> h5py.h5t.TypeID:
    """Eight bytes that call themselves whatever they like."""
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(tag)
    return kind


def patch(path: pathlib.Path, before: bytes, after: bytes) -> None:
    """Other bytes in the place of some that there are at least once; of all of them the first."""
    content = path.read_bytes()
    assert before in content
    assert len(before) == len(after)
    path.write_bytes(content.replace(before, after, 1))


def put_attribute(name: str, value: Any, **options: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file.attrs[name]
        file.attrs.create(name, value, **options)

    return change


def put_opaque_attribute(name: str) -> Change:
    """An attribute that h5py takes for a Python object, at an address that the file says."""

    def change(file: h5py.File) -> None:
        del file.attrs[name]
        kind = opaque(b"NUMPY:|O")
        attribute = h5py.h5a.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
        attribute.write(np.frombuffer(b"AAAAAAAA", "V8").reshape(()), mtype=kind)

    return change


# ---- types ---------------------------------------------------------------------------------------------------------------

RECORD = np.dtype([("a", "f8"), ("b", "f8")])

TYPES: dict[str, tuple[Change, str]] = {
    "records": (replace("X", data=np.zeros((4, 6), RECORD)), "X must hold real numbers, found [('a', '<f8'), ('b', '<f8')]"),
    "texts": (replace("X", data=np.full((4, 6), "1.0", dtype=object), dtype=h5py.string_dtype()), "X must hold real numbers"),
    "short texts": (replace("X", data=np.full((4, 6), b"1.0")), "X must hold real numbers, found |S3"),
    "lists": (replace("X", shape=(4, 6), dtype=h5py.vlen_dtype(float)), "X must hold real numbers, found object"),
    "references": (replace("X", shape=(4, 6), dtype=h5py.ref_dtype), "X must hold real numbers, found object"),
    "references to regions": (replace("X", shape=(4, 6), dtype=h5py.regionref_dtype), "X must hold real numbers, found object"),
    "complex": (replace("X", data=np.zeros((4, 6), complex)), "X must hold real numbers, found complex128"),
    "arrays": (low_level("X", h5py.h5t.array_create(h5py.h5t.IEEE_F64LE, (2**13,))), "X must hold real numbers, found ('<f8'"),
    "huge arrays": (
        low_level("X", h5py.h5t.array_create(h5py.h5t.IEEE_F64LE, (2**29 - 1,))),
        "X holds a type that NumPy lacks: ",
    ),
    "times": (low_level("X", h5py.h5t.UNIX_D32LE), "X holds a type that NumPy lacks"),
    "opaque": (low_level("X", opaque(b"something")), "X holds numbers of no type, but of type opaque"),
    "opaque, called floats": (low_level("X", opaque(b"NUMPY:<f8")), "X holds numbers of no type, but of type opaque"),
    "opaque, called objects": (low_level("X", opaque(b"NUMPY:|O")), "X holds numbers of no type, but of type opaque"),
    "attribute of records": (
        put_attribute("l2", np.zeros((), RECORD)),
        "attribute 'l2' must hold texts or numbers, found type compound",
    ),
    "attribute of lists": (
        put_attribute("layout", np.array([np.zeros(1), np.zeros(2)], dtype=object), dtype=h5py.vlen_dtype(float)),
        "attribute 'layout' must hold texts or numbers, found type vlen",
    ),
    "attribute that refers": (
        lambda file: put_attribute("hidden", file["X"].ref, dtype=h5py.ref_dtype)(file),
        "attribute 'hidden' must hold texts or numbers, found type reference",
    ),
    "attribute of objects": (put_opaque_attribute("hidden"), "attribute 'hidden' must hold texts or numbers, found type opaque"),
    "attribute of truth values": (put_attribute("l2", np.True_), "attribute 'l2' must be a number, found "),
    "attribute of nothing": (put_attribute("l2", h5py.Empty("f8")), "attribute 'l2' is empty"),
    "attribute without end": (put_attribute("l2", np.zeros(8000)), "attribute 'l2' must be a number, found array([0., 0."),
    "attribute of 64 KB": (
        put_attribute("hidden", np.full(2**11, "relu", dtype="S31")),
        "attribute hidden names 2048 activations",
    ),
    "number as text": (put_attribute("l2", "1e999"), "attribute 'l2' must be a number, found '1e999'"),
    "not a number": (put_attribute("l2", np.nan), "attribute l2 must be a finite number"),
}


@pytest.mark.parametrize("case", TYPES)
def test_types(path: pathlib.Path, case: str) -> None:
    change, message = TYPES[case]
    assert refusal(write(path, change)).startswith(message)


@pytest.mark.parametrize("value", [1, 2.5, "2.5"])
def test_numbers_that_are_enumerated(path: pathlib.Path, value: Any) -> None:
    """They are numbers with names; what is no number has none."""
    kind = h5py.enum_dtype({"zero": 0, "one": 1}, basetype="i1")
    write(path, replace("Y", data=np.array([[0, 1, 1, 0, 1, 0]], dtype="i1"), dtype=kind))
    assert problems.load(path).Y.tolist() == [[0.0, 1.0, 1.0, 0.0, 1.0, 0.0]]


# ---- sizes ---------------------------------------------------------------------------------------------------------------


def unwritten_network(*layers: int) -> Change:
    """A network of these sizes of which no number was ever written."""

    def change(file: h5py.File) -> None:
        for name in list(file):
            del file[name]
        file.create_dataset("X", (layers[0], 6), "f8")
        file.create_dataset("Y", (layers[-1], 6), "f8")
        for number, (inputs, units) in enumerate(itertools.pairwise(layers), 1):
            for group in ("parameters", "gradients"):
                file.create_dataset(f"{group}/W{number}", (units, inputs), "f8")
                file.create_dataset(f"{group}/b{number}", (units, 1), "f8")

    return change


SIZES: dict[str, tuple[Change, str]] = {
    "terabytes in chunks": (
        replace("X", shape=(2**20, 2**20), dtype="f8", chunks=(1, 1024)),
        "X has 1099511627776 numbers by its shape, but stores next to none of them",
    ),
    "terabytes packed": (
        replace("X", shape=(2**20, 2**20), dtype="f8", chunks=(1, 1024), compression="gzip", fillvalue=1.0),
        "X has 1099511627776 numbers by its shape, but stores next to none of them",
    ),
    "terabytes that were never written": (
        replace("X", shape=(2**20, 2**20), dtype="f8"),
        "X has 1099511627776 numbers by its shape, but stores next to none of them",
    ),
    "more than an address": (
        replace("X", shape=(2**31, 2**31), dtype="f8", chunks=(1, 1)),
        "X has 4611686018427387904 numbers by its shape, but stores next to none of them",
    ),
    "gigabytes in many arrays": (
        unwritten_network(11_000, 11_000, 11_000, 1),
        "its arrays have 3873056064 bytes by their shapes, but the file has ",
    ),
    "huge chunks": (
        replace("X", shape=(4, 6), maxshape=(None, None), dtype="f8", chunks=(2**14, 2**14)),
        "X has chunks of 268435456 numbers, more than 134217728",
    ),
    "tiny chunks": (
        replace("X", shape=(4, 2**17), dtype="f8", chunks=(1, 1)),
        "Y has shape (1, 6), but (1, 131072) is needed",
    ),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes(path: pathlib.Path, case: str) -> None:
    change, message = SIZES[case]
    assert refusal(write(path, change)).startswith(message)
    assert path.stat().st_size < 10**6


def test_more_chunks_than_the_file_can_list(path: pathlib.Path) -> None:
    """Each that was never written takes its time."""

    def change(file: h5py.File) -> None:
        replace("X", shape=(4, 2**17), dtype="f8", chunks=(1, 1))(file)
        replace("Y", shape=(1, 2**17), dtype="f8")(file)

    assert refusal(write(path, change)).startswith("X is cut into 524288 chunks, more than a file of ")


def test_what_was_never_written_is_the_value_that_stands_for_it(path: pathlib.Path) -> None:
    """An array of one value, as some languages write it, is no lie up to a gigabyte."""
    write(path, replace("gradients/dW1", shape=(3, 4), dtype="f8", chunks=(1, 4), compression="gzip", fillvalue=0.25))
    assert (problems.load(path).gradient["W1"] == 0.25).all()
    write(path, replace("gradients/dW1", shape=(3, 4), dtype="f8", fillvalue=0.5))
    assert (problems.load(path).gradient["W1"] == 0.5).all()


def test_nothing_but_zeros_with_gzip_is_below_the_limit(tmp_path: pathlib.Path) -> None:
    """Whatever is written with it may be of any size: the limit is what deflate can do at best."""
    rows, width = 64, 2**20
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        stored = file.create_dataset("X", (rows, width), "f8", chunks=(1, width // 8), compression="gzip", compression_opts=9)
        stored[...] = 0.0
        size = stored.id.get_storage_size()
    assert 950 * size < 8 * rows * width < _hdf5_limits._EXPANSION * size


def test_a_sum_of_arrays_that_is_stored_is_read(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are on what is not there: with none of it for free, a sound file is read as before."""
    write(path, lambda _: None, compression="gzip")
    monkeypatch.setattr(_hdf5_limits, "FREE", 0)
    with pytest.raises(DataError, match="chunks of"):
        problems.load(path)
    write(path, lambda _: None)
    assert problems.load(path).network.layers == (4, 3, 1)


class TestMemory:
    """Nothing is allocated that does not fit."""

    def test_arrays(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(path, lambda _: None)
        monkeypatch.setattr(_hdf5_limits, "available_memory", lambda: 500)
        assert refusal(path) == "this network with 6 examples takes 928 bytes of memory, of which 500 bytes are available"
        monkeypatch.setattr(_hdf5_limits, "available_memory", lambda: 928)
        assert problems.load(path).X.shape == (4, 6)
        monkeypatch.setattr(_hdf5_limits, "available_memory", lambda: None)
        assert problems.load(path).X.shape == (4, 6)

    def test_units_times_examples(self, path: pathlib.Path) -> None:
        """Eight megabytes of each, and a product of eight terabytes."""

        def change(file: h5py.File) -> None:
            many, options = 2**20, {"dtype": "f8", "compression": "gzip"}
            for name in list(file):
                del file[name]
            for name, shape in {"X": (1, many), "Y": (1, many)}.items():
                file.create_dataset(name, shape, **options)
            for name, shape in {"W1": (many, 1), "b1": (many, 1), "W2": (1, many), "b2": (1, 1)}.items():
                file.create_dataset(f"parameters/{name}", shape, **options)
                file.create_dataset(f"gradients/{name}", shape, **options)

        message = refusal(write(path, change))
        assert message.startswith("this network with 1048576 examples takes 8.8 TB of memory, of which ")

    def test_rows(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with h5py.File(path, "w") as file:
            hostile.write_images(file)
        monkeypatch.setattr(_hdf5_limits, "available_memory", lambda: 800)
        with pytest.raises(DataError, match="reading 6 rows of 8 numbers takes 864 bytes of memory"):
            datasets.load(path)
        assert datasets.load(path, [0])[0].shape == (8, 1)

    def test_what_cannot_be_allocated(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(path, lambda _: None)

        def fail(*_: object, **__: object) -> None:
            raise MemoryError("Unable to allocate")

        monkeypatch.setattr(np, "empty", fail)
        assert refusal(path) == "X cannot be read: Unable to allocate"

    def test_is_told_by_the_system(self) -> None:
        """As far as anybody can say what it is."""
        psutil = pytest.importorskip("psutil")
        found = _memory.available_memory()
        assert found is not None
        assert 0 < found < 1.5 * psutil.virtual_memory().total

    def test_lists_of_the_system(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "meminfo").write_text("MemTotal:  4 kB\nMemAvailable:       3 kB\nMemFree: 1 kB\n")
        monkeypatch.setattr(_memory, "_MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(_memory, "_CGROUP", tmp_path)
        assert _memory.available_memory() == 3072
        (tmp_path / "memory.max").write_text("5000\n")
        (tmp_path / "memory.current").write_text("4000\n")
        (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 500\nactive_file 9\n")
        assert _memory.available_memory() == 1500
        (tmp_path / "memory.max").write_text("max\n")
        assert _memory.available_memory() == 3072

    def test_limit_of_address_space(self) -> None:
        resource = pytest.importorskip("resource")
        program = (
            "import resource\n"
            "resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.RLIM_INFINITY))\n"
            "from gradsweep._memory import available_memory\n"
            "print(available_memory())\n"
        )
        assert resource is not None
        assert 0 < int(printed(program)) < 2**31


def printed(program: str, *arguments: str) -> str:
    """What a program prints in a process of its own, which must end well, and within a minute."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- chunks --------------------------------------------------------------------------------------------------------------


def pack(name: str, *packed: bytes | tuple[bytes, int], filters: Any = None, **options: Any) -> Change:
    """A data set of one chunk of 24 float64, of which these are the bytes that are stored, and the filters that are left out."""

    def change(file: h5py.File) -> None:
        del file[name]
        if filters is None:
            identifier = file.create_dataset(name, (4, 6), "f8", chunks=(4, 6), **options).id
        else:
            listed = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            listed.set_chunk((4, 6))
            for code, values in filters:
                listed.set_filter(code, h5py.h5z.FLAG_OPTIONAL, values)
            space = h5py.h5s.create_simple((4, 6))
            identifier = h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F64LE, space, listed)
        for each in packed:
            content, mask = each if isinstance(each, tuple) else (each, 0)
            identifier.write_direct_chunk((0, 0), content, mask)

    return change


NUMBERS = np.arange(24.0).reshape(4, 6) / 8
BYTES = NUMBERS.tobytes()
GZIP, SHUFFLE, FLETCHER32, LZF, SCALEOFFSET = 1, 2, 3, 32000, 6


def fletcher32(content: bytes) -> bytes:
    """HDF5's checksum, behind what it is of."""
    low = high = 0
    for start in range(0, len(content), 2):
        low = (low + (content[start] << 8) + content[start + 1]) % 65535
        high = (high + low) % 65535
    return content + struct.pack("<HH", low, high)


def shuffled(content: bytes) -> bytes:
    return np.frombuffer(content, np.uint8).reshape(-1, 8).T.tobytes()


CHUNKS: dict[str, tuple[Change, str]] = {
    "too short": (pack("X", BYTES[:8]), "X has a chunk of 8 bytes, but 192 are needed"),
    "too long": (pack("X", BYTES + b"more"), "X has a chunk of 196 bytes, but 192 are needed"),
    "packed, too short": (
        pack("X", zlib.compress(BYTES[:8]), compression="gzip"),
        "X has a chunk of 8 bytes, but 192 are needed",
    ),
    "packed, too long": (
        pack("X", zlib.compress(BYTES + b"more"), compression="gzip"),
        "X has a chunk of 196 bytes, but 192 are needed",
    ),
    "packed, a bomb": (
        pack("X", zlib.compress(bytes(10**6), 9), compression="gzip"),
        "X has a chunk of 1409 bytes, but 192 are needed",
    ),
    "packed three times, a bomb": (
        pack("X", zlib.compress(zlib.compress(zlib.compress(bytes(10**8)))), filters=[(GZIP, (4,))] * 3),
        "X has a chunk of 1409 bytes, but 192 are needed",
    ),
    "packed, broken off": (
        pack("X", zlib.compress(BYTES)[:-9], compression="gzip"),
        "X cannot be read: a chunk that is packed ends too early",
    ),
    "packed, rubbish": (pack("X", b"\xff" * 50, compression="gzip"), "X cannot be read: a chunk cannot be unpacked: Error -3"),
    "not packed, said to be": (
        pack("X", BYTES, compression="gzip"),
        "X cannot be read: a chunk cannot be unpacked: Error -3",
    ),
    "packed, said not to be": (
        pack("X", (zlib.compress(BYTES), 1), compression="gzip"),
        f"X has a chunk of {len(zlib.compress(BYTES))} bytes, but 192 are needed",
    ),
    "a checksum alone": (pack("X", b"abcd", fletcher32=True), "X has a chunk of 4 bytes, of which 4 are its checksum"),
    "less than a checksum": (pack("X", b"ab", fletcher32=True), "X has a chunk of 2 bytes, of which 4 are its checksum"),
    "a wrong checksum": (pack("X", BYTES + b"abcd", fletcher32=True), "X cannot be read: "),
    "a checksum of too little": (
        pack("X", fletcher32(BYTES[:16]), fletcher32=True),
        "X has a chunk of 16 bytes, but 192 are needed",
    ),
    "a checksum within, of nothing": (
        pack("X", zlib.compress(b"abc"), filters=[(FLETCHER32, ()), (GZIP, (4,))]),
        "X has a chunk of 3 bytes, of which 4 are its checksum",
    ),
    "a checksum within what is not seen": (
        pack("X", b"abc", filters=[(FLETCHER32, ()), (LZF, (4, 261, 192))]),
        "X has filters in an order that cannot be looked through",
    ),
    "a filter that nobody has": (
        pack("X", b"abc", filters=[(40_000, (1, 2))]),
        "X is packed by filter 40000 (), which is not installed",
    ),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_chunks(path: pathlib.Path, case: str) -> None:
    change, message = CHUNKS[case]
    assert refusal(write(path, change)).startswith(message)


@pytest.mark.parametrize(
    "change",
    [
        pack("X", BYTES),
        pack("X", zlib.compress(BYTES), compression="gzip"),
        pack("X", (BYTES, 1), compression="gzip"),
        pack("X", fletcher32(BYTES), fletcher32=True),
        pack("X", zlib.compress(shuffled(BYTES)), compression="gzip", shuffle=True),
        pack("X", fletcher32(zlib.compress(shuffled(BYTES)).ljust(60, b"\0")), compression="gzip", shuffle=True, fletcher32=True),
        pack("X", zlib.compress(fletcher32(BYTES)), filters=[(FLETCHER32, ()), (GZIP, (4,))]),
        pack("X", zlib.compress(zlib.compress(BYTES)), filters=[(GZIP, (4,))] * 2),
    ],
)
def test_chunks_that_are_sound(path: pathlib.Path, change: Change) -> None:
    """In whichever order their filters were applied, and whichever of them a chunk has done without."""
    assert np.array_equal(problems.load(write(path, change)).X, NUMBERS)


def test_a_chunk_of_nothing(path: pathlib.Path) -> None:
    """Of which lzf would make something for ever: where a chunk lies, and how long it is, stands in the file."""
    write(path, replace("X", data=NUMBERS, chunks=(4, 6), compression="lzf"))
    with h5py.File(path) as file:
        size = file["X"].id.get_chunk_info(0).size
    # Its size, the filters that are left out, and where it begins in the array.
    patch(path, struct.pack("<IIQQ", size, 0, 0, 0), struct.pack("<IIQQ", 0, 0, 0, 0))
    assert refusal(path) == "X has a chunk of 0 bytes, but 192 are needed"


@pytest.mark.parametrize(
    ("options", "place", "value"),
    [
        ({"compression": "lzf"}, 2, 2**31),
        ({"compression": "lzf"}, 2, 8),
        ({"scaleoffset": 3}, 2, 2**28),
        ({"scaleoffset": 3}, 2, 1),
        ({"scaleoffset": 3}, 4, 2**20),
    ],
)
def test_parameters_of_filters(path: pathlib.Path, options: dict[str, Any], place: int, value: int) -> None:
    """By these a filter allocates what it fills: gigabytes, or less than will be read."""
    write(path, lambda _: None, chunks=True, **options)
    with h5py.File(path) as file:
        values = file["X"].id.get_create_plist().get_filter(0)[2]
    before = struct.pack(f"<{len(values)}I", *values)
    changed = (*values[:place], value, *values[place + 1 :])
    patch(path, before, struct.pack(f"<{len(values)}I", *changed))
    assert refusal(path) == "X has a filter whose parameters are not those of its chunks"


def test_szip(path: pathlib.Path) -> None:
    if not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 has no szip")
    packing = {"compression": "szip", "compression_opts": ("nn", 8), "chunks": (4, 6)}
    write(path, replace("X", data=np.zeros((4, 6)), **packing))
    with h5py.File(path) as file:
        stored = file["X"].id.read_direct_chunk((0, 0))[1]
    assert stored[:4] == (192).to_bytes(4, "little")
    assert (problems.load(path).X == 0).all()
    sound = path.read_bytes()
    patch(path, stored, (2**32 - 1).to_bytes(4, "little") + stored[4:])
    assert refusal(path) == "X has a chunk of 4294967295 bytes, but 192 are needed"
    before = struct.pack("<IIII", 169, 8, 64, 24)
    for block, bits, scanline in ((11, 64, 24), (0, 64, 24), (34, 64, 40), (8, 32, 24), (8, 64, 6), (8, 64, 5000)):
        path.write_bytes(sound)
        patch(path, before, struct.pack("<IIII", 169, block, bits, scanline))
        assert refusal(path) == "X has a filter whose parameters are not those of its chunks"


# ---- texts ---------------------------------------------------------------------------------------------------------------


def text_of(content: bytes, name: str) -> int:
    """Where an attribute says how long its text is: before the address of the heap."""
    heap = content.index(b"GCOL").to_bytes(8, "little")
    return content.index(heap, content.index(name.encode() + b"\0")) - 4


@pytest.mark.parametrize("version", ["earliest", "v110", "latest"])
@pytest.mark.parametrize("length", [2**16 + 1, 2**31, 2**32 - 1])
def test_texts_of_gigabytes(path: pathlib.Path, version: str, length: int) -> None:
    """HDF5 sets as many bytes to zero before it looks whether there is such a text."""
    content = hostile.made(hostile.write_problem, version)
    place = text_of(content, "layout")
    path.write_bytes(hostile.repaired(content[:place] + length.to_bytes(4, "little") + content[place + 4 :]))
    assert refusal(path) == f"attribute 'layout' has a text of {length} bytes, more than 65536"


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_letters_of_gigabytes(path: pathlib.Path, version: str) -> None:
    """Of a text of four letters HDF5 makes four times as much."""
    content = hostile.made(hostile.write_problem, version)
    # The type of the text, and its size; that of its letters, and theirs.
    start = content.index(b"\x10\0\0\0", content.index(b"layout\0")) + 8
    assert content[start : start + 4] == b"\1\0\0\0"
    path.write_bytes(hostile.repaired(content[:start] + (2**30).to_bytes(4, "little") + content[start + 4 :]))
    # Of some files the library sees it by itself.
    assert refusal(path).startswith(("attribute 'layout' has letters of 1073741824 bytes", "the attributes cannot be read: "))


@pytest.mark.parametrize(
    ("number", "size"), [(0, 0), (0, 8), (1, 2**64 - 16), (1, 2**64 - 1), (2, 5000), (0, 4097)], ids=lambda value: f"{value:x}"
)
def test_heaps_without_end(path: pathlib.Path, number: int, size: int) -> None:
    """HDF5 reads an object of no size for ever."""
    content = hostile.made(hostile.write_problem)
    place = content.index(b"GCOL") + 16
    described = struct.pack("<HHIQ", number, 0, 0, size)
    path.write_bytes(content[:place] + described + content[place + 16 :])
    assert refusal(path) == "texts in it cannot be read: a global heap is damaged"


def test_heaps_within_one_another(path: pathlib.Path) -> None:
    """Each object would be looked at once for each heap that it seems to be in."""
    content = hostile.made(hostile.write_problem)
    head = b"GCOL\1\0\0\0" + (2**20).to_bytes(8, "little")
    objects = struct.pack("<HHIQ", 1, 1, 0, 0) * (2**16 - 1)
    path.write_bytes(content + (head + objects[: 2**12]) * 2**8)
    assert refusal(path).startswith("texts in it cannot be read: a global heap is damaged")


def test_a_heap_that_is_cut_by_a_block(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is searched for is found wherever it lies, once."""
    from gradsweep import _hdf5_texts

    content = hostile.made(hostile.write_problem)
    stream, marks = io.BytesIO(content), [b"GCOL\x01", b"hidden\0", b"l2\0"]
    expected = sorted((mark, place) for mark in marks for place in range(len(content)) if content.startswith(mark, place))
    assert len(expected) >= 3
    for block in (*range(7, 40), len(content)):
        monkeypatch.setattr(_hdf5_texts, "_BLOCK", block)
        assert sorted(_hdf5_texts._find(stream, marks)) == expected


@pytest.mark.parametrize("version", ["earliest", "v110", "latest"])
@pytest.mark.parametrize("tracked", [False, True])
def test_texts_among_many_attributes(path: pathlib.Path, version: str, tracked: bool) -> None:
    """Newer formats keep these elsewhere, and what is written anew may lie anywhere."""
    with h5py.File(path, "w", libver=version, track_order=tracked) as file:
        hostile.write_problem(file)
        for number in range(40):
            del file.attrs["hidden"]
            file.attrs["hidden"] = "relu" if number % 2 else ["relu"]
            file.attrs[f"title {number}"] = "x" * (37 * number % 300)
            if not number % 3:
                del file.attrs[f"title {number}"]
    assert problems.load(path).network.hidden == ("relu",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("relu" * 20_000, "attribute 'hidden' has a text of 80000 bytes, more than 65536"),
        ("\x1b[2J\nrelu", "attribute hidden: activation '\\x1b[2J\\nrelu' is not known"),
        ("x" * 60_000, "attribute hidden: activation 'xxxxxxxx"),
        (b"\xff\xfe", "attribute hidden: activation '\\udcff\\udcfe' is not known"),
        ("", "attribute 'hidden' is missing"),
    ],
    ids=["long", "terminal", "line", "no text", "empty"],
)
def test_texts(path: pathlib.Path, value: Any, message: str) -> None:
    write(path, put_attribute("hidden", value))
    assert message.split(" is not")[0] in refusal(path)
    assert len(refusal(path)) < 1000


def test_many_texts(path: pathlib.Path) -> None:
    """Newer formats have room for them."""
    path.write_bytes(hostile.made(hostile.write_problem, "latest"))
    with h5py.File(path, "a", libver="latest") as file:
        put_attribute("hidden", np.full(5000, b"relu", dtype="S31"))(file)
    assert refusal(path) == "attribute 'hidden' is larger than 65536 bytes"


# ---- names ---------------------------------------------------------------------------------------------------------------

NAMES: dict[str, str] = {
    "../x": "parameters/../x is missing",
    "AB/C": "parameters/AB/C is missing",
    "/ABC": "parameters//ABC cannot be opened: ",
    ".\0\0\0": "parameters/. ",
    "\0\0\0\0": "parameters cannot be read: Link iteration failed",
    "W1\0\0": "parameters has two things of the same name",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(path: pathlib.Path, name: str) -> None:
    """As no library writes them, but as a file may have them."""
    stored = name.encode()
    write(path, lambda file: file.create_dataset(f"parameters/{'Q' * len(stored)}", data=1.0))
    patch(path, b"Q" * len(stored), stored)
    assert NAMES[name] in refusal(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"\x1b[2J", "parameters/\\x1b[2J is none of W1"),
        (b"a\nb\r\t", "parameters/a\\nb\\r\\t is none of W1"),
        ("\u202ea".encode(), "parameters/\\u202ea is none of W1"),
        ("W\u0661".encode(), "parameters/W\u0661 is none of W1"),
        (b"W1 ", "parameters/W1  is none of W1"),
        (b"W1\xff", "parameters/W1\\udcff is none of W1"),
        (b"W" * 60_000, "is none of W1"),
        (b"W" + b"1" * 5000, "is none of W1"),
        (b"W99999999", "parameters/W99999999 is none of W1"),
        (b"W9999999", "parameters lacks 'W3', 'b3'"),
        (b"W01", "parameters/W01 is none of W1"),
    ],
    ids=["terminal", "lines", "reversed", "other digits", "blank", "no text", "long", "digits", "number", "gap", "zero"],
)
def test_names_of_bytes(path: pathlib.Path, name: bytes, message: str) -> None:
    def change(file: h5py.File) -> None:
        h5py.h5d.create(file["parameters"].id, name, h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((1, 1)))

    assert message in refusal(write(path, change))
    assert len(refusal(path)) < 1000


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "l" * 30_000, "\udcff"])
def test_names_of_attributes(path: pathlib.Path, name: str) -> None:
    """Those that are none of ours have no effect; what is only alike is refused."""

    def change(file: h5py.File) -> None:
        h5py.h5a.create(file.id, name.encode("utf-8", "surrogateescape"), h5py.h5t.IEEE_F64LE, h5py.h5s.create(h5py.h5s.SCALAR))

    assert problems.load(write(path, change)).network.layers == (4, 3, 1)
    write(path, lambda file: file.attrs.create("hid\nden", 1.0))
    assert refusal(path) == "attribute 'hid\\nden' is not known; if 'hidden' is meant, it must be written so"


def test_many_names(path: pathlib.Path) -> None:
    def change(file: h5py.File) -> None:
        for number in range(3000):
            file[f"\x07{'name' * 50}{number}"] = 1.0

    assert len(refusal(write(path, change))) < 1000


def test_a_group_in_itself(path: pathlib.Path) -> None:
    def change(file: h5py.File) -> None:
        file["parameters/W3"] = file["parameters"]

    assert refusal(write(path, change)) == "parameters/W3 must be a data set, found a group"


def test_a_group_that_is_the_file(path: pathlib.Path) -> None:
    def change(file: h5py.File) -> None:
        del file["parameters"]
        file["parameters"] = file["/"]

    assert refusal(write(path, change)) == "parameters/gradients must be a data set, found a group"


def test_two_names_for_one_gradient(path: pathlib.Path) -> None:
    def change(file: h5py.File) -> None:
        file["gradients/W1"] = file["gradients/dW1"]

    assert "is ambiguous: 'W1', 'dW1'" in refusal(write(path, change))


def test_two_names_for_one_array(path: pathlib.Path) -> None:
    """A parameter may be its own gradient: it is read twice."""

    def change(file: h5py.File) -> None:
        del file["gradients/dW2"]
        file["gradients/dW2"] = file["parameters/W2"]

    problem = problems.load(write(path, change))
    assert np.array_equal(problem.params["W2"], problem.gradient["W2"])


# ---- other files ---------------------------------------------------------------------------------------------------------

# A pipe, of which the opening alone would wait for ever.
ELSEWHERE = """
import os, pathlib, sys
import h5py, hostile
from gradsweep import problems
from gradsweep._errors import DataError

os.chdir(sys.argv[1])
os.mkfifo("other.h5")

def without(name):
    file = h5py.File("problem.h5", "w")
    hostile.write_problem(file)
    del file[name]
    return file

def refuse():
    try:
        problems.load("problem.h5")
    except DataError as error:
        print(error)

for name in ("X", "parameters", "gradients/dW1"):
    with without(name) as file:
        file[name] = h5py.ExternalLink("other.h5", "/" + name)
    refuse()
with without("X") as file:
    file["door"] = h5py.ExternalLink("other.h5", "/")
    file["X"] = h5py.SoftLink("/door/X")
refuse()
with without("X") as file:
    file.create_dataset("X", (4, 6), "f8", external="other.h5")
refuse()
with without("X") as file:
    layout = h5py.VirtualLayout(shape=(4, 6), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "X", shape=(4, 6))
    file.create_virtual_dataset("X", layout)
refuse()
with without("X") as file:
    # As many rows as there are blocks in the other file: to know its shape, HDF5 opens that file.
    space = h5py.h5s.create_simple((4, 6), (h5py.h5s.UNLIMITED, 6))
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), stride=(1, 6), block=(1, 6))
    listed = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    listed.set_virtual(space, b"other.h5", b"block%b", h5py.h5s.create_simple((1, 6)))
    h5py.h5d.create(file.id, b"X", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((4, 6), (h5py.h5s.UNLIMITED, 6)), listed)
refuse()
"""


def test_no_other_file_is_opened(tmp_path: pathlib.Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    assert printed(ELSEWHERE, str(tmp_path)).splitlines() == [
        "problem.h5: X is an external link, which is refused",
        "problem.h5: parameters is an external link, which is refused",
        "problem.h5: gradients/dW1 is an external link, which is refused",
        "problem.h5: X is an external link, which is refused",
        "problem.h5: X keeps its numbers in other files, which is refused",
        "problem.h5: X keeps its numbers in other files, which is refused",
        "problem.h5: X keeps its numbers in other files, which is refused",
    ]


# ---- damage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(hostile.seeds())))
def test_sound_files_are_read(path: pathlib.Path, number: int) -> None:
    """Else what is made of them would tell nothing."""
    path.write_bytes(hostile.seeds()[number])
    complaints = hostile.read(path)
    expected = (" is missing, the file holds ", "holds 'Y1', 'Y2', which belongs to no problem file")
    assert complaints
    assert all(any(words in complaint for words in expected) for complaint in complaints)


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_truncated(path: pathlib.Path, version: str) -> None:
    content = hostile.made(hostile.write_problem, version)
    for length in (*range(0, len(content), 61), len(content) - 1):
        path.write_bytes(content[:length])
        refusal(path)


def test_changed_bytes(tmp_path: pathlib.Path) -> None:
    """The same files each time, in another process: the HDF5 library may crash. By itself it runs for hours."""
    if not hasattr(os, "fork"):
        pytest.skip("limits of time and memory are those of Unix")
    command = [sys.executable, str(HERE / "fuzz_hdf5.py"), "--runs", "800", "--folder", str(tmp_path / "found")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("800 files, drawn: 0 findings")


def test_what_fuzzing_finds(tmp_path: pathlib.Path) -> None:
    """A reader that raises what it should not, and one that dies."""
    spoilt = tmp_path / "hostile.py"
    shutil.copy(HERE / "fuzz_hdf5.py", tmp_path)
    text = (HERE / "hostile.py").read_text(encoding="utf-8")
    number = "int.from_bytes(path.with_name('count').read_bytes(), 'little')"
    dies = f"import os\n    os.kill(os.getpid(), 11) if {number} == 3 else 1 // ({number} - 6)"
    spoilt.write_text(text.replace("    complaints = []\n", f"    complaints = []\n    {dies}\n"), encoding="utf-8")
    command = [sys.executable, str(tmp_path / "fuzz_hdf5.py"), "--runs", "10", "--folder", str(tmp_path / "found")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ZeroDivisionError" in done.stdout
    assert "the process ended with status -11" in done.stdout
    assert "10 files, drawn: 2 findings, 1 of them ended the process" in done.stdout
    assert len(list((tmp_path / "found").glob("found_*.h5"))) == 2


# ---- one line ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain: 'W1' is λ·2 …", "plain: 'W1' is λ·2 …"),
        ("\x1b[2J\x9b31m\x07\x7f", r"\x1b[2J\x9b31m\x07\x7f"),
        ("a\nb\r\tc\0", r"a\nb\r\tc\x00"),
        ("\u2028\u2029\u202e\ufeff", r"\u2028\u2029\u202e\ufeff"),
        ("\udcff\U000e0041", r"\udcff\U000e0041"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize("text", ["abc" * 1000, "\x1b" * 1000, "abc" * 10**5])
def test_one_line_ends(text: str) -> None:
    assert len(one_line(text, 101)) == 101
    assert one_line(text, 101)[:50] == one_line(text, 10**7)[:50]
    assert one_line(text, 101)[-50:] == one_line(text, 10**7)[-50:]


@pytest.mark.parametrize("case", ["types", "links", "name", "path", "block", "file"])
def test_command_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """Status 2 and one line, from which no terminal takes orders."""
    path = tmp_path / ("prob\x1b[2J\nlem.h5" if case == "path" else "problem.h5")
    changes: dict[str, Change] = {
        "types": put_opaque_attribute("hidden"),
        "links": replace("X", shape=(4, 6), dtype="f8", external=str(tmp_path / "elsewhere")),
        "name": lambda file: file.create_dataset("\x1b[2J\nX", data=1.0),
        "path": replace("X", data=np.ones((5, 6))),
    }
    arguments = ["problem", str(path)]
    if case == "file":
        arguments = ["check", str(tmp_path / "no\x1b[2J\nwhere.py:f")]
    elif case == "block":
        script = "import numpy as np\n\ndef f():\n    return np.sum, {'\\x1b[2J\\n': np.ones(2)}, {'b\\x07\\n': np.ones(2)}\n"
        (tmp_path / "script.py").write_text(script)
        arguments = ["check", f"{tmp_path / 'script.py'}:f"]
    else:
        write(path, changes[case])
    assert run(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("gradsweep: ")
    assert shown.err.endswith("\n")
    assert shown.err[:-1].isprintable()


# ---- writing -------------------------------------------------------------------------------------------------------------

SAVE = """
import sys
import gradsweep, numpy as np
from gradsweep import problems

network = gradsweep.Network([4000, 1])
params = network.initialize()
X, Y = np.ones((4000, 2)), np.array([[0.0, 1.0]])
gradient = network.gradient(params, X, Y)
if sys.argv[2] != "disk":
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    problems.save(sys.argv[1], network, X, Y, params, gradient)
except gradsweep.DataError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 1000, 100_000])
def test_a_limit_of_file_sizes(tmp_path: pathlib.Path, limit: int) -> None:
    """HDF5 itself would end the process when it cannot write."""
    pytest.importorskip("resource")
    path = tmp_path / "problem.h5"
    path.write_bytes(b"of before")
    assert printed(SAVE, str(path), str(limit)).startswith(f"{path}: cannot be written: ")
    assert path.read_bytes() == b"of before"
    assert os.listdir(tmp_path) == ["problem.h5"]


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A disk with room for 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(small_disk: pathlib.Path) -> None:
    path = small_disk / "problem.h5"
    path.write_bytes(b"of before")
    assert printed(SAVE, str(path), "disk").startswith(f"{path}: cannot be written: ")
    assert path.read_bytes() == b"of before"
    assert os.listdir(small_disk) == ["problem.h5"]


def test_saving_is_whole_or_not_at_all(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = gradsweep.Network([2, 1])
    params, X, Y = network.initialize(), np.ones((2, 1)), np.ones((1, 1))
    gradient = network.gradient(params, X, Y)
    link = path.with_name("link.h5")
    link.symlink_to(path.name)
    problems.save(link, network, X, Y, params, gradient)
    assert link.is_symlink()
    before = path.read_bytes()

    def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", break_off)
    with pytest.raises(KeyboardInterrupt):
        problems.save(path, network, X, Y, params, gradient)
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["link.h5", "problem.h5"]


def test_saving_needs_memory(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = gradsweep.Network([2, 1])
    params, X, Y = network.initialize(), np.ones((2, 1)), np.ones((1, 1))
    monkeypatch.setattr(_hdf5_limits, "available_memory", lambda: 70)
    with pytest.raises(DataError, match="the file, which is made in memory, takes 72 bytes of memory, of which 70 bytes are"):
        problems.save(path, network, X, Y, params, network.gradient(params, X, Y))
    assert not path.exists()
