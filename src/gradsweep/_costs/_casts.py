"""Costs that round values to a type that is less precise than float64: how exact they are, and what is said of that."""

import numpy as np

from gradsweep._differences._cast import Cast
from gradsweep._differences._departure import Departure
from gradsweep._parameters import Precision, precision


def precision_of(cast: Cast | None) -> Precision:
    """Precision of what a function computes, of which this is the least precise type; of float64 if it is None."""
    return precision([]) if cast is None else cast.precision


def describe_cast(cast: Cast | None) -> list[str]:
    """What a caller should know of a function that rounds to this type; nothing if it is None."""
    if cast is None:
        return []
    share = f"{np.finfo(cast.kind).eps:.1e}"
    return [
        f"the cost rounds to {cast.kind}, by up to {share} of each value ({cast.where}): in float64 it is checked more closely"
    ]


def unforeseen(cast: Cast) -> Departure:
    """A departure for a type that shows late, behind a decision, where nothing was compared with its rounding in view."""
    departure = Departure(f"the function rounds to {cast.kind} at some points only", "compute in float64")
    departure.where, departure.cast = cast.where, cast
    return departure
