"""What belongs to the caller while a layer is tried out: how it was before, and how it is put back."""

import functools
import pickle
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What has attributes that are no state of a layer's: functions, modules and classes are shared by all.
_SHARED = (FunctionType, ModuleType, type)


def generator_states() -> tuple[Any, Any]:
    """States of the global generators of NumPy and of Python."""
    return np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002


def drawn_from(before: tuple[Any, Any], after: tuple[Any, Any]) -> list[str]:
    """Whose global generator is not in the state in which it was: NumPy's, Python's."""
    # States hold arrays, of which equality says nothing at once.
    libraries = zip(("NumPy", "Python"), before, after, strict=True)
    return [library for library, own, other in libraries if pickle.dumps(own) != pickle.dumps(other)]


def set_generator_states(states: tuple[Any, Any]) -> None:
    """Put the global generators of NumPy and of Python into these states."""
    np.random.set_state(states[0])  # noqa: NPY002
    random.setstate(states[1])


def arrays_in(value: Any, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Arrays in a nesting of dicts, lists and tuples, with the names of their places; objects are not looked into."""
    pending, seen = [(name, value)], set()
    while pending:
        place, item = pending.pop(0)
        if isinstance(item, np.ndarray):
            yield place, item
        elif isinstance(item, Mapping | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            pairs = item.items() if isinstance(item, Mapping) else enumerate(item)
            pending += [(f"{place}[{key!r}]", part) for key, part in pairs]


def owner_of(function: Any) -> Any:
    """The object whose method this is, or that is called like a function; None for a function."""
    own = getattr(function, "__self__", function)
    return own if _has_state(own) else None


class Belongings:
    """Arrays, containers, objects and generators as they are now, to be put back.

    Parameters
    ----------
    *roots : Any
        Arrays, generators, dicts, lists, tuples and objects; what they hold is kept, too.
    """

    def __init__(self, *roots: Any) -> None:
        self._undo: list[Callable[[], None]] = [functools.partial(set_generator_states, generator_states())]
        known: dict[int, Any] = {}
        pending = list(roots)
        while pending:
            value = pending.pop()
            if id(value) not in known:
                known[id(value)] = value  # so that no other one gets its identity
                pending += self._keep(value)

    def restore(self) -> None:
        """Put everything back: the same arrays into the same containers, with the contents that they had."""
        for undo in self._undo:
            undo()

    def _keep(self, value: Any) -> list[Any]:
        """Keep what may change of a value, and say what it holds."""
        if isinstance(value, np.ndarray):
            if value.flags.writeable and not value.dtype.hasobject:
                self._undo.append(functools.partial(np.copyto, value, value.copy()))
        elif isinstance(value, np.random.Generator):
            bits = value.bit_generator
            self._undo.append(functools.partial(setattr, bits, "state", bits.state))
        elif isinstance(value, np.random.RandomState):
            self._undo.append(functools.partial(value.set_state, value.get_state()))
        elif isinstance(value, dict):
            self._undo.append(functools.partial(_refill, value, dict(value)))
            return list(value.values())
        elif isinstance(value, list):
            self._undo.append(functools.partial(value.__setitem__, slice(None), list(value)))
            return list(value)
        elif isinstance(value, tuple):
            return list(value)
        elif _has_state(value):
            return [vars(value)]
        return []


def _has_state(value: Any) -> bool:
    """Whether it is an object with attributes of its own, of a class that somebody wrote: those of Python may hold threads."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    own = library not in ("numpy", "numba") and library not in sys.stdlib_module_names
    return own and not isinstance(value, _SHARED) and isinstance(getattr(value, "__dict__", None), dict)


def _refill(holder: dict[Any, Any], items: dict[Any, Any]) -> None:
    """Give a dict back what it held, in the same order."""
    holder.clear()
    holder.update(items)
