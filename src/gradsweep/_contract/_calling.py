"""How the passes of a layer are called: its inputs, its outputs, and where the backward pass finds what it needs."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._errors import InputError
from gradsweep._parameters import quote, read_numbers, require_finite

#: Where a backward pass has what the forward pass knew: what `forward` returns behind its outputs, the inputs once more, or what
#: both of them keep, as methods of one object do.
CACHES = ("returned", "arguments", "kept")


_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD


@dataclass(frozen=True, eq=False)
class Input:
    """One input.

    Attributes
    ----------
    name : str
        ``x``, or ``inputs[1]`` where inputs have no names.
    value : array or number
        As given, not copied.
    floating : bool
        Whether there is a gradient with respect to it: there is none of integers.
    """

    name: str
    value: Any
    floating: bool

    @property
    def gradient(self) -> str:
        """How its gradient is called."""
        return gradient_name(self.name)


def gradient_name(name: str) -> str:
    """``dx``, or ``gradient of inputs[1]``: what the gradient of a block is called."""
    return f"d{name}" if name.isidentifier() else f"gradient of {name}"


def read_inputs(forward: Callable[..., Any], inputs: Any) -> list[Input]:
    """Inputs in the order of the arguments of `forward`; InputError if they are none."""
    if isinstance(inputs, Mapping | list | tuple) and not inputs:
        raise InputError("inputs has no arrays")
    if isinstance(inputs, Mapping):
        items = [(str(key), f"inputs[{key!r}]", value) for key, value in _in_order(forward, inputs).items()]
    elif isinstance(inputs, list | tuple):
        items = [(f"inputs[{place}]", f"inputs[{place}]", value) for place, value in enumerate(inputs)]
    else:
        raise InputError(f"inputs is of type {type(inputs).__name__}, but a dict of named arrays, or a tuple, is needed")
    return [_read_input(name, path, value) for name, path, value in items]


def _in_order(forward: Callable[..., Any], inputs: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Named inputs in the order in which `forward` takes them."""
    for key in inputs:
        if not isinstance(key, str):
            raise InputError(f"inputs has the key {key!r}, but names must be text")
    if len(inputs) == 1:
        return inputs
    try:
        signature = inspect.signature(forward)
    except (ValueError, TypeError):  # some that are written in C have none
        return inputs
    # The names are for matching, also where Python would not take them.
    own = [each.replace(kind=_NAMED) if each.kind is each.POSITIONAL_ONLY else each for each in signature.parameters.values()]
    signature = signature.replace(parameters=own)
    try:
        bound = signature.bind(**inputs)
    except TypeError as error:
        raise InputError(f"inputs: forward{signature} does not go with the names {quote(inputs)} ({error})") from error
    if bound.kwargs:
        raise InputError(f"inputs: forward{signature} must take all of {quote(inputs)} by position; a tuple is passed so")
    return {key: inputs[key] for key in bound.arguments}


def _read_input(name: str, path: str, value: Any) -> Input:
    if value is None or isinstance(value, Mapping | str):
        raise InputError(
            f"{path} is of type {type(value).__name__}; inputs are arrays and numbers, anything else is for a function around "
            "forward"
        )
    array = read_numbers(value, path)
    if not array.size:
        raise InputError(f"{path} is empty, an array of shape {array.shape}")
    if array.dtype.kind == "f":
        require_finite(array, path)
    number = isinstance(value, int | float | np.generic)
    return Input(name, value if number else array, array.dtype.kind == "f")


@dataclass(frozen=True)
class Calling:
    """How a backward pass is called.

    Attributes
    ----------
    cache : str
        One of `CACHES`.
    spread : bool
        Whether several cotangents are arguments of their own, not one tuple.
    size : int
        Number of arguments.
    """

    cache: str
    spread: bool
    size: int

    def outputs(self, result: Any) -> tuple[list[Any], Any, bool]:
        """Outputs among what `forward` returned, the cache, and whether the outputs lie in a tuple."""
        cache = None
        if self.cache == "returned":
            *first, cache = result
            result = first[0] if len(first) == 1 else tuple(first)
        nested = isinstance(result, tuple | list)
        return list(result) if nested else [result], cache, nested

    def describe(self, names: Sequence[str], result: Any) -> str:
        """The call of backward behind what forward returned, as it would be written."""
        count = len(self.outputs(result)[0])
        cotangents = ", ".join(numbered("cotangent", count))
        behind = {"returned": ["cache"], "arguments": [*names], "kept": []}[self.cache]
        return f"backward({', '.join([cotangents if self.spread or count == 1 else f'({cotangents})', *behind])})"


def numbered(noun: str, count: int) -> list[str]:
    """``output``, or ``output1``, ``output2`` and so on."""
    return [noun] if count == 1 else [f"{noun}{place + 1}" for place in range(count)]


