"""Read labelled images from HDF5 files, only the rows that are asked for.

The layout is the one of a well-known set of cat pictures: ``train_set_x`` holds unsigned bytes, one
example per row, and ``train_set_y`` one label per example. The sister file names them
``test_set_x`` and ``test_set_y``. A small set in this layout ships with the package.

A file is taken for what anybody could have sent: links to other files are refused, and the layout
is checked before the first number is read.
"""

import math
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import DataError, InputError
from gradsweep._hdf5 import damage_named, find_data_set, opened, place_of, read_type
from gradsweep._hdf5_limits import require_chunks, require_layout, require_memory

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped, unused-ignore]

__all__ = ["count", "images", "load"]

# Numbers that one call reads: 1 GiB as float64.
_LARGEST = 2**27

Rows: TypeAlias = slice | Sequence[int] | NDArray[np.integer[Any]]


def load(
    path: str | os.PathLike[str], rows: Rows | None = None, *, raw: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read labelled images as the columns of a matrix.

    Parameters
    ----------
    path : str or os.PathLike
        HDF5 file with the data sets ``train_set_x``, unsigned bytes of shape (n, ...), and
        ``train_set_y``, numbers from 0 to 1 of shape (n,). When the file has neither of them,
        ``test_set_x`` and ``test_set_y`` take their places.
    rows : slice or sequence of int or ndarray of int, shape (examples,), default None
        Examples to read, in this order. Repeats are allowed, and negative numbers count from the
        end. None reads all. No other row is read from the file.
    raw : bool, default False
        Keep the pixels from 0 to 255 instead of scaling them to [0, 1].

    Returns
    -------
    pixels : ndarray of float64, shape (features, examples)
        One example per column, C-contiguous. The features of a picture of shape (height, width,
        channels) are ordered by channel, then column, then row, as
        ``np.array(data_set).T.reshape(-1, n)`` orders them.
    labels : ndarray of float64, shape (1, examples)
        Label of each column.

    Raises
    ------
    DataError
        If the file cannot be read as this layout. The message starts with the path.
    InputError
        If `rows` is not of a listed type, chooses nothing, reaches beyond the file, or chooses
        more than 2**27 numbers, which are 1 GiB.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import h5py
    >>> import numpy as np
    >>> from gradsweep import datasets
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "pictures.h5")
    ...     with h5py.File(path, "w") as file:
    ...         file["train_set_x"] = np.array([[0, 51], [102, 255], [204, 0]], dtype=np.uint8)
    ...         file["train_set_y"] = np.array([0, 1, 1])
    ...     pixels, labels = datasets.load(path, rows=[-1, 0])
    >>> pixels
    array([[0.8, 0. ],
           [0. , 0.2]])
    >>> labels
    array([[1., 0.]])
    """
    place = place_of(path)
    with opened(place) as file:
        stored_pixels, stored_labels, kind = _checked(file, place)
        chosen = _chosen(rows, stored_pixels.shape[0], place)
        features = math.prod(stored_pixels.shape[1:])
        if len(chosen) * features > _LARGEST:
            raise InputError(
                f"rows: {len(chosen)} rows of {features} numbers from {place} are more than the "
                f"{_LARGEST} numbers that one call reads; choose fewer rows"
            )
        # A byte, its copy and a float64 of each number; of each row its number, four times, and its label.
        require_memory(len(chosen) * (10 * features + 64), place, f"reading {len(chosen)} rows of {features} numbers")
        wanted = np.asarray(chosen, dtype=np.int64)
        # HDF5 reads increasing rows without repeats; `positions` leads back to the order asked for.
        unique, positions = np.unique(wanted, return_inverse=True)
        labels = _read(stored_labels, unique, f"{kind}_set_y", place)
        _check_labels(labels, unique, f"{kind}_set_y", place)
        pixels = _read(stored_pixels, unique, f"{kind}_set_x", place)
    # Reordering comes first because bytes are an eighth of the size of the result.
    columns = pixels[positions].T.reshape(-1, len(wanted))
    result = columns.astype(np.float64, order="C")
    if not raw:
        result /= 255.0
    return result, labels[positions].astype(np.float64).reshape(1, -1)


def images(rows: Rows | None = None, *, raw: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the pictures that ship with the package: 72 of a cat and 137 of other things.

    They have 64 by 64 pixels in three colours. The file's attributes name their sources, all of
    them CC0 or in the public domain.

    Parameters
    ----------
    rows : slice or sequence of int or ndarray of int, shape (examples,), default None
        Examples to read, as in :func:`load`; None reads all 209.
    raw : bool, default False
        Keep the pixels from 0 to 255 instead of scaling them to [0, 1].

    Returns
    -------
    pixels : ndarray of float64, shape (12288, examples)
        One picture per column, C-contiguous, its features ordered as in :func:`load`.
    labels : ndarray of float64, shape (1, examples)
        1 for a cat, 0 for anything else.

    Raises
    ------
    InputError
        If `rows` is not of a listed type, chooses nothing, reaches beyond the last example, or
        chooses more than 2**27 numbers.
    DataError
        If the file is missing from the installation or damaged.

    Examples
    --------
    >>> from gradsweep import datasets
    >>> pixels, labels = datasets.images(rows=slice(8, 12))
    >>> pixels.shape
    (12288, 4)
    >>> labels
    array([[0., 0., 1., 0.]])
    """
    with _shipped() as path:
        return load(path, rows, raw=raw)


