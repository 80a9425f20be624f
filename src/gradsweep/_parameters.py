"""Named blocks: reading, checking and matching what the caller gave.

A *block* is one named array of parameters. Nothing here writes to an array of the caller's. What a dense network needs is
complete here; `gradsweep._trees` reads any nesting by the same rules.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import InputError
from gradsweep._types import Array

# Gradients that backward passes return beside those of the parameters: with respect to activations and pre-activations.
_INTERMEDIATE = re.compile(r"d[AZ]\d+")


def read_numbers(value: Any, argument: str) -> NDArray[Any]:
    """Array of real numbers, in the dtype that the caller chose.

    Parameters
    ----------
    value : array_like
        Anything NumPy can read.
    argument : str
        How to name it in an error.

    Returns
    -------
    array
        Boolean, integer or real floating; not copied if it is an array.

    Raises
    ------
    InputError
        It holds something else: complex numbers, objects, text, rows of unequal length.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{argument} is a masked array; fill or compress it first")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # the last from tensors of other libraries
        raise InputError(f"{argument} is not an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{argument} has dtype {array.dtype}, but real numbers are needed")
    return array


def read_array(value: Any, argument: str, shape: tuple[int, ...]) -> Array:
    """Finite float64 array of exactly this shape, C-contiguous; the caller's own memory if it is that already.

    Parameters
    ----------
    value : array_like
        Anything NumPy can read.
    argument : str
        How to name it in an error.
    shape : tuple of int
        What it must be. Nothing is broadcast.

    Returns
    -------
    array of float64
        To be read, never written.

    Raises
    ------
    InputError
        Another shape, not real numbers, or not finite (named with the index).
    """
    array = read_numbers(value, argument)
    require_shape(array, argument, shape)
    with np.errstate(over="ignore"):  # what float64 cannot hold is infinite, and refused as such
        result = np.asarray(array, dtype=np.float64, order="C")
    require_finite(result, argument)
    return result


def require_shape(array: NDArray[Any], argument: str, shape: tuple[int, ...]) -> None:
    """Raise InputError unless the array has exactly this shape."""
    if array.shape != shape:
        raise InputError(f"{argument} has shape {array.shape}, but {shape} is needed")


def require_finite(array: Array, argument: str) -> None:
    """Raise InputError, with the first index, unless all entries are finite."""
    # A sum over finite numbers is finite unless it overflows, and costs a fraction of a mask of the array's size.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        raise InputError(f"{format_entry(argument, index)} is {array[index]}; all entries must be finite")


def format_index(index: tuple[int, ...]) -> str:
    """Index as it is written between brackets: ``3, 200``."""
    return ", ".join(str(i) for i in index)


def format_entry(name: str, index: tuple[int, ...]) -> str:
    """Name of an entry: ``W1[3, 200]``; of a number, which has no index, that of the block."""
    return f"{name}[{format_index(index)}]" if index else name


def read_mapping(value: Any, argument: str) -> Mapping[str, Any]:
    """The value, if it is a mapping with text as keys; else InputError."""
    if not isinstance(value, Mapping):
        raise InputError(f"{argument} is of type {type(value).__name__}, but a dict of named arrays is needed")
    for key in value:
        if not isinstance(key, str):
            raise InputError(f"{argument} has the key {key!r}, but names must be text")
    return value


