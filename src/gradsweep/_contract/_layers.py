"""A layer as somebody wrote it, and what its two passes do at a point."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._contract._belongings import arrays_in, drawn_from, generator_states, set_generator_states
from gradsweep._contract._calling import describe, find_calling, gradient_name, numbered, objection_to, read_inputs
from gradsweep._errors import InputError
from gradsweep._parameters import format_entry, match_names, quote, read_numbers, require_finite

# A cotangent's entries are so many 256ths, which are exact in every floating type.
_LEAST, _MOST = 128, 257


@dataclass(frozen=True, eq=False)
class Held:
    """Parameters that a layer holds itself.

    Attributes
    ----------
    parameters, gradients : array, nesting of dicts, lists and tuples, callable or None
        The live arrays, and those of their gradients; or what returns them.
    accumulates : bool
        Whether gradients add up over calls.
    """

    parameters: Any = None
    gradients: Any = None
    accumulates: bool = False

    def require(self) -> None:
        """Raise InputError unless there are parameters and gradients, or neither, and parameters can be changed."""
        if self.parameters is None and (self.gradients is not None or self.accumulates):
            raise InputError("parameters: gradients and accumulates are for a layer that holds parameters; give these, too")
        if self.accumulates and self.gradients is None:
            raise InputError("gradients: accumulates is said of the arrays that hold gradients; give these, too")
        for name, array in self.arrays():
            if array.dtype.kind != "f" or not array.flags.writeable:
                what = "read-only" if array.dtype.kind == "f" else f"of dtype {array.dtype}"
                raise InputError(f"{name} is {what}, but parameters are changed in place; leave it out")
            require_finite(array, name)
        if self.parameters is not None and self.gradients is None:
            # A contract that leaves them out would pass with whatever backward makes of them.
            raise InputError("gradients: give where backward leaves those of parameters, or leave parameters out")

    @property
    def live(self) -> Any:
        """The containers of the parameters as they are now."""
        if not callable(self.parameters):
            return self.parameters
        with _errors_of("parameters", "parameters()"):
            return self.parameters()

    def arrays(self) -> list[tuple[str, NDArray[Any]]]:
        """The parameters, by the names of their places."""
        return [] if self.parameters is None else list(arrays_in(self.live, "parameters"))

    def buffers(self) -> Any:
        """The containers of the gradients as they are now; None if there are none before the first call."""
        if not callable(self.gradients):
            return self.gradients
        with _errors_of("gradients", "gradients()"), contextlib.suppress(AttributeError, KeyError):
            return self.gradients()
        return None

    def pairs(self) -> list[tuple[str, NDArray[Any], Any]]:
        """Name, parameter and gradient; InputError if a parameter has none."""
        return [] if self.gradients is None else list(_pairs(self.live, self.buffers(), "parameters", "gradients"))

    def fill(self, values: Callable[[tuple[int, ...]], Any]) -> bool:
        """Write into all gradients that can be written; whether that is where they lie."""
        arrays = [
            (place, array) for place, array in arrays_in(self.buffers(), "") if array.dtype.kind == "f" and array.flags.writeable
        ]
        for _, array in arrays:
            array[...] = values(array.shape)
        again = dict(arrays_in(self.buffers(), ""))
        return bool(arrays) and all(np.shares_memory(array, again[place]) for place, array in arrays if array.size)


def _pairs(live: Any, given: Any, path: str, argument: str) -> Iterator[tuple[str, NDArray[Any], Any]]:
    """Parameters with their gradients: dicts by name, lists and tuples by position."""
    if given is None:
        raise InputError(f"{argument} is None after backward, but {path} needs a gradient; leave out what has none")
    if isinstance(live, np.ndarray):
        yield path, live, read_numbers(given, argument)
    elif isinstance(live, Mapping):
        if not isinstance(given, Mapping):
            raise InputError(f"{argument} is of type {type(given).__name__}, but {path} is a dict")
        keys = match_names(given, live, argument)
        lacking = [name for name in live if name not in keys]
        if lacking:
            raise InputError(f"{argument} has no {quote(lacking)}; leave out of {path} what has no gradient")
        for name, own in live.items():
            step = f".{name}" if str(name).isidentifier() else f"[{name!r}]"
            yield from _pairs(own, given[keys[name]], path + step, f"{argument}[{keys[name]!r}]")
    elif isinstance(live, list | tuple):
        if not isinstance(given, list | tuple) or len(given) != len(live):
            raise InputError(f"{argument} must have the length of {path}, {len(live)}")
        for place, (own, item) in enumerate(zip(live, given, strict=True)):
            yield from _pairs(own, item, f"{path}[{place}]", f"{argument}[{place}]")
    else:
        raise InputError(f"{path} is of type {type(live).__name__}, but live arrays, in dicts, lists and tuples, are needed")


@dataclass(frozen=True, eq=False)
class Passed:
    """What a forward pass did.

    Attributes
    ----------
    inputs : list
        The very objects that it was given.
    outputs : list
        The very objects that it returned.
    cache : Any
        What it returned behind them.
    nested : bool
        Whether outputs lie in a tuple.
    values : list of array
        Copies of the outputs.
    touched : tuple of str
        What it changed that is not its own, a sentence each.
    """

    inputs: list[Any]
    outputs: list[Any]
    cache: Any
    nested: bool
    values: list[NDArray[Any]]
    touched: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """What a backward pass did.

    Attributes
    ----------
    passed : Passed
        The forward pass before it.
    cotangents : list
        The very objects that it was given.
    returned, buffers : mapping of str to array
        The very gradients that it returned, and that lie where the layer holds them, by the names of inputs and parameters.
    values : mapping of str to array
        Copies of all of these.
    touched : tuple of str
        What either pass changed that is not its own, a sentence each.
    """

    passed: Passed
    cotangents: list[Any]
    returned: Mapping[str, Any]
    buffers: Mapping[str, Any]
    values: Mapping[str, NDArray[Any]]
    touched: tuple[str, ...]


class Layer:
    """A forward and a backward pass, and the point at which they are looked at.

    Parameters
    ----------
    forward, backward : callable
        The two passes.
    inputs : Any
        As the caller gave them.
    cache : str or None
        How backward is called; None to find out.
    held : Held
        What the layer holds itself.

    Attributes
    ----------
    inputs : list of Input
        As they were read.
    named : bool
        Whether they have names.
    outputs : list
        What forward returned at first, to draw cotangents for.
    calls : tuple of str
        Both calls, as they would be written.
    forward_passes, backward_passes : int
        How many there have been.

    Raises
    ------
    InputError
        Inputs, or what forward returns, are not as they must be.
    """

    def __init__(self, forward: Any, backward: Any, inputs: Any, cache: Any, held: Held) -> None:
        for function, argument in ((forward, "forward"), (backward, "backward")):
            if not callable(function):
                raise InputError(f"{argument} is of type {type(function).__name__}, but must be a function")
        held.require()
        self.forward, self.backward, self.held = forward, backward, held
        self.inputs, self.named = read_inputs(forward, inputs), isinstance(inputs, Mapping)
        if held.gradients is None and not any(each.floating for each in self.inputs):
            raise InputError(f"inputs has no array of floating type: {quote(each.name for each in self.inputs)} have no gradient")
        self.forward_passes = self.backward_passes = 0
        self._states = generator_states()
        names = [each.name for each in self.inputs]
        self._called = f"forward({', '.join(names)})"
        given = self.copies()
        result = self._forward(given)
        self.calling = find_calling(backward, result, given, names, cache)
        outputs, _, _ = self.calling.outputs(result)
        self.outputs = outputs
        behind = ", cache" if self.calling.cache == "returned" else ""
        self.calls = (
            f"{', '.join(numbered('output', len(outputs)))}{behind} = {self._called}",
            self.calling.describe(names, result),
        )
        for name, output in zip(numbered("output", len(outputs)), outputs, strict=True):
            require_finite(np.asarray(output), f"forward's {name}")

    def copies(self) -> list[Any]:
        """The inputs once more, to be given away."""
        return [copy_of(each.value) for each in self.inputs]

    def draw(self, outputs: Sequence[Any], generator: np.random.Generator) -> list[Any]:
        """Random cotangents of some outputs: of both signs, and away from zero."""
        shapes = [np.shape(output) for output in outputs]
        drawn = [generator.integers(_LEAST, _MOST, shape) * generator.choice([-1.0, 1.0], shape) / 256.0 for shape in shapes]
        return [like(values, output) for values, output in zip(drawn, outputs, strict=True)]

    def pass_forward(self, inputs: list[Any] | None = None, *, seeded: bool = True) -> Passed:
        """The forward pass.

        Parameters
        ----------
        inputs : list, optional
            Other inputs than those of the point, to be given away.
        seeded : bool, default: True
            Whether the global generators are put into the same state as ever before.

        Returns
        -------
        Passed
            What it did.

        Raises
        ------
        InputError
            It raises an error, or returns no outputs.
        """
        given = self.copies() if inputs is None else inputs
        if seeded:
            set_generator_states(self._states)
        watched = _Watch(self._given(given), self.held)
        result = self._forward(given)
        touched = watched.changes("forward")
        outputs, cache, nested = self.calling.outputs(result)
        problem = objection_to(outputs)
        if problem:
            raise InputError(f"forward returns {problem}, which it did not before")
        return Passed(given, outputs, cache, nested, [np.array(output) for output in outputs], touched)

    def pass_backward(self, passed: Passed, cotangents: list[Any]) -> Run:
        """The backward pass behind a forward pass.

        Parameters
        ----------
        passed : Passed
            What that did.
        cotangents : list
            One for each output, to be given away.

        Returns
        -------
        Run
            What it did.

        Raises
        ------
        InputError
            It raises an error, or returns too few gradients.
        """
        names = [*numbered("cotangent", len(cotangents)), *numbered("output", len(passed.outputs))]
        given = [*zip(names, [*cotangents, *passed.outputs], strict=True), *arrays_in(passed.cache, "cache")]
        watched = _Watch([*self._given(passed.inputs), *given], self.held)
        with _errors_of("backward", f"{self.calls[1]} behind {self.calls[0]}"):
            result = self.call_backward(passed.inputs, passed.cache, cotangents, nested=passed.nested)
        touched = watched.changes("backward")
        returned, buffers = self.read_gradients(result)
        values = {name: np.array(gradient) for name, gradient in [*returned.items(), *buffers.items()]}
        return Run(passed, cotangents, returned, buffers, values, (*passed.touched, *touched))

    def run(self, cotangents: Sequence[Any], inputs: list[Any] | None = None) -> Run:
        """Both passes with cotangents that are copied, the buffers of gradients cleared before."""
        self.held.fill(np.zeros)
        return self.pass_backward(self.pass_forward(inputs), [copy_of(each) for each in cotangents])

    def call_forward(self, inputs: list[Any]) -> Any:
        """What forward returns with the global generators in the same state as ever; what it raises is not touched."""
        set_generator_states(self._states)
        self.forward_passes += 1
        return self.forward(*inputs)

    def call_backward(self, inputs: list[Any], cache: Any, cotangents: list[Any], *, nested: bool) -> Any:
        """What backward returns; what it raises is not touched."""
        self.backward_passes += 1
        given = [tuple(cotangents)] if nested and not self.calling.spread else cotangents
        behind = {"returned": [cache], "arguments": inputs, "kept": []}[self.calling.cache]
        return self.backward(*given, *behind)

    def read_gradients(self, result: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Gradients that backward returned, and those that lie in buffers, by names; InputError if there are too few."""
        returned = {
            each.name: gradient
            for each, gradient in zip(self.inputs, self._of_inputs(result), strict=True)
            if each.floating and gradient is not None
        }
        for name, gradient in returned.items():
            read_numbers(gradient, f"backward's {gradient_name(name)}")
        buffers = {name: gradient for name, _, gradient in self.held.pairs()}
        if not returned and not buffers:
            raise InputError(f"backward returns {describe(result)}, in which there is no gradient")
        return returned, buffers

    def _forward(self, inputs: list[Any]) -> Any:
        self.forward_passes += 1
        with _errors_of("forward", self._called):
            return self.forward(*inputs)

    def _given(self, inputs: Sequence[Any]) -> list[tuple[str, Any]]:
        return [(each.name, value) for each, value in zip(self.inputs, inputs, strict=True)]

    def _of_inputs(self, result: Any) -> list[Any]:
        """What backward returned for each input; None where that is nothing."""
        names = [each.name for each in self.inputs]
        floating = [each.name for each in self.inputs if each.floating]
        if result is None and self.held.gradients is not None:
            return [None] * len(names)
        if isinstance(result, Mapping):
            return _by_name(result, names, floating)
        items = list(result) if isinstance(result, tuple | list) else [result]
        if len(items) == len(names):
            return items
        if len(items) == len(floating):
            found = dict(zip(floating, items, strict=True))
            return [found.get(name) for name in names]
        counted = "" if len(floating) == len(names) else f", {len(floating)} of them floating"
        raise InputError(
            f"backward returns {describe(result)}, but a gradient is needed for each input: {', '.join(names)}{counted}"
        )


