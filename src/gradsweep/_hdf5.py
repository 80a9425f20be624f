"""Reading HDF5 files that anybody could have sent: links to other files are refused, layouts are looked at before numbers."""

import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from gradsweep._errors import DataError, InputError
from gradsweep._escaping import one_line
from gradsweep._hdf5_texts import LONGEST, require_sound_texts

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped, unused-ignore]

#: h5py has no error class of its own: damage shows as whatever its layers happen to raise.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError)

#: Characters of a name from a file that a message shows.
_SHOWN = 80

# Links that a path may take; more can only be a circle.
_MOST_LINKS = 32


def place_of(path: object, name: str = "path") -> str:
    """Turn a path into text.

    Parameters
    ----------
    path : str or os.PathLike
        Path to check.
    name : str, default: "path"
        Of the argument that it was given as.

    Returns
    -------
    str
        The path.

    Raises
    ------
    InputError
        If it is no path, one of bytes, or an empty one.
    """
    place = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(place, str):
        raise InputError(f"{name} must be a str or os.PathLike, got {type(path).__name__}")
    if not place:
        raise InputError(f"{name} must name a file, but it is empty")
    return place


@contextmanager
def opened(place: str) -> Iterator["h5py.File"]:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    place : str
        Path of the file.

    Yields
    ------
    h5py.File
        The file, which closes at the end of the ``with`` block.

    Raises
    ------
    DataError
        If there is no such file, or it is no HDF5 file. This, and whatever DataError is raised in the ``with`` block, has a
        message of one printable line: names of files and of what they hold may be any text.
    """
    try:
        with _opened(place) as file:
            yield file
    except DataError as error:
        error.args = (one_line(str(error)),)
        raise


@contextmanager
def _opened(place: str) -> Iterator["h5py.File"]:
    """The same, with messages as they come."""
    import h5py  # type: ignore[import-untyped, unused-ignore]

    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError as error:
        raise DataError(f"{place}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{place}: cannot be examined: {error}") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{place}: is a directory, not an HDF5 file")
    if not stat.S_ISREG(mode):
        # Opening a pipe would wait for a writer that may never come.
        raise DataError(f"{place}: is not a regular file")
    try:
        file = h5py.File(place, "r")
    except DAMAGE as error:
        raise DataError(f"{place}: cannot be opened as an HDF5 file: {error}") from error
    with file:
        yield file


@contextmanager
def damage_named(place: str, what: str) -> Iterator[None]:
    """Turn what h5py raises into a DataError that says what cannot be read.

    Parameters
    ----------
    place : str
        Path of the file.
    what : str
        What is read, with its verb: ``"X cannot be read"``.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise DataError(f"{place}: {what}: {error}") from error


def find_data_set(file: "h5py.File", name: str, place: str) -> "h5py.Dataset":
    """Find a data set, without ever opening another file.

    Parameters
    ----------
    file : h5py.File
        Open file.
    name : str
        Its name, or its path with slashes, from the top of the file.
    place : str
        Path of the file, for messages.

    Returns
    -------
    h5py.Dataset
        The data set, which has a shape.

    Raises
    ------
    DataError
        If there is none, or its numbers lie in another file.
    """
    import h5py

    with damage_named(place, f"{name} cannot be opened"):
        found = follow(file, name, place)
        if not isinstance(found, h5py.Dataset):
            kind = "a group" if isinstance(found, h5py.Group) else "a type"
            raise DataError(f"{place}: {name} must be a data set, found {kind}")
        # Both kinds would make HDF5 open whichever file the data set names; the first one even if it is asked for its shape.
        if found.is_virtual or bool(found.external):
            raise DataError(f"{place}: {name} keeps its numbers in other files, which is refused")
        if found.shape is None:
            raise DataError(f"{place}: {name} is empty, found no shape")
    return found


