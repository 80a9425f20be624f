"""A report as an HDF5 file."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._presenting._document import Report, describe_report

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped, unused-ignore]

# Of the worst entries, what is a number or a truth value each.
_COLUMNS = ("analytic", "numeric", "noise", "kink", "score")


def format_hdf5(report: Report, also: "Callable[[h5py.File], None] | None" = None) -> bytes:
    """A report as HDF5, in the layout that `gradsweep.Report.save` describes.

    Parameters
    ----------
    report : Report
        The report.
    also : callable, optional
        Puts something else into the file, beside the report.

    Returns
    -------
    bytes
        What is to stand in the file. It is made in memory, for a disk that is full while HDF5 writes to it ends the process.
    """
    import h5py  # type: ignore[import-untyped, unused-ignore]

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _put_report(file, report)
        if also is not None:
            also(file)
    return buffer.getvalue()


def _put_report(file: "h5py.File", report: Report) -> None:
    document = describe_report(report)
    blocks, findings, displaced = (document.pop(name) for name in ("blocks", "findings", "displaced"))
    _put_all(file, document)
    _put_blocks(file, blocks)
    group = file.create_group("findings")
    for number, finding in enumerate(findings):
        _put_all(group.create_group(str(number)), finding)
    if displaced is not None:
        group = file.create_group("displaced")
        blocks_elsewhere = displaced.pop("blocks")
        _put_all(group, displaced)
        _put_blocks(group, blocks_elsewhere)
    for gradient, blocks in {"numeric": report.numeric, "analytic": report.analytic}.items():
        for name in blocks:  # one at a time, for some are formed when they are asked for
            file[f"blocks/{escape(name)}/{gradient}"] = blocks[name]


def escape(name: str) -> str:
    """A name as one step of a path: a slash, which would make two of it, is ``%2F``, and ``%`` is ``%25``.

    Examples
    --------
    >>> escape("layers['a/b'].W")
    "layers['a%2Fb'].W"
    """
    return name.replace("%", "%25").replace("/", "%2F")


def _put_blocks(group: "h5py.Group", blocks: Sequence[dict[str, Any]]) -> None:
    """A group of blocks, which lists them in the order of the parameters."""
    inner = group.create_group("blocks", track_order=True)
    for block in blocks:
        entries = block.pop("worst")
        place = inner.create_group(escape(block["name"]))
        _put_all(place, block)
        worst = place.create_group("worst")
        index = [entry["index"] for entry in entries]
        worst["index"] = np.array(index, dtype=np.int64).reshape(len(entries), len(block["shape"]))
        for name in _COLUMNS:
            worst[name] = np.array([entry[name] for entry in entries], dtype=bool if name == "kink" else np.float64)


def _put_all(group: "h5py.Group", items: Mapping[str, Any]) -> None:
    """Dicts as groups, lists as data sets, all else as attributes; what there is not is left out."""
    for name, value in items.items():
        if isinstance(value, dict):
            _put_all(group.create_group(escape(name)), value)
        elif isinstance(value, list):
            group[escape(name)] = _array(value)
        elif value is not None:
            group.attrs[name] = _text(value) if isinstance(value, str) else value


def _array(items: list[Any]) -> NDArray[Any]:
    """A list as an array of numbers, or of texts."""
    import h5py

    if not items:
        return np.empty(0, dtype=np.int64)
    try:
        array = np.array(items)
    except ValueError:  # lists of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind in "biuf":
        return array
    return np.array([_text(str(item)) for item in items], dtype=h5py.string_dtype())


def _text(text: str) -> str:
    """A text that HDF5 can hold: the name of a file need be no UTF-8, and no text may go on behind a zero."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
