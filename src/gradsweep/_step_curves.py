"""How the textbook's quotients of single entries depend on the step: rounding on one side, truncation on the other."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gradsweep._errors import GradsweepError, InputError
from gradsweep._schemes import Scheme
from gradsweep._types import Array
from gradsweep._verdict import Entry

#: Plain value of a cost where an entry of a block is larger by a step: of the block's name, the index, and the step.
ValueAt: TypeAlias = Callable[[str, tuple[int, ...], float], float]

# The largest and the smallest step, and how many there are in each decade: over these quotients go from one to no digit.
_LARGEST, _SMALLEST, _EACH_DECADE = 1e-1, 1e-15, 2

# What the value at the base point may differ by from what it was at the check, relative.
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class StepCurve:
    """Difference quotients of one entry at many steps, from plain values of the cost, which are subtracted.

    Attributes
    ----------
    block : str
        Name of the entry's block.
    index : tuple of int
        Index within the block.
    analytic, numeric : float
        The gradient under test, and the numeric value that the check compared it with.
    steps : array of shape (n,)
        ε, the largest first; of the entry, as far as it can take them.
    quotients : array of shape (n,)
        The quotient at each step; NaN where the cost is not finite.
    noise : float
        Rounding of one value of the cost, absolute, as the smallest steps show it.
    order : int
        Of the scheme: truncation is proportional to this power of ε.

    Examples
    --------
    Above the best step the error of central differences falls with the square of ε; a wrong gradient stays where it is:

    >>> import numpy as np
    >>> import gradsweep
    >>> w = np.array([1.0, 2.0])
    >>> (curve,) = gradsweep.check(lambda w: np.sum(w**3), w, 2 * w**2).step_curves(1)
    >>> curve.block, curve.index, curve.analytic, curve.order
    ('params', (1,), 8.0, 2)
    >>> truncation = np.abs(curve.quotients - curve.numeric)
    >>> for step, error in zip(curve.steps[:5:2], truncation[:5:2]):
    ...     print(f"{step:.0e} {error:.0e}")
    1e-01 1e-02
    1e-02 1e-04
    1e-03 1e-06
    """

    block: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    steps: Array
    quotients: Array
    noise: float
    order: int


@dataclass(frozen=True, eq=False)
class PlainValues:
    """Plain values of the cost of a check around its point.

    Attributes
    ----------
    value : callable
        See `ValueAt`.
    base : float
        What it was at the point itself.
    place : callable
        The parameter that an entry of a block is, of the block's name and the index.
    scheme : Scheme
        How quotients are formed.
    """

    value: ValueAt
    base: float
    place: Callable[[str, tuple[int, ...]], float]
    scheme: Scheme

    def curves(self, entries: Sequence[Entry], max_seconds: float) -> tuple[StepCurve, ...]:
        """Quotients of some entries at many steps.

        Parameters
        ----------
        entries : sequence of Entry
            Which.
        max_seconds : float
            No further entry is begun after so many seconds.

        Returns
        -------
        tuple of StepCurve
            Of as many of them, in their order, as there was time for.

        Raises
        ------
        InputError
            The cost has another value now than it had during the check.
        """
        begun = time.perf_counter()
        if not entries:
            return ()
        now = self.value(entries[0].block, entries[0].index, 0.0)
        if not abs(now - self.base) <= _SAME * abs(self.base):
            raise InputError(
                f"the cost was {self.base!r} during the check and is {now!r} now: what it depends on has been changed since"
            )
        curves: list[StepCurve] = []
        for entry in entries:
            if curves and time.perf_counter() - begun > max_seconds:
                break
            curves.append(self._curve(entry))
        return tuple(curves)

    def _curve(self, entry: Entry) -> StepCurve:
        count = 1 + round(_EACH_DECADE * math.log10(_LARGEST / _SMALLEST))
        asked = np.geomspace(_LARGEST, _SMALLEST, count)
        place = self.place(entry.block, entry.index)
        # The step that is taken is the one that the parameter can take.
        steps = np.array([step for step in ((place + each) - place for each in asked.tolist()) if step > 0.0])
        quotients = np.array([self._quotient(entry, step) for step in steps.tolist()])
        return StepCurve(
            block=entry.block,
            index=entry.index,
            analytic=entry.analytic,
            numeric=entry.numeric,
            steps=steps,
            quotients=quotients,
            noise=_noise(steps, quotients, (entry.numeric, entry.analytic)),
            order=self.scheme.order,
        )

    def _quotient(self, entry: Entry, step: float) -> float:
        def change(offset: float) -> float:
            try:
                return self.value(entry.block, entry.index, offset) - self.base
            except GradsweepError:
                raise
            except Exception:  # whatever a user's code says of parameters that it does not take
                return math.nan

        with np.errstate(all="ignore"):
            return self.scheme.quotient(change, step)


def _noise(steps: Array, quotients: Array, sides: tuple[float, float]) -> float:
    """Rounding of one value, by the errors of quotients with steps below the best: these are some such rounding over ε.

    They are errors of whichever side comes closest: a numeric value at too large a step is off by more than they are.
    """
    every = np.abs(quotients - np.array(sides)[:, np.newaxis])
    every[np.isnan(every)] = np.inf
    errors = every[np.argmin(every.min(axis=1, initial=np.inf))]
    below = np.arange(len(steps)) > (np.argmin(errors) if len(steps) else 0)
    # The smallest steps change no value at all, and so show nothing of its rounding.
    shown = below & (quotients != 0.0) & np.isfinite(errors)
    return float(np.sqrt(np.mean(np.square(errors[shown] * steps[shown])))) if shown.any() else math.nan
