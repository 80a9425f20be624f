"""Running a user's function once for all lanes."""

import contextlib
import functools
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._differences._array import DifferenceArray, operand_of
from gradsweep._differences._creation import intercepted
from gradsweep._differences._departure import Departure, describe, heard, is_users
from gradsweep._differences._factor import Factor
from gradsweep._differences._lanes import Lanes, Number
from gradsweep._differences._program import Program
from gradsweep._differences._recording import Recording
from gradsweep._differences._slab import Slab, one_hot
from gradsweep._differences._varying import Varying
from gradsweep._types import Array

# Largest array whose memory is to be used again.
_KEPT = 2**24


@functools.cache
def _keep_memory() -> None:
    """Let the memory of one intermediate result be that of the next one.

    By default glibc returns it to the system each time, which then has to clear every page anew: measured, three quarters of the
    time of a small network with 512 lanes. What it keeps follows the largest block that was given back, up to a limit. A block
    that is never touched costs nothing, and elsewhere this does no harm.
    """
    np.empty(_KEPT, dtype=np.uint8)


@dataclass(frozen=True)
class Propagated:
    """What a function returned on difference arrays.

    Attributes
    ----------
    base : float
        Its value where nothing is perturbed.
    changes : array of shape (lanes,)
        How much it changes in each lane.
    program : Program, optional
        What was done, if that was recorded and can be repeated.
    """

    base: float
    changes: Array
    program: Program | None = None


def loss(number: Number) -> Departure:
    """What it means that a plain number was made which is not the result."""
    what = f"{number.what}(...) makes a plain number of a value that changes"
    return _departure_at(number.where, what, "take float(...) of what is returned alone, and NumPy's functions for the rest")


def _departure_at(where: str, what: str, advice: str) -> Departure:
    departure = Departure(what, advice)
    departure.where = where
    return departure


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
    return _argument(values, Varying(base, change, lanes))


def unperturbed(values: Array, lanes: Lanes) -> DifferenceArray:
    """An argument that does not change, copies of which take what does."""
    return DifferenceArray.buffer(values, lanes)


def perturbed(values: Any, change: Array, lanes: Lanes) -> DifferenceArray:
    """An argument that changes as a whole: `change` of shape (*shape, lanes)."""
    return _argument(values, Varying(np.array(values, dtype=np.float64, order="C"), change, lanes))


def _argument(values: Any, held: Varying) -> DifferenceArray:
    argument = DifferenceArray(held)
    if held.lanes.recording is not None:
        held.lanes.recording.argument(held)
    if isinstance(values, np.ndarray):
        # One without axes is an array, too, and can be written to.
        argument.shared_memory()
    return argument


def propagate(function: Callable[[Any], Any], argument: Any, lanes: Lanes, *, fills: bool) -> Propagated:
    """Run a function on difference arrays.

    Parameters
    ----------
    function : callable
        Of one argument, written with NumPy.
    argument : object
        Arrays in any structure, some of them difference arrays.
    lanes : Lanes
        Their perturbations, which are finished afterwards.
    fills : bool
        Whether arrays that the function makes may have to take differences.

    Returns
    -------
    Propagated
        Value and changes. Where the function made plain numbers on the way, of which `lanes` has a record, changes may lack what
        went through those: whoever calls this holds them against the function's plain values.

    Raises
    ------
    Departure
        The function did something that differences cannot follow, even if it caught the error, or raised an error of its own.
    """
    _keep_memory()
    with np.errstate(all="ignore"), heard() as departures:
        try:
            with intercepted(lanes) if fills else contextlib.nullcontext():
                result = function(argument)
            propagated = _read(result, lanes)
        except Departure as departure:
            # What came first is the cause of what came later.
            raise _first(departures, lanes) from (None if departure is departures[0] else departure)
        except Exception as error:
            departures = departures or [_as_departure(error)]
            raise _first(departures, lanes) from error
        finally:
            lanes.finished, lanes.recording = True, None
        if departures:
            raise _first(departures, lanes)
        return propagated


def _first(departures: list[Departure], lanes: Lanes) -> Departure:
    """The first departure, with what is known by then of how the function rounds."""
    departures[0].cast = lanes.cast
    return departures[0]


def _as_departure(error: Exception) -> Departure:
    departure = Departure(f"the function raises {type(error).__name__} on difference arrays: {error}")
    # The innermost line of the user's own.
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_users(frame.f_code):
            departure.where = describe(frame, line)
    return departure


def _read(result: Any, lanes: Lanes) -> Propagated:
    returned = next((each for each in lanes.numbers if result is each.number), None)
    held = operand_of(result) if type(result) in (DifferenceArray, Factor) else None
    if returned is not None:
        held = returned.value
    for half in lanes.halves:
        if not half.resolved:
            raise _departure_at(half.where, "the product x.dot(w) is used by compiled code", "write np.dot(x, w) or x @ w")
    if isinstance(held, Varying):
        if held.base.size != 1:
            raise Departure(f"the function returns an array of shape {held.shape}")
        change = np.broadcast_to(held.dense, (*held.shape, lanes.count))
        base = float(held.base.reshape(()))
        return Propagated(base, np.array(change.reshape(-1), dtype=np.float64), _program(lanes, held, base))
    if lanes.numbers:
        raise loss(lanes.numbers[0])
    try:
        plain = np.asarray(result if held is None else held, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Departure(f"the function returns a value of type {type(result).__name__}") from error
    if plain.size != 1 or result is None:
        raise Departure(f"the function returns {'nothing' if result is None else f'an array of shape {plain.shape}'}")
    base = float(plain.reshape(()))
    return Propagated(base, np.zeros(lanes.count), _program(lanes, None, base))


def _program(lanes: Lanes, result: Varying | None, base: float) -> Program | None:
    """What was done, if it was recorded, and nothing was met that cannot be repeated."""
    recording: Recording | None = lanes.recording
    if recording is None:
        return None
    node = None if result is None else recording.node_of(result)
    return Program(recording, node, base) if recording.intact else None
