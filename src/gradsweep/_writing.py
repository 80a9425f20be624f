"""Files that are whole or not there at all: made in memory, written beside their place, and put there when they are complete."""

import contextlib
import os
import secrets
import tempfile

from gradsweep._errors import DataError


def require_writable(place: str) -> None:
    """Look whether a file could be written, without leaving anything there.

    Parameters
    ----------
    place : str
        Path of the file.

    Raises
    ------
    DataError
        If it could not. The message starts with the path.
    """
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


def write_whole(place: str, content: bytes) -> None:
    """Write a file, or leave what is there as it is.

    Parameters
    ----------
    place : str
        Path of the file; one of this name is replaced when the new one is complete, and not before. Behind a link it is the file
        that the link leads to.
    content : bytes
        What is to stand in it. HDF5 itself must not write to the disk: where that is full it ends the process.

    Raises
    ------
    DataError
        If it cannot be written. The message starts with the path.
    """
    target = os.path.realpath(place)
    beside = os.path.join(os.path.dirname(target), f".gradsweep-{secrets.token_hex(8)}")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            # Else a machine that fails now may remember the new name before it remembers what stands in the file.
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except OSError as error:
        raise DataError(f"{place}: cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # there is none, or no such folder any more
            os.unlink(beside)