def count(path: str | os.PathLike[str] | None = None) -> int:
    """Count the examples in a file without reading a pixel.

    Parameters
    ----------
    path : str or os.PathLike, default None
        HDF5 file as :func:`load` reads it. None counts the pictures that ship with the package.

    Returns
    -------
    int
        Number of examples.

    Raises
    ------
    DataError
        If the file cannot be read as the layout of :func:`load`.
    InputError
        If `path` is not a path.

    Examples
    --------
    >>> from gradsweep import datasets
    >>> datasets.count()
    209
    """
    if path is None:
        with _shipped() as shipped:
            return count(shipped)
    place = place_of(path)
    with opened(place) as file:
        stored_pixels, _, _ = _checked(file, place)
        return int(stored_pixels.shape[0])


@contextmanager
def _shipped() -> Iterator[os.PathLike[str]]:
    """Give the path of the data set in the package.

    Yields
    ------
    os.PathLike
        A path that is valid inside the ``with`` block, even if the package is a zip archive.
    """
    # Imported here, as h5py is below, so that `import gradsweep` does not pay for it.
    from importlib import resources

    file = resources.files("gradsweep") / "_data" / "images.h5"
    with resources.as_file(file) as path:
        yield path


def _checked(file: "h5py.File", place: str) -> tuple["h5py.Dataset", "h5py.Dataset", str]:
    """Find the two data sets and check their layout, without reading either.

    Parameters
    ----------
    file : h5py.File
        Open file.
    place : str
        Its path, for messages.

    Returns
    -------
    pixels : h5py.Dataset of uint8, shape (n, ...)
        Data set of the examples.
    labels : h5py.Dataset, shape (n,)
        Data set of the labels.
    kind : {"train", "test"}
        Beginning of the names of both.

    Raises
    ------
    DataError
        If a data set is missing, of the wrong type or shape, or lies in another file.
    """
    with damage_named(place, "the list of data sets cannot be read"):
        kinds = [kind for kind in ("train", "test") if any(file.id.links.exists(f"{kind}_set_{part}".encode()) for part in "xy")]
    kind = kinds[0] if kinds else "train"
    pixels = find_data_set(file, f"{kind}_set_x", place)
    labels = find_data_set(file, f"{kind}_set_y", place)

    pixel_type = read_type(pixels, f"{kind}_set_x", place)
    if pixel_type != np.uint8:
        raise DataError(f"{place}: {kind}_set_x must hold uint8, found {pixel_type}")
    label_type = read_type(labels, f"{kind}_set_y", place)
    if label_type.kind not in "biuf":
        raise DataError(f"{place}: {kind}_set_y must hold integers, booleans or floats, found {label_type}")
    if len(pixels.shape) < 2:
        raise DataError(f"{place}: {kind}_set_x must have at least 2 dimensions, found shape {pixels.shape}")
    if len(labels.shape) != 1:
        raise DataError(f"{place}: {kind}_set_y must have exactly 1 dimension, found shape {labels.shape}")
    if pixels.shape[0] != labels.shape[0]:
        raise DataError(
            f"{place}: {kind}_set_x and {kind}_set_y must have the same length, found {pixels.shape[0]} and {labels.shape[0]}"
        )
    if 0 in pixels.shape:
        raise DataError(f"{place}: {kind}_set_x is empty, found shape {pixels.shape}")
    for data_set, name in ((pixels, f"{kind}_set_x"), (labels, f"{kind}_set_y")):
        with damage_named(place, f"{name} cannot be opened"):
            require_layout(data_set, name, place)
    return pixels, labels, kind