def _by_name(result: Mapping[Any, Any], names: Sequence[str], floating: Sequence[str]) -> list[Any]:
    """Gradients in a dict, in the order of the inputs."""
    keys = match_names(result, names, "what backward returns")
    lacking = [name for name in floating if name not in keys]
    surplus = [key for key in result if key not in keys.values()]
    if lacking or surplus:
        what = f"has no gradient of {quote(lacking)}" if lacking else f"has {quote(surplus)}, of which there is no input"
        raise InputError(f"what backward returns {what}; the inputs are {', '.join(names)}")
    return [result[keys[name]] if name in keys else None for name in names]


class _Watch:
    """Arrays that a pass is to leave alone, the parameters and the global generators among them.

    Parameters
    ----------
    arrays : sequence of (str, object)
        Names and arrays; numbers cannot change.
    held : Held
        The parameters.
    """

    def __init__(self, arrays: Sequence[tuple[str, Any]], held: Held) -> None:
        self._arrays = [(name, array, array.copy()) for name, array in arrays if isinstance(array, np.ndarray)]
        self._held = held
        self._parameters = [(name, array.copy()) for name, array in held.arrays()]
        self._states = generator_states()

    def changes(self, who: str) -> tuple[str, ...]:
        """What is not as it was, a sentence each."""
        pairs: list[tuple[str, NDArray[Any], Any]] = [(name, before, array) for name, array, before in self._arrays]
        after = dict(self._held.arrays())
        pairs += [(name, before, after.get(name)) for name, before in self._parameters]
        found = [_change(who, name, before, now) for name, before, now in pairs]
        found += [f"{who} draws from {library}'s global generator" for library in drawn_from(self._states, generator_states())]
        return tuple(filter(None, found))


