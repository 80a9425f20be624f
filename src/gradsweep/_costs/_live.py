"""Functions of no argument that read parameters inside an object: made functions of parameters."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._errors import InputError
from gradsweep._parameters import quote
from gradsweep._trees import Tree, read_tree

# How far parameters are moved to see what that does to the cost, relative to their sizes; and what two values may differ by that
# are the same but for rounding.
_VISIBLE, _SAME = 2.0**-10, 1e-12


@dataclass(frozen=True, eq=False)
class LiveFunction:
    """What `gradsweep.in_place` makes of a function: values are written into the live arrays, and the old ones put back.

    Attributes
    ----------
    function : callable
        The user's, of no argument.
    live : array or nesting of dicts, lists and tuples
        The containers of the object that it reads.
    """

    function: Callable[[], Any]
    live: Any

    def __call__(self, params: Any) -> Any:
        """What the function returns at these parameters; arrays in it are copies, since the live ones are restored."""
        changes = list(_writes(self.live, params, "params"))
        arrays = [(target, target.copy(), value) for target, value in changes if isinstance(target, np.ndarray)]
        numbers = [(target, target.container[target.key], value) for target, value in changes if isinstance(target, _Item)]
        try:
            for array, _, value in arrays:
                array[...] = value
            for item, _, value in numbers:
                item.container[item.key] = value
            result = self.function()
            return result if isinstance(result, float) else copy.deepcopy(result)
        finally:
            for array, before, _ in arrays:
                array[...] = before
            for item, before, _ in numbers:
                item.container[item.key] = before

    def within(self, gradient: Callable[[Any], Any], params: Any) -> Any:
        """A gradient at these parameters, while they stand in the live arrays: it may read them there, whatever it is given."""
        return LiveFunction(functools.partial(gradient, params), self.live)(params)

    def rebound(self, params: Any) -> Any:
        """What the function returns where the containers hold other arrays; nothing is written into those that they held."""
        with _rebound(self.live, params):
            return self.function()

    def objection(self, tree: Tree) -> str:
        """Why difference arrays cannot take the place of the live ones; empty if they can.

        Parameters
        ----------
        tree : Tree
            The point.

        Returns
        -------
        str
            A sentence, or nothing.
        """
        if not _may_be_rebound(self.live):
            return "in_place: other arrays cannot take the place of those that a tuple holds, or of a lone array"
        sizes = np.maximum(np.abs(tree.values), 1.0)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], len(sizes))
        moved = tree.build(tree.arrays(tree.values + _VISIBLE * sizes * signs))
        try:
            with np.errstate(all="ignore"):
                written, held = np.asarray(self(moved)), np.asarray(self.rebound(moved))
        except InputError:
            raise
        except Exception as error:
            # Whether it would raise at the perturbations of the check is for the plain function to say.
            return f"in_place: the cost raises {type(error).__name__} where parameters are moved to see what holds them: {error}"
        if written.shape == held.shape and np.allclose(written, held, rtol=_SAME, atol=0.0, equal_nan=True):
            return ""
        return (
            "in_place: other arrays in the containers do not change the cost as writing into the arrays does, so that the object "
            "holds the arrays elsewhere, too"
        )

    def types(self) -> tuple[np.dtype[Any], ...]:
        """Floating type of the live array of each block: what is written is rounded to it."""
        own = read_tree(self.live)
        return tuple(leaf.dtype if leaf.dtype.kind == "f" and not leaf.is_scalar else np.dtype(np.float64) for leaf in own.blocks)


def require_writable(live: Any) -> None:
    """Raise InputError unless every parameter of a structure can be written in place."""
    read_tree(live)
    for target, _ in _writes(live, live, "params"):
        if isinstance(target, np.ndarray):
            if not target.flags.writeable:
                raise InputError("params has a read-only array, but in_place writes into the arrays")
            if target.dtype.kind != "f":
                raise InputError(f"params has an array of dtype {target.dtype}, which in_place cannot perturb; make it float64")


@dataclass(frozen=True, eq=False)
class _Item:
    """A number in a container, in whose place another one is put."""

    container: Any
    key: Any


def _writes(live: Any, given: Any, path: str) -> Iterator[tuple[Any, Any]]:
    """Live arrays and items, each with what it is to be."""
    if isinstance(live, np.ndarray):
        if np.shape(given) != live.shape:
            raise InputError(f"{path} has shape {np.shape(given)}, but the live array has {live.shape}")
        yield live, given
        return
    for key, own, value in _pairs(live, given, path):
        where = f"{path}[{key!r}]"
        if isinstance(own, np.ndarray | Mapping | list | tuple):
            yield from _writes(own, value, where)
        elif own is not None:
            if isinstance(live, tuple):
                raise InputError(f"{where} is a number in a tuple, which in_place cannot change; use a list, or an array")
            yield _Item(live, key), value


def _pairs(live: Any, given: Any, path: str) -> Iterator[tuple[Any, Any, Any]]:
    """Key, live item and given item of a container."""
    if not isinstance(live, Mapping | list | tuple):
        raise InputError(f"{path} is of type {type(live).__name__}, but in_place needs the arrays, dicts and lists of the object")
    if isinstance(live, Mapping):
        if not isinstance(given, Mapping) or set(given) != set(live):
            raise InputError(f"{path} has not the keys of the live dict: {quote(live)}")
        yield from ((key, live[key], given[key]) for key in list(live))
    else:
        if not isinstance(given, list | tuple) or len(given) != len(live):
            raise InputError(f"{path} has not the length of the live {type(live).__name__}, {len(live)}")
        yield from ((place, own, value) for place, (own, value) in enumerate(zip(live, given, strict=True)))


def _may_be_rebound(live: Any) -> bool:
    """Whether each array lies in a dict or list, perhaps with tuples between."""
    return isinstance(live, Mapping | list)


@contextlib.contextmanager
def _rebound(live: Any, given: Any) -> Iterator[None]:
    """Put other items into the containers of a structure, and the old ones back."""
    before: list[tuple[Any, Any, Any]] = []
    try:
        _rebind(live, given, before)
        yield
    finally:
        for container, key, item in reversed(before):
            container[key] = item


def _rebind(live: Any, given: Any, before: list[tuple[Any, Any, Any]]) -> None:
    """Put other items into a dict or list; what a tuple holds by another tuple."""
    for key, own, value in list(_pairs(live, given, "params")):
        if isinstance(own, Mapping | list):
            _rebind(own, value, before)
        elif own is not None:
            before.append((live, key, own))
            live[key] = value
