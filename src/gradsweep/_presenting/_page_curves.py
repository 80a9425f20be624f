"""Curves of the error against the step, as pages and plots have them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gradsweep._errors import GradsweepError
from gradsweep._parameters import format_entry
from gradsweep._presenting import _page_words as words
from gradsweep._step_curves import StepCurve
from gradsweep._types import Array

# Curves that are drawn.
_CURVES = 3

# By what factor an axis goes on beyond what is drawn.
_ROOM = 10.0

# How many times the rounding an error must be to be taken for truncation.
_CLEARLY = 30.0


class Report(Protocol):
    """What has curves."""

    def step_curves(self, k: int = 3, max_seconds: float = 5.0) -> tuple[StepCurve, ...]: ...


# eq=False: arrays do not compare to a single truth value.
@dataclass(frozen=True, eq=False)
class Curve:
    """Relative differences of one entry at many steps, by plain values of the cost.

    Attributes
    ----------
    curve : StepCurve
        What was computed.
    error : array of shape (n,)
        |g − q(ε)| / (|g| + |ĝ|) of the gradient under test and the quotient at each step; of an entry that is zero on both
        sides, absolute.
    rounding, truncation : array of shape (n,)
        What the two alone would make of it, by their orders, 1/ε and εᵖ; NaN where that is not known.
    """

    curve: StepCurve
    error: Array
    rounding: Array
    truncation: Array

    @property
    def name(self) -> str:
        """Of the entry."""
        return format_entry(self.curve.block, self.curve.index)

    def span(self, tolerance: float) -> tuple[float, float]:
        """The smallest and the largest of the errors, and of the tolerance, with some room: what is beyond is not drawn."""
        seen = [each for each in (*self.error.tolist(), tolerance) if math.isfinite(each) and each > 0.0]
        return min(seen, default=1e-16) / _ROOM, max(seen, default=1.0) * _ROOM

    @property
    def data(self) -> dict[str, Any]:
        """What a script draws: on logarithmic axes there is no 0."""
        return {
            "step": _drawable(self.curve.steps),
            "error": _drawable(self.error),
            "rounding": _drawable(self.rounding),
            "truncation": _drawable(self.truncation),
        }

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        """Step, quotient and relative difference, for a table."""
        numbers = zip(self.curve.steps.tolist(), self.curve.quotients.tolist(), self.error.tolist(), strict=True)
        return [(words.short(step), words.exact(quotient), words.short(error)) for step, quotient, error in numbers]


@dataclass(frozen=True)
class CurveView:
    """Curves, or why there are none.

    Attributes
    ----------
    curves : tuple of Curve
        The worst entry first.
    why_not : str
        A sentence, if there are none.
    """

    curves: tuple[Curve, ...]
    why_not: str = ""


def view_curves(report: Report) -> CurveView:
    """Curves of the worst entries of a report.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    CurveView
        Of three entries at most.
    """
    try:
        curves = report.step_curves(_CURVES)
    except GradsweepError as error:
        return CurveView((), str(error))
    except Exception as error:  # whatever a user's code says that is called once more, and may no longer have what it needs
        return CurveView((), f"the cost cannot be evaluated any more: {type(error).__name__}: {error}")
    if not curves:
        return CurveView((), "No entry was looked at on its own.")
    return CurveView(tuple(map(draw_curve, curves)))


def draw_curve(curve: StepCurve) -> Curve:
    """Errors of a curve, and what they are held against."""
    size = abs(curve.analytic) + abs(curve.numeric) or 1.0
    with np.errstate(all="ignore"):
        error = np.abs(curve.quotients - curve.analytic) / size
        rounding = curve.noise / curve.steps / size
        truncation = _truncation(curve, rounding * size) / size
    return Curve(curve, error, rounding, truncation)


def _truncation(curve: StepCurve, rounding: Array) -> Array:
    """What grows with the step, by the scheme's order and the steps from which on it is clearly not rounding.

    It is what quotients at neighbouring steps differ by, for a numeric value at too large a step has truncation of its own.
    """
    powers = curve.steps**curve.order
    if len(powers) < 2:
        return np.full(len(powers), math.nan)
    differences = np.abs(curve.quotients[:-1] - curve.quotients[1:])
    clear = np.isfinite(differences) & (differences > _CLEARLY * np.nan_to_num(rounding[1:]))
    if not clear.all():  # up to the first that may be rounding
        clear[np.argmin(clear) :] = False
    if not clear.any():
        return np.full(len(powers), math.nan)
    # The largest steps leave the range in which a single power is what counts.
    coefficient = float(np.median((differences / (powers[:-1] - powers[1:]))[clear][-3:]))
    return coefficient * powers


def _drawable(values: Sequence[float] | Array) -> list[float | None]:
    """What is no positive number left out; three digits."""
    return [float(f"{value:.2e}") if math.isfinite(value) and value > 0.0 else None for value in np.asarray(values).tolist()]
