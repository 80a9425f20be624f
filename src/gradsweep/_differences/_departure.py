"""Where a user's code leaves NumPy, so that differences cannot follow; and what it was doing at that point."""

import contextlib
import dis
import functools
import linecache
import os
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import NamedTuple

import numpy as np

from gradsweep._differences._cast import Cast

# Files of gradsweep and of NumPy: what happens in them was asked for by somebody further out.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOT_USERS = tuple(name + os.sep for name in (_PACKAGE, os.path.dirname(np.__file__)))

# Forward passes of gradsweep's own that users have in their costs: their lines tell more than the call.
_FORWARD_PASSES = tuple(os.path.join(_PACKAGE, name) for name in ("scratch.py", "network.py", "_dense.py"))

_heard = threading.local()


class Departure(Exception):
    """A user's code did something that differences cannot follow.

    Parameters
    ----------
    what : str
        What it did, as the beginning of a sentence.
    advice : str, optional
        How to write it so that they can.

    Attributes
    ----------
    what, advice : str
        As given.
    cast : Cast, optional
        The least precise type to which the function was seen to round values that change; None if that is float64.
    where : str
        File, line, function and text of the line that did it.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        self.what, self.advice = what, advice
        self.cast: Cast | None = None
        self.where = describe(users_frame())
        super().__init__(what)
        departures: list[Departure] | None = getattr(_heard, "departures", None)
        if departures is not None:
            departures.append(self)

    def __str__(self) -> str:
        """One sentence: what, where, and what to do about it."""
        return f"{self.what} ({self.where})" + (f"; {self.advice}" if self.advice else "")


@contextlib.contextmanager
def heard() -> Iterator[list[Departure]]:
    """All departures of this thread from here on, in their order: also those that a user's code catches and says nothing of."""
    before = getattr(_heard, "departures", None)
    departures: list[Departure] = []
    _heard.departures = departures
    try:
        yield departures
    finally:
        _heard.departures = before


def is_users(code: CodeType) -> bool:
    """Whether code is neither ours nor NumPy's."""
    return not code.co_filename.startswith(_NOT_USERS) or code.co_filename in _FORWARD_PASSES


def users_frame() -> FrameType | None:
    """The innermost frame that is neither ours nor NumPy's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code):
        frame = frame.f_back
    return frame


def describe(frame: FrameType | None, line: int | None = None) -> str:
    """File, line, function and text of the line at which a frame is."""
    if frame is None:
        return "at an unknown place"
    number = frame.f_lineno if line is None else line
    name = frame.f_code.co_filename
    text = linecache.getline(name, number, frame.f_globals).strip()
    shown = name if name.startswith("<") else os.path.basename(name)
    # Of a method its class is named, of a function in a function not the one around it.
    function = frame.f_code.co_qualname.rpartition("<locals>.")[2]
    return f"{shown}, line {number}, in {function}" + (f": {text}" if text else "")


class Doing(NamedTuple):
    """What a frame is doing.

    Attributes
    ----------
    operation : str
        ``"call"``, ``"assignment"``, ``"operator"`` or ``""``.
    name : str
        Of a call of a method or of an attribute of a module: its name. Of an operator: its sign.
    """

    operation: str
    name: str


def doing(frame: FrameType | None) -> Doing:
    """What a frame is doing at this moment: of Python's bytecode, so that no source is needed."""
    nothing = Doing("", "")
    return nothing if frame is None else _instructions(frame.f_code).get(frame.f_lasti, nothing)


@functools.lru_cache(maxsize=256)
def _instructions(code: CodeType) -> dict[int, Doing]:
    listed = list(dis.get_instructions(code))
    loads = [each for each in listed if each.opname in ("LOAD_METHOD", "LOAD_ATTR") and each.positions is not None]
    result = {}
    for instruction in listed:
        if instruction.opname in ("STORE_SUBSCR", "STORE_SLICE"):
            result[instruction.offset] = Doing("assignment", "")
        elif instruction.opname == "BINARY_OP":
            result[instruction.offset] = Doing("operator", instruction.argrepr)
        elif instruction.opname.startswith(("CALL", "PRECALL")):
            result[instruction.offset] = Doing("call", _called(instruction, loads))
    return result


def _called(call: dis.Instruction, loads: list[dis.Instruction]) -> str:
    """Name of the attribute that is called: the last one that is loaded from where the call's text begins."""
    place = call.positions
    if place is None or place.lineno is None or place.end_lineno is None or place.col_offset is None:
        return ""
    end = (place.end_lineno, place.end_col_offset or 0)
    candidates = [
        ((load.positions.end_lineno, load.positions.end_col_offset or 0), str(load.argval))
        for load in loads
        if load.positions is not None
        and (load.positions.lineno, load.positions.col_offset) == (place.lineno, place.col_offset)
        and load.positions.end_lineno is not None
        and (load.positions.end_lineno, load.positions.end_col_offset or 0) < end
    ]
    return max(candidates)[1] if candidates else ""