def follow(file: "h5py.File", name: str, place: str) -> object:
    """Follow the links from a name to an object of the same file.

    HDF5 would follow an external link by itself, and even the question whether a name exists opens
    the other file. So soft links are resolved here, one part of a path at a time.

    Parameters
    ----------
    file : h5py.File
        Open file.
    name : str
        Name, or path with slashes, from the top of the file.
    place : str
        Path of the file, for messages.

    Returns
    -------
    h5py.Dataset or h5py.Group or h5py.Datatype
        The object.

    Raises
    ------
    DataError
        If the name is missing, or its link dangles, runs in a circle or leads to another file.
    """
    import h5py

    # As h5py decodes names that are no UTF-8.
    parts = name.encode("utf-8", "surrogateescape").split(b"/")
    current: Any = file
    links_taken = 0
    while parts:
        part = parts.pop(0)
        if not isinstance(current, h5py.Group) or not current.id.links.exists(part):
            if links_taken:
                missing = part.decode("utf-8", "replace")
                raise DataError(f"{place}: {name} is a soft link that dangles at {missing!r}")
            raise DataError(f"{place}: {name} is missing, the file holds {contents(file)}")
        link = current.id.links.get_info(part).type
        if link == h5py.h5l.TYPE_HARD:
            current = current[part]
            continue
        if link != h5py.h5l.TYPE_SOFT:
            raise DataError(f"{place}: {name} is an external link, which is refused")
        links_taken += 1
        if links_taken > _MOST_LINKS:
            raise DataError(f"{place}: {name} is a soft link that runs in a circle")
        target = current.id.links.get_val(part)
        if target.startswith(b"/"):
            current = file
        parts = [step for step in target.split(b"/") if step not in (b"", b".")] + parts
    return current


def contents(file: "h5py.File") -> str:
    """List the first names in a file.

    Parameters
    ----------
    file : h5py.File
        Open file.

    Returns
    -------
    str
        At most ten names.
    """
    names = list(islice(file, 11))
    if not names:
        return "nothing"
    return ", ".join(shown(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")


def shown(value: object) -> str:
    """A name or a value from a file as a message shows it, a text in quotes; what is longer than a line loses its middle."""
    return one_line(repr(value), _SHOWN)


def read_type(data_set: "h5py.Dataset", name: str, place: str) -> np.dtype[Any]:
    """Look up the type of the elements.

    Parameters
    ----------
    data_set : h5py.Dataset
        Data set to examine.
    name : str
        Its name, for messages.
    place : str
        Path of the file, for messages.

    Returns
    -------
    numpy.dtype
        The type.

    Raises
    ------
    DataError
        If NumPy has no such type, or a file could have it made of any bytes.
    """
    import h5py

    with damage_named(place, f"{name} holds a type that NumPy lacks"):
        if data_set.id.get_type().get_class() == h5py.h5t.OPAQUE:
            # h5py takes it for the type that it calls itself: if it says so for Python's objects, with addresses from the file.
            raise DataError(f"{place}: {name} holds numbers of no type, but of type opaque")
        found: np.dtype[Any] = data_set.dtype
    return found


def _class(kind: Any) -> str:
    """What HDF5 calls the class of a type: opaque, compound, reference, …; the class of h5py's object is named by it."""
    return type(kind).__name__.removeprefix("Type").removesuffix("ID").lower()


def read_attributes(file: "h5py.File", names: Sequence[str], place: str) -> dict[str, Any]:
    """Read attributes at the root of a file, if they hold texts or numbers.

    Parameters
    ----------
    file : h5py.File
        Open file.
    names : sequence of str
        Names of attributes that there are.
    place : str
        Path of the file, for messages.

    Returns
    -------
    dict of str to object
        The value of each: str, bytes, a number, or an array of them.

    Raises
    ------
    DataError
        If one holds anything else, or more than 64 KB, or cannot be read.
    """
    texts: dict[str, int] = {}
    for name in names:
        with damage_named(place, f"attribute {name!r} cannot be read"):
            count = _count_texts(file, name, place)
            texts |= {} if count is None else {name: count}
    if texts:
        with damage_named(place, "the attributes cannot be read"):
            require_sound_texts(place, texts, file.id.get_create_plist().get_sizes())
    values = {}
    for name in names:
        with damage_named(place, f"attribute {name!r} cannot be read"):
            values[name] = file.attrs[name]
    return values


def _count_texts(file: "h5py.File", name: str, place: str) -> int | None:
    """How many texts of any length an attribute has; None if it has others, or numbers. DataError if it has what is not read."""
    import h5py

    attribute = h5py.h5a.open(file.id, name.encode())
    kind = attribute.get_type()
    # Of other classes some crash the library; and what is opaque h5py takes for objects of Python's, if it says so.
    if kind.get_class() not in (h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM):
        raise DataError(f"{place}: attribute {name!r} must hold texts or numbers, found type {_class(kind)}")
    if attribute.shape is None:
        raise DataError(f"{place}: attribute {name!r} is empty")
    count = int(math.prod(attribute.shape))
    if count * kind.get_size() > LONGEST:
        raise DataError(f"{place}: attribute {name!r} is larger than {LONGEST} bytes")
    if kind.get_class() != h5py.h5t.STRING or not kind.is_variable_str():
        return None
    if kind.get_super().get_size() != 1:
        raise DataError(f"{place}: attribute {name!r} has letters of {kind.get_super().get_size()} bytes")
    return count
