"""Running a user's function once for all lanes."""

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._differences._array import DifferenceArray, _Factor, operand_of
from gradsweep._differences._creation import intercepted
from gradsweep._differences._departure import Departure, describe
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._slab import Slab, one_hot
from gradsweep._differences._varying import Varying
from gradsweep._types import Array


@dataclass(frozen=True)
class Propagated:
    """What a function returned on difference arrays.

    Attributes
    ----------
    base : float
        Its value where nothing is perturbed.
    changes : array of shape (lanes,)
        How much it changes in each lane.
    """

    base: float
    changes: Array


#: What it means if plain numbers were made, none of which is the result.
LOST = "float(...) makes a plain number of a value that changes"
LOST_ADVICE = "take float(...) of what is returned alone"


def perturbed_entry(values: Any, entries: Any, steps: Array, lanes: Lanes) -> DifferenceArray:
    """An argument of which each lane perturbs one entry.

    Parameters
    ----------
    values : array or float
        Its values; they are copied.
    entries : array of int of shape (lanes,)
        Which, in C order.
    steps : array of shape (lanes,)
        By how much; 0 for a lane that perturbs another argument.
    lanes : Lanes
        The perturbations.

    Returns
    -------
    DifferenceArray
        The argument.
    """
    base = np.array(values, dtype=np.float64, order="C")
    change: Array | Slab = one_hot(base.shape, entries, steps) if base.ndim else steps
    return DifferenceArray(Varying(base, change, lanes))


def perturbed(values: Any, change: Array, lanes: Lanes) -> DifferenceArray:
    """An argument that changes as a whole: `change` of shape (*shape, lanes)."""
    return DifferenceArray(Varying(np.array(values, dtype=np.float64, order="C"), change, lanes))


def propagate(function: Callable[[Any], Any], argument: Any, lanes: Lanes, *, fills: bool) -> Propagated:
    """Run a function on difference arrays.

    Parameters
    ----------
    function : callable
        Of one argument, written with NumPy.
    argument : object
        Arrays in any structure, some of them difference arrays.
    lanes : Lanes
        Their perturbations.
    fills : bool
        Whether arrays that the function makes may have to take differences.

    Returns
    -------
    Propagated
        Value and changes.

    Raises
    ------
    Departure
        The function did something that differences cannot follow, or raised an error on difference arrays.
    """
    with np.errstate(all="ignore"), intercepted(lanes) if fills else contextlib.nullcontext():
        try:
            return _read(_call(function, argument), lanes)
        finally:
            lanes.closed = True


def _call(function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except Departure:
        raise
    except Exception as error:
        raise _as_departure(error) from error


def _as_departure(error: Exception) -> Departure:
    departure = Departure(f"the function raises {type(error).__name__} on difference arrays: {error}")
    # The innermost line of the user's own.
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        if name not in ("gradsweep", "numpy"):
            departure.where = describe(frame, line)
    return departure


def _read(result: Any, lanes: Lanes) -> Propagated:
    for number, value, _ in lanes.numbers:
        if result is number:
            return Propagated(float(value.base), np.broadcast_to(value.dense, (*value.shape, lanes.count)).reshape(-1))
    if type(result) in (DifferenceArray, _Factor):
        held = operand_of(result)
        if isinstance(held, Varying):
            if held.base.size != 1:
                raise Departure(f"the function returns an array of shape {held.shape}")
            return Propagated(float(held.base.reshape(())), np.array(held.dense.reshape(-1), dtype=np.float64))
        result = held
    if lanes.numbers:
        departure = Departure(LOST, LOST_ADVICE)
        departure.where = lanes.numbers[0][2]
        raise departure
    plain = np.asarray(result, dtype=np.float64)
    if plain.size != 1:
        raise Departure(f"the function returns an array of shape {plain.shape}")
    return Propagated(float(plain.reshape(())), np.zeros(lanes.count))
