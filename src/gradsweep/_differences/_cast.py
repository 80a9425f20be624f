"""Types that are less precise than float64, to which a function rounds values that change."""

from typing import Any, NamedTuple

import numpy as np

from gradsweep._parameters import Precision, precision


class Cast(NamedTuple):
    """A value that changes was rounded to a type that is less precise than float64.

    Attributes
    ----------
    kind : dtype
        The type.
    where : str
        The place.
    """

    kind: np.dtype[Any]
    where: str

    @property
    def precision(self) -> Precision:
        """How exact the type is."""
        return precision([np.empty(0, dtype=self.kind)])


def coarser(one: Cast | None, other: Cast | None) -> Cast | None:
    """The one that rounds by more; the first if they round alike."""
    if one is None or other is None:
        return one or other
    return other if other.precision.epsilon > one.precision.epsilon else one


def is_narrow(kind: np.dtype[Any]) -> bool:
    """Whether a type is a floating one that is less precise than float64."""
    return kind.kind == "f" and kind.itemsize < 8
