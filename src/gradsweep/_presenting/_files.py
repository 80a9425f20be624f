"""Files of a report: which suffixes there are, and what is written by each."""

import os
from collections.abc import Callable

from gradsweep._errors import InputError
from gradsweep._hdf5 import place_of
from gradsweep._presenting._document import format_json
from gradsweep._presenting._hdf5_layout import format_hdf5
from gradsweep._presenting._page import Report, format_page
from gradsweep._writing import require_writable, write_whole

#: What makes the bytes of a file, by its suffix.
_FORMATS: dict[str, Callable[[Report], bytes]] = {
    ".html": format_page,
    ".json": format_json,
    ".h5": format_hdf5,
    ".hdf5": format_hdf5,
}


def require_place(path: object) -> str:
    """Look whether a report could be saved at a path, without leaving anything there.

    Parameters
    ----------
    path : str or os.PathLike
        Where to.

    Returns
    -------
    str
        The path.

    Raises
    ------
    InputError
        If it is no path, or ends in no suffix that is known.
    DataError
        If no file can be written there. The message starts with the path.
    """
    place = place_of(path)
    if _suffix(place) not in _FORMATS:
        *others, last = _FORMATS
        raise InputError(f"path must end in {', '.join(others)} or {last}, not {place!r}")
    require_writable(place)
    return place


def save_report(report: Report, path: object) -> None:
    """Write a report to a file, in the format that its suffix names.

    Parameters
    ----------
    report : Report
        The report.
    path : str or os.PathLike
        Where to; a file of this name is replaced when the new one is complete, and not before.

    Raises
    ------
    InputError
        As of :func:`require_place`; or what the numeric gradient of the report raises.
    DataError
        If the file cannot be written. The message starts with the path.
    """
    place = require_place(path)
    write_whole(place, _FORMATS[_suffix(place)](report))


def _suffix(place: str) -> str:
    return os.path.splitext(place)[1].lower()
