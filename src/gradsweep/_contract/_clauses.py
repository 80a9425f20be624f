"""What a backward pass must keep to, clause by clause."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradsweep._contract._backward_cost import BackwardCost
from gradsweep._contract._belongings import arrays_in
from gradsweep._contract._calling import gradient_name, numbered
from gradsweep._contract._layers import Layer, Run, copy_of, like
from gradsweep._errors import InputError, OracleError
from gradsweep._parameters import format_entry, precision
from gradsweep._report import Report

# What two ways to the same gradient may differ by, relative to the largest entry of its block: so many roundings, and never more
# than a hundredth. That is 2e-12 of float64 and 1e-3 of float32.
_ROUNDINGS, _LARGEST = 2.0**13, 1e-2

# Where they differ by more, the backward pass runs with cotangents some last digits away, so often, to see how much of that is
# rounding of its own, as of a sum that cancels; and so many times the largest change may be rounding.
_JITTERED, _LAST_DIGITS, _MARGIN = 4, 16, 16.0

# Roundings of the cotangent itself that are none of its linearity. Where softmax is saturated, dout - sum(dout * p) has no digits
# left, and the same ones are lost whatever the last digits of dout are.
_FLOOR = 64.0

# Factors of the cotangents of which the linear combination is taken: of different signs, with another sum than 1, so large that
# clipping shows, and exact in every floating type.
_FIRST, _SECOND = -48.0, 80.0

# Up to how many examples are looked at one by one; of more the first, the last, and all between them as one piece.
_FEW = 4

# How many pieces of evidence are shown.
_SHOWN = 3

# Candidates that are tried for a byte that two arrays share. Any, for NumPy's stubs know of no number but 0 and -1.
_MOST_WORK: Any = 10**5

Outcome = Literal["holds", "broken", "inconclusive", "not applicable"]

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Clause:
    """One thing that a backward pass must keep to.

    Attributes
    ----------
    name : str
        ``"repeatable"``, ``"buffers"``, ``"untouched"``, ``"linear"``, ``"zero"``, ``"batch"``, ``"shapes"``, ``"memory"`` or
        ``"derivative"``.
    outcome : str
        ``"holds"``, ``"broken"``, ``"inconclusive"`` or ``"not applicable"``.
    evidence : str
        What was seen, or why it could not be looked at.
    advice : str
        What to do about it, if it is broken.

    Examples
    --------
    >>> import numpy as np
    >>> from gradsweep.testing import check_backward
    >>> contract = check_backward(np.exp, lambda dout, x: dout, {"x": np.ones(3)}, cache="arguments")
    >>> clause = contract["shapes"]
    >>> clause.name, clause.outcome
    ('shapes', 'holds')
    >>> print(contract["memory"].outcome, contract["memory"].evidence, sep=": ")
    broken: dx shares memory with cotangent
    """

    name: str
    outcome: Outcome
    evidence: str
    advice: str = ""


class Trial:
    """A layer that is put through all clauses.

    Parameters
    ----------
    layer : Layer
        Which.
    batched : Any
        Inputs that have an axis of examples, as the caller gave them.
    seed : int
        Of cotangents, noise and the check.

    Attributes
    ----------
    report : Report or None
        Of the last clause, once it has been looked at.
    passes : tuple of int
        Forward and backward passes without those of the last clause.
    """

    def __init__(self, layer: Layer, batched: Any, seed: int) -> None:
        self.layer, self.seed = layer, seed
        self.report: Report | None = None
        self.passes = (0, 0)
        self._generator = np.random.default_rng(seed)
        self._axes = _read_axes(layer, batched)
        self._cotangents = layer.draw(layer.outputs, self._generator)
        self._others = layer.draw(layer.outputs, self._generator)
        self._base = layer.run(self._cotangents)
        self._returned = {name: np.array(each) for name, each in _results(self._base).items()}
        if layer.held.accumulates and not layer.held.fill(np.zeros):
            raise InputError("gradients must be the very arrays in which they accumulate, not copies of them")
        arrays = [*self._base.values.values(), *self._base.passed.values, *(np.asarray(each.value) for each in layer.inputs)]
        self._epsilon = precision(arrays).epsilon
        self._tolerance = min(_ROUNDINGS * self._epsilon, _LARGEST)
        # Clauses that cannot be looked at, with the reason; and how gradients of successive calls add up, if they do.
        self._unsteady: dict[str, str] = {}
        self._adding = ""

    def clauses(self) -> tuple[Clause, ...]:
        """All of them, in their order. The others rest on what the first one finds."""
        looks = (
            ("repeatable", self._repeatable),
            ("buffers", self._buffers),
            ("untouched", self._untouched),
            ("linear", self._linear),
            ("zero", self._zero),
            ("batch", self._batch),
            ("shapes", self._shapes),
            ("memory", self._memory),
        )
        found = [self._examined(name, look) for name, look in looks]
        self.passes = self.layer.forward_passes, self.layer.backward_passes
        return (*found, self._examined("derivative", self._derivative))

    def _examined(self, name: str, look: Callable[[], Clause]) -> Clause:
        """A clause; broken where the layer does with other arguments what it does not with those that were given."""
        if name in self._unsteady:
            return Clause(name, "not applicable", self._unsteady[name])
        try:
            return look()
        except InputError as error:
            if name == "repeatable":
                self._unsteady = dict.fromkeys([*_COMPARING, "memory"], "the passes cannot be called twice, see repeatable")
            return Clause(name, "broken", str(error), _ADVICE[name])

    def _repeatable(self) -> Clause:
        second = self._run_unseeded()
        outputs = self._differing(_numbered(second.passed.values), _numbered(self._base.passed.values))
        if outputs:
            again = self.layer.run(self._cotangents)
            drawn = not self._differing(_numbered(again.passed.values), _numbered(self._base.passed.values))
            if not drawn or self._differing(again.values, self._base.values):
                self._unsteady = dict.fromkeys(_COMPARING, _UNSTEADY)
            because = _SEEDED if drawn else ""
            return _broken("repeatable", f"forward gives two outputs for the same inputs: {outputs.then()}{because}")
        gradients = self._differing(second.values, self._base.values)
        if gradients:
            return self._unrepeated(second, gradients)
        behind = self._twice_behind_one()
        if behind.startswith("a second"):
            return _broken("repeatable", behind)
        exact = _same_bits(second.values, self._base.values)
        how = "bit for bit" if exact and _same_bits(_passed(second), _passed(self._base)) else "to rounding"
        return Clause("repeatable", "holds", f"both passes give the same twice, {how}{behind}")

    def _run_unseeded(self) -> Run:
        """Both passes with the global generators as they are."""
        self.layer.held.fill(np.zeros)
        passed = self.layer.pass_forward(seeded=False)
        return self.layer.pass_backward(passed, [copy_of(each) for each in self._cotangents])

    def _unrepeated(self, second: Run, gradients: "_Difference") -> Clause:
        """What it means that backward gives something else at the second call."""
        third = self.layer.run(self._cotangents)
        evidence = f"backward gives two gradients for the same arguments: {gradients.then()}"
        if not self._differing(third.values, self._base.values):
            return _broken("repeatable", evidence + _SEEDED)
        with np.errstate(all="ignore"):
            expected = {name: 2.0 * second.values[name] - first for name, first in self._base.values.items()}
        if self._differing(third.values, expected):
            self._unsteady = dict.fromkeys(_COMPARING, _UNSTEADY)
            return _broken("repeatable", evidence)
        self._unsteady = {name: "gradients add up over calls, see buffers" for name in _COMPARING if name != "buffers"}
        self._adding = gradients.then()
        return Clause("repeatable", "holds", "both passes give the same twice, but for what is added up, see buffers")

    def _twice_behind_one(self) -> str:
        """What a second backward pass behind one forward pass does otherwise; or that it cannot be had, in parentheses."""
        passed = self.layer.pass_forward()
        self.layer.held.fill(np.zeros)
        self.layer.pass_backward(passed, [copy_of(each) for each in self._cotangents])
        self.layer.held.fill(np.zeros)
        try:
            again = self.layer.pass_backward(passed, [copy_of(each) for each in self._cotangents])
        except InputError as error:
            if error.__cause__ is None:
                raise
            # A layer may forget what its forward pass left once it has been used.
            return f" (a second backward pass behind one forward pass raises {type(error.__cause__).__name__})"
        different = self._differing(again.values, self._base.values)
        return f"a second backward pass behind one forward pass gives something else: {different.then()}" if different else ""

    def _buffers(self) -> Clause:
        held = self.layer.held
        if held.gradients is None:
            if self._adding:
                return _broken("buffers", f"gradients add up over calls: {self._adding}")
            return Clause("buffers", "not applicable", "gradients=... was not given; what backward returns does not add up")
        if self._adding:
            return _broken("buffers", f"what backward returns adds up over calls: {self._adding}")
        filled = held.fill(lambda shape: self._generator.uniform(1.0, 2.0, shape))
        for what in ("noise that was there before", "the gradients of the call before")[0 if filled else 1 :]:
            problem = self._added(what)
            if problem:
                return _broken("buffers", problem)
        if held.accumulates:
            return Clause("buffers", "holds", "gradients are added to what was in the buffers")
        return Clause("buffers", "holds", "gradients take the place of what was in the buffers")

    def _added(self, what: str) -> str:
        """How buffers are treated otherwise than was declared; empty if they are not."""
        held = self.layer.held
        before = {name: np.array(each) for name, _, each in held.pairs()}
        passed = self.layer.pass_forward()
        after = self.layer.pass_backward(passed, [copy_of(each) for each in self._cotangents]).values
        own = {name: self._base.values[name] for name in before}
        found = {name: after[name] for name in before}
        total = {name: before[name] + own[name] for name in before}
        different = self._differing(found, total if held.accumulates else own)
        if not different:
            return ""
        name, index = different.name, different.index
        did = "is not independent of"
        if index is not None and found[name][index] == before[name][index]:
            did = "keeps"
        elif held.accumulates and not self._differing({name: found[name]}, own):
            did = "takes the place of"
        elif not held.accumulates and not self._differing({name: found[name]}, total):
            did = "is added to"
        return f"{different.label} {did} {what}: {different.but()}"

    def _untouched(self) -> Clause:
        if self._base.touched:
            return _broken("untouched", _some(self._base.touched))
        cached = any(True for _ in arrays_in(self._base.passed.cache, "cache"))
        what = [
            "inputs",
            "outputs",
            "cotangents",
            *(["cache"] if cached else []),
            *(["parameters"] if self.layer.held.arrays() else []),
        ]
        return Clause("untouched", "holds", f"{', '.join(what)} and the global generators are as they were")

    def _linear(self) -> Clause:
        second = self.layer.run(self._others).values
        mixed = [
            like(_FIRST * np.asarray(one) + _SECOND * np.asarray(other), one)
            for one, other in zip(self._cotangents, self._others, strict=True)
        ]
        together = self.layer.run(mixed).values
        first = self._base.values
        with np.errstate(all="ignore"):
            parts = {name: (_FIRST * first[name], _SECOND * second[name]) for name in first}
            expected = {name: one + other for name, (one, other) in parts.items()}
            sizes = {name: _size(one) + _size(other) for name, (one, other) in parts.items()}
        different = self._differing(together, expected, sizes, factor=abs(_FIRST) + abs(_SECOND))
        combined = f"{_FIRST:g}·u + {_SECOND:g}·v"
        if different:
            one, other = different.shown()
            return _broken(
                "linear", f"{different.label} is {one} for the cotangent {combined}, but {other} by those for u and v apart"
            )
        return Clause("linear", "holds", f"gradients for the cotangent {combined} are those for u and v, combined alike")

    def _zero(self) -> Clause:
        values = self.layer.run([like(np.zeros(np.shape(each)), each) for each in self._cotangents]).values
        for name, gradient in values.items():
            wrong = np.argwhere(~(gradient == 0.0))
            if len(wrong):
                index = tuple(int(i) for i in wrong[0])
                label = format_entry(gradient_name(name), index)
                return _broken("zero", f"{label} is {gradient[index]!s} where the cotangent is zero")
        return Clause("zero", "holds", "gradients for a cotangent of zeros are zeros")

    def _batch(self) -> Clause:
        if not self._axes:
            return Clause("batch", "not applicable", "batched=... was not given: which inputs have an axis of examples")
        examples, axis = self._examples()
        lacking = [
            f"{name} has shape {value.shape}, without {examples} examples on axis {axis}"
            for name, value in _numbered(self._base.passed.values).items()
            if value.shape[axis : axis + 1] != (examples,)
        ]
        if examples == 1 or lacking:
            return Clause("batch", "not applicable", _some(lacking) if lacking else "there is one example only")
        edges = range(examples + 1) if examples <= _FEW else (0, 1, examples - 1, examples)
        pieces = [self._piece(slice(start, stop), axis) for start, stop in itertools.pairwise(edges)]
        outputs = {
            name: np.concatenate([_numbered(piece.passed.values)[name] for piece in pieces], axis)
            for name in _numbered(self._base.passed.values)
        }
        different = self._differing(_numbered(self._base.passed.values), outputs)
        if different:
            one, other = different.shown()
            return _broken("batch", f"{different.label} is {one} among all examples, but {other} without the others")
        return self._sum_of(pieces)

    def _sum_of(self, pieces: Sequence[Run]) -> Clause:
        """Whether the gradients of pieces are those of the batch."""
        expected, sizes = {}, {}
        for name in self._base.values:
            parts = [piece.values[name] for piece in pieces]
            expected[name] = np.concatenate(parts, self._axes[name]) if name in self._axes else np.sum(parts, axis=0)
            sizes[name] = sum(_size(part) for part in parts)
        different = self._differing(self._base.values, expected, sizes, factor=1.0)
        if different:
            one, other = different.shown()
            whole = "without the others" if different.name in self._axes else "summed over the examples apart"
            return _broken("batch", f"{different.label} is {one} among all examples, but {other} {whole}")
        return Clause("batch", "holds", "gradients of the batch are those of its examples apart, or their sum")

    def _examples(self) -> tuple[int, int]:
        """How many there are, and on which axis of the outputs they lie."""
        name, axis = next(iter(self._axes.items()))
        value = next(each.value for each in self.layer.inputs if each.name == name)
        return value.shape[axis], axis

    def _piece(self, part: slice, axis: int) -> Run:
        """Both passes on some of the examples."""
        inputs = [
            value if each.name not in self._axes else _part_of(value, part, self._axes[each.name])
            for each, value in zip(self.layer.inputs, self.layer.copies(), strict=True)
        ]
        return self.layer.run([_part_of(each, part, axis) for each in self._cotangents], inputs)

    def _shapes(self) -> Clause:
        found = []
        for name, own, gradient in self._pairs():
            if np.shape(gradient) != np.shape(own):
                found.append(f"{gradient_name(name)} has shape {np.shape(gradient)}, but {name} has {np.shape(own)}")
            elif isinstance(own, np.ndarray) and np.asarray(gradient).dtype != own.dtype:
                found.append(f"{gradient_name(name)} is {np.asarray(gradient).dtype}, but {name} is {own.dtype}")
        if found:
            return _broken("shapes", _some(found))
        return Clause("shapes", "holds", "gradients have the shapes and types of what they are gradients of")

    def _pairs(self) -> list[tuple[str, Any, Any]]:
        """Name, input or parameter, and gradient."""
        own = {each.name: each.value for each in self.layer.inputs} | {name: array for name, array, _ in self.layer.held.pairs()}
        return [(name, own[name], gradient) for name, gradient in self._base.values.items()]

    def _memory(self) -> Clause:
        found, results = _shared_within(self._base, self.layer), _results(self._base)
        after = _results(self.layer.run(self._others))
        for name, each in results.items():
            if _share(each, after.get(name)):
                found.append(f"{name} of one call lies in the memory of {name} of the call before")
            elif np.asarray(each).tobytes() != self._returned[name].tobytes():
                found.append(f"{name} of one call is changed by a later one")
        if found:
            return _broken("memory", _some(found))
        return Clause(
            "memory", "holds", "no result shares memory with an argument, with another result, or with one of another call"
        )

    def _derivative(self) -> Clause:
        fitting = [name for name, own, gradient in self._pairs() if np.shape(gradient) == np.shape(own)]
        held = [name for name, _, _ in self.layer.held.pairs()]
        with_held = bool(held) and all(name in fitting for name in held)
        names = [name for name in fitting if with_held or name not in held]
        left = [each.name for each in self.layer.inputs if each.floating and each.name not in names]
        left += [] if with_held else held
        if not names:
            return Clause("derivative", "not applicable", "no gradient has the shape of what it is a gradient of")
        without = f"; not looked at: {', '.join(left)}, without a gradient of that shape" if left else ""
        try:
            self.report, where = BackwardCost(self.layer, self._cotangents, names).check(self.seed, with_held=with_held)
        except (InputError, OracleError) as error:
            return Clause("derivative", "inconclusive", f"it could not be checked: {error}{without}")
        headline = " ".join(str(self.report).partition("\n\n")[0].partition(": ")[2].split())
        if self.report.verdict == "fail":
            return _broken("derivative", headline + where + without)
        return Clause("derivative", "holds" if self.report.ok else "inconclusive", headline + without)

    def _differing(
        self, found: Values, expected: Values, sizes: Mapping[str, float] | None = None, factor: float = 0.0
    ) -> "_Difference | None":
        """The worst entry of the first block in which two gradients differ by more than rounding; None if there is none.

        Parameters
        ----------
        found, expected : mapping of str to array
            By name.
        sizes : mapping of str to float, optional
            How large the terms are of which they are made, where that is more than they are.
        factor : float, default: 0.0
            How much of the rounding of the backward pass is allowed for, where that is what remains.
        """
        for name, one in found.items():
            other = expected[name]
            if one.shape != other.shape:
                return _Difference(name, None, one, other)
            with np.errstate(all="ignore"):
                gap = np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64))
                gap = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0.0, gap)
            allowed = self._tolerance * max(_size(one), _size(other), (sizes or {}).get(name, 0.0))
            if not (gap <= allowed).all() and factor:
                allowed = max(allowed, factor * (self._rounding.get(name, 0.0) + _FLOOR * self._epsilon))
            if not (gap <= allowed).all():
                worst = np.unravel_index(int(np.argmax(np.nan_to_num(gap, nan=np.inf))), gap.shape)
                return _Difference(name, tuple(int(i) for i in worst), one, other)
        return None

    @functools.cached_property
    def _rounding(self) -> Mapping[str, float]:
        """By how much the gradients change where last digits of the cotangent do, with a margin."""
        levels = dict.fromkeys(self._base.values, 0.0)
        for _ in range(_JITTERED):
            near = [self._jittered(each) for each in self._cotangents]
            for name, values in self.layer.run(near).values.items():
                with np.errstate(all="ignore"):
                    levels[name] = max(levels[name], _MARGIN * _size(values - self._base.values[name]))
        return levels

    def _jittered(self, cotangent: Any) -> Any:
        """The same but for some last digits."""
        epsilon = float(np.finfo(np.asarray(cotangent).dtype).eps)
        digits = self._generator.integers(-_LAST_DIGITS, _LAST_DIGITS + 1, np.shape(cotangent))
        return like(np.asarray(cotangent) * (1.0 + epsilon * digits), cotangent)


@dataclass(frozen=True, eq=False)
class _Difference:
    """The entry of a block in which two results differ most.

    Attributes
    ----------
    name : str
        Of an output, or of the block whose gradient it is.
    index : tuple of int, or None
        Which entry; None where shapes differ.
    found, expected : array
        Both results.
    """

    name: str
    index: tuple[int, ...] | None
    found: NDArray[Any]
    expected: NDArray[Any]

    @property
    def label(self) -> str:
        """What it is called: ``dw[0, 1]``, ``output[2]``."""
        own = self.name if self.name.startswith("output") else gradient_name(self.name)
        return own if self.index is None else format_entry(own, self.index)

    def shown(self) -> tuple[str, str]:
        """Both values, with as many digits as tell them apart; or both shapes."""
        if self.index is None:
            return f"of shape {self.found.shape}", f"of shape {self.expected.shape}"
        one, other = float(self.found[self.index]), float(self.expected[self.index])
        digits = next((count for count in (6, 10) if f"{one:.{count}g}" != f"{other:.{count}g}"), 17)
        return f"{one:.{digits}g}", f"{other:.{digits}g}"

    def then(self) -> str:
        """One after the other in time: what was expected is what was there first."""
        found, expected = self.shown()
        return f"{self.label} is {expected}, then {found}"

    def but(self) -> str:
        """One against the other."""
        found, expected = self.shown()
        return f"it is {found}, but should be {expected}"


def _read_axes(layer: Layer, batched: Any) -> dict[str, int]:
    """Axes of examples by the names of inputs, in the order of these; InputError if there are none such."""
    if batched is None:
        return {}
    given = [batched] if isinstance(batched, str | int) else batched
    if not isinstance(given, Mapping):
        given = dict.fromkeys(given, 0)
    names = {each.name if layer.named else place: each for place, each in enumerate(layer.inputs)}
    unknown = [key for key in given if key not in names]
    if unknown:
        raise InputError(f"batched: there is no input {unknown[0]!r}; there are {', '.join(map(repr, names))}")
    axes, sizes = {}, set()
    for key, each in names.items():
        if key in given:
            shape, axis = np.shape(each.value), given[key]
            if isinstance(axis, bool) or not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                raise InputError(f"batched: {each.name} has shape {shape}, without an axis {axis!r}")
            axes[each.name] = axis % len(shape)
            sizes.add(shape[axis])
    if len(sizes) > 1:
        raise InputError(f"batched: {', '.join(axes)} have different numbers of examples, {sorted(sizes)}")
    return axes


def _part_of(value: NDArray[Any], part: slice, axis: int) -> NDArray[Any]:
    """Some of the examples, copied."""
    return value[(slice(None),) * axis + (part,)].copy(order="K")


def _shared_within(run: Run, layer: Layer) -> list[str]:
    """Which results of a run share memory with its arguments or with each other."""
    arguments = list(zip([each.name for each in layer.inputs], run.passed.inputs, strict=True)) + layer.held.arrays()
    cotangents = list(zip(numbered("cotangent", len(run.cotangents)), run.cotangents, strict=True))
    outputs = list(_numbered(run.passed.outputs).items())
    gradients = [(gradient_name(name), array) for name, array in run.returned.items()]
    buffers = [(gradient_name(name), array) for name, array in run.buffers.items()]
    pairs = [(one, other) for one in outputs for other in arguments]
    pairs += [(one, other) for one in [*gradients, *buffers] for other in [*arguments, *cotangents, *outputs]]
    pairs += [
        (one, other)
        for results in (outputs, [*gradients, *buffers])
        for place, one in enumerate(results)
        for other in results[:place]
    ]
    return [f"{one} shares memory with {other}" for (one, first), (other, second) in pairs if _share(first, second)]


def _results(run: Run) -> dict[str, Any]:
    """What both passes of a run returned, as it is now, without gradients that lie where the layer holds them."""
    return _numbered(run.passed.outputs) | {gradient_name(name): each for name, each in run.returned.items()}


def _share(one: Any, other: Any) -> bool:
    """Whether two results share memory; not where that is too hard to say."""
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return False
    try:
        return np.shares_memory(one, other, max_work=_MOST_WORK)
    except np.exceptions.TooHardError:
        return False


def _numbered(outputs: Sequence[Any]) -> dict[str, Any]:
    """Outputs by their names."""
    return dict(zip(numbered("output", len(outputs)), outputs, strict=True))


def _passed(run: Run) -> Values:
    """Copies of the outputs, by name."""
    return _numbered(run.passed.values)


def _same_bits(one: Values, other: Values) -> bool:
    return all(values.tobytes() == other[name].tobytes() for name, values in one.items())


def _size(values: NDArray[Any]) -> float:
    """The largest entry that is finite, without its sign."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))


