"""Arrays that a user's code makes and then fills: NumPy's functions that make them, seen by that code, make difference arrays.

``h = np.zeros(n)`` has no argument by which NumPy could ask this package, and a plain array cannot take a difference array as
an entry. So, while a function runs that was seen to fill plain arrays, these functions of the module `numpy` are stood in for.
In all other threads, and in code that is not part of that run, they do what they always do.
"""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradsweep._differences._array import DifferenceArray, _Factor, _varies, operand_of
from gradsweep._differences._functions import FUNCTIONS
from gradsweep._differences._lanes import Lanes

# Those that make an array of nothing, and those that make one of what they are given.
_NEW = ("zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "copy")
_CONVERTED = ("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray")
# Given a list of numbers, they make an array of it without asking anybody.
_REDUCTIONS = ("sum", "mean", "max", "min", "prod", "std", "var", "stack", "concatenate", "hstack", "vstack")

_active = threading.local()


class _Standing:
    """How many runs need the stand-ins, and what they stand in for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs = 0
        self.originals: dict[str, Callable[..., Any]] = {}


_standing = _Standing()


@contextlib.contextmanager
def intercepted(lanes: Lanes) -> Iterator[None]:
    """Let the arrays that this thread makes take differences."""
    with _standing.lock:
        _standing.runs += 1
        if _standing.runs == 1:
            _stand_in()
    before = getattr(_active, "lanes", None)
    _active.lanes = lanes
    try:
        yield
    finally:
        _active.lanes = before
        with _standing.lock:
            _standing.runs -= 1
            if not _standing.runs:
                for name, original in _standing.originals.items():
                    setattr(np, name, original)


def _stand_in() -> None:
    makers = {_NEW: _made, _CONVERTED: _converted, _REDUCTIONS: _reduced}
    for names, make in makers.items():
        for name in names:
            original = getattr(np, name)
            _standing.originals[name] = original
            setattr(np, name, functools.wraps(original)(functools.partial(make, original)))


def _users_lanes() -> Lanes | None:
    """The lanes of the run that this call is part of; None if there is none, or it is our own or NumPy's code that calls."""
    lanes: Lanes | None = getattr(_active, "lanes", None)
    if lanes is None:
        return None
    module = sys._getframe(2).f_globals.get("__name__", "")
    return None if module.partition(".")[0] in ("gradsweep", "numpy") else lanes


def _made(original: Callable[..., Any], *args: Any, **options: Any) -> Any:
    lanes = _users_lanes()
    if lanes is not None and original.__name__ in ("full", "full_like") and _varies((args[1:], options)):
        # They ask nobody about the value that they fill with.
        return _filled(original, *args, **options)
    result = original(*args, **options)
    return result if lanes is None else _buffer(result, lanes)


def _filled(original: Callable[..., Any], like: Any, fill_value: Any, *args: Any, **options: Any) -> Any:
    shape = original(like, 0.0, *args, **options).shape
    return DifferenceArray(FUNCTIONS[np.broadcast_to](operand_of(fill_value), shape))


def _buffer(result: Any, lanes: Lanes) -> Any:
    if type(result) is not np.ndarray or result.dtype.kind != "f":
        return result
    return DifferenceArray.buffer(result, lanes)


def _converted(original: Callable[..., Any], value: Any, *args: Any, **options: Any) -> Any:
    lanes = _users_lanes()
    if lanes is None:
        return original(value, *args, **options)
    if type(value) in (DifferenceArray, _Factor) or _varies(value):
        dtype = options.get("dtype", args[0] if args else None)
        array = value if type(value) in (DifferenceArray, _Factor) else DifferenceArray(operand_of(value))
        if dtype is not None and np.dtype(dtype).kind != "f":
            return array.astype(dtype)
        fresh = original is _standing.originals["array"] and options.get("copy", True)
        return array.copy() if fresh else array
    result = original(value, *args, **options)
    # What is only looked at stays as it is; a new array may be filled.
    return result if result is value else _buffer(result, lanes)


def _reduced(original: Callable[..., Any], value: Any, *args: Any, **options: Any) -> Any:
    if _users_lanes() is not None and isinstance(value, list | tuple) and _varies(value):
        if original.__name__ not in ("stack", "concatenate", "hstack", "vstack"):
            value = DifferenceArray(operand_of(value))
    return original(value, *args, **options)
