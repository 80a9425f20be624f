"""The file of a journal: HDF5 that is replaced whole, so that whoever is killed leaves the old one or the new one."""

import contextlib
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import DataError
from gradsweep._hdf5 import damage_named, find_data_set, opened, place_of, read_type
from gradsweep._hdf5_limits import require_chunks, require_layout, require_memory, require_stored
from gradsweep._journal import Column, Content, Journal, Record
from gradsweep._writing import require_writable, write_whole

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped, unused-ignore]

#: What files call themselves, and the version of what stands in them: another one is not read.
SCHEMA, VERSION = "gradsweep-checkpoint", 1

# Where the journal is in the file: below this what it is of and what it holds, as JSON; the fields of results by its side.
_GROUP, _INDEX = "checkpoint", "checkpoint/index"

# Bytes of the index at most: a line for each run.
_MOST_OF_INDEX = 2**26

# Types of fields.
_TYPES = ("float64", "int64", "uint8")


@contextlib.contextmanager
def checkpointed(path: Any) -> Iterator[Journal | None]:
    """The journal of a check, kept in a file.

    Parameters
    ----------
    path : str, os.PathLike or None
        The file; None if there is none.

    Yields
    ------
    Journal or None
        What was in the file, if there was one. It is written down at the end of the ``with`` block, however that ends.

    Raises
    ------
    InputError
        If it is no path.
    DataError
        If the file is no checkpoint, cannot be written, or another process uses it.
    """
    if path is None:
        yield None
        return
    import filelock

    place = place_of(path, "checkpoint")
    require_writable(place)
    # Where it is now: the cost may go to another folder.
    target = os.path.realpath(place)
    folder, name = os.path.split(target)
    # It stays: whoever removed it might remove one that another process has just made.
    lock = filelock.FileLock(os.path.join(folder, f".{name}.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise DataError(f"{place}: another check is using this file") from error
    except OSError as error:
        raise DataError(f"{place}: cannot be locked: {error}") from error
    try:
        content = _read(place) if os.path.exists(place) else None
        journal = Journal(place, content, lambda file: write_whole(target, file), format_checkpoint)
        try:
            yield journal
        finally:
            journal.flush()
    finally:
        lock.release()


def format_checkpoint(content: Content) -> bytes:
    """A checkpoint as HDF5, made in memory."""
    import h5py  # type: ignore[import-untyped, unused-ignore]

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["schema"], file.attrs["version"] = SCHEMA, VERSION
        put_content(file, content)
    # No view: one that an error keeps in a cycle crashes Python 3.12 when it is collected. What is returned is not copied.
    return buffer.getvalue()


def put_content(file: "h5py.File", content: Content) -> None:
    """Put a journal into a file, beside whatever else is in it."""
    index = {
        "version": VERSION,
        "key": content.key,
        "gradient": content.gradient,
        "decisions": content.decisions,
        "records": [
            {"phase": record.phase, "kind": record.kind, "count": record.count, "fields": list(record.columns)}
            for record in content.records
        ],
    }
    _put(file, _INDEX, np.frombuffer(json.dumps(index).encode(), dtype=np.uint8))
    for number, record in enumerate(content.records):
        for name, column in record.columns.items():
            values, counts = column.first(record.count)
            _put(file, f"{_GROUP}/{number}/{name}", values)
            _put(file, f"{_GROUP}/{number}/{name} counts", counts)


def _put(file: "h5py.File", name: str, values: NDArray[Any]) -> None:
    """Put an array into a file, with a checksum: most of what is damaged on a disk would pass for other numbers, or words."""
    file.create_dataset(name, data=values, fletcher32=len(values) > 0)  # nothing empty can have one


def _read(place: str) -> Content:
    """The journal in a file; DataError if it holds none that this version can read."""
    with opened(place) as file:
        text = _read_array(file, _INDEX, place, ("uint8",), _MOST_OF_INDEX).tobytes()
        try:
            index = json.loads(text)
        except ValueError as error:
            raise DataError(f"{place}: {_INDEX} is damaged: {error}") from error
        if not isinstance(index, dict) or index.get("version") != VERSION:
            raise DataError(f"{place}: is a checkpoint of another version of gradsweep; remove it, or give another file")
        try:
            content = Content(
                key={str(name): str(value) for name, value in index["key"].items()},
                gradient=str(index["gradient"]),
                decisions=[(str(phase), str(name), str(value)) for phase, name, value in index["decisions"]],
            )
            for number, described in enumerate(index["records"]):
                record = Record(str(described["phase"]), str(described["kind"]), count=int(described["count"]))
                for name in described["fields"]:
                    record.columns[str(name)] = _read_column(file, f"{_GROUP}/{number}/{name}", place, record.count)
                content.records.append(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{place}: {_INDEX} is damaged: {error!r}") from error
    return content


def _read_column(file: "h5py.File", name: str, place: str, results: int) -> Column:
    """A field of all results of a run."""
    values = _read_array(file, name, place, _TYPES)
    counts = _read_array(file, f"{name} counts", place, ("int64",))
    if len(counts) != results or (counts < 0).any() or int(counts.sum()) != len(values):
        raise DataError(f"{place}: {name} is damaged: its counts do not add up")
    return Column(values, counts)


def _read_array(file: "h5py.File", name: str, place: str, types: tuple[str, ...], most: int | None = None) -> NDArray[Any]:
    """A data set of one dimension, of one of these types."""
    data_set = find_data_set(file, name, place)
    kind = read_type(data_set, name, place)
    if kind.name not in types or len(data_set.shape) != 1 or (most is not None and data_set.shape[0] > most):
        raise DataError(f"{place}: {name} is no part of a checkpoint: type {kind}, shape {data_set.shape}")
    with damage_named(place, f"{name} cannot be read"):
        require_layout(data_set, name, place)
        declared, size = data_set.shape[0] * kind.itemsize, os.stat(place).st_size
        message = f"{place}: {name} has {declared} bytes by its shape, but the file has {size}"
        require_stored(declared, data_set.id.get_storage_size(), size, message)
        require_memory(declared, place, f"reading {name}")
        require_chunks(data_set, name, place)
        values: NDArray[Any] = data_set[()]
    return values


def versions() -> dict[str, str]:
    """What the digits of a result may depend on, beside the problem."""
    from importlib import metadata

    found = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    for name in ("gradsweep", "numba"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # run from a source tree that was never installed
            found[name] = metadata.version(name)
    return found


def digest(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """By what arrays are told from others: names, shapes, types and all values."""
    found = hashlib.blake2b(digest_size=16)
    for name, array in arrays:
        found.update(f"{name!r} {array.shape} {array.dtype.str} ".encode("utf-8", "backslashreplace"))
        for part in _without_padding(array):
            found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()


def _without_padding(array: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """An array, or two that add up to it where it is of extended precision, whose numbers have bytes that belong to none."""
    if array.dtype.kind != "f" or array.dtype.itemsize <= 8:
        return (array,)
    with np.errstate(all="ignore"):
        head = array.astype(np.float64)
        return head, (array - head).astype(np.float64)