def read_blocks(value: Any, argument: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Named parameters, complete, finite, each of its shape.

    Parameters
    ----------
    value : mapping of str to array_like
        What the caller gave.
    argument : str
        How to name it in an error.
    shapes : mapping of str to tuple of int
        Every name that must be there, and no other may.

    Returns
    -------
    dict of str to array of float64
        In the order of `shapes`.

    Raises
    ------
    InputError
        A missing or surplus name, or see `read_array`.
    """
    given = read_mapping(value, argument)
    require_names(argument, missing=[n for n in shapes if n not in given], surplus=[n for n in given if n not in shapes])
    return {name: read_array(given[name], f"{argument}[{name!r}]", shape) for name, shape in shapes.items()}


def match_gradient(value: Any, argument: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """Gradient blocks by the names of the parameters.

    ``W1`` may be called ``W1``, ``dW1``, ``grad_W1`` or ``W1_grad``. Matching is by name, never by order. Gradients with respect
    to activations and pre-activations (``dA1``, ``dZ1``) may stand beside them and are left alone.

    Parameters
    ----------
    value : mapping of str to array_like
        What the caller gave. Entries may be non-finite: that is for the verdict to say.
    argument : str
        How to name it in an error.
    shapes : mapping of str to tuple of int
        Names and shapes of the parameters.

    Returns
    -------
    dict of str to array
        In the order of `shapes`, each in the dtype it was given.

    Raises
    ------
    InputError
        A name that is missing, surplus or ambiguous, another shape, or not real numbers.
    """
    given = read_mapping(value, argument)
    keys = match_names(given, shapes, argument)
    used = set(keys.values())
    surplus = without_intermediates(key for key in given if key not in used)
    require_names(argument, [name for name in shapes if name not in keys], surplus, gradient=True)
    result: dict[str, NDArray[Any]] = {}
    for name, shape in shapes.items():
        block = read_numbers(given[keys[name]], f"{argument}[{keys[name]!r}]")
        require_shape(block, f"{argument}[{keys[name]!r}]", shape)
        result[name] = block
    return result


def match_names(given: Collection[Any], names: Iterable[Any], argument: str) -> dict[Any, Any]:
    """Keys of a gradient by the names of the parameters.

    Parameters
    ----------
    given : collection
        Keys of the gradient, or a mapping that has them.
    names : iterable
        Names of the parameters. One that is no text has only itself as a key.
    argument : str
        How to name the gradient in an error.

    Returns
    -------
    dict
        A key of its own for each name; names that have none are left out.

    Raises
    ------
    InputError
        Several keys may stand for a name, or one key for several names, and no other name settles it.

    Notes
    -----
    Parameters ``x`` and ``dx`` may have gradients ``x`` and ``dx``, or ``dx`` and ``ddx``: a key that is the only one left for
    some name is not open to others. What is settled so is settled in the only way that gives a key to each name.
    """
    candidates = {name: [key for key in spellings(name) if key in given] for name in names}
    found: dict[Any, Any] = {}
    owners: dict[Any, Any] = {}
    settled = -1
    while settled < len(found):
        settled = len(found)
        for name, keys in candidates.items():
            left = [key for key in keys if key not in owners]
            if name not in found and len(left) == 1:
                found[name] = left[0]
                owners[left[0]] = name
    for name, keys in candidates.items():
        left = [key for key in keys if key not in owners]
        if name in found or not keys:
            continue
        if left:
            raise InputError(f"{argument} is ambiguous: {quote(left)} all stand for {name!r}")
        raise InputError(f"{argument} is ambiguous: {keys[0]!r} may stand for {owners[keys[0]]!r} and for {name!r}")
    return found


def spellings(name: Any) -> list[Any]:
    """Keys under which the gradient of a block is recognised, the plain one first."""
    return [name, f"d{name}", f"grad_{name}", f"{name}_grad"] if isinstance(name, str) else [name]


def without_intermediates(keys: Iterable[Any]) -> list[Any]:
    """Keys other than those of gradients with respect to activations and pre-activations, as ``dA1`` and ``dZ1``."""
    return [key for key in keys if not (isinstance(key, str) and _INTERMEDIATE.fullmatch(key))]


def require_names(argument: str, missing: Sequence[Any], surplus: Sequence[Any], *, gradient: bool = False) -> None:
    """Raise InputError if any names are missing or surplus; of a gradient, with the keys that would do."""
    problems = []
    if missing:
        problems.append(f"lacks {quote(missing)}")
        if gradient and isinstance(missing[0], str):
            plain, *others, last = spellings(missing[0])
            problems[0] += f" ({plain} may also be called {', '.join(others)} or {last})"
    if surplus:
        problems.append(f"has {quote(surplus)}, which belongs to no parameter")
    if problems:
        raise InputError(f"{argument} " + " and ".join(problems))


def quote(names: Iterable[Any]) -> str:
    """Names as they are listed in an error, the first eight."""
    listed = [repr(name) for name in names]
    shown = ", ".join(listed[:8])
    return shown if len(listed) <= 8 else f"{shown} and {len(listed) - 8} more"


@dataclass(frozen=True)
class Precision:
    """How exact a floating type is.

    Attributes
    ----------
    epsilon : float
        Machine epsilon: relative rounding of a number.
    tiny : float
        Smallest normal number: absolute rounding of a number, however small. An exponential below it is commonly 0.
    """

    epsilon: float
    tiny: float

    def or_less(self, other: "Precision") -> "Precision":
        """The less precise of the two, in either respect."""
        return Precision(max(self.epsilon, other.epsilon), max(self.tiny, other.tiny))


def precision(arrays: Iterable[NDArray[Any]]) -> Precision:
    """Precision of the least precise floating type among the arrays, at most that of float64.

    Examples
    --------
    >>> precision([np.zeros(3), np.zeros(3, dtype=np.float32)]).epsilon
    1.1920928955078125e-07
    """
    types = [np.finfo(np.float64), *(np.finfo(array.dtype) for array in arrays if array.dtype.kind == "f")]
    return Precision(max(float(each.eps) for each in types), max(float(each.tiny) for each in types))