def find_calling(backward: Callable[..., Any], result: Any, given: Sequence[Any], names: Sequence[str], cache: Any) -> Calling:
    """How backward is called, from what forward returned and from how many arguments backward takes.

    Parameters
    ----------
    backward : callable
        The backward pass.
    result : Any
        What `forward` returned.
    given : sequence
        The very inputs that it was given.
    names : sequence of str
        Their names.
    cache : str or None
        One of `CACHES`, if the caller says which.

    Returns
    -------
    Calling
        The only one that fits.

    Raises
    ------
    InputError
        `forward` returns nothing that has a gradient, or none fits, or several do.
    """
    if cache is not None and cache not in CACHES:
        raise InputError(f"cache: {cache!r} is not known; known are {', '.join(map(repr, CACHES))}")
    if result is None:
        raise InputError("forward returns None, but an array, several of them, or (output, cache) is needed")
    kinds = CACHES if cache is None else (cache,)
    possible = [each for kind in kinds for each in _callings(kind, result, given, certain=cache is not None)]
    if not possible:
        raise InputError(_objection(result, kinds))
    least, most = _sizes(backward)
    fitting = [each for each in possible if each.size == least == most] or [each for each in possible if each.size == least]
    fitting = fitting or [each for each in possible if least <= each.size <= most]
    if len(fitting) == 1:
        return fitting[0]
    ways = " or ".join(f"{each.describe(names, result)} (cache={each.cache!r})" for each in fitting or possible)
    if not fitting:
        raise InputError(f"backward takes {_describe_sizes(least, most)}, but what forward returns would go with {ways}")
    advice = "say which by cache" if len({each.cache for each in fitting}) > 1 else "give a function that takes one of them only"
    raise InputError(f"cache: backward may be called as {ways}; {advice}")


def _callings(cache: str, result: Any, given: Sequence[Any], *, certain: bool) -> list[Calling]:
    """Ways to call backward where it finds its cache like this; none if what forward returned does not go with it."""
    if cache == "returned" and not (isinstance(result, tuple | list) and len(result) > 1):
        return []
    outputs, _, nested = Calling(cache, False, 0).outputs(result)
    if objection_to(outputs):
        return []
    # What stands last and is an input, or the output itself, is no output but remembered.
    if cache != "returned" and not certain and len(outputs) > 1 and any(outputs[-1] is each for each in [*given, outputs[0]]):
        return []
    behind = {"returned": 1, "arguments": len(given), "kept": 0}[cache]
    ways = [Calling(cache, False, 1 + behind)]
    if nested and len(outputs) > 1:
        ways.append(Calling(cache, True, len(outputs) + behind))
    return ways


def objection_to(outputs: Sequence[Any]) -> str:
    """Why these can be no outputs, as the end of a sentence that begins with "forward returns"; empty if they can."""
    if not outputs:
        return "an empty tuple"
    for output in outputs:
        if not isinstance(output, np.ndarray | np.floating | float):
            return describe(output)
        if np.asarray(output).dtype.kind != "f":
            return describe(output)
        if not np.size(output):
            return f"an empty array, of shape {np.shape(output)}"
    return ""


def _objection(result: Any, kinds: Sequence[str]) -> str:
    """Why what forward returned has no outputs."""
    several = isinstance(result, tuple | list) and len(result) > 1
    if tuple(kinds) == ("returned",) and not several:
        return f"forward returns {describe(result)}, but (output, cache) is needed for cache='returned'"
    kind = "returned" if several and "returned" in kinds else kinds[-1]
    problem = objection_to(Calling(kind, False, 0).outputs(result)[0]) or describe(result)
    return f"forward returns {problem}, but arrays of floating type are needed, perhaps with a cache behind them"


def describe(value: Any) -> str:
    """What a pass returned: ``None``, ``an array of shape (2, 3) and dtype int64``, ``a tuple of 2``."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    noun = type(value).__name__
    article = "an" if noun[0].lower() in "aeiou" else "a"
    return f"{article} {noun} of {len(value)}" if isinstance(value, Mapping | list | tuple) else f"{article} {noun}"


def _sizes(backward: Callable[..., Any]) -> tuple[int, float]:
    """How many arguments it needs, and takes, by position."""
    try:
        parameters = inspect.signature(backward).parameters.values()
    except (ValueError, TypeError):  # some that are written in C have none
        return 0, math.inf
    own = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    most = math.inf if any(each.kind is each.VAR_POSITIONAL for each in parameters) else len(own)
    return sum(each.default is each.empty for each in own), most


def _describe_sizes(least: int, most: float) -> str:
    counted = str(least) if least == most else f"at least {least}" if most == math.inf else f"{least} to {most}"
    return f"{counted} argument" if counted == "1" else f"{counted} arguments"