def _some(sentences: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f"; and {len(sentences) - _SHOWN} more" if len(sentences) > _SHOWN else ""
    return "; ".join(sentences[:_SHOWN]) + more


def _broken(name: str, evidence: str) -> Clause:
    return Clause(name, "broken", evidence, _ADVICE[name])


# Clauses that compare gradients of several calls, and why they cannot; and what is said where it is the generators that matter.
_COMPARING = ("buffers", "linear", "zero", "batch", "derivative")
_UNSTEADY = "the passes give something else at each call, see repeatable"
_SEEDED = ", but not where the global generators are in the same state"

_ADVICE = {
    "repeatable": "Draw what is random once and give it as an input (masks, noise); let backward only read what forward left.",
    "buffers": "Assign gradients (=, or [...] =) where they replace, add (+=) where they accumulate, and declare which by "
    "accumulates=; clear at the beginning of backward what it adds up itself.",
    "untouched": "Work on copies: dx = dout * mask makes a new array, dout *= mask changes the one that was given. For random "
    "numbers use a generator of the layer's own.",
    "linear": "Each term has the cotangent as a factor, once: look for clipping, for a mask made of its sign, for a term without "
    "it or with its square.",
    "zero": "Each term has the cotangent as a factor: look for one that has not, as weight decay of which forward knows nothing, "
    "and for a quotient by the cotangent's size.",
    "batch": "Look for a mean where a sum is due, for 1/m, for one example's values taken for all. Where examples are meant to "
    "depend on each other, as in batch norm, leave batched out.",
    "shapes": "Sum over the axes that were broadcast, with the shape of the input; make constants and buffers of its dtype "
    "(np.zeros_like; np.zeros is float64).",
    "memory": "Return an array of its own, by .copy() or by an operation that makes one: who works in place on one would change "
    "the other.",
    "derivative": "The report below has the entries, and their ratios to the numeric gradient of sum(cotangent * output).",
}
