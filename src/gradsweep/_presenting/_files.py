"""Files of a report: which suffixes there are, and that a file is whole or not there at all."""

import contextlib
import os
import secrets
import tempfile

from gradsweep._errors import DataError, InputError
from gradsweep._hdf5 import place_of
from gradsweep._presenting._document import Report, format_json
from gradsweep._presenting._hdf5_layout import write_report


def _write_json(report: Report, place: str) -> None:
    with open(place, "xb") as file:
        file.write(format_json(report))


def _write_hdf5(report: Report, place: str) -> None:
    import h5py  # type: ignore[import-untyped, unused-ignore]

    with h5py.File(place, "x") as file:
        write_report(report, file)


#: What writes a report, by the suffix of its file.
_WRITERS = {".json": _write_json, ".h5": _write_hdf5, ".hdf5": _write_hdf5}


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
    if _suffix(place) not in _WRITERS:
        *others, last = _WRITERS
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
    try:
        _WRITERS[_suffix(place)](report, beside)
        os.replace(beside, target)
    except (OSError, RuntimeError) as error:  # h5py has both for a disk that is full
        raise DataError(f"{place}: cannot be written: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)


def _suffix(place: str) -> str:
    return os.path.splitext(place)[1].lower()