def _change(who: str, name: str, before: NDArray[Any], now: Any) -> str:
    """What a pass did to an array; empty if nothing."""
    if not isinstance(now, np.ndarray) or now.shape != before.shape:
        return f"{who} replaces {name}"
    if before.tobytes() == now.tobytes():
        return ""
    different = np.argwhere((before != now) & ~((before != before) & (now != now)))
    if not len(different):
        return f"{who} changes {name}"
    index = tuple(int(i) for i in different[0])
    count = "" if len(different) == 1 else f" (and {len(different) - 1} more)"
    return f"{who} changes {format_entry(name, index)} from {before[index]!s} to {now[index]!s}{count}"


@contextlib.contextmanager
def _errors_of(name: str, called: str) -> Iterator[None]:
    """Turn what a pass raises into an InputError that says how it was called."""
    try:
        yield
    except Exception as error:  # whatever a user's code raises
        raise InputError(f"{name} raises {type(error).__name__}: {error} (called as {called})") from error


def copy_of(value: Any) -> Any:
    """A copy of an array, in its layout; a number itself."""
    return value.copy(order="K") if isinstance(value, np.ndarray) else value


def like(values: Any, output: Any) -> Any:
    """A copy of values as an array of an output's type, or as a number where that is one."""
    if isinstance(output, np.ndarray):
        return np.array(values, dtype=output.dtype)
    return type(output)(values)
