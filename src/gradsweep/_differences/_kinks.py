"""Functions with kinks and steps: their change is piecewise, and a lane that changes sides is counted.

Each takes (lanes, bases, value, changes) and returns the change, exact on either side. Where `Lanes.ties` is set nothing is
crossed: whatever a lane would decide otherwise counts as equal, and one side is taken for all.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._lanes import Lanes
from gradsweep._differences._slab import reach
from gradsweep._differences._varying import ElementForm
from gradsweep._types import Array

Bases = Sequence[Array]
Changes = Sequence[Array | None]


def absolute(lanes: Lanes, bases: Bases, value: Array, changes: Changes) -> Array:
    """|z + δ| − |z|: ±δ on one side, across 0 the true piecewise change."""
    (z,), (change,) = bases, changes
    assert change is not None
    sign = np.where(z < 0.0, -1.0, 1.0)
    change = change * sign  # as if z were not negative
    crossing = change < -value
    if lanes.ties is not None:
        at_kink = _any_lane(crossing | ((value == 0.0) & (change != 0.0)))
        return np.where(at_kink, change * _share(lanes, -1.0, 1.0), change)
    crossing |= (value == 0.0) & (change != 0.0)
    if not crossing.any():
        return change
    lanes.cross(np.broadcast_to(crossing, change.shape))
    # From v to |v + δ| with v + δ < 0 it is −v − δ, less v.
    return np.where(change < -value, -2.0 * value - change, change)


def maximum(lanes: Lanes, bases: Bases, value: Array, changes: Changes) -> Array:
    """Change of the larger of two: that of the winner, or of the other one as far as it overtakes."""
    return _larger(lanes, bases[0] - bases[1], changes[0], changes[1])


def minimum(lanes: Lanes, bases: Bases, value: Array, changes: Changes) -> Array:
    """Change of the smaller of two: that of the larger one of their negatives."""
    negative = [None if change is None else -change for change in changes]
    return -_larger(lanes, bases[1] - bases[0], negative[0], negative[1])


def _larger(lanes: Lanes, lead: Array, first: Array | None, second: Array | None) -> Array:
    """Change of max(a, b), of which a is ahead by `lead`."""
    first_wins = lead >= 0.0
    none = np.zeros((1,) * lead.ndim)
    reached = sum(reach(change) for change in (first, second) if change is not None)
    if reached < float(np.abs(lead).min(initial=np.inf)):  # mostly: then nothing has to be computed lane by lane
        return _pick(first_wins, first, second)
    first, second = (none if change is None else change for change in (first, second))
    # Relative to the winner of the base: how much the other one is ahead after the step.
    overtaken = np.where(first_wins, second - first - lead, first - second + lead)
    change = np.where(first_wins, first, second)
    tied = (lead == 0.0) & (overtaken != 0.0)
    crossing = (overtaken > 0.0) | tied
    if not crossing.any():
        return change
    if lanes.ties is not None:
        return np.where(_any_lane(crossing), first * _share(lanes, 1.0, 0.0) + second * _share(lanes, 0.0, 1.0), change)
    lanes.cross(np.broadcast_to(crossing, (*np.broadcast_shapes(crossing.shape[:-1], change.shape[:-1]), lanes.count)))
    return change + np.maximum(overtaken, 0.0)


def _pick(first_wins: NDArray[np.bool_], first: Array | None, second: Array | None) -> Array:
    """The change of the winner."""
    if first is not None and second is not None:
        return np.where(first_wins, first, second)
    return second * ~first_wins if first is None else first * first_wins  # type: ignore[operator]


def _share(lanes: Lanes, first: float, second: float) -> float:
    """What is taken of two sides' slopes where they meet."""
    return {"first": first, "second": second, "mean": 0.5 * (first + second)}[lanes.ties or "first"]


def _any_lane(crossing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where any lane crosses, for all lanes."""
    return np.asarray(crossing.any(axis=-1, keepdims=True))


def steps(function: Callable[..., Array]) -> ElementForm:
    """Form of a function that is constant but for jumps: sign, floor, round, whole quotients."""

    def form(lanes: Lanes, bases: Bases, value: Array, changes: Changes) -> Array:
        shifted = [base if change is None else base + change for base, change in zip(bases, changes, strict=True)]
        jump: Array = function(*shifted) - value
        # A value on the very edge jumps on one side only, and at any step.
        lanes.cross(np.broadcast_to(jump != 0.0, (*jump.shape[:-1], lanes.count)))
        return np.zeros_like(jump) if lanes.ties is not None else jump

    return form


def heaviside(lanes: Lanes, bases: Bases, value: Array, changes: Changes) -> Array:
    """0 below zero, 1 above it, and h at zero, where h may change, too."""
    (z, at_zero), (change, own) = bases, changes
    moved = z if change is None else z + change
    jump: Array = np.heaviside(moved, at_zero) - value
    if change is not None:
        lanes.cross(np.broadcast_to(np.sign(moved) != np.sign(z), (*jump.shape[:-1], lanes.count)))
        if lanes.ties is not None:
            jump = np.zeros_like(jump)
    if own is None:
        return jump
    stays = z == 0.0 if lanes.ties is not None else moved == 0.0
    return jump + np.where(stays, own, 0.0)


def order(lanes: Lanes, lead: Array, change: Array) -> NDArray[np.bool_]:
    """Signs of a − b after the step, where they are not what they are before it; counted as crossings.

    Parameters
    ----------
    lanes : Lanes
        The perturbations.
    lead : array of shape (…, 1 or lanes)
        a − b.
    change : array of shape (…, lanes)
        Its change.

    Returns
    -------
    array of bool of shape (…, lanes)
        Where a decision by the order of a and b would be another one.
    """
    changed: NDArray[np.bool_] = np.where(lead == 0.0, change != 0.0, (lead + change) * np.sign(lead) <= 0.0)
    lanes.cross(changed)
    return changed


def equality(lanes: Lanes, lead: Array, change: Array) -> NDArray[np.bool_]:
    """Where a = b would be decided otherwise after the step; counted as crossings. Arguments and result as of `order`."""
    changed: NDArray[np.bool_] = (lead == 0.0) != (lead + change == 0.0)
    lanes.cross(changed)
    return changed
