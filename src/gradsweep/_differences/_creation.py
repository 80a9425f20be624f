"""Arrays that a user's code makes and then fills: NumPy's functions that make them, seen by that code, make difference arrays.

``h = np.zeros(n)`` has no argument by which NumPy could ask this package, and a plain array cannot take a difference array as
an entry. So, while a function runs that was seen to fill plain arrays, these functions of the module `numpy` are stood in for.
In all other threads, and in code that is not part of that run, they do what they always do.
"""

import contextlib
import functools
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradsweep._differences._array import DifferenceArray, operand_of, varies
from gradsweep._differences._cast import is_narrow
from gradsweep._differences._departure import Departure, doing
from gradsweep._differences._factor import Factor
from gradsweep._differences._lanes import Lanes

# Those that make an array of nothing, and those that make one of what they are given.
_NEW = (
    "zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "copy", "eye", "identity", "linspace"
)  # fmt: skip
_CONVERTED = ("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray")
# Given a list of numbers, they make an array of it without asking anybody.
_REDUCTIONS = ("sum", "mean", "max", "min", "prod", "std", "var", "stack", "concatenate", "hstack", "vstack")

# Packages whose compiled code takes no difference arrays for buffers.
_NOT_USERS = {"gradsweep", "numpy", "scipy", "numba", "pandas", "sklearn", "joblib", "h5py", "matplotlib"}

# What makes arrays in compiled code, by methods that may have been given a name.
_GENERATORS = (np.random.Generator, np.random.RandomState)

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
    before = getattr(_active, "lanes", None)
    counted = False
    try:
        with _standing.lock:
            _standing.runs, counted = _standing.runs + 1, True
            if _standing.runs == 1:
                _stand_in()
        _active.lanes = lanes
        yield
    finally:
        _active.lanes = before
        with _standing.lock:
            _standing.runs -= counted
            if not _standing.runs:
                for name, original in _standing.originals.items():
                    setattr(np, name, original)


def _stand_in() -> None:
    makers = {_NEW: _made, _CONVERTED: _converted, _REDUCTIONS: _reduced}
    for names, make in makers.items():
        for name in names:
            original = getattr(np, name)
            _standing.originals[name] = original
            setattr(np, name, functools.wraps(original)(functools.partial(make, name, original)))


def _users_lanes(name: str) -> Lanes | None:
    """The lanes of the run that this call is part of; None if there is none, or it is not the user's code that calls.

    Compiled code, as that of NumPy's generators, calls these functions, too, and has no frame of its own: what the user's frame
    is calling is then another function. To such code a difference array is memory of another kind, and the process ends.
    """
    lanes: Lanes | None = getattr(_active, "lanes", None)
    if lanes is None:
        return None
    frame = sys._getframe(2)
    if frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_USERS:
        return None
    called = doing(frame).name
    if called:
        return lanes if called == name else None
    # By a name of the user's own, or by none: of this function, unless one of a generator's has such a name.
    named = itertools.chain(frame.f_locals.values(), frame.f_globals.values())
    return None if any(isinstance(getattr(value, "__self__", None), _GENERATORS) for value in named) else lanes


def _made(name: str, original: Callable[..., Any], *args: Any, **options: Any) -> Any:
    lanes = _users_lanes(name)
    if lanes is not None and name in ("full", "full_like") and varies((args[1:], options)):
        return _filled(original, *args, **options)
    result = original(*args, **options)
    return result if lanes is None else _buffer(result, lanes)


def _filled(original: Callable[..., Any], like: Any, fill_value: Any, *args: Any, **options: Any) -> Any:
    """``np.full`` or ``np.full_like`` with a value that changes: they ask nobody about the value that they fill with."""
    plain = original(like, 0.0, *args, **options)
    if plain.dtype.kind in "biu":
        raise Departure(f"np.{original.__name__} makes an array of whole numbers of a value that changes")
    buffer = DifferenceArray.buffer(plain if is_narrow(plain.dtype) else np.zeros(plain.shape), operand_of(fill_value).lanes)
    buffer.assign(fill_value)
    return buffer


def _buffer(result: Any, lanes: Lanes) -> Any:
    if type(result) is not np.ndarray or result.dtype.kind != "f":
        return result
    return DifferenceArray.buffer(result, lanes)


def _converted(name: str, original: Callable[..., Any], value: Any, *args: Any, **options: Any) -> Any:
    lanes = _users_lanes(name)
    if lanes is None:
        return original(value, *args, **options)
    value = value.resolve() if type(value) is Factor else value
    if type(value) is DifferenceArray or varies(value):
        return _as_array(name, value, *args, **options)
    result = original(value, *args, **options)
    # What is only looked at stays as it is; a new array may be filled.
    is_new = not (isinstance(value, np.ndarray) and np.may_share_memory(result, value))
    return _buffer(result, lanes) if is_new else result


def _as_array(name: str, value: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **options: Any) -> Any:
    """``np.array`` or one of its kin, of a difference array or a list of them."""
    array = value if type(value) is DifferenceArray else DifferenceArray(operand_of(value))
    if dtype is not None and np.dtype(dtype).kind != "f":
        return array.astype(dtype)
    if dtype is not None and is_narrow(np.dtype(dtype)):
        array = array.astype(dtype)
    elif name == "array" and copy:
        array = array.copy()
    least = max(ndmin, 1 if name.startswith("ascontiguous") or name.startswith("asfortran") else 0)
    if array.ndim < least:
        array = array.reshape((1,) * (least - array.ndim) + array.shape)
    if array.is_number:
        # Of a number, NumPy makes an array that can be written to.
        array = array.copy()
        array.shared_memory()
    return array


def _reduced(name: str, original: Callable[..., Any], value: Any, *args: Any, **options: Any) -> Any:
    if _users_lanes(name) is not None and isinstance(value, list | tuple) and varies(value):
        if name in ("stack", "concatenate", "hstack", "vstack"):
            value = [
                DifferenceArray(operand_of(each)) if isinstance(each, list | tuple) and varies(each) else each for each in value
            ]
        else:
            value = DifferenceArray(operand_of(value))
    return original(value, *args, **options)
