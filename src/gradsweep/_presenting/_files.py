"""Files of a report: which suffixes there are, and that a file is whole or not there at all."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable

from gradsweep._errors import DataError, InputError
from gradsweep._hdf5 import place_of
from gradsweep._presenting._document import Report, format_json
from gradsweep._presenting._hdf5_layout import format_hdf5

#: What makes the bytes of a file, by its suffix.
_FORMATS: dict[str, Callable[[Report], bytes | memoryview]] = {".json": format_json, ".h5": format_hdf5, ".hdf5": format_hdf5}


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
    if os.path.isdir(place):
        raise DataError(f"{place}: is a directory")
    if os.path.exists(place) and not os.path.isfile(place):
        # To replace a pipe would leave whoever reads from it waiting.
        raise DataError(f"{place}: is not a regular file")
    try:
        # Permissions do not tell all: a disk may be full, or read-only.
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(place))):
            pass
    except OSError as error:
        raise DataError(f"{place}: no file can be written in its folder: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{place!r}: is no path: {error}") from error
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
    target = os.path.realpath(place)
    beside = os.path.join(os.path.dirname(target), f".gradsweep-{secrets.token_hex(8)}")
    content = _FORMATS[_suffix(place)](report)
    try:
        with open(beside, "xb") as file:
            file.write(content)
        os.replace(beside, target)
    except OSError as error:
        raise DataError(f"{place}: cannot be written: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)


def _suffix(place: str) -> str:
    return os.path.splitext(place)[1].lower()
