"""Tests of the reader of labelled images and of the data set that ships with the package."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from importlib import resources
from typing import Any

import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pytest
from numpy.typing import NDArray

from gradsweep import datasets
from gradsweep._errors import DataError, GradsweepError, InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPE = (7, 4, 5, 3)
LABELS = np.array([0, 1, 1, 0, 1, 0, 0])

Build = Callable[["h5py.File"], None]


def pictures(shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """Draw pixels.

    Parameters
    ----------
    shape : tuple of int, default (7, 4, 5, 3)
        Shape of the data set.

    Returns
    -------
    ndarray of uint8
        The pixels, with 0 and 255 among them.
    """
    drawn = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    drawn.flat[0], drawn.flat[-1] = 255, 0
    return drawn


def columns(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Order the features in the way of the well-known script.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (n, ...)
        Pixels as they lie in the file.

    Returns
    -------
    ndarray of uint8, shape (features, n)
        One example per column.
    """
    return np.array(pixels).T.reshape(-1, len(pixels))


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Write a sound file, one chunk per row.

    Returns
    -------
    pathlib.Path
        The file.
    """
    file_path = tmp_path / "pictures.h5"
    with h5py.File(file_path, "w") as file:
        file.create_dataset("train_set_x", data=pictures(), chunks=(1, *SHAPE[1:]), compression="gzip")
        file["train_set_y"] = LABELS
    return file_path


def written(file_path: pathlib.Path, **data_sets: Any) -> pathlib.Path:
    """Write a file with the given data sets.

    Parameters
    ----------
    file_path : pathlib.Path
        File to write.
    **data_sets : array_like or h5py link
        What to store under each name.

    Returns
    -------
    pathlib.Path
        The file.
    """
    with h5py.File(file_path, "w") as file:
        for name, value in data_sets.items():
            file[name] = value
    return file_path


def spoil(file_path: pathlib.Path, rows: list[int]) -> None:
    """Overwrite the compressed chunks of rows with rubbish.

    Parameters
    ----------
    file_path : pathlib.Path
        File with one chunk per row.
    rows : list of int
        Rows that must not be readable afterwards.
    """
    with h5py.File(file_path) as file:
        identifier = file["train_set_x"].id
        chunks = [identifier.get_chunk_info(number) for number in range(identifier.get_num_chunks())]
    with file_path.open("r+b") as stream:
        for chunk in chunks:
            if chunk.chunk_offset[0] in rows:
                stream.seek(chunk.byte_offset)
                stream.write(b"\xff" * chunk.size)


class TestLoad:
    """Reading of sound files."""

    def test_all_rows_in_the_feature_order_of_the_script(self, path: pathlib.Path) -> None:
        """Features run over channel, then column, then row."""
        pixels, labels = datasets.load(path)
        assert np.array_equal(pixels, columns(pictures()) / 255)
        assert np.array_equal(labels, LABELS.reshape(1, -1))
        height, width = SHAPE[1:3]
        for channel, column, row in ((0, 0, 0), (1, 3, 2), (2, 4, 3)):
            feature = (channel * width + column) * height + row
            expected = pictures()[:, row, column, channel] / 255
            assert np.array_equal(pixels[feature], expected)

    def test_result_is_contiguous_float64(self, path: pathlib.Path) -> None:
        """Both arrays are float64, C-contiguous, owned and writeable."""
        for array in datasets.load(path, [2, 0]):
            assert array.dtype == np.float64
            assert array.flags.c_contiguous
            assert array.flags.writeable
        pixels, labels = datasets.load(path, [2, 0])
        assert pixels.shape == (60, 2)
        assert labels.shape == (1, 2)

    def test_scale(self, path: pathlib.Path) -> None:
        """Pixels reach 0 and 1, or 0 and 255 when they are kept raw."""
        pixels, _ = datasets.load(path)
        assert (pixels.min(), pixels.max()) == (0.0, 1.0)
        raw, labels = datasets.load(path, raw=True)
        assert raw.dtype == np.float64
        assert np.array_equal(raw, columns(pictures()))
        assert np.array_equal(raw / 255, pixels)
        assert labels.max() == 1.0

    @pytest.mark.parametrize(
        "rows",
        [
            [0],
            [6, 0, 3],
            [3, 3, 3],
            [5, 1, 5, -2, -7],
            [-1],
            (2, 4),
            range(5, 1, -2),
            np.array([4, 2, 4]),
            np.array([6, 1], dtype=np.uint64),
            np.array([-7, 6], dtype=np.int8),
            [np.int64(3), 2],
            slice(None),
            slice(2, 5),
            slice(None, None, 3),
            slice(None, None, -1),
            slice(-3, None),
            slice(5, 100),
            slice(np.int64(1), np.int64(3)),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("chunked", [True, False])
    def test_rows_as_numpy_chooses_them(self, path: pathlib.Path, rows: Any, chunked: bool) -> None:
        """Order, repeats, negative numbers and slices mean what they mean in NumPy."""
        if not chunked:
            written(path, train_set_x=pictures(), train_set_y=LABELS)
        index = rows if isinstance(rows, slice) else np.array(rows).astype(np.int64)
        pixels, labels = datasets.load(path, rows)
        assert np.array_equal(pixels, columns(pictures())[:, index] / 255)
        assert np.array_equal(labels, LABELS[np.newaxis, index])

    @pytest.mark.parametrize(
        "labels",
        [
            LABELS.astype(bool),
            LABELS.astype(np.uint8),
            LABELS.astype(">i4"),
            LABELS.astype(np.float16),
            np.linspace(0, 1, 7),
        ],
        ids=lambda labels: str(labels.dtype),
    )
    def test_types_of_labels(self, path: pathlib.Path, labels: NDArray[Any]) -> None:
        """Integers, booleans and floats are labels, fractions included."""
        written(path, train_set_x=pictures(), train_set_y=labels)
        _, found = datasets.load(path)
        assert found.dtype == np.float64
        assert np.array_equal(found[0], labels)

    @pytest.mark.parametrize("shape", [(7, 60), (7, 1), (7, 4, 5), (7, 2, 3, 2, 5), (1, 4, 5, 3)])
    def test_any_number_of_dimensions(self, path: pathlib.Path, shape: tuple[int, ...]) -> None:
        """Grey pictures, vectors and films keep the order of the transposed array."""
        written(path, train_set_x=pictures(shape), train_set_y=LABELS[: shape[0]])
        pixels, _ = datasets.load(path, raw=True)
        assert np.array_equal(pixels, columns(pictures(shape)))
        assert pixels.flags.c_contiguous

    def test_sister_file(self, path: pathlib.Path) -> None:
        """The names of the test set are read when those of the training set are absent."""
        written(path, test_set_x=pictures(), test_set_y=LABELS)
        pixels, labels = datasets.load(str(path))
        assert np.array_equal(pixels, columns(pictures()) / 255)
        assert np.array_equal(labels[0], LABELS)
        assert datasets.count(path) == 7

    def test_training_names_come_first(self, path: pathlib.Path) -> None:
        """A file with both sets gives the training set."""
        written(
            path,
            train_set_x=pictures(),
            train_set_y=LABELS,
            test_set_x=pictures()[:2],
            test_set_y=LABELS[:2],
        )
        assert datasets.count(path) == 7

    def test_soft_links_inside_the_file(self, path: pathlib.Path) -> None:
        """A soft link that ends in the same file is followed, over several steps."""
        with h5py.File(path, "w") as file:
            file["deep/pixels"] = pictures()
            file["deep/labels"] = LABELS
            file["deep/again"] = h5py.SoftLink("./labels")
            file["short"] = h5py.SoftLink("/deep")
            file["train_set_x"] = h5py.SoftLink("/short/pixels")
            file["train_set_y"] = h5py.SoftLink("short//again")
        pixels, labels = datasets.load(path, [1])
        assert np.array_equal(pixels, columns(pictures())[:, [1]] / 255)
        assert labels.tolist() == [[1.0]]

    def test_name_of_the_file_may_be_any_text(self, path: pathlib.Path) -> None:
        """Blanks and letters beyond ASCII do no harm."""
        renamed = path.rename(path.with_name("Kätzchen und 猫.h5"))
        assert datasets.count(renamed) == 7

    def test_file_is_closed(self, path: pathlib.Path) -> None:
        """After success and after an error the file can be opened for writing."""
        datasets.load(path)
        with pytest.raises(InputError):
            datasets.load(path, [99])
        with h5py.File(path, "r+") as file:
            assert file["train_set_x"].shape == SHAPE


class TestOnlyChosenRows:
    """No row is read but those that are asked for."""

    def test_other_chunks_may_be_spoilt(self, path: pathlib.Path) -> None:
        """Rows 1 and 5 are read although every other row is rubbish."""
        spoil(path, [0, 2, 3, 4, 6])
        pixels, labels = datasets.load(path, [5, 1, -2])
        assert np.array_equal(pixels, columns(pictures())[:, [5, 1, 5]] / 255)
        assert labels.tolist() == [[0.0, 1.0, 0.0]]
        pixels, _ = datasets.load(path, slice(1, 6, 4))
        assert np.array_equal(pixels, columns(pictures())[:, [1, 5]] / 255)
        with pytest.raises(DataError, match="train_set_x cannot be read"):
            datasets.load(path)
        with pytest.raises(DataError, match="train_set_x cannot be read"):
            datasets.load(path, [0])

    def test_count_reads_no_pixel(self, path: pathlib.Path) -> None:
        """The number of examples is known even when every row is rubbish."""
        spoil(path, list(range(7)))
        assert datasets.count(path) == 7

    def test_bad_labels_of_other_rows_are_not_read(self, path: pathlib.Path) -> None:
        """A label is judged when its row is chosen."""
        with h5py.File(path, "r+") as file:
            file["train_set_y"][2] = 9
        assert datasets.load(path, [0, 1])[1].tolist() == [[0.0, 1.0]]
        with pytest.raises(DataError, match="found 9 in row 2"):
            datasets.load(path, [4, 2, 0])

    @pytest.fixture
    def huge(self, tmp_path: pathlib.Path) -> pathlib.Path:
        """Write a small file that declares a million pictures, of which two are there.

        Returns
        -------
        pathlib.Path
            The file.
        """
        file_path = tmp_path / "huge.h5"
        with h5py.File(file_path, "w") as file:
            stored = file.create_dataset("train_set_x", shape=(10**6, 64, 64, 3), dtype=np.uint8, chunks=(1, 64, 64, 3))
            stored[3] = 51
            stored[999_999] = 255
            labels = file.create_dataset("train_set_y", shape=(10**6,), dtype=np.int64, chunks=(1000,))
            labels[999_999] = 1
        assert file_path.stat().st_size < 10**6
        return file_path

    def test_little_memory_for_few_rows(self, huge: pathlib.Path) -> None:
        """Three rows of a file of 12 gigabytes take three rows of memory."""
        datasets.load(huge, [0])
        tracemalloc.start()
        try:
            pixels, labels = datasets.load(huge, [-1, 3, 0])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert pixels[[0, -1]].tolist() == [[1.0, 0.2, 0.0], [1.0, 0.2, 0.0]]
        assert labels.tolist() == [[1.0, 0.0, 0.0]]
        assert peak < 4 * pixels.nbytes
        assert datasets.count(huge) == 10**6

    @pytest.mark.parametrize("rows", [None, slice(None, None, -1), [0] * 20_000])
    def test_too_much_at_once_is_refused(self, huge: pathlib.Path, rows: Any) -> None:
        """A declared size cannot make the reader allocate without bound."""
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=r"^rows: .*choose fewer rows"):
                datasets.load(huge, rows)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10**7

    def test_declared_length_beyond_any_memory(self, path: pathlib.Path) -> None:
        """Not even the list of rows is made for a length of 2**60."""
        with h5py.File(path, "w") as file:
            file.create_dataset("train_set_x", (2**60, 2), np.uint8, chunks=(1, 2))
            file.create_dataset("train_set_y", (2**60,), np.uint8, chunks=(1,))
        with pytest.raises(InputError, match=r"^rows: 1152921504606846976 rows"):
            datasets.load(path)
        assert datasets.load(path, [2**60 - 1])[1].tolist() == [[0.0]]

    def test_huge_chunks_are_refused(self, path: pathlib.Path) -> None:
        """One row must not cost a chunk of gigabytes."""
        with h5py.File(path, "w") as file:
            file.create_dataset("train_set_x", (2 * 10**6, 1024), np.uint8, chunks=(2 * 10**6, 1024), compression="gzip")
            file.create_dataset("train_set_y", (2 * 10**6,), np.uint8, chunks=(1000,))
        with pytest.raises(DataError, match="train_set_x has chunks of 2048000000 numbers"):
            datasets.load(path, [0])


class TestRows:
    """Rows that cannot be chosen."""

    @pytest.mark.parametrize(
        ("rows", "reason"),
        [
            ([7], "7 is out of range"),
            ([0, -8], "-8 is out of range"),
            ([10**30], "out of range"),
            (np.array([2**63], dtype=np.uint64), "out of range"),
            ([], "chooses none"),
            (np.array([], dtype=np.int64), "chooses none"),
            (np.array([]), "chooses none"),
            (range(0), "chooses none"),
            (slice(3, 3), "chooses none"),
            (slice(7, None), "chooses none"),
            (slice(1, 4, -1), "chooses none"),
            (slice(None, None, 0), "no slice of integers"),
            (slice(0.0, 2.0), "no slice of integers"),
            ([0.0, 1.0], "must be integers, got 0.0"),
            ([0, "1"], "must be integers, got '1'"),
            ([[0, 1]], "must be integers"),
            ([None], "must be integers, got None"),
            (np.array([0.0]), "must be integers, got float64"),
            (np.array([[0, 1]]), "1 dimension"),
            (np.int64(3), "1 dimension"),
            (np.array([True, False] * 3 + [True]), "must be integers, got bool"),
            ([True, False], "must be integers, got True"),
            ([1, True], "must be integers, got True"),
            ([np.True_], "must be integers"),
            (np.array(["a"]), "must be integers"),
            (3, "None, a slice or a sequence of integers, got int"),
            (True, "got bool"),
            ("01", "got str"),
            (b"\x00", "got bytes"),
            ({0, 1}, "got set"),
            ({0: 1}, "got dict"),
        ],
        ids=repr,
    )
    def test_refused(self, path: pathlib.Path, rows: Any, reason: str) -> None:
        """The message begins with the argument and says what is wrong."""
        with pytest.raises(InputError, match=reason) as caught:
            datasets.load(path, rows)
        assert str(caught.value).startswith("rows")
        assert not isinstance(caught.value, DataError)

    def test_cause_is_kept(self, path: pathlib.Path) -> None:
        """The error of Python stays visible below."""
        with pytest.raises(InputError) as caught:
            datasets.load(path, slice(None, None, 0))
        assert isinstance(caught.value.__cause__, ValueError)

    def test_refused_for_the_shipped_images(self) -> None:
        """The same rules hold for the data set in the package."""
        with pytest.raises(InputError, match=r"^rows: 209 is out of range for the 209 examples"):
            datasets.images([209])


def stored(**data_sets: Any) -> Build:
    """Make a function that stores data sets in an open file.

    Parameters
    ----------
    **data_sets : array_like or h5py link
        What to store under each name.

    Returns
    -------
    callable
        The function.
    """

    def build(file: "h5py.File") -> None:
        for name, value in data_sets.items():
            file[name] = value

    return build


def group_for_pixels(file: "h5py.File") -> None:
    """Put a group in the place of the pixels."""
    file["train_set_x/inner"] = pictures()
    file["train_set_y"] = LABELS


def type_for_labels(file: "h5py.File") -> None:
    """Put a named type in the place of the labels."""
    file["train_set_x"] = pictures()
    file["train_set_y"] = np.dtype(np.int64)


def link_in_a_circle(file: "h5py.File") -> None:
    """Let two soft links point at each other."""
    file["train_set_x"] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink("/train_set_x")
    file["train_set_y"] = LABELS


def link_through_a_data_set(file: "h5py.File") -> None:
    """Let a soft link lead through a data set as if it were a group."""
    file["train_set_x"] = pictures()
    file["train_set_y"] = h5py.SoftLink("/train_set_x/labels")


def link_through_an_external_link(file: "h5py.File") -> None:
    """Hide an external link behind a soft one."""
    file["door"] = h5py.ExternalLink("other.h5", "/")
    file["train_set_x"] = h5py.SoftLink("/door/train_set_x")
    file["train_set_y"] = LABELS


def virtual_pixels(file: "h5py.File") -> None:
    """Compose the pixels from another file."""
    layout = h5py.VirtualLayout(shape=SHAPE, dtype=np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "train_set_x", shape=SHAPE)
    file.create_virtual_dataset("train_set_x", layout)
    file["train_set_y"] = LABELS


def pixels_in_a_raw_file(file: "h5py.File") -> None:
    """Keep the bytes of the pixels outside the HDF5 file."""
    elsewhere = pathlib.Path(file.filename).with_name("pixels.raw")
    elsewhere.write_bytes(pictures().tobytes())
    file.create_dataset("train_set_x", SHAPE, np.uint8, external=str(elsewhere))
    file["train_set_y"] = LABELS


def time_labels(file: "h5py.File") -> None:
    """Give the labels a type of HDF5 that NumPy does not have."""
    file["train_set_x"] = pictures()
    space = h5py.h5s.create_simple((len(LABELS),))
    h5py.h5d.create(file.id, b"train_set_y", h5py.h5t.UNIX_D32LE, space)


BROKEN: dict[str, tuple[Build, str]] = {
    "nothing": (stored(), "train_set_x is missing, the file holds nothing"),
    "other names": (stored(a=[1], b=[2]), "train_set_x is missing, the file holds 'a', 'b'"),
    "many names": (
        stored(**{f"name{number:02}": [1] for number in range(30)}),
        r"the file holds 'name00', .*'name09', \.\.\.$",
    ),
    "no labels": (stored(train_set_x=pictures()), "train_set_y is missing, .* 'train_set_x'"),
    "no pixels": (stored(train_set_y=LABELS), "train_set_x is missing, .* 'train_set_y'"),
    "no test labels": (stored(test_set_x=pictures()), "test_set_y is missing, .* 'test_set_x'"),
    "mixed names": (
        stored(train_set_x=pictures(), test_set_y=LABELS),
        "train_set_y is missing, the file holds 'test_set_y', 'train_set_x'",
    ),
    "group": (group_for_pixels, "train_set_x must be a data set, found a group"),
    "type": (type_for_labels, "train_set_y must be a data set, found a type"),
    "float pixels": (
        stored(train_set_x=pictures() / 255, train_set_y=LABELS),
        "train_set_x must hold uint8, found float64",
    ),
    "signed pixels": (
        stored(train_set_x=pictures().astype(np.int8), train_set_y=LABELS),
        "train_set_x must hold uint8, found int8",
    ),
    "boolean pixels": (
        stored(train_set_x=pictures() > 9, train_set_y=LABELS),
        "train_set_x must hold uint8, found bool",
    ),
    "text labels": (
        stored(train_set_x=pictures(), train_set_y=np.array([b"cat"] * 7)),
        r"train_set_y must hold integers, booleans or floats, found \|S3",
    ),
    "text labels of any length": (
        stored(train_set_x=pictures(), train_set_y=["cat"] * 7),
        "train_set_y must hold .*, found object",
    ),
    "complex labels": (
        stored(train_set_x=pictures(), train_set_y=LABELS.astype(complex)),
        "train_set_y must hold .*, found complex128",
    ),
    "record labels": (
        stored(train_set_x=pictures(), train_set_y=np.zeros(7, dtype=[("a", "i4")])),
        "train_set_y must hold .*, found ",
    ),
    "labels of time": (time_labels, "train_set_y holds a type that NumPy lacks"),
    "flat pixels": (
        stored(train_set_x=pictures((7,)), train_set_y=LABELS),
        r"train_set_x must have at least 2 dimensions, found shape \(7,\)",
    ),
    "scalar pixels": (
        stored(train_set_x=np.uint8(3), train_set_y=LABELS),
        r"train_set_x must have at least 2 dimensions, found shape \(\)",
    ),
    "labels as a column": (
        stored(train_set_x=pictures(), train_set_y=LABELS.reshape(7, 1)),
        r"train_set_y must have exactly 1 dimension, found shape \(7, 1\)",
    ),
    "scalar labels": (
        stored(train_set_x=pictures(), train_set_y=1),
        r"train_set_y must have exactly 1 dimension, found shape \(\)",
    ),
    "lengths": (
        stored(train_set_x=pictures(), train_set_y=LABELS[:6]),
        "train_set_x and train_set_y must have the same length, found 7 and 6",
    ),
    "no rows": (
        stored(train_set_x=pictures()[:0], train_set_y=LABELS[:0]),
        r"train_set_x is empty, found shape \(0, 4, 5, 3\)",
    ),
    "no features": (
        stored(train_set_x=pictures()[:, :, :0], train_set_y=LABELS),
        r"train_set_x is empty, found shape \(7, 4, 0, 3\)",
    ),
    "no space": (
        stored(train_set_x=h5py.Empty(np.uint8), train_set_y=LABELS),
        "train_set_x is empty, found no shape",
    ),
    "dangling soft link": (
        stored(train_set_x=h5py.SoftLink("/absent/pixels"), train_set_y=LABELS),
        "train_set_x is a soft link that dangles at 'absent'",
    ),
    "soft link through a data set": (
        link_through_a_data_set,
        "train_set_y is a soft link that dangles at 'labels'",
    ),
    "soft links in a circle": (
        link_in_a_circle,
        "train_set_x is a soft link that runs in a circle",
    ),
    "soft link to the file": (
        stored(train_set_x=h5py.SoftLink("/"), train_set_y=LABELS),
        "train_set_x must be a data set, found a group",
    ),
    "external link": (
        stored(train_set_x=h5py.ExternalLink("other.h5", "/train_set_x"), train_set_y=LABELS),
        "train_set_x is an external link, which is refused",
    ),
    "external link for labels": (
        stored(train_set_x=pictures(), train_set_y=h5py.ExternalLink("other.h5", "/train_set_y")),
        "train_set_y is an external link, which is refused",
    ),
    "dangling external link": (
        stored(train_set_x=h5py.ExternalLink("absent.h5", "/x"), train_set_y=LABELS),
        "train_set_x is an external link, which is refused",
    ),
    "soft link through an external link": (
        link_through_an_external_link,
        "train_set_x is an external link, which is refused",
    ),
    "virtual data set": (virtual_pixels, "train_set_x keeps its numbers in other files"),
    "raw file": (pixels_in_a_raw_file, "train_set_x keeps its numbers in other files"),
}


class TestBrokenFiles:
    """Files that are not of the layout."""

    @pytest.mark.parametrize("case", BROKEN)
    @pytest.mark.parametrize("read", [datasets.load, datasets.count])
    def test_layout(self, path: pathlib.Path, case: str, read: Callable[[Any], object]) -> None:
        """The message begins with the path and says what was found."""
        # A sound neighbour: following a link to it would succeed, so only refusal gives an error.
        path.rename(path.with_name("other.h5"))
        build, reason = BROKEN[case]
        with h5py.File(path, "w") as file:
            build(file)
        with pytest.raises(DataError, match=reason) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, GradsweepError)

    @pytest.mark.parametrize(
        "case",
        [
            "external link",
            "soft link through an external link",
            "virtual data set",
            "raw file",
        ],
    )
    def test_refused_links_would_work(self, path: pathlib.Path, case: str) -> None:
        """The refusals above are no accident: h5py reads the pixels of the other file."""
        path.rename(path.with_name("other.h5"))
        with h5py.File(path, "w") as file:
            BROKEN[case][0](file)
        with h5py.File(path) as file:
            assert np.array_equal(file["train_set_x"][:], pictures())

    @pytest.mark.parametrize(
        ("labels", "found"),
        [
            (LABELS * 2, "2 in row 1"),
            (-LABELS, "-1 in row 1"),
            (np.where(LABELS == 1, np.nan, 0.5), "nan in row 1"),
            (np.where(LABELS == 1, np.inf, 0.5), "inf in row 1"),
            (LABELS + 1e-9, "1.000000001 in row 1"),
            (LABELS.astype(np.uint64) * 2**63, "9223372036854775808 in row 1"),
            (np.where(LABELS == 1, np.finfo(np.longdouble).max, 0), "1.*e.* in row 1"),
        ],
        ids=["two", "minus one", "nan", "infinity", "just above", "unsigned", "beyond float64"],
    )
    def test_labels(self, path: pathlib.Path, labels: NDArray[Any], found: str) -> None:
        """Labels outside [0, 1] are named with their row, the row of the file."""
        written(path, train_set_x=pictures(), train_set_y=labels)
        for rows in (None, [3, 4, 1], slice(1, None)):
            with pytest.raises(DataError, match=f"train_set_y must hold .* found {found}") as caught:
                datasets.load(path, rows)
            assert str(caught.value).startswith(f"{path}: ")
        assert datasets.count(path) == 7

    def test_no_such_file(self, tmp_path: pathlib.Path) -> None:
        """A missing file is named."""
        missing = tmp_path / "missing.h5"
        for read in (datasets.load, datasets.count):
            with pytest.raises(DataError) as caught:
                read(missing)
            assert str(caught.value) == f"{missing}: no such file"
            assert isinstance(caught.value.__cause__, FileNotFoundError)

    def test_directory(self, tmp_path: pathlib.Path) -> None:
        """A folder is no file."""
        with pytest.raises(DataError, match="is a directory, not an HDF5 file") as caught:
            datasets.load(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}: ")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_pipe(self, tmp_path: pathlib.Path) -> None:
        """A pipe is refused before anybody waits for a writer."""
        pipe = tmp_path / "pipe.h5"
        os.mkfifo(pipe)
        with pytest.raises(DataError, match="is not a regular file"):
            datasets.load(pipe)

    def test_path_through_a_file(self, path: pathlib.Path) -> None:
        """A file in the place of a folder, and a name with a zero byte, are data errors."""
        with pytest.raises(DataError, match="cannot be examined"):
            datasets.load(path / "inner.h5")
        with pytest.raises(DataError, match=r"cannot be examined: .*null"):
            datasets.load("zero\0byte")

    @pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89PNG\r\n\x1a\n" + b"\0" * 4096])
    def test_not_hdf5(self, tmp_path: pathlib.Path, content: bytes) -> None:
        """Other files are refused, with the words of h5py and its error as the cause."""
        other = tmp_path / "other.h5"
        other.write_bytes(content)
        with pytest.raises(DataError, match="cannot be opened as an HDF5 file: ") as caught:
            datasets.load(other)
        assert str(caught.value).startswith(f"{other}: ")
        assert isinstance(caught.value.__cause__, OSError)

    @pytest.mark.parametrize("chunked", [True, False])
    def test_truncated(self, path: pathlib.Path, chunked: bool) -> None:
        """A file that ends anywhere too early is a data error."""
        if not chunked:
            written(path, train_set_x=pictures(), train_set_y=LABELS)
        whole = path.read_bytes()
        for length in (*range(0, len(whole), 97), len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError) as caught:
                datasets.load(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert caught.value.__cause__ is not None

    def test_spoilt_chunk(self, path: pathlib.Path) -> None:
        """A chunk that cannot be unpacked is a data error that names the data set."""
        spoil(path, [4])
        with pytest.raises(DataError, match="train_set_x cannot be read: ") as caught:
            datasets.load(path, [0, 4])
        assert str(caught.value).startswith(f"{path}: ")
        assert isinstance(caught.value.__cause__, zlib.error)

    def test_damaged_list_of_data_sets(self, path: pathlib.Path) -> None:
        """A file whose names cannot be read is a data error."""
        path.write_bytes(path.read_bytes().replace(b"HEAP", b"PAEH"))
        with pytest.raises(DataError, match="the list of data sets cannot be read: ") as caught:
            datasets.count(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert caught.value.__cause__ is not None

    def test_damaged_data_set(self, path: pathlib.Path) -> None:
        """A data set whose description is rubbish is a data error that names it."""
        with h5py.File(path) as file:
            address = h5py.h5o.get_info(file["train_set_y"].id).addr
        with path.open("r+b") as stream:
            stream.seek(address)
            stream.write(b"\xff" * 16)
        with pytest.raises(DataError, match="train_set_y cannot be opened: ") as caught:
            datasets.count(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert caught.value.__cause__ is not None

    @pytest.mark.parametrize("bad", [None, 3, b"pictures.h5", ["pictures.h5"]], ids=repr)
    def test_not_a_path(self, bad: Any) -> None:
        """Anything but text or a path object is refused by name."""
        with pytest.raises(InputError, match=r"^path must be a str or os\.PathLike, got ") as caught:
            datasets.load(bad)
        assert not isinstance(caught.value, DataError)


class TestShippedImages:
    """The data set in the package."""

    @pytest.fixture
    def shipped(self) -> pathlib.Path:
        """Find the file.

        Returns
        -------
        pathlib.Path
            The file in the package.
        """
        return pathlib.Path(str(resources.files("gradsweep") / "_data" / "images.h5"))

    def test_size(self, shipped: pathlib.Path) -> None:
        """The file stays small enough to ship."""
        assert shipped.stat().st_size <= 2_000_000

    def test_layout(self, shipped: pathlib.Path) -> None:
        """Names, shapes and types are those of the well-known file."""
        with h5py.File(shipped) as file:
            assert set(file) == {"train_set_x", "train_set_y", "list_classes", "source"}
            assert file["train_set_x"].shape == (209, 64, 64, 3)
            assert file["train_set_x"].dtype == np.uint8
            assert file["train_set_x"].chunks == (1, 64, 64, 3)
            assert file["train_set_y"].shape == (209,)
            assert file["train_set_y"].dtype == np.int64
            assert file["list_classes"][:].tolist() == [b"non-cat", b"cat"]
            assert file["source"].shape == (209,)
            labels, source = file["train_set_y"][:], file["source"][:]
        assert np.bincount(labels).tolist() == [137, 72]
        assert np.array_equal(source == b"chelsea", labels == 1)

    def test_attributes(self, shipped: pathlib.Path) -> None:
        """Every picture has its origin and a free licence."""
        with h5py.File(shipped) as file:
            attributes = dict(file.attrs)
            names = {name.decode() for name in file["source"][:]}
        assert {"title", "licence", "sources", "scikit_image_version"} <= set(attributes)
        assert "CC0" in attributes["licence"]
        lines = attributes["sources"].splitlines()
        assert {line.partition(":")[0] for line in lines} == names
        for line in lines:
            assert "origin: " in line
            assert line.endswith(("licence: CC0 1.0", "licence: public domain"))

    def test_images(self, shipped: pathlib.Path) -> None:
        """All images, some images and their number."""
        with h5py.File(shipped) as file:
            expected = columns(file["train_set_x"][:]) / 255
            expected_labels = file["train_set_y"][:]
        pixels, labels = datasets.images()
        assert pixels.shape == (12288, 209)
        assert labels.shape == (1, 209)
        assert np.array_equal(pixels, expected)
        assert np.array_equal(labels[0], expected_labels)
        some, some_labels = datasets.images([208, 0, -1], raw=True)
        assert np.array_equal(some, np.rint(expected[:, [208, 0, 208]] * 255))
        assert np.array_equal(some_labels[0], expected_labels[[208, 0, 208]])
        assert datasets.count() == 209

    def test_images_differ(self) -> None:
        """No crop occurs twice, none is featureless, and the labels are mixed."""
        pixels, labels = datasets.images()
        assert len(np.unique(pixels, axis=1).T) == 209
        assert pixels.std(axis=0).min() > 0.03
        assert 0.2 < labels[0, :50].mean() < 0.5

    def test_maker_is_deterministic(self, tmp_path: pathlib.Path, shipped: pathlib.Path) -> None:
        """Two runs of the script write the same bytes, with the labels that ship."""
        script = ROOT / "src" / "gradsweep" / "_data" / "make_images.py"
        if importlib.util.find_spec("skimage") is None:
            pytest.skip("scikit-image, which holds the pictures, is not installed")
        if not script.exists():
            pytest.skip("the script that makes the images is only in the repository")
        made = [tmp_path / "first.h5", tmp_path / "second.h5"]
        for target in made:
            subprocess.run([sys.executable, str(script), str(target)], check=True)
        assert made[0].read_bytes() == made[1].read_bytes()
        with h5py.File(made[0]) as file, h5py.File(shipped) as expected:
            assert np.array_equal(file["train_set_y"], expected["train_set_y"])


def test_import_leaves_h5py_alone() -> None:
    """Importing the module is cheap: h5py is loaded by the first call."""
    program = (
        "import sys; from gradsweep import datasets; assert 'h5py' not in sys.modules; "
        "datasets.count(); assert 'h5py' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "kind", "number", "cats"),
    [("train_catvnoncat.h5", "train", 209, 72), ("test_catvnoncat.h5", "test", 50, 33)],
)
def test_well_known_files(name: str, kind: str, number: int, cats: int) -> None:
    """The files of the course are read as the script of the course reads them."""
    folder = os.environ.get("GRADSWEEP_POST_DATA")
    place = (pathlib.Path(folder) if folder else ROOT.parent / "shared" / "data") / name
    if not place.is_file():
        pytest.skip(f"{place} is absent; GRADSWEEP_POST_DATA may name its folder")
    with h5py.File(place) as file:
        expected = columns(np.array(file[f"{kind}_set_x"]))
        expected_labels = np.array(file[f"{kind}_set_y"])
    assert datasets.count(place) == number
    pixels, labels = datasets.load(place)
    assert pixels.shape == (12288, number)
    assert np.array_equal(pixels, expected / 255)
    assert np.array_equal(labels, expected_labels.reshape(1, -1))
    assert labels.sum() == cats
    some, some_labels = datasets.load(place, [40, 7, 40], raw=True)
    assert np.array_equal(some, expected[:, [40, 7, 40]])
    assert np.array_equal(some_labels[0], expected_labels[[40, 7, 40]])
