"""What a cost may return, and what it may raise."""

from typing import Any

import numpy as np

from gradsweep._errors import InputError

#: Errors by which a function says that it is not defined at a point, as ``math.log(-1)`` does: they count as a value that is not
#: finite. All others are mistakes.
OUTSIDE = (ArithmeticError, ValueError, np.linalg.LinAlgError)


def read_cost(value: Any) -> float:
    """The number that a cost returned, as a number or as an array of one entry; else InputError."""
    if type(value) is float:
        return value
    if value is None:
        raise InputError("cost returns None; it must return a number")
    if isinstance(value, tuple):
        raise InputError(
            f"cost returns a tuple of {len(value)}, but a cost is a single number; of a function that returns (cost, gradient) "
            "gradsweep.split(f) makes both"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"cost returns no number: {error}") from error
    if array.dtype.kind not in "biuf":
        of_dtype = f" of dtype {array.dtype}" if isinstance(value, np.ndarray) else ""
        raise InputError(f"cost returns a value of type {type(value).__name__}{of_dtype}, but a cost is a real number")
    if array.size != 1:
        raise InputError(f"cost returns an array of shape {array.shape}, but a cost is a single number")
    return float(array.reshape(()))