def _chosen(rows: object, length: int, place: str) -> Sequence[int]:
    """Turn a choice of rows into row numbers that are not negative.

    Parameters
    ----------
    rows : slice or sequence of int or ndarray of int or None
        Choice to check.
    length : int
        Number of examples in the file.
    place : str
        Path of the file, for messages.

    Returns
    -------
    sequence of int, shape (examples,)
        At least one row number from 0 to ``length - 1``.

    Raises
    ------
    InputError
        If the choice is of another type, chooses nothing, or reaches beyond the file.
    """
    if rows is None:
        return range(length)
    if isinstance(rows, slice):
        try:
            span = range(*rows.indices(length))
        except (TypeError, ValueError) as error:
            raise InputError(f"rows: {rows} is no slice of integers: {error}") from error
        if not span:
            raise InputError(f"rows: {rows} chooses none of the {length} examples in {place}")
        return span
    if hasattr(rows, "__array__"):
        array = np.asarray(rows)
        if array.ndim != 1:
            raise InputError(f"rows must have 1 dimension, got shape {array.shape}")
        if array.size and array.dtype.kind not in "iu":
            raise InputError(f"rows must be integers, got {array.dtype}")
        # Python's integers cannot overflow when negative ones are counted from the end.
        items: Sequence[object] = array.tolist()
    elif isinstance(rows, Sequence) and not isinstance(rows, (str, bytes, bytearray)):
        items = rows
    else:
        raise InputError(f"rows must be None, a slice or a sequence of integers, got {type(rows).__name__}")
    if len(items) == 0:
        raise InputError(f"rows chooses none of the {length} examples in {place}")
    numbers: list[int] = []
    for item in items:
        try:
            # A list of booleans is a mask gone astray, although Python counts them as integers.
            number = None if isinstance(item, bool) else operator.index(item)  # type: ignore[arg-type]
        except TypeError:
            number = None
        if number is None:
            raise InputError(f"rows must be integers, got {item!r}")
        if not -length <= number < length:
            raise InputError(f"rows: {number} is out of range for the {length} examples in {place}")
        numbers.append(number + length if number < 0 else number)
    return numbers


def _read(data_set: "h5py.Dataset", rows: NDArray[np.int64], name: str, place: str) -> NDArray[Any]:
    """Read rows from the file.

    Parameters
    ----------
    data_set : h5py.Dataset, shape (n, ...)
        Where to read.
    rows : ndarray of int64, shape (k,)
        Increasing row numbers without repeats.
    name : str
        Name of the data set, for messages.
    place : str
        Path of the file, for messages.

    Returns
    -------
    ndarray, shape (k, ...)
        The rows, with the element type of the data set.

    Raises
    ------
    DataError
        If the file is damaged, or packed by a filter that is not installed.
    """
    first, last = int(rows[0]), int(rows[-1])
    # A slice spares HDF5 the list of rows.
    selection = slice(first, last + 1) if last - first + 1 == len(rows) else rows
    with damage_named(place, f"{name} cannot be read"):
        chunks = np.unique(rows // data_set.chunks[0]) if data_set.chunks else rows
        require_chunks(data_set, name, place, set(chunks.tolist()), len(chunks))
        return np.asarray(data_set[selection])


def _check_labels(labels: NDArray[Any], rows: NDArray[np.int64], name: str, place: str) -> None:
    """Refuse labels that are no probabilities.

    Parameters
    ----------
    labels : ndarray, shape (k,)
        Labels in the type of the file, so that no conversion can hide a bad one.
    rows : ndarray of int64, shape (k,)
        Row number of each label.
    name : str
        Name of the data set, for messages.
    place : str
        Path of the file, for messages.

    Raises
    ------
    DataError
        If a label is not in [0, 1], or is not a number.
    """
    # Negated, since no comparison holds for a NaN.
    bad = ~((labels >= 0) & (labels <= 1))
    if bad.any():
        position = int(bad.argmax())
        raise DataError(f"{place}: {name} must hold labels from 0 to 1, found {labels[position]!s} in row {rows[position]}")
