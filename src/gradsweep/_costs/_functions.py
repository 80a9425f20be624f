"""A cost that is any function of the parameters: what is asked of it before it is differentiated."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from gradsweep._costs._complex_function import ComplexNumerics
from gradsweep._costs._evaluation import Evaluator
from gradsweep._costs._numerics import PLAIN, Numerics
from gradsweep._costs._numpy_function import NumPyFunction, propagated
from gradsweep._costs._plain_function import PlainEvaluator
from gradsweep._costs._reading import read_cost
from gradsweep._costs._value_function import ValueNumerics
from gradsweep._deadlines import in_time
from gradsweep._differences._cast import Cast, coarser
from gradsweep._differences._departure import Departure
from gradsweep._errors import GradsweepError, InputError, OracleError
from gradsweep._schemes import CENTRAL, COMPLEX, Scheme
from gradsweep._settings import Settings
from gradsweep._step_curves import PlainValues
from gradsweep._trees import Tree
from gradsweep._types import Array

# Two values of a cost at the same parameters may differ by so many roundings, as sums over threads do.
_JITTER = 64.0

# The value at arrays of another type than float64 may be off by so many times what rounding the parameters to it changes, and by
# this power of its machine epsilon: it is another cost if it is off by more.
_AMPLIFIED, _DIGITS = 64.0, 0.5

#: Makes what evaluates a cost: of the cost, the parameters and the number of workers.
MakeEvaluator: TypeAlias = Callable[[Any, Tree, int | None], Evaluator]


@dataclass(eq=False)
class Function:
    """A cost as the caller wrote it.

    Attributes
    ----------
    cost : callable
        Of the parameters, in the structure in which they were given.
    propagates : bool
        Whether difference arrays are tried.
    traced : callable, optional
        What is given difference arrays, if it is another function of the parameters.
    objection : callable, optional
        Says, of the parameters, why difference arrays cannot be tried; nothing if they can.
    within : callable, optional
        Calls a gradient with parameters where more is needed than that.
    evaluator : callable
        Makes what evaluates it where they are not, or cannot follow.
    reason : str
        Why they were not taken, if so.
    notes : list of str
        What else its caller should know.
    seconds : float
        What a call of it took.
    cast : Cast, optional
        The least precise type to which it was seen to round values, if it is not float64.
    """

    cost: Callable[[Any], Any]
    propagates: bool = True
    traced: Callable[[Any], Any] | None = None
    objection: Callable[[Tree], str] | None = None
    within: Callable[[Callable[[Any], Any], Any], Any] | None = None
    evaluator: MakeEvaluator = PlainEvaluator
    reason: str = field(default="")
    notes: list[str] = field(default_factory=list)
    seconds: float = field(default=0.0, init=False)
    cast: Cast | None = field(default=None, init=False)

    def call(self, tree: Tree) -> float:
        """Its plain value."""
        return self.at(tree, tree.values)

    def at(self, tree: Tree, values: Array) -> float:
        """Its plain value at other parameters of the same structure; NaN if it is not finite."""
        own = values.copy()
        with in_time(lambda: "at the given parameters" if values is tree.values else "where parameters are displaced"):
            result = self.cost(tree.build(tree.arrays(own)))
        return read_cost(result)

    def around(self, tree: Tree, base: float, scheme: Scheme) -> PlainValues:
        """Its plain values around a point, where it is `base`; for the complex step, those of the central scheme."""
        leaves = {leaf.name: leaf for leaf in tree.blocks}

        def flat(block: str, index: tuple[int, ...]) -> int:
            leaf = leaves[block]
            return leaf.start + (int(np.ravel_multi_index(index, leaf.shape)) if leaf.shape else 0)

        def value(block: str, index: tuple[int, ...], step: float) -> float:
            moved = tree.values.copy()
            moved[flat(block, index)] += step
            return self.at(tree, moved)

        def place(block: str, index: tuple[int, ...]) -> float:
            return float(tree.values[flat(block, index)])

        return PlainValues(value, base, place, CENTRAL if scheme is COMPLEX else scheme)

    def gradient(self, gradient: Callable[[Any], Any], params: Any) -> Any:
        """A gradient of the caller's at some parameters."""
        return self.within(gradient, params) if self.within else gradient(params)

    def value_or_nan(self, tree: Tree) -> float:
        """Its plain value, NaN also where it raises an error: as far from the given parameters as that may be."""
        try:
            return self.call(tree)
        except GradsweepError:
            raise
        except Exception:  # an assertion, say, that parameters are positive
            return math.nan

    def settle_in(self, tree: Tree) -> float:
        """The value at the parameters, after a look at how the function behaves.

        Parameters
        ----------
        tree : Tree
            The parameters.

        Returns
        -------
        float
            The value.

        Raises
        ------
        InputError
            It is no finite number, another one at each call, or the parameters are modified.
        OracleError
            It is another one for arrays of the type in which the parameters were given.
        """
        self.notes = []
        own = tree.values.copy()
        arrays = tree.arrays(own)
        begun = time.perf_counter()
        with in_time(lambda: "at the given parameters"):
            base = read_cost(self.cost(tree.build(arrays)))
        self.seconds = time.perf_counter() - begun
        for leaf, array in zip(tree.blocks, arrays, strict=True):
            if isinstance(array, np.ndarray) and not np.array_equal(
                own[leaf.start : leaf.stop], tree.values[leaf.start : leaf.stop]
            ):
                raise InputError(f"cost modifies its parameters: {leaf.name} is not what it was before the call")
        if not math.isfinite(base):
            raise InputError(f"cost is {base} at the given parameters")
        begun = time.perf_counter()
        again = self.call(tree)
        # The lesser of two: what disturbs a call makes it longer, and may take it for one that is worth a screen.
        self.seconds = min(self.seconds, time.perf_counter() - begun)
        if not _alike(again, base):
            raise InputError(
                f"cost gives two values for the same parameters, {base!r} and {again!r}: draw what is random once, outside of it "
                f"(dropout masks, noise, batches), or seed the generator at its beginning{self._advice(tree)}"
            )
        self._compare_types(tree, base)
        return base

    def numerics(self, tree: Tree, base: float, settings: Settings, like: Numerics | None = None) -> Numerics:
        """The numeric side of a check: on difference arrays if the function can be followed, else by its values.

        Parameters
        ----------
        tree : Tree
            The point.
        base : float
            The value there.
        settings : Settings
            How to check.
        like : Numerics, optional
            What it was at another point.

        Returns
        -------
        Numerics
            Ready.

        Raises
        ------
        InputError
            A mode or scheme that the function does not go with.
        OracleError
            Difference arrays disagree with the function itself.
        """
        if isinstance(like, NumPyFunction):
            return like.moved(tree, base)
        if settings.mode == "neurons":
            raise InputError("mode: 'neurons' is for dense networks, Network(...).cost(X, Y)")
        if self._may_propagate(tree, settings):
            try:
                followed = propagated(
                    self.traced or self.cost,
                    tree,
                    base,
                    settings.scheme,
                    settings.step,
                    settings.jobs,
                    settings.seed,
                    lambda values: self.at(tree, values),
                )
            except Departure as departure:
                self.reason, self.cast = str(departure), departure.cast
            else:
                self.cast = followed.outcome.cast
                return followed
        return self._by_values(tree, base, settings)

    def numerics_by_values(self, tree: Tree, base: float, settings: Settings, departure: Departure) -> Numerics:
        """The numeric side by values, since differences departed on their way; arguments as of `numerics`."""
        self.reason, self.cast = str(departure), coarser(self.cast, departure.cast)
        return self._by_values(tree, base, settings)

    def _by_values(self, tree: Tree, base: float, settings: Settings) -> Numerics:
        evaluator = self.evaluator(self.cost, tree, settings.jobs)
        if settings.mode == "batched" and evaluator.kind == "plain function":
            because = f": {self.reason}" if self.reason else ""
            raise InputError(
                f"mode: 'batched' needs a cost that takes many perturbations at once, and this one does not{because}; "
                "gradsweep.batched(f) is one"
            )
        if settings.scheme is COMPLEX:
            return self._complex(ValueNumerics(evaluator, tree, base, COMPLEX, None, settings.seed), tree)
        return ValueNumerics(evaluator, tree, base, settings.scheme, settings.step, settings.seed, cast=self.cast)

    def _complex(self, real: ValueNumerics, tree: Tree) -> ComplexNumerics:
        """The numeric side by imaginary steps, which are put where difference arrays would be."""
        if real.kind != "plain function":
            raise InputError(f"scheme: 'complex' needs a plain function of the parameters, not a {real.kind}")
        objection = self.objection(tree) if self.objection else ""
        if objection:
            raise InputError(f"scheme: 'complex' needs arrays of complex numbers in the place of the parameters ({objection})")
        return ComplexNumerics(self.traced or self.cost, real)

    def _may_propagate(self, tree: Tree, settings: Settings) -> bool:
        if not self.propagates or settings.scheme is COMPLEX:
            return False
        self.reason = self.objection(tree) if self.objection else ""
        return not self.reason

    def kind(self, tree: Tree, settings: Settings) -> str:
        """What is to evaluate it, as far as is known before that has begun."""
        own: str = getattr(self.evaluator, "kind", PLAIN)
        return "difference arrays" if not self.reason and self._may_propagate(tree, settings) else own

    def leave(self, tree: Tree, base: float) -> None:
        """Call the function once more, so that what it keeps is of the given parameters, and see that its value is the same."""
        again = self.call(tree)
        if not _alike(again, base):
            raise InputError(
                f"cost was {base!r} at the beginning of the check and is {again!r} at its end, for the same parameters"
            )

    def _advice(self, tree: Tree) -> str:
        """What would make the value repeatable, if seeding NumPy's and Python's global generators does."""
        states: Any = np.random.get_state(), random.getstate()  # noqa: NPY002
        try:
            values = []
            for _ in range(3):
                np.random.seed(0)  # noqa: NPY002
                random.seed(0)
                values.append(self.call(tree))
        finally:
            np.random.set_state(states[0])  # noqa: NPY002
            random.setstate(states[1])
        if not all(_alike(value, values[0]) for value in values):
            return ""
        return "; np.random.seed(0) and random.seed(0) at its beginning are enough here"

    def _compare_types(self, tree: Tree, base: float) -> None:
        """Raise OracleError if arrays of the type that was given lead to another value than arrays of float64 do."""
        narrow = [leaf.dtype for leaf in tree.blocks if leaf.dtype.kind == "f" and leaf.dtype.itemsize < 8 and not leaf.is_scalar]
        if not narrow:
            return
        epsilon = max(float(np.finfo(kind).eps) for kind in narrow)
        with np.errstate(all="ignore"):
            try:
                own = read_cost(self.cost(tree.build(tree.typed_arrays())))
            except Exception:  # a cost that takes float64 alone has one value, and there is nothing to compare it with
                return
            signs = np.random.default_rng(0).choice([-1.0, 1.0], len(tree.values))
            rounded = self.value_or_nan(Tree(tree.blocks, tree.values * (1.0 + epsilon * signs), tree.root))
        allowed = epsilon**_DIGITS * max(abs(base), abs(own)) + _AMPLIFIED * abs(rounded - base)
        if abs(own - base) > allowed:  # not where half precision overflows
            kind = np.dtype(max(narrow, key=lambda each: float(np.finfo(each).eps)))
            raise OracleError(
                f"cost is {base!r} for arrays of float64 and {own!r} for the same arrays of {kind}, as they were given; checked "
                "would be the first, which is another function"
            )


def _alike(one: float, other: float) -> bool:
    """Whether two values are the same but for rounding."""
    return abs(one - other) <= _JITTER * float(np.finfo(np.float64).eps) * abs(other)
